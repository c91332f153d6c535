//! The scrub: reading again what lies in the history's files, a little at a time, to find damage before somebody needs it.
//!
//! Invariant: what verifies here is what was written. Damage is named with its place and remembered by its segment, as
//! where any other reader meets it; what the device cannot read counts as damaged. A step holds nothing afterwards, so
//! that files that are replaced meanwhile can go.

use super::history::SCAN_WINDOW;
use super::segment::{Segment, SegmentScan};
use super::view::View;
use crate::base::Wrong;
use crate::env::Disk;

impl<D: Disk> View<D> {
    /// Verifies about `bytes` from main revision `from` on, whole transactions. Where to go on; nothing at the end.
    pub fn scrub(&self, from: i64, bytes: usize) -> Result<Option<i64>, Wrong> {
        let segments = self.table.segments();
        let at = segments.partition_point(|segment| segment.first() <= from).saturating_sub(1);
        let Some(segment) = segments.get(at) else { return Ok(None) };
        let next = scrub_segment(segment, (from, self.revision), bytes)?;
        Ok(next.or_else(|| segments.get(at + 1).map(|behind| behind.first())))
    }
}

/// Where to go on in the segment; nothing at its end, or behind the last revision that is looked at: of the next there may be a
/// part.
fn scrub_segment<D: Disk>(
    segment: &std::sync::Arc<Segment<D>>,
    (from, to): (i64, i64),
    bytes: usize,
) -> Result<Option<i64>, Wrong> {
    let mut scan = SegmentScan::new(segment.clone(), from, SCAN_WINDOW);
    let mut read = 0;
    while let Some((_, record, total)) = scan.next()?.filter(|(_, record, _)| record.meta.revision.main <= to) {
        read += total;
        if read >= bytes && record.last {
            return Ok(Some(record.meta.revision.main + 1));
        }
    }
    Ok(None)
}
