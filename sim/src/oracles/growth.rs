//! Growth: in a calm world no history file stays that nobody needs.
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

/// The history files that nobody needs, as far as the images tell; nothing while fewer than two are kept.
pub fn unneeded<D: Disk>(disk: &D) -> Result<Vec<String>, Fault> {
    let mut names = disk.list(IMAGES)?;
    names.retain(|name| name.ends_with(".image"));
    names.sort();
    let mut images = Vec::new();
    for name in &names {
        let file = disk.open(&format!("{IMAGES}/{name}"), OpenMode::Read)?;
        let mut bytes = vec![0; file.len()? as usize];
        let got = file.read_full_at(0, &mut bytes)?;
        bytes.truncate(got);
        images.extend(Image::decode(&Bytes::from(bytes)));
    }
    if images.len() < 2 {
        return Ok(Vec::new());
    }
    let named: BTreeSet<String> =
        images.iter().flat_map(|image| image.position.files().map(|(name, _)| name)).collect();
    let newest = images.last().and_then(|image| image.position.files().map(|(name, _)| name).max());
    let Some(newest) = newest else { return Ok(Vec::new()) };
    let there = disk.list(HISTORY_DIR)?.into_iter().map(|name| format!("{HISTORY_DIR}/{name}"));
    // Numbers are of one width: their order is that of their names, and the generation is what they begin with.
    let generation = &newest[..HISTORY_DIR.len() + 1 + GENERATION_DIGITS];
    let lies = |name: &String| name.starts_with(generation) && *name < newest && !named.contains(name);
    Ok(there.filter(lies).collect())
}

#[cfg(test)]
mod tests {
    use quorate::mvcc::{NewValue, StoreOptions, StorePosition};

    use super::*;
    use crate::env::{DiskFaults, Marks, SimDisk, Trace};

    /// A disk with the history of a few puts, and images of positions in it.
    fn disk() -> SimDisk {
        let dice = quorate::base::SeededDice::new(1);
        let disk = SimDisk::new(DiskFaults::calm(), dice, Trace::default(), Marks::default()).power_on();
        [IMAGES, HISTORY_DIR].iter().for_each(|dir| disk.create_dir(dir).unwrap());
        disk
    }

    fn write(disk: &SimDisk, name: &str, bytes: &[u8]) {
        disk.open(name, OpenMode::Create).unwrap().write_at(0, bytes).unwrap();
    }

    #[test]
    fn a_file_that_no_image_names_and_a_newer_one_has_followed_is_told() {
        let options = StoreOptions { cache_bytes: 0, segment_bytes: 1 };
        let disk = disk();
        let mut store = quorate::mvcc::Store::open(disk.clone(), options, &StorePosition::default(), &[]).unwrap();
        let mut positions = Vec::new();
        for _ in 0..3 {
            let mut txn = store.begin(false);
            txn.put(NewValue { key: "a".into(), value: "b".into(), lease: 0, backing_bytes: 0 }).unwrap();
            txn.commit();
            positions.push(store.position());
        }
        let image = |applied: u64, position: &StorePosition| {
            let mut image = Image { position: position.clone(), ..Image::default() };
            image.state.applied = (applied, 1);
            image.encode()
        };
        let files: Vec<String> = positions[2].files().map(|(name, _)| name).collect();
        assert_eq!(files.len(), 3);
        files.iter().for_each(|file| write(&disk, file, b"x"));
        write(&disk, "checkpoint/0000000000000001.image", &image(1, &positions[1]));
        assert!(unneeded(&disk).unwrap().is_empty(), "one image tells nothing");
        let mut last = positions[2].clone();
        last.segments.remove(0);
        write(&disk, "checkpoint/0000000000000002.image", &image(2, &last));
        assert!(unneeded(&disk).unwrap().is_empty(), "the older one needs the first");
        write(&disk, "checkpoint/0000000000000001.image", &image(1, &last));
        assert_eq!(unneeded(&disk).unwrap(), [files[0].clone()]);
    }
}
