//! Bodies of responses: bytes that are there, or a reader's stream as Server-Sent Events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::old_sse::Stream;
use crate::link::reader::Reader;
use crate::metrics::ActiveGuard;
use crate::protocol::sse::{self, EventId};

/// A quiet stream says something this often.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(crate) struct Body {
    kind: Kind,
    /// Keeps the connection from being taken for idle.
    _busy: Option<Arc<()>>,
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

    /// For as long as the body is being sent, its connection holds `busy` too.
    pub(crate) fn holding(self, busy: Arc<()>) -> Self {
        Body { _busy: Some(busy), ..self }
    }
}

/// A stream being sent.
pub(crate) struct Events {
    reader: Reader,
    ready: VecDeque<Bytes>,
    ends: bool,
    keep_alive: Pin<Box<Sleep>>,
    /// When the connection ends although the stream does not.
    until: Option<Pin<Box<Sleep>>>,
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
        let now = Instant::now();
        Events {
            reader,
            ready,
            ends: false,
            keep_alive: Box::pin(sleep_until(now + KEEP_ALIVE)),
            until: max_age.map(|age| Box::pin(sleep_until(now + age))),
            _active: active,
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ready.is_empty() && !self.ends {
            if let Poll::Ready(frames) = self.reader.poll_frames(cx) {
                self.ready.extend(frames.ready);
                self.ends = frames.ends;
            } else if self.is_too_old(cx) {
                let mut retry = Vec::new();
                sse::retry(&mut retry);
                self.ready.push_back(retry.into());
                self.ends = true;
            }
        }
        if let Some(bytes) = self.ready.pop_front() {
            self.keep_alive.as_mut().reset(Instant::now() + KEEP_ALIVE);
            return Poll::Ready(Some(bytes));
        }
        if self.ends {
            return Poll::Ready(None);
        }
        if self.keep_alive.as_mut().poll(cx).is_ready() {
            self.keep_alive.as_mut().reset(Instant::now() + KEEP_ALIVE);
            return Poll::Ready(Some(Bytes::from_static(sse::COMMENT)));
        }
        Poll::Pending
    }

    fn is_too_old(&mut self, cx: &mut Context<'_>) -> bool {
        self.until.as_mut().is_some_and(|until| until.as_mut().poll(cx).is_ready())
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
