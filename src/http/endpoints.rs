//! The MCP endpoints of all servers, found by their paths. What is served is exchanged as a whole when the configuration is read
//! again; a request goes on with what was served when it came.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;
use tracing::debug;

use super::Http;
use super::access;
use super::access_log::Line;
use super::body::Body;
use super::head::{self, Place, Turned};
use super::refusal::Refused;
use super::reply;
use super::wire::Wire;
use crate::config::Access;
use crate::metrics::Metrics;

pub(crate) struct Endpoints {
    served: ArcSwap<Served>,
    /// A line is logged for each request.
    has_access_log: bool,
    /// What is counted of requests that name no server.
    metrics: Arc<Metrics>,
}

/// What is served at a time.
pub(crate) struct Served {
    pub(crate) access: Access,
    /// In bytes, of all of a request's fields.
    pub(crate) max_headers: usize,
    pub(crate) servers: Vec<Arc<Http>>,
}

impl Endpoints {
    pub(crate) fn new(served: Served, has_access_log: bool, metrics: Arc<Metrics>) -> Endpoints {
        Endpoints { served: ArcSwap::from_pointee(served), has_access_log, metrics }
    }

    /// For a moment: whoever keeps it longer keeps an `Arc` of it.
    pub(crate) fn served(&self) -> Guard<Arc<Served>> {
        self.served.load()
    }

    /// From here on requests find these.
    pub(crate) fn serve(&self, served: Served) {
        self.served.store(Arc::new(served));
    }

    /// Answers one request that came on `wire`.
    pub(super) async fn respond(&self, request: &mut Request<Incoming>, wire: &Arc<Wire>) -> Response<Body> {
        let began = Instant::now();
        let verb = label(request.method());
        let origin = self.readable_by(request);
        let mut line = self.has_access_log.then(|| Box::new(Line::new(verb, request, began)));
        let (http, outcome) = match head::read(self, request, wire) {
            Ok(head) => {
                if let Some(line) = &mut line {
                    line.asked_by(&head.caller.principal, head.http.server.name);
                }
                let outcome = head.http.respond(request, &head.place, &head.caller, wire, line.as_deref_mut()).await;
                (Some(head.http), outcome)
            }
            Err(Turned { http, principal, refusal }) => {
                if let (Some(line), Some(http)) = (&mut line, &http) {
                    line.asked_by(&principal, http.server.name);
                }
                (http, Err(refusal.into()))
            }
        };
        let metrics = http.as_ref().map_or(&self.metrics, |http| &http.metrics);
        let mut response = outcome.unwrap_or_else(|refused| refuse(metrics, &refused));
        if let Some(fields) = &origin {
            access::expose(fields, &mut response);
        }
        metrics.request_counted(verb, "mcp", response.status().as_u16());
        metrics.request_seconds.observe(began.elapsed());
        match line {
            Some(line) => {
                let line = line.answered(response.status());
                response.map(|body| body.logged(line))
            }
            None => response,
        }
    }

    /// The fields of a page that may ask: only such a page may also read what it is told.
    fn readable_by(&self, request: &Request<Incoming>) -> Option<Box<http::HeaderMap>> {
        let fields = request.headers();
        let is_allowed = fields.contains_key(http::header::ORIGIN) && self.served().access.check_origin(fields).is_ok();
        is_allowed.then(|| Box::new(fields.clone()))
    }
}

impl Served {
    /// Whose path that is, and what it is for there.
    pub(super) fn find(&self, path: &str) -> Option<(&Arc<Http>, Place)> {
        self.servers.iter().find_map(|http| Some((http, http.place(path)?)))
    }
}

fn refuse(metrics: &Metrics, refused: &Refused) -> Response<Body> {
    metrics.rejection_counted(refused.refusal.label());
    debug!(reason = refused.refusal.label(), "refused");
    reply::refusal(refused)
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
