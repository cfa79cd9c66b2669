//! Whose is each message? Remembers what the client asked and what the child asked, gives private numbers toward the child
//! and puts the client's own bytes back. Pure, behind the session's lock.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use self::succession::Presence;
use super::recall::{Change, Recall};
use crate::few::Few;
use crate::link::log::Log;
use crate::link::route::{Carries, Route, Routed};
use crate::link::stream::EventKind;
use crate::protocol::jsonrpc::{self, Envelope, Kind, Method};
use crate::protocol::scan::Span;
use crate::protocol::splice::{Spliced, canonical, pass, private_number, splice};
use crate::protocol::sse::StreamId;
use crate::quota::Counted;

mod succession;
#[cfg(test)]
mod tests;

/// How long calls and questions may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Without an answer and without progress.
    pub(crate) request: Duration,
    /// Whatever the progress.
    pub(crate) hard: Duration,
    pub(crate) question: Duration,
    /// A cancelled call that the child does not answer is answered here.
    pub(crate) cancelled: Duration,
}

/// A request of the client that the child has not answered.
struct Call {
    stream: StreamId,
    /// As the client wrote it.
    id: Box<[u8]>,
    token: Option<Box<[u8]>>,
    carries: Carries,
    /// Other calls are answered on the same stream.
    shares_stream: bool,
    began: Instant,
    /// When the child last showed that it works on it.
    alive: Instant,
    cancelled: Option<Instant>,
    is_initialize: bool,
    /// Asked by the gateway, of a child that follows another.
    is_own: bool,
    /// What is to be remembered if the child grants it.
    change: Option<Box<Change>>,
    _counted: Counted,
}

/// A request of the child that the client has not answered.
struct Question {
    /// As the child wrote it.
    id: Box<[u8]>,
    stream: StreamId,
    asked: Instant,
}

pub(crate) struct Router {
    calls: Few<u64, Call>,
    next: u64,
    /// Streams of calls that carry events, oldest first.
    carriers: Vec<StreamId>,
    /// By the canonical form of the child's id.
    questions: HashMap<Box<[u8]>, Question>,
    patience: Patience,
    /// What another child would have to be told; kept where one may come.
    pub(crate) recall: Option<Recall>,
    presence: Presence,
    /// Calls from this number on are held for another child.
    held_from: u64,
}

impl Router {
    pub(crate) fn new(patience: Patience) -> Self {
        Router {
            calls: Few::default(),
            next: 1,
            carriers: Vec::new(),
            questions: HashMap::new(),
            patience,
            recall: None,
            presence: Presence::Here,
            held_from: u64::MAX,
        }
    }

    /// One that remembers what another child would have to be told.
    pub(crate) fn recalling(patience: Patience) -> Self {
        Router { recall: Some(Recall::default()), ..Router::new(patience) }
    }

    /// A request of the client, answered on `stream`: the line for the child. `shares_stream` says whether others are answered
    /// there too.
    pub(crate) fn request(
        &mut self,
        text: &[u8],
        envelope: &Envelope,
        stream: StreamId,
        carries: Carries,
        shares_stream: bool,
        now: Instant,
    ) -> Spliced {
        let number = self.next;
        self.next += 1;
        let private = number.to_string();
        let mut edits: Vec<(Span, &[u8])> = Vec::with_capacity(2);
        edits.extend(envelope.id.map(|id| (id, private.as_bytes())));
        edits.extend(envelope.asked_token.map(|token| (token, private.as_bytes())));
        let line = pass(text, &mut edits, b"\n");
        let call = Call {
            stream,
            id: envelope.id.map_or(&b"null"[..], |id| id.of(text)).into(),
            token: envelope.asked_token.map(|token| token.of(text).into()),
            carries,
            shares_stream,
            began: now,
            alive: now,
            cancelled: None,
            is_initialize: envelope.method == Method::Initialize,
            is_own: false,
            change: self.recall.as_ref().and_then(|_| Change::of(text, envelope)).map(Box::new),
            _counted: None,
        };
        self.calls.insert(number, call);
        if carries == Carries::Events && stream != StreamId::GET && self.carriers.last() != Some(&stream) {
            self.carriers.push(stream);
        }
        line
    }

    /// What the last request counts as until it is answered, whether or not its client waits for that.
    pub(crate) fn count_last(&mut self, counted: &Counted) {
        if counted.is_some()
            && let Some(call) = self.calls.get_mut(&(self.next - 1))
        {
            call._counted.clone_from(counted);
        }
    }

    /// A notification of the client.
    pub(crate) fn notification(&mut self, text: &[u8], envelope: &Envelope, now: Instant) -> Routed {
        let (Method::Cancelled, Some(about)) = (envelope.method, envelope.about_request) else {
            if let Some(recall) = &mut self.recall
                && envelope.is_method(text, "notifications/initialized")
            {
                recall.initialized(text, self.presence != Presence::Here);
            }
            return Routed::ToChild(splice(text, &mut [], b"\n"));
        };
        let id = canonical(about.of(text));
        let mut same = self.calls.iter_mut().filter(|(_, call)| canonical(&call.id) == id);
        match (same.next(), same.next()) {
            // 2025-11-25, Cancellation: `initialize` must not be cancelled.
            (Some((number, call)), None) if !call.is_initialize => {
                call.cancelled.get_or_insert(now);
                Routed::ToChild(splice(text, &mut [(about, number.to_string().as_bytes())], b"\n"))
            }
            (Some(_), Some(_)) => Routed::Dropped("ambiguous_cancel"),
            _ => Routed::Dropped("cancel_without_call"),
        }
    }

