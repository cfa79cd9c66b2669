//! Modern clients on a legacy child. Calls that can be asked nothing share the child; one call at a time may be asked, and
//! holds the child's lease: a legacy question does not say which call it belongs to, so it must be that one's. `lease` is that
//! call's life, `questions` and `messages` are the shapes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use self::lease::{Lease, Phase, Stored};
use self::questions::Question;
use self::resend::Resend;
use self::strays::Stray;
use super::capabilities::{Capabilities, Declared};
use super::discover::Facts;
use super::ticket::Sealer;
use super::{Asked, Patience};
use crate::budget::Budget;
use crate::link::log::Log;
use crate::link::route::{Notice, Route, Routed};
use crate::link::stream::EventKind;
use crate::protocol::jsonrpc::{self, Envelope, Kind, Method};
use crate::protocol::meta::{Ask, Level};
use crate::protocol::object;
use crate::protocol::scan::Span;
use crate::protocol::splice::{Spliced, canonical, private_number, splice};
use crate::protocol::sse::StreamId;

pub(crate) mod lease;
mod messages;
pub(crate) mod parked;
mod questions;
pub(crate) mod resend;
mod strays;
#[cfg(test)]
mod tests;

/// Who waits for an answer of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// The gateway itself.
    Own,
    /// A client, beside others.
    Shared,
    /// The lease.
    Leased,
}

/// A request that the child has not answered.
struct Call {
    /// `None` while its client is not connected.
    stream: Option<StreamId>,
    id: Box<[u8]>,
    token: Option<Box<[u8]>>,
    /// The child was given a progress token.
    has_token: bool,
    ask: Ask,
    whose: Whose,
    began: Instant,
    alive: Instant,
}

pub(crate) struct ModernOnLegacy {
    calls: FxHashMap<u64, Call>,
    next: u64,
    lease: Option<Lease>,
    strays: Vec<Stray>,
    /// Calls that could be asked something, shared and given up: what the child still says for them is nobody's.
    ghosts: FxHashMap<u64, Instant>,
    resends: VecDeque<Resend>,
    /// Elicitation ids whose user has been where the child sent them, the latest last.
    completed: VecDeque<String>,
    /// What the child was told last.
    level: Option<Level>,
    facts: Arc<Facts>,
    declared: Declared,
    sealer: Sealer,
    patience: Patience,
    budget: Arc<Budget>,
}

impl ModernOnLegacy {
    /// For a child that is initialised with these capabilities.
    pub(crate) fn new(capabilities: &Capabilities, sealer: Sealer, patience: Patience, budget: Arc<Budget>) -> Self {
        ModernOnLegacy {
            calls: FxHashMap::default(),
            next: 1,
            lease: None,
            strays: Vec::new(),
            ghosts: FxHashMap::default(),
            resends: VecDeque::new(),
            completed: VecDeque::new(),
            level: None,
            facts: Arc::default(),
            declared: Declared::of(capabilities.as_bytes()),
            sealer,
            patience,
            budget,
        }
    }

    /// What the child said of itself.
    pub(crate) fn learn(&mut self, facts: Arc<Facts>) {
        self.facts = facts;
    }

    /// A request of the gateway's own, answered on `stream` as the child writes it.
    pub(crate) fn own_request(&mut self, method: &str, params: &str, stream: StreamId, now: Instant) -> Vec<u8> {
        let number = self.number();
        let call = Call {
            stream: Some(stream),
            id: number.to_string().into_bytes().into(),
            token: None,
            has_token: false,
            ask: if method == "initialize" { Ask::Removed } else { Ask::Other },
            whose: Whose::Own,
            began: now,
            alive: now,
        };
        self.calls.insert(number, call);
        messages::own_request(method, params, number)
    }

