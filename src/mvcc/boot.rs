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
use super::history::{HISTORY_DIR, History, holding};
use super::index_build::IndexBuild;
use super::key_index::Mark;
use super::position::StorePosition;
use super::segment::{Segment, Window};
use super::store::{Store, StoreOptions};
use super::value_cache::ValueCache;
use crate::base::Wrong;
use crate::env::{Disk, DiskFile, OpenMode};

impl<D: Disk> Store<D> {
    /// Opens the store at `from`; the default position makes a fresh one.
    pub fn open(disk: D, options: StoreOptions, from: &StorePosition) -> Result<Self, Wrong> {
        disk.create_dir(HISTORY_DIR)?;
        cut_back(&disk, from)?;
        let mut build = IndexBuild::new(from.compact_revision);
        let mut window = Window::default();
        let mut segments = Vec::with_capacity(from.segments.len());
        for mark in &from.segments {
            segments.push(Segment::load(&disk, mark, &mut window, |record| build.add(record))?);
            if build.is_full() {
                bury(&segments, build.fold());
            }
        }
        bury(&segments, build.fold());
        Ok(Self {
            index: build.finish(),
            history: History::new(disk, segments, options.segment_bytes),
            cache: Arc::new(ValueCache::new(options.cache_bytes)),
            watermark: Arc::new(AtomicI64::new(from.compact_revision)),
            revision: from.revision,
            pruning: Pruning::new(from.compact_revision),
            replaced: Vec::new(),
            torn: false,
        })
    }
}

/// Counts what is dead in the segments that hold it.
fn bury<D: Disk>(segments: &[Arc<Segment<D>>], dead: Vec<Mark>) {
    for mark in dead {
        holding(segments, mark.revision.main).expect("it was just read").bury(mark);
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
