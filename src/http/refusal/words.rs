//! What a client is told of a refusal: what is wrong, and the option that says otherwise. Never repeats a secret, and of what the
//! client wrote only what it needs to see its fault.

use serde_json::json;

use super::Refusal;
use crate::pool::starter::{Shortage, Wait};
use crate::protocol::jsonrpc::Unreadable;
use crate::protocol::meta::TASKS;
use crate::protocol::revision::Revision;

impl Refusal {
    pub(super) fn text(&self) -> String {
        match self {
            Refusal::UriTooLong => "URI Too Long: at most 8192 bytes".to_owned(),
            Refusal::HeadersTooLarge => "Header fields too large: see --max-headers, and at most 100 of them".to_owned(),
            Refusal::BadAuthority(text) => format!("Bad Request: {text}"),
            Refusal::BadFraming => "Bad Request: the only transfer coding is chunked".to_owned(),
            Refusal::NoHost => "Misdirected Request: no Host header".to_owned(),
            Refusal::HostNotAllowed(host) => {
                format!(
                    "Misdirected Request: host {host:?} is not served here; if it should be, start the gateway with --allowed-host {host}"
                )
            }
            Refusal::OriginNotAllowed(origin) => {
                format!(
                    "Forbidden: origin {origin:?} is not allowed; if it should be, start the gateway with --allowed-origin {origin}"
                )
            }
            Refusal::Unauthorized { is_wrong: true, .. } => {
                "Unauthorized: the token is not one of this server's (--bearer-tokens)".to_owned()
            }
            Refusal::Unauthorized { takes_tokens: true, .. } => {
                "Unauthorized: send a token of this server as Authorization: Bearer TOKEN, or as X-API-Key".to_owned()
            }
            Refusal::Unauthorized { .. } => "Unauthorized: connect with a client certificate (--client-ca)".to_owned(),
            Refusal::NoSuchPath => "Not Found: the MCP endpoint is elsewhere (--endpoint)".to_owned(),
            Refusal::MethodNotAllowed | Refusal::OnlyMethod(_) => "Method Not Allowed".to_owned(),
            Refusal::NotAcceptable(text) => format!("Not Acceptable: {text}"),
            Refusal::NotJson => "Unsupported Media Type: Content-Type must be application/json".to_owned(),
            Refusal::Encoded => "Unsupported Media Type: the body must not have a Content-Encoding".to_owned(),
            Refusal::BodyTooLarge => "Content Too Large: the body is larger than --max-body".to_owned(),
            Refusal::BodyTooSlow => "Request Timeout: the body took longer than 30 s".to_owned(),
            Refusal::BodyCut => "Bad Request: the body ended early".to_owned(),
            Refusal::Unreadable(Unreadable::NotUtf8) => "Parse error: the body is not UTF-8".to_owned(),
            Refusal::Unreadable(Unreadable::NotJson(at)) => format!("Parse error: not JSON at byte {at}"),
            Refusal::Unreadable(Unreadable::TooDeep) => "Invalid Request: nested deeper than 128 levels".to_owned(),
            Refusal::Unreadable(Unreadable::Batch) => "Invalid Request: a batch cannot hold batches".to_owned(),
            Refusal::Unreadable(Unreadable::Shape(text, _)) => format!("Invalid Request: {text}"),
            Refusal::Misplaced(text) => format!("Invalid Request: {text}"),
            Refusal::NoSessionId => "Bad Request: Missing session ID".to_owned(),
            Refusal::NoSuchSession => "Session not found".to_owned(),
            Refusal::UnsupportedRevision(given) => {
                format!("Bad Request: Unsupported protocol version: {given}. Supported versions: {}", Revision::list())
            }
            Refusal::AlreadyInitialized => "Invalid Request: Server already initialized".to_owned(),
            Refusal::HeaderMismatch(text) => text.clone(),
            Refusal::InvalidParams(text) => format!("Invalid params: {text}"),
            Refusal::UnsupportedModern(_) => "Unsupported protocol version".to_owned(),
            Refusal::NoSuchMethod => "Method not found".to_owned(),
            Refusal::PostOnly => "Method Not Allowed: there is POST only".to_owned(),
            Refusal::AnswerPosted => "Invalid Request: answers are sent by retrying the request that was asked in".to_owned(),
            Refusal::TasksNotDeclared => "the client did not declare the tasks extension".to_owned(),
            Refusal::BadState => "Invalid params: requestState is not good for this request".to_owned(),
            Refusal::BadAnswer(what) => format!("Invalid params: an entry of inputResponses {what}"),
            Refusal::TooManyLeases => "Too many calls that the server may ask something in (--max-leases)".to_owned(),
            Refusal::TooManyOwn => "Too many server processes for one client (--max-leases and --max-parked together)".to_owned(),
            Refusal::TooManyListens => "Too many open subscriptions (--max-calls)".to_owned(),
            Refusal::BadEventId => "Bad Request: Last-Event-ID was not given by this session".to_owned(),
            Refusal::EventIdExpired => "Bad Request: the stream of this Last-Event-ID is no longer kept (--log-bytes)".to_owned(),
            Refusal::StreamTaken => "Conflict: Only one SSE stream is allowed per session".to_owned(),
            Refusal::TooManyCalls => "Too many calls in flight in this session (--max-calls)".to_owned(),
            Refusal::TooManySessions => "Too many open sessions (--max-sessions)".to_owned(),
            Refusal::TooManyOwnSessions => "Too many open sessions of one client (--max-principal-sessions)".to_owned(),
            Refusal::TooManyOwnCalls => "Too many calls of one client in flight (--max-principal-calls)".to_owned(),
            Refusal::TooFast(_) => "Too many calls of one client in a second (--max-principal-rate)".to_owned(),
            Refusal::Short(Shortage::Children) => "Too many server processes (--max-children)".to_owned(),
            Refusal::Short(Shortage::Memory) => "Too little memory is left for another server process (--memory-gate)".to_owned(),
            Refusal::Short(Shortage::BackingOff(wait)) => {
                let Wait { failures, reason, .. } = wait;
                let times = if *failures == 1 { "once".to_owned() } else { format!("{failures} times in a row") };
                format!("The server failed to start, {times}, and is not tried again yet: {reason}")
            }
            Refusal::Short(Shortage::Replaced) => "The server has just been replaced by another; ask again".to_owned(),
            Refusal::ChildBusy => "The server does not read its input: 1 MiB waits for it".to_owned(),
            Refusal::NoBudget | Refusal::Short(Shortage::Budget) => {
                "What the gateway keeps for clients and servers is at its bound (--log-bytes-total)".to_owned()
            }
            Refusal::Draining => "The gateway is stopping".to_owned(),
            Refusal::NotOpened(correlation) => {
                format!("The server could not be started; see the gateway's log for {correlation}")
            }
        }
    }

    /// What a program is told beside the text.
    pub(super) fn data(&self) -> Option<serde_json::Value> {
        match self {
            Refusal::UnsupportedModern(requested) => Some(json!({ "supported": Revision::MODERN, "requested": requested })),
            Refusal::TasksNotDeclared => Some(json!({ "requiredCapabilities": { "extensions": { TASKS: {} } } })),
            Refusal::BadState => Some(json!({ "reason": "invalid_request_state" })),
            _ => None,
        }
    }
}
