//! Building the key index at boot, from records that come in order of revision.
//!
//! Putting them into the tree one by one would walk it for each, every walk through cold memory. So records are
//! gathered in batches, a batch is sorted by key and folded into nodes, and those are merged with the nodes of
//! the batches before; the tree is built once, at the end, from nodes in order.
//!
//! Invariants: what comes out is what applying the records one by one and compacting at the watermark would
//! leave. A batch is as large as what was built before it, so merging costs a logarithm of passes; its memory
//! is bounded by that of the index.
//!
//! Does not know of files.

use std::sync::Arc;

use super::counted_tree::CountedTree;
use super::key_index::{KeyIndex, KeyMeta, KeyNode, Mark};
use super::key_sort::{KeyHeap, KeyRef};
use super::record::RecordSlice;

/// Records of a batch, at least; see [`IndexBuild::new`].
pub const BATCH_RECORDS: usize = 1 << 20;

/// Bytes of keys after which a batch is full whatever it counts.
const BATCH_KEY_BYTES: usize = 256 * 1024 * 1024;

/// Bytes of keys that are never gathered: a batch that would pass them is folded at once, be it within a segment. One
/// transaction may hold any number of keys; a heap of them says where each lies in 32 bits.
const MOST_KEY_BYTES: usize = 1024 * 1024 * 1024;

/// The index while it is built.
pub struct IndexBuild {
    watermark: i64,
    batch_records: usize,
    most_key_bytes: usize,
    /// The batch: keys, where each lies, and what belongs to them, all in order of revision.
    keys: KeyHeap,
    refs: Vec<KeyRef>,
    metas: Vec<KeyMeta>,
    /// What was folded, in order of key.
    nodes: Vec<Arc<KeyNode>>,
    dead: Vec<Mark>,
}

impl IndexBuild {
    /// Nothing yet; for a store compacted at `watermark`. A batch holds `batch_records` at least, which is
    /// [`BATCH_RECORDS`] but in tests: what comes out does not depend on it.
    pub fn new(watermark: i64, batch_records: usize) -> Self {
        Self {
            watermark,
            batch_records,
            most_key_bytes: MOST_KEY_BYTES,
            keys: KeyHeap::default(),
            refs: Vec::new(),
            metas: Vec::new(),
            nodes: Vec::new(),
            dead: Vec::new(),
        }
    }

    /// Adds the next record.
    pub fn add(&mut self, record: &RecordSlice<'_>) {
        if self.keys.len() + record.key.len() > self.most_key_bytes {
            self.fold_batch();
        }
        self.refs.push(self.keys.push(record.key));
        self.metas.push(record.meta);
    }

    /// Whether the batch should be folded in: [`Self::fold`].
    pub fn is_full(&self) -> bool {
        self.metas.len() >= self.nodes.len().max(self.batch_records) || self.keys.len() >= BATCH_KEY_BYTES
    }

    /// Folds the batch into the nodes. Returns the records that no read can see any more, known since the last
    /// call.
    pub fn fold(&mut self) -> Vec<Mark> {
        self.fold_batch();
        std::mem::take(&mut self.dead)
    }

    fn fold_batch(&mut self) {
        let keys = std::mem::take(&mut self.keys);
        let metas = std::mem::take(&mut self.metas);
        let mut refs = std::mem::take(&mut self.refs);
        keys.sort(&mut refs);
        let old = std::mem::take(&mut self.nodes);
        let mut merged = Vec::with_capacity(old.len().max(refs.len()));
        let mut old = old.into_iter().peekable();
        for of_key in refs.chunk_by(|a, b| keys.get(*a) == keys.get(*b)) {
            let key = keys.get(of_key[0]);
            while let Some(other) = old.next_if(|node| node.key() < key) {
                merged.push(other);
            }
            let mut node = old.next_if(|node| node.key() == key);
            for record in of_key {
                node = self.apply(node, key, metas[record.number()]);
            }
            merged.extend(node);
        }
        merged.extend(old);
        merged.shrink_to_fit();
        self.nodes = merged;
    }

    /// What one change leaves of a key.
    fn apply(&mut self, node: Option<Arc<KeyNode>>, key: &[u8], meta: KeyMeta) -> Option<Arc<KeyNode>> {
        // Nothing at or below the watermark can be seen behind it: whatever comes later is a new life.
        let gone = meta.is_tombstone() && meta.revision.main < self.watermark;
        let node = match node {
            Some(mut node) => {
                let own = Arc::get_mut(&mut node).expect("nobody else has seen a node that is being built");
                self.dead.extend(own.advance_compacted(meta, self.watermark));
                Some(node)
            }
            None if gone => None,
            None => Some(Arc::new(KeyNode::new(key, meta))),
        };
        if gone {
            self.dead.push(meta.mark());
            return None;
        }
        node
    }

    /// The index, once everything is folded in.
    pub fn finish(self) -> KeyIndex {
        assert!(self.metas.is_empty(), "the last batch is folded in before the index is taken");
        CountedTree::from_ascending(self.nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Revision;

    /// One transaction, or one segment, may hold more keys than are gathered.
    #[test]
    fn a_batch_is_folded_before_its_keys_are_too_many() {
        let built = |most_key_bytes: usize| {
            let mut build = IndexBuild { most_key_bytes, ..IndexBuild::new(3, 1 << 20) };
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
        assert!(all > 4_000 && bounded <= 210, "{all} {bounded}");
        assert_eq!((dead.len(), keys), (410, 90));
        assert_eq!((same_dead, same_keys), (dead, keys));
    }
}
