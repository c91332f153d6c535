//! Leaves and inner nodes: how they search, split, merge and count.
//!
//! Invariants: those of the tree; a node is shared through its `Arc` and copied on write only while somebody
//! else holds it. A copy raises one count for each slot, which is what a put costs under a view: the fences of
//! an inner node are therefore behind one pointer, and nodes are no larger than that copy should be.
//!
//! Does not know ranges and walks.

use std::sync::Arc;

use super::Entry;
use super::heads::{Bounds, FAN_OUT, Fence, Heads, shared_prefix};

/// Two neighbours with at most this many slots together become one; below [`FAN_OUT`], so that a merge is not
/// undone by the next insert.
const MERGE_AT: usize = FAN_OUT * 3 / 4;

/// The shortest key that is above `low` and not above `high`.
pub(super) fn fence_between(low: &[u8], high: &[u8]) -> Fence {
    Arc::from(&high[..shared_prefix(low, high) + 1])
}

/// What an inner node knows of a child.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) live: u64,
    pub(super) newest: i64,
}

impl Tally {
    pub(super) fn of(entries: &[Option<impl Entry>]) -> Self {
        let mut tally = Self::default();
        for entry in entries.iter().flatten() {
            tally.live += u64::from(entry.is_live());
            tally.newest = tally.newest.max(entry.stamp());
        }
        tally
    }

    pub(super) fn sum(tallies: &[Self]) -> Self {
        tallies.iter().fold(Self::default(), |sum, tally| Self {
            live: sum.live + tally.live,
            newest: sum.newest.max(tally.newest),
        })
    }
}

#[derive(Clone, Debug)]
pub(super) struct Leaf<E> {
    pub(super) heads: Heads,
    entries: [Option<E>; FAN_OUT],
}

/// Child `i` holds keys from fence `i - 1` on and below fence `i`; heads are those of the fences.
#[derive(Clone, Debug)]
pub(super) struct Fork<E> {
    pub(super) heads: Heads,
    tallies: [Tally; FAN_OUT],
    children: [Option<Node<E>>; FAN_OUT],
    fences: Arc<Vec<Fence>>,
}

#[derive(Clone, Debug)]
pub(super) enum Node<E> {
    Leaf(Arc<Leaf<E>>),
    Fork(Arc<Fork<E>>),
}

impl<E> From<Leaf<E>> for Node<E> {
    fn from(leaf: Leaf<E>) -> Self {
        Self::Leaf(Arc::new(leaf))
    }
}

impl<E> From<Fork<E>> for Node<E> {
    fn from(inner: Fork<E>) -> Self {
        Self::Fork(Arc::new(inner))
    }
}

/// A node that became two: the fence and the new right one.
type Split<E> = Option<(Fence, Node<E>)>;

/// What a put did to the counts.
pub(super) struct Change {
    live: i64,
    stamp: i64,
    pub(super) added: bool,
}

impl<E: Entry> Leaf<E> {
    pub(super) fn empty() -> Self {
        Self { heads: Heads::NONE, entries: [const { None }; FAN_OUT] }
    }

    /// A leaf of these entries, which ascend and fit.
    pub(super) fn of(entries: impl IntoIterator<Item = E>, bounds: Bounds<'_>) -> Self {
        let mut leaf = Self::empty();
        for entry in entries {
            leaf.entries[leaf.heads.len] = Some(entry);
            leaf.heads.len += 1;
        }
        leaf.rehead(bounds);
        leaf
    }

    pub(super) fn len(&self) -> usize {
        self.heads.len
    }

    pub(super) fn entries(&self) -> &[Option<E>] {
        &self.entries[..self.heads.len]
    }

