//! Modern clients on a modern child: one child serves many clients' calls. Bytes pass; exchanged are ids, progress tokens and
//! subscription ids, and the child's `requestState`, so that a retry finds the process that made it and nobody else's call.

use std::time::Duration;

use memchr::memmem;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::ticket::{Kind as TicketKind, Sealer};
use super::{Asked, Patience, code_of};
use crate::link::log::Log;
use crate::link::route::{Notice, Route, Routed};
use crate::link::stream::EventKind;
use crate::protocol::jsonrpc::{self, Envelope, Kind, Method};
use crate::protocol::meta::{Ask, LOG_LEVEL, SUBSCRIPTION_ID};
use crate::protocol::object::{self, Edit};
use crate::protocol::scan::Span;
use crate::protocol::splice::{Spliced, pass, private_number, splice};
use crate::protocol::sse::StreamId;

/// After a cancellation a server must say nothing more for the call (2026-07-28, stdio, Cancellation); what it wrote meanwhile
/// takes so long to arrive.
const FADE: Duration = Duration::from_secs(1);
const MAX_FADING: usize = 64;
/// How long a child may take to acknowledge a subscription, and how much may come before that.
const ACKNOWLEDGE: Duration = Duration::from_secs(5);
const EARLY_FRAMES: usize = 64;

/// A request that the child has not answered.
struct Call {
    stream: StreamId,
    id: Box<[u8]>,
    token: Option<Box<[u8]>>,
    ask: Ask,
    digest: [u8; 32],
    began: Instant,
    alive: Instant,
    /// The gateway's own.
    is_own: bool,
    /// `subscriptions/listen`: what came before the acknowledgement, until it came.
    early: Option<Vec<Vec<u8>>>,
}

impl Call {
    /// The gateway's own `server/discover`: a child that has not said what it is may take a message without an envelope, even a
    /// cancellation, for a legacy one.
    fn is_first_word(&self) -> bool {
        self.is_own && self.ask == Ask::Discover
    }
}

pub(crate) struct ModernOnModern {
    calls: FxHashMap<u64, Call>,
    next: u64,
    /// Calls in flight that asked for logs, oldest first: one, or several of one session. stdio does not say whose a log
    /// message is.
    loggers: Vec<u64>,
    /// The session that they are of.
    logging: Option<u64>,
    /// Calls that had asked for logs and were given up, and when: what is still on its way for them is nobody's.
    fading: Vec<(u64, Instant)>,
    sealer: Sealer,
    patience: Patience,
}

impl ModernOnModern {
    pub(crate) fn new(sealer: Sealer, patience: Patience) -> Self {
        ModernOnModern {
            calls: FxHashMap::default(),
            next: 1,
            loggers: Vec::new(),
            logging: None,
            fading: Vec::new(),
            sealer,
            patience,
        }
    }

    /// Whether a call that asks for logs can have them here: nobody else does.
    pub(crate) fn may_log(&self, asked: &Asked<'_>) -> bool {
        self.loggers.is_empty() || self.logging.is_some() && self.logging == asked.session.map(|session| session.number)
    }

    #[cfg(test)]
    fn has_logger(&self) -> bool {
        !self.loggers.is_empty()
    }

    /// A request: the line for the child. `state` is the child's own `requestState` in place of ours; `keeps_level` says
    /// whether it may ask for logs.
    pub(crate) fn request(
        &mut self,
        asked: &Asked<'_>,
        stream: StreamId,
        state: Option<&[u8]>,
        keeps_level: bool,
        now: Instant,
    ) -> Spliced {
        let number = self.next;
        self.next += 1;
        let private = number.to_string();
        if asked.wants_logs() && keeps_level {
            self.loggers.push(number);
            self.logging = asked.session.map(|session| session.number);
        }
        let call = Call {
            stream,
            id: asked.id.1.into(),
            token: asked.token.map(|token| token.of(asked.text).into()),
            ask: asked.ask,
            digest: if asked.ask.may_ask() { asked.digest() } else { [0; 32] },
            began: now,
            alive: now,
            is_own: false,
            early: (asked.ask == Ask::Listen).then(Vec::new),
        };
        self.calls.insert(number, call);
        match asked.dress {
            Some(dress) => dress.line(asked, private.as_bytes(), state, keeps_level),
            None => line(asked, private.as_bytes(), state, keeps_level),
        }
    }

