//! The cost of a call as sessions grow: how many there are, in front of whom, and which of that the descriptors allow. All
//! sessions are open, each on a connection of its own; few calls are in flight, the same number for many sessions as for 16.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::board::{Board, Cell};
use crate::contestants::{self, Contestant, Purpose};
use crate::load::{Callers, Figures, Load};
use crate::peer::{Absent, Peer};
use crate::report::LIMIT;
use crate::session::Call;

/// Each number of sessions is a row of the table.
pub(crate) const SIZES: [usize; 6] = [1, 16, 100, 500, 1000, 5000];
/// The row that the others are compared with, and the calls in flight in it and below it.
pub(crate) const BASIS: usize = 16;

/// A contestant, and the numbers of sessions in front of it.
pub(crate) struct Column {
    pub(crate) slug: &'static str,
    pub(crate) name: &'static str,
    /// Of sessions.
    sizes: &'static [usize],
    /// That the contestant has open for a session: its connection, and what belongs to the child.
    descriptors: usize,
}

pub(crate) const BARE: Column = Column { slug: LIMIT, name: "limit", sizes: &SIZES, descriptors: 1 };
pub(crate) const OWN: Column = Column { slug: "gateway", name: "own child", sizes: &[1, 16, 100, 500], descriptors: 6 };
pub(crate) const SHARED: Column =
    Column { slug: "gateway-shared", name: "shared child", sizes: &[1, 16, 100, 1000, 5000], descriptors: 1 };
const COLUMNS: [Column; 3] = [BARE, OWN, SHARED];

impl Column {
    /// What was measured with so many sessions.
    pub(crate) fn cell<'a>(&self, board: &'a Board, sessions: usize) -> Option<&'a Cell<Figures>> {
        board.scale.get(&(sessions, self.slug))
    }

    /// CPU of a call with so many sessions.
    pub(crate) fn cpu(&self, board: &Board, sessions: usize) -> Option<f64> {
        self.cell(board, sessions)?.as_ref().ok().map(|figures| figures.cpu)
    }

    /// The largest number of sessions.
    pub(crate) fn largest(&self) -> usize {
        self.sizes.iter().copied().max().unwrap_or(BASIS)
    }

    /// The largest that the descriptors allow, if it is larger than what it is compared with.
    pub(crate) fn most(&self) -> Option<usize> {
        self.sizes.iter().copied().rfind(|sessions| *sessions > BASIS && self.lacks(*sessions).is_none())
    }

    /// Whether the gateway stands for both of its own.
    fn is_among(&self, contestants: &[&'static Contestant]) -> bool {
        contestants.iter().any(|one| one.slug == self.slug || (one.slug == OWN.slug && self.slug == SHARED.slug))
    }

    /// How many descriptors so many sessions need, where that is more than a process may have.
    fn lacks(&self, sessions: usize) -> Option<usize> {
        let needed = sessions * self.descriptors + SPARE;
        getrlimit(Resource::Nofile).current.is_some_and(|most| most < needed as u64).then_some(needed)
    }
}

/// So many sessions in front of one that takes part.
pub(crate) struct Crowd {
    pub(crate) sessions: usize,
    pub(crate) contestant: &'static Contestant,
    column: Column,
}

impl Crowd {
    /// Those there are for these contestants, row by row.
    pub(crate) fn all(contestants: &[&'static Contestant]) -> Vec<Crowd> {
        let row = |sessions| {
            let columns = COLUMNS.into_iter().filter(move |column| column.sizes.contains(&sessions));
            columns.filter(|column| column.is_among(contestants)).filter_map(move |column| {
                let contestant = contestants::ALL.iter().find(|one| one.slug == column.slug)?;
                Some(Crowd { sessions, contestant, column })
            })
        };
        SIZES.into_iter().flat_map(row).collect()
    }

    /// Starts one of its own for it, so that none has what another number of sessions left behind.
    pub(crate) fn start(&self) -> Result<Peer, Absent> {
        match self.column.lacks(self.sessions) {
            Some(needed) => Err(Absent::NeedsDescriptors(needed)),
            None => Peer::start(self.contestant, Purpose::Scale(self.sessions)),
        }
    }

    pub(crate) fn load(&self) -> Load {
        Load { call: Call::Echo("hello, world"), sessions: self.sessions, callers: Callers::InAll(BASIS) }
    }
}

/// Lets this process, and what it starts from now on, have as many descriptors as it may.
pub(crate) fn raise_descriptors() {
    let most = getrlimit(Resource::Nofile).maximum;
    // Where it fails there are as many as before, and the table says which rows need more.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
}

/// Descriptors that are not a session's.
const SPARE: usize = 64;
