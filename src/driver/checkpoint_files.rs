//! Checkpoint images on disk: written beside each other, the newest good one counts.

use bytes::Bytes;

use super::small_file;
use crate::base::{Corruption, Fault, LogIndex, Wrong, limits};
use crate::env::{Disk, DiskFile, OpenMode, PiecewiseFile};
use crate::machine::Image;

/// Where images are kept.
pub(super) const DIR: &str = "checkpoint";

/// Images kept: the newest, and the one before should the newest be found damaged.
const KEPT: usize = 2;

/// Which of the images a file is: by applied index, and by number where there are several of one: nothing was applied
/// between them, but the history was laid out anew.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    applied: LogIndex,
    number: u64,
}

impl Key {
    fn first(applied: LogIndex) -> Self {
        Self { applied, number: 0 }
    }

    /// The file, relative to the data directory.
    fn path(self) -> String {
        let Self { applied, number } = self;
        if number == 0 {
            format!("{DIR}/{applied:016x}.image")
        } else {
            format!("{DIR}/{applied:016x}.{number:x}.image")
        }
    }

    /// Of a file's name without its directory.
    fn of(file: &str) -> Option<Self> {
        let stem = file.strip_suffix(".image")?;
        let (applied, number) = stem.split_once('.').unwrap_or((stem, "0"));
        Some(Self { applied: u64::from_str_radix(applied, 16).ok()?, number: u64::from_str_radix(number, 16).ok()? })
    }
}

/// The images there are, oldest first.
fn keys<D: Disk>(disk: &D) -> Result<Vec<Key>, Fault> {
    let mut keys: Vec<Key> = disk.list(DIR)?.iter().filter_map(|file| Key::of(file)).collect();
    keys.sort_unstable();
    Ok(keys)
}

/// Makes an image durable under its name: content, then name, then directory. Older ones beyond those kept
/// are removed afterwards.
pub(super) async fn write<D: Disk>(disk: &D, applied: LogIndex, image: &Bytes) -> Result<(), Fault> {
    small_file::put(disk, DIR, &draft(), &free_key(disk, applied)?.path(), image).await?;
    remove_old(disk)
}

/// The key of the next image of this index.
fn free_key<D: Disk>(disk: &D, applied: LogIndex) -> Result<Key, Fault> {
    let same = keys(disk)?.into_iter().rfind(|key| key.applied == applied);
    Ok(same.map_or(Key::first(applied), |key| Key { number: key.number + 1, ..key }))
}

fn remove_old<D: Disk>(disk: &D) -> Result<(), Fault> {
    let kept = keys(disk)?;
    kept.iter().take(kept.len().saturating_sub(KEPT)).try_for_each(|old| disk.remove(&old.path()))
}

/// Ends the name of a file that holds the room an image will take. The same word alone was the name in earlier versions.
const RESERVE: &str = "reserve";

/// Where the room for the image of a state that arrived is held: of its own, so that no other image takes it, be it an ordinary
/// checkpoint's or that of another state.
fn reserve_of(image: &Image) -> String {
    let history = image.position.files().next();
    let number = history.as_ref().and_then(|(file, _)| file.rsplit('/').next()?.split('.').next()).unwrap_or_default();
    format!("{DIR}/{:016x}.{number}.{RESERVE}", image.state.applied.0)
}

/// Sees to it that the image of a state that arrived will find room, whatever is written before it is. Where that fails
/// nothing is left behind.
pub(super) async fn reserve<D: Disk>(disk: &D, image: &Image) -> Result<(), Fault> {
    let path = reserve_of(image);
    small_file::remove(disk, &path)?;
    let held = fill(disk, &path, image.encode().len()).await;
    if held.is_err() {
        // What ends it is what failed first.
        let _ = small_file::remove(disk, &path);
    }
    held
}

