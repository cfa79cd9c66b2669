//! Many sessions on one child (`--children shared`), and sessions in front of a modern one: under load, and when it dies.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::gateway::{Gateway, Start, path_in, stub};
use crate::support::http::Connection;
use crate::support::proc::{self, eventually, eventually_true};
use crate::support::records::records;
use crate::support::session::{Session, call, text_of};

const SECOND: Duration = Duration::from_secs(1);
/// How long something may take that is slow only on a machine that is busy.
const LONG: Duration = Duration::from_secs(60);

/// What comes on a session's GET stream.
fn heard(session: &Session<'_>) -> Receiver<Value> {
    let (head, events) = session.listen();
    assert_eq!(head.status, 200);
    events.heard()
}

/// `resources/subscribe` and the like.
fn about(method: &str, name: &str, value: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": { name: value } }).to_string()
}

fn cancel(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#)
}

/// Asks, and the answer must be a result.
#[track_caller]
fn done(gateway: &Gateway, session: &Session<'_>, body: &str) {
    let reply = gateway.ask(&session.post(body));
    assert!(reply.json()["result"].is_object(), "{}", reply.text());
}

/// Calls of each session, and the progress of each call.
const CALLS: usize = 10;
const PROGRESS: usize = 46;
/// Updates that all sessions hear.
const COMMON: usize = 50;
const SESSIONS: usize = 200;

/// One session's calls, one after the other: everything that comes on their streams must be its own. How much that was.
fn chat(session: &Session<'_>, at: usize) -> usize {
    let mut heard = 0;
    // Two sessions each have the same token.
    let token = format!("\"t{}\"", at / 2);
    for turn in 0..CALLS {
        let said = format!("session {at}, call {turn}");
        let arguments = json!({ "text": said, "count": PROGRESS, "uri": format!("own:{at}") });
        let (head, events) = session.stream(&call("1", &token, "chat", &arguments));
        assert_eq!(head.status, 200);
        let mut progress = 0;
        let mut is_answered = false;
        for message in events.filter(|event| !event.data.is_empty()).map(|event| event.json()) {
            assert!(!is_answered, "something after the answer: {message}");
            heard += 1;
            match message["method"].as_str() {
                Some("notifications/progress") => {
                    progress += 1;
                    assert_eq!(message["params"]["progressToken"], format!("t{}", at / 2), "{message}");
                    assert_eq!((&message["params"]["message"], &message["params"]["progress"]), (&json!(said), &json!(progress)));
                }
                Some("notifications/message") => assert_eq!(message["params"]["data"], json!(said)),
                _ => {
                    is_answered = true;
                    assert_eq!((message["id"].as_u64(), text_of(&message)), (Some(1), said.clone()));
                }
            }
        }
        assert!(is_answered && progress == PROGRESS, "session {at}: {progress} of {PROGRESS}");
    }
    heard
}

/// What a session hears on its GET stream: so many updates, all of its own resource or of the common one.
fn listen(heard: &Receiver<Value>, at: usize) {
    let (mut own, mut common) = (0, 0);
    for _ in 0..CALLS + COMMON {
        let message = heard.recv_timeout(LONG).unwrap_or_else(|_| unreachable!("session {at}: only {own} and {common}"));
        assert_eq!(message["method"], "notifications/resources/updated", "{message}");
        let (uri, said) = (message["params"]["uri"].as_str().unwrap_or_default(), &message["params"]["said"]);
        if uri == "common:" {
            common += 1;
        } else {
            assert_eq!((uri, said), (&*format!("own:{at}"), &json!(format!("session {at}, call {own}"))), "somebody else's");
            own += 1;
        }
    }
    assert_eq!((own, common), (CALLS, COMMON));
}

