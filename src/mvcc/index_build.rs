//! Building the key index at boot, from records that come in order of revision.
//!
//! Putting them into the tree one by one would walk it for each, every walk through cold memory. So records are
//! gathered in batches, a batch is sorted by key and folded into nodes, and those are merged with the nodes of
//! the batches before; the tree is built once, at the end, from nodes in order.
//!
//! Folding a batch is most of the work. It is cut by keys into parts that know nothing of each other, so that whoever has
//! tasks to give may fold them side by side.
//!
//! Invariants: what comes out is what applying the records one by one and compacting at the watermark would
//! leave, however a batch is cut. A batch is as large as what was built before it, so merging costs a logarithm of passes;
//! its memory is bounded by that of the index.
//!
//! Does not know of files, nor of tasks.

use std::sync::Arc;

use super::counted_tree::CountedTree;
use super::key_index::{KeyIndex, KeyMeta, KeyNode, Mark};
use super::key_sort::{KeyHeap, KeyRef};
use super::record::RecordSlice;
use crate::base::{Revision, limits};

/// Records of a batch, at least; see [`IndexBuild::new`].
pub const BATCH_RECORDS: usize = 1 << 20;

/// Bytes of keys after which a batch is full whatever it counts.
const BATCH_KEY_BYTES: usize = 256 * 1024 * 1024;

/// Bytes of keys that are never gathered: a batch that would pass them is folded at once, be it within a segment. One
/// transaction may hold any number of keys; a heap of them says where each lies in 32 bits.
const MOST_KEY_BYTES: usize = 1024 * 1024 * 1024;

/// Keys whose memory is called in together.
const CALLED_IN: usize = 32;

/// How a load is cut; what comes out does not depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BatchSizes {
    /// Records of a batch, at least.
    pub(super) batch_records: usize,
    /// Records that are worth a part of their own.
    pub(super) part_records: usize,
}

impl Default for BatchSizes {
    fn default() -> Self {
        Self { batch_records: BATCH_RECORDS, part_records: limits::INDEX_PART_RECORDS }
    }
}

/// The index while it is built.
pub struct IndexBuild {
    watermark: i64,
    sizes: BatchSizes,
    most_key_bytes: usize,
    /// The batch, in order of revision.
    keys: KeyHeap,
    refs: Vec<KeyRef>,
    /// What was folded, in order of key.
    nodes: Vec<Arc<KeyNode>>,
    dead: Vec<Mark>,
    has_leases: bool,
}

/// The keys of a batch from one on and below another, with what was built of them before.
pub struct IndexPart {
    watermark: i64,
    keys: Arc<KeyHeap>,
    refs: Vec<KeyRef>,
    nodes: Vec<Arc<KeyNode>>,
}

/// A part whose batch is folded in.
pub struct FoldedPart {
    nodes: Vec<Arc<KeyNode>>,
    dead: Vec<Mark>,
}

impl IndexBuild {
    /// Nothing yet; for a store compacted at `watermark`.
    pub fn new(watermark: i64, sizes: BatchSizes) -> Self {
        Self {
            watermark,
            sizes,
            most_key_bytes: MOST_KEY_BYTES,
            keys: KeyHeap::default(),
            refs: Vec::new(),
            nodes: Vec::new(),
            dead: Vec::new(),
            has_leases: false,
        }
    }

    /// About so many bytes of keys are to come, as far as anybody can tell.
    pub fn expect_bytes(&mut self, bytes: u64) {
        self.keys.reserve(usize::try_from(bytes).unwrap_or(BATCH_KEY_BYTES).min(BATCH_KEY_BYTES));
    }

    /// Adds the next record.
    pub fn add(&mut self, record: &RecordSlice<'_>) {
        if self.keys.len() + record.key.len() > self.most_key_bytes {
            self.fold_here();
        }
        let (note, len) = note_of(&record.meta);
        self.refs.push(self.keys.push(record.key, &note[..len]));
        self.has_leases |= record.meta.lease != 0;
    }

