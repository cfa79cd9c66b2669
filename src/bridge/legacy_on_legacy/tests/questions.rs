//! What the child asks, though it was told that nobody can be asked.

use super::*;

fn asked(stream: u64, text: &str) -> Routed {
    event(stream, EventKind::Question, text)
}

#[test]
fn a_question_goes_to_the_only_session_that_has_calls() {
    let mut bench = Bench::new();
    bench.seated(1);
    same(&bench.hear(&asks("1")), &[refusal("1", -32601, NOBODY)]);
    let (first, _) = bench.call(1);
    same(&bench.hear(&asks("\"q\"")), &[asked(first, &asks("\"q\""))]);
    let (newest, _) = bench.call(1);
    same(&bench.hear(&asks("2")), &[asked(newest, &asks("2"))]);
    bench.call(2);
    same(&bench.hear(&asks("3")), &[refusal("3", -32601, NOBODY)]);
    assert_eq!(bench.reply("\"q\""), Routed::ToChild(b"what it said\n".to_vec()));
    assert_eq!(bench.reply("\"q\""), Routed::Dropped("answer_without_question"));
    assert_eq!(bench.reply("3"), Routed::Dropped("answer_without_question"));
}

#[test]
fn a_ping_is_answered_whoever_calls() {
    let mut bench = Bench::new();
    let pong = [to_child(r#"{"jsonrpc":"2.0","id":"p","result":{}}"#)];
    same(&bench.hear(&question("\"p\"", "ping", "{}")), &pong);
    bench.call(1);
    same(&bench.hear(&question("\"p\"", "ping", "{}")), &pong);
}

#[test]
fn a_client_is_asked_only_what_it_declared() {
    let kinds = [
        ("elicitation/create", "{}"),
        ("elicitation/create", r#"{"mode":"url"}"#),
        ("sampling/createMessage", "{}"),
        ("sampling/createMessage", r#"{"tools":[]}"#),
        ("roots/list", "{}"),
        ("x/y", "{}"),
    ];
    for (declares, can) in [
        (&b"{}"[..], [false; 6]),
        (br#"{"elicitation":{}}"#, [true, false, false, false, false, false]),
        (br#"{"elicitation":{"url":{}}}"#, [false, true, false, false, false, false]),
        (br#"{"sampling":{}}"#, [false, false, true, false, false, false]),
        (br#"{"sampling":{"tools":{}}}"#, [false, false, true, true, false, false]),
        (br#"{"roots":{}}"#, [false, false, false, false, true, false]),
        (ALL, [true, true, true, true, true, false]),
    ] {
        let mut bench = Bench::new();
        let sitter = Sitter { declared: Declared::of(declares), ..session(1) };
        let (stream, _) = bench.line(&sitter, &call("1", None), Carries::Events);
        for ((method, params), can) in kinds.into_iter().zip(can) {
            let id = format!("\"{method} {}\"", params.len());
            let text = question(&id, method, params);
            let expected = if can { asked(stream, &text) } else { refusal(&id, -32601, NOBODY) };
            same(&bench.hear(&text), &[expected]);
        }
    }
}

#[test]
fn an_open_questions_id_is_not_used_again() {
    let mut bench = Bench::new();
    let (stream, _) = bench.call(1);
    same(&bench.hear(&asks(r#""\u0061""#)), &[asked(stream, &asks(r#""\u0061""#))]);
    same(&bench.hear(&asks("\"a\"")), &[refusal("\"a\"", -32600, "a request with this id is still open")]);
    assert!(matches!(bench.reply("\"a\""), Routed::ToChild(_)));
    same(&bench.hear(&asks("\"a\"")), &[asked(stream, &asks("\"a\""))]);
}

#[test]
fn a_question_is_taken_back_where_it_was_asked() {
    let mut bench = Bench::new();
    let (first, _) = bench.call(1);
    drop(bench.hear(&asks(r#""\u0061""#)));
    bench.call(2);
    same(&bench.hear(&withdraws("\"a\"")), &[note(first, &withdraws("\"a\""))]);
    same(&bench.hear(&withdraws("\"a\"")), &[Routed::Dropped("cancel_without_question")]);
    assert_eq!(bench.reply("\"a\""), Routed::Dropped("answer_without_question"));
}

#[test]
fn a_question_that_finds_no_room_is_refused() {
    let mut bench = Bench::new();
    bench.call(1);
    drop(bench.hear(&asks("5")));
    let full = "the gateway's log is full (--log-bytes, --log-bytes-total)";
    let told = bench.router.unasked(asks("5").as_bytes()).map(Routed::ToChild);
    assert_eq!(told, Some(refusal("5", -32603, full)));
    assert_eq!(bench.router.unasked(asks("5").as_bytes()), None);
    assert_eq!(bench.reply("5"), Routed::Dropped("answer_without_question"));
}

#[test]
fn questions_end_with_their_call_and_no_others_do() {
    let mut bench = Bench::new();
    let (first, one) = bench.call(1);
    drop(bench.hear(&asks("1")));
    let (second, two) = bench.call(1);
    drop(bench.hear(&asks("2")));
    same(&bench.leave(second), &[end(second), cancelled(two, GIVEN_UP), refusal("2", -32603, OVER)]);
    assert_eq!(bench.reply("2"), Routed::Dropped("answer_without_question"));
    same(&bench.leave(first), &[end(first), cancelled(one, GIVEN_UP), refusal("1", -32603, OVER)]);
}

#[test]
fn a_question_that_is_open_when_its_call_is_answered_is_refused() {
    let mut bench = Bench::new();
    let (stream, _) = bench.call(1);
    drop(bench.hear(&asks("1")));
    same_set(&bench.hear(&result("1")), &[answer(stream, &result("1")), refusal("1", -32603, OVER)]);
    let (stream, _) = bench.call(1);
    drop(bench.hear(&asks("1")));
    let lost = error("1", -32603, "too long", "");
    same_set(&bench.lose_line(), &[answer(stream, &lost), refusal("1", -32603, OVER)]);
}

#[test]
fn a_call_for_plain_json_is_asked_too_since_its_session_may_listen() {
    let mut bench = Bench::new();
    let (stream, _) = bench.line(&session(1), &call("1", None), Carries::AnswerOnly);
    same(&bench.hear(&asks("1")), &[asked(stream, &asks("1"))]);
}
