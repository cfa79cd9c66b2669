//! The HTTP side: accepts connections, gives each its timers and bounds, and answers requests by way of `check`, `post`
//! and `get`.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;

use self::access_log::Line;
pub(crate) use self::body::Body;
use self::check::Call;
use self::endpoints::Endpoints;
use self::entrance::{Caller, Entrance};
use self::head::Place;
pub(crate) use self::old_sse::Doors;
pub(crate) use self::post::refuser;
use self::refusal::Refused;
use self::wire::Wire;
use crate::config::Response as ResponseMode;
use crate::link::EndReason;
use crate::metrics::Metrics;
use crate::principal::Principal;
use crate::quota::Counted;
use crate::server::Server;
use crate::session::{Refuse, Session, SessionId};
use crate::shutdown::Shutdown;

mod access;
mod access_log;
pub(crate) mod admin;
mod body;
mod check;
mod connection;
pub(crate) mod endpoints;
pub(crate) mod entrance;
mod envelope;
mod get;
mod handshake;
mod head;
mod hush;
#[allow(dead_code)] // the gateway does not name it yet
pub(crate) mod inherited;
pub(crate) mod listener;
mod modern;
mod old_sse;
mod post;
mod refusal;
mod reply;
mod seen;
mod socket;
mod upload;
pub(crate) mod wire;

pub(crate) use self::connection::{Shared, look};

/// What a connection may cost, where each server's clients may have so many calls in flight.
pub(crate) fn connection_bounds(max_calls: usize, max_headers: usize) -> connection::Bounds {
    let narrow = |bound: usize| u32::try_from(bound).unwrap_or(u32::MAX);
    connection::Bounds { max_streams: narrow(max_calls), max_headers: narrow(max_headers) }
}

/// The MCP endpoint of one server.
pub(crate) struct Http {
    pub(crate) server: Arc<Server>,
    pub(crate) entrance: Arc<Entrance>,
    pub(crate) endpoint: String,
    /// The transport of 2024-11-05, where it is on.
    pub(crate) doors: Option<Arc<Doors>>,
    pub(crate) response: ResponseMode,
    /// Clients of legacy revisions get no sessions.
    pub(crate) is_stateless: bool,
    pub(crate) max_stream_age: Option<Duration>,
    /// How a request is refused whose answer shares its stream.
    pub(crate) refuse: Refuse,
    /// Those that this one has replaced: what is in flight there goes on.
    pub(crate) elders: Vec<Weak<Server>>,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(crate) metrics: Arc<Metrics>,
}

/// What answers the requests of a listener.
#[derive(Clone)]
pub(crate) enum Site {
    Mcp(Arc<Endpoints>),
    Admin(Arc<admin::Admin>),
    /// Gives back what was posted, and says whom the client's certificate names.
    #[cfg(test)]
    Echo,
}

impl Site {
    /// Answers one request that came on `wire`.
    async fn respond(&self, request: &mut Request<Incoming>, wire: &Arc<Wire>) -> Response<Body> {
        match self {
            Site::Mcp(endpoints) => endpoints.respond(request, wire).await,
            Site::Admin(admin) => admin.respond(request),
            #[cfg(test)]
            Site::Echo => handshake::tests::echo(request, wire).await,
        }
    }
}

impl Http {
    /// What a path is for here, if it is one of this server's.
    fn place(&self, path: &str) -> Option<Place> {
        if path == self.endpoint {
            return Some(Place::Endpoint);
        }
        match &self.doors {
            Some(doors) if path == doors.stream => Some(Place::OldStream(Arc::clone(doors))),
            Some(doors) if path == doors.messages => Some(Place::OldMessages(Arc::clone(doors))),
            _ => None,
        }
    }

    /// A session that is open, also at a server that this one has replaced.
    fn session(&self, id: SessionId, principal: &Principal) -> Option<Arc<Session>> {
        let of_elders = || self.elders.iter().find_map(|elder| elder.upgrade()?.registry.find(id, principal));
        self.server.registry.find(id, principal).or_else(of_elders)
    }

    async fn respond(
        &self,
        request: &mut Request<Incoming>,
        place: &Place,
        caller: &Caller,
        wire: &Arc<Wire>,
        line: Option<&mut Line>,
    ) -> Result<Response<Body>, Refused> {
        let call = check::read(self, place, caller, request, wire).await?;
        line.into_iter().for_each(|line| line.about(&call));
        let counted = match call.asked() {
            (0, _) => None,
            (count, id) => caller.begins_calls(count).map_err(|refusal| refusal.about(id))?,
        };
        let (for_session, for_body) = call.counts(counted);
        let response = self.call(&call, caller, request, wire, for_session).await?;
        Ok(match for_body {
            Some(counted) => response.map(|body| body.counted(counted)),
            None => response,
        })
    }

    async fn call(
        &self,
        call: &Call,
        caller: &Caller,
        request: &Request<Incoming>,
        wire: &Arc<Wire>,
        counted: Counted,
    ) -> Result<Response<Body>, Refused> {
        // By reference, so that it is moved no more; what is rarer, or larger, has its own room.
        match call {
            Call::Open(posted) => Box::pin(post::open(self, caller, posted, wire)).await,
            Call::Once(revision, items, is_batch) => {
                Box::pin(post::once(self, caller, *revision, items, *is_batch, wire, counted)).await
            }
            Call::Ask(session, posted) => post::ask(self, session, posted, wire, counted).await,
            Call::Tell(session, posted) => post::tell(self, session, posted),
            Call::Batch(session, items) => Box::pin(post::batch(self, session, items, wire.cut(), counted)).await,
            Call::Listen(session) => Ok(get::listen(self, session, wire.cut())?),
            Call::Resume(session, id) => Ok(get::resume(self, session, *id, wire.cut())?),
            Call::Delete(session) => {
                // Unknown from here on, before anything is waited for.
                self.server.forget(session);
                session.end(EndReason::Deleted);
                Ok(reply::status(http::StatusCode::OK))
            }
            Call::Modern(call) => Box::pin(modern::ask(self, &caller.principal, call, wire)).await,
            Call::OldStream(doors) => Ok(old_sse::listen(self, caller, doors, wire.cut())?),
            Call::OldMessages(door, items, is_batch) => Box::pin(old_sse::take(self, door, items, *is_batch, &counted)).await,
            Call::Ignore => Ok(reply::status(http::StatusCode::ACCEPTED)),
            Call::Preflight => Ok(access::preflight(request.headers())),
        }
    }
}
