//! Sessions that outlive their children, with real processes: killed ones, and those that close a pipe and stay; and servers that
//! cannot be started.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::support::gateway::{Gateway, Start, path_in, stub};
use crate::support::proc::{self, eventually, eventually_true};
use crate::support::session::{REVISION, Session, call, initialize};

const SECOND: Duration = Duration::from_secs(1);
const RESPAWN: &[&str] = &["--on-child-exit", "respawn"];

/// What the scripted child answers to `initialize`.
const HELLO: &str = r#"{"id":1,"jsonrpc":"2.0","result":{"capabilities":{"logging":{},"resources":{"subscribe":true},"tools":{}},"protocolVersion":"2025-11-25","serverInfo":{"name":"stub","version":"0"}}}"#;

/// A gateway whose first child takes the handshake and then does as the script says; those after it are scripted children.
fn first(script: &str, dir: &TempDir) -> Gateway {
    let (_, once) = path_in(dir, "once");
    let script = format!("if mkdir {once}; then read a; echo '{HELLO}'; read b; {script}; else exec {}; fi", stub());
    Start::new(RESPAWN).child(&["--", "sh", "-c", &script]).run()
}

/// The one child, once it is another.
fn next_child(gateway: &Gateway, before: i32) -> i32 {
    eventually(5 * SECOND, "another child", || match gateway.children().as_slice() {
        [child] if child.pid != before && child.state != 'Z' => Some(child.pid),
        _ => None,
    })
}

#[test]
fn a_session_outlives_three_killed_children() {
    // --on-child-exit respawn: each time the calls in flight get an error, and the next call another process.
    let gateway = Gateway::start(RESPAWN);
    let session = gateway.open();
    for _ in 0..3 {
        let child = gateway.child();
        let sent = || gateway.metric("messages_total", "direction=\"to_child\",kind=\"request\"");
        let before = sent();
        let calls: Vec<_> = (0..20).map(|_| session.send(&call("1", "1", "never", &json!({})))).collect();
        // Connections overtake each other: only the gateway knows that it has them all.
        eventually_true(5 * SECOND, "all are in flight", || sent() == before + 20);
        proc::kill(child, Signal::KILL);
        for mut call in calls {
            let answer = call.reply().expect("a response").json();
            assert_eq!((&answer["id"], &answer["error"]["data"]["reason"]), (&json!(1), &json!("child_exited")), "{answer}");
        }
        session.echoes("it goes on");
        assert_ne!(next_child(&gateway, child), child);
    }
    assert_eq!(gateway.metric("child_respawns_total", "child_exited"), 3);
    assert_eq!(gateway.metric("sessions_opened_total", ""), 1);
}

#[test]
fn a_child_that_closes_its_output_and_stays_is_followed_by_another() {
    // --on-child-exit respawn: it can say nothing any more; its calls get an error, it is stopped, and another is started.
    let dir = TempDir::new().expect("a directory");
    let gateway = first("read c; exec >&-; exec sleep 60", &dir);
    let session = gateway.open();
    let child = gateway.child();
    let answer = session.call("echo", &json!({ "text": "x" }));
    assert_eq!(answer["error"]["data"]["reason"], "child_closed_stdout", "{answer}");
    session.echoes("it goes on");
    assert!(!proc::is_alive(child), "the first was stopped");
    assert_ne!(gateway.child(), child);
    assert_eq!(gateway.metric("child_respawns_total", "child_closed_stdout"), 1);
}

