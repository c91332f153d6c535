//! A reading point of what changed: the history up to a revision, without the keys.
//!
//! Invariants: as with a view, what it shows never changes, and only the watermark is the store's present one. It shares nothing
//! with the index: however long it is held, a writer beside it copies nothing because of it. While it is held the files of
//! segments that are replaced keep their room.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::history::{SCAN_WINDOW, Table};
use super::range_read::ReadFailure;
use super::store::Store;
use crate::base::{Event, EventKind, Refusal};
use crate::env::Disk;

/// What changed up to a revision; see the module's head.
pub struct Past<D: Disk> {
    table: Arc<Table<D>>,
    watermark: Arc<AtomicI64>,
    revision: i64,
}

/// A piece of what changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changes {
    /// The changes, in order, of whole revisions; what was there before is left out.
    pub events: Vec<Event>,
    /// The first main revision that was not looked at.
    pub next: i64,
    /// About how many bytes that is in memory.
    pub bytes: usize,
}

impl<D: Disk> Store<D> {
    /// What has changed up to now, for reading.
    pub fn past(&self) -> Past<D> {
        let (table, watermark) = (self.history.table().clone(), self.watermark.clone());
        Past { table, watermark, revision: self.revision }
    }
}

impl<D: Disk> Past<D> {
    /// Main revision of the newest change it shows.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The store's compact revision *now*; −1 is never.
    pub fn compact_revision(&self) -> i64 {
        self.watermark.load(Ordering::Acquire)
    }

    /// Whether what lies in the history from main revision `from` on is at most so many bytes.
    pub fn is_short(&self, from: i64, most: u64) -> bool {
        let mut bytes = 0;
        for segment in self.table.segments().iter().rev() {
            bytes += segment.bytes_from(from);
            if bytes > most {
                return false;
            }
            if segment.first() <= from {
                break;
            }
        }
        true
    }

    /// The changes of main revisions from `from` on. Stops at the end of a revision once it has read `most` bytes; at least one
    /// revision is looked at, so a caller that goes on at `next` arrives.
    pub fn changes(&self, from: i64, most: usize) -> Result<Changes, ReadFailure> {
        if from < self.compact_revision() {
            return Err(Refusal::Compacted.into());
        }
        let mut scan = self.table.scan(from, self.revision, SCAN_WINDOW.min(most.max(1)));
        let (mut events, mut bytes, mut next) = (Vec::new(), 0, from);
        while let Some(record) = scan.next()? {
            let main = record.meta.revision.main;
            if main >= next {
                if main > from && bytes >= most {
                    return Ok(Changes { events, next: main, bytes });
                }
                next = main + 1;
            }
            bytes += record.key.len() + record.value.len() + size_of::<Event>();
            let kind = if record.meta.is_tombstone() { EventKind::Delete } else { EventKind::Put };
            events.push(Event { kind, kv: record.into_key_value(), prev_kv: None });
        }
        Ok(Changes { events, next: next.max(self.revision + 1), bytes })
    }
}
