//! The child of the tests: a small stdio MCP server that does what it is told, also what no server should.
//!
//! `stub_child` serves by itself; `stub_child modern` does without `initialize`; `stub_child linger` stays when its input ends; `stub_child relay SOCKET` connects to a unix
//! socket and copies bytes both ways, so that a test is the child; `stub_child connect ADDRESS` does so over TCP, so that a
//! test has a connection from elsewhere. Built as an example of the package: `cargo test` builds it, `cargo install` does not.

use std::collections::HashMap;
use std::io::{BufRead as _, Read, Write, stdin, stdout};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

#[derive(Default)]
struct Stub {
    /// Who waits for the answer to which question.
    waiting: HashMap<String, Sender<Value>>,
    /// Calls of the tool `hold`: their ids and texts.
    held: Vec<(Value, Value)>,
    /// Calls of the tool `watch` that were not cancelled: whether each is answered once it is.
    watched: HashMap<String, bool>,
    /// Cancelled calls of `watch` that are never answered.
    abandoned: usize,
}

type Shared = Arc<Mutex<Stub>>;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some("relay") => {
            let socket = UnixStream::connect(&words[2]).expect("the test listens");
            let upward = socket.try_clone().expect("a descriptor");
            thread::spawn(move || {
                copy(stdin().lock(), &upward);
                let _ = upward.shutdown(Shutdown::Write);
            });
            // How much has arrived is told in a file: what the test writes next may depend on it.
            let told = format!("{}.{}", words[2], std::process::id());
            let mut sent = 0_u64;
            let tell = |count| {
                sent += count as u64;
                // The test may have ended.
                let _ = std::fs::write(&told, sent.to_string());
            };
            copy_and_tell(&socket, stdout().lock(), tell);
        }
        Some("connect") => {
            let socket = TcpStream::connect(&words[2]).expect("the gateway listens");
            let upward = socket.try_clone().expect("a descriptor");
            thread::spawn(move || copy(stdin().lock(), &upward));
            copy(&socket, stdout().lock());
        }
        Some("linger") => {
            serve();
            loop {
                thread::park();
            }
        }
        _ => serve(),
    }
}

fn copy(from: impl Read, to: impl Write) {
    copy_and_tell(from, to, |_| {});
}

fn copy_and_tell(mut from: impl Read, mut to: impl Write, mut tell: impl FnMut(usize)) {
    let mut buffer = [0; 65536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).and_then(|()| to.flush()).is_err() {
            return;
        }
        tell(count);
    }
}

fn serve() {
    let stub = Shared::default();
    for line in stdin().lock().lines() {
        let Ok(line) = line else { return };
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        match (message.get("method").and_then(Value::as_str), message.get("id")) {
            (Some(method), Some(id)) => asked(&stub, method, id.clone(), message["params"].clone()),
            (Some(method), None) => told(&stub, method, &message),
            (None, _) => {
                let waiter = stub.lock().expect("no panic").waiting.remove(&message["id"].to_string());
                waiter.into_iter().for_each(|waiter| drop(waiter.send(message.clone())));
            }
        }
    }
}

/// Adds a line to the file `STUB_LOG`, which all processes of a test share.
fn record(text: &str) {
    let Ok(path) = std::env::var("STUB_LOG") else { return };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path).expect("the test's file");
    (&file).write_all(format!("{} {text}\n", std::process::id()).as_bytes()).expect("the test's file");
}

