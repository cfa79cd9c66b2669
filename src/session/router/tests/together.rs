//! Calls that share a stream: those of a batch (2025-03-26), and all of a client with one stream (2024-11-05).

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// A batch on that stream, or one more call of it; the numbers that the child sees.
fn together(router: &mut Router, ids: &[&str], stream: u64, carries: Carries, now: Instant) -> Vec<u64> {
    let one = |id: &&str| {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call"}}"#);
        let line = router.request(text.as_bytes(), &read(&text), StreamId(stream), carries, true, now);
        let line: serde_json::Value = serde_json::from_slice(&line.joined(text.as_bytes())).expect("JSON");
        line["id"].as_u64().expect("a private number")
    };
    ids.iter().map(one).collect()
}

fn result(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
}

fn answered(router: &mut Router, number: u64, now: Instant) -> Routed {
    hear(router, &result(&number.to_string()), false, now)
}

fn reply(stream: u64, text: &str) -> Routed {
    Routed::Event(StreamId(stream), EventKind::Reply, text.into())
}

fn last(stream: u64, text: &str) -> Routed {
    Routed::Event(StreamId(stream), EventKind::Answer, text.into())
}

fn error(id: &str, code: i32, text: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{text}"}}}}"#)
}

fn cancel(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#)
}

/// How many streams of each kind are ended by what came, and how many messages there are on each.
fn ends(routed: &[Routed]) -> BTreeMap<u64, (usize, usize)> {
    let mut seen: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for routed in routed {
        if let Routed::Event(stream, kind, _) = routed {
            let (replies, answers) = seen.entry(stream.0).or_default();
            assert_eq!(*answers, 0, "nothing follows the last");
            match kind {
                EventKind::Reply => *replies += 1,
                EventKind::Answer => *answers += 1,
                other => unreachable!("{other:?}"),
            }
        }
    }
    seen
}

const NOTE: &str = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;

#[test]
fn a_batch_ends_with_the_last_of_its_answers() {
    let (mut router, now) = (Router::new(PATIENCE), Instant::now());
    let numbers = together(&mut router, &["1", "1", "\"1\""], 4, Carries::Events, now);
    assert_eq!(answered(&mut router, numbers[2], now), reply(4, &result("\"1\"")));
    assert_eq!(answered(&mut router, numbers[0], now), reply(4, &result("1")));
    assert_eq!(answered(&mut router, numbers[1], now), last(4, &result("1")));
    assert_eq!(answered(&mut router, numbers[1], now), Routed::Dropped("answer_without_call"));
    let numbers = together(&mut router, &["1"], 5, Carries::Events, now);
    assert_eq!(answered(&mut router, numbers[0], now), last(5, &result("1")));
}

#[test]
fn batches_in_flight_end_apart() {
    let (mut router, now) = (Router::new(PATIENCE), Instant::now());
    let one = together(&mut router, &["1", "2"], 1, Carries::Events, now);
    let two = together(&mut router, &["1", "2"], 2, Carries::Events, now);
    let own = ask(&mut router, "1", 3, Carries::Events, now);
    assert_eq!(answered(&mut router, one[0], now), reply(1, &result("1")));
    assert_eq!(answered(&mut router, two[1], now), reply(2, &result("2")));
    assert_eq!(answered(&mut router, own, now), last(3, &result("1")));
    assert_eq!(answered(&mut router, one[1], now), last(1, &result("2")));
    assert_eq!(answered(&mut router, two[0], now), last(2, &result("1")));
}

