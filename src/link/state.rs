//! Everything of a link that is behind its lock: router, log and outbox, moved together so that what is decided in one
//! order happens in that order. Pure.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Duration, Instant};

use super::block::Block;
use super::cursor::{Cursor, From, NoCursor};
use super::effects::Effects;
use super::log::{Kept, Log};
use super::route::{Route, Routed};
use super::stream::{Cut, EventKind};
use crate::child::framer::LongLine;
use crate::child::line::Line as ChildLine;
use crate::child::outbox::{NotTaken, Outbox};
use crate::metrics::Metrics;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::splice::{Around, Spliced};
use crate::protocol::sse::StreamId;

pub(crate) struct State<R> {
    pub(crate) router: R,
    pub(crate) log: Log,
    pub(crate) outbox: Outbox,
    metrics: Arc<Metrics>,
    max_calls: usize,
    /// When a client last did anything.
    active: Instant,
    /// When a client or the child last said anything.
    spoke: Instant,
    ended: bool,
    /// What the router wants done; kept so that a line costs no allocation.
    routed: Vec<Routed>,
    block: Block,
}

/// A line of the child, and what was read of it; `None` if it was longer than `--max-line`: it was not kept, so nobody knows
/// what it was.
pub(crate) type Line<'a> = Option<(&'a [u8], Envelope)>;

