//! The edge: what clients may not send, how many may come, and that nothing is started for those that are turned away.

use std::io::Write as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::clocks::ALL;
use crate::support::early::outcome;
use crate::support::gateway::{Gateway, Start};
use crate::support::http::{Connection, Request};
use crate::support::proc::{self, Process, eventually, eventually_true};
use crate::support::session::{REVISION, Session, call, initialize};

const SECOND: Duration = Duration::from_secs(1);

/// Sends bytes as they are; gives the status and whether the connection was closed after it.
fn raw(gateway: &Gateway, bytes: &[u8]) -> (u16, bool) {
    let mut connection = gateway.connect();
    connection.wait_at_most(2 * SECOND);
    // A gateway that has seen enough may hang up while the rest is being sent.
    let _ = connection.send(bytes);
    let status = connection.reply().map_or(0, |reply| reply.status());
    (status, connection.rest().is_ok())
}

#[test]
fn too_many_or_too_large_header_fields_and_targets_are_refused() {
    let gateway = Gateway::start(&[]);
    let with = |count: usize, size: usize| {
        (0..count).fold(Request::get(), |request, at| request.with(&format!("x-{at}"), &"x".repeat(size)))
    };
    let session = gateway.open();
    let many = |count| raw(&gateway, &session.own(with(count, 1)).bytes());
    assert_eq!(many(99), (431, true), "101 fields, with the four of the session and the client");
    assert_eq!(raw(&gateway, &with(1, 33 << 10).bytes()), (431, true));
    assert_eq!(raw(&gateway, &with(50, 700).bytes()), (431, true));
    assert_eq!(raw(&gateway, &Request::new("GET", &format!("/{}", "x".repeat(9 << 10))).bytes()), (414, true));
    assert!(raw(&gateway, &Request::new("GET", &format!("/{}", "x".repeat(900 << 10))).bytes()).1);
    session.echoes("it works");
    // What is within the bounds passes: it fails for want of a session only.
    assert_eq!(gateway.ask(&with(90, 300)).status(), 400);
}

#[test]
fn a_body_beyond_its_bound_is_refused_and_starts_nothing() {
    let gateway = Gateway::start(&["--max-body", "1MiB"]);
    let large = initialize(REVISION);
    let padded = |size: usize| [b" ".repeat(size).as_slice(), b"{}"].concat();
    let bytes = Request::post(padded(1 << 20)).bytes();
    assert_eq!(raw(&gateway, &bytes), (413, true));
    // By what is declared, before any of it is sent.
    let declared = Request::post("").with("content-length", "1048577");
    assert_eq!(raw(&gateway, &declared.bytes()), (413, true));
    // In chunks, of which nobody said how many there are.
    let head = String::from_utf8(Request::post("").bytes()).expect("text");
    let head = head.replace("content-length: 0", "transfer-encoding: chunked");
    let chunk = [format!("{:x}\r\n", 64 << 10).as_bytes(), &b" ".repeat(64 << 10), b"\r\n"].concat();
    let chunked = |count: usize| [head.as_bytes(), &chunk.repeat(count), b"0\r\n\r\n"].concat();
    assert_eq!(raw(&gateway, &chunked(17)), (413, true));
    assert_eq!(raw(&gateway, &chunked(16)).0, 400, "this much is read, and is no message");
    let resident = proc::resident(gateway.pid());
    let endless: Vec<Connection> = (0..20)
        .map(|_| {
            let mut connection = gateway.connect();
            let _ = connection.send(&[head.as_bytes(), &chunk.repeat(15)].concat());
            connection
        })
        .collect();
    let grown = proc::resident(gateway.pid()).saturating_sub(resident);
    assert!(grown < 40 << 20, "{grown} bytes for 20 bodies within their bound");
    drop(endless);
    assert_eq!(gateway.spawns(), 0);
    assert_eq!(gateway.ask(&large).status(), 200);
}

