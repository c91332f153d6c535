//! A large file being written: beside its place, and put there whole.
//!
//! Invariants: the file is in its place whole and synced, or not at all; whatever ends the writing takes the unfinished one away;
//! nobody else may read it, because it holds everything, nor write to it: of two who save to one place the second is refused.
//!
//! Where the file system can, it goes past the page cache, piece by piece. What is written there in one go is a queue that everybody
//! else's syncs on that disk stand behind, and a journal that waits for all of it: puts of a server on the same disk took ten times
//! as long, however slowly the file came.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::base::system_words as reason;

/// Bytes written in one go, while the next are fetched: enough to keep a disk busy, and a wait of a millisecond or two for others.
const PIECE_BYTES: usize = 1024 * 1024;

/// What disks want that are written to directly: places in the file and in memory are multiples of it.
const ALIGNED: usize = 4096;

/// Where the page cache cannot be passed: bytes written before they are made durable.
const FLUSH_BYTES: u64 = 8 * 1024 * 1024;

/// A file being written; see the module's head.
pub struct Draft {
    path: PathBuf,
    files: Arc<Files>,
    piece: Piece,
    /// Where it goes.
    at: u64,
    /// The piece before, on its way.
    writing: Option<JoinHandle<(Piece, io::Result<()>)>>,
    /// Its room, once it is there.
    spare: Option<Piece>,
}

/// One file, by two ways.
struct Files {
    /// Past the page cache, where there is such a way.
    direct: Option<File>,
    plain: File,
}

impl Files {
    fn put(&self, piece: &[u8], at: u64) -> io::Result<()> {
        if let Some(direct) = &self.direct
            && piece.len().is_multiple_of(ALIGNED)
        {
            match direct.write_all_at(piece, at) {
                // A file system that opens it so, and cannot.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                written => return written,
            }
        }
        self.plain.write_all_at(piece, at)?;
        let end = at + piece.len() as u64;
        if end / FLUSH_BYTES == at / FLUSH_BYTES { Ok(()) } else { self.plain.sync_data() }
    }
}

/// Room for a piece, at a place in memory that disks want.
struct Piece {
    room: Vec<u8>,
    from: usize,
    len: usize,
}

impl Piece {
    fn new() -> Self {
        let room = vec![0; PIECE_BYTES + ALIGNED];
        let from = room.as_ptr().addr().wrapping_neg() % ALIGNED;
        Self { room, from, len: 0 }
    }

    /// Takes in what there is room for; what is left.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (some, rest) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.len));
        let to = self.from + self.len;
        self.room[to..to + some.len()].copy_from_slice(some);
        self.len += some.len();
        rest
    }

    fn bytes(&self) -> &[u8] {
        &self.room[self.from..self.from + self.len]
    }
}

