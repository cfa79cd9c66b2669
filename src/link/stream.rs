//! One stream of a log: its events that are still kept, who reads them, and how far. Pure; owned by `log`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use tokio::time::Instant;

/// What an event holds; decides what may be given up when space runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Notification,
    Question,
    /// An answer on a stream that carries several of them.
    Reply,
    /// The answer of the stream's own request: the last event.
    Answer,
}

/// One message on a stream.
#[derive(Debug)]
pub(crate) struct Event {
    /// Its number in the stream, from 1. Never given twice; gaps are events that were given up.
    pub(crate) seq: u64,
    pub(crate) kind: EventKind,
    pub(crate) bytes: Bytes,
}

impl Event {
    /// What it takes of a budget.
    pub(crate) fn cost(&self) -> usize {
        cost_of(self.bytes.len())
    }
}

pub(crate) fn cost_of(len: usize) -> usize {
    len + size_of::<Event>() + 32
}

/// What a kept stream takes of a budget beside its events.
pub(crate) const STREAM_COST: usize = 320;

/// The connection of a client, which cannot be told anything while it does not read.
pub(crate) trait Connection: Send + Sync {
    fn cut(&self);
}

/// Ends a client's connection.
pub(crate) type Cut = Arc<dyn Connection>;

/// A client that is connected to a stream.
pub(crate) struct Reader {
    pub(crate) waker: Option<Waker>,
    /// When it last took something (or came).
    pub(crate) took: Instant,
    /// It took nothing for a while; nobody waits for it any more.
    pub(crate) stalled: bool,
    /// It is to end once it has read what is there.
    pub(crate) released: bool,
    /// Ends its connection; a client that does not read cannot be told otherwise.
    pub(crate) cut: Option<Cut>,
}

impl Reader {
    pub(crate) fn new(cut: Option<Cut>, now: Instant) -> Self {
        Reader { waker: None, took: now, stalled: false, released: false, cut }
    }
}

/// How a stream's events may reach its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Kept until read; a client that goes may come back.
    Resumable,
    /// No event id was ever sent: only the connection that asked can take the answer.
    ThisConnection,
    /// That connection has gone.
    Abandoned,
}

pub(crate) struct Stream {
    /// The first event stands apart: most streams have one event, and then need no heap.
    first: Option<Event>,
    rest: VecDeque<Event>,
    pub(crate) next: u64,
    /// Events up to this one were handed to a reader.
    pub(crate) delivered: u64,
    pub(crate) unread_bytes: usize,
    /// Of the unread events, those that may be given up.
    pub(crate) unread_notifications: usize,
    /// The id of the request that opened it, as the client wrote it; `None` on the GET stream.
    pub(crate) client_id: Option<Box<[u8]>>,
    pub(crate) delivery: Delivery,
    pub(crate) is_answer_only: bool,
    pub(crate) ended: bool,
    pub(crate) reader: Option<Reader>,
    /// Counts readers: a cursor of an older one is out of date.
    pub(crate) generation: u64,
    /// When the last reader went.
    pub(crate) left: Instant,
}

impl Stream {
    pub(crate) fn new(client_id: Option<Box<[u8]>>, delivery: Delivery, now: Instant) -> Self {
        Stream {
            first: None,
            rest: VecDeque::new(),
            next: 1,
            delivered: 0,
            unread_bytes: 0,
            unread_notifications: 0,
            client_id,
            delivery,
            is_answer_only: false,
            ended: false,
            reader: None,
            generation: 0,
            left: now,
        }
    }

    pub(crate) fn push(&mut self, kind: EventKind, bytes: Bytes) {
        let event = Event { seq: self.next, kind, bytes };
        self.next += 1;
        self.unread_bytes += event.cost();
        self.unread_notifications += usize::from(kind == EventKind::Notification);
        self.ended |= kind == EventKind::Answer;
        if self.first.is_none() && self.rest.is_empty() {
            self.first = Some(event);
        } else {
            self.rest.push_back(event);
        }
    }

    /// An event that came and could not be kept.
    pub(crate) fn push_lost(&mut self) {
        self.next += 1;
    }

    pub(crate) fn front(&self) -> Option<&Event> {
        self.first.as_ref().or(self.rest.front())
    }

    pub(crate) fn last(&self) -> Option<&Event> {
        self.rest.back().or(self.first.as_ref())
    }

    pub(crate) fn pop_front(&mut self) -> Option<Event> {
        let event = self.first.take().or_else(|| self.rest.pop_front())?;
        if event.seq > self.delivered {
            self.unread_bytes -= event.cost();
            self.unread_notifications -= usize::from(event.kind == EventKind::Notification);
        }
        if self.rest.is_empty() {
            self.rest = VecDeque::new();
        }
        Some(event)
    }

    /// The first kept event after that place.
    pub(crate) fn after(&self, seq: u64) -> Option<&Event> {
        let at = self.rest.partition_point(|event| event.seq <= seq);
        self.first.as_ref().filter(|event| event.seq > seq).or(self.rest.get(at))
    }

    /// The first kept event after that place is on its way: it no longer counts as unread. Says whether this is news.
    pub(crate) fn deliver(&mut self, seq: u64, kind: EventKind, cost: usize) -> bool {
        if seq <= self.delivered {
            return false;
        }
        self.delivered = seq;
        self.unread_bytes -= cost;
        self.unread_notifications -= usize::from(kind == EventKind::Notification);
        true
    }

    /// Gives up all unread notifications; says how many events and what cost.
    pub(crate) fn drop_notifications(&mut self) -> (usize, usize) {
        let delivered = self.delivered;
        let mut freed = 0;
        let mut count = 0;
        let mut goes = |event: &Event| {
            let goes = event.seq > delivered && event.kind == EventKind::Notification;
            if goes {
                count += 1;
                freed += event.cost();
            }
            goes
        };
        if self.first.as_ref().is_some_and(&mut goes) {
            self.first = None;
        }
        self.rest.retain(|event| !goes(event));
        self.unread_notifications = 0;
        self.unread_bytes -= freed;
        (count, freed)
    }

    pub(crate) fn kept_bytes(&self) -> usize {
        self.first.iter().chain(&self.rest).map(Event::cost).sum()
    }

    pub(crate) fn wake(&mut self) -> Option<Waker> {
        self.reader.as_mut().and_then(|reader| reader.waker.take())
    }
}
