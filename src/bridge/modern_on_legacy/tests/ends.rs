//! BRIDGE 3.3: the park's end, Draining, the child's end, and lines that were lost.

use super::*;

const URL: &str = r#"{"jsonrpc":"2.0","id":8,"method":"elicitation/create","params":{"mode":"url","url":"u","message":"m"}}"#;

/// What the child hears when a park is given up, of a form, a URL, a sampling and a roots question.
fn given_up() -> [Routed; 4] {
    [
        told("\"f\"", r#"{"action":"cancel"}"#),
        told("8", r#"{"action":"cancel"}"#),
        refused("5", -1, "the user did not answer (--park-ttl)"),
        refused("\"r\"", -32603, "the client did not answer (--park-ttl)"),
    ]
}

#[test]
fn parked_the_ttl_tells_the_child_that_the_user_said_no_and_cancels_once() {
    let mut bench = Bench::new();
    let said = call("1");
    let number = bench.running(&said, 1);
    let state = bench.parked(&[FORM, URL, SAMPLING, ROOTS]);
    same(&bench.after(PATIENCE.park - MILLISECOND), &[]);
    let mut expected = vec![Routed::Expired("park")];
    expected.extend(given_up());
    expected.push(cancelled(number, "the client did not come back"));
    same(&bench.after(MILLISECOND), &expected);
    assert_eq!(bench.check(&Principal::Anonymous, &said.again("2", &state, "{}")), Err(NotResumed::Unknown));
    same(&bench.give_up(), &[]);
    assert!(!bench.take(LEASE + 1, &call("3")));
    same(&bench.hear(&result(number)), &[Routed::Dropped("answer_of_cancelled_call"), freed()]);
    assert!(bench.take(LEASE + 1, &call("3")));
}

#[test]
fn parked_what_is_given_up_over_the_bound_ends_in_the_same_way() {
    let mut bench = Bench::new();
    let number = bench.running(&call("1"), 1);
    bench.parked(&[FORM, URL, SAMPLING, ROOTS]);
    let mut expected = Vec::from(given_up());
    expected.push(cancelled(number, "the client did not come back"));
    same(&bench.give_up(), &expected);
}

#[test]
fn parked_time_counts_from_the_last_time_the_client_was_asked() {
    let mut bench = Bench::new();
    let said = call("1");
    bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    same(&bench.after(PATIENCE.park - MILLISECOND), &[]);
    drop(bench.retry(&said.again("2", &state, "{}"), 2));
    drop(bench.after(Duration::from_millis(25)));
    assert_eq!(bench.router.parked_since(), Some(bench.now));
    same(&bench.after(PATIENCE.park - MILLISECOND), &[]);
    assert_eq!(bench.after(MILLISECOND).first(), Some(&Routed::Expired("park")));
}

#[test]
fn parked_the_users_time_is_not_the_calls() {
    let mut bench = Bench::new();
    let said = call("1");
    bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    same(&bench.after(PATIENCE.request + MILLISECOND), &[]);
    drop(bench.retry(&said.again("2", &state, r#"{"elicitation-1":{"action":"decline"}}"#), 2));
    same(&bench.after(PATIENCE.request - MILLISECOND), &[]);
    assert_eq!(bench.after(MILLISECOND).first(), Some(&Routed::Expired("request")));
}

#[test]
fn parked_the_users_time_counts_for_no_bound_of_the_call() {
    let mut bench = Bench::new();
    let said = call("1").with_token("1");
    bench.running(&said, 1);
    let mut worked = Duration::ZERO;
    for key in 1..=11 {
        drop((bench.after(Duration::from_secs(299)), bench.hear(&progress("1", key))));
        worked += Duration::from_secs(299);
        let state = bench.parked(&[FORM]);
        worked += lease::QUIET;
        same(&bench.after(PATIENCE.park - MILLISECOND), &[]);
        let answers = format!(r#"{{"elicitation-{key}":{{"action":"accept"}}}}"#);
        let retry = said.again("2", &state, &answers);
        assert_eq!(bench.retry(&retry, 1 + u64::from(key)).last(), Some(&told("\"f\"", r#"{"action":"accept"}"#)));
    }
    drop((bench.after(Duration::from_secs(100)), bench.hear(&progress("1", 99))));
    same(&bench.after(PATIENCE.hard - worked - Duration::from_secs(100) - MILLISECOND), &[]);
    assert_eq!(bench.after(MILLISECOND).first(), Some(&Routed::Expired("request")));
}

#[test]
fn stored_the_ttl_frees_the_lease_without_a_word_to_the_child() {
    for by_bound in [false, true] {
        let mut bench = Bench::new();
        let said = call("1");
        let number = bench.running(&said, 1);
        let state = bench.parked(&[FORM]);
        same(&bench.after(PATIENCE.park / 2), &[]);
        drop(bench.hear(&result(number)));
        if by_bound {
            same(&bench.give_up(), &[freed()]);
        } else {
            same(&bench.after(PATIENCE.park / 2), &[Routed::Expired("park"), freed()]);
        }
        assert_eq!(bench.check(&Principal::Anonymous, &said.again("2", &state, "{}")), Err(NotResumed::Unknown));
        assert!(bench.take(LEASE + 1, &call("3")));
    }
}

#[test]
fn draining_the_calls_own_answer_is_nobodys_and_frees_the_lease() {
    let mut bench = Bench::new();
    let number = bench.running(&call("1").with_token("1").with_level("debug"), 1);
    drop(bench.leave(1));
    same(&bench.hear(FORM), &[refused("\"f\"", -32603, "the call was cancelled")]);
    same(&bench.hear(&progress("1", 1)), &[]);
    same(&bench.hear(&log_line("error", "x")), &[Routed::Dropped("log_for_nobody")]);
    same(&bench.after(PATIENCE.grace - MILLISECOND), &[]);
    assert_eq!(bench.free_places(), PLACES - 1);
    same(&bench.hear(&result(number)), &[Routed::Dropped("answer_of_cancelled_call"), release(), freed()]);
    assert_eq!(bench.free_places(), PLACES);
    same(&bench.after(PATIENCE.grace), &[]);
    assert!(bench.take(LEASE + 1, &call("2")));
}

#[test]
fn draining_a_child_that_does_not_end_it_in_time_is_retired_once() {
    let mut bench = Bench::new();
    let number = bench.running(&call("1"), 1);
    drop(bench.leave(1));
    same(&bench.after(PATIENCE.grace), &[Routed::Expired("cancel_grace"), Routed::Notice(Notice::Retire)]);
    same(&bench.after(PATIENCE.grace), &[]);
    assert!(!bench.take(LEASE + 1, &call("2")) && !bench.router.is_held(), "nothing is waited for");
    same(&bench.hear(FORM), &[refused("\"f\"", -32603, "the call was cancelled")]);
    same(&bench.hear(&result(number)), &[]);
    assert!(!bench.take(LEASE + 1, &call("2")), "it was told to take no more calls");
    same(&bench.die(), &[release(), freed()]);
    assert_eq!(bench.free_places(), PLACES);
}

#[test]
fn a_lost_line_ends_a_call_whose_client_waits_and_its_lease_drains() {
    let mut bench = Bench::new();
    let number = bench.running(&call("1"), 1);
    drop(bench.hear(FORM));
    same(
        &bench.lose_line(),
        &[
            answer(1, &error("1", -32603, "too long", "")),
            refused("\"f\"", -32603, "the call was cancelled"),
            cancelled(number, "its line was too long"),
        ],
    );
    same(&bench.lose_line(), &[]);
    assert!(!bench.take(LEASE + 1, &call("2")), "it may go on in the child, and ask");
    same(&bench.hear(&result(number)), &[Routed::Dropped("answer_of_cancelled_call"), release(), freed()]);
}

#[test]
fn a_lost_line_is_nobodys_where_it_can_have_been_anybodys() {
    let mut bench = Bench::new();
    let said = call("1");
    let number = bench.running(&said, 1);
    bench.share(&Said { method: "tools/list", ..call("2") }, 2);
    same(&bench.lose_line(), &[]);
    drop(bench.leave(2));
    let state = bench.parked(&[FORM]);
    same(&bench.lose_line(), &[]);
    let retry = said.again("2", &state, r#"{"elicitation-1":{"action":"accept"}}"#);
    same(&bench.retry(&retry, 3), &[told("\"f\"", r#"{"action":"accept"}"#)]);
    same(&bench.hear(&result(number)), &[answer(3, &complete("2")), release(), freed()]);
}

#[test]
fn the_childs_end_answers_who_waits_and_buries_who_is_parked() {
    let lost = |id: &str| error(id, -32603, "it died", r#"{"reason":"child_exited"}"#);
    let mut bench = Bench::new();
    bench.running(&call("1"), 1);
    same(&bench.die(), &[answer(1, &lost("1")), release(), freed()]);

    let mut bench = Bench::new();
    bench.running(&call("1"), 1);
    drop(bench.hear(FORM));
    same(&bench.die(), &[answer(1, &lost("1")), release(), freed()]);

    let mut bench = Bench::new();
    let said = call("1");
    bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    drop(bench.retry(&said.again("2", &state, "{}"), 2));
    drop(bench.after(Duration::from_millis(25)));
    same(&bench.die(), &[Routed::Notice(Notice::Buried(LEASE, 2)), freed()]);

    let mut bench = Bench::new();
    let number = bench.running(&said, 1);
    drop((bench.parked(&[FORM]), bench.hear(&result(number))));
    same(&bench.die(), &[Routed::Notice(Notice::Buried(LEASE, 1)), freed()]);

    let mut bench = Bench::new();
    assert!(bench.take(LEASE, &said));
    same(&bench.die(), &[release(), freed()]);
    same(&bench.untake(LEASE), &[]);
    same(&bench.die(), &[]);
    assert!(!bench.router.is_held());
}

#[test]
fn a_shared_call_is_answered_cancelled_and_failed_like_any_other() {
    let said = call("\"s\"").declaring("{}").with_token("\"t\"");
    let mut bench = Bench::declaring("{}");
    let number = bench.share(&said, 1);
    same(&bench.hear(&progress(&number.to_string(), 1)), &[note(1, &progress("\"t\"", 1))]);
    same(&bench.hear(&result(number)), &[answer(1, &complete("\"s\"")), freed()]);
    same(&bench.hear(&result(number)), &[Routed::Dropped("answer_without_call")]);
    same(&bench.hear(&progress(&number.to_string(), 2)), &[Routed::Dropped("progress_without_call")]);
    let number = bench.share(&said, 2);
    same(&bench.leave(2), &[Routed::End(StreamId(2)), cancelled(number, "the client closed the stream")]);
    same(&bench.hear(&result(number)), &[freed(), Routed::Dropped("answer_of_cancelled_call")]);
    same(&bench.hear(&result(number)), &[Routed::Dropped("answer_without_call")]);
    let number = bench.share(&said, 3);
    same(
        &bench.after(PATIENCE.request),
        &[Routed::Expired("request"), answer(3, &error("\"s\"", -32603, jsonrpc::LATE, "")), cancelled(number, "timed out")],
    );
    bench.share(&said, 4);
    same(&bench.lose_line(), &[answer(4, &error("\"s\"", -32603, "too long", ""))]);
    bench.share(&said, 5);
    bench.share(&said, 6);
    same(&bench.lose_line(), &[]);
    assert_eq!(bench.die().len(), 2);
    assert_eq!(bench.router.calls_in_flight(), 0);
}

#[test]
fn the_gateways_own_request_is_answered_as_the_child_wrote_it() {
    let mut bench = Bench::new();
    let line = bench.router.own_request("logging/setLevel", r#"{"level":"info"}"#, StreamId(1), bench.now);
    assert_eq!(
        String::from_utf8_lossy(&line),
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"logging/setLevel\",\"params\":{\"level\":\"info\"}}\n"
    );
    same(&bench.hear(&result(1)), &[answer(1, &result(1))]);
    bench.router.own_request("tools/list", "{}", StreamId(2), bench.now);
    same(&bench.leave(2), &[Routed::End(StreamId(2)), cancelled(2, "timed out")]);
    bench.router.own_request("initialize", "{}", StreamId(3), bench.now);
    same(&bench.leave(3), &[Routed::End(StreamId(3))]);
    bench.router.own_request("initialize", "{}", StreamId(4), bench.now);
    same(&bench.after(PATIENCE.request), &[Routed::Expired("request"), answer(4, &error("4", -32603, jsonrpc::LATE, ""))]);
}