fn told(stub: &Shared, method: &str, message: &Value) {
    if method == "notifications/cancelled" {
        let id = &message["params"]["requestId"];
        record(&format!("cancelled {id}"));
        let mut stub = stub.lock().expect("no panic");
        match stub.watched.remove(&id.to_string()) {
            Some(true) => {
                drop(stub);
                thread::sleep(Duration::from_millis(5));
                record(&format!("ended {id}"));
                return result(id, json!({ "content": [] }));
            }
            Some(false) => stub.abandoned += 1,
            None => {}
        }
    }
    // What the client said is said back, so that a test can see what arrived: as a log line that names it.
    if method == "notifications/cancelled" || method == "notifications/tell" {
        line(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": message } }));
    }
}

fn asked(stub: &Shared, method: &str, id: Value, params: Value) {
    let is_modern = std::env::args().nth(1).is_some_and(|word| word == "modern");
    match method {
        "server/discover" if is_modern => result(
            &id,
            json!({
                "resultType": "complete",
                "supportedVersions": ["2026-07-28"],
                "capabilities": { "tools": {}, "logging": {} },
                "ttlMs": 0,
                "cacheScope": "private",
            }),
        ),
        "initialize" if !is_modern => {
            let wanted = params["protocolVersion"].clone();
            result(
                &id,
                json!({
                    "protocolVersion": wanted,
                    "capabilities": { "tools": {}, "logging": {}, "resources": { "subscribe": true } },
                    "serverInfo": { "name": "stub", "version": "0" },
                }),
            );
        }
        // Acknowledged at once; the tool `write` tells of changes.
        "subscriptions/listen" if is_modern => {
            let meta = json!({ "io.modelcontextprotocol/subscriptionId": id });
            let params = json!({ "_meta": meta, "notifications": params["notifications"] });
            line(&json!({ "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params }));
        }
        "ping" => result(&id, json!({})),
        "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => {
            let of_it = params["level"].as_str().or(params["uri"].as_str()).unwrap_or_default();
            record(&format!("{method} {of_it}"));
            result(&id, json!({}));
        }
        "tools/list" => result(&id, json!({ "tools": [{ "name": "echo", "inputSchema": { "type": "object" } }] })),
        "tools/call" => {
            let name = params["name"].as_str().unwrap_or_default().to_owned();
            match name.as_str() {
                "echo" => result(&id, json!({ "content": [{ "type": "text", "text": params["arguments"]["text"] }] })),
                "never" => {}
                "interview" if is_modern => interview(&id, &params),
                "watch" => watch(stub, &id, &params),
                // Not answered before `release`.
                "hold" => stub.lock().expect("no panic").held.push((id, params["arguments"]["text"].clone())),
                // Waits until its stdin is full, then writes `bytes` before it reads on.
                "gush" => gush(&id, &params),
                _ => drop(thread::spawn({
                    let stub = Arc::clone(stub);
                    move || tool(&stub, &name, &id, &params)
                })),
            }
        }
        _ => line(&json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "method not found" } })),
    }
}

/// Asks two questions at once, and then two more; answers with all that the client said. What it knows is in its state.
fn interview(id: &Value, params: &Value) {
    let name = params["arguments"]["name"].as_str().unwrap_or_default();
    let said: Vec<&str> =
        ["left", "right"].iter().filter_map(|side| params["inputResponses"][side]["content"]["said"].as_str()).collect();
    let so_far = match params["requestState"].as_str() {
        Some(state) => format!("{}{}, ", state.split_once('|').map_or("", |(_, so_far)| so_far), said.join(", ")),
        None => {
            record(&format!("run {name}"));
            String::new()
        }
    };
    let round = params["requestState"].as_str().and_then(|state| state.split_once('|')?.0.parse().ok()).unwrap_or(0) + 1;
    if round > 2 {
        return result(id, json!({ "content": [{ "type": "text", "text": so_far.trim_end_matches(", ") }] }));
    }
    let ask = |side: &str| {
        let schema = json!({ "type": "object", "properties": {} });
        let params = json!({ "message": format!("{name} {round} {side}"), "requestedSchema": schema });
        json!({ "method": "elicitation/create", "params": params })
    };
    result(
        id,
        json!({
            "resultType": "input_required",
            "inputRequests": { "left": ask("left"), "right": ask("right") },
            "requestState": format!("{round}|{so_far}"),
        }),
    );
}

