//! Sorting many keys that lie somewhere else in memory.
//!
//! A sort that compares keys waits for memory at every comparison. This one compares eight bytes that it holds
//! itself: those behind what all keys begin with; only keys that are the same there are looked at again,
//! group by group, further on.
//!
//! Invariant: the order is that of the keys' bytes, equal keys by their number.

use super::counted_tree::head_of;

/// Groups up to this size are sorted by comparing keys.
const SMALL_GROUP: usize = 12;

/// Number `at` of the keys, with eight bytes of it.
#[derive(Clone, Copy, Debug)]
pub struct KeyRef {
    head: u64,
    at: u32,
}

impl KeyRef {
    /// Refers to key number `at`.
    pub fn new(at: u32) -> Self {
        Self { head: 0, at }
    }

    /// The key's number.
    pub fn at(self) -> u32 {
        self.at
    }
}

/// Sorts by the keys that `key_at` knows.
pub fn sort<'k>(refs: &mut [KeyRef], key_at: &impl Fn(u32) -> &'k [u8]) {
    sort_behind(refs, key_at, 0);
}

fn by_comparing<'k>(refs: &mut [KeyRef], key_at: &impl Fn(u32) -> &'k [u8]) {
    refs.sort_unstable_by(|a, b| key_at(a.at).cmp(key_at(b.at)).then(a.at.cmp(&b.at)));
}

/// Sorts keys whose first `known` bytes are the same.
fn sort_behind<'k>(refs: &mut [KeyRef], key_at: &impl Fn(u32) -> &'k [u8], known: usize) {
    if refs.len() <= SMALL_GROUP {
        return by_comparing(refs, key_at);
    }
    let first = key_at(refs[0].at);
    let mut shared = &first[known..];
    let mut longest = first.len();
    for other in &refs[1..] {
        let key = key_at(other.at);
        longest = longest.max(key.len());
        while !key[known..].starts_with(shared) {
            shared = &shared[..shared.iter().zip(&key[known..]).take_while(|(a, b)| a == b).count()];
        }
    }
    let shared = known + shared.len();
    if shared == longest {
        return refs.sort_unstable_by_key(|key| key.at);
    }
    for key in &mut *refs {
        key.head = head_of(key_at(key.at), shared);
    }
    refs.sort_unstable_by_key(|key| key.head);
    for group in refs.chunk_by_mut(|a, b| a.head == b.head) {
        let all_go_on = group.iter().all(|key| key_at(key.at).len() >= shared + size_of::<u64>());
        match group.len() {
            1 => {}
            _ if all_go_on => sort_behind(group, key_at, shared + size_of::<u64>()),
            // A key that ends inside the head looks like one that goes on with zeroes.
            _ => by_comparing(group, key_at),
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
            words in prop::collection::vec("[ab\u{0}]{0,4}|(abcabcabc){1,3}[ab]{0,3}|pods/[0-9]{3}|aaaaaaaaaaaaaaaaaaaaaa[a-c]", 0..400),
        ) {
            let mut refs: Vec<KeyRef> = (0..words.len() as u32).map(KeyRef::new).collect();
            sort(&mut refs, &|at| words[at as usize].as_bytes());
            let mut expected: Vec<u32> = (0..words.len() as u32).collect();
            expected.sort_by_key(|at| words[*at as usize].as_bytes());
            prop_assert_eq!(refs.iter().map(|key| key.at()).collect::<Vec<_>>(), expected);
        }
    }
}
