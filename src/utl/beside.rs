//! A data directory that is made beside its place and moved there when it is whole.
//!
//! Invariants: nothing stands under the name before everything in it is durable; the draft is this process's alone; a draft that an
//! earlier run left is thrown away, and so is one that this run does not finish. A server does not start on a draft: it has another
//! name, and a mark in it.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use super::failure::{Exit, Failure};
use super::telling::tell;
use crate::base::{FILE_TOO_LARGE, Fault, STOPPING, code_of_signal, go_quoted, is_passed_over};
use crate::env::{DirLock, LOCK_FILE, TokioDisk};
use crate::server::{LOG, UNFINISHED, marry};

/// A directory being made; see the module's head.
pub struct Beside {
    place: PathBuf,
    draft: PathBuf,
    /// Where the log is to be and where it is being made, if that is not in the directory.
    log: Option<(PathBuf, PathBuf)>,
    disk: TokioDisk,
    lock: Option<DirLock>,
    kept: bool,
}

/// Whether the user asked to stop: the signal, or 0.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicI32>);

impl Stop {
    /// Ends the work as if the user had asked: it has come to nothing elsewhere.
    pub fn give_up(&self) {
        self.asked_by(INTERRUPT);
    }

    fn asked_by(&self, signal: i32) {
        self.0.store(signal, Ordering::Relaxed);
    }

    /// Says so once the user did.
    pub fn check(&self) -> Result<(), Failure> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Failure::new(Exit::Interrupted(code_of_signal(signal)), "interrupted: nothing was made")),
        }
    }
}

/// Runs `work` until it ends; it is told where the user asks to stop.
pub fn run<T: Send + 'static>(work: impl FnOnce(Stop) -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let failed = |error: io::Error| Failure::new(Exit::Error, format!("cannot start threads: {error}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(failed)?;
    let stop = Stop::default();
    listen(&runtime, stop.clone()).map_err(|error| Failure::new(Exit::Error, format!("no signals: {error}")))?;
    let work = runtime.spawn_blocking(move || work(stop));
    let done = runtime.block_on(work);
    done.map_err(|error| Failure::new(Exit::Error, format!("it was given up: {error}")))?
}

/// SIGINT, on every system this runs on.
const INTERRUPT: i32 = 2;

/// From here on the user is heard, and a file that outgrows its limit is an error of whoever writes to it.
fn listen(runtime: &tokio::runtime::Runtime, stop: Stop) -> io::Result<()> {
    let _inside = runtime.enter();
    let standing = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for number in STOPPING.into_iter().filter(|number| !is_passed_over(&standing, *number)) {
        let (mut came, stop) = (signal(SignalKind::from_raw(number))?, stop.clone());
        runtime.spawn(async move {
            while came.recv().await.is_some() {
                stop.asked_by(number);
            }
        });
    }
    // Once it is listened for it ends nothing, whoever hears it.
    signal(SignalKind::from_raw(FILE_TOO_LARGE)).map(drop)
}

/// Waits for what waits for nothing but this process's own disk.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(future)
}

