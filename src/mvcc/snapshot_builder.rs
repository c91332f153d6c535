//! Builds a history of its own from a snapshot's chunks.
//!
//! Invariants: chunks are taken in order, each checked whole before anything of it is written; a chunk that is refused
//! changes nothing and may be sent again. What is built is named by nobody until [`Built`] is in a checkpoint image that
//! is durable: a start before that removes it, as it does any file that no checkpoint names. It lies in a generation of
//! its own, so it meets no number of the history that is in use beside it. A chunk is in memory, and the state that
//! belongs to the data.
//!
//! Where it is kept for a later start ([`SnapshotBuilder::kept_for`]) it notes in a logbook how far it is whenever a quarter of a
//! segment was written: what is lost at any end of the process is what was written since the last note, and no more than one
//! note before it where a loss of power harms the sector it ends in. A start that finds it goes on behind the last note that is
//! true ([`SnapshotBuilder::resume`]).
//!
//! Records from the compact revision on are complete and become dense segments; those before are what is left of
//! older revisions and become sparse ones.

use bytes::{BufMut, Bytes, BytesMut};

use super::half::{Half, Logbook, Note, logbook_name};
use super::half_reading::last_good;
use super::history::GENERATION_NUMBERS;
use super::history_write::{HISTORY_DIR, file_name};
use super::position::{SegmentMark, StorePosition};
use super::record::{KIND_RECORD, RecordSlice};
use super::record_order::{Bounds, Last, check};
use super::snapshot::{Chunk, SnapshotHeader, SnapshotProgress};
use crate::base::{Fault, Revision, Wrong, limits};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::log::{LOG_HISTORY, Place, frame};

/// Why a chunk was not taken.
#[derive(Debug)]
pub enum BuildFailure {
    /// It is not the one that comes next, or is damaged; the text says more. Nothing changed.
    Refused(String),
    /// The world is at fault: the build is over.
    Wrong(Wrong),
}

impl From<String> for BuildFailure {
    fn from(what: String) -> Self {
        Self::Refused(what)
    }
}

impl From<Fault> for BuildFailure {
    fn from(fault: Fault) -> Self {
        Self::Wrong(fault.into())
    }
}

/// A history that was built, durable and named by nobody yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Built {
    /// The state that belongs to the data.
    pub state: Bytes,
    /// The history.
    pub position: StorePosition,
}

/// A segment that is being written.
struct Growing<F> {
    mark: SegmentMark,
    file: F,
    /// Up to here it is synced.
    synced: u64,
}

/// What keeps a half for a later start.
struct Keeping<F> {
    /// What it is about, for whoever finds it.
    about: Bytes,
    generation: u64,
    logbook: Option<Logbook<F>>,
    /// Bytes written since the last note.
    unnoted: u64,
    /// How many of the segments that are whole were noted so.
    noted: usize,
    /// Files were made since names were synced.
    new_names: bool,
}

/// A history being built; see the module's head.
pub struct SnapshotBuilder<D: Disk> {
    disk: D,
    id: u64,
    segment_bytes: u64,
    next_number: u64,
    header: Option<SnapshotHeader>,
    state: BytesMut,
    at: SnapshotProgress,
    last: Last,
    /// Segments that are whole and synced.
    done: Vec<SegmentMark>,
    growing: Option<Growing<D::File>>,
    ended: bool,
    /// A chunk is half taken.
    torn: bool,
    /// A fold of the frames that were written.
    fingerprint: u64,
    /// Nothing where it ends with the process.
    keeping: Option<Keeping<D::File>>,
}

impl<D: Disk> SnapshotBuilder<D> {
    /// Begins to build snapshot `id` into `generation`, which is
    /// [fresh](super::Store::fresh_generation), in segments of about `segment_bytes`.
    pub fn new(disk: D, id: u64, generation: u64, segment_bytes: u64) -> Self {
        assert!(generation > 0 && generation < GENERATION_NUMBERS, "a generation of its own, in 32 bits");
        Self {
            disk,
            id,
            segment_bytes,
            next_number: generation * GENERATION_NUMBERS,
            header: None,
            state: BytesMut::new(),
            at: SnapshotProgress::default(),
            last: None,
            done: Vec::new(),
            growing: None,
            ended: false,
            torn: false,
            fingerprint: 0,
            keeping: None,
        }
    }

