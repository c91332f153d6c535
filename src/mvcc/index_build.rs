//! Building the key index at boot, from runs of records that come in order of revision.
//!
//! Putting records into the tree one by one would walk it for each, every walk through cold memory. So runs of them are
//! sorted by key (`index_run.rs`) and gathered in batches, a batch is folded into nodes, and those are merged with the nodes
//! of the batches before; the tree is built once, at the end, from nodes in order.
//!
//! Folding a batch is most of the work. It is cut by keys into parts that know nothing of each other, so that whoever has
//! tasks to give may fold them side by side.
//!
//! Invariants: what comes out is what applying the records one by one and compacting at the watermark would
//! leave, however they are cut. A batch is as large as what was built before it, so merging costs a logarithm of passes;
//! its memory is bounded by that of the index.
//!
//! Does not know of files, nor of tasks.

use std::ops::Range;
use std::sync::Arc;

use super::counted_tree::CountedTree;
use super::index_run::{self, IndexRun, Merge, RunBuild};
use super::key_index::{KeyIndex, KeyMeta, KeyNode, Mark};
use super::record::RecordSlice;
use crate::base::limits;

/// Records of a batch, at least; see [`IndexBuild::new`].
pub const BATCH_RECORDS: usize = 1 << 20;

/// Bytes of keys after which a batch is full whatever it counts.
const BATCH_KEY_BYTES: usize = 256 * 1024 * 1024;

/// How a load is cut; what comes out does not depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BatchSizes {
    /// Records of a batch, at least.
    pub(super) batch_records: usize,
    /// Records that are worth a part of their own.
    pub(super) part_records: usize,
    /// Bytes of keys that are read at once, and those that are worth a task of their own.
    pub(super) read_bytes: (u64, u64),
}

impl Default for BatchSizes {
    fn default() -> Self {
        Self {
            batch_records: BATCH_RECORDS,
            part_records: limits::INDEX_PART_RECORDS,
            read_bytes: (limits::INDEX_READ_BYTES, limits::INDEX_SHARE_BYTES),
        }
    }
}

/// The index while it is built.
pub struct IndexBuild {
    watermark: i64,
    sizes: BatchSizes,
    /// The batch, in order of revision: runs, and what was added one by one behind them.
    runs: Vec<Arc<IndexRun>>,
    open: RunBuild,
    /// What was folded, in order of key.
    nodes: Vec<Arc<KeyNode>>,
    dead: Vec<Mark>,
    has_leases: bool,
}

/// The keys of a batch from one on and below another, with what was built of them before.
pub struct IndexPart {
    watermark: i64,
    runs: Vec<(Arc<IndexRun>, Range<usize>)>,
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
            runs: Vec::new(),
            open: RunBuild::default(),
            nodes: Vec::new(),
            dead: Vec::new(),
            has_leases: false,
        }
    }

    /// How it is cut.
    pub(super) fn sizes(&self) -> BatchSizes {
        self.sizes
    }

    /// Adds the next record.
    pub fn add(&mut self, record: &RecordSlice<'_>) {
        self.open.add(record);
    }

    /// Adds the next records.
    pub fn add_runs(&mut self, runs: Vec<IndexRun>) {
        self.close();
        self.take_in(runs);
    }

    fn take_in(&mut self, runs: Vec<IndexRun>) {
        self.has_leases |= runs.iter().any(IndexRun::has_leases);
        self.runs.extend(runs.into_iter().map(Arc::new));
    }

    /// Makes a run of what was added one by one.
    fn close(&mut self) {
        let runs = self.open.take();
        self.take_in(runs);
    }

    /// Whether the batch should be folded in: [`Self::take_parts`] or [`Self::fold`].
    pub fn is_full(&self) -> bool {
        let records = self.runs.iter().map(|run| run.records()).sum::<usize>() + self.open.records();
        let key_bytes = self.runs.iter().map(|run| run.key_bytes()).sum::<usize>() + self.open.key_bytes();
        records >= self.nodes.len().max(self.sizes.batch_records) || key_bytes >= BATCH_KEY_BYTES
    }

    /// Whether everything that was added is folded in.
    pub fn is_folded(&self) -> bool {
        self.runs.is_empty() && self.open.records() == 0
    }

    /// Whether a record that was folded in hangs on a lease.
    pub fn has_leases(&self) -> bool {
        self.has_leases
    }

    /// Takes the batch out to be folded; all parts come back, in their order, by [`Self::put_back`].
    pub fn take_parts(&mut self) -> Vec<IndexPart> {
        self.close();
        let runs = std::mem::take(&mut self.runs);
        let mut nodes = std::mem::take(&mut self.nodes);
        let records: usize = runs.iter().map(|run| run.records()).sum();
        let pieces = (records / self.sizes.part_records).clamp(1, limits::INDEX_PARTS);
        let held: Vec<&IndexRun> = runs.iter().map(Arc::as_ref).collect();
        let mut parts = Vec::with_capacity(pieces);
        let mut ends: Vec<usize> = runs.iter().map(|run| run.records()).collect();
        // From the last: what is cut off the end of the nodes is moved once.
        for lower in index_run::cut(&held, pieces).into_iter().rev().map(Some).chain([None]) {
            let begin = |run: &IndexRun| lower.map_or(0, |lower| run.below(lower));
            let of_part = runs.iter().zip(&mut ends).map(|(run, end)| {
                let from = begin(run);
                (run.clone(), from..std::mem::replace(end, from))
            });
            let of_part = of_part.collect();
            let from = lower.map_or(0, |lower| nodes.partition_point(|node| node.key() < lower));
            let own = if from == 0 { std::mem::take(&mut nodes) } else { nodes.split_off(from) };
            parts.push(IndexPart { watermark: self.watermark, runs: of_part, nodes: own });
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
    fn fold_here(&mut self) {
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
    /// Folds the part's records into its nodes.
    pub fn fold(self) -> FoldedPart {
        let Self { watermark, runs, nodes: old } = self;
        let mut dead = Vec::new();
        let records: usize = runs.iter().map(|(_, range)| range.len()).sum();
        let mut merged = Vec::with_capacity(old.len().max(records));
        let mut old = old.into_iter().peekable();
        let mut records = Merge::of(runs.iter().map(|(run, range)| (run.as_ref(), range.clone())));
        let mut next = records.next();
        while let Some((key, mut meta)) = next {
            while let Some(other) = old.next_if(|node| node.key() < key) {
                merged.push(other);
            }
            let mut node = old.next_if(|node| node.key() == key);
            loop {
                node = apply(node, key, meta, watermark, &mut dead);
                next = records.next();
                match next {
                    Some((same, later)) if same == key => meta = later,
                    _ => break,
                }
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
