//! A persistent ordered map that counts: a B+tree of shared nodes whose inner nodes know, for every child, how
//! many of its entries are live and how new the newest is.
//!
//! Invariants: a clone is a root pointer, so it costs nothing and never changes; a write copies only the nodes
//! on its path that a clone still shares. Keys in a node ascend. A subtree's `live` is exact; its `newest` is
//! never below the stamp of an entry in it (removals may leave it too high). So a count of live entries costs
//! O(log n), and a walk at an older moment may trust `live` wherever `newest` is not above that moment.
//!
//! Searching compares eight-byte *heads*: what follows the prefix that all keys of a node share. They lie side
//! by side in the node, so a search touches one entry instead of six. What the fences on both sides of a node
//! begin with, every key looked for in it begins with, so in most nodes the prefix needs no look at all; a
//! node's bounds only ever grow together with a merge, which makes its heads anew. Deletion merges neighbours that fit in
//! one node and never borrows, so depth is bounded by the largest size the tree had.
//!
//! Does not know what the entries are.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::base::{KeyRange, RangeEnd};

mod heads;

use heads::{Bounds, Heads, shared_prefix};

/// Entries of a leaf and children of an inner node: large enough that three levels hold millions, small enough
/// that copying a shared path stays in the microseconds.
const FAN_OUT: usize = 64;

/// Two neighbours with at most this many slots together become one; below [`FAN_OUT`], so that a merge is not
/// undone by the next insert.
const MERGE_AT: usize = FAN_OUT * 3 / 4;

/// What the tree needs to know of an entry.
pub trait Entry: Clone {
    /// The key it is sorted by; never changes.
    fn key(&self) -> &[u8];
    /// Whether it is counted.
    fn is_live(&self) -> bool;
    /// When it last changed.
    fn stamp(&self) -> i64;
}

/// What an inner node knows of a child.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Tally {
    live: u64,
    newest: i64,
}

impl Tally {
    fn of(entries: &[Option<impl Entry>]) -> Self {
        let mut tally = Self::default();
        for entry in entries.iter().flatten() {
            tally.live += u64::from(entry.is_live());
            tally.newest = tally.newest.max(entry.stamp());
        }
        tally
    }

    fn sum(tallies: &[Self]) -> Self {
        tallies.iter().fold(Self::default(), |sum, tally| Self {
            live: sum.live + tally.live,
            newest: sum.newest.max(tally.newest),
        })
    }
}

#[derive(Clone, Debug)]
struct Leaf<E> {
    heads: Heads,
    entries: [Option<E>; FAN_OUT],
}

/// Child `i` holds keys from `fences[i]` on; the fence of child 0 is empty and stands for "everything below".
#[derive(Clone, Debug)]
struct Inner<E> {
    heads: Heads,
    tallies: [Tally; FAN_OUT],
    children: [Option<Arc<Node<E>>>; FAN_OUT],
    fences: [Option<Arc<[u8]>>; FAN_OUT],
}

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a node is always behind an Arc, and both kinds are about 1 KiB")]
enum Node<E> {
    Leaf(Leaf<E>),
    Inner(Inner<E>),
}

/// A node that became two: the fence and the new right one.
type Split<E> = Option<(Arc<[u8]>, Arc<Node<E>>)>;

fn entry_at<E>(entries: &[Option<E>; FAN_OUT], at: usize) -> &E {
    entries[at].as_ref().expect("slots below len are taken")
}

impl<E: Entry> Leaf<E> {
    fn empty() -> Self {
        Self { heads: Heads::NONE, entries: [const { None }; FAN_OUT] }
    }

