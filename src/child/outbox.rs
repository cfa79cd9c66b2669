//! What waits to be written to one child's stdin, in the order it was decided. Pure; behind the session's lock. Never grows
//! past its cap by more than one message, and never holds anything for a process that has gone.

use std::collections::VecDeque;

/// Lines for one process. Whoever pushes while nobody writes becomes the writer (`begin_write`).
pub(crate) struct Outbox {
    lines: VecDeque<Vec<u8>>,
    /// Bytes in `lines` and in the batch that is being written.
    bytes: usize,
    writing: usize,
    cap: usize,
    has_writer: bool,
    closed: bool,
}

/// Why a line was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// The child does not read, and the cap is reached.
    Full,
    /// The child has gone.
    Closed,
}

impl Outbox {
    pub(crate) fn new(cap: usize) -> Self {
        Outbox { lines: VecDeque::new(), bytes: 0, writing: 0, cap, has_writer: false, closed: false }
    }

    /// A line is taken whole if the outbox was below its cap, so that one large message can always pass.
    pub(crate) fn push(&mut self, line: Vec<u8>) -> Result<(), NotTaken> {
        self.admits()?;
        self.bytes += line.len();
        self.lines.push_back(line);
        Ok(())
    }

    /// Whether the next line would be taken.
    pub(crate) fn admits(&self) -> Result<(), NotTaken> {
        match (self.closed, self.bytes >= self.cap) {
            (true, _) => Err(NotTaken::Closed),
            (false, true) => Err(NotTaken::Full),
            (false, false) => Ok(()),
        }
    }

    /// Whether the caller must write now: there is something, and nobody does.
    pub(crate) fn begin_write(&mut self) -> bool {
        let begins = !self.has_writer && !self.lines.is_empty();
        self.has_writer |= begins;
        begins
    }

    /// The next lines for the one writer, who has written all it had; `None` ends its turn.
    pub(crate) fn next_batch(&mut self) -> Option<VecDeque<Vec<u8>>> {
        self.bytes -= self.writing;
        self.writing = self.bytes;
        let batch = std::mem::take(&mut self.lines);
        self.has_writer = !batch.is_empty();
        self.has_writer.then_some(batch)
    }

    /// Nothing more will be written. Says how many waiting lines are lost.
    pub(crate) fn close(&mut self) -> usize {
        self.closed = true;
        self.bytes = 0;
        self.writing = 0;
        std::mem::take(&mut self.lines).len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_below_the_cap_and_refused_at_it() {
        let mut outbox = Outbox::new(10);
        assert_eq!(outbox.push(vec![0; 9]), Ok(()));
        assert_eq!(outbox.push(vec![0; 50]), Ok(()));
        assert_eq!(outbox.push(vec![0; 1]), Err(NotTaken::Full));
    }

    #[test]
    fn bytes_count_until_they_are_written() {
        let mut outbox = Outbox::new(10);
        assert_eq!(outbox.push(vec![0; 10]), Ok(()));
        assert!(outbox.begin_write());
        assert!(!outbox.begin_write(), "there is one writer");
        assert_eq!(outbox.next_batch().map(|batch| batch.len()), Some(1));
        assert_eq!(outbox.push(vec![0; 1]), Err(NotTaken::Full), "the batch is not written yet");
        assert_eq!(outbox.next_batch(), None);
        assert_eq!(outbox.push(vec![0; 1]), Ok(()));
        assert!(outbox.begin_write());
    }

    #[test]
    fn a_closed_outbox_takes_nothing_and_says_what_was_lost() {
        let mut outbox = Outbox::new(10);
        assert_eq!(outbox.push(vec![0; 1]), Ok(()));
        assert_eq!(outbox.close(), 1);
        assert_eq!(outbox.push(vec![0; 1]), Err(NotTaken::Closed));
    }
}
