//! What waits to be written to one link's child, in the order it was decided. Pure; behind the link's lock. Never grows
//! past its cap by more than one message, and never holds anything for a process that has gone: each process of a link is a
//! generation, and who wrote for an older one has no say any more.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::line::Line;
use crate::budget::Budget;

/// A child that takes nothing for this long, while as much waits as may, does not read any more.
const STALL: Duration = Duration::from_secs(30);
/// What waits is charged to the budget in steps of this: a line that is written at once costs no atomic operation.
const STEP: usize = 64 << 10;

/// More than this waits for nothing: a pipe takes no more at once.
const ENOUGH: usize = 16 << 10;

/// Lines for one process. Whoever pushes while nobody writes or will sees to it that somebody does (`due`).
pub(crate) struct Outbox {
    lines: VecDeque<Line>,
    /// What clients said while there is no process that may hear it; `None` while there is one.
    held: Option<VecDeque<Line>>,
    /// Bytes in `lines`, in `held`, and in the batch that is being written.
    bytes: usize,
    writing: usize,
    cap: usize,
    has_writer: bool,
    /// Somebody is to write soon.
    is_due: bool,
    closed: bool,
    generation: u64,
    budget: Arc<Budget>,
    charged: usize,
    /// Since when the child has taken nothing, though the cap is reached.
    full_since: Option<Instant>,
}

/// When a pusher writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// At once, for that generation.
    Now(u64),
    /// When all who are ready have pushed: by `begin_write`.
    Soon,
}

/// Why a line was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// The child does not read, and the cap is reached.
    Full,
    /// All logs and outboxes together are at their cap.
    NoBudget,
    /// The child has gone.
    Closed,
}

impl Outbox {
    pub(crate) fn new(cap: usize, budget: Arc<Budget>) -> Self {
        Outbox {
            lines: VecDeque::new(),
            held: None,
            bytes: 0,
            writing: 0,
            cap,
            has_writer: false,
            is_due: false,
            closed: false,
            generation: 0,
            budget,
            charged: 0,
            full_since: None,
        }
    }

    /// A line is taken whole if the outbox was below its cap, so that one large message can always pass.
    pub(crate) fn push(&mut self, line: impl Into<Line>) -> Result<(), NotTaken> {
        self.admits()?;
        let line = line.into();
        self.bytes += line.len();
        self.held.as_mut().unwrap_or(&mut self.lines).push_back(line);
        self.charge();
        Ok(())
    }

    /// A line of the gateway's own, which is not held back, and which no bound refuses: what waits behind it may be at the bound.
    pub(crate) fn push_own(&mut self, line: impl Into<Line>) -> Result<(), NotTaken> {
        if self.closed {
            return Err(NotTaken::Closed);
        }
        let line = line.into();
        self.bytes += line.len();
        self.lines.push_back(line);
        self.charge();
        Ok(())
    }

    /// Whether the next line would be taken.
    pub(crate) fn admits(&self) -> Result<(), NotTaken> {
        match (self.closed, self.bytes >= self.cap) {
            (true, _) => Err(NotTaken::Closed),
            (false, true) => Err(NotTaken::Full),
            (false, false) if !self.budget.fits(1) => Err(NotTaken::NoBudget),
            (false, false) => Ok(()),
        }
    }

    /// When the caller must write: there is something, and nobody does or will.
    pub(crate) fn due(&mut self) -> Option<When> {
        if self.bytes < ENOUGH {
            let is_due = !self.is_due && !self.has_writer && !self.lines.is_empty();
            self.is_due |= is_due;
            return is_due.then_some(When::Soon);
        }
        self.begin_write().map(When::Now)
    }

    /// Whether the caller must write now, and for which generation: there is something, and nobody does.
    pub(crate) fn begin_write(&mut self) -> Option<u64> {
        self.is_due = false;
        if self.has_writer || self.lines.is_empty() {
            return None;
        }
        self.has_writer = true;
        Some(self.generation)
    }

    /// The next lines for the one writer of that generation, who has written all it had; `None` ends its turn.
    pub(crate) fn next_batch(&mut self, generation: u64) -> Option<VecDeque<Line>> {
        if generation != self.generation {
            return None;
        }
        self.took(0);
        let batch = mem::take(&mut self.lines);
        self.writing = batch.iter().map(Line::len).sum();
        self.has_writer = !batch.is_empty();
        self.has_writer.then_some(batch)
    }

    /// The writer of that generation still has so many bytes in hand.
    pub(crate) fn left(&mut self, generation: u64, bytes: usize) {
        if generation == self.generation {
            self.took(bytes);
        }
    }

    fn took(&mut self, left: usize) {
        if left < self.writing {
            self.full_since = None;
        }
        self.bytes -= self.writing - left;
        self.writing = left;
        self.charge();
    }