    /// An answer of the client to a question.
    pub(crate) fn answer(&mut self, text: &[u8], envelope: &Envelope) -> Routed {
        let id = envelope.id.map(|id| canonical(id.of(text)));
        match id.and_then(|id| self.questions.remove(id.as_ref())) {
            Some(_) => Routed::ToChild(splice(text, &mut [], b"\n")),
            None => Routed::Dropped("answer_without_question"),
        }
    }

    /// A line of the child. `reachable` says which streams' clients can still be reached, `get_is_open` whether the GET
    /// stream is being read.
    fn routed(
        &mut self,
        text: &[u8],
        envelope: &Envelope,
        get_is_open: bool,
        reachable: impl Fn(StreamId) -> bool,
        now: Instant,
    ) -> Routed {
        match envelope.kind {
            Kind::Answer => self.child_answer(text, envelope),
            Kind::Notification => match (envelope.method, envelope.about_token, envelope.about_request) {
                (Method::Progress, Some(token), _) => self.progress(text, token, now),
                (Method::Cancelled, _, Some(about)) => self.withdrawn(text, about),
                (method, ..) => {
                    let get_first = method == Method::Changed && get_is_open;
                    let stream = if get_first { StreamId::GET } else { self.carrier(get_is_open, reachable) };
                    Routed::passing(stream, EventKind::Notification, text, &mut [])
                }
            },
            Kind::Request => self.question(text, envelope, get_is_open, reachable, now),
        }
    }

    fn finish(&mut self, number: u64) -> Option<Call> {
        let call = self.calls.remove(&number)?;
        if !self.has_more(&call)
            && let Ok(at) = self.carriers.binary_search(&call.stream)
        {
            self.carriers.remove(at);
        }
        Some(call)
    }

    /// Whether other calls are still to be answered on its stream.
    fn has_more(&self, call: &Call) -> bool {
        call.shares_stream && self.calls.values().any(|other| other.stream == call.stream)
    }

    /// The answer to a call that is finished.
    fn answered(&self, call: &Call, answer: Vec<u8>) -> Routed {
        Routed::Event(call.stream, self.kind_of_answer(call), answer)
    }

    fn kind_of_answer(&self, call: &Call) -> EventKind {
        let is_last = call.stream != StreamId::GET && !self.has_more(call);
        if is_last { EventKind::Answer } else { EventKind::Reply }
    }

    fn child_answer(&mut self, text: &[u8], envelope: &Envelope) -> Routed {
        let Some(id) = envelope.id else {
            // An error about nothing that could be read: for whoever listens.
            return Routed::passing(StreamId::GET, EventKind::Notification, text, &mut []);
        };
        let call = private_number(id.of(text)).and_then(|number| self.finish(number));
        match call {
            Some(mut call) => {
                if let (Some(recall), Some(change), Some(result)) = (&mut self.recall, call.change.take(), envelope.result) {
                    recall.granted(*change, result.of(text));
                }
                Routed::passing(call.stream, self.kind_of_answer(&call), text, &mut [(id, &call.id)])
            }
            None => Routed::Dropped("answer_without_call"),
        }
    }

    fn progress(&mut self, text: &[u8], token: Span, now: Instant) -> Routed {
        let call = private_number(token.of(text)).and_then(|number| self.calls.get_mut(&number));
        let Some(call) = call else { return Routed::Dropped("progress_without_call") };
        call.alive = now;
        match (&call.token, call.carries) {
            (Some(own), Carries::Events) => Routed::passing(call.stream, EventKind::Notification, text, &mut [(token, own)]),
            (Some(_), Carries::AnswerOnly) => Routed::Dropped("progress_in_json_mode"),
            (None, _) => Routed::Dropped("progress_without_call"),
        }
    }

    /// The child takes a question back: the client that got it is told where it got it.
    fn withdrawn(&mut self, text: &[u8], about: Span) -> Routed {
        match self.questions.remove(canonical(about.of(text)).as_ref()) {
            Some(question) => Routed::passing(question.stream, EventKind::Notification, text, &mut []),
            None => Routed::Dropped("cancel_without_question"),
        }
    }

