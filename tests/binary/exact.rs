//! What goes in comes out: to the one who asked, in order, to the byte, and if not, then said.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Start};
use crate::support::http::Connection;
use crate::support::proc::{self, eventually_true};
use crate::support::session::{call, text_of};

const SECOND: Duration = Duration::from_secs(1);

/// Sends calls with these ids, all in flight at once, and has the child answer the last first. Each must get its own.
fn all_at_once(options: &[&str], ids: &[&str], count: usize) {
    let gateway = Gateway::start(&[&["--max-calls", "2000"], options].concat());
    let session = gateway.open();
    let began = Instant::now();
    let calls: Vec<(&str, Connection)> = (0..count)
        .map(|at| {
            let id = ids[at % ids.len()];
            (id, session.send(&call(id, "\"t\"", "hold", &json!({ "text": format!("for {at}") }))))
        })
        .collect();
    session.call("release", &json!({ "count": count }));
    for (at, (id, mut connection)) in calls.into_iter().enumerate() {
        let reply = connection.reply().expect("a response");
        let message = String::from_utf8(reply.message()).expect("UTF-8");
        assert!(message.contains(&format!("\"id\":{id},")), "{id}: {message}");
        assert_eq!(text_of(&reply.json()), format!("for {at}"));
    }
    eprintln!("{count} calls of one session, ids {ids:?} {options:?}, in {:?}", began.elapsed());
    assert_eq!(gateway.metric("messages_lost_total", ""), 0);
}

#[test]
fn a_thousand_calls_with_one_id_each_get_their_own_answer() {
    all_at_once(&[], &["1"], 1000);
}

#[test]
fn a_thousand_calls_with_equal_looking_ids_each_get_their_own_answer_and_id() {
    all_at_once(&["--response", "json"], &["1", "\"1\"", "\"\\u0031\"", "-1", "9007199254740993"], 1000);
}

#[test]
fn progress_arrives_whole_and_before_its_answer_however_fast() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    for count in [1, 50, 50, 50, 1000, 1000] {
        let (head, events) = session.stream(&call("1", "\"mine\"", "progress", &json!({ "count": count })));
        assert!(head.is_event_stream());
        let messages: Vec<Value> = events.filter(|event| !event.data.is_empty()).map(|event| event.json()).collect();
        let (answer, notes) = messages.split_last().expect("an answer");
        assert_eq!(text_of(answer), "done");
        let seen: Vec<u64> = notes.iter().filter_map(|note| note["params"]["progress"].as_u64()).collect();
        assert!(seen.iter().copied().eq(1..=count), "{count}: {seen:?}");
        assert!(notes.iter().all(|note| note["params"]["progressToken"] == "mine"));
    }
}

#[test]
fn equal_progress_tokens_and_ids_do_not_mix_streams() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    let streams: Vec<_> = (0..20_u64)
        .map(|at| session.stream(&call("1", "\"t\"", "progress", &json!({ "count": 100, "base": at * 1000, "us": 200 }))))
        .collect();
    for (at, (_, events)) in streams.into_iter().enumerate() {
        let base = at as u64 * 1000;
        let seen: Vec<u64> = events
            .filter_map(|event| serde_json::from_slice::<Value>(&event.data).ok()?["params"]["progress"].as_u64())
            .collect();
        assert!(seen.iter().copied().eq(base + 1..=base + 100), "{at}: {seen:?}");
    }
}

#[test]
fn a_line_of_the_child_crosses_to_the_byte() {
    let gateway = Gateway::start(&["--response", "sse"]);
    let session = gateway.open();
    for line in [
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"n":[1e400,-0,1.0,9007199254740993,0.1e-7,"\ud800"],"n":2}}"#,
        "{ \"params\" : {\"z\":1,\t\"a\":{}} ,\"unknown\":[[]], \"method\":\"notifications/x\", \"jsonrpc\":\"2.0\" }",
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/y\",\"params\":{\"s\":\"\u{2028}\u{2029}\u{85}\u{7f}\u{1f600}\\u2028\\r\\n\"}}",
        r#"{"jsonrpc":"2.0","Method":"no","method":"notifications/\u007a","params":{"progresstoken":1,"paramſ":2}}"#,
    ] {
        let text = json!({ "text": format!("{line}\n") });
        let (_, mut events) = session.stream(&call("1", "1", "write", &text));
        assert_eq!(String::from_utf8(events.message().expect("the line").data).expect("UTF-8"), line);
        assert_eq!(text_of(&events.message().expect("the answer").json()), "written");
    }
}

