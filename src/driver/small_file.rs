//! Small files that are written whole: as a draft, which then takes the file's name.
//!
//! Invariant: under its name the file is never half written, whatever ends the process; when [`put`] returns it is
//! durable, content and name. Does not know what is in them.

use crate::base::Fault;
use crate::env::{Disk, OpenMode, PiecewiseFile};

/// Writes `bytes` to `draft` and gives it the name `file`; both lie in `dir`. What an earlier try left of the draft goes.
pub(super) async fn put<D: Disk>(disk: &D, dir: &str, draft: &str, file: &str, bytes: &[u8]) -> Result<(), Fault> {
    remove(disk, draft)?;
    let mut handle = PiecewiseFile::new(disk.open(draft, OpenMode::Create)?);
    handle.append(bytes).await?;
    handle.finish().await?;
    disk.rename(draft, file)?;
    disk.sync_dir(dir).await
}

/// Removes a file where it is there.
pub(super) fn remove<D: Disk>(disk: &D, file: &str) -> Result<(), Fault> {
    if !disk.exists(file)? {
        return Ok(());
    }
    match disk.remove(file) {
        // Somebody else was first.
        Err(fault) if fault.source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
