//! The bridge between a modern client and a legacy child, played from both sides. A [`Bench`] holds the router, the clock, the
//! places and the next stream; what a step gives is compared whole.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use tokio::sync::Semaphore;

use super::parked::NotResumed;
use super::*;
use crate::bridge::ticket::{Kind as TicketKind, Ticket};
use crate::budget::Budget;
use crate::link::route::Place;
use crate::metrics::Metrics;
use crate::principal::Principal;
use crate::seal::Seal;

mod clock;
mod ends;
mod ledger;
mod parked;
mod properties;
mod regressions;
mod returns;
mod running;
mod scripts;
mod sent_again;
mod strays;
mod through_state;
mod tickets;

const PATIENCE: Patience = Patience {
    request: Duration::from_secs(300),
    hard: Duration::from_secs(3600),
    park: Duration::from_secs(600),
    grace: Duration::from_secs(30),
};

/// What the child says of itself.
const FACTS: &[u8] = br#"{"capabilities":{"tools":{},"logging":{}},"serverInfo":{"name":"x"}}"#;
/// …which every result then carries.
const META: &str = r#""_meta":{"io.modelcontextprotocol/serverInfo":{"name":"x"}}"#;
/// Everything that a client can be asked.
const ALL: &str = r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}"#;

const FORM: &str = r#"{"jsonrpc":"2.0","id":"f","method":"elicitation/create","params":{"message":"m","requestedSchema":{}}}"#;
const SAMPLING: &str = r#"{"jsonrpc":"2.0","id":5,"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}"#;
const ROOTS: &str = r#"{"jsonrpc":"2.0","id":"r","method":"roots/list"}"#;
/// The same as the client sees them.
const FORM_ASKED: &str = r#"{"method":"elicitation/create","params":{"message":"m","requestedSchema":{}}}"#;
const SAMPLING_ASKED: &str = r#"{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}"#;
const ROOTS_ASKED: &str = r#"{"method":"roots/list","params":{}}"#;

const NAME: &str = "default";
const SLOT: u64 = 4;
/// The lease's number; the router is told it and tells it in its states.
const LEASE: u64 = 70;

/// A request of a client.
#[derive(Clone, Debug)]
struct Said {
    id: String,
    method: &'static str,
    name: &'static str,
    arguments: String,
    declared: String,
    token: Option<String>,
    level: Option<&'static str>,
    responses: Option<String>,
    state: Option<String>,
}

/// A tool call that may be asked everything.
fn call(id: &str) -> Said {
    Said {
        id: id.to_owned(),
        method: "tools/call",
        name: "ask",
        arguments: "{}".to_owned(),
        declared: ALL.to_owned(),
        token: None,
        level: None,
        responses: None,
        state: None,
    }
}

impl Said {
    fn declaring(mut self, declared: &str) -> Said {
        declared.clone_into(&mut self.declared);
        self
    }

    fn with_token(mut self, token: &str) -> Said {
        self.token = Some(token.to_owned());
        self
    }

    fn with_level(mut self, level: &'static str) -> Said {
        self.level = Some(level);
        self
    }

    fn with_arguments(mut self, arguments: &str) -> Said {
        arguments.clone_into(&mut self.arguments);
        self
    }

    /// A retry of it: the same call under another id.
    fn again(&self, id: &str, state: &str, responses: &str) -> Said {
        let id = id.to_owned();
        Said { id, responses: Some(responses.to_owned()), state: Some(state.to_owned()), ..self.clone() }
    }

