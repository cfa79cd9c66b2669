//! Two principals in front of one server: no process serves both, and what one of them has is nothing that the other can hear, end
//! or go on with.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::support::gateway::{Gateway, Start, path_in, stub};
use crate::support::http::{Reply, Request};
use crate::support::modern;
use crate::support::proc::eventually_true;
use crate::support::records::records;
use crate::support::session::{Entry, Session, call, initialize};
use crate::support::tokens::{Tokens, by};

const SECOND: Duration = Duration::from_secs(1);
/// The scripted child is of the one or of the other.
const ERAS: [&str; 2] = ["legacy", "modern"];

struct Site {
    gateway: Gateway,
    era: &'static str,
    alice: String,
    bob: String,
    log: PathBuf,
    _tokens: Tokens,
}

impl Site {
    fn new(era: &'static str, options: &[&str]) -> Site {
        let tokens = Tokens::new();
        let (alice, bob) = (tokens.add("alice"), tokens.add("bob"));
        let (log, log_name) = path_in(&tokens.dir, "log");
        let shared = format!("STUB_LOG={log_name}");
        let own = ["--bearer-tokens", &tokens.name, "--child-era", era, "--env", &shared];
        let gateway = Start::new(&[&own[..], options].concat()).child(&["--", &stub(), era]).run();
        Site { gateway, era, alice, bob, log, _tokens: tokens }
    }

    /// A modern client's call of a tool.
    #[track_caller]
    fn calls(&self, token: &str, tool: &str, arguments: &Value, capabilities: &Value) {
        let request = modern::call(1, tool, arguments, capabilities, &json!({}));
        let reply = self.gateway.ask(&by(token).own(request));
        assert!(reply.json()["result"]["content"].is_array(), "{}", reply.text());
    }

    fn said(&self, words: &str) -> usize {
        records(&self.log).iter().filter(|(_, said)| said.starts_with(words)).count()
    }

    /// How many processes each of them had; none may be both's.
    #[track_caller]
    fn processes(&self) -> (usize, usize) {
        let marked = |who: &str| -> BTreeSet<i32> {
            let words = format!("mark {who}");
            records(&self.log).into_iter().filter(|(_, said)| *said == words).map(|(pid, _)| pid).collect()
        };
        let (hers, his) = (marked("alice"), marked("bob"));
        assert!(hers.is_disjoint(&his), "{}: {hers:?} {his:?}", self.era);
        (hers.len(), his.len())
    }
}

#[test]
fn modern_calls_of_two_principals_never_run_in_one_process_and_those_of_one_do() {
    for era in ERAS {
        let site = Site::new(era, &[]);
        let mark = |capabilities: &Value| {
            thread::scope(|scope| {
                for _ in 0..10 {
                    scope.spawn(|| site.calls(&site.alice, "mark", &json!({ "text": "alice" }), capabilities));
                    scope.spawn(|| site.calls(&site.bob, "mark", &json!({ "text": "bob" }), capabilities));
                }
            });
        };
        mark(&json!({}));
        assert_eq!(site.processes(), (1, 1), "{era}");
        assert_eq!(site.gateway.children().len(), 2, "{era}");
        // In front of a legacy server these run alone, each in whatever process is free.
        mark(&json!({ "elicitation": {} }));
        site.processes();
        assert_eq!(site.said("mark"), 40, "{era}");
    }
}

#[test]
fn sessions_of_two_principals_never_share_a_process_and_those_of_one_do() {
    for era in ERAS {
        let site = Site::new(era, &["--children", "shared"]);
        let entries = [("alice", by(&site.alice)), ("bob", by(&site.bob))];
        for _ in 0..3 {
            for (who, entry) in &entries {
                let session = Session::open_at(&site.gateway, entry);
                assert!(session.call("mark", &json!({ "text": who }))["result"]["content"].is_array());
            }
        }
        assert_eq!((site.said("mark"), site.processes()), (6, (1, 1)), "{era}");
        assert_eq!(site.gateway.children().len(), 2, "{era}");
    }
}

/// Whoever shows that token listens to a resource.
#[track_caller]
fn listen(site: &Site, token: &str) -> Receiver<Value> {
    let wanted = json!({ "notifications": { "resourceSubscriptions": ["own:x"] } });
    let request = modern::ask(7, "subscriptions/listen", wanted, &json!({}));
    let (head, events) = site.gateway.connect().stream(&by(token).own(request));
    assert_eq!(head.status, 200);
    let heard = events.heard();
    assert_eq!(next(&heard)["method"], "notifications/subscriptions/acknowledged");
    heard
}

/// The child of that client tells of the resource. A modern one names the subscription: here all that there could be.
#[track_caller]
fn tell(site: &Site, token: &str, said: &str) {
    let line = |id: u64| {
        let params = json!({ "uri": "own:x", "said": said, "_meta": { "io.modelcontextprotocol/subscriptionId": id } });
        format!("{}\n", json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params }))
    };
    let lines: String = (0..if site.era == "modern" { 100 } else { 1 }).map(line).collect();
    site.calls(token, "write", &json!({ "text": lines }), &json!({}));
}

#[track_caller]
fn next(heard: &Receiver<Value>) -> Value {
    heard.recv_timeout(20 * SECOND).expect("a message")
}

#[track_caller]
fn said(heard: &Receiver<Value>) -> Value {
    next(heard)["params"]["said"].clone()
}

