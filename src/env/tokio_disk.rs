//! The real disk: one directory of the file system, of which one part may lie elsewhere.
//!
//! Invariants: nothing outside the root and that part is touched; files are made for their owner only; a sync returns after
//! the system's, on the thread that awaits it, which is why every task that waits for the disk has a thread of
//! its own. Does not know what the files hold.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use rustix::fs::{FlockOperation, flock, statvfs};

use super::seam::{Disk, DiskFile, OpenMode};
use crate::base::Fault;

/// In a directory that a process has for itself.
pub const LOCK_FILE: &str = "LOCK";
/// Directories held open at most: a member has four.
const DIRS_HELD: usize = 8;
const OWNER_ONLY_DIR: u32 = 0o700;
const OWNER_ONLY_FILE: u32 = 0o600;

/// A directory tree of the file system.
#[derive(Clone, Debug)]
pub struct TokioDisk {
    root: Arc<PathBuf>,
    elsewhere: Option<Arc<Elsewhere>>,
    /// Those whose names were made durable, by their names: who does it again needs no descriptor, of which there may be none left.
    dirs: Arc<Mutex<BTreeMap<String, Arc<File>>>>,
}

/// A directory of the tree that lies at another place, perhaps on a disk of its own.
#[derive(Debug)]
struct Elsewhere {
    name: String,
    place: PathBuf,
}

/// An open file of a [`TokioDisk`].
#[derive(Debug)]
pub struct TokioFile {
    file: File,
    name: String,
}

/// The sole right to use a data directory; given back when dropped, and by the system when the process ends.
#[derive(Debug)]
pub struct DirLock {
    file: File,
    elsewhere: Option<File>,
}

/// What the lock's file begins with once a member has begun in its directory; behind it stands which file it is.
const BEGUN: &str = "a member has begun here\n";
/// The lock's file is read up to here.
const NOTE_BYTES: u64 = 256;

/// Whether a lock's file is the one in that directory.
fn is_of(file: &File, dir: &Path) -> bool {
    let which = |found: &std::fs::Metadata| (found.dev(), found.ino());
    let there = std::fs::symlink_metadata(dir.join(LOCK_FILE));
    matches!((file.metadata(), there), (Ok(held), Ok(there)) if which(&held) == which(&there))
}

impl DirLock {
    /// Whether these are the directories that were locked, by what their names lead to now: another may have been mounted over one.
    pub fn is_of(&self, root: &Path, elsewhere: Option<&Path>) -> bool {
        let other = self.elsewhere.as_ref().zip(elsewhere);
        is_of(&self.file, root) && other.is_none_or(|(file, place)| is_of(file, place))
    }

    /// Whether a member has begun in this directory, as far as was noted.
    pub fn has_begun(&self) -> bool {
        self.file.metadata().is_ok_and(|found| found.len() > 0)
    }

    /// Notes that one has, for the next start. Not made durable: it helps against mistakes, not against crashes.
    pub fn note_begun(&self) -> Result<(), Fault> {
        let fault = |source| Fault::new("write", LOCK_FILE, source);
        let note = self.note().map_err(fault)?;
        if self.noted().map_err(fault)? == note {
            return Ok(());
        }
        self.file.set_len(note.len() as u64).map_err(fault)?;
        self.file.write_all_at(note.as_bytes(), 0).map_err(fault)
    }

    /// Whether the directory is a copy of the one a member began in: the note came along, the file is another. The number
    /// of a device is not looked at, for it may change with every boot; a copy made over the same files is not seen.
    pub fn is_copy(&self) -> Result<bool, Fault> {
        let fault = |source| Fault::new("read", LOCK_FILE, source);
        let noted = self.noted().map_err(fault)?;
        // Nothing behind it: noted by a version that did not look.
        let says_which = noted.strip_prefix(BEGUN).is_some_and(|which| !which.is_empty());
        Ok(says_which && noted != self.note().map_err(fault)?)
    }