    /// Whether the child has stopped reading, for good as it seems.
    pub(crate) fn is_stalled(&mut self, now: Instant) -> bool {
        if self.bytes < self.cap || self.held.is_some() {
            self.full_since = None;
            return false;
        }
        now.saturating_duration_since(*self.full_since.get_or_insert(now)) >= STALL
    }

    /// From here on what clients say waits for the next process. Only where nothing is on its way to this one.
    pub(crate) fn hold(&mut self) -> bool {
        let can = !self.closed && self.bytes == 0;
        if can {
            self.held.get_or_insert_default();
        }
        can
    }

    /// Whether something waits for a process that is not there.
    pub(crate) fn is_awaited(&self) -> bool {
        self.held.as_ref().is_some_and(|held| !held.is_empty())
    }

    /// The process has gone, and another is to come: what was for it is lost, what was held stays so, and so does what comes
    /// now. Says how many lines were lost that no writer has in hand.
    pub(crate) fn renew(&mut self) -> usize {
        let lost = mem::take(&mut self.lines).len();
        self.generation += 1;
        let held = self.held.get_or_insert_default();
        self.bytes = held.iter().map(Line::len).sum();
        (self.writing, self.has_writer, self.full_since) = (0, false, None);
        self.charge();
        lost
    }

    /// No process comes for what was held. Says how many lines are lost.
    pub(crate) fn drop_held(&mut self) -> usize {
        let held = self.held.as_mut().map(mem::take).unwrap_or_default();
        self.bytes -= held.iter().map(Line::len).sum::<usize>();
        self.charge();
        held.len()
    }

    /// A process takes the place of the last one. Says which generation it is.
    pub(crate) fn begin_generation(&mut self) -> u64 {
        self.generation += 1;
        self.has_writer = false;
        self.generation
    }

    /// The new process may hear what was held.
    pub(crate) fn release(&mut self) {
        self.lines.extend(self.held.take().into_iter().flatten());
    }

