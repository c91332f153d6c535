//! A note that the next start is to read all of the history: what a start does not read it does not judge, and a member
//! that ended on damage there would come up again to end on it again.
//!
//! Invariant: the note stays until a start has read everything and found it whole. That it is lost costs an end more.

use super::checkpoint_files::{self, Found};
use crate::base::{Corruption, Fault, Wrong};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::mvcc::HISTORY_DIR;

/// The file; it is empty.
const FILE: &str = "recheck";

/// What the member ends on. Damage in its history is what the system has lost of what was not synced, where a sync of the file
/// says so: then the next start has it from the log. Else the note is left.
pub(super) async fn cause<D: Disk>(disk: &D, wrong: Wrong) -> Wrong {
    let Wrong::Corruption(damage) = &wrong else { return wrong };
    if !damage.file.starts_with(HISTORY_DIR) {
        return wrong;
    }
    // A sync may take long, and hide what led to it.
    tell(damage);
    // It may be gone, as a file that was replaced.
    if let Ok(file) = disk.open(&damage.file, OpenMode::Read)
        && let Err(fault) = file.sync().await
    {
        return fault.into();
    }
    note(disk).await;
    wrong
}

/// Tells what was met, before it is known what it is.
pub(super) fn tell(met: &Corruption) {
    tracing::warn!(
        file = met.file,
        offset = met.offset,
        what = met.what,
        "the history does not read as it was written; what was written is synced, to know whether it is damaged"
    );
}

async fn note<D: Disk>(disk: &D) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{MemoryDisk, ScramblingDisk, run_ready};

    /// What the system could not write is no damage: the sync that says so is what ends the member, and the next start need
    /// not read everything.
    #[test]
    fn damage_behind_which_a_sync_fails_is_what_the_system_lost() {
        let file = format!("{HISTORY_DIR}/0000000000000001.seg");
        for (fails, is_there, other) in
            [(true, true, false), (false, true, false), (true, false, false), (true, true, true)]
        {
            let disk = ScramblingDisk::new(MemoryDisk::new(), 1);
            disk.create_dir(HISTORY_DIR).expect("made");
            if is_there {
                disk.open(&file, OpenMode::Create).expect("made");
            }
            if fails {
                disk.fail_sync(1);
            }
            let damaged = if other { "wal" } else { &file };
            let cause = run_ready(cause(&disk, Wrong::corrupt(damaged, 0, "zeroes where a record belongs")));
            let lost = fails && is_there && !other;
            assert_eq!(matches!(cause, Wrong::Fault(_)), lost, "{cause}");
            // Where the file is gone the sync that fails is the note's.
            assert_eq!(disk.exists(FILE).expect("asked"), !lost && !other, "{cause}");
        }
    }
}
