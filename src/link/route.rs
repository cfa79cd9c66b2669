//! Whose is each message? What a link asks of the router behind its lock, and what a router may want done.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::log::Log;
use super::stream::EventKind;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::scan::Span;
use crate::protocol::splice::{self, Around, Spliced};
use crate::protocol::sse::StreamId;

/// Decides about the messages of one child. Pure: behind a link's lock, with the time as a parameter.
pub(crate) trait Route: Send + 'static {
    /// A line of the child.
    fn line(&mut self, text: &[u8], envelope: &Envelope, log: &Log, now: Instant, out: &mut Vec<Routed>);

    /// A line of the child was lost; `why` is for whom it was meant.
    fn line_lost(&mut self, why: &str, now: Instant, out: &mut Vec<Routed>);

    /// Ends what has taken too long.
    fn tick(&mut self, now: Instant, out: &mut Vec<Routed>);

    /// The child has gone or the link ends: every call in flight gets this error.
    fn fail_all(&mut self, message: &str, data: &serde_json::Value, now: Instant, out: &mut Vec<Routed>);

    /// The client that read this stream has gone before its end, and cannot come back.
    fn left(&mut self, stream: StreamId, now: Instant, out: &mut Vec<Routed>);

    /// A question could not be put on its stream: the line that tells the child.
    fn unasked(&mut self, text: &[u8]) -> Option<Vec<u8>>;

    /// What it wanted to have of a large line, uncopied.
    fn store(&mut self, _: Bytes) {}

    /// Calls that the child has not answered.
    fn calls_in_flight(&self) -> usize;

    /// The child ends, and another may come: from here on what clients say is held.
    fn leaves(&mut self) {}

    /// Whether another child can take the place of this one.
    fn can_go_on(&self) -> bool {
        false
    }

    /// Something is held for a client that is not connected.
    fn is_held(&self) -> bool {
        false
    }
}

/// What can carry messages that are not the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    Events,
    /// JSON mode: the answer alone.
    AnswerOnly,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Routed {
    /// To the child, one line.
    ToChild(Vec<u8>),
    /// The same: most of what the client asked as it is.
    Told(Around),
    /// To the client, on that stream.
    Event(StreamId, EventKind, Vec<u8>),
    /// The same: most of the child's line as it is.
    Passed(StreamId, EventKind, Around),
    /// The same: a whole message that is large.
    Given(StreamId, EventKind, Bytes),
    /// Back to the router, by [`Route::store`]: a stretch of the child's line that is large.
    Stored(Around),
    /// That stream ends without an answer.
    End(StreamId),
    /// To nobody; the reason is a metric's label.
    Dropped(&'static str),
    /// A bound in time was reached; a metric's label.
    Expired(&'static str),
    /// Look at the clock again then.
    Alarm(Instant),
    /// Whoever keeps this link is to know.
    Notice(Notice),
    /// A place that is free again; given back outside the lock.
    Release(Place),
}

impl Routed {
    /// A line of the child with these bytes exchanged, to the client.
    pub(crate) fn passing(stream: StreamId, kind: EventKind, text: &[u8], edits: &mut [(Span, &[u8])]) -> Routed {
        Routed::spliced(stream, kind, splice::pass(text, edits, b""))
    }

    /// What was made of a client's request, to the child.
    pub(crate) fn told(line: Spliced) -> Routed {
        match line {
            Spliced::Whole(line) => Routed::ToChild(line),
            Spliced::Around(around) => Routed::Told(around),
        }
    }

    /// What was made of a line of the child, to the client.
    pub(crate) fn spliced(stream: StreamId, kind: EventKind, line: Spliced) -> Routed {
        match line {
            Spliced::Whole(line) => Routed::Event(stream, kind, line),
            Spliced::Around(around) => Routed::Passed(stream, kind, around),
        }
    }
}

/// A place within a bound; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Place {
    pub(crate) fn new(permit: OwnedSemaphorePermit) -> Place {
        Place { _permit: permit }
    }
}

/// One place is as good as another.
impl PartialEq for Place {
    fn eq(&self, _: &Place) -> bool {
        true
    }
}

impl Eq for Place {}

/// What concerns more than one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The child said that a list or a resource changed: its line.
    Changed(Vec<u8>),
    /// The child is not of the era it was taken for.
    Suspect,
    /// A lease is free, or will never be.
    Freed,
    /// A call was parked.
    Parked,
    /// The child is to take no more calls, and to end when it has none.
    Retire,
    /// A call that was parked is lost with its child: its lease and round.
    Buried(u64, u32),
}
