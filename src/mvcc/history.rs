//! The history: every change in order of revision, in segments.
//!
//! Invariants: segments ascend and never overlap; only the last one grows. The table of segments is shared
//! with views and replaced, never changed, when a segment is added or rewritten. Nothing here writes to the
//! disk: [`History::take_writes`] hands out what is to be written, and memory is kept until
//! [`History::written`] says that the file has it.
//!
//! Does not know which revisions are live, nor of keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::history_write::{HISTORY_DIR, HistoryWrite, WriteMark};
use super::key_index::Mark;
use super::position::SegmentMark;
use super::record::{Record, RecordSlice};
use super::segment::{Segment, SegmentScan};
use crate::base::limits::SECTOR_BYTES;
use crate::base::{Fault, Revision, Wrong};
use crate::env::Disk;

/// Segment numbers of one generation: the upper half of a number says which. A generation is what one snapshot
/// was built into, and all that was appended and rewritten after it, so what is being built beside a history never
/// takes a number of it.
pub(super) const GENERATION_NUMBERS: u64 = 1 << 32;

/// Bytes read at once when walking the history for watchers, digests and reclaim.
pub(super) const SCAN_WINDOW: usize = 256 * 1024;

/// The segments at one moment.
pub struct Table<D: Disk> {
    segments: Vec<Arc<Segment<D>>>,
}

impl<D: Disk> Clone for Table<D> {
    fn clone(&self) -> Self {
        Self { segments: self.segments.clone() }
    }
}

impl<D: Disk> Table<D> {
    /// The segments in order.
    pub fn segments(&self) -> &[Arc<Segment<D>>] {
        &self.segments
    }

    fn holding(&self, main: i64) -> Option<&Arc<Segment<D>>> {
        holding(&self.segments, main)
    }

    /// The record of `revision`, which the index says is there.
    pub fn read(&self, revision: Revision) -> Result<Record, Wrong> {
        match self.holding(revision.main) {
            Some(segment) => segment.read(revision),
            None => Err(Wrong::corrupt(HISTORY_DIR, 0, format!("no segment holds revision {revision}"))),
        }
    }

    /// The records from main revision `from` to `to`, both included, in order; reads `window` bytes at a time.
    pub fn scan(self: &Arc<Self>, from: i64, to: i64, window: usize) -> Scan<D> {
        let at = self.segments.partition_point(|segment| segment.first() <= from).saturating_sub(1);
        Scan { table: self.clone(), at, current: None, from, to, window }
    }
}

/// The one of `segments` that main revision `main` belongs to.
pub(super) fn holding<D: Disk>(segments: &[Arc<Segment<D>>], main: i64) -> Option<&Arc<Segment<D>>> {
    segments.partition_point(|segment| segment.first() <= main).checked_sub(1).map(|at| &segments[at])
}

/// A walk over records; see [`Table::scan`].
pub struct Scan<D: Disk> {
    table: Arc<Table<D>>,
    at: usize,
    current: Option<SegmentScan<D>>,
    from: i64,
    to: i64,
    window: usize,
}

impl<D: Disk> Scan<D> {
    /// The next record; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Record>, Wrong> {
        Ok(self.step()?.then(|| self.record()))
    }

    /// Goes to the next record, which [`Self::current`] then shows where it lies; false at the end.
    pub fn step(&mut self) -> Result<bool, Wrong> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(segment) = self.table.segments.get(self.at).filter(|segment| segment.first() <= self.to)
                else {
                    return Ok(false);
                };
                self.current = Some(SegmentScan::new(segment.clone(), self.from, self.window));
                continue;
            };
            match current.step()? {
                Some(_) if current.current().meta.revision.main > self.to => {
                    self.at = self.table.segments.len();
                    self.current = None;
                }
                Some(_) => return Ok(true),
                None => {
                    self.at += 1;
                    self.current = None;
                }
            }
        }
    }

    fn at_hand(&self) -> &SegmentScan<D> {
        self.current.as_ref().expect("a record was stepped to")
    }

    /// The record that was stepped to.
    pub fn current(&self) -> RecordSlice<'_> {
        self.at_hand().current()
    }

    /// As [`Self::current`], to be kept.
    pub fn record(&self) -> Record {
        self.at_hand().record()
    }
}

/// The writer's hold of the history.
pub struct History<D: Disk> {
    disk: D,
    table: Arc<Table<D>>,
    segment_bytes: u64,
    next_number: AtomicU64,
    unwritten: usize,
    /// What of it was handed out to be written.
    handed_out: usize,
    /// Sums over the segments, kept because they are asked for at every write.
    size: u64,
    in_use: u64,
    /// Whether something died, or a segment was sealed, written or replaced, since reclaim found nothing to do.
    stirred: bool,
    /// Whether a segment may be there to be outlined.
    may_outline: bool,
    /// Bytes of the segments' outlines.
    outline_bytes: u64,
    /// The last segment takes no more records.
    sealed: bool,
    /// The newest generation that was given away.
    generation: u64,
}