    pub(super) fn entry(&self, at: usize) -> &E {
        entry_at(&self.entries, at)
    }

    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        self.heads.search(key, |i| entry_at(&self.entries, i).key())
    }

    fn rehead(&mut self, bounds: Bounds<'_>) {
        self.heads = Heads::of(self.heads.len, bounds, |i| entry_at(&self.entries, i).key());
    }

    fn insert(&mut self, at: usize, entry: E, bounds: Bounds<'_>) {
        let neighbour = if self.heads.len == 0 { 0 } else { at.min(self.heads.len - 1) };
        let kept = match &self.entries[neighbour] {
            Some(other) => self.heads.insert(at, entry.key(), other.key()),
            None => {
                self.heads.len += 1;
                false
            }
        };
        self.entries[at..self.heads.len].rotate_right(1);
        self.entries[at] = Some(entry);
        if !kept {
            self.rehead(bounds);
        }
    }

    /// Moves the upper part into a new leaf. An insert at the very end leaves this one full, so that ascending
    /// keys fill their leaves.
    fn split(&mut self, ascending: bool, bounds: Bounds<'_>) -> (Fence, Self) {
        let at = if ascending { FAN_OUT - 1 } else { FAN_OUT / 2 };
        let mut right = Self::empty();
        for (to, from) in right.entries.iter_mut().zip(&mut self.entries[at..]) {
            *to = from.take();
        }
        right.heads.len = FAN_OUT - at;
        self.heads.len = at;
        let fence = fence_between(self.entry(at - 1).key(), right.entry(0).key());
        let (left_bounds, right_bounds) = bounds.parted(&fence);
        self.rehead(left_bounds);
        right.rehead(right_bounds);
        (fence, right)
    }

    fn put(
        &mut self,
        key: &[u8],
        bounds: Bounds<'_>,
        change: &mut dyn FnMut(Option<&mut E>) -> Option<E>,
    ) -> (Change, Split<E>) {
        let at = match self.search(key) {
            Ok(at) => {
                let entry = self.entries[at].as_mut().expect("slots below len are taken");
                let before = i64::from(entry.is_live());
                let replaced = change(Some(&mut *entry));
                assert!(replaced.is_none(), "an entry that is there is changed in place");
                debug_assert_eq!(entry.key(), key, "a key never changes");
                let live = i64::from(entry.is_live()) - before;
                return (Change { live, stamp: entry.stamp(), added: false }, None);
            }
            Err(at) => at,
        };
        let Some(entry) = change(None) else {
            return (Change { live: 0, stamp: i64::MIN, added: false }, None);
        };
        debug_assert_eq!(entry.key(), key, "an entry is put under its own key");
        let done = Change { live: i64::from(entry.is_live()), stamp: entry.stamp(), added: true };
        if self.heads.len < FAN_OUT {
            self.insert(at, entry, bounds);
            return (done, None);
        }
        let (fence, mut right) = self.split(at == FAN_OUT, bounds);
        let (left_bounds, right_bounds) = bounds.parted(&fence);
        if key < &fence[..] {
            self.insert(at, entry, left_bounds);
        } else {
            right.insert(at - self.heads.len, entry, right_bounds);
        }
        (done, Some((fence, Node::from(right))))
    }

    fn remove(&mut self, key: &[u8]) -> Option<E> {
        let at = self.search(key).ok()?;
        let len = self.heads.len;
        self.entries[at..len].rotate_left(1);
        self.heads.remove(at);
        self.entries[len - 1].take()
    }
}

fn entry_at<E>(entries: &[Option<E>; FAN_OUT], at: usize) -> &E {
    entries[at].as_ref().expect("slots below len are taken")
}

impl<E: Entry> Fork<E> {
    /// A node of one child, which holds everything.
    pub(super) fn of_one(child: Node<E>) -> Self {
        let mut inner = Self {
            heads: Heads::NONE,
            tallies: [Tally::default(); FAN_OUT],
            children: [const { None }; FAN_OUT],
            fences: Arc::new(Vec::new()),
        };
        inner.tallies[0] = child.tally();
        inner.children[0] = Some(child);
        inner
    }

