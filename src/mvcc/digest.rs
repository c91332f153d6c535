//! Digests: what etcd's `HashKV` and `Hash` answer, so that members can be held against each other.
//!
//! Invariant: the digest follows from what clients could read alone. It does not depend on how far a compaction
//! was pruned, nor on what reclaim rewrote; [`View::hash_kv`] is etcd's number for the same changes.

use std::ops::ControlFlow;

use super::counted_tree::Visit;
use super::entry_digest::{BUCKET, HashKv, digest};
use super::key_index::{KeyIndex, KeyMeta};
use super::range_read::ReadFailure;
use super::view::View;
use crate::base::{KeyRange, Refusal};
use crate::env::Disk;

/// Which records count for a digest.
pub(super) struct Counting {
    compacted: i64,
    /// Of what is compacted counts what is alive at this revision.
    alive_at: i64,
}

impl Counting {
    /// For the digest at `at` of a store that is compacted at `compacted`.
    pub(super) fn new(index: &KeyIndex, compacted: i64, at: i64) -> Self {
        // etcd counts, of what is compacted, only what is alive at the revision; unless nothing is.
        let alive_at = if any_alive(index, at, compacted) { at } else { compacted };
        Self { compacted, alive_at }
    }

    /// Whether a record does.
    pub(super) fn counts(&self, index: &KeyIndex, key: &[u8], meta: &KeyMeta) -> bool {
        if meta.revision.main > self.compacted {
            return true;
        }
        let Some(node) = index.get(key) else { return false };
        !meta.is_tombstone() && node.visible_at(self.alive_at) == Some(meta.revision)
    }
}

/// Whether etcd finds a key alive at `at`. It overlooks a key that was deleted and put again in that very
/// revision: it takes the tombstone for the newest change. At the compact revision itself it is not asked
/// for, because a pruned index does not hold that tombstone any more.
fn any_alive(index: &KeyIndex, at: i64, compacted: i64) -> bool {
    let mut found = false;
    index.walk(&KeyRange::all(), Visit::LiveOrNewerThan(at), &mut |_, _| false, &mut |node| {
        let Some(revision) = node.visible_at(at) else { return ControlFlow::Continue(()) };
        found = revision.main < at || at == compacted || !node.died_in(at);
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    found
}

impl<D: Disk> View<D> {
    /// etcd's digest of the changes up to `revision`; 0 is the view's own, and below 0 there are none. Members
    /// that agree on the compact revision must agree on it. At the revision of one of the last compactions of this life
    /// it is the one made by the compaction, with the compact revision before it, as in etcd.
    pub fn hash_kv(&self, revision: i64) -> Result<HashKv, ReadFailure> {
        if let Some(kept) = self.digests.at(revision)? {
            return Ok(kept);
        }
        self.fresh_hash_kv(revision)
    }

    /// As [`Self::hash_kv`], made anew whatever compactions made before: it follows from the data and the compact revision
    /// alone, however a member came to them.
    pub fn fresh_hash_kv(&self, revision: i64) -> Result<HashKv, ReadFailure> {
        let compacted = self.compact_revision();
        if revision < 0 {
            // Never refused, however much is compacted: an etcd quirk.
            let hash = crc32c::crc32c(BUCKET);
            return Ok(HashKv { hash, compact_revision: compacted, hash_revision: revision });
        }
        let at = if revision == 0 { self.revision } else { revision };
        if at < compacted {
            return Err(Refusal::Compacted.into());
        }
        if at > self.revision {
            return Err(Refusal::FutureRevision.into());
        }
        let counting = Counting::new(&self.index, compacted, at);
        let hash = digest(&self.table, at, |record| counting.counts(&self.index, record.key, &record.meta))?;
        Ok(HashKv { hash, compact_revision: compacted, hash_revision: at })
    }

    /// A digest of everything that can be read now at any revision.
    pub fn hash(&self) -> Result<u32, ReadFailure> {
        let compacted = self.compact_revision();
        let digest = digest(&self.table, self.revision, |record| {
            let revision = record.meta.revision;
            revision.main >= compacted
                || self.index.get(record.key).and_then(|node| node.visible_at(compacted)) == Some(revision)
        })?;
        Ok(crc32c::crc32c_append(digest, &compacted.to_be_bytes()))
    }

    /// The digests of the last compactions of this life, in order of revision; those not made yet are left out. Members
    /// that compacted at the same two revisions must agree on them.
    pub fn compaction_digests(&self) -> Vec<HashKv> {
        self.digests.made()
    }
}
