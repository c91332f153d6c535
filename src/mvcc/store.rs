//! The store: one writer's hold of index, history and cache.
//!
//! Invariants: `compact_revision <= revision`; the index holds exactly the revisions the keep rule keeps, apart
//! from those a pending compaction still has to take; the history holds at least those. All of it follows from
//! the sequence of calls alone: no time, no randomness, no disk (reads of values apart).

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::Bytes;

use super::compaction_digests::{CompactionDigests, DigestJob};
use super::counted_tree::Visit;
use super::history::History;
use super::history_write::{HistoryWrite, WriteMark};
use super::key_index::KeyIndex;
use super::position::StorePosition;
use super::pruning::Pruning;
use super::range_read::Reading;
use super::retained::Retained;
use super::segment::Segment;
use super::snapshot_source::SnapshotSource;
use super::value_cache::ValueCache;
use super::view::View;
use crate::base::{Corruption, Event, KeyRange, LeaseId, Revision, limits};
use crate::env::Disk;

/// How a store is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreOptions {
    /// Bytes of current values kept in memory.
    pub cache_bytes: usize,
    /// Bytes at which a history segment is sealed.
    pub segment_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { cache_bytes: limits::DEFAULT_VALUE_CACHE_BYTES, segment_bytes: limits::HISTORY_SEGMENT_BYTES }
    }
}

/// What the store showed while transactions were paused; nobody needs it any more. Dropping it takes time in proportion to what
/// those transactions changed.
pub struct Outdated(pub(super) Vec<KeyIndex>);

impl Outdated {
    /// Of how many transactions.
    #[allow(clippy::len_without_is_empty, reason = "there is none of no transaction")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// The store; see the module's head.
pub struct Store<D: Disk> {
    pub(super) index: KeyIndex,
    pub(super) history: History<D>,
    pub(super) cache: Arc<ValueCache>,
    pub(super) watermark: Arc<AtomicI64>,
    pub(super) digests: Arc<CompactionDigests<D>>,
    /// Whether the digests of compactions are kept.
    pub(super) keeps_digests: bool,
    pub(super) revision: i64,
    pub(super) pruning: Pruning<D>,
    /// Segments that were replaced and whose files are still there.
    pub(super) replaced: Vec<Arc<Segment<D>>>,
    /// Outlines that could not be used at the start.
    pub(super) unusable_outlines: Vec<Corruption>,
    /// Tells the reclaim that is under way to end without a result.
    pub(super) reclaim_given_up: Arc<AtomicBool>,
    /// What everybody but the write transaction under way sees, where it may be paused: the index as it was before.
    pub(super) shown: Option<KeyIndex>,
    /// What was shown before, until somebody takes it to drop it.
    pub(super) outdated: Vec<KeyIndex>,
    /// A write transaction was dropped half done.
    pub(super) torn: bool,
    /// Whether a key may hang on a lease.
    pub(super) has_leases: bool,
}

impl<D: Disk> Store<D> {
    pub(super) fn reading<'a>(&'a self, current: i64, own: &'a [Event]) -> Reading<'a, D> {
        Reading {
            index: &self.index,
            table: self.history.table(),
            cache: &self.cache,
            watermark: self.compact_revision(),
            current,
            own,
            own_from: 0,
        }
    }

    /// The index as everybody sees it who is not the write transaction under way.
    pub(super) fn shown(&self) -> &KeyIndex {
        self.shown.as_ref().unwrap_or(&self.index)
    }

    /// The store as it is now, for reading.
    pub fn view(&self) -> View<D> {
        View {
            index: self.shown().clone(),
            table: self.history.table().clone(),
            cache: self.cache.clone(),
            watermark: self.watermark.clone(),
            digests: self.digests.clone(),
            revision: self.revision,
        }
    }

    /// Main revision of the newest change; 1 in a fresh store.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Reads below are refused; −1 when nothing was ever compacted.
    pub fn compact_revision(&self) -> i64 {
        self.watermark.load(Ordering::Acquire)
    }

