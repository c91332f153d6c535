//! Taking a segment in at boot: nothing is kept of it but where each record starts. Its outline says that, where it has
//! one; else every byte is read once, in order, and verified.
//!
//! Invariant: the segment is then what the checkpoint says, or the damage is named with its place; of one whose outline
//! was read the values are verified when they are read. One window serves all segments and records are looked at where
//! they lie in it, so nothing is allocated for a record.

use std::sync::{Arc, RwLockWriteGuard};

use super::super::history_write::{file_name, outline_name};
use super::super::outline;
use super::{Outlining, Segment, Tail, note_in};
use crate::base::{Revision, Wrong};
use crate::env::{Disk, DiskFile};
use crate::log::frame::{self, FramedSlice};
use crate::log::{FrameWrong, LOG_HISTORY, Place};
use crate::mvcc::position::SegmentMark;
use crate::mvcc::record::{KIND_PAD, KIND_RECORD, RecordSlice};

/// Bytes read at once: large enough that the call does not count, small enough to stay in a processor's cache
/// from the read to the checksum.
const WINDOW: usize = 256 * 1024;

/// A window that moves over a file.
#[derive(Default)]
pub struct Window {
    bytes: Vec<u8>,
    /// What of `bytes` was read and not yet consumed.
    from: usize,
    to: usize,
}

impl Window {
    fn unread(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }

    /// Reads on until `need` bytes are unread; `at` is where the unread ones start in `file`, which holds at
    /// least `left` from there.
    fn fill(&mut self, file: &impl DiskFile, at: u64, need: usize, left: u64) -> Result<bool, Wrong> {
        self.bytes.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        if self.bytes.len() < need.max(WINDOW) {
            self.bytes.resize(need.max(WINDOW), 0);
        }
        let end = usize::try_from(left).map_or(self.bytes.len(), |left| left.min(self.bytes.len()));
        let wanted = end - self.to;
        let got = file.read_full_at(at + self.to as u64, &mut self.bytes[self.to..end])?;
        self.to = end;
        Ok(got == wanted)
    }
}

impl<D: Disk> Segment<D> {
    /// The segment of `mark`, of which nothing is known but its file: it was replaced, and waits to go.
    pub fn replaced(disk: D, mark: &SegmentMark) -> Self {
        let segment = Self::new(disk, mark.number, mark.first, mark.sparse);
        segment.tail_mut().len = mark.len;
        if let Some(outline) = mark.outline {
            segment.outlined(Outlining::Made(outline));
        }
        segment
    }

    /// The segment of `mark`, all of it read. Every record is shown to `on_record`, in order.
    pub fn load(
        disk: &D,
        mark: &SegmentMark,
        window: &mut Window,
        mut on_record: impl FnMut(&RecordSlice<'_>),
    ) -> Result<Arc<Self>, Wrong> {
        let segment = Self::new(disk.clone(), mark.number, mark.first, mark.sparse);
        let file = segment.file()?;
        let mut taking = Taking::new(mark, &segment);
        each_record(file, (mark.number, mark.len), window, |at, record, _| {
            taking.take(at, record)?;
            on_record(record);
            Ok(())
        })?;
        taking.finish().map_err(|what| Wrong::corrupt(file_name(mark.number), mark.len, what))?;
        Ok(Arc::new(segment))
    }

    /// The segment of `mark`, of which its outline alone is read: nothing of its file.
    pub fn load_outlined(
        disk: &D,
        mark: &SegmentMark,
        outline: &[u8],
        mut on_record: impl FnMut(&RecordSlice<'_>),
    ) -> Result<Arc<Self>, Wrong> {
        let segment = Self::new(disk.clone(), mark.number, mark.first, mark.sparse);
        let mut taking = Taking::new(mark, &segment);
        let taken = outline::each_record(outline, (mark.number, mark.len), |at, record, _| {
            taking.take(at, record)?;
            on_record(record);
            Ok(())
        });
        let finished = taken.and_then(|()| taking.finish());
        finished.map_err(|what| Wrong::corrupt(outline_name(mark.number), 0, what))?;
        if let Some(outline) = mark.outline {
            segment.outlined(Outlining::Made(outline));
        }
        Ok(Arc::new(segment))
    }
}

/// Taking the records of a segment in as its position says they are.
struct Taking<'a> {
    mark: &'a SegmentMark,
    tail: RwLockWriteGuard<'a, Tail>,
    before: Revision,
    ended: bool,
}

impl<'a> Taking<'a> {
    fn new<D: Disk>(mark: &'a SegmentMark, segment: &'a Segment<D>) -> Self {
        Self { mark, tail: segment.tail_mut(), before: Revision::new(mark.first - 1, u32::MAX), ended: true }
    }

    fn take(&mut self, at: u64, record: &RecordSlice<'_>) -> Result<(), &'static str> {
        let revision = record.meta.revision;
        if revision <= self.before {
            return Err("revisions do not ascend");
        }
        if revision.main > self.mark.last {
            return Err("a revision beyond what the checkpoint says");
        }
        note_in(&mut self.tail, self.mark.first, revision, at)?;
        (self.before, self.ended) = (revision, record.last);
        Ok(())
    }

    fn finish(mut self) -> Result<(), &'static str> {
        let (mark, tail) = (self.mark, &mut *self.tail);
        if !mark.sparse && (tail.last != mark.last || !self.ended) {
            return Err("it ends before the revision the checkpoint says");
        }
        (tail.len, tail.last) = (mark.len, mark.last);
        tail.layout.shrink();
        Ok(())
    }
}

/// Reads the `len` bytes of segment `number` from its file, all of them, and verifies them. Every record is shown to
/// `on_record` with where its frame lies and how long that is.
pub fn each_record(
    file: &impl DiskFile,
    (number, len): (u64, u64),
    window: &mut Window,
    mut on_record: impl FnMut(u64, &RecordSlice<'_>, usize) -> Result<(), &'static str>,
) -> Result<(), Wrong> {
    let damaged = |at: u64, what: &str| Wrong::corrupt(file_name(number), at, what);
    (window.from, window.to) = (0, 0);
    let mut at = 0;
    while at < len {
        let place = Place { log: LOG_HISTORY, segment: number, offset: at };
        let total = match frame::decode_slice(place, window.unread()) {
            Ok(framed) if framed.kind == KIND_PAD => framed.total,
            Ok(framed) => {
                let record = record_in(&framed).map_err(|what| damaged(at, what))?;
                on_record(at, &record, framed.total).map_err(|what| damaged(at, what))?;
                framed.total
            }
            Err(FrameWrong::Short { need }) => {
                let left = len - at;
                if need as u64 > left {
                    return Err(damaged(at, "a record ends beyond its segment"));
                }
                if !window.fill(file, at, need, left)? {
                    return Err(damaged(at, "the file ends before its records"));
                }
                continue;
            }
            Err(FrameWrong::End) => return Err(damaged(at, "zeroes where a record belongs")),
            Err(FrameWrong::Damaged(what)) => return Err(damaged(at, what)),
        };
        at += total as u64;
        window.from += total;
    }
    Ok(())
}

fn record_in<'a>(framed: &FramedSlice<'a>) -> Result<RecordSlice<'a>, &'static str> {
    if framed.kind != KIND_RECORD {
        return Err("a frame of unknown kind");
    }
    RecordSlice::decode(framed.body)
}
