//! BRIDGE 0, 1 and 6.5: what is exchanged in a call, and how it ends.

use super::*;

#[test]
fn ids_and_tokens_are_exchanged_and_nothing_else() {
    let mut bench = Bench::new();
    let said = Said { token: Some("\"t\""), ..call("\"a\"") };
    let line = bench.line(&said, 1);
    assert_eq!(line, said.text().replace("\"id\":\"a\"", "\"id\":1").replace("\"progressToken\":\"t\"", "\"progressToken\":1"));
    same(&bench.hear(&progress("1")), &[note(1, &progress("\"t\""))]);
    same(&bench.hear(&result("1")), &[answer(1, &result("\"a\""))]);
    same(&bench.hear(&result("1")), &[Routed::Dropped("answer_without_call")]);
    same(&bench.hear(&progress("1")), &[Routed::Dropped("progress_without_call")]);
    assert_eq!(bench.router.calls_in_flight(), 0);
}

#[test]
fn equal_ids_and_tokens_get_their_own_answers() {
    let mut bench = Bench::new();
    let said = Said { token: Some("5"), ..call("5") };
    let numbers = [1, 2, 3].map(|stream| bench.send(&said, stream));
    assert_eq!(numbers, [1, 2, 3]);
    for (number, stream) in [(numbers[2], 3), (numbers[1], 2), (numbers[0], 1)] {
        same(&bench.hear(&progress(&number.to_string())), &[note(stream, &progress("5"))]);
        same(&bench.hear(&result(&number.to_string())), &[answer(stream, &result("5"))]);
    }
}

#[test]
fn what_is_no_number_of_ours_finds_no_call() {
    let mut bench = Bench::new();
    bench.send(&Said { token: Some("1"), ..call("1") }, 1);
    for id in ["2", "0", "\"1\"", "-1", "10"] {
        same(&bench.hear(&result(id)), &[Routed::Dropped("answer_without_call")]);
        same(&bench.hear(&progress(id)), &[Routed::Dropped("progress_without_call")]);
    }
    let about_nothing = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}"#;
    same(&bench.hear(about_nothing), &[Routed::Dropped("answer_without_call")]);
}

#[test]
fn without_a_token_there_is_no_progress() {
    let mut bench = Bench::new();
    let number = bench.send(&call("1"), 1);
    same(&bench.hear(&progress(&number.to_string())), &[Routed::Dropped("progress_without_call")]);
}

#[test]
fn logs_are_the_one_calls_that_asked_for_them() {
    let mut bench = Bench::new();
    let logs = Said { level: Some("info"), ..call("\"l\"") };
    let nobodys = [Routed::Dropped("log_for_nobody")];
    bench.send(&call("1"), 1);
    same(&bench.hear(LOG), &nobodys);
    let number = bench.send(&logs, 2);
    assert!(bench.router.has_logger());
    same(&bench.hear(LOG), &[note(2, LOG)]);
    let second = bench.line(&logs, 3);
    assert_eq!(second, call("3").text(), "it is not asked for logs, as its text says");
    same(&bench.hear(LOG), &[note(2, LOG)]);
    drop(bench.hear(&result(&number.to_string())));
    assert!(!bench.router.has_logger());
    same(&bench.hear(LOG), &nobodys);
    assert!(bench.line(&logs, 4).contains("logLevel"));
    same(&bench.hear(LOG), &[note(4, LOG)]);
}

#[test]
fn a_level_that_is_taken_out_leaves_the_token() {
    let mut bench = Bench::new();
    let said = Said { level: Some("debug"), token: Some("\"t\""), ..call("7") };
    let line = bench.line_with(&said, 1, None, false);
    let expected = Said { level: None, token: Some("1"), ..call("1") }.text();
    assert_eq!(line, expected);
    assert!(!bench.router.has_logger());
    same(&bench.hear(&progress("1")), &[note(1, &progress("\"t\""))]);
    same(&bench.hear(LOG), &[Routed::Dropped("log_for_nobody")]);
}

