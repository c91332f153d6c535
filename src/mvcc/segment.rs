//! A piece of the history: records of a run of revisions, in one file and, until the disk has them, in memory.
//!
//! Invariants: records ascend by revision; a transaction never spans two segments, nor two blocks of memory.
//! What is in memory follows, without gap, what is in the file. Every record is verified when it is read. A
//! sealed segment never changes; a file that is removed stays readable through the handle held here.
//!
//! Where a record lies: a *dense* segment holds every main revision from its first on, so a table of starts
//! answers by index; a *sparse* one, rewritten by reclaim, is searched. Does not know which records are live.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::{BufMut, Bytes, BytesMut};

mod load;
mod scan;

pub use load::{Window, each_record};
pub use scan::SegmentScan;

use super::history_write::{HistoryWrite, WriteMark, file_name};
use super::key_index::Mark;
use super::outline::OutlineMark;
use super::position::SegmentMark;
use super::record::{KIND_PAD, KIND_RECORD, Record};
use crate::base::limits::SECTOR_BYTES;
use crate::base::{Corruption, Revision, Wrong};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::log::frame::{self, FRAME_HEADER_BYTES};
use crate::log::{LOG_HISTORY, Place};

/// Marks a start in a dense table whose transaction has several records.
const SEVERAL: u32 = 1 << 31;

/// A transaction in a dense segment has a start of its own for every so many of its records: whoever looks for one passes fewer.
const EVERY: u32 = 32;

/// Read at once when looking for a record behind the first of its transaction.
const SEARCH_WINDOW: usize = 64 * 1024;

/// Bytes read at once of what could not be read before.
const LOOK_PIECE_BYTES: usize = 1024 * 1024;

/// Where records lie.
#[derive(Debug)]
enum Layout {
    /// One start for each main revision from the segment's first on, and starts within large transactions.
    Dense(Vec<u32>, BTreeMap<i64, Vec<u64>>),
    /// Every record with its start.
    Sparse(Vec<(Revision, u32)>),
}

/// The bytes from `start` to `end`; the record looked for is the `skip`th of them.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    end: u64,
    skip: u32,
    single: bool,
}

/// Bytes handed to the writer of the disk, kept until it is done.
#[derive(Debug)]
struct Block {
    start: u64,
    bytes: Bytes,
}

#[derive(Debug)]
struct Tail {
    layout: Layout,
    last: i64,
    records: u64,
    len: u64,
    blocks: VecDeque<Block>,
    open: BytesMut,
}

impl Layout {
    /// Gives back what was reserved for records to come.
    fn shrink(&mut self) {
        match self {
            Self::Dense(starts, _) => starts.shrink_to_fit(),
            Self::Sparse(starts) => starts.shrink_to_fit(),
        }
    }
}

impl Tail {
    /// Where memory starts: everything before is in the file.
    fn memory_start(&self) -> u64 {
        self.blocks.front().map_or(self.open_start(), |block| block.start)
    }

    fn open_start(&self) -> u64 {
        self.len - self.open.len() as u64
    }

    /// Up to `len` bytes from `at`, if they are in memory; at most to the end of one block.
    fn in_memory(&self, at: u64, len: usize) -> Option<Bytes> {
        if at >= self.open_start() {
            let from = (at - self.open_start()) as usize;
            let to = self.open.len().min(from.saturating_add(len));
            return Some(Bytes::copy_from_slice(&self.open[from..to]));
        }
        let i = self.blocks.partition_point(|block| block.start <= at).checked_sub(1)?;
        let block = &self.blocks[i];
        let from = (at - block.start) as usize;
        let to = block.bytes.len().min(from.saturating_add(len));
        // A copy, so that a small value never pins a block.
        Some(if len <= SEARCH_WINDOW {
            Bytes::copy_from_slice(&block.bytes[from..to])
        } else {
            block.bytes.slice(from..to)
        })
    }

