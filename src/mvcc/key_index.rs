//! What the store knows of one key without touching the disk: where its revisions are.
//!
//! Invariants: `latest` is the newest revision of the key, put or tombstone; the past holds its older revisions
//! that reads at a revision from the compact watermark on may still need, oldest first. A node is shared by
//! views: the writer changes it in place only while nobody else holds it. Where a revision lies in the history
//! is not known here, so that reclaiming space never touches the index.
//!
//! Values are not here either: a node only remembers the slot of the value cache its current value was put in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use super::counted_tree::{CountedTree, Entry};
use crate::base::{KeyValue, LeaseId, Revision};

/// The key index: every key with a revision that can still be read.
pub type KeyIndex = CountedTree<Arc<KeyNode>>;

/// A node that was never given a slot of the value cache.
pub const NO_SLOT: u32 = u32::MAX;

/// A past newest chunk below this size is copied when a view shares it; a larger one is left behind.
const COPIED_CHUNK: usize = 32;

/// A revision of a key, as far as deciding needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The revision.
    pub revision: Revision,
    /// Whether the key was deleted by it.
    pub tombstone: bool,
}

/// What a put says besides key and value. All zero but `revision` in a tombstone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyMeta {
    /// Main revision of the put that created the key.
    pub create_revision: i64,
    /// The revision of the change itself.
    pub revision: Revision,
    /// Puts since creation, from 1; 0 in a tombstone.
    pub version: i64,
    /// The lease, or 0.
    pub lease: LeaseId,
}

impl KeyMeta {
    /// Main revision of the change.
    pub fn mod_revision(&self) -> i64 {
        self.revision.main
    }

    /// Whether this is a deletion.
    pub fn is_tombstone(&self) -> bool {
        self.version == 0
    }

    /// The revision, and whether it is a deletion.
    pub fn mark(&self) -> Mark {
        Mark { revision: self.revision, tombstone: self.is_tombstone() }
    }
}

/// Older revisions, in chunks from new to old whose sizes grow: a writer that shares them with a view copies
/// at most a small chunk for each put, and a search passes a logarithm of chunks.
#[derive(Debug)]
struct Past {
    /// The newest of the chunk: most keys have one older revision, and for that one this is enough.
    newest: Mark,
    /// The others of the chunk, oldest first.
    older: Vec<Mark>,
    before: Option<Arc<Past>>,
}

impl Past {
    fn one(newest: Mark, before: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self { newest, older: Vec::new(), before })
    }

    /// Of all these marks, oldest first; `None` of none.
    fn of(mut marks: Vec<Mark>) -> Option<Arc<Self>> {
        let newest = marks.pop()?;
        Some(Arc::new(Self { newest, older: marks, before: None }))
    }

    fn len(&self) -> usize {
        self.older.len() + 1
    }

    fn newest_at(&self, main: i64) -> Option<Mark> {
        let mut chunk = Some(self);
        while let Some(past) = chunk {
            if past.newest.revision.main <= main {
                return Some(past.newest);
            }
            let at = past.older.partition_point(|mark| mark.revision.main <= main);
            if at > 0 {
                return Some(past.older[at - 1]);
            }
            chunk = past.before.as_deref();
        }
        None
    }

    fn oldest(&self) -> Mark {
        let mut past = self;
        while let Some(before) = &past.before {
            past = before;
        }
        past.older.first().copied().unwrap_or(past.newest)
    }

    /// All marks, in no order that matters.
    fn each(&self, on_mark: &mut impl FnMut(Mark)) {
        let mut chunk = Some(self);
        while let Some(past) = chunk {
            on_mark(past.newest);
            past.older.iter().copied().for_each(&mut *on_mark);
            chunk = past.before.as_deref();
        }
    }

    fn collect_into(&self, marks: &mut Vec<Mark>) {
        let mut chunks = vec![self];
        while let Some(before) = &chunks[chunks.len() - 1].before {
            chunks.push(before);
        }
        for chunk in chunks.iter().rev() {
            marks.extend_from_slice(&chunk.older);
            marks.push(chunk.newest);
        }
    }

    /// The marks of this chunk with room for more behind them.
    fn marks_and(&self, more: usize) -> Vec<Mark> {
        let mut marks = Vec::with_capacity(self.len() + more);
        marks.extend_from_slice(&self.older);
        marks.push(self.newest);
        marks
    }

    fn push(past: &mut Option<Arc<Self>>, mark: Mark) {
        let Some(shared) = past else {
            *past = Some(Self::one(mark, None));
            return;
        };
        if let Some(own) = Arc::get_mut(shared) {
            own.older.push(own.newest);
            own.newest = mark;
        } else if shared.len() < COPIED_CHUNK {
            *past = Some(Arc::new(Self { newest: mark, older: shared.marks_and(0), before: shared.before.clone() }));
        } else {
            *past = Some(Self::one(mark, Some(Self::merged(shared.clone()))));
        }
    }

    /// Joins chunks until each is longer than the one after it, which bounds their number.
    fn merged(mut newest: Arc<Self>) -> Arc<Self> {
        while let Some(before) = newest.before.clone().filter(|before| before.len() <= newest.len()) {
            let mut older = before.marks_and(newest.older.len());
            older.extend_from_slice(&newest.older);
            newest = Arc::new(Self { newest: newest.newest, older, before: before.before.clone() });
        }
        newest
    }
}

