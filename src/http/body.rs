//! Bodies of responses: bytes that are there, or a reader's stream as Server-Sent Events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::access_log::Line;
use super::old_sse::Stream;
use super::wire::{Busy, Wire};
use crate::link::reader::Reader;
use crate::metrics::ActiveGuard;
use crate::protocol::sse::{self, EventId};
use crate::quota::{Counted, InFlight};

/// A quiet stream says something this often.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The most that is handed to HTTP/2 at once.
const PIECE: usize = 64 << 10;

pub(crate) struct Body {
    kind: Kind,
    /// What is left of a piece that is handed out in smaller ones.
    rest: Bytes,
    /// Keeps the connection from being taken for idle.
    busy: Option<Busy>,
    /// What is to be done when it has been sent, where anything is.
    behind: Option<Box<Behind>>,
}

/// What lasts as long as a body.
#[derive(Default)]
struct Behind {
    line: Option<Box<Line>>,
    _counted: Counted,
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
        Body { kind: Kind::Full(bytes.into()), rest: Bytes::new(), busy: None, behind: None }
    }

    pub(crate) fn events(events: Events) -> Self {
        Body { kind: Kind::Events(Box::new(events)), rest: Bytes::new(), busy: None, behind: None }
    }

    /// A stream of the transport of 2024-11-05.
    pub(super) fn old_stream(stream: Stream) -> Self {
        Body { kind: Kind::OldStream(Box::new(stream)), rest: Bytes::new(), busy: None, behind: None }
    }

    /// A line is logged when it has been sent.
    pub(super) fn logged(mut self, line: Box<Line>) -> Self {
        self.behind.get_or_insert_default().line = Some(line);
        self
    }

    /// Calls are in flight until it has been sent.
    pub(super) fn counted(mut self, counted: Arc<InFlight>) -> Self {
        self.behind.get_or_insert_default()._counted = Some(counted);
        self
    }

    /// For as long as the body is being sent, its connection is busy.
    pub(crate) fn holding(mut self, busy: Busy) -> Self {
        match &mut self.kind {
            Kind::Full(_) => {}
            Kind::Events(events) => events.clock.follow(busy.wire()),
            Kind::OldStream(stream) => stream.follow(busy.wire()),
        }
        self.busy = Some(busy);
        self
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
                self.ready = frames.ready.into();
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
            wire.watch_stream(cx);
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
        let body = self.get_mut();
        let mut bytes = std::mem::take(&mut body.rest);
        if bytes.is_empty() {
            let next = match &mut body.kind {
                Kind::Full(bytes) => Poll::Ready(Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty())),
                Kind::Events(events) => events.poll(cx),
                Kind::OldStream(stream) => stream.poll(cx),
            };
            let Some(next) = ready!(next) else { return Poll::Ready(None) };
            bytes = next;
        }
        // HTTP/2 takes what it is given, whatever the client's window: it gets no more than it may hold.
        if bytes.len() > PIECE && body.busy.as_ref().is_some_and(Busy::is_h2) {
            body.rest = bytes.split_off(PIECE);
        }
        if let Some(line) = body.behind.as_mut().and_then(|behind| behind.line.as_mut()) {
            line.sent(bytes.len());
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
            && match &self.kind {
                Kind::Full(bytes) => bytes.is_empty(),
                Kind::Events(events) => events.ends && events.ready.is_empty(),
                Kind::OldStream(_) => false,
            }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact((bytes.len() + self.rest.len()) as u64),
            Kind::Events(_) | Kind::OldStream(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http_body::Body as _;

    use super::*;
    use crate::http::wire::{Speaks, Ticker};
    use crate::shutdown::Shutdown;

    /// The sizes of the frames that a body of 200,000 bytes comes in.
    fn frames(speaks: Speaks) -> Vec<usize> {
        let wire = Ticker::new(Arc::new(Shutdown::new())).wire(speaks);
        let mut body = Body::full(vec![b'x'; 200_000]).holding(Busy::new(&wire));
        let mut sizes = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) {
            assert!(wire.is_busy());
            sizes.push(frame.into_data().map_or(0, |bytes| bytes.len()));
            assert_eq!(body.size_hint().exact(), Some(200_000 - sizes.iter().sum::<usize>() as u64));
            assert_eq!(body.is_end_stream(), sizes.iter().sum::<usize>() == 200_000);
        }
        drop(body);
        assert!(!wire.is_busy());
        sizes
    }

    #[tokio::test]
    async fn http_2_gets_a_large_body_piece_by_piece() {
        assert_eq!(frames(Speaks::Http2), [PIECE, PIECE, PIECE, 200_000 - 3 * PIECE]);
        assert_eq!(frames(Speaks::Http1), [200_000]);
    }
}
