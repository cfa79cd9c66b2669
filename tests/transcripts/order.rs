//! Which of two faults of a request is told: the one that is checked first. Every pair of faults is tried.

use super::play::Play;
use crate::support::relay::with_gateway;

/// A request that is being spoiled.
struct Request {
    method: &'static str,
    body: String,
    /// As below a request in a transcript.
    below: Vec<&'static str>,
}

struct Fault {
    name: &'static str,
    /// Faults of one kind exclude each other.
    kind: &'static str,
    spoil: fn(&mut Request),
    status: u16,
    code: &'static str,
}

const GOOD: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// In the order of the checks: who asks, how, what, and in which session.
const FAULTS: [Fault; 13] = [
    fault("Host", "host", |request| request.below.push("host: evil.example.com"), 421, "-32600"),
    fault("Origin", "origin", |request| request.below.push("origin: http://evil.example.com"), 403, "-32600"),
    fault("path", "path", |request| request.below.push("target: /elsewhere"), 404, "-32600"),
    fault("method", "method", |request| request.method = "PUT", 405, "-32600"),
    fault("Accept", "accept", |request| request.below.push("accept: text/plain"), 406, "-32600"),
    fault("Content-Type", "type", |request| request.below.push("content-type: text/plain"), 415, "-32600"),
    fault("size", "size", |request| request.body.push_str("<<20 * 2000>>"), 413, "-32600"),
    fault("JSON", "body", |request| request.body.insert(0, '}'), 400, "-32700"),
    fault("shape", "body", |request| request.body = request.body.replace("2.0", "1.0"), 400, "-32600"),
    fault("missing session", "session", |request| request.below.push("-mcp-session-id"), 400, "-32600"),
    fault("unknown session", "session", |request| request.below.push("mcp-session-id: unknown"), 404, "-32600"),
    fault("version", "version", |request| request.below.push("mcp-protocol-version: 2025-01-01"), 400, "-32600"),
    fault("none", "none", |_| {}, 200, ""),
];

const fn fault(name: &'static str, kind: &'static str, spoil: fn(&mut Request), status: u16, code: &'static str) -> Fault {
    Fault { name, kind, spoil, status, code }
}

impl Fault {
    /// What the error says.
    fn text(&self) -> &'static str {
        match self.name {
            "Host" => "Misdirected Request",
            "Origin" => "Forbidden",
            "path" => "Not Found",
            "method" => "Method Not Allowed",
            "Accept" => "Not Acceptable",
            "Content-Type" => "Unsupported Media Type",
            "size" => "Content Too Large",
            "JSON" => "Parse error",
            "shape" => "Invalid Request",
            "missing session" => "Bad Request: Missing session ID",
            "unknown session" => "Session not found",
            _ => "Bad Request: Unsupported protocol version",
        }
    }
}

#[test]
fn of_two_faults_the_one_that_is_checked_first_is_told() {
    let flags = ["--max-body".to_owned(), "1KiB".to_owned()];
    with_gateway(&flags, async |relay| {
        let mut play = Play::new(relay);
        play.open("2025-11-25").await.expect("a session");
        for (at, first) in FAULTS.iter().enumerate().filter(|(_, fault)| fault.name != "none") {
            // Without a session, an unknown version is how a modern client asks what we speak: another answer.
            let is_question = |second: &Fault| first.name == "missing session" && second.name == "version";
            for second in FAULTS[at + 1..].iter().filter(|second| second.kind != first.kind && !is_question(second)) {
                let mut request = Request { method: "POST", body: GOOD.to_owned(), below: Vec::new() };
                (first.spoil)(&mut request);
                (second.spoil)(&mut request);
                let below: Vec<String> = request.below.into_iter().map(str::to_owned).collect();
                play.send(&format!("a {} {}", request.method, request.body), &below).await.expect("a request");
                let error = format!(r#""error":{{"code":{},"message":"{}$_"}}}}"#, first.code, first.text());
                let told = play.response("a", first.status, &format!(r#"{{"jsonrpc":"2.0","id":$_,{error}"#), &[]).await;
                told.unwrap_or_else(|fault| panic!("{} before {}:\n{fault}", first.name, second.name));
            }
        }
        play.left_over().await.expect("the child got nothing");
    });
}
