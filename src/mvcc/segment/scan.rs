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
use crate::mvcc::record::{KIND_PAD, KIND_RECORD, Record};
use crate::mvcc::value_cache::unpinned;

/// Reads frames one after the other through a window.
#[derive(Debug)]
pub(super) struct Frames {
    at: u64,
    end: u64,
    window: usize,
    /// What was fetched from `at` on.
    bytes: Bytes,
}

impl Frames {
    /// From `at` to `end`, reading `window` bytes at a time.
    pub(super) fn new(at: u64, end: u64, window: usize) -> Self {
        Self { at, end, window, bytes: Bytes::new() }
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

    /// The next record with its offset and the bytes of its frame; `None` at the end.
    pub(super) fn next<D: Disk>(&mut self, segment: &Segment<D>) -> Result<Option<(u64, Record, usize)>, Wrong> {
        let mut need = 1;
        loop {
            if self.at >= self.end {
                return Ok(None);
            }
            self.reach(segment, need)?;
            match frame::decode(self.place(segment), &self.bytes) {
                Ok(framed) if framed.kind == KIND_PAD => {
                    self.advance(framed.total);
                    need = 1;
                }
                Ok(framed) if framed.kind != KIND_RECORD => {
                    return Err(segment.damaged(self.at, "a frame of unknown kind"));
                }
                Ok(framed) => {
                    let record = Record::decode(framed.body).map_err(|what| segment.damaged(self.at, what))?;
                    let at = self.at;
                    self.advance(framed.total);
                    return Ok(Some((at, record, framed.total)));
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
}

/// The records of one segment from a revision on, in order.
pub struct SegmentScan<D: Disk> {
    segment: Arc<Segment<D>>,
    frames: Frames,
}

impl<D: Disk> SegmentScan<D> {
    /// From main revision `main` on, reading `window` bytes at a time.
    pub fn new(segment: Arc<Segment<D>>, main: i64, window: usize) -> Self {
        let frames = Frames::new(segment.start_of(main), segment.len(), window);
        Self { segment, frames }
    }

    /// The next record with its offset and the bytes of its frame; `None` at the end.
    pub fn next(&mut self) -> Result<Option<(u64, Record, usize)>, Wrong> {
        self.frames.next(&self.segment)
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
        match frames.next(self)? {
            Some((_, mut record, _)) if record.meta.revision == revision => {
                // The value shares the window it was read through.
                record.value = unpinned(record.value, window);
                Ok(record)
            }
            _ => Err(self.damaged(span.start, &format!("revision {revision} is not where it belongs"))),
        }
    }
}
