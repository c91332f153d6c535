//! Which watchers a key concerns: single keys by hash, ranges in an interval tree.
//!
//! Invariants: a lookup answers exactly the watchers whose range holds the key; its cost is a hash probe and
//! O(log ranges) for each *distinct* matching range, plus the watchers found. Watchers of one range share its
//! node, so ten thousand watchers of one prefix make a tree of one node.
//!
//! Does not know what a watcher is: it stores numbers.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;
use fxhash::FxHashMap;

use crate::base::{KeyRange, RangeEnd};

/// No node.
const NIL: u32 = u32::MAX;

/// The watchers of one key or one range. Most keys have one watcher, which then costs no set.
#[derive(Clone, Debug)]
enum Members {
    One(u32),
    // A set, not a list: a storm of cancels on one key must cost O(log n) each.
    Many(BTreeSet<u32>),
}

impl Members {
    fn insert(&mut self, member: u32) {
        match self {
            Self::One(first) => {
                assert_ne!(*first, member, "a watcher is indexed once");
                *self = Self::Many(BTreeSet::from([*first, member]));
            }
            Self::Many(members) => assert!(members.insert(member), "a watcher is indexed once"),
        }
    }

    /// Takes `member` out; `true` when nobody is left.
    fn remove(&mut self, member: u32) -> bool {
        match self {
            Self::One(only) => {
                assert_eq!(*only, member, "a watcher leaves from where it was indexed");
                true
            }
            Self::Many(members) => {
                assert!(members.remove(&member), "a watcher leaves from where it was indexed");
                members.is_empty()
            }
        }
    }

    fn each(&self, found: &mut impl FnMut(u32)) {
        match self {
            Self::One(member) => found(*member),
            Self::Many(members) => members.iter().for_each(|member| found(*member)),
        }
    }
}

/// The watchers of single keys of one hash; nearly always of one key.
#[derive(Clone, Debug)]
struct Single {
    key: Bytes,
    members: Members,
    next: Option<Box<Single>>,
}

impl Single {
    fn new(key: &Bytes, member: u32) -> Self {
        Self { key: key.clone(), members: Members::One(member), next: None }
    }

    fn of(&self, key: &[u8]) -> Option<&Members> {
        if self.key == key { Some(&self.members) } else { self.next.as_ref()?.of(key) }
    }

    fn insert(&mut self, key: &Bytes, member: u32) {
        match &mut self.next {
            _ if self.key == *key => self.members.insert(member),
            Some(next) => next.insert(key, member),
            None => self.next = Some(Box::new(Self::new(key, member))),
        }
    }

    /// Without this watcher; nothing where nobody is left.
    fn without(mut self, key: &Bytes, member: u32) -> Option<Self> {
        if self.key == *key {
            let is_empty = self.members.remove(member);
            return if is_empty { self.next.map(|next| *next) } else { Some(self) };
        }
        let next = self.next.take().expect("a watcher leaves from where it was indexed");
        self.next = next.without(key, member).map(Box::new);
        Some(self)
    }
}

/// A distinct range, as a node of an AVL tree ordered by (start, end). AVL because its depth holds for every
/// order of insertion, also one chosen by an adversary.
#[derive(Clone, Debug)]
struct Node {
    start: Bytes,
    /// `None` is open.
    end: Option<Bytes>,
    /// The greatest end in this subtree; `None` is open.
    max_end: Option<Bytes>,
    members: Members,
    left: u32,
    right: u32,
    height: u8,
}

