//! The stdio MCP server of the two proofs, `tests/faults` and `tests/soak`: it counts what it is told, and does on request what
//! no server should. `proof_child modern` does without `initialize`, `proof_child linger` stays when its input ends. To a client
//! whose name is `late:MS` it answers `initialize` after so many milliseconds, to one whose name is `never` it does not. Where
//! `PROOF_DIR` names a directory, what it is told and what it runs stands in a file a key there, which outlives it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, Write as _, stderr, stdin, stdout};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// How often each key was named by `notifications/count`.
static COUNTS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

fn main() {
    let is_modern = std::env::args().any(|word| word == "modern");
    for line in stdin().lock().lines() {
        let Ok(line) = line else { return };
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        heard(&message, is_modern);
    }
    if std::env::args().any(|word| word == "linger") {
        forever();
    }
}

fn forever() -> ! {
    loop {
        thread::park();
    }
}

fn heard(message: &Value, is_modern: bool) {
    let params = &message["params"];
    match (message["method"].as_str(), message.get("id")) {
        (Some("server/discover"), Some(id)) if is_modern => {
            let facts = json!({
                "resultType": "complete",
                "supportedVersions": ["2026-07-28"],
                "capabilities": { "tools": {}, "logging": {} },
                "ttlMs": 0,
                "cacheScope": "private",
            });
            result(id, &facts);
        }
        (Some("initialize"), Some(id)) if !is_modern => initialize(id, params),
        (Some("ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe"), Some(id)) => {
            result(id, &json!({}));
        }
        (Some("tools/list"), Some(id)) => {
            result(id, &json!({ "tools": [{ "name": "echo", "inputSchema": { "type": "object" } }] }));
        }
        (Some("tools/call"), Some(id)) => called(id, params),
        (Some("notifications/count"), None) => {
            let key = params["key"].as_str().unwrap_or_default().to_owned();
            write_down(&key, "told");
            *COUNTS.lock().expect("no panic").entry(key).or_default() += 1;
        }
        (Some(_), Some(id)) => {
            line(&json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "method not found" } }));
        }
        _ => {}
    }
}

fn initialize(id: &Value, params: &Value) {
    let name = params["clientInfo"]["name"].as_str().unwrap_or_default();
    if name == "never" {
        return;
    }
    if let Some(late) = name.strip_prefix("late:").and_then(|ms| ms.parse().ok()) {
        thread::sleep(Duration::from_millis(late));
    }
    let capabilities = json!({ "tools": {}, "logging": {}, "resources": { "subscribe": true } });
    let server = json!({ "name": "proof", "version": "0" });
    result(id, &json!({ "protocolVersion": params["protocolVersion"], "capabilities": capabilities, "serverInfo": server }));
}

fn called(id: &Value, params: &Value) {
    let arguments = &params["arguments"];
    let number = |key: &str| arguments[key].as_u64().unwrap_or(0);
    match params["name"].as_str().unwrap_or_default() {
        "echo" => text(id, arguments["text"].as_str().unwrap_or_default()),
        "pid" => text(id, &std::process::id().to_string()),
        "never" => {}
        // How often a key was counted; it is forgotten.
        "counted" => {
            let key = arguments["key"].as_str().unwrap_or_default();
            let count = COUNTS.lock().expect("no panic").remove(key).unwrap_or(0);
            text(id, &count.to_string());
        }
        // Lines that are no messages, and then the answer.
        "garbage" => {
            raw(b"npm notice\n\n\xff\xfe\n{\"jsonrpc\":\n[]\n7\n\0\n{\"jsonrpc\":\"2.0\",\"id\":18446744073709551999,\"result\":{}}\n");
            text(id, "garbage");
        }
        // Reads and writes nothing for so long.
        "stall" => {
            thread::sleep(Duration::from_millis(number("ms")));
            text(id, "stalled");
        }
        // Takes so much memory, for good.
        "take" => {
            std::mem::forget(vec![1_u8; number("bytes") as usize]);
            text(id, "taken");
        }
        // Never reads again. One that writes first writes `bytes` while its stdin fills, and then reads on.
        "hang" => forever(),
        "gush" => {
            let pad = note(&"x".repeat(60 << 10));
            (0..=number("bytes") / pad.len() as u64).for_each(|_| raw(pad.as_bytes()));
            text(id, "gushed");
        }
        // Closes its stdout, and lives.
        "mute" => {
            rustix::stdio::dup2_stdout(File::open("/dev/null").expect("it is there")).expect("a descriptor");
            forever();
        }
        // Closes its stdin, and lives.
        "deaf" => {
            rustix::stdio::dup2_stdin(File::open("/dev/null").expect("it is there")).expect("a descriptor");
            forever();
        }
        "exit" => std::process::exit(i32::try_from(number("code")).unwrap_or(1)),
        // Writes the string as it is, and then the answer.
        "say" => {
            raw(arguments["text"].as_str().unwrap_or_default().as_bytes());
            text(id, "said");
        }
        _ => drop(thread::spawn({
            let (id, params) = (id.clone(), params.clone());
            move || slowly(&id, &params)
        })),
    }
}

