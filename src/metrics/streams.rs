//! The event streams that are being sent, by what they are sent for.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Label;

/// What an event stream is sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamKind {
    Post,
    Get,
    Resumed,
    Modern,
    Listen,
    OldSse,
}

/// Their labels, in that order.
const LABELS: [&str; 6] = ["post", "get", "resumed", "modern", "listen", "old_sse"];

pub(super) struct Streams {
    pub(super) family: Family<Label, Gauge>,
    /// By [`StreamKind`], so that the hot path looks nothing up.
    by_kind: [Gauge; LABELS.len()],
}

impl Default for Streams {
    fn default() -> Self {
        let family = Family::default();
        Streams { by_kind: LABELS.map(|kind| Family::get_or_create_owned(&family, &[("kind", kind)])), family }
    }
}

impl Streams {
    pub(super) fn opened(&self, kind: StreamKind) -> ActiveGuard {
        ActiveGuard::new(self.by_kind[kind as usize].clone())
    }
}

/// Counts one of something for as long as it lives.
pub(crate) struct ActiveGuard(Gauge);

impl ActiveGuard {
    pub(crate) fn new(gauge: Gauge) -> Self {
        gauge.inc();
        ActiveGuard(gauge)
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
