//! What a decision under the lock wants done after it: readers woken, connections cut, the outbox written.

use std::sync::Arc;
use std::task::Waker;

use tokio::sync::Notify;

/// Collected under a session's lock, carried out by [`Effects::run`] after unlocking.
#[derive(Default)]
pub(crate) struct Effects {
    first: Option<Waker>,
    wakers: Vec<Waker>,
    cuts: Vec<Arc<Notify>>,
}

impl Effects {
    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        match (waker, &self.first) {
            (Some(waker), None) => self.first = Some(waker),
            (Some(waker), Some(_)) => self.wakers.push(waker),
            (None, _) => {}
        }
    }

    pub(crate) fn cut(&mut self, connection: Option<Arc<Notify>>) {
        self.cuts.extend(connection);
    }

    pub(crate) fn run(self) {
        self.first.into_iter().chain(self.wakers).for_each(Waker::wake);
        self.cuts.iter().for_each(|cut| cut.notify_one());
    }
}
