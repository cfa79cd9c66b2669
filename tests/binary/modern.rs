//! Modern clients under load: calls that ask, clients that leave, children that must not be lent out too early.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::gateway::{Gateway, Start, path_in, stub};
use crate::support::modern::{ask, call};
use crate::support::proc::{self, eventually_true};
use crate::support::records::records;

const SECOND: Duration = Duration::from_secs(1);

/// One client's whole interview: two rounds of two questions. Gives what the tool said, and the states that were used.
fn interview(gateway: &Gateway, name: &str) -> (String, Vec<Value>) {
    let arguments = json!({ "name": name });
    let capabilities = json!({ "elicitation": {} });
    let mut connection = gateway.connect();
    let mut states = Vec::new();
    let mut more = json!({});
    for id in 1..=3 {
        let reply = connection.exchange(&call(id, "interview", &arguments, &capabilities, &more));
        assert_eq!(reply.status(), 200, "{}", reply.text());
        let result = reply.json()["result"].clone();
        if result["resultType"] != "input_required" {
            return (result["content"][0]["text"].as_str().expect("a text").to_owned(), states);
        }
        let asked = result["inputRequests"].as_object().expect("questions");
        assert_eq!(asked.len(), 2, "both at once: {result}");
        let mut said = json!({});
        for (key, question) in asked {
            let message = question["params"]["message"].as_str().expect("a message");
            assert!(message.starts_with(&format!("{name} {id} ")), "somebody else's question: {message}");
            said[key] = json!({ "action": "accept", "content": { "said": message } });
        }
        states.push(result["requestState"].clone());
        more = json!({ "inputResponses": said, "requestState": result["requestState"] });
    }
    unreachable!("two rounds, and no answer")
}

#[test]
fn a_hundred_calls_that_ask_get_their_own_answers_and_run_once() {
    let dir = TempDir::new().expect("a directory");
    let (log, log_text) = path_in(&dir, "log");
    let shared = format!("STUB_LOG={log_text}");
    let bounds = ["--max-leases", "100", "--max-parked", "100", "--max-children", "110", "--env", &shared];
    let gateway = Gateway::start(&bounds);
    let states: Vec<Vec<Value>> = thread::scope(|scope| {
        let calls: Vec<_> = (0..100)
            .map(|at| {
                let gateway = &gateway;
                scope.spawn(move || {
                    let name = format!("n{at}");
                    let (said, states) = interview(gateway, &name);
                    assert_eq!(said, format!("{name} 1 left, {name} 1 right, {name} 2 left, {name} 2 right"));
                    states
                })
            })
            .collect();
        calls.into_iter().map(|call| call.join().expect("no panic")).collect()
    });
    let mut runs: HashMap<String, usize> = HashMap::new();
    records(&log).into_iter().for_each(|(_, words)| *runs.entry(words).or_default() += 1);
    assert_eq!(runs.len(), 100);
    assert!(runs.values().all(|count| *count == 1), "{runs:?}");
    // Every state was good once: for the round that it was made for, and now for none.
    let mut connection = gateway.connect();
    for (at, state) in states.iter().flatten().enumerate() {
        let more = json!({ "requestState": state });
        let arguments = json!({ "name": format!("n{}", at / 2) });
        let reply = connection.exchange(&call(9, "interview", &arguments, &json!({ "elicitation": {} }), &more));
        assert_eq!(reply.status(), 400, "{}", reply.text());
        assert_eq!(reply.json()["error"]["data"]["reason"], "invalid_request_state", "{}", reply.text());
    }
}

/// Opens calls of `watch`, each until it has begun, and closes its connection; from several threads.
fn leave_mid_call(gateway: &Gateway, count: u64, threads: usize, arguments: &Value, capabilities: &Value) {
    let left = AtomicU64::new(count);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    let (head, mut events) = gateway.connect().stream(&call(1, "watch", arguments, capabilities, &json!({})));
                    assert_eq!(head.status, 200);
                    assert_eq!(events.message().expect("progress").json()["method"], "notifications/progress");
                }
            });
        }
    });
}