    /// A call that can be asked nothing: the line for the child.
    pub(crate) fn request(&mut self, asked: &Asked<'_>, stream: StreamId, now: Instant) -> Spliced {
        self.send(asked, stream, Whose::Shared, now).1
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    fn send(&mut self, asked: &Asked<'_>, stream: StreamId, whose: Whose, now: Instant) -> (u64, Spliced) {
        let number = self.number();
        let call = Call {
            stream: Some(stream),
            id: asked.id.1.into(),
            token: asked.token.map(|token| token.of(asked.text).into()),
            has_token: asked.token.is_some(),
            ask: asked.ask,
            whose,
            began: now,
            alive: now,
        };
        self.calls.insert(number, call);
        (number, messages::request(asked, number))
    }

    fn answer(&mut self, text: &[u8], envelope: &Envelope, now: Instant, out: &mut Vec<Routed>) {
        let number = envelope.id.and_then(|id| private_number(id.of(text)));
        let Some((number, call)) = number.and_then(|number| Some((number, self.calls.remove(&number)?))) else {
            let ghost = number.and_then(|number| self.ghosts.remove(&number));
            out.extend(ghost.and_then(|_| self.nobody_shares()));
            return out.push(Routed::Dropped(ghost.map_or("answer_without_call", |_| "answer_of_cancelled_call")));
        };
        match (call.whose, call.stream) {
            (Whose::Leased, _) => self.lease_answered(number, &call, text, envelope, now, out),
            (Whose::Own, Some(stream)) => out.push(Routed::Event(stream, EventKind::Answer, splice(text, &mut [], b""))),
            (Whose::Shared, Some(stream)) => {
                let url = envelope.error.filter(|error| resend::is_url_required(error.of(text)));
                let answer = match url.and_then(|error| resend::questions(error.of(text)).into_iter().next()) {
                    // Only a call that declared nothing shares: it cannot be sent anywhere.
                    Some((question, _)) => Spliced::Whole(question.missing_capability(&call.id)),
                    None => messages::answer(text, envelope, call.ask, &call.id, &self.facts),
                };
                out.push(Routed::spliced(stream, EventKind::Answer, answer));
                out.extend(self.nobody_shares().filter(|_| call.ask.may_ask()));
            }
            (_, None) => out.push(Routed::Dropped("answer_without_call")),
        }
    }

    fn notification(&mut self, text: &[u8], envelope: &Envelope, now: Instant, out: &mut Vec<Routed>) {
        match (envelope.method, envelope.about_token, envelope.about_request) {
            (Method::Progress, Some(token), _) => self.progress(text, token, now, out),
            (Method::Cancelled, _, Some(about)) => self.withdrawn(about.of(text), out),
            (Method::Changed, ..) => out.push(Routed::Notice(Notice::Changed(text.to_vec()))),
            _ if envelope.is_method(text, "notifications/message") => self.log(text, envelope, out),
            _ if envelope.is_method(text, "notifications/elicitation/complete") => {
                let id = envelope.params.and_then(|params| object::member(params.of(text), "elicitationId"));
                self.has_completed(id.and_then(|id| object::string(id.value)), out);
            }
            _ => out.push(Routed::Dropped("notification_for_nobody")),
        }
    }

    fn progress(&mut self, text: &[u8], token: Span, now: Instant, out: &mut Vec<Routed>) {
        let number = private_number(token.of(text));
        let Some((number, call)) = number.and_then(|number| Some((number, self.calls.get_mut(&number)?))) else {
            return out.push(Routed::Dropped("progress_without_call"));
        };
        call.alive = now;
        match (call.stream, &call.token) {
            (Some(stream), Some(own)) => {
                let line = splice(text, &mut [(token, own)], b"");
                out.push(Routed::Event(stream, EventKind::Notification, line));
            }
            (None, _) => match &mut self.lease {
                Some(lease) if lease.number == Some(number) => lease.progress = Some((text.to_vec(), token)),
                _ => out.push(Routed::Dropped("progress_without_call")),
            },
            (Some(_), None) => out.push(Routed::Dropped("progress_without_call")),
        }
    }

    /// A log message belongs to the one call that may have asked for it.
    fn log(&mut self, text: &[u8], envelope: &Envelope, out: &mut Vec<Routed>) {
        let level = envelope.params.and_then(|params| Level::parse(object::member(params.of(text), "level")?.value));
        let Some(lease) = &mut self.lease else { return out.push(Routed::Dropped("log_for_nobody")) };
        let level = match (lease.level, level) {
            (Some(wanted), Some(level)) if level >= wanted => level,
            _ => return out.push(Routed::Dropped("log_for_nobody")),
        };
        let stream = lease.number.and_then(|number| self.calls.get(&number)).and_then(|call| call.stream);
        match (stream, lease.phase) {
            (Some(stream), Phase::Running | Phase::Gathering { .. }) => {
                out.push(Routed::Event(stream, EventKind::Notification, splice(text, &mut [], b"")));
            }
            (_, Phase::Parked { .. }) if lease.number.is_some() => lease.keep_log(level, text, out),
            _ => out.push(Routed::Dropped("log_for_nobody")),
        }
    }

    /// The child takes a question back.
    fn withdrawn(&mut self, id: &[u8], out: &mut Vec<Routed>) {
        let id = canonical(id);
        let is_it = |question: &Question| canonical(&question.id) == id;
        let strays = self.strays.len();
        self.strays.retain(|stray| !is_it(&stray.question));
        let from_lease = self.lease.as_mut().is_some_and(|lease| lease.withdraw(is_it));
        if self.strays.len() == strays && !from_lease {
            out.push(Routed::Dropped("cancel_without_question"));
        }
    }

    fn question(&mut self, text: &[u8], envelope: &Envelope, now: Instant, out: &mut Vec<Routed>) {
        let Some(id) = envelope.id.map(|id| id.of(text)) else { return out.push(Routed::Dropped("question_without_id")) };
        if envelope.is_method(text, "ping") {
            return out.push(Routed::ToChild(jsonrpc::empty_result(id)));
        }
        let Some(question) = Question::read(text, envelope) else {
            return out.push(Routed::ToChild(jsonrpc::refusal(id, jsonrpc::METHOD_NOT_FOUND, "no such method")));
        };
        let key = canonical(id);
        let open = self.strays.iter().map(|stray| &stray.question).chain(self.lease.iter().flat_map(|lease| &lease.questions));
        if open.map(|question| canonical(&question.id)).any(|open| open == key) {
            let text = "a request with this id is still open";
            return out.push(Routed::ToChild(jsonrpc::refusal(id, jsonrpc::INVALID_REQUEST, text)));
        }
        match &self.lease {
            Some(lease) if lease.may_be_asked() => self.lease_asked(question, now, out),
            Some(lease) if matches!(lease.phase, Phase::Draining { .. }) => {
                out.push(Routed::ToChild(question.refused("the call was cancelled")));
            }
            _ => self.stray(question, now, out),
        }
    }

    fn is_late(&self, call: &Call, now: Instant) -> bool {
        let since = |then: Instant| now.saturating_duration_since(then);
        since(call.alive) >= self.patience.request || since(call.began) >= self.patience.hard
    }
}

impl Route for ModernOnLegacy {
    fn line(&mut self, text: &[u8], envelope: &Envelope, _: &Log, now: Instant, out: &mut Vec<Routed>) {
        match envelope.kind {
            Kind::Answer => self.answer(text, envelope, now, out),
            Kind::Notification => self.notification(text, envelope, now, out),
            Kind::Request => self.question(text, envelope, now, out),
        }
    }

