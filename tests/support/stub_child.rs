//! The child of the tests: a small stdio MCP server that does what it is told, also what no server should.
//!
//! `stub_child` serves by itself; `stub_child relay SOCKET` connects to a unix socket and copies bytes both ways, so that a
//! test is the child. Built as an example of the package: `cargo test` builds it, `cargo install` does not.

use std::collections::HashMap;
use std::io::{BufRead as _, Read, Write, stdin, stdout};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

type Waiting = Arc<Mutex<HashMap<String, Sender<Value>>>>;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == "relay") {
        relay(&words[2]);
    } else {
        serve();
    }
}

fn relay(path: &str) {
    let socket = UnixStream::connect(path).expect("the test listens");
    let upward = socket.try_clone().expect("a descriptor");
    thread::spawn(move || {
        copy(stdin().lock(), &upward);
        let _ = upward.shutdown(std::net::Shutdown::Write);
    });
    copy(&socket, stdout().lock());
}

fn copy(mut from: impl Read, mut to: impl Write) {
    let mut buffer = [0; 65536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

fn serve() {
    let waiting = Waiting::default();
    for line in stdin().lock().lines() {
        let Ok(line) = line else { return };
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        match (message.get("method").and_then(Value::as_str), message.get("id")) {
            (Some(method), Some(id)) => asked(&waiting, method, id.clone(), message["params"].clone()),
            (Some(method), None) => told(method, &message),
            (None, _) => {
                let waiter = waiting.lock().expect("no panic").remove(&message["id"].to_string());
                waiter.into_iter().for_each(|waiter| drop(waiter.send(message.clone())));
            }
        }
    }
}

fn told(method: &str, message: &Value) {
    // What the client said is said back, so that a test can see what arrived: as a log line that names it.
    if method == "notifications/cancelled" || method == "notifications/tell" {
        line(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": message } }));
    }
}

fn asked(waiting: &Waiting, method: &str, id: Value, params: Value) {
    match method {
        "initialize" => {
            let wanted = params["protocolVersion"].clone();
            result(
                &id,
                json!({
                    "protocolVersion": wanted,
                    "capabilities": { "tools": {}, "logging": {} },
                    "serverInfo": { "name": "stub", "version": "0" },
                }),
            );
        }
        "ping" => result(&id, json!({})),
        "tools/list" => result(&id, json!({ "tools": [{ "name": "echo", "inputSchema": { "type": "object" } }] })),
        "tools/call" => {
            let name = params["name"].as_str().unwrap_or_default().to_owned();
            match name.as_str() {
                "echo" => result(&id, json!({ "content": [{ "type": "text", "text": params["arguments"]["text"] }] })),
                "never" => {}
                _ => drop(thread::spawn({
                    let waiting = Arc::clone(waiting);
                    move || tool(&waiting, &name, &id, &params)
                })),
            }
        }
        _ => line(&json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "method not found" } })),
    }
}

fn tool(waiting: &Waiting, name: &str, id: &Value, params: &Value) {
    let arguments = &params["arguments"];
    let number = |key: &str| arguments[key].as_u64().unwrap_or(0);
    let text = |text: &str| result(id, json!({ "content": [{ "type": "text", "text": text }] }));
    match name {
        // Answers after `ms`.
        "sleep" => {
            thread::sleep(Duration::from_millis(number("ms")));
            text("slept");
        }
        // `count` progress notifications, the answer at once behind them, in one write.
        "progress" => {
            let token = &params["_meta"]["progressToken"];
            let mut out = String::new();
            for at in 1..=number("count") {
                let note = json!({ "progressToken": token, "progress": at });
                out += &format!("{}\n", json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": note }));
            }
            let answer = json!({ "content": [{ "type": "text", "text": "done" }] });
            out += &format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "result": answer }));
            raw(out.as_bytes());
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
        // An answer of `bytes`.
        "big" => text(&"x".repeat(usize::try_from(number("bytes")).unwrap_or(0))),
        // Asks the client, and answers with what it said.
        "ask" => {
            let (send, answer) = channel();
            let question = json!(format!("q-{id}"));
            waiting.lock().expect("no panic").insert(question.to_string(), send);
            let params = json!({ "message": "?", "requestedSchema": { "type": "object", "properties": {} } });
            line(&json!({ "jsonrpc": "2.0", "id": question, "method": "elicitation/create", "params": params }));
            let answer = answer.recv_timeout(Duration::from_secs(60)).unwrap_or_default();
            text(&answer.to_string());
        }
        // Writes the string `text` as it is, then answers.
        "write" => {
            raw(arguments["text"].as_str().unwrap_or_default().as_bytes());
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
