//! What one child tells that concerns more than its own calls, and its end.

use std::sync::{Arc, PoisonError};

use tokio::time::Instant;

use super::member::{Bridge, Member};
use super::{GRAVES, Pool};
use crate::bridge::modern_on_legacy::ModernOnLegacy;
use crate::link::EndReason;
use crate::link::route::Notice;
use crate::principal::Principal;

impl Pool {
    /// Ends what principals have open that may not enter any more. What the gateway itself asked for stays.
    pub(crate) fn shut_out(&self, is_gone: &dyn Fn(&Principal) -> bool) {
        fn end<R: Bridge>(members: Vec<Arc<Member<R>>>, is_gone: impl Fn(&Principal) -> bool) {
            let gone = members.into_iter().filter(|member| is_gone(&member.key.principal));
            gone.for_each(|member| member.link.end(EndReason::Revoked));
        }
        let is_gone = |principal: &Principal| *principal != Principal::Anonymous && is_gone(principal);
        // First, so that nobody looks for another child.
        self.holdings.of_those(is_gone).iter().for_each(|own| own.hub.close_all());
        end(self.legacy.all(), is_gone);
        end(self.modern.all(), is_gone);
        end(self.shared.all(), is_gone);
    }

    /// A child told something that concerns more than its own calls.
    pub(super) fn noticed(&self, slot: u64, principal: &Principal, notice: Notice) {
        match notice {
            Notice::Changed(line) => {
                self.tools.changed(principal, &line);
                // A modern child tells each subscription itself.
                if self.legacy.by_slot(slot).is_some() {
                    self.holdings(principal).hub.changed(&line);
                }
            }
            Notice::Suspect => self.suspect.notify_one(),
            Notice::Freed => self.news.notify_waiters(),
            Notice::Parked => {
                self.bound_parked(principal);
                self.news.notify_waiters();
            }
            Notice::Retire => {
                self.legacy.by_slot(slot).iter().for_each(|member| member.retire());
                self.news.notify_waiters();
            }
            Notice::Buried(lease, round) => {
                let mut graves = self.graves.lock().unwrap_or_else(PoisonError::into_inner);
                graves.truncate(GRAVES - 1);
                graves.push_front((lease, round, Instant::now() + self.limits.park_ttl));
            }
        }
    }

    /// Gives up the calls that wait longest for their users, where there are too many.
    fn bound_parked(&self, principal: &Principal) {
        let parked = |member: &Arc<Member<ModernOnLegacy>>| Some((member.link.lock().router.parked_since()?, Arc::clone(member)));
        let mut all: Vec<_> = self.legacy.all().iter().filter_map(parked).collect();
        all.sort_by_key(|(since, member)| (*since, member.slot));
        let own = all.iter().filter(|(_, member)| member.key.principal == *principal).count();
        let over_own = own.saturating_sub(self.limits.max_parked);
        let over_all = all.len().saturating_sub(2 * self.limits.max_parked);
        let mut own = all.iter().filter(|(_, member)| member.key.principal == *principal);
        let oldest = if over_own > 0 { own.next() } else { all.first().filter(|_| over_all > 0) };
        if let Some((_, member)) = oldest {
            self.metrics.rejection_counted("parked_over_bound");
            member.link.with(|state, effects| state.route(effects, |router, _, out| router.give_up(Instant::now(), out)));
        }
    }

    /// A child has ended, or is about to: nobody finds it any more.
    pub(super) fn gone(&self, slot: u64, reason: EndReason) {
        let member = self.legacy.remove(slot);
        self.modern.remove(slot);
        self.shared.remove(slot);
        self.metrics.shared_closed_counted(reason.label());
        self.news.notify_waiters();
        if let Some(member) = member {
            self.holdings(&member.key.principal).hub.lost(slot, reason);
        }
    }
}