    fn text(&self) -> String {
        let mut meta = Vec::new();
        meta.extend(self.token.as_ref().map(|token| format!(r#""progressToken":{token}"#)));
        meta.push(r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#.to_owned());
        meta.push(format!(r#""io.modelcontextprotocol/clientCapabilities":{}"#, self.declared));
        meta.extend(self.level.map(|level| format!(r#""io.modelcontextprotocol/logLevel":"{level}""#)));
        let mut params = vec![format!(r#""name":"{}","arguments":{}"#, self.name, self.arguments)];
        params.extend(self.responses.as_ref().map(|responses| format!(r#""inputResponses":{responses}"#)));
        params.extend(self.state.as_ref().map(|state| format!(r#""requestState":"{state}""#)));
        params.push(format!(r#""_meta":{{{}}}"#, meta.join(",")));
        format!(r#"{{"jsonrpc":"2.0","id":{},"method":"{}","params":{{{}}}}}"#, self.id, self.method, params.join(","))
    }

    fn declared(&self) -> Declared {
        Declared::of(self.declared.as_bytes())
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
    router: ModernOnLegacy,
    seal: Arc<Seal>,
    now: Instant,
    places: Arc<Semaphore>,
    log: Log,
}

/// How many calls of one principal may run that can be asked.
const PLACES: usize = 8;

impl Bench {
    /// A child that was initialised with everything that a client can be asked.
    fn new() -> Bench {
        Bench::declaring(ALL)
    }

    fn declaring(capabilities: &str) -> Bench {
        let seal = Arc::new(Seal::random(None).expect("random bytes"));
        let principal = Principal::Anonymous.tag();
        let sealer = Sealer { seal: Arc::clone(&seal), context: NAME, slot: SLOT, principal };
        let mut router =
            ModernOnLegacy::new(&Capabilities::of(capabilities.as_bytes()), sealer, PATIENCE, Arc::new(Budget::new(1 << 20)));
        router.learn(Facts::of(FACTS).into());
        let (budget, now) = (Arc::new(Budget::new(1 << 30)), Instant::now());
        let log = Log::shared(1 << 20, budget, Arc::new(Metrics::new()), now);
        Bench { router, seal, now, places: Arc::new(Semaphore::new(PLACES)), log }
    }

    fn place(&self) -> Place {
        Place::new(Arc::clone(&self.places).try_acquire_owned().expect("a free place"))
    }

    fn free_places(&self) -> usize {
        self.places.available_permits()
    }

    fn take(&mut self, lease: u64, said: &Said) -> bool {
        let (text, place) = (said.text(), self.place());
        self.router.take_lease(lease, &asked(&text), said.declared(), place).is_ok()
    }

    fn untake(&mut self, lease: u64) -> Vec<Routed> {
        let mut out = Vec::new();
        self.router.untake_lease(lease, &mut out);
        out
    }

    /// Sends the call that has the lease.
    fn ask(&mut self, lease: u64, said: &Said, stream: u64) -> Vec<Routed> {
        let (text, mut out) = (said.text(), Vec::new());
        self.router.ask(lease, &asked(&text), StreamId(stream), self.now, &mut out);
        out
    }

    /// A call with the lease, on its way: its private number.
    fn running(&mut self, said: &Said, stream: u64) -> u64 {
        assert!(self.take(LEASE, said), "the lease is free");
        number_of(&self.ask(LEASE, said, stream))
    }

    /// A call that can be asked nothing.
    fn share(&mut self, said: &Said, stream: u64) -> u64 {
        let text = said.text();
        let line = self.router.request(&asked(&text), StreamId(stream), self.now);
        number_of(&[Routed::told(line)])
    }

    /// The child writes a line.
    fn hear(&mut self, text: &str) -> Vec<Routed> {
        let (envelope, mut out) = (jsonrpc::read(text.as_bytes()).expect("a message"), Vec::new());
        self.router.line(text.as_bytes(), &envelope, &self.log, self.now, &mut out);
        out
    }

    /// Time goes by, and the clock is looked at.
    fn after(&mut self, time: Duration) -> Vec<Routed> {
        self.now += time;
        let mut out = Vec::new();
        self.router.tick(self.now, &mut out);
        out
    }

    /// The child asks, and its questions go to the client: the state that the client gets, and the round it is of.
    fn parked(&mut self, questions: &[&str]) -> String {
        questions.iter().for_each(|question| drop(self.hear(question)));
        let routed = self.after(lease::QUIET);
        self.state_in(&routed)
    }

    /// The state in the only answer of a step.
    fn state_in(&self, routed: &[Routed]) -> String {
        let answer = routed.iter().find_map(|routed| match routed {
            Routed::Event(_, EventKind::Answer, text) => Some(text),
            _ => None,
        });
        let answer: serde_json::Value = serde_json::from_slice(answer.expect("an answer")).expect("JSON");
        answer["result"]["requestState"].as_str().expect("a state").to_owned()
    }

    fn ticket(&self, state: &str) -> Ticket {
        Ticket::open(&self.seal, NAME.as_bytes(), state).expect("our own state")
    }

    /// What `pool` does with a retry: its ticket is opened, checked, and the lease asked.
    fn check(&self, principal: &Principal, said: &Said) -> Result<Ticket, NotResumed> {
        let text = said.text();
        let asked = asked(&text);
        let state = said.state.as_deref().unwrap_or_default();
        let ticket = Ticket::open(&self.seal, NAME.as_bytes(), state).ok_or(NotResumed::Unknown)?;
        if ticket.principal != principal.tag() || ticket.digest != asked.digest() || ticket.kind != TicketKind::Park {
            return Err(NotResumed::Unknown);
        }
        self.router.check_retry(ticket.lease, ticket.round, &asked)?;
        Ok(ticket)
    }

    /// A retry that is checked and taken.
    fn retry(&mut self, said: &Said, stream: u64) -> Vec<Routed> {
        self.check(&Principal::Anonymous, said).expect("a good retry");
        let (text, place, mut out) = (said.text(), self.place(), Vec::new());
        self.router.retry(&asked(&text), said.declared(), StreamId(stream), place, self.now, &mut out);
        out
    }

    fn give_up(&mut self) -> Vec<Routed> {
        let mut out = Vec::new();
        self.router.give_up(self.now, &mut out);
        out
    }

    /// The client of that stream goes.
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

    /// The child dies.
    fn die(&mut self) -> Vec<Routed> {
        let mut out = Vec::new();
        self.router.fail_all("it died", &serde_json::json!({ "reason": "child_exited" }), self.now, &mut out);
        out
    }

    /// The `InputRequiredResult` that a step gives, whole.
    fn input_required(&self, id: &str, requests: &[(&str, &str)], routed: &[Routed]) -> String {
        let state = self.state_in(routed);
        let requests: Vec<String> = requests.iter().map(|(key, question)| format!("\"{key}\":{question}")).collect();
        let requests = requests.join(",");
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"input_required","inputRequests":{{{requests}}},"requestState":"{state}",{META}}}}}"#
        )
    }
}

/// The id in the only line that a step writes to the child, a request.
fn number_of(routed: &[Routed]) -> u64 {
    let [Routed::ToChild(line)] = routed else { panic!("not one line: {routed:?}") };
    let line: serde_json::Value = serde_json::from_slice(line).expect("JSON");
    line["id"].as_u64().expect("a private number")
}

fn to_child(line: &str) -> Routed {
    Routed::ToChild(format!("{line}\n").into_bytes())
}

fn answer(stream: u64, text: &str) -> Routed {
    Routed::Event(StreamId(stream), EventKind::Answer, text.as_bytes().to_vec())
}

fn note(stream: u64, text: &str) -> Routed {
    Routed::Event(StreamId(stream), EventKind::Notification, text.as_bytes().to_vec())
}

fn freed() -> Routed {
    Routed::Notice(Notice::Freed)
}

/// A place that is given back; all are equal.
fn release() -> Routed {
    Routed::Release(Place::new(Arc::new(Semaphore::new(1)).try_acquire_owned().expect("a permit")))
}

fn cancelled(number: u64, reason: &str) -> Routed {
    to_child(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{number},"reason":"{reason}"}}}}"#
    ))
}

/// A question of the child is answered with an error.
fn refused(id: &str, code: i32, text: &str) -> Routed {
    to_child(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{text}"}}}}"#))
}

/// A question of the child is answered.
fn told(id: &str, value: &str) -> Routed {
    to_child(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{value}}}"#))
}

/// The child's answer to that number, and what the client of that id gets of it.
fn result(number: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{"content":[]}}}}"#)
}

fn complete(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","content":[],{META}}}}}"#)
}

fn error(id: &str, code: i32, text: &str, data: &str) -> String {
    let data = if data.is_empty() { String::new() } else { format!(",\"data\":{data}") };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{text}"{data}}}}}"#)
}

fn log_line(level: &str, data: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}","data":"{data}"}}}}"#)
}

fn progress(token: &str, progress: u32) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{progress}}}}}"#)
}

const MILLISECOND: Duration = Duration::from_millis(1);

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
