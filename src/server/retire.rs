//! The end of a server that goes on without its clients, or without some of them: another takes its place, or principals may not
//! enter any more. What is being opened meanwhile is found too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use super::{Admits, NotOpened, Server};
use crate::link::EndReason;
use crate::pool::starter::Shortage;
use crate::principal::Principal;
use crate::session::Session;

/// How far a server is. Only grows.
#[derive(Default)]
pub(super) struct Stage(AtomicU8);

const SERVING: u8 = 0;
const RETIRING: u8 = 1;
const RETIRED: u8 = 2;

impl Stage {
    // A session is put where it is found before this is looked at, and this is set before the sessions are looked for.
    fn advance(&self, to: u8) {
        self.0.fetch_max(to, Ordering::SeqCst);
    }

    fn is(&self, at: u8) -> bool {
        self.0.load(Ordering::SeqCst) == at
    }
}

/// A session is being opened until this is dropped.
pub(super) struct Opening<'a>(&'a AtomicUsize);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Server {
    /// Asked of each session that is opened, in case its principal may not enter any more.
    pub(crate) fn admit_by(&self, admits: Admits) {
        let _ = self.admits.set(admits); // there is one entrance
    }

    pub(super) fn begin_opening(&self) -> Result<Opening<'_>, NotOpened> {
        self.openings.fetch_add(1, Ordering::SeqCst);
        let opening = Opening(&self.openings);
        if self.stage.is(RETIRED) { Err(NotOpened::Short(Shortage::Replaced)) } else { Ok(opening) }
    }

    /// What was decided while it was being opened is true of it too.
    pub(super) fn check_late(&self, session: &Session) {
        if self.stage.is(RETIRED) {
            session.end(EndReason::Retired);
        } else if !self.stage.is(SERVING) {
            session.retire();
        }
        if self.admits.get().is_some_and(|admits| !admits(&session.principal)) {
            session.end(EndReason::Revoked);
        }
    }

    /// It takes no request any more; what is under way goes on.
    pub(crate) fn retire(&self) {
        self.stage.advance(RETIRING);
        self.registry.all().iter().for_each(|session| session.retire());
        self.pool.drain();
    }

    /// Everything of it ends.
    pub(crate) fn end_retired(&self) {
        self.stage.advance(RETIRED);
        self.registry.all().iter().for_each(|session| session.end(EndReason::Retired));
        self.pool.end_all();
    }

    /// Ends what principals have open that may not enter any more.
    pub(crate) fn shut_out(&self, is_gone: &dyn Fn(&Principal) -> bool) {
        let sessions: Vec<Arc<Session>> = self.registry.all();
        sessions.iter().filter(|session| is_gone(&session.principal)).for_each(|session| session.end(EndReason::Revoked));
        self.pool.shut_out(is_gone);
    }
}
