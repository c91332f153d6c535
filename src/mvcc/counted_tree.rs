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
//! node's bounds only ever grow together with a merge, which makes its heads anew. Deletion merges neighbours
//! that fit in one node and never borrows, so depth is bounded by the largest size the tree had.
//!
//! Does not know what the entries are.

use std::ops::ControlFlow;

use crate::base::{KeyRange, RangeEnd};

mod bulk;
mod entry;
mod heads;
mod nodes;

pub use entry::Entry;
use heads::Bounds;
pub use heads::{head_of, shared_prefix};
use nodes::{Fork, Leaf, Node, Tally};

/// A persistent ordered map; see the module's head.
#[derive(Clone, Debug)]
pub struct CountedTree<E> {
    root: Node<E>,
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
        Self { root: Node::from(Leaf::empty()), len: 0 }
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
        let mut node = &self.root;
        loop {
            match node {
                Node::Fork(inner) => node = inner.child(inner.child_for(key)),
                Node::Leaf(leaf) => return leaf.search(key).ok().map(|at| leaf.entry(at)),
            }
        }
    }

    /// Calls `change` once: with the entry at `key`, which it may change in place (and must then return `None`),
    /// or with `None`, where what it returns is inserted.
    pub fn put(&mut self, key: &[u8], change: impl FnOnce(Option<&mut E>) -> Option<E>) {
        let mut change = Some(change);
        let mut once = |entry: Option<&mut E>| change.take().expect("a put reaches one leaf")(entry);
        let (done, split) = self.root.put(key, Bounds::NONE, &mut once);
        self.len += usize::from(done.added);
        if let Some((fence, right)) = split {
            let mut root = Fork::of_one(self.root.clone());
            root.insert(1, fence, right, Bounds::NONE);
            self.root = Node::from(root);
        }
    }

    /// Takes the entry at `key` out.
    pub fn remove(&mut self, key: &[u8]) -> Option<E> {
        let removed = self.root.remove(key, Bounds::NONE)?;
        self.len -= 1;
        while let Node::Fork(root) = &self.root
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
        let mut node = &self.root;
        let mut below = 0;
        loop {
            match node {
                Node::Fork(inner) => {
                    let i = inner.child_for(key);
                    below += Tally::sum(&inner.tallies()[..i]).live;
                    node = inner.child(i);
                }
                Node::Leaf(leaf) => {
                    let (Ok(at) | Err(at)) = leaf.search(key);
                    return below + Tally::of(&leaf.entries()[..at]).live;
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
                let last = end.map_or(leaf.len(), |key| leaf.search(key).unwrap_or_else(|at| at));
                leaf.entries()[first..last.max(first)].iter().flatten().try_for_each(|entry| (self.on_entry)(entry))
            }
            Node::Fork(inner) => {
                let first = start.map_or(0, |key| inner.child_for(key));
                let last = end.map_or(inner.len() - 1, |key| inner.child_for(key));
                for i in first..=last {
                    let (low, high) = (start.filter(|_| i == first), end.filter(|_| i == last));
                    let tally = inner.tallies()[i];
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
