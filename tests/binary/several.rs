//! Several servers behind one gateway, and a configuration that is read again while they serve.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::support::gateway::{Gateway, Start, path_in, stub};
use crate::support::http::Request;
use crate::support::modern;
use crate::support::proc::{eventually, eventually_true};
use crate::support::session::{Entry, Session, call, initialize, text_of};

const SECOND: Duration = Duration::from_secs(1);

/// A configuration of these servers, each the scripted child, and what is said of it beside.
fn config(servers: &[(&str, &str)]) -> String {
    servers.iter().map(|(name, more)| format!("[servers.{name}]\ncmd = [\"{}\"]\n{more}\n", stub())).collect()
}

fn start(dir: &TempDir, text: &str) -> (Gateway, PathBuf) {
    let (path, name) = path_in(dir, "gateway.toml");
    let text = format!("listen = \"127.0.0.1:0\"\n{text}");
    fs::write(&path, text).expect("written");
    (Start::new(&[]).child(&["--config", &name]).listens_by_file().run(), path)
}

fn at(name: &str) -> Entry {
    Entry::at(&format!("/servers/{name}/mcp"))
}

/// Has the gateway read another configuration, and waits until that is done.
#[track_caller]
fn reload(gateway: &Gateway, path: &Path, text: &str) {
    let text = format!("listen = \"127.0.0.1:0\"\n{text}");
    let before = gateway.metric("reloads_total", "done");
    fs::write(path, text).expect("written");
    gateway.signal(Signal::HUP);
    eventually_true(5 * SECOND, "the configuration is read again", || gateway.metric("reloads_total", "done") > before);
}

#[test]
fn each_server_has_its_own_path_sessions_environment_and_counts() {
    let dir = TempDir::new().expect("a folder");
    let one = "env = { WHO = \"one\" }\nmax_sessions = 1";
    let (gateway, _) = start(&dir, &config(&[("one", one), ("two", "env = { WHO = \"two\" }")]));
    let (first, second) = (Session::open_at(&gateway, &at("one")), Session::open_at(&gateway, &at("two")));
    let who = |session: &Session<'_>| text_of(&session.call("env", &json!({})));
    assert!(who(&first).contains("WHO=one\n") && who(&second).contains("WHO=two\n"));
    // Somebody else's session is as unknown as none.
    let foreign = at("two").own(Request::post(call("1", "1", "echo", &json!({}))).with("mcp-session-id", &first.id));
    assert_eq!(gateway.ask(&foreign).status(), 404);
    assert_eq!(gateway.ask(&at("one").own(initialize("2025-11-25"))).status(), 503);
    assert_eq!(gateway.ask(&at("two").own(initialize("2025-11-25"))).status(), 200);
    assert_eq!(gateway.ask(&initialize("2025-11-25")).status(), 404, "there is none without a name");
    assert_eq!(gateway.ask(&at("three").own(initialize("2025-11-25"))).status(), 404);
    assert_eq!(gateway.metric("sessions_active", "server=\"one\""), 1);
    assert_eq!(gateway.metric("sessions_active", "server=\"two\""), 2);
    let text = gateway.admin("/metrics").text();
    let described = text.lines().filter(|line| line.starts_with("# TYPE mcp_gateway_sessions_active ")).count();
    assert_eq!(described, 1, "{text}");
    assert_eq!(gateway.admin("/readyz/two").status(), 200);
    assert_eq!((gateway.admin("/readyz/one").status(), gateway.admin("/readyz").status()), (503, 503));
    assert!(gateway.admin("/readyz").text().contains("one: not ready: all sessions are in use"));
    assert_eq!(gateway.admin("/readyz/three").status(), 404);
}

