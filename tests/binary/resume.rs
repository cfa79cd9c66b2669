//! Streams that are cut and taken up again: nothing lost, nothing twice, nothing of others.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::clocks::ALL;
use crate::support::early::outcome;
use crate::support::events::{Event, Events};
use crate::support::gateway::Gateway;
use crate::support::http::{Arriving, Request};
use crate::support::proc::{self, eventually_true};
use crate::support::session::{Session, call};

const SECOND: Duration = Duration::from_secs(1);

/// Reads the messages of a call, going on after each cut from the last id that came. `cut` says how many events one
/// connection lives for. Gives back the messages, and how many connections it took.
fn read_in_pieces(session: &Session<'_>, body: &str, cut: impl Fn(usize) -> usize) -> (Vec<Vec<u8>>, usize) {
    let (mut messages, mut last, mut connections) = (Vec::new(), String::new(), 0);
    loop {
        let (head, events) = match last.as_str() {
            "" => session.stream(body),
            last => session.resume(last),
        };
        if head.status == 204 {
            return (messages, connections); // there is nothing more
        }
        assert_eq!(head.status, 200);
        let most = cut(connections);
        connections += 1;
        for event in events.take(most) {
            if !event.id.is_empty() {
                last.clone_from(&event.id);
            }
            if !event.data.is_empty() {
                messages.push(event.data);
            }
        }
        assert!(!last.is_empty(), "a stream gives a place to come back to");
    }
}

/// The numbers that a `progress` call reported, checked to end with its answer.
fn progress(messages: &[Vec<u8>]) -> Vec<u64> {
    let messages: Vec<Value> = messages.iter().map(|data| serde_json::from_slice(data).expect("JSON")).collect();
    let (answer, notes) = messages.split_last().expect("an answer");
    assert_eq!(answer["result"]["content"][0]["text"], "done", "{answer}");
    notes.iter().map(|note| note["params"]["progress"].as_u64().expect("a number")).collect()
}

fn last_id(events: &[Event]) -> String {
    events.iter().rev().find(|event| !event.id.is_empty()).expect("an id").id.clone()
}

#[test]
fn a_stream_cut_after_every_event_is_what_was_sent() {
    let gateway = Gateway::start(&["--response", "sse"]);
    let session = gateway.open();
    // Many streams of one session, side by side, cut in different rhythms while their events are being written.
    thread::scope(|scope| {
        for stream in 0..10_usize {
            let session = &session;
            scope.spawn(move || {
                let base = stream as u64 * 1000;
                let pause = [0, 100, 500][stream % 3];
                let body = call("1", "\"t\"", "progress", &json!({ "count": 60, "base": base, "us": pause }));
                let (messages, connections) = read_in_pieces(session, &body, |at| 1 + at * stream % 4);
                assert!(progress(&messages).into_iter().eq(base + 1..=base + 60), "stream {stream}");
                assert!(connections > 15, "{connections}");
            });
        }
    });
    assert_eq!(gateway.metric("replays_total", "gap") + gateway.metric("messages_lost_total", ""), 0);
}

#[test]
fn a_stream_can_be_cut_after_any_event_and_read_to_its_end() {
    let gateway = Gateway::start(&["--response", "sse"]);
    let session = gateway.open();
    let body = call("1", "\"t\"", "progress", &json!({ "count": 20 }));
    for cut in 1..=22 {
        let (messages, _) = read_in_pieces(&session, &body, |at| if at == 0 { cut } else { usize::MAX });
        assert!(progress(&messages).into_iter().eq(1..=20), "cut after {cut}");
    }
}