impl Draft {
    /// Begins a file that is to be at `place`.
    ///
    /// # Errors
    /// It cannot be made; in words.
    pub fn create(place: &Path) -> Result<Self, String> {
        if fs::metadata(place).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            return Err(format!("could not save: {} is not a regular file, and is not replaced", place.display()));
        }
        let mut path = place.as_os_str().to_owned();
        path.push(".part");
        let path = PathBuf::from(path);
        let plain = claimed(&path)
            .map_err(|error| format!("could not open {0} (open {0}: {1})", path.display(), reason(&error)))?
            .ok_or_else(|| format!("another save into {} is under way", place.display()))?;
        let direct = OpenOptions::new().write(true).custom_flags(DIRECT | NOT_BY_LINK).open(&path).ok();
        let direct = direct.filter(|direct| are_one(direct.metadata(), plain.metadata()));
        let files = Arc::new(Files { direct, plain });
        Ok(Self { path, files, piece: Piece::new(), at: 0, writing: None, spare: None })
    }

    /// Writes what comes next.
    ///
    /// # Errors
    /// What came before could not be written; in words.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            bytes = self.piece.fill(bytes);
            if self.piece.len == PIECE_BYTES {
                self.pass_on().await?;
            }
        }
        Ok(())
    }

    /// Has the piece written while the next is filled.
    async fn pass_on(&mut self) -> Result<(), String> {
        self.written().await?;
        let next = self.spare.take().unwrap_or_else(Piece::new);
        let piece = std::mem::replace(&mut self.piece, next);
        let (files, at) = (self.files.clone(), self.at);
        self.at += piece.len as u64;
        self.writing = Some(spawn_blocking(move || {
            let written = files.put(piece.bytes(), at);
            (piece, written)
        }));
        Ok(())
    }

    /// Waits for the piece before.
    async fn written(&mut self) -> Result<(), String> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        let told = |error| format!("could not write snapshot: write {}: {}", self.path.display(), reason(&error));
        let (piece, written) = writing.await.map_err(|error| told(io::Error::other(error)))?;
        written.map_err(told)?;
        self.spare = Some(Piece { len: 0, ..piece });
        Ok(())
    }

    /// Makes the file durable and puts it in its place.
    ///
    /// # Errors
    /// In words.
    pub async fn finish(mut self, place: &Path) -> Result<(), String> {
        if self.piece.len > 0 {
            // What is less than a block goes by itself.
            let whole = self.piece.len / ALIGNED * ALIGNED;
            let rest = self.piece.bytes()[whole..].to_vec();
            self.piece.len = whole;
            self.pass_on().await?;
            self.piece.fill(&rest);
            self.pass_on().await?;
        }
        self.written().await?;
        self.files.plain.sync_all().map_err(|error| format!("could not fsync snapshot: {}", reason(&error)))?;
        if !is_of(&self.files.plain, &self.path) {
            return Err(format!("could not save: {} is another's by now", self.path.display()));
        }
        fs::rename(&self.path, place).map_err(|error| {
            let (from, to) = (self.path.display(), place.display());
            // Go's library looks for a directory by itself, and says so.
            let why = if place.is_dir() { "file exists".to_owned() } else { reason(&error) };
            format!("could not rename {from} to {to} (rename {from} {to}: {why})")
        })?;
        let directory = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| format!("could not fsync {}: {}", directory.display(), reason(&error)))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already where it is in its place: under the name is nothing, or another's.
        if is_of(&self.files.plain, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Times a file may be taken away between being opened and locked.
const CLAIMS: usize = 100;

/// Opens a file for this process alone, and empties it; nothing where another one has it.
fn claimed(path: &Path) -> io::Result<Option<File>> {
    for _ in 0..CLAIMS {
        // What is no file, such as a pipe, would keep who opens it.
        if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(io::Error::other("not a regular file"));
        }
        let mut options = OpenOptions::new();
        // A link leads to somebody else's.
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(NOT_BY_LINK);
        let file = options.open(path)?;
        // A file system that knows no locks is written to all the same.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Ok(None);
        }
        // Else who had it has given it its place, or taken it away meanwhile.
        if is_of(&file, path) {
            made_private(&file)?;
            file.set_len(0)?;
            return Ok(Some(file));
        }
    }
    Err(io::Error::other("it is another file each time"))
}

/// Whoever left the file there: from here on nobody else may read it.
fn made_private(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    if found.nlink() > 1 {
        return Err(io::Error::other("it has another name, too"));
    }
    if found.mode() & 0o077 == 0 {
        return Ok(());
    }
    // Who does not own it cannot, and is refused.
    file.set_permissions(Permissions::from_mode(0o600))
}

/// Whether a file is the one of that name.
fn is_of(file: &File, path: &Path) -> bool {
    are_one(file.metadata(), fs::symlink_metadata(path))
}

fn are_one(one: io::Result<fs::Metadata>, other: io::Result<fs::Metadata>) -> bool {
    let which = |found: fs::Metadata| (found.dev(), found.ino());
    matches!((one.map(which), other.map(which)), (Ok(one), Ok(other)) if one == other)
}

