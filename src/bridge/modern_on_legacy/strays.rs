//! Questions that belong to no call that could be asked, and calls that share a child although its server may not look at what
//! they declared.

use std::time::Duration;

use tokio::time::Instant;

use super::questions::Question;
use super::{Call, ModernOnLegacy, Whose};
use crate::link::route::{Notice, Routed};
use crate::link::stream::EventKind;
use crate::protocol::jsonrpc;
use crate::protocol::meta::Ask;

/// A question outside any call waits so long for one, and so long where something else seems to wait for its answer.
const STRAY: Duration = Duration::from_secs(30);
const STRAY_IN_THE_WAY: Duration = Duration::from_secs(2);
const MAX_STRAYS: usize = 16;
const MAX_GHOSTS: usize = 1 << 16;

/// A question that came while no call could be asked.
pub(super) struct Stray {
    pub(super) question: Question,
    pub(super) at: Instant,
}

impl ModernOnLegacy {
    /// A question that belongs to no call that could be asked.
    pub(super) fn stray(&mut self, question: Question, now: Instant, out: &mut Vec<Routed>) {
        let sharing: Vec<u64> = self.shared_asking().take(2).collect();
        match (sharing.first().copied(), sharing.get(1)) {
            (Some(only), None) if self.ghosts.is_empty() => {
                out.push(Routed::ToChild(question.not_declared()));
                if let Some(call) = self.give_up_shared(only, now)
                    && let Some(stream) = call.stream
                {
                    out.push(Routed::Event(stream, EventKind::Answer, question.missing_capability(&call.id)));
                    out.push(Routed::ToChild(jsonrpc::cancellation(only, "the client cannot be asked")));
                }
            }
            (None, _) if self.ghosts.is_empty() && question.is_declared(self.declared) && self.strays.len() < MAX_STRAYS => {
                self.strays.push(Stray { question, at: now });
            }
            _ => {
                out.push(Routed::Dropped("question_for_nobody"));
                out.push(Routed::ToChild(question.not_declared()));
            }
        }
    }

    /// Calls that could be asked something by a server that does not look at what was declared.
    pub(super) fn shared_asking(&self) -> impl Iterator<Item = u64> {
        let asking = |call: &Call| call.whose == Whose::Shared && call.ask.may_ask();
        self.calls.iter().filter(move |(_, call)| asking(call)).map(|(number, _)| *number)
    }

    /// A shared call that goes on in the child, perhaps, and is nobody's.
    pub(super) fn give_up_shared(&mut self, number: u64, now: Instant) -> Option<Call> {
        let call = self.calls.remove(&number)?;
        if call.whose == Whose::Shared && call.ask.may_ask() && self.ghosts.len() < MAX_GHOSTS {
            self.ghosts.insert(number, now);
        }
        Some(call)
    }

    /// The news that no call is left that kept others from wanting logs here.
    pub(super) fn nobody_shares(&self) -> Option<Routed> {
        let is_free = self.lease.is_none() && self.ghosts.is_empty() && self.shared_asking().next().is_none();
        is_free.then_some(Routed::Notice(Notice::Freed))
    }

    /// Whether a call that may share could go on here: nothing that is asked or logged may be taken for another's.
    pub(crate) fn may_share(&self, ask: Ask) -> bool {
        self.lease.is_none() || !ask.may_ask()
    }

    pub(super) fn refuse_strays(&mut self, now: Instant, out: &mut Vec<Routed>) {
        let since = |then: Instant| now.saturating_duration_since(then);
        let is_stuck = self.calls.values().any(|call| call.whose != Whose::Leased && since(call.alive) >= STRAY_IN_THE_WAY);
        let patience = if is_stuck { STRAY_IN_THE_WAY } else { STRAY };
        self.strays.retain(|stray| {
            let keep = since(stray.at) < patience;
            if !keep {
                out.push(Routed::Expired("stray_question"));
                out.push(Routed::ToChild(stray.question.refused("no call came that the client could be asked in")));
            }
            keep
        });
    }
}