#[test]
fn two_hundred_sessions_on_one_child_each_hear_what_is_theirs() {
    let began = Instant::now();
    let options = ["--children", "shared", "--max-sessions", "256", "--response", "sse", "--request-timeout", "60s"];
    let gateway = Gateway::start(&options);
    let sessions: Vec<Session<'_>> = (0..SESSIONS).map(|_| gateway.open()).collect();
    for (at, session) in sessions.iter().enumerate() {
        for uri in [format!("own:{at}"), "common:".to_owned()] {
            done(&gateway, session, &about("resources/subscribe", "uri", &uri));
        }
    }
    eprintln!("{SESSIONS} sessions are open after {:?}", began.elapsed());
    let listeners: Vec<Receiver<Value>> = sessions.iter().map(heard).collect();
    let messages: usize = thread::scope(|scope| {
        let sessions = &sessions;
        let callers: Vec<_> = (0..SESSIONS).map(|at| scope.spawn(move || chat(&sessions[at], at))).collect();
        let other = gateway.open();
        for _ in 0..COMMON {
            other.call("chat", &json!({ "uri": "common:", "text": "to all" }));
        }
        let answered: usize = callers.into_iter().map(|caller| caller.join().expect("no panic")).sum();
        listeners.iter().enumerate().for_each(|(at, heard)| listen(heard, at));
        answered + SESSIONS * (CALLS + COMMON)
    });
    for (session, heard) in sessions.into_iter().zip(listeners) {
        session.delete();
        assert_eq!(heard.iter().next(), None, "something more");
    }
    eprintln!("{messages} messages, none in the wrong session, in {:?}", began.elapsed());
    assert!(messages >= 100_000, "{messages}");
    assert_eq!(gateway.children().len(), 1);
    assert_eq!(gateway.metric("messages_lost_total", ""), 0);
}

#[test]
fn a_shared_child_that_is_killed_costs_its_calls_and_nothing_else() {
    let dir = TempDir::new().expect("a directory");
    let (log, log_text) = path_in(&dir, "log");
    let options = ["--children", "shared", "--request-timeout", "60s", "--env", &format!("STUB_LOG={log_text}")];
    let gateway = Gateway::start(&options);
    let sessions: Vec<Session<'_>> = (0..20).map(|_| gateway.open()).collect();
    let levels = ["error", "notice", "alert", "warning"];
    for (at, session) in sessions.iter().enumerate() {
        done(&gateway, session, &about("logging/setLevel", "level", levels[at % 4]));
        done(&gateway, session, &about("resources/subscribe", "uri", &format!("own:{at}")));
    }
    let listeners: Vec<Receiver<Value>> = sessions.iter().map(heard).collect();
    let begun = || records(&log).iter().filter(|(_, words)| words.starts_with("call ")).count();
    for round in 1..=3 {
        let calls: Vec<Connection> =
            sessions.iter().flat_map(|session| [1, 2].map(|_| session.send(&call("1", "1", "watch", &json!({}))))).collect();
        eventually_true(LONG, "the child works on all of them", || begun() == round * calls.len());
        let child = gateway.child();
        proc::kill(child, Signal::KILL);
        let killed = Instant::now();
        for mut connection in calls {
            let answer = connection.reply().expect("a response").json();
            assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(-32603)), "{answer}");
        }
        eprintln!("40 calls were told after {:?}", killed.elapsed());
        assert!(killed.elapsed() < 5 * SECOND, "{:?}", killed.elapsed());
        // Whoever speaks first finds the next child as the last one was.
        let first = round * 3;
        assert_eq!(text_of(&sessions[first].call("mark", &json!({ "text": format!("{round}") }))), "marked");
        let next = eventually(LONG, "the next child is the only one", || match gateway.children()[..] {
            [ref only] if only.pid != child => Some(only.pid),
            _ => None,
        });
        let words =
            || -> Vec<String> { records(&log).into_iter().filter(|(pid, _)| *pid == next).map(|(_, words)| words).collect() };
        let before: Vec<String> = words().into_iter().take_while(|words| *words != format!("mark {round}")).collect();
        let is_told = |what: &str| before.iter().any(|words| words == what);
        assert!(is_told(&format!("resources/subscribe own:{first}")), "{before:?}");
        let level = before.iter().rfind(|words| words.starts_with("logging/")).expect("a level");
        // Its own, or that of another who was there as early and wants more.
        let known = levels.iter().any(|known| level == &format!("logging/setLevel {known}"));
        assert!(known || level == "logging/setLevel notice", "{level}");
        // The others take their seats without a word.
        eventually_true(LONG, "all are subscribed again", || {
            let words = words();
            (0..sessions.len()).all(|at| words.contains(&format!("resources/subscribe own:{at}")))
        });
        eventually_true(LONG, "the level is that of who wants most", || {
            words().iter().rfind(|words| words.starts_with("logging/")).is_some_and(|words| words.ends_with(" notice"))
        });
    }
    for (at, (session, heard)) in sessions.iter().zip(listeners).enumerate() {
        session.echoes("it goes on");
        session.call("chat", &json!({ "uri": format!("own:{at}"), "text": "news" }));
        // That it may have changed was told three times meanwhile.
        let told: Vec<Value> = (0..4).map(|_| heard.recv_timeout(LONG).expect("an update")).collect();
        assert!(told.iter().all(|told| told["params"]["uri"] == format!("own:{at}")), "{told:?}");
        assert_eq!(told[3]["params"]["said"], "news");
    }
    assert_eq!(gateway.metric("sessions_closed_total", ""), 0);
}

