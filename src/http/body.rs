//! Bodies of responses: bytes that are there, or a reader's stream as Server-Sent Events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::old_sse::Stream;
use super::wire::{Busy, Wire};
use crate::link::reader::Reader;
use crate::metrics::ActiveGuard;
use crate::protocol::sse::{self, EventId};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// A quiet stream says something this often.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(crate) struct Body {
    kind: Kind,
    /// Keeps the connection from being taken for idle.
    _busy: Option<Busy>,
}

enum Kind {
    Full(Bytes),
    Events(Box<Events>),
    OldStream(Box<Stream>),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Body::full(Bytes::new())
    }

    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Body { kind: Kind::Full(bytes.into()), _busy: None }
    }

    pub(crate) fn events(events: Events) -> Self {
        Body { kind: Kind::Events(Box::new(events)), _busy: None }
    }

    /// A stream of the transport of 2024-11-05.
    pub(super) fn old_stream(stream: Stream) -> Self {
        Body { kind: Kind::OldStream(Box::new(stream)), _busy: None }
    }

    /// For as long as the body is being sent, its connection is busy.
    pub(crate) fn holding(mut self, busy: Busy) -> Self {
        match &mut self.kind {
            Kind::Full(_) => {}
            Kind::Events(events) => events.clock.follow(busy.wire()),
            Kind::OldStream(stream) => stream.follow(busy.wire()),
        }
        Body { _busy: Some(busy), ..self }
    }
}

/// A stream being sent.
pub(crate) struct Events {
    reader: Reader,
    ready: VecDeque<Bytes>,
    ends: bool,
    clock: Clock,
    /// How long the connection may go on although the stream does not end.
    max_age: Option<Duration>,
    /// Counts the stream as active.
    _active: ActiveGuard,
}

impl Events {
    /// Sends what the reader reads; first, where the client understands it, a priming event with the reader's place.
    pub(crate) fn new(reader: Reader, prime: Option<EventId>, max_age: Option<Duration>, active: ActiveGuard) -> Self {
        let mut ready = VecDeque::new();
        if let Some(id) = prime {
            let mut priming = Vec::new();
            sse::priming_event(&mut priming, id);
            ready.push_back(priming.into());
        }
        Events { reader, ready, ends: false, clock: Clock::default(), max_age, _active: active }
    }

    /// The same, in the place of a stream that its connection looks after already.
    pub(super) fn on(self, clock: Clock) -> Self {
        Events { clock, ..self }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ready.is_empty() && !self.ends {
            if let Poll::Ready(frames) = self.reader.poll_frames(cx) {
                self.ready.extend(frames.ready);
                self.ends = frames.ends;
            } else if self.is_too_old() {
                let mut retry = Vec::new();
                sse::retry(&mut retry);
                self.ready.push_back(retry.into());
                self.ends = true;
            }
        }
        if let Some(bytes) = self.ready.pop_front() {
            if self.ready.is_empty() {
                self.ready = VecDeque::new(); // a quiet stream holds no room
            }
            self.clock.spoke();
            return Poll::Ready(Some(bytes));
        }
        if self.ends {
            return Poll::Ready(None);
        }
        if let Some(age) = self.max_age {
            self.clock.wake_after(age);
        }
        self.clock.poll_comment(cx)
    }

    fn is_too_old(&self) -> bool {
        self.max_age.is_some_and(|age| self.clock.has_passed(age))
    }
}

/// The time of a stream, by its connection's clock.
#[derive(Default)]
pub(super) struct Clock {
    wire: Option<Arc<Wire>>,
    began: Duration,
    /// When the stream last said something.
    spoke: Duration,
}

impl Clock {
    /// Begins, on that connection.
    pub(super) fn follow(&mut self, wire: &Arc<Wire>) {
        let wire = wire.of_stream();
        self.began = wire.now();
        self.spoke = self.began;
        self.wire = Some(wire);
    }

    /// Another stream begins where this one ends, on the same connection.
    pub(super) fn handed_on(&self) -> Clock {
        Clock { wire: self.wire.clone(), began: self.now(), spoke: self.now() }
    }

    pub(super) fn spoke(&mut self) {
        self.spoke = self.now();
    }

    pub(super) fn has_passed(&self, age: Duration) -> bool {
        self.now().saturating_sub(self.began) >= age
    }

    /// The stream is polled again when it is of that age.
    pub(super) fn wake_after(&self, age: Duration) {
        if let Some(wire) = &self.wire {
            wire.wake_at(self.began + age);
        }
    }

    /// A comment, when nothing else was said for a while; else the stream is polled again in time.
    pub(super) fn poll_comment(&mut self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let now = self.now();
        if now.saturating_sub(self.spoke) >= KEEP_ALIVE {
            self.spoke = now;
            return Poll::Ready(Some(Bytes::from_static(sse::COMMENT)));
        }
        if let Some(wire) = &self.wire {
            wire.watch(cx);
            wire.wake_at(self.spoke + KEEP_ALIVE);
        }
        Poll::Pending
    }

    fn now(&self) -> Duration {
        self.wire.as_ref().map_or(Duration::ZERO, |wire| wire.now())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.get_mut().kind {
            Kind::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Events(events) => events.poll(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
            Kind::OldStream(stream) => stream.poll(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Events(events) => events.ends && events.ready.is_empty(),
            Kind::OldStream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Events(_) | Kind::OldStream(_) => SizeHint::default(),
        }
    }
}
