//! Requests, their answers and progress, and what names no call.

use super::*;

const NOTE: &str = r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"n":1e400}}"#;

#[test]
fn equal_ids_and_tokens_of_two_sessions_stay_apart() {
    let mut bench = Bench::new();
    let text = call("\"a\"", Some("7"));
    let (one, line) = bench.line(&session(1), &text, Carries::Events);
    assert_eq!(line, call("1", Some("1")), "nothing but id and token is exchanged");
    let (two, line) = bench.line(&session(2), &text, Carries::Events);
    assert_eq!(line, call("2", Some("2")));
    same(&bench.hear(&progress("2")), &[note(two, &progress("7"))]);
    same(&bench.hear(&progress("1")), &[note(one, &progress("7"))]);
    same(&bench.hear(&result("2")), &[answer(two, &result("\"a\""))]);
    same(&bench.hear(&error("1", -5, "no", "")), &[answer(one, &error("\"a\"", -5, "no", ""))]);
    assert_eq!(bench.router.calls_in_flight(), 0);
    for late in ["1", "2"] {
        same(&bench.hear(&result(late)), &[Routed::Dropped("answer_without_call")]);
        same(&bench.hear(&progress(late)), &[Routed::Dropped("progress_without_call")]);
    }
}

#[test]
fn an_answer_without_an_id_is_nobodys() {
    let mut bench = Bench::new();
    bench.call(1);
    same(&bench.hear(&error("null", -32700, "?", "")), &[Routed::Dropped("answer_without_call")]);
    same(&bench.hear(&result("\"1\"")), &[Routed::Dropped("answer_without_call")]);
    assert_eq!(bench.router.calls_in_flight(), 1);
}

#[test]
fn progress_needs_a_token_and_a_stream_that_carries_it() {
    let mut bench = Bench::new();
    bench.call(1);
    same(&bench.hear(&progress("1")), &[Routed::Dropped("progress_without_call")]);
    bench.line(&session(1), &call("1", Some("1")), Carries::AnswerOnly);
    same(&bench.hear(&progress("2")), &[Routed::Dropped("progress_in_json_mode")]);
    same(&bench.hear(&progress("\"2\"")), &[Routed::Dropped("progress_without_call")]);
}

#[test]
fn what_names_no_call_is_the_only_sessions_that_has_calls() {
    let mut bench = Bench::new();
    let standing = bench.seated(1);
    bench.seated(2);
    let nobody = [Routed::Dropped("notification_for_nobody")];
    same(&bench.hear(NOTE), &nobody);
    let (first, _) = bench.call(1);
    same(&bench.hear(NOTE), &[note(first, NOTE)]);
    let (newest, number) = bench.call(1);
    same(&bench.hear(NOTE), &[note(newest, NOTE)]);
    bench.line(&session(1), &call("1", None), Carries::AnswerOnly);
    same(&bench.hear(NOTE), &[note(newest, NOTE)]);
    drop(bench.hear(&result(&number.to_string())));
    same(&bench.hear(NOTE), &[note(first, NOTE)]);
    let (_, other) = bench.call(2);
    same(&bench.hear(NOTE), &nobody);
    drop(bench.hear(&result(&other.to_string())));
    drop(bench.hear(&result("1")));
    same(&bench.hear(NOTE), &[note(standing, NOTE)]);
}

#[test]
fn what_a_stream_cannot_carry_goes_to_its_sessions_standing_one() {
    let mut bench = Bench::new();
    bench.line(&session(1), &call("1", None), Carries::AnswerOnly);
    same(&bench.hear(NOTE), &[Routed::Dropped("notification_for_nobody")]);
    let standing = bench.seated(1);
    same(&bench.hear(NOTE), &[note(standing, NOTE)]);
    // One that carries events, and that nobody reads any more.
    let (gone, _) = bench.call(1);
    same(&bench.hear(NOTE), &[note(gone, NOTE)]);
    let cursor = bench.cursors.remove(&gone).expect("it is read");
    bench.log.detach(&cursor, bench.now);
    same(&bench.hear(NOTE), &[note(standing, NOTE)]);
    same(&bench.hear(&asks("1")), &[refusal("1", -32601, NOBODY)]);
}

#[test]
fn what_the_newest_stream_cannot_carry_goes_with_an_older_call_that_is_read() {
    let mut bench = Bench::new();
    bench.seated(1);
    let (read, _) = bench.call(1);
    let (gone, _) = bench.call(1);
    let cursor = bench.cursors.remove(&gone).expect("it is read");
    bench.log.detach(&cursor, bench.now);
    same(&bench.hear(NOTE), &[note(read, NOTE)]);
    same(&bench.hear(&asks("1")), &[event(read, EventKind::Question, &asks("1"))]);
}