    /// A node of these children, which ascend and fit; each but the first with the fence before it.
    pub(super) fn of(first: Node<E>, more: impl IntoIterator<Item = (Fence, Node<E>)>, bounds: Bounds<'_>) -> Self {
        let mut inner = Self::of_one(first);
        let mut fences = Vec::new();
        for (fence, child) in more {
            fences.push(fence);
            inner.tallies[fences.len()] = child.tally();
            inner.children[fences.len()] = Some(child);
        }
        inner.fences = Arc::new(fences);
        inner.rehead(bounds);
        inner
    }

    /// The child where `key` belongs.
    pub(super) fn child_for(&self, key: &[u8]) -> usize {
        match self.heads.search(key, |i| &self.fences[i]) {
            Ok(i) => i + 1,
            Err(i) => i,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.heads.len + 1
    }

    pub(super) fn tallies(&self) -> &[Tally] {
        &self.tallies[..self.len()]
    }

    pub(super) fn child(&self, i: usize) -> &Node<E> {
        self.children[i].as_ref().expect("slots below len are taken")
    }

    #[cfg(test)]
    pub(super) fn fences(&self) -> &[Fence] {
        &self.fences
    }

    /// A child to be changed, with its bounds.
    fn child_mut<'a>(&'a mut self, i: usize, bounds: Bounds<'a>) -> (&'a mut Node<E>, Bounds<'a>) {
        let child = self.children[i].as_mut().expect("slots below len are taken");
        (child, bounds.of_child(&self.fences, i))
    }

    fn rehead(&mut self, bounds: Bounds<'_>) {
        self.heads = Heads::of(self.fences.len(), bounds, |i| &self.fences[i]);
    }

    pub(super) fn insert(&mut self, at: usize, fence: Fence, child: Node<E>, bounds: Bounds<'_>) {
        let len = self.len() + 1;
        self.tallies[at..len].rotate_right(1);
        self.children[at..len].rotate_right(1);
        self.tallies[at] = child.tally();
        self.children[at] = Some(child);
        Arc::make_mut(&mut self.fences).insert(at - 1, fence);
        self.rehead(bounds);
    }

    /// Takes child `at`, which is not the first, out; what it held is with the one before.
    fn remove_child(&mut self, at: usize, bounds: Bounds<'_>) {
        let len = self.len();
        self.tallies[at..len].rotate_left(1);
        self.children[at..len].rotate_left(1);
        self.children[len - 1] = None;
        Arc::make_mut(&mut self.fences).remove(at - 1);
        self.rehead(bounds);
    }

    fn split(&mut self, ascending: bool, bounds: Bounds<'_>) -> (Fence, Self) {
        let at = if ascending { FAN_OUT - 1 } else { FAN_OUT / 2 };
        let fences = Arc::make_mut(&mut self.fences);
        let right_fences = fences.split_off(at);
        let fence = fences.pop().expect("every child but the first has a fence");
        let mut children = self.children[at..].iter_mut().map(|child| child.take().expect("a full node splits"));
        let first = children.next().expect("a split leaves something on both sides");
        let (left_bounds, right_bounds) = bounds.parted(&fence);
        let right = Self::of(first, right_fences.into_iter().zip(children), right_bounds);
        self.rehead(left_bounds);
        (fence, right)
    }

    fn put(
        &mut self,
        key: &[u8],
        bounds: Bounds<'_>,
        change: &mut dyn FnMut(Option<&mut E>) -> Option<E>,
    ) -> (Change, Split<E>) {
        let i = self.child_for(key);
        let (child, child_bounds) = self.child_mut(i, bounds);
        let (change, split) = child.put(key, child_bounds, change);
        let tally = &mut self.tallies[i];
        tally.live = tally.live.checked_add_signed(change.live).expect("a tally counts what is there");
        tally.newest = tally.newest.max(change.stamp);
        let Some((fence, right)) = split else { return (change, None) };
        self.tallies[i] = self.child(i).tally();
        if self.len() < FAN_OUT {
            self.insert(i + 1, fence, right, bounds);
            return (change, None);
        }
        let (middle, mut other) = self.split(i + 1 == FAN_OUT, bounds);
        let (left_bounds, right_bounds) = bounds.parted(&middle);
        let left_len = self.len();
        if i < left_len {
            self.insert(i + 1, fence, right, left_bounds);
        } else {
            other.insert(i + 1 - left_len, fence, right, right_bounds);
        }
        (change, Some((middle, Node::from(other))))
    }