    /// Whether the digests of compactions to come are kept: not while a start goes over what an earlier life did.
    pub fn keep_digests(&mut self, keep: bool) {
        self.keeps_digests = keep;
    }

    /// A digest of a compaction that is due, if one is. One job at a time.
    pub fn digest_job(&self) -> Option<DigestJob<D>> {
        DigestJob::of(&self.digests)
    }

    /// Whether everything that the compactions up to `revision` ask for is done: the index is pruned and their digests
    /// are made.
    pub fn has_compacted(&self, revision: i64) -> bool {
        self.pruning.done >= revision && !self.digests.is_due(revision)
    }

    /// Every living key that hangs on a lease, in key order: what boot builds the lease table's attachments from.
    pub fn leased_keys(&self) -> Vec<(Bytes, LeaseId)> {
        let mut found = Vec::new();
        if !self.has_leases {
            return found;
        }
        self.index.walk(&KeyRange::all(), Visit::Live, &mut |_, _| false, &mut |node| {
            let latest = node.latest();
            if latest.lease != 0 && !latest.is_tombstone() {
                found.push((Bytes::copy_from_slice(node.key()), latest.lease));
            }
            ControlFlow::Continue(())
        });
        found
    }

    /// Where the store stands, for a checkpoint. It is good once everything that [`Self::take_writes`] hands
    /// out after this call is durable.
    pub fn position(&self) -> StorePosition {
        assert!(self.shown.is_none(), "a position is of whole transactions");
        StorePosition {
            revision: self.revision,
            compact_revision: self.compact_revision(),
            segments: self.history.marks(),
        }
    }

    /// To be called before the writes that a checkpoint waits for are taken: what is appended afterwards touches no
    /// sector that the checkpoint promises.
    pub fn pad(&mut self) {
        assert!(self.shown.is_none(), "a sector is filled between transactions");
        self.history.pad();
    }

    /// A generation of the history that nothing on the disk belongs to: for a [`super::SnapshotBuilder`].
    pub fn fresh_generation(&mut self) -> u64 {
        self.history.fresh_generation()
    }

    /// The whole state as it is now, to be sent to another member. `id` tells this snapshot from others, `state` is
    /// what belongs to it beside the data; a chunk has about `chunk_bytes`.
    pub fn snapshot(&self, id: u64, state: Bytes, chunk_bytes: usize) -> SnapshotSource<D> {
        SnapshotSource::new(self.view(), self.compact_revision(), id, state, chunk_bytes)
    }

    /// Everything that can be read now, to be written down elsewhere.
    pub fn retained(&self) -> Retained<D> {
        Retained::new(self.view(), self.compact_revision(), Revision::new(0, 0))
    }

    /// What is to be written to the disk, in order. Each byte is handed out once. Of a transaction that is under way it may be a
    /// part: what lies behind the last [position](Self::position) is cut at a start, whatever it is.
    pub fn take_writes(&mut self) -> Vec<HistoryWrite> {
        self.history.take_writes()
    }

    /// The files hold everything up to `upto`: memory lets go of it.
    pub fn written(&mut self, upto: WriteMark) {
        self.history.written(upto);
    }

    /// Bytes held in memory because the files do not have them yet.
    pub fn unwritten_bytes(&self) -> usize {
        self.history.unwritten()
    }

    /// Bytes of these that [`Self::take_writes`] would hand out.
    pub fn gathered_bytes(&self) -> usize {
        self.history.gathered()
    }

    /// Bytes of the history.
    pub fn size_bytes(&self) -> u64 {
        self.history.size()
    }

    /// Bytes of all files: the history, its outlines, and what was replaced and is still there.
    pub fn disk_bytes(&self) -> u64 {
        self.history.size() + self.history.outline_bytes() + self.replaced_bytes()
    }

    /// Bytes of the history that can still be read.
    pub fn in_use_bytes(&self) -> u64 {
        self.history.in_use()
    }

    /// Alive keys.
    pub fn key_count(&self) -> u64 {
        self.shown().live()
    }
}
