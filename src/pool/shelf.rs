//! The children of one era that are running, found by whom they may serve. One start at a time for each key: who comes
//! meanwhile waits for it and gets the same child, or the same failure.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::NoChild;
use super::member::{Bridge, Key, Member};
use super::starter::Shortage;
use crate::principal::Principal;

type Started<R> = Result<Arc<Member<R>>, NoChild>;

pub(super) struct Shelf<R> {
    inner: Mutex<Inner<R>>,
}

struct Inner<R> {
    /// Oldest first: the first of a key is its home.
    members: Vec<Arc<Member<R>>>,
    starting: HashMap<Key, watch::Receiver<Option<Started<R>>>>,
}

impl<R> Default for Shelf<R> {
    fn default() -> Self {
        Shelf { inner: Mutex::new(Inner { members: Vec::new(), starting: HashMap::new() }) }
    }
}

impl<R: Bridge> Shelf<R> {
    pub(super) fn add(&self, member: Arc<Member<R>>) {
        self.lock().members.push(member);
    }

    pub(super) fn remove(&self, slot: u64) -> Option<Arc<Member<R>>> {
        let mut inner = self.lock();
        let at = inner.members.iter().position(|member| member.slot == slot)?;
        Some(inner.members.remove(at))
    }

    pub(super) fn all(&self) -> Vec<Arc<Member<R>>> {
        self.lock().members.clone()
    }

    pub(super) fn by_slot(&self, slot: u64) -> Option<Arc<Member<R>>> {
        self.lock().members.iter().find(|member| member.slot == slot).cloned()
    }

    /// Those that take calls of this key, home first.
    pub(super) fn of(&self, key: &Key) -> Vec<Arc<Member<R>>> {
        self.lock().members.iter().filter(|member| member.key == *key && member.takes_calls()).cloned().collect()
    }

    /// Whether a child of that principal is there.
    pub(super) fn serves(&self, principal: &Principal) -> bool {
        self.lock().members.iter().any(|member| member.key.principal == *principal)
    }

    /// The home child of a key; started if there is none. The start goes on if nobody waits for it any more.
    pub(super) async fn home<F>(self: &Arc<Self>, key: &Key, start: impl FnOnce() -> F) -> Started<R>
    where
        F: Future<Output = Started<R>> + Send + 'static,
    {
        let mut starting = {
            let mut inner = self.lock();
            if let Some(home) = inner.members.iter().find(|member| member.key == *key && member.takes_calls()) {
                return Ok(Arc::clone(home));
            }
            match inner.starting.get(key) {
                Some(starting) => starting.clone(),
                None => {
                    let (done, starting) = watch::channel(None);
                    inner.starting.insert(key.clone(), starting.clone());
                    let start = start();
                    let (shelf, key) = (Arc::clone(self), key.clone());
                    // Detached on purpose: what was started is there for the next caller.
                    drop(tokio::spawn(async move {
                        let started = start.await;
                        shelf.lock().starting.remove(&key);
                        let _ = done.send(Some(started));
                    }));
                    starting
                }
            }
        };
        match starting.wait_for(Option::is_some).await {
            Ok(started) => started.clone().unwrap_or(Err(NoChild::Short(Shortage::Children))),
            Err(_) => Err(NoChild::Short(Shortage::Children)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<R>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
