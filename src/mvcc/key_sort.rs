//! Sorting many keys that lie somewhere else in memory.
//!
//! A sort that compares keys waits for memory at every comparison. This one compares eight bytes that it holds
//! itself: those behind what all keys begin with; only keys that are the same there are looked at again,
//! group by group, further on.
//!
//! Beside each key lies a note, which is of the caller's making: who looks at a key finds what belongs to it in the same
//! place, and memory is waited for once.
//!
//! Invariant: the order is that of the keys' bytes, equal keys in the order they were added.

use super::counted_tree::{head_of, shared_prefix};

/// Groups up to this size are sorted by comparing keys.
const SMALL_GROUP: usize = 12;

/// Bytes of a key's length, before the key.
const LENGTH_BYTES: usize = size_of::<u32>();

/// Keys one behind the other, each between its length and its note.
#[derive(Default, Debug)]
pub struct KeyHeap {
    bytes: Vec<u8>,
    /// What every key begins with has so many bytes.
    shared: usize,
}

/// A key of a [`KeyHeap`], with eight bytes of it.
#[derive(Clone, Copy, Debug)]
pub struct KeyRef {
    head: u64,
    /// Rises with every key that is added.
    start: u32,
}

impl KeyHeap {
    /// Makes room for so many bytes more.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Adds a key with its note, which knows its own length.
    pub fn push(&mut self, key: &[u8], note: &[u8]) -> KeyRef {
        let start = u32::try_from(self.bytes.len()).expect("a heap of keys is emptied before it holds 4 GiB");
        let len = u32::try_from(key.len()).expect("a key is within a request");
        let first = KeyRef { head: 0, start: 0 };
        if start == 0 {
            self.shared = key.len();
        } else if !key.starts_with(&self.get(first)[..self.shared]) {
            self.shared = shared_prefix(&self.get(first)[..self.shared], key);
        }
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(note);
        KeyRef { head: 0, start }
    }

    /// Bytes it holds.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What every key begins with.
    pub fn shared(&self) -> &[u8] {
        if self.bytes.is_empty() { &[] } else { &self.get(KeyRef { head: 0, start: 0 })[..self.shared] }
    }

    /// The key.
    pub fn get(&self, key: KeyRef) -> &[u8] {
        self.entry(key).0
    }

    /// The key, and the bytes that begin with its note.
    pub fn entry(&self, key: KeyRef) -> (&[u8], &[u8]) {
        let rest = &self.bytes[key.start as usize..];
        let (len, rest) = rest.split_first_chunk::<LENGTH_BYTES>().expect("every key has its length before it");
        rest.split_at(u32::from_le_bytes(*len) as usize)
    }

    /// Calls the memory of these keys in, all at once: one by one each would be waited for.
    pub fn call_in(&self, refs: &[KeyRef]) {
        let touch = |at: usize| self.bytes.get(at).copied().unwrap_or(0);
        let sum = refs.iter().fold(0, |sum, key| sum ^ touch(key.start as usize) ^ touch(key.start as usize + 63));
        std::hint::black_box(sum);
    }

    /// Sorts keys, equal ones by when they were added.
    pub fn sort(&self, refs: &mut [KeyRef]) {
        self.sort_behind(refs, 0);
    }

    fn sort_by_comparing(&self, refs: &mut [KeyRef]) {
        refs.sort_unstable_by(|a, b| self.get(*a).cmp(self.get(*b)).then(a.start.cmp(&b.start)));
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
            return refs.sort_unstable_by_key(|key| key.start);
        }
        for key in &mut *refs {
            key.head = head_of(self.get(*key), shared);
        }
        // Within a group as they lie in memory, which is then walked through in one direction.
        refs.sort_unstable_by_key(|key| (key.head, key.start));
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

    /// Words in which prefixes, zeroes, equal heads and equal words are common.
    fn words() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[ab\u{0}]{0,4}|(abcabcabc){1,3}[ab]{0,3}|pods/[0-9]{3}|a{22}[a-c]", 0..400)
    }

    fn heap_of(words: &[String]) -> (KeyHeap, Vec<KeyRef>) {
        let mut heap = KeyHeap::default();
        let refs = words.iter().zip(0_u32..).map(|(word, number)| heap.push(word.as_bytes(), &number.to_le_bytes()));
        let refs = refs.collect();
        (heap, refs)
    }

    fn listed<'a>(heap: &'a KeyHeap, refs: &[KeyRef]) -> Vec<(&'a [u8], u32)> {
        let one = |key: &KeyRef| {
            let (key, note) = heap.entry(*key);
            (key, u32::from_le_bytes(*note.first_chunk().expect("it was noted")))
        };
        refs.iter().map(one).collect()
    }

    proptest! {
        #[test]
        fn sorts_as_a_stable_sort_does(words in words()) {
            let (heap, mut refs) = heap_of(&words);
            heap.sort(&mut refs);
            let mut expected: Vec<(&[u8], u32)> = words.iter().map(String::as_bytes).zip(0..).collect();
            expected.sort();
            heap.call_in(&refs);
            prop_assert_eq!(listed(&heap, &refs), expected);
        }
    }
}