#[test]
fn a_bare_carriage_return_between_tokens_becomes_a_space() {
    let gateway = Gateway::start(&["--response", "sse"]);
    let session = gateway.open();
    let line = "{\"jsonrpc\":\"2.0\",\r\"method\":\r\r\"notifications/x\",\"params\":{\"a\":\r1,\"b\":\"\\r\u{2028}\u{85}\"}}\r";
    let (_, mut events) = session.stream(&call("1", "1", "write", &json!({ "text": format!("{line}\n") })));
    // A reader of events that ends lines at CR, as it must, sees one line.
    let data = String::from_utf8(events.message().expect("the line").data).expect("UTF-8");
    assert_eq!(data, line.trim_end().replace('\r', " "));
}

#[test]
fn a_bad_line_is_counted_and_the_session_goes_on() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    let cut = "{\"jsonrpc\":\"2.0\",\"method\":";
    for (line, reason) in [
        (&b"\xff\xfe{}"[..], "not_utf8"),
        ("\u{feff}{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}".as_bytes(), "not_json"),
        (b"", "blank"),
        (b" \t\r", "blank"),
        (b"npm notice new version", "not_json"),
        (cut.as_bytes(), "not_json"),
        (b"[]", "batch"),
        (b"[{\"jsonrpc\":\"2.0\",\"method\":\"m\"}]", "batch"),
        (b"17", "not_json_rpc"),
        (b"\"text\"", "not_json_rpc"),
        (b"{\"a\":1}", "not_json_rpc"),
        (b"{\"jsonrpc\":\"2.0\",\"method\":\"m\0\"}", "not_json"),
    ] {
        let count = || gateway.metric("bad_lines_total", &format!("reason=\"{reason}\""));
        let before = count();
        let bytes: Vec<u8> = [line, b"\n"].concat();
        assert_eq!(text_of(&session.call("write", &json!({ "bytes": bytes }))), "written", "{reason}");
        assert_eq!(count(), before + 1, "{reason}: {}", line.escape_ascii());
        session.echoes("the next message");
    }
    eventually_true(SECOND, "what it says is in the log", || gateway.log().iter().any(|line| line.contains("npm notice")));
}

#[test]
fn an_answer_beyond_the_longest_line_is_an_error_that_names_the_bound() {
    let gateway = Gateway::start(&["--max-line", "64KiB"]);
    let session = gateway.open();
    let answer = session.call("big", &json!({ "bytes": 200 << 10 }));
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
    assert!(answer["error"]["message"].as_str().is_some_and(|text| text.contains("--max-line")), "{answer}");
    assert_eq!(gateway.metric("bad_lines_total", "too_long"), 1);
    session.echoes("it works");
}

#[test]
fn large_answers_cross_to_the_byte() {
    for mode in ["sse", "json"] {
        let gateway = Gateway::start(&["--response", mode]);
        let session = gateway.open();
        for bytes in [100_usize, 4 << 20, (16 << 20) - 1024] {
            let began = Instant::now();
            let text = text_of(&session.call("big", &json!({ "bytes": bytes })));
            let expected = (0..bytes as u64).map(|at| b'a' + ((at * 7 + at / 13 + at / 997) % 26) as u8);
            assert!(text.bytes().eq(expected), "{mode}, {bytes}");
            eprintln!("{bytes} bytes as {mode} in {:?}", began.elapsed());
        }
    }
}

#[test]
fn a_large_request_reaches_the_child_to_the_byte() {
    let gateway = Gateway::start(&[]);
    let text: String = (0..4 << 20).map(|at: u32| char::from(b'a' + (at % 23) as u8)).collect();
    gateway.open().echoes(&text);
}

#[test]
fn a_child_that_asks_in_json_mode_is_told_at_once_that_it_cannot() {
    let gateway = Gateway::start(&["--response", "json"]);
    let session = gateway.open();
    let began = Instant::now();
    let answer: Value = serde_json::from_str(&text_of(&session.call("ask", &json!({})))).expect("JSON");
    assert_eq!(answer["error"]["code"], -32601, "{answer}");
    eprintln!("told after {:?}", began.elapsed());
    proc::was_prompt(began.elapsed(), SECOND);
}

