//! Why requests are turned away: the one place that turns a refusal into a status and a JSON-RPC error.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::link::NotPosted;
use crate::pool::starter::{Shortage, Wait};
use crate::pool::{NoChild, NotTaken, Pool};
use crate::protocol::jsonrpc::{
    self, HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, MISSING_CAPABILITY, PARSE_ERROR,
    UNSUPPORTED_VERSION, Unreadable,
};
use crate::protocol::meta::TASKS;
use crate::protocol::revision::Revision;

/// Why a request was turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    UriTooLong,
    HeadersTooLarge,
    /// A transfer coding other than `chunked`: where the body ends would be a guess.
    BadFraming,
    NoHost,
    /// More than one authority, or none that can be read.
    BadAuthority(&'static str),
    HostNotAllowed(String),
    OriginNotAllowed(String),
    NoSuchPath,
    MethodNotAllowed,
    NotAcceptable(&'static str),
    NotJson,
    Encoded,
    BodyTooLarge,
    BodyTooSlow,
    BodyCut,
    Unreadable(Unreadable),
    /// A message that may not come here or now; why.
    Misplaced(&'static str),
    /// The only method of this path.
    OnlyMethod(&'static str),
    NoSessionId,
    NoSuchSession,
    UnsupportedRevision(String),
    AlreadyInitialized,
    /// Header fields and body do not say the same; what, in words.
    HeaderMismatch(String),
    InvalidParams(String),
    /// The revision that a modern request names.
    UnsupportedModern(String),
    NoSuchMethod,
    /// GET and DELETE are of sessions.
    PostOnly,
    /// A modern client answers by retrying.
    AnswerPosted,
    TasksNotDeclared,
    /// A `requestState` that is not good for this request, for whatever reason.
    BadState,
    BadAnswer(&'static str),
    BadEventId,
    EventIdExpired,
    StreamTaken,
    TooManyCalls,
    TooManyLeases,
    /// The principal has its share of the children.
    TooManyOwn,
    TooManyListens,
    TooManySessions,
    /// No child is started now, and why.
    Short(Shortage),
    ChildBusy,
    /// What is kept for clients and children is at its bound.
    NoBudget,
    Draining,
    /// The reason is in the log under this correlation id.
    NotOpened(String),
}

/// A refusal, and the id of the request that it answers, as far as it could be read.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) id: Option<Box<[u8]>>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Refused { refusal, id: None }
    }
}

impl Refusal {
    pub(crate) fn about(self, id: Option<&[u8]>) -> Refused {
        Refused { refusal: self, id: id.map(Into::into) }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Refusal::UriTooLong => StatusCode::URI_TOO_LONG,
            Refusal::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            // RFC 9112, 3.2 and 6.1.
            Refusal::BadFraming | Refusal::BadAuthority(_) => StatusCode::BAD_REQUEST,
            Refusal::NoHost | Refusal::HostNotAllowed(_) => StatusCode::MISDIRECTED_REQUEST,
            // 2025-11-25, Transports, Security Warning, 1.
            Refusal::OriginNotAllowed(_) => StatusCode::FORBIDDEN,
            // 2025-11-25, Session Management, 3: an ended session answers 404, so the client starts anew.
            Refusal::NoSuchPath | Refusal::NoSuchSession | Refusal::NoSuchMethod => StatusCode::NOT_FOUND,
            Refusal::MethodNotAllowed | Refusal::PostOnly | Refusal::OnlyMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::NotAcceptable(_) => StatusCode::NOT_ACCEPTABLE,
            Refusal::NotJson | Refusal::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Refusal::BodyCut
            | Refusal::Unreadable(_)
            | Refusal::Misplaced(_)
            | Refusal::NoSessionId
            | Refusal::UnsupportedRevision(_)
            | Refusal::AlreadyInitialized
            | Refusal::HeaderMismatch(_)
            | Refusal::InvalidParams(_)
            | Refusal::UnsupportedModern(_)
            | Refusal::AnswerPosted
            | Refusal::TasksNotDeclared
            | Refusal::BadState
            | Refusal::BadAnswer(_)
            | Refusal::BadEventId
            | Refusal::EventIdExpired => StatusCode::BAD_REQUEST,
            Refusal::StreamTaken => StatusCode::CONFLICT,
            Refusal::TooManyCalls | Refusal::TooManyLeases | Refusal::TooManyOwn => StatusCode::TOO_MANY_REQUESTS,
            Refusal::TooManySessions
            | Refusal::TooManyListens
            | Refusal::Short(_)
            | Refusal::ChildBusy
            | Refusal::NoBudget
            | Refusal::Draining
            | Refusal::NotOpened(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn code(&self) -> i32 {
        match self {
            Refusal::Unreadable(Unreadable::NotUtf8 | Unreadable::NotJson(_)) => PARSE_ERROR,
            Refusal::HeaderMismatch(_) => HEADER_MISMATCH,
            Refusal::InvalidParams(_) | Refusal::BadState | Refusal::BadAnswer(_) => INVALID_PARAMS,
            Refusal::UnsupportedModern(_) => UNSUPPORTED_VERSION,
            Refusal::NoSuchMethod => METHOD_NOT_FOUND,
            Refusal::TasksNotDeclared => MISSING_CAPABILITY,
            Refusal::TooManySessions
            | Refusal::Short(_)
            | Refusal::TooManyCalls
            | Refusal::TooManyLeases
            | Refusal::TooManyOwn
            | Refusal::TooManyListens
            | Refusal::ChildBusy
            | Refusal::NoBudget
            | Refusal::Draining
            | Refusal::NotOpened(_) => INTERNAL_ERROR,
            _ => INVALID_REQUEST,
        }
    }

    /// A metric's label.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Refusal::UriTooLong => "uri_too_long",
            Refusal::HeadersTooLarge => "headers_too_large",
            Refusal::BadAuthority(_) => "bad_authority",
            Refusal::BadFraming => "bad_framing",
            Refusal::NoHost => "no_host",
            Refusal::HostNotAllowed(_) => "host_not_allowed",
            Refusal::OriginNotAllowed(_) => "origin_not_allowed",
            Refusal::NoSuchPath => "no_such_path",
            Refusal::MethodNotAllowed | Refusal::OnlyMethod(_) => "method_not_allowed",
            Refusal::NotAcceptable(_) => "not_acceptable",
            Refusal::NotJson => "not_json",
            Refusal::Encoded => "encoded",
            Refusal::BodyTooLarge => "body_too_large",
            Refusal::BodyTooSlow => "body_too_slow",
            Refusal::BodyCut => "body_cut",
            Refusal::Unreadable(_) => "unreadable",
            Refusal::Misplaced(_) => "misplaced",
            Refusal::NoSessionId => "no_session_id",
            Refusal::NoSuchSession => "no_such_session",
            Refusal::UnsupportedRevision(_) => "unsupported_revision",
            Refusal::AlreadyInitialized => "already_initialized",
            Refusal::HeaderMismatch(_) => "header_mismatch",
            Refusal::InvalidParams(_) => "invalid_params",
            Refusal::UnsupportedModern(_) => "unsupported_modern_revision",
            Refusal::NoSuchMethod => "no_such_method",
            Refusal::PostOnly => "post_only",
            Refusal::AnswerPosted => "answer_posted",
            Refusal::TasksNotDeclared => "tasks_not_declared",
            Refusal::BadState => "bad_state",
            Refusal::BadAnswer(_) => "bad_answer",
            Refusal::TooManyLeases => "too_many_leases",
            Refusal::TooManyOwn => "too_many_own_children",
            Refusal::TooManyListens => "too_many_listens",
            Refusal::BadEventId => "bad_event_id",
            Refusal::EventIdExpired => "event_id_expired",
            Refusal::StreamTaken => "stream_taken",
            Refusal::TooManyCalls => "too_many_calls",
            Refusal::TooManySessions => "too_many_sessions",
            Refusal::Short(Shortage::Children) => "too_many_children",
            Refusal::Short(Shortage::Memory) => "too_little_memory",
            Refusal::Short(Shortage::Budget) | Refusal::NoBudget => "no_budget",
            Refusal::Short(Shortage::BackingOff(_)) => "backing_off",
            Refusal::ChildBusy => "child_busy",
            Refusal::Draining => "draining",
            Refusal::NotOpened(_) => "not_opened",
        }
    }

    fn text(&self) -> String {
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
            Refusal::Short(Shortage::Children) => "Too many server processes (--max-children)".to_owned(),
            Refusal::Short(Shortage::Memory) => "Too little memory is left for another server process (--memory-gate)".to_owned(),
            Refusal::Short(Shortage::BackingOff(wait)) => {
                let Wait { failures, reason, .. } = wait;
                let times = if *failures == 1 { "once".to_owned() } else { format!("{failures} times in a row") };
                format!("The server failed to start, {times}, and is not tried again yet: {reason}")
            }
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
    fn data(&self) -> Option<serde_json::Value> {
        match self {
            Refusal::UnsupportedModern(requested) => Some(json!({ "supported": Revision::MODERN, "requested": requested })),
            Refusal::TasksNotDeclared => Some(json!({ "requiredCapabilities": { "extensions": { TASKS: {} } } })),
            Refusal::BadState => Some(json!({ "reason": "invalid_request_state" })),
            _ => None,
        }
    }

    /// In seconds; for bounds that others may leave soon.
    pub(super) fn retry_after(&self) -> Option<u32> {
        match self {
            Refusal::TooManyCalls
            | Refusal::TooManyLeases
            | Refusal::TooManyOwn
            | Refusal::ChildBusy
            | Refusal::NoBudget
            | Refusal::Short(Shortage::Budget) => Some(1),
            Refusal::Short(Shortage::BackingOff(wait)) => Some(seconds(wait.again_in)),
            Refusal::TooManySessions
            | Refusal::TooManyListens
            | Refusal::Short(_)
            | Refusal::Draining
            | Refusal::NotOpened(_) => Some(5),
            _ => None,
        }
    }

    /// The rest of the request is not going to be read.
    pub(super) fn ends_connection(&self) -> bool {
        matches!(
            self,
            Refusal::UriTooLong
                | Refusal::HeadersTooLarge
                | Refusal::BadFraming
                | Refusal::BodyTooLarge
                | Refusal::BodyTooSlow
                | Refusal::BodyCut
                | Refusal::Draining
        )
    }
}

/// Why no child took a request.
pub(crate) fn not_taken(pool: &Pool, why: NotTaken) -> Refusal {
    match why {
        NotTaken::NoChild(NoChild::Short(why)) => Refusal::Short(why),
        NotTaken::NoChild(NoChild::TooManyOwn) => Refusal::TooManyOwn,
        NotTaken::NoChild(NoChild::NotStarted { correlation, .. }) => Refusal::NotOpened(correlation),
        NotTaken::NoChild(NoChild::OtherEra(reason)) => {
            pool.suspect.notify_one();
            Refusal::NotOpened(pool.correlated(&reason))
        }
        NotTaken::NotPosted(NotPosted::ChildBusy) => Refusal::ChildBusy,
        NotTaken::NotPosted(NotPosted::NoBudget) => Refusal::NoBudget,
        NotTaken::NotPosted(NotPosted::TooManyCalls) => Refusal::TooManyCalls,
        NotTaken::NotPosted(NotPosted::Ended) | NotTaken::ChildLost => Refusal::NotOpened(pool.correlated("it ended")),
        NotTaken::TooManyLeases => Refusal::TooManyLeases,
        NotTaken::TooManyListens => Refusal::TooManyListens,
        NotTaken::BadState => Refusal::BadState,
        NotTaken::BadAnswer(what) => Refusal::BadAnswer(what),
    }
}

impl Refused {
    /// The message that says so.
    pub(crate) fn message(&self) -> Vec<u8> {
        jsonrpc::error(self.id.as_deref(), self.refusal.code(), &self.refusal.text(), self.refusal.data())
    }
}

/// Whole seconds, at least one.
fn seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1000).max(1)).unwrap_or(u32::MAX)
}
