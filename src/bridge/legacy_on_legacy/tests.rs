//! Many sessions on one legacy child, played from both sides: what a step gives is compared whole.

use std::sync::Arc;

use super::*;
use crate::budget::Budget;
use crate::link::cursor::Cursor;
use crate::link::effects::Effects;
use crate::metrics::Metrics;

mod calls;
mod clock;
mod properties;
mod questions;
mod scripts;
mod seats;
mod turns;

const PATIENCE: Patience = Patience {
    request: Duration::from_secs(300),
    hard: Duration::from_secs(3600),
    park: Duration::from_secs(600),
    grace: Duration::from_secs(30),
};

const QUESTION: Duration = Duration::from_secs(600);

/// Everything that a client can declare.
const ALL: &[u8] = br#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}"#;

/// A session of that number, which can be asked everything.
fn session(number: u64) -> Sitter {
    Sitter { number, declared: Declared::of(ALL), ..Sitter::default() }
}

struct Bench {
    router: LegacyOnLegacy,
    log: Log,
    now: Instant,
    /// Who reads the streams.
    cursors: HashMap<u64, Cursor>,
}

impl Bench {
    fn new() -> Bench {
        let (budget, now) = (Arc::new(Budget::new(1 << 30)), Instant::now());
        let log = Log::shared(1 << 20, budget, Arc::new(Metrics::new()), now);
        Bench { router: LegacyOnLegacy::new(PATIENCE, QUESTION), log, now, cursors: HashMap::new() }
    }

    fn open(&mut self) -> StreamId {
        let cursor = self.log.open(b"null", None, self.now);
        let stream = cursor.stream;
        self.cursors.insert(stream.0, cursor);
        stream
    }

    /// Begins to use the child: where it hears of what is about no call, and what comes of it.
    fn sit(&mut self, sitter: &Sitter) -> (u64, Vec<Routed>) {
        let stream = self.open();
        let routed = self.routed(|router, _, _, out| router.sit(sitter, stream, out));
        (stream.0, routed)
    }

    /// The same, of one that asks for nothing.
    fn seated(&mut self, number: u64) -> u64 {
        let (stream, routed) = self.sit(&session(number));
        same(&routed, &[]);
        stream
    }

    fn set_level(&mut self, number: u64, level: Level) -> Vec<Routed> {
        self.routed(|router, _, _, out| router.set_level(number, level, out))
    }

    /// A request of a session: its stream, and the line that the child gets.
    fn line(&mut self, sitter: &Sitter, text: &str, carries: Carries) -> (u64, String) {
        let stream = self.open();
        let envelope = jsonrpc::read(text.as_bytes()).expect("a message");
        let line = self.router.request(sitter, text.as_bytes(), &envelope, stream, carries, self.now);
        let line =
            String::from_utf8(line.joined(text.as_bytes())).expect("UTF-8").strip_suffix('\n').expect("a whole line").to_owned();
        (stream.0, line)
    }

    /// A tool call: its stream and its private number.
    fn call(&mut self, number: u64) -> (u64, u64) {
        self.send(number, &call("1", None))
    }

    fn send(&mut self, number: u64, text: &str) -> (u64, u64) {
        let (stream, line) = self.line(&session(number), text, Carries::Events);
        (stream, number_of(&line))
    }

    /// The child writes a line.
    fn hear(&mut self, text: &str) -> Vec<Routed> {
        let envelope = jsonrpc::read(text.as_bytes()).expect("a message");
        self.routed(|router, log, now, out| Route::line(router, text.as_bytes(), &envelope, log, now, out))
    }

    fn after(&mut self, time: Duration) -> Vec<Routed> {
        self.now += time;
        self.routed(|router, _, now, out| router.tick(now, out))
    }

    /// Nobody reads the stream any more: its call is given up, or its session is over.
    fn leave(&mut self, stream: u64) -> Vec<Routed> {
        let cursor = self.cursors.remove(&stream).expect("it is read");
        self.log.detach(&cursor, self.now);
        assert!(!self.log.is_reachable(StreamId(stream)));
        self.routed(|router, _, now, out| router.left(StreamId(stream), now, out))
    }

    fn lose_line(&mut self) -> Vec<Routed> {
        self.routed(|router, _, now, out| router.line_lost("too long", now, out))
    }

    fn die(&mut self) -> Vec<Routed> {
        let data = serde_json::json!({ "reason": "child_exited" });
        self.routed(|router, _, now, out| router.fail_all("it died", &data, now, out))
    }

    /// The client answers the question of that id.
    fn reply(&mut self, id: &str) -> Routed {
        self.router.answer(id.as_bytes(), b"what it said\n".to_vec())
    }

