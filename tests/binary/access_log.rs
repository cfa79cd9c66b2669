//! The access log: one line a request, with who asked whom for what, how that ended, and how large it was.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::http::{Reply, Request};
use crate::support::http2::{block_on, connect};
use crate::support::modern;
use crate::support::proc::eventually;
use crate::support::session::{Session, call, initialize};
use crate::support::tokens::{Tokens, by};

const SECOND: Duration = Duration::from_secs(1);

/// What a line must say of a request: principal, method, tool and status.
type Said<'a> = (&'a str, &'a str, Option<&'a str>, u16);

/// The lines, in the order in which requests ended.
struct Lines<'a> {
    gateway: &'a Gateway,
    read: usize,
}

impl Lines<'_> {
    fn all(&self) -> Vec<Value> {
        let lines = self.gateway.log().into_iter().map(|line| serde_json::from_str(&line).expect("JSON"));
        lines.filter(|line: &Value| line["target"] == "access").collect()
    }

    /// The next line is about that.
    #[track_caller]
    fn next(&mut self, (principal, method, tool, status): Said<'_>) -> Value {
        let line = eventually(5 * SECOND, "a line", || self.all().get(self.read).cloned());
        self.read += 1;
        assert_eq!(line["principal"], principal, "{line}");
        assert_eq!(line["server"], "default", "{line}");
        assert_eq!((&line["method"], line["tool"].as_str()), (&json!(method), tool), "{line}");
        assert_eq!(line["status"], status, "{line}");
        assert!(line["duration_ms"].as_f64().is_some_and(|took| (0.0..60_000.0).contains(&took)), "{line}");
        line
    }

    /// The next line is about that, and this is what was sent and answered.
    #[track_caller]
    fn sized(&mut self, said: Said<'_>, request: usize, reply: &Reply) -> Value {
        let line = self.next(said);
        assert_eq!((&line["request_bytes"], &line["response_bytes"]), (&json!(request), &json!(reply.body.len())), "{line}");
        line
    }
}

fn start(tokens: &Tokens) -> Gateway {
    tokens.serve(&["--access-log", "--log-format", "json"])
}

#[test]
fn each_request_has_one_line_with_who_asked_for_what_how_it_ended_and_its_sizes() {
    let tokens = Tokens::new();
    let (alice, bob) = (tokens.add("alice"), tokens.add("bob"));
    let gateway = start(&tokens);
    let mut lines = Lines { gateway: &gateway, read: 0 };
    let session = Session::open_at(&gateway, &by(&alice));
    lines.next(("alice", "initialize", None, 200));
    lines.next(("alice", "notifications/initialized", None, 202));
    let body = call("1", "1", "echo", &json!({ "text": "x" }));
    let reply = gateway.ask(&session.post(body.as_str()));
    lines.sized(("alice", "tools/call", Some("echo"), 200), body.len(), &reply);
    // Logged when the last byte was handed over: its child takes five times ten milliseconds.
    let body = call("2", "2", "progress", &json!({ "count": 5, "us": 10_000 }));
    let reply = gateway.ask(&session.post(body.as_str()));
    assert!(reply.head.is_event_stream());
    let line = lines.sized(("alice", "tools/call", Some("progress"), 200), body.len(), &reply);
    assert!(line["duration_ms"].as_f64().is_some_and(|took| took >= 50.0), "{line}");
    let reply = gateway.ask(&by(&bob).own(modern::call(3, "echo", &json!({ "text": "y" }), &json!({}), &json!({}))));
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let line = lines.next(("bob", "tools/call", Some("echo"), 200));
    assert!(line["request_bytes"].as_u64() > Some(0) && line["response_bytes"] == reply.body.len(), "{line}");
    drop(session.listen());
    lines.next(("alice", "GET", None, 200));
    let reply = gateway.ask(&session.own(Request::delete()));
    lines.sized(("alice", "DELETE", None, 200), 0, &reply);
    assert_eq!(lines.all().len(), lines.read, "one line a request");
}

