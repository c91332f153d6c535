//! The write transaction: changes of one revision, made one after the other.
//!
//! Invariants: the revision is used only if something changed; sub-revisions count from 0 in the order of the
//! changes; the transaction sees its own changes, nobody else does before [`WriteTxn::commit`]. A change that
//! cannot be read back from a failing disk is not made: what can fail comes first.
//!
//! A transaction of many changes may [pause](WriteTxn::pause) and be [taken up](Store::take_up) again, if it said so before its
//! first one ([`WriteTxn::may_pause`]): the store then keeps the index as it was and shows it to everybody else, and nothing of
//! what the history was given is promised, until the transaction is committed ([decision 27](../../docs/decisions/0027-fat-commands.md)).
//!
//! A transaction that changed something and is dropped leaves the store half written: the store then refuses
//! to go on (an assertion), because no caller can carry out half a log entry.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::counted_tree::{Entry, Visit};
use super::key_index::{KeyMeta, KeyNode, NO_SLOT};
use super::later::{CommittedTable, LaterRange, PutOff};
use super::query::{Holds, Looks, RangeAnswer, RangeQuery};
use super::range_read::{ReadFailure, Reading};
use super::record::Record;
use super::store::{Outdated, Store};
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
    /// The changes that the history does not have yet, in order.
    events: Vec<Event>,
    /// How many it has.
    written: u32,
    /// Bytes of values that were read from the history's files.
    read: Cell<usize>,
    /// For the reads that were put off.
    committed: Option<CommittedTable<D>>,
    /// It was paused or committed.
    is_over: bool,
}

/// A write transaction that was paused, until it is [taken up](Store::take_up).
#[must_use = "a transaction that was paused is to be taken up"]
pub struct Paused<D: Disk> {
    last: Event,
    written: u32,
    committed: Option<CommittedTable<D>>,
}

impl<D: Disk> Store<D> {
    /// Begins a write transaction. Its changes tell the values they replaced of the keys that `wants_prev` names.
    pub fn begin<'a>(&'a mut self, wants_prev: WantsPrev<'a>) -> WriteTxn<'a, D> {
        assert!(!self.torn, "a write transaction was dropped half done");
        assert!(self.shown.is_none(), "one write transaction at a time");
        WriteTxn {
            store: self,
            wants_prev,
            events: Vec::new(),
            written: 0,
            read: Cell::default(),
            committed: None,
            is_over: false,
        }
    }

    /// Goes on with a transaction that was paused.
    pub fn take_up<'a>(&'a mut self, paused: Paused<D>, wants_prev: WantsPrev<'a>) -> WriteTxn<'a, D> {
        assert!(!self.torn, "a write transaction was dropped half done");
        assert!(self.shown.is_some(), "a transaction that was paused is under way");
        let Paused { last, written, committed } = paused;
        WriteTxn {
            store: self,
            wants_prev,
            events: vec![last],
            written,
            read: Cell::default(),
            committed,
            is_over: false,
        }
    }

    /// What nobody needs any more since a transaction was committed that had been paused.
    pub fn take_outdated(&mut self) -> Option<Outdated> {
        let shown = std::mem::take(&mut self.outdated);
        if shown.is_empty() { None } else { Some(Outdated(shown)) }
    }
}