#[test]
fn a_session_that_is_deleted_cancels_its_own_calls() {
    let dir = TempDir::new().expect("a directory");
    let (log, log_text) = path_in(&dir, "log");
    let options = ["--children", "shared", "--request-timeout", "60s", "--env", &format!("STUB_LOG={log_text}")];
    let gateway = Gateway::start(&options);
    let (kept, deleted) = (gateway.open(), gateway.open());
    let numbers = |what: &str| -> Vec<String> {
        records(&log).iter().filter_map(|(_, words)| Some(words.strip_prefix(what)?.to_owned())).collect()
    };
    let watch = |session: &Session<'_>, already: usize| -> Vec<Connection> {
        let calls = (0..20).map(|_| session.send(&call("1", "1", "watch", &json!({})))).collect();
        eventually_true(LONG, "the child works on them", || numbers("call ").len() == already + 20);
        calls
    };
    let own = watch(&kept, 0);
    let others = numbers("call ");
    let gone = watch(&deleted, 20);
    let mut expected: Vec<String> = numbers("call ").into_iter().filter(|number| !others.contains(number)).collect();
    deleted.delete();
    for mut connection in gone {
        assert_eq!(connection.reply().expect("a response").json()["error"]["code"], -32603);
    }
    eventually_true(LONG, "they are cancelled", || numbers("cancelled ").len() >= 20);
    kept.echoes("it goes on");
    let mut cancelled = numbers("cancelled ");
    cancelled.sort();
    expected.sort();
    assert_eq!(cancelled, expected);
    drop(own);
}

#[test]
fn a_batch_whose_client_leaves_before_it_was_sent_takes_no_places() {
    let dir = TempDir::new().expect("a directory");
    let (slow, slow_text) = path_in(&dir, "slow");
    let script = format!("test -e {slow_text} && sleep 2; exec {}", stub());
    let options = ["--children", "shared", "--max-calls", "3"];
    let gateway = Start::new(&options).child(&["--", "sh", "-c", &script]).run();
    let session = Session::open_as(&gateway, "2025-03-26");
    std::fs::write(&slow, "").expect("a file");
    proc::kill(gateway.child(), Signal::KILL);
    eventually_true(LONG, "it is gone", || gateway.children().is_empty());
    let echo = |id: &str| call(id, "1", "echo", &json!({ "text": "x" }));
    let batch = format!("[{},{},{}]", echo("1"), echo("2"), echo("3"));
    let left = session.send(&batch);
    eventually_true(LONG, "the next child is being started", || !gateway.children().is_empty());
    left.shut();
    drop(left);
    // All places are free again.
    let reply = eventually(LONG, "three more are taken", || {
        let reply = gateway.ask(&session.post(batch.as_str()));
        (reply.status() != 429).then_some(reply)
    });
    assert_eq!(reply.status(), 200, "{}", reply.text());
    assert_eq!(reply.text().matches("\"text\":\"x\"").count(), 3, "{}", reply.text());
}

