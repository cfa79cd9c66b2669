//! How the gateway stops: what is in flight finishes, everybody is told, nothing is left.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::gateway::{Gateway, Start};
use crate::support::http::Connection;
use crate::support::proc::{self, eventually_true};
use crate::support::session::{REVISION, Session, call, initialize};

const SECOND: Duration = Duration::from_secs(1);

fn requests_to_child(gateway: &Gateway) -> u64 {
    gateway.metric("messages_total", "direction=\"to_child\",kind=\"request\"")
}

#[test]
fn asked_to_stop_it_finishes_every_call_and_lets_every_stream_go() {
    let mut gateway = Gateway::start(&[]);
    let sessions: Vec<Session<'_>> = (0..50).map(|_| gateway.open()).collect();
    let standing: Vec<_> = sessions.iter().map(Session::listen).collect();
    let before = requests_to_child(&gateway);
    let calls: Vec<Connection> =
        (0..200).map(|at| sessions[at % 2].send(&call(&at.to_string(), "1", "sleep", &json!({ "ms": 2000 })))).collect();
    let mut late = gateway.connect();
    late.exchange(&sessions[0].post(call("1", "1", "echo", &json!({ "text": "x" }))));
    eventually_true(SECOND, "all are in flight", || requests_to_child(&gateway) == before + 201);
    let asked = Instant::now();
    gateway.signal(Signal::TERM);
    let unready = eventually_true(SECOND, "it is not ready", || gateway.admin("/readyz").status() == 503);
    assert_eq!(gateway.admin("/livez").status(), 200);
    let refused = late.exchange(&sessions[0].post(call("1", "1", "echo", &json!({ "text": "x" }))));
    assert_eq!((refused.status(), refused.head.field("retry-after")), (503, Some("5")), "{}", refused.text());
    eventually_true(SECOND, "nobody new is let in", || Connection::try_open(gateway.address()).is_err());
    for (head, events) in standing {
        assert!(head.is_event_stream());
        let mut events = events.skip_while(|event| event.retry.is_none() || !event.id.is_empty());
        assert!(events.next().is_some_and(|event| event.retry.is_some()), "it says when to come back");
        assert_eq!(events.next(), None);
    }
    let streams_ended = asked.elapsed();
    for (at, mut call) in calls.into_iter().enumerate() {
        let answer = call.reply().expect("a response").json();
        assert_eq!((&answer["id"], &answer["result"]["content"][0]["text"]), (&json!(at), &json!("slept")));
    }
    let answered = asked.elapsed();
    drop((sessions, late));
    assert_eq!(gateway.exit_code(5 * SECOND), 0);
    eprintln!(
        "not ready after {unready:?}, streams ended after {streams_ended:?}, answers {answered:?}, end {:?}",
        asked.elapsed()
    );
    proc::was_prompt(unready.max(streams_ended), SECOND);
    proc::was_prompt(asked.elapsed(), 5 * SECOND);
    assert!(gateway.descendants().is_empty());
}

#[test]
fn an_idle_gateway_stops_at_once() {
    let mut gateway = Gateway::start(&[]);
    let session = gateway.open();
    let (_, standing) = session.listen();
    let idle = gateway.connect();
    gateway.signal(Signal::INT);
    drop(session);
    let began = Instant::now();
    assert_eq!(gateway.exit_code(5 * SECOND), 0);
    eprintln!("stopped after {:?}", began.elapsed());
    proc::was_prompt(began.elapsed(), 2 * SECOND);
    assert!(gateway.descendants().is_empty());
    drop((standing, idle));
}

#[test]
fn what_is_left_at_the_deadline_gets_an_error_and_the_end_is_still_clean() {
    let mut gateway = Start::new(&["--drain", "1s"]).run();
    let session = gateway.open();
    let calls: Vec<Connection> = (0..50).map(|at| session.send(&call(&at.to_string(), "1", "never", &json!({})))).collect();
    session.echoes("they are in flight");
    gateway.signal(Signal::TERM);
    let asked = Instant::now();
    for (at, mut call) in calls.into_iter().enumerate() {
        let answer = call.reply().expect("a response").json();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(at), &json!(-32603)), "{answer}");
    }
    let told = asked.elapsed();
    drop(session);
    assert_eq!(gateway.exit_code(5 * SECOND), 0);
    assert!((SECOND..2 * SECOND).contains(&told), "{told:?}");
    let warned = || gateway.log().iter().any(|line| line.contains("WARN") && line.contains("deadline"));
    eventually_true(SECOND, "a warning", warned);
    assert!(gateway.descendants().is_empty());
}

#[test]
fn a_stream_that_nobody_reads_does_not_delay_the_end_beyond_the_deadline() {
    let mut gateway = Gateway::start(&["--drain", "1s", "--response", "sse"]);
    let session = gateway.open();
    let (_, stalled) = session.stream(&call("1", "1", "progress", &json!({ "count": 3000, "pad": 10_000 })));
    eventually_true(5 * SECOND, "it is stalled", || gateway.metric("events_stored_bytes", "") > 256 << 10);
    gateway.signal(Signal::TERM);
    let asked = Instant::now();
    drop(session);
    assert_eq!(gateway.exit_code(10 * SECOND), 0);
    eprintln!("stopped after {:?}", asked.elapsed());
    proc::was_prompt(asked.elapsed(), 5 * SECOND);
    drop(stalled);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut gateway = Start::new(&[]).cmd("sh -c \"trap '' TERM; exec STUB linger\"").run();
        let session = gateway.open();
        let call = session.send(&call("1", "1", "never", &json!({})));
        session.echoes("the child is up");
        // Connections overtake each other: only the gateway knows that it has the call. (initialize, never, echo)
        let sent = || gateway.metric("messages_total", "direction=\"to_child\",kind=\"request\"");
        eventually_true(5 * SECOND, "it is in flight", || sent() == 3);
        gateway.signal(Signal::TERM);
        eventually_true(SECOND, "it drains", || gateway.admin("/readyz").status() == 503);
        gateway.signal(signal);
        drop((call, session));
        let began = Instant::now();
        assert_eq!(gateway.exit_code(2 * SECOND), code);
        proc::was_prompt(began.elapsed(), SECOND / 2);
        eventually_true(SECOND, "its children are killed", || gateway.descendants().is_empty());
    }
}

#[test]
fn a_hangup_changes_nothing_where_there_is_no_file() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    gateway.signal(Signal::HUP);
    eventually_true(SECOND, "it is logged", || gateway.log().iter().any(|line| line.contains("SIGHUP")));
    session.echoes("it goes on");
    assert_eq!(gateway.ask(&initialize(REVISION)).status(), 200);
}
