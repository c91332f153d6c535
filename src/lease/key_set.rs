//! A sorted set of keys that is handed out whole without being copied.
//!
//! Invariants: chunks are never empty, each is sorted, and they lie in order. Whoever was handed a set sees it as it was. To hand one out
//! costs a pointer; the first change after that copies the pointers to the chunks, and the chunk that it changes.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::limits::LEASE_KEYS_PER_CHUNK as MOST;

/// See the module's head.
#[derive(Clone, Default)]
pub struct KeySet(Arc<Chunks>);

#[derive(Clone, Default)]
struct Chunks {
    chunks: Vec<Arc<Vec<Bytes>>>,
    len: usize,
}

impl KeySet {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> + '_ {
        self.0.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Adds a key; whether it was not there.
    pub fn insert(&mut self, key: Bytes) -> bool {
        let set = Arc::make_mut(&mut self.0);
        let at = set.at(&key).min(set.chunks.len().saturating_sub(1));
        let Some(chunk) = set.chunks.get_mut(at) else {
            set.chunks.push(Arc::new(vec![key]));
            set.len = 1;
            return true;
        };
        let Err(place) = chunk.binary_search(&key) else { return false };
        set.len += 1;
        let chunk = Arc::make_mut(chunk);
        if chunk.len() < MOST {
            chunk.insert(place, key);
        } else {
            // Keys that come in order fill their chunks.
            let from = if place == MOST { MOST } else { MOST / 2 };
            let mut behind = chunk.split_off(from);
            if place >= from {
                behind.insert(place - from, key)
            } else {
                chunk.insert(place, key)
            }
            set.chunks.insert(at + 1, Arc::new(behind));
        }
        true
    }

    /// Takes a key out; whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let at = self.0.at(key);
        let Some(Ok(place)) = self.0.chunks.get(at).map(|chunk| chunk.binary_search_by(|known| known[..].cmp(key)))
        else {
            return false;
        };
        let set = Arc::make_mut(&mut self.0);
        set.len -= 1;
        Arc::make_mut(&mut set.chunks[at]).remove(place);
        set.tidy(at);
        true
    }
}

impl Chunks {
    /// The first chunk that does not end before a key.
    fn at(&self, key: &[u8]) -> usize {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|last| last[..] < *key))
    }

    /// A chunk has lost a key: where little is left of it and of the next, or of it and the one before, they become one.
    fn tidy(&mut self, at: usize) {
        if self.chunks[at].is_empty() {
            self.chunks.remove(at);
            return;
        }
        let is_little = |first: usize| self.chunks[first].len() + self.chunks[first + 1].len() <= MOST / 2;
        let firsts = [Some(at).filter(|at| at + 1 < self.chunks.len()), at.checked_sub(1)];
        if let Some(first) = firsts.into_iter().flatten().find(|first| is_little(*first)) {
            let behind = self.chunks.remove(first + 1);
            Arc::make_mut(&mut self.chunks[first]).extend(behind.iter().cloned());
        }
    }
}

/// The keys of a set, one after the other, whatever becomes of the set.
pub struct Keys {
    set: KeySet,
    /// The next one: its chunk, and its place in it.
    next: (usize, usize),
}

impl Iterator for Keys {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let (at, place) = self.next;
        let chunk = self.set.0.chunks.get(at)?;
        self.next = if place + 1 < chunk.len() { (at, place + 1) } else { (at + 1, 0) };
        Some(chunk[place].clone())
    }
}

impl IntoIterator for KeySet {
    type Item = Bytes;
    type IntoIter = Keys;

    fn into_iter(self) -> Keys {
        Keys { set: self, next: (0, 0) }
    }
}

impl FromIterator<Bytes> for KeySet {
    fn from_iter<I: IntoIterator<Item = Bytes>>(keys: I) -> Self {
        let mut set = Self::default();
        for key in keys {
            set.insert(key);
        }
        set
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for KeySet {}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn key(n: u32) -> Bytes {
        Bytes::from(format!("{n:06}"))
    }

    fn check(set: &KeySet) {
        assert!(set.0.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= MOST));
        assert!(set.iter().is_sorted_by(|one, other| one < other));
        assert_eq!(set.iter().count(), set.len());
        assert!(set.clone().into_iter().eq(set.iter().cloned()));
    }

    #[test]
    fn keys_in_order_fill_their_chunks_and_leave_nothing_behind() {
        let many = 10 * MOST as u32;
        let mut set: KeySet = (0..many).map(key).collect();
        check(&set);
        assert_eq!(set.0.chunks.len(), 10);
        (0..many).map(key).for_each(|first| assert!(set.remove(&first)));
        assert!(set.is_empty() && set.0.chunks.is_empty());
    }

    #[test]
    fn a_set_of_which_little_is_left_has_few_chunks() {
        let mut set: KeySet = (0..20 * MOST as u32).map(key).collect();
        (0..20 * MOST as u32).filter(|n| n % 64 > 0).for_each(|n| assert!(set.remove(&key(n))));
        check(&set);
        assert!(set.0.chunks.len() <= 4, "{} chunks of {} keys", set.0.chunks.len(), set.len());
    }

    proptest! {
        /// Against a plain set; what is handed out stays as it was, over many changes.
        #[test]
        fn does_what_a_plain_set_does(steps in proptest::collection::vec((any::<bool>(), 0..3_000_u32), 1..200)) {
            let start = || (0..3_000).filter(|n| n % 3 > 0).map(key);
            let (mut set, mut plain): (KeySet, BTreeSet<Bytes>) = (start().collect(), start().collect());
            // To compare whole sets costs a thousand times a step.
            for steps in steps.chunks(16) {
                let (shown, as_it_was) = (set.clone(), plain.clone());
                for (adds, n) in steps {
                    if *adds {
                        prop_assert_eq!(set.insert(key(*n)), plain.insert(key(*n)));
                    } else {
                        prop_assert_eq!(set.remove(&key(*n)), plain.remove(&key(*n)));
                    }
                }
                check(&set);
                prop_assert!(set.iter().eq(plain.iter()));
                prop_assert!(shown.iter().eq(as_it_was.iter()));
            }
        }
    }
}