/// What most of a message is taken from that is passed as it is.
enum Origin<'a> {
    Text(&'a [u8]),
    /// What a client asked.
    Asked(&'a Bytes),
    /// Can be had whole, by the first who asks.
    Long(&'a mut Option<LongLine>),
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotPosted {
    Ended,
    /// The child does not read its stdin.
    ChildBusy,
    TooManyCalls,
    /// All logs and outboxes together are full.
    NoBudget,
}

impl<R: Route> State<R> {
    pub(crate) fn new(router: R, log: Log, outbox: Outbox, max_calls: usize, metrics: Arc<Metrics>, now: Instant) -> Self {
        State {
            router,
            log,
            outbox,
            metrics,
            max_calls,
            active: now,
            spoke: now,
            ended: false,
            routed: Vec::new(),
            block: Block::default(),
        }
    }

    /// A request of a client: opens its stream and queues the line that the router makes of it. Both or neither.
    pub(crate) fn post_request<L: Into<ChildLine>>(
        &mut self,
        client_id: &[u8],
        cut: Option<Cut>,
        now: Instant,
        line: impl FnOnce(&mut R, StreamId) -> L,
    ) -> Result<Cursor, NotPosted> {
        self.admit_call(now)?;
        let cursor = self.log.open(client_id, cut, now);
        let line = line(&mut self.router, cursor.stream);
        self.outbox.push(line)?;
        Ok(cursor)
    }

    /// A request of a client that is answered on the GET stream.
    pub(crate) fn post_standing<L: Into<ChildLine>>(
        &mut self,
        now: Instant,
        line: impl FnOnce(&mut R) -> L,
    ) -> Result<(), NotPosted> {
        self.admit_call(now)?;
        let line = line(&mut self.router);
        Ok(self.outbox.push(line)?)
    }

    /// Messages of a client that came together, with so many requests among them, all answered on one stream: opens it, and
    /// queues the lines that the router makes of them. Both or neither.
    pub(crate) fn post_batch(
        &mut self,
        requests: usize,
        cut: Option<Cut>,
        now: Instant,
        lines: impl FnOnce(&mut R, StreamId) -> Vec<u8>,
    ) -> Result<Option<Cursor>, NotPosted> {
        self.admit(now)?;
        if self.router.calls_in_flight() + requests > self.max_calls {
            return Err(NotPosted::TooManyCalls);
        }
        let cursor = (requests > 0).then(|| self.log.open(b"null", cut, now));
        let lines = lines(&mut self.router, cursor.as_ref().map_or(StreamId::GET, |cursor| cursor.stream));
        if !lines.is_empty() {
            self.outbox.push(lines)?;
        }
        Ok(cursor)
    }

    /// A message of a client that is no request, or one that is answered without the child.
    pub(crate) fn post(
        &mut self,
        now: Instant,
        effects: &mut Effects,
        route: impl FnOnce(&mut R, &mut Vec<Routed>),
    ) -> Result<(), NotPosted> {
        self.admit(now)?;
        self.route(effects, |router, _, out| route(router, out));
        Ok(())
    }

    /// Whether one more call may be sent.
    pub(crate) fn admit_call(&mut self, now: Instant) -> Result<(), NotPosted> {
        self.admit(now)?;
        if self.router.calls_in_flight() >= self.max_calls { Err(NotPosted::TooManyCalls) } else { Ok(()) }
    }

    fn admit(&mut self, now: Instant) -> Result<(), NotPosted> {
        (self.active, self.spoke) = (now, now);
        if self.ended {
            return Err(NotPosted::Ended);
        }
        Ok(self.outbox.admits()?)
    }

    /// Lines of the child, in its order.
    pub(crate) fn child_wrote(&mut self, lines: &[Line<'_>], now: Instant, effects: &mut Effects) {
        self.spoke = now;
        self.block.begin(lines.iter().map(|line| line.as_ref().map_or(0, |(text, _)| text.len())));
        for line in lines {
            let text = line.as_ref().map_or(&b""[..], |(text, _)| text);
            self.route_from(Origin::Text(text), effects, |router, log, out| match line {
                Some((text, envelope)) => router.line(text, envelope, log, now, out),
                None => router.line_lost("the server wrote a line longer than the gateway takes (--max-line)", now, out),
            });
        }
        self.block.end();
    }

    /// One line of the child that came in pieces.
    pub(crate) fn child_wrote_long(&mut self, line: LongLine, envelope: &Envelope, now: Instant, effects: &mut Effects) {
        self.spoke = now;
        // Decided before anything is done with it.
        let mut routed = std::mem::take(&mut self.routed);
        self.router.line(line.text(), envelope, &self.log, now, &mut routed);
        self.carry(routed, &mut Origin::Long(&mut Some(line)), effects);
    }

    /// A client begins to read the GET stream, or an earlier stream again.
    pub(crate) fn attach(
        &mut self,
        stream: StreamId,
        from: From,
        cut: Option<Cut>,
        now: Instant,
        effects: &mut Effects,
    ) -> Result<Cursor, NoCursor> {
        self.active = now;
        self.log.attach(stream, from, cut, now, effects)
    }

    pub(crate) fn detach(&mut self, cursor: &Cursor, now: Instant, effects: &mut Effects) {
        if self.log.is_clients(cursor.stream) {
            self.active = now;
        }
        let was_open = self.log.is_open(cursor.stream);
        self.log.detach(cursor, now);
        if was_open && !self.log.is_reachable(cursor.stream) {
            self.route(effects, |router, _, out| router.left(cursor.stream, now, out));
        }
    }

    pub(crate) fn tick(&mut self, now: Instant, effects: &mut Effects) {
        self.route(effects, |router, _, out| router.tick(now, out));
        self.log.tick(now, effects);
    }

    /// How long nothing has happened: no call in flight, nothing held, nobody reading the GET stream, no message.
    pub(crate) fn idle_for(&self, now: Instant) -> Duration {
        if self.router.calls_in_flight() > 0 || self.router.is_held() || self.log.has_reader(StreamId::GET) {
            return Duration::ZERO;
        }
        now.saturating_duration_since(self.active)
    }

    /// How long neither side has said anything.
    pub(crate) fn quiet_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.spoke)
    }

    /// A request that the gateway sends in the client's words, before anything that is held: opens its stream.
    pub(crate) fn post_own(&mut self, now: Instant, line: impl FnOnce(&mut R, StreamId) -> Vec<u8>) -> Result<Cursor, NotPosted> {
        let cursor = self.log.open_own(now);
        let line = line(&mut self.router, cursor.stream);
        self.outbox.push_own(line)?;
        Ok(cursor)
    }

    /// Every call in flight is answered with this error, every stream ends, nothing more is taken.
    pub(crate) fn end(&mut self, message: &str, data: &serde_json::Value, now: Instant, effects: &mut Effects) {
        self.ended = true;
        self.metrics.messages_lost.inc_by(self.outbox.close() as u64);
        self.route(effects, |router, _, out| router.fail_all(message, data, now, out));
        self.log.end_all(effects);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Lets the router decide, and does what it wants done.
    pub(crate) fn route(&mut self, effects: &mut Effects, decide: impl FnOnce(&mut R, &Log, &mut Vec<Routed>)) {
        self.route_from(Origin::Text(b""), effects, decide);
    }

    /// The same for what a client asked, which may be passed as it is.
    pub(crate) fn route_asked(&mut self, text: &Bytes, effects: &mut Effects, decide: impl FnOnce(&mut R, &mut Vec<Routed>)) {
        self.route_from(Origin::Asked(text), effects, |router, _, out| decide(router, out));
    }

    fn route_from(&mut self, origin: Origin<'_>, effects: &mut Effects, decide: impl FnOnce(&mut R, &Log, &mut Vec<Routed>)) {
        let mut routed = std::mem::take(&mut self.routed);
        decide(&mut self.router, &self.log, &mut routed);
        self.carry(routed, &mut { origin }, effects);
    }

    fn carry(&mut self, mut routed: Vec<Routed>, origin: &mut Origin<'_>, effects: &mut Effects) {
        for routed in routed.drain(..) {
            match routed {
                Routed::Passed(stream, kind, around) => self.event(stream, kind, origin.give(around), effects),
                Routed::Told(around) => self.tell_child(origin.tell(around)),
                Routed::Stored(around) => self.router.store(origin.give(around)),
                routed => self.apply(routed, effects),
            }
        }
        self.routed = routed;
    }

    fn event(&mut self, stream: StreamId, kind: EventKind, bytes: Bytes, effects: &mut Effects) {
        // A question that nobody hears is answered in the place of the client.
        let question = (kind == EventKind::Question).then(|| bytes.clone());
        if self.log.append(stream, kind, bytes, effects) == Kept::No
            && let Some(line) = question.and_then(|question| self.router.unasked(&question))
        {
            self.tell_child(line);
        }
    }

    fn tell_child(&mut self, line: impl Into<ChildLine>) {
        if self.outbox.push(line).is_err() {
            self.metrics.messages_lost.inc();
        }
    }

    fn apply(&mut self, routed: Routed, effects: &mut Effects) {
        match routed {
            Routed::ToChild(line) => self.tell_child(line),
            Routed::Event(stream, kind, text) => {
                let text = self.block.keep(stream, text);
                self.event(stream, kind, text, effects);
            }
            // Only what has an origin is passed.
            Routed::Passed(..) | Routed::Told(_) | Routed::Stored(_) => {}
            Routed::Given(stream, kind, text) => self.event(stream, kind, text, effects),
            Routed::End(stream) => self.log.end(stream, effects),
            Routed::Dropped(reason) => self.metrics.drop_counted(reason),
            Routed::Expired(bound) => self.metrics.timeout_counted(bound),
            Routed::Alarm(at) => effects.alarm(at),
            Routed::Notice(notice) => effects.notices.push(notice),
            Routed::Release(place) => effects.release(place),
        }
    }
}

impl Origin<'_> {
    fn tell(&mut self, around: Around) -> ChildLine {
        match self {
            Origin::Asked(text) => Spliced::Around(around).parts(text).into(),
            _ => Vec::from(self.give(around)).into(),
        }
    }

    fn give(&mut self, around: Around) -> Bytes {
        match self {
            Origin::Text(text) => around.joined(text).into(),
            Origin::Asked(text) => around.joined(text).into(),
            Origin::Long(line) => {
                let Around { head, kept, tail } = around;
                line.take().map(|line| line.around(&head, kept, &tail)).unwrap_or_default()
            }
        }
    }
}

impl std::convert::From<NotTaken> for NotPosted {
    fn from(reason: NotTaken) -> Self {
        match reason {
            NotTaken::Full => NotPosted::ChildBusy,
            NotTaken::NoBudget => NotPosted::NoBudget,
            NotTaken::Closed => NotPosted::Ended,
        }
    }
}
