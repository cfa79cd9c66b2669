//! The events of one link, which are also the queue toward its clients: a live stream and a resume are the same cursor.
//! Pure, behind the link's lock. Never grows past its caps, never shows one stream's events on another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use self::streams::Streams;
use super::cursor::{Cursor, First, From, Next, NoCursor, gone, missing};
use super::effects::Effects;
use super::stream::{Cut, Delivery, EventKind, Reader, STREAM_COST, Stream, cost_of};
use crate::budget::Budget;
use crate::metrics::Metrics;
use crate::protocol::jsonrpc;
use crate::protocol::sse::{EventId, StreamId};

/// Delivered events stay this long for a resume, unless the caps bite.
const KEEP_DELIVERED: Duration = Duration::from_secs(60);
/// A reader that takes nothing for this long while more than [`CUT_BYTES`] wait for it is cut.
const CUT_AFTER: Duration = Duration::from_secs(30);
const CUT_BYTES: usize = 256 << 10;
/// How many streams that are no longer kept can still be told apart from ones that never were.
const TOMBSTONES: usize = 256;

mod evict;
mod pressure;
mod streams;
#[cfg(test)]
mod tests;

pub(crate) struct Log {
    streams: Streams,
    /// The number of the next stream.
    next: u64,
    bytes: usize,
    unread: usize,
    /// What its streams may hold: together, where they are one client's; each, where they are different clients'.
    cap: usize,
    is_shared: bool,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
    nonce: u32,
    /// Streams of delivered events, one entry an event, in the order of delivery.
    delivered: VecDeque<(StreamId, Instant)>,
    tombstones: VecDeque<(StreamId, Box<[u8]>)>,
}

/// What became of a message that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Yes,
    No,
}

impl Log {
    pub(crate) fn new(nonce: u32, cap: usize, budget: Arc<Budget>, metrics: Arc<Metrics>, now: Instant) -> Self {
        let get = Stream::new(None, Delivery::Resumable, now);
        Log {
            streams: Streams::new(get),
            next: 1,
            bytes: 0,
            unread: 0,
            cap,
            is_shared: false,
            budget,
            metrics,
            nonce,
            delivered: VecDeque::new(),
            tombstones: VecDeque::new(),
        }
    }

    /// A log whose streams belong to different clients, none of which may come back: the cap is each stream's.
    pub(crate) fn shared(cap: usize, budget: Arc<Budget>, metrics: Arc<Metrics>, now: Instant) -> Self {
        let mut log = Log::new(0, cap, budget, metrics, now);
        log.is_shared = true;
        log
    }

    /// Opens the stream of a request and gives its first reader a cursor.
    pub(crate) fn open(&mut self, client_id: &[u8], cut: Option<Cut>, now: Instant) -> Cursor {
        let stream = StreamId(self.next);
        self.next += 1;
        let mut opened = Stream::new(Some(client_id.into()), Delivery::ThisConnection, now);
        opened.reader = Some(Reader::new(cut, now));
        self.streams.insert(stream, opened);
        self.charge(STREAM_COST);
        Cursor { stream, seq: 0, generation: 0 }
    }

    /// Opens a stream for a request of the gateway's own, which is nobody's to read.
    pub(crate) fn open_own(&mut self, now: Instant) -> Cursor {
        let cursor = self.open(b"null", None, now);
        if let Some(stream) = self.streams.get_mut(&cursor.stream) {
            stream.client_id = None;
        }
        cursor
    }

    /// Whether a stream is for a client to read.
    pub(crate) fn is_clients(&self, stream: StreamId) -> bool {
        stream == StreamId::GET || self.streams.get(&stream).is_none_or(|stream| stream.client_id.is_some())
    }

