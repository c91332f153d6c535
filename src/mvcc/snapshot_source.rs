//! The whole state of one view, as chunks for another member.
//!
//! Invariants: what is sent is what a reader of the view could ask for at any revision that was not compacted when the
//! source was made, no more and no less, in order of revision. A chunk and a window of the history are in memory, and one
//! small waypoint a chunk. Nobody waits for a source: it reads through the view's own segments, whose files
//! stay readable until it is dropped.
//!
//! A source may be taken [again](SnapshotSource::again), for a transfer that goes on in another attempt: both know each other's
//! waypoints, so that what was sent before is not read once more.
//!
//! Does not know to whom it goes, nor how fast.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};

use super::record::Record;
use super::retained::Retained;
use super::snapshot::{self, Chunk, SnapshotHeader, SnapshotProgress};
use super::view::View;
use crate::base::Wrong;
use crate::env::Disk;

/// Where chunks begin.
#[derive(Debug)]
struct Waypoints {
    /// Of each chunk made so far, and of the one behind them.
    at: Vec<SnapshotProgress>,
    /// How many chunks there are, once the last was made.
    chunks: Option<u64>,
}

/// A snapshot being sent; see the module's head. It reads, so it belongs on a task that may wait for the disk.
pub struct SnapshotSource<D: Disk> {
    view: View<D>,
    /// The compact revision when it was made; the view's own goes on rising.
    compacted: i64,
    id: u64,
    state: Bytes,
    chunk_bytes: usize,
    waypoints: Arc<Mutex<Waypoints>>,
    at: SnapshotProgress,
    scan: Option<Retained<D>>,
    /// Read, and to be sent with the next chunk.
    pending: Option<Record>,
    ended: bool,
}

impl<D: Disk> SnapshotSource<D> {
    pub(super) fn new(view: View<D>, compacted: i64, id: u64, state: Bytes, chunk_bytes: usize) -> Self {
        assert!(chunk_bytes > 0, "a chunk holds something");
        Self {
            view,
            compacted,
            id,
            state,
            chunk_bytes,
            waypoints: Arc::new(Mutex::new(Waypoints { at: vec![SnapshotProgress::default()], chunks: None })),
            at: SnapshotProgress::default(),
            scan: None,
            pending: None,
            ended: false,
        }
    }

    /// The same snapshot from its first chunk on.
    pub fn again(&self) -> Self {
        Self {
            view: self.view.clone(),
            state: self.state.clone(),
            waypoints: self.waypoints.clone(),
            at: SnapshotProgress::default(),
            scan: None,
            pending: None,
            ended: false,
            ..*self
        }
    }

    /// What tells this snapshot from others.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What tells the receiver whether what it has is a part of this snapshot: chunks are the same where this is.
    pub fn manifest(&self) -> Bytes {
        let mut manifest = BytesMut::with_capacity(36);
        manifest.put_u64(self.id);
        manifest.put_i64(self.view.revision());
        manifest.put_i64(self.compacted);
        manifest.put_u64(self.chunk_bytes as u64);
        // With the state goes the digest of everything that was applied.
        manifest.put_u32(crc32c::crc32c(&self.state));
        manifest.freeze()
    }

    /// How many chunks were made so far, by this source and those taken again from it.
    pub fn made(&self) -> u64 {
        self.waypoints().at.len() as u64 - 1
    }

    fn waypoints(&self) -> MutexGuard<'_, Waypoints> {
        // A panic is a bug that ends the process.
        self.waypoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the first chunk says.
    pub fn header(&self) -> SnapshotHeader {
        SnapshotHeader {
            revision: self.view.revision(),
            compact_revision: self.compacted,
            state_bytes: self.state.len() as u64,
            about_bytes: self.view.table.segments().iter().map(|segment| segment.live_bytes()).sum(),
            keys: self.view.index.live(),
        }
    }

    /// How far it is.
    pub fn progress(&self) -> SnapshotProgress {
        self.at
    }

    /// Goes back to where the receiver is. False where this is no place the receiver can have come to by this
    /// snapshot: then it has to begin anew.
    pub fn resume(&mut self, from: SnapshotProgress) -> bool {
        if self.at == from {
            return true;
        }
        let known = usize::try_from(from.chunk).ok().and_then(|chunk| self.waypoints().at.get(chunk).copied());
        if known != Some(from) {
            return false;
        }
        self.go_to(from);
        true
    }

    /// Goes to the chunk of this number, or to the end where there are not so many. Chunks between that were never made
    /// are made in vain.
    pub fn seek(&mut self, number: u64) -> Result<(), Wrong> {
        let known = {
            let waypoints = self.waypoints();
            let furthest = waypoints.at.len() - 1;
            waypoints.at[usize::try_from(number).map_or(furthest, |number| number.min(furthest))]
        };
        if self.at.chunk > number || self.at.chunk < known.chunk {
            self.go_to(known);
        }
        while self.at.chunk < number && self.next_chunk()?.is_some() {}
        Ok(())
    }

    fn go_to(&mut self, at: SnapshotProgress) {
        let ended = self.waypoints().chunks == Some(at.chunk);
        (self.at, self.scan, self.pending, self.ended) = (at, None, None, ended);
    }

    /// The next chunk; `None` when all were given.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, Wrong> {
        if self.ended {
            return Ok(None);
        }
        let number = self.at.chunk;
        let (chunk, behind) = match number {
            0 => (Chunk::Header(self.header()), self.at.behind(0, &[], None)),
            _ if number <= snapshot::state_chunks(self.state.len() as u64, self.chunk_bytes) => {
                let from = (number as usize - 1) * self.chunk_bytes;
                let piece = self.state.slice(from..self.state.len().min(from + self.chunk_bytes));
                (Chunk::State(piece), self.at.behind(0, &[], None))
            }
            _ => self.records()?,
        };
        self.ended = matches!(chunk, Chunk::End { .. });
        self.at = behind;
        let mut waypoints = self.waypoints();
        if waypoints.at.len() as u64 == behind.chunk {
            waypoints.at.push(behind);
        }
        if self.ended {
            waypoints.chunks = Some(behind.chunk);
        }
        drop(waypoints);
        Ok(Some(chunk.encode(self.id, number)))
    }

    /// The next chunk of records, or the last chunk where there are no more.
    fn records(&mut self) -> Result<(Chunk, SnapshotProgress), Wrong> {
        let (mut body, mut records, mut last) = (BytesMut::new(), 0, None);
        while let Some(record) = self.next_record()? {
            let is_full = body.len() + 4 + record.encoded_len() > self.chunk_bytes;
            if is_full && records > 0 {
                self.pending = Some(record);
                break;
            }
            snapshot::put_record(&mut body, &record);
            last = Some(record.meta.revision);
            records += 1;
        }
        if records == 0 {
            return Ok((self.at.end(), self.at.behind(0, &[], None)));
        }
        let behind = self.at.behind(records, &body, last);
        Ok((Chunk::Records(body.freeze()), behind))
    }

    /// The next record that can still be read.
    fn next_record(&mut self) -> Result<Option<Record>, Wrong> {
        if let Some(record) = self.pending.take() {
            return Ok(Some(record));
        }
        // What was sent before the transfer was cut comes again where it stopped inside a transaction.
        let (view, compacted, from) = (&self.view, self.compacted, self.at.next);
        self.scan.get_or_insert_with(|| Retained::new(view.clone(), compacted, from)).next_record()
    }
}
