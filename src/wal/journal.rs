//! The journal: appending batches and making them durable.
//!
//! Invariants: `durable <= appended`, asserted on every move; a batch lies in one segment, from a sector's start,
//! and is written with one call; after a failed write or sync every call fails, because nothing is known of the
//! disk any more. That there is no room for a batch is no such failure: nothing was done, and it may be tried again. A future of [`Journal::sync`] that is dropped half-way has promised nothing; the next one does
//! all of it again.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use super::batch::{self, BatchHead};
use super::entry::{Batch, HardState, LogEntry, WalIdentity};
use super::mark::MarkFile;
use crate::base::limits::{MAX_BATCH_BYTES, MAX_RECORD_BYTES, SECTOR_BYTES, WAL_MARK_EVERY_BYTES};
use crate::base::{Fault, LogIndex, Wrong};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::log::segment::{self, FIRST_RECORD_AT, SegmentHeader};
use crate::log::{LOG_WAL, Place};

/// The open end of the raft log.
pub struct Journal<D: Disk> {
    pub(super) disk: D,
    pub(super) dir: String,
    pub(super) identity: WalIdentity,
    /// Size at which a segment is full.
    pub(super) segment_bytes: u64,
    pub(super) mark: MarkFile<D::File>,
    /// Segments before the active one, oldest first, without gaps.
    pub(super) closed: VecDeque<Closed>,
    pub(super) active: Active<D::File>,
    /// Files written since the last sync, besides the active one.
    pub(super) unsynced: Vec<D::File>,
    /// Whether a file was made or renamed since the directory was synced.
    pub(super) dir_changed: bool,
    /// The segment after the active one, its header durable.
    pub(super) ready: Option<ReadySegment<D::File>>,
    /// A file being pre-written for it.
    pub(super) filling: Option<Filling<D::File>>,
    /// Whether there was no room for the next segment when it was last tried, and none was released since.
    pub(super) lacks_room: bool,
    /// Whether it is not tried again for now.
    pub(super) is_put_off: bool,
    /// Names of used files kept for use again.
    pub(super) spares: Vec<String>,
    pub(super) position: Position,
    /// For each batch since the last sync that replaces entries: its segment, and the index up to which older
    /// entries stay.
    pub(super) replaced: Vec<(u64, LogIndex)>,
    pub(super) release_up_to: LogIndex,
    /// Reused for every batch.
    pub(super) buffer: BytesMut,
    pub(super) bytes_written: u64,
    pub(super) bytes_at_mark: u64,
    pub(super) failure: Option<Failure>,
}

impl<D: Disk> std::fmt::Debug for Journal<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("dir", &self.dir).field("position", &self.position).finish_non_exhaustive()
    }
}

/// How far the log has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Number of the last batch appended.
    pub appended: u64,
    /// Number of the last batch known durable.
    pub durable: u64,
    /// Fingerprint of the last batch appended.
    pub chain: u32,
    /// Index of the last entry.
    pub last_index: LogIndex,
    /// The hard state last appended.
    pub hard_state: HardState,
}

impl Position {
    /// # Panics
    /// If the counters are out of order: more counted as durable than was ever written.
    pub fn check(&self) {
        assert!(self.durable <= self.appended, "durable {} beyond appended {}", self.durable, self.appended);
    }
}

/// A segment that takes no more batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub segment: u64,
    /// Number of the first batch in it.
    pub first_batch: u64,
    /// Highest index of an entry in it that no later segment has replaced; 0 for none.
    pub max_index: LogIndex,
}

/// The segment that takes batches.
#[derive(Debug)]
pub(super) struct Active<F> {
    pub about: Closed,
    pub file: F,
    /// Where the next batch goes.
    pub offset: u64,
}

/// A segment with a durable header and nothing else.
#[derive(Debug)]
pub(super) struct ReadySegment<F> {
    pub segment: u64,
    pub file: F,
}

/// A file that is being filled with zeroes.
#[derive(Debug)]
pub(super) struct Filling<F> {
    pub name: String,
    pub file: F,
    pub done: u64,
}

/// What went wrong first; told again at every later call.
#[derive(Debug)]
pub(super) struct Failure {
    doing: &'static str,
    path: String,
    kind: std::io::ErrorKind,
    text: String,
}

impl<D: Disk> Journal<D> {
    /// Writes a batch behind the last one and returns its number; it is durable when [`Self::durable`] reaches
    /// that. An entry beyond the end of the log starts it anew there, as [`Self::cut`] does: a checkpoint
    /// is taken to cover what lies between.
    ///
    /// # Panics
    /// If the entries do not follow each other, start at index 0 or are together beyond `MAX_RECORD_BYTES`: bugs of the
    /// caller, who keeps batches within `MAX_BATCH_BYTES`.
    pub fn append(&mut self, batch: &Batch) -> Result<u64, Wrong> {
        let position = self.position;
        let mut head = BatchHead {
            number: position.appended + 1,
            durable: position.durable,
            last_index: position.last_index,
            hard_state: batch.hard_state.unwrap_or(position.hard_state),
            chain: position.chain,
            count: u32::try_from(batch.entries.len()).expect("a batch has fewer than 2^32 entries"),
            cut: false,
        };
        if let [first, .., last] | [first @ last] = batch.entries.as_slice() {
            assert_contiguous(&batch.entries);
            head.last_index = last.index;
            head.cut = first.index > position.last_index + 1;
        }
        self.write(&head, &batch.entries)
    }

