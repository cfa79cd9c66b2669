//! BRIDGE 3.3, the rows of Parked and Stored: the client was asked, and has yet to come back.

use super::*;

const ACCEPT: &str = r#"{"action":"accept","content":{"n":1e2}}"#;
const NO_ROOTS: &str = r#"{"roots":[]}"#;

#[test]
fn parked_a_retry_delivers_its_answers_and_is_answered() {
    let mut bench = Bench::new();
    let said = call("1");
    let number = bench.running(&said, 1);
    let state = bench.parked(&[FORM, ROOTS]);
    assert_eq!(bench.ticket(&state).round, 1);
    let responses = format!(r#"{{"roots-2":{NO_ROOTS},"elicitation-1":{ACCEPT},"elicitation-9":{{}}}}"#);
    same(&bench.retry(&said.again("\"b\"", &state, &responses), 2), &[told("\"f\"", ACCEPT), told("\"r\"", NO_ROOTS)]);
    assert_eq!((bench.free_places(), bench.router.calls_in_flight()), (PLACES - 1, 1));
    same(&bench.hear(&result(number)), &[answer(2, &complete("\"b\"")), release(), freed()]);
}

#[test]
fn parked_the_round_is_consumed_by_the_first_good_retry() {
    let mut bench = Bench::new();
    let said = call("1");
    bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    let retry = said.again("2", &state, &format!(r#"{{"elicitation-1":{ACCEPT}}}"#));
    drop(bench.retry(&retry, 2));
    assert_eq!(bench.check(&Principal::Anonymous, &retry), Err(NotResumed::Unknown));
    let next = bench.parked(&[ROOTS]);
    assert_eq!(bench.ticket(&next).round, 2);
    assert_eq!(bench.check(&Principal::Anonymous, &retry), Err(NotResumed::Unknown), "its round is over");
    assert!(bench.check(&Principal::Anonymous, &said.again("3", &next, "{}")).is_ok());
}

#[test]
fn parked_a_retry_without_some_answers_is_asked_for_the_rest_under_the_same_keys() {
    let mut bench = Bench::new();
    let said = call("1");
    bench.running(&said, 1);
    let state = bench.parked(&[FORM, SAMPLING, ROOTS]);
    let some = said.again("2", &state, &format!(r#"{{"roots-3":{NO_ROOTS}}}"#));
    let due = bench.now + Duration::from_millis(25);
    same(&bench.retry(&some, 2), &[told("\"r\"", NO_ROOTS), Routed::Alarm(due)]);
    let routed = bench.after(Duration::from_millis(25));
    let asked = bench.input_required("2", &[("elicitation-1", FORM_ASKED), ("sampling-2", SAMPLING_ASKED)], &routed);
    same(&routed, &[answer(2, &asked), release(), Routed::Notice(Notice::Parked)]);
    let state = bench.state_in(&routed);
    let nothing = Said { responses: None, ..said.again("3", &state, "") };
    let due = bench.now + Duration::from_millis(25);
    same(&bench.retry(&nothing, 3), &[Routed::Alarm(due)]);
    let again = bench.after(Duration::from_millis(25));
    let asked = bench.input_required("3", &[("elicitation-1", FORM_ASKED), ("sampling-2", SAMPLING_ASKED)], &again);
    same(&again, &[answer(3, &asked), release(), Routed::Notice(Notice::Parked)]);
    assert_eq!(bench.ticket(&bench.state_in(&again)).round, 3);
}

#[test]
fn parked_a_key_is_never_given_twice() {
    let mut bench = Bench::new();
    let said = call("1");
    bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    drop(bench.retry(&said.again("2", &state, &format!(r#"{{"elicitation-1":{ACCEPT}}}"#)), 2));
    drop(bench.hear(FORM));
    let routed = bench.after(Duration::from_millis(25));
    let asked = bench.input_required("2", &[("elicitation-2", FORM_ASKED)], &routed);
    same(&routed[..1], &[answer(2, &asked)]);
}

#[test]
fn parked_an_answer_that_cannot_be_one_does_not_consume_the_round() {
    let mut bench = Bench::new();
    let said = call("1");
    bench.running(&said, 1);
    let state = bench.parked(&[FORM, SAMPLING, ROOTS]);
    let sampled = r#"{"role":"assistant","content":{},"model":"m"}"#;
    for responses in [
        r#""elicitation-1""#.to_owned(),
        "[]".to_owned(),
        r#"{"elicitation-1":"accept"}"#.to_owned(),
        r#"{"elicitation-1":{"content":{}}}"#.to_owned(),
        r#"{"sampling-2":{"role":"assistant","content":{}}}"#.to_owned(),
        r#"{"sampling-2":{"role":"assistant","model":"m"}}"#.to_owned(),
        r#"{"sampling-2":{"content":{},"model":"m"}}"#.to_owned(),
        r#"{"roots-3":{}}"#.to_owned(),
        r#"{"roots-3":{"roots":{}}}"#.to_owned(),
        format!(r#"{{"elicitation-1":{ACCEPT},"roots-3":[]}}"#),
    ] {
        let retry = said.again("2", &state, &responses);
        assert!(matches!(bench.check(&Principal::Anonymous, &retry), Err(NotResumed::BadAnswer(_))), "{responses}");
    }
    let good = format!(r#"{{"elicitation-1":{ACCEPT},"sampling-2":{sampled},"roots-3":{NO_ROOTS},"x":1}}"#);
    let routed = bench.retry(&said.again("2", &state, &good), 2);
    same(&routed, &[told("\"f\"", ACCEPT), told("5", sampled), told("\"r\"", NO_ROOTS)]);
}

#[test]
fn parked_another_question_is_asked_after_the_retry_at_once() {
    let mut bench = Bench::new();
    let said = call("1");
    bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    same(&bench.hear(ROOTS), &[]);
    let due = bench.now + Duration::from_millis(25);
    let responses = format!(r#"{{"elicitation-1":{ACCEPT},"roots-2":[]}}"#);
    let retry = said.again("2", &state, &responses);
    same(&bench.retry(&retry, 2), &[told("\"f\"", ACCEPT), Routed::Alarm(due)]);
    let routed = bench.after(Duration::from_millis(25));
    let asked = bench.input_required("2", &[("roots-2", ROOTS_ASKED)], &routed);
    same(&routed, &[answer(2, &asked), release(), Routed::Notice(Notice::Parked)]);
}

#[test]
fn parked_what_was_not_asked_has_no_answer() {
    let mut bench = Bench::new();
    let said = call("1");
    bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    drop(bench.hear(ROOTS));
    let due = bench.now + Duration::from_millis(25);
    let responses = format!(r#"{{"elicitation-1":{ACCEPT},"":{NO_ROOTS},"roots-2":{NO_ROOTS},"r":{NO_ROOTS}}}"#);
    let retry = said.again("2", &state, &responses);
    same(&bench.retry(&retry, 2), &[told("\"f\"", ACCEPT), Routed::Alarm(due)]);
}

#[test]
fn parked_a_question_that_was_not_declared_is_refused_and_the_call_goes_on() {
    let mut bench = Bench::new();
    let said = call("1").declaring(r#"{"elicitation":{}}"#);
    bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    same(&bench.hear(ROOTS), &[refused("\"r\"", -32601, "the client did not declare that it can be asked this")]);
    assert!(bench.check(&Principal::Anonymous, &said.again("2", &state, "{}")).is_ok());
}

#[test]
fn parked_what_the_child_withdraws_is_not_answered() {
    let mut bench = Bench::new();
    let said = call("1");
    let number = bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    same(&bench.hear(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"f"}}"#), &[]);
    let late = said.again("2", &state, r#"{"elicitation-1":"whatever"}"#);
    same(&bench.retry(&late, 2), &[]);
    same(&bench.hear(&result(number)), &[answer(2, &complete("2")), release(), freed()]);
}

#[test]
fn parked_the_last_progress_and_the_logs_come_with_the_retry() {
    let mut bench = Bench::new();
    let said = call("1").with_token("\"a\"").with_level("info");
    let number = bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    for line in [progress("1", 1), log_line("info", "x"), progress("1", 2), log_line("error", "y")] {
        same(&bench.hear(&line), &[]);
    }
    same(&bench.hear(&log_line("debug", "x")), &[Routed::Dropped("log_for_nobody")]);
    let retry = said.again("2", &state, &format!(r#"{{"elicitation-1":{ACCEPT}}}"#)).with_token("\"b\"");
    same(
        &bench.retry(&retry, 2),
        &[
            note(2, &log_line("info", "x")),
            note(2, &log_line("error", "y")),
            note(2, &progress("\"b\"", 2)),
            told("\"f\"", ACCEPT),
        ],
    );
    same(&bench.hear(&progress("1", 3)), &[note(2, &progress("\"b\"", 3))]);
    same(&bench.hear(&log_line("info", "z")), &[note(2, &log_line("info", "z"))]);
    same(&bench.hear(&result(number)), &[answer(2, &complete("2")), release(), freed()]);
}

#[test]
fn parked_a_retry_that_wants_no_logs_and_no_progress_gets_none() {
    let mut bench = Bench::new();
    let said = call("1").with_token("\"a\"").with_level("info");
    bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    drop((bench.hear(&log_line("info", "x")), bench.hear(&progress("1", 1))));
    let mut retry = said.again("2", &state, &format!(r#"{{"elicitation-1":{ACCEPT}}}"#));
    (retry.token, retry.level) = (None, None);
    same(&bench.retry(&retry, 2), &[Routed::Dropped("log_for_nobody"), told("\"f\"", ACCEPT)]);
    same(&bench.hear(&progress("1", 2)), &[Routed::Dropped("progress_without_call")]);
    same(&bench.hear(&log_line("emergency", "x")), &[Routed::Dropped("log_for_nobody")]);
    let state = bench.parked(&[ROOTS]);
    same(&bench.hear(&log_line("info", "x")), &[Routed::Dropped("log_for_nobody")]);
    same(&bench.hear(&progress("1", 3)), &[]);
    let third = said.again("3", &state, &format!(r#"{{"roots-2":{NO_ROOTS}}}"#));
    same(&bench.retry(&third, 3), &[note(3, &progress("\"a\"", 3)), told("\"r\"", NO_ROOTS)]);
}

#[test]
fn parked_a_token_on_the_retry_alone_gets_nothing() {
    let mut bench = Bench::new();
    let said = call("1");
    bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    let retry = said.again("2", &state, &format!(r#"{{"elicitation-1":{ACCEPT}}}"#)).with_token("\"b\"");
    same(&bench.retry(&retry, 2), &[told("\"f\"", ACCEPT)]);
    same(&bench.hear(&progress("1", 1)), &[Routed::Dropped("progress_without_call")]);
}

#[test]
fn parked_at_most_64_logs_of_64_kib_are_kept() {
    let mut bench = Bench::new();
    let said = call("1").with_level("debug");
    bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    for at in 0..64 {
        same(&bench.hear(&log_line("info", &at.to_string())), &[]);
    }
    same(&bench.hear(&log_line("info", "64")), &[Routed::Dropped("parked_log")]);
    let big = log_line("info", &"x".repeat(40 << 10));
    same(&bench.hear(&big), &[Routed::Dropped("parked_log")]);
    let dropped = bench.hear(&big);
    assert_eq!(dropped.len(), 64, "63 small ones and the first big one");
    let huge = log_line("info", &"x".repeat(65 << 10));
    same(&bench.hear(&huge), &[Routed::Dropped("parked_log"), Routed::Dropped("parked_log")]);
    same(&bench.hear(&log_line("info", "last")), &[]);
    let routed = bench.retry(&said.again("2", &state, &format!(r#"{{"elicitation-1":{ACCEPT}}}"#)), 2);
    same(&routed, &[note(2, &log_line("info", "last")), told("\"f\"", ACCEPT)]);
}

#[test]
fn parked_a_retry_whose_client_goes_cancels_the_call_and_its_state_is_spent() {
    let mut bench = Bench::new();
    let said = call("1");
    let number = bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    let retry = said.again("2", &state, &format!(r#"{{"elicitation-1":{ACCEPT}}}"#));
    drop(bench.retry(&retry, 2));
    same(&bench.leave(1), &[Routed::End(StreamId(1))]);
    same(&bench.leave(2), &[Routed::End(StreamId(2)), cancelled(number, "the client closed the stream")]);
    assert_eq!(bench.check(&Principal::Anonymous, &retry), Err(NotResumed::Unknown));
}

#[test]
fn stored_the_result_waits_for_the_retry_and_its_answers_are_ignored() {
    let mut bench = Bench::new();
    let said = call("1").with_token("1").with_level("info");
    let number = bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    drop((bench.hear(ROOTS), bench.hear(&progress("1", 1)), bench.hear(&log_line("info", "x"))));
    same(
        &bench.hear(&result(number)),
        &[refused("\"f\"", -32603, "the call has ended"), refused("\"r\"", -32603, "the call has ended")],
    );
    assert!(bench.router.is_held() && !bench.take(LEASE + 1, &call("9")));
    same(&bench.hear(&log_line("info", "x")), &[Routed::Dropped("log_for_nobody")]);
    let retry = said.again("2", &state, r#"{"elicitation-1":"whatever"}"#).with_token("\"t\"");
    same(
        &bench.retry(&retry, 2),
        &[note(2, &log_line("info", "x")), note(2, &progress("\"t\"", 1)), answer(2, &complete("2")), release(), freed()],
    );
    assert_eq!(bench.free_places(), PLACES);
    assert_eq!(bench.check(&Principal::Anonymous, &retry), Err(NotResumed::Unknown));
    assert!(bench.take(LEASE + 1, &call("9")));
}

#[test]
fn stored_a_question_is_not_that_calls() {
    let mut bench = Bench::new();
    let said = call("1");
    let number = bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    drop(bench.hear(&result(number)));
    same(&bench.hear(ROOTS), &[]);
    drop(bench.retry(&said.again("2", &state, "{}"), 2));
    assert!(bench.take(LEASE + 1, &call("3")));
    let routed = bench.ask(LEASE + 1, &call("3"), 3);
    let asked = bench.input_required("3", &[("roots-1", ROOTS_ASKED)], &routed);
    same(&routed[..1], &[answer(3, &asked)]);
}
