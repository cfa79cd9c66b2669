//! How far the gateway is on its way to stopping. One value that only grows, that every request looks at, and that anyone may
//! wait for.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::watch;

/// The order of stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
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
pub(crate) struct Shutdown {
    phase: AtomicU8,
    /// The same, for those who wait.
    told: watch::Sender<Phase>,
}

impl Shutdown {
    pub(crate) fn new() -> Self {
        Shutdown { phase: AtomicU8::new(Phase::Serving as u8), told: watch::Sender::new(Phase::Serving) }
    }

    /// Goes on to a phase; never back.
    pub(crate) fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.told.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            2 => Phase::Closing,
            _ => Phase::Cut,
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// Waits for a phase or a later one.
    pub(crate) async fn reached(&self, phase: Phase) {
        // The sender lives as long as `self`.
        let _ = self.told.subscribe().wait_for(|now| *now >= phase).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_phase_is_seen_and_told_and_none_goes_back() {
        let shutdown = Shutdown::new();
        let mut phase = Phase::Serving;
        while phase < Phase::Cut {
            assert_eq!(shutdown.phase(), phase);
            phase = phase.next();
            shutdown.advance(phase);
            shutdown.reached(phase).await;
            shutdown.advance(Phase::Serving);
            assert_eq!(shutdown.phase(), phase);
        }
    }
}