    fn question(
        &mut self,
        text: &[u8],
        envelope: &Envelope,
        get_is_open: bool,
        reachable: impl Fn(StreamId) -> bool,
        now: Instant,
    ) -> Routed {
        let Some(id) = envelope.id.map(|id| id.of(text)) else { return Routed::Dropped("question_without_id") };
        if self.presence == Presence::Leaving {
            return Routed::Dropped("question_of_an_ending_child");
        }
        let stream = self.carrier(get_is_open, reachable);
        if stream == StreamId::GET && !get_is_open && !self.calls.is_empty() {
            let text = "the client asked for a plain JSON answer and has no stream open: it cannot be asked";
            return Routed::ToChild(jsonrpc::refusal(id, jsonrpc::METHOD_NOT_FOUND, text));
        }
        let key = canonical(id).into_owned().into_boxed_slice();
        if self.questions.contains_key(&key) {
            return Routed::ToChild(jsonrpc::refusal(id, jsonrpc::INVALID_REQUEST, "a request with this id is still open"));
        }
        self.questions.insert(key, Question { id: id.into(), stream, asked: now });
        Routed::passing(stream, EventKind::Question, text, &mut [])
    }

    /// Where a message goes that names no call: stdio does not say which call it belongs to. The only call in flight that
    /// can carry it, else the GET stream, else the newest such call, else the GET stream's log.
    fn carrier(&self, get_is_open: bool, reachable: impl Fn(StreamId) -> bool) -> StreamId {
        let mut open = self.carriers.iter().rev().filter(|stream| reachable(**stream));
        match (open.next(), open.next()) {
            (Some(only), None) => *only,
            (Some(newest), Some(_)) if !get_is_open => *newest,
            _ => StreamId::GET,
        }
    }
}

impl Route for Router {
    fn line(&mut self, text: &[u8], envelope: &Envelope, log: &Log, now: Instant, out: &mut Vec<Routed>) {
        let get_is_open = log.has_reader(StreamId::GET);
        out.push(self.routed(text, envelope, get_is_open, |stream| log.is_reachable(stream), now));
    }

    /// If only one call can have been meant, it is over.
    fn line_lost(&mut self, why: &str, _: Instant, out: &mut Vec<Routed>) {
        let mut numbers = self.calls.keys().copied();
        let (Some(only), None) = (numbers.next(), numbers.next()) else { return };
        drop(numbers);
        let Some(call) = self.finish(only) else { return };
        let error = jsonrpc::error(Some(&call.id), jsonrpc::INTERNAL_ERROR, why, None);
        out.push(self.answered(&call, error));
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Routed>) {
        self.calls.shrink();
        let since = |then: Instant| now.saturating_duration_since(then);
        let patience = self.patience;
        let asked: Vec<StreamId> = self.questions.values().map(|question| question.stream).collect();
        let over: Vec<(u64, bool)> = self
            .calls
            .iter_mut()
            .filter_map(|(number, call)| {
                if asked.contains(&call.stream) {
                    call.alive = now; // the user's time is not the child's
                }
                let cancelled = call.cancelled.is_some_and(|at| since(at) >= patience.cancelled);
                let late = since(call.alive) >= patience.request || since(call.began) >= patience.hard;
                (cancelled || late).then_some((*number, cancelled))
            })
            .collect();
        for (number, cancelled) in over {
            let Some(call) = self.finish(number) else { continue };
            let (code, text) = if cancelled {
                (jsonrpc::REQUEST_CANCELLED, "the request was cancelled")
            } else {
                (jsonrpc::INTERNAL_ERROR, jsonrpc::LATE)
            };
            let error = jsonrpc::error(Some(&call.id), code, text, None);
            out.push(Routed::Expired(if cancelled { "cancelled" } else { "request" }));
            out.push(self.answered(&call, error));
            if !cancelled && !call.is_initialize {
                out.push(Routed::ToChild(jsonrpc::cancellation(number, "timed out")));
            }
        }
        self.questions.retain(|_, question| {
            let keep = since(question.asked) < patience.question;
            if !keep {
                let text = "the client did not answer in time (--question-timeout)";
                out.push(Routed::Expired("question"));
                out.push(Routed::ToChild(jsonrpc::refusal(&question.id, jsonrpc::INTERNAL_ERROR, text)));
                // 2025-11-25, Lifecycle, Timeouts: who asked tells that it no longer waits.
                let withdrawal = jsonrpc::withdrawal(&question.id, "nobody answered in time");
                out.push(Routed::Event(question.stream, EventKind::Notification, withdrawal));
            }
            keep
        });
    }

    fn fail_all(&mut self, message: &str, data: &serde_json::Value, _: Instant, out: &mut Vec<Routed>) {
        self.questions.clear();
        self.fail_where(|_, _| true, message, data, out);
    }

    /// 2025-11-25, Sending Messages to the Server, 6: a lost connection is no cancellation.
    fn left(&mut self, _: StreamId, _: Instant, _: &mut Vec<Routed>) {}

    fn unasked(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        let envelope = jsonrpc::read(text).ok()?;
        let id = envelope.id?.of(text);
        self.questions.remove(canonical(id).as_ref())?;
        Some(jsonrpc::refusal(id, jsonrpc::INTERNAL_ERROR, "the gateway's log is full (--log-bytes, --log-bytes-total)"))
    }

    fn calls_in_flight(&self) -> usize {
        self.calls.len()
    }

    fn leaves(&mut self) {
        if self.held_from == u64::MAX {
            self.held_from = self.next;
        }
        self.presence = Presence::Leaving;
    }

    fn can_go_on(&self) -> bool {
        self.recall.as_ref().is_some_and(Recall::is_enough)
    }
}
