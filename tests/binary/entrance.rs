//! Who may enter: tokens, what belongs to whom, what one principal may have, and that no secret is anywhere.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::gateway::{Gateway, Start, path_in};
use crate::support::http::{Reply, Request};
use crate::support::proc::eventually_true;
use crate::support::session::{Session, call, initialize};
use crate::support::tokens::{Tokens, by};

const SECOND: Duration = Duration::from_secs(1);

fn unauthorized(reply: &Reply, challenge: &str) {
    assert_eq!(reply.status(), 401, "{}", reply.text());
    assert_eq!(reply.head.field("www-authenticate"), Some(challenge));
    assert_eq!(reply.json()["error"]["code"], -32600);
}

#[test]
fn a_token_is_shown_or_nothing_is_served() {
    let tokens = Tokens::new();
    let (alice, bob) = (tokens.add("alice"), tokens.add("bob"));
    assert_eq!(fs::metadata(&tokens.path).expect("a file").permissions().mode() & 0o777, 0o600);
    let file = fs::read_to_string(&tokens.path).expect("text");
    assert!(file.starts_with("key ") && !file.contains(&alice) && !file.contains(&bob), "hashes only");
    let gateway = tokens.serve(&[]);
    let plain = r#"Bearer realm="default""#;
    let wrong = r#"Bearer realm="default", error="invalid_token""#;
    let ask = |request: Request| gateway.ask(&request);
    for request in [initialize("2025-11-25"), Request::get(), Request::delete(), Request::new("PUT", "/mcp")] {
        unauthorized(&ask(request), plain);
    }
    for value in ["Bearer mcpgw_wrong", &format!("Bearer {alice}x"), &format!("Basic {alice}"), "Bearer", &alice] {
        unauthorized(&ask(initialize("2025-11-25").with("authorization", value)), wrong);
    }
    let twice = initialize("2025-11-25").with("authorization", &format!("Bearer {alice}"));
    unauthorized(&ask(twice.clone().with("x-api-key", &bob)), wrong);
    unauthorized(&ask(twice.clone().and("authorization", &format!("Bearer {alice}"))), wrong);
    assert_eq!(gateway.children().len(), 0, "nothing was started");
    assert_eq!(ask(twice.with("x-api-key", &alice)).status(), 200);
    assert_eq!(ask(initialize("2025-11-25").with("x-api-key", &alice)).status(), 200);
    assert_eq!(ask(initialize("2025-11-25").with("authorization", &format!("bearer  {bob}"))).status(), 200);
    // A connection that was let in lets nobody else in.
    let mut connection = gateway.connect();
    assert_eq!(connection.exchange(&by(&alice).own(initialize("2025-11-25"))).status(), 200);
    unauthorized(&connection.exchange(&by("mcpgw_wrong").own(initialize("2025-11-25"))), wrong);
    unauthorized(&connection.exchange(&initialize("2025-11-25")), plain);
    assert_eq!(connection.exchange(&by(&bob).own(initialize("2025-11-25"))).status(), 200);
}