    /// A request of the gateway's own, answered on `stream` as the child writes it.
    pub(crate) fn own_request(&mut self, method: &str, params: &str, stream: StreamId, now: Instant) -> Vec<u8> {
        let number = self.next;
        self.next += 1;
        let id = number.to_string().into_bytes().into();
        let ask = if method == "server/discover" { Ask::Discover } else { Ask::Other };
        let call = Call { stream, id, token: None, ask, digest: [0; 32], began: now, alive: now, is_own: true, early: None };
        self.calls.insert(number, call);
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"{method}\",\"params\":{params}}}\n").into_bytes()
    }

    /// Every subscription ends well; the child hears why.
    pub(crate) fn end_listens(&mut self, why: &str, out: &mut Vec<Routed>) {
        let listens: Vec<u64> =
            self.calls.iter().filter(|(_, call)| call.ask == Ask::Listen).map(|(number, _)| *number).collect();
        for number in listens {
            self.end_listen(number, out);
            out.push(Routed::ToChild(jsonrpc::cancellation(number, why)));
        }
    }

    fn end_listen(&mut self, number: u64, out: &mut Vec<Routed>) {
        if let Some(call) = self.finish(number) {
            let result = super::subscriptions::graceful_end(&call.id, None);
            out.push(Routed::Event(call.stream, EventKind::Answer, result));
        }
    }

    /// A call that goes on in the child, perhaps, and is nobody's: what the child logs for it is nobody's either.
    fn abandon(&mut self, number: u64, now: Instant) -> Option<Call> {
        if self.loggers.contains(&number) {
            self.fading.truncate(MAX_FADING - 1);
            self.fading.insert(0, (number, now));
        }
        self.finish(number)
    }

    fn finish(&mut self, number: u64) -> Option<Call> {
        self.loggers.retain(|logger| *logger != number);
        self.calls.remove(&number)
    }

    fn answer(&mut self, text: &[u8], envelope: &Envelope, out: &mut Vec<Routed>) {
        let number = envelope.id.and_then(|id| private_number(id.of(text)));
        self.fading.retain(|(fading, _)| Some(*fading) != number);
        let call = envelope.id.zip(number.and_then(|number| self.finish(number)));
        let Some((id, call)) = call else { return out.push(Routed::Dropped("answer_without_call")) };
        let mut edits: Vec<(Span, &[u8])> = vec![(id, &call.id)];
        let (sealed, meta);
        if let Some(result) = envelope.result.filter(|_| call.ask.may_ask())
            && memmem::find(result.of(text), b"requestState").is_some()
            && object::member(result.of(text), "resultType").is_some_and(|kind| kind.value == b"\"input_required\"")
            && let Some(state) = object::member(result.of(text), "requestState")
        {
            sealed = object::quoted(&self.sealer.seal(TicketKind::Pass, 0, 0, call.digest, state.value));
            edits.push((span(text, state.value), &sealed));
        }
        if let Some(result) = envelope.result.filter(|_| call.ask == Ask::Listen)
            && let Some(given) = object::member(result.of(text), "_meta")
        {
            meta = with_subscription(given.value, &call.id);
            edits.push((span(text, given.value), &meta));
        }
        if let Some(error) = envelope.error.filter(|_| !call.is_own) {
            let code = code_of(error.of(text));
            let is_ours = code == i64::from(jsonrpc::HEADER_MISMATCH) || code == i64::from(jsonrpc::UNSUPPORTED_VERSION);
            if is_ours || code == i64::from(jsonrpc::INVALID_REQUEST) {
                // Nothing that a client sent can cause these here: what we know of the child is not so.
                out.push(Routed::Notice(Notice::Suspect));
            }
            if is_ours {
                out.push(Routed::Dropped("misplaced_error"));
                let data = serde_json::json!({ "code": code });
                let text = "the server refused what the gateway sent it";
                let error = jsonrpc::error(Some(&call.id), jsonrpc::INTERNAL_ERROR, text, Some(data));
                return out.push(Routed::Event(call.stream, EventKind::Answer, error));
            }
        }
        if call.early.is_some() && envelope.result.is_some() {
            // It ended before it began; a client expects the acknowledgement first.
            out.push(Routed::Dropped("listen_not_acknowledged"));
        }
        out.push(Routed::passing(call.stream, EventKind::Answer, text, &mut edits));
    }

    fn notification(&mut self, text: &[u8], envelope: &Envelope, now: Instant, out: &mut Vec<Routed>) {
        if let Some(subscription) = envelope.about_subscription {
            return self.frame(text, envelope, subscription, out);
        }
        match (envelope.method, envelope.about_token, envelope.about_request) {
            (Method::Progress, Some(token), _) => {
                let call = private_number(token.of(text)).and_then(|number| self.calls.get_mut(&number));
                let Some(call) = call else { return out.push(Routed::Dropped("progress_without_call")) };
                call.alive = now;
                let Some(own) = &call.token else { return out.push(Routed::Dropped("progress_without_call")) };
                let line = splice(text, &mut [(token, own)], b"");
                out.push(Routed::Event(call.stream, EventKind::Notification, line));
            }
            // The one thing that a server may cancel: it ends that subscription (2026-07-28, Cancellation, 2).
            (Method::Cancelled, _, Some(about)) => {
                let number = private_number(about.of(text));
                match number.filter(|number| self.calls.get(number).is_some_and(|call| call.ask == Ask::Listen)) {
                    Some(number) => self.end_listen(number, out),
                    None => out.push(Routed::Dropped("cancel_without_call")),
                }
            }
            _ if envelope.is_method(text, "notifications/message") => {
                self.fading.retain(|(_, since)| now.saturating_duration_since(*since) < FADE);
                match self.loggers.last().and_then(|logger| self.calls.get(logger)) {
                    Some(_) if !self.fading.is_empty() => out.push(Routed::Dropped("log_after_cancel")),
                    Some(call) => out.push(Routed::passing(call.stream, EventKind::Notification, text, &mut [])),
                    None => out.push(Routed::Dropped("log_for_nobody")),
                }
            }
            _ => out.push(Routed::Dropped("notification_for_nobody")),
        }
    }

    /// A frame of a subscription. The acknowledgement comes first (2026-07-28, Subscriptions, Acknowledgment).
    fn frame(&mut self, text: &[u8], envelope: &Envelope, subscription: Span, out: &mut Vec<Routed>) {
        let call = private_number(subscription.of(text)).and_then(|number| self.calls.get_mut(&number));
        let Some(call) = call.filter(|call| call.ask == Ask::Listen) else {
            return out.push(Routed::Dropped("frame_without_listen"));
        };
        let line = splice(text, &mut [(subscription, &call.id)], b"");
        match &mut call.early {
            Some(early) if envelope.is_method(text, "notifications/subscriptions/acknowledged") => {
                out.push(Routed::Event(call.stream, EventKind::Notification, line));
                let early = std::mem::take(early).into_iter();
                out.extend(early.map(|line| Routed::Event(call.stream, EventKind::Notification, line)));
                call.early = None;
            }
            Some(early) if early.len() < EARLY_FRAMES => early.push(line),
            Some(_) => out.push(Routed::Dropped("listen_not_acknowledged")),
            None => out.push(Routed::Event(call.stream, EventKind::Notification, line)),
        }
        if envelope.method == Method::Changed {
            out.push(Routed::Notice(Notice::Changed(text.to_vec())));
        }
    }
}