    /// Starts the log anew behind `after`, as when a snapshot at that index was installed: whatever entries it
    /// held are void, and the next one has the index `after + 1`. Returns the number of the batch that says so.
    pub fn cut(&mut self, after: LogIndex) -> Result<u64, Wrong> {
        let position = self.position;
        let head = BatchHead {
            number: position.appended + 1,
            durable: position.durable,
            last_index: after,
            hard_state: position.hard_state,
            chain: position.chain,
            count: 0,
            cut: true,
        };
        self.write(&head, &[])
    }

    /// Makes every batch appended so far durable.
    pub async fn sync(&mut self) -> Result<(), Wrong> {
        self.check_alive()?;
        if self.position.durable == self.position.appended {
            return Ok(());
        }
        let before = self.position.durable;
        let answer = self.sync_files().await;
        if answer.is_err() {
            // The caller is told of a failure, so nothing of it is promised.
            self.position.durable = before;
        }
        self.watch_over(answer)
    }

    /// Number of the newest batch known durable; 0 for none.
    pub fn durable(&self) -> u64 {
        self.position.durable
    }

    /// Number of the newest batch appended; 0 for none.
    pub fn appended(&self) -> u64 {
        self.position.appended
    }

    /// Index of the last entry of the log; 0 for none.
    pub fn last_index(&self) -> LogIndex {
        self.position.last_index
    }