#[test]
fn cve_2026_52869_what_one_principal_opened_is_unknown_to_another_byte_for_byte() {
    // CVE-2026-52869: sessions, streams and resumes belong to whoever opened them.
    let tokens = Tokens::new();
    let (alice, bob) = (tokens.add("alice"), tokens.add("bob"));
    let gateway = tokens.serve(&["--response", "sse"]);
    let session = Session::open_at(&gateway, &by(&alice));
    let (_, mut events) = session.stream(&call("1", "1", "echo", &json!({ "text": "hers" })));
    let event = std::iter::from_fn(|| events.message()).last().expect("an event").id;
    let unknown = "00000000000000000000000000000000";
    let of =
        |id: &str, request: Request| by(&bob).own(request).with("mcp-session-id", id).with("mcp-protocol-version", "2025-11-25");
    for request in [
        Request::post(call("1", "1", "echo", &json!({}))),
        Request::post(r#"{"jsonrpc":"2.0","method":"notifications/tell"}"#),
        Request::get(),
        Request::get().with("last-event-id", &event),
        Request::delete(),
        initialize("2025-11-25"),
    ] {
        let (foreign, none) = (gateway.ask(&of(&session.id, request.clone())), gateway.ask(&of(unknown, request.clone())));
        assert_eq!(foreign.status(), 404);
        assert_eq!(foreign.undated(), none.undated(), "{request:?}");
    }
    session.echoes("still hers");
    // A second token of hers is hers.
    let other = tokens.add("alice");
    gateway.signal(Signal::HUP);
    eventually_true(5 * SECOND, "the tokens are read again", || gateway.metric("reloads_total", "done") == 1);
    let again =
        by(&other).own(Request::post(call("2", "2", "echo", &json!({ "text": "too" })))).with("mcp-session-id", &session.id);
    assert_eq!(gateway.ask(&again).status(), 200);
}

#[test]
fn a_token_that_is_taken_back_ends_what_it_opened() {
    let tokens = Tokens::new();
    let (alice, bob) = (tokens.add("alice"), tokens.add("bob"));
    let gateway = tokens.serve(&[]);
    let (hers, his) = (Session::open_at(&gateway, &by(&alice)), Session::open_at(&gateway, &by(&bob)));
    let (_, mut stream) = hers.listen();
    let kept: String = fs::read_to_string(&tokens.path)
        .expect("text")
        .lines()
        .filter(|line| !line.starts_with("alice "))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&tokens.path, kept).expect("written");
    gateway.signal(Signal::HUP);
    eventually_true(5 * SECOND, "the tokens are read again", || gateway.metric("reloads_total", "done") == 1);
    while stream.message().is_some() {}
    assert_eq!(gateway.ask(&hers.post(call("1", "1", "echo", &json!({})))).status(), 401);
    his.echoes("still his");
    eventually_true(5 * SECOND, "her process ends", || gateway.children().len() == 1);
    assert_eq!(gateway.metric("sessions_closed_total", "revoked"), 1);
    fs::write(&tokens.path, "no key\n").expect("written");
    gateway.signal(Signal::HUP);
    eventually_true(5 * SECOND, "the file is refused", || gateway.metric("reloads_total", "refused") == 1);
    his.echoes("as before");
}

#[test]
fn one_principals_share_is_bounded_and_the_others_go_on() {
    let tokens = Tokens::new();
    let (alice, bob) = (tokens.add("alice"), tokens.add("bob"));
    let gateway = tokens.serve(&["--max-principal-sessions", "2", "--max-principal-calls", "3", "--max-principal-rate", "50"]);
    let hers = Session::open_at(&gateway, &by(&alice));
    let second = Session::open_at(&gateway, &by(&alice));
    let refused = |reply: &Reply, flag: &str| {
        assert_eq!(reply.status(), 429, "{}", reply.text());
        assert!(reply.head.field("retry-after").is_some() && reply.text().contains(flag), "{}", reply.text());
    };
    refused(&gateway.ask(&by(&alice).own(initialize("2025-11-25"))), "--max-principal-sessions");
    let his = Session::open_at(&gateway, &by(&bob));
    second.delete();
    eventually_true(5 * SECOND, "there is room again", || gateway.ask(&by(&alice).own(initialize("2025-11-25"))).status() == 200);
    let mut held: Vec<_> = (0..3).map(|_| hers.send(&call("1", "1", "sleep", &json!({ "ms": 2000 })))).collect();
    let sent = || gateway.metric("messages_total", "direction=\"to_child\",kind=\"request\"");
    eventually_true(5 * SECOND, "three are in flight", || sent() >= 7);
    refused(&gateway.ask(&hers.post(call("2", "2", "echo", &json!({})))), "--max-principal-calls");
    his.echoes("his");
    held.iter_mut().for_each(|call| assert_eq!(call.reply().expect("an answer").status(), 200));
    let mut connection = gateway.connect();
    let mut burst = || connection.exchange(&hers.post(call("3", "3", "echo", &json!({}))));
    let fast = (0..500).map(|_| burst()).find(|reply| reply.status() != 200).expect("a bound");
    refused(&fast, "--max-principal-rate");
    his.echoes("his");
}