#[test]
fn the_standing_stream_cut_after_every_event_is_what_was_sent() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    let changed =
        |n: u64| format!("{}\n", json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": { "n": n } }));
    let (_, mut events) = session.listen();
    let mut last = events.next().expect("a priming event").id;
    let mut seen = Vec::new();
    for n in (1..=60).step_by(2) {
        // One while the stream is being read, one around the cut.
        session.call("write", &json!({ "text": changed(n) }));
        let event = events.message().expect("the first of two");
        seen.push(event.json()["params"]["n"].as_u64().expect("a number"));
        last.clone_from(&event.id);
        session.call("write", &json!({ "text": changed(n + 1) }));
        drop(events);
        events = session.resume(&last).1;
        let event = events.message().expect("the second of two");
        seen.push(event.json()["params"]["n"].as_u64().expect("a number"));
        last.clone_from(&event.id);
    }
    assert!(seen.iter().copied().eq(1..=60), "{seen:?}");
}

#[test]
fn a_finished_stream_is_resumed_to_its_answer_and_its_end_at_once() {
    let gateway = Gateway::start(&["--response", "sse"]);
    let session = gateway.open();
    let (_, mut events) = session.stream(&call("1", "\"t\"", "sleep", &json!({ "ms": 200 })));
    let priming = events.next().expect("a priming event");
    drop(events);
    eventually_true(5 * SECOND, "it is answered", || {
        gateway.metric("messages_total", "direction=\"to_client\",kind=\"answer\"") >= 2
    });
    let began = Instant::now();
    let (_, mut events) = session.resume(&priming.id);
    let answer = events.next().expect("the answer");
    assert_eq!(answer.json()["result"]["content"][0]["text"], "slept");
    assert_eq!(events.next(), None);
    assert!(matches!(events.ended, Some(Ok(()))));
    eprintln!("answer and end after {:?}", began.elapsed());
    proc::was_prompt(began.elapsed(), SECOND / 10);
    let (head, _) = session.resume(&answer.id);
    assert_eq!(head.status, 204, "nothing comes after the answer");
}

#[test]
fn a_disconnect_does_not_cancel_a_call() {
    let gateway = Gateway::start(&["--response", "sse"]);
    let session = gateway.open();
    let (_, mut events) = session.stream(&call("1", "\"t\"", "hold", &json!({ "text": "kept" })));
    let priming = events.next().expect("a priming event");
    drop(events);
    session.call("release", &json!({ "count": 1 }));
    let (_, mut events) = session.resume(&priming.id);
    assert_eq!(events.message().expect("the answer").json()["result"]["content"][0]["text"], "kept");
}

#[test]
fn another_sessions_event_id_is_refused_and_shows_nothing() {
    let gateway = Gateway::start(&["--response", "sse"]);
    let (a, b) = (gateway.open(), gateway.open());
    let collect = |session: &Session<'_>| -> Vec<Event> {
        session.stream(&call("1", "\"t\"", "progress", &json!({ "count": 5, "base": 424_200 }))).1.collect()
    };
    let (of_a, of_b) = (collect(&a), collect(&b));
    assert_eq!(of_a.len(), of_b.len());
    for event in &of_a {
        let reply = gateway.ask(&b.own(Request::get()).with("last-event-id", &event.id));
        assert_eq!(reply.status(), 400, "{}", reply.text());
        assert!(!reply.text().contains("4242"), "{}", reply.text());
    }
    // Nor an id that was never given: another stream, a later event, another spelling.
    let id = last_id(&of_a);
    let (nonce, rest) = id.split_once('-').expect("three parts");
    for forged in [
        format!("{nonce}-ff-1"),
        format!("{nonce}-{rest}0"),
        format!("{nonce}-{rest}-0"),
        id.to_uppercase() + "x",
        "_GET_stream".into(),
    ] {
        assert_eq!(gateway.ask(&a.own(Request::get()).with("last-event-id", &forged)).status(), 400, "{forged}");
    }
}