#[test]
fn a_batch_is_one_line_with_all_that_it_asks_for() {
    let tokens = Tokens::new();
    let alice = tokens.add("alice");
    let gateway = start(&tokens);
    let mut lines = Lines { gateway: &gateway, read: 0 };
    let opened = gateway.ask(&by(&alice).own(initialize("2025-03-26")));
    lines.next(("alice", "initialize", None, 200));
    let body = format!(r#"[{},{{"jsonrpc":"2.0","id":2,"method":"ping"}}]"#, call("1", "1", "echo", &json!({ "text": "x" })));
    let id = opened.head.field("mcp-session-id").expect("a session");
    let reply = gateway.ask(&by(&alice).own(Request::post(body.as_str())).with("mcp-session-id", id));
    assert_eq!(reply.status(), 200, "{}", reply.text());
    lines.sized(("alice", "tools/call,ping", Some("echo"), 200), body.len(), &reply);
    assert_eq!(lines.all().len(), lines.read, "one line a request");
}

#[test]
fn a_request_over_http_2_has_its_line_too() {
    let tokens = Tokens::new();
    let alice = tokens.add("alice");
    let gateway = start(&tokens);
    let mut lines = Lines { gateway: &gateway, read: 0 };
    let session = Session::open_at(&gateway, &by(&alice));
    lines.next(("alice", "initialize", None, 200));
    lines.next(("alice", "notifications/initialized", None, 202));
    let body = call("1", "1", "echo", &json!({ "text": "x" }));
    let answered = block_on(async {
        let request = hyper::Request::post(format!("http://{}/mcp", gateway.address()))
            .header("authorization", format!("Bearer {alice}"))
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .header("mcp-session-id", &session.id)
            .body(Full::from(Bytes::from(body.clone())))
            .expect("a request");
        let response = connect(&gateway).await.send_request(request).await.expect("a response");
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.expect("a body").to_bytes().len()
    });
    let line = lines.next(("alice", "tools/call", Some("echo"), 200));
    assert_eq!((&line["request_bytes"], &line["response_bytes"]), (&json!(body.len()), &json!(answered)), "{line}");
}

#[test]
fn who_shows_no_good_token_is_logged_as_nobody() {
    let tokens = Tokens::new();
    tokens.add("alice");
    let gateway = start(&tokens);
    let mut lines = Lines { gateway: &gateway, read: 0 };
    let body = call("1", "1", "echo", &json!({ "text": "x" }));
    let request = Request::post(body.as_str());
    for request in [request.clone(), by("mcpgw_wrong").own(request)] {
        let reply = gateway.ask(&request);
        assert_eq!(reply.status(), 401);
        lines.sized(("anonymous", "POST", None, 401), body.len(), &reply);
    }
}

#[test]
fn who_was_let_in_and_then_refused_is_named() {
    let tokens = Tokens::new();
    let alice = tokens.add("alice");
    let gateway = start(&tokens);
    let mut lines = Lines { gateway: &gateway, read: 0 };
    let hers = |request: Request| by(&alice).own(request);
    let body = call("1", "1", "echo", &json!({ "text": "x" }));
    let unknown = "00000000000000000000000000000000";
    for (request, status) in [
        (hers(Request::post(body.as_str())).with("mcp-session-id", unknown), 404),
        (hers(Request::post(body.as_str())).with("content-type", "text/plain"), 415),
        (hers(Request::post(body.as_str())).with("content-encoding", "gzip"), 415),
        (hers(Request::post(body.as_str())).with("accept", "text/html"), 406),
    ] {
        let reply = gateway.ask(&request);
        assert_eq!(reply.status(), status, "{}", reply.text());
        lines.sized(("alice", "POST", None, status), body.len(), &reply);
    }
    let reply = gateway.ask(&hers(Request::new("DELETE", "/mcp")));
    assert_eq!(reply.status(), 400);
    lines.sized(("alice", "DELETE", None, 400), 0, &reply);
    let reply = gateway.ask(&hers(Request::new("PUT", "/mcp")));
    assert_eq!(reply.status(), 405);
    lines.sized(("alice", "_OTHER", None, 405), 0, &reply);
}