/// As [`write`], of a state that arrived: in the room that is held for it, without letting go of it, where it is.
pub(super) async fn write_reserved<D: Disk>(disk: &D, image: &Image) -> Result<(), Fault> {
    let (path, applied, bytes) = (reserve_of(image), image.state.applied.0, image.encode());
    if !disk.exists(&path)? {
        return write(disk, applied, &bytes).await;
    }
    let file = disk.open(&path, OpenMode::Write)?;
    file.set_len(bytes.len() as u64)?;
    let mut file = PiecewiseFile::new(file);
    file.append(&bytes).await?;
    file.finish().await?;
    disk.rename(&path, &free_key(disk, applied)?.path())?;
    disk.sync_dir(DIR).await?;
    remove_old(disk)
}

/// What goes with a state that arrived and is of no use: its history, and the room for its image.
pub(super) fn files_of(arrived: &Image) -> Vec<String> {
    arrived.position.files().map(|(file, _)| file).chain([reserve_of(arrived)]).collect()
}

/// Gives back the room that an earlier life held.
pub(super) fn discard_reserves<D: Disk>(disk: &D) -> Result<(), Fault> {
    let held = disk.list(DIR)?.into_iter().filter(|file| file.rsplit('.').next() == Some(RESERVE));
    held.map(|file| format!("{DIR}/{file}")).try_for_each(|file| disk.remove(&file))
}

/// Whether so many bytes more find room: an error that says so, or nothing. They are not held.
pub(super) async fn try_room<D: Disk>(disk: &D, image: usize) -> Result<(), Fault> {
    if image == 0 {
        return Ok(());
    }
    let tried = fill(disk, &draft(), image).await;
    discard_draft(disk)?;
    tried
}

/// Makes a file of as many bytes, as a draft is written, so that it takes the room that takes.
async fn fill<D: Disk>(disk: &D, path: &str, bytes: usize) -> Result<(), Fault> {
    let mut file = PiecewiseFile::new(disk.open(path, OpenMode::Create)?);
    let (most, mut left) = (limits::SYNC_PIECE_BYTES, bytes);
    let zeroes = vec![0; bytes.min(most)];
    while left > 0 {
        let piece = &zeroes[..left.min(most)];
        file.append(piece).await?;
        left -= piece.len();
    }
    file.finish().await
}

fn draft() -> String {
    format!("{DIR}/draft")
}

/// Gives the space of an image back that could not be written.
pub(super) fn discard_draft<D: Disk>(disk: &D) -> Result<(), Fault> {
    small_file::remove(disk, &draft())
}

/// An image and where it lies.
#[derive(Debug)]
pub(super) struct ImageFile {
    /// Relative to the data directory.
    pub(super) file: String,
    pub(super) image: Image,
}

/// The newest image that can be read and the next older one, and the damaged ones passed over on the way.
#[derive(Default)]
pub(super) struct Found {
    pub(super) image: Option<ImageFile>,
    /// What a later start falls back on, should the newest be found damaged then.
    pub(super) older: Option<ImageFile>,
    pub(super) damaged: Vec<Corruption>,
    /// Names of what no start falls back on: older still, as the end of a life between two steps of [`write`], or a loss of
    /// power behind it, leaves them. The history they name went when there were two newer ones.
    pub(super) surplus: Vec<String>,
}

impl Found {
    /// The history is to be read whole.
    pub(super) fn forget_outlines(&mut self) {
        self.image.iter_mut().chain(&mut self.older).for_each(|found| found.image.position.forget_outlines());
    }
}

