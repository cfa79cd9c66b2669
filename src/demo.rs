//! The built-in stdio server of `--demo`: a small legacy MCP server that shows what crosses the gateway. It runs as a child
//! process like any other server, and shares nothing with the gateway but the binary.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, Write as _, stdin, stdout};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// The first argument that makes the program be the demo server.
pub const DEMO_ARGUMENT: &str = "demo-stdio-server";

const CLOCK: &str = "demo://clock";
const REVISIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// Slow tools run in threads of their own, at most so many.
const MAX_RUNNING: usize = 64;

#[derive(Default)]
struct Demo {
    asks: bool,
    subscribed: bool,
    running: usize,
    cancelled: HashSet<String>,
    /// Who waits for the answer to which question.
    waiting: HashMap<u64, Sender<Value>>,
    questions: u64,
}

type Shared = Arc<Mutex<Demo>>;

/// Serves stdin until it ends.
pub fn serve() {
    let demo = Shared::default();
    let ticking = Arc::clone(&demo);
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_secs(2));
            if lock(&ticking).subscribed {
                notify("notifications/resources/updated", &json!({ "uri": CLOCK }));
            }
        }
    });
    for line in stdin().lock().lines() {
        let Ok(line) = line else { return };
        match serde_json::from_str::<Value>(&line) {
            Ok(message) if message.get("method").is_some() => asked(&demo, &message),
            Ok(answer) => answered(&demo, &answer),
            Err(error) => eprintln!("demo: not JSON: {error}"),
        }
    }
}

fn asked(demo: &Shared, message: &Value) {
    let method = message["method"].as_str().unwrap_or_default();
    let params = &message["params"];
    let Some(id) = message.get("id").cloned() else {
        if method == "notifications/cancelled" {
            lock(demo).cancelled.insert(params["requestId"].to_string());
        }
        return;
    };
    match method {
        "initialize" => {
            lock(demo).asks = params["capabilities"].get("elicitation").is_some();
            let wanted = params["protocolVersion"].as_str().unwrap_or_default();
            let revision = if REVISIONS.contains(&wanted) { wanted } else { REVISIONS[0] };
            result(
                &id,
                &json!({
                    "protocolVersion": revision,
                    "capabilities": { "tools": {}, "resources": { "subscribe": true }, "logging": {} },
                    "serverInfo": { "name": "mcp-http-gateway-demo", "version": env!("CARGO_PKG_VERSION") },
                    "instructions": "Try echo, clock, slow (reports progress) and ask (asks you back); demo://clock changes every 2 s.",
                }),
            );
        }
        "ping" | "logging/setLevel" => result(&id, &json!({})),
        "tools/list" => result(&id, &json!({ "tools": tools() })),
        "tools/call" => call(demo, id, params.clone()),
        "resources/list" => {
            result(&id, &json!({ "resources": [{ "uri": CLOCK, "name": "clock", "mimeType": "text/plain" }] }));
        }
        "resources/templates/list" => result(&id, &json!({ "resourceTemplates": [] })),
        "resources/read" if params["uri"] == CLOCK => {
            result(&id, &json!({ "contents": [{ "uri": CLOCK, "mimeType": "text/plain", "text": clock() }] }));
        }
        "resources/read" => error(&id, -32002, "no such resource"),
        "resources/subscribe" | "resources/unsubscribe" => {
            lock(demo).subscribed = method.ends_with("/subscribe");
            result(&id, &json!({}));
        }
        _ => error(&id, -32601, "method not found"),
    }
}

fn answered(demo: &Shared, answer: &Value) {
    let waiting = answer["id"].as_u64().and_then(|id| lock(demo).waiting.remove(&id));
    if let Some(waiting) = waiting {
        // The tool may have given up; then nobody wants the answer.
        let _ = waiting.send(answer.clone());
    }
}

