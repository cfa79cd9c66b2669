//! What went over both wires of a router, and what must hold of it whatever was said: lines to the child and events to clients
//! are whole messages, private numbers are never given twice, every call is answered at most once and to who made it, every
//! question of the child at most once.

use std::collections::BTreeMap;

use super::json;
use crate::link::route::{Notice, Routed};
use crate::link::stream::EventKind;
use crate::protocol::jsonrpc::{self, Envelope, Kind, Method, Unreadable};
use crate::protocol::splice::{canonical, private_number};

/// A client's request that is not answered.
struct Waiting {
    id: Vec<u8>,
}

#[derive(Default)]
struct Stream {
    waiting: Vec<Waiting>,
    /// Of all that ever waited there: of two with one id it is not known which was answered.
    tokens: Vec<Vec<u8>>,
    /// All whose calls were ever answered here.
    owners: Vec<u64>,
    is_over: bool,
}

struct InChild {
    owner: u64,
    is_answered: bool,
    is_cancelled: bool,
}

/// Whose clients they are: what the gateway may say on its own differs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Clients {
    Modern,
    Legacy,
}

pub(super) struct Ledger {
    clients: Clients,
    streams: BTreeMap<u64, Stream>,
    calls: BTreeMap<u64, InChild>,
    /// By their canonical ids: how often each was asked and is not answered.
    questions: BTreeMap<Vec<u8>, usize>,
    /// Whose call is being made.
    pub(super) owner: u64,
}

/// What came to a client: its stream and the message.
pub(super) type Told = (u64, EventKind, Vec<u8>);

impl Ledger {
    pub(super) fn new(clients: Clients) -> Ledger {
        Ledger { clients, streams: BTreeMap::new(), calls: BTreeMap::new(), questions: BTreeMap::new(), owner: 0 }
    }

    /// A client's request, answered on that stream. It is the owner's that is set.
    pub(super) fn open(&mut self, stream: u64, id: &[u8], token: Option<&[u8]>) {
        let stream = self.streams.entry(stream).or_default();
        assert!(!stream.is_over, "nothing is asked on a stream that is over");
        stream.tokens.extend(token.map(<[u8]>::to_vec));
        stream.waiting.push(Waiting { id: id.to_vec() });
        stream.owners.push(self.owner);
    }