#[test]
fn a_token_is_nowhere_but_where_its_client_keeps_it() {
    let tokens = Tokens::new();
    let (token, wrong) = (tokens.add("alice"), "mcpgw_canarycanarycanarycanarycanarycanarycanary");
    let file = fs::read_to_string(&tokens.path).expect("text");
    let key = file.lines().next().and_then(|line| line.strip_prefix("key ")).expect("a key").to_owned();
    let gateway = Start::new(&[
        "--bearer-tokens",
        &tokens.name,
        "--log",
        "trace",
        "--access-log",
        "--env",
        "CHILD_SECRET=canary-of-the-child",
    ])
    .env("MCP_GATEWAY_X", "canary-of-the-gateway")
    .run();
    let session = Session::open_at(&gateway, &by(&token));
    let seen_by_child = crate::support::session::text_of(&session.call("env", &json!({})));
    unauthorized_quietly(&gateway.ask(&by(wrong).own(initialize("2025-11-25"))), wrong);
    unauthorized_quietly(&gateway.ask(&initialize("2025-11-25").to(&format!("/mcp?token={wrong}"))), wrong);
    let own = |name: &str| fs::read(format!("/proc/{}/{name}", gateway.pid())).unwrap_or_default();
    let places = [
        ("the log", gateway.log().join("\n").into_bytes()),
        ("the metrics", gateway.admin("/metrics").message()),
        ("the command line", own("cmdline")),
        ("the environment of the child", seen_by_child.into_bytes()),
    ];
    for (place, text) in &places {
        for secret in [&*token, wrong, &key, "canary-of-the-gateway"] {
            assert!(memchr::memmem::find(text, secret.as_bytes()).is_none(), "{secret} is in {place}");
        }
        let is_childs = *place == "the environment of the child";
        assert!(
            is_childs || *place == "the command line" || memchr::memmem::find(text, b"canary-of-the-child").is_none(),
            "{place}"
        );
    }
    let is_logged = |line: &String| line.contains("access") && line.contains("alice") && line.contains("env");
    eventually_true(5 * SECOND, "her call is logged", || gateway.log().iter().any(is_logged));
}

#[track_caller]
fn unauthorized_quietly(reply: &Reply, secret: &str) {
    assert_eq!(reply.status(), 401);
    assert!(!reply.text().contains(secret));
}

#[test]
fn whoever_shows_nothing_costs_nothing() {
    // 1,000 bodies of 4 MiB without a token: refused by their heads, nothing of them read, nothing started.
    let tokens = Tokens::new();
    tokens.add("alice");
    let gateway = tokens.serve(&[]);
    let before = crate::support::proc::resident(gateway.pid());
    let head = |more: &str| {
        format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\naccept: application/json, text/event-stream\r\ncontent-type: application/json\r\ncontent-length: 4194304\r\n{more}\r\n"
        )
    };
    for at in 0..1000 {
        let mut connection = gateway.connect();
        // One that waits to be told to go on is not told so.
        let more = if at % 2 == 0 { "expect: 100-continue\r\n" } else { "" };
        connection.send(head(more).as_bytes()).expect("sent");
        assert_eq!(connection.reply().expect("a reply").status(), 401);
    }
    let after = crate::support::proc::resident(gateway.pid());
    assert!(after < before + (10 << 20), "{before} {after}");
    assert_eq!((gateway.children().len(), gateway.spawns()), (0, 0));
}