    fn remove(&mut self, key: &[u8], bounds: Bounds<'_>) -> Option<E> {
        let i = self.child_for(key);
        let (child, child_bounds) = self.child_mut(i, bounds);
        let removed = child.remove(key, child_bounds)?;
        self.tallies[i].live -= u64::from(removed.is_live());
        if i > 0 {
            self.merge_if_small(i - 1, bounds);
        } else if self.len() > 1 {
            self.merge_if_small(i, bounds);
        }
        Some(removed)
    }

    /// Makes children `i` and `i + 1` one where they fit.
    fn merge_if_small(&mut self, i: usize, bounds: Bounds<'_>) {
        let hollow = self.child(i).is_hollow() || self.child(i + 1).is_hollow();
        if self.child(i).slots() + self.child(i + 1).slots() > if hollow { FAN_OUT } else { MERGE_AT } {
            return;
        }
        let fence = self.fences[i].clone();
        let right = self.child(i + 1).clone();
        let both =
            Bounds { low: bounds.of_child(&self.fences, i).low, high: bounds.of_child(&self.fences, i + 1).high };
        match (self.children[i].as_mut().expect("slots below len are taken"), right) {
            (Node::Leaf(left), Node::Leaf(right)) => {
                let left = Arc::make_mut(left);
                for entry in right.entries.iter().flatten() {
                    left.entries[left.heads.len] = Some(entry.clone());
                    left.heads.len += 1;
                }
                left.rehead(both);
            }
            (Node::Fork(left), Node::Fork(right)) => {
                let left = Arc::make_mut(left);
                let base = left.len();
                left.tallies[base..base + right.len()].copy_from_slice(right.tallies());
                left.children[base..base + right.len()].clone_from_slice(&right.children[..right.len()]);
                let fences = Arc::make_mut(&mut left.fences);
                fences.push(fence);
                fences.extend_from_slice(&right.fences);
                left.rehead(both);
            }
            _ => unreachable!("all leaves are at one depth"),
        }
        self.remove_child(i + 1, bounds);
        self.tallies[i] = self.child(i).tally();
    }
}

impl<E: Entry> Node<E> {
    pub(super) fn tally(&self) -> Tally {
        match self {
            Self::Leaf(leaf) => Tally::of(leaf.entries()),
            Self::Fork(inner) => Tally::sum(inner.tallies()),
        }
    }

    fn slots(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len(),
            Self::Fork(inner) => inner.len(),
        }
    }

    /// Whether no entry is below: an empty leaf, or a chain of only children down to one.
    fn is_hollow(&self) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.len() == 0,
            Self::Fork(inner) => inner.len() == 1 && inner.child(0).is_hollow(),
        }
    }

    /// Lets `change` work on the entry at `key`. Returns what the tally above must learn and the split.
    pub(super) fn put(
        &mut self,
        key: &[u8],
        bounds: Bounds<'_>,
        change: &mut dyn FnMut(Option<&mut E>) -> Option<E>,
    ) -> (Change, Split<E>) {
        match self {
            Self::Leaf(leaf) => Arc::make_mut(leaf).put(key, bounds, change),
            Self::Fork(inner) => Arc::make_mut(inner).put(key, bounds, change),
        }
    }

    pub(super) fn remove(&mut self, key: &[u8], bounds: Bounds<'_>) -> Option<E> {
        match self {
            Self::Leaf(leaf) => Arc::make_mut(leaf).remove(key),
            Self::Fork(inner) => Arc::make_mut(inner).remove(key, bounds),
        }
    }
}