#[test]
fn a_subscription_hears_nothing_of_what_another_principals_child_tells() {
    for era in ERAS {
        let site = Site::new(era, &[]);
        let (hers, too, his) = (listen(&site, &site.alice), listen(&site, &site.alice), listen(&site, &site.bob));
        tell(&site, &site.bob, "his");
        assert_eq!(said(&his), "his", "{era}");
        tell(&site, &site.alice, "hers");
        assert_eq!((said(&hers), said(&too)), (json!("hers"), json!("hers")), "{era}");
        tell(&site, &site.bob, "his again");
        assert_eq!(said(&his), "his again", "{era}");
    }
}

/// Whoever shows that token cancels what has the id 7: as a modern client, and in a session.
#[track_caller]
fn cancel(site: &Site, token: &str) {
    let body = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
    let modern = Request::post(body).with("mcp-protocol-version", "2026-07-28").with("mcp-method", "notifications/cancelled");
    assert_eq!(site.gateway.ask(&by(token).own(modern)).status(), 202);
    assert_eq!(Session::open_at(&site.gateway, &by(token)).tell(body).status(), 202);
}

#[test]
fn nobody_cancels_what_another_principal_has_asked_for() {
    for era in ERAS {
        let site = Site::new(era, &["--children", "shared"]);
        let watch = modern::call(7, "watch", &json!({}), &json!({}), &json!({}));
        let (_, mut call_of_hers) = site.gateway.connect().stream(&by(&site.alice).own(watch));
        let session = Session::open_at(&site.gateway, &by(&site.alice));
        let (_, mut call_of_session) = session.stream(&call("7", "1", "watch", &json!({})));
        for running in [&mut call_of_hers, &mut call_of_session] {
            assert_eq!(running.message().expect("progress").json()["method"], "notifications/progress", "{era}");
        }
        let subscription = listen(&site, &site.alice);
        cancel(&site, &site.bob);
        // Her children have read all that they were told before.
        tell(&site, &site.alice, "still hers");
        session.echoes("still hers");
        assert_eq!(said(&subscription), "still hers", "{era}");
        assert_eq!(site.said("cancelled"), 0, "{era}");
        drop(call_of_hers);
        session.tell(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#);
        eventually_true(5 * SECOND, "she cancels her own", || site.said("cancelled") == 2);
    }
}

#[test]
fn a_call_that_asked_is_gone_on_with_by_its_own_principal_only() {
    for era in ERAS {
        let site = Site::new(era, &[]);
        let asked = |more: &Value| modern::call(1, "interview", &json!({ "name": "a" }), &json!({ "elicitation": {} }), more);
        let answer = site.gateway.ask(&by(&site.alice).own(asked(&json!({})))).json();
        let state = answer["result"]["requestState"].as_str().expect("a state");
        let questions = answer["result"]["inputRequests"].as_object().expect("questions");
        let said = json!({ "action": "accept", "content": { "said": "hers" } });
        let responses: Map<String, Value> = questions.keys().map(|key| (key.clone(), said.clone())).collect();
        let retry = |token: &str, state: &str| {
            let more = json!({ "requestState": state, "inputResponses": responses });
            site.gateway.ask(&by(token).own(asked(&more)))
        };
        let (foreign, none) = (retry(&site.bob, state), retry(&site.bob, "g1.AAAA"));
        assert_eq!(foreign.status(), 400, "{era}");
        assert_eq!(foreign.undated(), none.undated(), "{era}");
        let good = retry(&site.alice, state);
        assert_eq!(good.json()["result"]["resultType"], "input_required", "{era}, the second round: {}", good.text());
    }
}

#[test]
fn a_message_endpoint_of_http_with_sse_is_another_principals_byte_for_byte_as_if_it_were_none() {
    let site = Site::new("legacy", &[]);
    let says = |token: &str, target: &str, request: &Request| -> Reply {
        site.gateway.ask(&Entry::at(target).with(token).own(request.clone()))
    };
    let (_, mut hers) = site.gateway.connect().stream(&Entry::at("/mcp/sse").with(&site.alice).own(Request::get()));
    let endpoint = String::from_utf8(hers.message().expect("an endpoint").data).expect("text");
    let hers = hers.heard();
    let (path, id) = endpoint.split_once("sessionId=").expect("an id");
    let unknown = format!("{path}sessionId={}", "0".repeat(id.len()));
    let echo = call("1", "1", "echo", &json!({ "text": "hers" }));
    let messages = [
        initialize("2024-11-05"),
        Request::post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#),
        Request::post(echo.as_str()),
        Request::post(format!("[{echo}]")),
    ];
    let broken = [Request::post("no message"), Request::post(echo.as_str()).with("content-type", "text/plain"), Request::get()];
    let bob_is_told_nothing = || {
        for request in messages.iter().chain(&broken) {
            let (foreign, none) = (says(&site.bob, &endpoint, request), says(&site.bob, &unknown, request));
            assert_eq!(foreign.undated(), none.undated(), "{request:?}");
        }
        messages.iter().for_each(|request| assert_eq!(says(&site.bob, &endpoint, request).status(), 404, "{request:?}"));
    };
    bob_is_told_nothing();
    assert_eq!(says(&site.alice, &endpoint, &messages[0]).status(), 202);
    let opened = next(&hers);
    assert_eq!(opened["result"]["protocolVersion"], "2024-11-05", "{opened}");
    assert_eq!(says(&site.alice, &endpoint, &messages[1]).status(), 202);
    bob_is_told_nothing();
    assert_eq!(says(&site.alice, &endpoint, &messages[2]).status(), 202);
    let answer = next(&hers);
    assert_eq!(answer["result"]["content"][0]["text"], "hers", "nothing has come between: {answer}");
}