    fn line_lost(&mut self, why: &str, now: Instant, out: &mut Vec<Routed>) {
        let mut numbers = self.calls.keys();
        let (Some(only), None) = (numbers.next().copied(), numbers.next()) else { return };
        // A parked call has no client to be told; the line may have been anything.
        let Some(stream) = self.calls.get(&only).and_then(|call| call.stream) else { return };
        let Some(call) = self.calls.get(&only) else { return };
        let error = jsonrpc::error(Some(&call.id), jsonrpc::INTERNAL_ERROR, why, None);
        out.push(Routed::Event(stream, EventKind::Answer, error));
        if call.whose == Whose::Leased {
            return self.cancel_lease("its line was too long", now, out);
        }
        self.give_up_shared(only, now);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Routed>) {
        let late = |(number, call): (&u64, &Call)| (call.whose != Whose::Leased && self.is_late(call, now)).then_some(*number);
        let late: Vec<u64> = self.calls.iter().filter_map(late).collect();
        for number in late {
            let Some(call) = self.give_up_shared(number, now) else { continue };
            out.push(Routed::Expired("request"));
            if let Some(stream) = call.stream {
                let error = jsonrpc::error(Some(&call.id), jsonrpc::INTERNAL_ERROR, jsonrpc::LATE, None);
                out.push(Routed::Event(stream, EventKind::Answer, error));
            }
            out.extend((call.ask != Ask::Removed).then(|| Routed::ToChild(jsonrpc::cancellation(number, "timed out"))));
        }
        let grace = self.patience.grace;
        let ghosts = self.ghosts.len();
        self.ghosts.retain(|_, since| now.saturating_duration_since(*since) < grace);
        out.extend(self.nobody_shares().filter(|_| self.ghosts.len() < ghosts));
        self.refuse_strays(now, out);
        self.expire_resends(now, out);
        self.lease_tick(now, out);
    }

