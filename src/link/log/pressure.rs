//! When a child may be read a little later, because those who read what it says cannot keep up.

use std::time::Duration;

use tokio::time::Instant;

use super::{Log, Stream};

impl Log {
    /// Whether its streams belong to different clients.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Whether readers that do read have more before them than they should: the child may be read a little later.
    pub(crate) fn is_under_pressure(&self) -> bool {
        let high = self.cap / 2;
        // Others must not wait for one who reads slowly.
        if self.is_shared && self.streams.len() > 2 {
            return false; // the GET stream, which nobody reads, is one
        }
        let waits = |stream: &Stream| stream.reader.as_ref().is_some_and(|reader| !reader.stalled);
        self.unread > high
            && self.streams.values().filter(|stream| waits(stream)).map(|stream| stream.unread_bytes).sum::<usize>() > high
    }

    /// Readers that took nothing for `limit` are waited for no longer.
    pub(crate) fn mark_stalled(&mut self, limit: Duration, now: Instant) {
        for stream in self.streams.values_mut().filter(|stream| stream.unread_bytes > 0) {
            if let Some(reader) = &mut stream.reader {
                reader.stalled |= now.saturating_duration_since(reader.took) >= limit;
            }
        }
    }
}