    /// One that a later start can go on with, which is told that it is `about` this.
    #[must_use]
    pub fn kept_for(mut self, about: Bytes) -> Self {
        let generation = self.next_number / GENERATION_NUMBERS;
        self.keeping = Some(Keeping { about, generation, logbook: None, unnoted: 0, noted: 0, new_names: false });
        self
    }

    /// Goes on with a half that was found, in segments of about `segment_bytes`: behind the last of its notes that is true. All
    /// of it is read. Nothing where none is, or where it is not `wanted` any more; it is then to be [removed](Half::remove).
    pub fn resume(disk: D, half: &Half, segment_bytes: u64, wanted: &dyn Fn() -> bool) -> Result<Option<Self>, Fault> {
        let Some(note) = last_good(&disk, half, wanted) else { return Ok(None) };
        let mut segments: Vec<SegmentMark> = Vec::new();
        for before in half.notes.iter().take_while(|before| before.end <= note.end) {
            // The one that was growing is named again.
            segments.pop();
            segments.extend(&before.segments);
        }
        let mark = segments.pop().expect("a note is made behind a record");
        // First of all: what it says no more may go.
        let logbook = Logbook::go_on(&disk, half, note)?;
        for number in half.numbers().into_iter().filter(|number| *number > mark.number) {
            if disk.exists(&file_name(number))? {
                disk.remove(&file_name(number))?;
            }
        }
        let file = disk.open(&file_name(mark.number), OpenMode::Write)?;
        file.set_len(mark.len)?;
        let keeping = Keeping {
            about: half.about.clone(),
            generation: half.generation,
            logbook: Some(logbook),
            unnoted: 0,
            noted: segments.len(),
            new_names: false,
        };
        Ok(Some(Self {
            next_number: mark.number + 1,
            header: Some(half.header),
            state: half.state[..].into(),
            at: note.at,
            last: Some(note.last),
            done: segments,
            growing: Some(Growing { mark, file, synced: mark.len }),
            keeping: Some(keeping),
            ..Self::new(disk, half.id, half.generation, segment_bytes)
        }))
    }

    /// How far it is: from where a cut transfer is to go on.
    pub fn progress(&self) -> SnapshotProgress {
        self.at
    }

    /// What the first chunk said, once it was taken.
    pub fn header(&self) -> Option<SnapshotHeader> {
        self.header
    }

    /// Whether the last chunk was taken: then [`Self::finish`].
    pub fn is_complete(&self) -> bool {
        self.ended
    }

    /// Takes the next chunk. A future that is dropped half-way ends the build: whatever comes then is refused.
    pub async fn take(&mut self, bytes: &Bytes) -> Result<(), BuildFailure> {
        if self.torn || self.ended {
            return Err(BuildFailure::Refused("the build is over".to_string()));
        }
        let chunk = Chunk::decode(self.id, self.at.chunk, bytes)?;
        match (chunk, self.header) {
            (Chunk::Header(header), None) => {
                header.check()?;
                self.header = Some(header);
                self.at = self.at.behind(0, &[], None);
            }
            (Chunk::State(piece), Some(header)) if (self.state.len() as u64) < header.state_bytes => {
                if (self.state.len() + piece.len()) as u64 > header.state_bytes {
                    return Err(BuildFailure::Refused("more state than the header says".to_string()));
                }
                self.state.put_slice(&piece);
                self.at = self.at.behind(0, &[], None);
            }
            (Chunk::Records(body), Some(header)) if self.state.len() as u64 == header.state_bytes => {
                let bounds = Bounds::of_snapshot(&header);
                let (last, records) = check(&body, &bounds, self.last)?;
                self.write_whole(&body, last, &bounds).await?;
                self.at = self.at.behind(records, &body, last.map(|(revision, _)| revision));
                self.note().await?;
            }
            (end @ Chunk::End { .. }, Some(header)) if self.state.len() as u64 == header.state_bytes => {
                if end != self.at.end() {
                    return Err(BuildFailure::Refused("the digest of all records does not hold".to_string()));
                }
                // A fresh store stands at revision 1 and has none.
                let whole = self.last.map_or((1, true), |(last, ended)| (last.main, ended)) == (header.revision, true);
                if !whole {
                    return Err(BuildFailure::Refused("the last revision is not there".to_string()));
                }
                self.at = self.at.behind(0, &[], None);
                self.ended = true;
            }
            _ => return Err(BuildFailure::Refused("a chunk out of its order".to_string())),
        }
        Ok(())
    }

