//! Reading the batches of the log in order, up to the first that is not there.
//!
//! Invariants: a batch is taken only if its frame verifies, its number is the expected one and its chain is the
//! fingerprint of the one before; the entries kept are those above the checkpoint and some before, the last writer's. What the
//! end means is judged in `recovery`.

use bytes::Bytes;

use super::batch::{self, BatchHead, KIND_BATCH};
use super::entry::{HardState, LogEntry};
use super::journal::Closed;
use super::mark::Mark;
use crate::base::limits::SECTOR_BYTES;
use crate::base::{LogIndex, Term, Wrong};
use crate::log::segment::FIRST_RECORD_AT;
use crate::log::{FrameWrong, LOG_WAL, Place, frame};

/// The batch that the reading begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Start {
    pub segment: u64,
    pub offset: u64,
    /// Its number.
    pub batch: u64,
}

impl Start {
    /// The first batch of the log.
    pub fn of(mark: &Mark) -> Self {
        Self { segment: mark.oldest, offset: FIRST_RECORD_AT, batch: mark.oldest_batch }
    }
}

/// What the batches read so far say.
#[derive(Debug)]
pub(super) struct Replay {
    /// A checkpoint covers the entries up to here.
    after: LogIndex,
    /// Entries up to here are not kept.
    keep_after: LogIndex,
    start: Start,
    /// Number of the batch that comes next.
    pub expected: u64,
    /// Fingerprint of the last batch; `None` before the first, whose predecessor may be gone.
    pub chain: Option<u32>,
    pub last_index: Option<LogIndex>,
    pub hard_state: HardState,
    /// Newest batch that anything read so far says was durable.
    pub vouched: u64,
    /// Newest batch that one of those taken says was durable.
    told_durable: u64,
    /// Segments read, without gaps.
    pub segments: Vec<Seen>,
    /// Term of the entry at `after`, where the log still holds it.
    pub term_at: Option<Term>,
    /// Entries at or below this are void: the log was started anew behind it.
    floor: LogIndex,
    entries: Vec<Kept>,
}

/// A segment that was read.
#[derive(Debug)]
pub(super) struct Seen {
    pub about: Closed,
    pub path: String,
    /// Its bytes, while something may have to be done with them.
    pub bytes: Bytes,
    read_bytes: usize,
    /// Where each batch starts.
    pub offsets: Vec<u64>,
    /// Where the next batch would stand, and why none does.
    pub end: u64,
    pub why: &'static str,
    /// Whether nothing but batches was ever written to the file.
    pub zeroed: bool,
    /// Whether its header is damaged on the disk.
    pub lacks_header: bool,
}

#[derive(Debug)]
struct Kept {
    entry: LogEntry,
    seen: usize,
}

impl Seen {
    /// Bytes of the file up to the end of its last batch; less where the padding behind it is not there.
    pub fn whole_bytes(&self) -> usize {
        (self.end as usize).min(self.bytes.len())
    }
}

impl Replay {
    /// Before the first batch. `durable` is what the mark says.
    pub fn new(after: LogIndex, keep_after: LogIndex, start: Start, durable: u64) -> Self {
        Self {
            after,
            keep_after,
            start,
            expected: start.batch,
            chain: None,
            last_index: None,
            hard_state: HardState::default(),
            vouched: durable,
            told_durable: 0,
            segments: Vec::new(),
            term_at: None,
            floor: 0,
            entries: Vec::new(),
        }
    }

    /// Where the batches of a segment begin, as far as they are read.
    fn begin_of(&self, segment: u64) -> u64 {
        if segment == self.start.segment { self.start.offset } else { FIRST_RECORD_AT }
    }

    /// Whether the batch that comes next is the first of this segment.
    pub fn goes_on_in(&self, segment: u64, bytes: &Bytes) -> bool {
        let offset = self.begin_of(segment);
        let rest = bytes.slice((offset as usize).min(bytes.len())..);
        let Ok(framed) = frame::decode(Place { log: LOG_WAL, segment, offset }, &rest) else { return false };
        framed.kind == KIND_BATCH
            && batch::decode_head(&framed.body)
                .is_ok_and(|head| head.number == self.expected && self.chain.is_none_or(|chain| chain == head.chain))
    }

