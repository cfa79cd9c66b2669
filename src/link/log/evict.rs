//! Which events a log gives up when space runs out, and which reader is cut for it.

use tokio::time::Instant;

use super::{Delivery, Effects, Log, Reader, Stream, StreamId};

impl Log {
    pub(super) fn charge(&mut self, cost: usize) {
        self.bytes += cost;
        self.budget.add(cost);
    }

    pub(super) fn refund(&mut self, cost: usize) {
        self.bytes -= cost;
        self.budget.subtract(cost);
    }

    /// Whether it would fit if everything of this session were given up.
    fn can_fit(&self, cost: usize) -> bool {
        cost <= self.cap && self.budget.fits_instead_of(self.bytes, cost)
    }

    fn fits(&self, id: StreamId, cost: usize) -> bool {
        self.fits_cap(id, cost) && self.budget.fits(cost)
    }

    /// Whether the cap leaves room: that of all streams, or where they are different clients', the stream's own.
    fn fits_cap(&self, id: StreamId, cost: usize) -> bool {
        let used = if self.is_shared { self.streams.get(&id).map_or(0, |stream| stream.unread_bytes) } else { self.bytes };
        used + cost <= self.cap
    }

    /// Gives up delivered events, then unread notifications of the stream furthest behind, then answers whose reader has
    /// been gone longest; where a stream has a cap of its own, only its own notifications for that. Says whether `cost` fits
    /// that stream now.
    pub(super) fn make_room(&mut self, id: StreamId, cost: usize, effects: &mut Effects) -> bool {
        // Nothing is given up for what would not fit all the same.
        if !self.can_fit(cost) {
            return false;
        }
        while !self.fits(id, cost) {
            let is_freed = if self.is_shared && !self.fits_cap(id, cost) {
                self.drop_notifications_of(id, effects)
            } else {
                self.drop_delivered() || self.drop_notifications(effects) || self.drop_answer()
            };
            if !is_freed {
                return false;
            }
        }
        true
    }

    /// Delivered events are kept within the cap. The last of them alone may be larger, while others need little.
    pub(super) fn trim_delivered(&mut self) {
        let last = usize::from(!self.budget.is_half_used());
        while self.bytes - self.unread > self.cap && self.delivered.len() > last {
            self.drop_delivered();
        }
    }

    pub(super) fn drop_delivered(&mut self) -> bool {
        let Some((id, _)) = self.delivered.pop_front() else { return false };
        let Some(stream) = self.streams.get_mut(&id) else { return true };
        let Some(event) = stream.pop_front() else { return true };
        let over = stream.ended && stream.front().is_none() && id != StreamId::GET;
        self.refund(event.cost());
        if over {
            self.bury(id);
        }
        true
    }

    fn drop_notifications(&mut self, effects: &mut Effects) -> bool {
        let droppable = self.streams.iter().filter(|(_, stream)| stream.unread_notifications > 0);
        let furthest = droppable.max_by_key(|(_, stream)| stream.unread_bytes).map(|(id, _)| *id);
        furthest.is_some_and(|id| self.drop_notifications_of(id, effects))
    }

    fn drop_notifications_of(&mut self, id: StreamId, effects: &mut Effects) -> bool {
        let stream = self.streams.get_mut(&id).filter(|stream| stream.unread_notifications > 0);
        let Some(stream) = stream else { return false };
        let (count, freed) = stream.drop_notifications();
        // Who can come back is cut, and told then. Who cannot goes on behind the gap: to the answer, if to nothing else.
        if stream.delivery == Delivery::Resumable
            && let Some(mut reader) = stream.reader.take()
        {
            let now = reader.took;
            cut(stream, &mut reader, now, effects);
        }
        self.unread -= freed;
        self.refund(freed);
        self.metrics.events_evicted.inc_by(count as u64);
        true
    }

    fn drop_answer(&mut self) -> bool {
        let unread = |stream: &Stream| stream.reader.is_none() && stream.ended && stream.unread_bytes > 0;
        let oldest = self.streams.iter().filter(|(_, stream)| unread(stream)).min_by_key(|(_, stream)| stream.left);
        let Some((&id, _)) = oldest else { return false };
        self.metrics.events_evicted.inc();
        self.metrics.messages_lost.inc();
        self.bury(id);
        true
    }
}

/// Ends a reader's connection; its cursor is out of date from here on.
pub(super) fn cut(stream: &mut Stream, reader: &mut Reader, now: Instant, effects: &mut Effects) {
    stream.generation += 1;
    stream.left = now;
    if stream.delivery == Delivery::ThisConnection {
        stream.delivery = Delivery::Abandoned;
    }
    effects.wake(reader.waker.take());
    effects.cut(reader.cut.take());
}