#[test]
fn a_subscription_is_no_logger() {
    let mut bench = Bench::new();
    bench.send(&Said { level: Some("debug"), ..listen("1") }, 1);
    assert!(!bench.router.has_logger());
    same(&bench.hear(LOG), &[Routed::Dropped("log_for_nobody")]);
}

#[test]
fn at_most_64_calls_that_were_given_up_are_told_from_the_next_one() {
    let mut bench = Bench::new();
    for at in 0..65 {
        bench.send(&Said { level: Some("info"), ..call("1") }, at);
        drop(bench.leave(at));
    }
    assert_eq!(bench.router.fading.len(), 64);
}

#[test]
fn logs_that_were_on_their_way_when_a_call_was_given_up_are_nobodys() {
    let said = Said { level: Some("info"), ..call("1") };
    for how in 0..6 {
        let mut bench = Bench::new();
        let number = bench.send(&said, 1);
        drop(match how % 3 {
            0 => bench.leave(1),
            1 => bench.after(PATIENCE.request),
            _ => bench.lose_line(),
        });
        same(&bench.hear(LOG), &[Routed::Dropped("log_for_nobody")]);
        assert!(!bench.router.has_logger(), "a client that cancels costs no child: {how}");
        bench.send(&said, 2);
        same(&bench.hear(LOG), &[Routed::Dropped("log_after_cancel")]);
        same(&bench.after(Duration::from_millis(999)), &[]);
        same(&bench.hear(LOG), &[Routed::Dropped("log_after_cancel")]);
        if how < 3 {
            same(&bench.hear(&result(&number.to_string())), &[Routed::Dropped("answer_without_call")]);
        } else {
            bench.now += MILLISECOND;
        }
        same(&bench.hear(LOG), &[note(2, LOG)]);
    }
}

#[test]
fn a_client_that_goes_cancels_its_call_once_by_the_childs_id() {
    for said in [call("\"a\""), listen("\"a\"")] {
        let mut bench = Bench::new();
        bench.send(&call("1"), 1);
        let number = bench.send(&said, 2);
        same(&bench.leave(2), &[end(2), cancelled(number, "the client closed the stream")]);
        same(&bench.leave(2), &[end(2)]);
        same(&bench.hear(&result(&number.to_string())), &[Routed::Dropped("answer_without_call")]);
        assert_eq!(bench.router.calls_in_flight(), 1);
        same(&bench.hear(&result("1")), &[answer(1, &result("1"))]);
        same(&bench.leave(1), &[end(1)]);
    }
}

#[test]
fn a_call_that_is_late_is_answered_and_cancelled() {
    let mut bench = Bench::new();
    let number = bench.send(&call("1"), 1);
    same(&bench.after(PATIENCE.request - MILLISECOND), &[]);
    same(&bench.hear(&progress(&number.to_string())), &[Routed::Dropped("progress_without_call")]);
    same(&bench.after(PATIENCE.request - MILLISECOND), &[]);
    let late = [Routed::Expired("request"), answer(1, &error("1", -32603, jsonrpc::LATE, "")), cancelled(number, "timed out")];
    same(&bench.after(MILLISECOND), &late);
    same(&bench.after(PATIENCE.hard), &[]);
}

#[test]
fn progress_does_not_put_off_the_hard_bound() {
    let mut bench = Bench::new();
    let number = bench.send(&call("1"), 1);
    for _ in 0..11 {
        same(&bench.after(Duration::from_secs(299)), &[]);
        drop(bench.hear(&progress(&number.to_string())));
    }
    same(&bench.after(PATIENCE.hard - 11 * Duration::from_secs(299) - MILLISECOND - Duration::from_secs(290)), &[]);
    drop(bench.hear(&progress(&number.to_string())));
    assert_eq!(bench.after(Duration::from_secs(290) + MILLISECOND).first(), Some(&Routed::Expired("request")));
}

#[test]
fn a_child_that_asks_is_answered_here() {
    let mut bench = Bench::new();
    bench.send(&call("1"), 1);
    let counted = || Routed::Dropped("question_of_modern_child");
    let ping = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
    same(&bench.hear(ping), &[counted(), to_child(r#"{"jsonrpc":"2.0","id":"p","result":{}}"#)]);
    for method in ["elicitation/create", "sampling/createMessage", "roots/list", "tasks/list"] {
        let question = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{}}}}"#);
        same(
            &bench.hear(&question),
            &[counted(), to_child(&error("1", -32601, "a server of this revision sends no requests", ""))],
        );
    }
}

