//! From what lies on the disk to a log that can be appended to.
//!
//! Invariants: what is cut was never synced, as far as the durable mark and every batch that still verifies can
//! tell; everything else that does not verify stops the start with file and offset, and nothing is changed
//! then, but for damage of which nothing is needed. That is so where a batch behind it, which carries the hard state, begins its
//! entries at or before the end of the checkpoint, and all that follows it to the end is there. What is handed out is durable first. Every step may be interrupted: the next recovery judges the same.
//! Nothing that was read counts as written: a system that failed to write a page goes on showing it, counts it as clean
//! and may have told nobody, so that a sync that succeeds later vouches for nothing that was dirty before. What no
//! process has synced for certain is written anew.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind};

use bytes::BytesMut;

use super::ahead::{SegmentsAhead, ToReadAhead};
use super::covered::{self, Covered};
use super::entry::{HardState, LogEntry, TailReport, WalIdentity};
use super::journal::{Active, Closed, Journal, Position, ReadySegment, encode_identity, unless_full};
use super::judging::{Rest, and_why, judge, told};
use super::mark::{self, Mark, MarkFile};
use super::replay::{Replay, Seen, Start};
use super::upkeep::{FILL_SUFFIX, SPARE_SUFFIX};
use crate::base::limits::{
    MAX_RECORD_BYTES, SECTOR_BYTES, WAL_FILL_WRITE_BYTES, WAL_MAX_PASSED_OVER, WAL_SEGMENT_BYTES,
};
use crate::base::{Corruption, Fault, LogIndex, Term, Wrong};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::log::segment::{self, FIRST_RECORD_AT, SegmentHeader, WholeSegment};
use crate::log::{LOG_WAL, Place, frame, tail};

/// A note that earlier versions left.
const NOTE_OF_OLD: &str = "suspect";

/// A raft log as it was left.
#[derive(Debug)]
pub struct UnrecoveredWal<D: Disk> {
    disk: D,
    dir: String,
    segment_bytes: u64,
    catch_up: u64,
    mark: Option<Mark>,
    ahead: SegmentsAhead,
}

/// A raft log that was read and mended.
pub struct RecoveredWal<D: Disk> {
    /// Its open end.
    pub journal: Journal<D>,
    /// The hard state of the last batch.
    pub hard_state: HardState,
    /// The entries above the checkpoint, without gaps, from the one behind it; before them those that were asked for
    /// with [`UnrecoveredWal::with_catch_up`], as far as they are there.
    pub entries: Vec<LogEntry>,
    /// Term of the entry at the checkpoint's index, where the log still holds it. Where it is another than the
    /// checkpoint's, the checkpoint was installed and the log was not cut any more: its entries are void.
    pub term_at: Option<Term>,
    /// What was found at the end.
    pub tail: TailReport,
    /// What could not be read and says nothing that is not said elsewhere: leftovers, and slots of the durable mark, also those
    /// that do not verify. It was written over.
    pub unreadable: Vec<Corruption>,
    /// Damage of which nothing is needed: what the checkpoint covers, and headers of segments.
    pub passed_over: Vec<Corruption>,
}

impl<D: Disk> std::fmt::Debug for RecoveredWal<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecoveredWal").field("journal", &self.journal).field("tail", &self.tail).finish_non_exhaustive()
    }
}

/// What was read of a log.
struct Reading {
    replay: Replay,
    rests: Vec<Rest>,
    /// What the device said of the first piece of it that it cannot read.
    fault: Option<Fault>,
    /// Where such pieces are.
    unreadable: Vec<Corruption>,
    /// Headers that are damaged beside whole batches.
    passed_over: Vec<Corruption>,
}

/// What was read, and what lies before it.
struct Needed {
    reading: Reading,
    start: Start,
    /// Segments that were not read, as they are no more than kept.
    unread: Vec<Closed>,
}

