//! What one principal may have and do of a server: sessions, calls in flight, calls a second. Whoever may not is told what it has
//! too many of; everybody else goes on as before. Pure; the caller tells the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::ledger::Ledger;
use crate::principal::Principal;

/// Each counts for one principal. `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) sessions: Option<usize>,
    /// In flight.
    pub(crate) calls: Option<usize>,
    /// Calls a second, and as many at once.
    pub(crate) rate: Option<u32>,
}

/// What a principal has too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Sessions,
    Calls,
    /// Calls in a short time; after this long the next may begin.
    Rate(Duration),
}

/// The accounts of one server.
#[derive(Debug)]
pub(crate) struct Quotas {
    limits: Limits,
    accounts: Ledger<Account>,
}

impl Quotas {
    pub(crate) fn new(limits: Limits) -> Quotas {
        Quotas { limits, accounts: Ledger::default() }
    }

    /// The account of a principal, for as long as somebody holds it; `None` where nothing is limited.
    pub(crate) fn account(&self, principal: &Principal, now: Instant) -> Option<Arc<Account>> {
        if self.limits == Limits::default() {
            return None;
        }
        // Who has no more than a new account would say comes back to the same.
        Some(self.accounts.of(principal, || Account::new(&self.limits, now), |_, account| !account.pace.is_full(now)))
    }
}

/// What one principal has and did.
#[derive(Debug)]
pub(crate) struct Account {
    sessions: Count,
    calls: Count,
    pace: Pace,
}

impl Account {
    fn new(limits: &Limits, now: Instant) -> Account {
        Account { sessions: Count::new(limits.sessions), calls: Count::new(limits.calls), pace: Pace::new(limits.rate, now) }
    }

    /// Calls that came together begin together, or none does. Those that are refused do not count, neither as in flight nor
    /// toward the rate.
    pub(crate) fn begin_calls(self: &Arc<Self>, count: usize, now: Instant) -> Result<InFlight, Exceeded> {
        if !self.calls.take(count) {
            return Err(Exceeded::Calls);
        }
        let calls = InFlight(Arc::clone(self), count);
        self.pace.take(count as u64, now).map_err(Exceeded::Rate)?;
        Ok(calls)
    }

    pub(crate) fn open_session(self: &Arc<Self>) -> Result<Held, Exceeded> {
        if self.sessions.take(1) { Ok(Held(Arc::clone(self))) } else { Err(Exceeded::Sessions) }
    }
}

/// So many calls, until it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct InFlight(Arc<Account>, usize);

/// What calls count as while they are in flight; nothing where there is no bound.
pub(crate) type Counted = Option<Arc<InFlight>>;

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.calls.give_back(self.1);
    }
}

/// A session, until it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Held(Arc<Account>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.sessions.give_back(1);
    }
}

#[derive(Debug)]
struct Count {
    taken: AtomicUsize,
    limit: usize,
}

impl Count {
    fn new(limit: Option<usize>) -> Count {
        Count { taken: AtomicUsize::new(0), limit: limit.unwrap_or(usize::MAX) }
    }

    fn take(&self, count: usize) -> bool {
        let more = |taken: usize| taken.checked_add(count).filter(|taken| *taken <= self.limit);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give_back(&self, count: usize) {
        self.taken.fetch_sub(count, Ordering::Relaxed);
    }
}

/// A rate, kept as one time (the generic cell rate algorithm): when everything that was done would be done, had it been done one
/// after the other, each in its part of a second.
#[derive(Debug)]
struct Pace {
    /// Where its times count from.
    start: Instant,
    /// In nanoseconds since then.
    done: AtomicU64,
    /// What one takes, and what all that may come at once take. `None`: no rate.
    one: Option<(u64, u64)>,
}

impl Pace {
    fn new(rate: Option<u32>, start: Instant) -> Pace {
        // Rounded up, so that a second never has more; nothing may come where the rate is 0.
        let one = rate.map(|rate| match u64::from(rate) {
            0 => (SECOND, 0),
            rate => (SECOND.div_ceil(rate), SECOND.div_ceil(rate) * rate),
        });
        Pace { start, done: AtomicU64::new(0), one }
    }

    /// # Errors
    /// How long it is too early.
    fn take(&self, count: u64, now: Instant) -> Result<(), Duration> {
        let Some((one, all)) = self.one else { return Ok(()) };
        let (now, these) = (self.since(now), one * count);
        let next = |done: u64| Some(done.max(now) + these).filter(|next| next - now <= all);
        match self.done.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(_) => Ok(()),
            Err(done) => Err(Duration::from_nanos(done.max(now) + these - now - all)),
        }
    }

    /// Whether as many may come as ever.
    fn is_full(&self, now: Instant) -> bool {
        self.done.load(Ordering::Relaxed) <= self.since(now)
    }

    fn since(&self, now: Instant) -> u64 {
        // 292 years.
        u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX / 2)
    }
}

const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests;
