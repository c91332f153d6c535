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
}

impl<D: Disk> Pruning<D> {
    /// Pruned up to the watermark `done`.
    pub(super) fn new(done: i64) -> Self {
        Self { done, pass: None, read: 0 }
    }
}
