//! Walking over the records of a segment, be they in its file or in memory still.
//!
//! Invariant: each record that is handed out was verified; of one that is passed its head was. Does not know which are live.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::{SEARCH_WINDOW, Segment};
use crate::base::{Revision, Wrong};
use crate::env::Disk;
use crate::log::frame::{self, FRAME_HEADER_BYTES};
use crate::log::{FrameWrong, LOG_HISTORY, Place};
use crate::mvcc::key_index::KeyMeta;
use crate::mvcc::record::{KIND_PAD, KIND_RECORD, Record, RecordSlice};
use crate::mvcc::value_cache::unpinned;

/// Reads frames one after the other through a window.
#[derive(Debug)]
pub(super) struct Frames {
    at: u64,
    end: u64,
    window: usize,
    /// What was fetched from `at` on.
    bytes: Bytes,
    /// The record that lies at `at`, until the next step.
    current: Option<Current>,
}

/// A record that was stepped to, and where in the window it lies.
#[derive(Clone, Copy, Debug)]
struct Current {
    /// Bytes of its frame.
    total: usize,
    meta: KeyMeta,
    last: bool,
    key_at: usize,
    value_at: usize,
    end: usize,
}

impl Frames {
    /// From `at` to `end`, reading `window` bytes at a time.
    pub(super) fn new(at: u64, end: u64, window: usize) -> Self {
        Self { at, end, window, bytes: Bytes::new(), current: None }
    }

    /// Fetches until `need` bytes are at hand.
    fn reach<D: Disk>(&mut self, segment: &Segment<D>, need: usize) -> Result<(), Wrong> {
        if self.bytes.len() < need {
            let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            if need <= left {
                self.bytes = segment.fetch(self.at, self.window.max(need).min(left))?;
            }
            // Neither a block of memory nor the file ends inside a frame.
            if self.bytes.len() < need {
                return Err(segment.damaged(self.at, "a record ends beyond its segment"));
            }
        }
        Ok(())
    }

    fn place<D: Disk>(&self, segment: &Segment<D>) -> Place {
        Place { log: LOG_HISTORY, segment: segment.number, offset: self.at }
    }

    /// Goes on behind `total` bytes, which may be more than are at hand.
    fn advance(&mut self, total: usize) {
        self.at += total as u64;
        self.bytes.advance(total.min(self.bytes.len()));
    }

    /// Passes the next record: its head alone is looked at.
    pub(super) fn pass<D: Disk>(&mut self, segment: &Segment<D>) -> Result<(), Wrong> {
        self.leave();
        loop {
            if self.at >= self.end {
                return Ok(());
            }
            self.reach(segment, FRAME_HEADER_BYTES)?;
            let head = match frame::decode_head(self.place(segment), &self.bytes) {
                Ok(head) => head,
                Err(FrameWrong::Damaged(what)) => return Err(segment.damaged(self.at, what)),
                Err(FrameWrong::Short { .. } | FrameWrong::End) => {
                    return Err(segment.damaged(self.at, "zeroes where a record belongs"));
                }
            };
            self.advance(frame::total_len(head.body_len));
            if head.kind != KIND_PAD {
                return Ok(());
            }
        }
    }

    /// Goes behind the record that was stepped to.
    fn leave(&mut self) {
        if let Some(left) = self.current.take() {
            self.advance(left.total);
        }
    }

    /// Goes to the next record, which [`Self::current`] then shows, and says its offset and the bytes of its frame; `None` at
    /// the end.
    pub(super) fn step<D: Disk>(&mut self, segment: &Segment<D>) -> Result<Option<(u64, usize)>, Wrong> {
        self.leave();
        let mut need = 1;
        loop {
            if self.at >= self.end {
                return Ok(None);
            }
            self.reach(segment, need)?;
            match frame::decode_slice(self.place(segment), &self.bytes) {
                Ok(framed) if framed.kind == KIND_PAD => {
                    let total = framed.total;
                    self.advance(total);
                    need = 1;
                }
                Ok(framed) if framed.kind != KIND_RECORD => {
                    return Err(segment.damaged(self.at, "a frame of unknown kind"));
                }
                Ok(framed) => {
                    let record = RecordSlice::decode(framed.body).map_err(|what| segment.damaged(self.at, what))?;
                    let end = FRAME_HEADER_BYTES + framed.body.len();
                    let value_at = end - record.value.len();
                    let (total, key_at) = (framed.total, value_at - record.key.len());
                    let RecordSlice { meta, last, .. } = record;
                    self.current = Some(Current { total, meta, last, key_at, value_at, end });
                    return Ok(Some((self.at, total)));
                }
                Err(FrameWrong::Short { need: more }) => {
                    assert!(more > self.bytes.len(), "a frame is short only of bytes that are not there");
                    need = more;
                }
                Err(FrameWrong::End) => return Err(segment.damaged(self.at, "zeroes where a record belongs")),
                Err(FrameWrong::Damaged(what)) => return Err(segment.damaged(self.at, what)),
            }
        }
    }