/// Order of ends: open is above every key.
fn cmp_ends(a: &Option<Bytes>, b: &Option<Bytes>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.cmp(b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// Whether an end lies above `key`.
fn is_above(end: &Option<Bytes>, key: &[u8]) -> bool {
    end.as_ref().is_none_or(|end| end[..] > *key)
}

/// Watchers by what they watch.
#[derive(Clone, Debug)]
pub(super) struct RangeIndex {
    /// Single keys by a hash that only this start of this member knows: clients choose the keys, and could choose such
    /// that all fall into one bucket. Looked up only, never iterated.
    singles: FxHashMap<u64, Single>,
    seed: u64,
    nodes: Vec<Node>,
    /// Nodes to be used again.
    free: Vec<u32>,
    root: u32,
}

impl RangeIndex {
    /// `seed` is nobody's to know.
    pub(super) fn new(seed: u64) -> Self {
        Self { singles: FxHashMap::default(), seed, nodes: Vec::new(), free: Vec::new(), root: NIL }
    }

    fn hash(&self, key: &[u8]) -> u64 {
        // SipHash; its fixed key is made up for by the seed before the key.
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write(key);
        hasher.finish()
    }

    /// Adds a watcher of `range`. A number stands in the index at most once.
    pub(super) fn insert(&mut self, range: &KeyRange, member: u32) {
        let Some((start, end)) = bounds(range) else {
            let hash = self.hash(&range.start);
            match self.singles.get_mut(&hash) {
                Some(single) => single.insert(&range.start, member),
                None => {
                    self.singles.insert(hash, Single::new(&range.start, member));
                }
            }
            return;
        };
        self.root = self.insert_below(self.root, start, end, member);
    }

    /// Removes a watcher that was added with the same range.
    pub(super) fn remove(&mut self, range: &KeyRange, member: u32) {
        let Some((start, end)) = bounds(range) else {
            let hash = self.hash(&range.start);
            let single = self.singles.remove(&hash).expect("a watcher leaves from where it was indexed");
            if let Some(left) = single.without(&range.start, member) {
                self.singles.insert(hash, left);
            }
            return;
        };
        self.root = self.remove_below(self.root, &start, &end, member);
    }

    /// Calls `found` for every watcher whose range holds `key`, in an order that depends only on what was
    /// inserted and removed before.
    pub(super) fn matching(&self, key: &[u8], mut found: impl FnMut(u32)) {
        if !self.singles.is_empty()
            && let Some(members) = self.singles.get(&self.hash(key)).and_then(|single| single.of(key))
        {
            members.each(&mut found);
        }
        self.stab(self.root, key, &mut found);
    }

    /// Whether there is a watcher whose range holds `key`. Nobody at all costs nothing.
    pub(super) fn holds(&self, key: &[u8]) -> bool {
        !self.singles.is_empty() && self.singles.get(&self.hash(key)).is_some_and(|single| single.of(key).is_some())
            || self.hits(self.root, key)
    }

    fn hits(&self, at: u32, key: &[u8]) -> bool {
        let Some(node) = self.nodes.get(at as usize) else { return false };
        is_above(&node.max_end, key)
            && (self.hits(node.left, key)
                || node.start[..] <= *key && (is_above(&node.end, key) || self.hits(node.right, key)))
    }

    fn stab(&self, at: u32, key: &[u8], found: &mut impl FnMut(u32)) {
        let Some(node) = self.nodes.get(at as usize) else { return };
        if !is_above(&node.max_end, key) {
            return;
        }
        self.stab(node.left, key, found);
        if node.start[..] <= *key {
            if is_above(&node.end, key) {
                node.members.each(found);
            }
            self.stab(node.right, key, found);
        }
    }

    fn insert_below(&mut self, at: u32, start: Bytes, end: Option<Bytes>, member: u32) -> u32 {
        if at == NIL {
            return self.new_node(start, end, member);
        }
        match self.cmp_node(&start, &end, at) {
            Ordering::Equal => {
                self.node_mut(at).members.insert(member);
                return at;
            }
            Ordering::Less => {
                let left = self.insert_below(self.node(at).left, start, end, member);
                self.node_mut(at).left = left;
            }
            Ordering::Greater => {
                let right = self.insert_below(self.node(at).right, start, end, member);
                self.node_mut(at).right = right;
            }
        }
        self.balance(at)
    }

    fn remove_below(&mut self, at: u32, start: &Bytes, end: &Option<Bytes>, member: u32) -> u32 {
        assert_ne!(at, NIL, "a watcher leaves from where it was indexed");
        match self.cmp_node(start, end, at) {
            Ordering::Equal => {
                if self.node_mut(at).members.remove(member) {
                    self.unlink(at)
                } else {
                    at
                }
            }
            Ordering::Less => {
                let left = self.remove_below(self.node(at).left, start, end, member);
                self.node_mut(at).left = left;
                self.balance(at)
            }
            Ordering::Greater => {
                let right = self.remove_below(self.node(at).right, start, end, member);
                self.node_mut(at).right = right;
                self.balance(at)
            }
        }
    }

    /// Takes the node itself out and answers with what stands in its place.
    fn unlink(&mut self, at: u32) -> u32 {
        let (left, right) = (self.node(at).left, self.node(at).right);
        self.free_node(at);
        if left == NIL {
            return right;
        }
        if right == NIL {
            return left;
        }
        let (rest, least) = self.take_least(right);
        let node = self.node_mut(least);
        node.left = left;
        node.right = rest;
        self.balance(least)
    }

    /// Splits the least node off: answers with the rest and the node.
    fn take_least(&mut self, at: u32) -> (u32, u32) {
        let left = self.node(at).left;
        if left == NIL {
            return (self.node(at).right, at);
        }
        let (rest, least) = self.take_least(left);
        self.node_mut(at).left = rest;
        (self.balance(at), least)
    }

    /// Restores height, greatest end and balance of a node whose children are in order.
    fn balance(&mut self, at: u32) -> u32 {
        let (left, right) = (self.node(at).left, self.node(at).right);
        if self.height(left) > self.height(right) + 1 {
            if self.height(self.node(left).right) > self.height(self.node(left).left) {
                let turned = self.turn_left(left);
                self.node_mut(at).left = turned;
            }
            return self.turn_right(at);
        }
        if self.height(right) > self.height(left) + 1 {
            if self.height(self.node(right).left) > self.height(self.node(right).right) {
                let turned = self.turn_right(right);
                self.node_mut(at).right = turned;
            }
            return self.turn_left(at);
        }
        self.refresh(at);
        at
    }

    fn turn_right(&mut self, at: u32) -> u32 {
        let left = self.node(at).left;
        let middle = self.node(left).right;
        self.node_mut(at).left = middle;
        self.node_mut(left).right = at;
        self.refresh(at);
        self.refresh(left);
        left
    }

    fn turn_left(&mut self, at: u32) -> u32 {
        let right = self.node(at).right;
        let middle = self.node(right).left;
        self.node_mut(at).right = middle;
        self.node_mut(right).left = at;
        self.refresh(at);
        self.refresh(right);
        right
    }

    fn refresh(&mut self, at: u32) {
        let (left, right) = (self.node(at).left, self.node(at).right);
        let height = 1 + self.height(left).max(self.height(right));
        let mut max_end = &self.node(at).end;
        for child in [left, right] {
            if let Some(child) = self.nodes.get(child as usize)
                && cmp_ends(&child.max_end, max_end).is_gt()
            {
                max_end = &child.max_end;
            }
        }
        let max_end = max_end.clone();
        let node = self.node_mut(at);
        node.height = height;
        node.max_end = max_end;
    }

    fn new_node(&mut self, start: Bytes, end: Option<Bytes>, member: u32) -> u32 {
        let max_end = end.clone();
        let node = Node { start, end, max_end, members: Members::One(member), left: NIL, right: NIL, height: 1 };
        if let Some(at) = self.free.pop() {
            *self.node_mut(at) = node;
            return at;
        }
        let at = u32::try_from(self.nodes.len()).ok().filter(|at| *at != NIL);
        self.nodes.push(node);
        at.expect("fewer ranges than watchers, and those are counted in 32 bits")
    }

    fn free_node(&mut self, at: u32) {
        let node = self.node_mut(at);
        // Keys of a node at rest would be held for nothing.
        node.start = Bytes::new();
        node.end = None;
        node.max_end = None;
        node.members = Members::One(NIL);
        self.free.push(at);
        if self.free.len() == self.nodes.len() {
            // Nothing is left: give the memory of the last storm back.
            self.free = Vec::new();
            self.nodes = Vec::new();
        }
    }

    fn cmp_node(&self, start: &Bytes, end: &Option<Bytes>, at: u32) -> Ordering {
        let node = self.node(at);
        start.cmp(&node.start).then_with(|| cmp_ends(end, &node.end))
    }

    fn height(&self, at: u32) -> u8 {
        self.nodes.get(at as usize).map_or(0, |node| node.height)
    }

    fn node(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    fn node_mut(&mut self, at: u32) -> &mut Node {
        &mut self.nodes[at as usize]
    }
}

/// Start and end of a range that is not a single key.
fn bounds(range: &KeyRange) -> Option<(Bytes, Option<Bytes>)> {
    match &range.end {
        RangeEnd::Single => None,
        RangeEnd::Before(end) => Some((range.start.clone(), Some(end.clone()))),
        RangeEnd::Open => Some((range.start.clone(), None)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl RangeIndex {
        /// Depth and greatest ends, looked at from scratch.
        fn check(&self, at: u32) -> (u8, Option<Option<Bytes>>) {
            let Some(node) = self.nodes.get(at as usize) else { return (0, None) };
            let (left, left_end) = self.check(node.left);
            let (right, right_end) = self.check(node.right);
            assert!(left.abs_diff(right) <= 1, "balanced");
            assert_eq!(node.height, 1 + left.max(right));
            let mut ends = vec![node.end.clone()];
            ends.extend(left_end.into_iter().chain(right_end));
            let max_end = ends.into_iter().max_by(cmp_ends).expect("not empty");
            assert_eq!(node.max_end, max_end);
            (node.height, Some(max_end))
        }
    }

    fn found(index: &RangeIndex, key: &[u8]) -> Vec<u32> {
        let mut all = Vec::new();
        index.matching(key, |member| all.push(member));
        assert_eq!(index.holds(key), !all.is_empty());
        all.sort_unstable();
        all
    }

    /// Keys of up to two letters of a small alphabet, so that ranges touch, nest and repeat.
    fn some_key() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(0..4u8, 1..3).prop_map(Bytes::from)
    }

    fn some_range() -> impl Strategy<Value = KeyRange> {
        prop_oneof![
            some_key().prop_map(KeyRange::single),
            some_key().prop_map(|start| KeyRange { start, end: RangeEnd::Open }),
            (some_key(), some_key()).prop_map(|(start, end)| KeyRange { start, end: RangeEnd::Before(end) }),
            (some_key(), some_key()).prop_map(|(start, end)| KeyRange { start, end: RangeEnd::Before(end) }),
        ]
    }

    proptest! {
        /// The twin is a list of ranges, scanned.
        #[test]
        fn the_index_is_a_scan(
            steps in prop::collection::vec((some_range(), any::<bool>(), any::<prop::sample::Index>()), 1..150),
            keys in prop::collection::vec(some_key(), 1..12),
        ) {
            let mut index = RangeIndex::new(7);
            let mut twin: Vec<(KeyRange, u32)> = Vec::new();
            for (number, (range, remove, which)) in steps.into_iter().enumerate() {
                if remove && !twin.is_empty() {
                    let (range, member) = twin.swap_remove(which.index(twin.len()));
                    index.remove(&range, member);
                } else {
                    index.insert(&range, number as u32);
                    twin.push((range, number as u32));
                }
                index.check(index.root);
                for key in &keys {
                    let mut want: Vec<u32> =
                        twin.iter().filter(|one| one.0.contains(key)).map(|one| one.1).collect();
                    want.sort_unstable();
                    prop_assert_eq!(found(&index, key), want);
                }
            }
            for (range, member) in twin.drain(..) {
                index.remove(&range, member);
            }
            prop_assert!(index.singles.is_empty() && index.nodes.is_empty() && index.root == NIL);
        }
    }

    #[test]
    fn depth_stays_logarithmic_for_sorted_insertion() {
        let mut index = RangeIndex::new(7);
        for number in 0..10_000u32 {
            let start = Bytes::from(format!("/registry/{number:06}/"));
            let end = Bytes::from(format!("/registry/{number:06}0"));
            index.insert(&KeyRange { start, end: RangeEnd::Before(end) }, number);
        }
        let (depth, _) = index.check(index.root);
        assert!(depth <= 20, "an AVL tree of 10,000 nodes is at most 1.44 log2(n) deep, not {depth}");
        assert_eq!(found(&index, b"/registry/004711/x"), [4711]);
    }

    #[test]
    fn watchers_of_one_range_share_a_node() {
        let mut index = RangeIndex::new(7);
        let range = KeyRange::from_wire(Bytes::from_static(b"a/"), Bytes::from_static(b"a0"));
        for member in 0..1_000 {
            index.insert(&range, member);
        }
        assert_eq!(index.nodes.len(), 1);
        assert_eq!(found(&index, b"a/b").len(), 1_000);
        for member in (0..1_000).rev() {
            index.remove(&range, member);
        }
        assert!(found(&index, b"a/b").is_empty());
    }

    /// Keys of one hash, were there any, are told apart.
    #[test]
    fn keys_that_share_a_hash_keep_their_own_watchers() {
        let key = |n: u8| Bytes::from(vec![n]);
        let mut single = Single::new(&key(1), 10);
        for (n, member) in [(2, 20), (3, 30), (2, 21)] {
            single.insert(&key(n), member);
        }
        let members = |single: &Single, n: u8| {
            let mut found = Vec::new();
            if let Some(members) = single.of(&[n]) {
                members.each(&mut |member| found.push(member));
            }
            found
        };
        assert_eq!([1, 2, 3, 4].map(|n| members(&single, n)), [vec![10], vec![20, 21], vec![30], vec![]]);
        let single = single.without(&key(2), 20).expect("others are left");
        let single = single.without(&key(1), 10).expect("others are left");
        assert_eq!([1, 2, 3].map(|n| members(&single, n)), [vec![], vec![21], vec![30]]);
        let single = single.without(&key(3), 30).expect("one is left");
        assert!(single.without(&key(2), 21).is_none());
    }

    /// Where a key falls nobody can tell beforehand: it is another place at every start.
    #[test]
    fn places_of_keys_follow_from_the_seed() {
        let hashes = |seed: u64| (0..100_u32).map(|n| RangeIndex::new(seed).hash(&n.to_be_bytes())).collect::<Vec<_>>();
        assert_eq!(hashes(1), hashes(1));
        assert!(hashes(1).iter().zip(hashes(2)).all(|(one, other)| *one != other));
    }
}