    fn search(&self, key: &[u8]) -> Result<usize, usize> {
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
    fn split(&mut self, ascending: bool, bounds: Bounds<'_>) -> (Arc<[u8]>, Self) {
        let at = if ascending { FAN_OUT - 1 } else { FAN_OUT / 2 };
        let mut right = Self::empty();
        for (to, from) in right.entries.iter_mut().zip(&mut self.entries[at..]) {
            *to = from.take();
        }
        right.heads.len = FAN_OUT - at;
        self.heads.len = at;
        let (low, high) = (entry_at(&self.entries, at - 1).key(), entry_at(&right.entries, 0).key());
        // The shortest key that is above `low` and not above `high`.
        let fence: Arc<[u8]> = Arc::from(&high[..shared_prefix(low, high) + 1]);
        let (left_bounds, right_bounds) = bounds.parted(&fence);
        self.rehead(left_bounds);
        right.rehead(right_bounds);
        (fence, right)
    }
}

impl<E: Entry> Inner<E> {
    fn empty() -> Self {
        Self {
            heads: Heads::NONE,
            tallies: [Tally::default(); FAN_OUT],
            children: [const { None }; FAN_OUT],
            fences: [const { None }; FAN_OUT],
        }
    }

    /// The child where `key` belongs. Heads hold the fences from 1 on.
    fn child_for(&self, key: &[u8]) -> usize {
        match self.heads.search(key, |i| fence_at(&self.fences, i + 1)) {
            Ok(i) => i + 1,
            Err(i) => i,
        }
    }

    fn len(&self) -> usize {
        self.heads.len + 1
    }

    fn child(&self, i: usize) -> &Arc<Node<E>> {
        self.children[i].as_ref().expect("slots below len are taken")
    }

    /// A child to be changed, with its bounds.
    fn child_mut<'a>(&'a mut self, i: usize, bounds: Bounds<'a>) -> (&'a mut Node<E>, Bounds<'a>) {
        let child = self.children[i].as_mut().expect("slots below len are taken");
        (Arc::make_mut(child), bounds.of_child(&self.fences, i))
    }

    fn rehead(&mut self, len: usize, bounds: Bounds<'_>) {
        self.heads = Heads::of(len - 1, bounds, |i| fence_at(&self.fences, i + 1));
    }

    fn insert(&mut self, at: usize, fence: Arc<[u8]>, child: Arc<Node<E>>, bounds: Bounds<'_>) {
        let len = self.len() + 1;
        self.tallies[at..len].rotate_right(1);
        self.children[at..len].rotate_right(1);
        self.fences[at..len].rotate_right(1);
        self.tallies[at] = child.tally();
        self.children[at] = Some(child);
        self.fences[at] = Some(fence);
        self.rehead(len, bounds);
    }

    /// Takes child `at`, which is not the first, out; what it held is with the one before.
    fn remove(&mut self, at: usize, bounds: Bounds<'_>) {
        let len = self.len();
        self.tallies[at..len].rotate_left(1);
        self.children[at..len].rotate_left(1);
        self.fences[at..len].rotate_left(1);
        self.children[len - 1] = None;
        self.fences[len - 1] = None;
        self.rehead(len - 1, bounds);
    }

    fn split(&mut self, ascending: bool, bounds: Bounds<'_>) -> (Arc<[u8]>, Self) {
        let at = if ascending { FAN_OUT - 1 } else { FAN_OUT / 2 };
        let mut right = Self::empty();
        for (to, from) in (at..FAN_OUT).enumerate() {
            right.tallies[to] = self.tallies[from];
            right.children[to] = self.children[from].take();
            right.fences[to] = self.fences[from].take();
        }
        let fence = right.fences[0].take().expect("every child but the first has a fence");
        let (left_bounds, right_bounds) = bounds.parted(&fence);
        right.rehead(FAN_OUT - at, right_bounds);
        self.rehead(at, left_bounds);
        (fence, right)
    }
}

fn fence_at(fences: &[Option<Arc<[u8]>>; FAN_OUT], at: usize) -> &[u8] {
    fences[at].as_ref().expect("every child but the first has a fence")
}

impl<E: Entry> Node<E> {
    fn tally(&self) -> Tally {
        match self {
            Self::Leaf(leaf) => Tally::of(&leaf.entries[..leaf.heads.len]),
            Self::Inner(inner) => Tally::sum(&inner.tallies[..inner.len()]),
        }
    }

