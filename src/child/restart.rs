//! When a server whose starts fail is started again: soon, then later and later. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// After the first failure the next start is not before this; after each further one, twice as long.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);
/// So many failures in a row are a crash loop.
pub(crate) const LOOP: u32 = 5;

/// What is known of a server's starts.
#[derive(Debug, Default)]
pub(crate) struct Restart {
    /// In a row.
    failures: u32,
    /// When the last of them ended.
    failed: Option<Instant>,
    not_before: Option<Instant>,
    reason: String,
}

/// A start that has to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) again_in: Duration,
    pub(crate) failures: u32,
    /// Why the last one failed.
    pub(crate) reason: String,
}

impl Restart {
    /// Whether a start may begin now. While starts fail, each that begins makes the next one wait.
    pub(crate) fn begin(&mut self, now: Instant) -> Result<(), Wait> {
        if let Some(wait) = self.wait(now) {
            return Err(wait);
        }
        if self.failures > 0 {
            self.not_before = Some(now + delay(self.failures));
        }
        Ok(())
    }

    /// How long the next start has to wait.
    pub(crate) fn wait(&self, now: Instant) -> Option<Wait> {
        let again_in = self.not_before?.checked_duration_since(now).filter(|left| !left.is_zero())?;
        Some(Wait { again_in, failures: self.failures, reason: self.reason.clone() })
    }

    /// A start that began then has failed. `jitter` is below 256; it makes the wait up to a quarter longer.
    pub(crate) fn failed(&mut self, began: Instant, now: Instant, jitter: u8, reason: &str) {
        reason.clone_into(&mut self.reason);
        // Starts that were under way together are one failure.
        if self.failed.is_some_and(|failed| began < failed) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.failed = Some(now);
        let delay = delay(self.failures);
        self.not_before = Some(now + delay + delay * u32::from(jitter) / 1024);
    }

    /// A start has succeeded.
    pub(crate) fn succeeded(&mut self) {
        *self = Restart::default();
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// The crash loop that this is, if it is one.
    pub(crate) fn is_loop(&self) -> Option<(u32, &str)> {
        (self.failures >= LOOP).then_some((self.failures, self.reason.as_str()))
    }
}

fn delay(failures: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST.saturating_mul(doubled).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn waits_double_from_a_tenth_of_a_second_to_thirty() {
        let (mut restart, mut now) = (Restart::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert_eq!(restart.begin(now), Ok(()));
            restart.failed(now, now, 0, "exit status 1");
            let wait = restart.wait(now).expect("a wait").again_in;
            waits.push(u64::try_from(wait.as_millis()).expect("a small number"));
            now += wait;
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn jitter_makes_a_wait_at_most_a_quarter_longer() {
        let (mut restart, now) = (Restart::default(), Instant::now());
        restart.failed(now, now, 255, "x");
        let wait = restart.wait(now).expect("a wait").again_in;
        assert!(wait > Duration::from_millis(120) && wait <= Duration::from_millis(125), "{wait:?}");
    }

    #[test]
    fn starts_that_were_under_way_together_are_one_failure() {
        let (mut restart, start) = (Restart::default(), Instant::now());
        assert_eq!((restart.begin(start), restart.begin(start)), (Ok(()), Ok(())));
        restart.failed(start, at(start, 10), 0, "first");
        restart.failed(start, at(start, 20), 0, "second");
        let wait = restart.wait(at(start, 20)).expect("a wait");
        assert_eq!((wait.failures, wait.reason.as_str(), wait.again_in), (1, "second", Duration::from_millis(90)));
    }

    #[test]
    fn while_starts_fail_one_begins_at_a_time() {
        let (mut restart, start) = (Restart::default(), Instant::now());
        restart.failed(start, start, 0, "x");
        assert!(restart.begin(at(start, 99)).is_err());
        assert_eq!(restart.begin(at(start, 100)), Ok(()));
        assert!(restart.begin(at(start, 150)).is_err());
    }

    #[test]
    fn five_failures_in_a_row_are_a_loop_and_a_success_ends_it() {
        let (mut restart, start) = (Restart::default(), Instant::now());
        for count in 0..5 {
            assert_eq!(restart.is_loop(), None);
            restart.failed(at(start, count), at(start, count), 0, "x");
        }
        assert_eq!(restart.is_loop(), Some((5, "x")));
        restart.succeeded();
        assert_eq!(restart.is_loop(), None);
        assert_eq!(restart.begin(start), Ok(()));
    }
}
