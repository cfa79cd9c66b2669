//! The admin listener: whether the gateway lives and is ready, and what it counts. GET only, no CORS, never on the MCP port.

use std::sync::Arc;

use http::header::ACCEPT;
use http::{Method, Request, Response, StatusCode};

use super::Http;
use super::body::Body;
use super::endpoints::Endpoints;
use super::reply;
use crate::child::spawner::Spawner;
use crate::config::Access;
use crate::metrics::{Format, Metrics};
use crate::shutdown::Shutdown;

const TEXT: &str = "text/plain; charset=utf-8";

pub(crate) struct Admin {
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) spawner: Spawner,
    pub(crate) access: Access,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Admin {
    pub(crate) fn respond<B>(&self, request: &Request<B>) -> Response<Body> {
        let fields = request.headers();
        let access = self.access.check_host(request.uri(), fields).and_then(|()| self.access.check_origin(fields));
        if let Err(refusal) = access {
            return reply::refusal(&refusal.into());
        }
        if *request.method() != Method::GET {
            let mut response = reply::text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET only\n".to_owned());
            response.headers_mut().insert(http::header::ALLOW, http::HeaderValue::from_static("GET"));
            return response;
        }
        let path = request.uri().path();
        match path {
            "/livez" => reply::text(StatusCode::OK, TEXT, "alive\n".to_owned()),
            "/readyz" => self.readiness(&self.servers()),
            "/metrics" => {
                self.metrics.child_resident_bytes.set(self.spawner.resident_bytes());
                let accept = fields.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
                let format = Format::accepted_by(accept);
                let servers = self.servers();
                let named = servers.iter().map(|http| &http.metrics).filter(|metrics| !Arc::ptr_eq(metrics, &self.metrics));
                let text = self.metrics.print(&named.map(Arc::clone).collect::<Vec<_>>(), format);
                reply::text(StatusCode::OK, format.content_type(), text)
            }
            "/version" => {
                let version = format!("{{\"name\":\"mcp-http-gateway\",\"version\":\"{}\"}}\n", env!("CARGO_PKG_VERSION"));
                reply::text(StatusCode::OK, "application/json", version)
            }
            _ => match path.strip_prefix("/readyz/").map(|name| self.named(name)) {
                Some(Some(http)) => self.readiness(&[http]),
                _ => reply::text(StatusCode::NOT_FOUND, TEXT, "/livez /readyz /readyz/SERVER /metrics /version\n".to_owned()),
            },
        }
    }

    fn servers(&self) -> Vec<Arc<Http>> {
        self.endpoints.served().servers.clone()
    }

    fn named(&self, name: &str) -> Option<Arc<Http>> {
        self.servers().into_iter().find(|http| http.server.name == name)
    }

    /// Whether each of these servers is ready: a line each, where there is more than one or it is not.
    fn readiness(&self, servers: &[Arc<Http>]) -> Response<Body> {
        if self.shutdown.is_draining() {
            return reply::text(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready: draining\n".to_owned());
        }
        let states: Vec<_> = servers.iter().map(|http| (http.server.name, http.server.readiness())).collect();
        let is_ready = states.iter().all(|(_, state)| state.is_ok());
        let lines = match states.as_slice() {
            [(_, Ok(()))] => "ready\n".to_owned(),
            [(_, Err(reason))] => format!("not ready: {reason}\n"),
            states => {
                let line = |(name, state): &(&str, Result<(), String>)| match state {
                    Ok(()) => format!("{name}: ready\n"),
                    Err(reason) => format!("{name}: not ready: {reason}\n"),
                };
                states.iter().map(line).collect()
            }
        };
        reply::text(if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, TEXT, lines)
    }
}
