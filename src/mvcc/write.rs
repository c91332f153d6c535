//! The write transaction: changes of one revision, made one after the other.
//!
//! Invariants: the revision is used only if something changed; sub-revisions count from 0 in the order of the
//! changes; the transaction sees its own changes, nobody else does before [`WriteTxn::commit`]. A change that
//! cannot be read back from a failing disk is not made: what can fail comes first.
//!
//! A transaction that changed something and is dropped leaves the store half written: the store then refuses
//! to go on (an assertion), because no caller can carry out half a log entry.

use std::sync::Arc;

use bytes::Bytes;

use super::counted_tree::Entry;
use super::key_index::{KeyMeta, KeyNode, NO_SLOT};
use super::later::{CommittedTable, LaterRange, PutOff};
use super::query::{RangeAnswer, RangeQuery};
use super::range_read::{ReadFailure, Reading};
use super::record::Record;
use super::store::Store;
use super::value_cache::unpinned;
use crate::base::{Event, EventKind, KeyRange, KeyValue, LeaseId, Revision, Wrong};
use crate::env::Disk;

/// A value to be put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewValue {
    /// The key; never empty.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The lease, or 0.
    pub lease: LeaseId,
    /// Size of the buffer that `value` is a slice of: a small part of a large buffer is copied rather than kept.
    pub backing_bytes: usize,
}

/// Of which keys a change tells the value it replaced.
pub type WantsPrev<'a> = &'a dyn Fn(&[u8]) -> bool;

/// Of none.
pub const NO_PREV: WantsPrev<'static> = &|_| false;

/// A write transaction; see the module's head.
pub struct WriteTxn<'a, D: Disk> {
    store: &'a mut Store<D>,
    wants_prev: WantsPrev<'a>,
    events: Vec<Event>,
    /// For the reads that were put off.
    committed: Option<CommittedTable<D>>,
}

impl<D: Disk> Store<D> {
    /// Begins a write transaction. Its changes tell the values they replaced of the keys that `wants_prev` names.
    pub fn begin<'a>(&'a mut self, wants_prev: WantsPrev<'a>) -> WriteTxn<'a, D> {
        WriteTxn::new(self, wants_prev)
    }
}

impl<'a, D: Disk> WriteTxn<'a, D> {
    fn new(store: &'a mut Store<D>, wants_prev: WantsPrev<'a>) -> Self {
        assert!(!store.torn, "a write transaction was dropped half done");
        Self { store, wants_prev, events: Vec::new(), committed: None }
    }