impl<D: Disk> History<D> {
    /// A history of these segments, in order. Numbers up to `used` belong to others.
    pub fn new(disk: D, segments: Vec<Arc<Segment<D>>>, segment_bytes: u64, used: Option<u64>) -> Self {
        assert!((1..=u64::from(u32::MAX / 4)).contains(&segment_bytes), "tables say where a record starts in 31 bits");
        let next = segments.iter().map(|segment| segment.number()).chain(used).max().map_or(0, |last| last + 1);
        let size = segments.iter().map(|segment| segment.len()).sum();
        // What was promised is not written to again, not even its last sector: see `Self::pad`; nor what is outlined.
        let may_grow =
            |last: &Arc<Segment<D>>| last.len().is_multiple_of(SECTOR_BYTES as u64) && last.outlining().is_none();
        let sealed = !segments.last().is_none_or(may_grow);
        let outline_bytes = segments.iter().map(|segment| outline_bytes(segment)).sum();
        let in_use = segments.iter().map(|segment| segment.live_bytes()).sum();
        Self {
            disk,
            table: Arc::new(Table { segments }),
            segment_bytes,
            next_number: AtomicU64::new(next),
            unwritten: 0,
            handed_out: 0,
            size,
            in_use,
            stirred: true,
            may_outline: true,
            outline_bytes,
            sealed,
            generation: next / GENERATION_NUMBERS,
        }
    }

    /// The segments as they are now.
    pub fn table(&self) -> &Arc<Table<D>> {
        &self.table
    }

    /// Bytes at which a segment is sealed.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// A segment number that no other segment has or will have.
    pub fn fresh_number(&self) -> u64 {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        assert!(!(number + 1).is_multiple_of(GENERATION_NUMBERS), "a generation has fewer than 2^32 segments");
        number
    }

    /// A generation that nothing here has a number of, nor will have.
    pub fn fresh_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// Generations that `before` gave away are not given again: something may still be built in one.
    pub fn skip_generations(&mut self, before: &Self) {
        self.skip_generation(before.generation);
    }

    /// This generation, and none before it, is given away any more.
    pub fn skip_generation(&mut self, generation: u64) {
        self.generation = self.generation.max(generation);
    }

    /// Fills the sector that was begun: what is appended from here on touches none that was written before.
    pub fn pad(&mut self) {
        let Some(segment) = self.active() else { return };
        let (segment, live) = (segment.clone(), segment.live_bytes());
        let pad = segment.pad();
        self.unwritten += pad;
        self.size += pad as u64;
        self.in_use += segment.live_bytes() - live;
    }

    /// Appends records of the transaction of main revision `main`, of which `before` are here already: it stays in one segment.
    pub fn append(&mut self, main: i64, before: u32, records: impl Iterator<Item = Record>) {
        let room =
            self.active().is_some_and(|segment| segment.len() < self.segment_bytes && segment.last() + 1 == main);
        if before > 0 {
            assert!(
                self.active().is_some_and(|segment| segment.last() == main),
                "nothing is sealed in the middle of a transaction"
            );
        } else if !room {
            let segment = Segment::new(self.disk.clone(), self.fresh_number(), main, false);
            Arc::make_mut(&mut self.table).segments.push(Arc::new(segment));
            self.sealed = false;
            self.stirred = true;
            self.may_outline = true;
        }
        let segment = self.active().expect("one was just made").clone();
        let (len, live) = (segment.len(), segment.live_bytes());
        for record in records {
            self.unwritten += segment.append(&record);
        }
        self.size += segment.len() - len;
        self.in_use += segment.live_bytes() - live;
    }

    /// Counts the record of `mark` as dead.
    pub fn bury(&mut self, mark: Mark) {
        if let Some(segment) = self.table.holding(mark.revision.main) {
            let live = segment.live_bytes();
            segment.bury(mark);
            self.in_use -= live - segment.live_bytes();
            self.stirred = true;
        }
    }

    /// Whether reclaim may find something to do that it did not find before.
    pub fn is_stirred(&self) -> bool {
        self.stirred
    }

    /// Reclaim is to look again.
    pub fn stir(&mut self) {
        self.stirred = true;
    }

    /// Reclaim found nothing to do.
    pub fn settle(&mut self) {
        self.stirred = false;
    }

    fn active(&self) -> Option<&Arc<Segment<D>>> {
        self.table.segments.last().filter(|segment| !segment.is_sparse() && !self.sealed)
    }

