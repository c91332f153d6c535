//! A data directory made of a state that came from elsewhere: a restored snapshot, or another store's files.
//!
//! Invariants: the state's history is durable before; log and image become durable here, and a start finds a member that has applied
//! up to the image and has the entries behind it in its log, to be applied by the ordinary path once they are committed.
//! A directory that is half made is for the caller to keep from any start.

use super::checkpoint_files;
use super::install::make_durable;
use super::opening::raised;
use crate::base::{Wrong, limits};
use crate::env::Disk;
use crate::machine::Image;
use crate::wal::{Batch, HardState, LogEntry, UnrecoveredWal};

/// What a member begins with.
pub struct Seedling {
    /// The state, and where its history is.
    pub image: Image,
    /// What it must never forget; raised to what the image says.
    pub hard_state: HardState,
    /// The entries behind the image, without a gap.
    pub entries: Vec<LogEntry>,
}

/// Makes the directories of a member that are not there.
pub async fn prepare<D: Disk>(disk: &D) -> Result<(), Wrong> {
    for dir in ["wal", "history", checkpoint_files::DIR] {
        disk.create_dir(dir)?;
    }
    Ok(disk.sync_dir("").await?)
}

/// Writes log and image into a directory that was [prepared](prepare) and holds the history and nothing else.
pub async fn plant<D: Disk>(disk: &D, seedling: Seedling) -> Result<(), Wrong> {
    let Seedling { image, hard_state, entries } = seedling;
    let applied = image.state.applied;
    let unrecovered = UnrecoveredWal::open(disk.clone(), "wal")?;
    let mut wal = unrecovered.recover(image.identity, applied.0).await?;
    let mut hard_state = Some(raised(hard_state, applied));
    let mut batch = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        if bytes + entry.data.len() > limits::MAX_BATCH_BYTES && !batch.is_empty() {
            let full = std::mem::take(&mut batch);
            wal.journal.append(&Batch { hard_state: hard_state.take(), entries: full })?;
            bytes = 0;
        }
        bytes += entry.data.len();
        batch.push(entry);
    }
    wal.journal.append(&Batch { hard_state: hard_state.take(), entries: batch })?;
    wal.journal.sync().await?;
    let _ = make_durable(disk, &image).await?;
    Ok(())
}
