//! One directory that is being made: in its place where that is there already and empty (a mount point, a link to a directory),
//! else beside it, under another name.
//!
//! Invariants: a durable mark says that it is not whole, from before anything else comes into it until all of it is durable and
//! has its name; what is cleared loses its mark last. So whenever the process is killed, a server refuses what is left and
//! another run makes it anew. Nothing is cleared but what has the mark, and of that nothing but the parts of a data directory or of a
//! log: what somebody puts there meanwhile stays.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use super::failure::{Exit, Failure};
use crate::base::Fault;
use crate::env::{LOCK_FILE, TokioDisk};
use crate::server::{LOG, PLACE_NOTE, UNFINISHED, draft_of, is_part_of_log};

/// What the mark says; one that was not written to its end is empty, and nothing else is there then.
const MARK: &[u8] = b"a restore or migration began here and has not ended\n";

/// What a data directory is made of. The note of where its log is has a draft, too.
const PARTS: [&str; 3] = [LOG, "history", "checkpoint"];
const NOTE_DRAFT: &str = "wal-dir.new";

/// A directory being made; see the module's head.
pub struct Site {
    place: PathBuf,
    /// Where it is being made; `place` where that was there before, or once it has its name.
    draft: PathBuf,
    /// It goes as a whole, should it not be finished.
    is_new: bool,
    /// Its parts are a log's; else a data directory's.
    is_log: bool,
}

/// A path without links and ways back.
pub fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let there = path.ancestors().find_map(|dir| Some((dir, dir.canonicalize().ok()?)));
    let Some((dir, mut real)) = there else { return path };
    // What is not there is no link: a way back from it ends where it was gone into.
    for part in path.strip_prefix(dir).into_iter().flat_map(Path::components) {
        match part {
            Component::ParentDir => _ = real.pop(),
            part => real.push(part),
        }
    }
    real
}

fn fault(what: &'static str, path: &Path, source: io::Error) -> Fault {
    Fault::new(what, path.display().to_string(), source)
}

/// Makes what happened to the names in a directory durable.
fn sync(dir: &Path) -> Result<(), Fault> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let synced = fs::File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| fault("sync", dir, source))
}

/// Whether all entries of a directory that can be read are such.
fn has_only(dir: &Path, is_such: impl Fn(&OsStr, &fs::DirEntry) -> bool) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|it| is_such(&it.file_name(), &it))))
}

/// Whether nothing is there but what a run leaves that ended before its mark was whole.
fn is_begun(dir: &Path) -> bool {
    let is_empty = |entry: &fs::DirEntry| entry.metadata().is_ok_and(|found| found.is_file() && found.len() == 0);
    has_only(dir, |name, entry| (name == LOCK_FILE || name == UNFINISHED) && is_empty(entry))
}

/// Whether a data directory has a part of this name.
fn is_part(name: &OsStr) -> bool {
    PARTS.iter().chain(&[PLACE_NOTE, NOTE_DRAFT]).any(|part| name == *part)
}

/// Whether it stays to the end where something is cleared.
fn is_kept(name: &OsStr) -> bool {
    name == LOCK_FILE || name == UNFINISHED
}

impl Site {
    /// For a directory that is to stand at `place`.
    pub fn of(place: &Path) -> Self {
        // The directories on a way back would have to be made; and a trailing slash would put the draft inside.
        let has_ways_back = place.components().any(|part| part == Component::ParentDir);
        let place: PathBuf = if has_ways_back { real(place) } else { place.components().collect() };
        if fs::symlink_metadata(&place).is_ok() {
            return Self { draft: place.clone(), place, is_new: false, is_log: false };
        }
        Self { draft: draft_of(&place), place, is_new: true, is_log: false }
    }

    /// The same for a log: a directory that is there was made by an earlier run.
    pub fn of_log(place: &Path) -> Self {
        Self { is_new: true, is_log: true, ..Self::of(place) }
    }

    /// Where it is to stand.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Where it is being made.
    pub fn draft(&self) -> &Path {
        &self.draft
    }

    fn mark(&self) -> PathBuf {
        self.draft.join(UNFINISHED)
    }

    /// Whether an earlier run began it here.
    pub fn is_marked(&self) -> bool {
        fs::read(self.mark()).is_ok_and(|mark| mark == MARK)
    }

    /// Whether a directory was there before.
    pub fn is_in_place(&self) -> bool {
        self.draft == self.place
    }

