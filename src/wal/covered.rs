//! Segments of the log that a start need not read: the checkpoint it begins at covers all that is in them. They are kept for
//! the checkpoint before it, and are read, and judged, by the start that begins there.
//!
//! Invariants: nothing is believed but headers and first batches that verify. Reading begins at a batch that the mark says was
//! durable, that carries the hard state, and that leaves no older entry that is wanted: what is so passed over unread is what
//! may be passed over where it is damaged (`recovery`). Whoever reads on from there has the same doubts as behind damage,
//! and reads everything where one is left; so does whoever finds nothing here. Nothing is changed.

use bytes::{Bytes, BytesMut};

use super::batch::{self, BatchHead, KIND_BATCH};
use super::journal::{Closed, encode_identity};
use super::mark::Mark;
use super::replay::Start;
use crate::base::LogIndex;
use crate::base::limits::WAL_LOOK_BYTES;
use crate::env::{Disk, DiskFile, OpenMode};
use crate::log::segment::{self, FIRST_RECORD_AT, SegmentHeader};
use crate::log::{FrameWrong, LOG_WAL, Place, frame};

/// Where reading may begin, and what lies before it.
#[derive(Debug)]
pub(super) struct Covered {
    pub(super) start: Start,
    /// The segments before it, oldest first, without gaps; there is one.
    pub(super) closed: Vec<Closed>,
}

/// Looks for the newest segment behind whose beginning everything from entry `wanted` on lies. Nothing where that is the
/// oldest one, or where anything does not verify or cannot be read: then all of the log is to be read.
pub(super) fn look<D: Disk>(disk: &D, dir: &str, mark: &Mark, wanted: LogIndex) -> Option<Covered> {
    let segments: Vec<u64> =
        segment::list(disk, dir).ok()?.into_iter().filter(|segment| *segment >= mark.oldest).collect();
    let without_gap = segments.iter().zip(mark.oldest..).all(|(segment, next)| *segment == next);
    if !without_gap {
        return None;
    }
    let begins_in_time = |first: &BatchHead| first.first_index() <= wanted && first.number <= mark.durable;
    // The one made ready holds no batch yet.
    let later = segments.iter().enumerate().skip(1).rev();
    let (at, first) = later
        .filter_map(|(at, segment)| Some((at, first_batch(disk, dir, mark, *segment)?)))
        .find(|(_, first)| begins_in_time(first))?;
    let start = Start { segment: segments[at], offset: FIRST_RECORD_AT, batch: first.number };
    let mut closed = Vec::with_capacity(at);
    let (mut next, mut max_index) = (first, LogIndex::MAX);
    for segment in segments[..at].iter().rev() {
        let first = first_batch(disk, dir, mark, *segment).filter(|first| first.number < next.number)?;
        // What follows goes on behind that, or replaces it from there on.
        max_index = max_index.min(next.first_index() - 1);
        closed.push(Closed { segment: *segment, first_batch: first.number, max_index });
        next = first;
    }
    closed.reverse();
    closed.first().is_some_and(|oldest| oldest.first_batch == mark.oldest_batch).then_some(Covered { start, closed })
}

/// The batch a segment begins with, if that and the segment's header verify.
fn first_batch<D: Disk>(disk: &D, dir: &str, mark: &Mark, segment: u64) -> Option<BatchHead> {
    let file = disk.open(&segment::path(dir, segment), OpenMode::Read).ok()?;
    let mut bytes = read(&file, WAL_LOOK_BYTES)?;
    let header = SegmentHeader::decode(LOG_WAL, segment, &bytes).ok()?;
    if header.extra != encode_identity(&mark.identity) {
        return None;
    }
    let place = Place { log: LOG_WAL, segment, offset: FIRST_RECORD_AT };
    let behind_header = |bytes: &Bytes| bytes.slice((FIRST_RECORD_AT as usize).min(bytes.len())..);
    let mut framed = frame::decode(place, &behind_header(&bytes));
    if let Err(FrameWrong::Short { need }) = framed {
        // Of a header that verified, or the file ends there.
        bytes = read(&file, FIRST_RECORD_AT as usize + need)?;
        framed = frame::decode(place, &behind_header(&bytes));
    }
    let framed = framed.ok().filter(|framed| framed.kind == KIND_BATCH)?;
    batch::decode_head(&framed.body).ok()
}

fn read(file: &impl DiskFile, most: usize) -> Option<Bytes> {
    let mut bytes = BytesMut::zeroed(most);
    let n = file.read_full_at(0, &mut bytes).ok()?;
    bytes.truncate(n);
    Some(bytes.freeze())
}
