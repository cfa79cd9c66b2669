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
    use super::*;
    use crate::link::tests::link;
    use crate::session::Behind;

    #[tokio::test]
    async fn a_session_is_its_own_principals_only() {
        let (link, _theirs) = link();
        let (id, alice) = (SessionId::random().expect("random bytes"), Principal::named("alice"));
        let registry = Registry::default();
        registry.insert(Arc::new(Session::new(id, None, alice.clone(), Behind::Own(link))));
        assert!(registry.find(id, &alice).is_some());
        for other in [Principal::named("bob"), Principal::Anonymous] {
            assert!(registry.find(id, &other).is_none(), "{other:?}");
        }
    }
}
