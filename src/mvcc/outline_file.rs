//! The file of an outline, as it is found.
//!
//! Invariant: what is read is what a position names, by length and checksum, or it is as none. Does not know what is in it.

use super::history_write::outline_name;
use super::outline::OutlineMark;
use super::position::SegmentMark;
use crate::base::{Corruption, Fault, limits};
use crate::env::{Disk, DiskFile, OpenMode};

/// The outline that a position names, read into `bytes`; nothing where it names none. The inner error says why it cannot be
/// used.
pub(super) fn read_outline<'a, D: Disk>(
    disk: &D,
    mark: &SegmentMark,
    bytes: &'a mut Vec<u8>,
) -> Result<Option<Result<&'a [u8], Corruption>>, Fault> {
    let Some(outline) = mark.outline else { return Ok(None) };
    let name = outline_name(mark.number);
    let unusable = |what: String| Ok(Some(Err(Corruption { file: name.clone(), offset: 0, what })));
    if !disk.exists(&name)? {
        return unusable("it is not there".to_string());
    }
    if outline.len > limits::MAX_OUTLINE_BYTES {
        return unusable(format!("the checkpoint says {} bytes, more than an outline can have", outline.len));
    }
    bytes.resize(outline.len as usize, 0);
    // Asked twice: what fails once may be a hiccup.
    let mut once = || disk.open(&name, OpenMode::Read)?.read_full_at(0, bytes);
    match once().or_else(|_| once()) {
        Ok(read) if read < bytes.len() => unusable(format!("it ends at {read}")),
        Ok(_) if OutlineMark::of(bytes) != outline => unusable("its checksum is not the checkpoint's".to_string()),
        Ok(_) => Ok(Some(Ok(bytes))),
        Err(fault) if fault.is_of_device() => unusable(fault.to_string()),
        Err(fault) => Err(fault),
    }
}
