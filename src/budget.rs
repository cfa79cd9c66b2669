//! Bytes that all logs together may hold. A counter that anyone may add to; whoever adds first looks whether it fits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One process-wide allowance.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    cap: usize,
}

impl Budget {
    pub(crate) fn new(cap: usize) -> Self {
        Budget { used: AtomicUsize::new(0), cap }
    }

    pub(crate) fn fits(&self, bytes: usize) -> bool {
        self.used().saturating_add(bytes) <= self.cap
    }

    /// Whether it would fit if its owner gave these bytes back.
    pub(crate) fn fits_instead_of(&self, given_back: usize, bytes: usize) -> bool {
        self.used().saturating_sub(given_back).saturating_add(bytes) <= self.cap
    }

    pub(crate) fn is_half_used(&self) -> bool {
        self.used() >= self.cap / 2
    }

    /// Whether what could be done without should be given up.
    pub(crate) fn is_tight(&self) -> bool {
        self.used() >= self.cap / 4 * 3
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// So much of it, until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Charge {
    /// None where it does not fit.
    pub(crate) fn new(budget: &Arc<Budget>, bytes: usize) -> Option<Charge> {
        budget.fits(bytes).then(|| {
            budget.add(bytes);
            Charge { budget: Arc::clone(budget), bytes }
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.subtract(self.bytes);
    }
}
