//! Answering reads from index, cache and history; shared by views and the write transaction.
//!
//! Invariants: the answer is etcd's for the same data, quirks included; a page costs the page: counts come from
//! the tree, values are read only for what is answered, and a cached value is handed out without copying.
//!
//! Does not know whether the index is a view's or a writer's.

use std::cmp::Ordering;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::counted_tree::{Entry, Visit};
use super::history::Table;
use super::key_index::{KeyIndex, KeyNode, NO_SLOT};
use super::query::{Holds, Looks, RangeAnswer, RangeQuery, SortOrder, SortTarget, Weight};
use super::value_cache::ValueCache;
use crate::base::{Event, KeyRange, KeyValue, Refusal, Revision, Wrong};
use crate::env::Disk;

/// Why a read gave no answer.
#[derive(Debug)]
pub enum ReadFailure {
    /// The client asked for something that cannot be.
    Refused(Refusal),
    /// The world is at fault, or stored bytes are damaged.
    Wrong(Wrong),
}

impl From<Refusal> for ReadFailure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Wrong> for ReadFailure {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

impl fmt::Display for ReadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Wrong(wrong) => wrong.fmt(f),
        }
    }
}

impl std::error::Error for ReadFailure {}

/// Everything a read looks at.
pub(super) struct Reading<'a, D: Disk> {
    pub(super) index: &'a KeyIndex,
    pub(super) table: &'a Arc<Table<D>>,
    pub(super) cache: &'a ValueCache,
    /// Reads at a revision below are refused.
    pub(super) watermark: i64,
    /// The revision of the newest change that is seen.
    pub(super) current: i64,
    /// Changes of the open write transaction, by sub-revision from `own_from` on: its main revision is `current`. They are
    /// not in the history yet; those below are.
    pub(super) own: &'a [Event],
    pub(super) own_from: u32,
}

/// A key on its way into an answer; `node` as long as its value was not fetched.
struct Row<'a> {
    kv: KeyValue,
    node: Option<&'a Arc<KeyNode>>,
}

impl<'a, D: Disk> Reading<'a, D> {
    /// The revision `query` reads at.
    fn revision_of(&self, query: &RangeQuery) -> Result<i64, Refusal> {
        if query.revision <= 0 {
            return Ok(self.current);
        }
        if query.revision > self.current {
            return Err(Refusal::FutureRevision);
        }
        if query.revision < self.watermark {
            return Err(Refusal::Compacted);
        }
        Ok(query.revision)
    }

