//! Everything of a session that is behind its lock: router, log and outbox, moved together so that what is decided in one
//! order happens in that order. Pure.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use super::cursor::{Cursor, From, NoCursor};
use super::effects::Effects;
use super::log::{Kept, Log};
use super::router::{Carries, Routed, Router};
use super::stream::EventKind;
use crate::child::outbox::{NotTaken, Outbox};
use crate::metrics::Metrics;
use crate::protocol::jsonrpc::{Envelope, Kind};
use crate::protocol::sse::StreamId;

pub(crate) struct State {
    pub(crate) router: Router,
    pub(crate) log: Log,
    pub(crate) outbox: Outbox,
    metrics: Arc<Metrics>,
    max_calls: usize,
    /// When a client last did anything.
    active: Instant,
    ended: bool,
}

/// A line of the child.
pub(crate) enum Line<'a> {
    Message(&'a [u8], Envelope),
    /// Longer than `--max-line`: it was not kept, so nobody knows what it was.
    TooLong,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotPosted {
    Ended,
    /// The child does not read its stdin.
    ChildBusy,
    TooManyCalls,
}

impl State {
    pub(crate) fn new(router: Router, log: Log, outbox: Outbox, max_calls: usize, metrics: Arc<Metrics>, now: Instant) -> Self {
        State { router, log, outbox, metrics, max_calls, active: now, ended: false }
    }

    /// A request of the client: opens its stream and queues its line. Both or neither.
    pub(crate) fn post_request(
        &mut self,
        text: &[u8],
        envelope: &Envelope,
        carries: Carries,
        cut: Option<Arc<Notify>>,
        now: Instant,
    ) -> Result<Cursor, NotPosted> {
        self.active = now;
        if self.ended {
            return Err(NotPosted::Ended);
        }
        if self.router.calls_in_flight() >= self.max_calls {
            return Err(NotPosted::TooManyCalls);
        }
        self.outbox.admits().map_err(NotPosted::from)?;
        let client_id = envelope.id.map_or(&b"null"[..], |id| id.of(text));
        let cursor = self.log.open(client_id, cut, now);
        let line = self.router.request(text, envelope, cursor.stream, carries, now);
        self.outbox.push(line)?;
        Ok(cursor)
    }

    /// A notification or an answer of the client.
    pub(crate) fn post_message(&mut self, text: &[u8], envelope: &Envelope, now: Instant) -> Result<(), NotPosted> {
        self.active = now;
        if self.ended {
            return Err(NotPosted::Ended);
        }
        self.outbox.admits().map_err(NotPosted::from)?;
        let routed = match envelope.kind {
            Kind::Answer => self.router.answer(text, envelope),
            Kind::Notification | Kind::Request => self.router.notification(text, envelope, now),
        };
        self.apply(routed, &mut Effects::default());
        Ok(())
    }

    /// Lines of the child, in its order.
    pub(crate) fn child_wrote(&mut self, lines: &[Line<'_>], now: Instant, effects: &mut Effects) {
        for line in lines {
            let routed = match line {
                Line::Message(text, envelope) => {
                    let get_is_open = self.log.has_reader(StreamId::GET);
                    let log = &self.log;
                    Some(self.router.line(text, envelope, get_is_open, |stream| log.is_reachable(stream), now))
                }
                Line::TooLong => self.router.line_lost("the server wrote a line longer than the gateway takes (--max-line)"),
            };
            if let Some(routed) = routed {
                self.apply(routed, effects);
            }
        }
    }

    /// A client begins to read the GET stream, or an earlier stream again.
    pub(crate) fn attach(
        &mut self,
        stream: StreamId,
        from: From,
        cut: Option<Arc<Notify>>,
        now: Instant,
        effects: &mut Effects,
    ) -> Result<Cursor, NoCursor> {
        self.active = now;
        self.log.attach(stream, from, cut, now, effects)
    }

    pub(crate) fn detach(&mut self, cursor: &Cursor, now: Instant) {
        self.active = now;
        self.log.detach(cursor, now);
    }

    pub(crate) fn tick(&mut self, now: Instant, effects: &mut Effects) {
        let expired = self.router.tick(now);
        expired.bounds.iter().for_each(|bound| self.metrics.timeout_counted(bound));
        for routed in expired.routed {
            self.apply(routed, effects);
        }
        self.log.tick(now, effects);
    }

    /// How long nothing has happened: no call in flight, nobody reading the GET stream, no message.
    pub(crate) fn idle_for(&self, now: Instant) -> Duration {
        if self.router.calls_in_flight() > 0 || self.log.has_reader(StreamId::GET) {
            return Duration::ZERO;
        }
        now.saturating_duration_since(self.active)
    }

    /// Every call in flight is answered with this error, every stream ends, nothing more is taken.
    pub(crate) fn end(&mut self, message: &str, data: &serde_json::Value, effects: &mut Effects) {
        self.ended = true;
        self.metrics.messages_lost.inc_by(self.outbox.close() as u64);
        for routed in self.router.fail_all(message, data) {
            self.apply(routed, effects);
        }
        self.log.end_all(effects);
    }

    fn apply(&mut self, routed: Routed, effects: &mut Effects) {
        match routed {
            Routed::ToChild(line) => {
                if self.outbox.push(line).is_err() {
                    self.metrics.messages_lost.inc();
                }
            }
            Routed::Event(stream, kind, bytes) => {
                let bytes = Bytes::from(bytes);
                let kept = self.log.append(stream, kind, bytes.clone(), effects);
                if kept == Kept::No
                    && kind == EventKind::Question
                    && let Some(line) = self.router.unasked(&bytes)
                {
                    self.apply(Routed::ToChild(line), effects);
                }
            }
            Routed::Dropped(reason) => self.metrics.drop_counted(reason),
        }
    }
}

impl std::convert::From<NotTaken> for NotPosted {
    fn from(reason: NotTaken) -> Self {
        match reason {
            NotTaken::Full => NotPosted::ChildBusy,
            NotTaken::Closed => NotPosted::Ended,
        }
    }
}
