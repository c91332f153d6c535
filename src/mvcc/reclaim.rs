//! Reclaim: giving back the space of what was compacted, by writing what is alive of some segments into one.
//!
//! Invariants: only records below the watermark that no read can see are left behind, so every answer stays the
//! same; the index is not touched, because it knows no places. The new file is durable before the table names
//! it; an old file goes only after a checkpoint that no longer names it is durable, and stays readable for
//! views that still hold it. One job at a time: what it works on must still be there when it is done.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::history::HISTORY_DIR;
use super::key_index::KeyIndex;
use super::position::StorePosition;
use super::record::{KIND_RECORD, Record};
use super::segment::{Segment, SegmentScan, file_name};
use super::store::Store;
use super::view::SCAN_WINDOW;
use crate::base::Wrong;
use crate::env::{Disk, DiskFile, OpenMode};
use crate::log::frame;
use crate::log::{LOG_HISTORY, Place};

/// Bytes of the new file written at once.
const WRITE_BYTES: usize = 1024 * 1024;

/// A segment below this part of its full size is small: neighbours that are small become one.
const SMALL_PART: u64 = 4;

/// Segments to be rewritten as one. Holds all it needs, so it may run beside the store.
pub struct ReclaimJob<D: Disk> {
    segments: Vec<Arc<Segment<D>>>,
    dead: u64,
    index: KeyIndex,
    watermark: i64,
    number: u64,
}

/// A reclaim that ran; to be handed to [`Store::reclaimed`].
pub struct Reclaimed<D: Disk> {
    old: Vec<Arc<Segment<D>>>,
    dead: u64,
    new: Option<Arc<Segment<D>>>,
}

fn live<D: Disk>(segment: &Segment<D>) -> u64 {
    segment.len() - segment.dead()
}

impl<D: Disk> Store<D> {
    /// Sealed segments worth rewriting: neighbours less than half alive, or small. The job runs before another
    /// is asked for.
    pub fn reclaim_candidate(&self) -> Option<ReclaimJob<D>> {
        if self.is_pruning() {
            // What is dead is not counted yet.
            return None;
        }
        let full = self.history.segment_bytes();
        let (_, sealed) = self.history.table().segments().split_last()?;
        let sealed = &sealed[..sealed.iter().take_while(|segment| !segment.has_unwritten()).count()];
        let poor = |segment: &Arc<Segment<D>>| live(segment) * 2 < segment.len();
        let small = |segment: &Arc<Segment<D>>| segment.len() < full / SMALL_PART;
        let begins = |at: usize| poor(&sealed[at]) || small(&sealed[at]) && sealed.get(at + 1).is_some_and(small);
        let from = (0..sealed.len()).find(|at| begins(*at))?;
        let mut together = live(&sealed[from]);
        let more = sealed[from + 1..].iter().take_while(|segment| {
            together += live(segment);
            (poor(segment) || small(segment)) && together <= full
        });
        let segments = sealed[from..from + 1 + more.count()].to_vec();
        Some(ReclaimJob {
            dead: segments.iter().map(|segment| segment.dead()).sum(),
            segments,
            index: self.index.clone(),
            watermark: self.compact_revision(),
            number: self.history.fresh_number(),
        })
    }

    /// Puts the rewritten segment in place of the old ones, whose files stay until [`Self::garbage`] names them.
    pub fn reclaimed(&mut self, done: Reclaimed<D>) {
        let numbers: Vec<u64> = done.old.iter().map(|segment| segment.number()).collect();
        if let Some(new) = &done.new {
            // What died in the old segments meanwhile is dead in the new one.
            let dead_now: u64 = done.old.iter().map(|segment| segment.dead()).sum();
            new.bury_bytes(dead_now.saturating_sub(done.dead));
        }
        self.history.replace(&numbers, done.new);
        self.replaced.extend(done.old);
    }

    /// Files that may be removed, because neither the store nor one of `kept`, the checkpoints that are on the
    /// disk and a restart may take, names them. Each is named once.
    pub fn garbage(&mut self, kept: &[&StorePosition]) -> Vec<String> {
        let mut names = Vec::new();
        self.replaced.retain(|segment| {
            let needed = kept.iter().any(|position| position.names(segment.number()));
            // A view may still read it: through a handle opened before the name goes. If that fails, later.
            let stays = needed || segment.file().is_err();
            if !stays {
                names.push(file_name(segment.number()));
            }
            stays
        });
        names
    }
}

impl<D: Disk> ReclaimJob<D> {
    /// Whether a read can still see the record.
    fn is_alive(&self, record: &Record) -> bool {
        let revision = record.meta.revision;
        if revision.main >= self.watermark {
            return true;
        }
        self.index.get(&record.key).and_then(|node| node.visible_at(self.watermark)) == Some(revision)
    }

    /// Writes the new file and makes it durable.
    pub async fn run(self, disk: &D) -> Result<Reclaimed<D>, Wrong> {
        let (first, last) = (&self.segments[0], &self.segments[self.segments.len() - 1]);
        let new = Arc::new(Segment::new(disk.clone(), self.number, first.first(), true));
        let mut file = None;
        let (mut out, mut written) = (BytesMut::new(), 0u64);
        for segment in &self.segments {
            let mut scan = SegmentScan::new(segment.clone(), segment.first(), SCAN_WINDOW);
            while let Some((at, record, _)) = scan.next()? {
                if !self.is_alive(&record) {
                    continue;
                }
                let place = Place { log: LOG_HISTORY, segment: self.number, offset: written + out.len() as u64 };
                let begun = frame::begin(&mut out);
                record.encode(&mut out);
                let total = frame::seal(&mut out, begun, place, KIND_RECORD);
                let damaged = |what: &str| Wrong::corrupt(file_name(segment.number()), at, what);
                new.note(record.meta.revision, total).map_err(damaged)?;
                if out.len() >= WRITE_BYTES {
                    written += self.write(disk, &mut file, written, out.split().freeze())?;
                }
            }
        }
        if written > 0 || !out.is_empty() {
            self.write(disk, &mut file, written, out.freeze())?;
        }
        if let Some(file) = &file {
            file.sync().await?;
            disk.sync_dir(HISTORY_DIR).await?;
        }
        new.close_at(last.last());
        let new = file.is_some().then_some(new);
        Ok(Reclaimed { old: self.segments, dead: self.dead, new })
    }

    fn write(&self, disk: &D, file: &mut Option<D::File>, at: u64, bytes: Bytes) -> Result<u64, Wrong> {
        if file.is_none() {
            *file = Some(disk.open(&file_name(self.number), OpenMode::Create)?);
        }
        let file = file.as_ref().expect("it was just opened");
        file.write_at(at, &bytes)?;
        Ok(bytes.len() as u64)
    }
}
