//! A client's hold on one stream: reads it through its cursor, and lets go of it when dropped.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::Instant;

use super::cursor::{Cursor, First, Next};
use super::log::Log;
use crate::protocol::sse::{self, EventId, StreamId};

/// One frame of a body takes up to this, so that a burst becomes few writes.
const FRAME: usize = 64 << 10;
/// A message of at least this size is not copied into a frame.
const LARGE: usize = 16 << 10;

/// Whoever holds a log that can be read.
pub(crate) trait Source: Send + Sync {
    /// Lends the log, under its lock.
    fn with_log(&self, act: &mut dyn FnMut(&mut Log));

    /// A reader took something: there may be room for more.
    fn took(&self) {}

    /// A reader has gone.
    fn left(self: Arc<Self>, cursor: &Cursor);
}

pub(crate) struct Reader {
    source: Arc<dyn Source>,
    cursor: Cursor,
    /// Events go out with ids: a client may come back for what it missed.
    has_ids: bool,
}

/// What a poll of a stream gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Frames {
    /// Bytes to send, in order.
    pub(crate) ready: Vec<Bytes>,
    /// Nothing comes after them.
    pub(crate) ends: bool,
}

impl Reader {
    /// A reader of a stream that is not resumed.
    pub(crate) fn new(source: Arc<dyn Source>, cursor: Cursor) -> Self {
        Reader { source, cursor, has_ids: false }
    }

    /// A reader whose client has an id of this stream, or gets one.
    pub(crate) fn resumable(source: Arc<dyn Source>, cursor: Cursor) -> Self {
        Reader { source, cursor, has_ids: true }
    }

    /// The same, for a client that cannot come back.
    pub(crate) fn without_ids(mut self) -> Self {
        self.has_ids = false;
        self
    }

    pub(crate) fn stream(&self) -> StreamId {
        self.cursor.stream
    }

    /// The id of the last event that was read.
    pub(crate) fn event_id(&self) -> EventId {
        self.log(|log| log.event_id(&self.cursor))
    }

    /// Whether everything that will ever be there has been read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.log(|log| log.is_at_end(&self.cursor))
    }

    /// Waits for the first event; an answer is taken, and its stream is over.
    pub(crate) async fn first(&self) -> First {
        poll_fn(|cx| match self.log(|log| log.first(&self.cursor, cx.waker())) {
            First::Wait => Poll::Pending,
            first => Poll::Ready(first),
        })
        .await
    }

    /// Waits for the answer, wherever it stands in the stream, without taking it; `None` if there will be none.
    pub(crate) async fn answer(&self) -> Option<Bytes> {
        poll_fn(|cx| self.log(|log| log.answer(&self.cursor, cx.waker()))).await
    }

    /// Waits for the next event; `None` at the end of the stream.
    pub(crate) async fn event(&mut self) -> Option<Bytes> {
        let Reader { source, cursor, .. } = self;
        let event = poll_fn(|cx| {
            let mut next = Next::Wait;
            source.with_log(&mut |log| next = log.next(cursor, cx.waker(), Instant::now()));
            match next {
                Next::Event(_, bytes) | Next::Gap(_, bytes) => Poll::Ready(Some(bytes)),
                Next::Wait => Poll::Pending,
                Next::Release | Next::End => Poll::Ready(None),
            }
        })
        .await;
        self.source.took();
        event
    }

    /// Nothing but the answer will be read.
    pub(crate) fn take_answer_only(&self) {
        self.log(|log| log.take_answer_only(self.cursor.stream));
    }

    /// From now on events go out with ids: a client that goes may come back for the rest.
    pub(crate) fn commit(&mut self) {
        self.has_ids = true;
        self.log(|log| log.commit(self.cursor.stream));
    }

    /// Everything that is ready, as it goes on the wire.
    pub(crate) fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<Frames> {
        let Reader { source, cursor, has_ids } = self;
        let mut frames = Frames::default();
        source.with_log(&mut |log| read(log, cursor, *has_ids, cx, &mut frames));
        if frames.ready.is_empty() && !frames.ends {
            return Poll::Pending;
        }
        self.source.took();
        Poll::Ready(frames)
    }

    fn log<T>(&self, act: impl FnOnce(&mut Log) -> T) -> T {
        let (mut act, mut value) = (Some(act), None);
        self.source.with_log(&mut |log| value = act.take().map(|act| act(log)));
        value.expect("a source lends its log")
    }
}

fn read(log: &mut Log, cursor: &mut Cursor, has_ids: bool, cx: &Context<'_>, frames: &mut Frames) {
    let now = Instant::now();
    let mut small = Vec::new();
    let mut size = 0;
    while size < FRAME {
        match log.next(cursor, cx.waker(), now) {
            // A modern client may not have asked for logs (2026-07-28, Logging, Per-request log level): it is only counted.
            Next::Gap(..) if log.is_shared() => {}
            Next::Event(seq, bytes) | Next::Gap(seq, bytes) => {
                size += bytes.len();
                sse::event_head(&mut small, has_ids.then(|| log.event_id_at(cursor.stream, seq)));
                if bytes.len() >= LARGE {
                    frames.ready.push(std::mem::take(&mut small).into());
                    frames.ready.push(bytes);
                } else {
                    small.extend_from_slice(&bytes);
                }
                small.extend_from_slice(sse::EVENT_END);
            }
            Next::Release => {
                sse::retry(&mut small);
                frames.ends = true;
                break;
            }
            Next::Wait => break,
            Next::End => {
                frames.ends = true;
                break;
            }
        }
    }
    frames.ends |= log.is_at_end(cursor);
    if !small.is_empty() {
        frames.ready.push(small.into());
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        Arc::clone(&self.source).left(&self.cursor);
        self.source.took();
    }
}
