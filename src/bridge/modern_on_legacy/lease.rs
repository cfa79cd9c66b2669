//! The life of a call that may be asked: taken → running → gathering questions → parked without a client → running … → free.
//! Nothing here runs a call twice, and nobody else's call may be asked before this one has ended in the child.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::questions::Question;
use super::strays::Stray;
use super::{Call, ModernOnLegacy, Whose, messages};
use crate::bridge::Asked;
use crate::bridge::capabilities::Declared;
use crate::budget::{Budget, Charge};
use crate::link::route::{Notice, Place, Routed};
use crate::link::stream::EventKind;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::meta::{Ask, Level};
use crate::protocol::scan::Span;
use crate::protocol::splice::{Around, LARGE, Spliced, splice};
use crate::protocol::sse::StreamId;

/// Questions that come together are asked together: this long after the last, at most this long after the first.
pub(super) const QUIET: Duration = Duration::from_millis(25);
const WINDOW: Duration = Duration::from_millis(150);
/// How many questions one call may have open.
const MAX_QUESTIONS: usize = 64;
/// Log messages that a parked call keeps for its client.
const KEPT_LOGS: usize = 64;
const KEPT_LOG_BYTES: usize = 64 << 10;

/// What a large answer that is kept has more than the child's once it is sent: in front of its largest part, and behind.
const HEADROOM: usize = 64;
const TAILROOM: usize = 1024;

/// How far a leased call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Somebody is about to send it.
    Taken,
    /// Its client waits.
    Running,
    /// Its client waits; questions have come, and perhaps more do.
    Gathering { first: Instant, last: Instant },
    /// Its client was asked, and has not come back.
    Parked { since: Instant },
    /// Parked, and it has ended meanwhile.
    Stored { since: Instant },
    /// Its client has gone; the child has not ended it.
    Draining { since: Instant },
}

pub(crate) struct Lease {
    pub(super) id: u64,
    /// Of the call in the child; `None` before it is sent and after it has ended.
    pub(super) number: Option<u64>,
    pub(super) phase: Phase,
    /// How often its client was asked. A state of an earlier round is spent.
    pub(super) round: u32,
    pub(super) declared: Declared,
    pub(super) level: Option<Level>,
    pub(super) ask: Ask,
    pub(super) digest: [u8; 32],
    /// Asked and not answered, with those that came since.
    pub(super) questions: Vec<Question>,
    pub(super) keys: u32,
    pub(super) progress: Option<(Vec<u8>, Span)>,
    pub(super) logs: VecDeque<(Level, Vec<u8>)>,
    pub(super) log_bytes: usize,
    /// The child's answer, as it wrote it.
    pub(super) stored: Option<Stored>,
    /// Held while a client waits or the child works for none.
    pub(super) place: Option<Place>,
}

/// An answer that waits for its client, and what it takes of what may be kept in all.
pub(super) struct Stored {
    pub(super) line: Bytes,
    _charge: Option<Charge>,
}

impl Stored {
    /// An error in the place of an answer that does not fit.
    pub(super) fn new(line: Bytes, budget: &Arc<Budget>) -> Stored {
        match Charge::new(budget, line.len()) {
            charge @ Some(_) => Stored { line, _charge: charge },
            None => {
                let id = jsonrpc::read(&line).ok().and_then(|envelope| envelope.id).map(|id| id.of(&line));
                let text =
                    "the answer came while its client was away, and does not fit what the gateway keeps (--log-bytes-total)";
                Stored { line: jsonrpc::error(id, jsonrpc::INTERNAL_ERROR, text, None).into(), _charge: None }
            }
        }
    }
}

impl Lease {
    /// Whether the child's questions are this call's.
    pub(super) fn may_be_asked(&self) -> bool {
        match self.phase {
            Phase::Running | Phase::Gathering { .. } | Phase::Parked { .. } => true,
            Phase::Taken | Phase::Stored { .. } | Phase::Draining { .. } => false,
        }
    }

