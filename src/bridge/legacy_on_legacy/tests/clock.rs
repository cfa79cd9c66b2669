//! What time brings.

use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn a_call_without_an_answer_ends_and_is_cancelled() {
    let mut bench = Bench::new();
    let (stream, number) = bench.send(1, &call("\"a\"", Some("1")));
    same(&bench.after(PATIENCE.request - MILLISECOND), &[]);
    let late = error("\"a\"", -32603, jsonrpc::LATE, "");
    same(&bench.after(MILLISECOND), &[Routed::Expired("request"), answer(stream, &late), cancelled(number, "timed out")]);
    same(&bench.after(PATIENCE.request), &[]);
    assert_eq!(bench.router.calls_in_flight(), 0);
}

#[test]
fn progress_keeps_a_call_also_where_nobody_hears_it_but_not_for_ever() {
    for (text, carries) in
        [(call("1", Some("1")), Carries::Events), (call("1", Some("1")), Carries::AnswerOnly), (call("1", None), Carries::Events)]
    {
        let mut bench = Bench::new();
        let (stream, _) = bench.line(&session(1), &text, carries);
        let began = bench.now;
        while bench.now + PATIENCE.request - MILLISECOND < began + PATIENCE.hard {
            same(&bench.after(PATIENCE.request - MILLISECOND), &[]);
            drop(bench.hear(&progress("1")));
        }
        let left = began + PATIENCE.hard - bench.now;
        same(&bench.after(left - MILLISECOND), &[]);
        let late = error("1", -32603, jsonrpc::LATE, "");
        same(&bench.after(MILLISECOND), &[Routed::Expired("request"), answer(stream, &late), cancelled(1, "timed out")]);
    }
}

#[test]
fn the_users_time_is_not_the_calls() {
    let mut bench = Bench::new();
    let (stream, _) = bench.call(1);
    drop(bench.hear(&asks("9")));
    same(&bench.after(PATIENCE.request), &[]);
    same(&bench.after(QUESTION - PATIENCE.request - MILLISECOND), &[]);
    let text = "the client did not answer in time (--question-timeout)";
    same(&bench.after(MILLISECOND), &[Routed::Expired("question"), refusal("9", -32603, text), expired(stream, "9")]);
    assert_eq!(bench.reply("9"), Routed::Dropped("answer_without_question"));
    same(&bench.after(PATIENCE.request - MILLISECOND), &[]);
    let late = error("1", -32603, jsonrpc::LATE, "");
    same(&bench.after(MILLISECOND), &[Routed::Expired("request"), answer(stream, &late), cancelled(1, "timed out")]);
}

#[test]
fn another_calls_time_runs_while_a_user_is_asked() {
    let mut bench = Bench::new();
    let (first, _) = bench.call(1);
    bench.call(1);
    drop(bench.hear(&asks("9")));
    let late = error("1", -32603, jsonrpc::LATE, "");
    same(&bench.after(PATIENCE.request), &[Routed::Expired("request"), answer(first, &late), cancelled(1, "timed out")]);
    assert_eq!(bench.router.calls_in_flight(), 1);
}

#[test]
fn the_questions_of_a_late_call_are_refused() {
    let mut bench = Bench::new();
    let (stream, _) = bench.call(1);
    let end = bench.now + PATIENCE.hard;
    for at in 0..6 {
        drop(bench.hear(&asks(&at.to_string())));
        same(&bench.after(QUESTION - MILLISECOND), &[]);
        assert!(matches!(bench.reply(&at.to_string()), Routed::ToChild(_)));
    }
    drop(bench.hear(&asks("9")));
    let late = answer(stream, &error("1", -32603, jsonrpc::LATE, ""));
    let expected = [Routed::Expired("request"), late, cancelled(1, "timed out"), refusal("9", -32603, OVER)];
    same(&bench.after(end - bench.now), &expected);
    assert_eq!(bench.reply("9"), Routed::Dropped("answer_without_question"));
}
