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

/// Looks for the newest good images. What it finds is durable, content and name: whoever starts from an image removes
/// what only older ones need, and a process that ended between renaming and syncing leaves a name that a power
/// failure may still take back. Content is never in doubt: it is synced before it gets such a name.
///
/// One that cannot be read is passed over as one that is damaged, or a single bad sector would keep this member from ever
/// starting again. Where no other is found either, that fault is the answer: it may be gone the next time.
pub(super) async fn newest<D: Disk>(disk: &D) -> Result<Found, Wrong> {
    disk.sync_dir(DIR).await?;
    let mut indexes: Vec<LogIndex> = disk.list(DIR)?.iter().filter_map(|file| applied_of(file)).collect();
    indexes.sort_unstable();
    let mut found = Found::default();
    let mut unreadable = None;
    for applied in indexes.into_iter().rev() {
        let path = format!("{DIR}/{}", name(applied));
        let image = match read(disk, &path) {
            Err(fault) if fault.is_unreadable() => {
                let what = fault.to_string();
                unreadable = Some(fault);
                Err(what)
            }
            image => image?,
        };
        match image {
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
    match unreadable {
        Some(fault) if found.image.is_none() => Err(fault.into()),
        _ => Ok(found),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SeededDice;
    use crate::env::{CrashingDisk, run_ready};

    fn image(applied: LogIndex) -> Image {
        Image { state: crate::machine::State { applied: (applied, 1), ..Default::default() }, ..Image::default() }
    }

    /// Two images, of which the newer has its name in memory alone: as a kill between rename and sync leaves it.
    fn named_but_not_synced() -> CrashingDisk {
        let disk = CrashingDisk::default();
        disk.create_dir(DIR).expect("made");
        run_ready(write(&disk, 10, &image(10).encode())).expect("written");
        let draft = format!("{DIR}/draft");
        let file = disk.open(&draft, OpenMode::Create).expect("made");
        file.write_at(0, &image(20).encode()).expect("written");
        run_ready(file.sync()).expect("synced");
        disk.rename(&draft, &format!("{DIR}/{}", name(20))).expect("renamed");
        disk
    }

    #[test]
    fn an_image_that_is_trusted_outlives_a_loss_of_power() {
        for seed in 0..20 {
            let disk = named_but_not_synced();
            let found = run_ready(newest(&disk)).expect("read");
            assert_eq!(found.image.map(|image| image.state.applied.0), Some(20));
            let after = disk.crash(&mut SeededDice::new(seed), false);
            let found = run_ready(newest(&after)).expect("read");
            assert_eq!(found.image.map(|image| image.state.applied.0), Some(20), "seed {seed}");
        }
    }

    #[test]
    fn an_image_that_cannot_be_read_is_passed_over_while_another_can() {
        let disk = CrashingDisk::default();
        disk.create_dir(DIR).expect("made");
        for applied in [10, 20] {
            run_ready(write(&disk, applied, &image(applied).encode())).expect("written");
        }
        let found = |disk: &CrashingDisk| {
            let found = run_ready(newest(disk))?;
            let indexes = [found.image, found.older].map(|image| image.map(|image| image.state.applied.0));
            Ok::<_, Wrong>((indexes, found.damaged.into_iter().map(|damage| damage.file).collect::<Vec<_>>()))
        };
        disk.cannot_read(&path(10));
        assert_eq!(found(&disk).expect("the newest is whole"), ([Some(20), None], vec![path(10)]));
        disk.cannot_read(&path(20));
        assert!(matches!(found(&disk), Err(Wrong::Fault(_))), "none is left: it is not as if there had been none");
        disk.can_read(&path(10));
        assert_eq!(found(&disk).expect("an older one is left"), ([Some(10), None], vec![path(20)]));
    }

    #[test]
    fn where_the_name_cannot_be_synced_nothing_is_trusted_at_any_start() {
        let disk = named_but_not_synced();
        for _ in 0..2 {
            disk.fail_sync(1);
            assert!(run_ready(newest(&disk)).is_err());
        }
    }
}
