//! A client's hold on one stream: reads it through its cursor, and lets go of it when dropped.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::Instant;

use super::Session;
use super::cursor::{Cursor, First, Next};
use crate::protocol::sse::{self, EventId, StreamId};

/// One frame of a body takes up to this, so that a burst becomes few writes.
const FRAME: usize = 64 << 10;
/// A message of at least this size is not copied into a frame.
const LARGE: usize = 16 << 10;

pub(crate) struct Reader {
    session: Arc<Session>,
    cursor: Cursor,
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
    pub(super) fn new(session: Arc<Session>, cursor: Cursor) -> Self {
        Reader { session, cursor }
    }

    pub(crate) fn stream(&self) -> StreamId {
        self.cursor.stream
    }

    /// The id of the last event that was read.
    pub(crate) fn event_id(&self) -> EventId {
        self.session.lock().log.event_id(&self.cursor)
    }

    /// Whether everything that will ever be there has been read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.session.lock().log.is_at_end(&self.cursor)
    }

    /// Waits for the first event; an answer is taken, and its stream is over.
    pub(crate) async fn first(&self) -> First {
        poll_fn(|cx| match self.session.lock().log.first(&self.cursor, cx.waker()) {
            First::Wait => Poll::Pending,
            first => Poll::Ready(first),
        })
        .await
    }

    /// Waits for the answer, wherever it stands in the stream, without taking it; `None` if there will be none.
    pub(crate) async fn answer(&self) -> Option<Bytes> {
        poll_fn(|cx| self.session.lock().log.answer(&self.cursor, cx.waker())).await
    }

    /// From now on events go out with ids: a client that goes may come back for the rest.
    pub(crate) fn commit(&self) {
        self.session.lock().log.commit(self.cursor.stream);
    }

    /// Everything that is ready, as it goes on the wire.
    pub(crate) fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<Frames> {
        let now = Instant::now();
        let mut frames = Frames::default();
        let mut small = Vec::new();
        let mut size = 0;
        let mut state = self.session.lock();
        let log = &mut state.log;
        while size < FRAME {
            match log.next(&mut self.cursor, cx.waker(), now) {
                Next::Event(seq, bytes) | Next::Gap(seq, bytes) => {
                    size += bytes.len();
                    sse::event_head(&mut small, log.event_id_at(self.cursor.stream, seq));
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
        frames.ends |= log.is_at_end(&self.cursor);
        drop(state);
        if !small.is_empty() {
            frames.ready.push(small.into());
        }
        if frames.ready.is_empty() && !frames.ends {
            return Poll::Pending;
        }
        self.session.room.notify_one();
        Poll::Ready(frames)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.session.lock().detach(&self.cursor, Instant::now());
        self.session.room.notify_one();
    }
}
