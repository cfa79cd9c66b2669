//! One line a request in the log, under the target `access`: who asked whom for what, how that ended, how long it took, how large
//! it was. Logged when the last byte was handed over, or the client went away. What a client wrote is escaped and short.

use http::{Request, StatusCode};
use tokio::time::Instant;
use tracing::info;

use super::check::Call;
use crate::principal::Principal;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::object;

/// What is shown of a name that a client chose.
const SHOWN: usize = 64;

pub(super) struct Line {
    began: Instant,
    verb: &'static str,
    /// As the client said; without a length, as it was read.
    request_bytes: u64,
    response_bytes: u64,
    server: &'static str,
    principal: Principal,
    method: String,
    tool: Option<String>,
    /// None while there is no answer.
    status: Option<StatusCode>,
}

/// What is logged of a request whose client left before it was answered.
const LEFT: u16 = 499;

impl Line {
    pub(super) fn new<B>(verb: &'static str, request: &Request<B>, began: Instant) -> Line {
        let length = request.headers().get(http::header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        Line {
            began,
            verb,
            request_bytes: length.unwrap_or(0),
            response_bytes: 0,
            server: "",
            principal: Principal::Anonymous,
            method: String::new(),
            tool: None,
            status: None,
        }
    }

    pub(super) fn asked_by(&mut self, principal: &Principal, server: &'static str) {
        (self.principal, self.server) = (principal.clone(), server);
    }

    /// What is asked for, once that was read.
    pub(super) fn about(&mut self, call: &Call) {
        let items: &[_] = match call {
            Call::Open(posted) | Call::Ask(_, posted) | Call::Tell(_, posted) => &[(posted.text.clone(), posted.envelope)],
            Call::Modern(modern) => &[(modern.posted.text.clone(), modern.posted.envelope)],
            Call::Once(_, items, _) | Call::Batch(_, items) | Call::OldMessages(_, items, _) => items,
            _ => return,
        };
        self.request_bytes = self.request_bytes.max(items.iter().map(|(text, _)| text.len() as u64).sum());
        self.method = joined(items.iter().map(|(text, envelope)| short(&envelope.method_name(text))));
        self.tool =
            Some(joined(items.iter().filter_map(|(text, envelope)| tool(text, envelope)))).filter(|tools| !tools.is_empty());
    }

    pub(super) fn answered(mut self: Box<Self>, status: StatusCode) -> Box<Line> {
        self.status = Some(status);
        self
    }

    /// So many bytes of the answer were handed over.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.response_bytes += bytes as u64;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let method = if self.method.is_empty() { self.verb } else { &self.method };
        info!(
            target: "access",
            principal = self.principal.name(),
            server = self.server,
            method,
            tool = self.tool.as_deref(),
            status = self.status.map_or(LEFT, |status| status.as_u16()),
            duration_ms = self.began.elapsed().as_secs_f64() * 1e3,
            request_bytes = self.request_bytes,
            response_bytes = self.response_bytes,
            "call"
        );
    }
}

/// The tool, prompt or resource that a request names.
fn tool(text: &[u8], envelope: &Envelope) -> Option<String> {
    let params = envelope.params?.of(text);
    let named = object::member(params, "name").or_else(|| object::member(params, "uri"))?;
    Some(short(&object::string(named.value)?))
}

/// Of messages that came together.
fn joined(names: impl Iterator<Item = String>) -> String {
    let mut all = names.collect::<Vec<_>>().join(",");
    all.truncate(all.floor_char_boundary(4 * SHOWN));
    all
}

fn short(text: &str) -> String {
    text.chars().take(SHOWN).flat_map(char::escape_default).collect()
}