    fn slots(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.heads.len,
            Self::Inner(inner) => inner.len(),
        }
    }

    /// Whether no entry is below: an empty leaf, or a chain of only children down to one.
    fn is_hollow(&self) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.heads.len == 0,
            Self::Inner(inner) => inner.len() == 1 && inner.child(0).is_hollow(),
        }
    }

    /// Lets `change` work on the entry at `key`. Returns what the tally above must learn and the split.
    fn put(
        &mut self,
        key: &[u8],
        bounds: Bounds<'_>,
        change: &mut dyn FnMut(Option<&mut E>) -> Option<E>,
    ) -> (Change, Split<E>) {
        match self {
            Self::Leaf(leaf) => put_in_leaf(leaf, key, bounds, change),
            Self::Inner(inner) => {
                let i = inner.child_for(key);
                let (child, child_bounds) = inner.child_mut(i, bounds);
                let (change, split) = child.put(key, child_bounds, change);
                let tally = &mut inner.tallies[i];
                tally.live = tally.live.checked_add_signed(change.live).expect("a tally counts what is there");
                tally.newest = tally.newest.max(change.stamp);
                let Some((fence, right)) = split else { return (change, None) };
                inner.tallies[i] = inner.child(i).tally();
                if inner.len() < FAN_OUT {
                    inner.insert(i + 1, fence, right, bounds);
                    return (change, None);
                }
                let (middle, mut other) = inner.split(i + 1 == FAN_OUT, bounds);
                let (left_bounds, right_bounds) = bounds.parted(&middle);
                let left_len = inner.len();
                if i < left_len {
                    inner.insert(i + 1, fence, right, left_bounds);
                } else {
                    other.insert(i + 1 - left_len, fence, right, right_bounds);
                }
                (change, Some((middle, Arc::new(Self::Inner(other)))))
            }
        }
    }

    fn remove(&mut self, key: &[u8], bounds: Bounds<'_>) -> Option<E> {
        match self {
            Self::Leaf(leaf) => {
                let at = leaf.search(key).ok()?;
                let len = leaf.heads.len;
                leaf.entries[at..len].rotate_left(1);
                leaf.heads.remove(at);
                leaf.entries[len - 1].take()
            }
            Self::Inner(inner) => {
                let i = inner.child_for(key);
                let (child, child_bounds) = inner.child_mut(i, bounds);
                let removed = child.remove(key, child_bounds)?;
                inner.tallies[i].live -= u64::from(removed.is_live());
                if i > 0 {
                    inner.merge_if_small(i - 1, bounds);
                } else if inner.len() > 1 {
                    inner.merge_if_small(i, bounds);
                }
                Some(removed)
            }
        }
    }
}

impl<E: Entry> Inner<E> {
    /// Makes children `i` and `i + 1` one where they fit.
    fn merge_if_small(&mut self, i: usize, bounds: Bounds<'_>) {
        let hollow = self.child(i).is_hollow() || self.child(i + 1).is_hollow();
        if self.child(i).slots() + self.child(i + 1).slots() > if hollow { FAN_OUT } else { MERGE_AT } {
            return;
        }
        let fence = self.fences[i + 1].clone().expect("every child but the first has a fence");
        let right = self.children[i + 1].clone().expect("slots below len are taken");
        let both =
            Bounds { low: bounds.of_child(&self.fences, i).low, high: bounds.of_child(&self.fences, i + 1).high };
        let left = Arc::make_mut(self.children[i].as_mut().expect("slots below len are taken"));
        match (left, &*right) {
            (Node::Leaf(left), Node::Leaf(right)) => {
                for entry in right.entries.iter().flatten() {
                    left.entries[left.heads.len] = Some(entry.clone());
                    left.heads.len += 1;
                }
                left.rehead(both);
            }
            (Node::Inner(left), Node::Inner(right)) => {
                let base = left.len();
                for from in 0..right.len() {
                    left.tallies[base + from] = right.tallies[from];
                    left.children[base + from] = right.children[from].clone();
                    left.fences[base + from] = right.fences[from].clone();
                }
                left.fences[base] = Some(fence);
                left.rehead(base + right.len(), both);
            }
            _ => unreachable!("all leaves are at one depth"),
        }
        self.remove(i + 1, bounds);
        self.tallies[i] = self.child(i).tally();
    }
}

