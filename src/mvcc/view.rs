//! A reading point: the store as it was when the view was taken, for ever.
//!
//! Invariants: taking a view costs a few shared pointers; what it shows never changes. Only the watermark is
//! the store's present one: a read at an older revision is refused once that was compacted, as etcd does.
//! Readers take no lock that a writer waits for longer than the clone of a handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::compaction_digests::CompactionDigests;
use super::history::Table;
use super::key_index::{KeyIndex, KeyMeta};
use super::query::{Holds, Looks, RangeAnswer, RangeQuery, Weight};
use super::range_read::{ReadFailure, Reading};
use super::value_cache::ValueCache;
use crate::base::{Event, KeyRange, KeyValue, Wrong};
use crate::env::Disk;

/// A reading point; see the module's head.
pub struct View<D: Disk> {
    pub(super) index: KeyIndex,
    pub(super) table: Arc<Table<D>>,
    pub(super) cache: Arc<ValueCache>,
    pub(super) watermark: Arc<AtomicI64>,
    pub(super) digests: Arc<CompactionDigests<D>>,
    pub(super) revision: i64,
}

impl<D: Disk> Clone for View<D> {
    fn clone(&self) -> Self {
        Self {
            index: self.index.clone(),
            table: self.table.clone(),
            cache: self.cache.clone(),
            watermark: self.watermark.clone(),
            digests: self.digests.clone(),
            revision: self.revision,
        }
    }
}

impl<D: Disk> View<D> {
    pub(super) fn reading(&self) -> Reading<'_, D> {
        Reading {
            index: &self.index,
            table: &self.table,
            cache: &self.cache,
            watermark: self.compact_revision(),
            current: self.revision,
            own: &[],
            own_from: 0,
        }
    }

    /// Main revision of the newest change it shows.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The store's compact revision *now*; −1 is never.
    pub fn compact_revision(&self) -> i64 {
        self.watermark.load(Ordering::Acquire)
    }

    /// Answers a range read.
    pub fn range(&self, query: &RangeQuery) -> Result<RangeAnswer, ReadFailure> {
        self.range_within(query, &mut { usize::MAX })
    }

    /// What a range read may take.
    pub fn weight(&self, query: &RangeQuery) -> Weight {
        self.reading().weight(query)
    }

    /// As [`Self::range`], refused where the rows take more than `room` in memory; what they take is taken off it.
    pub fn range_within(&self, query: &RangeQuery, room: &mut usize) -> Result<RangeAnswer, ReadFailure> {
        self.reading().range(query, room)
    }

    /// Whether `holds` says so of every alive key of `range`, as far as `looks` go; values are left out unless wanted.
    pub fn all(
        &self,
        range: &KeyRange,
        with_values: bool,
        looks: &mut Looks,
        holds: &mut dyn FnMut(&KeyValue) -> bool,
    ) -> Result<Holds, Wrong> {
        self.reading().all(range, with_values, looks, holds)
    }

    /// A key with its value.
    pub fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Wrong> {
        self.reading().get(key)
    }

    /// What is known of an alive key without its value.
    pub fn meta(&self, key: &[u8]) -> Option<KeyMeta> {
        self.index.get(key).map(|node| node.latest()).filter(|meta| !meta.is_tombstone())
    }

    /// Alive keys of a range.
    pub fn count(&self, range: &KeyRange) -> u64 {
        self.index.count(range)
    }

    /// What a change that it shows replaced, where that is not compacted.
    pub fn before(&self, change: &Event) -> Result<Option<KeyValue>, Wrong> {
        let main = change.kv.mod_revision;
        if change.kv.version == 1 || main <= self.compact_revision() {
            return Ok(None);
        }
        self.reading().get_at(&change.kv.key, main - 1)
    }
}
