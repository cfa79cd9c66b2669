//! Replies: the one place that turns a refusal into a status and a JSON-RPC error, and an outcome into a response.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::body::Body;
use crate::protocol::headers::{ACCEL_BUFFERING, EVENT_STREAM, JSON, SESSION_ID};
use crate::protocol::jsonrpc::{
    self, HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, MISSING_CAPABILITY, PARSE_ERROR,
    UNSUPPORTED_VERSION, Unreadable,
};
use crate::protocol::meta::TASKS;
use crate::protocol::revision::Revision;
use crate::protocol::sse;
use crate::session::Session;

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
    /// GET and DELETE are of legacy revisions.
    NotAModernMethod,
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
    TooManyChildren,
    ChildBusy,
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

    fn status(&self) -> StatusCode {
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
            Refusal::MethodNotAllowed | Refusal::NotAModernMethod => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::NotAcceptable(_) => StatusCode::NOT_ACCEPTABLE,
            Refusal::NotJson | Refusal::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Refusal::BodyCut
            | Refusal::Unreadable(_)
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
            | Refusal::TooManyChildren
            | Refusal::ChildBusy
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
            | Refusal::TooManyChildren
            | Refusal::TooManyCalls
            | Refusal::TooManyLeases
            | Refusal::TooManyOwn
            | Refusal::TooManyListens
            | Refusal::ChildBusy
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
            Refusal::MethodNotAllowed => "method_not_allowed",
            Refusal::NotAcceptable(_) => "not_acceptable",
            Refusal::NotJson => "not_json",
            Refusal::Encoded => "encoded",
            Refusal::BodyTooLarge => "body_too_large",
            Refusal::BodyTooSlow => "body_too_slow",
            Refusal::BodyCut => "body_cut",
            Refusal::Unreadable(_) => "unreadable",
            Refusal::NoSessionId => "no_session_id",
            Refusal::NoSuchSession => "no_such_session",
            Refusal::UnsupportedRevision(_) => "unsupported_revision",
            Refusal::AlreadyInitialized => "already_initialized",
            Refusal::HeaderMismatch(_) => "header_mismatch",
            Refusal::InvalidParams(_) => "invalid_params",
            Refusal::UnsupportedModern(_) => "unsupported_modern_revision",
            Refusal::NoSuchMethod => "no_such_method",
            Refusal::NotAModernMethod => "not_a_modern_method",
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
            Refusal::TooManyChildren => "too_many_children",
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
            Refusal::MethodNotAllowed => "Method Not Allowed".to_owned(),
            Refusal::NotAcceptable(text) => format!("Not Acceptable: {text}"),
            Refusal::NotJson => "Unsupported Media Type: Content-Type must be application/json".to_owned(),
            Refusal::Encoded => "Unsupported Media Type: the body must not have a Content-Encoding".to_owned(),
            Refusal::BodyTooLarge => "Content Too Large: the body is larger than --max-body".to_owned(),
            Refusal::BodyTooSlow => "Request Timeout: the body took longer than 30 s".to_owned(),
            Refusal::BodyCut => "Bad Request: the body ended early".to_owned(),
            Refusal::Unreadable(Unreadable::NotUtf8) => "Parse error: the body is not UTF-8".to_owned(),
            Refusal::Unreadable(Unreadable::NotJson(at)) => format!("Parse error: not JSON at byte {at}"),
            Refusal::Unreadable(Unreadable::TooDeep) => "Invalid Request: nested deeper than 128 levels".to_owned(),
            Refusal::Unreadable(Unreadable::Batch) => "Invalid Request: one message a request, no batches".to_owned(),
            Refusal::Unreadable(Unreadable::Shape(text, _)) => format!("Invalid Request: {text}"),
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
            Refusal::NotAModernMethod => "Method Not Allowed: this revision has POST only".to_owned(),
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
            Refusal::TooManyChildren => "Too many server processes (--max-children)".to_owned(),
            Refusal::ChildBusy => "The server does not read its input: 1 MiB waits for it".to_owned(),
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
    fn retry_after(&self) -> Option<u32> {
        match self {
            Refusal::TooManyCalls | Refusal::TooManyLeases | Refusal::TooManyOwn | Refusal::ChildBusy => Some(1),
            Refusal::TooManySessions
            | Refusal::TooManyListens
            | Refusal::TooManyChildren
            | Refusal::Draining
            | Refusal::NotOpened(_) => Some(5),
            _ => None,
        }
    }

    /// The rest of the request is not going to be read.
    fn ends_connection(&self) -> bool {
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

/// The response to a refused request.
pub(crate) fn refusal(refused: &Refused) -> Response<Body> {
    let refusal = &refused.refusal;
    let error = jsonrpc::error(refused.id.as_deref(), refusal.code(), &refusal.text(), refusal.data());
    let mut response = with_type(refusal.status(), JSON, Body::full(error));
    let headers = response.headers_mut();
    if *refusal == Refusal::MethodNotAllowed {
        headers.insert(ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
    }
    if *refusal == Refusal::NotAModernMethod {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    if let Some(seconds) = refusal.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if refusal.ends_connection() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// One message as the whole body.
pub(crate) fn json(message: impl Into<Bytes>, session: Option<&Session>) -> Response<Body> {
    with_session(with_type(StatusCode::OK, JSON, Body::full(message)), session)
}

/// An event stream.
pub(crate) fn stream(body: Body, session: &Session) -> Response<Body> {
    with_session(modern_stream(body), Some(session))
}

/// One message to a modern client, as the whole body.
pub(crate) fn modern_json(status: StatusCode, message: impl Into<Bytes>) -> Response<Body> {
    with_type(status, JSON, Body::full(message))
}

/// An event stream for a modern client: it has no session, and no event an id.
pub(crate) fn modern_stream(body: Body) -> Response<Body> {
    let mut response = with_type(StatusCode::OK, EVENT_STREAM, body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// A message as the only event of a stream without ids.
pub(crate) fn one_event(message: &[u8]) -> Vec<u8> {
    let mut event = Vec::with_capacity(message.len() + 32);
    sse::event_head(&mut event, None);
    event.extend_from_slice(message);
    event.extend_from_slice(sse::EVENT_END);
    event
}

/// A message was taken; there is nothing to say.
pub(crate) fn accepted(session: &Session) -> Response<Body> {
    with_session(status(StatusCode::ACCEPTED), Some(session))
}

/// There is nothing to send, now or later.
pub(crate) fn no_content(session: &Session) -> Response<Body> {
    with_session(status(StatusCode::NO_CONTENT), Some(session))
}

pub(crate) fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

pub(crate) fn text(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    with_type(status, kind, Body::full(text))
}

fn with_type(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn with_session(mut response: Response<Body>, session: Option<&Session>) -> Response<Body> {
    if let Some(session) = session {
        response.headers_mut().insert(SESSION_ID, session.header.clone());
    }
    response
}