/// Looks for the newest good images. One that cannot be read is as good as damaged while another can, and else a fault: the
/// next start may find it readable. What it finds is durable, content and name: whoever starts from an image removes
/// what only older ones need, and a process that ended between renaming and syncing leaves a name that a power
/// failure may still take back. Content is never in doubt: it is synced before it gets such a name.
pub(super) async fn newest<D: Disk>(disk: &D) -> Result<Found, Wrong> {
    disk.sync_dir(DIR).await?;
    let (mut found, mut unreadable) = (Found::default(), None);
    for key in keys(disk)?.into_iter().rev() {
        let (file, applied) = (key.path(), key.applied);
        if found.older.is_some() {
            found.surplus.push(file);
            continue;
        }
        // Asked twice: what fails once may be a hiccup.
        let read = read(disk, &file).or_else(|_| read(disk, &file)).or_else(|fault| {
            if fault.is_of_device() { Ok(Err(unreadable.insert(fault).to_string())) } else { Err(fault) }
        });
        match read? {
            Ok(image) if image.state.applied.0 == applied && found.image.is_none() => {
                found.image = Some(ImageFile { file, image });
            }
            Ok(image) if image.state.applied.0 == applied => {
                if names_what_is_there(disk, &image)? {
                    found.older = Some(ImageFile { file, image });
                } else {
                    found.surplus.push(file);
                }
            }
            Ok(image) => found.damaged.push(Corruption {
                file,
                offset: 0,
                what: format!("it holds index {} under the name of {applied}", image.state.applied.0),
            }),
            Err(what) => found.damaged.push(Corruption { file, offset: 0, what }),
        }
    }
    match unreadable {
        Some(fault) if found.image.is_none() => Err(fault.into()),
        _ => Ok(found),
    }
}

