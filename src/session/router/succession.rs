//! What becomes of calls and questions when one child follows another.

use tokio::time::Instant;

use super::{Call, Router};
use crate::link::route::{Carries, Routed};
use crate::link::stream::EventKind;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::sse::StreamId;
use crate::session::recall::Recall;

/// Whether the child is there for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Here,
    /// It ends: what is said now is for the next one.
    Leaving,
    /// It is being told what the one before it was.
    Coming,
}

impl Router {
    /// A request of the gateway's own, in the client's words, to a child that follows another.
    pub(crate) fn own_request(&mut self, text: &[u8], envelope: &Envelope, stream: StreamId, now: Instant) -> Vec<u8> {
        let number = self.next;
        let line = self.request(text, envelope, stream, Carries::AnswerOnly, false, now).joined(text);
        if let Some(call) = self.calls.get_mut(&number) {
            call.is_own = true;
        }
        line
    }

    /// The child has gone, and another takes its place: the client gets its questions back, and the calls that this one was told
    /// get this error.
    pub(crate) fn interrupted(&mut self, message: &str, data: &serde_json::Value, out: &mut Vec<Routed>) {
        self.withdraw_all("the server ended", out);
        let held_from = self.held_from;
        self.fail_where(|number, call| call.is_own || number < held_from, message, data, out);
    }

    /// No child comes for the calls that are held.
    pub(crate) fn given_up(&mut self, message: &str, data: &serde_json::Value, out: &mut Vec<Routed>) {
        let held_from = self.held_from;
        self.fail_where(|number, _| number >= held_from, message, data, out);
    }

    pub(super) fn fail_where(
        &mut self,
        is_over: impl Fn(u64, &Call) -> bool,
        message: &str,
        data: &serde_json::Value,
        out: &mut Vec<Routed>,
    ) {
        let mut over: Vec<u64> =
            self.calls.iter().filter(|(number, call)| is_over(**number, call)).map(|(number, _)| *number).collect();
        over.sort_unstable();
        for number in over {
            let Some(call) = self.finish(number) else { continue };
            let error = jsonrpc::error(Some(&call.id), jsonrpc::INTERNAL_ERROR, message, Some(data.clone()));
            out.push(self.answered(&call, error));
        }
    }

    /// Another child is there, and is told what the one before it was.
    pub(crate) fn comes(&mut self) {
        self.presence = Presence::Coming;
    }

    /// The child that follows another has been told everything, and what is held.
    pub(crate) fn is_here(&mut self) {
        self.presence = Presence::Here;
        self.held_from = u64::MAX;
        self.recall.iter_mut().for_each(Recall::released);
    }

    /// The child waits for no answer any more.
    pub(crate) fn withdraw_all(&mut self, reason: &str, out: &mut Vec<Routed>) {
        for (_, question) in self.questions.drain() {
            let withdrawal = jsonrpc::withdrawal(&question.id, reason);
            out.push(Routed::Event(question.stream, EventKind::Notification, withdrawal));
        }
    }

    /// Whether nothing is under way, and nothing is waited for, for which the child would have to run.
    pub(crate) fn can_sleep(&self) -> bool {
        let recall = self.recall.as_ref();
        self.calls.is_empty() && self.questions.is_empty() && recall.is_some_and(Recall::lets_sleep)
    }
}
