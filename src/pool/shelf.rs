//! The children of one era that are running, found by whom they may serve. One start at a time for each key: who comes
//! meanwhile waits for it and gets the same child, or the same failure.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::NoChild;
use super::member::{Bridge, Key, Member};
use super::starter::Shortage;
use crate::principal::Principal;

type Started<R> = Result<Arc<Member<R>>, NoChild>;

pub(super) struct Shelf<R> {
    /// Exchanged as a whole when a child comes or goes; every call looks at it.
    members: ArcSwap<Members<R>>,
    starting: Mutex<HashMap<Key, watch::Receiver<Option<Started<R>>>>>,
}

struct Members<R> {
    by_slot: BTreeMap<u64, Arc<Member<R>>>,
    /// Oldest first: the first of a key that takes calls is its home.
    by_key: HashMap<Key, Vec<Arc<Member<R>>>>,
}

impl<R> Default for Members<R> {
    fn default() -> Self {
        Members { by_slot: BTreeMap::new(), by_key: HashMap::new() }
    }
}

impl<R> Clone for Members<R> {
    fn clone(&self) -> Self {
        Members { by_slot: self.by_slot.clone(), by_key: self.by_key.clone() }
    }
}

impl<R: Bridge> Members<R> {
    fn of(&self, key: &Key) -> impl Iterator<Item = &Arc<Member<R>>> {
        self.by_key.get(key).into_iter().flatten().filter(|member| member.takes_calls())
    }

    fn add(&mut self, member: &Arc<Member<R>>) {
        self.by_slot.insert(member.slot, Arc::clone(member));
        self.by_key.entry(member.key.clone()).or_default().push(Arc::clone(member));
    }

    fn remove(&mut self, slot: u64) {
        let Some(gone) = self.by_slot.remove(&slot) else { return };
        let Some(of_key) = self.by_key.get_mut(&gone.key) else { return };
        of_key.retain(|member| member.slot != slot);
        if of_key.is_empty() {
            self.by_key.remove(&gone.key);
        }
    }
}

impl<R> Default for Shelf<R> {
    fn default() -> Self {
        Shelf { members: ArcSwap::default(), starting: Mutex::default() }
    }
}

impl<R: Bridge> Shelf<R> {
    pub(super) fn add(&self, member: &Arc<Member<R>>) {
        self.exchange(|members| members.add(member));
    }

    pub(super) fn remove(&self, slot: u64) -> Option<Arc<Member<R>>> {
        self.by_slot(slot)?;
        self.exchange(|members| members.remove(slot)).by_slot.get(&slot).cloned()
    }

    /// In the order in which their starts began.
    pub(super) fn all(&self) -> Vec<Arc<Member<R>>> {
        self.members.load().by_slot.values().cloned().collect()
    }

    /// The same, and of each whether it is the home child of its key; also of one that takes no more calls and has no other beside
    /// it that does.
    pub(super) fn all_with_home(&self) -> Vec<(Arc<Member<R>>, bool)> {
        let members = self.members.load();
        let of_key = members.by_key.iter().flat_map(|(key, of_key)| {
            let home = members.of(key).next().map(|home| home.slot);
            of_key.iter().map(move |member| (Arc::clone(member), home.is_none_or(|home| home == member.slot)))
        });
        of_key.collect()
    }

    pub(super) fn by_slot(&self, slot: u64) -> Option<Arc<Member<R>>> {
        self.members.load().by_slot.get(&slot).cloned()
    }

    /// Those that take calls of this key, home first.
    pub(super) fn of(&self, key: &Key) -> Vec<Arc<Member<R>>> {
        self.members.load().of(key).cloned().collect()
    }

    /// Whether a child of that principal is there.
    pub(super) fn serves(&self, principal: &Principal) -> bool {
        self.members.load().by_key.keys().any(|key| key.principal == *principal)
    }

    /// The home child of a key; started if there is none. The start goes on if nobody waits for it any more.
    pub(super) async fn home<F>(self: &Arc<Self>, key: &Key, start: impl FnOnce() -> F) -> Started<R>
    where
        F: Future<Output = Started<R>> + Send + 'static,
    {
        if let Some(home) = self.members.load().of(key).next() {
            return Ok(Arc::clone(home));
        }
        let mut starting = {
            let mut under_way = self.lock();
            // One that has come up since: it is here before its start is over.
            if let Some(home) = self.members.load().of(key).next() {
                return Ok(Arc::clone(home));
            }
            match under_way.get(key) {
                Some(starting) => starting.clone(),
                None => {
                    let (done, starting) = watch::channel(None);
                    under_way.insert(key.clone(), starting.clone());
                    let start = start();
                    let (shelf, key) = (Arc::clone(self), key.clone());
                    // Detached on purpose: what was started is there for the next caller.
                    drop(tokio::spawn(async move {
                        let started = start.await;
                        shelf.lock().remove(&key);
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

    /// Gives what was before.
    fn exchange(&self, change: impl Fn(&mut Members<R>)) -> Arc<Members<R>> {
        self.members.rcu(|members| {
            let mut members = Members::clone(members);
            change(&mut members);
            members
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, watch::Receiver<Option<Started<R>>>>> {
        self.starting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::{JoinSet, yield_now};

    use super::*;
    use crate::bridge::capabilities::Capabilities;
    use crate::bridge::legacy_on_legacy::LegacyOnLegacy;

    #[tokio::test]
    async fn who_comes_while_a_child_is_started_gets_what_comes_of_that_start() {
        let shelf: Arc<Shelf<LegacyOnLegacy>> = Arc::default();
        let key = |name: &str| Key { principal: Principal::named(name), capabilities: Capabilities::none() };
        let mut waiting = JoinSet::new();
        for at in 0..20_u32 {
            let (shelf, key) = (Arc::clone(&shelf), key(if at % 2 == 0 { "alice" } else { "bob" }));
            waiting.spawn(async move {
                let start = async move {
                    yield_now().await;
                    Err(NoChild::OtherEra(format!("start {at}")))
                };
                shelf.home(&key, || start).await.map(|member| member.slot)
            });
        }
        let mut outcomes = waiting.join_all().await;
        outcomes.sort_by_key(|outcome| format!("{outcome:?}"));
        outcomes.dedup();
        let failed = |at| Err(NoChild::OtherEra(format!("start {at}")));
        assert_eq!(outcomes, [failed(0), failed(1)], "one start for each key");
        // It is over: who comes now starts another.
        let later = shelf.home(&key("alice"), || async { Err(NoChild::TooManyOwn) }).await.map(|member| member.slot);
        assert_eq!(later, Err(NoChild::TooManyOwn));
    }
}