fn tools() -> Value {
    let schema =
        |properties: Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required });
    json!([
        { "name": "echo", "description": "Gives back the text", "inputSchema": schema(json!({ "text": { "type": "string" } }), &["text"]) },
        { "name": "clock", "description": "The time, in seconds since 1970", "inputSchema": schema(json!({}), &[]) },
        { "name": "slow", "description": "Takes some seconds and reports progress",
          "inputSchema": schema(json!({ "seconds": { "type": "integer", "minimum": 1, "maximum": 60 } }), &[]) },
        { "name": "ask", "description": "Asks the user for a name, then greets", "inputSchema": schema(json!({}), &[]) },
    ])
}

fn call(demo: &Shared, id: Value, params: Value) {
    let arguments = &params["arguments"];
    match params["name"].as_str().unwrap_or_default() {
        "echo" => text(&id, arguments["text"].as_str().unwrap_or_default(), false),
        "clock" => text(&id, &clock(), false),
        "slow" => run(demo, id, move |demo, id| slow(demo, id, &params)),
        "ask" if lock(demo).asks => run(demo, id, ask),
        "ask" => text(&id, "this client cannot be asked: it did not declare elicitation", true),
        name => error(&id, -32602, &format!("no tool is named {name:?}")),
    }
}

/// Runs a tool in a thread of its own, so that others are answered meanwhile.
fn run(demo: &Shared, id: Value, tool: impl FnOnce(&Shared, &Value) + Send + 'static) {
    let mut state = lock(demo);
    if state.running >= MAX_RUNNING {
        return text(&id, "too many tools are running", true);
    }
    state.running += 1;
    drop(state);
    let demo = Arc::clone(demo);
    thread::spawn(move || {
        tool(&demo, &id);
        let mut state = lock(&demo);
        state.running -= 1;
        state.cancelled.remove(&id.to_string());
    });
}

fn slow(demo: &Shared, id: &Value, params: &Value) {
    let seconds = params["arguments"]["seconds"].as_u64().unwrap_or(3).clamp(1, 60);
    let token = &params["_meta"]["progressToken"];
    for second in 1..=seconds {
        thread::sleep(Duration::from_secs(1));
        if lock(demo).cancelled.contains(&id.to_string()) {
            return;
        }
        if !token.is_null() {
            notify("notifications/progress", &json!({ "progressToken": token, "progress": second, "total": seconds }));
        }
    }
    text(id, &format!("took {seconds} s"), false);
}

fn ask(demo: &Shared, id: &Value) {
    let (send, answer) = channel();
    let mut state = lock(demo);
    state.questions += 1;
    let question = state.questions;
    state.waiting.insert(question, send);
    drop(state);
    let schema = json!({ "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] });
    write(&json!({
        "jsonrpc": "2.0", "id": question, "method": "elicitation/create",
        "params": { "message": "What is your name?", "requestedSchema": schema },
    }));
    match answer.recv_timeout(Duration::from_secs(300)) {
        Ok(answer) if answer["result"]["action"] == "accept" => {
            let name = answer["result"]["content"]["name"].as_str().unwrap_or("stranger");
            text(id, &format!("Hello, {name}!"), false);
        }
        Ok(_) => text(id, "You would not say.", false),
        Err(_) => text(id, "No answer came.", true),
    }
}

fn clock() -> String {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string()
}

fn text(id: &Value, text: &str, is_error: bool) {
    result(id, &json!({ "content": [{ "type": "text", "text": text }], "isError": is_error }));
}

fn result(id: &Value, result: &Value) {
    write(&json!({ "jsonrpc": "2.0", "id": id, "result": result }));
}

fn error(id: &Value, code: i32, message: &str) {
    write(&json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } }));
}

fn notify(method: &str, params: &Value) {
    write(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
}

fn write(message: &Value) {
    // Whoever does not read any more will end this process.
    let _ = writeln!(stdout().lock(), "{message}");
}

fn lock(demo: &Shared) -> MutexGuard<'_, Demo> {
    demo.lock().unwrap_or_else(PoisonError::into_inner)
}