    /// Answers a range read. `room` is what the answer's rows may take in memory; what they take is taken off it.
    pub(super) fn range(&self, query: &RangeQuery, room: &mut usize) -> Result<RangeAnswer, ReadFailure> {
        let at = self.revision_of(query)?;
        let mut answer = RangeAnswer {
            kvs: Vec::new(),
            more: false,
            count: i64::try_from(self.count_at(&query.range, at)).expect("keys are fewer than 2^63"),
            revision: self.current,
        };
        if query.count_only {
            return Ok(answer);
        }
        let limit = usize::try_from(query.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let by_key = query.target == SortTarget::Key;
        let filtered = query.has_filters();
        let in_key_order = by_key && query.order != SortOrder::Descend;
        let push_down = query.stops_at_limit();
        let fetch = if push_down { limit.saturating_add(1) } else { usize::MAX };
        let nodes = self.visible_nodes(&query.range, at, fetch);
        let mut keys = BytesMut::with_capacity(nodes.iter().take(limit).map(|node| node.key().len()).sum());
        if push_down && in_key_order {
            answer.more = nodes.len() > limit;
            answer.kvs.reserve_exact(nodes.len().min(limit));
            for node in nodes.into_iter().take(limit) {
                let row = self.row(node, at, &mut keys)?;
                let kv = self.finish(row, query)?;
                take_room(room, size_of::<KeyValue>() + kv.key.len() + kv.value.len())?;
                answer.kvs.push(kv);
            }
            return Ok(answer);
        }
        let mut rows = Vec::with_capacity(nodes.len());
        for node in nodes {
            let mut row = self.row(node, at, &mut keys)?;
            if filtered && !passes(query, &row.kv) {
                continue;
            }
            if query.target == SortTarget::Value {
                self.fetch_value(&mut row)?;
            }
            take_room(room, size_of::<Row<'_>>() + row.kv.key.len() + row.kv.value.len())?;
            rows.push(row);
        }
        if !in_key_order {
            rows.sort_by(|a, b| order(query, &a.kv, &b.kv));
        }
        answer.more = rows.len() > limit;
        answer.kvs.reserve_exact(rows.len().min(limit));
        for row in rows.into_iter().take(limit) {
            let taken = row.kv.value.len();
            let kv = self.finish(row, query)?;
            take_room(room, kv.value.len().saturating_sub(taken))?;
            answer.kvs.push(kv);
        }
        Ok(answer)
    }

    /// What a range read may take. O(log n).
    pub(super) fn weight(&self, query: &RangeQuery) -> Weight {
        if query.count_only {
            return Weight::default();
        }
        if query.range.as_single().is_some() {
            return Weight { rows: 1, ..Weight::default() };
        }
        let is_of_now = query.revision <= 0 || query.revision >= self.current;
        let limit = u64::try_from(query.limit).ok().filter(|limit| *limit > 0).unwrap_or(u64::MAX);
        let looked_at = if query.stops_at_limit() { limit } else { u64::MAX };
        if !is_of_now && looked_at < u64::MAX {
            return Weight { rows: looked_at, ..Weight::default() };
        }
        let count = self.index.count(&query.range);
        if !is_of_now {
            return Weight { rows: count, least_bytes: 0, is_guess: true };
        }
        let answered = if query.has_filters() { 0 } else { count.min(limit) };
        let least_bytes = answered.saturating_mul(size_of::<KeyValue>() as u64);
        Weight { rows: count.min(looked_at), least_bytes, is_guess: false }
    }

    /// Keys of `range` alive at `at`. O(log n) for what did not change since.
    fn count_at(&self, range: &KeyRange, at: i64) -> u64 {
        if at >= self.current {
            return self.index.count(range);
        }
        let (mut unchanged, mut changed) = (0, 0);
        self.index.walk(
            range,
            Visit::LiveOrNewerThan(at),
            &mut |live, newest| {
                let same = newest <= at;
                unchanged += if same { live } else { 0 };
                same
            },
            &mut |node| {
                changed += u64::from(node.visible_at(at).is_some());
                ControlFlow::Continue(())
            },
        );
        unchanged + changed
    }

    /// The first `limit` keys of `range` that are alive at `at`.
    pub(super) fn visible_nodes(&self, range: &KeyRange, at: i64, limit: usize) -> Vec<&'a Arc<KeyNode>> {
        let mut nodes = Vec::new();
        if limit == 0 {
            return nodes;
        }
        let visit = if at >= self.current { Visit::Live } else { Visit::LiveOrNewerThan(at) };
        self.index.walk(range, visit, &mut |_, _| false, &mut |node| {
            if node.visible_at(at).is_some() {
                nodes.push(node);
            }
            if nodes.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        nodes
    }

    /// What an alive `node` was at `at`: from the index while it did not change since, else from the history.
    /// The keys of one answer lie in one buffer, `keys`.
    fn row(&self, node: &'a Arc<KeyNode>, at: i64, keys: &mut BytesMut) -> Result<Row<'a>, Wrong> {
        if node.stamp() <= at {
            keys.extend_from_slice(node.key());
            return Ok(Row { kv: node.bare(keys.split().freeze()), node: Some(node) });
        }
        let revision = node.visible_at(at).expect("only alive nodes become rows");
        Ok(Row { kv: self.old(node, revision)?, node: None })
    }

    /// An older revision of a key, from the history.
    fn old(&self, node: &KeyNode, revision: Revision) -> Result<KeyValue, Wrong> {
        let record = self.table.read(revision)?;
        same_key(node, &record.key, revision)?;
        let mut kv = record.into_key_value();
        kv.key = Bytes::copy_from_slice(node.key());
        Ok(kv)
    }

    fn fetch_value(&self, row: &mut Row<'a>) -> Result<(), Wrong> {
        if let Some(node) = row.node.take() {
            row.kv.value = self.value_of(node)?;
        }
        Ok(())
    }

    fn finish(&self, mut row: Row<'a>, query: &RangeQuery) -> Result<KeyValue, Wrong> {
        if !query.keys_only {
            self.fetch_value(&mut row)?;
        } else {
            row.kv.value = Bytes::new();
            if query.target != SortTarget::Value {
                // etcd answers these from its index, which knows no lease.
                row.kv.lease = 0;
            }
        }
        Ok(row.kv)
    }

    /// A change of the open write transaction that is not in the history.
    fn own_at(&self, revision: Revision) -> Option<&'a Event> {
        let at = revision.sub.checked_sub(self.own_from).filter(|_| revision.main == self.current)?;
        self.own.get(at as usize)
    }

    /// The current value of an alive key where it need not be read.
    pub(super) fn value_at_hand(&self, node: &KeyNode) -> Option<Bytes> {
        let revision = node.latest().revision;
        let own = self.own_at(revision).map(|event| event.kv.value.clone());
        own.or_else(|| self.cache.get(node.slot(), revision))
    }

    /// The current value of an alive key.
    pub(super) fn value_of(&self, node: &KeyNode) -> Result<Bytes, Wrong> {
        if let Some(value) = self.value_at_hand(node) {
            return Ok(value);
        }
        let revision = node.latest().revision;
        let record = self.table.read(revision)?;
        same_key(node, &record.key, revision)?;
        let slot = self.cache.offer(revision, record.value.clone());
        if slot != NO_SLOT {
            node.set_slot(slot);
        }
        Ok(record.value)
    }

    /// Whether `holds` says so of every alive key of `range`, in key order up to the first of which it does not, and no further
    /// than `looks` go. Values are read only where they are wanted.
    pub(super) fn all(
        &self,
        range: &KeyRange,
        with_values: bool,
        looks: &mut Looks,
        holds: &mut dyn FnMut(&KeyValue) -> bool,
    ) -> Result<Holds, Wrong> {
        let (mut any, mut ended) = (false, None);
        self.index.walk(range, Visit::Live, &mut |_, _| false, &mut |node| {
            if !node.is_live() {
                return ControlFlow::Continue(());
            }
            if looks.is_used_up() {
                ended = Some(Ok(Holds::SoFar(range.from_key(node.key()))));
                return ControlFlow::Break(());
            }
            any = true;
            let looked_at = self.looked_at(node, with_values, looks);
            match looked_at.map(|value| holds(&KeyValue { value, ..node.bare(Bytes::new()) })) {
                Ok(true) => return ControlFlow::Continue(()),
                Ok(false) => ended = Some(Ok(Holds::NotForAll)),
                Err(wrong) => ended = Some(Err(wrong)),
            }
            ControlFlow::Break(())
        });
        ended.unwrap_or(Ok(if any { Holds::ForAll } else { Holds::NoKey }))
    }

    /// The value of an alive key, or nothing where it is not wanted; what that takes is taken off.
    fn looked_at(&self, node: &Arc<KeyNode>, with_value: bool, looks: &mut Looks) -> Result<Bytes, Wrong> {
        if !with_value {
            looks.keys -= 1;
            return Ok(Bytes::new());
        }
        let at_hand = self.value_at_hand(node);
        let is_read = at_hand.is_none();
        let value = at_hand.map_or_else(|| self.value_of(node), Ok)?;
        looks.took(node.key(), &value, is_read);
        Ok(value)
    }

    /// Whether a read of one key, or of a count, takes nothing from the history's files.
    pub(super) fn is_at_hand(&self, query: &RangeQuery) -> bool {
        if query.revision > 0 {
            return false;
        }
        let Some(key) = query.range.as_single() else { return query.count_only };
        let needs_value = !query.count_only && !query.keys_only || query.target == SortTarget::Value;
        let Some(node) = self.index.get(key).filter(|node| node.is_live() && needs_value) else { return true };
        let revision = node.latest().revision;
        self.own_at(revision).is_some() || self.cache.get(node.slot(), revision).is_some()
    }

    /// A key as it is now, with its value.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Wrong> {
        match self.index.get(key).filter(|node| node.is_live()) {
            None => Ok(None),
            Some(node) => Ok(Some(KeyValue { value: self.value_of(node)?, ..node.bare(Bytes::copy_from_slice(key)) })),
        }
    }

    /// A key as it was at `at`, with its value.
    pub(super) fn get_at(&self, key: &[u8], at: i64) -> Result<Option<KeyValue>, Wrong> {
        let Some(node) = self.index.get(key).filter(|node| node.visible_at(at).is_some()) else {
            return Ok(None);
        };
        let mut row = self.row(node, at, &mut BytesMut::new())?;
        self.fetch_value(&mut row)?;
        Ok(Some(row.kv))
    }
}

fn take_room(room: &mut usize, bytes: usize) -> Result<(), Refusal> {
    *room = room.checked_sub(bytes).ok_or(Refusal::AnswerTooLarge)?;
    Ok(())
}

fn same_key(node: &KeyNode, key: &[u8], revision: Revision) -> Result<(), Wrong> {
    if node.key() == key {
        return Ok(());
    }
    Err(Wrong::corrupt(super::history_write::HISTORY_DIR, 0, format!("revision {revision} is of another key")))
}

fn passes(query: &RangeQuery, kv: &KeyValue) -> bool {
    let within = |n: i64, min: i64, max: i64| (min == 0 || n >= min) && (max == 0 || n <= max);
    within(kv.mod_revision, query.min_mod_revision, query.max_mod_revision)
        && within(kv.create_revision, query.min_create_revision, query.max_create_revision)
}

/// How two rows stand in the answer. A target without an order means ascending, as in etcd.
fn order(query: &RangeQuery, a: &KeyValue, b: &KeyValue) -> Ordering {
    let ascending = match query.target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    if query.order == SortOrder::Descend { ascending.reverse() } else { ascending }
}