/// Every call that a child got was cancelled once, by its own number.
#[track_caller]
fn assert_cancelled_once(log: &Path, count: usize) {
    let told = || records(log).iter().filter(|(_, words)| words.starts_with("cancelled")).count();
    eventually_true(20 * SECOND, "every call is cancelled", || told() >= count);
    thread::sleep(SECOND / 5); // one more would have come by now
    let records = records(log);
    let mut cancelled: HashMap<(i32, String), usize> = HashMap::new();
    for (pid, words) in &records {
        if let Some(number) = words.strip_prefix("cancelled ") {
            *cancelled.entry((*pid, number.to_owned())).or_default() += 1;
        }
    }
    let calls: Vec<(i32, String)> =
        records.iter().filter_map(|(pid, words)| Some((*pid, words.strip_prefix("call ")?.to_owned()))).collect();
    assert_eq!(calls.len(), count);
    assert!(calls.iter().all(|call| cancelled.get(call) == Some(&1)), "a call was not cancelled, or twice");
    assert_eq!(cancelled.len(), count, "a cancellation of no call");
    assert!(!records.iter().any(|(_, words)| words == "overlap"), "a child was lent out before its call had ended");
}

#[test]
fn ten_thousand_clients_of_a_modern_child_leave_and_each_call_is_cancelled_once() {
    let dir = TempDir::new().expect("a directory");
    let (log, log_text) = path_in(&dir, "log");
    let options = ["--child-era", "modern", "--env", &format!("STUB_LOG={log_text}")];
    let gateway = Start::new(&options).child(&["--", &stub(), "modern"]).run();
    leave_mid_call(&gateway, 10_000, 8, &json!({}), &json!({}));
    assert_cancelled_once(&log, 10_000);
    assert_eq!(gateway.children().len(), 1);
}

#[test]
fn ten_thousand_clients_that_share_a_legacy_child_leave_and_each_call_is_cancelled_once() {
    let dir = TempDir::new().expect("a directory");
    let (log, log_text) = path_in(&dir, "log");
    let gateway = Gateway::start(&["--env", &format!("STUB_LOG={log_text}")]);
    leave_mid_call(&gateway, 10_000, 8, &json!({}), &json!({}));
    assert_cancelled_once(&log, 10_000);
    assert_eq!(gateway.children().len(), 1);
}

#[test]
fn a_child_is_lent_again_once_it_has_ended_the_cancelled_call() {
    let dir = TempDir::new().expect("a directory");
    let (log, log_text) = path_in(&dir, "log");
    let gateway = Gateway::start(&["--env", &format!("STUB_LOG={log_text}")]);
    leave_mid_call(&gateway, 100, 4, &json!({ "answers": true, "alone": true }), &json!({ "roots": {} }));
    assert_cancelled_once(&log, 100);
    // Calls overlap in time, never in a child.
    let mut open: HashMap<i32, usize> = HashMap::new();
    for (pid, words) in records(&log) {
        let running = open.entry(pid).or_default();
        match words.split(' ').next() {
            Some("call") => *running += 1,
            Some("ended") => *running -= 1,
            _ => {}
        }
        assert!(*running <= 1, "two at once in one child");
    }
    assert!(gateway.children().len() <= 8);
}

#[test]
fn a_child_that_never_ends_a_cancelled_call_is_ended_and_not_lent_again() {
    let dir = TempDir::new().expect("a directory");
    let (log, log_text) = path_in(&dir, "log");
    let gateway = Gateway::start(&["--env", &format!("STUB_LOG={log_text}"), "--cancel-grace", "300ms"]);
    leave_mid_call(&gateway, 100, 4, &json!({ "alone": true }), &json!({ "roots": {} }));
    assert_cancelled_once(&log, 100);
    eventually_true(15 * SECOND, "no child is left over", || gateway.children().is_empty());
}