    fn reading(&self) -> Reading<'_, D> {
        self.store.reading(self.revision(), &self.events)
    }

    /// Whether something changed so far.
    pub fn changed(&self) -> bool {
        !self.events.is_empty()
    }

    /// Reads below are refused; −1 when nothing was ever compacted.
    pub fn compact_revision(&self) -> i64 {
        self.store.compact_revision()
    }

    /// The revision a response header shows: the next one as soon as something changed.
    pub fn revision(&self) -> i64 {
        self.store.revision + i64::from(self.changed())
    }

    /// A key with its value.
    pub fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Wrong> {
        self.reading().get(key)
    }

    /// What is known of an alive key without its value.
    pub fn meta(&self, key: &[u8]) -> Option<KeyMeta> {
        self.store.index.get(key).map(|node| node.latest()).filter(|meta| !meta.is_tombstone())
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

    /// Whether a read of one key, or of a count, takes nothing from the history's files.
    pub fn is_at_hand(&self, query: &RangeQuery) -> bool {
        self.reading().is_at_hand(query)
    }

    /// Answers a range read, own changes included, where nothing need be read for it.
    pub fn range_at_hand(&self, query: &RangeQuery) -> Option<Result<RangeAnswer, ReadFailure>> {
        let reading = self.reading();
        reading.is_at_hand(query).then(|| reading.range(query, &mut { usize::MAX }))
    }

    /// A range read as of now, own changes included, to be carried out after the transaction is committed.
    pub fn range_later(&mut self, query: RangeQuery) -> LaterRange {
        LaterRange::new(PutOff {
            query,
            index: self.store.index.clone(),
            cache: self.store.cache.clone(),
            table: self.committed.get_or_insert_default().clone(),
            watermark: self.compact_revision(),
            current: self.revision(),
        })
    }

    fn next_revision(&self) -> Revision {
        let sub = u32::try_from(self.events.len()).expect("a transaction changes fewer than 2^32 keys");
        Revision::new(self.store.revision + 1, sub)
    }

    /// The value a change replaces, where it is wanted.
    fn value_before(&self, node: &KeyNode, is_wanted: bool) -> Result<Bytes, Wrong> {
        if is_wanted { self.reading().value_of(node) } else { Ok(Bytes::new()) }
    }

    /// What the event of a delete tells of the past: what the key held before this revision, which is not
    /// `prev` where the transaction itself put the key.
    fn told_before(&self, node: &KeyNode, prev: &KeyValue, is_wanted: bool) -> Result<Option<KeyValue>, Wrong> {
        if !is_wanted {
            Ok(None)
        } else if node.latest().revision.main > self.store.revision {
            self.reading().get_at(node.key(), self.store.revision)
        } else {
            Ok(Some(prev.clone()))
        }
    }

    /// Writes a key. Returns what it held before, the value only if that is wanted.
    pub fn put(&mut self, put: NewValue) -> Result<Option<KeyValue>, Wrong> {
        let NewValue { key, value, lease, backing_bytes } = put;
        assert!(!key.is_empty(), "an empty key is refused before the store");
        let is_wanted = (self.wants_prev)(&key);
        let old_value = match self.store.index.get(&key).filter(|_| is_wanted) {
            Some(node) if node.is_live() => self.value_before(node, is_wanted)?,
            _ => Bytes::new(),
        };
        let revision = self.next_revision();
        let (key, value) = (unpinned(key, backing_bytes), unpinned(value, backing_bytes));
        let (mut prev, mut meta) = (None, KeyMeta { create_revision: revision.main, revision, version: 1, lease });
        let Store { index, cache, has_leases, .. } = &mut *self.store;
        *has_leases |= lease != 0;
        index.put(&key, |found| {
            let Some(node) = found else {
                let node = KeyNode::new(&key, meta);
                node.set_slot(cache.replace(NO_SLOT, Revision::default(), revision, value.clone()));
                return Some(Arc::new(node));
            };
            if node.is_live() {
                let before = KeyValue { value: old_value, ..node.bare(key.clone()) };
                (meta.create_revision, meta.version) = (before.create_revision, before.version + 1);
                prev = Some(before);
            }
            let slot = cache.replace(node.slot(), node.latest().revision, revision, value.clone());
            let node = Arc::make_mut(node);
            node.advance(meta);
            node.set_slot(slot);
            None
        });
        let KeyMeta { create_revision, version, .. } = meta;
        let kv = KeyValue { key, value, create_revision, mod_revision: revision.main, version, lease };
        let prev_kv = if is_wanted { prev.clone() } else { None };
        self.events.push(Event { kind: EventKind::Put, kv, prev_kv });
        Ok(prev)
    }

    /// Deletes the alive keys of a range, in key order. Returns what they held, values only where they
    /// are wanted.
    pub fn delete_range(&mut self, range: &KeyRange) -> Result<Vec<KeyValue>, Wrong> {
        let nodes = self.reading().visible_nodes(range, self.revision(), usize::MAX);
        let (mut prevs, mut told) = (Vec::with_capacity(nodes.len()), Vec::with_capacity(nodes.len()));
        for node in nodes {
            let is_wanted = (self.wants_prev)(node.key());
            let value = self.value_before(node, is_wanted)?;
            let prev = KeyValue { value, ..node.bare(Bytes::copy_from_slice(node.key())) };
            told.push(self.told_before(node, &prev, is_wanted)?);
            prevs.push(prev);
        }
        for (prev, prev_kv) in prevs.iter().zip(told) {
            let revision = self.next_revision();
            let Store { index, cache, .. } = &mut *self.store;
            index.put(&prev.key, |found| {
                let node = found.expect("an alive key is in the index");
                cache.forget(node.slot(), node.latest().revision);
                let node = Arc::make_mut(node);
                node.advance(KeyMeta { revision, ..KeyMeta::default() });
                node.set_slot(NO_SLOT);
                None
            });
            let kv = KeyValue { key: prev.key.clone(), mod_revision: revision.main, ..KeyValue::default() };
            self.events.push(Event { kind: EventKind::Delete, kv, prev_kv });
        }
        Ok(prevs)
    }

    /// Ends the transaction and returns its changes in order; none, and no revision used, if nothing changed.
    pub fn commit(mut self) -> Vec<Event> {
        let events = std::mem::take(&mut self.events);
        if let Some(last) = events.len().checked_sub(1) {
            let main = self.store.revision + 1;
            let records = events.iter().zip(0..).map(|(event, sub)| record_of(event, sub, sub as usize == last));
            self.store.history.append(main, records);
            self.store.revision = main;
        }
        if let Some(committed) = self.committed.take() {
            // Set once: here.
            let _ = committed.set(self.store.history.table().clone());
        }
        events
    }
}

fn record_of(event: &Event, sub: u32, last: bool) -> Record {
    let kv = &event.kv;
    let meta = KeyMeta {
        create_revision: kv.create_revision,
        revision: Revision::new(kv.mod_revision, sub),
        version: kv.version,
        lease: kv.lease,
    };
    Record { meta, last, key: kv.key.clone(), value: kv.value.clone() }
}

impl<D: Disk> Drop for WriteTxn<'_, D> {
    fn drop(&mut self) {
        self.store.torn |= !self.events.is_empty();
    }
}
