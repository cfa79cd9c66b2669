//! What a shared child asks, although it was told that nobody can be asked: it can only be about a call of the one session that has
//! any in the child.

use tokio::time::Instant;

use super::LegacyOnLegacy;
use crate::bridge::subject::Subject;
use crate::link::log::Log;
use crate::link::route::Routed;
use crate::link::stream::EventKind;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::splice::canonical;
use crate::protocol::sse::StreamId;

/// A request of the child that the client has not answered.
pub(super) struct Question {
    pub(super) id: Box<[u8]>,
    /// The call that it can only be about.
    pub(super) call: u64,
    pub(super) stream: StreamId,
    pub(super) asked: Instant,
}

impl LegacyOnLegacy {
    /// An answer of a client to the question of that id, as a line for the child.
    pub(crate) fn answer(&mut self, id: &[u8], line: Vec<u8>) -> Routed {
        match self.questions.remove(canonical(id).as_ref()) {
            Some(_) => Routed::ToChild(line),
            None => Routed::Dropped("answer_without_question"),
        }
    }

    /// The child was told that nobody can be asked; should it ask all the same, it can only be about the only session's call.
    pub(super) fn question(&mut self, text: &[u8], envelope: &Envelope, log: &Log, now: Instant) -> Routed {
        let Some(id) = envelope.id.map(|id| id.of(text)) else { return Routed::Dropped("question_without_id") };
        if envelope.is_method(text, "ping") {
            return Routed::ToChild(jsonrpc::empty_result(id));
        }
        let params = envelope.params.map_or(&b"{}"[..], |params| params.of(text));
        let subject = Subject::of(|word| envelope.is_method(text, word), params);
        let asked = self.only_session(log).filter(|(_, call)| {
            let can_answer = subject.is_some_and(|subject| subject.is_declared(call.declared));
            can_answer && log.is_reachable(call.stream)
        });
        let key = canonical(id).into_owned().into_boxed_slice();
        let Some((call, stream)) = asked.map(|(number, call)| (number, call.stream)) else {
            let why = "several clients use this server, or the client cannot be asked this: nobody can be asked";
            return Routed::ToChild(jsonrpc::refusal(id, jsonrpc::METHOD_NOT_FOUND, why));
        };
        if self.questions.contains_key(&key) {
            return Routed::ToChild(jsonrpc::refusal(id, jsonrpc::INVALID_REQUEST, "a request with this id is still open"));
        }
        self.questions.insert(key, Question { id: id.into(), call, stream, asked: now });
        Routed::passing(stream, EventKind::Question, text, &mut [])
    }

    /// Questions of a call that is over need no answer.
    pub(super) fn drop_questions(&mut self, call: u64, out: &mut Vec<Routed>) {
        self.questions.retain(|_, question| {
            if question.call == call {
                let why = "the call that this was asked in is over";
                out.push(Routed::ToChild(jsonrpc::refusal(&question.id, jsonrpc::INTERNAL_ERROR, why)));
            }
            question.call != call
        });
    }
}