    /// Whether a data directory may be made: nothing is in the way that no earlier run has left.
    pub fn is_free(&self) -> bool {
        is_begun(&self.draft) || self.is_marked() && self.has_only_parts()
    }

    /// Whether nothing is there but what a run makes.
    pub fn has_only_parts(&self) -> bool {
        has_only(&self.draft, |name, _| is_kept(name) || self.is_part(name))
    }

    fn is_part(&self, name: &OsStr) -> bool {
        if self.is_log { is_part_of_log(name) } else { is_part(name) }
    }

    /// Refuses to work where what stands beside the place is not left by an earlier try: all of it would be removed.
    pub fn check_beside(&self) -> Result<(), Failure> {
        let is_missing = fs::symlink_metadata(&self.draft).is_err();
        if self.is_in_place() || is_missing || is_begun(&self.draft) || self.is_marked() {
            return Ok(());
        }
        let text = format!("{} is in the way: nothing that was left unfinished, and not removed", self.draft.display());
        Err(Failure::new(Exit::Error, text))
    }

    /// Marks it, durably; also what has the mark, for who wrote it may have been killed before it was durable.
    pub fn begin(&self) -> Result<(), Failure> {
        let mark = self.mark();
        let written = if self.is_marked() {
            fs::File::open(&mark).and_then(|file| file.sync_all())
        } else {
            fs::File::create(&mark).and_then(|mut file| {
                file.write_all(MARK)?;
                file.sync_all()
            })
        };
        written.map_err(|source| fault("write", &mark, source))?;
        Ok(sync(&self.draft)?)
    }

    /// Takes away what a run left, but for the mark and the lock.
    pub fn clear(&self) -> Result<(), Failure> {
        for entry in fs::read_dir(&self.draft).map_err(|source| fault("read", &self.draft, source))? {
            let entry = entry.map_err(|source| fault("read", &self.draft, source))?;
            let name = entry.file_name();
            if is_kept(&name) || !self.is_part(&name) {
                continue;
            }
            let path = entry.path();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|source| fault("remove", &path, source))?;
        }
        Ok(())
    }

    /// Gives it its name, durably. It keeps its mark.
    pub fn name(&mut self) -> Result<(), Failure> {
        if self.is_in_place() {
            return Ok(());
        }
        fs::rename(&self.draft, &self.place).map_err(|source| fault("rename", &self.draft, source))?;
        self.draft.clone_from(&self.place);
        Ok(sync(self.place.parent().unwrap_or(Path::new("")))?)
    }

    /// Takes the mark away.
    pub fn unmark(&self) -> Result<(), Failure> {
        let mark = self.mark();
        Ok(fs::remove_file(&mark).map_err(|source| fault("remove", &mark, source))?)
    }

    /// Makes it durable that the mark is gone.
    pub fn sync(&self) -> Result<(), Failure> {
        Ok(sync(&self.draft)?)
    }

    /// Takes away what nothing came into yet, where nobody else has it.
    pub fn unmake(&self) {
        if !self.draft.is_dir() {
            return;
        }
        let Ok(_held) = TokioDisk::open(self.draft.clone()).and_then(|disk| disk.lock()) else { return };
        if is_begun(&self.draft) {
            // What does not go is in nobody's way; the lock last, as ever.
            let _ = fs::remove_file(self.mark());
            let _ = fs::remove_file(self.draft.join(LOCK_FILE));
            if self.is_new {
                let _ = fs::remove_dir(&self.draft);
            }
        }
    }

    /// Takes away all of it; false where that did not go. What has its name already has none again first: what a kill leaves from here on is a
    /// draft as any other.
    pub fn give_up(&mut self) -> bool {
        let beside = draft_of(&self.place);
        if self.is_new && self.is_in_place() && fs::rename(&self.place, &beside).is_ok() {
            self.draft = beside;
            // Where it does not last the mark is what is left.
            let _ = sync(self.place.parent().unwrap_or(Path::new("")));
        }
        // The mark when all it stands for is gone for good, and the lock last: nobody begins here before.
        let is_gone = (is_begun(&self.draft) || self.begin().is_ok())
            && self.clear().is_ok()
            && self.sync().is_ok()
            && self.unmark().is_ok()
            && fs::remove_file(self.draft.join(LOCK_FILE)).is_ok();
        is_gone && (!self.is_new || fs::remove_dir(&self.draft).is_ok())
    }
}