    /// Its call was cancelled, and is no longer waited for.
    pub(super) fn is_hopeless(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. }) && self.number.is_none()
    }

    pub(super) fn withdraw(&mut self, is_it: impl Fn(&Question) -> bool) -> bool {
        let before = self.questions.len();
        self.questions.retain(|question| !is_it(question));
        if self.questions.is_empty() && matches!(self.phase, Phase::Gathering { .. }) {
            self.phase = Phase::Running;
        }
        self.questions.len() < before
    }

    pub(super) fn keep_log(&mut self, level: Level, text: &[u8], out: &mut Vec<Routed>) {
        let log = splice(text, &mut [], b"");
        self.log_bytes += log.len();
        self.logs.push_back((level, log));
        while self.logs.len() > KEPT_LOGS || self.log_bytes > KEPT_LOG_BYTES {
            self.log_bytes -= self.logs.pop_front().map_or(self.log_bytes, |(_, log)| log.len());
            out.push(Routed::Dropped("parked_log"));
        }
    }

    /// What the child is told of questions that nobody answers.
    pub(super) fn refuse_questions(&mut self, text: &str, out: &mut Vec<Routed>) {
        out.extend(self.questions.drain(..).map(|question| Routed::ToChild(question.refused(text))));
    }
}

impl ModernOnLegacy {
    /// Takes the lease, if it is free, for a call that may be asked. Gives the place back if it is not.
    pub(crate) fn take_lease(&mut self, lease: u64, asked: &Asked<'_>, declared: Declared, place: Place) -> Result<(), Place> {
        // Nobody else may be asked meanwhile, and nobody else's logs may come.
        if self.lease.is_some() || self.shared_asking().next().is_some() || !self.ghosts.is_empty() {
            return Err(place);
        }
        self.lease = Some(Lease {
            id: lease,
            number: None,
            phase: Phase::Taken,
            round: 0,
            declared,
            level: asked.level,
            ask: asked.ask,
            digest: asked.digest(),
            questions: Vec::new(),
            keys: 0,
            progress: None,
            logs: VecDeque::new(),
            log_bytes: 0,
            stored: None,
            place: Some(place),
        });
        Ok(())
    }

    /// Gives the lease back without a call.
    pub(crate) fn untake_lease(&mut self, lease: u64, out: &mut Vec<Routed>) {
        if self.lease.as_ref().is_some_and(|taken| taken.id == lease && taken.phase == Phase::Taken) {
            self.free(out);
        }
    }

    /// Since when the leased call is parked, if it is.
    pub(crate) fn parked_since(&self) -> Option<Instant> {
        match self.lease.as_ref()?.phase {
            Phase::Parked { since } | Phase::Stored { since } => Some(since),
            _ => None,
        }
    }

    /// The level that the child has yet to be told before a call that wants this one.
    pub(crate) fn level_to_set(&mut self, wanted: Option<Level>) -> Option<Level> {
        let wanted = wanted.filter(|wanted| self.level != Some(*wanted) && self.facts.declares(&["logging"]))?;
        self.level = Some(wanted);
        Some(wanted)
    }

    /// Sends the leased call. Questions that no call would own so far become its own: they are asked first, and the call is
    /// sent when they are answered.
    pub(crate) fn ask(&mut self, lease: u64, asked: &Asked<'_>, stream: StreamId, now: Instant, out: &mut Vec<Routed>) {
        let Some(mut taken) = self.lease.take_if(|taken| taken.id == lease) else { return };
        taken.questions = self.strays.drain(..).map(|Stray { question, .. }| question).collect();
        if taken.questions.is_empty() {
            let (number, line) = self.send(asked, stream, Whose::Leased, now);
            taken.number = Some(number);
            taken.phase = Phase::Running;
            self.lease = Some(taken);
            return out.push(Routed::told(line));
        }
        self.lease = Some(taken);
        self.park(stream, asked.id.1, now, out);
    }

    /// A question of the leased call.
    pub(super) fn lease_asked(&mut self, question: Question, now: Instant, out: &mut Vec<Routed>) {
        let Some(lease) = &mut self.lease else { return };
        let is_parked = matches!(lease.phase, Phase::Parked { .. });
        if !question.is_declared(lease.declared) {
            out.push(Routed::ToChild(question.not_declared()));
            if is_parked {
                return; // its client cannot be told now; the child goes on without
            }
            let call = lease.number.and_then(|number| self.calls.get_mut(&number));
            if let Some((stream, call)) = call.and_then(|call| Some((call.stream.take()?, call))) {
                out.push(Routed::Event(stream, EventKind::Answer, question.missing_capability(&call.id)));
            }
            return self.cancel_lease("the client cannot be asked", now, out);
        }
        if lease.questions.len() >= MAX_QUESTIONS {
            out.push(Routed::Dropped("too_many_questions"));
            return out.push(Routed::ToChild(question.refused("too many questions are open")));
        }
        lease.questions.push(question);
        if is_parked {
            return; // it is asked once the client comes back
        }
        let first = if let Phase::Gathering { first, .. } = lease.phase { first } else { now };
        lease.phase = Phase::Gathering { first, last: now };
        out.push(Routed::Alarm((now + QUIET).min(first + WINDOW)));
    }