#[test]
fn what_may_not_ask_is_refused_and_starts_nothing() {
    let gateway = Gateway::start(&[]);
    let good = || initialize(REVISION);
    for (request, status) in [
        (good().with("host", "evil.example.com"), 421),
        (good().with("host", "localhost.evil.com"), 421),
        (good().with("host", "127.0.0.1.nip.io"), 421),
        (good().and("host", "evil.example.com"), 400),
        (good().with("origin", "http://evil.example.com"), 403),
        (good().with("origin", "null"), 403),
        (good().with("origin", "http://localhost.evil.com"), 403),
        (good().with("content-type", "text/plain"), 415),
        (good().with("content-type", "application/x-www-form-urlencoded"), 415),
        (good().with("content-type", "multipart/form-data; boundary=application/json"), 415),
        (good().with("content-encoding", "gzip"), 415),
        (good().with("accept", "text/html"), 406),
        (Request::post("{}"), 400),
        (Request::post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#), 400),
        (good().with("mcp-session-id", "0123456789abcdef0123456789abcdef"), 404),
        (Request::new("PUT", "/mcp"), 405),
        (Request::new("GET", "/").with("accept", "text/event-stream"), 404),
        (Request::get(), 400),
        (Request::delete(), 400),
    ] {
        let reply = gateway.ask(&request);
        assert_eq!(reply.status(), status, "{request:?}: {}", reply.text());
        assert_eq!(reply.head.field("mcp-session-id"), None, "{request:?}");
    }
    assert_eq!(gateway.spawns(), 0);
    assert_eq!(gateway.ask(&good().with("origin", "http://localhost:5173")).status(), 200);
}

#[test]
fn two_meanings_of_one_request_are_never_both_taken() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let smuggled = String::from_utf8(session.post(ping).bytes()).expect("text");
    let head = |fields: &str| {
        format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\ncontent-type: application/json\r\nmcp-session-id: {}\r\n{fields}\r\n",
            session.id
        )
    };
    let before = gateway.metric("messages_total", "to_child");
    for fields in [
        "content-length: 6\r\ncontent-length: 5\r\n",
        "content-length: 3, 4\r\n",
        "content-length: +3\r\n",
        "content-length: -1\r\n",
        "content-length: 0x3\r\n",
        "content-length: 99999999999999999999\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "content-length: 0\r\n folded: 1\r\n",
        "content-length: 0\r\nx: a\0b\r\n",
    ] {
        let text = format!("{}0\r\n\r\n{smuggled}", head(fields));
        let mut connection = gateway.connect();
        let _ = connection.send(text.as_bytes());
        let rest = connection.rest().expect("the gateway closes");
        let text = String::from_utf8_lossy(&rest);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{fields:?}: {text}");
        assert_eq!(gateway.metric("messages_total", "to_child"), before, "{fields:?}: {text}");
    }
}