    /// Takes the batches of the next segment, whose header verified, or [`Self::goes_on_in`] says so.
    pub fn read_segment(
        &mut self,
        segment: u64,
        path: &str,
        bytes: &Bytes,
        (zeroed, lacks_header): (bool, bool),
    ) -> Result<(), Wrong> {
        let about = Closed { segment, first_batch: self.expected, max_index: 0 };
        self.segments.push(Seen {
            about,
            path: path.to_string(),
            bytes: bytes.clone(),
            read_bytes: bytes.len(),
            offsets: Vec::new(),
            end: FIRST_RECORD_AT,
            why: "",
            zeroed,
            lacks_header,
        });
        let mut offset = self.begin_of(segment);
        loop {
            let place = Place { log: LOG_WAL, segment, offset };
            match self.read_batch(path, place, &bytes.slice((offset as usize).min(bytes.len())..))? {
                Ok(total) => offset += total.next_multiple_of(SECTOR_BYTES) as u64,
                Err(why) => {
                    let seen = self.segments.last_mut().expect("pushed above");
                    (seen.end, seen.why) = (offset, why);
                    break;
                }
            }
        }
        self.forget_bytes();
        Ok(())
    }

    /// Lets the bytes of a segment go that nothing can be done with any more.
    fn forget_bytes(&mut self) {
        let vouched = self.vouched;
        let Some((_, earlier)) = self.segments.split_last_mut() else { return };
        let is_done = |seen: &&mut Seen| seen.about.first_batch + seen.offsets.len() as u64 <= vouched;
        for seen in earlier.iter_mut().filter(is_done).filter(|seen| !seen.lacks_header) {
            seen.bytes = Bytes::new();
        }
    }

