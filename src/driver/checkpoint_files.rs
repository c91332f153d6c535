//! Checkpoint images on disk: written beside each other, the newest good one counts.

use bytes::Bytes;

use crate::base::{Corruption, Fault, LogIndex, Wrong, limits};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::machine::Image;

/// Where images are kept.
pub(super) const DIR: &str = "checkpoint";

/// Images kept: the newest, and the one before should the newest be found damaged.
const KEPT: usize = 2;

fn name(applied: LogIndex) -> String {
    format!("{applied:016x}.image")
}

/// The image of this applied index, relative to the data directory.
pub(super) fn path(applied: LogIndex) -> String {
    format!("{DIR}/{}", name(applied))
}

fn applied_of(file: &str) -> Option<LogIndex> {
    u64::from_str_radix(file.strip_suffix(".image")?, 16).ok()
}

/// Makes an image durable under its name: content, then name, then directory. Older ones beyond those kept
/// are removed afterwards.
pub(super) async fn write<D: Disk>(disk: &D, applied: LogIndex, image: &Bytes) -> Result<(), Fault> {
    let (draft, final_name) = (format!("{DIR}/draft"), format!("{DIR}/{}", name(applied)));
    if disk.exists(&draft)? {
        disk.remove(&draft)?;
    }
    let file = disk.open(&draft, OpenMode::Create)?;
    file.write_at(0, image)?;
    file.sync().await?;
    disk.rename(&draft, &final_name)?;
    disk.sync_dir(DIR).await?;
    let mut kept: Vec<LogIndex> = disk.list(DIR)?.iter().filter_map(|file| applied_of(file)).collect();
    kept.sort_unstable();
    let surplus = kept.len().saturating_sub(KEPT);
    for old in kept.into_iter().take(surplus) {
        disk.remove(&format!("{DIR}/{}", name(old)))?;
    }
    Ok(())
}

/// The newest image that can be read and the next older one, and the damaged ones passed over on the way.
#[derive(Default)]
pub(super) struct Found {
    pub(super) image: Option<Image>,
    /// What a later start falls back on, should the newest be found damaged then.
    pub(super) older: Option<Image>,
    pub(super) damaged: Vec<Corruption>,
}

/// Looks for the newest good images.
pub(super) fn newest<D: Disk>(disk: &D) -> Result<Found, Wrong> {
    let mut indexes: Vec<LogIndex> = disk.list(DIR)?.iter().filter_map(|file| applied_of(file)).collect();
    indexes.sort_unstable();
    let mut found = Found::default();
    for applied in indexes.into_iter().rev() {
        let path = format!("{DIR}/{}", name(applied));
        match read(disk, &path)? {
            Ok(image) if image.state.applied.0 == applied && found.image.is_none() => found.image = Some(image),
            Ok(image) if image.state.applied.0 == applied => {
                found.older = Some(image);
                break;
            }
            Ok(image) => found.damaged.push(Corruption {
                file: path,
                offset: 0,
                what: format!("it holds index {} under the name of {applied}", image.state.applied.0),
            }),
            Err(what) => found.damaged.push(Corruption { file: path, offset: 0, what }),
        }
    }
    Ok(found)
}

/// Removes images older than `applied`.
pub(super) fn forget_older<D: Disk>(disk: &D, applied: LogIndex) -> Result<(), Fault> {
    for old in disk.list(DIR)?.iter().filter_map(|file| applied_of(file)).filter(|old| *old < applied) {
        disk.remove(&format!("{DIR}/{}", name(old)))?;
    }
    Ok(())
}

/// Ends the name of an image that was found damaged: it counts as no image any more, and is there to be looked at.
pub const DAMAGED_SUFFIX: &str = ".damaged";

/// Renames damaged images, so that they are not kept in place of good ones.
pub(super) async fn set_aside<D: Disk>(disk: &D, damaged: &[Corruption]) -> Result<(), Fault> {
    for image in damaged {
        disk.rename(&image.file, &format!("{}{DAMAGED_SUFFIX}", image.file))?;
    }
    if !damaged.is_empty() {
        disk.sync_dir(DIR).await?;
    }
    Ok(())
}

fn read<D: Disk>(disk: &D, path: &str) -> Result<Result<Image, String>, Fault> {
    let file = disk.open(path, OpenMode::Read)?;
    let len = file.len()?;
    if len > limits::MAX_IMAGE_BYTES {
        return Ok(Err(format!("it is {len} bytes long, more than an image can be")));
    }
    let mut bytes = vec![0; len as usize];
    let got = file.read_full_at(0, &mut bytes)?;
    bytes.truncate(got);
    Ok(Image::decode(&bytes.into()))
}
