//! A note that the next start is to read all of the history: what a start does not read it does not judge, and a member
//! that ended on damage there would come up again to end on it again.
//!
//! Invariant: the note stays until a start has read everything and found it whole. That it is lost costs an end more.

use super::checkpoint_files::{self, Found};
use crate::base::{Fault, Wrong};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::mvcc::HISTORY_DIR;

/// The file; it is empty.
const FILE: &str = "recheck";

/// Leaves the note, where the member ends on damage in its history.
pub(super) async fn note<D: Disk>(disk: &D, wrong: &Wrong) {
    let Wrong::Corruption(damage) = wrong else { return };
    if !damage.file.starts_with(HISTORY_DIR) {
        return;
    }
    let left = async {
        if !disk.exists(FILE)? {
            disk.open(FILE, OpenMode::Create)?.sync().await?;
            disk.sync_dir("").await?;
        }
        Ok::<(), Fault>(())
    };
    if let Err(fault) = left.await {
        tracing::warn!(error = %fault, "the next start will not know that the history is to be read whole");
    }
}

/// The newest images, without outlines where there is a note, and whether there is one.
pub(super) async fn newest_images<D: Disk>(disk: &D) -> Result<(Found, bool), Wrong> {
    let mut found = checkpoint_files::newest(disk).await?;
    let is_noted = disk.exists(FILE)?;
    if is_noted {
        found.forget_outlines();
    }
    Ok((found, is_noted))
}

/// Removes the note where all was read and `is_whole`.
pub(super) fn settle<D: Disk>(disk: &D, is_whole: bool) -> Result<(), Fault> {
    if is_whole { disk.remove(FILE) } else { Ok(()) }
}