#[test]
fn the_only_stream_of_a_client_never_ends_with_an_answer() {
    let (mut router, now) = (Router::new(PATIENCE), Instant::now());
    let numbers = together(&mut router, &["1", "2", "3"], 0, Carries::Events, now);
    assert!(router.carriers.is_empty());
    for (number, id) in numbers.iter().zip(["1", "2"]) {
        assert_eq!(answered(&mut router, *number, now), reply(0, &result(id)));
    }
    assert_eq!(lose_line(&mut router), Some(reply(0, &error("3", -32603, "too long"))));
    together(&mut router, &["4"], 0, Carries::Events, now);
    drop(tell(&mut router, &cancel("4"), now));
    let over = tick(&mut router, now + PATIENCE.cancelled);
    assert_eq!(over, [reply(0, &error("4", -32800, "the request was cancelled"))]);
    together(&mut router, &["5", "6"], 0, Carries::Events, now);
    let mut failed = Vec::new();
    router.fail_all("gone", &serde_json::Value::Null, now, &mut failed);
    assert_eq!(ends(&failed), BTreeMap::from([(0, (2, 0))]));
    // What names no call, and questions, go there too, read or not: there is no other.
    together(&mut router, &["7"], 0, Carries::Events, now);
    assert_eq!(on(&hear(&mut router, NOTE, true, now)), Some(0));
    assert_eq!(on(&hear(&mut router, r#"{"jsonrpc":"2.0","id":"q","method":"roots/list"}"#, true, now)), Some(0));
}

#[test]
fn a_cancellation_in_a_batch_is_one_calls() {
    let (mut router, now) = (Router::new(PATIENCE), Instant::now());
    let numbers = together(&mut router, &["1", "2", "3"], 1, Carries::Events, now);
    let line = format!("{}\n", cancel(&numbers[1].to_string()));
    assert_eq!(tell(&mut router, &cancel("2"), now), Routed::ToChild(line.into()));
    let text = "the request was cancelled";
    assert_eq!(tick(&mut router, now + PATIENCE.cancelled), [reply(1, &error("2", -32800, text))]);
    assert_eq!(answered(&mut router, numbers[1], now), Routed::Dropped("answer_without_call"));
    assert_eq!(answered(&mut router, numbers[2], now), reply(1, &result("3")));
    drop(tell(&mut router, &cancel("1"), now));
    assert_eq!(tick(&mut router, now + PATIENCE.cancelled), [last(1, &error("1", -32800, text))]);
}

#[test]
fn a_batch_that_is_late_or_lost_ends_once() {
    for lost in [false, true] {
        let (mut router, now) = (Router::new(PATIENCE), Instant::now());
        together(&mut router, &["1", "2", "3"], 1, Carries::Events, now);
        together(&mut router, &["1", "2"], 2, Carries::AnswerOnly, now);
        ask(&mut router, "1", 3, Carries::Events, now);
        let mut over = Vec::new();
        if lost {
            router.fail_all("gone", &serde_json::Value::Null, now, &mut over);
        } else {
            over = tick(&mut router, now + PATIENCE.request);
            let cancelled: BTreeSet<String> = over
                .iter()
                .filter_map(|routed| match routed {
                    Routed::ToChild(line) => Some(String::from_utf8_lossy(line).into_owned()),
                    _ => None,
                })
                .collect();
            assert_eq!(cancelled.len(), 6, "each has its own");
        }
        assert_eq!(ends(&over), BTreeMap::from([(1, (2, 1)), (2, (1, 1)), (3, (0, 1))]), "lost: {lost}");
        assert_eq!((router.calls_in_flight(), router.carriers.len()), (0, 0));
    }
}

#[test]
fn a_batch_carries_what_names_no_call_until_its_last_answer() {
    let (mut router, now) = (Router::new(PATIENCE), Instant::now());
    let one = together(&mut router, &["1", "2"], 1, Carries::Events, now);
    assert_eq!(on(&hear(&mut router, NOTE, true, now)), Some(1), "it is the only one");
    let two = together(&mut router, &["1", "2"], 2, Carries::Events, now);
    assert_eq!(router.carriers, [StreamId(1), StreamId(2)]);
    assert_eq!(on(&hear(&mut router, NOTE, true, now)), Some(0));
    assert_eq!(on(&hear(&mut router, NOTE, false, now)), Some(2));
    drop(answered(&mut router, two[0], now));
    assert_eq!(on(&hear(&mut router, NOTE, false, now)), Some(2));
    drop(answered(&mut router, two[1], now));
    assert_eq!(on(&hear(&mut router, NOTE, true, now)), Some(1));
    drop(answered(&mut router, one[1], now));
    assert_eq!(on(&hear(&mut router, NOTE, false, now)), Some(1));
    drop(answered(&mut router, one[0], now));
    assert_eq!(on(&hear(&mut router, NOTE, false, now)), Some(0));
    together(&mut router, &["1", "2"], 3, Carries::AnswerOnly, now);
    assert!(router.carriers.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    /// Calls with these ids, on a new stream or on the GET stream.
    Together(Vec<u8>, bool, bool),
    Alone(u8),
    Answer(usize),
    Cancel(u8),
    Note,
    Wait(u64),
}

/// A call in flight: its stream, its id, what it carries, and when it began and was cancelled.
type Open = (u64, String, Carries, Instant, Option<Instant>);

fn step() -> impl Strategy<Value = Step> {
    let id = || 0..4_u8;
    prop_oneof![
        3 => (prop::collection::vec(id(), 1..4), any::<bool>(), prop::bool::weighted(0.3))
            .prop_map(|(ids, events, get)| Step::Together(ids, events, get)),
        2 => id().prop_map(Step::Alone),
        6 => any::<usize>().prop_map(Step::Answer),
        2 => id().prop_map(Step::Cancel),
        2 => Just(Step::Note),
        2 => prop::sample::select(vec![1_999, 2_000, 150_000, 300_000]).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// The model: which calls are to be answered on which stream.
    #[test]
    fn every_stream_ends_once_with_its_last_answer_and_the_get_stream_never(steps in prop::collection::vec(step(), 0..120)) {
        let (mut router, mut now) = (Router::new(PATIENCE), Instant::now());
        let mut model: BTreeMap<u64, Open> = BTreeMap::new();
        let mut streams = 0;
        let word = |id: u8| if id < 2 { id.to_string() } else { format!("\"{id}\"") };
        for step in steps {
            let mut over: BTreeSet<u64> = BTreeSet::new();
            let mut routed = Vec::new();
            match step {
                Step::Together(ids, events, get) => {
                    streams += u64::from(!get);
                    let (stream, carries) = match (get, events) {
                        (true, _) => (0, Carries::Events),
                        (false, true) => (streams, Carries::Events),
                        (false, false) => (streams, Carries::AnswerOnly),
                    };
                    let ids: Vec<String> = ids.into_iter().map(word).collect();
                    let texts: Vec<&str> = ids.iter().map(String::as_str).collect();
                    let numbers = together(&mut router, &texts, stream, carries, now);
                    model.extend(numbers.into_iter().zip(ids).map(|(number, id)| (number, (stream, id, carries, now, None))));
                }
                Step::Alone(id) => {
                    streams += 1;
                    let number = ask(&mut router, &word(id), streams, Carries::Events, now);
                    model.insert(number, (streams, word(id), Carries::Events, now, None));
                }
                Step::Answer(pick) => {
                    if let Some(number) = model.keys().nth(pick % model.len().max(1)).copied() {
                        over.insert(number);
                        routed.push(answered(&mut router, number, now));
                    }
                }
                Step::Cancel(id) => {
                    let same: Vec<u64> = model.iter().filter(|(_, open)| open.1 == word(id)).map(|(number, _)| *number).collect();
                    let expected = match same[..] {
                        [number] => {
                            model.entry(number).and_modify(|open| open.4 = open.4.or(Some(now)));
                            Routed::ToChild(format!("{}\n", cancel(&number.to_string())).into())
                        }
                        [] => Routed::Dropped("cancel_without_call"),
                        _ => Routed::Dropped("ambiguous_cancel"),
                    };
                    prop_assert_eq!(tell(&mut router, &cancel(&word(id)), now), expected);
                }
                Step::Note => {
                    let carriers: BTreeSet<u64> =
                        model.values().filter(|open| open.2 == Carries::Events).map(|open| open.0).filter(|at| *at > 0).collect();
                    let newest = carriers.last().copied().unwrap_or(0);
                    let open = if carriers.len() == 1 { newest } else { 0 };
                    prop_assert_eq!(on(&hear(&mut router, NOTE, false, now)), Some(newest));
                    prop_assert_eq!(on(&hear(&mut router, NOTE, true, now)), Some(open));
                }
                Step::Wait(time) => {
                    now += Duration::from_millis(time);
                    let is_over = |open: &Open| {
                        now - open.3 >= PATIENCE.request || open.4.is_some_and(|at| now - at >= PATIENCE.cancelled)
                    };
                    over.extend(model.iter().filter(|(_, open)| is_over(open)).map(|(number, _)| *number));
                    routed = tick(&mut router, now);
                }
            }
            // So many answers on each stream, the last of them marked as the last if none is left.
            let mut expected: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
            for number in over {
                let (stream, ..) = model.remove(&number).expect("it is in flight");
                let is_last = stream != 0 && model.values().all(|open| open.0 != stream);
                let (replies, answers) = expected.entry(stream).or_default();
                if is_last { *answers += 1 } else { *replies += 1 }
            }
            prop_assert_eq!(ends(&routed), expected);
            prop_assert_eq!(router.calls_in_flight(), model.len());
        }
    }
}