    fn find(&self, first: i64, revision: Revision) -> Option<Span> {
        match &self.layout {
            Layout::Dense(starts, within) => {
                let at = usize::try_from(revision.main - first).ok()?;
                let start = *starts.get(at)?;
                let end = starts.get(at + 1).map_or(self.len, |next| u64::from(next & !SEVERAL));
                let single = start & SEVERAL == 0;
                let span = Span { start: u64::from(start & !SEVERAL), end, skip: revision.sub, single };
                let Some(nth) = (revision.sub / EVERY).checked_sub(1) else { return Some(span) };
                let start = *within.get(&revision.main)?.get(nth as usize)?;
                Some(Span { start, skip: revision.sub % EVERY, ..span })
            }
            Layout::Sparse(starts) => {
                let at = starts.binary_search_by_key(&revision, |entry| entry.0).ok()?;
                let end = starts.get(at + 1).map_or(self.len, |next| u64::from(next.1));
                Some(Span { start: u64::from(starts[at].1), end, skip: 0, single: true })
            }
        }
    }
}

/// Damage that somebody met.
#[derive(Clone, Debug)]
struct Met {
    damage: Corruption,
    /// Bytes from there on that the device could not read; none where it read something else than was written.
    unread: usize,
}

/// A piece of the history; see the module's head.
pub struct Segment<D: Disk> {
    disk: D,
    number: u64,
    first: i64,
    sparse: bool,
    dead: Mutex<Dead>,
    outline: OnceLock<Outlining>,
    damage: Mutex<Option<Met>>,
    file: OnceLock<D::File>,
    tail: RwLock<Tail>,
}

/// What came of outlining a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outlining {
    /// It is durable.
    Made(OutlineMark),
    /// It has none in this life: it would not be worth its bytes, or cannot be made.
    Without,
}

/// Records of a segment that no read can see any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dead {
    /// Dead puts; exact.
    pub puts: u64,
    /// Their bytes; an estimate.
    pub put_bytes: u64,
    /// Bytes of dead tombstones; an estimate.
    pub tombstone_bytes: u64,
}