/// Tools that take time, each in a thread of its own.
fn slowly(id: &Value, params: &Value) {
    let arguments = &params["arguments"];
    let number = |key: &str| arguments[key].as_u64().unwrap_or(0);
    match params["name"].as_str().unwrap_or_default() {
        "sleep" => {
            thread::sleep(Duration::from_millis(number("ms")));
            text(id, "slept");
        }
        // Writes down that it ran; answers after so long.
        "once" => {
            let said = arguments["text"].as_str().unwrap_or_default();
            write_down(arguments["key"].as_str().unwrap_or_default(), &format!("run {said}"));
            thread::sleep(Duration::from_millis(number("ms")));
            text(id, said);
        }
        // `count` progress notifications that say `text`, one every `us` microseconds, `pad` bytes larger; the answer says it too.
        "progress" => {
            let pad = "x".repeat(number("pad") as usize);
            for at in 1..=number("count") {
                let note = json!({ "progressToken": params["_meta"]["progressToken"], "progress": at, "message": arguments["text"], "pad": pad });
                line(&json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": note }));
                if number("us") > 0 {
                    thread::sleep(Duration::from_micros(number("us")));
                }
            }
            text(id, arguments["text"].as_str().unwrap_or_default());
        }
        // `bytes` of notifications, each of `line` bytes, as fast as they are read; then the answer.
        "flood" => {
            let one = note(&"x".repeat((number("line") as usize).saturating_sub(75)));
            let many = one.repeat((1 << 18) / one.len() + 1);
            let mut left = number("bytes");
            while left > 0 {
                raw(many.as_bytes());
                left = left.saturating_sub(many.len() as u64);
            }
            text(id, "flooded");
        }
        // One line of `bytes` bytes, the answer in the next.
        "line" => {
            let part = [b'x'; 1 << 16];
            let mut out = stdout().lock();
            for _ in 0..number("bytes") >> 16 {
                out.write_all(&part).expect("it is read");
            }
            out.write_all(b"\n").expect("it is read");
            drop(out);
            text(id, "a line");
        }
        // `bytes` to stderr, in lines, as fast as they are read; says how many milliseconds that took.
        "stderr" => {
            let many =
                "a line of an excited server, which has much to say about everything it does and does not do\n".repeat(700);
            let (began, mut left) = (std::time::Instant::now(), number("bytes"));
            let mut err = stderr().lock();
            while left > 0 {
                err.write_all(many.as_bytes()).expect("it is read");
                left = left.saturating_sub(many.len() as u64);
            }
            text(id, &began.elapsed().as_millis().to_string());
        }
        // Leaves `count` processes behind whose parents have ended, each with a status.
        "orphans" => {
            let script = format!("for n in $(seq {}); do (sh -c 'exit 7' &); done", number("count"));
            let status = Command::new("sh").args(["-c", &script]).status();
            text(id, &format!("{status:?}"));
        }
        // A process of its own session, with no pipe of ours, whose parent has ended.
        "daemon" => {
            let script = "setsid sh -c 'sleep 3600' </dev/null >/dev/null 2>&1 &";
            let status = Command::new("sh").args(["-c", script]).status();
            text(id, &format!("{status:?}"));
        }
        // Processes that start processes, as many as they may.
        "bomb" => {
            text(id, "many");
            loop {
                // Who is refused tries again.
                if Command::new("sh")
                    .args(["-c", "sleep 60 & sleep 60 & sleep 60"])
                    .stderr(std::process::Stdio::null())
                    .spawn()
                    .is_err()
                {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
        _ => line(&json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32602, "message": "no such tool" } })),
    }
}

/// Adds a line to the file of this key.
fn write_down(key: &str, text: &str) {
    let Ok(dir) = std::env::var("PROOF_DIR") else { return };
    let file = OpenOptions::new().append(true).create(true).open(format!("{dir}/{key}")).expect("a file");
    (&file).write_all(format!("{text}\n").as_bytes()).expect("room for a line");
}

fn note(data: &str) -> String {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{{\"level\":\"info\",\"data\":\"{data}\"}}}}\n"
    )
}

fn text(id: &Value, text: &str) {
    result(id, &json!({ "content": [{ "type": "text", "text": text }] }));
}

fn result(id: &Value, result: &Value) {
    line(&json!({ "jsonrpc": "2.0", "id": id, "result": result }));
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
