//! A leased call while its client is away: what the client was asked, and how it comes back. A state is good once.

use tokio::time::Instant;

use super::lease::{Lease, Phase, QUIET, Stored};
use super::questions::{self, Question};
use super::{ModernOnLegacy, Whose, messages, resend};
use crate::bridge::Asked;
use crate::bridge::capabilities::Declared;
use crate::bridge::ticket::Kind as TicketKind;
use crate::link::route::{Notice, Place, Routed};
use crate::link::stream::EventKind;
use crate::protocol::jsonrpc;
use crate::protocol::object;
use crate::protocol::splice::{Spliced, splice};
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
        check_answers(&parked.questions, asked)
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
        let token: Option<Box<[u8]>> = asked.token.map(|token| token.of(asked.text).into());
        lease.tell_kept(stream, token.as_deref(), out);
        lease.place = Some(place);
        if let Some(Stored { line: text, .. }) = lease.stored.take() {
            out.push(match self.stored_answer(&lease, &text, asked, now) {
                Spliced::Whole(answer) => Routed::Event(stream, EventKind::Answer, answer),
                answer @ Spliced::Around(_) => Routed::Given(stream, EventKind::Answer, answer.in_place(text)),
            });
            self.lease = Some(lease);
            return self.free(out);
        }
        let given = |question: &Question| {
            let key = Some(&question.key).filter(|key| !key.is_empty());
            object::member(asked.responses()?, key?)
        };
        for question in std::mem::take(&mut lease.questions) {
            match given(&question) {
                Some(value) => out.push(Routed::ToChild(question.answered(value.value))),
                None => lease.questions.push(question),
            }
        }
        if let Some(undeclared) = lease.questions.iter().position(|question| !question.is_declared(declared)) {
            // 2026-07-28, Multi Round-Trip Requests, Server Requirements, 7: by what this request declares.
            let question = lease.questions.remove(undeclared);
            out.push(Routed::ToChild(question.not_declared()));
            out.push(Routed::Event(stream, EventKind::Answer, question.missing_capability(asked.id.1)));
            let is_sent = lease.number.is_some();
            self.lease = Some(lease);
            return if is_sent {
                self.cancel_lease("the client cannot be asked", now, out);
            } else {
                self.drop_unsent(out);
            };
        }
        let parked = lease.phase;
        lease.phase = if lease.questions.is_empty() { Phase::Running } else { Phase::Gathering { first: now, last: now } };
        match lease.number.and_then(|number| self.calls.get_mut(&number)) {
            Some(call) => {
                call.stream = Some(stream);
                call.id = asked.id.1.into();
                call.token = token.filter(|_| call.has_token);
                call.alive = now;
                if let Phase::Parked { since } = parked {
                    call.began += now.saturating_duration_since(since); // the user's time is not the child's
                }
            }
            None => {
                // It was waiting for these answers to be sent at all.
                let (number, line) = self.send(asked, stream, Whose::Leased, now);
                lease.number = Some(number);
                out.push(Routed::ToChild(line.joined(asked.text)));
            }
        }
        if let Phase::Gathering { .. } = lease.phase {
            out.push(Routed::Alarm(now + QUIET));
        }
        self.lease = Some(lease);
    }

    /// A call that waited for its user before it was sent, and never is.
    fn drop_unsent(&mut self, out: &mut Vec<Routed>) {
        if let Some(lease) = &mut self.lease {
            lease.refuse_questions("the call was given up", out);
        }
        self.free(out);
    }

    /// What a call that ended while it was parked is answered with.
    fn stored_answer(&mut self, lease: &Lease, text: &[u8], asked: &Asked<'_>, now: Instant) -> Spliced {
        let Ok(envelope) = jsonrpc::read(text) else { return Spliced::Whole(text.to_vec()) };
        match envelope.error.filter(|error| resend::is_url_required(error.of(text))) {
            Some(error) => Spliced::Whole(self.send_elsewhere(error.of(text), asked.id.1, lease, now)),
            None => messages::answer(text, &envelope, lease.ask, asked.id.1, &self.facts),
        }
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

impl Lease {
    /// What came while the client was away, as far as it wants it now.
    fn tell_kept(&mut self, stream: StreamId, token: Option<&[u8]>, out: &mut Vec<Routed>) {
        for (level, log) in self.logs.drain(..) {
            out.push(match self.level {
                Some(wanted) if level >= wanted => Routed::Event(stream, EventKind::Notification, log),
                _ => Routed::Dropped("log_for_nobody"),
            });
        }
        self.log_bytes = 0;
        if let (Some((text, span)), Some(token)) = (self.progress.take(), token) {
            out.push(Routed::Event(stream, EventKind::Notification, splice(&text, &mut [(span, token)], b"")));
        }
    }
}

/// Whether what stands under the keys of open questions can be their answers.
pub(super) fn check_answers(questions: &[Question], asked: &Asked<'_>) -> Result<(), NotResumed> {
    let Some(responses) = asked.responses() else {
        let is_absent = asked.request.responses.is_none();
        return if is_absent { Ok(()) } else { Err(NotResumed::BadAnswer("is not in an object")) };
    };
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