    /// Takes records that did not come in a chunk, each behind its length, of a store that is complete from a revision on.
    pub(super) async fn take_records(&mut self, body: &Bytes, bounds: &Bounds) -> Result<(), BuildFailure> {
        let (last, _) = check(body, bounds, self.last)?;
        self.write_whole(body, last, bounds).await
    }

    /// What tells whether two builders took the same records and put them into the same places: the same on every machine. No
    /// proof against malice.
    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The revision of the record that came last.
    pub(super) fn last_revision(&self) -> Option<Revision> {
        self.last.map(|(revision, _)| revision)
    }

    async fn write_whole(&mut self, body: &Bytes, last: Last, bounds: &Bounds) -> Result<(), BuildFailure> {
        self.torn = true;
        self.write(body, bounds.complete_from).await?;
        // Nobody waits for the disk beside an import.
        if !bounds.may_hold_dead {
            self.sync_often().await?;
        }
        self.torn = false;
        self.last = last;
        Ok(())
    }

    /// Frames the records of a chunk that was checked, and writes them.
    async fn write(&mut self, body: &Bytes, complete_from: i64) -> Result<(), BuildFailure> {
        let (mut out, mut rest) = (BytesMut::with_capacity(body.len() + body.len() / 4), body.clone());
        while !rest.is_empty() {
            let len = u32::from_le_bytes(rest[..4].try_into().expect("four bytes")) as usize;
            let record = rest.split_to(4 + len).slice(4..);
            let meta = RecordSlice::decode(&record).expect("it was checked").meta;
            let main = meta.revision.main;
            let dense = main >= complete_from;
            let is_full = self.growing.as_ref().is_some_and(|growing| {
                let mark = &growing.mark;
                mark.last < main && (mark.len >= self.segment_bytes || mark.sparse == dense)
            });
            if is_full {
                self.flush(&mut out)?;
                self.close().await?;
            }
            if self.growing.is_none() {
                let (number, sparse) = (self.next_number, !dense);
                let mark = SegmentMark { number, first: main, last: main, len: 0, sparse, outline: None };
                let file = self.disk.open(&file_name(mark.number), OpenMode::Create)?;
                self.next_number += 1;
                self.keeping.iter_mut().for_each(|keeping| keeping.new_names = true);
                self.growing = Some(Growing { mark, file, synced: 0 });
            }
            let mark = &mut self.growing.as_mut().expect("it was just made").mark;
            let place = Place { log: LOG_HISTORY, segment: mark.number, offset: mark.len };
            let begun = frame::begin(&mut out);
            out.put_slice(&record);
            let total = frame::seal(&mut out, begun, place, KIND_RECORD) as u64;
            mark.len += total;
            mark.last = main;
            self.keeping.iter_mut().for_each(|keeping| keeping.unnoted += total);
            self.fingerprint = folded(self.fingerprint, frame::fingerprint(&out[begun..]));
        }
        self.flush(&mut out)
    }

    fn flush(&mut self, out: &mut BytesMut) -> Result<(), BuildFailure> {
        let write = |growing: &Option<Growing<D::File>>| {
            let growing = growing.as_ref().expect("what was framed belongs to a segment");
            growing.file.write_at(growing.mark.len - out.len() as u64, out)
        };
        match write(&self.growing) {
            // The logbook is only a shorter way: its room is the records'.
            Err(fault) if fault.is_no_space() && self.keeping.is_some() => {
                self.end_logbook()?;
                write(&self.growing)?;
            }
            written => written?,
        }
        out.clear();
        Ok(())
    }

    /// Syncs what was written, where it is enough: in pieces, because whoever else waits for a disk waits for the whole of what
    /// is synced at once.
    async fn sync_often(&mut self) -> Result<(), BuildFailure> {
        if let Some(growing) = &mut self.growing
            && growing.mark.len - growing.synced >= limits::SYNC_PIECE_BYTES as u64
        {
            growing.file.sync().await?;
            growing.synced = growing.mark.len;
        }
        Ok(())
    }

