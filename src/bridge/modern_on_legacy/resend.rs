//! A call that a child of 2025-11-25 refused with −32042: its user has to go somewhere first. The call has ended, so no lease
//! is held; once the user has been there it is sent again, the only case in which a call is sent twice: the child said that it
//! did nothing (2025-11-25, Elicitation, URL Elicitation Required Error).

use tokio::time::Instant;

use super::ModernOnLegacy;
use super::lease::Lease;
use super::parked::{NotResumed, check_answers, input_required};
use super::questions::{self, Question};
use crate::bridge::ticket::Kind as TicketKind;
use crate::bridge::{Asked, code_of};
use crate::link::route::{Notice, Routed};
use crate::protocol::jsonrpc;
use crate::protocol::object;

/// How many calls of one child may wait for their users, and how many places that users have been to are remembered.
const MAX_RESENDS: usize = 64;
const MAX_COMPLETED: usize = 256;

pub(super) struct Resend {
    pub(super) lease: u64,
    pub(super) round: u32,
    digest: [u8; 32],
    questions: Vec<Question>,
    keys: u32,
    /// Elicitation ids.
    ids: Vec<String>,
    since: Instant,
}

/// How a retry of such a call goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send it again, once the user is known to have been there.
    Send(Vec<String>),
    /// The user does not want to.
    Declined,
    /// Not everything was answered: ask again, with this answer.
    Again(Vec<u8>),
}

pub(super) fn is_url_required(error: &[u8]) -> bool {
    code_of(error) == i64::from(jsonrpc::URL_ELICITATION_REQUIRED)
}

/// Where the user is to go, with the elicitation ids.
pub(super) fn questions(error: &[u8]) -> Vec<(Question, Option<String>)> {
    let places = object::at(error, &["data", "elicitations"]).map_or(&b"[]"[..], |places| places.value);
    object::elements(places).into_iter().map(Question::from_url).collect()
}

impl ModernOnLegacy {
    /// What the client is answered in place of the error.
    pub(super) fn send_elsewhere(&mut self, error: &[u8], client_id: &[u8], lease: &Lease, now: Instant) -> Vec<u8> {
        let (mut questions, ids): (Vec<Question>, Vec<Option<String>>) = questions(error).into_iter().unzip();
        let Some(first) = questions.first() else {
            let text = "the server sends its user elsewhere and does not say where";
            return jsonrpc::error(Some(client_id), jsonrpc::INTERNAL_ERROR, text, None);
        };
        if !lease.declared.url {
            return first.missing_capability(client_id);
        }
        // Not a round that a state of this lease has had already.
        let (mut keys, digest, round, lease) = (lease.keys, lease.digest, lease.round + 1, lease.id);
        questions::name(&mut questions, &mut keys);
        let state = self.sealer.seal(TicketKind::Resend, lease, round, digest, b"");
        let answer = input_required(client_id, &questions, &state, self.facts.meta().as_deref());
        self.resends.truncate(MAX_RESENDS - 1);
        let ids = ids.into_iter().flatten().collect();
        self.resends.push_front(Resend { lease, round, digest, questions, keys, ids, since: now });
        answer
    }

    /// A retry of such a call.
    pub(crate) fn resume_resend(&mut self, lease: u64, round: u32, asked: &Asked<'_>) -> Result<Step, NotResumed> {
        let found = self.resends.iter().position(|resend| resend.lease == lease && resend.round == round);
        let at = found.ok_or(NotResumed::Unknown)?;
        let facts = self.facts.meta();
        let resend = &mut self.resends[at];
        let answers = asked.responses();
        check_answers(&resend.questions, asked)?;
        let action = |question: &Question| {
            let given = answers.and_then(|answers| object::member(answers, &question.key))?;
            object::string(object::member(given.value, "action")?.value)
        };
        let actions: Vec<Option<String>> = resend.questions.iter().map(action).collect();
        if actions.iter().flatten().any(|action| action != "accept") {
            self.resends.remove(at);
            return Ok(Step::Declined);
        }
        if actions.iter().any(Option::is_none) {
            let mut open = actions.iter().map(Option::is_none);
            resend.questions.retain(|_| open.next().unwrap_or(false));
            resend.round += 1;
            questions::name(&mut resend.questions, &mut resend.keys);
            let state = self.sealer.seal(TicketKind::Resend, lease, resend.round, resend.digest, b"");
            return Ok(Step::Again(input_required(asked.id.1, &resend.questions, &state, facts.as_deref())));
        }
        let ids = std::mem::take(&mut resend.ids);
        self.resends.remove(at);
        Ok(Step::Send(ids))
    }

    /// Whether the user has been to all of these places.
    pub(crate) fn is_completed(&self, ids: &[String]) -> bool {
        ids.iter().all(|id| self.completed.contains(id))
    }

    pub(super) fn has_completed(&mut self, id: Option<String>, out: &mut Vec<Routed>) {
        let Some(id) = id else { return out.push(Routed::Dropped("notification_for_nobody")) };
        self.completed.push_back(id);
        if self.completed.len() > MAX_COMPLETED {
            self.completed.pop_front();
        }
        out.push(Routed::Notice(Notice::Freed)); // whoever waits for it looks again
    }

    pub(super) fn expire_resends(&mut self, now: Instant, out: &mut Vec<Routed>) {
        let before = self.resends.len();
        let park = self.patience.park;
        self.resends.retain(|resend| now.saturating_duration_since(resend.since) < park);
        out.extend((self.resends.len() < before).then_some(Routed::Expired("park")));
    }
}
