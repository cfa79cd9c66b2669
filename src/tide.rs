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
    gave: Option<Instant>,
    /// What went meanwhile is still to follow.
    ebbs: bool,
}

impl Tide {
    /// Gives memory back if fewer than half of those are there that were, and once more behind the last of them.
    pub(crate) fn look(&mut self, here: usize, now: Instant) {
        if self.is_low(here, now) {
            give_back();
        }
    }

    fn is_low(&mut self, here: usize, now: Instant) -> bool {
        self.high = self.high.max(here);
        if self.gave.is_some_and(|at| now.saturating_duration_since(at) < PACE) {
            return false;
        }
        let has_fallen = self.high >= BURST && here < self.high / 2;
        let is_low = has_fallen || self.ebbs;
        if is_low {
            (self.high, self.gave, self.ebbs) = (here, Some(now), has_fallen);
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
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!tide.is_low(99, at(0)) && !tide.is_low(0, at(0)), "that was none");
        assert!(!tide.is_low(1000, at(1)) && !tide.is_low(500, at(2)));
        assert!(tide.is_low(499, at(3)));
        assert!(!tide.is_low(249, at(3)), "too soon");
        assert!(tide.is_low(249, at(4)));
        assert!(!tide.is_low(0, at(4)) && tide.is_low(0, at(5)));
        assert!(tide.is_low(0, at(6)), "what went behind it is left");
        assert!(!tide.is_low(0, at(60)), "there is nothing left of it");
    }
}
