//! The HTTP side: accepts connections, gives each its timers and bounds, and answers requests by way of `check`, `post`
//! and `get`.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;
use tracing::debug;

pub(crate) use self::body::Body;
use self::check::Call;
pub(crate) use self::old_sse::Doors;
pub(crate) use self::post::refuser;
use self::refusal::Refused;
use self::wire::Wire;
use crate::config::{Access, Limits, Response as ResponseMode};
use crate::link::EndReason;
use crate::metrics::Metrics;
use crate::server::Server;
use crate::session::Refuse;
use crate::shutdown::Shutdown;

mod access;
pub(crate) mod admin;
mod body;
mod check;
mod connection;
mod envelope;
mod get;
mod hush;
pub(crate) mod listener;
mod modern;
mod old_sse;
mod post;
mod refusal;
mod reply;
mod seen;
mod upload;
pub(crate) mod wire;

pub(crate) use self::connection::{Shared, look};

/// What a connection may cost, by the server's bounds.
pub(crate) fn connection_bounds(limits: &Limits) -> connection::Bounds {
    let narrow = |bound: usize| u32::try_from(bound).unwrap_or(u32::MAX);
    connection::Bounds { max_streams: narrow(limits.max_calls), max_headers: narrow(limits.max_headers) }
}

/// The MCP endpoint of one server.
pub(crate) struct Http {
    pub(crate) server: Arc<Server>,
    pub(crate) access: Access,
    pub(crate) endpoint: String,
    /// The transport of 2024-11-05, where it is on.
    pub(crate) doors: Option<Arc<Doors>>,
    pub(crate) response: ResponseMode,
    /// Clients of legacy revisions get no sessions.
    pub(crate) is_stateless: bool,
    pub(crate) max_stream_age: Option<Duration>,
    /// How a request is refused whose answer shares its stream.
    pub(crate) refuse: Refuse,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(crate) metrics: Arc<Metrics>,
}

/// What answers the requests of a listener.
#[derive(Clone)]
pub(crate) enum Site {
    Mcp(Arc<Http>),
    Admin(Arc<admin::Admin>),
}

impl Site {
    /// Answers one request that came on `wire`.
    async fn respond(&self, request: &mut Request<Incoming>, wire: &Arc<Wire>) -> Response<Body> {
        match self {
            Site::Mcp(http) => http.respond(request, wire).await,
            Site::Admin(admin) => admin.respond(request),
        }
    }
}

impl Http {
    async fn respond(&self, request: &mut Request<Incoming>, wire: &Arc<Wire>) -> Response<Body> {
        let began = Instant::now();
        let verb = label(request.method());
        // Only a page that may ask may also read what it is told.
        let origin_is_allowed =
            request.headers().contains_key(http::header::ORIGIN) && self.access.check_origin(request.headers()).is_ok();
        let fields = origin_is_allowed.then(|| Box::new(request.headers().clone()));
        let mut response = match self.call(request, wire).await {
            Ok(response) => response,
            Err(refused) => {
                self.metrics.rejection_counted(refused.refusal.label());
                debug!(reason = refused.refusal.label(), "refused");
                reply::refusal(&refused)
            }
        };
        if let Some(fields) = &fields {
            access::expose(fields, &mut response);
        }
        self.metrics.request_counted(verb, "mcp", response.status().as_u16());
        self.metrics.request_seconds.observe(began.elapsed());
        response
    }

    async fn call(&self, request: &mut Request<Incoming>, wire: &Arc<Wire>) -> Result<Response<Body>, Refused> {
        let call = check::read(self, request, wire).await?;
        // By reference, so that it is moved no more; what is rarer, or larger, has its own room.
        match &call {
            Call::Open(posted) => Box::pin(post::open(self, posted, wire)).await,
            Call::Once(revision, items, is_batch) => Box::pin(post::once(self, *revision, items, *is_batch, wire)).await,
            Call::Ask(session, posted) => post::ask(self, session, posted, wire).await,
            Call::Tell(session, posted) => post::tell(self, session, posted),
            Call::Batch(session, items) => Box::pin(post::batch(self, session, items, wire.cut())).await,
            Call::Listen(session) => Ok(get::listen(self, session, wire.cut())?),
            Call::Resume(session, id) => Ok(get::resume(self, session, *id, wire.cut())?),
            Call::Delete(session) => {
                // Unknown from here on, before anything is waited for.
                self.server.forget(session);
                session.end(EndReason::Deleted);
                Ok(reply::status(http::StatusCode::OK))
            }
            Call::Modern(call) => Box::pin(modern::ask(self, call, wire)).await,
            Call::OldStream(doors) => Ok(old_sse::listen(self, doors, wire.cut())?),
            Call::OldMessages(door, items, is_batch) => Box::pin(old_sse::take(self, door, items, *is_batch)).await,
            Call::Ignore => Ok(reply::status(http::StatusCode::ACCEPTED)),
            Call::Preflight => Ok(access::preflight(request.headers())),
        }
    }
}

fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}
