//! A leased call while its client is away: what the client was asked, and how it comes back. A state is good once.

use tokio::time::Instant;

use super::lease::{Phase, QUIET};
use super::questions::{self, Question};
use super::{ModernOnLegacy, Whose, messages};
use crate::bridge::Asked;
use crate::bridge::capabilities::Declared;
use crate::bridge::ticket::Kind as TicketKind;
use crate::link::route::{Notice, Place, Routed};
use crate::link::stream::EventKind;
use crate::protocol::jsonrpc;
use crate::protocol::object;
use crate::protocol::splice::splice;
use crate::protocol::sse::StreamId;

/// Why a retry does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotResumed {
    /// The state is not, or no longer, that of this call.
    Unknown,
    /// An answer cannot be one; the state stays good.
    BadAnswer(&'static str),
}

impl ModernOnLegacy {
    /// Whether a retry may go on.
    pub(crate) fn check_retry(&self, lease: u64, round: u32, asked: &Asked<'_>) -> Result<(), NotResumed> {
        let parked = self.lease.as_ref().filter(|parked| {
            parked.id == lease && parked.round == round && matches!(parked.phase, Phase::Parked { .. } | Phase::Stored { .. })
        });
        let parked = parked.ok_or(NotResumed::Unknown)?;
        match asked.request.responses {
            Some(_) if asked.responses().is_none() => Err(NotResumed::BadAnswer("inputResponses must be an object")),
            _ => check_answers(&parked.questions, asked.responses()),
        }
    }

    /// A retry that was checked: its answers go to the child, and its stream is the call's.
    pub(crate) fn retry(
        &mut self,
        asked: &Asked<'_>,
        declared: Declared,
        stream: StreamId,
        place: Place,
        now: Instant,
        out: &mut Vec<Routed>,
    ) {
        let Some(mut lease) = self.lease.take() else { return };
        lease.level = asked.level;
        lease.declared = declared;
        lease.logs.drain(..).for_each(|log| {
            out.push(match asked.level {
                Some(_) => Routed::Event(stream, EventKind::Notification, log),
                None => Routed::Dropped("log_for_nobody"),
            });
        });
        lease.log_bytes = 0;
        let token: Option<Box<[u8]>> = asked.token.map(|token| token.of(asked.text).into());
        if let (Some((text, span)), Some(token)) = (lease.progress.take(), &token) {
            out.push(Routed::Event(stream, EventKind::Notification, splice(&text, &mut [(span, token)], b"")));
        }
        if let Some(text) = lease.stored.take() {
            out.push(Routed::Release(place));
            if let Ok(envelope) = jsonrpc::read(&text) {
                let answer = messages::answer(&text, &envelope, lease.ask, asked.id.1, &self.facts);
                out.push(Routed::Event(stream, EventKind::Answer, answer));
            }
            return out.push(Routed::Notice(Notice::Freed));
        }
        lease.place = Some(place);
        let (answered, open): (Vec<Question>, Vec<Question>) = std::mem::take(&mut lease.questions)
            .into_iter()
            .partition(|question| asked.responses().and_then(|responses| object::member(responses, &question.key)).is_some());
        for question in answered {
            let value = asked.responses().and_then(|responses| object::member(responses, &question.key));
            out.extend(value.map(|value| Routed::ToChild(question.answered(value.value))));
        }
        lease.phase = if open.is_empty() { Phase::Running } else { Phase::Gathering { first: now, last: now } };
        lease.questions = open;
        match lease.number.and_then(|number| self.calls.get_mut(&number)) {
            Some(call) => {
                call.stream = Some(stream);
                call.id = asked.id.1.into();
                call.token = token.filter(|_| call.has_token);
                call.alive = now;
            }
            None => {
                // It was waiting for these answers to be sent at all.
                let (number, line) = self.send(asked, stream, Whose::Leased, now);
                lease.number = Some(number);
                out.push(Routed::ToChild(line));
            }
        }
        if let Phase::Gathering { .. } = lease.phase {
            out.push(Routed::Alarm(now + QUIET));
        }
        self.lease = Some(lease);
    }

    /// Ends a parked call that its client did not come back to: the child hears that the user said no.
    pub(crate) fn give_up(&mut self, now: Instant, out: &mut Vec<Routed>) {
        let Some(lease) = &mut self.lease else { return };
        match lease.phase {
            Phase::Stored { .. } => self.free(out),
            Phase::Parked { .. } => {
                out.extend(lease.questions.drain(..).map(|question| Routed::ToChild(question.given_up())));
                match lease.number {
                    Some(number) => {
                        out.push(Routed::ToChild(jsonrpc::cancellation(number, "the client did not come back")));
                        lease.phase = Phase::Draining { since: now };
                    }
                    None => self.free(out),
                }
            }
            _ => {}
        }
    }

    /// Asks the client what is open, in place of an answer.
    pub(super) fn park(&mut self, stream: StreamId, client_id: &[u8], now: Instant, out: &mut Vec<Routed>) {
        let Some(lease) = &mut self.lease else { return };
        lease.round += 1;
        questions::name(&mut lease.questions, &mut lease.keys);
        let state = self.sealer.seal(TicketKind::Park, lease.id, lease.round, lease.digest, b"");
        let answer = input_required(client_id, &lease.questions, &state, self.facts.meta().as_deref());
        lease.phase = Phase::Parked { since: now };
        out.push(Routed::Event(stream, EventKind::Answer, answer));
        out.extend(lease.place.take().map(Routed::Release));
        out.push(Routed::Notice(Notice::Parked));
    }
}

/// Whether what stands under the keys of open questions can be their answers.
pub(super) fn check_answers(questions: &[Question], responses: Option<&[u8]>) -> Result<(), NotResumed> {
    let Some(responses) = responses else { return Ok(()) };
    for question in questions.iter().filter(|question| !question.key.is_empty()) {
        if let Some(given) = object::member(responses, &question.key)
            && let Some(fault) = question.fault_of(given.kind, given.value)
        {
            return Err(NotResumed::BadAnswer(fault));
        }
    }
    Ok(())
}

/// 2026-07-28, Multi Round-Trip Requests, InputRequiredResult.
pub(super) fn input_required(client_id: &[u8], questions: &[Question], state: &str, meta: Option<&[u8]>) -> Vec<u8> {
    let requests = questions::requests(questions);
    let state = object::quoted(state);
    let mut members: Vec<(&str, &[u8])> =
        vec![("resultType", b"\"input_required\""), ("inputRequests", &requests), ("requestState", &state)];
    members.extend(meta.map(|meta| ("_meta", meta)));
    jsonrpc::result(client_id, &object::rewrite(b"{}", &members, |_| object::Edit::Keep, &[]))
}