impl<D: Disk> WriteTxn<'_, D> {
    fn reading(&self) -> Reading<'_, D> {
        Reading { own_from: self.written, ..self.store.reading(self.revision(), &self.events) }
    }

    /// Whether something changed so far.
    pub fn changed(&self) -> bool {
        self.written > 0 || !self.events.is_empty()
    }

    /// The transaction may be paused from now on. To be called before its first change: from here on each key that it
    /// changes is copied, for what the others see stays as it is.
    pub fn may_pause(&mut self) {
        assert!(!self.changed(), "what the others see is kept before it changes");
        self.store.shown = Some(self.store.index.clone());
    }

    /// Pauses after the changes so far, of which there is at least one, and returns those since the last pause, in order,
    /// without the very last: whether the transaction ends with it is not known.
    ///
    /// # Panics
    /// If it was not said that it may be.
    pub fn pause(mut self) -> (Paused<D>, Vec<Event>) {
        assert!(self.store.shown.is_some(), "a transaction says before its first change that it may be paused");
        let mut events = std::mem::take(&mut self.events);
        let last = events.pop().expect("a transaction is paused after a change");
        self.append(&events, false);
        self.is_over = true;
        (Paused { last, written: self.written, committed: self.committed.take() }, events)
    }

    /// Gives changes to the history; `to_end` says whether they are the last.
    fn append(&mut self, events: &[Event], to_end: bool) {
        let Some(last) = events.len().checked_sub(1) else { return };
        let (main, from) = (self.store.revision + 1, self.written);
        let records = (0..).zip(events).map(|(at, event)| record_of(event, from + at, to_end && at as usize == last));
        self.store.history.append(main, from, records);
        self.written += u32::try_from(events.len()).expect("a transaction changes fewer than 2^32 keys");
    }

    /// Bytes of keys and values that were read from the history's files since it was begun or taken up. What is in memory costs
    /// nothing to have.
    pub fn read_bytes(&self) -> usize {
        self.read.get()
    }

    fn has_read(&self, key: &[u8], value: &Bytes) {
        self.read.set(self.read.get() + key.len() + value.len());
    }

    /// Whether to change all of a range takes no more than `few` reads of the history's files; what it takes is taken off.
    pub fn reads_few(&self, range: &KeyRange, few: &mut usize) -> bool {
        let reading = self.reading();
        let mut is_few = |node: &Arc<KeyNode>| {
            let is_read = node.is_live() && (self.wants_prev)(node.key()) && reading.value_at_hand(node).is_none();
            let left = few.checked_sub(usize::from(is_read));
            *few = left.unwrap_or(0);
            left.is_some()
        };
        if let Some(key) = range.as_single() {
            return !(self.wants_prev)(key) || self.store.index.get(key).is_none_or(is_few);
        }
        let mut all = true;
        self.store.index.walk(range, Visit::Live, &mut |_, _| false, &mut |node| {
            all = is_few(node);
            if all { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        all
    }

    /// Alive keys of a range.
    pub fn count(&self, range: &KeyRange) -> u64 {
        self.store.index.count(range)
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
        let Some(node) = self.store.index.get(key).filter(|node| node.is_live()) else { return Ok(None) };
        Ok(Some(KeyValue { value: self.value_now(node)?, ..node.bare(Bytes::copy_from_slice(key)) }))
    }

    /// What is known of an alive key without its value.
    pub fn meta(&self, key: &[u8]) -> Option<KeyMeta> {
        self.store.index.get(key).map(|node| node.latest()).filter(|meta| !meta.is_tombstone())
    }

    /// Whether `holds` says so of every alive key of `range`, as far as `looks` go; values are left out unless wanted.
    pub fn all(
        &self,
        range: &KeyRange,
        with_values: bool,
        looks: &mut Looks,
        holds: &mut dyn FnMut(&KeyValue) -> bool,
    ) -> Result<Holds, Wrong> {
        let before = looks.bytes;
        let held = self.reading().all(range, with_values, looks, holds);
        self.read.set(self.read.get() + (before - looks.bytes));
        held
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
        let fresh = u32::try_from(self.events.len()).expect("a transaction changes fewer than 2^32 keys");
        Revision::new(self.store.revision + 1, self.written + fresh)
    }

    /// The value of an alive key; that it was read is counted.
    fn value_now(&self, node: &KeyNode) -> Result<Bytes, Wrong> {
        let reading = self.reading();
        if let Some(value) = reading.value_at_hand(node) {
            return Ok(value);
        }
        let value = reading.value_of(node)?;
        self.has_read(node.key(), &value);
        Ok(value)
    }

    /// What the event of a delete tells of the past: what the key held before this revision, be it that the transaction
    /// itself put the key.
    fn told_before(&self, node: &KeyNode, key: &Bytes) -> Result<Option<KeyValue>, Wrong> {
        if node.latest().revision.main > self.store.revision {
            let before = self.reading().get_at(key, self.store.revision)?;
            before.iter().for_each(|kv| self.has_read(key, &kv.value));
            return Ok(before);
        }
        let value = self.value_now(node)?;
        Ok(Some(KeyValue { value, ..node.bare(key.clone()) }))
    }

    /// Writes a key. Returns what it held before, the value only if that is wanted.
    pub fn put(&mut self, put: NewValue) -> Result<Option<KeyValue>, Wrong> {
        let NewValue { key, value, lease, backing_bytes } = put;
        assert!(!key.is_empty(), "an empty key is refused before the store");
        let is_wanted = (self.wants_prev)(&key);
        let old_value = match self.store.index.get(&key).filter(|_| is_wanted) {
            Some(node) if node.is_live() => self.value_now(node)?,
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

    /// Deletes the alive keys of a range, in key order, up to `most` of them, and fewer where what they held is wanted and
    /// `most_bytes` were [read](Self::read_bytes) for it. `on_deleted` is told each key; the lease it hung on is told, too. Returns what is left of the
    /// range, if there may be more.
    pub fn delete_some(
        &mut self,
        range: &KeyRange,
        (most, most_bytes): (usize, usize),
        mut on_deleted: impl FnMut(&Bytes, LeaseId),
    ) -> Result<Option<KeyRange>, Wrong> {
        assert!(most > 0, "deleting goes on");
        let nodes = self.reading().visible_nodes(range, self.revision(), most);
        let is_whole = nodes.len() < most || range.as_single().is_some();
        let (mut gone, wanted) = (Vec::with_capacity(nodes.len()), nodes.len());
        for node in nodes {
            if self.read_bytes() >= most_bytes {
                break;
            }
            let key = Bytes::copy_from_slice(node.key());
            let prev_kv = if (self.wants_prev)(&key) { self.told_before(node, &key)? } else { None };
            gone.push((key, node.latest().lease, prev_kv));
        }
        self.events.reserve(gone.len());
        let rest = match gone.last() {
            Some((last, ..)) if !is_whole || gone.len() < wanted => Some(range.behind(last)),
            None if wanted > 0 => Some(range.clone()),
            _ => None,
        };
        for (key, lease, prev_kv) in gone {
            let revision = self.next_revision();
            let Store { index, cache, .. } = &mut *self.store;
            index.put(&key, |found| {
                let node = found.expect("an alive key is in the index");
                cache.forget(node.slot(), node.latest().revision);
                let node = Arc::make_mut(node);
                node.advance(KeyMeta { revision, ..KeyMeta::default() });
                node.set_slot(NO_SLOT);
                None
            });
            on_deleted(&key, lease);
            let kv = KeyValue { key, mod_revision: revision.main, ..KeyValue::default() };
            self.events.push(Event { kind: EventKind::Delete, kv, prev_kv });
        }
        Ok(rest)
    }

    /// Ends the transaction and returns its changes in order since it was last [paused](Self::pause); none, and no revision
    /// used, if nothing changed.
    pub fn commit(mut self) -> Vec<Event> {
        self.is_over = true;
        let events = std::mem::take(&mut self.events);
        if !events.is_empty() {
            self.append(&events, true);
            self.store.revision += 1;
        }
        if let Some(committed) = self.committed.take() {
            // Set once: here.
            let _ = committed.set(self.store.history.table().clone());
        }
        if let Some(shown) = self.store.shown.take() {
            self.store.outdated.push(shown);
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
        if !self.is_over && self.changed() {
            self.store.torn = true;
        } else if !self.is_over {
            self.store.shown = None;
        }
    }
}