    /// Private numbers that the child was given, the newest of them.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.calls.keys().rev().take(32).copied().collect()
    }

    /// Streams on which an answer is awaited.
    pub(super) fn open_streams(&self) -> Vec<u64> {
        self.streams.iter().filter(|(_, stream)| !stream.waiting.is_empty()).map(|(number, _)| *number).collect()
    }

    pub(super) fn waiting(&self) -> usize {
        self.streams.values().map(|stream| stream.waiting.len()).sum()
    }

    pub(super) fn open_questions(&self) -> usize {
        self.questions.values().sum()
    }

    /// The ids of open questions.
    pub(super) fn question_ids(&self) -> Vec<Vec<u8>> {
        self.questions.iter().filter(|(_, count)| **count > 0).map(|(id, _)| id.clone()).collect()
    }

    /// The child writes a message.
    pub(super) fn heard(&mut self, text: &[u8], envelope: &Envelope) {
        let id = envelope.id.map(|id| id.of(text));
        match envelope.kind {
            Kind::Answer => {
                if let Some(call) = id.and_then(private_number).and_then(|number| self.calls.get_mut(&number)) {
                    call.is_answered = true;
                }
            }
            Kind::Request => *self.questions.entry(canonical(id.unwrap_or_default()).into_owned()).or_default() += 1,
            Kind::Notification => {
                if let (Method::Cancelled, Some(about)) = (envelope.method, envelope.about_request) {
                    self.questions.remove(canonical(about.of(text)).as_ref());
                }
            }
        }
    }

    /// Lines for the child.
    pub(super) fn wrote(&mut self, lines: &[u8]) {
        let text = lines.strip_suffix(b"\n").expect("a whole line");
        for line in text.split(|byte| *byte == b'\n') {
            assert!(!line.contains(&b'\r'), "one line: {}", shown(line));
            let envelope = jsonrpc::read(line);
            assert!(envelope.is_ok() && json::value(line) == Some(line), "a message: {} {envelope:?}", shown(line));
            let Ok(envelope) = envelope else { continue };
            match envelope.kind {
                Kind::Request => self.sent(line, &envelope),
                Kind::Notification => self.notified(line, &envelope),
                Kind::Answer => {
                    let id = canonical(envelope.id.expect("the question's id").of(line)).into_owned();
                    let open = self.questions.get_mut(&id).filter(|open| **open > 0);
                    *open.expect("an answer is to an open question") -= 1;
                }
            }
        }
    }

    fn sent(&mut self, line: &[u8], envelope: &Envelope) {
        let id = envelope.id.expect("a request has one").of(line);
        let number = private_number(id).expect("a private number");
        assert!(self.calls.last_key_value().is_none_or(|(last, _)| *last < number), "no number is given twice");
        if let Some(token) = envelope.asked_token {
            assert_eq!(token.of(line), id, "a progress token of our own");
        }
        let runs_again = self.clients == Clients::Modern && self.calls.values().any(|call| call.owner == self.owner);
        assert!(!runs_again, "a call runs once: {}", shown(line));
        self.calls.insert(number, InChild { owner: self.owner, is_answered: false, is_cancelled: false });
    }

    fn notified(&mut self, line: &[u8], envelope: &Envelope) {
        let is_cancellation = envelope.method == Method::Cancelled && envelope.about_request.is_some();
        assert!(is_cancellation || self.clients == Clients::Legacy, "a cancellation: {}", shown(line));
        if let Some(about) = envelope.about_request.filter(|_| is_cancellation) {
            let number = private_number(about.of(line)).expect("a private number");
            let call = self.calls.get_mut(&number).expect("the child was given that call");
            assert!(!call.is_answered, "{number} has ended");
            let again = std::mem::replace(&mut call.is_cancelled, true);
            assert!(!again || self.clients == Clients::Legacy, "{number} is cancelled once");
        }
    }

    /// What a router wants done; what of it came to clients is given back.
    pub(super) fn saw(&mut self, routed: Vec<Routed>) -> Vec<Told> {
        let mut told = Vec::new();
        for routed in routed {
            match routed {
                Routed::ToChild(line) => self.wrote(&line),
                Routed::Passed(..) | Routed::Told(_) | Routed::Given(..) | Routed::Stored(_) => panic!("nothing here is large"),
                Routed::Event(stream, kind, text) => {
                    self.event(stream.0, kind, &text);
                    told.push((stream.0, kind, text));
                }
                Routed::End(stream) => {
                    let stream = self.streams.entry(stream.0).or_default();
                    stream.waiting.clear();
                    stream.is_over = true;
                }
                Routed::Notice(Notice::Changed(line)) => assert!(json::value(&line).is_some(), "what the child wrote"),
                Routed::Notice(_) | Routed::Dropped(_) | Routed::Expired(_) | Routed::Alarm(_) | Routed::Release(_) => {}
            }
        }
        told
    }

    fn event(&mut self, number: u64, kind: EventKind, text: &[u8]) {
        let envelope = self.message(text);
        let stream = self.streams.entry(number).or_default();
        assert!(!stream.is_over || self.clients == Clients::Legacy, "nothing comes on {number} after its end: {}", shown(text));
        // Frames of subscriptions, which name no call of a legacy client, go to nobody in particular.
        let is_frame = self.clients == Clients::Legacy && envelope.is_some_and(|envelope| envelope.about_subscription.is_some());
        if let Some(mark) = mark(text).filter(|_| !is_frame) {
            let owner = self.calls.get(&mark).map(|call| call.owner);
            assert!(owner.is_some_and(|owner| stream.owners.contains(&owner)), "another's, on {number}: {}", shown(text));
        }
        let Some(envelope) = envelope else { return };
        match kind {
            EventKind::Answer | EventKind::Reply => {
                assert_eq!(envelope.kind, Kind::Answer, "{}", shown(text));
                let id = envelope.id.map(|id| id.of(text)).unwrap_or_default();
                let at = stream.waiting.iter().position(|waiting| waiting.id == id);
                let at = at.unwrap_or_else(|| unreachable!("nobody on {number} waits for {}", shown(text)));
                stream.waiting.remove(at);
                let is_last = kind == EventKind::Answer;
                assert_eq!(is_last, stream.waiting.is_empty() && number != 0, "the last answer ends its stream");
                stream.is_over |= is_last;
            }
            EventKind::Question => assert!(self.clients == Clients::Legacy && envelope.kind == Kind::Request, "{}", shown(text)),
            EventKind::Notification => {
                assert!(envelope.kind == Kind::Notification || self.clients == Clients::Legacy, "{}", shown(text));
                if let (Method::Progress, Some(token)) = (envelope.method, envelope.about_token) {
                    let token = token.of(text);
                    assert!(stream.tokens.iter().any(|own| own == token), "progress under a token of {number}: {}", shown(text));
                }
            }
        }
    }

    /// Every event is a message on one line; one that grew too deep on its way cannot be read any more.
    pub(super) fn message(&self, text: &[u8]) -> Option<Envelope> {
        assert!(!text.iter().any(|byte| b"\r\n".contains(byte)), "one line: {}", shown(text));
        assert_eq!(json::value(text), Some(text), "JSON: {}", shown(text));
        match jsonrpc::read(text) {
            Ok(envelope) => Some(envelope),
            Err(fault) => {
                assert_eq!(fault, Unreadable::TooDeep, "a message: {}", shown(text));
                None
            }
        }
    }

    /// Who asked on a stream last.
    pub(super) fn owner_of(&self, stream: u64) -> u64 {
        self.streams.get(&stream).and_then(|stream| stream.owners.last()).copied().unwrap_or_default()
    }

    /// Whether a request of that id, or one before it on its stream, is not answered.
    pub(super) fn waits(&self, stream: u64, id: &[u8]) -> bool {
        self.streams.get(&stream).is_some_and(|stream| stream.waiting.iter().any(|waiting| waiting.id == id))
    }

    /// Whether the child has yet to answer a call of such an owner.
    pub(super) fn has_unanswered(&self, is_such: impl Fn(u64) -> bool) -> bool {
        self.calls.values().any(|call| !call.is_answered && is_such(call.owner))
    }
}

/// The private number that a message of the child's was marked with.
fn mark(text: &[u8]) -> Option<u64> {
    let (_, rest) = std::str::from_utf8(text).ok()?.split_once("\"mark\":")?;
    let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}