#[test]
fn of_two_resumes_the_newer_wins_and_the_older_ends() {
    let gateway = Gateway::start(&["--response", "sse"]);
    let session = gateway.open();
    let (_, mut events) = session.stream(&call("1", "\"t\"", "hold", &json!({ "text": "for the newest" })));
    let priming = events.next().expect("a priming event");
    let mut older: Vec<Events<Arriving>> = vec![events];
    for _ in 0..3 {
        let (head, events) = session.resume(&priming.id);
        assert_eq!(head.status, 200);
        let mut replaced = older.pop().expect("the one before");
        assert_eq!(replaced.message(), None);
        assert!(matches!(replaced.ended, Some(Ok(()))), "{:?}", replaced.ended);
        drop(replaced); // its end does not take the successor with it
        older.push(events);
    }
    session.call("release", &json!({ "count": 1 }));
    let newest = older.pop().expect("the newest").message().expect("the answer");
    assert_eq!(newest.json()["result"]["content"][0]["text"], "for the newest");
}

#[test]
fn polling_at_the_streams_age_loses_nothing() {
    let gateway = Gateway::start(&["--response", "sse", "--max-stream-age", "1s"]);
    let session = gateway.open();
    let began = Instant::now();
    let body = call("1", "\"t\"", "progress", &json!({ "count": 1200, "us": 2000 }));
    let (messages, connections) = read_in_pieces(&session, &body, |_| usize::MAX);
    assert!(progress(&messages).into_iter().eq(1..=1200));
    assert!((3..=6).contains(&connections), "{connections} connections in {:?}", began.elapsed());
    // The standing stream ends as well, with the time to wait for.
    let (_, events) = session.listen();
    let events: Vec<Event> = events.collect();
    assert!(events.last().is_some_and(|event| event.retry.is_some()), "{events:?}");
}

#[test]
fn a_place_that_is_no_longer_kept_is_told_never_skipped() {
    let gateway = Gateway::start(&["--response", "sse", "--log-bytes", "64KiB"]);
    let session = gateway.open();
    let (_, mut listening) = session.listen();
    let place = listening.next().expect("a priming event").id;
    drop(listening);
    eventually_true(SECOND, "the reader is gone", || gateway.metric("sse_streams_active", "get") == 0);
    let (_, mut events) = session.stream(&call("\"mine\"", "\"t\"", "progress", &json!({ "count": 400, "pad": 1000 })));
    let priming = events.next().expect("a priming event");
    drop(events);
    eventually_true(5 * SECOND, "the call ends", || {
        gateway.metric("messages_total", "direction=\"to_client\",kind=\"answer\"") >= 2
    });
    let (_, events) = session.resume(&priming.id);
    let messages: Vec<Value> = events.filter(|event| !event.data.is_empty()).map(|event| event.json()).collect();
    let (answer, notes) = messages.split_last().expect("an answer");
    assert_eq!(answer["id"], "mine", "{answer}");
    let kept: Vec<u64> = notes.iter().filter_map(|note| note["params"]["progress"].as_u64()).collect();
    assert!(kept.len() < 400, "the log is smaller than that");
    assert!(kept.is_sorted(), "{kept:?}");
    assert!(messages.iter().any(|message| message.to_string().contains("--log-bytes")), "{messages:?}");
    assert!(gateway.metric("events_evicted_total", "") > 0);
    // Then something else fills the log, until nothing is left of the stream: its request still gets an answer.
    for _ in 0..4 {
        session.call("progress", &json!({ "count": 100, "pad": 1000, "us": 300 }));
    }
    let (head, mut events) = session.resume(&priming.id);
    let told = events.message().expect("an answer").json();
    assert_eq!((head.status, &told["id"], &told["error"]["code"]), (200, &json!("mine"), &json!(-32603)), "{told}");
    assert_eq!(session.resume(&place).0.status, 200, "the standing stream is always there");
}