    /// Whether the batch should be folded in: [`Self::take_parts`] or [`Self::fold`].
    pub fn is_full(&self) -> bool {
        self.refs.len() >= self.nodes.len().max(self.sizes.batch_records) || self.keys.len() >= BATCH_KEY_BYTES
    }

    /// Whether everything that was added is folded in.
    pub fn is_folded(&self) -> bool {
        self.refs.is_empty()
    }

    /// Whether a record that was added hangs on a lease.
    pub fn has_leases(&self) -> bool {
        self.has_leases
    }

    /// Takes the batch out to be folded; all parts come back, in their order, by [`Self::put_back`].
    pub fn take_parts(&mut self) -> Vec<IndexPart> {
        let keys = Arc::new(std::mem::take(&mut self.keys));
        let refs = std::mem::take(&mut self.refs);
        let mut nodes = std::mem::take(&mut self.nodes);
        let pieces = (refs.len() / self.sizes.part_records).clamp(1, limits::INDEX_PARTS);
        let mut parts = Vec::with_capacity(pieces);
        // From the last: what is cut off the end of the nodes is moved once.
        for (lower, refs) in keys.split(refs, pieces).into_iter().rev() {
            let from = lower.map_or(0, |lower| nodes.partition_point(|node| node.key() < keys.get(lower)));
            let own = if from == 0 { std::mem::take(&mut nodes) } else { nodes.split_off(from) };
            parts.push(IndexPart { watermark: self.watermark, keys: keys.clone(), refs, nodes: own });
        }
        parts.reverse();
        parts
    }

    /// Takes the parts back.
    pub fn put_back(&mut self, parts: Vec<FoldedPart>) {
        let count: usize = parts.iter().map(|part| part.nodes.len()).sum();
        for FoldedPart { nodes, dead } in parts {
            self.dead.extend(dead);
            if nodes.len() == count {
                // All of it is here.
                self.nodes = nodes;
                self.nodes.shrink_to_fit();
            } else {
                self.nodes.reserve_exact(count - self.nodes.len());
                self.nodes.extend(nodes);
            }
        }
    }

    /// The records that no read can see any more, known since the last call.
    pub fn take_dead(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.dead)
    }

    /// Folds the batch into the nodes, here and now.
    pub fn fold_here(&mut self) {
        let parts = self.take_parts();
        self.put_back(parts.into_iter().map(IndexPart::fold).collect());
    }

    /// As [`Self::fold_here`]; and what [`Self::take_dead`] gives then.
    pub fn fold(&mut self) -> Vec<Mark> {
        self.fold_here();
        self.take_dead()
    }

    /// The index, once everything is folded in.
    pub fn finish(self) -> KeyIndex {
        assert!(self.is_folded(), "the last batch is folded in before the index is taken");
        CountedTree::from_ascending(self.nodes)
    }
}

impl IndexPart {
    /// Sorts the part's records and folds them into its nodes.
    pub fn fold(self) -> FoldedPart {
        let Self { watermark, keys, mut refs, nodes: old } = self;
        keys.sort(&mut refs);
        let mut dead = Vec::new();
        let mut merged = Vec::with_capacity(old.len().max(refs.len()));
        let mut old = old.into_iter().peekable();
        let (mut at, mut called_in) = (0, 0);
        for of_key in refs.chunk_by(|a, b| keys.get(*a) == keys.get(*b)) {
            if at >= called_in {
                called_in = refs.len().min(at + CALLED_IN);
                keys.call_in(&refs[at..called_in]);
            }
            at += of_key.len();
            let key = keys.get(of_key[0]);
            while let Some(other) = old.next_if(|node| node.key() < key) {
                merged.push(other);
            }
            let mut node = old.next_if(|node| node.key() == key);
            for record in of_key {
                let (key, note) = keys.entry(*record);
                node = apply(node, key, meta_of(note), watermark, &mut dead);
            }
            merged.extend(node);
        }
        merged.extend(old);
        FoldedPart { nodes: merged, dead }
    }
}

