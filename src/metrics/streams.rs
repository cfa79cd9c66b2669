//! The event streams that are being sent, by what they are sent for.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{ActiveGuard, Label};

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

/// All, in that order.
const ALL: [StreamKind; 6] =
    [StreamKind::Post, StreamKind::Get, StreamKind::Resumed, StreamKind::Modern, StreamKind::Listen, StreamKind::OldSse];

impl StreamKind {
    fn label(self) -> &'static str {
        match self {
            StreamKind::Post => "post",
            StreamKind::Get => "get",
            StreamKind::Resumed => "resumed",
            StreamKind::Modern => "modern",
            StreamKind::Listen => "listen",
            StreamKind::OldSse => "old_sse",
        }
    }
}

pub(super) struct Streams {
    pub(super) family: Family<Label, Gauge>,
    /// By [`StreamKind`], so that the hot path looks nothing up.
    by_kind: [Gauge; ALL.len()],
}

impl Default for Streams {
    fn default() -> Self {
        let family = Family::default();
        Streams { by_kind: ALL.map(|kind| Family::get_or_create_owned(&family, &[("kind", kind.label())])), family }
    }
}

impl Streams {
    pub(super) fn opened(&self, kind: StreamKind) -> ActiveGuard {
        ActiveGuard::new(self.by_kind[kind as usize].clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_under_its_own_label() {
        for kind in ALL {
            let streams = Streams::default();
            let _open = streams.opened(kind);
            for other in ALL {
                let open = streams.family.get_or_create(&[("kind", other.label())]).get();
                assert_eq!(open, i64::from(other == kind), "{kind:?} {other:?}");
            }
        }
    }
}
