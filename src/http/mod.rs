//! The HTTP side: accepts connections, gives each its timers and bounds, and answers requests by way of `check`, `post`
//! and `get`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use tokio::time::Instant;
use tracing::debug;

pub(crate) use self::body::Body;
use self::check::Call;
pub(crate) use self::old_sse::Doors;
use self::refusal::Refused;
use crate::config::{Access, Limits, Response as ResponseMode};
use crate::link::EndReason;
use crate::link::stream::Cut;
use crate::metrics::Metrics;
use crate::server::Server;
use crate::shutdown::Shutdown;

mod access;
pub(crate) mod admin;
mod body;
mod check;
mod connection;
mod envelope;
mod get;
pub(crate) mod listener;
mod modern;
mod old_sse;
mod post;
mod refusal;
mod reply;
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
    /// Answers one request. `cut` ends its connection, where that serves nobody else.
    async fn respond<B>(&self, request: Request<B>, cut: Option<Cut>) -> Result<Response<Body>, Infallible>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Ok(match self {
            Site::Mcp(http) => http.respond(request, cut).await,
            Site::Admin(admin) => admin.respond(&request),
        })
    }
}

impl Http {
    async fn respond<B>(&self, request: Request<B>, cut: Option<Cut>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let began = Instant::now();
        let verb = label(request.method());
        // Only a page that may ask may also read what it is told.
        let origin_is_allowed =
            request.headers().contains_key(http::header::ORIGIN) && self.access.check_origin(request.headers()).is_ok();
        let fields = origin_is_allowed.then(|| request.headers().clone());
        let mut response = match self.call(request, cut).await {
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
        self.metrics.request_seconds.observe(began.elapsed().as_secs_f64());
        response
    }

    async fn call<B>(&self, request: Request<B>, cut: Option<Cut>) -> Result<Response<Body>, Refused>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let preflight = (*request.method() == Method::OPTIONS).then(|| access::preflight(request.headers()));
        match check::read(self, request).await? {
            Call::Open(posted) => post::open(self, &posted).await,
            Call::Once(revision, items, is_batch) => post::once(self, revision, &items, is_batch, cut).await,
            Call::Ask(session, posted) => post::ask(self, &session, &posted, cut).await,
            Call::Tell(session, posted) => post::tell(self, &session, &posted),
            Call::Batch(session, items) => post::batch(self, &session, &items, cut).await,
            Call::Listen(session) => Ok(get::listen(self, &session, cut)?),
            Call::Resume(session, id) => Ok(get::resume(self, &session, id, cut)?),
            Call::Delete(session) => {
                // Unknown from here on, before anything is waited for.
                self.server.forget(&session);
                session.end(EndReason::Deleted);
                Ok(reply::status(http::StatusCode::OK))
            }
            Call::Modern(call) => modern::ask(self, &call, cut).await,
            Call::OldStream(doors) => Ok(old_sse::listen(self, &doors, cut)?),
            Call::OldMessages(door, items, is_batch) => old_sse::take(self, &door, &items, is_batch).await,
            Call::Ignore => Ok(reply::status(http::StatusCode::ACCEPTED)),
            Call::Preflight => Ok(preflight.unwrap_or_else(|| reply::status(http::StatusCode::NO_CONTENT))),
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
