use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

mod together;

const PATIENCE: Patience = Patience {
    request: Duration::from_secs(300),
    hard: Duration::from_secs(3600),
    question: Duration::from_secs(600),
    cancelled: Duration::from_secs(2),
};

fn read(text: &str) -> Envelope {
    jsonrpc::read(text.as_bytes()).expect("a message")
}

/// A request of the client on that stream; the number that the child sees.
fn ask(router: &mut Router, id: &str, stream: u64, carries: Carries, now: Instant) -> u64 {
    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"_meta":{{"progressToken":{id}}}}}}}"#);
    let line = router.request(text.as_bytes(), &read(&text), StreamId(stream), carries, false, now);
    let line: serde_json::Value = serde_json::from_slice(&line.joined(text.as_bytes())).expect("JSON");
    assert_eq!(line["id"], line["params"]["_meta"]["progressToken"]);
    line["id"].as_u64().expect("a private number")
}

fn tell(router: &mut Router, text: &str, now: Instant) -> Routed {
    let envelope = read(text);
    match envelope.kind {
        Kind::Answer => router.answer(text.as_bytes(), &envelope),
        _ => router.notification(text.as_bytes(), &envelope, now),
    }
}

fn hear(router: &mut Router, text: &str, get_is_open: bool, now: Instant) -> Routed {
    router.routed(text.as_bytes(), &read(text), get_is_open, |_| true, now)
}

fn tick(router: &mut Router, now: Instant) -> Vec<Routed> {
    let mut out = Vec::new();
    router.tick(now, &mut out);
    out.retain(|routed| !matches!(routed, Routed::Expired(_)));
    out
}

fn lose_line(router: &mut Router) -> Option<Routed> {
    let mut out = Vec::new();
    Route::line_lost(router, "too long", Instant::now(), &mut out);
    out.pop()
}

fn on(routed: &Routed) -> Option<u64> {
    match routed {
        Routed::Event(stream, ..) => Some(stream.0),
        _ => None,
    }
}

