//! The admin listener: whether the gateway lives and is ready, and what it counts. GET only, no CORS, never on the MCP port.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};

use super::body::Body;
use super::reply;
use crate::config::Access;
use crate::metrics::Metrics;
use crate::server::Server;
use crate::shutdown::Shutdown;

const TEXT: &str = "text/plain; charset=utf-8";

pub(crate) struct Admin {
    pub(crate) server: Arc<Server>,
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
        match request.uri().path() {
            "/livez" => reply::text(StatusCode::OK, TEXT, "alive\n".to_owned()),
            "/readyz" => match self.readiness() {
                Ok(()) => reply::text(StatusCode::OK, TEXT, "ready\n".to_owned()),
                Err(reason) => reply::text(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {reason}\n")),
            },
            "/metrics" => {
                self.metrics.child_resident_bytes.set(self.server.children_resident_bytes());
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                reply::text(StatusCode::OK, kind, self.metrics.print())
            }
            "/version" => {
                let version = format!("{{\"name\":\"mcp-http-gateway\",\"version\":\"{}\"}}\n", env!("CARGO_PKG_VERSION"));
                reply::text(StatusCode::OK, "application/json", version)
            }
            _ => reply::text(StatusCode::NOT_FOUND, TEXT, "/livez /readyz /metrics /version\n".to_owned()),
        }
    }

    fn readiness(&self) -> Result<(), String> {
        if self.shutdown.is_draining() {
            return Err("draining".to_owned());
        }
        self.server.readiness()
    }
}
