//! BRIDGE 6.8 and 6.9: questions that belong to no call that could be asked.

use super::*;

fn stray_refused(id: &str) -> Routed {
    refused(id, -32603, "no call came that the client could be asked in")
}

#[test]
fn a_question_outside_any_call_is_asked_with_the_next_one_before_it_is_sent() {
    let mut bench = Bench::new();
    same(&bench.hear(ROOTS), &[]);
    assert!(bench.take(LEASE, &call("1")));
    same(&bench.hear(FORM), &[]);
    let said = call("1").with_arguments(r#"{"x":1}"#);
    let routed = bench.ask(LEASE, &said, 1);
    let asked = bench.input_required("1", &[("roots-1", ROOTS_ASKED), ("elicitation-2", FORM_ASKED)], &routed);
    same(&routed, &[answer(1, &asked), release(), Routed::Notice(Notice::Parked)]);
    assert_eq!(bench.router.parked_since(), Some(bench.now));
}

#[test]
fn the_call_that_waited_for_it_is_sent_with_the_retry_once() {
    let mut bench = Bench::new();
    drop(bench.hear(ROOTS));
    let said = call("1").with_token("7");
    assert!(bench.take(LEASE, &said));
    let routed = bench.ask(LEASE, &said, 1);
    let state = bench.state_in(&routed);
    let retry = said.again("2", &state, r#"{"roots-1":{"roots":[]}}"#);
    let sent =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ask","arguments":{},"_meta":{"progressToken":1}}}"#;
    same(&bench.retry(&retry, 2), &[told("\"r\"", r#"{"roots":[]}"#), to_child(sent)]);
    same(&bench.hear(&progress("1", 1)), &[note(2, &progress("7", 1))]);
    let state = bench.parked(&[FORM]);
    let again = said.again("3", &state, r#"{"elicitation-2":{"action":"accept"}}"#);
    same(&bench.retry(&again, 3), &[told("\"f\"", r#"{"action":"accept"}"#)]);
    same(&bench.hear(&result(1)), &[answer(3, &complete("3")), release(), freed()]);
}

#[test]
fn a_call_that_was_never_sent_is_given_up_without_a_cancellation() {
    let mut bench = Bench::new();
    drop(bench.hear(FORM));
    assert!(bench.take(LEASE, &call("1")));
    drop(bench.ask(LEASE, &call("1"), 1));
    same(&bench.after(PATIENCE.park), &[Routed::Expired("park"), told("\"f\"", r#"{"action":"cancel"}"#), freed()]);
    assert!(bench.take(LEASE + 1, &call("2")));
    assert_eq!(number_of(&bench.ask(LEASE + 1, &call("2"), 2)), 1, "nothing was sent before");
}

#[test]
fn a_question_that_no_call_adopts_is_refused_after_30_s() {
    let mut bench = Bench::new();
    drop(bench.hear(ROOTS));
    same(&bench.after(Duration::from_secs(29)), &[]);
    drop(bench.hear(FORM));
    same(&bench.after(Duration::from_secs(1)), &[Routed::Expired("stray_question"), stray_refused("\"r\"")]);
    same(&bench.after(Duration::from_secs(28)), &[]);
    same(&bench.after(Duration::from_secs(1)), &[Routed::Expired("stray_question"), stray_refused("\"f\"")]);
}

#[test]
fn a_question_that_another_request_seems_to_wait_for_is_refused_after_2_s() {
    let mut bench = Bench::new();
    let list = Said { method: "tools/list", ..call("1") };
    bench.share(&list, 1);
    drop(bench.hear(ROOTS));
    same(&bench.after(Duration::from_millis(1999)), &[]);
    same(&bench.after(MILLISECOND), &[Routed::Expired("stray_question"), stray_refused("\"r\"")]);
}

#[test]
fn a_question_that_is_withdrawn_is_asked_of_nobody() {
    let mut bench = Bench::new();
    drop(bench.hear(ROOTS));
    same(&bench.hear(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"r"}}"#), &[]);
    assert_eq!(bench.running(&call("1"), 1), 1);
}

#[test]
fn what_the_child_was_not_told_can_be_asked_is_refused() {
    let mut bench = Bench::declaring(r#"{"roots":{}}"#);
    let no = "the client did not declare that it can be asked this";
    same(&bench.hear(FORM), &[Routed::Dropped("question_for_nobody"), refused("\"f\"", -32602, no)]);
    same(&bench.hear(SAMPLING), &[Routed::Dropped("question_for_nobody"), refused("5", -32601, no)]);
    same(&bench.hear(ROOTS), &[]);
}

#[test]
fn at_most_16_wait() {
    let mut bench = Bench::new();
    for at in 0..16 {
        same(&bench.hear(&ROOTS.replace("\"r\"", &at.to_string())), &[]);
    }
    assert_eq!(bench.hear(&ROOTS.replace("\"r\"", "16")).len(), 2, "it is counted and refused");
    assert_eq!(bench.hear(&ROOTS.replace("\"r\"", "15")).len(), 1, "its id is open");
}

#[test]
fn at_most_65536_calls_that_were_given_up_are_remembered() {
    let mut bench = Bench::declaring("{}");
    let said = call("1").declaring("{}");
    let now = bench.now;
    bench.router.ghosts.extend((0..65_535).map(|at| (u64::MAX - at, now)));
    for _ in 0..2 {
        bench.share(&said, 1);
        drop(bench.leave(1));
    }
    assert_eq!(bench.router.ghosts.len(), 65_536);
}

#[test]
fn the_only_call_that_shares_and_could_ask_is_told_what_is_missing() {
    let mut bench = Bench::declaring("{}");
    let said = call("\"s\"").declaring("{}");
    let number = bench.share(&said, 1);
    bench.share(&Said { method: "tools/list", ..said.clone() }, 2);
    let text = "the server wants to ask for roots, which the client did not declare";
    same(
        &bench.hear(ROOTS),
        &[
            refused("\"r\"", -32601, "the client did not declare that it can be asked this"),
            answer(1, &error("\"s\"", -32021, text, r#"{"requiredCapabilities":{"roots":{}}}"#)),
            cancelled(number, "the client cannot be asked"),
        ],
    );
    same(&bench.hear(&result(number)), &[freed(), Routed::Dropped("answer_of_cancelled_call")]);
}

#[test]
fn none_is_blamed_beside_one_that_was_given_up_and_may_still_ask() {
    let no = "the client did not declare that it can be asked this";
    let refusal = [Routed::Dropped("question_for_nobody"), refused("\"r\"", -32601, no)];
    for ends_well in [false, true] {
        let mut bench = Bench::declaring("{}");
        let said = call("1").declaring("{}");
        let first = bench.share(&said, 1);
        bench.share(&said, 2);
        drop(bench.leave(1));
        same(&bench.hear(ROOTS), &refusal);
        if ends_well {
            drop(bench.hear(&result(first)));
        } else {
            same(&bench.after(PATIENCE.grace), &[]);
        }
        assert_eq!(bench.hear(ROOTS).len(), 3, "there is only one left that can have asked");
    }
}

#[test]
fn none_that_may_be_asked_runs_beside_one_that_was_given_up() {
    let said = call("1").declaring("{}");
    for how in 0..4 {
        let mut bench = Bench::declaring("{}");
        let number = bench.share(&said, 1);
        drop(match how {
            0 => bench.leave(1),
            1 => bench.after(PATIENCE.request),
            2 => bench.hear(ROOTS),
            _ => bench.lose_line(),
        });
        assert!(!bench.take(LEASE, &said.clone().with_level("info")), "{how}");
        same(&bench.after(PATIENCE.grace - MILLISECOND), &[]);
        assert!(!bench.take(LEASE, &said.clone().with_level("info")), "{how}");
        let routed = if how % 2 == 0 { bench.after(MILLISECOND) } else { bench.hear(&result(number)) };
        assert!(routed.contains(&freed()), "whoever waits for the lease is told: {how}");
        assert!(bench.take(LEASE, &said.clone().with_level("info")), "{how}");
    }
}

#[test]
fn of_several_calls_that_share_none_is_blamed() {
    let mut bench = Bench::declaring("{}");
    let said = call("1").declaring("{}");
    let numbers = [bench.share(&said, 1), bench.share(&said, 2)];
    let no = "the client did not declare that it can be asked this";
    same(&bench.hear(FORM), &[Routed::Dropped("question_for_nobody"), refused("\"f\"", -32602, no)]);
    same(&bench.hear(&result(numbers[1])), &[answer(2, &complete("1"))]);
    same(&bench.hear(&result(numbers[0])), &[answer(1, &complete("1")), freed()]);
}