#[test]
fn connections_beyond_their_bound_are_told_so() {
    let gateway = Gateway::start(&["--max-connections", "20"]);
    let session = gateway.open();
    let (_, standing) = session.listen();
    // The connections that opened the session are on their way out: the stream's and the asking one are left.
    eventually_true(SECOND, "the others are gone", || gateway.metric("connections_active", "") == 2);
    let mut held: Vec<Connection> = (0..19).map(|_| gateway.connect()).collect();
    let refused = eventually(SECOND, "a refusal", || gateway.connect().reply().ok());
    assert_eq!((refused.status(), refused.head.field("retry-after")), (503, Some("1")));
    for connection in &mut held {
        assert_eq!(connection.exchange(&session.post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#)).status(), 200);
    }
    held.truncate(10);
    eventually_true(SECOND, "there is room again", || {
        let mut connection = gateway.connect();
        connection.send(&session.post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).bytes()).is_ok()
            && connection.reply().is_ok_and(|reply| reply.status() == 200)
    });
    drop(standing);
}

#[test]
fn the_admin_listener_has_64_connections_of_its_own() {
    let gateway = Gateway::start(&["--max-connections", "1"]);
    eventually_true(SECOND, "nobody is connected", || gateway.metric("connections_active", "") == 1);
    let _busy = gateway.connect();
    let _held: Vec<Connection> = (0..64).map(|_| Connection::open(gateway.admin_address())).collect();
    let refused = eventually(5 * SECOND, "a refusal", || Connection::open(gateway.admin_address()).reply().ok());
    assert_eq!(refused.status(), 503);
}

#[test]
fn the_admin_listener_serves_the_names_of_this_machine_only() {
    let gateway = Gateway::start(&[]);
    let ask = |name: &str, value: &str| {
        let request = Request::new("GET", "/metrics").with(name, value);
        Connection::open(gateway.admin_address()).exchange(&request).status()
    };
    assert_eq!(ask("host", "evil.example.com"), 421);
    assert_eq!(ask("origin", "http://evil.example.com"), 403);
    assert_eq!(ask("host", "localhost:1"), 200);
}

#[test]
fn sessions_and_calls_beyond_their_bounds_are_told_so() {
    let gateway = Gateway::start(&["--max-sessions", "2", "--max-calls", "3"]);
    let (one, other) = (gateway.open(), gateway.open());
    let refused = gateway.ask(&initialize(REVISION));
    assert_eq!((refused.status(), refused.head.field("retry-after")), (503, Some("5")), "{}", refused.text());
    let asked = || gateway.metric("messages_total", "direction=\"to_child\",kind=\"request\"");
    let before = asked();
    let running: Vec<Connection> = (0..3).map(|_| one.send(&call("1", "1", "never", &json!({})))).collect();
    eventually_true(SECOND, "three are in flight", || asked() == before + 3);
    let refused = gateway.ask(&one.post(call("1", "1", "echo", &json!({ "text": "x" }))));
    assert_eq!((refused.status(), refused.head.field("retry-after")), (429, Some("1")), "{}", refused.text());
    other.echoes("the other session has its own bound");
    one.delete();
    drop(running);
    eventually(6 * SECOND, "there is room for a session again", || {
        (gateway.ask(&initialize(REVISION)).status() == 200).then_some(())
    });
}

#[test]
fn out_of_descriptors_it_waits_quietly_and_recovers_within_a_second() {
    let gateway = Start::new(&[]).around(&["prlimit", "--nofile=64:64"]).run();
    let session = gateway.open();
    session.echoes("it works");
    let cpu = || Process::read(gateway.pid()).expect("it runs").cpu();
    let held: Vec<Connection> = (0..200).map(|_| gateway.connect()).collect();
    eventually_true(SECOND, "it has run out", || gateway.log().iter().any(|line| line.contains("cannot accept")));
    let (began, before) = (Instant::now(), cpu());
    eventually_true(5 * SECOND, "some time passes", || began.elapsed() >= 3 * SECOND);
    let spent = cpu() - before;
    let lines = gateway.log().len();
    eprintln!("{spent:?} of CPU in {:?}, {lines} lines of log in all", began.elapsed());
    assert!(spent < began.elapsed() / 20, "{spent:?}");
    assert!(lines < 10, "{:?}", gateway.log());
    drop(held);
    let began = Instant::now();
    session.echoes("it recovers");
    eprintln!("recovered after {:?}", began.elapsed());
    proc::was_prompt(began.elapsed(), SECOND);
}

#[test]
fn a_pipelined_request_is_answered_in_its_turn() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    let mut connection = gateway.connect();
    let both: Vec<u8> = ["\"a\"", "\"b\""]
        .iter()
        .flat_map(|id| session.post(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}")).bytes())
        .collect();
    connection.socket().write_all(&both).expect("the gateway reads");
    for id in ["a", "b"] {
        assert_eq!(connection.reply().expect("a response").json()["id"], id);
    }
}

#[test]
fn the_gateway_survives_whatever_order_clients_come_and_go_in() {
    let gateway = Gateway::start(&[]);
    for at in 0..60_usize {
        let session: Session<'_> = gateway.open();
        let connection = session.send(&call("1", "\"t\"", "progress", &json!({ "count": 200, "us": 50 })));
        match at % 4 {
            0 => drop(connection),
            1 => connection.shut(),
            2 => session.delete(),
            _ => gateway.children().iter().for_each(|child| proc::kill(child.pid, Signal::KILL)),
        }
        if at % 16 == 15 {
            gateway.children().iter().for_each(|child| proc::kill(child.pid, Signal::KILL));
        }
    }
    gateway.children().iter().for_each(|child| proc::kill(child.pid, Signal::KILL));
    eventually_true(6 * SECOND, "nothing is left", || gateway.children().is_empty());
    eventually_true(SECOND, "nor counted", || {
        gateway.metric("sessions_active", "") == 0 && gateway.metric("children_running", "") == 0
    });
    gateway.open().echoes("it works");
    assert!(!gateway.log().iter().any(|line| line.contains("panicked")), "{:?}", gateway.log());
}

#[test]
fn a_silent_connection_or_half_a_preface_is_closed_within_ten_seconds() {
    outcome(ALL, "silence");
}

#[test]
fn a_head_that_does_not_end_is_closed_within_ten_seconds() {
    outcome(ALL, "slow_heads");
}

#[test]
fn a_body_that_takes_longer_than_thirty_seconds_is_refused_and_starts_nothing() {
    outcome(ALL, "slow_body");
}

#[test]
fn an_http2_connection_without_a_request_is_closed() {
    outcome(ALL, "http2_silence");
}

#[test]
fn an_idle_connection_is_closed_ten_seconds_after_its_last_request() {
    outcome(ALL, "idle_between_requests");
}

#[test]
fn a_client_that_reads_slowly_gets_all_of_a_large_answer() {
    outcome(ALL, "slow_reading");
}

#[test]
fn a_message_reaches_its_server_though_its_client_hangs_up_behind_it() {
    // What came whole is taken: nobody can know whether its client is still there to hear of it.
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    let sent = |kind: &str| gateway.metric("messages_total", &format!("direction=\"to_child\",kind=\"{kind}\""));
    let before = ["request", "notification"].map(sent);
    for at in 0..20 {
        drop(session.send(&call(&at.to_string(), "1", "echo", &json!({ "text": "x" }))));
        drop(session.send(r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#));
    }
    let after = before.map(|count| count + 20);
    eventually(5 * SECOND, "all have arrived", || (["request", "notification"].map(sent) == after).then_some(()));
}