/// What a put did to the counts.
struct Change {
    live: i64,
    stamp: i64,
    added: bool,
}

fn put_in_leaf<E: Entry>(
    leaf: &mut Leaf<E>,
    key: &[u8],
    bounds: Bounds<'_>,
    change: &mut dyn FnMut(Option<&mut E>) -> Option<E>,
) -> (Change, Split<E>) {
    let at = match leaf.search(key) {
        Ok(at) => {
            let entry = leaf.entries[at].as_mut().expect("slots below len are taken");
            let before = i64::from(entry.is_live());
            let replaced = change(Some(&mut *entry));
            assert!(replaced.is_none(), "an entry that is there is changed in place");
            debug_assert_eq!(entry.key(), key, "a key never changes");
            return (Change { live: i64::from(entry.is_live()) - before, stamp: entry.stamp(), added: false }, None);
        }
        Err(at) => at,
    };
    let Some(entry) = change(None) else {
        return (Change { live: 0, stamp: i64::MIN, added: false }, None);
    };
    debug_assert_eq!(entry.key(), key, "an entry is put under its own key");
    let done = Change { live: i64::from(entry.is_live()), stamp: entry.stamp(), added: true };
    if leaf.heads.len < FAN_OUT {
        leaf.insert(at, entry, bounds);
        return (done, None);
    }
    let (fence, mut right) = leaf.split(at == FAN_OUT, bounds);
    let (left_bounds, right_bounds) = bounds.parted(&fence);
    if key < &fence[..] {
        leaf.insert(at, entry, left_bounds);
    } else {
        right.insert(at - leaf.heads.len, entry, right_bounds);
    }
    (done, Some((fence, Arc::new(Node::Leaf(right)))))
}

/// A persistent ordered map; see the module's head.
#[derive(Clone, Debug)]
pub struct CountedTree<E> {
    root: Arc<Node<E>>,
    len: usize,
}

/// Which entries a walk visits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Visit {
    /// Those that are live now.
    Live,
    /// Those that are live now, and those that changed after this stamp.
    LiveOrNewerThan(i64),
    /// All.
    #[cfg(test)]
    All,
}

impl Visit {
    fn wants(self, tally: Tally) -> bool {
        match self {
            Self::Live => tally.live > 0,
            Self::LiveOrNewerThan(stamp) => tally.live > 0 || tally.newest > stamp,
            #[cfg(test)]
            Self::All => true,
        }
    }
}

impl<E: Entry> Default for CountedTree<E> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Leaf::empty())), len: 0 }
    }
}

impl<E: Entry> CountedTree<E> {
    /// Entries, live or not.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Live entries.
    pub fn live(&self) -> u64 {
        self.root.tally().live
    }