    /// The outer error is damage beyond doubt; the inner one says why the expected batch is not here.
    fn read_batch(&mut self, path: &str, place: Place, bytes: &Bytes) -> Result<Result<usize, &'static str>, Wrong> {
        let corrupt = |what: &str| Wrong::corrupt(path, place.offset, what);
        let framed = match frame::decode(place, bytes) {
            Ok(framed) => framed,
            Err(FrameWrong::End) => return Ok(Err("nothing was written there")),
            Err(FrameWrong::Short { .. }) => return Ok(Err("the file ends there")),
            Err(FrameWrong::Damaged(what)) => return Ok(Err(what)),
        };
        if framed.kind != KIND_BATCH {
            return Err(corrupt("a record verifies but is no batch"));
        }
        let head = batch::decode_head(&framed.body).map_err(corrupt)?;
        if head.number != self.expected {
            return Ok(Err("another batch stands there"));
        }
        if self.chain.is_some_and(|chain| chain != head.chain) {
            return Ok(Err("the batch there does not follow the one before"));
        }
        self.check_order(&head).map_err(|what| corrupt(&what))?;
        self.take(&head, &framed.body).map_err(corrupt)?;
        self.chain = Some(frame::fingerprint(bytes));
        self.expected += 1;
        self.segments.last_mut().expect("a segment is being read").offsets.push(place.offset);
        Ok(Ok(framed.total))
    }

    fn check_order(&self, head: &BatchHead) -> Result<(), String> {
        let Some(last) = self.last_index else { return Ok(()) };
        let first = head.first_index();
        let follows = head.cut || if head.count > 0 { first <= last + 1 } else { head.last_index == last };
        if follows {
            Ok(())
        } else {
            Err(format!("batch {} goes on at entry {first} behind entry {last}", head.number))
        }
    }

    fn take(&mut self, head: &BatchHead, body: &Bytes) -> Result<(), &'static str> {
        self.vouched = self.vouched.max(head.durable);
        self.told_durable = self.told_durable.max(head.durable);
        self.hard_state = head.hard_state;
        self.last_index = Some(head.last_index);
        let kept = head.first_index() - 1;
        if head.cut {
            self.floor = kept;
            self.entries.clear();
        }
        if head.cut || head.count > 0 {
            self.entries.truncate(self.entries.partition_point(|held| held.entry.index <= kept));
            for seen in &mut self.segments {
                seen.about.max_index = seen.about.max_index.min(kept);
            }
            self.segments.last_mut().expect("a segment is being read").about.max_index = head.last_index;
        }
        let (after, keep_after, seen) = (self.after, self.keep_after, self.segments.len() - 1);
        if head.cut || head.count > 0 && kept < after {
            self.term_at = None;
        }
        batch::decode_entries(head, body, |entry| {
            if entry.index == after {
                self.term_at = Some(entry.term);
            }
            if entry.index > keep_after {
                self.entries.push(Kept { entry, seen });
            }
        })
    }

    /// Notes what a batch that verifies, but behind the end, says was durable. Returns its number where nothing
    /// before it is needed: it carries the hard state, and leaves no older entry behind the checkpoint.
    pub fn hear(&mut self, kind: u8, body: &Bytes) -> Option<u64> {
        if kind != KIND_BATCH {
            return None;
        }
        let head = batch::decode_head(body).ok()?;
        self.vouched = self.vouched.max(head.durable);
        (head.number >= self.expected && head.first_index() <= self.after + 1).then_some(head.number)
    }

    /// Whether the log says with which entry the checkpoint's ends, or that what follows is behind it.
    pub fn names_end(&self) -> bool {
        self.term_at.is_some() || self.floor == self.after
    }

    /// Why what lies before the start may be needed, or the start may be no batch of this log, where something was passed
    /// over there. A batch that was written but never made durable, and is left over from an earlier life, has none behind it
    /// that says it was: the recovery that cut it off would have been a refusal.
    pub fn doubts_start(&self) -> Option<&'static str> {
        let holds_more = self.last_index.is_some_and(|last| last > self.after);
        if self.told_durable < self.start.batch {
            Some("no batch behind it says that what follows the damage was durable")
        } else if holds_more && !self.names_end() {
            Some("nothing says whether the log goes on where the checkpoint ends")
        } else {
            None
        }
    }

    /// The entries kept, complete and without gaps. Their data share the segment they were read
    /// from only where they make up half of it.
    pub fn into_entries(mut self) -> Vec<LogEntry> {
        let mut kept_bytes = vec![0; self.segments.len()];
        for kept in &self.entries {
            kept_bytes[kept.seen] += kept.entry.data.len();
        }
        for kept in &mut self.entries {
            if kept_bytes[kept.seen] * 2 < self.segments[kept.seen].read_bytes {
                kept.entry.data = Bytes::copy_from_slice(&kept.entry.data);
            }
        }
        let entries: Vec<LogEntry> = self.entries.into_iter().map(|kept| kept.entry).collect();
        let gapless = entries.windows(2).all(|pair| pair[1].index == pair[0].index + 1);
        assert!(gapless, "every batch was checked to follow the one before");
        entries
    }

    /// Refuses a log that lacks entries between the checkpoint and its end.
    pub fn check_complete(&self) -> Result<(), Wrong> {
        let Some(oldest) = self.segments.first() else { return Ok(()) };
        let corrupt = |what: String| Err(Wrong::corrupt(&oldest.path, 0, what));
        let (after, last) = (self.after, self.last_index.unwrap_or(0));
        if self.floor > after {
            let floor = self.floor;
            return corrupt(format!(
                "the log goes on behind a checkpoint at {floor}, but there is one only at {after}"
            ));
        }
        let held = self.entries.first().map(|kept| kept.entry.index);
        match held {
            Some(first) if first > after + 1 => {
                corrupt(format!("the log begins with entry {first}, but the checkpoint ends at {after}"))
            }
            None if last > after => {
                corrupt(format!("the log reaches entry {last}, but holds none behind the checkpoint at {after}"))
            }
            _ => Ok(()),
        }
    }
}
