//! Compaction: the watermark rises at once, the index is pruned afterwards in slices.
//!
//! Invariants: reads below the watermark are refused from the call on. A key has something to prune only if one
//! of its revisions lies between the old and the new watermark, so walking that piece of history finds every
//! such key: the cost follows what was compacted. The old watermark itself is walked again, because a tombstone
//! exactly on it was kept. A pass that was cut short by a restart is not resumed: boot prunes while it builds.
//!
//! Does not know of files: reclaim frees their space.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::compaction_digests::DigestSource;
use super::history::SCAN_WINDOW;
use super::pruning::Pruned;
use super::store::Store;
use crate::base::{Refusal, Wrong, limits};
use crate::env::Disk;

impl<D: Disk> Store<D> {
    /// Forgets what only reads below `revision` could see.
    pub fn compact(&mut self, revision: i64) -> Result<(), Refusal> {
        if revision <= self.compact_revision() {
            return Err(Refusal::Compacted);
        }
        if revision > self.revision {
            return Err(Refusal::FutureRevision);
        }
        if self.keeps_digests {
            let (index, table) = (self.index.clone(), self.history.table().clone());
            self.digests.add(DigestSource { index, table, before: self.compact_revision(), revision });
        }
        self.watermark.store(revision, Ordering::Release);
        Ok(())
    }

    /// Prunes, looking at no more than `budget` changes, and no more once it has read [`limits::COMPACTION_SLICE_BYTES`].
    /// Returns whether there is more to do.
    pub fn compaction_step(&mut self, budget: usize) -> Result<bool, Wrong> {
        (self.pruning.read, self.pruning.slice) = (0, Pruned::default());
        for _ in 0..budget {
            if self.pruning.read >= limits::COMPACTION_SLICE_BYTES {
                break;
            }
            let watermark = self.compact_revision();
            if self.pruning.pass.is_none() {
                if self.pruning.done >= watermark {
                    return Ok(false);
                }
                let scan = self.history.table().scan(self.pruning.done, watermark, SCAN_WINDOW);
                self.pruning.pass = Some((scan, watermark));
                self.pruning.slice.began = true;
            }
            self.pruning.slice.worked = true;
            let (scan, goal) = self.pruning.pass.as_mut().expect("it was just made");
            match scan.next()? {
                Some(record) => {
                    self.pruning.read += record.key.len() + record.value.len();
                    self.prune_key(&record.key, watermark);
                }
                None => {
                    self.pruning.done = *goal;
                    self.pruning.pass = None;
                    self.pruning.slice.ended += 1;
                }
            }
        }
        Ok(self.pruning.pass.is_some() || self.pruning.done < self.compact_revision())
    }

    /// Bytes of keys and values that the last step read.
    pub fn compaction_read(&self) -> usize {
        self.pruning.read
    }

    /// What the last step did.
    pub fn pruned(&self) -> Pruned {
        self.pruning.slice
    }

    /// Whether a compaction is not pruned yet.
    pub fn is_pruning(&self) -> bool {
        self.pruning.pass.is_some() || self.pruning.done < self.compact_revision()
    }

    fn prune_key(&mut self, key: &[u8], watermark: i64) {
        let (history, taken, mut gone) = (&mut self.history, &mut self.pruning.slice.changes, false);
        self.index.put(key, |found| {
            if let Some(node) = found
                && node.has_prunable(watermark)
            {
                gone = Arc::make_mut(node).prune(watermark, |mark| {
                    *taken += 1;
                    history.bury(mark);
                });
            }
            None
        });
        if gone {
            self.index.remove(key);
        }
    }
}