#[test]
fn ten_thousand_cancellations_each_reach_a_modern_child_once() {
    let dir = TempDir::new().expect("a directory");
    let (log, log_text) = path_in(&dir, "log");
    let options = ["--child-era", "modern", "--request-timeout", "60s", "--env", &format!("STUB_LOG={log_text}")];
    let gateway = Start::new(&options).child(&["--", &stub(), "modern"]).run();
    let began = Instant::now();
    let (threads, each) = (8, 1_250);
    thread::scope(|scope| {
        for at in 0..threads {
            let gateway = &gateway;
            scope.spawn(move || {
                let session = gateway.open();
                let mut connection = gateway.connect();
                for turn in 0..each {
                    // Other sessions use the same ids.
                    let id = if at % 2 == 0 { format!("{turn}") } else { format!("\"{turn}\"") };
                    let (_, mut events) = session.stream(&call(&id, "1", "watch", &json!({})));
                    assert_eq!(events.message().expect("progress").json()["method"], "notifications/progress");
                    assert_eq!(connection.exchange(&session.post(cancel(&id))).status(), 202);
                    // This child logs each cancellation, whoever asked for logs.
                    let answer = loop {
                        match events.message().expect("an answer").json() {
                            log if log["method"] == "notifications/message" => {}
                            answer => break answer,
                        }
                    };
                    assert_eq!((answer["id"].to_string(), &answer["error"]["code"]), (id, &json!(-32800)), "{answer}");
                    assert_eq!(events.message(), None);
                }
            });
        }
    });
    let count = threads * each;
    let told = || records(&log).iter().filter(|(_, words)| words.starts_with("cancelled ")).count();
    eventually_true(LONG, "every call is cancelled", || told() >= count);
    eprintln!("{count} calls were cancelled in {:?}", began.elapsed());
    gateway.open().echoes("all that was on its way before has come");
    let mut seen: HashMap<String, (usize, usize)> = HashMap::new();
    for (_, words) in records(&log) {
        match words.split_once(' ') {
            Some(("call", number)) => seen.entry(number.to_owned()).or_default().0 += 1,
            Some(("cancelled", number)) => seen.entry(number.to_owned()).or_default().1 += 1,
            _ => {}
        }
    }
    assert_eq!(seen.len(), count);
    assert!(seen.values().all(|seen| *seen == (1, 1)), "a call was not cancelled, or twice, or another was");
    assert_eq!(gateway.children().len(), 1);
}

/// A call that asks two questions twice. What the tool said.
fn interview(session: &Session<'_>, name: &str, id: usize) -> String {
    let (_, mut events) = session.stream(&call(&id.to_string(), "1", "interview", &json!({ "name": name })));
    for round in 1..=2 {
        let mut asked: BTreeMap<String, Value> = BTreeMap::new();
        for _ in 0..2 {
            let question = events.message().expect("a question").json();
            let message = question["params"]["message"].as_str().expect("a message").to_owned();
            assert!(message.starts_with(&format!("{name} {round} ")), "somebody else's question: {question}");
            asked.insert(message, question["id"].clone());
        }
        // The second first.
        for (message, id) in asked.into_iter().rev() {
            let said = json!({ "action": "accept", "content": { "said": message } });
            let answer = json!({ "jsonrpc": "2.0", "id": id, "result": said });
            assert_eq!(session.tell(answer.to_string()).status(), 202);
        }
    }
    let answer = events.message().expect("an answer").json();
    assert_eq!(answer["id"], id);
    text_of(&answer)
}

#[test]
fn a_hundred_calls_of_sessions_that_a_modern_child_asks_get_their_own_answers_and_run_once() {
    let dir = TempDir::new().expect("a directory");
    let (log, log_text) = path_in(&dir, "log");
    let options = ["--child-era", "modern", "--request-timeout", "60s", "--env", &format!("STUB_LOG={log_text}")];
    let gateway = Start::new(&options).child(&["--", &stub(), "modern"]).run();
    let sessions: Vec<Session<'_>> = (0..10).map(|_| gateway.open()).collect();
    thread::scope(|scope| {
        for at in 0..100 {
            let session = &sessions[at % 10];
            scope.spawn(move || {
                let name = format!("n{at}");
                let expected = format!("{name} 1 left, {name} 1 right, {name} 2 left, {name} 2 right");
                // Sessions use the same ids.
                assert_eq!(interview(session, &name, at / 10), expected);
            });
        }
    });
    let mut runs: HashMap<String, usize> = HashMap::new();
    records(&log).into_iter().for_each(|(_, words)| *runs.entry(words).or_default() += 1);
    assert_eq!(runs.len(), 100);
    assert!(runs.values().all(|count| *count == 1), "{runs:?}");
}
