//! Opening a store at a position: the history is cut back to it and the index is built by one walk over it.
//!
//! Invariants: afterwards the store is what it was when the position was taken, with every compaction up to
//! then pruned. What the position does not name is not ours any more: such files go. A file that is missing,
//! short or damaged is a corruption, named with its place; nothing is guessed.
//!
//! The only part of the store that waits for the disk; it runs before there are clients.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use super::compaction::Pruning;
use super::counted_tree::CountedTree;
use super::history::{HISTORY_DIR, History};
use super::key_index::{KeyIndex, KeyNode, Mark};
use super::position::{SegmentMark, StorePosition};
use super::record::Record;
use super::segment::{Segment, SegmentScan, file_name};
use super::store::{Store, StoreOptions};
use super::value_cache::ValueCache;
use crate::base::Wrong;
use crate::env::{Disk, DiskFile, OpenMode};

/// Bytes read at once: large, because nothing else uses the disk.
const BOOT_WINDOW: usize = 1024 * 1024;

impl<D: Disk> Store<D> {
    /// Opens the store at `from`; the default position makes a fresh one.
    pub fn open(disk: D, options: StoreOptions, from: &StorePosition) -> Result<Self, Wrong> {
        disk.create_dir(HISTORY_DIR)?;
        cut_back(&disk, from)?;
        let mut building =
            Building { index: CountedTree::default(), watermark: from.compact_revision, dead: Vec::new() };
        let mut segments = Vec::with_capacity(from.segments.len());
        for mark in &from.segments {
            segments.push(read_segment(&disk, mark, &mut building)?);
        }
        let history = History::new(disk, segments, options.segment_bytes);
        building.dead.iter().for_each(|mark| history.table().bury(*mark));
        Ok(Self {
            index: building.index,
            history,
            cache: Arc::new(ValueCache::new(options.cache_bytes)),
            watermark: Arc::new(AtomicI64::new(from.compact_revision)),
            revision: from.revision,
            pruning: Pruning::new(from.compact_revision),
            replaced: Vec::new(),
            torn: false,
        })
    }
}

/// Removes files the position does not name and cuts what grew after it.
fn cut_back<D: Disk>(disk: &D, from: &StorePosition) -> Result<(), Wrong> {
    let names: Vec<String> = from.files().map(|(name, _)| name).collect();
    for name in disk.list(HISTORY_DIR)? {
        let path = format!("{HISTORY_DIR}/{name}");
        if !names.contains(&path) {
            disk.remove(&path)?;
        }
    }
    for (name, len) in from.files() {
        if !disk.exists(&name)? {
            return Err(Wrong::corrupt(name, 0, "the checkpoint names it, but it is not there"));
        }
        let file = disk.open(&name, OpenMode::Write)?;
        let found = file.len()?;
        if found < len {
            return Err(Wrong::corrupt(name, found, format!("the checkpoint says {len} bytes, the file ends here")));
        }
        if found > len {
            file.set_len(len)?;
        }
    }
    Ok(())
}

fn read_segment<D: Disk>(disk: &D, mark: &SegmentMark, building: &mut Building) -> Result<Arc<Segment<D>>, Wrong> {
    let segment = Arc::new(Segment::new(disk.clone(), mark.number, mark.first, mark.sparse));
    let mut scan = SegmentScan::whole(segment.clone(), mark.len, BOOT_WINDOW);
    let mut ended = true;
    while let Some((at, record, total)) = scan.next()? {
        let damaged = |what: &str| Wrong::corrupt(file_name(mark.number), at, what);
        segment.note(record.meta.revision, total).map_err(damaged)?;
        if record.meta.revision.main > mark.last {
            return Err(damaged("a revision beyond what the checkpoint says"));
        }
        ended = record.last;
        building.add(record).map_err(damaged)?;
    }
    if !mark.sparse && (segment.last() != mark.last || !ended) {
        return Err(Wrong::corrupt(
            file_name(mark.number),
            mark.len,
            "it ends before the revision the checkpoint says",
        ));
    }
    segment.close_at(mark.last);
    Ok(segment)
}

/// The index while it is built.
struct Building {
    index: KeyIndex,
    watermark: i64,
    dead: Vec<Mark>,
}

impl Building {
    fn add(&mut self, record: Record) -> Result<(), &'static str> {
        let (meta, watermark) = (record.meta, self.watermark);
        let gone = meta.is_tombstone() && meta.revision.main < watermark;
        let (mut dropped, mut ascends, mut known) = (None, true, false);
        self.index.put(&record.key, |node| match node {
            Some(node) => {
                known = true;
                let node = Arc::make_mut(node);
                ascends = meta.revision > node.latest().revision;
                if ascends {
                    dropped = node.advance_compacted(meta, watermark);
                }
                None
            }
            None => (!gone).then(|| Arc::new(KeyNode::new(&record.key, meta))),
        });
        if !ascends {
            return Err("revisions of a key do not ascend");
        }
        if gone {
            // Nothing at or below the watermark can be seen behind it: whatever comes later is a new life.
            self.dead.push(meta.mark());
            if known {
                self.index.remove(&record.key);
            }
        }
        self.dead.extend(dropped);
        Ok(())
    }
}