    fn at_hand(&self) -> &Current {
        self.current.as_ref().expect("a record was stepped to")
    }

    /// The record that was stepped to, where it lies.
    pub(super) fn current(&self) -> RecordSlice<'_> {
        let Current { meta, last, key_at, value_at, end, .. } = *self.at_hand();
        RecordSlice { meta, last, key: &self.bytes[key_at..value_at], value: &self.bytes[value_at..end] }
    }

    /// The record that was stepped to; it shares the bytes of the window.
    pub(super) fn record(&self) -> Record {
        let Current { meta, last, key_at, value_at, end, .. } = *self.at_hand();
        Record { meta, last, key: self.bytes.slice(key_at..value_at), value: self.bytes.slice(value_at..end) }
    }
}

/// The records of one segment from a revision on, in order.
///
/// Each record vouches for itself and its place alone: a write that went astray leaves what an earlier life wrote there, which may be
/// whole frames. So where no revision may be missing it is seen that none is.
pub struct SegmentScan<D: Disk> {
    segment: Arc<Segment<D>>,
    frames: Frames,
    whole: Option<Whole>,
}

/// Which revisions there must be.
struct Whole {
    /// The one that comes next.
    next: Revision,
    /// The last main revision of which there is something.
    last: i64,
}

impl Whole {
    /// Goes behind this record; false where it is not the one that comes next.
    fn step(&mut self, record: &RecordSlice<'_>) -> bool {
        let Revision { main, sub } = record.meta.revision;
        let is_next = record.meta.revision == self.next;
        self.next = if record.last { Revision::new(main + 1, 0) } else { Revision::new(main, sub + 1) };
        is_next
    }

    /// Whether the records may end here: the last transaction may be under way still.
    fn may_end(&self) -> bool {
        self.next.main > self.last || self.next.main == self.last && self.next.sub > 0
    }
}

impl<D: Disk> SegmentScan<D> {
    /// From main revision `main` on, reading `window` bytes at a time.
    pub fn new(segment: Arc<Segment<D>>, main: i64, window: usize) -> Self {
        let first = main.max(segment.first());
        let whole = (!segment.is_sparse()).then(|| Whole { next: Revision::new(first, 0), last: segment.last() });
        let frames = Frames::new(segment.start_of(main), segment.len(), window);
        Self { segment, frames, whole }
    }

    /// The next record with its offset and the bytes of its frame; `None` at the end.
    pub fn next(&mut self) -> Result<Option<(u64, Record, usize)>, Wrong> {
        let found = self.step()?;
        Ok(found.map(|(at, total)| (at, self.record(), total)))
    }

    /// As [`Self::next`], the record left where it lies: [`Self::current`] shows it until the next step.
    pub fn step(&mut self) -> Result<Option<(u64, usize)>, Wrong> {
        let stepped = self.frames.step(&self.segment)?;
        if let Some(whole) = &mut self.whole {
            let (at, is_next) = match stepped {
                Some((at, _)) => (at, whole.step(&self.frames.current())),
                None => (self.frames.at, whole.may_end()),
            };
            if !is_next {
                return Err(self.segment.damaged(at, "a revision is missing, or not where it belongs"));
            }
        }
        Ok(stepped)
    }

    /// The record that was stepped to.
    pub fn current(&self) -> RecordSlice<'_> {
        self.frames.current()
    }

    /// As [`Self::current`], to be kept.
    pub fn record(&self) -> Record {
        self.frames.record()
    }
}

impl<D: Disk> Segment<D> {
    /// The record of `revision`.
    pub fn read(&self, revision: Revision) -> Result<Record, Wrong> {
        let span = self.tail().find(self.first, revision);
        let Some(span) = span else {
            return Err(self.damaged(0, &format!("revision {revision} is not in it")));
        };
        let window = if span.single { (span.end - span.start) as usize } else { SEARCH_WINDOW };
        let mut frames = Frames::new(span.start, span.end, window);
        for _ in 0..span.skip {
            frames.pass(self)?;
        }
        match frames.step(self)? {
            Some(_) if frames.current().meta.revision == revision => {
                let mut record = frames.record();
                // The value shares the window it was read through.
                record.value = unpinned(record.value, window);
                Ok(record)
            }
            _ => Err(self.damaged(span.start, &format!("revision {revision} is not where it belongs"))),
        }
    }
}
