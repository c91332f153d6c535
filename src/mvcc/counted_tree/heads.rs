//! The keys of one node, as eight-byte heads side by side, and what the parents say of them.
//!
//! Invariants: heads ascend as their keys do; every key of the node begins with the prefix. Where keys have the
//! same head the keys themselves decide. Does not know of entries, children or counts.

use std::cmp::Ordering;
use std::sync::Arc;

/// Entries of a leaf and children of an inner node: large enough that five levels hold millions, small enough
/// that copying a shared path stays near a microsecond.
pub(super) const FAN_OUT: usize = 32;

/// The shortest key that parts what is left of it from what is right.
pub(super) type Fence = Arc<[u8]>;

/// What the parents say of the keys in a node: from `low` on and below `high`; `None` at the rim of the tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds<'a> {
    pub(super) low: Option<&'a [u8]>,
    pub(super) high: Option<&'a [u8]>,
}

impl<'a> Bounds<'a> {
    pub(super) const NONE: Self = Self { low: None, high: None };

    /// Those of child `i` of a node with these bounds and `fences`.
    pub(super) fn of_child(self, fences: &'a [Fence], i: usize) -> Self {
        let low = if i == 0 { self.low } else { Some(&fences[i - 1][..]) };
        let high = fences.get(i).map(|fence| &fence[..]).or(self.high);
        Self { low, high }
    }

    /// Those of the two parts when `fence` parts them.
    pub(super) fn parted(self, fence: &'a [u8]) -> (Self, Self) {
        (Self { high: Some(fence), ..self }, Self { low: Some(fence), ..self })
    }
}

/// How many bytes both begin with.
pub fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The eight bytes of `key` behind its first `prefix`, as a number that sorts like them; zeroes where it ends.
pub fn head_of(key: &[u8], prefix: usize) -> u64 {
    let rest = key.get(prefix..).unwrap_or_default();
    match rest.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => {
            let mut padded = [0; 8];
            padded[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(padded)
        }
    }
}

/// The sorted keys of a node, as heads behind their common prefix.
#[derive(Clone, Debug)]
pub(super) struct Heads {
    pub(super) len: usize,
    pub(super) prefix: usize,
    /// Every key that is looked for here has the prefix.
    pub(super) sure: bool,
    pub(super) heads: [u64; FAN_OUT],
}

impl Heads {
    pub(super) const NONE: Self = Self { len: 0, prefix: 0, sure: false, heads: [0; FAN_OUT] };

    /// The heads of keys that ascend, in a node within `bounds`. What both bounds begin with, everything that
    /// is looked for here begins with; at the rim of the tree it is the common prefix of the first and the last.
    pub(super) fn of<'a>(len: usize, bounds: Bounds<'_>, key: impl Fn(usize) -> &'a [u8]) -> Self {
        let mut fresh = Self { len, ..Self::NONE };
        if let Bounds { low: Some(low), high: Some(high) } = bounds {
            fresh.sure = true;
            fresh.prefix = shared_prefix(low, high);
        } else if len > 0 {
            fresh.prefix = shared_prefix(key(0), key(len - 1));
        }
        if len > 0 {
            for i in 0..len {
                fresh.heads[i] = head_of(key(i), fresh.prefix);
            }
        }
        fresh
    }

    /// Where `key` is, or where it belongs.
    pub(super) fn search<'a>(&self, key: &[u8], key_at: impl Fn(usize) -> &'a [u8]) -> Result<usize, usize> {
        if self.len == 0 {
            return Err(0);
        }
        let head = head_of(key, self.prefix);
        // Counting needs all heads, but none of them waits for another: where the node is not in the
        // processor's cache, that is faster than halving.
        let mut at: usize = self.heads[..self.len].iter().map(|other| usize::from(*other < head)).sum();
        if !self.sure {
            // Every key of the node has the prefix; any one can vouch for it.
            let witness = key_at(at.min(self.len - 1));
            let shared = key.len().min(self.prefix);
            match key[..shared].cmp(&witness[..shared]) {
                Ordering::Less => return Err(0),
                Ordering::Greater => return Err(self.len),
                Ordering::Equal if key.len() < self.prefix => return Err(0),
                Ordering::Equal => {}
            }
        }
        while at < self.len && self.heads[at] == head {
            match key_at(at).cmp(key) {
                Ordering::Less => at += 1,
                Ordering::Equal => return Ok(at),
                Ordering::Greater => return Err(at),
            }
        }
        Err(at)
    }

    /// Makes room for `key` at `at`; false when it does not share the prefix and all must be made anew.
    pub(super) fn insert(&mut self, at: usize, key: &[u8], neighbour: &[u8]) -> bool {
        self.len += 1;
        if !self.sure && (key.len() < self.prefix || key[..self.prefix] != neighbour[..self.prefix]) {
            return false;
        }
        self.heads[at..self.len].rotate_right(1);
        self.heads[at] = head_of(key, self.prefix);
        true
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.heads[at..self.len].rotate_left(1);
        self.len -= 1;
    }
}
