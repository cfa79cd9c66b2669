//! How far the gateway is on its way to stopping. One value that only grows, and that anyone may wait for.

use tokio::sync::watch;

/// The order of stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// No new connections, sessions or requests; what is in flight goes on.
    Draining,
    /// Connections end with what they are doing.
    Closing,
    /// Connections end.
    Cut,
}

impl Phase {
    /// The one after it; after the last one, that one.
    pub(crate) fn next(self) -> Phase {
        match self {
            Phase::Serving => Phase::Draining,
            Phase::Draining => Phase::Closing,
            Phase::Closing | Phase::Cut => Phase::Cut,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Shutdown(watch::Sender<Phase>);

impl Shutdown {
    pub(crate) fn new() -> Self {
        Shutdown(watch::Sender::new(Phase::Serving))
    }

    /// Goes on to a phase; never back.
    pub(crate) fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// Waits for a phase or a later one.
    pub(crate) async fn reached(&self, phase: Phase) {
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(|now| *now >= phase).await;
    }
}
