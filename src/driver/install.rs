//! Installing a snapshot: from a history that was built to a state that a start begins at.
//!
//! The order is the law here, and each step gives what the next one asks for: the history is synced
//! ([`crate::mvcc::SnapshotBuilder::finish`]), the image that names it becomes durable, the log is cut behind it, older images
//! go, consensus is told. The first steps may run on the task that owns the files, the cut on the one that owns
//! the log. Interrupted before the image is durable, a start finds the old state and removes what was built; after it,
//! the new state, and cuts the log itself where that was not done ([`super::opening`]). What finds no room on the disk is
//! tried again by whoever does it, for as long as it takes.
//!
//! Does not know how the running machine is replaced: [`crate::machine::Machine::replace`].

use super::checkpoint_files;
use crate::base::{LogIndex, Wrong};
use crate::env::Disk;
use crate::machine::Image;
use crate::wal::Journal;

/// An image that is durable under its name and names a durable history. The log may not fit it yet.
#[derive(Debug)]
#[must_use = "the log is to be cut"]
pub struct DurableImage {
    applied: LogIndex,
}

/// An image whose log begins behind it: consensus may be told.
#[derive(Debug)]
#[must_use = "consensus is to be told"]
pub struct InstalledImage {
    applied: LogIndex,
}

impl InstalledImage {
    /// The last entry in it.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }
}

/// Makes the image of a built history durable. From here on a start begins at it.
pub async fn make_durable<D: Disk>(disk: &D, image: &Image) -> Result<DurableImage, Wrong> {
    checkpoint_files::write_reserved(disk, image).await?;
    Ok(DurableImage { applied: image.state.applied.0 })
}

/// Starts the log anew behind a durable image. What it held is void. Where the disk has no room for saying so nothing is
/// changed, and the image is given back: it is to be tried again.
pub async fn cut_log<D: Disk>(
    journal: &mut Journal<D>,
    image: DurableImage,
) -> Result<Result<InstalledImage, DurableImage>, Wrong> {
    match journal.cut(image.applied) {
        Ok(_) => {}
        Err(Wrong::Fault(fault)) if fault.is_no_space() => return Ok(Err(image)),
        Err(wrong) => return Err(wrong),
    }
    journal.sync().await?;
    assert_eq!(journal.durable(), journal.appended(), "a sync covers everything appended before it");
    Ok(Ok(InstalledImage { applied: image.applied }))
}

/// Makes the image of a built history durable in place of all others, whose histories are not to be believed. The log
/// reaches it, and stays. Interrupted before the image is durable, a start finds the state before.
pub async fn replace_images<D: Disk>(disk: &D, image: &Image) -> Result<(), Wrong> {
    let DurableImage { applied } = make_durable(disk, image).await?;
    Ok(checkpoint_files::forget_older(disk, applied)?)
}

/// Removes the images an installed one has left without a log.
pub fn forget_older<D: Disk>(disk: &D, installed: &InstalledImage) -> Result<(), Wrong> {
    Ok(checkpoint_files::forget_older(disk, installed.applied)?)
}

// On the real network's type, though nothing is sent: a world that stands still needs none of its own.
#[cfg(all(test, feature = "tokio-env"))]
mod tests;