/// One key of the index.
#[derive(Debug)]
pub struct KeyNode {
    key: Box<[u8]>,
    latest: KeyMeta,
    past: Option<Arc<Past>>,
    slot: AtomicU32,
}

impl Clone for KeyNode {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), latest: self.latest, past: self.past.clone(), slot: AtomicU32::new(self.slot()) }
    }
}

impl Entry for Arc<KeyNode> {
    fn key(&self) -> &[u8] {
        &self.key
    }

    fn is_live(&self) -> bool {
        !self.latest.is_tombstone()
    }

    fn stamp(&self) -> i64 {
        self.latest.revision.main
    }
}

impl KeyNode {
    /// A key's first revision. The key is copied: an answer copies it too, which is cheaper than counting a
    /// reference in memory nobody looked at for long, and keeps the index small.
    pub fn new(key: &[u8], latest: KeyMeta) -> Self {
        Self { key: key.into(), latest, past: None, slot: AtomicU32::new(NO_SLOT) }
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Its newest revision.
    pub fn latest(&self) -> KeyMeta {
        self.latest
    }

    /// The latest put as an answer, without its value; `key` is its key.
    pub fn bare(&self, key: Bytes) -> KeyValue {
        KeyValue {
            key,
            value: Bytes::new(),
            create_revision: self.latest.create_revision,
            mod_revision: self.latest.revision.main,
            version: self.latest.version,
            lease: self.latest.lease,
        }
    }

    /// Where the value cache may hold the latest value.
    pub fn slot(&self) -> u32 {
        self.slot.load(Ordering::Relaxed)
    }

    /// Remembers the slot. A hint: the slot itself says whose value it holds.
    pub fn set_slot(&self, slot: u32) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// The newest revision at or below main revision `main`.
    pub fn newest_at(&self, main: i64) -> Option<Mark> {
        if self.latest.revision.main <= main {
            return Some(self.latest.mark());
        }
        self.past.as_ref().and_then(|past| past.newest_at(main))
    }

    /// The revision a read at `main` sees, if the key was alive then.
    pub fn visible_at(&self, main: i64) -> Option<Revision> {
        self.newest_at(main).filter(|mark| !mark.tombstone).map(|mark| mark.revision)
    }

    /// Whether main revision `main`, which is not compacted, deleted the key, whatever it did with it after that.
    pub fn died_in(&self, main: i64) -> bool {
        let mut died = false;
        let mut look = |mark: Mark| died |= mark.tombstone && mark.revision.main == main;
        look(self.latest.mark());
        if let Some(past) = &self.past {
            past.each(&mut look);
        }
        died
    }

    /// Makes `meta` the latest; what was becomes past.
    pub fn advance(&mut self, meta: KeyMeta) {
        assert!(meta.revision > self.latest.revision, "revisions of a key ascend");
        Past::push(&mut self.past, self.latest.mark());
        self.latest = meta;
    }

    /// [`Self::advance`] while rebuilding after `watermark`: what nobody may read any more is dropped at once.
    /// Returns the revision dropped, if one was.
    pub fn advance_compacted(&mut self, meta: KeyMeta, watermark: i64) -> Option<Mark> {
        let old = self.latest.mark();
        let superseded = meta.revision.main <= watermark;
        let gone = old.tombstone && old.revision.main < watermark;
        let kept_tombstone = old.tombstone && old.revision.main == watermark;
        if (superseded || gone) && !kept_tombstone {
            assert!(meta.revision > old.revision, "revisions of a key ascend");
            self.latest = meta;
            return Some(old);
        }
        self.advance(meta);
        None
    }

    /// Whether compacting at `watermark` would take something.
    pub fn has_prunable(&self, watermark: i64) -> bool {
        let Some(past) = &self.past else {
            return self.latest.is_tombstone() && self.latest.revision.main < watermark;
        };
        let oldest = past.oldest();
        if oldest.revision.main > watermark {
            return false;
        }
        // At most one revision at or below the watermark stays, unless tombstones lie exactly on it.
        oldest.tombstone && oldest.revision.main < watermark
            || self.newest_at(watermark).is_some_and(|newest| newest.revision != oldest.revision)
                && !(oldest.tombstone && oldest.revision.main == watermark)
    }

    /// Drops what no read from `watermark` on can see: everything at or below it but the newest, and that too
    /// when it is a tombstone from before. A tombstone exactly at the watermark stays, so that a watcher that
    /// starts there still sees the delete. Tells what went, and returns whether nothing is left of the key.
    pub fn prune(&mut self, watermark: i64, mut on_dropped: impl FnMut(Mark)) -> bool {
        let latest = self.latest.mark();
        if latest.revision.main <= watermark
            && !latest.tombstone
            && let Some(past) = self.past.take_if(|past| past.newest.revision.main < watermark)
        {
            // The usual case: only the latest stays.
            past.each(&mut on_dropped);
            return false;
        }
        let mut marks = Vec::new();
        if let Some(past) = &self.past {
            past.collect_into(&mut marks);
        }
        marks.push(latest);
        let newest = self.newest_at(watermark).map(|mark| mark.revision);
        let (mut kept, dropped): (Vec<Mark>, Vec<Mark>) = marks.into_iter().partition(|mark| {
            let Mark { revision, tombstone } = *mark;
            revision.main > watermark
                || tombstone && revision.main == watermark
                || !tombstone && Some(revision) == newest
        });
        dropped.into_iter().for_each(on_dropped);
        if kept.pop().is_none() {
            return true;
        }
        self.past = Past::of(kept);
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meta(main: i64, tombstone: bool) -> KeyMeta {
        KeyMeta {
            create_revision: i64::from(!tombstone),
            revision: Revision::new(main, 0),
            version: i64::from(!tombstone),
            lease: 0,
        }
    }

    /// The keep rule, said once more and slowly.
    fn kept(marks: &[(i64, bool)], watermark: i64) -> Vec<(i64, bool)> {
        let newest = marks.iter().rev().find(|(main, _)| *main <= watermark);
        marks
            .iter()
            .filter(|mark| {
                let above = mark.0 > watermark;
                let the_one = Some(*mark) == newest && (!mark.1 || mark.0 == watermark);
                above || the_one
            })
            .copied()
            .collect()
    }

    fn marks_of(node: &KeyNode) -> Vec<(i64, bool)> {
        let mut marks = Vec::new();
        if let Some(past) = &node.past {
            past.collect_into(&mut marks);
        }
        marks.push(node.latest.mark());
        marks.iter().map(|m| (m.revision.main, m.tombstone)).collect()
    }

    proptest! {
        #[test]
        fn reads_and_prunes_as_the_rule_says(
            steps in prop::collection::vec((1i64..3, any::<bool>(), any::<bool>()), 1..200),
            cuts in prop::collection::vec(0i64..300, 0..4),
        ) {
            let mut all: Vec<(i64, bool)> = Vec::new();
            let mut main = 1;
            let mut shared = Vec::new();
            let mut node: Option<Arc<KeyNode>> = None;
            for (gap, tombstone, share) in steps {
                main += gap;
                let tombstone = tombstone && all.last().is_some_and(|last| !last.1);
                all.push((main, tombstone));
                match &mut node {
                    None => node = Some(Arc::new(KeyNode::new(b"k", meta(main, tombstone)))),
                    Some(node) => Arc::make_mut(node).advance(meta(main, tombstone)),
                }
                if share {
                    shared.push((node.clone(), all.clone()));
                }
            }
            let mut node = node.expect("at least one step");
            shared.push((Some(node.clone()), all.clone()));
            for (old, marks) in &shared {
                let old = old.as_ref().expect("shared after a step");
                for at in 0..=main + 1 {
                    let newest = marks.iter().rev().find(|(m, _)| *m <= at).copied();
                    prop_assert_eq!(old.newest_at(at).map(|m| (m.revision.main, m.tombstone)), newest);
                }
            }
            let mut cuts = cuts;
            cuts.sort_unstable();
            for cut in cuts {
                let expected = kept(&all, cut);
                let prunable = expected.len() < all.len();
                prop_assert_eq!(node.has_prunable(cut), prunable);
                let mut dropped = Vec::new();
                let gone = Arc::make_mut(&mut node).prune(cut, |mark| dropped.push((mark.revision.main, mark.tombstone)));
                dropped.sort_unstable();
                let left_out: Vec<_> = all.iter().filter(|mark| !expected.contains(mark)).copied().collect();
                prop_assert_eq!(dropped, left_out);
                prop_assert_eq!(gone, expected.is_empty());
                if gone {
                    return Ok(());
                }
                prop_assert_eq!(marks_of(&node), expected.clone());
                // Rebuilding after the same cut gives the same node.
                let mut rebuilt: Option<KeyNode> = None;
                for (m, tombstone) in &all {
                    let gone = *tombstone && *m < cut;
                    match &mut rebuilt {
                        None if !gone => rebuilt = Some(KeyNode::new(b"k", meta(*m, *tombstone))),
                        None => {}
                        Some(_) if gone => rebuilt = None,
                        Some(node) => { node.advance_compacted(meta(*m, *tombstone), cut); }
                    }
                }
                prop_assert_eq!(marks_of(&rebuilt.expect("not gone")), expected.clone());
                all = expected;
            }
        }
    }
}
