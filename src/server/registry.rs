//! The open sessions of one server. A session is found by its id and its owner together.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::principal::Principal;
use crate::session::{Session, SessionId};

#[derive(Default)]
pub(crate) struct Registry {
    sessions: RwLock<HashMap<SessionId, Arc<Session>>>,
}

impl Registry {
    pub(crate) fn insert(&self, session: Arc<Session>) {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).insert(session.id, session);
    }

    pub(crate) fn remove(&self, id: SessionId) -> bool {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).remove(&id).is_some()
    }

    /// Somebody else's session is as unknown as one that never was.
    pub(crate) fn find(&self, id: SessionId, principal: &Principal) -> Option<Arc<Session>> {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        sessions.get(&id).filter(|session| session.principal == *principal).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
