//! How far the index is pruned of what was compacted: what a store keeps between two slices of a pass.

use super::history::Scan;
use crate::env::Disk;

/// How far pruning is.
pub(super) struct Pruning<D: Disk> {
    /// Everything that was compacted up to here is pruned.
    pub(super) done: i64,
    /// The pass under way: its walk and the watermark it prunes to.
    pub(super) pass: Option<(Scan<D>, i64)>,
    /// Bytes of keys and values that the last slice read.
    pub(super) read: usize,
    /// What it did.
    pub(super) slice: Pruned,
}

/// What one slice of pruning did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pruned {
    /// Whether there was anything to look at.
    pub worked: bool,
    /// Whether a pass began in it.
    pub began: bool,
    /// Changes of keys that it took out of the index.
    pub changes: u64,
    /// Passes that it ended.
    pub ended: u64,
}

impl<D: Disk> Pruning<D> {
    /// Pruned up to the watermark `done`.
    pub(super) fn new(done: i64) -> Self {
        Self { done, pass: None, read: 0, slice: Pruned::default() }
    }
}
