//! Short events of one stream that the child wrote together share a piece of memory: it is taken and given back once, not once for
//! each, long after the processor has forgotten where it was. Pure.

use bytes::{Bytes, BytesMut};

use crate::protocol::sse::StreamId;

/// Longer events have memory of their own.
const SHORT: usize = 1 << 10;
/// What a block holds at most: so much may stay for the sake of one event in it.
const MOST: usize = 4 << 10;
/// What an event may be longer than the line it comes from.
const SLACK: usize = 32;

/// The block that is being filled.
#[derive(Default)]
pub(super) struct Block {
    room: BytesMut,
    stream: Option<StreamId>,
    /// What is still to come of what the child wrote, in bytes.
    coming: usize,
}

impl Block {
    /// So many bytes in lines come together.
    pub(super) fn begin(&mut self, lines: impl ExactSizeIterator<Item = usize>) {
        let slack = lines.len() * SLACK;
        self.coming = lines.sum::<usize>() + slack;
    }

    /// What comes next stands alone.
    pub(super) fn end(&mut self) {
        *self = Block::default();
    }

    pub(super) fn keep(&mut self, stream: StreamId, event: Vec<u8>) -> Bytes {
        let coming = self.coming;
        self.coming = coming.saturating_sub(event.len());
        if event.len() > SHORT || coming < 2 * event.len() {
            return event.into();
        }
        if self.stream != Some(stream) || self.room.capacity() < event.len() {
            self.stream = Some(stream);
            self.room = BytesMut::with_capacity(coming.min(MOST));
        }
        self.room.extend_from_slice(&event);
        self.room.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: StreamId = StreamId(1);
    const TWO: StreamId = StreamId(2);

    fn is_behind(later: &Bytes, earlier: &Bytes) -> bool {
        earlier.as_ptr_range().end == later.as_ptr()
    }

    #[test]
    fn short_events_of_a_stream_stand_behind_each_other_until_the_block_is_full() {
        let mut block = Block::default();
        block.begin([100; 100].into_iter());
        let events: Vec<Bytes> = (0..100).map(|at| block.keep(ONE, vec![at; 100])).collect();
        assert!(events.iter().zip(0..).all(|(event, at)| **event == [at; 100]));
        let blocks = 1 + events.windows(2).filter(|pair| !is_behind(&pair[1], &pair[0])).count();
        assert_eq!(blocks, (100 * 100_usize).div_ceil(MOST / 100 * 100), "{blocks}");
    }

    #[test]
    fn events_of_other_streams_long_ones_and_single_ones_stand_alone() {
        let mut block = Block::default();
        block.begin([100, 100, 2000, 100, 100].into_iter());
        let first = block.keep(ONE, vec![1; 100]);
        let other = block.keep(TWO, vec![2; 100]);
        let long = block.keep(TWO, vec![3; 2000]);
        assert!(!is_behind(&other, &first) && !is_behind(&long, &other));
        let last = [block.keep(TWO, vec![4; 100]), block.keep(TWO, vec![5; 100])];
        assert_eq!((&first[..], &other[..], &long[..]), (&[1; 100][..], &[2; 100][..], &[3; 2000][..]));
        assert_eq!((&last[0][..], &last[1][..]), (&[4; 100][..], &[5; 100][..]));
        block.end();
        assert_eq!(block.keep(ONE, vec![6; 100]), [6; 100][..]);
        assert_eq!(block.room.capacity(), 0, "nothing comes with it");
    }
}
