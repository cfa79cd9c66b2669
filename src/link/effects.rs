//! What a decision under the lock wants done after it: readers woken, connections cut, clocks set, keepers told.

use std::task::Waker;

use tokio::time::Instant;

use super::route::{Notice, Place};
use super::stream::Cut;

/// Collected under a lock, carried out after unlocking.
#[derive(Default)]
pub(crate) struct Effects {
    first: Option<Waker>,
    wakers: Vec<Waker>,
    cuts: Vec<Cut>,
    released: Vec<Place>,
    /// When the clock is to be looked at again; the earliest of those that were asked for.
    pub(super) alarm: Option<Instant>,
    pub(super) notices: Vec<Notice>,
}

impl Effects {
    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        match (waker, &self.first) {
            (Some(waker), None) => self.first = Some(waker),
            (Some(waker), Some(_)) => self.wakers.push(waker),
            (None, _) => {}
        }
    }

    pub(crate) fn cut(&mut self, connection: Option<Cut>) {
        self.cuts.extend(connection);
    }

    pub(crate) fn release(&mut self, place: Place) {
        self.released.push(place);
    }

    pub(crate) fn alarm(&mut self, at: Instant) {
        self.alarm = Some(self.alarm.map_or(at, |earlier| earlier.min(at)));
    }

    pub(crate) fn run(self) {
        self.first.into_iter().chain(self.wakers).for_each(Waker::wake);
        self.cuts.iter().for_each(|cut| cut.cut());
    }
}