    /// Notes how far it is, where that is due: content first, then names, then the note.
    async fn note(&mut self) -> Result<(), BuildFailure> {
        let due = self.segment_bytes.div_ceil(limits::SNAPSHOT_NOTES_PER_SEGMENT);
        let Some(growing) = &mut self.growing else { return Ok(()) };
        if self.keeping.as_ref().is_none_or(|keeping| keeping.unnoted < due) {
            return Ok(());
        }
        self.torn = true;
        if growing.synced < growing.mark.len {
            growing.file.sync().await?;
            growing.synced = growing.mark.len;
        }
        match self.write_note().await {
            // As in `flush`: they go on without.
            Err(fault) if fault.is_no_space() => self.end_logbook()?,
            noted => noted?,
        }
        self.torn = false;
        Ok(())
    }

    async fn write_note(&mut self) -> Result<(), Fault> {
        let (Some(keeping), Some(growing)) = (&mut self.keeping, &self.growing) else { return Ok(()) };
        let (Some(header), Some(last)) = (&self.header, self.last) else { return Ok(()) };
        let logbook = match &mut keeping.logbook {
            Some(logbook) => logbook,
            none => {
                keeping.new_names = true;
                let whose = (keeping.generation, self.id);
                none.insert(Logbook::begin(&self.disk, whose, &keeping.about, header, &self.state).await?)
            }
        };
        if std::mem::take(&mut keeping.new_names) {
            self.disk.sync_dir(HISTORY_DIR).await?;
        }
        let segments = self.done[keeping.noted..].iter().chain([&growing.mark]).copied().collect();
        logbook.note(&Note { at: self.at, last, segments, end: 0 }).await?;
        (keeping.unnoted, keeping.noted) = (0, self.done.len());
        Ok(())
    }

    /// What is whole, or given up, or has no room for notes, is no half any more.
    fn end_logbook(&mut self) -> Result<(), Fault> {
        let Some(keeping) = self.keeping.take() else { return Ok(()) };
        let logbook = logbook_name(keeping.generation);
        // Also one that could not be begun for want of room.
        if self.disk.exists(&logbook)? { self.disk.remove(&logbook) } else { Ok(()) }
    }

    async fn close(&mut self) -> Result<(), BuildFailure> {
        // It stays where it is until it is synced: what is abandoned is removed.
        if let Some(growing) = &self.growing {
            growing.file.sync().await?;
        }
        self.done.extend(self.growing.take().map(|growing| growing.mark));
        Ok(())
    }

    /// Makes what was built durable, when it is complete. It is then whoever's who has its position; where this fails it
    /// still is to be [abandoned](Self::abandon).
    pub async fn finish(&mut self) -> Result<Built, BuildFailure> {
        let header = self.header.filter(|_| self.ended && !self.torn);
        let header = header.ok_or_else(|| "the snapshot is not complete".to_string())?;
        let (revision, compact_revision) = (header.revision, header.compact_revision);
        let position = self.finish_at(revision, compact_revision).await?;
        Ok(Built { state: self.state.split().freeze(), position })
    }

    /// Makes what was taken durable: the history of a store at this revision.
    pub(super) async fn finish_at(
        &mut self,
        revision: i64,
        compact_revision: i64,
    ) -> Result<StorePosition, BuildFailure> {
        self.close().await?;
        self.end_logbook()?;
        self.disk.sync_dir(HISTORY_DIR).await?;
        Ok(StorePosition { revision, compact_revision, segments: self.done.clone() })
    }

    /// Gives up: removes what was written.
    pub fn abandon(mut self) -> Result<(), Fault> {
        self.end_logbook()?;
        let growing = self.growing.map(|growing| growing.mark);
        for mark in self.done.iter().chain(&growing) {
            self.disk.remove(&file_name(mark.number))?;
        }
        Ok(())
    }
}

/// One more checksum folded into those before: a step of a multiplicative hash, so that order counts and few bits spread to all.
fn folded(before: u64, checksum: u32) -> u64 {
    (before.rotate_left(5) ^ u64::from(checksum)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