impl<D: Disk> UnrecoveredWal<D> {
    /// Looks at the log in `dir`, which is made where it is missing.
    pub fn open(disk: D, dir: &str) -> Result<Self, Wrong> {
        disk.create_dir(dir)?;
        let mark = mark::read(&disk, dir)?;
        if mark.is_none()
            && let Some(segment) = segment::list(&disk, dir)?.first()
        {
            let path = segment::path(dir, *segment);
            return Err(Wrong::corrupt(path, 0, "the segment has no durable mark beside it"));
        }
        Ok(Self {
            disk,
            dir: dir.to_string(),
            segment_bytes: WAL_SEGMENT_BYTES,
            catch_up: 0,
            mark,
            ahead: SegmentsAhead::default(),
        })
    }

    /// Segments of another size, for tests and the simulator.
    ///
    /// # Panics
    /// If not even a header and a sector fit.
    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        assert!(bytes >= 2 * SECTOR_BYTES as u64, "a segment holds its header and a batch");
        self.segment_bytes = bytes;
        self
    }

    /// Also hands out up to so many entries that the checkpoint covers, for peers that lag a little.
    pub fn with_catch_up(mut self, entries: u64) -> Self {
        self.catch_up = entries;
        self
    }

    /// What reads segments ahead of [`Self::recover`] behind `after`, wherever and beside other work; nothing in a fresh
    /// directory.
    pub fn to_read_ahead(&self, after: LogIndex) -> Option<ToReadAhead<D>> {
        let (mark, wanted) = (self.mark?, self.wanted(after));
        Some(ToReadAhead::new(self.disk.clone(), self.dir.clone(), mark, self.longest_segment(), wanted))
    }

    /// The first entry that a start behind `after` wants: that at `after` itself is one, for its term.
    fn wanted(&self, after: LogIndex) -> LogIndex {
        after.min(after.saturating_sub(self.catch_up) + 1)
    }

    /// The same log once more, of which nothing was read ahead.
    pub fn again(&self) -> Self {
        let (disk, dir, ahead) = (self.disk.clone(), self.dir.clone(), SegmentsAhead::default());
        Self { disk, dir, ahead, ..*self }
    }

    /// With what was read ahead.
    pub fn with_ahead(mut self, ahead: SegmentsAhead) -> Self {
        self.ahead = ahead;
        self
    }

    /// Whose log it is; `None` for a fresh directory.
    pub fn identity(&self) -> Option<WalIdentity> {
        self.mark.map(|mark| mark.identity)
    }

    /// Reads and mends the log. Entries at or below `after` are covered by a checkpoint and are not handed out;
    /// a log that ends before `after` goes on behind it. A fresh directory becomes the log of `identity`; the
    /// log of another is refused.
    pub async fn recover(mut self, identity: WalIdentity, after: LogIndex) -> Result<RecoveredWal<D>, Wrong> {
        let mark = self.mark_of(identity).await?;
        let Needed { reading, start, unread } = self.read_what_is_needed(identity, &mark, after)?;
        let is_behind_damage = unread.is_empty() && start != Start::of(&mark);
        let Reading { replay, rests, mut unreadable, passed_over, .. } = reading;
        replay.check_complete()?;
        // Before anything is removed because of what it says.
        let (mut mark, slots) = MarkFile::open(&self.disk, &self.dir).await?;
        unreadable.extend(slots);
        if is_behind_damage && start.segment > mark.mark().oldest {
            let Start { segment: oldest, batch: oldest_batch, .. } = start;
            mark.set_in_turn(Mark { durable: replay.vouched, oldest, oldest_batch, ..mark.mark() }).await?;
        }
        self.clean(&mark.mark()).await?;
        let tail = report(&self.dir, &mark.mark(), &rests);
        let hard_state = replay.hard_state;
        let position = Position {
            appended: replay.expected - 1,
            durable: replay.expected - 1,
            chain: replay.chain.unwrap_or(0),
            last_index: replay.last_index.unwrap_or(0),
            hard_state,
        };
        let ready = self.mend(identity, &replay, &rests).await?;
        let read = replay.segments.iter().map(|seen| (seen.about, seen.end));
        // Where these end nobody asks: they take no more batches.
        let abouts: Vec<(Closed, u64)> = unread.into_iter().map(|closed| (closed, 0)).chain(read).collect();
        let term_at = replay.term_at;
        // A log that ends before the checkpoint goes on behind it: there is a gap between.
        let covers = position.last_index >= after;
        // What comes is this checkpoint's, though the entry at its end may be hidden.
        let goes_on_unnamed = position.last_index == after && is_behind_damage && !replay.names_end();
        let entries = if covers { replay.into_entries() } else { Vec::new() };
        let mut journal = self.into_journal(identity, mark, ready, abouts, position).await?;
        if !covers || goes_on_unnamed {
            journal.cut(after)?;
            journal.sync().await?;
        }
        Ok(RecoveredWal { journal, hard_state, entries, term_at, tail, unreadable, passed_over })
    }

    async fn mark_of(&self, identity: WalIdentity) -> Result<Mark, Wrong> {
        if let Some(mark) = self.mark {
            check_identity(&self.dir, mark.identity, identity)?;
            return Ok(mark);
        }
        for (end, _) in self.dir.match_indices('/') {
            self.disk.sync_dir(&self.dir[..end]).await?;
        }
        self.disk.sync_dir("").await?;
        Ok(mark::create(&self.disk, &self.dir, identity).await?)
    }

    /// Removes what a crash left lying about. Spare files too: one may have been begun as the next segment and have
    /// lost only its new name, and then it holds batches that would verify there.
    async fn clean(&self, mark: &Mark) -> Result<(), Fault> {
        let mut removed = false;
        for name in self.disk.list(&self.dir)? {
            if name.ends_with(SPARE_SUFFIX) || name.ends_with(FILL_SUFFIX) || name == NOTE_OF_OLD {
                self.disk.remove(&format!("{}/{name}", self.dir))?;
                removed = true;
            }
        }
        for segment in segment::list(&self.disk, &self.dir)? {
            if segment < mark.oldest {
                self.disk.remove(&segment::path(&self.dir, segment))?;
                removed = true;
            }
        }
        if removed {
            // Gone for good before a name is used again: a crash may keep a rename and lose what came before it.
            self.disk.sync_dir(&self.dir).await?;
        }
        Ok(())
    }

    /// The longest a segment can get: a batch that fits no rest of a segment gets one of its own.
    fn longest_segment(&self) -> u64 {
        self.segment_bytes.max(WAL_SEGMENT_BYTES + MAX_RECORD_BYTES as u64 + 2 * SECTOR_BYTES as u64)
    }

    /// Reads the log: what the checkpoint does not cover, where that leaves no doubt; else from its beginning or, where that is
    /// damaged, from behind the damage if nothing up to there is needed.
    fn read_what_is_needed(&mut self, identity: WalIdentity, mark: &Mark, after: LogIndex) -> Result<Needed, Wrong> {
        if let Some(Covered { start, closed }) = covered::look(&self.disk, &self.dir, mark, self.wanted(after))
            && let Some(reading) = self.read_without_doubt(identity, mark, (start, after))
        {
            return Ok(Needed { reading, start, unread: closed });
        }
        let mut start = Start::of(mark);
        let (mut first, mut passed_over, mut vouched) = (None, Vec::new(), mark.durable);
        for _ in 0..=WAL_MAX_PASSED_OVER {
            let mut reading = self.read(identity, start, (after, vouched))?;
            let judged =
                judge(&self.dir, self.segment_bytes, mark, (&reading.replay, &reading.rests), &mut reading.fault);
            let Err(wrong) = judged else {
                if let Some(first) = first
                    && let Some(doubt) = reading.replay.doubts_start()
                {
                    return Err(and_why(first, doubt));
                }
                reading.passed_over.splice(0..0, passed_over);
                return Ok(Needed { reading, start, unread: Vec::new() });
            };
            let resumes = reading.rests.iter().find_map(|rest| rest.resumes);
            passed_over.push(told(&wrong));
            first.get_or_insert(wrong);
            let Some(next) = resumes else { break };
            (start, vouched) = (next, reading.replay.vouched);
        }
        Err(first.expect("the loop ends by a judgement that refuses"))
    }

    /// Reads from `start` on, before which nothing is needed; nothing where anything is wrong there, or does not say that
    /// what is before it was durable, or which entry the checkpoint ends with.
    fn read_without_doubt(
        &mut self,
        identity: WalIdentity,
        mark: &Mark,
        (start, after): (Start, LogIndex),
    ) -> Option<Reading> {
        let mut reading = self.read(identity, start, (after, mark.durable)).ok()?;
        let replay = &reading.replay;
        judge(&self.dir, self.segment_bytes, mark, (replay, &reading.rests), &mut reading.fault).ok()?;
        let ends_before = replay.last_index.is_none_or(|last| last < after);
        let is_sure = replay.doubts_start().is_none() && (ends_before || replay.names_end());
        is_sure.then_some(reading)
    }

    /// Reads the batches from `start` on, and searches what lies behind the last one.
    fn read(
        &mut self,
        identity: WalIdentity,
        start: Start,
        (after, vouched): (LogIndex, u64),
    ) -> Result<Reading, Wrong> {
        let mut replay = Replay::new(after, after.saturating_sub(self.catch_up), start, vouched);
        let (mut rests, mut fault, mut unreadable): (Vec<Rest>, _, _) = (Vec::new(), None, Vec::new());
        let mut passed_over = Vec::new();
        let segments = segment::list(&self.disk, &self.dir)?;
        for segment in segments.into_iter().filter(|segment| *segment >= start.segment) {
            let path = segment::path(&self.dir, segment);
            let mut whole = match self.ahead.take(segment) {
                Some(whole) => whole,
                None => segment::read_segment(&self.disk, &path, self.longest_segment())?,
            };
            fault = fault.or(whole.fault.take());
            let is_passed = |to: u64| segment == start.segment && FIRST_RECORD_AT < to && to <= start.offset;
            unreadable.extend(whole.unreadable.iter().find(|(_, to)| !is_passed(*to)).map(|(offset, _)| Corruption {
                file: path.clone(),
                offset: *offset,
                what: "it cannot be read".to_string(),
            }));
            let mut header = SegmentHeader::decode(LOG_WAL, segment, &whole.bytes);
            if let Ok(header) = &header {
                check_header_identity(&path, header, identity)?;
            }
            let next = start.segment + replay.segments.len() as u64;
            let before = replay.expected;
            let is_next = segment == next && rests.iter().all(|rest| rest.segment < segment && rest.header.is_ok());
            let lacks_header =
                is_next && is_header_damaged(segment, &whole) && replay.goes_on_in(segment, &whole.bytes);
            if lacks_header {
                let why = header.as_ref().err().copied().unwrap_or_default();
                passed_over.push(Corruption { file: path.clone(), offset: 0, what: why.to_string() });
                header = Ok(put_header(identity, segment, &mut whole));
            }
            if let (Ok(header), true) = (&header, is_next) {
                replay.read_segment(segment, &path, &whole.bytes, (header.zeroed, lacks_header))?;
                if replay.expected > before || replay.segments.len() == 1 {
                    // The log goes on here: whatever followed the last batch of the segment before is nothing.
                    rests.clear();
                } else {
                    replay.segments.pop();
                }
            }
            let is_last_read = replay.segments.last().is_some_and(|seen| seen.about.segment == segment);
            let from = if is_last_read { replay.segments.last().map_or(0, |seen| seen.end) } else { FIRST_RECORD_AT };
            let (mut begins_whole, mut resumes) = (false, None);
            let mut reach = tail::search(LOG_WAL, segment, &whole, from, SECTOR_BYTES as u64, |offset, framed| {
                begins_whole |= offset == from;
                let free = replay.hear(framed.kind, &framed.body);
                resumes = resumes.or(free.map(|batch| Start { segment, offset, batch }));
            });
            if header.as_ref().is_ok_and(|header| header.zeroed) {
                reach = reach.max(whole.written);
            }
            reach = reach.max(whole.unreadable.last().map_or(0, |(_, end)| *end));
            let hides =
                !lacks_header && whole.is_unreadable(0, FIRST_RECORD_AT) || tail::hides(LOG_WAL, segment, &whole, from);
            rests.push(Rest { segment, from, reach, begins_whole, header, hides, resumes });
        }
        Ok(Reading { replay, rests, fault, unreadable, passed_over })
    }

    /// Makes the cut and what was read durable. Returns the segment that stands ready behind the last one.
    async fn mend(
        &self,
        identity: WalIdentity,
        replay: &Replay,
        rests: &[Rest],
    ) -> Result<Option<ReadySegment<D::File>>, Fault> {
        let active = replay.segments.last().map(|seen| seen.about.segment);
        let mut ready = None;
        for rest in rests.iter().rev().filter(|rest| Some(rest.segment) != active) {
            let path = segment::path(&self.dir, rest.segment);
            let untouched = rest.reach == rest.from && active.is_some_and(|active| rest.segment == active + 1);
            if let Ok(header) = &rest.header
                && untouched
            {
                let file = self.disk.open(&path, OpenMode::Write)?;
                // It may have been begun without a sync.
                file.write_at(0, &header.encode())?;
                file.sync().await?;
                ready = Some(ReadySegment { segment: rest.segment, file });
            } else {
                // Newest first and one by one, so that no crash leaves a hole.
                self.disk.remove(&path)?;
                self.disk.sync_dir(&self.dir).await?;
            }
        }
        for seen in &replay.segments {
            let rest = rests.iter().find(|rest| rest.segment == seen.about.segment);
            self.mend_segment(identity, seen, rest, replay.vouched).await?;
        }
        self.disk.sync_dir(&self.dir).await?;
        Ok(ready)
    }

    async fn mend_segment(
        &self,
        identity: WalIdentity,
        seen: &Seen,
        rest: Option<&Rest>,
        vouched: u64,
    ) -> Result<(), Fault> {
        let known = (vouched + 1).saturating_sub(seen.about.first_batch) as usize;
        let torn = rest.map_or(0, |rest| rest.reach - rest.from);
        if known >= seen.offsets.len() && torn == 0 && !seen.offsets.is_empty() && !seen.lacks_header {
            return Ok(());
        }
        if (known < seen.offsets.len() || seen.lacks_header) && self.rewrite(seen).await? {
            return Ok(());
        }
        let file = self.disk.open(&seen.path, OpenMode::Write)?;
        if torn > 0 {
            erase(&file, seen.end, torn)?;
        }
        if seen.lacks_header {
            // All of its page, which nobody may be able to read.
            write_pieces(&file, 0, &seen.bytes[..seen.whole_bytes().min(WAL_FILL_WRITE_BYTES)])?;
        } else if known == 0 {
            // Begun without a sync, perhaps.
            file.write_at(0, &header(identity, seen.about.segment, seen.zeroed).encode())?;
        }
        if let Some(from) = seen.offsets.get(known) {
            write_pieces(&file, *from, &seen.bytes[*from as usize..seen.whole_bytes()])?;
        }
        file.sync().await
    }

    /// What nothing vouches for goes to a new file, which takes the old one's place; written over in place, a crash
    /// could harm what was whole. False where there is no room for that: then it is the better choice.
    async fn rewrite(&self, seen: &Seen) -> Result<bool, Fault> {
        let path = format!("{}/mend{FILL_SUFFIX}", self.dir);
        let written = async {
            let file = self.disk.open(&path, OpenMode::Create)?;
            write_pieces(&file, 0, &seen.bytes[..seen.whole_bytes()])?;
            file.sync().await
        };
        match written.await {
            Ok(()) => {
                self.disk.rename(&path, &seen.path)?;
                self.disk.sync_dir(&self.dir).await?;
                Ok(true)
            }
            Err(fault) if fault.is_no_space() => {
                if self.disk.exists(&path)? {
                    self.disk.remove(&path)?;
                    self.disk.sync_dir(&self.dir).await?;
                }
                Ok(false)
            }
            Err(fault) => Err(fault),
        }
    }

    async fn into_journal(
        self,
        identity: WalIdentity,
        mark: MarkFile<D::File>,
        ready: Option<ReadySegment<D::File>>,
        mut abouts: Vec<(Closed, u64)>,
        position: Position,
    ) -> Result<Journal<D>, Wrong> {
        let fresh = Closed { segment: mark.mark().oldest, first_batch: position.appended + 1, max_index: 0 };
        let is_new = abouts.is_empty();
        let (about, offset) = abouts.pop().unwrap_or((fresh, FIRST_RECORD_AT));
        let path = segment::path(&self.dir, about.segment);
        let mode = if is_new { OpenMode::Create } else { OpenMode::Write };
        let file = self.disk.open(&path, mode)?;
        let mut journal = Journal {
            disk: self.disk,
            dir: self.dir,
            identity,
            segment_bytes: self.segment_bytes,
            mark,
            closed: abouts.into_iter().map(|(closed, _)| closed).collect::<VecDeque<_>>(),
            active: Active { about, file, offset },
            unsynced: Vec::new(),
            dir_changed: false,
            ready,
            filling: None,
            lacks_room: false,
            is_put_off: false,
            spares: Vec::new(),
            position,
            replaced: Vec::new(),
            release_up_to: 0,
            buffer: BytesMut::new(),
            bytes_written: 0,
            bytes_at_mark: 0,
            failure: None,
        };
        if is_new {
            let header = journal.header(about.segment, true);
            journal.active.file.write_at(0, &header)?;
            journal.active.file.sync().await?;
            journal.disk.sync_dir(&journal.dir).await?;
        }
        unless_full(journal.set_mark().await)?;
        Ok(journal)
    }
}