#[test]
fn a_call_that_is_lost_with_its_child_is_told_so() {
    let gateway = Gateway::start(&[]);
    let mut connection = gateway.connect();
    let capabilities = json!({ "elicitation": {} });
    let arguments = json!({ "name": "a" });
    let first = connection.exchange(&call(1, "interview", &arguments, &capabilities, &json!({})));
    let state = first.json()["result"]["requestState"].clone();
    assert!(state.is_string(), "{}", first.text());
    proc::kill(gateway.child(), Signal::KILL);
    eventually_true(5 * SECOND, "it is gone", || gateway.children().is_empty());
    let retry = call(2, "interview", &arguments, &capabilities, &json!({ "requestState": state }));
    let reply = connection.exchange(&retry);
    assert_eq!(reply.status(), 200, "{}", reply.text());
    assert_eq!(reply.json()["error"]["code"], -32603);
    assert_eq!(reply.json()["error"]["data"]["reason"], "child_lost");
    assert_eq!(connection.exchange(&retry).status(), 400, "once is enough");
}

#[test]
fn a_spare_child_is_up_before_anybody_asks() {
    let gateway = Gateway::start(&["--prewarm", "2"]);
    eventually_true(10 * SECOND, "there are two", || gateway.children().len() == 2);
    let warm: Vec<i32> = gateway.children().iter().map(|child| child.pid).collect();
    let session = gateway.open();
    session.echoes("hello");
    eventually_true(5 * SECOND, "it is replaced", || gateway.children().len() == 3);
    assert!(warm.iter().all(|pid| gateway.children().iter().any(|child| child.pid == *pid)), "a spare was taken, none ended");
    let reply = gateway.ask(&ask(1, "tools/list", json!({}), &json!({})));
    assert_eq!(reply.status(), 200, "{}", reply.text());
    eventually_true(5 * SECOND, "it is replaced too", || gateway.children().len() == 4);
}

#[test]
fn a_spare_child_that_dies_is_replaced_and_none_is_left_at_the_end() {
    let mut gateway = Gateway::start(&["--prewarm", "1"]);
    eventually_true(10 * SECOND, "there is one", || gateway.children().len() == 1);
    let first = gateway.child();
    proc::kill(first, Signal::KILL);
    eventually_true(10 * SECOND, "there is another", || {
        gateway.children().iter().any(|child| child.pid != first && child.state != 'Z')
    });
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.exit_code(15 * SECOND), 0);
}

#[test]
fn a_server_that_answers_no_ping_is_spare_once_it_is_quiet() {
    let gateway = Start::new(&["--prewarm", "1"]).cmd("sh -c 'echo starting; exec sleep 100'").run();
    eventually_true(12 * SECOND, "it is spare", || gateway.metric("children_spare", "") == 1);
}

#[test]
fn a_program_that_changes_is_asked_again_which_revisions_it_speaks() {
    let dir = TempDir::new().expect("a directory");
    let (program, text) = path_in(&dir, "server");
    let write = |words: &str| {
        std::fs::write(&program, format!("exec {} {words}\n", stub())).expect("a script");
    };
    write("");
    let gateway = Start::new(&["--child-era", "auto"]).child(&["--", "sh", &text]).run();
    let told = |what: &str| gateway.log().iter().any(|line| line.contains("which revisions it speaks") && line.contains(what));
    eventually_true(5 * SECOND, "it is a legacy one", || told("up to 2025-11-25"));
    write("modern");
    // What was found is not doubted for ten seconds.
    eventually_true(20 * SECOND, "it is a modern one", || told("from 2026-07-28 on"));
    let reply = gateway.ask(&ask(1, "server/discover", json!({}), &json!({})));
    assert!(reply.text().contains("2026-07-28"), "{}", reply.text());
    eventually_true(5 * SECOND, "the former process has ended", || gateway.children().len() == 1);
}
