//! Memory that is free is given back to the system after a burst: the allocator by itself gives back only what lies at the end
//! of its heap, and after many have come and gone something always lies there.
#![allow(unsafe_code)] // one call of the allocator

use std::time::Duration;

use tokio::time::Instant;

/// A burst is at least so many connections and sessions.
const BURST: usize = 100;
/// Nor is it done more often than this: it walks all free memory.
const PACE: Duration = Duration::from_secs(1);

/// How many connections and sessions there are, and were.
#[derive(Debug, Default)]
pub(crate) struct Tide {
    /// The most since memory was last given back.
    high: usize,
    /// Sessions that were opened since then, also those that came and went between two looks.
    passed: usize,
    /// Those that ever were, as of the last look.
    opened: u64,
    gave: Option<Instant>,
    /// What went meanwhile is still to follow.
    ebbs: bool,
}

impl Tide {
    /// Gives memory back if fewer than half of those are there that were, and once more behind the last of them. `opened` counts
    /// the sessions that ever were.
    pub(crate) fn look(&mut self, here: usize, opened: u64, now: Instant) {
        if self.is_low(here, opened, now) {
            give_back();
        }
    }

    fn is_low(&mut self, here: usize, opened: u64, now: Instant) -> bool {
        self.passed += usize::try_from(opened.saturating_sub(self.opened)).unwrap_or(0);
        self.opened = opened;
        self.high = self.high.max(here);
        if self.gave.is_some_and(|at| now.saturating_duration_since(at) < PACE) {
            return false;
        }
        let most = self.high.max(self.passed);
        let has_fallen = most >= BURST && here < most / 2;
        let is_low = has_fallen || self.ebbs;
        if is_low {
            (self.high, self.passed, self.gave, self.ebbs) = (here, 0, Some(now), has_fallen);
        }
        is_low
    }
}

fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, and may be called at any time by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_when_most_of_a_burst_has_gone() {
        let (mut tide, start) = (Tide::default(), Instant::now());
        let mut is_low = |here, seconds| tide.is_low(here, 0, start + Duration::from_secs(seconds));
        assert!(!is_low(99, 0) && !is_low(0, 0), "that was none");
        assert!(!is_low(1000, 1) && !is_low(500, 2));
        assert!(is_low(499, 3));
        assert!(!is_low(249, 3), "too soon");
        assert!(is_low(249, 4));
        assert!(!is_low(0, 4) && is_low(0, 5));
        assert!(is_low(0, 6), "what went behind it is left");
        assert!(!is_low(0, 60), "there is nothing left of it");
    }

    #[test]
    fn memory_is_given_back_when_many_have_passed_that_nobody_saw() {
        let (mut tide, start) = (Tide::default(), Instant::now());
        let mut is_low = |opened, seconds| tide.is_low(10, opened, start + Duration::from_secs(seconds));
        assert!(!is_low(60, 0) && !is_low(99, 1), "those are few");
        assert!(is_low(100, 2));
        assert!(is_low(150, 3), "what went behind them is left");
        assert!(!is_low(249, 4), "each counts once");
        assert!(is_low(250, 5));
    }
}