    fn fail_all(&mut self, message: &str, data: &serde_json::Value, _: Instant, out: &mut Vec<Routed>) {
        for call in std::mem::take(&mut self.calls).into_values() {
            if let Some(stream) = call.stream {
                let error = jsonrpc::error(Some(&call.id), jsonrpc::INTERNAL_ERROR, message, Some(data.clone()));
                out.push(Routed::Event(stream, EventKind::Answer, error));
            }
        }
        self.strays.clear();
        out.extend(self.resends.drain(..).map(|resend| Routed::Notice(Notice::Buried(resend.lease, resend.round))));
        if let Some(lease) = self.lease.take() {
            if matches!(lease.phase, Phase::Parked { .. } | Phase::Stored { .. }) {
                out.push(Routed::Notice(Notice::Buried(lease.id, lease.round)));
            }
            out.extend(lease.place.map(Routed::Release));
            out.push(Routed::Notice(Notice::Freed));
        }
    }

    /// 2026-07-28, Streamable HTTP, Cancellation: closing the stream cancels the request.
    fn left(&mut self, stream: StreamId, now: Instant, out: &mut Vec<Routed>) {
        out.push(Routed::End(stream));
        let found = self.calls.iter().find(|(_, call)| call.stream == Some(stream));
        let Some((number, whose, ask)) = found.map(|(number, call)| (*number, call.whose, call.ask)) else { return };
        let reason = match whose {
            Whose::Leased => return self.cancel_lease("the client closed the stream", now, out),
            Whose::Shared => "the client closed the stream",
            Whose::Own => "timed out",
        };
        self.give_up_shared(number, now);
        // 2025-11-25, Cancellation, Behavior Requirements, 2: `initialize` is never cancelled.
        if ask != Ask::Removed {
            out.push(Routed::ToChild(jsonrpc::cancellation(number, reason)));
        }
    }

    fn unasked(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// The answer of the leased call, which came while its client was away.
    fn store(&mut self, line: Bytes) {
        if let Some(lease) = &mut self.lease {
            lease.stored = Some(Stored::new(line, &self.budget));
        }
    }

    fn calls_in_flight(&self) -> usize {
        // A parked call is not in flight: nobody is connected to it.
        self.calls.values().filter(|call| call.stream.is_some()).count()
    }

    fn is_held(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| !lease.is_hopeless()) || !self.resends.is_empty()
    }
}