#[test]
fn a_question_reaches_the_client_and_its_answer_the_child() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    let (_, mut events) = session.stream(&call("1", "1", "ask", &json!({})));
    let question = events.message().expect("a question").json();
    assert_eq!(question["method"], "elicitation/create");
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "accept", "content": { "n": 1 } } });
    assert_eq!(session.tell(answer.to_string()).status(), 202);
    let heard: Value = serde_json::from_str(&text_of(&events.message().expect("the answer").json())).expect("JSON");
    assert_eq!(heard["result"], answer["result"]);
}

#[test]
fn what_was_accepted_reached_the_child_or_is_counted_as_lost() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    session.echoes("it has read everything so far");
    let child = gateway.child();
    // Nobody reads: the pipe fills, then the outbox. What is in the pipe when the child dies is seen through a second hold.
    proc::kill(child, Signal::STOP);
    eventually_true(SECOND, "it stands still", || gateway.children().iter().all(|child| child.state == 'T'));
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let pipe = OpenOptions::new().read(true).custom_flags(nonblocking).open(format!("/proc/{child}/fd/0"));
    let mut pipe = pipe.expect("the child's stdin");
    let mut replies = BTreeMap::<u16, u64>::new();
    let mut connection = gateway.connect();
    let pad = "x".repeat(300);
    for n in 1..=2000 {
        let body = json!({ "jsonrpc": "2.0", "method": "notifications/tell", "params": { "n": n, "pad": pad } });
        *replies.entry(connection.exchange(&session.post(body.to_string())).status()).or_default() += 1;
        if n == 1000 {
            proc::kill(child, Signal::KILL);
        }
    }
    let accepted = replies[&202];
    let mut text = Vec::new();
    let ended = eventually_true(SECOND, "the gateway lets go of the pipe", || match pipe.read_to_end(&mut text) {
        Err(error) => error.kind() != ErrorKind::WouldBlock,
        Ok(_) => true,
    });
    let arrived: Vec<u64> = text
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line.strip_suffix(b"\n")?).ok()?["params"]["n"].as_u64())
        .collect();
    let lost = gateway.metric("messages_lost_total", "");
    eprintln!("{replies:?}: {} arrived, {lost} lost; let go after {ended:?}", arrived.len());
    assert!(arrived.iter().copied().eq(1..=arrived.len() as u64), "in order");
    assert_eq!(arrived.len() as u64 + lost, accepted);
    assert!(accepted >= 1000 && replies.get(&404).is_some_and(|refused| *refused > 0), "{replies:?}");
}

#[test]
fn what_was_accepted_for_a_child_that_closed_its_input_is_counted_and_the_session_ends() {
    // It answers initialize, takes the notification behind it, and then reads no more.
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"deaf","version":"0"}}}"#;
    let script = format!("read a; echo '{answer}'; read b; exec <&-; exec sleep 60");
    let gateway = Start::new(&[]).child(&["--", "sh", "-c", &script]).run();
    let session = gateway.open();
    let closed = |child: i32| std::fs::symlink_metadata(format!("/proc/{child}/fd/0")).is_err();
    let child = gateway.child();
    eventually_true(SECOND, "it has closed its input", || closed(child));
    let body = json!({ "jsonrpc": "2.0", "method": "notifications/tell" }).to_string();
    let mut accepted = 0;
    eventually_true(2 * SECOND, "the session is over", || {
        let status = session.tell(body.clone()).status();
        accepted += u64::from(status == 202);
        status == 404
    });
    assert_eq!(gateway.metric("messages_lost_total", ""), accepted);
    assert!(accepted > 0);
    eventually_true(6 * SECOND, "its child is gone", || gateway.children().is_empty());
}

#[test]
fn a_bomb_of_brackets_is_refused_quickly_and_never_reaches_the_child() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    let deep = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{{\"x\":{open}{close}}}}}")
    };
    let sent = || gateway.metric("messages_total", "to_child");
    let before = sent();
    for body in [deep(127), deep(100_000), "[".repeat(4 << 20), "{\"a\":".repeat(800_000), format!("{}1", " ".repeat(4 << 20))] {
        let began = Instant::now();
        let reply = gateway.ask(&session.post(body.as_str()));
        assert_eq!(reply.status(), 400, "{}", reply.text());
        eprintln!("{} bytes refused in {:?}", body.len(), began.elapsed());
        proc::was_prompt(began.elapsed(), SECOND);
    }
    assert_eq!(sent(), before);
    // Deeper ones pass as well, but the child of the tests cannot read them.
    assert_eq!(gateway.ask(&session.post(deep(100))).status(), 200);
}
