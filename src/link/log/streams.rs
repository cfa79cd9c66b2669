//! The streams of a log. The GET stream is always there and stands apart.

use super::Stream;
use crate::few::Few;
use crate::protocol::sse::StreamId;

pub(super) struct Streams {
    get: Stream,
    others: Few<StreamId, Stream>,
}

impl Streams {
    pub(super) fn new(get: Stream) -> Streams {
        Streams { get, others: Few::default() }
    }

    pub(super) fn get(&self, id: &StreamId) -> Option<&Stream> {
        if *id == StreamId::GET { Some(&self.get) } else { self.others.get(id) }
    }

    pub(super) fn get_mut(&mut self, id: &StreamId) -> Option<&mut Stream> {
        if *id == StreamId::GET { Some(&mut self.get) } else { self.others.get_mut(id) }
    }

    pub(super) fn insert(&mut self, id: StreamId, stream: Stream) {
        self.others.insert(id, stream);
    }

    /// The GET stream is never removed.
    pub(super) fn remove(&mut self, id: &StreamId) -> Option<Stream> {
        self.others.remove(id)
    }

    pub(super) fn len(&self) -> usize {
        1 + self.others.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&StreamId, &Stream)> {
        std::iter::once((&StreamId::GET, &self.get)).chain(self.others.iter())
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Stream> {
        std::iter::once(&self.get).chain(self.others.values())
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        std::iter::once(&mut self.get).chain(self.others.values_mut())
    }

    /// Gives back what streams took that are no more.
    pub(super) fn shrink(&mut self) {
        self.others.shrink();
    }
}