fn is_free(place: &Path) -> bool {
    match fs::read_dir(place) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Whether a data directory may be made at `place`, in etcdutl's words.
pub fn check_free(place: &Path) -> Result<(), Failure> {
    if is_free(place) {
        return Ok(());
    }
    let shown = go_quoted(place.as_os_str().as_encoded_bytes());
    Err(Failure::new(Exit::Error, format!("data-dir {shown} not empty or could not be read")))
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

/// Where what is to stand at `place` is made.
fn draft_of(place: &Path) -> (PathBuf, PathBuf) {
    // A trailing slash would put the draft inside.
    let place: PathBuf = place.components().collect();
    let mut draft = place.clone().into_os_string();
    draft.push(".part");
    (place, PathBuf::from(draft))
}

/// Refuses to work where something stands that no earlier try has left: all of it would be removed.
fn check_draft(draft: &Path) -> Result<(), Failure> {
    let is_begun = |draft: &Path| {
        let mut entries = fs::read_dir(draft).into_iter().flatten().flatten();
        entries.all(|entry| entry.file_name() == LOCK_FILE)
    };
    if is_free(draft) || draft.join(UNFINISHED).exists() || is_begun(draft) {
        return Ok(());
    }
    let text = format!("{} is in the way: nothing that was left unfinished, and not removed", draft.display());
    Err(Failure::new(Exit::Error, text))
}

fn fault(what: &'static str, path: &Path, source: io::Error) -> Fault {
    Fault::new(what, path.display().to_string(), source)
}

/// Makes a directory's name durable.
fn sync_parent(place: &Path) -> Result<(), Fault> {
    let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = fs::File::open(parent).and_then(|parent| parent.sync_all());
    synced.map_err(|source| fault("sync", parent, source))
}

impl Beside {
    /// Begins one that is to stand at `place`, with its log at a place of its own or in it.
    pub fn begin(place: &Path, log: Option<&Path>) -> Result<Self, Failure> {
        check_free(place)?;
        let (place, draft) = draft_of(place);
        let log = log.map(draft_of);
        for draft in [&draft].into_iter().chain(log.iter().map(|(_, draft)| draft)) {
            check_draft(draft)?;
        }
        let mut disk = TokioDisk::open(draft.clone())?;
        if let Some((_, draft)) = &log {
            disk = disk.with_elsewhere(LOG, draft.clone())?;
        }
        let lock = disk.lock()?;
        // From here on it goes again, should anything fail.
        let beside = Self { place, draft, log, disk, lock: Some(lock), kept: false };
        for mark in beside.marks() {
            fs::write(&mark, b"").map_err(|source| fault("write", &mark, source))?;
        }
        let left_in_log = beside.log.iter().flat_map(|(_, draft)| fs::read_dir(draft).into_iter().flatten().flatten());
        for left in left_in_log.filter(|entry| entry.file_name() != LOCK_FILE && entry.file_name() != UNFINISHED) {
            let left = left.path();
            fs::remove_file(&left).map_err(|source| Fault::new("remove", left.display().to_string(), source))?;
        }
        for name in [LOG, "history", "checkpoint"] {
            let left = beside.draft.join(name);
            if left.exists() {
                fs::remove_dir_all(&left).map_err(|source| Fault::new("remove", left.display().to_string(), source))?;
            }
        }
        Ok(beside)
    }

    /// The files that say of each draft that it is one.
    fn marks(&self) -> Vec<PathBuf> {
        let drafts = [&self.draft].into_iter().chain(self.log.iter().map(|(_, draft)| draft));
        drafts.map(|draft| draft.join(UNFINISHED)).collect()
    }

    /// The disk it is made on.
    pub fn disk(&self) -> &TokioDisk {
        &self.disk
    }

    /// Moves it to its place. Everything in it is durable.
    pub fn keep(mut self) -> Result<(), Failure> {
        check_free(&self.place)?;
        // It is whole by now, under whatever name.
        for mark in self.marks() {
            fs::remove_file(&mark).map_err(|source| fault("remove", &mark, source))?;
        }
        let synced = fs::File::open(&self.draft).and_then(|draft| draft.sync_all());
        synced.map_err(|source| fault("sync", &self.draft, source))?;
        if let Some((place, draft)) = &mut self.log {
            marry(&self.draft, draft, (&self.place, place)).map_err(|text| Failure::new(Exit::Error, text))?;
            fs::rename(&*draft, &*place).map_err(|source| fault("rename", draft, source))?;
            // Until all is kept it goes again, under whatever name.
            draft.clone_from(place);
            sync_parent(place)?;
        }
        // Held until it has its name, so that nobody else makes it anew meanwhile.
        fs::rename(&self.draft, &self.place).map_err(|source| fault("rename", &self.draft, source))?;
        self.kept = true;
        sync_parent(&self.place)?;
        drop(self.lock.take());
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for draft in [&self.draft].into_iter().chain(self.log.iter().map(|(_, draft)| draft)) {
            if fs::remove_dir_all(draft).is_err() {
                tell(format_args!("what was begun in {} is of no use and can be removed", draft.display()));
            }
        }
    }
}
