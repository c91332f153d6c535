//! Growth: in a calm world no history file stays that nobody needs; and at every start, before it and behind it, those that may
//! be needed are there.
//!
//! A file is needed while one of the two images that are kept names it, or where it is newer than the newest image. What
//! lies between, and is named by none, was replaced by a rewriting and should have gone with the checkpoint after it.
//!
//! Only the generation that the newest image is of is looked at: what a snapshot that came to nothing leaves behind where
//! the disk is full lies there until the next start (docs/NEXT.md).

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate::base::Fault;
use quorate::env::{Disk, DiskFile, OpenMode};
use quorate::machine::Image;
use quorate::mvcc::HISTORY_DIR;

/// Where images lie.
const IMAGES: &str = "checkpoint";

/// Digits of a file's number that say which generation it is of.
const GENERATION_DIGITS: usize = 8;

/// The images there are, oldest first.
fn images<D: Disk>(disk: &D) -> Result<Vec<String>, Fault> {
    let mut names = disk.list(IMAGES)?;
    names.retain(|name| name.ends_with(".image"));
    // By applied index, then by number, which the first of an index is without.
    names.sort_by_key(|name| (name.split('.').next().map(str::to_string), name.len(), name.clone()));
    Ok(names)
}

/// The history files that images name, as far as they can be read.
fn named_by<D: Disk>(disk: &D, names: &[String]) -> Result<Vec<Vec<String>>, Fault> {
    let mut images = Vec::new();
    for name in names {
        let file = disk.open(&format!("{IMAGES}/{name}"), OpenMode::Read)?;
        let mut bytes = vec![0; file.len()? as usize];
        let got = file.read_full_at(0, &mut bytes)?;
        bytes.truncate(got);
        images.extend(Image::decode(&Bytes::from(bytes)));
    }
    let named = |image: &Image| image.position.files().map(|(name, _)| name).collect::<Vec<String>>();
    Ok(images.iter().map(named).collect())
}

fn there<D: Disk>(disk: &D) -> Result<Vec<String>, Fault> {
    Ok(disk.list(HISTORY_DIR)?.into_iter().map(|name| format!("{HISTORY_DIR}/{name}")).collect())
}

/// The history files that nobody needs, as far as the images tell; nothing while fewer than two are kept.
pub fn unneeded<D: Disk>(disk: &D) -> Result<Vec<String>, Fault> {
    Ok(lying(there(disk)?, &named_by(disk, &images(disk)?)?))
}

/// The history files that a start may need, should the newest image be found damaged, and that are not there.
pub fn missing<D: Disk>(disk: &D) -> Result<Vec<String>, Fault> {
    Ok(lacking(&there(disk)?, &named_by(disk, kept(&images(disk)?))?))
}

/// The newest two of the images: damaged or not, for those that are older were let go when the second was made, and the end of a
/// life, or a loss of power, has left them.
fn kept(images: &[String]) -> &[String] {
    &images[images.len().saturating_sub(2)..]
}

/// Those that one of the images names and that are not among the files that are there. Of another generation than the newest is
/// of none is needed: its image goes, and a loss of power may bring it back.
fn lacking(there: &[String], images: &[Vec<String>]) -> Vec<String> {
    let Some(newest) = images.last().and_then(|named| named.iter().max()) else { return Vec::new() };
    let generation = &newest[..HISTORY_DIR.len() + 1 + GENERATION_DIGITS];
    let named = images.iter().flatten().filter(|name| name.starts_with(generation));
    named.filter(|name| !there.contains(name)).cloned().collect()
}

/// Those of the files that are there which none of the images names, oldest first, though a newer one of the same
/// generation is named.
fn lying(there: Vec<String>, images: &[Vec<String>]) -> Vec<String> {
    let newest = images.last().filter(|_| images.len() > 1).and_then(|named| named.iter().max());
    let Some(newest) = newest else { return Vec::new() };
    let named: BTreeSet<&String> = images.iter().flatten().collect();
    // Numbers are of one width: their order is that of their names, and the generation is what they begin with.
    let generation = &newest[..HISTORY_DIR.len() + 1 + GENERATION_DIGITS];
    // An outline is needed as its segment is, be it named yet or not.
    let segment = |name: &String| name.replace(".outline", ".seg");
    let lies = |name: &String| {
        let segment = segment(name);
        name.starts_with(generation) && segment < *newest && !named.contains(&segment)
    };
    there.into_iter().filter(lies).collect()
}

#[cfg(test)]
mod tests {
    use quorate::base::SeededDice;

    use super::*;
    use crate::env::{DiskFaults, Marks, SimDisk, Trace};

    #[test]
    fn a_file_that_the_older_image_names_and_that_is_gone_is_told() {
        let file = |generation: u32, number: u32| format!("{HISTORY_DIR}/{generation:08x}{number:08x}.seg");
        let files = |numbers: &[u32]| numbers.iter().map(|number| file(1, *number)).collect::<Vec<_>>();
        assert_eq!(lacking(&files(&[2, 3]), &[files(&[1, 2]), files(&[2, 3])]), [file(1, 1)]);
        assert!(lacking(&files(&[2, 3]), &[files(&[2]), files(&[2, 3])]).is_empty());
        assert!(lacking(&files(&[2]), &[vec![file(0, 1)], files(&[2])]).is_empty(), "another generation");
        assert!(lacking(&[], &[]).is_empty());
    }

    /// The one in the middle, which counts, is damaged; the third, whose files have gone, does not count in its place.
    #[test]
    fn of_three_images_the_oldest_needs_nothing_whatever_became_of_the_others() {
        let disk = SimDisk::new(DiskFaults::calm(), SeededDice::new(1), Trace::default(), Marks::default()).power_on();
        disk.create_dir(IMAGES).unwrap();
        for name in ["07.1.image", "07.image", "06.image", "08.image.damaged"] {
            disk.open(&format!("{IMAGES}/{name}"), OpenMode::Create).unwrap();
        }
        assert_eq!(kept(&images(&disk).unwrap()), ["07.image", "07.1.image"], "none of them can be read");
    }

    #[test]
    fn a_file_that_no_image_names_and_a_newer_one_has_followed_is_told() {
        let file = |generation: u32, number: u32| format!("{HISTORY_DIR}/{generation:08x}{number:08x}.seg");
        let files = |numbers: &[u32]| numbers.iter().map(|number| file(1, *number)).collect::<Vec<_>>();
        let there = || [files(&[1, 2, 3, 4]), vec![file(0, 9)]].concat();
        assert!(lying(there(), &[files(&[2, 3])]).is_empty(), "one image tells nothing");
        assert!(lying(there(), &[files(&[1, 2]), files(&[2, 3])]).is_empty(), "the older one needs the first");
        assert_eq!(lying(there(), &[files(&[2, 3]), files(&[2, 3])]), [file(1, 1)]);
        assert_eq!(lying(there(), &[files(&[3]), files(&[3])]), files(&[1, 2]), "what is newer is not looked at");
        let outline = |number: u32| file(1, number).replace(".seg", ".outline");
        let there = || [files(&[2, 3]), vec![outline(1), outline(2), outline(3)]].concat();
        assert_eq!(lying(there(), &[files(&[2, 3]), files(&[2, 3])]), [outline(1)]);
    }
}
