//! Sorting many keys that lie somewhere else in memory.
//!
//! A sort that compares keys waits for memory at every comparison. This one compares eight bytes that it holds
//! itself: those behind what all keys begin with; only keys that are the same there are looked at again,
//! group by group, further on.
//!
//! Invariant: the order is that of the keys' bytes, equal keys by their number.

use super::counted_tree::{head_of, shared_prefix};

/// Groups up to this size are sorted by comparing keys.
const SMALL_GROUP: usize = 12;

/// Bytes of a key's length, before the key.
const LENGTH_BYTES: usize = size_of::<u32>();

/// Keys one behind the other, each after its length.
#[derive(Default, Debug)]
pub struct KeyHeap {
    bytes: Vec<u8>,
    count: u32,
}

/// A key of a [`KeyHeap`], with eight bytes of it.
#[derive(Clone, Copy, Debug)]
pub struct KeyRef {
    head: u64,
    start: u32,
    number: u32,
}

impl KeyRef {
    /// How many keys were added before it.
    pub fn number(self) -> usize {
        self.number as usize
    }
}

impl KeyHeap {
    /// Adds a key.
    pub fn push(&mut self, key: &[u8]) -> KeyRef {
        let start = u32::try_from(self.bytes.len()).expect("a heap of keys is emptied before it holds 4 GiB");
        let len = u32::try_from(key.len()).expect("a key is within a request");
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.count += 1;
        KeyRef { head: 0, start, number: self.count - 1 }
    }

    /// Bytes it holds.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The key.
    pub fn get(&self, key: KeyRef) -> &[u8] {
        let rest = &self.bytes[key.start as usize..];
        let (len, rest) = rest.split_first_chunk::<LENGTH_BYTES>().expect("every key has its length before it");
        &rest[..u32::from_le_bytes(*len) as usize]
    }

    /// Sorts keys, equal ones by when they were added.
    pub fn sort(&self, refs: &mut [KeyRef]) {
        self.sort_behind(refs, 0);
    }

    fn sort_by_comparing(&self, refs: &mut [KeyRef]) {
        refs.sort_unstable_by(|a, b| self.get(*a).cmp(self.get(*b)).then(a.number.cmp(&b.number)));
    }

    /// Sorts keys whose first `known` bytes are the same.
    fn sort_behind(&self, refs: &mut [KeyRef], known: usize) {
        if refs.len() <= SMALL_GROUP {
            return self.sort_by_comparing(refs);
        }
        let first = self.get(refs[0]);
        let mut shared = &first[known..];
        let mut longest = first.len();
        for other in &refs[1..] {
            let key = self.get(*other);
            longest = longest.max(key.len());
            while !key[known..].starts_with(shared) {
                shared = &shared[..shared_prefix(shared, &key[known..])];
            }
        }
        let shared = known + shared.len();
        if shared == longest {
            return refs.sort_unstable_by_key(|key| key.number);
        }
        for key in &mut *refs {
            key.head = head_of(self.get(*key), shared);
        }
        refs.sort_unstable_by_key(|key| key.head);
        for group in refs.chunk_by_mut(|a, b| a.head == b.head).filter(|group| group.len() > 1) {
            if group.iter().all(|key| self.get(*key).len() >= shared + size_of::<u64>()) {
                self.sort_behind(group, shared + size_of::<u64>());
            } else {
                // A key that ends inside the head looks like one that goes on with zeroes.
                self.sort_by_comparing(group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sorts_as_a_stable_sort_does(
            words in prop::collection::vec("[ab\u{0}]{0,4}|(abcabcabc){1,3}[ab]{0,3}|pods/[0-9]{3}|a{22}[a-c]", 0..400),
        ) {
            let mut heap = KeyHeap::default();
            let mut refs: Vec<KeyRef> = words.iter().map(|word| heap.push(word.as_bytes())).collect();
            heap.sort(&mut refs);
            let mut expected: Vec<(&[u8], usize)> = words.iter().map(String::as_bytes).zip(0..).collect();
            expected.sort();
            prop_assert_eq!(refs.iter().map(|key| (heap.get(*key), key.number())).collect::<Vec<_>>(), expected);
        }
    }
}