fn names_what_is_there<D: Disk>(disk: &D, image: &Image) -> Result<bool, Fault> {
    for (file, _) in image.position.files() {
        if !disk.exists(&file)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes images older than the newest of `applied`.
pub(super) fn forget_older<D: Disk>(disk: &D, applied: LogIndex) -> Result<(), Fault> {
    let keys = keys(disk)?;
    let newest = keys.iter().rfind(|key| key.applied == applied);
    let older = |key: &&Key| newest.map_or(key.applied < applied, |newest| *key < newest);
    keys.iter().filter(older).try_for_each(|old| disk.remove(&old.path()))
}

/// Ends the name of an image that was found damaged: it counts as no image any more, and is there to be looked at.
pub const DAMAGED_SUFFIX: &str = ".damaged";

/// Renames damaged images, so that they are not kept in place of good ones, and removes those that are surplus, so that they are
/// not taken for the one before the newest.
pub(super) async fn set_aside<D: Disk>(disk: &D, damaged: &[Corruption], surplus: &[String]) -> Result<(), Fault> {
    surplus.iter().try_for_each(|file| disk.remove(file))?;
    for image in damaged {
        disk.rename(&image.file, &format!("{}{DAMAGED_SUFFIX}", image.file))?;
    }
    if !damaged.is_empty() || !surplus.is_empty() {
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
    use crate::env::{CrashingDisk, MemoryDisk, ScramblingDisk, run_ready};

    fn image(applied: LogIndex) -> Image {
        Image { state: crate::machine::State { applied: (applied, 1), ..Default::default() }, ..Image::default() }
    }

    /// Room that could not be held is held by nobody, whatever the disk said.
    #[test]
    fn room_that_was_not_had_is_given_back() {
        let (memory, arrived) = (MemoryDisk::new(), image(7));
        memory.create_dir(DIR).expect("made");
        for fails in [ScramblingDisk::<MemoryDisk>::fail_sync, ScramblingDisk::fail_write] {
            let disk = ScramblingDisk::new(memory.clone(), 1);
            fails(&disk, 1);
            let fault = run_ready(reserve(&disk, &arrived)).expect_err("it fails");
            assert!(!fault.is_no_space() && memory.all_files().is_empty(), "{fault}: {:?}", memory.all_files());
        }
    }

    /// Whoever else waits for the disk does not wait for all of an image at once, nor for all that is held for one.
    #[test]
    fn images_and_the_room_for_them_are_synced_in_pieces() {
        let most = limits::SYNC_PIECE_BYTES;
        let name = "a member".repeat(most / 8);
        let members = vec![crate::machine::Member { name, ..Default::default() }; 2];
        let state = crate::machine::State { members, applied: (7, 1), ..Default::default() };
        let large = Image { state, ..Image::default() };
        let bytes = large.encode();
        assert!((2 * most..3 * most).contains(&bytes.len()));
        let disk = || {
            let disk = ScramblingDisk::new(MemoryDisk::new(), 1);
            disk.create_dir(DIR).expect("made");
            disk
        };
        // Three pieces of each; behind those of an image the directory.
        for sync in 1..=5 {
            let full = disk();
            full.fail_sync(sync);
            assert_eq!(run_ready(reserve(&full, &large)).is_err(), sync <= 3, "{sync}");
            let full = disk();
            full.fail_sync(sync);
            assert_eq!(run_ready(write(&full, 7, &bytes)).is_err(), sync <= 4, "{sync}");
            let full = disk();
            run_ready(reserve(&full, &large)).expect("held");
            full.fail_sync(sync);
            let written = run_ready(write_reserved(&full, &large));
            assert_eq!(written.is_err(), sync <= 4, "{sync}");
            if written.is_ok() {
                full.fail_sync(100);
                assert!(full.list(DIR).expect("listed").len() == 1, "the room was its own");
                let found = run_ready(newest(&full)).expect("read").image.expect("there");
                assert!(found.image == large);
            }
        }
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
        disk.rename(&draft, &Key::first(20).path()).expect("renamed");
        disk
    }

    #[test]
    fn an_image_that_is_trusted_outlives_a_loss_of_power() {
        for seed in 0..20 {
            let disk = named_but_not_synced();
            let found = run_ready(newest(&disk)).expect("read");
            assert_eq!(found.image.map(|found| found.image.state.applied.0), Some(20));
            let after = disk.crash(&mut SeededDice::new(seed), false);
            let found = run_ready(newest(&after)).expect("read");
            assert_eq!(found.image.map(|found| found.image.state.applied.0), Some(20), "seed {seed}");
        }
    }

    /// Where nothing is applied between two checkpoints both are kept, and the newer one counts.
    #[test]
    fn two_images_of_one_index_are_two_images() {
        let disk = CrashingDisk::default();
        disk.create_dir(DIR).expect("made");
        let written = |cluster: u64| {
            let identity = crate::wal::WalIdentity { cluster: crate::base::ClusterId(cluster), ..Default::default() };
            Image { identity, ..image(10) }
        };
        for cluster in 1..=4 {
            run_ready(write(&disk, 10, &written(cluster).encode())).expect("written");
        }
        let found = run_ready(newest(&disk)).expect("read");
        assert_eq!(found.image.map(|found| found.image), Some(written(4)));
        assert_eq!(found.older.map(|found| found.image), Some(written(3)));
        assert_eq!(disk.list(DIR).expect("listed"), ["000000000000000a.2.image", "000000000000000a.3.image"]);
        forget_older(&disk, 10).expect("removed");
        assert_eq!(disk.list(DIR).expect("listed"), ["000000000000000a.3.image"]);
        run_ready(write(&disk, 11, &image(11).encode())).expect("written");
        let found = run_ready(newest(&disk)).expect("read");
        assert_eq!(found.image.map(|found| found.image.state.applied.0), Some(11));
    }

    #[test]
    fn an_image_that_cannot_be_read_is_passed_over_while_another_can() {
        let disk = MemoryDisk::new();
        disk.create_dir(DIR).expect("made");
        for applied in [10, 20] {
            run_ready(write(&disk, applied, &image(applied).encode())).expect("written");
        }
        let disk = ScramblingDisk::new(disk, 1);
        disk.make_unreadable(&Key::first(20).path(), 0..512);
        let found = run_ready(newest(&disk)).expect("read");
        assert_eq!(found.image.map(|found| found.image.state.applied.0), Some(10));
        assert_eq!(found.damaged.iter().map(|damage| damage.file.clone()).collect::<Vec<_>>(), [Key::first(20).path()]);
        disk.make_unreadable(&Key::first(10).path(), 0..512);
        let wrong = run_ready(newest(&disk)).err().expect("there is none");
        assert!(matches!(&wrong, Wrong::Fault(fault) if fault.is_of_device()), "{wrong}");
    }

    /// What is held for one state goes with it, or with the life that held it; what is held for another stays.
    #[test]
    fn room_is_held_for_each_state_that_arrived() {
        let disk = MemoryDisk::new();
        disk.create_dir(DIR).expect("made");
        let arrived = |segment| Image { position: crate::mvcc::StorePosition::of_segment(segment), ..image(10) };
        let (one, other) = (arrived(1 << 32), arrived(2 << 32));
        for image in [&one, &other, &one] {
            run_ready(reserve(&disk, image)).expect("there is room");
        }
        assert_eq!(disk.list(DIR).expect("listed").len(), 2);
        let of_other = files_of(&other);
        assert!(of_other.iter().all(|file| !files_of(&one).contains(file)));
        run_ready(write(&disk, 10, &image(10).encode())).expect("written");
        run_ready(write_reserved(&disk, &one)).expect("written");
        let left = ["000000000000000a.0000000200000000.reserve", "000000000000000a.1.image", "000000000000000a.image"];
        assert_eq!(disk.list(DIR).expect("listed"), left);
        assert!(of_other.contains(&format!("{DIR}/{}", left[0])));
        disk.open("checkpoint/reserve", OpenMode::Create).expect("an earlier version's");
        discard_reserves(&disk).expect("removed");
        assert_eq!(disk.list(DIR).expect("listed"), left[1..]);
    }

    /// Three images, as a life leaves them that ends between naming the newest and removing the oldest; of each the history
    /// that it names, but of the oldest, which is gone.
    fn three_images() -> MemoryDisk {
        let disk = MemoryDisk::new();
        for dir in [DIR, crate::mvcc::HISTORY_DIR] {
            disk.create_dir(dir).expect("made");
        }
        for applied in 1..=3 {
            let position = crate::mvcc::StorePosition::of_segment(applied);
            let named: Vec<String> = position.files().map(|(file, _)| file).collect();
            let state = crate::machine::State {
                revision: position.revision(),
                compact_revision: position.compact_revision(),
                ..image(applied).state
            };
            let image = Image::new(crate::wal::WalIdentity::default(), state, position).expect("it belongs together");
            let file = disk.open(&Key::first(applied).path(), OpenMode::Create).expect("made");
            file.write_at(0, &image.encode()).expect("written");
            for file in named.iter().filter(|_| applied > 1) {
                disk.open(file, OpenMode::Create).expect("made");
            }
        }
        disk
    }

    #[test]
    fn what_only_a_third_image_names_is_no_way_back_and_the_image_goes() {
        let disk = three_images();
        let indexes = |found: &Found| {
            let index = |found: &ImageFile| found.image.state.applied.0;
            (found.image.as_ref().map(index), found.older.as_ref().map(index))
        };
        let found = run_ready(newest(&disk)).expect("read");
        assert_eq!((indexes(&found), &found.surplus[..]), ((Some(3), Some(2)), &[Key::first(1).path()][..]));
        // The one in the middle is damaged: the third does not take its place.
        let file = disk.open(&Key::first(2).path(), OpenMode::Write).expect("there");
        file.write_at(0, &[0; 16]).expect("written");
        let found = run_ready(newest(&disk)).expect("read");
        assert_eq!((indexes(&found), &found.surplus[..]), ((Some(3), None), &[Key::first(1).path()][..]));
        run_ready(set_aside(&disk, &found.damaged, &found.surplus)).expect("done");
        let left = [Key::first(2).path() + DAMAGED_SUFFIX, Key::first(3).path()];
        assert_eq!(
            disk.list(DIR).expect("listed").iter().map(|name| format!("{DIR}/{name}")).collect::<Vec<_>>(),
            left
        );
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