    /// Lets the router decide, and puts into the log what belongs there.
    fn routed(&mut self, decide: impl FnOnce(&mut LegacyOnLegacy, &Log, Instant, &mut Vec<Routed>)) -> Vec<Routed> {
        let (mut out, mut effects) = (Vec::new(), Effects::default());
        decide(&mut self.router, &self.log, self.now, &mut out);
        for routed in &out {
            match routed {
                Routed::Event(stream, kind, text) => drop(self.log.append(*stream, *kind, text.clone().into(), &mut effects)),
                Routed::End(stream) => self.log.end(*stream, &mut effects),
                _ => {}
            }
        }
        out
    }
}

fn number_of(line: &str) -> u64 {
    let id = jsonrpc::read(line.as_bytes()).expect("a message").id.expect("an id");
    private_number(id.of(line.as_bytes())).expect("a private number")
}

/// A tool call with that id and progress token.
fn call(id: &str, token: Option<&str>) -> String {
    let token = token.map(|token| format!(r#","_meta":{{"progressToken":{token}}}"#)).unwrap_or_default();
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call", "params":{{"name":"t","n":1e400{token}}}}}"#)
}

/// `resources/subscribe` or `resources/unsubscribe`.
fn about(id: &str, what: &str, uri: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"resources/{what}","params":{{"uri":"{uri}"}}}}"#)
}

fn result(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","result":{{"n":1e400}},"id":{id}}}"#)
}

fn error(id: &str, code: i32, text: &str, data: &str) -> String {
    let data = if data.is_empty() { String::new() } else { format!(",\"data\":{data}") };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{text}"{data}}}}}"#)
}

fn progress(token: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#)
}

fn log_line(level: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}","data":"x"}}}}"#)
}

fn changed(what: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/{what}/list_changed"}}"#)
}

fn updated(uri: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#)
}

fn question(id: &str, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

fn asks(id: &str) -> String {
    question(id, "elicitation/create", r#"{"message":"?"}"#)
}

fn withdraws(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#)
}

fn event(stream: u64, kind: EventKind, text: &str) -> Routed {
    Routed::Event(StreamId(stream), kind, text.as_bytes().to_vec())
}

fn answer(stream: u64, text: &str) -> Routed {
    event(stream, EventKind::Answer, text)
}

fn note(stream: u64, text: &str) -> Routed {
    event(stream, EventKind::Notification, text)
}

fn end(stream: u64) -> Routed {
    Routed::End(StreamId(stream))
}

fn to_child(line: &str) -> Routed {
    Routed::ToChild(format!("{line}\n").into_bytes())
}

fn refusal(id: &str, code: i32, text: &str) -> Routed {
    to_child(&error(id, code, text, ""))
}

fn cancelled(number: u64, reason: &str) -> Routed {
    to_child(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{number},"reason":"{reason}"}}}}"#
    ))
}

/// The client need not answer any more.
fn expired(stream: u64, id: &str) -> Routed {
    let params = format!(r#"{{"requestId":{id},"reason":"nobody answered in time"}}"#);
    note(stream, &format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#))
}

/// A request of the gateway's own.
fn own(number: u64, method: &str, params: &str) -> Routed {
    to_child(&format!(r#"{{"jsonrpc":"2.0","id":{number},"method":"{method}","params":{params}}}"#))
}

fn own_level(number: u64, level: &str) -> Routed {
    own(number, "logging/setLevel", &format!(r#"{{"level":"{level}"}}"#))
}

fn own_about(number: u64, what: &str, uri: &str) -> Routed {
    own(number, &format!("resources/{what}"), &format!(r#"{{"uri":"{uri}"}}"#))
}

const NOBODY: &str = "several clients use this server, or the client cannot be asked this: nobody can be asked";
const GIVEN_UP: &str = "the client gave it up";
const OVER: &str = "the call that this was asked in is over";

/// Compares what a step gave, in words where it differs.
#[track_caller]
fn same(given: &[Routed], expected: &[Routed]) {
    assert!(given == expected, "given    {:#?}\nexpected {:#?}", shown(given), shown(expected));
}

/// The same in any order.
#[track_caller]
fn same_set(given: &[Routed], expected: &[Routed]) {
    let sorted = |routed| {
        let mut shown = shown(routed);
        shown.sort_unstable();
        shown
    };
    assert_eq!(sorted(given), sorted(expected));
}

fn shown(routed: &[Routed]) -> Vec<String> {
    let one = |routed: &Routed| match routed {
        Routed::ToChild(line) => format!("to the child {}", String::from_utf8_lossy(line)),
        Routed::Event(stream, kind, text) => format!("{kind:?} on {} {}", stream.0, String::from_utf8_lossy(text)),
        other => format!("{other:?}"),
    };
    routed.iter().map(one).collect()
}