    /// The entry at `key`.
    pub fn get(&self, key: &[u8]) -> Option<&E> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(inner) => node = inner.child(inner.child_for(key)),
                Node::Leaf(leaf) => return leaf.search(key).ok().map(|at| entry_at(&leaf.entries, at)),
            }
        }
    }

    /// Calls `change` once: with the entry at `key`, which it may change in place (and must then return `None`),
    /// or with `None`, where what it returns is inserted.
    pub fn put(&mut self, key: &[u8], change: impl FnOnce(Option<&mut E>) -> Option<E>) {
        let mut change = Some(change);
        let mut once = |entry: Option<&mut E>| change.take().expect("a put reaches one leaf")(entry);
        let (done, split) = Arc::make_mut(&mut self.root).put(key, Bounds::NONE, &mut once);
        self.len += usize::from(done.added);
        if let Some((fence, right)) = split {
            let mut root = Inner::empty();
            root.tallies[0] = self.root.tally();
            root.children[0] = Some(self.root.clone());
            root.insert(1, fence, right, Bounds::NONE);
            self.root = Arc::new(Node::Inner(root));
        }
    }

    /// Takes the entry at `key` out.
    pub fn remove(&mut self, key: &[u8]) -> Option<E> {
        let removed = Arc::make_mut(&mut self.root).remove(key, Bounds::NONE)?;
        self.len -= 1;
        while let Node::Inner(root) = &*self.root
            && root.len() == 1
        {
            self.root = root.child(0).clone();
        }
        Some(removed)
    }

    /// Live entries in `range`.
    pub fn count(&self, range: &KeyRange) -> u64 {
        match &range.end {
            RangeEnd::Single => u64::from(self.get(&range.start).is_some_and(E::is_live)),
            _ if range.is_empty() => 0,
            RangeEnd::Before(end) => self.live_below(end) - self.live_below(&range.start),
            RangeEnd::Open => self.live() - self.live_below(&range.start),
        }
    }

    fn live_below(&self, key: &[u8]) -> u64 {
        let mut node = &*self.root;
        let mut below = 0;
        loop {
            match node {
                Node::Inner(inner) => {
                    let i = inner.child_for(key);
                    below += Tally::sum(&inner.tallies[..i]).live;
                    node = inner.child(i);
                }
                Node::Leaf(leaf) => {
                    let (Ok(at) | Err(at)) = leaf.search(key);
                    return below + Tally::of(&leaf.entries[..at]).live;
                }
            }
        }
    }

    /// Calls `on_entry` for the entries of `range` in key order that `visit` names (and perhaps others beside
    /// them), until it breaks. Where a whole subtree lies in the range, `on_subtree` is asked first with its
    /// live count and newest stamp: on `true` the subtree is taken as dealt with.
    pub fn walk<'t>(
        &'t self,
        range: &KeyRange,
        visit: Visit,
        on_subtree: &mut dyn FnMut(u64, i64) -> bool,
        on_entry: &mut dyn FnMut(&'t E) -> ControlFlow<()>,
    ) {
        if range.as_single().is_some() {
            if let Some(entry) = self.get(&range.start) {
                let _ = on_entry(entry);
            }
        } else if !range.is_empty() {
            let end = match &range.end {
                RangeEnd::Before(end) => Some(&end[..]),
                RangeEnd::Single | RangeEnd::Open => None,
            };
            let _ = Walk { visit, on_subtree, on_entry }.node(&self.root, Some(&range.start), end);
        }
    }
}

struct Walk<'w, 't, E> {
    visit: Visit,
    on_subtree: &'w mut dyn FnMut(u64, i64) -> bool,
    on_entry: &'w mut dyn FnMut(&'t E) -> ControlFlow<()>,
}

impl<'t, E: Entry> Walk<'_, 't, E> {
    /// Walks what of `node` lies in `[start, end)`; `None` says that the bound is outside of it.
    fn node(&mut self, node: &'t Node<E>, start: Option<&[u8]>, end: Option<&[u8]>) -> ControlFlow<()> {
        match node {
            Node::Leaf(leaf) => {
                let first = start.map_or(0, |key| leaf.search(key).unwrap_or_else(|at| at));
                let last = end.map_or(leaf.heads.len, |key| leaf.search(key).unwrap_or_else(|at| at));
                leaf.entries[first..last.max(first)].iter().flatten().try_for_each(|entry| (self.on_entry)(entry))
            }
            Node::Inner(inner) => {
                let first = start.map_or(0, |key| inner.child_for(key));
                let last = end.map_or(inner.len() - 1, |key| inner.child_for(key));
                for i in first..=last {
                    let (low, high) = (start.filter(|_| i == first), end.filter(|_| i == last));
                    let tally = inner.tallies[i];
                    let whole = low.is_none() && high.is_none();
                    if !self.visit.wants(tally) || whole && (self.on_subtree)(tally.live, tally.newest) {
                        continue;
                    }
                    self.node(inner.child(i), low, high)?;
                }
                ControlFlow::Continue(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