/// Says that it has begun, and goes on until it is cancelled; then it is answered, if `answers` says so.
fn watch(stub: &Shared, id: &Value, params: &Value) {
    let mut stub = stub.lock().expect("no panic");
    // A call that may be asked runs alone: until the one before has ended, none may come.
    if stub.abandoned > 0 && params["arguments"]["alone"] == true {
        record("overlap");
    }
    stub.watched.insert(id.to_string(), params["arguments"]["answers"] == true);
    drop(stub);
    record(&format!("call {id}"));
    let note = json!({ "progressToken": params["_meta"]["progressToken"], "progress": 1 });
    line(&json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": note }));
}

fn gush(id: &Value, params: &Value) {
    while rustix::io::ioctl_fionread(stdin()).is_ok_and(|waiting| waiting < 60 << 10) {
        thread::sleep(Duration::from_millis(1));
    }
    let pad = "x".repeat(64 << 10);
    for at in 1..=params["arguments"]["bytes"].as_u64().unwrap_or(0) >> 16 {
        let note = json!({ "progressToken": params["_meta"]["progressToken"], "progress": at, "message": pad });
        line(&json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": note }));
    }
    result(id, json!({ "content": [{ "type": "text", "text": "gushed" }] }));
}

fn tool(stub: &Shared, name: &str, id: &Value, params: &Value) {
    let arguments = &params["arguments"];
    let number = |key: &str| arguments[key].as_u64().unwrap_or(0);
    let text = |text: &str| result(id, json!({ "content": [{ "type": "text", "text": text }] }));
    match name {
        // Answers after `ms`.
        "sleep" => {
            thread::sleep(Duration::from_millis(number("ms")));
            text("slept");
        }
        // `count` progress notifications from `base` on, `pad` bytes larger, the answer at once behind them: in one write,
        // or one every `us` microseconds.
        "progress" => {
            let token = &params["_meta"]["progressToken"];
            let pad = "x".repeat(usize::try_from(number("pad")).unwrap_or(0));
            let mut out = String::new();
            for at in 1..=number("count") {
                let note = json!({ "progressToken": token, "progress": number("base") + at, "message": pad });
                out += &format!("{}\n", json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": note }));
                if number("us") > 0 {
                    raw(std::mem::take(&mut out).as_bytes());
                    thread::sleep(Duration::from_micros(number("us")));
                }
            }
            let answer = json!({ "content": [{ "type": "text", "text": "done" }] });
            out += &format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "result": answer }));
            raw(out.as_bytes());
        }
        // `count` progress notifications, a log line, an update of `uri` if there is one, and the answer, which all say `text`.
        "chat" => {
            let note = |method: &str, params: Value| json!({ "jsonrpc": "2.0", "method": method, "params": params });
            let said = &arguments["text"];
            let mut lines: Vec<Value> = (1..=number("count"))
                .map(|at| json!({ "progressToken": params["_meta"]["progressToken"], "progress": at, "message": said }))
                .map(|params| note("notifications/progress", params))
                .collect();
            lines.push(note("notifications/message", json!({ "level": "info", "data": said })));
            let about = |uri| note("notifications/resources/updated", json!({ "uri": uri, "said": said }));
            lines.extend(arguments.get("uri").map(about));
            lines.push(json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [{ "type": "text", "text": said }] } }));
            raw(lines.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes());
        }
        // Remembers that it was called.
        "mark" => {
            record(&format!("mark {}", arguments["text"].as_str().unwrap_or_default()));
            text("marked");
        }
        // `count` log notifications of `bytes` each, then the answer.
        "flood" => {
            let data = "x".repeat(usize::try_from(number("bytes")).unwrap_or(0));
            for at in 0..number("count") {
                let params = json!({ "level": "info", "at": at, "data": data });
                line(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params }));
            }
            text("flooded");
        }
        // An answer of `bytes`, no two parts of which look the same.
        "big" => text(
            &(0..number("bytes")).map(|at| char::from(b'a' + ((at * 7 + at / 13 + at / 997) % 26) as u8)).collect::<String>(),
        ),
        "length" => text(&arguments["text"].as_str().map_or(0, str::len).to_string()),
        // Answers all calls of `hold`, the last first, once there are `count`; then itself.
        "release" => {
            while (stub.lock().expect("no panic").held.len() as u64) < number("count") {
                thread::sleep(Duration::from_millis(1));
            }
            for (id, text) in std::mem::take(&mut stub.lock().expect("no panic").held).into_iter().rev() {
                result(&id, json!({ "content": [{ "type": "text", "text": text }] }));
            }
            text("released");
        }
        // Leaves `count` processes behind whose parents have ended.
        "orphans" => {
            let script = format!("for n in $(seq {}); do (sleep 0.1 &); done", number("count"));
            let status = Command::new("sh").args(["-c", &script]).status();
            text(&format!("{status:?}"));
        }
        // Asks the client, and answers with what it said.
        "ask" => {
            let answer = elicit(stub, &format!("q-{id}"), "?");
            let answer = answer.recv_timeout(Duration::from_secs(60)).unwrap_or_default();
            text(&answer.to_string());
        }
        // Asks the client, and answers with `bytes` letters before it was answered; says on stderr that it was.
        "impatient" => {
            let answer = elicit(stub, &format!("q-{id}"), "?");
            thread::sleep(Duration::from_millis(500));
            text(&"x".repeat(usize::try_from(number("bytes")).unwrap_or(0)));
            let _ = answer.recv_timeout(Duration::from_secs(60));
            eprintln!("the question has been answered");
        }
        // Asks two questions at once, and then two more; answers with all that the client said.
        "interview" => {
            let name = arguments["name"].as_str().unwrap_or_default();
            record(&format!("run {name}"));
            let mut said = Vec::new();
            for round in 1..=2 {
                let asked = ["left", "right"]
                    .map(|side| elicit(stub, &format!("{id}-{round}-{side}"), &format!("{name} {round} {side}")));
                for answer in asked {
                    let answer = answer.recv_timeout(Duration::from_secs(60)).unwrap_or_default();
                    said.push(answer["result"]["content"]["said"].as_str().unwrap_or("nothing").to_owned());
                }
            }
            text(&said.join(", "));
        }
        // Writes the string `text` as it is, the bytes `bytes` behind it, then answers.
        "write" => {
            raw(arguments["text"].as_str().unwrap_or_default().as_bytes());
            let bytes = arguments["bytes"].as_array().into_iter().flatten();
            raw(&bytes.map(|byte| byte.as_u64().unwrap_or(0) as u8).collect::<Vec<u8>>());
            text("written");
        }
        "exit" => std::process::exit(i32::try_from(number("code")).unwrap_or(1)),
        "stderr" => {
            for at in 0..number("count") {
                eprintln!("stderr line {at}");
            }
            text("written");
        }
        "env" => text(&std::env::vars().map(|(name, value)| format!("{name}={value}\n")).collect::<String>()),
        "fds" => {
            let fds = std::fs::read_dir("/proc/self/fd").expect("/proc").flatten();
            let mut names: Vec<String> = fds.map(|fd| fd.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            text(&names.join(" "));
        }
        _ => line(&json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32602, "message": "no such tool" } })),
    }
}

/// Asks the client; what it says comes here.
fn elicit(stub: &Shared, question: &str, message: &str) -> Receiver<Value> {
    let (send, answer) = channel();
    let question = json!(question);
    stub.lock().expect("no panic").waiting.insert(question.to_string(), send);
    let params = json!({ "message": message, "requestedSchema": { "type": "object", "properties": {} } });
    line(&json!({ "jsonrpc": "2.0", "id": question, "method": "elicitation/create", "params": params }));
    answer
}

fn result(id: &Value, result: impl Into<Value>) {
    line(&json!({ "jsonrpc": "2.0", "id": id, "result": result.into() }));
}

fn line(message: &Value) {
    raw(format!("{message}\n").as_bytes());
}

fn raw(bytes: &[u8]) {
    let mut out = stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}