impl Route for ModernOnModern {
    fn line(&mut self, text: &[u8], envelope: &Envelope, _: &Log, now: Instant, out: &mut Vec<Routed>) {
        match (envelope.kind, envelope.id) {
            (Kind::Answer, _) => self.answer(text, envelope, out),
            (Kind::Notification, _) => self.notification(text, envelope, now, out),
            // 2026-07-28, stdio, Receiving Messages: a server must not send requests.
            (Kind::Request, Some(id)) => {
                out.push(Routed::Dropped("question_of_modern_child"));
                out.push(Routed::ToChild(if envelope.is_method(text, "ping") {
                    jsonrpc::empty_result(id.of(text))
                } else {
                    jsonrpc::refusal(id.of(text), jsonrpc::METHOD_NOT_FOUND, "a server of this revision sends no requests")
                }));
            }
            (Kind::Request, None) => out.push(Routed::Dropped("question_without_id")),
        }
    }

    fn line_lost(&mut self, why: &str, now: Instant, out: &mut Vec<Routed>) {
        let mut numbers = self.calls.iter().filter(|(_, call)| call.ask != Ask::Listen).map(|(number, _)| *number);
        let (Some(only), None) = (numbers.next(), numbers.next()) else { return };
        let Some(call) = self.abandon(only, now) else { return };
        let error = jsonrpc::error(Some(&call.id), jsonrpc::INTERNAL_ERROR, why, None);
        out.push(Routed::Event(call.stream, EventKind::Answer, error));
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Routed>) {
        let since = |then: Instant| now.saturating_duration_since(then);
        let patience = self.patience;
        self.fading.retain(|(_, given_up)| since(*given_up) < FADE);
        let is_late = |call: &Call| match (call.ask, &call.early) {
            (Ask::Listen, Some(_)) => since(call.began) >= ACKNOWLEDGE,
            (Ask::Listen, None) => false,
            _ => since(call.alive) >= patience.request || since(call.began) >= patience.hard,
        };
        let late: Vec<u64> = self.calls.iter().filter(|(_, call)| is_late(call)).map(|(number, _)| *number).collect();
        for number in late {
            let Some(call) = self.abandon(number, now) else { continue };
            let text = if call.ask == Ask::Listen { "the server did not acknowledge within 5 s" } else { jsonrpc::LATE };
            out.push(Routed::Expired(if call.ask == Ask::Listen { "acknowledge" } else { "request" }));
            let error = jsonrpc::error(Some(&call.id), jsonrpc::INTERNAL_ERROR, text, None);
            out.push(Routed::Event(call.stream, EventKind::Answer, error));
            if !call.is_first_word() {
                out.push(Routed::ToChild(jsonrpc::cancellation(number, "timed out")));
            }
        }
    }