impl Dead {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            puts: self.puts + other.puts,
            put_bytes: self.put_bytes + other.put_bytes,
            tombstone_bytes: self.tombstone_bytes + other.tombstone_bytes,
        }
    }

    /// What this has more than `earlier`, an earlier state of the same.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            puts: self.puts - earlier.puts,
            put_bytes: self.put_bytes - earlier.put_bytes,
            tombstone_bytes: self.tombstone_bytes - earlier.tombstone_bytes,
        }
    }

    /// Bytes in all.
    pub fn bytes(self) -> u64 {
        self.put_bytes + self.tombstone_bytes
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic is a bug that ends the process.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Disk> Segment<D> {
    /// An empty segment whose first main revision will be `first`.
    pub fn new(disk: D, number: u64, first: i64, sparse: bool) -> Self {
        let layout = if sparse { Layout::Sparse(Vec::new()) } else { Layout::Dense(Vec::new(), BTreeMap::new()) };
        let tail = Tail { layout, last: first - 1, records: 0, len: 0, blocks: VecDeque::new(), open: BytesMut::new() };
        Self {
            disk,
            number,
            first,
            sparse,
            dead: Mutex::default(),
            outline: OnceLock::new(),
            damage: Mutex::new(None),
            file: OnceLock::new(),
            tail: RwLock::new(tail),
        }
    }

    fn tail(&self) -> RwLockReadGuard<'_, Tail> {
        // A panic is a bug that ends the process.
        self.tail.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tail_mut(&self) -> RwLockWriteGuard<'_, Tail> {
        self.tail.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its number; never used twice.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What a position says of it.
    pub(super) fn mark(&self) -> SegmentMark {
        let (number, first, sparse) = (self.number, self.first, self.sparse);
        let (last, len) = {
            let tail = self.tail();
            (tail.last, tail.len)
        };
        SegmentMark { number, first, last, len, sparse, outline: self.outline() }
    }

    /// Where its file is.
    pub(super) fn disk(&self) -> &D {
        &self.disk
    }

    /// The first main revision it is about.
    pub fn first(&self) -> i64 {
        self.first
    }

    /// The last main revision it is about.
    pub fn last(&self) -> i64 {
        self.tail().last
    }

    /// Whether it was rewritten by reclaim.
    pub fn is_sparse(&self) -> bool {
        self.sparse
    }

    /// Bytes in all.
    pub fn len(&self) -> u64 {
        self.tail().len
    }

    /// What of it nobody can read any more.
    pub fn dead(&self) -> Dead {
        *lock(&self.dead)
    }

    /// Bytes of it that can still be read; what is dead is partly an estimate, so never below 0.
    pub fn live_bytes(&self) -> u64 {
        self.len().saturating_sub(self.dead().bytes())
    }

    /// The record of `mark` died. Its bytes are exact where its transaction had one record, else the average.
    pub fn bury(&self, mark: Mark) {
        let tail = self.tail();
        let Some(span) = tail.find(self.first, mark.revision) else { return };
        let bytes = if span.single { span.end - span.start } else { tail.len / tail.records.max(1) };
        let mut dead = lock(&self.dead);
        if mark.tombstone {
            dead.tombstone_bytes += bytes;
        } else {
            dead.puts += 1;
            dead.put_bytes += bytes;
        }
    }

    /// What came of outlining it, once that is known. A segment that is outlined never grows again.
    pub fn outlining(&self) -> Option<Outlining> {
        self.outline.get().copied()
    }

    /// Its outline.
    pub fn outline(&self) -> Option<OutlineMark> {
        match self.outlining() {
            Some(Outlining::Made(mark)) => Some(mark),
            _ => None,
        }
    }

    /// It was outlined. Said once.
    pub fn outlined(&self, outlining: Outlining) {
        self.outline.set(outlining).expect("a segment is outlined once");
    }

    /// Damage that somebody met in it: whoever it was, and whatever became of them.
    pub fn damage(&self) -> Option<Corruption> {
        lock(&self.damage).as_ref().map(|met| met.damage.clone())
    }

    /// Whether there is some that may pass: the device could not read, and may be able to later.
    pub fn damage_may_pass(&self) -> bool {
        lock(&self.damage).as_ref().is_some_and(|met| met.unread > 0)
    }

    /// Reads once more what the device could not; whether it can now, and the damage is forgotten.
    pub fn look_again(&self) -> bool {
        let Some(met) = lock(&self.damage).clone().filter(|met| met.unread > 0) else { return false };
        let mut piece = vec![0; met.unread.min(LOOK_PIECE_BYTES)];
        let end = met.damage.offset + met.unread as u64;
        let mut pieces = (met.damage.offset..end).step_by(piece.len());
        let reads = pieces.all(|at| self.file().is_ok_and(|file| file.read_full_at(at, &mut piece).is_ok()));
        if reads {
            *lock(&self.damage) = None;
        }
        reads
    }

    /// Remembers damage, and hands the wrong on.
    pub fn note_damage(&self, wrong: Wrong) -> Wrong {
        if let Wrong::Corruption(damage) = &wrong {
            lock(&self.damage).get_or_insert_with(|| Met { damage: damage.clone(), unread: 0 });
        }
        wrong
    }

    /// As many more died as `dead` says.
    pub fn bury_more(&self, dead: Dead) {
        let mut mine = lock(&self.dead);
        *mine = mine.plus(dead);
    }

    /// Says up to which main revision it speaks, though its records may end before.
    pub fn close_at(&self, last: i64) {
        let mut tail = self.tail_mut();
        assert!(tail.last <= last, "a segment speaks for all its records");
        tail.last = last;
    }

    /// Counts a record that lies at the end of what is known: in a rewritten segment.
    pub fn note(&self, revision: Revision, total: usize) -> Result<(), &'static str> {
        let mut tail = self.tail_mut();
        let start = tail.len;
        note_in(&mut tail, self.first, revision, start)?;
        tail.len += total as u64;
        Ok(())
    }

    /// Appends `record`, the next of the history, to memory. Returns its bytes.
    pub fn append(&self, record: &Record) -> usize {
        let mut guard = self.tail_mut();
        let tail = &mut *guard;
        let start = tail.open.len();
        let place = Place { log: LOG_HISTORY, segment: self.number, offset: tail.len };
        let at = tail.len;
        note_in(tail, self.first, record.meta.revision, at)
            .expect("a full segment is sealed first, and revisions ascend without gap");
        let begun = frame::begin(&mut tail.open);
        record.encode(&mut tail.open);
        frame::seal(&mut tail.open, begun, place, KIND_RECORD);
        let total = tail.open.len() - start;
        tail.len += total as u64;
        total
    }

    /// Fills the sector that was begun, so that later records begin in the next one. To be called between
    /// transactions, before what it holds is promised. Returns the bytes it took.
    pub fn pad(&self) -> usize {
        let mut guard = self.tail_mut();
        let tail = &mut *guard;
        let Some(pad) = pad_bytes(tail.len) else { return 0 };
        let place = Place { log: LOG_HISTORY, segment: self.number, offset: tail.len };
        let begun = frame::begin(&mut tail.open);
        tail.open.put_bytes(0, pad - FRAME_HEADER_BYTES);
        frame::seal(&mut tail.open, begun, place, KIND_PAD);
        tail.len += pad as u64;
        pad
    }

    /// Hands out what the disk was not given yet.
    pub fn take_write(&self) -> Option<HistoryWrite> {
        let mut tail = self.tail_mut();
        if tail.open.is_empty() {
            return None;
        }
        let start = tail.open_start();
        let bytes = std::mem::take(&mut tail.open).freeze();
        tail.blocks.push_back(Block { start, bytes: bytes.clone() });
        Some(HistoryWrite {
            segment: self.number,
            offset: start,
            bytes,
            mark: WriteMark { segment: self.number, end: tail.len },
        })
    }

    /// Lets go of memory that the file holds up to `end`. Returns the bytes let go.
    pub fn written(&self, end: u64) -> usize {
        let mut tail = self.tail_mut();
        let mut dropped = 0;
        while let Some(block) = tail.blocks.front()
            && block.start + block.bytes.len() as u64 <= end
        {
            dropped += block.bytes.len();
            tail.blocks.pop_front();
        }
        dropped
    }

    /// Whether some of it is not in the file.
    pub fn has_unwritten(&self) -> bool {
        let tail = self.tail();
        tail.memory_start() < tail.len
    }

    /// The open file; opened at the first use.
    pub fn file(&self) -> Result<&D::File, Wrong> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = self.disk.open(&file_name(self.number), OpenMode::Read)?;
        Ok(self.file.get_or_init(|| file))
    }

    /// Up to `len` bytes from `at`, in whole frames or to the end of them; never none.
    fn fetch(&self, at: u64, len: usize) -> Result<Bytes, Wrong> {
        let file_end = {
            let tail = self.tail();
            if at >= tail.memory_start() {
                return Ok(tail.in_memory(at, len).expect("memory has no gap"));
            }
            tail.memory_start()
        };
        let len = len.min(usize::try_from(file_end - at).unwrap_or(usize::MAX));
        let mut bytes = vec![0; len];
        if self.asked_twice((at, len), || Ok(self.file()?.read_full_at(at, &mut bytes)?))? < len {
            return Err(self.damaged(at, "the file ends before its records"));
        }
        Ok(Bytes::from(bytes))
    }

    /// What the device cannot read counts as damage, like bytes that are wrong: the others have it. Asked twice: what fails once
    /// may be a hiccup. A longer one is what [`Self::look_again`] is for. `at` and `len` say what is read.
    pub fn asked_twice<T>(&self, (at, len): (u64, usize), once: impl FnMut() -> Result<T, Wrong>) -> Result<T, Wrong> {
        Wrong::unless_twice(once).map_err(|wrong| match wrong {
            Wrong::Fault(fault) if fault.is_of_device() => {
                let damage = Corruption { file: file_name(self.number), offset: at, what: fault.to_string() };
                lock(&self.damage).get_or_insert_with(|| Met { damage: damage.clone(), unread: len });
                damage.into()
            }
            wrong => wrong,
        })
    }

    fn damaged(&self, at: u64, what: &str) -> Wrong {
        self.note_damage(Wrong::corrupt(file_name(self.number), at, what))
    }

    /// Bytes of the records from main revision `main` on.
    pub fn bytes_from(&self, main: i64) -> u64 {
        self.len() - self.start_of(main)
    }

    /// Where the records from main revision `main` on start.
    fn start_of(&self, main: i64) -> u64 {
        let tail = self.tail();
        let start = match &tail.layout {
            Layout::Dense(starts, _) => {
                usize::try_from(main - self.first).map_or(starts.first(), |at| starts.get(at)).map(|s| s & !SEVERAL)
            }
            Layout::Sparse(starts) => {
                starts.get(starts.partition_point(|entry| entry.0.main < main)).map(|entry| entry.1)
            }
        };
        start.map_or(tail.len, u64::from)
    }
}

