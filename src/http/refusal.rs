//! Why requests are turned away: the one place that turns a refusal into a status and a JSON-RPC error.

use std::time::Duration;

use http::StatusCode;

use crate::link::NotPosted;
use crate::pool::starter::Shortage;
use crate::pool::{NoChild, NotTaken, Pool};
use crate::protocol::jsonrpc::{
    self, HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, MISSING_CAPABILITY, PARSE_ERROR,
    UNSUPPORTED_VERSION, Unreadable,
};

mod words;

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
    /// Nobody was named, or nobody who may enter.
    Unauthorized {
        realm: &'static str,
        is_wrong: bool,
        takes_tokens: bool,
    },
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
    /// The principal has its share of the sessions.
    TooManyOwnSessions,
    /// The principal has its share of the calls in flight.
    TooManyOwnCalls,
    /// The principal calls more often than it may; when it may again.
    TooFast(Duration),
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
            // RFC 9110, 15.5.2.
            Refusal::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
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
            // RFC 6585, 4.
            Refusal::TooManyCalls
            | Refusal::TooManyLeases
            | Refusal::TooManyOwn
            | Refusal::TooManyOwnSessions
            | Refusal::TooManyOwnCalls
            | Refusal::TooFast(_) => StatusCode::TOO_MANY_REQUESTS,
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
            | Refusal::TooManyOwnSessions
            | Refusal::TooManyOwnCalls
            | Refusal::TooFast(_)
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
            Refusal::Unauthorized { .. } => "unauthorized",
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
            Refusal::TooManyOwnSessions => "too_many_own_sessions",
            Refusal::TooManyOwnCalls => "too_many_own_calls",
            Refusal::TooFast(_) => "too_fast",
            Refusal::Short(Shortage::Children) => "too_many_children",
            Refusal::Short(Shortage::Memory) => "too_little_memory",
            Refusal::Short(Shortage::Budget) | Refusal::NoBudget => "no_budget",
            Refusal::Short(Shortage::BackingOff(_)) => "backing_off",
            Refusal::Short(Shortage::Replaced) => "replaced",
            Refusal::ChildBusy => "child_busy",
            Refusal::Draining => "draining",
            Refusal::NotOpened(_) => "not_opened",
        }
    }

    /// Whom the client is told to show itself to, and by what (RFC 9110, 11.6.1; RFC 6750, 3).
    pub(super) fn challenge(&self) -> Option<String> {
        let Refusal::Unauthorized { realm, is_wrong, takes_tokens } = self else { return None };
        let scheme = if *takes_tokens { "Bearer" } else { "Certificate" };
        let error = if *is_wrong { ", error=\"invalid_token\"" } else { "" };
        Some(format!("{scheme} realm=\"{realm}\"{error}"))
    }

    /// In seconds; for bounds that others may leave soon.
    pub(super) fn retry_after(&self) -> Option<u32> {
        match self {
            Refusal::TooManyCalls
            | Refusal::TooManyLeases
            | Refusal::TooManyOwn
            | Refusal::TooManyOwnCalls
            | Refusal::ChildBusy
            | Refusal::NoBudget
            | Refusal::Short(Shortage::Budget | Shortage::Replaced) => Some(1),
            Refusal::TooFast(wait) => Some(seconds(*wait)),
            Refusal::Short(Shortage::BackingOff(wait)) => Some(seconds(wait.again_in)),
            Refusal::TooManySessions
            | Refusal::TooManyOwnSessions
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
