//! The digests of the last compactions, as etcd keeps them: members that compacted at the same two revisions are held
//! against each other by them, whatever was written since.
//!
//! Invariants: the digest of a compaction is of the history up to its revision as it was before it, so it tells the compact
//! revision before; which it is does not depend on how far pruning and reclaim were. It is made from a hold on index and
//! table, taken when the compaction was decided: by a [`DigestJob`] beside the store, or by whoever asks earlier. Kept
//! are the [`KEPT_COMPACTION_DIGESTS`] of the highest revisions, in memory alone: a start begins without any, as etcd's.
//!
//! [`KEPT_COMPACTION_DIGESTS`]: limits::KEPT_COMPACTION_DIGESTS

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entry_digest::{self, HashKv};
use super::history::Table;
use super::key_index::KeyIndex;
use crate::base::{Wrong, limits};
use crate::env::Disk;

/// What a compaction's digest is made from.
pub(super) struct DigestSource<D: Disk> {
    pub(super) index: KeyIndex,
    pub(super) table: Arc<Table<D>>,
    /// The compact revision before.
    pub(super) before: i64,
    /// The revision compacted at.
    pub(super) revision: i64,
}

impl<D: Disk> DigestSource<D> {
    fn digest(&self) -> Result<HashKv, Wrong> {
        // etcd's rule for what it is about to delete: some change of the revision itself is always kept, so that its
        // exception for an empty rest never applies.
        let hash = entry_digest::digest(&self.table, self.revision, |record| {
            let (revision, tombstone) = (record.meta.revision, record.meta.is_tombstone());
            let is_old = revision.main <= self.before;
            let lives = || self.index.get(record.key).and_then(|node| node.visible_at(self.revision)) == Some(revision);
            !is_old || !tombstone && lives()
        })?;
        Ok(HashKv { hash, compact_revision: self.before, hash_revision: self.revision })
    }
}

/// One compaction.
enum Kept<D: Disk> {
    Due(Arc<DigestSource<D>>),
    Made(HashKv),
}

impl<D: Disk> Kept<D> {
    fn revision(&self) -> i64 {
        match self {
            Self::Due(source) => source.revision,
            Self::Made(digest) => digest.hash_revision,
        }
    }
}

/// The digests; see the module's head. Views share them with the store.
pub(super) struct CompactionDigests<D: Disk>(Mutex<Vec<Kept<D>>>);

impl<D: Disk> Default for CompactionDigests<D> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<D: Disk> CompactionDigests<D> {
    fn kept(&self) -> MutexGuard<'_, Vec<Kept<D>>> {
        // A panic is a bug that ends the process.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A compaction was decided. Their revisions ascend.
    pub(super) fn add(&self, source: DigestSource<D>) {
        let mut kept = self.kept();
        kept.push(Kept::Due(Arc::new(source)));
        if kept.len() > limits::KEPT_COMPACTION_DIGESTS {
            kept.remove(0);
        }
    }

    /// The digest of the compaction at `revision`, if it is kept; made here where it is still due.
    pub(super) fn at(&self, revision: i64) -> Result<Option<HashKv>, Wrong> {
        let source = match self.kept().iter().find(|kept| kept.revision() == revision) {
            None => return Ok(None),
            Some(Kept::Made(digest)) => return Ok(Some(*digest)),
            Some(Kept::Due(source)) => source.clone(),
        };
        self.make(&source).map(Some)
    }

    /// Those that are made, in order of revision.
    pub(super) fn made(&self) -> Vec<HashKv> {
        let made = |kept: &Kept<D>| match kept {
            Kept::Due(_) => None,
            Kept::Made(digest) => Some(*digest),
        };
        self.kept().iter().filter_map(made).collect()
    }

    /// The first that is due.
    fn due(&self) -> Option<Arc<DigestSource<D>>> {
        self.kept().iter().find_map(|kept| match kept {
            Kept::Due(source) => Some(source.clone()),
            Kept::Made(_) => None,
        })
    }

    /// Whether the digest of a compaction at or below `revision` is still to be made.
    pub(super) fn is_due(&self, revision: i64) -> bool {
        self.kept().iter().any(|kept| kept.revision() <= revision && matches!(kept, Kept::Due(_)))
    }

    fn make(&self, source: &Arc<DigestSource<D>>) -> Result<HashKv, Wrong> {
        let made = source.digest();
        let mut kept = self.kept();
        let at = kept.iter().position(|kept| matches!(kept, Kept::Due(due) if Arc::ptr_eq(due, source)));
        if let Some(at) = at {
            match &made {
                Ok(digest) => kept[at] = Kept::Made(*digest),
                // What cannot be read now is not tried again: the answer is then of what is left, as after a start.
                Err(_) => drop(kept.remove(at)),
            }
        }
        made
    }
}

/// The digest of one compaction, to be made. Holds all it needs, so it may run beside the store.
pub struct DigestJob<D: Disk> {
    source: Arc<DigestSource<D>>,
    digests: Arc<CompactionDigests<D>>,
}

impl<D: Disk> DigestJob<D> {
    pub(super) fn of(digests: &Arc<CompactionDigests<D>>) -> Option<Self> {
        Some(Self { source: digests.due()?, digests: digests.clone() })
    }

    /// Reads the history up to the compaction and leaves the digest where views find it. What cannot be read is
    /// told, and no digest is kept then.
    pub fn run(self) -> Result<(), Wrong> {
        self.digests.make(&self.source).map(drop)
    }
}