/// Bytes of the frame that ends the sector in which a segment of `len` bytes ends; `None` where it ends with one.
fn pad_bytes(len: u64) -> Option<usize> {
    let rest = (len.next_multiple_of(SECTOR_BYTES as u64) - len) as usize;
    // Not even a header may fit: then the next sector is filled too.
    (rest > 0).then_some(if rest < FRAME_HEADER_BYTES { rest + SECTOR_BYTES } else { rest })
}

/// Notes the next record, which lies at `start`. Only a start that the table holds must fit it: the last
/// transaction of a dense segment may be of any length.
fn note_in(tail: &mut Tail, first: i64, revision: Revision, start: u64) -> Result<(), &'static str> {
    let fits = |most: u32| match u32::try_from(start) {
        Ok(start) if start <= most => Ok(start),
        _ => Err("a segment is longer than its table can say"),
    };
    match &mut tail.layout {
        Layout::Dense(starts, within) if revision.main == tail.last && revision.sub > 0 => {
            let first_of_it = starts.last_mut().ok_or("a segment begins inside a transaction")?;
            *first_of_it |= SEVERAL;
            if revision.sub.is_multiple_of(EVERY) {
                let within = within.entry(revision.main).or_default();
                if within.len() + 1 != (revision.sub / EVERY) as usize {
                    return Err("changes of a transaction do not follow each other");
                }
                within.push(start);
            }
        }
        Layout::Dense(starts, _) => {
            if revision.main != tail.last + 1 || revision.main != first + starts.len() as i64 || revision.sub != 0 {
                return Err("revisions do not follow each other");
            }
            starts.push(fits(SEVERAL - 1)?);
        }
        Layout::Sparse(starts) => {
            if starts.last().is_some_and(|entry| entry.0 >= revision) || revision.main < first {
                return Err("revisions do not ascend");
            }
            starts.push((revision, fits(u32::MAX)?));
        }
    }
    tail.last = tail.last.max(revision.main);
    tail.records += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::MemoryDisk;

    const HUGE: u64 = 5 << 30;

    /// A transaction may be of any length: only where it starts must fit the table.
    #[test]
    fn the_last_transaction_of_a_dense_segment_may_be_huge() {
        let segment = Segment::new(MemoryDisk::new(), 1, 7, false);
        let mut tail = segment.tail_mut();
        assert_eq!(note_in(&mut tail, 7, Revision::new(7, 0), 0), Ok(()));
        assert_eq!(note_in(&mut tail, 7, Revision::new(7, 1), HUGE), Ok(()));
        tail.len = HUGE + 100;
        let span = tail.find(7, Revision::new(7, 1)).expect("noted");
        assert_eq!((span.start, span.end, span.skip, span.single), (0, HUGE + 100, 1, false));
        assert!(note_in(&mut tail, 7, Revision::new(8, 0), HUGE).is_err(), "this start does not fit");
        assert!(note_in(&mut tail, 7, Revision::new(8, 0), 1 << 31).is_err(), "nor does this");
        assert_eq!(note_in(&mut tail, 7, Revision::new(8, 0), (1 << 31) - 1), Ok(()));
    }

    /// However large its transaction, a record is found by passing few others.
    #[test]
    fn a_record_of_a_large_transaction_is_found_near_a_start() {
        let segment = Segment::new(MemoryDisk::new(), 1, 7, false);
        let mut tail = segment.tail_mut();
        for sub in 0..10_000 {
            assert_eq!(note_in(&mut tail, 7, Revision::new(7, sub), u64::from(sub) * 100), Ok(()));
        }
        tail.len = 1_000_000;
        for sub in [0, 1, 31, 32, 33, 5_000, 9_983, 9_984, 9_999] {
            let span = tail.find(7, Revision::new(7, sub)).expect("noted");
            assert!(span.skip < EVERY, "{sub}");
            assert_eq!(span.start + u64::from(span.skip) * 100, u64::from(sub) * 100);
        }
        assert!(tail.find(7, Revision::new(7, 10_016)).is_none(), "there are not so many");
    }

    #[test]
    fn a_sparse_segment_holds_every_start() {
        let segment = Segment::new(MemoryDisk::new(), 1, 7, true);
        let mut tail = segment.tail_mut();
        assert_eq!(note_in(&mut tail, 7, Revision::new(7, 0), u64::from(u32::MAX)), Ok(()));
        assert!(note_in(&mut tail, 7, Revision::new(7, 1), HUGE).is_err());
    }
}