#[test]
fn of_a_hundred_simultaneous_gets_one_is_served() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    for _ in 0..3 {
        let (start, all_read) = (Barrier::new(100), Barrier::new(100));
        let statuses: Vec<u16> = thread::scope(|scope| {
            let ask = || {
                let connection = gateway.connect();
                start.wait();
                let (head, events) = connection.stream(&session.own(Request::get()));
                all_read.wait(); // the one that is served stays until all are answered
                drop(events);
                head.status
            };
            let asking: Vec<_> = (0..100).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|asked| asked.join().expect("a status")).collect()
        });
        let count = statuses.iter().fold(BTreeMap::<u16, usize>::new(), |mut count, status| {
            *count.entry(*status).or_default() += 1;
            count
        });
        assert_eq!(count, BTreeMap::from([(200, 1), (409, 99)]));
        eventually_true(SECOND, "the place is free again", || gateway.metric("sse_streams_active", "get") == 0);
    }
}

#[test]
fn an_idle_session_ends_and_its_child_with_it() {
    let gateway = Gateway::start(&["--idle-timeout", "2s"]);
    let (idle, listening, calling) = (gateway.open(), gateway.open(), gateway.open());
    let (_, standing) = listening.listen();
    let (_, running) = calling.stream(&call("1", "\"t\"", "sleep", &json!({ "ms": 4000 })));
    let took = eventually_true(4 * SECOND, "the idle one ends", || gateway.children().len() == 2);
    eprintln!("ended after {took:?}");
    assert_eq!(idle.tell("{}").status(), 400);
    assert_eq!(idle.tell(call("1", "1", "echo", &json!({}))).status(), 404);
    // Neither a standing stream nor a call in flight is idleness.
    assert_eq!(running.filter(|event| !event.data.is_empty()).count(), 1);
    assert_eq!(gateway.children().len(), 2);
    drop(standing);
    eventually_true(5 * SECOND, "then nothing is left", || gateway.descendants().is_empty());
    assert_eq!(gateway.metric("sessions_closed_total", "idle"), 3);
}

/// The 99th of a hundred, and the longest.
fn late(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    (times[times.len() * 99 / 100], times[times.len() - 1])
}

#[test]
fn one_stalled_stream_of_a_hundred_delays_no_other() {
    let gateway = Gateway::start(&["--response", "sse"]);
    let session = gateway.open();
    let standing: Vec<_> = (0..90).map(|_| session.stream(&call("1", "\"t\"", "hold", &json!({ "text": "x" })))).collect();
    let others = || -> Vec<Duration> {
        thread::scope(|scope| {
            let ask = || {
                let mut connection = gateway.connect();
                let request = session.post(call("1", "\"t\"", "echo", &json!({ "text": "x" })));
                let asked = || {
                    let began = Instant::now();
                    assert_eq!(connection.exchange(&request).status(), 200);
                    began.elapsed()
                };
                std::iter::repeat_with(asked).take(300).collect::<Vec<Duration>>()
            };
            let asking: Vec<_> = (0..9).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().flat_map(|asked| asked.join().expect("times")).collect()
        })
    };
    let without = late(others());
    let (_, stalled) = session.stream(&call("1", "\"t\"", "progress", &json!({ "count": 8000, "pad": 10_000, "us": 100 })));
    eventually_true(10 * SECOND, "it does not read", || gateway.metric("events_stored_bytes", "") > 256 << 10);
    let with = late(others());
    eprintln!("p99 and longest without a stalled stream {without:?}, with one {with:?}");
    // The child waits once for the stalled reader, a quarter of a second, and never again.
    assert!(with.0 < (2 * without.0).max(SECOND / 10), "{without:?} {with:?}");
    assert!(with.1 < SECOND, "{without:?} {with:?}");
    drop((stalled, standing));
}

#[test]
fn a_quiet_stream_says_something_every_fifteen_seconds() {
    outcome(ALL, "keep_alive");
}

#[test]
fn the_stream_and_the_session_of_a_client_that_vanished_are_freed() {
    outcome(ALL, "vanished");
}