/// What one change leaves of a key.
fn apply(
    node: Option<Arc<KeyNode>>,
    key: &[u8],
    meta: KeyMeta,
    watermark: i64,
    dead: &mut Vec<Mark>,
) -> Option<Arc<KeyNode>> {
    // Nothing at or below the watermark can be seen behind it: whatever comes later is a new life.
    let gone = meta.is_tombstone() && meta.revision.main < watermark;
    let node = match node {
        Some(mut node) => {
            let own = Arc::get_mut(&mut node).expect("nobody else has seen a node that is being built");
            dead.extend(own.advance_compacted(meta, watermark));
            Some(node)
        }
        None if gone => None,
        None => Some(Arc::new(KeyNode::new(key, meta))),
    };
    if gone {
        dead.push(meta.mark());
        return None;
    }
    node
}

/// Most bytes of a note.
const NOTE_BYTES: usize = 8 + 4 + 1 + 8 + 8 + 8;

/// A note of a key's first version without a lease, which says nothing more.
const FIRST: u8 = 0;
const ANY: u8 = 1;

/// What is said beside a key, in its note; how many bytes it has.
fn note_of(meta: &KeyMeta) -> ([u8; NOTE_BYTES], usize) {
    let mut note = [0; NOTE_BYTES];
    note[..8].copy_from_slice(&meta.revision.main.to_le_bytes());
    note[8..12].copy_from_slice(&meta.revision.sub.to_le_bytes());
    let is_first = meta.version == 1 && meta.create_revision == meta.revision.main && meta.lease == 0;
    if is_first {
        note[12] = FIRST;
        return (note, 13);
    }
    note[12] = ANY;
    note[13..21].copy_from_slice(&meta.create_revision.to_le_bytes());
    note[21..29].copy_from_slice(&meta.version.to_le_bytes());
    note[29..37].copy_from_slice(&meta.lease.to_le_bytes());
    (note, NOTE_BYTES)
}

/// What a note says.
fn meta_of(note: &[u8]) -> KeyMeta {
    let number = |at: usize| i64::from_le_bytes(*note[at..].first_chunk().expect("a note has all its bytes"));
    let sub = u32::from_le_bytes(*note[8..].first_chunk().expect("a note has all its bytes"));
    let revision = Revision::new(number(0), sub);
    if note[12] == FIRST {
        return KeyMeta { create_revision: revision.main, revision, version: 1, lease: 0 };
    }
    KeyMeta { create_revision: number(13), revision, version: number(21), lease: number(29) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One transaction, or one segment, may hold more keys than are gathered.
    #[test]
    fn a_batch_is_folded_before_its_keys_are_too_many() {
        let built = |most_key_bytes: usize| {
            let mut build = IndexBuild { most_key_bytes, ..IndexBuild::new(3, BatchSizes::default()) };
            let mut largest = 0;
            for sub in 0..500_u32 {
                let main = 2 + i64::from(sub / 300);
                let key = format!("key{:03}", sub * 7 % 90);
                let meta = KeyMeta { create_revision: 2, revision: Revision::new(main, sub), version: 1, lease: 0 };
                build.add(&RecordSlice { meta, last: true, key: key.as_bytes(), value: b"" });
                largest = largest.max(build.keys.len());
            }
            let dead: Vec<Mark> = build.fold();
            let mut marks: Vec<Revision> = dead.iter().map(|mark| mark.revision).collect();
            marks.sort_unstable();
            (largest, marks, build.finish().len())
        };
        let (all, dead, keys) = built(MOST_KEY_BYTES);
        let (bounded, same_dead, same_keys) = built(200);
        assert!(all > 4_000 && bounded <= 241, "{all} {bounded}");
        assert_eq!((dead.len(), keys), (410, 90));
        assert_eq!((same_dead, same_keys), (dead, keys));
    }

    proptest! {
        #[test]
        fn a_note_says_what_was_noted(main: i64, sub: u32, create: i64, version: i64, lease: i64, first: bool) {
            let revision = Revision::new(main, sub);
            let any = KeyMeta { create_revision: create, revision, version, lease };
            let meta = if first { KeyMeta { create_revision: main, version: 1, lease: 0, ..any } } else { any };
            let (note, len) = note_of(&meta);
            prop_assert_eq!(meta_of(&note[..len]), meta);
        }
    }
}
