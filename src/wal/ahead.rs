//! Reading segments before recovery wants them, beside the other work of a start.
//!
//! Invariants: nothing is judged and nothing changed; what could not be read whole is left for recovery to read and to judge.
//! To be used while nobody writes to the log. Does not know what a segment holds.

use std::collections::BTreeMap;

use super::covered;
use super::mark::Mark;
use crate::base::LogIndex;
use crate::base::limits::WAL_SEGMENTS_READ_AHEAD;
use crate::env::Disk;
use crate::log::segment::{self, WholeSegment};

/// Segments that are to be read.
pub struct ToReadAhead<D: Disk> {
    disk: D,
    dir: String,
    mark: Mark,
    max_len: u64,
    wanted: LogIndex,
}

/// Segments that were read.
#[derive(Debug, Default)]
pub struct SegmentsAhead {
    segments: BTreeMap<u64, WholeSegment>,
}

impl<D: Disk> ToReadAhead<D> {
    /// Those with anything from entry `wanted` on.
    pub(super) fn new(disk: D, dir: String, mark: Mark, max_len: u64, wanted: LogIndex) -> Self {
        Self { disk, dir, mark, max_len, wanted }
    }

    /// Reads the newest of them.
    pub fn read(self) -> SegmentsAhead {
        let listed = segment::list(&self.disk, &self.dir).unwrap_or_default();
        let covered = covered::look(&self.disk, &self.dir, &self.mark, self.wanted);
        let oldest = covered.map_or(self.mark.oldest, |covered| covered.start.segment);
        let wanted = listed.into_iter().rev().take_while(|segment| *segment >= oldest).take(WAL_SEGMENTS_READ_AHEAD);
        let read = |segment| {
            let path = segment::path(&self.dir, segment);
            let whole = segment::read_segment(&self.disk, &path, self.max_len).ok()?;
            whole.fault.is_none().then_some((segment, whole))
        };
        SegmentsAhead { segments: wanted.filter_map(read).collect() }
    }
}

impl SegmentsAhead {
    /// A segment, if it was read and not taken yet: recovery may want it anew.
    pub(super) fn take(&mut self, segment: u64) -> Option<WholeSegment> {
        self.segments.remove(&segment)
    }
}