#[test]
fn a_call_of_the_gateways_own_is_no_sessions() {
    let mut bench = Bench::new();
    let stream = bench.open();
    let line = bench.router.own_request("tools/list", r#"{"a":1}"#, stream, bench.now);
    assert_eq!(line, b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{\"a\":1}}\n");
    assert_eq!(bench.router.calls_in_flight(), 1);
    same(&bench.hear(NOTE), &[Routed::Dropped("notification_for_nobody")]);
    let (own, number) = bench.call(1);
    assert_eq!(number, 2);
    same(&bench.hear(NOTE), &[note(own, NOTE)]);
    same(&bench.hear(&result("1")), &[answer(stream.0, &result("1"))]);
    same(&bench.hear(NOTE), &[note(own, NOTE)]);
}

#[test]
fn a_call_that_is_given_up_is_cancelled_by_its_number_and_no_other() {
    let mut bench = Bench::new();
    let (kept, _) = bench.send(1, &call("1", Some("1")));
    let (stream, number) = bench.send(2, &call("1", Some("1")));
    same(&bench.leave(stream), &[end(stream), cancelled(number, GIVEN_UP)]);
    assert_eq!(bench.router.calls_in_flight(), 1);
    same(&bench.hear(&progress(&number.to_string())), &[Routed::Dropped("progress_without_call")]);
    same(&bench.hear(&result(&number.to_string())), &[Routed::Dropped("answer_without_call")]);
    same(&bench.hear(&result("1")), &[answer(kept, &result("1"))]);
}

#[test]
fn what_a_call_still_says_that_was_given_up_is_nobody_elses() {
    let mut bench = Bench::new();
    let (_, late) = bench.call(3);
    let (stream, number) = bench.call(1);
    let (other, _) = bench.call(2);
    drop(bench.hear(&result(&late.to_string())));
    drop(bench.leave(stream));
    for line in [NOTE, &log_line("emergency")] {
        assert!(matches!(bench.hear(line)[..], [Routed::Dropped(_)]), "it may be the first one's");
    }
    same(&bench.hear(&asks("9")), &[refusal("9", -32601, NOBODY)]);
    // Once it has ended there is only one.
    same(&bench.hear(&result(&number.to_string())), &[Routed::Dropped("answer_without_call")]);
    same(&bench.hear(NOTE), &[note(other, NOTE)]);
}

#[test]
fn what_a_late_call_still_says_is_nobody_elses() {
    let mut bench = Bench::new();
    bench.call(1);
    drop(bench.after(PATIENCE.request));
    let (other, _) = bench.call(2);
    assert!(matches!(bench.hear(NOTE)[..], [Routed::Dropped(_)]), "it may be the first one's");
    same(&bench.hear(&asks("9")), &[refusal("9", -32601, NOBODY)]);
    drop(bench.hear(&result("1")));
    same(&bench.hear(NOTE), &[note(other, NOTE)]);
}

#[test]
fn a_lost_line_ends_the_only_call_that_it_can_have_been_for() {
    let mut bench = Bench::new();
    same(&bench.lose_line(), &[]);
    let (stream, _) = bench.send(1, &call("\"a\"", None));
    bench.call(2);
    same(&bench.lose_line(), &[]);
    drop(bench.hear(&result("2")));
    same(&bench.lose_line(), &[answer(stream, &error("\"a\"", -32603, "too long", ""))]);
    assert_eq!(bench.router.calls_in_flight(), 0);
}

#[test]
fn every_call_is_answered_and_every_seat_ends_when_the_child_is_gone() {
    let mut bench = Bench::new();
    let seats = [bench.seated(1), bench.seated(2)];
    let (one, _) = bench.send(1, &call("\"a\"", None));
    let (two, _) = bench.send(2, &call("\"a\"", None));
    bench.send(2, &about("1", "subscribe", "u"));
    let lost = |id: &str| error(id, -32603, "it died", r#"{"reason":"child_exited"}"#);
    let routed = bench.die();
    assert_eq!(routed.len(), 5);
    same(&routed[..2], &[answer(one, &lost("\"a\"")), answer(two, &lost("\"a\""))]);
    same_set(&routed[3..], &seats.map(end));
    assert_eq!((bench.router.calls_in_flight(), bench.router.is_held()), (0, false));
    same(&bench.hear(&updated("u")), &[Routed::Dropped("change_for_nobody")]);
}