    /// Which of the link's processes this is for.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Nothing more will be written. Says how many waiting lines are lost.
    pub(crate) fn close(&mut self) -> usize {
        self.closed = true;
        self.renew() + self.drop_held()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn charge(&mut self) {
        let due = self.bytes - self.bytes % STEP;
        if due > self.charged {
            self.budget.add(due - self.charged);
        } else if due < self.charged {
            self.budget.subtract(self.charged - due);
        }
        self.charged = due;
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.budget.subtract(self.charged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn outbox(cap: usize) -> Outbox {
        Outbox::new(cap, Arc::new(Budget::new(64 * MIB)))
    }

    #[test]
    fn a_message_is_taken_below_the_cap_and_refused_at_it() {
        let mut outbox = outbox(10);
        assert_eq!(outbox.push(vec![0; 9]), Ok(()));
        assert_eq!(outbox.push(vec![0; 50]), Ok(()));
        assert_eq!(outbox.push(vec![0; 1]), Err(NotTaken::Full));
    }

    #[test]
    fn bytes_count_until_they_are_written() {
        let mut outbox = outbox(10);
        assert_eq!(outbox.push(vec![0; 10]), Ok(()));
        assert_eq!(outbox.begin_write(), Some(0));
        assert_eq!(outbox.begin_write(), None, "there is one writer");
        assert_eq!(outbox.next_batch(0).map(|batch| batch.len()), Some(1));
        assert_eq!(outbox.push(vec![0; 1]), Err(NotTaken::Full), "the batch is not written yet");
        outbox.left(0, 9);
        assert_eq!(outbox.push(vec![0; 1]), Ok(()), "a part of it is");
        assert_eq!(outbox.push(vec![0; 1]), Err(NotTaken::Full));
        assert_eq!(outbox.next_batch(0).map(|batch| batch.len()), Some(1));
        assert_eq!(outbox.next_batch(0), None);
        assert_eq!(outbox.push(vec![0; 1]), Ok(()));
        assert_eq!(outbox.begin_write(), Some(0));
    }

    #[test]
    fn a_closed_outbox_takes_nothing_and_says_what_was_lost() {
        let mut outbox = outbox(10);
        assert_eq!(outbox.push(vec![0; 1]), Ok(()));
        assert_eq!(outbox.close(), 1);
        assert_eq!(outbox.push(vec![0; 1]), Err(NotTaken::Closed));
    }

    #[test]
    fn what_waits_counts_in_the_budget_and_a_full_one_takes_nothing() {
        let budget = Arc::new(Budget::new(MIB));
        let mut outbox = Outbox::new(2 * MIB, Arc::clone(&budget));
        assert_eq!(outbox.push(vec![0; MIB]), Ok(()));
        assert_eq!((budget.used(), outbox.push(vec![0; 1])), (MIB, Err(NotTaken::NoBudget)));
        assert_eq!(outbox.begin_write(), Some(0));
        assert_eq!(outbox.next_batch(0).map(|batch| batch.len()), Some(1));
        outbox.left(0, MIB / 2);
        assert_eq!((budget.used(), outbox.push(vec![0; 1])), (MIB / 2, Ok(())));
        drop(outbox);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn who_takes_nothing_for_thirty_seconds_at_the_cap_is_stalled() {
        let (mut outbox, start) = (outbox(10), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(outbox.push(vec![0; 9]), Ok(()));
        assert!(!outbox.is_stalled(at(0)) && !outbox.is_stalled(at(100)), "there is room");
        assert_eq!(outbox.push(vec![0; 9]), Ok(()));
        assert_eq!(outbox.begin_write(), Some(0));
        assert_eq!(outbox.next_batch(0).map(|batch| batch.len()), Some(2));
        assert!(!outbox.is_stalled(at(100)) && !outbox.is_stalled(at(129)));
        outbox.left(0, 17);
        assert!(!outbox.is_stalled(at(130)), "it has just taken a byte");
        assert!(!outbox.is_stalled(at(159)));
        assert!(outbox.is_stalled(at(160)));
    }

    #[test]
    fn what_comes_between_two_processes_goes_to_the_second_behind_the_gateways_own_words() {
        let mut outbox = outbox(100);
        assert_eq!(outbox.push(b"old".to_vec()), Ok(()));
        assert_eq!(outbox.begin_write(), Some(0));
        assert!(!outbox.hold(), "something is on its way");
        assert_eq!(outbox.renew(), 1);
        assert_eq!(outbox.next_batch(0), None, "the writer for the old process has no say");
        outbox.left(0, 1);
        assert_eq!(outbox.push(vec![b'n'; 200]), Ok(()));
        assert!(outbox.is_awaited());
        assert_eq!(outbox.begin_write(), None);
        assert_eq!(outbox.push_own(b"initialize".to_vec()), Ok(()), "what is held does not count against it");
        assert_eq!((outbox.begin_write(), outbox.renew()), (Some(1), 1), "the second process ends early");
        assert_eq!(outbox.push_own(b"initialize".to_vec()), Ok(()));
        assert_eq!(outbox.begin_write(), Some(2));
        assert_eq!(outbox.next_batch(2), Some([Line::from(b"initialize".to_vec())].into()));
        outbox.release();
        assert_eq!(outbox.next_batch(2), Some([Line::from(vec![b'n'; 200])].into()));
        assert_eq!((outbox.next_batch(2), outbox.bytes()), (None, 0));
    }

    #[test]
    fn who_writes_for_a_process_that_has_gone_has_no_say_about_the_next_ones_lines() {
        let mut outbox = outbox(100);
        assert_eq!((outbox.push(b"old".to_vec()), outbox.begin_write()), (Ok(()), Some(0)));
        assert_eq!(outbox.next_batch(0).map(|batch| batch.len()), Some(1));
        assert_eq!((outbox.renew(), outbox.begin_generation()), (0, 2));
        assert_eq!(outbox.push_own(b"initialize".to_vec()), Ok(()));
        assert_eq!(outbox.next_batch(0), None);
        assert_eq!(outbox.begin_write(), Some(2));
        assert_eq!(outbox.next_batch(2), Some([Line::from(b"initialize".to_vec())].into()));
        outbox.left(0, 0);
        assert_eq!(outbox.bytes(), 10, "the next one has not taken it yet");
    }

    #[test]
    fn what_no_process_comes_for_is_lost_and_counted() {
        let mut outbox = outbox(100);
        assert!(outbox.hold());
        assert_eq!(outbox.push(vec![0; 50]), Ok(()));
        assert_eq!((outbox.drop_held(), outbox.bytes()), (1, 0));
        assert!(!outbox.is_awaited());
        assert_eq!(outbox.push(vec![0; 50]), Ok(()));
        assert_eq!((outbox.close(), outbox.bytes()), (1, 0));
    }

    #[test]
    fn what_wakes_a_sleeping_process_is_kept() {
        let mut outbox = outbox(100);
        assert!(outbox.hold() && !outbox.is_awaited());
        assert_eq!(outbox.push(b"wake".to_vec()), Ok(()));
        assert_eq!(outbox.begin_generation(), 1);
        assert!(outbox.is_awaited());
        outbox.release();
        assert_eq!(outbox.begin_write(), Some(1));
        assert_eq!(outbox.next_batch(1), Some([Line::from(b"wake".to_vec())].into()));
    }
}
