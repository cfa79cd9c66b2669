//! What changes in a message between the eras, and whose it is while it changes. Pure: tables and state machines without
//! I/O, clock or randomness; `pool` puts them behind links.

pub(crate) mod capabilities;
pub(crate) mod discover;
pub(crate) mod legacy_on_legacy;
pub(crate) mod legacy_on_modern;
pub(crate) mod modern_on_legacy;
pub(crate) mod modern_on_modern;
pub(crate) mod subject;
pub(crate) mod subscriptions;
pub(crate) mod ticket;

use std::time::Duration;

use bytes::Bytes;

use self::legacy_on_modern::Dress;
use crate::protocol::fingerprint::fingerprint;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::meta::{Ask, Level, Request};
use crate::protocol::scan::{Span, Value};

/// How long calls may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Without an answer and without progress.
    pub(crate) request: Duration,
    /// Whatever the progress.
    pub(crate) hard: Duration,
    /// A parked call waits so long for its client.
    pub(crate) park: Duration,
    /// A cancelled call may go on so long in a child that nobody else may ask meanwhile.
    pub(crate) grace: Duration,
}

/// A modern client's request, as far as routing needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) text: &'a Bytes,
    /// The id's token.
    pub(crate) id: (Span, &'a [u8]),
    pub(crate) token: Option<Span>,
    pub(crate) ask: Ask,
    pub(crate) level: Option<Level>,
    pub(crate) request: Request<'a>,
    /// From the header fields, for a child that would not see them.
    pub(crate) trace: Option<Trace<'a>>,
    /// It is asked on behalf of a legacy client's session.
    pub(crate) session: Option<OfSession>,
    /// The text is a legacy client's.
    pub(crate) dress: Option<Dress<'a>>,
}

/// A session in front of shared children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OfSession {
    /// A number that no other session of this process ever has.
    pub(crate) number: u64,
    /// The client chose its log level. Else it gets logs only where that costs nobody anything.
    pub(crate) has_level: bool,
}

/// The trace that a request belongs to (W3C Trace Context), as its header fields tell it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace<'a> {
    pub(crate) parent: &'a str,
    pub(crate) state: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// A request as its text tells it.
    pub(crate) fn read(text: &'a Bytes, envelope: &Envelope, ask: Ask) -> Asked<'a> {
        let id = envelope.id.unwrap_or_default();
        Asked {
            text,
            id: (id, id.of(text)),
            token: envelope.asked_token,
            ask,
            level: None,
            request: Request::read(text, envelope, ask),
            trace: None,
            session: None,
            dress: None,
        }
    }
}

impl Asked<'_> {
    /// Which call this is: a retry must be the same one (2026-07-28, Multi Round-Trip Requests, Server Requirements, 5).
    pub(crate) fn digest(&self) -> [u8; 32] {
        fingerprint(&format!("{:?}", self.ask), &[self.request.name, self.request.arguments])
    }

    /// Whether log messages may come of it. A subscription's stream carries none (2026-07-28, Logging, Per-request log level).
    pub(crate) fn wants_logs(&self) -> bool {
        self.level.is_some() && self.ask != Ask::Listen
    }

    /// Whether another child is looked for where this one cannot tell whose its logs are.
    pub(crate) fn insists_on_logs(&self) -> bool {
        self.wants_logs() && self.session.is_none_or(|session| session.has_level)
    }

    /// Where a slice of the text stands in it.
    pub(crate) fn span_of(&self, slice: &[u8]) -> Span {
        let start = slice.as_ptr() as usize - self.text.as_ptr() as usize;
        Span::new(start..start + slice.len())
    }

    /// The state that a retry brings, where there can be a retry.
    pub(crate) fn retried_state(&self) -> Option<&[u8]> {
        self.request.state.filter(|_| self.ask.may_ask())
    }

    /// The answers that a retry brings, if they are an object.
    pub(crate) fn responses(&self) -> Option<&[u8]> {
        self.request.responses.filter(|(kind, _)| *kind == Value::Object).map(|(_, value)| value)
    }
}

/// What a child's code becomes that is not its own to give, or not one that modern clients know.
pub(crate) const RESERVED: std::ops::RangeInclusive<i64> = -32099..=-32020;

/// The code of an `error` object; 0 if it has none.
pub(crate) fn code_of(error: &[u8]) -> i64 {
    let code = crate::protocol::object::member(error, "code");
    code.and_then(|code| std::str::from_utf8(code.value).ok()?.parse().ok()).unwrap_or(0)
}
