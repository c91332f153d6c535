//! Whether what a half's notes say is there.
//!
//! Invariant: a note is good only where every record before it was read, verifies, is what may come next, and all of them have
//! the digest that the note says. So it does not matter what became of the files meanwhile: what is gone on with is what
//! arrived. Damage costs what lies behind the last good note before it.
//!
//! Changes nothing.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};

use super::half::{Half, Note};
use super::history_write::file_name;
use super::record::RecordSlice;
use super::record_order::{Bounds, Last, check_one};
use super::segment::{Window, each_record};
use super::snapshot::SnapshotProgress;
use crate::env::{Disk, DiskFile, OpenMode};

/// How far the reading is, and which note comes next.
struct Told<'a> {
    bounds: Bounds,
    at: SnapshotProgress,
    last: Last,
    ahead: std::slice::Iter<'a, Note>,
    good: Option<&'a Note>,
    bytes: BytesMut,
}

impl<'a> Told<'a> {
    /// Takes a record in that ends `end` bytes into segment `number`.
    fn take(&mut self, (number, end): (u64, u64), record: &RecordSlice<'_>) -> Result<(), &'static str> {
        check_one(record, &self.bounds, self.last).map_err(|_| "a revision that is not what comes next")?;
        self.bytes.clear();
        let len = record.encoded_len();
        self.bytes.put_u32_le(u32::try_from(len).map_err(|_| "a record beyond the limit")?);
        record.encode(&mut self.bytes);
        let revision = record.meta.revision;
        let behind = self.at.behind(1, &self.bytes, Some(revision));
        // Chunks are counted by notes alone.
        self.at = SnapshotProgress { chunk: 0, ..behind };
        self.last = Some((revision, record.last));
        let next = self.ahead.as_slice().first().filter(|note| note.growing().number == number);
        let Some(note) = next.filter(|note| note.growing().len <= end) else { return Ok(()) };
        let is_it = note.growing().len == end
            && SnapshotProgress { chunk: 0, ..note.at } == self.at
            && Some(note.last) == self.last;
        if !is_it {
            return Err("a note says something else");
        }
        self.good = self.ahead.next();
        Ok(())
    }
}

/// The last note that is good, if one is; nothing where what there is is no more `wanted`.
pub(super) fn last_good<'a, D: Disk>(disk: &D, half: &'a Half, wanted: &dyn Fn() -> bool) -> Option<&'a Note> {
    let mut told = Told {
        bounds: Bounds::of_snapshot(&half.header),
        at: SnapshotProgress::default(),
        last: None,
        ahead: half.notes.iter(),
        good: None,
        bytes: BytesMut::new(),
    };
    // As long as the last note that names it says; their numbers are their order.
    let named = half.notes.iter().flat_map(|note| &note.segments).map(|segment| (segment.number, segment.len));
    let segments: BTreeMap<u64, u64> = named.collect();
    let mut window = Window::default();
    for (number, len) in segments {
        let Ok(file) = disk.open(&file_name(number), OpenMode::Read) else { break };
        // Shorter where a start that went on behind an earlier note cut it, and ended before its logbook told of that.
        let Ok(there) = file.len() else { break };
        let read = each_record(&file, (number, len.min(there)), &mut window, |at, record, total| {
            if !wanted() {
                return Err("nobody waits for it");
            }
            told.take((number, at + total as u64), record)
        });
        if read.is_err() || there < len {
            break;
        }
    }
    told.good.filter(|_| wanted())
}