    /// Bytes appended since recovery, without padding: what a checkpoint would let go.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    fn write(&mut self, head: &BatchHead, entries: &[LogEntry]) -> Result<u64, Wrong> {
        self.check_alive()?;
        match self.write_batch(head, entries) {
            // Nothing of it counts as written, and what may lie there is written over by the next try.
            Err(fault) if fault.is_no_space() => {
                self.lacks_room = true;
                Err(fault.into())
            }
            answer => self.watch_over(answer).map(|()| head.number),
        }
    }

    fn write_batch(&mut self, head: &BatchHead, entries: &[LogEntry]) -> Result<(), Fault> {
        let len = batch::encoded_len(entries);
        assert!(len <= MAX_RECORD_BYTES, "a batch of {len} bytes is beyond the limit");
        let padded = len.next_multiple_of(SECTOR_BYTES) as u64;
        if self.active.offset > FIRST_RECORD_AT && self.active.offset + padded > self.segment_bytes {
            self.roll(head.number)?;
        }
        if self.buffer.capacity() > 2 * MAX_BATCH_BYTES {
            // One huge batch must not hold its memory for ever.
            self.buffer = BytesMut::new();
        }
        self.buffer.clear();
        let place = Place { log: LOG_WAL, segment: self.active.about.segment, offset: self.active.offset };
        let chain = batch::encode(&mut self.buffer, place, head, entries);
        // Whole sectors, so that no leftover of an earlier use stands between two batches.
        self.buffer.put_bytes(0, padded as usize - len);
        self.active.file.write_at(self.active.offset, &self.buffer)?;
        self.active.offset += padded;
        self.bytes_written += len as u64;
        self.note_entries(head);
        self.position = Position {
            appended: head.number,
            chain,
            last_index: head.last_index,
            hard_state: head.hard_state,
            ..self.position
        };
        self.position.check();
        Ok(())
    }

    /// Keeps the segments' highest indexes right when a batch replaces entries. What it replaces stays needed until it
    /// is durable itself.
    fn note_entries(&mut self, head: &BatchHead) {
        if head.count == 0 && !head.cut {
            return;
        }
        let about = &mut self.active.about;
        about.max_index = about.max_index.max(head.last_index);
        let kept = head.first_index() - 1;
        if kept < self.position.last_index {
            self.replaced.push((about.segment, kept));
        }
    }

    /// What was replaced by batches that are durable now is needed no more.
    fn forget_replaced(&mut self) {
        for (segment, kept) in self.replaced.drain(..) {
            for closed in self.closed.iter_mut().filter(|closed| closed.segment < segment) {
                closed.max_index = closed.max_index.min(kept);
            }
        }
    }

    /// Goes on in the next segment, which begins with the batch of this number.
    fn roll(&mut self, first_batch: u64) -> Result<(), Fault> {
        let segment = self.active.about.segment + 1;
        let file = match self.ready.take() {
            Some(ready) => {
                assert_eq!(ready.segment, segment, "the segment made ready is the next one");
                ready.file
            }
            None => self.begin_segment(segment)?,
        };
        let about = Closed { segment, first_batch, max_index: 0 };
        let full = std::mem::replace(&mut self.active, Active { about, file, offset: FIRST_RECORD_AT });
        self.closed.push_back(full.about);
        self.unsynced.push(full.file);
        Ok(())
    }

    /// Makes a segment's file at once: the writer cannot wait for a ready one.
    pub(super) fn begin_segment(&mut self, segment: u64) -> Result<D::File, Fault> {
        let path = segment::path(&self.dir, segment);
        self.dir_changed = true;
        if self.disk.exists(&path)? {
            // One that was being made ready and was given up behind its name: nothing is in it.
            self.disk.remove(&path)?;
        }
        let used = self.spares.pop();
        let file = match &used {
            Some(name) => {
                self.disk.rename(name, &path)?;
                self.disk.open(&path, OpenMode::Write)?
            }
            None => self.disk.open(&path, OpenMode::Create)?,
        };
        match file.write_at(0, &self.header(segment, used.is_none())) {
            Ok(()) => Ok(file),
            Err(fault) => {
                if fault.is_no_space() {
                    // Begun anew by the next try.
                    self.disk.remove(&path)?;
                }
                Err(fault)
            }
        }
    }

    pub(super) fn header(&self, segment: u64, zeroed: bool) -> Bytes {
        let extra = encode_identity(&self.identity);
        SegmentHeader { log: LOG_WAL, segment, first: 0, zeroed, extra }.encode()
    }

    async fn sync_files(&mut self) -> Result<(), Fault> {
        let target = self.position.appended;
        let rolled = !self.unsynced.is_empty();
        for file in &self.unsynced {
            file.sync().await?;
        }
        self.active.file.sync().await?;
        if self.dir_changed {
            self.disk.sync_dir(&self.dir).await?;
        }
        self.unsynced.clear();
        self.dir_changed = false;
        self.forget_replaced();
        self.position.durable = target;
        self.position.check();
        let marked = if !rolled && self.bytes_written - self.bytes_at_mark < WAL_MARK_EVERY_BYTES {
            self.mark.hint(target)
        } else if self.releasable() > 0 {
            self.release_segments().await
        } else {
            self.set_mark().await
        };
        unless_full(marked)
    }

    /// Lets the synced mark name the newest durable batch.
    pub(super) async fn set_mark(&mut self) -> Result<(), Fault> {
        let mark = super::mark::Mark { durable: self.position.durable, ..self.mark.mark() };
        self.mark.set(mark).await?;
        self.bytes_at_mark = self.bytes_written;
        Ok(())
    }

    /// # Errors
    /// The first failure again, if there was one.
    pub(super) fn check_alive(&self) -> Result<(), Wrong> {
        match &self.failure {
            None => Ok(()),
            Some(first) => {
                let source = std::io::Error::new(first.kind, first.text.clone());
                Err(Fault::new(first.doing, &first.path, source).into())
            }
        }
    }

    /// Remembers a failure: from here on the journal is dead. The next process needs no note of it: it takes nothing that it
    /// reads for written.
    pub(super) fn watch_over<T>(&mut self, answer: Result<T, Fault>) -> Result<T, Wrong> {
        answer.map_err(|fault| {
            self.failure = Some(Failure {
                doing: fault.doing,
                path: fault.path.clone(),
                kind: fault.source.kind(),
                text: fault.source.to_string(),
            });
            Wrong::Fault(fault)
        })
    }
}

impl Failure {
    /// Stands while work is under way that must not be dropped half-way.
    pub fn abandoned(dir: &str) -> Self {
        let text = "earlier work on it was dropped half-way".to_string();
        Self { doing: "go on with", path: dir.to_string(), kind: std::io::ErrorKind::Other, text }
    }
}

/// The mark only tells what is durable, and is durable without it. A full disk of a file system that copies what is written over has
/// no room for it: a later sync writes it.
pub(super) fn unless_full(marked: Result<(), Fault>) -> Result<(), Fault> {
    match marked {
        // A sync that fails is fatal here as everywhere.
        Err(fault) if fault.is_no_space() && fault.doing == "write" => Ok(()),
        marked => marked,
    }
}

fn assert_contiguous(entries: &[LogEntry]) {
    let follow = entries.windows(2).all(|pair| pair[1].index == pair[0].index + 1);
    assert!(follow && entries.first().is_none_or(|first| first.index > 0), "the entries of a batch follow each other");
}

/// A cluster and a member as a segment header's extra bytes.
pub(super) fn encode_identity(identity: &WalIdentity) -> Bytes {
    let mut out = BytesMut::with_capacity(16);
    out.put_u64_le(identity.cluster.0);
    out.put_u64_le(identity.member.0);
    out.freeze()
}
