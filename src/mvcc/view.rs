//! A reading point: the store as it was when the view was taken, for ever.
//!
//! Invariants: taking a view costs a few shared pointers; what it shows never changes. Only the watermark is
//! the store's present one: a read at an older revision is refused once that was compacted, as etcd does.
//! Readers take no lock that a writer waits for longer than the clone of a handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::compaction_digests::CompactionDigests;
use super::history::{SCAN_WINDOW, Table};
use super::key_index::{KeyIndex, KeyMeta};
use super::query::{RangeAnswer, RangeQuery};
use super::range_read::{ReadFailure, Reading};
use super::value_cache::ValueCache;
use crate::base::{Event, EventKind, KeyRange, KeyValue, Refusal, Wrong};
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

/// A turn of catching up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatchUp {
    /// The changes asked for, in order, of whole revisions.
    pub events: Vec<Event>,
    /// The first main revision that was not looked at.
    pub next: i64,
    /// Bytes of history that were looked at, matching or not, and of what was there before: what the turn cost.
    pub read: usize,
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

    /// As [`Self::range`], refused where the rows take more than `room` in memory; what they take is taken off it.
    pub fn range_within(&self, query: &RangeQuery, room: &mut usize) -> Result<RangeAnswer, ReadFailure> {
        self.reading().range(query, room)
    }

    /// Whether `holds` says so of every alive key of `range`, values left out unless wanted; nothing of a range without one.
    pub fn all(
        &self,
        range: &KeyRange,
        with_values: bool,
        holds: &mut dyn FnMut(&KeyValue) -> bool,
    ) -> Result<Option<bool>, Wrong> {
        self.reading().all(range, with_values, holds)
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

    /// The changes of main revisions `from` to `to` (at most the view's own) whose key passes `wanted`. Stops
    /// at the end of a revision once `byte_budget` bytes of history were read or `max_revisions` revisions had
    /// changes; at least one revision is looked at, so a caller that goes on at `next` arrives. With
    /// `with_prev` every change tells what it replaced, where that is not compacted.
    pub fn events(
        &self,
        from: i64,
        to: i64,
        wanted: &dyn Fn(&[u8]) -> bool,
        with_prev: bool,
        byte_budget: usize,
        max_revisions: usize,
    ) -> Result<CatchUp, ReadFailure> {
        let watermark = self.compact_revision();
        if from < watermark {
            return Err(Refusal::Compacted.into());
        }
        let to = to.min(self.revision);
        let reading = self.reading();
        let mut scan = self.table.scan(from, to, SCAN_WINDOW.min(byte_budget.max(1)));
        let (mut events, mut bytes, mut revisions, mut counted) = (Vec::new(), 0, 0, 0);
        let mut next = from;
        while let Some(record) = scan.next()? {
            let main = record.meta.revision.main;
            if main >= next {
                if main > from && (bytes >= byte_budget || revisions >= max_revisions) {
                    return Ok(CatchUp { events, next: main, read: bytes });
                }
                next = main + 1;
            }
            bytes += record.key.len() + record.value.len() + size_of::<Event>();
            if !wanted(&record.key) {
                continue;
            }
            if counted != main {
                counted = main;
                revisions += 1;
            }
            let kind = if record.meta.is_tombstone() { EventKind::Delete } else { EventKind::Put };
            let has_prev = with_prev && record.meta.version != 1 && main > watermark;
            let prev_kv = if has_prev { reading.get_at(&record.key, main - 1)? } else { None };
            bytes += prev_kv.as_ref().map_or(0, |prev| prev.key.len() + prev.value.len());
            events.push(Event { kind, kv: record.into_key_value(), prev_kv });
        }
        Ok(CatchUp { events, next: next.max(to + 1), read: bytes })
    }
}