#[test]
fn a_child_that_closes_its_input_and_stays_is_followed_by_another() {
    // --on-child-exit respawn: it can be told nothing any more; what it did not take is counted, and another is started.
    let dir = TempDir::new().expect("a directory");
    let gateway = first("exec <&-; exec sleep 60", &dir);
    let session = gateway.open();
    let child = gateway.child();
    let closed = || std::fs::symlink_metadata(format!("/proc/{child}/fd/0")).is_err();
    eventually_true(SECOND, "it has closed its input", closed);
    assert_eq!(session.tell(r#"{"jsonrpc":"2.0","method":"notifications/lost"}"#).status(), 202);
    next_child(&gateway, child);
    session.echoes("it goes on");
    assert_eq!(gateway.metric("messages_lost_total", ""), 1);
    assert_eq!(gateway.metric("child_respawns_total", "child_closed_stdin"), 1);
}

#[test]
fn a_program_that_has_changed_ends_its_sessions_when_their_children_end() {
    // --on-child-exit respawn: a process that answers initialize differently does not take a session up, nor is another tried if it
    // has closed its output right behind the answer.
    let other = HELLO.replace(r#""id":1"#, r#""id":2"#).replace("stub", "other");
    for goes_on in ["exec cat >/dev/null", "exec >&-; exec cat"] {
        let dir = TempDir::new().expect("a directory");
        let (_, once) = path_in(&dir, "once");
        let script = format!("if mkdir {once}; then exec {}; else read a; echo '{other}'; {goes_on}; fi", stub());
        let gateway = Start::new(RESPAWN).child(&["--", "sh", "-c", &script]).run();
        let session = gateway.open();
        proc::kill(gateway.child(), Signal::KILL);
        eventually_true(5 * SECOND, "the session ends", || {
            session.tell(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#).status() == 404
        });
        eventually_true(5 * SECOND, "its child ends", || gateway.children().is_empty());
        assert_eq!(gateway.metric("sessions_closed_total", "child_changed"), 1, "{goes_on}");
    }
}

#[test]
fn quiet_sessions_have_no_processes_until_they_are_used() {
    // --hibernate-after: ten sessions, no process; each goes on with its next call.
    let gateway = Gateway::start(&["--hibernate-after", "1s"]);
    let sessions: Vec<Session<'_>> = (0..10).map(|_| gateway.open()).collect();
    let (_, standing) = sessions[0].listen();
    sessions.iter().for_each(|session| session.echoes("first"));
    eventually_true(6 * SECOND, "all sleep", || gateway.metric("sessions_asleep", "") == 10);
    assert!(gateway.descendants().is_empty());
    assert_eq!(gateway.metric("child_exits_total", "exit_zero"), 10, "each ended with its input");
    sessions.iter().for_each(|session| session.echoes("second"));
    assert_eq!(gateway.metric("child_respawns_total", "asleep"), 10);
    assert_eq!(gateway.metric("messages_lost_total", ""), 0);
    sessions.into_iter().for_each(Session::delete);
    eventually_true(5 * SECOND, "all are gone", || gateway.children().is_empty());
    drop(standing);
}

#[test]
fn nothing_is_started_while_memory_is_short() {
    // --memory-gate: 503 with Retry-After for sessions and modern calls, no child, not ready; 100 never refuses.
    let gateway = Gateway::start(&["--memory-gate", "1"]);
    let refused = gateway.ask(&initialize(REVISION));
    assert_eq!((refused.status(), refused.head.field("retry-after")), (503, Some("5")), "{}", refused.text());
    assert!(refused.text().contains("--memory-gate") || refused.text().contains("memory"), "{}", refused.text());
    let ready = gateway.admin("/readyz");
    assert_eq!(ready.status(), 503, "{}", ready.text());
    assert!(ready.text().contains("--memory-gate"), "{}", ready.text());
    assert_eq!(gateway.metric("rejected_total", "too_little_memory"), 1);
    assert!(gateway.children().is_empty() && gateway.spawns() == 0);
    eventually_true(SECOND, "it is told", || gateway.metric("memory_used_percent", "") >= 1);
    let open = Gateway::start(&["--memory-gate", "100"]);
    assert_eq!(open.admin("/readyz").status(), 200);
    open.open().echoes("it works");
}

/// A server that cannot be started until a file is there: not ready by and by, and ready again without any client.
fn recovers(options: &[&str]) {
    let dir = TempDir::new().expect("a directory");
    let (path, file) = path_in(&dir, "works");
    let script = format!("test -e {file} || exit 3; exec {}", stub());
    let gateway = Start::new(options).child(&["--", "sh", "-c", &script]).run();
    eventually_true(10 * SECOND, "it is not ready", || {
        // Clients do not come any more once it is not.
        gateway.admin("/readyz").status() == 503 && gateway.metric("child_failed_starts", "") >= 5
            || gateway.ask(&initialize(REVISION)).status() != 503
    });
    assert!(gateway.admin("/readyz").text().starts_with("not ready"), "{}", gateway.admin("/readyz").text());
    std::fs::write(path, "").expect("a file");
    eventually_true(15 * SECOND, "it is ready again", || gateway.admin("/readyz").status() == 200);
    gateway.open().echoes("it works");
}

#[test]
fn a_legacy_server_that_works_again_is_found_without_clients() {
    // Crash back-off: the gateway tries by itself, as nobody else does while it is not ready.
    recovers(&["--child-era", "legacy"]);
}

#[test]
fn a_server_of_unknown_revisions_that_works_again_is_found_without_clients() {
    // The same where it is asked which revisions it speaks.
    recovers(&["--child-era", "auto"]);
}

#[test]
fn a_shared_server_that_works_again_is_found_without_clients() {
    // The same with --children shared.
    recovers(&["--child-era", "legacy", "--children", "shared"]);
}
