//! Building a tree from entries that are sorted already: level by level from the leaves up, without a search.
//!
//! Invariant: the tree is one that puts could have made. Nodes are not filled to the brim, so that the first
//! puts afterwards do not split every one of them.

use std::collections::VecDeque;

use super::heads::{Bounds, FAN_OUT, Fence};
use super::nodes::{Fork, Leaf, Node, fence_between};
use super::{CountedTree, Entry};

/// Slots taken in a node that is built here.
const FILL: usize = FAN_OUT * 15 / 16;

impl<E: Entry> CountedTree<E> {
    /// The tree of these entries, whose keys ascend.
    pub fn from_ascending(entries: impl IntoIterator<Item = E>) -> Self {
        let mut entries = entries.into_iter().peekable();
        let mut len = 0;
        let mut low: Option<Fence> = None;
        let mut level = VecDeque::new();
        while entries.peek().is_some() {
            let taken: Vec<E> = entries.by_ref().take(FILL).collect();
            assert!(taken.is_sorted_by(|a, b| a.key() < b.key()), "a tree is built from keys that ascend");
            len += taken.len();
            let last = taken[taken.len() - 1].key();
            let high = entries.peek().map(|next| {
                assert!(last < next.key(), "a tree is built from keys that ascend");
                fence_between(last, next.key())
            });
            let leaf = Leaf::of(taken, Bounds { low: low.as_deref(), high: high.as_deref() });
            level.push_back((low, Node::from(leaf)));
            low = high;
        }
        while level.len() > 1 {
            level = level_above(level);
        }
        match level.pop_front() {
            Some((_, root)) => Self { root, len },
            None => Self::default(),
        }
    }
}

/// Nodes of one level, each with the fence before it; none before the first.
type Level<E> = VecDeque<(Option<Fence>, Node<E>)>;

fn level_above<E: Entry>(mut below: Level<E>) -> Level<E> {
    let mut above = VecDeque::with_capacity(below.len().div_ceil(FILL));
    while let Some((low, first)) = below.pop_front() {
        let more: Vec<(Fence, Node<E>)> = below
            .drain(..below.len().min(FILL - 1))
            .map(|(fence, node)| (fence.expect("only the first node of a level has no fence"), node))
            .collect();
        let high = below.front().and_then(|(fence, _)| fence.clone());
        let inner = Fork::of(first, more, Bounds { low: low.as_deref(), high: high.as_deref() });
        above.push_back((low, Node::from(inner)));
    }
    above
}
