//! The scrub: reading again what lies in the history's files, a little at a time, to find damage before somebody needs it.
//!
//! Invariant: what verifies here is what was written. Damage is named with its place and remembered by its segment, as
//! where any other reader meets it; what the device cannot read counts as damaged. A step holds nothing afterwards, so
//! that files that are replaced meanwhile can go.

use super::history::SCAN_WINDOW;
use super::history_write::file_name;
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
        // Asked twice: what fails once may be a hiccup.
        let once = || scrub_segment(segment, from, bytes);
        let answer = once().or_else(|wrong| if is_of_device(&wrong) { once() } else { Err(wrong) });
        let next = answer.map_err(|wrong| match &wrong {
            Wrong::Fault(fault) if fault.is_of_device() => {
                segment.note_damage(Wrong::corrupt(file_name(segment.number()), 0, fault.to_string()))
            }
            _ => wrong,
        })?;
        Ok(next.or_else(|| segments.get(at + 1).map(|behind| behind.first())))
    }
}

fn is_of_device(wrong: &Wrong) -> bool {
    matches!(wrong, Wrong::Fault(fault) if fault.is_of_device())
}

/// Where to go on in the segment; nothing at its end.
fn scrub_segment<D: Disk>(segment: &std::sync::Arc<Segment<D>>, from: i64, bytes: usize) -> Result<Option<i64>, Wrong> {
    let mut scan = SegmentScan::new(segment.clone(), from, SCAN_WINDOW);
    let mut read = 0;
    while let Some((_, record, total)) = scan.next()? {
        read += total;
        if read >= bytes && record.last {
            return Ok(Some(record.meta.revision.main + 1));
        }
    }
    Ok(None)
}
