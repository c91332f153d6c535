//! Reading a whole segment at boot: every byte is read once, in order, and verified; nothing is kept of it but
//! where each record starts.
//!
//! Invariant: the segment is then what the checkpoint says, or the damage is named with its place. One window
//! serves all segments and records are looked at where they lie in it, so nothing is allocated for a record.

use std::sync::Arc;

use super::super::history_write::file_name;
use super::{Segment, note_in};
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
        segment
    }

    /// The segment of `mark`. Every record is shown to `on_record`, in order.
    pub fn load(
        disk: &D,
        mark: &SegmentMark,
        window: &mut Window,
        mut on_record: impl FnMut(&RecordSlice<'_>),
    ) -> Result<Arc<Self>, Wrong> {
        let damaged = |at: u64, what: &str| Wrong::corrupt(file_name(mark.number), at, what);
        let segment = Self::new(disk.clone(), mark.number, mark.first, mark.sparse);
        let file = segment.file()?;
        (window.from, window.to) = (0, 0);
        let mut tail = segment.tail_mut();
        let mut before = Revision::new(mark.first - 1, u32::MAX);
        let mut ended = true;
        while tail.len < mark.len {
            let at = tail.len;
            let place = Place { log: LOG_HISTORY, segment: mark.number, offset: at };
            let (framed, record) = match frame::decode_slice(place, window.unread()) {
                Ok(framed) if framed.kind == KIND_PAD => {
                    tail.len += framed.total as u64;
                    window.from += framed.total;
                    continue;
                }
                Ok(framed) => (framed, record_in(&framed).map_err(|what| damaged(at, what))?),
                Err(FrameWrong::Short { need }) => {
                    let left = mark.len - at;
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
            let revision = record.meta.revision;
            if revision <= before {
                return Err(damaged(at, "revisions do not ascend"));
            }
            if revision.main > mark.last {
                return Err(damaged(at, "a revision beyond what the checkpoint says"));
            }
            note_in(&mut tail, mark.first, revision, at).map_err(|what| damaged(at, what))?;
            on_record(&record);
            (before, ended) = (revision, record.last);
            tail.len += framed.total as u64;
            window.from += framed.total;
        }
        if !mark.sparse && (tail.last != mark.last || !ended) {
            return Err(damaged(mark.len, "it ends before the revision the checkpoint says"));
        }
        tail.last = mark.last;
        tail.layout.shrink();
        drop(tail);
        Ok(Arc::new(segment))
    }
}

fn record_in<'a>(framed: &FramedSlice<'a>) -> Result<RecordSlice<'a>, &'static str> {
    if framed.kind != KIND_RECORD {
        return Err("a frame of unknown kind");
    }
    RecordSlice::decode(framed.body)
}
