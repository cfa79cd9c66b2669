//! Many legacy sessions on one legacy child. Bytes pass, as between a session and a child of its own; what names no call goes to
//! the one session that it can only be about, and where that cannot be told, to nobody. Who uses the child, and what they want to
//! hear, is `seats`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

pub(crate) use self::hello::initialize_result;
use self::questions::Question;
pub(crate) use self::seats::Sitter;
use self::seats::{Seat, Wish, resource};
use super::Patience;
use super::capabilities::Declared;
use crate::link::log::Log;
use crate::link::route::{Carries, Route, Routed};
use crate::link::stream::EventKind;
use crate::protocol::jsonrpc::{self, Envelope, Kind, Method};
use crate::protocol::meta::Level;
use crate::protocol::object;
use crate::protocol::scan::Span;
use crate::protocol::splice::{Spliced, canonical, pass, private_number};
use crate::protocol::sse::StreamId;

mod hello;
mod questions;
mod seats;
#[cfg(test)]
mod tests;

/// A request that the child has not answered.
struct Call {
    /// 0 is the gateway itself.
    session: u64,
    declared: Declared,
    stream: StreamId,
    id: Box<[u8]>,
    token: Option<Box<[u8]>>,
    carries: Carries,
    /// The resource that it subscribes to.
    subscribes: Option<String>,
    began: Instant,
    alive: Instant,
}

pub(crate) struct LegacyOnLegacy {
    calls: BTreeMap<u64, Call>,
    next: u64,
    seats: FxHashMap<u64, Seat>,
    /// Calls that were given up, whose they were, and since when: the child may still work on them, and what it then says is theirs.
    ghosts: FxHashMap<u64, (u64, Instant)>,
    /// How many calls each session has in the child.
    busy: FxHashMap<u64, usize>,
    questions: HashMap<Box<[u8]>, Question>,
    /// Who wants to hear of a resource.
    wanted: HashMap<String, Vec<Wish>>,
    /// The level that the child was told.
    level: Option<Level>,
    /// Requests of the gateway's own whose answers change nothing.
    told: HashSet<u64>,
    patience: Patience,
    question_timeout: Duration,
}

impl LegacyOnLegacy {
    pub(crate) fn new(patience: Patience, question_timeout: Duration) -> Self {
        LegacyOnLegacy {
            calls: BTreeMap::new(),
            next: 1,
            seats: FxHashMap::default(),
            ghosts: FxHashMap::default(),
            busy: FxHashMap::default(),
            questions: HashMap::new(),
            wanted: HashMap::new(),
            level: None,
            told: HashSet::new(),
            patience,
            question_timeout,
        }
    }

    /// A request of a session's client, answered on `stream`: the line for the child.
    pub(crate) fn request(
        &mut self,
        sitter: &Sitter,
        text: &[u8],
        envelope: &Envelope,
        stream: StreamId,
        carries: Carries,
        now: Instant,
    ) -> Spliced {
        let number = self.next;
        self.next += 1;
        let private = number.to_string();
        let mut edits: Vec<(Span, &[u8])> = Vec::with_capacity(2);
        edits.extend(envelope.id.map(|id| (id, private.as_bytes())));
        edits.extend(envelope.asked_token.map(|token| (token, private.as_bytes())));
        let mut line = pass(text, &mut edits, b"\n");
        let subscribes = envelope.is_method(text, "resources/subscribe").then(|| uri(text, envelope)).flatten();
        if let Some(uri) = &subscribes {
            self.want(sitter.number, uri, number);
        } else if envelope.is_method(text, "resources/unsubscribe")
            && let Some(uri) = uri(text, envelope)
            && !self.want_no_more(sitter.number, &uri, None)
            && self.is_wanted(&uri)
        {
            // Others want it still, or want it now: the child is not to forget them.
            let again = self.own_line("resources/subscribe", &resource(&uri));
            line = Spliced::Whole([line.joined(text), again].concat());
        }
        *self.busy.entry(sitter.number).or_default() += 1;
        let call = Call {
            session: sitter.number,
            declared: sitter.declared,
            stream,
            id: envelope.id.map_or(&b"null"[..], |id| id.of(text)).into(),
            token: envelope.asked_token.map(|token| token.of(text).into()),
            carries,
            subscribes,
            began: now,
            alive: now,
        };
        self.calls.insert(number, call);
        line
    }