#[test]
fn errors_that_are_about_what_the_gateway_sent_are_its_own() {
    for (code, is_suspect, is_ours) in
        [(-32020, true, true), (-32022, true, true), (-32600, true, false), (-32021, false, false), (-32602, false, false)]
    {
        let mut bench = Bench::new();
        bench.send(&call("\"a\""), 1);
        let mut expected = Vec::new();
        expected.extend(is_suspect.then_some(Routed::Notice(Notice::Suspect)));
        if is_ours {
            expected.push(Routed::Dropped("misplaced_error"));
            let text = "the server refused what the gateway sent it";
            expected.push(answer(1, &error("\"a\"", -32603, text, &format!("{{\"code\":{code}}}"))));
        } else {
            expected.push(answer(1, &error("\"a\"", code, "m", "1")));
        }
        same(&bench.hear(&error("1", code, "m", "1")), &expected);
    }
}

#[test]
fn what_a_modern_child_has_no_business_to_say_is_nobodys() {
    let mut bench = Bench::new();
    bench.send(&Said { level: Some("debug"), ..call("1") }, 1);
    for method in ["tools/list_changed", "resources/updated", "elicitation/complete", "tasks", "x"] {
        let line = format!(r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{{}}}}"#);
        same(&bench.hear(&line), &[Routed::Dropped("notification_for_nobody")]);
    }
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    same(&bench.hear(cancel), &[Routed::Dropped("cancel_without_call")]);
    assert_eq!(bench.router.calls_in_flight(), 1);
}

#[test]
fn a_lost_line_ends_the_only_call_that_it_can_have_been_for() {
    let mut bench = Bench::new();
    same(&bench.lose_line(), &[]);
    bench.send(&listen("9"), 9);
    same(&bench.lose_line(), &[]);
    bench.send(&Said { level: Some("info"), ..call("1") }, 1);
    let second = bench.send(&call("2"), 2);
    same(&bench.lose_line(), &[]);
    drop(bench.hear(&result(&second.to_string())));
    same(&bench.lose_line(), &[answer(1, &error("1", -32603, "too long", ""))]);
    same(&bench.lose_line(), &[]);
}

#[test]
fn the_childs_end_fails_calls_and_ends_subscriptions_without_a_result() {
    let mut bench = Bench::new();
    bench.send(&Said { level: Some("info"), ..call("\"a\"") }, 1);
    same(&bench.die(), &[answer(1, &error("\"a\"", -32603, "it died", r#"{"reason":"child_exited"}"#))]);
    assert!(!bench.router.has_logger());
    bench.send(&listen("1"), 2);
    same(&bench.die(), &[end(2)]);
    same(&bench.die(), &[]);
}

#[test]
fn the_gateways_own_request_is_answered_as_the_child_wrote_it() {
    let mut bench = Bench::new();
    let line = bench.router.own_request("tools/list", r#"{"a":1}"#, StreamId(1), bench.now);
    let expected = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{\"a\":1}}\n";
    assert_eq!(String::from_utf8_lossy(&line), expected);
    same(&bench.hear(&progress("1")), &[Routed::Dropped("progress_without_call")]);
    same(&bench.hear(&result("1")), &[answer(1, &result("1"))]);
    for code in [-32600, -32020, -32022] {
        bench.router.own_request("server/discover", "{}", StreamId(2), bench.now);
        let number = bench.router.next - 1;
        let refusal = error(&number.to_string(), code, "no", "");
        same(&bench.hear(&refusal), &[answer(2, &refusal)]);
    }
    bench.router.own_request("tools/list", "{}", StreamId(3), bench.now);
    let number = bench.router.next - 1;
    same(&bench.leave(3), &[end(3), cancelled(number, "timed out")]);
    bench.router.own_request("server/discover", "{}", StreamId(4), bench.now);
    same(&bench.leave(4), &[end(4)]);
}
