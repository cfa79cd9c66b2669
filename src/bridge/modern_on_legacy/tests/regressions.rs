//! What went wrong once (BRIDGE 3.3, 3.6, 6.6, 6.9).

use super::*;

/// Nobody else's call may be asked before this one has ended in the child; the line may have been a log.
#[test]
fn a_lost_line_does_not_free_the_lease_of_a_call_that_may_still_run() {
    let mut bench = Bench::new();
    bench.running(&call("1"), 1);
    let routed = bench.lose_line();
    assert!(routed.iter().any(|routed| matches!(routed, Routed::Event(StreamId(1), EventKind::Answer, _))), "{routed:?}");
    assert!(!bench.take(LEASE + 1, &call("2")), "the child was not told, and may ask for the first call");
}

#[test]
fn a_lost_line_does_not_end_a_parked_call() {
    let mut bench = Bench::new();
    let said = call("1");
    bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    drop(bench.lose_line());
    let retry = said.again("2", &state, r#"{"elicitation-1":{"action":"accept"}}"#);
    assert!(bench.check(&Principal::Anonymous, &retry).is_ok(), "the child still waits for the answer to its question");
}

#[test]
fn a_lost_line_leaves_no_question_unanswered() {
    let mut bench = Bench::new();
    bench.running(&call("1"), 1);
    drop(bench.hear(FORM));
    let routed = bench.lose_line();
    let answers =
        routed.iter().filter(|routed| matches!(routed, Routed::ToChild(line) if line.windows(8).any(|w| w == br#""id":"f""#)));
    assert_eq!(answers.count(), 1, "{:?}", shown(&routed));
}

/// BRIDGE 6.6: a log of a legacy child is the exclusive call's. One that shared and was cancelled may still log, and ask.
#[test]
fn what_a_cancelled_call_still_says_is_not_the_next_ones() {
    for is_late in [false, true] {
        let mut bench = Bench::declaring("{}");
        let said = call("1").declaring("{}");
        bench.share(&said, 1);
        drop(if is_late { bench.after(PATIENCE.request) } else { bench.leave(1) });
        if bench.take(LEASE, &said.clone().with_level("info")) {
            drop(bench.ask(LEASE, &said.clone().with_level("info"), 2));
            same(&bench.hear(&log_line("info", "of the first")), &[Routed::Dropped("log_for_nobody")]);
            assert!(!shown(&bench.hear(ROOTS)).iter().any(|text| text.contains("-32021")), "the first asked");
        }
    }
}

/// Whoever waits for the lease (`pool` waits for this notice where no more children may be started) looks again.
#[test]
fn the_end_of_the_last_call_that_shared_is_told() {
    for goes in [false, true] {
        let mut bench = Bench::declaring("{}");
        let said = call("1").declaring("{}");
        let number = bench.share(&said, 1);
        if goes {
            drop(bench.leave(1));
        }
        assert!(!bench.take(LEASE, &said.clone().with_level("info")));
        let routed = bench.hear(&result(number));
        assert!(bench.take(LEASE, &said.with_level("info")));
        assert!(routed.contains(&freed()), "{:?}", shown(&routed));
    }
}

/// BRIDGE 3.3: the state is consumed, and its call is nobody's.
#[test]
fn a_retry_that_declares_less_frees_a_call_that_was_never_sent() {
    let mut bench = Bench::new();
    drop(bench.hear(ROOTS));
    let said = call("1");
    assert!(bench.take(LEASE, &said));
    let routed = bench.ask(LEASE, &said, 1);
    let retry = said.again("2", &bench.state_in(&routed), "{}").declaring("{}");
    drop(routed);
    drop(bench.retry(&retry, 2));
    assert_eq!(bench.check(&Principal::Anonymous, &retry), Err(NotResumed::Unknown), "a state is good once");
    assert_eq!(bench.free_places(), PLACES);
    assert!(bench.take(LEASE + 1, &call("3")));
}

/// BRIDGE 6.6: what comes before a call is sent is not that call's.
#[test]
fn a_log_before_a_call_is_sent_is_nobodys() {
    let mut bench = Bench::new();
    drop(bench.hear(ROOTS));
    let said = call("1").with_level("info");
    assert!(bench.take(LEASE, &said));
    drop(bench.ask(LEASE, &said, 1));
    same(&bench.hear(&log_line("info", "x")), &[Routed::Dropped("log_for_nobody")]);
}

/// 2025-11-25, Cancellation: `initialize` must not be cancelled.
#[test]
fn the_gateways_initialize_is_not_cancelled() {
    let mut bench = Bench::new();
    bench.router.own_request("initialize", "{}", StreamId(1), bench.now);
    same(&bench.leave(1), &[Routed::End(StreamId(1))]);
}

/// BRIDGE 3.6: −32042 is never forwarded, not even later.
#[test]
fn a_stored_refusal_sends_the_user_elsewhere() {
    let mut bench = Bench::new();
    let said = call("1");
    let number = bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    drop(bench.hear(&format!(
        r#"{{"jsonrpc":"2.0","id":{number},"error":{{"code":-32042,"message":"m","data":{{"elicitations":[{{"mode":"url","elicitationId":"x","url":"u","message":"go"}}]}}}}}}"#
    )));
    let routed = bench.retry(&said.again("2", &state, "{}"), 2);
    let answers: Vec<String> = shown(&routed).into_iter().filter(|text| text.starts_with("Answer")).collect();
    assert!(answers.len() == 1 && answers[0].contains("input_required"), "{answers:?}");
}

/// BRIDGE 3.4: one counter per call.
#[test]
fn a_refusal_after_questions_does_not_give_their_keys_again() {
    let mut bench = Bench::new();
    let said = call("1");
    let number = bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    drop(bench.retry(&said.again("2", &state, r#"{"elicitation-1":{"action":"accept"}}"#), 2));
    let routed = bench.hear(&format!(
        r#"{{"jsonrpc":"2.0","id":{number},"error":{{"code":-32042,"message":"m","data":{{"elicitations":[{{"mode":"url","elicitationId":"x","url":"u","message":"go"}}]}}}}}}"#
    ));
    assert!(!shown(&routed)[0].contains("elicitation-1"), "{:?}", shown(&routed));
}

/// BRIDGE 3.3: an answer of the wrong kind is refused, and the round not consumed; also where the call is to be sent again.
#[test]
fn answers_that_are_no_object_do_not_consume_a_resend() {
    let mut bench = Bench::new();
    let said = call("1");
    let number = bench.running(&said, 1);
    let routed = bench.hear(&format!(
        r#"{{"jsonrpc":"2.0","id":{number},"error":{{"code":-32042,"message":"m","data":{{"elicitations":[{{"mode":"url","elicitationId":"x","url":"u","message":"go"}}]}}}}}}"#
    ));
    let text = said.again("2", &bench.state_in(&routed), "[]").text();
    let resumed = bench.router.resume_resend(LEASE, 1, &asked(&text));
    assert!(matches!(resumed, Err(NotResumed::BadAnswer(_))), "{resumed:?}");
}

/// BRIDGE 6.6: the gateway filters below the level that this request asked for.
#[test]
fn logs_that_were_kept_are_no_lower_than_the_retry_wants() {
    let mut bench = Bench::new();
    let said = call("1").with_level("debug");
    bench.running(&said, 1);
    let state = bench.parked(&[FORM]);
    drop(bench.hear(&log_line("debug", "x")));
    let retry = said.again("2", &state, r#"{"elicitation-1":{"action":"accept"}}"#).with_level("error");
    let routed = bench.retry(&retry, 2);
    assert!(!routed.iter().any(|routed| matches!(routed, Routed::Event(..))), "{:?}", shown(&routed));
}

/// BRIDGE 3.3: a question whose capability **this** HTTP request did not declare is not asked of it.
#[test]
fn a_retry_that_declares_less_is_not_asked_what_it_did_not_declare() {
    let mut bench = Bench::new();
    let said = call("1");
    bench.running(&said, 1);
    let state = bench.parked(&[FORM, ROOTS]);
    let retry = said.again("2", &state, r#"{"elicitation-1":{"action":"accept"}}"#).declaring(r#"{"elicitation":{}}"#);
    let mut routed = bench.retry(&retry, 2);
    routed.extend(bench.after(Duration::from_millis(150)));
    let asked: Vec<String> = shown(&routed).into_iter().filter(|text| text.contains("inputRequests")).collect();
    assert!(asked.is_empty(), "{asked:?}");
}