    /// The request's events go out with ids from now on: whoever loses the connection may come back.
    pub(crate) fn commit(&mut self, stream: StreamId) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.delivery = Delivery::Resumable;
        }
    }

    /// The reader takes nothing but the answer: what comes before it is not kept.
    pub(crate) fn take_answer_only(&mut self, stream: StreamId) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.is_answer_only = true;
        }
    }

    /// Whether messages for that stream can still reach its client.
    pub(crate) fn is_reachable(&self, stream: StreamId) -> bool {
        self.streams.get(&stream).is_some_and(|stream| stream.delivery != Delivery::Abandoned && !stream.ended)
    }

    /// Whether a stream is kept and not at its end.
    pub(crate) fn is_open(&self, stream: StreamId) -> bool {
        self.streams.get(&stream).is_some_and(|stream| !stream.ended)
    }

    pub(crate) fn has_reader(&self, stream: StreamId) -> bool {
        self.streams.get(&stream).is_some_and(|stream| stream.reader.is_some())
    }

    /// Begins to read a stream again, or the GET stream at all.
    pub(crate) fn attach(
        &mut self,
        stream: StreamId,
        from: From,
        cut: Option<Cut>,
        now: Instant,
        effects: &mut Effects,
    ) -> Result<Cursor, NoCursor> {
        let Some(kept) = self.streams.get_mut(&stream) else {
            let grave = self.tombstones.iter().find(|(buried, _)| *buried == stream);
            return Err(match grave {
                Some((_, client_id)) => NoCursor::Gone(client_id.clone()),
                None if stream.0 < self.next => NoCursor::Expired,
                None => NoCursor::Unknown,
            });
        };
        let seq = match from {
            From::Unread if kept.reader.is_some() => return Err(NoCursor::Taken),
            From::Unread => kept.delivered,
            From::After(seq) if seq >= kept.next || kept.delivery != Delivery::Resumable => return Err(NoCursor::Unknown),
            From::After(seq) => seq,
        };
        // The newest reader wins: the older connection may be dead without our knowing.
        effects.wake(kept.wake());
        kept.generation += 1;
        kept.reader = Some(Reader::new(cut, now));
        Ok(Cursor { stream, seq, generation: kept.generation })
    }

    /// The reader has gone.
    pub(crate) fn detach(&mut self, cursor: &Cursor, now: Instant) {
        let Some(stream) = self.streams.get_mut(&cursor.stream) else { return };
        if stream.generation != cursor.generation {
            return;
        }
        stream.reader = None;
        stream.left = now;
        if stream.delivery == Delivery::ThisConnection {
            stream.delivery = Delivery::Abandoned;
            if stream.ended {
                self.forget(cursor.stream);
            }
        }
    }

    /// Adds a message to a stream; makes room by giving up what matters least.
    pub(crate) fn append(&mut self, id: StreamId, kind: EventKind, bytes: Bytes, effects: &mut Effects) -> Kept {
        let Some(stream) = self.streams.get(&id).filter(|stream| !stream.ended) else { return Kept::No };
        if stream.delivery == Delivery::Abandoned {
            self.metrics.drop_counted("client_gone");
            if kind == EventKind::Answer {
                self.forget(id);
            }
            return Kept::No;
        }
        if stream.is_answer_only && kind == EventKind::Notification {
            self.metrics.drop_counted("notification_in_json_mode");
            return Kept::No;
        }
        let cost = cost_of(bytes.len());
        // An answer is the last of its stream: what its client has yet to read before it does not make it less welcome.
        let alone = (stream.unread_bytes == 0 || kind == EventKind::Answer) && cost > self.cap;
        if alone {
            while self.drop_delivered() {}
        }
        let fits = self.make_room(id, cost, effects) || alone;
        // Making room may have forgotten the stream itself.
        let Some(stream) = self.streams.get_mut(&id) else { return Kept::No };
        let bytes = match (fits, kind) {
            (true, _) => bytes,
            (false, EventKind::Answer | EventKind::Reply) => {
                self.metrics.events_evicted.inc();
                let text = "the answer does not fit the gateway's log (--log-bytes, --log-bytes-total)";
                let id = jsonrpc::read(&bytes).ok().and_then(|envelope| envelope.id).map(|id| id.of(&bytes));
                Bytes::from(jsonrpc::error(id.or(stream.client_id.as_deref()), jsonrpc::INTERNAL_ERROR, text, None))
            }
            (false, _) => {
                self.metrics.events_evicted.inc();
                stream.push_lost();
                return Kept::No;
            }
        };
        let cost = cost_of(bytes.len());
        stream.push(kind, bytes);
        effects.wake(stream.wake());
        self.unread += cost;
        self.charge(cost);
        Kept::Yes
    }

    /// The reader of the GET stream gets what is there, and is then asked to come back.
    pub(crate) fn release_get(&mut self, effects: &mut Effects) {
        if let Some(stream) = self.streams.get_mut(&StreamId::GET) {
            stream.reader.iter_mut().for_each(|reader| reader.released = true);
            effects.wake(stream.wake());
        }
    }

    /// Ends a stream without an answer.
    pub(crate) fn end(&mut self, id: StreamId, effects: &mut Effects) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.ended = true;
        effects.wake(stream.wake());
        if stream.delivery == Delivery::Abandoned {
            self.forget(id);
        }
    }

    pub(crate) fn end_all(&mut self, effects: &mut Effects) {
        for stream in self.streams.values_mut() {
            stream.ended = true;
            effects.wake(stream.wake());
        }
    }

    /// Looks at a request's first event without deciding how to send it.
    pub(crate) fn first(&mut self, cursor: &Cursor, waker: &Waker) -> First {
        let Some(stream) = self.streams.get_mut(&cursor.stream) else { return First::Event };
        match stream.front() {
            Some(event) if event.kind == EventKind::Answer && event.seq == 1 => {
                let bytes = event.bytes.clone();
                self.forget(cursor.stream);
                First::Answer(bytes)
            }
            Some(_) => First::Event,
            None if stream.ended || stream.next > 1 => First::Event,
            None => {
                wait(stream, waker);
                First::Wait
            }
        }
    }

    /// A request's answer, without taking it; `None` once there will be none.
    pub(crate) fn answer(&mut self, cursor: &Cursor, waker: &Waker) -> Poll<Option<Bytes>> {
        let Some(stream) = self.streams.get_mut(&cursor.stream) else { return Poll::Ready(None) };
        if stream.ended {
            return Poll::Ready(stream.last().filter(|event| event.kind == EventKind::Answer).map(|event| event.bytes.clone()));
        }
        wait(stream, waker);
        Poll::Pending
    }

    /// What comes next for a reader. With [`Next::Wait`] its waker is kept.
    pub(crate) fn next(&mut self, cursor: &mut Cursor, waker: &Waker, now: Instant) -> Next {
        let Some(stream) = self.streams.get_mut(&cursor.stream) else { return Next::End };
        if stream.generation != cursor.generation {
            return Next::End;
        }
        let Some(event) = stream.after(cursor.seq) else {
            if cursor.seq + 1 < stream.next {
                return self.gap(cursor, None);
            }
            if stream.ended {
                return Next::End;
            }
            if stream.reader.as_ref().is_some_and(|reader| reader.released) {
                return Next::Release;
            }
            wait(stream, waker);
            return Next::Wait;
        };
        let (seq, kind, cost, bytes) = (event.seq, event.kind, event.cost(), event.bytes.clone());
        if cursor.seq + 1 < seq {
            return self.gap(cursor, Some(seq));
        }
        cursor.seq = seq;
        if let Some(reader) = &mut stream.reader {
            reader.took = now;
            reader.stalled = false;
        }
        if stream.deliver(seq, kind, cost) {
            self.unread -= cost;
            if stream.delivery == Delivery::Resumable {
                self.delivered.push_back((cursor.stream, now));
                self.trim_delivered();
            } else {
                stream.pop_front();
                self.refund(cost);
            }
        }
        Next::Event(seq, bytes)
    }

    /// Whether a reader at this place has had everything that will ever be there.
    pub(crate) fn is_at_end(&self, cursor: &Cursor) -> bool {
        self.streams.get(&cursor.stream).is_none_or(|stream| stream.ended && cursor.seq + 1 >= stream.next)
    }

    /// The id of the last event that a reader took.
    pub(crate) fn event_id(&self, cursor: &Cursor) -> EventId {
        self.event_id_at(cursor.stream, cursor.seq)
    }

    pub(crate) fn event_id_at(&self, stream: StreamId, seq: u64) -> EventId {
        EventId { nonce: self.nonce, stream, seq }
    }

    /// Forgets what was delivered long ago, and cuts who does not read.
    pub(crate) fn tick(&mut self, now: Instant, effects: &mut Effects) {
        while let Some((_, at)) = self.delivered.front()
            && now.saturating_duration_since(*at) >= KEEP_DELIVERED
        {
            self.drop_delivered();
        }
        if self.budget.is_tight() {
            while self.drop_delivered() {}
        }
        self.streams.shrink();
        for stream in self.streams.values_mut().filter(|stream| stream.unread_bytes > CUT_BYTES) {
            let idle = |reader: &mut Reader| now.saturating_duration_since(reader.took) >= CUT_AFTER;
            if let Some(mut reader) = stream.reader.take_if(idle) {
                self.metrics.drop_counted("slow_reader_cut");
                evict::cut(stream, &mut reader, now, effects);
            }
        }
    }

    /// Events between the reader's place and the next one that is kept (if one is) were given up.
    fn gap(&mut self, cursor: &mut Cursor, kept: Option<u64>) -> Next {
        let Some(stream) = self.streams.get(&cursor.stream) else { return Next::End };
        let up_to = kept.unwrap_or(stream.next) - 1;
        let missed = up_to - cursor.seq;
        cursor.seq = up_to;
        self.metrics.replay_counted("gap");
        match &stream.client_id {
            Some(client_id) if stream.ended && kept.is_none() => Next::Event(up_to, gone(client_id)),
            _ => Next::Gap(up_to, missing(missed)),
        }
    }

    /// Forgets a stream, but not that it was there.
    fn bury(&mut self, id: StreamId) {
        if let Some(client_id) = self.forget(id).and_then(|stream| stream.client_id) {
            self.tombstones.truncate(TOMBSTONES - 1);
            self.tombstones.push_front((id, client_id));
        }
    }

    fn forget(&mut self, id: StreamId) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        self.unread -= stream.unread_bytes;
        self.refund(stream.kept_bytes() + STREAM_COST);
        Some(stream)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.budget.subtract(self.bytes);
    }
}

fn wait(stream: &mut Stream, waker: &Waker) {
    if let Some(reader) = &mut stream.reader {
        match &mut reader.waker {
            Some(kept) => kept.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }
}
