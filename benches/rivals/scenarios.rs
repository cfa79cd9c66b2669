//! What is asked of every contestant.

use std::sync::LazyLock;

use crate::child::letters;
use crate::contestants::{Contestant, Kind, Purpose};
use crate::load::{Callers, Load};
use crate::session::Call;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// For `--scenario`.
    pub(crate) slug: &'static str,
    pub(crate) title: &'static str,
    what: What,
    sessions: usize,
    in_flight: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Small,
    Large,
    Progress,
    Big,
}

pub(crate) const ALL: [Scenario; 7] = [
    Scenario { slug: "calls1", title: "one session", what: What::Small, sessions: 1, in_flight: 1 },
    Scenario { slug: "calls16", title: "16 sessions", what: What::Small, sessions: 16, in_flight: 1 },
    Scenario { slug: "flight16", title: "16 calls in flight in one session", what: What::Small, sessions: 1, in_flight: 16 },
    Scenario { slug: "echo64k", title: "64 KiB there and back, 16 sessions", what: What::Large, sessions: 16, in_flight: 1 },
    Scenario {
        slug: "progress50",
        title: "50 progress and a result, 16 sessions",
        what: What::Progress,
        sessions: 16,
        in_flight: 1,
    },
    Scenario { slug: "big1", title: "results of 4 MiB, one session", what: What::Big, sessions: 1, in_flight: 1 },
    Scenario { slug: "big16", title: "results of 4 MiB, 16 sessions", what: What::Big, sessions: 16, in_flight: 1 },
];

impl Scenario {
    pub(crate) fn load(&self) -> Load {
        static LARGE: LazyLock<String> = LazyLock::new(|| letters(64 << 10));
        let call = match self.what {
            What::Small => Call::Echo("hello, world"),
            What::Large => Call::Echo(&LARGE),
            What::Progress => Call::Progress,
            What::Big => Call::Big,
        };
        Load { call, sessions: self.sessions, callers: Callers::Each(self.in_flight) }
    }

    pub(crate) fn purpose(&self) -> Purpose {
        if self.is_big() { Purpose::Copy } else { Purpose::Calls }
    }

    /// Whether throughput is what matters.
    pub(crate) fn is_big(&self) -> bool {
        self.what == What::Big
    }

    /// The limit has nothing to tell of before it answers.
    pub(crate) fn is_for(&self, contestant: &Contestant) -> bool {
        contestant.kind != Kind::Limit || self.what != What::Progress
    }
}
