//! What is kept for each principal: made when it is first needed, and forgotten once it says no more than a new one would and others
//! need room. Who looks for one waits for few who look for others.

use std::collections::HashMap;
use std::sync::Arc;

use crate::principal::Principal;
use crate::shards::Shards;

#[derive(Debug)]
pub(crate) struct Ledger<V>(Shards<Part<V>>);

#[derive(Debug)]
struct Part<V> {
    of: HashMap<Principal, Arc<V>>,
    /// With so many, those that are not needed are dropped.
    sweep_at: usize,
}

/// Fewer in a part are not worth a look.
const FEW: usize = 8;

impl<V> Default for Part<V> {
    fn default() -> Self {
        Part { of: HashMap::new(), sweep_at: FEW }
    }
}

impl<V> Default for Ledger<V> {
    fn default() -> Self {
        Ledger(Shards::default())
    }
}

impl<V> Ledger<V> {
    /// That of one principal. `is_needed` says of another's whether it has to stay, although nobody holds it.
    pub(crate) fn of(
        &self,
        principal: &Principal,
        new: impl FnOnce() -> V,
        is_needed: impl Fn(&Principal, &V) -> bool,
    ) -> Arc<V> {
        if let Some(known) = self.0.read(principal).of.get(principal) {
            return Arc::clone(known);
        }
        let mut part = self.0.write(principal);
        if part.of.len() >= part.sweep_at {
            part.of.retain(|whose, kept| Arc::strong_count(kept) > 1 || is_needed(whose, kept));
            part.sweep_at = FEW.max(part.of.len() * 2);
        }
        Arc::clone(part.of.entry(principal.clone()).or_insert_with(|| Arc::new(new())))
    }

    /// Those of the principals that it is asked for.
    pub(crate) fn of_those(&self, is_it: impl Fn(&Principal) -> bool) -> Vec<Arc<V>> {
        let mut those = Vec::new();
        for part in self.0.read_all() {
            those.extend(part.of.iter().filter(|(whose, _)| is_it(whose)).map(|(_, kept)| Arc::clone(kept)));
        }
        those
    }

    pub(crate) fn all(&self) -> Vec<Arc<V>> {
        self.of_those(|_| true)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn named(at: usize) -> Principal {
        Principal::named(&at.to_string())
    }

    #[test]
    fn what_nobody_needs_is_forgotten_and_nothing_else() {
        let ledger = Ledger::default();
        let held = ledger.of(&named(0), || 0, |_, _| false);
        for at in 1..5000 {
            drop(ledger.of(&named(at), || at, |whose, at| *at == 1 && *whose == named(1)));
        }
        assert!(ledger.all().len() <= 32 * FEW + 2, "{}", ledger.all().len());
        assert!(Arc::ptr_eq(&held, &ledger.of(&named(0), || 9, |_, _| false)));
        assert_eq!(*ledger.of(&named(1), || 9, |_, _| false), 1, "it was needed");
        assert_eq!(ledger.of_those(|whose| *whose == named(1)).len(), 1);
    }

    #[test]
    fn many_that_are_needed_are_not_looked_through_for_each_new_one() {
        let (ledger, looks) = (Ledger::default(), Cell::new(0_usize));
        for at in 0..10_000 {
            let needed = |_: &Principal, _: &usize| {
                looks.set(looks.get() + 1);
                true
            };
            drop(ledger.of(&named(at), || at, needed));
        }
        assert_eq!(ledger.all().len(), 10_000);
        assert!(looks.get() <= 2 * 10_000, "{}", looks.get());
    }
}
