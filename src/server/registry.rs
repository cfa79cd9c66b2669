//! The open sessions of one server. A session is found by its id and its owner together.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::principal::Principal;
use crate::session::{Session, SessionId};
use crate::shards::Shards;

#[derive(Default)]
pub(crate) struct Registry {
    /// Only the gateway makes keys, and they are random: nobody can choose them so that they collide.
    sessions: Shards<FxHashMap<SessionId, Arc<Session>>>,
}

impl Registry {
    pub(crate) fn insert(&self, session: Arc<Session>) {
        self.sessions.write(&session.id).insert(session.id, session);
    }

    pub(crate) fn remove(&self, id: SessionId) -> bool {
        self.sessions.write(&id).remove(&id).is_some()
    }

    /// Somebody else's session is as unknown as one that never was.
    pub(crate) fn find(&self, id: SessionId, principal: &Principal) -> Option<Arc<Session>> {
        self.sessions.read(&id).get(&id).filter(|session| session.principal == *principal).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.sessions.read_all().flat_map(|sessions| sessions.values().cloned().collect::<Vec<_>>()).collect()
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{PipeFlags, pipe_with};
    use tokio::time::{Duration, Instant};

    use super::*;
    use crate::budget::Budget;
    use crate::child::Pipe;
    use crate::child::outbox::Outbox;
    use crate::child::pipe;
    use crate::link::Link;
    use crate::link::log::Log;
    use crate::link::state::State;
    use crate::metrics::Metrics;
    use crate::session::Behind;
    use crate::session::router::{Patience, Router};

    #[tokio::test]
    async fn a_session_is_its_own_principals_only() {
        let (_theirs, ours) = pipe_with(PipeFlags::NONBLOCK).expect("a pipe");
        let (budget, metrics) = (Arc::new(Budget::new(1 << 20)), Arc::new(Metrics::new()));
        let hour = Duration::from_secs(3600);
        let router = Router::new(Patience { request: hour, hard: hour, question: hour, cancelled: hour });
        let log = Log::new(1, 1 << 20, Arc::clone(&budget), Arc::clone(&metrics), Instant::now());
        let state = State::new(router, log, Outbox::new(1 << 20, budget), 10, Arc::clone(&metrics), Instant::now());
        let stdin = pipe::watch(Pipe::new(ours), tokio::io::Interest::WRITABLE).expect("it can be watched");
        let link = Arc::new(Link::new(state, stdin, metrics));
        let (id, alice) = (SessionId::random().expect("random bytes"), Principal::named("alice"));
        let registry = Registry::default();
        registry.insert(Arc::new(Session::new(id, None, alice.clone(), Behind::Own(link))));
        assert!(registry.find(id, &alice).is_some());
        for other in [Principal::named("bob"), Principal::Anonymous] {
            assert!(registry.find(id, &other).is_none(), "{other:?}");
        }
    }
}