    fn note(&self) -> Result<String, Error> {
        let found = self.file.metadata()?;
        // Not every file system knows when a file was made.
        let made = found.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        Ok(format!("{BEGUN}inode {} made at {} ns\n", found.ino(), made.as_nanos()))
    }

    fn noted(&self) -> Result<String, Error> {
        let mut bytes = vec![0; self.file.metadata()?.len().min(NOTE_BYTES) as usize];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl TokioDisk {
    /// The tree at `root`, which is made (for its owner only) where it is missing.
    pub fn open(root: PathBuf) -> Result<Self, Fault> {
        make_durable_dirs(&root)
            .map_err(|source| Fault::new("create directory", root.display().to_string(), source))?;
        Ok(Self { root: Arc::new(root), elsewhere: None, dirs: Arc::default() })
    }

    /// The same tree, whose directory `name`, at the top, lies at `place`, which is made where it is missing. What is there
    /// under its own name is not seen any more.
    pub fn with_elsewhere(self, name: &str, place: PathBuf) -> Result<Self, Fault> {
        make_durable_dirs(&place)
            .map_err(|source| Fault::new("create directory", place.display().to_string(), source))?;
        Ok(Self { elsewhere: Some(Arc::new(Elsewhere { name: name.to_string(), place })), ..self })
    }

    /// Where the tree is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes the directory for this process alone, and the part that lies elsewhere. A fault of kind `WouldBlock` says that another one has it.
    pub fn lock(&self) -> Result<DirLock, Fault> {
        let file = lock_directory(&self.root, "the data directory is in use by another process")?;
        let lock = |elsewhere: &Arc<Elsewhere>| lock_directory(&elsewhere.place, "it is in use by another process");
        Ok(DirLock { file, elsewhere: self.elsewhere.as_ref().map(lock).transpose()? })
    }

    /// Bytes that this user may still write to the file system of the root.
    pub fn free_bytes(&self) -> Result<u64, Fault> {
        let stat = statvfs(self.root.as_path())
            .map_err(|errno| Fault::new("ask for free space of", self.root.display().to_string(), errno.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn path(&self, name: &str) -> PathBuf {
        let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        assert!(inside, "the name {name:?} leads out of the data directory");
        if let Some(elsewhere) = &self.elsewhere
            && let Ok(rest) = Path::new(name).strip_prefix(&elsewhere.name)
        {
            return if rest.as_os_str().is_empty() { elsewhere.place.clone() } else { elsewhere.place.join(rest) };
        }
        self.root.join(name)
    }
}

fn lock_directory(dir: &Path, in_use: &'static str) -> Result<File, Fault> {
    let fault = |source| Fault::new("lock", dir.display().to_string(), source);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(OWNER_ONLY_FILE);
    let file = options.open(dir.join(LOCK_FILE)).map_err(fault)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| {
        let source = Error::from(errno);
        fault(match source.kind() {
            ErrorKind::WouldBlock => Error::new(ErrorKind::WouldBlock, in_use),
            _ => source,
        })
    })?;
    if !is_of(&file, dir) {
        // Who held it has taken the directory away meanwhile.
        return Err(fault(Error::new(ErrorKind::WouldBlock, in_use)));
    }
    Ok(file)
}

fn make_dirs(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(OWNER_ONLY_DIR).create(path)
}

/// As [`make_dirs`], and what was made survives a crash.
fn make_durable_dirs(path: &Path) -> Result<(), Error> {
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    make_dirs(path)?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

impl Disk for TokioDisk {
    type File = TokioFile;

    fn open(&self, name: &str, mode: OpenMode) -> Result<TokioFile, Fault> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read).create_new(mode == OpenMode::Create).mode(OWNER_ONLY_FILE);
        let doing = if mode == OpenMode::Create { "create" } else { "open" };
        let file = options.open(self.path(name)).map_err(|source| Fault::new(doing, name, source))?;
        Ok(TokioFile { file, name: name.to_string() })
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, Fault> {
        let fault = |source| Fault::new("list", dir, source);
        let mut names = Vec::new();
        for entry in self.path(dir).read_dir().map_err(fault)? {
            let entry = entry.map_err(fault)?;
            if entry.file_type().map_err(fault)?.is_file() {
                // A name that is not UTF-8 is none of ours.
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, dir: &str) -> Result<(), Fault> {
        make_dirs(&self.path(dir)).map_err(|source| Fault::new("create directory", dir, source))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        std::fs::rename(self.path(from), self.path(to)).map_err(|source| Fault::new("rename", from, source))
    }

    fn remove(&self, name: &str) -> Result<(), Fault> {
        std::fs::remove_file(self.path(name)).map_err(|source| Fault::new("remove", name, source))
    }

    fn exists(&self, name: &str) -> Result<bool, Fault> {
        match self.path(name).symlink_metadata() {
            Ok(metadata) => Ok(metadata.is_file()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Fault::new("look for", name, error)),
        }
    }

    async fn sync_dir(&self, dir: &str) -> Result<(), Fault> {
        let sync = || self.dir(dir)?.sync_all();
        sync().map_err(|source| Fault::new("sync", dir, source))
    }
}

impl TokioDisk {
    /// The directory of that name, open.
    fn dir(&self, dir: &str) -> Result<Arc<File>, Error> {
        let path = self.path(dir);
        let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        let which = |found: std::fs::Metadata| (found.dev(), found.ino());
        // Another may have been made since by that name.
        let is_there = |file: &Arc<File>| Ok::<_, Error>(which(file.metadata()?) == which(path.metadata()?));
        if let Some(file) = dirs.get(dir)
            && is_there(file)?
        {
            return Ok(file.clone());
        }
        let file = Arc::new(File::open(&path)?);
        if dirs.len() >= DIRS_HELD {
            dirs.clear();
        }
        dirs.insert(dir.to_owned(), file.clone());
        Ok(file)
    }
}

impl TokioFile {
    fn fault(&self, doing: &'static str) -> impl Fn(Error) -> Fault + '_ {
        move |source| Fault::new(doing, &self.name, source)
    }
}

impl DiskFile for TokioFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Fault> {
        retry(|| self.file.read_at(buf, offset)).map_err(self.fault("read"))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), Fault> {
        self.file.write_all_at(data, offset).map_err(self.fault("write"))
    }

    fn len(&self) -> Result<u64, Fault> {
        Ok(self.file.metadata().map_err(self.fault("measure"))?.len())
    }

    fn set_len(&self, len: u64) -> Result<(), Fault> {
        self.file.set_len(len).map_err(self.fault("resize"))
    }

    async fn sync(&self) -> Result<(), Fault> {
        // fdatasync: the bytes and the length, not the times. Never retried: after a failure the system may
        // have forgotten which pages were not written.
        self.file.sync_data().map_err(self.fault("sync"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::env::{conformance, run_ready};

    #[test]
    fn conforms() {
        let dir = tempfile::tempdir().expect("made");
        let disk = TokioDisk::open(dir.path().join("data")).expect("opened");
        run_ready(conformance::check(&disk)).expect("conforms");
    }

    #[test]
    fn conforms_with_a_part_elsewhere() {
        let dir = tempfile::tempdir().expect("made");
        let place = dir.path().join("other/d");
        let disk = TokioDisk::open(dir.path().join("data")).expect("opened");
        // The suite's own directory: what is there is seen as if it were in the tree, and nowhere else.
        let disk = disk.with_elsewhere("d", place.clone()).expect("made");
        // The suite wants to see it missing first.
        std::fs::remove_dir(&place).expect("empty");
        run_ready(conformance::check(&disk)).expect("conforms");
        assert!(place.is_dir() && !dir.path().join("data/d").exists());
        disk.open("dx", OpenMode::Create).expect("a name that only begins so");
        assert!(dir.path().join("data/dx").is_file());
        // Two trees cannot have one part.
        let other = TokioDisk::open(dir.path().join("another")).expect("opened");
        let other = other.with_elsewhere("d", place).expect("there");
        let held = disk.lock().expect("free");
        assert!(other.lock().expect_err("held").to_string().contains("in use by another process"));
        drop(held);
        other.lock().expect("free again");
    }

    #[test]
    fn a_directory_that_took_anothers_place_is_the_one_that_is_synced() {
        let dir = tempfile::tempdir().expect("made");
        let disk = TokioDisk::open(dir.path().to_path_buf()).expect("opened");
        let held = || {
            run_ready(disk.sync_dir("d")).expect("synced");
            let dirs = disk.dirs.lock().expect("nobody panics");
            (dirs.len(), dirs["d"].metadata().expect("held").ino())
        };
        disk.create_dir("d").expect("made");
        let before = held();
        assert_eq!(held(), before, "one descriptor");
        std::fs::rename(dir.path().join("d"), dir.path().join("away")).expect("renamed");
        assert!(run_ready(disk.sync_dir("d")).is_err(), "it is not there");
        disk.create_dir("d").expect("made");
        assert_ne!(held(), before);
        for nth in 0..3 * DIRS_HELD {
            disk.create_dir(&format!("{nth}")).expect("made");
            run_ready(disk.sync_dir(&format!("{nth}"))).expect("synced");
        }
        assert!(disk.dirs.lock().expect("nobody panics").len() <= DIRS_HELD);
    }

    #[test]
    fn files_are_for_their_owner_only() {
        let dir = tempfile::tempdir().expect("made");
        let disk = TokioDisk::open(dir.path().join("a/b")).expect("opened");
        disk.open("x", OpenMode::Create).expect("made");
        let mode = |path: PathBuf| path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(dir.path().join("a/b")), 0o700);
        assert_eq!(mode(dir.path().join("a/b/x")), 0o600);
        assert!(disk.free_bytes().expect("known") > 0);
    }

    #[test]
    fn only_one_has_the_directory() {
        let dir = tempfile::tempdir().expect("made");
        let disk = TokioDisk::open(dir.path().to_path_buf()).expect("opened");
        let held = disk.lock().expect("free");
        let fault = disk.lock().expect_err("held");
        assert_eq!(fault.source.kind(), ErrorKind::WouldBlock);
        let text = fault.to_string();
        assert!(text.contains("in use") && text.contains(&dir.path().display().to_string()), "{text}");
        drop(held);
        disk.lock().expect("free again");
    }

    #[test]
    fn a_copy_of_the_directory_is_known_as_one() {
        let dir = tempfile::tempdir().expect("made");
        let disk = |name| TokioDisk::open(dir.path().join(name)).expect("opened");
        let lock = disk("one").lock().expect("free");
        assert!(!lock.has_begun() && !lock.is_copy().expect("read"));
        lock.note_begun().expect("noted");
        lock.note_begun().expect("noted again");
        drop(lock);
        let lock = disk("one").lock().expect("free");
        assert!(lock.has_begun() && !lock.is_copy().expect("read"), "the same, at the next start");
        let (from, to) = (dir.path().join("one/LOCK"), disk("two").root().join("LOCK"));
        std::fs::copy(from, to).expect("copied");
        let copy = disk("two").lock().expect("free");
        assert!(copy.has_begun() && copy.is_copy().expect("read"));
        copy.note_begun().expect("noted");
        assert!(!copy.is_copy().expect("read"), "told once: from now on it is the one");
        std::fs::write(disk("old").root().join("LOCK"), BEGUN).expect("written");
        assert!(!disk("old").lock().expect("free").is_copy().expect("read"), "nobody noted which file it was");
    }

    #[test]
    #[should_panic(expected = "leads out of the data directory")]
    fn a_name_cannot_lead_out() {
        let dir = tempfile::tempdir().expect("made");
        let disk = TokioDisk::open(dir.path().to_path_buf()).expect("opened");
        let _ = disk.exists("../x");
    }
}
