//! The bridge between modern clients and a modern child, played from both sides: what a step gives is compared whole.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::bridge::ticket::Ticket;
use crate::budget::Budget;
use crate::metrics::Metrics;
use crate::principal::Principal;
use crate::protocol::meta::Level;
use crate::seal::Seal;

mod calls;
mod listens;
mod properties;
mod regressions;
mod states;

const PATIENCE: Patience = Patience {
    request: Duration::from_secs(300),
    hard: Duration::from_secs(3600),
    park: Duration::from_secs(600),
    grace: Duration::from_secs(30),
};

const NAME: &str = "default";
const SLOT: u64 = 6;
const MILLISECOND: Duration = Duration::from_millis(1);

/// A request of a client, whatever its method; `meta` and `params` are further members, each with its comma.
struct Said<'a> {
    id: &'a str,
    method: &'a str,
    params: &'a str,
    token: Option<&'a str>,
    level: Option<&'a str>,
}

/// A tool call.
fn call(id: &str) -> Said<'_> {
    Said { id, method: "tools/call", params: r#""name":"n","arguments":{"x":1},"#, token: None, level: None }
}

fn listen(id: &str) -> Said<'_> {
    Said { method: "subscriptions/listen", params: r#""notifications":{"toolsListChanged":true},"#, ..call(id) }
}

impl Said<'_> {
    fn text(&self) -> String {
        let token = self.token.map(|token| format!(r#""progressToken":{token},"#)).unwrap_or_default();
        let level = self.level.map(|level| format!(r#","io.modelcontextprotocol/logLevel":"{level}""#)).unwrap_or_default();
        let meta = format!(
            r#"{{{token}"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}{level}}}"#
        );
        let (id, method, params) = (self.id, self.method, self.params);
        format!(r#"{{"jsonrpc":"2.0","id":{id}, "method":"{method}","params":{{{params} "_meta":{meta}}}}}"#)
    }
}

/// What was read of a request, as `http::modern` reads it.
fn asked(text: &str) -> Asked<'static> {
    let text: &Bytes = Box::leak(Box::new(Bytes::copy_from_slice(text.as_bytes())));
    let envelope = jsonrpc::read(text).expect("a message");
    let asked = Asked::read(text, &envelope, Ask::of(text, &envelope));
    Asked { level: asked.request.level.and_then(Level::parse), ..asked }
}

struct Bench {
    router: ModernOnModern,
    seal: Arc<Seal>,
    now: Instant,
    log: Log,
}

impl Bench {
    fn new() -> Bench {
        let seal = Arc::new(Seal::random(None).expect("random bytes"));
        let principal = Principal::Anonymous.tag();
        let sealer = Sealer { seal: Arc::clone(&seal), context: NAME, slot: SLOT, principal };
        let (budget, now) = (Arc::new(Budget::new(1 << 30)), Instant::now());
        let log = Log::shared(1 << 20, budget, Arc::new(Metrics::new()), now);
        Bench { router: ModernOnModern::new(sealer, PATIENCE), seal, now, log }
    }

    /// The line that the child gets; a call that wants logs gets them if nobody else does, as `pool` has it.
    fn line(&mut self, said: &Said<'_>, stream: u64) -> String {
        let keeps_level = !self.router.has_logger();
        self.line_with(said, stream, None, keeps_level)
    }

    fn line_with(&mut self, said: &Said<'_>, stream: u64, state: Option<&str>, keeps_level: bool) -> String {
        let text = said.text();
        let state = state.map(str::as_bytes);
        let line = self.router.request(&asked(&text), StreamId(stream), state, keeps_level, self.now);
        String::from_utf8(line.joined(text.as_bytes())).expect("UTF-8").strip_suffix('\n').expect("a whole line").to_owned()
    }

    /// A call on its way: its private number.
    fn send(&mut self, said: &Said<'_>, stream: u64) -> u64 {
        let line: serde_json::Value = serde_json::from_str(&self.line(said, stream)).expect("JSON");
        line["id"].as_u64().expect("a private number")
    }

    /// The child writes a line.
    fn hear(&mut self, text: &str) -> Vec<Routed> {
        let (envelope, mut out) = (jsonrpc::read(text.as_bytes()).expect("a message"), Vec::new());
        Route::line(&mut self.router, text.as_bytes(), &envelope, &self.log, self.now, &mut out);
        out
    }

    fn after(&mut self, time: Duration) -> Vec<Routed> {
        self.now += time;
        let mut out = Vec::new();
        self.router.tick(self.now, &mut out);
        out
    }

    fn leave(&mut self, stream: u64) -> Vec<Routed> {
        let mut out = Vec::new();
        self.router.left(StreamId(stream), self.now, &mut out);
        out
    }

    fn lose_line(&mut self) -> Vec<Routed> {
        let mut out = Vec::new();
        self.router.line_lost("too long", self.now, &mut out);
        out
    }

    fn die(&mut self) -> Vec<Routed> {
        let mut out = Vec::new();
        self.router.fail_all("it died", &serde_json::json!({ "reason": "child_exited" }), self.now, &mut out);
        out
    }

    fn stop(&mut self) -> Vec<Routed> {
        let mut out = Vec::new();
        self.router.end_listens("the gateway stops", &mut out);
        out
    }

    /// What `pool::open_ticket` does with a state.
    fn open(&self, principal: &Principal, said: &Said<'_>, state: &str) -> Option<Ticket> {
        let text = said.text();
        let ticket = Ticket::open(&self.seal, NAME.as_bytes(), state)?;
        (ticket.principal == principal.tag() && ticket.digest == asked(&text).digest()).then_some(ticket)
    }
}

fn answer(stream: u64, text: &str) -> Routed {
    Routed::Event(StreamId(stream), EventKind::Answer, text.as_bytes().to_vec())
}

fn note(stream: u64, text: &str) -> Routed {
    Routed::Event(StreamId(stream), EventKind::Notification, text.as_bytes().to_vec())
}

fn end(stream: u64) -> Routed {
    Routed::End(StreamId(stream))
}

fn to_child(line: &str) -> Routed {
    Routed::ToChild(format!("{line}\n").into_bytes())
}

fn cancelled(number: u64, reason: &str) -> Routed {
    to_child(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{number},"reason":"{reason}"}}}}"#
    ))
}

fn result(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","result":{{"resultType":"complete","n":1e400}},"id":{id}}}"#)
}

fn error(id: &str, code: i32, text: &str, data: &str) -> String {
    let data = if data.is_empty() { String::new() } else { format!(",\"data\":{data}") };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{text}"{data}}}}}"#)
}

fn progress(token: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#)
}

const LOG: &str = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#;

/// A frame of a subscription; `method` without `notifications/`.
fn frame(method: &str, id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{{"_meta":{{"a":1,"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
    )
}

/// Compares what a step gave, in words where it differs.
#[track_caller]
fn same(given: &[Routed], expected: &[Routed]) {
    assert!(given == expected, "given    {:#?}\nexpected {:#?}", shown(given), shown(expected));
}

fn shown(routed: &[Routed]) -> Vec<String> {
    let one = |routed: &Routed| match routed {
        Routed::ToChild(line) => format!("to the child {}", String::from_utf8_lossy(line)),
        Routed::Event(stream, kind, text) => format!("{kind:?} on {} {}", stream.0, String::from_utf8_lossy(text)),
        other => format!("{other:?}"),
    };
    routed.iter().map(one).collect()
}
