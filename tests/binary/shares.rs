//! What one principal may have, whatever way it asks; and that nothing of it is left when it may not enter any more.

use std::fs;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::modern;
use crate::support::proc::eventually_true;
use crate::support::session::{Session, call, initialize};
use crate::support::tokens::{Tokens, by};

const SECOND: Duration = Duration::from_secs(1);

fn sleep(id: usize, ms: u64) -> String {
    call(&id.to_string(), &id.to_string(), "sleep", &json!({ "ms": ms }))
}

/// Requests that the server was sent, its `initialize` among them.
fn sent(gateway: &Gateway) -> u64 {
    gateway.metric("messages_total", "direction=\"to_child\",kind=\"request\"")
}

#[test]
fn each_call_of_a_batch_counts() {
    let tokens = Tokens::new();
    let alice = tokens.add("alice");
    let gateway = tokens.serve(&["--max-principal-calls", "3", "--max-principal-rate", "5"]);
    let reply = gateway.ask(&by(&alice).own(initialize("2025-03-26")));
    let id = reply.head.field("mcp-session-id").expect("a session").to_owned();
    let own = |body: String| by(&alice).own(Request::post(body)).with("mcp-session-id", &id);
    assert_eq!(gateway.ask(&own(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned())).status(), 202);
    let batch = |count: usize, ms: u64| format!("[{}]", (1..=count).map(|at| sleep(at, ms)).collect::<Vec<_>>().join(","));
    let refused = gateway.ask(&own(batch(4, 0)));
    assert_eq!(refused.status(), 429);
    assert!(refused.text().contains("--max-principal-calls"), "{}", refused.text());
    let mut held = gateway.connect();
    held.send(&own(batch(3, 1500)).bytes()).expect("sent");
    eventually_true(5 * SECOND, "they are in flight", || sent(&gateway) == 4);
    assert!(gateway.ask(&own(sleep(9, 0))).text().contains("--max-principal-calls"));
    assert_eq!(held.reply().expect("answers").status(), 200);
    // Five a second: `initialize` and these three were in the last two, and the rest has come back.
    let fast = (0..20).map(|_| gateway.ask(&own(batch(3, 0)))).find(|reply| reply.status() == 429).expect("a bound");
    assert!(fast.text().contains("--max-principal-rate"), "{}", fast.text());
}

#[test]
fn a_call_whose_client_has_left_counts_until_it_is_answered() {
    let tokens = Tokens::new();
    let (alice, bob) = (tokens.add("alice"), tokens.add("bob"));
    for options in [&[][..], &["--children", "shared"], &["--response", "json"]] {
        let gateway = tokens.serve(&[&["--max-principal-calls", "2"], options].concat());
        let hers = Session::open_at(&gateway, &by(&alice));
        let before = sent(&gateway);
        let held = [1, 2].map(|at| hers.send(&sleep(at, 2000)));
        eventually_true(5 * SECOND, "both are in flight", || sent(&gateway) == before + 2);
        drop(held);
        let ask = || gateway.ask(&hers.post(call("3", "3", "echo", &json!({ "text": "" })))).status();
        assert_eq!(ask(), 429, "{options:?}");
        Session::open_at(&gateway, &by(&bob)).echoes("his");
        eventually_true(5 * SECOND, "they are answered", || ask() == 200);
    }
}

#[test]
fn http_with_sse_is_within_the_share_too() {
    let tokens = Tokens::new();
    let alice = tokens.add("alice");
    let gateway = tokens.serve(&["--max-principal-calls", "2", "--max-principal-sessions", "1"]);
    let open = || by(&alice).own(Request::get()).to("/mcp/sse");
    let (head, mut events) = gateway.connect().stream(&open());
    assert_eq!(head.status, 200);
    assert_eq!(gateway.ask(&open()).status(), 429, "a stream is a session, also before it is opened");
    let target = String::from_utf8(events.next().expect("the first event").data).expect("text");
    let post = |body: String| gateway.ask(&by(&alice).own(Request::post(body)).to(&target)).status();
    let hello = json!({
        "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": { "name": "old", "version": "0" },
    });
    assert_eq!(post(json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello }).to_string()), 202);
    events.message().expect("the answer");
    assert_eq!(post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned()), 202);
    assert_eq!([post(sleep(1, 1500)), post(sleep(2, 1500)), post(sleep(3, 0))], [202, 202, 429]);
    events.message().expect("an answer");
    eventually_true(5 * SECOND, "there is room again", || post(sleep(4, 0)) == 202);
    drop(events);
    eventually_true(5 * SECOND, "the share is free with the stream", || {
        gateway.ask(&by(&alice).own(initialize("2025-11-25"))).status() == 200
    });
}

#[test]
fn subscriptions_and_streams_without_a_session_end_with_their_token() {
    let tokens = Tokens::new();
    let (alice, bob) = (tokens.add("alice"), tokens.add("bob"));
    let gateway = tokens.serve(&["--initialize-timeout", "10m"]);
    let listen = |who: &str| {
        let asked = modern::ask(1, "subscriptions/listen", json!({ "notifications": { "toolsListChanged": true } }), &json!({}));
        gateway.connect().stream(&by(who).own(asked))
    };
    let ((_, mut hers), (_, mut his)) = (listen(&alice), listen(&bob));
    let (_, mut stream) = gateway.connect().stream(&by(&alice).own(Request::get()).to("/mcp/sse"));
    for events in [&mut hers, &mut his, &mut stream] {
        events.next().expect("its first event");
    }
    let text = fs::read_to_string(&tokens.path).expect("text");
    let kept: String = text.lines().filter(|line| !line.starts_with("alice ")).map(|line| format!("{line}\n")).collect();
    fs::write(&tokens.path, kept).expect("written");
    gateway.signal(Signal::HUP);
    for (what, heard) in [("her subscription ends", hers.heard()), ("her stream ends", stream.heard())] {
        eventually_true(10 * SECOND, what, || heard.try_recv() == Err(TryRecvError::Disconnected));
    }
    eventually_true(5 * SECOND, "her process ends, and his does not", || gateway.children().len() == 1);
    eventually_true(5 * SECOND, "his subscription goes on", || gateway.metric("listens_active", "") == 1);
}