fn report(dir: &str, mark: &Mark, rests: &[Rest]) -> TailReport {
    let Some((last, later)) = rests.split_first() else {
        return TailReport { file: segment::path(dir, mark.oldest), offset: FIRST_RECORD_AT, ..TailReport::default() };
    };
    TailReport {
        file: segment::path(dir, last.segment),
        offset: last.from,
        torn_bytes: last.reach - last.from,
        torn_segments: later.iter().filter(|rest| rest.reach > rest.from).count() as u64,
    }
}

fn header(identity: WalIdentity, segment: u64, zeroed: bool) -> SegmentHeader {
    SegmentHeader { log: LOG_WAL, segment, first: 0, zeroed, extra: encode_identity(&identity) }
}

/// Whether nothing that was ever written as a header stands in its place. One that verifies and says what it must not, as
/// another version's, is none of these.
fn is_header_damaged(segment: u64, whole: &WholeSegment) -> bool {
    frame::decode(Place { log: LOG_WAL, segment, offset: 0 }, &whole.bytes).is_err()
}

/// Puts a header where a damaged one stands. What follows the batches may be leftovers, as far as anybody knows.
fn put_header(identity: WalIdentity, segment: u64, whole: &mut WholeSegment) -> SegmentHeader {
    let header = header(identity, segment, false);
    let mut bytes = BytesMut::from(&whole.bytes[..]);
    bytes[..SECTOR_BYTES].copy_from_slice(&header.encode());
    whole.bytes = bytes.freeze();
    header
}