    /// Lets the segment that grows take no more records: the next transaction begins another.
    pub fn seal(&mut self) {
        self.sealed = true;
        self.stirred = true;
        self.may_outline = true;
    }

    /// The segments that will not grow any more.
    pub fn sealed(&self) -> &[Arc<Segment<D>>] {
        let segments = &self.table.segments;
        &segments[..segments.len() - usize::from(self.active().is_some())]
    }

    /// What the disk was not given yet, in order.
    pub fn take_writes(&mut self) -> Vec<HistoryWrite> {
        let unwritten = self.table.segments.iter().rev().take_while(|segment| segment.has_unwritten());
        let mut writes: Vec<HistoryWrite> = unwritten.filter_map(|segment| segment.take_write()).collect();
        writes.reverse();
        self.handed_out = self.unwritten;
        writes
    }

    /// The files hold everything up to `upto`.
    pub fn written(&mut self, upto: WriteMark) {
        let active = self.active().map(|segment| segment.number());
        for segment in self.table.segments.iter().rev() {
            if !segment.has_unwritten() && segment.number() < upto.segment {
                break;
            }
            let end = match segment.number().cmp(&upto.segment) {
                std::cmp::Ordering::Less => u64::MAX,
                std::cmp::Ordering::Equal => upto.end,
                std::cmp::Ordering::Greater => continue,
            };
            let dropped = segment.written(end);
            let sealed = dropped > 0 && active != Some(segment.number());
            self.stirred |= sealed;
            self.may_outline |= sealed;
            self.unwritten = self.unwritten.checked_sub(dropped).expect("only what was appended is written");
            self.handed_out = self.handed_out.checked_sub(dropped).expect("only what was handed out is written");
        }
    }

    /// Bytes held in memory because the files do not have them yet.
    pub fn unwritten(&self) -> usize {
        self.unwritten
    }

    /// Bytes held in memory that nobody was given to write.
    pub fn gathered(&self) -> usize {
        self.unwritten - self.handed_out
    }

    /// Whether a file is there.
    pub fn has_file(&self, name: &str) -> Result<bool, Fault> {
        self.disk.exists(name)
    }

    /// Whether the segments with these numbers are here, and not only in a history this one took the place of.
    pub fn holds(&self, numbers: &[u64]) -> bool {
        self.table.segments.iter().any(|segment| numbers.first() == Some(&segment.number()))
    }

    /// Puts `replacement` where the segments with these numbers are.
    pub fn replace(&mut self, numbers: &[u64], replacement: Option<Arc<Segment<D>>>) {
        let segments = &mut Arc::make_mut(&mut self.table).segments;
        let at = segments.iter().position(|segment| numbers.first() == Some(&segment.number()));
        let at = at.expect("one reclaim runs at a time, so its segments are still there");
        let old: Vec<u64> = segments[at..at + numbers.len()].iter().map(|segment| segment.number()).collect();
        assert_eq!(old, numbers, "reclaimed segments are neighbours");
        if let Some(new) = &replacement {
            self.size += new.len();
            self.in_use += new.live_bytes();
        }
        for old in segments.splice(at..at + numbers.len(), replacement) {
            self.size -= old.len();
            self.in_use -= old.live_bytes();
            self.outline_bytes -= outline_bytes(&old);
        }
        self.stirred = true;
        self.may_outline = true;
    }

    /// The segments for a position. An empty one is left out.
    pub(super) fn marks(&self) -> Vec<SegmentMark> {
        self.table.segments.iter().map(|segment| segment.mark()).collect()
    }

    /// A segment that will not grow any more, lies in its file and is not outlined yet. Costs nothing while there was
    /// none and no segment changed since.
    pub fn lacks_outline(&mut self) -> Option<Arc<Segment<D>>> {
        if !self.may_outline {
            return None;
        }
        let waits = |segment: &&Arc<Segment<D>>| segment.outlining().is_none() && !segment.has_unwritten();
        let found = self.sealed().iter().find(waits).cloned();
        self.may_outline = found.is_some();
        found
    }

    /// A segment that is here was outlined.
    pub fn outlined(&mut self, segment: &Segment<D>) {
        self.outline_bytes += outline_bytes(segment);
    }

    /// Bytes of the segments' outlines.
    pub fn outline_bytes(&self) -> u64 {
        self.outline_bytes
    }

    /// Bytes of all segments.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of records that can still be read.
    pub fn in_use(&self) -> u64 {
        self.in_use
    }
}

fn outline_bytes<D: Disk>(segment: &Segment<D>) -> u64 {
    segment.outline().map_or(0, |mark| mark.len)
}
