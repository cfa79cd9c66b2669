//! BRIDGE 3.3, the rows of Idle, Running and Gathering: while the client waits.

use super::*;

#[test]
fn idle_an_asking_call_is_written_without_its_envelope_and_with_private_numbers() {
    let mut bench = Bench::new();
    let said = call("\"mine\"").with_token("\"tok\"").with_level("info");
    assert!(bench.take(LEASE, &said));
    assert_eq!(bench.free_places(), PLACES - 1);
    same(
        &bench.ask(LEASE, &said, 1),
        &[to_child(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ask","arguments":{},"_meta":{"progressToken":1}}}"#,
        )],
    );
    assert_eq!(bench.router.calls_in_flight(), 1);
}

#[test]
fn idle_the_level_is_told_only_when_it_differs_and_the_child_has_logging() {
    let mut bench = Bench::new();
    assert_eq!(bench.router.level_to_set(None), None);
    assert_eq!(bench.router.level_to_set(Some(Level::Info)), Some(Level::Info));
    assert_eq!(bench.router.level_to_set(Some(Level::Info)), None, "it was told");
    assert_eq!(bench.router.level_to_set(None), None, "there is no level that switches logs off");
    assert_eq!(bench.router.level_to_set(Some(Level::Error)), Some(Level::Error));
    bench.router.learn(Facts::of(br#"{"capabilities":{"tools":{}}}"#).into());
    assert_eq!(bench.router.level_to_set(Some(Level::Debug)), None);
}

#[test]
fn taken_another_call_gets_its_place_back_and_not_the_lease() {
    let mut bench = Bench::new();
    assert!(bench.take(LEASE, &call("1")));
    assert!(!bench.take(LEASE + 1, &call("2")));
    assert_eq!(bench.free_places(), PLACES - 1, "the second place came back");
    same(&bench.untake(LEASE + 1), &[]);
    same(&bench.untake(LEASE), &[release(), freed()]);
    assert!(bench.take(LEASE + 1, &call("2")));
}

#[test]
fn taken_a_lease_with_a_call_is_not_given_back_without_it() {
    let mut bench = Bench::new();
    bench.running(&call("1"), 1);
    same(&bench.untake(LEASE), &[]);
    assert!(!bench.take(LEASE + 1, &call("2")));
}

#[test]
fn taken_nothing_is_sent_for_a_lease_that_is_another_ones() {
    let mut bench = Bench::new();
    assert!(bench.take(LEASE, &call("1")));
    same(&bench.ask(LEASE + 1, &call("2"), 2), &[]);
    assert_eq!(number_of(&bench.ask(LEASE, &call("1"), 1)), 1);
}

#[test]
fn running_a_result_or_an_error_is_the_answer_and_the_lease_is_free() {
    for (child, client) in [
        (r#""result":{"content":[]}"#, complete("\"a\"")),
        (r#""error":{"code":-32000,"message":"no"}"#, error("\"a\"", -32000, "no", "")),
        (r#""error":{"code":-32002,"message":"no","data":1}"#, error("\"a\"", -32602, "no", "1")),
        (r#""error":{"code":-32099,"message":"no"}"#, error("\"a\"", -32603, "no", r#"{"code":-32099}"#)),
    ] {
        let mut bench = Bench::new();
        let number = bench.running(&call("\"a\""), 3);
        let routed = bench.hear(&format!(r#"{{"jsonrpc":"2.0","id":{number},{child}}}"#));
        same(&routed, &[answer(3, &client), release(), freed()]);
        drop(routed);
        assert_eq!((bench.free_places(), bench.router.calls_in_flight(), bench.router.is_held()), (PLACES, 0, false));
        assert!(bench.take(LEASE + 1, &call("2")));
    }
}

#[test]
fn running_a_question_that_was_declared_opens_the_window() {
    let mut bench = Bench::new();
    bench.running(&call("1"), 1);
    same(&bench.hear(FORM), &[Routed::Alarm(bench.now + Duration::from_millis(25))]);
}

#[test]
fn running_a_question_that_was_not_declared_ends_the_call_and_says_what_is_missing() {
    let url = r#"{"jsonrpc":"2.0","id":9,"method":"elicitation/create","params":{"mode":"url","url":"u","message":"m"}}"#;
    let tools = r#"{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage","params":{"messages":[],"tools":[]}}"#;
    let form = FORM.replace("\"f\"", "9");
    let sampling = SAMPLING.replace("\"id\":5", "\"id\":9");
    let roots = ROOTS.replace("\"r\"", "9");
    for (question, declared, code, kind, required) in [
        (form.as_str(), r#"{"sampling":{},"roots":{}}"#, -32602, "elicitation", r#"{"elicitation":{"form":{}}}"#),
        (&form, r#"{"elicitation":{"url":{}}}"#, -32602, "elicitation", r#"{"elicitation":{"form":{}}}"#),
        (url, r#"{"elicitation":{}}"#, -32602, "elicitation", r#"{"elicitation":{"url":{}}}"#),
        (&sampling, r#"{"roots":{}}"#, -32601, "sampling", r#"{"sampling":{}}"#),
        (tools, r#"{"sampling":{}}"#, -32601, "sampling", r#"{"sampling":{"tools":{}}}"#),
        (&roots, r#"{"elicitation":{},"sampling":{}}"#, -32601, "roots", r#"{"roots":{}}"#),
    ] {
        let mut bench = Bench::new();
        let number = bench.running(&call("\"a\"").declaring(declared), 1);
        let text = format!("the server wants to ask for {kind}, which the client did not declare");
        same(
            &bench.hear(question),
            &[
                refused("9", code, "the client did not declare that it can be asked this"),
                answer(1, &error("\"a\"", -32021, &text, &format!(r#"{{"requiredCapabilities":{required}}}"#))),
                cancelled(number, "the client cannot be asked"),
            ],
        );
        assert!(!bench.take(LEASE + 1, &call("2")), "it has not ended in the child");
        assert_eq!(bench.free_places(), PLACES - 1, "the child works for nobody, and that is somebody's place");
    }
}

#[test]
fn running_a_client_that_goes_cancels_the_call_once() {
    let mut bench = Bench::new();
    let number = bench.running(&call("1"), 1);
    same(&bench.leave(1), &[Routed::End(StreamId(1)), cancelled(number, "the client closed the stream")]);
    same(&bench.leave(1), &[Routed::End(StreamId(1))]);
    assert_eq!(bench.router.calls_in_flight(), 0);
    assert!(!bench.take(LEASE + 1, &call("2")));
}

#[test]
fn running_a_call_that_is_late_is_answered_and_cancelled() {
    let mut bench = Bench::new();
    let number = bench.running(&call("1").with_token("1"), 1);
    same(&bench.after(PATIENCE.request - MILLISECOND), &[]);
    same(&bench.hear(&progress("1", 1)), &[note(1, &progress("1", 1))]);
    same(&bench.after(PATIENCE.request - MILLISECOND), &[]);
    same(
        &bench.after(MILLISECOND),
        &[Routed::Expired("request"), answer(1, &error("1", -32603, jsonrpc::LATE, "")), cancelled(number, "timed out")],
    );
    assert!(!bench.take(LEASE + 1, &call("2")));
}

#[test]
fn gathering_questions_are_asked_together_25_ms_after_the_last() {
    let mut bench = Bench::new();
    bench.running(&call("\"a\"").with_token("1"), 6);
    let began = bench.now;
    same(&bench.hear(FORM), &[Routed::Alarm(began + Duration::from_millis(25))]);
    same(&bench.after(Duration::from_millis(20)), &[Routed::Alarm(began + Duration::from_millis(25))]);
    same(&bench.hear(SAMPLING), &[Routed::Alarm(began + Duration::from_millis(45))]);
    same(&bench.hear(&progress("1", 1)), &[note(6, &progress("1", 1))]);
    same(&bench.after(Duration::from_millis(24)), &[Routed::Alarm(began + Duration::from_millis(45))]);
    let routed = bench.after(MILLISECOND);
    let asked = bench.input_required("\"a\"", &[("elicitation-1", FORM_ASKED), ("sampling-2", SAMPLING_ASKED)], &routed);
    same(&routed, &[answer(6, &asked), release(), Routed::Notice(Notice::Parked)]);
    drop(routed);
    assert_eq!(bench.free_places(), PLACES, "a parked call holds no place");
    assert_eq!((bench.router.calls_in_flight(), bench.router.is_held()), (0, true));
    assert_eq!(bench.router.parked_since(), Some(bench.now));
}

#[test]
fn gathering_questions_are_asked_150_ms_after_the_first_at_the_latest() {
    let mut bench = Bench::new();
    bench.running(&call("1"), 1);
    let began = bench.now;
    for at in 0..7_u32 {
        let question = ROOTS.replace("\"r\"", &at.to_string());
        let due = (bench.now + Duration::from_millis(25)).min(began + Duration::from_millis(150));
        same(&bench.hear(&question), &[Routed::Alarm(due)]);
        same(&bench.after(Duration::from_millis(21)), &[Routed::Alarm(due)]);
    }
    assert_eq!(bench.now, began + Duration::from_millis(147));
    same(&bench.hear(FORM), &[Routed::Alarm(began + Duration::from_millis(150))]);
    assert_eq!(bench.after(Duration::from_millis(3)).last(), Some(&Routed::Notice(Notice::Parked)));
}

#[test]
fn gathering_a_result_that_comes_first_is_the_answer_and_the_questions_are_refused() {
    let mut bench = Bench::new();
    let number = bench.running(&call("1"), 1);
    drop((bench.hear(FORM), bench.hear(ROOTS)));
    same(
        &bench.hear(&result(number)),
        &[
            refused("\"f\"", -32603, "the call has ended"),
            refused("\"r\"", -32603, "the call has ended"),
            answer(1, &complete("1")),
            release(),
            freed(),
        ],
    );
    same(&bench.after(Duration::from_millis(25)), &[]);
}

#[test]
fn gathering_a_client_that_goes_cancels_the_call_and_its_questions() {
    let mut bench = Bench::new();
    let number = bench.running(&call("1"), 1);
    drop(bench.hear(SAMPLING));
    same(
        &bench.leave(1),
        &[
            Routed::End(StreamId(1)),
            refused("5", -32603, "the call was cancelled"),
            cancelled(number, "the client closed the stream"),
        ],
    );
    same(&bench.after(Duration::from_millis(25)), &[]);
}

#[test]
fn gathering_a_question_that_was_not_declared_ends_it_with_the_others() {
    let mut bench = Bench::new();
    let number = bench.running(&call("1").declaring(r#"{"elicitation":{}}"#), 1);
    drop(bench.hear(FORM));
    let routed = bench.hear(ROOTS);
    let text = "the server wants to ask for roots, which the client did not declare";
    same(
        &routed,
        &[
            refused("\"r\"", -32601, "the client did not declare that it can be asked this"),
            answer(1, &error("1", -32021, text, r#"{"requiredCapabilities":{"roots":{}}}"#)),
            refused("\"f\"", -32603, "the call was cancelled"),
            cancelled(number, "the client cannot be asked"),
        ],
    );
}

#[test]
fn gathering_what_the_child_withdraws_is_not_asked() {
    let mut bench = Bench::new();
    let number = bench.running(&call("1"), 1);
    let withdraw = |id: &str| format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
    drop((bench.hear(FORM), bench.hear(ROOTS)));
    same(&bench.hear(&withdraw("\"\\u0066\"")), &[]);
    same(&bench.hear(&withdraw("\"f\"")), &[Routed::Dropped("cancel_without_question")]);
    same(&bench.hear(&withdraw("\"r\"")), &[]);
    same(&bench.after(Duration::from_millis(150)), &[]);
    same(&bench.hear(&result(number)), &[answer(1, &complete("1")), release(), freed()]);
}

#[test]
fn a_second_question_of_an_open_id_is_refused() {
    let mut bench = Bench::new();
    bench.running(&call("1"), 1);
    drop(bench.hear(FORM));
    let twice = ROOTS.replace("\"r\"", "\"\\u0066\"");
    same(&bench.hear(&twice), &[refused("\"\\u0066\"", -32600, "a request with this id is still open")]);
    assert!(matches!(&bench.hear(&ROOTS.replace("\"r\"", "6"))[..], [Routed::Alarm(_)]));
}

#[test]
fn a_call_has_at_most_64_questions_open() {
    let mut bench = Bench::new();
    let said = call("1");
    bench.running(&said, 1);
    let question = |at: usize| ROOTS.replace("\"r\"", &at.to_string());
    let over =
        |at: usize| [Routed::Dropped("too_many_questions"), refused(&at.to_string(), -32603, "too many questions are open")];
    for at in 0..40 {
        assert!(matches!(bench.hear(&question(at))[..], [Routed::Alarm(_)]));
    }
    let routed = bench.after(lease::QUIET);
    let state = bench.state_in(&routed);
    drop(routed);
    for at in 40..64 {
        same(&bench.hear(&question(at)), &[]);
    }
    same(&bench.hear(&question(64)), &over(64));
    drop(bench.retry(&said.again("2", &state, r#"{"roots-1":{"roots":[]}}"#), 2));
    assert!(matches!(bench.hear(&question(65))[..], [Routed::Alarm(_)]), "one was answered");
    same(&bench.hear(&question(66)), &over(66));
}

#[test]
fn a_ping_is_answered_and_what_is_no_question_refused_whatever_runs() {
    for runs in [false, true] {
        let mut bench = Bench::new();
        if runs {
            bench.running(&call("1"), 1);
        }
        same(&bench.hear(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#), &[told("\"p\"", "{}")]);
        let task = r#"{"jsonrpc":"2.0","id":7,"method":"tasks/list"}"#;
        same(&bench.hear(task), &[refused("7", -32601, "no such method")]);
    }
}

#[test]
fn logs_go_to_the_leased_call_that_wants_them_and_no_lower_than_it_wants() {
    let mut bench = Bench::new();
    let (low, high) = (log_line("notice", "x"), log_line("warning", "x"));
    let nobodys = [Routed::Dropped("log_for_nobody")];
    same(&bench.hear(&high), &nobodys);
    let number = bench.running(&call("2").with_level("warning"), 2);
    same(&bench.hear(&low), &nobodys);
    same(&bench.hear(&high), &[note(2, &high)]);
    same(&bench.hear(&log_line("loud", "x")), &nobodys);
    drop(bench.hear(&result(number)));
    same(&bench.hear(&high), &nobodys);
    bench.running(&call("3"), 3);
    same(&bench.hear(&high), &nobodys);
}

#[test]
fn a_call_that_may_be_asked_is_alone_among_those_that_could_ask() {
    for declared in [ALL, "{}"] {
        let mut bench = Bench::declaring(declared);
        let said = call("1").declaring(declared).with_level("info");
        let shared = call("2").declaring("{}");
        assert!(bench.router.may_share(Ask::CallTool));
        let number = bench.share(&shared, 1);
        assert!(!bench.take(LEASE, &said), "another one could ask");
        drop(bench.hear(&result(number)));
        bench.share(&Said { method: "tools/list", ..shared.clone() }, 2);
        bench.running(&said, 3);
        for ask in [Ask::CallTool, Ask::GetPrompt, Ask::ReadResource] {
            assert!(!bench.router.may_share(ask), "{ask:?}");
        }
        for ask in [Ask::ListTools, Ask::ListResources, Ask::Other] {
            assert!(bench.router.may_share(ask), "{ask:?}");
        }
    }
}

#[test]
fn changes_are_told_to_whoever_keeps_the_link() {
    let mut bench = Bench::new();
    for method in ["tools/list_changed", "prompts/list_changed", "resources/list_changed", "resources/updated"] {
        let line = format!(r#"{{"jsonrpc":"2.0","method":"notifications/{method}"}}"#);
        same(&bench.hear(&line), &[Routed::Notice(Notice::Changed(line.clone().into_bytes()))]);
    }
    let task = r#"{"jsonrpc":"2.0","method":"notifications/tasks/status"}"#;
    same(&bench.hear(task), &[Routed::Dropped("notification_for_nobody")]);
}