const NOT_BY_LINK: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// Past the page cache, where the system knows such a way.
#[cfg(target_os = "linux")]
const DIRECT: i32 = OFlags::DIRECT.bits().cast_signed();
#[cfg(not(target_os = "linux"))]
const DIRECT: i32 = OFlags::empty().bits().cast_signed();

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that no two places have alike, as many.
    fn some(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at / 251 + at % 251) as u8).collect()
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let dir = tempfile::tempdir().expect("made");
        let place = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&place).status();
        assert!(made.expect("there is such a program").success());
        for place in [&place, Path::new("/dev/null")] {
            let refused = Draft::create(place).err().expect("refused");
            assert_eq!(
                refused,
                format!("could not save: {} is not a regular file, and is not replaced", place.display())
            );
        }
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 1, "nothing was begun");
    }

    #[tokio::test]
    async fn a_file_is_what_was_written_however_it_came() {
        let dir = tempfile::tempdir().expect("made");
        for (len, by) in
            [(0, 1), (32, 32), (ALIGNED, 7), (PIECE_BYTES, 4096), (3 * PIECE_BYTES + ALIGNED + 32, 262_144)]
        {
            let (place, bytes) = (dir.path().join(format!("{len}")), some(len));
            let mut draft = Draft::create(&place).expect("begun");
            for part in bytes.chunks(by) {
                draft.write(part).await.expect("written");
            }
            assert!(!place.exists(), "not before it is whole");
            draft.finish(&place).await.expect("finished");
            assert!(fs::read(&place).expect("there") == bytes, "{len} by {by}");
        }
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 5, "and nothing besides");
    }

    #[tokio::test]
    async fn without_a_way_past_the_page_cache_it_is_the_same() {
        let dir = tempfile::tempdir().expect("made");
        let (place, bytes) = (dir.path().join("plain"), some(10 * PIECE_BYTES + 32));
        let mut draft = Draft::create(&place).expect("begun");
        let plain = draft.files.plain.try_clone().expect("cloned");
        draft.files = Arc::new(Files { direct: None, plain });
        draft.write(&bytes).await.expect("written");
        draft.finish(&place).await.expect("finished");
        assert!(fs::read(&place).expect("there") == bytes);
    }

    #[tokio::test]
    async fn a_directory_is_not_written_over() {
        let dir = tempfile::tempdir().expect("made");
        let draft = Draft::create(dir.path()).expect("begun");
        let told = draft.finish(dir.path()).await.expect_err("a directory");
        assert!(told.ends_with(": file exists)"), "{told}");
    }

    #[tokio::test]
    async fn of_two_who_save_to_one_place_the_second_is_refused() {
        let dir = tempfile::tempdir().expect("made");
        let (place, part) = (dir.path().join("saved"), dir.path().join("saved.part"));
        let mut first = Draft::create(&place).expect("begun");
        first.write(&some(2 * PIECE_BYTES)).await.expect("written");
        let told = Draft::create(&place).err().expect("it is another's");
        assert_eq!(told, format!("another save into {} is under way", place.display()));
        first.finish(&place).await.expect("finished");
        assert!(fs::read(&place).expect("there") == some(2 * PIECE_BYTES));
        // What a kill leaves is in nobody's way.
        fs::write(&part, some(9000)).expect("written");
        let mut next = Draft::create(&place).expect("begun");
        next.write(&some(7)).await.expect("written");
        next.finish(&place).await.expect("finished");
        assert!(fs::read(&place).expect("there") == some(7));
        // Whose draft was taken away neither puts another's in its place nor takes it away.
        for finishes in [false, true] {
            let lost = Draft::create(&place).expect("begun");
            fs::rename(&part, dir.path().join("elsewhere")).expect("renamed");
            let other = Draft::create(&place).expect("begun");
            if finishes {
                assert!(lost.finish(&place).await.expect_err("it is another's").contains("another's by now"));
            } else {
                drop(lost);
            }
            assert!(is_of(&other.files.plain, &part), "it stays");
        }
        assert!(fs::read(&place).expect("there") == some(7));
    }

    #[test]
    fn what_a_draft_is_written_into_is_this_users_alone() {
        let dir = tempfile::tempdir().expect("made");
        let (place, part, other) = (dir.path().join("saved"), dir.path().join("saved.part"), dir.path().join("other"));
        fs::write(&part, "left").expect("written");
        fs::set_permissions(&part, Permissions::from_mode(0o644)).expect("set");
        drop(Draft::create(&place).map(|draft| {
            let found = draft.files.plain.metadata().expect("looked at");
            assert_eq!((found.mode() & 0o777, found.len()), (0o600, 0));
        }));
        fs::write(&other, "another's").expect("written");
        let refused = |what: &str| {
            let told = Draft::create(&place).err().expect(what);
            assert!(told.ends_with(&format!(": {what})")), "{told}");
            fs::remove_file(&part).expect("it is left");
            assert_eq!(fs::read(&other).expect("there"), b"another's");
        };
        fs::hard_link(&other, &part).expect("linked");
        refused("it has another name, too");
        std::os::unix::fs::symlink(&other, &part).expect("linked");
        refused("not a regular file");
    }

    #[tokio::test]
    async fn what_is_given_up_is_taken_away() {
        let dir = tempfile::tempdir().expect("made");
        let mut draft = Draft::create(&dir.path().join("saved")).expect("begun");
        draft.write(&some(2 * PIECE_BYTES)).await.expect("written");
        drop(draft);
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 0);
    }
}
