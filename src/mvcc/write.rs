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

use super::key_index::{KeyMeta, KeyNode, NO_SLOT};
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

/// A write transaction; see the module's head.
pub struct WriteTxn<'a, D: Disk> {
    store: &'a mut Store<D>,
    want_prev: bool,
    events: Vec<Event>,
}

impl<'a, D: Disk> WriteTxn<'a, D> {
    pub(super) fn new(store: &'a mut Store<D>, want_prev: bool) -> Self {
        assert!(!store.torn, "a write transaction was dropped half done");
        Self { store, want_prev, events: Vec::new() }
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

    /// Answers a range read, own changes included.
    pub fn range(&self, query: &RangeQuery) -> Result<RangeAnswer, ReadFailure> {
        self.reading().range(query)
    }

    fn next_revision(&self) -> Revision {
        let sub = u32::try_from(self.events.len()).expect("a transaction changes fewer than 2^32 keys");
        Revision::new(self.store.revision + 1, sub)
    }

    /// An alive node as what a change replaces; with its value only where it is wanted.
    fn previous(&self, node: &KeyNode) -> Result<KeyValue, Wrong> {
        let value = if self.want_prev { self.reading().value_of(node)? } else { Bytes::new() };
        Ok(KeyValue { value, ..node.bare() })
    }

    /// What the event of a delete tells of the past: what the key held before this revision, which is not
    /// `prev` where the transaction itself put the key.
    fn told_before(&self, node: &KeyNode, prev: &KeyValue) -> Result<Option<KeyValue>, Wrong> {
        if !self.want_prev {
            Ok(None)
        } else if node.latest().revision.main > self.store.revision {
            self.reading().get_at(node.key(), self.store.revision)
        } else {
            Ok(Some(prev.clone()))
        }
    }

    /// Writes a key. Returns what it held before, the value only if previous values are wanted.
    pub fn put(&mut self, put: NewValue) -> Result<Option<KeyValue>, Wrong> {
        let NewValue { key, value, lease, backing_bytes } = put;
        assert!(!key.is_empty(), "an empty key is refused before the store");
        let revision = self.next_revision();
        let (mut slot, mut old_revision, mut prev) = (NO_SLOT, Revision::default(), None);
        if let Some(node) = self.store.index.get(&key) {
            (slot, old_revision) = (node.slot(), node.latest().revision);
            if !node.latest().is_tombstone() {
                prev = Some(self.previous(node)?);
            }
        }
        let (create_revision, version) = match &prev {
            Some(prev) => (prev.create_revision, prev.version + 1),
            None => (revision.main, 1),
        };
        let meta = KeyMeta { create_revision, revision, version, lease };
        let value = unpinned(value, backing_bytes);
        let slot = self.store.cache.replace(slot, old_revision, revision, value.clone());
        let key = self.advance(&key, meta, slot);
        let kv = KeyValue { key, value, create_revision, mod_revision: revision.main, version, lease };
        let prev_kv = if self.want_prev { prev.clone() } else { None };
        self.events.push(Event { kind: EventKind::Put, kv, prev_kv });
        Ok(prev)
    }

    /// Makes `meta` the latest of `key` in the index. Returns the index's own copy of the key.
    fn advance(&mut self, key: &[u8], meta: KeyMeta, slot: u32) -> Bytes {
        let mut own_key = Bytes::new();
        self.store.index.put(key, |node| match node {
            Some(node) => {
                let node = Arc::make_mut(node);
                node.advance(meta);
                node.set_slot(slot);
                own_key = node.key().clone();
                None
            }
            None => {
                let node = KeyNode::new(key, meta);
                node.set_slot(slot);
                own_key = node.key().clone();
                Some(Arc::new(node))
            }
        });
        own_key
    }

    /// Deletes the alive keys of a range, in key order. Returns what they held, values only if previous values
    /// are wanted.
    pub fn delete_range(&mut self, range: &KeyRange) -> Result<Vec<KeyValue>, Wrong> {
        let nodes: Vec<Arc<KeyNode>> =
            self.reading().visible_nodes(range, self.revision(), usize::MAX).into_iter().cloned().collect();
        let prevs = nodes.iter().map(|node| self.previous(node)).collect::<Result<Vec<_>, _>>()?;
        let told = nodes.iter().zip(&prevs).map(|(node, prev)| self.told_before(node, prev));
        let told = told.collect::<Result<Vec<_>, _>>()?;
        for ((node, prev), prev_kv) in nodes.into_iter().zip(&prevs).zip(told) {
            self.store.cache.forget(node.slot(), node.latest().revision);
            // Let go of the node, so that the index changes it in place.
            drop(node);
            let revision = self.next_revision();
            let key = self.advance(&prev.key, KeyMeta { revision, ..KeyMeta::default() }, NO_SLOT);
            let kv = KeyValue { key, mod_revision: revision.main, ..KeyValue::default() };
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
