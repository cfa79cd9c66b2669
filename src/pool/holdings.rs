//! What the pool keeps for each principal.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::Semaphore;

use super::listens::Hub;

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
    pub(super) fn is_held(&self) -> bool {
        let semaphores = Arc::strong_count(&self.leases).max(Arc::strong_count(&self.children));
        semaphores > 1 || Arc::strong_count(&self.hub) > 1 || self.hub.len() > 0
    }
}
