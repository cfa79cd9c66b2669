//! What a principal may, beside what a plain model says.

use proptest::prelude::*;

use super::*;

fn nanos(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn account(limits: Limits, now: Instant) -> Arc<Account> {
    Quotas::new(limits).account(&Principal::Anonymous, now).expect("something is limited")
}

fn only_rate(rate: u32) -> Limits {
    Limits { rate: Some(rate), ..Limits::default() }
}

/// Begins a call that ends at once.
fn call(account: &Arc<Account>, now: Instant) -> Result<(), Exceeded> {
    account.begin_calls(1, now).map(drop)
}

#[test]
fn nothing_is_counted_where_nothing_is_limited() {
    let quotas = Quotas::new(Limits::default());
    assert!(quotas.account(&Principal::Anonymous, Instant::now()).is_none());
    assert!(quotas.accounts.all().is_empty());
}

#[test]
fn sessions_and_calls_are_given_back_when_they_end() {
    let now = Instant::now();
    let account = account(Limits { sessions: Some(2), calls: Some(1), rate: None }, now);
    let sessions = [account.open_session().expect("the first"), account.open_session().expect("the second")];
    assert_eq!(account.open_session().err(), Some(Exceeded::Sessions));
    let running = account.begin_calls(1, now).expect("sessions are no calls");
    assert_eq!(call(&account, now), Err(Exceeded::Calls));
    drop(running);
    assert_eq!((call(&account, now), call(&account, now)), (Ok(()), Ok(())));
    drop(sessions);
    assert!(account.open_session().is_ok());
}

#[test]
fn what_has_no_limit_has_none_beside_what_has() {
    let now = Instant::now();
    let account = account(Limits { sessions: Some(0), ..Limits::default() }, now);
    assert_eq!(account.open_session().err(), Some(Exceeded::Sessions));
    let running: Vec<_> = (0..1000).map(|_| account.begin_calls(1, now)).collect();
    assert!(running.iter().all(Result::is_ok));
}

#[test]
fn a_second_of_calls_may_come_at_once_and_then_one_after_the_other() {
    let start = Instant::now();
    let account = account(only_rate(4), start);
    let cases = [
        (0, [Ok(()), Ok(()), Ok(()), Ok(()), Err(250)].as_slice()),
        (1, &[Err(249)]),
        (250, &[Ok(()), Err(250)]),
        (749, &[Ok(()), Err(1)]),
        (750, &[Ok(()), Err(250)]),
        (60_000, &[Ok(()), Ok(()), Ok(()), Ok(()), Err(250)]),
    ];
    for (at, expected) in cases {
        for expected in expected {
            let expected = expected.map_err(|wait| Exceeded::Rate(millis(wait)));
            assert_eq!(call(&account, start + millis(at)), expected, "at {at} ms");
        }
    }
}

#[test]
fn a_call_that_is_refused_counts_for_nothing() {
    let start = Instant::now();
    let account = account(Limits { sessions: None, calls: Some(1), rate: Some(2) }, start);
    let running = account.begin_calls(1, start).expect("the first");
    for _ in 0..10 {
        assert_eq!(call(&account, start), Err(Exceeded::Calls));
    }
    drop(running);
    assert_eq!(call(&account, start), Ok(()), "the rate has heard of one only");
    for _ in 0..10 {
        assert_eq!(call(&account, start), Err(Exceeded::Rate(millis(500))));
    }
    assert_eq!(call(&account, start + millis(500)), Ok(()));
}

#[test]
fn extreme_rates_divide_nothing_by_nothing() {
    let start = Instant::now();
    for at in [start, start + Duration::from_secs(100 * 365 * 86_400)] {
        assert_eq!(call(&account(only_rate(0), start), at), Err(Exceeded::Rate(Duration::from_secs(1))));
        assert_eq!(call(&account(only_rate(1), start), at), Ok(()));
        assert_eq!(call(&account(only_rate(u32::MAX), start), at), Ok(()));
    }
    let account = account(only_rate(1), start + millis(10));
    assert_eq!((call(&account, start), call(&account, start).is_err()), (Ok(()), true), "a clock that was read before");
}

#[test]
fn principals_have_accounts_of_their_own() {
    let (quotas, now) = (Quotas::new(only_rate(1)), Instant::now());
    let of = |name: &str| quotas.account(&Principal::named(name), now).expect("an account");
    assert!(Arc::ptr_eq(&of("alice"), &of("alice")) && !Arc::ptr_eq(&of("alice"), &of("bob")));
    assert_eq!((call(&of("alice"), now), call(&of("bob"), now)), (Ok(()), Ok(())));
    assert!(call(&of("alice"), now).is_err() && call(&of("bob"), now).is_err());
}

#[test]
fn accounts_that_tell_nothing_are_dropped_and_no_others() {
    let limits = Limits { sessions: Some(1), calls: None, rate: Some(1) };
    let (quotas, start) = (Quotas::new(limits), Instant::now());
    let of = |name: &str, at: u64| quotas.account(&Principal::named(name), start + millis(at)).expect("an account");
    let session = of("has a session", 0).open_session().expect("the first");
    assert!(call(&of("called long ago", 0), start).is_ok());
    assert!(call(&of("called just now", 0), start + millis(1500)).is_ok());
    for at in 0..1000 {
        drop(of(&format!("n{at}"), 2000));
    }
    assert!(quotas.accounts.all().len() <= 32 * 8);
    assert_eq!(of("has a session", 2000).open_session().err(), Some(Exceeded::Sessions));
    assert!(call(&of("called just now", 2000), start + millis(2000)).is_err());
    assert!(call(&of("called long ago", 2000), start + millis(2000)).is_ok());
    drop(session);
    assert!(of("has a session", 2000).open_session().is_ok());
}

#[test]
fn threads_together_begin_no_more_than_one_may() {
    let now = Instant::now();
    let account = account(Limits { sessions: None, calls: Some(1000), rate: Some(700) }, now);
    let begun = std::thread::scope(|threads| {
        let begin = || (0..300).filter_map(|_| account.begin_calls(1, now).ok()).collect::<Vec<_>>();
        let started: Vec<_> = (0..4).map(|_| threads.spawn(begin)).collect();
        started.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert_eq!(begun.len(), 700);
    drop(begun);
    assert_eq!(account.calls.taken.load(Ordering::Relaxed), 0);
}

/// A bucket of time: it holds a second's worth, and fills as time goes by.
struct Bucket {
    one: u64,
    size: u64,
    filled: u64,
    at: u64,
}

impl Bucket {
    fn take(&mut self, at: u64) -> Result<(), Duration> {
        self.filled = self.size.min(self.filled + (at - self.at));
        self.at = at;
        match self.filled.checked_sub(self.one) {
            Some(left) => {
                self.filled = left;
                Ok(())
            }
            None => Err(nanos(self.one - self.filled)),
        }
    }
}

proptest! {
    #[test]
    fn a_rate_is_what_a_bucket_of_time_allows(rate in 1..2000_u32, pauses in prop::collection::vec(0..1_u64 << 31, 1..200), by in 0..24_u32) {
        let start = Instant::now();
        let account = account(only_rate(rate), start);
        let one = SECOND.div_ceil(u64::from(rate));
        let mut bucket = Bucket { one, size: one * u64::from(rate), filled: one * u64::from(rate), at: 0 };
        let (mut at, mut begun) = (0, Vec::new());
        for pause in pauses {
            at += pause >> by;
            let (got, expected) = (call(&account, start + nanos(at)), bucket.take(at).map_err(Exceeded::Rate));
            prop_assert_eq!(got, expected, "at {}", at);
            match got {
                Ok(()) => begun.push(at),
                Err(Exceeded::Rate(wait)) => {
                    let soonest = at + u64::try_from(wait.as_nanos()).expect("below a second");
                    prop_assert!(call(&account, start + nanos(soonest - 1)).is_err(), "it said {:?}", wait);
                }
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }
        // A second has what may come at once and what comes of that second.
        for (place, first) in begun.iter().enumerate() {
            let count = begun[place..].iter().take_while(|at| *at - first < SECOND).count();
            prop_assert!(count <= 2 * rate as usize, "{} calls in a second", count);
        }
    }

    #[test]
    fn sessions_and_calls_are_as_many_as_a_list_has(sessions in 0..4_usize, calls in 0..4_usize, steps: Vec<(u8, u8)>) {
        let now = Instant::now();
        let account = account(Limits { sessions: Some(sessions), calls: Some(calls), rate: None }, now);
        let (mut held, mut running) = (Vec::new(), Vec::new());
        for (what, which) in steps {
            match what % 4 {
                0 => match account.open_session() {
                    Ok(session) => held.push(session),
                    Err(exceeded) => prop_assert_eq!((exceeded, held.len()), (Exceeded::Sessions, sessions)),
                },
                1 => match account.begin_calls(1, now) {
                    Ok(call) => running.push(call),
                    Err(exceeded) => prop_assert_eq!((exceeded, running.len()), (Exceeded::Calls, calls)),
                },
                2 if !held.is_empty() => drop(held.swap_remove(usize::from(which) % held.len())),
                _ if !running.is_empty() => drop(running.swap_remove(usize::from(which) % running.len())),
                _ => {}
            }
            prop_assert!(held.len() <= sessions && running.len() <= calls);
        }
    }
}