    /// The leased call has been answered.
    pub(super) fn lease_answered(
        &mut self,
        number: u64,
        call: &Call,
        text: &[u8],
        envelope: &Envelope,
        now: Instant,
        out: &mut Vec<Routed>,
    ) {
        let Some(lease) = self.lease.as_mut().filter(|lease| lease.number == Some(number)) else { return };
        match (lease.phase, call.stream) {
            (Phase::Parked { since }, _) => {
                // Its questions are open no longer: a server that has answered does not wait for them.
                lease.refuse_questions("the call has ended", out);
                lease.number = None;
                lease.phase = Phase::Stored { since };
                if text.len() < LARGE {
                    lease.stored = Some(Stored::new(Bytes::copy_from_slice(text), &self.budget));
                } else {
                    // White space around it, in whose place its client's id and what modern results have can stand.
                    let room = |size| vec![b' '; size];
                    out.push(Routed::Stored(Around { head: room(HEADROOM), kept: 0..text.len(), tail: room(TAILROOM) }));
                }
            }
            (Phase::Running | Phase::Gathering { .. }, Some(stream)) => {
                lease.refuse_questions("the call has ended", out);
                let url = envelope.error.filter(|error| super::resend::is_url_required(error.of(text)));
                let answer = match (url, self.lease.take()) {
                    (Some(error), Some(lease)) => {
                        let answer = self.send_elsewhere(error.of(text), &call.id, &lease, now);
                        self.lease = Some(lease);
                        Spliced::Whole(answer)
                    }
                    (_, lease) => {
                        self.lease = lease;
                        messages::answer(text, envelope, call.ask, &call.id, &self.facts)
                    }
                };
                out.push(Routed::spliced(stream, EventKind::Answer, answer));
                self.free(out);
            }
            _ => {
                out.push(Routed::Dropped("answer_of_cancelled_call"));
                self.free(out);
            }
        }
    }

    /// Nobody waits for the leased call any more: the child is told, and nobody else may be asked before it has ended.
    pub(super) fn cancel_lease(&mut self, why: &str, now: Instant, out: &mut Vec<Routed>) {
        let Some(lease) = &mut self.lease else { return };
        lease.refuse_questions("the call was cancelled", out);
        lease.level = None;
        if let Some(number) = lease.number {
            if let Some(call) = self.calls.get_mut(&number) {
                call.stream = None;
            }
            out.push(Routed::ToChild(jsonrpc::cancellation(number, why)));
            lease.phase = Phase::Draining { since: now };
        }
    }

    pub(super) fn lease_tick(&mut self, now: Instant, out: &mut Vec<Routed>) {
        let Some(lease) = &mut self.lease else { return };
        let since = |then: Instant| now.saturating_duration_since(then);
        match lease.phase {
            Phase::Gathering { first, last } if since(last) >= QUIET || since(first) >= WINDOW => {
                let call = lease.number.and_then(|number| self.calls.get_mut(&number));
                if let Some((stream, call)) = call.and_then(|call| Some((call.stream.take()?, call))) {
                    let id = call.id.clone();
                    self.park(stream, &id, now, out);
                }
            }
            Phase::Gathering { first, last } => out.push(Routed::Alarm((last + QUIET).min(first + WINDOW))),
            Phase::Running => {
                let number = lease.number;
                if let Some(call) = number.and_then(|number| self.calls.get(&number))
                    && self.is_late(call, now)
                {
                    let error = jsonrpc::error(Some(&call.id), jsonrpc::INTERNAL_ERROR, jsonrpc::LATE, None);
                    out.push(Routed::Expired("request"));
                    out.extend(call.stream.map(|stream| Routed::Event(stream, EventKind::Answer, error)));
                    self.cancel_lease("timed out", now, out);
                }
            }
            Phase::Parked { since: then } | Phase::Stored { since: then } if since(then) >= self.patience.park => {
                out.push(Routed::Expired("park"));
                self.give_up(now, out);
            }
            Phase::Draining { since: then } if since(then) >= self.patience.grace && lease.number.take().is_some() => {
                // Its next question could not be told from another call's.
                out.push(Routed::Expired("cancel_grace"));
                out.push(Routed::Notice(Notice::Retire));
            }
            _ => {}
        }
    }

    /// The lease is nobody's.
    pub(super) fn free(&mut self, out: &mut Vec<Routed>) {
        if let Some(lease) = self.lease.take() {
            out.extend(lease.place.map(Routed::Release));
            out.push(Routed::Notice(Notice::Freed));
        }
    }
}
