//! What the pool keeps for each principal: made when it is first needed, and forgotten for others once nothing of that principal is
//! left.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::Semaphore;

use super::listens::Hub;
use crate::principal::Principal;
use crate::shards::Shards;

/// What the pool keeps for one principal.
pub(super) struct Holdings {
    /// Calls that may be asked, running at a time.
    pub(super) leases: Arc<Semaphore>,
    /// Children of this principal.
    pub(super) children: Arc<Semaphore>,
    /// Modern children that are being started beside the home child.
    pub(super) starting: AtomicUsize,
    pub(super) hub: Arc<Hub>,
}

impl Holdings {
    /// Somebody is served, or about to be: holds a place, waits for one, or listens.
    fn is_held(&self) -> bool {
        let semaphores = Arc::strong_count(&self.leases).max(Arc::strong_count(&self.children));
        semaphores > 1 || Arc::strong_count(&self.hub) > 1 || self.hub.len() > 0
    }
}

/// That of all principals.
#[derive(Default)]
pub(super) struct AllHoldings(Shards<Part>);

#[derive(Default)]
struct Part {
    of: HashMap<Principal, Arc<Holdings>>,
    /// With so many, those that nobody needs are dropped.
    sweep_at: usize,
}

/// Fewer in a part are not worth a look.
const FEW: usize = 8;

impl AllHoldings {
    /// Those of one principal. `is_used` says of another whether it has a child.
    pub(super) fn of(
        &self,
        principal: &Principal,
        new: impl FnOnce() -> Holdings,
        is_used: impl Fn(&Principal) -> bool,
    ) -> Arc<Holdings> {
        if let Some(known) = self.0.read(principal).of.get(principal) {
            return Arc::clone(known);
        }
        let mut part = self.0.write(principal);
        if part.of.len() >= part.sweep_at.max(FEW) {
            part.of.retain(|other, own| Arc::strong_count(own) > 1 || own.is_held() || is_used(other));
            part.sweep_at = part.of.len() * 2;
        }
        Arc::clone(part.of.entry(principal.clone()).or_insert_with(|| Arc::new(new())))
    }

    /// Those of the principals that it is asked for.
    pub(super) fn of_those(&self, is_it: impl Fn(&Principal) -> bool) -> Vec<Arc<Holdings>> {
        let parts = self.0.read_all();
        parts
            .flat_map(|part| part.of.iter().filter(|(whose, _)| is_it(whose)).map(|(_, own)| Arc::clone(own)).collect::<Vec<_>>())
            .collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<Holdings>> {
        self.of_those(|_| true)
    }
}