    fn fail_all(&mut self, message: &str, data: &serde_json::Value, _: Instant, out: &mut Vec<Routed>) {
        self.loggers.clear();
        for call in std::mem::take(&mut self.calls).into_values() {
            out.push(if call.ask == Ask::Listen {
                // 2026-07-28, Subscriptions, Graceful Closure: an end without a result is one to come back from.
                Routed::End(call.stream)
            } else {
                let error = jsonrpc::error(Some(&call.id), jsonrpc::INTERNAL_ERROR, message, Some(data.clone()));
                Routed::Event(call.stream, EventKind::Answer, error)
            });
        }
    }

    /// 2026-07-28, Streamable HTTP, Cancellation: closing the stream cancels the request.
    fn left(&mut self, stream: StreamId, now: Instant, out: &mut Vec<Routed>) {
        out.push(Routed::End(stream));
        let number = self.calls.iter().find(|(_, call)| call.stream == stream).map(|(number, _)| *number);
        if let Some(number) = number {
            let call = self.abandon(number, now);
            let is_own = call.as_ref().is_some_and(|call| call.is_own);
            let reason = if is_own { "timed out" } else { "the client closed the stream" };
            if !call.is_some_and(|call| call.is_first_word()) {
                out.push(Routed::ToChild(jsonrpc::cancellation(number, reason)));
            }
        }
    }

    fn unasked(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn calls_in_flight(&self) -> usize {
        self.calls.len()
    }
}

fn span(text: &[u8], slice: &[u8]) -> Span {
    let start = slice.as_ptr() as usize - text.as_ptr() as usize;
    Span::new(start..start + slice.len())
}

/// A modern client's request as the child gets it.
fn line(asked: &Asked<'_>, private: &[u8], state: Option<&[u8]>, keeps_level: bool) -> Spliced {
    let mut edits: Vec<(Span, &[u8])> = vec![(asked.id.0, private)];
    if let (Some(ours), Some(theirs)) = (asked.request.state, state) {
        edits.push((asked.span_of(ours), theirs));
    }
    let meta;
    match object::member(asked.request.params, "_meta") {
        Some(given) if asked.wants_logs() && !keeps_level => {
            meta = quiet(given.value, asked.token.is_some().then_some(private));
            edits.push((asked.span_of(given.value), &meta));
        }
        _ => edits.extend(asked.token.map(|token| (token, private))),
    }
    pass(asked.text, &mut edits, b"\n")
}

/// The `_meta` of a request that may not ask for logs.
fn quiet(meta: &[u8], token: Option<&[u8]>) -> Vec<u8> {
    object::rewrite(
        meta,
        &[],
        |member| match token {
            _ if member.is(LOG_LEVEL) => Edit::Drop,
            Some(token) if member.is("progressToken") => Edit::Put(token.to_vec()),
            _ => Edit::Keep,
        },
        &[],
    )
}

fn with_subscription(meta: &[u8], id: &[u8]) -> Vec<u8> {
    object::rewrite(meta, &[], |member| if member.is(SUBSCRIPTION_ID) { Edit::Put(id.to_vec()) } else { Edit::Keep }, &[])
}

#[cfg(test)]
mod tests;
