//! BRIDGE 3.5: a state is good for its own call, its own principal, its own round, and once. What `pool::open_ticket` does
//! with the ticket is done here by [`Bench::check`].

use proptest::prelude::*;

use super::*;

const RESPONSES: &str = r#"{"elicitation-1":{"action":"accept"}}"#;
const ANONYMOUS: Principal = Principal::Anonymous;

/// A call that was parked, and a good retry of it.
fn waiting(said: &Said) -> (Bench, Said) {
    let mut bench = Bench::new();
    bench.running(said, 1);
    let state = bench.parked(&[FORM]);
    (bench, said.again("2", &state, RESPONSES))
}

#[test]
fn a_state_says_which_call_of_which_child_it_continues() {
    let said = call("1");
    let (bench, retry) = waiting(&said);
    let ticket = bench.ticket(retry.state.as_deref().expect("a state"));
    let text = said.text();
    let expected = Ticket {
        kind: TicketKind::Park,
        replica: bench.seal.replica(),
        slot: SLOT,
        lease: LEASE,
        round: 1,
        principal: ANONYMOUS.tag(),
        digest: asked(&text).digest(),
        rest: Vec::new(),
    };
    assert_eq!(ticket, expected);
    assert_eq!(bench.check(&ANONYMOUS, &retry), Ok(expected));
}

#[test]
fn another_principal_is_refused() {
    let (bench, retry) = waiting(&call("1"));
    for other in [Principal::named("alice"), Principal::named("anonymous"), Principal::named("")] {
        assert_eq!(bench.check(&other, &retry), Err(NotResumed::Unknown), "{other:?}");
    }
    assert!(bench.check(&ANONYMOUS, &retry).is_ok());
}

#[test]
fn another_call_is_refused_and_another_spelling_of_the_same_is_not() {
    let said = call("1").with_arguments(r#"{"a":1,"b":"x"}"#);
    let (bench, retry) = waiting(&said);
    for other in [
        retry.clone().with_arguments(r#"{"a":1,"b":"y"}"#),
        retry.clone().with_arguments(r#"{"a":1.0,"b":"x"}"#),
        retry.clone().with_arguments(r#"{"a":1}"#),
        retry.clone().with_arguments(r#"{"a":1,"b":"x","c":null}"#),
        Said { name: "other", ..retry.clone() },
        Said { method: "prompts/get", ..retry.clone() },
    ] {
        assert_eq!(bench.check(&ANONYMOUS, &other), Err(NotResumed::Unknown), "{}", other.text());
    }
    let same = retry.with_arguments(r#"{ "b":"\u0078", "a":1 }"#).with_token("5").with_level("info");
    assert!(bench.check(&ANONYMOUS, &same).is_ok());
}

#[test]
fn every_changed_byte_is_refused() {
    let (bench, retry) = waiting(&call("1"));
    let state = retry.state.clone().expect("a state");
    for at in 0..state.len() {
        for other in ["A", "b", "-", "."] {
            let mut changed = state.clone();
            changed.replace_range(at..=at, other);
            if changed != state {
                let retry = Said { state: Some(changed), ..retry.clone() };
                assert_eq!(bench.check(&ANONYMOUS, &retry), Err(NotResumed::Unknown), "{at}");
            }
        }
    }
    for junk in [format!("{state}junk"), format!("{state}="), format!(" {state}"), state[1..].to_owned(), String::new()] {
        let retry = Said { state: Some(junk), ..retry.clone() };
        assert_eq!(bench.check(&ANONYMOUS, &retry), Err(NotResumed::Unknown));
    }
    assert!(bench.check(&ANONYMOUS, &retry).is_ok());
}

#[test]
fn a_state_is_good_once() {
    let (mut bench, retry) = waiting(&call("1"));
    drop(bench.retry(&retry, 2));
    assert_eq!(bench.check(&ANONYMOUS, &retry), Err(NotResumed::Unknown), "it runs");
    drop(bench.hear(ROOTS));
    assert_eq!(bench.check(&ANONYMOUS, &retry), Err(NotResumed::Unknown), "it gathers");
    drop(bench.after(Duration::from_millis(25)));
    assert_eq!(bench.check(&ANONYMOUS, &retry), Err(NotResumed::Unknown), "it is parked in another round");
    drop(bench.hear(&result(1)));
    assert_eq!(bench.check(&ANONYMOUS, &retry), Err(NotResumed::Unknown), "its result is stored for another round");
    drop(bench.after(PATIENCE.park));
    assert_eq!(bench.check(&ANONYMOUS, &retry), Err(NotResumed::Unknown), "it is over");
}

#[test]
fn a_state_of_an_expired_park_is_refused() {
    let (mut bench, retry) = waiting(&call("1"));
    drop(bench.after(PATIENCE.park - MILLISECOND));
    assert!(bench.check(&ANONYMOUS, &retry).is_ok());
    drop(bench.after(MILLISECOND));
    assert_eq!(bench.check(&ANONYMOUS, &retry), Err(NotResumed::Unknown));
    drop(bench.hear(&result(1)));
    assert_eq!(bench.check(&ANONYMOUS, &retry), Err(NotResumed::Unknown));
}

#[test]
fn a_state_of_a_former_call_is_refused_by_the_next_of_the_same_round() {
    let said = call("1");
    let (mut bench, retry) = waiting(&said);
    drop(bench.retry(&retry, 2));
    drop(bench.hear(&result(1)));
    assert!(bench.take(LEASE + 1, &said));
    drop(bench.ask(LEASE + 1, &said, 3));
    let next = bench.parked(&[FORM]);
    assert_eq!(bench.check(&ANONYMOUS, &retry), Err(NotResumed::Unknown));
    assert!(bench.check(&ANONYMOUS, &said.again("4", &next, RESPONSES)).is_ok());
}

#[test]
fn a_state_of_another_gateway_is_refused() {
    let said = call("1");
    let (bench, _) = waiting(&said);
    let (_, foreign) = waiting(&said);
    assert_eq!(bench.check(&ANONYMOUS, &foreign), Err(NotResumed::Unknown));
}

#[test]
fn a_retry_that_is_not_checked_again_after_another_one_would_be_late() {
    // `pool` checks twice: before it waits for a place, and under the lock that takes the call.
    let (mut bench, retry) = waiting(&call("1"));
    assert!(bench.check(&ANONYMOUS, &retry).is_ok());
    drop(bench.give_up());
    assert_eq!(bench.check(&ANONYMOUS, &retry), Err(NotResumed::Unknown));
}

proptest! {
    /// Whatever a client makes of its state, only the state itself goes on.
    #[test]
    fn no_other_text_is_a_state(cut in 0..260_usize, insert in "[A-Za-z0-9_.-]{0,6}", skip in 0..4_usize) {
        let (bench, retry) = waiting(&call("1"));
        let state = retry.state.clone().expect("a state");
        let cut = cut.min(state.len());
        let rest = &state[(cut + skip).min(state.len())..];
        let other = format!("{}{insert}{rest}", &state[..cut]);
        let is_same = other == state;
        let retry = Said { state: Some(other), ..retry };
        prop_assert_eq!(bench.check(&ANONYMOUS, &retry).is_ok(), is_same);
    }
}