    /// A request of the gateway's own, answered on `stream` as the child writes it.
    pub(crate) fn own_request(&mut self, method: &str, params: &str, stream: StreamId, now: Instant) -> Vec<u8> {
        let number = self.next;
        self.next += 1;
        let call = Call {
            session: 0,
            declared: Declared::default(),
            stream,
            id: number.to_string().into_bytes().into(),
            token: None,
            carries: Carries::AnswerOnly,
            subscribes: None,
            began: now,
            alive: now,
        };
        self.calls.insert(number, call);
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"{method}\",\"params\":{params}}}\n").into_bytes()
    }

    /// The child has done with a call.
    fn finish(&mut self, number: u64, out: &mut Vec<Routed>) -> Option<Call> {
        let call = self.calls.remove(&number)?;
        self.is_idle_again(call.session);
        self.drop_questions(number, out);
        Some(call)
    }

    /// A call is given up; the child is told, and may have done with it later or never.
    fn give_up(&mut self, number: u64, reason: &str, now: Instant, out: &mut Vec<Routed>) {
        let Some(call) = self.calls.remove(&number) else { return };
        self.ghosts.insert(number, (call.session, now));
        out.push(Routed::ToChild(jsonrpc::cancellation(number, reason)));
        self.drop_questions(number, out);
        if let Some(uri) = &call.subscribes
            && self.want_no_more(call.session, uri, Some(number))
        {
            self.tell_resource("resources/unsubscribe", uri, out);
        }
    }

    fn is_idle_again(&mut self, session: u64) {
        if let Some(count) = self.busy.get_mut(&session) {
            *count -= 1;
            if *count == 0 {
                self.busy.remove(&session);
            }
        }
    }

    /// The newest call that a message without one can only be about: of the only session with calls in flight.
    fn only_session(&self, log: &Log) -> Option<(u64, &Call)> {
        let mut busy = self.busy.keys();
        let (Some(session), None) = (busy.next(), busy.next()) else { return None };
        let calls = || self.calls.iter().rev().filter(|(_, call)| call.session == *session);
        let reachable = calls().find(|(_, call)| call.carries == Carries::Events && log.is_reachable(call.stream));
        reachable.or_else(|| calls().next()).map(|(number, call)| (*number, call))
    }

    fn child_answer(&mut self, text: &[u8], envelope: &Envelope, out: &mut Vec<Routed>) {
        let number = envelope.id.and_then(|id| private_number(id.of(text)));
        if number.is_some_and(|number| self.told.remove(&number)) {
            return;
        }
        if let Some((session, _)) = number.and_then(|number| self.ghosts.remove(&number)) {
            self.is_idle_again(session);
        }
        let Some((id, call)) = envelope.id.zip(number.and_then(|number| self.finish(number, out))) else {
            return out.push(Routed::Dropped("answer_without_call"));
        };
        if let (Some(uri), Some(_)) = (&call.subscribes, envelope.error)
            && self.want_no_more(call.session, uri, number)
        {
            // Another session, which took it as done, may have gone meanwhile.
            self.tell_resource("resources/unsubscribe", uri, out);
        }
        if let (Some(uri), Some(_), Some(number)) = (&call.subscribes, envelope.result, number) {
            self.is_settled(call.session, uri, number);
        }
        out.push(Routed::passing(call.stream, EventKind::Answer, text, &mut [(id, &call.id)]));
    }

    fn notification(&mut self, text: &[u8], envelope: &Envelope, log: &Log, now: Instant, out: &mut Vec<Routed>) {
        match (envelope.method, envelope.about_token, envelope.about_request) {
            (Method::Progress, Some(token), _) => out.push(self.progress(text, token, now)),
            (Method::Cancelled, _, Some(about)) => match self.questions.remove(canonical(about.of(text)).as_ref()) {
                Some(question) => out.push(Routed::passing(question.stream, EventKind::Notification, text, &mut [])),
                None => out.push(Routed::Dropped("cancel_without_question")),
            },
            (Method::Changed, ..) => {
                let updated = envelope.is_method(text, "notifications/resources/updated");
                let about = updated.then(|| uri(text, envelope).unwrap_or_default());
                let wanting: Option<HashSet<u64>> = about.map(|uri| self.wanted_by(&uri));
                let hears = |session: &u64| wanting.as_ref().is_none_or(|wanting| wanting.contains(session));
                let seats = self.seats.iter().filter(|(session, _)| hears(session));
                let before = out.len();
                let event = |seat: &Seat| Routed::passing(seat.standing, EventKind::Notification, text, &mut []);
                out.extend(seats.map(|(_, seat)| event(seat)));
                if out.len() == before {
                    out.push(Routed::Dropped("change_for_nobody"));
                }
            }
            _ => {
                let Some((_, call)) = self.only_session(log) else {
                    return out.push(Routed::Dropped("notification_for_nobody"));
                };
                if let Some(level) = level_of(text, envelope)
                    && self.seats.get(&call.session).and_then(|seat| seat.level).is_some_and(|least| level < least)
                {
                    return out.push(Routed::Dropped("log_below_level"));
                }
                let is_heard = call.carries == Carries::Events && log.is_reachable(call.stream);
                let standing = self.seats.get(&call.session).map(|seat| seat.standing);
                match if is_heard { Some(call.stream) } else { standing } {
                    Some(stream) => out.push(Routed::passing(stream, EventKind::Notification, text, &mut [])),
                    None => out.push(Routed::Dropped("notification_for_nobody")),
                }
            }
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
}

impl Route for LegacyOnLegacy {
    fn line(&mut self, text: &[u8], envelope: &Envelope, log: &Log, now: Instant, out: &mut Vec<Routed>) {
        match envelope.kind {
            Kind::Answer => self.child_answer(text, envelope, out),
            Kind::Notification => self.notification(text, envelope, log, now, out),
            Kind::Request => out.push(self.question(text, envelope, log, now)),
        }
    }

    fn line_lost(&mut self, why: &str, _: Instant, out: &mut Vec<Routed>) {
        let mut numbers = self.calls.keys();
        let (Some(only), None, true) = (numbers.next().copied(), numbers.next(), self.ghosts.is_empty()) else { return };
        let Some(call) = self.finish(only, out) else { return };
        if let Some(uri) = &call.subscribes
            && self.want_no_more(call.session, uri, Some(only))
        {
            self.tell_resource("resources/unsubscribe", uri, out);
        }
        let error = jsonrpc::error(Some(&call.id), jsonrpc::INTERNAL_ERROR, why, None);
        out.push(Routed::Event(call.stream, EventKind::Answer, error));
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Routed>) {
        let since = |then: Instant| now.saturating_duration_since(then);
        let patience = self.patience;
        for question in self.questions.values() {
            if let Some(call) = self.calls.get_mut(&question.call) {
                call.alive = now; // the user's time is not the child's
            }
        }
        let is_late = |call: &Call| since(call.alive) >= patience.request || since(call.began) >= patience.hard;
        let late: Vec<u64> = self.calls.iter().filter(|(_, call)| is_late(call)).map(|(number, _)| *number).collect();
        for number in late {
            let Some(call) = self.calls.get(&number) else { continue };
            out.push(Routed::Expired("request"));
            let error = jsonrpc::error(Some(&call.id), jsonrpc::INTERNAL_ERROR, jsonrpc::LATE, None);
            out.push(Routed::Event(call.stream, EventKind::Answer, error));
            self.give_up(number, "timed out", now, out);
        }
        let laid: Vec<u64> =
            self.ghosts.iter().filter(|(_, (_, at))| since(*at) >= patience.grace).map(|(number, _)| *number).collect();
        for number in laid {
            if let Some((session, _)) = self.ghosts.remove(&number) {
                self.is_idle_again(session);
            }
        }
        let question_timeout = self.question_timeout;
        self.questions.retain(|_, question| {
            let keep = since(question.asked) < question_timeout;
            if !keep {
                let text = "the client did not answer in time (--question-timeout)";
                out.push(Routed::Expired("question"));
                out.push(Routed::ToChild(jsonrpc::refusal(&question.id, jsonrpc::INTERNAL_ERROR, text)));
                let withdrawal = jsonrpc::withdrawal(&question.id, "nobody answered in time");
                out.push(Routed::Event(question.stream, EventKind::Notification, withdrawal));
            }
            keep
        });
    }

    fn fail_all(&mut self, message: &str, data: &serde_json::Value, _: Instant, out: &mut Vec<Routed>) {
        self.questions.clear();
        self.ghosts.clear();
        self.busy.clear();
        for call in std::mem::take(&mut self.calls).into_values() {
            let error = jsonrpc::error(Some(&call.id), jsonrpc::INTERNAL_ERROR, message, Some(data.clone()));
            out.push(Routed::Event(call.stream, EventKind::Answer, error));
        }
        self.end_seats(out);
    }

    /// A call was given up by its session, or a session is over.
    fn left(&mut self, stream: StreamId, now: Instant, out: &mut Vec<Routed>) {
        out.push(Routed::End(stream));
        if let Some(session) = self.seats.iter().find(|(_, seat)| seat.standing == stream).map(|(session, _)| *session) {
            return self.leave(session, out);
        }
        let number = self.calls.iter().find(|(_, call)| call.stream == stream).map(|(number, _)| *number);
        if let Some(number) = number {
            self.give_up(number, "the client gave it up", now, out);
        }
    }

    fn unasked(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        let envelope = jsonrpc::read(text).ok()?;
        let id = envelope.id?.of(text);
        self.questions.remove(canonical(id).as_ref())?;
        Some(jsonrpc::refusal(id, jsonrpc::INTERNAL_ERROR, "the gateway's log is full (--log-bytes, --log-bytes-total)"))
    }

    fn calls_in_flight(&self) -> usize {
        self.calls.len()
    }

    /// Sessions sit here.
    fn is_held(&self) -> bool {
        !self.seats.is_empty()
    }
}

/// `params.uri`, if it is a string.
fn uri(text: &[u8], envelope: &Envelope) -> Option<String> {
    object::member(envelope.params?.of(text), "uri").and_then(|uri| object::string(uri.value))
}

/// How grave a log message is; `None` if it is none.
fn level_of(text: &[u8], envelope: &Envelope) -> Option<Level> {
    if !envelope.is_method(text, "notifications/message") {
        return None;
    }
    object::member(envelope.params?.of(text), "level").and_then(|level| Level::parse(level.value))
}