/// Writes in small pieces, for the reason of their size's.
fn write_pieces(file: &impl DiskFile, from: u64, bytes: &[u8]) -> Result<(), Fault> {
    for (piece, at) in bytes.chunks(WAL_FILL_WRITE_BYTES).zip((from..).step_by(WAL_FILL_WRITE_BYTES)) {
        file.write_at(at, piece)?;
    }
    Ok(())
}

/// Writes zeroes, in pieces that begin where pages do: of a page that cannot be read no part can be written.
fn erase(file: &impl DiskFile, from: u64, len: u64) -> Result<(), Fault> {
    static ZEROES: [u8; WAL_FILL_WRITE_BYTES] = [0; WAL_FILL_WRITE_BYTES];
    let (mut at, end) = (from, from + len);
    while at < end {
        let next = (at + 1).next_multiple_of(WAL_FILL_WRITE_BYTES as u64).min(end);
        file.write_at(at, &ZEROES[..(next - at) as usize])?;
        at = next;
    }
    Ok(())
}

fn check_header_identity(path: &str, header: &SegmentHeader, mine: WalIdentity) -> Result<(), Wrong> {
    if header.extra == encode_identity(&mine) {
        return Ok(());
    }
    let what = "the segment belongs to the log of another member or cluster";
    Err(Wrong::corrupt(path, 0, what))
}

fn check_identity(dir: &str, found: WalIdentity, mine: WalIdentity) -> Result<(), Fault> {
    if found == mine {
        return Ok(());
    }
    let text = format!(
        "the log belongs to member {} of cluster {}, this is member {} of cluster {}",
        found.member, found.cluster, mine.member, mine.cluster
    );
    Err(Fault::new("use", dir, Error::new(ErrorKind::InvalidData, text)))
}