#[test]
fn a_configuration_that_is_read_again_touches_what_it_changes_only() {
    let dir = TempDir::new().expect("a folder");
    let (gateway, path) = start(&dir, &config(&[("same", ""), ("other", ""), ("gone", "")]));
    let sessions = ["same", "other", "gone"].map(|name| Session::open_at(&gateway, &at(name)));
    let [same, other, gone] = &sessions;
    let mut held = other.send(&call("7", "7", "sleep", &json!({ "ms": 1500 })));
    let sent = || gateway.metric("messages_total", "server=\"other\",direction=\"to_child\",kind=\"request\"");
    eventually_true(5 * SECOND, "the call is in flight", || sent() == 2);
    reload(&gateway, &path, &config(&[("same", ""), ("other", "max_calls = 7"), ("new", "")]));
    same.echoes("still here");
    Session::open_at(&gateway, &at("new")).echoes("new");
    assert_eq!(gateway.ask(&gone.post(call("1", "1", "echo", &json!({})))).status(), 404);
    // What was in flight goes on; its session takes nothing new, and the next one is the new server's.
    assert_eq!(gateway.ask(&other.post(call("8", "8", "echo", &json!({})))).status(), 404);
    Session::open_at(&gateway, &at("other")).echoes("anew");
    assert_eq!(other.tell(r#"{"jsonrpc":"2.0","method":"notifications/tell"}"#).status(), 202);
    assert!(held.reply().expect("an answer").text().contains("slept"));
    eventually_true(5 * SECOND, "the servers that were replaced end", || gateway.children().len() == 3);
    same.echoes("still here");
}

#[test]
fn five_reloads_under_load_cut_and_lose_nothing_of_a_server_that_stays() {
    let dir = TempDir::new().expect("a folder");
    let of = |calls: usize| config(&[("same", ""), ("other", &format!("max_calls = {calls}"))]);
    let (gateway, path) = start(&dir, &of(10));
    let session = Session::open_at(&gateway, &at("same"));
    let heard = session.listen().1.heard();
    let (called, asked, has_ended) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let until_the_end = |count: &AtomicUsize, one: &mut dyn FnMut(usize)| {
        while !has_ended.load(Ordering::Relaxed) {
            one(count.load(Ordering::Relaxed));
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        // Each call has an answer, and an update on the GET stream.
        let legacy = scope.spawn(|| {
            until_the_end(&called, &mut |turn| {
                let answer = session.call("chat", &json!({ "text": turn, "uri": "own:x" }));
                assert_eq!(answer["result"]["content"][0]["text"], turn, "{answer}");
            });
        });
        // One connection, from the first call to the last.
        let modern = scope.spawn(|| {
            let mut connection = gateway.connect();
            until_the_end(&asked, &mut |turn| {
                let call = modern::call(1, "echo", &json!({ "text": turn }), &json!({}), &json!({}));
                let answer = connection.exchange(&at("same").own(call)).json();
                assert_eq!(answer["result"]["content"][0]["text"], turn, "{answer}");
            });
        });
        let reloads = scope.spawn(|| {
            for round in 1..=5 {
                reload(&gateway, &path, &of(10 + round));
                let done = [&called, &asked].map(|count| count.load(Ordering::Relaxed));
                let goes_on = || [&called, &asked].iter().zip(done).all(|(count, done)| count.load(Ordering::Relaxed) > done + 5);
                eventually_true(10 * SECOND, "both go on", goes_on);
            }
        });
        let reloads = reloads.join();
        has_ended.store(true, Ordering::Relaxed);
        let ended = [legacy.join(), modern.join()];
        assert!(reloads.is_ok() && ended.iter().all(Result::is_ok));
    });
    for turn in 0..called.into_inner() {
        assert_eq!(heard.recv_timeout(10 * SECOND).expect("an update")["params"]["said"], turn);
    }
    assert_eq!(gateway.metric("messages_lost_total", ""), 0);
    let started = gateway.metric("child_spawns_total", "server=\"same\"");
    assert_eq!(started, 2, "a process of the session, and one of modern clients");
}

#[test]
fn a_bad_configuration_changes_nothing_and_says_why() {
    let dir = TempDir::new().expect("a folder");
    let good = config(&[("same", "")]);
    let (gateway, path) = start(&dir, &good);
    let session = Session::open_at(&gateway, &at("same"));
    let there = |address: &str| format!("listen = \"{address}\"\n{good}");
    for (at, (text, reason)) in [
        (there("0.0.0.0:1"), "allowed_host"),
        // It was checked against an address that is not the one in use.
        (there("127.0.0.2:0"), "cannot change"),
        (config(&[("same", "max_sesions = 3")]), "max_sessions"),
        (config(&[("same", "bearer_tokens = \"/nonexistent\"")]), "/nonexistent"),
        ("not toml".to_owned(), "gateway.toml:1:"),
    ]
    .iter()
    .enumerate()
    {
        fs::write(&path, text).expect("written");
        gateway.signal(Signal::HUP);
        let refused = || gateway.metric("reloads_total", "refused");
        eventually_true(5 * SECOND, reason, || refused() == at as u64 + 1);
        let told = || gateway.log().into_iter().find(|line| line.contains("stays") && line.contains(reason));
        eventually(SECOND, reason, told);
        session.echoes("as before");
    }
    reload(&gateway, &path, &good);
    session.echoes("as before");
}

#[test]
fn a_session_that_was_being_opened_when_its_server_was_replaced_is_not_left_behind() {
    let dir = TempDir::new().expect("a folder");
    let slow = |more: &str| format!("[servers.slow]\ncmd = [\"sh\", \"-c\", \"sleep 1; exec {}\"]\n{more}\n", stub());
    let (gateway, path) = start(&dir, &slow(""));
    let mut opening = gateway.connect();
    opening.send(&at("slow").own(initialize("2025-11-25")).bytes()).expect("sent");
    eventually_true(5 * SECOND, "its process is there", || gateway.children().len() == 1);
    reload(&gateway, &path, &slow("max_calls = 7"));
    // It began with the server before; what it opened takes no request, and ends with that.
    let reply = opening.reply().expect("an answer");
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let id = reply.head.field("mcp-session-id").expect("a session").to_owned();
    let ask = at("slow").own(Request::post(call("1", "1", "echo", &json!({})))).with("mcp-session-id", &id);
    assert_eq!(gateway.ask(&ask).status(), 404);
    eventually_true(10 * SECOND, "nothing of it is left", || gateway.children().is_empty());
    assert_eq!(gateway.metric("sessions_active", ""), 0);
}
