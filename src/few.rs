//! A map of what there is mostly one of: the first entry stands apart, in its owner's own memory, and only others need a table.

use std::hash::Hash;

use rustc_hash::FxHashMap;

/// Keys are numbers of ours: nobody can choose them so that they collide.
pub(crate) struct Few<K, V> {
    one: Option<(K, V)>,
    others: FxHashMap<K, V>,
}

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Few { one: None, others: FxHashMap::default() }
    }
}

impl<K: Copy + Eq + Hash, V> Few<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        match &self.one {
            Some((one, value)) if one == key => Some(value),
            _ => self.others.get(key),
        }
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match &mut self.one {
            Some((one, value)) if one == key => Some(value),
            _ => self.others.get_mut(key),
        }
    }

    /// A key that is not there.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.one.is_none() {
            self.one = Some((key, value));
        } else {
            self.others.insert(key, value);
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        match self.one.take_if(|(one, _)| one == key) {
            Some((_, value)) => Some(value),
            // An empty table is not even hashed for.
            None if self.others.is_empty() => None,
            None => self.others.remove(key),
        }
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.one.is_some()) + self.others.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.one.is_none() && self.others.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.one.iter().map(|(key, value)| (key, value)).chain(&self.others)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.one.iter_mut().map(|(key, value)| (&*key, value)).chain(&mut self.others)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.iter_mut().map(|(_, value)| value)
    }

    /// Gives back what others took that are no more.
    pub(crate) fn shrink(&mut self) {
        if self.others.is_empty() && self.others.capacity() > 0 {
            self.others = FxHashMap::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(steps in prop::collection::vec((0..3_u8, 0..6_u64), 0..60)) {
            let (mut few, mut map) = (Few::default(), BTreeMap::new());
            for (at, (step, key)) in steps.into_iter().enumerate() {
                match step {
                    0 if !map.contains_key(&key) => {
                        few.insert(key, at);
                        map.insert(key, at);
                    }
                    1 => prop_assert_eq!(few.remove(&key), map.remove(&key)),
                    _ => few.shrink(),
                }
                few.values_mut().for_each(|value| *value += 1);
                map.values_mut().for_each(|value| *value += 1);
                prop_assert_eq!((few.len(), few.is_empty()), (map.len(), map.is_empty()));
                prop_assert_eq!((few.get(&key).copied(), few.get_mut(&key).copied()), (map.get(&key).copied(), map.get(&key).copied()));
                prop_assert_eq!(few.iter().map(|(key, value)| (*key, *value)).collect::<BTreeMap<_, _>>(), map.clone());
                prop_assert_eq!(few.keys().count(), few.values().count());
            }
        }
    }
}