#[test]
fn equal_ids_get_their_own_answers() {
    let (mut router, now) = (Router::new(PATIENCE), Instant::now());
    let numbers: Vec<(u64, u64, &str)> = [(1, "7"), (2, "7"), (3, "\"7\"")]
        .map(|(stream, id)| (stream, ask(&mut router, id, stream, Carries::Events, now), id))
        .into();
    for (stream, number, id) in numbers.into_iter().rev() {
        let answer = hear(&mut router, &format!(r#"{{"result":{{}},"jsonrpc":"2.0","id":{number}}}"#), false, now);
        let expected = format!(r#"{{"result":{{}},"jsonrpc":"2.0","id":{id}}}"#);
        assert_eq!(answer, Routed::Event(StreamId(stream), EventKind::Answer, expected.into()));
    }
}

#[test]
fn an_answer_to_nothing_is_dropped() {
    let (mut router, now) = (Router::new(PATIENCE), Instant::now());
    let number = ask(&mut router, "1", 1, Carries::Events, now);
    for id in ["99", "\"1\"", "1.0e0"].into_iter().filter(|id| *id != number.to_string()) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
        if jsonrpc::read(text.as_bytes()).is_ok() {
            assert_eq!(hear(&mut router, &text, true, now), Routed::Dropped("answer_without_call"));
        }
    }
}

#[test]
fn what_names_no_call_goes_to_the_only_call_then_the_get_stream_then_the_newest_call() {
    let note = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
    let now = Instant::now();
    for (calls, get_is_open, expected) in [
        (&[][..], false, 0),
        (&[], true, 0),
        (&[Carries::Events], false, 1),
        (&[Carries::Events], true, 1),
        (&[Carries::Events, Carries::Events], true, 0),
        (&[Carries::Events, Carries::Events], false, 2),
        (&[Carries::AnswerOnly], false, 0),
        (&[Carries::AnswerOnly], true, 0),
        (&[Carries::Events, Carries::AnswerOnly], true, 1),
    ] {
        let mut router = Router::new(PATIENCE);
        for (stream, carries) in (1..).zip(calls) {
            ask(&mut router, "1", stream, *carries, now);
        }
        assert_eq!(on(&hear(&mut router, note, get_is_open, now)), Some(expected), "{calls:?} {get_is_open}");
    }
}

#[test]
fn changes_go_to_the_get_stream_first() {
    let now = Instant::now();
    for method in ["tools/list_changed", "prompts/list_changed", "resources/list_changed", "resources/updated"] {
        let mut router = Router::new(PATIENCE);
        ask(&mut router, "1", 1, Carries::Events, now);
        let note = format!(r#"{{"jsonrpc":"2.0","method":"notifications/{method}"}}"#);
        assert_eq!(on(&hear(&mut router, &note, true, now)), Some(0), "{method}");
        assert_eq!(on(&hear(&mut router, &note, false, now)), Some(1), "{method}");
    }
}

#[test]
fn a_call_whose_client_is_gone_carries_nothing() {
    let (mut router, now) = (Router::new(PATIENCE), Instant::now());
    ask(&mut router, "1", 1, Carries::Events, now);
    let note = r#"{"jsonrpc":"2.0","method":"notifications/message"}"#;
    let routed = router.routed(note.as_bytes(), &read(note), false, |_| false, now);
    assert_eq!(on(&routed), Some(0));
}

#[test]
fn a_question_without_a_way_to_the_client_is_refused_at_once() {
    let (mut router, now) = (Router::new(PATIENCE), Instant::now());
    ask(&mut router, "1", 1, Carries::AnswerOnly, now);
    let question = r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create"}"#;
    let Routed::ToChild(line) = hear(&mut router, question, false, now) else { panic!("it is answered") };
    assert!(line.starts_with(br#"{"jsonrpc":"2.0","id":"q","error":{"code":-32601"#));
    assert_eq!(on(&hear(&mut router, question, true, now)), Some(0), "with a GET stream it is asked there");
}

#[test]
fn a_question_is_answered_once_by_its_own_id() {
    let (mut router, now) = (Router::new(PATIENCE), Instant::now());
    hear(&mut router, r#"{"jsonrpc":"2.0","id":"\u0061","method":"ping"}"#, true, now);
    let answer = r#"{"jsonrpc":"2.0","id":"a","result":{ "x" : 1.0 }}"#;
    assert_eq!(tell(&mut router, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, now), Routed::Dropped("answer_without_question"));
    assert_eq!(tell(&mut router, answer, now), Routed::ToChild(format!("{answer}\n").into()));
    assert_eq!(tell(&mut router, answer, now), Routed::Dropped("answer_without_question"));
}

#[test]
fn a_cancellation_reaches_the_one_call_it_names() {
    let (mut router, now) = (Router::new(PATIENCE), Instant::now());
    let cancel = |id: &str| format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
    let number = ask(&mut router, "\"a\"", 1, Carries::Events, now);
    assert_eq!(tell(&mut router, &cancel("\"b\""), now), Routed::Dropped("cancel_without_call"));
    assert_eq!(
        tell(&mut router, &cancel("\"\\u0061\""), now),
        Routed::ToChild(format!("{}\n", cancel(&number.to_string())).into())
    );
    assert!(tick(&mut router, now + Duration::from_secs(1)).is_empty());
    let over = tick(&mut router, now + PATIENCE.cancelled);
    assert!(
        matches!(&over[..], [Routed::Event(StreamId(1), EventKind::Answer, error)] if error.starts_with(br#"{"jsonrpc":"2.0","id":"a","error":{"code":-32800"#))
    );
    ask(&mut router, "5", 2, Carries::Events, now);
    ask(&mut router, "5", 3, Carries::Events, now);
    assert_eq!(tell(&mut router, &cancel("5"), now), Routed::Dropped("ambiguous_cancel"));
}

#[test]
fn initialize_is_never_cancelled() {
    let (mut router, now) = (Router::new(PATIENCE), Instant::now());
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#;
    router.request(text.as_bytes(), &read(text), StreamId(1), Carries::Events, false, now);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(tell(&mut router, cancel, now), Routed::Dropped("cancel_without_call"));
}

#[test]
fn progress_restarts_the_timer_but_not_the_hard_one() {
    let (mut router, began) = (Router::new(PATIENCE), Instant::now());
    let number = ask(&mut router, "1", 1, Carries::Events, began);
    let progress =
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{number},"progress":1}}}}"#);
    let mut now = began;
    while now + Duration::from_secs(200) < began + PATIENCE.hard {
        now += Duration::from_secs(200);
        assert!(tick(&mut router, now).is_empty());
        assert_eq!(on(&hear(&mut router, &progress, false, now)), Some(1));
    }
    let over = tick(&mut router, began + PATIENCE.hard);
    assert_eq!(over.len(), 2, "an error for the client, a cancellation for the child");
    assert_eq!(router.calls_in_flight(), 0);
}

#[test]
fn the_users_time_is_not_the_calls() {
    let (mut router, now) = (Router::new(PATIENCE), Instant::now());
    ask(&mut router, "1", 1, Carries::Events, now);
    hear(&mut router, r#"{"jsonrpc":"2.0","id":9,"method":"elicitation/create"}"#, false, now);
    assert!(tick(&mut router, now + PATIENCE.request).is_empty());
    let refused = tick(&mut router, now + PATIENCE.question);
    assert!(
        matches!(
            &refused[..],
            [Routed::ToChild(line), Routed::Event(StreamId(1), EventKind::Notification, told)]
                if line.starts_with(br#"{"jsonrpc":"2.0","id":9,"error""#)
                    && told.starts_with(br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9,"reason":"nobody answered in time"}"#)
        ),
        "{refused:?}"
    );
    assert_eq!(tick(&mut router, now + PATIENCE.question + PATIENCE.request).len(), 2, "then the call's own time runs again");
}

#[test]
fn an_error_about_nothing_goes_to_whoever_listens() {
    let (mut router, now) = (Router::new(PATIENCE), Instant::now());
    ask(&mut router, "1", 1, Carries::Events, now);
    let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}"#;
    assert_eq!(on(&hear(&mut router, error, false, now)), Some(0));
}

#[test]
fn a_line_that_was_lost_ends_the_only_call_it_can_have_been_for() {
    let (mut router, now) = (Router::new(PATIENCE), Instant::now());
    assert_eq!(lose_line(&mut router), None);
    ask(&mut router, "1", 1, Carries::Events, now);
    ask(&mut router, "2", 2, Carries::Events, now);
    assert_eq!(lose_line(&mut router), None);
    router.finish(1);
    assert_eq!(lose_line(&mut router).as_ref().and_then(on), Some(2));
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u8),
    Answer(u8),
    Progress(u8),
    Note,
}

proptest! {
    /// The model: which client id and stream each private number stands for.
    #[test]
    fn every_answer_and_progress_event_is_on_the_stream_of_its_own_call(
        steps in prop::collection::vec(prop_oneof![
            3 => any::<u8>().prop_map(Step::Ask),
            3 => any::<u8>().prop_map(Step::Answer),
            2 => any::<u8>().prop_map(Step::Progress),
            1 => Just(Step::Note),
        ], 0..150),
    ) {
        let (mut router, now) = (Router::new(PATIENCE), Instant::now());
        let mut model: HashMap<u64, (u64, String)> = HashMap::new();
        let mut streams = 0;
        for step in steps {
            match step {
                Step::Ask(id) => {
                    streams += 1;
                    // Few different ids: most calls share theirs with another.
                    let id = if id % 2 == 0 { (id % 3).to_string() } else { format!("\"{}\"", id % 3) };
                    let number = ask(&mut router, &id, streams, Carries::Events, now);
                    prop_assert!(model.insert(number, (streams, id)).is_none());
                }
                Step::Answer(pick) | Step::Progress(pick) if !model.is_empty() => {
                    let number = *model.keys().nth(usize::from(pick) % model.len()).expect("an entry");
                    let ends = matches!(step, Step::Answer(_));
                    let (stream, id) = model[&number].clone();
                    let frame = |token: &str| if ends {
                        format!(r#"{{"jsonrpc":"2.0","id":{token},"result":{{}}}}"#)
                    } else {
                        format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token}}}}}"#)
                    };
                    let kind = if ends { EventKind::Answer } else { EventKind::Notification };
                    let expected = Routed::Event(StreamId(stream), kind, frame(&id).into());
                    prop_assert_eq!(hear(&mut router, &frame(&number.to_string()), false, now), expected);
                    if ends {
                        model.remove(&number);
                    }
                }
                Step::Answer(_) | Step::Progress(_) => {}
                Step::Note => {
                    let note = r#"{"jsonrpc":"2.0","method":"notifications/message"}"#;
                    let newest = model.values().map(|(stream, _)| *stream).max().unwrap_or(0);
                    prop_assert_eq!(on(&hear(&mut router, note, false, now)), Some(newest));
                }
            }
            prop_assert_eq!(router.calls_in_flight(), model.len());
            prop_assert_eq!(router.carriers.len(), model.len());
        }
        let mut failed = Vec::new();
        router.fail_all("gone", &serde_json::Value::Null, now, &mut failed);
        prop_assert_eq!(failed.len(), model.len());
    }
}