#[test]
fn a_page_of_an_allowed_origin_may_show_a_token_and_no_other_page_may() {
    let tokens = Tokens::new();
    let token = tokens.add("alice");
    let gateway = tokens.serve(&["--allowed-origin", "https://app.example.com"]);
    let ask = |origin: &str| {
        let preflight = Request::new("OPTIONS", "/mcp").with("origin", origin).with("access-control-request-method", "POST");
        gateway.ask(&preflight.with(
            "access-control-request-headers",
            "authorization, mcp-session-id, mcp-protocol-version, last-event-id, traceparent, x-other",
        ))
    };
    let reply = ask("https://app.example.com");
    assert_eq!(reply.status(), 204);
    assert_eq!(reply.head.field("access-control-allow-origin"), Some("https://app.example.com"));
    let allowed = reply.head.field("access-control-allow-headers").expect("fields");
    assert_eq!(allowed, "authorization, mcp-session-id, mcp-protocol-version, last-event-id, traceparent");
    assert_eq!(ask("https://evil.example.com").status(), 403);
    let reply = gateway.ask(&by(&token).own(initialize("2025-11-25")).with("origin", "https://app.example.com"));
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.head.field("access-control-allow-origin"), Some("https://app.example.com"));
    assert!(reply.head.field("access-control-expose-headers").expect("fields").contains("mcp-session-id"));
    assert_eq!(reply.head.field("access-control-allow-credentials"), None);
    let refused = gateway.ask(&initialize("2025-11-25").with("origin", "https://app.example.com"));
    assert_eq!((refused.status(), refused.head.field("access-control-allow-origin")), (401, Some("https://app.example.com")));
}

/// A user's gateway: where root runs the tests, that of a user who is nobody else. What it reads is in this folder.
fn of_a_user(dir: &Path, start: Start) -> Start {
    if !rustix::process::geteuid().is_root() {
        return start;
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("its owner may");
    let copy = dir.join("mcp-http-gateway").display().to_string();
    let script = format!("cp \"$1\" {copy}; shift; exec setpriv --reuid 65534 --regid 65534 --clear-groups {copy} \"$@\"");
    start.around(&["sh", "-c", &script, "sh"])
}

/// Whether its memory is closed to its own user: what the kernel says of such a process is root's (proc(5), /proc/PID).
#[track_caller]
fn is_closed(gateway: &Gateway) -> bool {
    let owner = fs::metadata(format!("/proc/{}/environ", gateway.pid())).expect("it runs").uid();
    owner == 0
}

#[test]
fn a_gateway_with_tokens_is_closed_to_other_processes_of_its_user_and_leaves_no_dump() {
    let tokens = Tokens::new();
    tokens.add("alice");
    fs::set_permissions(&tokens.path, fs::Permissions::from_mode(0o644)).expect("its owner may");
    let start = |options: &[&str]| of_a_user(tokens.dir.path(), Start::new(options).child(&["--", "cat"])).run();
    assert!(is_closed(&start(&["--bearer-tokens", &tokens.name])));
    assert!(!is_closed(&start(&[])), "one that has no secrets can be looked into");
}

#[test]
fn a_gateway_is_closed_once_it_is_given_its_first_tokens() {
    let tokens = Tokens::new();
    tokens.add("alice");
    fs::set_permissions(&tokens.path, fs::Permissions::from_mode(0o644)).expect("its owner may");
    let (path, name) = path_in(&tokens.dir, "gateway.toml");
    let open = "listen = \"127.0.0.1:0\"\n[servers.one]\ncmd = [\"cat\"]\n";
    fs::write(&path, open).expect("written");
    let start = Start::new(&[]).child(&["--config", &name]).listens_by_file();
    let gateway = of_a_user(tokens.dir.path(), start).run();
    assert!(!is_closed(&gateway), "there is nothing to hide");
    fs::write(&path, format!("{open}bearer_tokens = \"{}\"\n", tokens.name)).expect("written");
    gateway.signal(Signal::HUP);
    eventually_true(5 * SECOND, "the tokens are read", || gateway.metric("reloads_total", "done") == 1);
    assert!(is_closed(&gateway));
}
