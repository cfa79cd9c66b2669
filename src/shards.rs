//! What is looked up by everybody, in parts with a lock each: two who look up different things do not wait for each other, and
//! do not take the same line of memory from each other.

use std::hash::{Hash, Hasher as _};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustc_hash::FxHasher;

/// As many as there may be processors in use, or more.
const COUNT: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct Shards<T>([Shard<T>; COUNT]);

/// On a line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard<T>(RwLock<T>);

impl<T> Shards<T> {
    /// The part that holds what `key` names.
    pub(crate) fn read(&self, key: &impl Hash) -> RwLockReadGuard<'_, T> {
        self.of(key).read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self, key: &impl Hash) -> RwLockWriteGuard<'_, T> {
        self.of(key).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Each part in its turn: what comes meanwhile may not be seen.
    pub(crate) fn read_all(&self) -> impl Iterator<Item = RwLockReadGuard<'_, T>> {
        self.0.iter().map(|shard| shard.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn write_all(&self) -> impl Iterator<Item = RwLockWriteGuard<'_, T>> {
        self.0.iter().map(|shard| shard.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn of(&self, key: &impl Hash) -> &RwLock<T> {
        let mut hasher = FxHasher::default();
        key.hash(&mut hasher);
        // From its middle: a map inside of a part finds its places by the lowest bits and the highest.
        &self.0[(hasher.finish() >> 32) as usize % COUNT].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_under_a_key_is_found_there_and_keys_are_spread() {
        let shards: Shards<Vec<u64>> = Shards::default();
        for key in 0..3200_u64 {
            shards.write(&key).push(key);
        }
        assert!((0..3200_u64).all(|key| shards.read(&key).contains(&key)));
        assert_eq!(shards.read_all().map(|part| part.len()).sum::<usize>(), 3200);
        assert!(shards.read_all().all(|part| (25..400).contains(&part.len())), "one part holds far more than its share");
        // Whoever changes one is in nobody else's way.
        let held = shards.write(&0_u64);
        let elsewhere = (1..3200_u64).filter(|key| !held.contains(key)).map(|key| shards.read(&key).len());
        assert!(elsewhere.sum::<usize>() > 0);
    }
}
