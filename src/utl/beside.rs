//! A data directory that becomes one when it is whole, and its log with it.
//!
//! Invariants: the last thing that happens to it is that it loses the mark that a server refuses (see [`Site`]), when everything
//! else is durable and has its name; what is being made is this process's alone; what an earlier run left is thrown away, and so
//! is what this run does not finish.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use super::failure::{Exit, Failure};
use super::site::Site;
use super::telling::tell;
use crate::base::{FILE_TOO_LARGE, STOPPING, code_of_signal, go_quoted, is_passed_over};
use crate::env::{DirLock, TokioDisk};
use crate::server::{LOG, are_married, marry};

/// A directory being made; see the module's head.
pub struct Beside {
    data: Site,
    /// The log's, if that is not in the directory.
    log: Option<Site>,
    disk: TokioDisk,
    lock: Option<DirLock>,
    kept: bool,
}

/// Whether the work is to stop.
#[derive(Clone, Default)]
pub struct Stop(Arc<Asked>);

#[derive(Default)]
struct Asked {
    /// By the user: the signal, or 0.
    signal: AtomicI32,
    /// It has come to nothing elsewhere.
    in_vain: AtomicBool,
}

impl Stop {
    /// Ends the work as if the user had asked: it has come to nothing elsewhere.
    pub fn give_up(&self) {
        self.0.in_vain.store(true, Ordering::Relaxed);
    }

    /// Notes the signal; whether it is not the first.
    fn asked_by(&self, signal: i32) -> bool {
        self.0.signal.swap(signal, Ordering::Relaxed) != 0
    }

    /// Says so once the user did.
    pub fn check(&self) -> Result<(), Failure> {
        let signal = match self.0.signal.load(Ordering::Relaxed) {
            0 if self.0.in_vain.load(Ordering::Relaxed) => INTERRUPT,
            0 => return Ok(()),
            signal => signal,
        };
        Err(Failure::new(Exit::Interrupted(code_of_signal(signal)), "interrupted: nothing was made"))
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
                // It may be held up where nobody can stop it, as by a file that cannot be opened. What is left has its mark.
                if stop.asked_by(number) {
                    tell("interrupted again: what was begun is left as it is, and replaced by the next run");
                    std::process::exit(code_of_signal(number).into());
                }
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

/// Whether a data directory may be made at `place`, in etcdutl's words.
pub fn check_free(place: &Path) -> Result<(), Failure> {
    let site = Site::of(place);
    if !site.is_in_place() || site.is_free() {
        return Ok(());
    }
    let shown = go_quoted(place.as_os_str().as_encoded_bytes());
    Err(Failure::new(Exit::Error, format!("data-dir {shown} not empty or could not be read")))
}

/// Whether the log of a data directory at `place` may be made at `log`, in etcdutl's words: nothing is there, or what a run left
/// that was killed at its end, and nothing else. What has lost its mark already is known by belonging to a data directory that has one.
pub fn check_log_free(place: &Path, log: &Path) -> Result<(), Failure> {
    let (data, site) = (Site::of(place), Site::of_log(log));
    let is_left = || site.is_marked() || data.is_marked() && are_married(data.draft(), log);
    if !site.is_in_place() || is_left() && site.has_only_parts() {
        return Ok(());
    }
    Err(Failure::new(Exit::Error, format!("wal-dir {} exists", go_quoted(log.as_os_str().as_encoded_bytes()))))
}

/// Whether what is there may be used: nothing, or what an earlier run left.
fn check(place: &Path, log: Option<&Path>) -> Result<(), Failure> {
    check_free(place)?;
    Site::of(place).check_beside()?;
    log.map_or(Ok(()), |log| {
        check_log_free(place, log)?;
        Site::of_log(log).check_beside()
    })
}

/// Has the directories made, and takes them for this process alone.
fn claim(data: &Site, log: Option<&Site>) -> Result<(TokioDisk, DirLock), Failure> {
    let mut disk = TokioDisk::open(data.draft().to_path_buf())?;
    if let Some(log) = log {
        disk = disk.with_elsewhere(LOG, log.draft().to_path_buf())?;
    }
    let lock = disk.lock()?;
    Ok((disk, lock))
}

/// What the end of the work is made of, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Data and log name each other.
    Marry,
    NameLog,
    NameData,
    UnmarkLog,
    /// From here on a server starts on it.
    UnmarkData,
}

const STEPS: [Step; 5] = [Step::Marry, Step::NameLog, Step::NameData, Step::UnmarkLog, Step::UnmarkData];

impl Beside {
    /// Begins one that is to stand at `place`, with its log at a place of its own or in it.
    pub fn begin(place: &Path, log: Option<&Path>) -> Result<Self, Failure> {
        check(place, log)?;
        let (data, log_site) = (Site::of(place), log.map(Site::of_log));
        let claimed = claim(&data, log_site.as_ref()).and_then(|claimed| {
            // Who had it before may have finished it.
            check(place, log)?;
            Ok(claimed)
        });
        let (disk, lock) = claimed.inspect_err(|_| [&data].into_iter().chain(&log_site).for_each(Site::unmake))?;
        // From here on it goes again, should anything fail.
        let beside = Self { data, log: log_site, disk, lock: Some(lock), kept: false };
        // Both have the mark before either loses what tells that they belong together.
        beside.sites().try_for_each(Site::begin)?;
        beside.sites().try_for_each(Site::clear)?;
        Ok(beside)
    }

    fn sites(&self) -> impl Iterator<Item = &Site> {
        [&self.data].into_iter().chain(&self.log)
    }

    /// The disk it is made on.
    pub fn disk(&self) -> &TokioDisk {
        &self.disk
    }

    /// Whether the directories are those that were locked. Under their names others may be by now: of a disk that was mounted, behind a
    /// link that was turned.
    fn is_ours(&self) -> bool {
        let log = self.log.as_ref().map(Site::draft);
        self.lock.as_ref().is_some_and(|lock| lock.is_of(self.data.draft(), log))
    }

    /// Moves it to its place. Everything in it is durable.
    pub fn keep(mut self) -> Result<(), Failure> {
        if !self.is_ours() {
            let text = format!("{} is another directory by now; nothing was made in it", self.data.draft().display());
            return Err(Failure::new(Exit::Error, text));
        }
        STEPS.into_iter().try_for_each(|step| self.take(step))?;
        // Held until it is whole, so that nobody else makes it anew meanwhile.
        drop(self.lock.take());
        Ok(())
    }

    fn take(&mut self, step: Step) -> Result<(), Failure> {
        match (step, &mut self.log) {
            (Step::Marry, Some(log)) => marry(self.data.draft(), log.draft(), (self.data.place(), log.place()))
                .map_err(|text| Failure::new(Exit::Error, text)),
            (Step::NameLog, Some(log)) => log.name(),
            (Step::UnmarkLog, Some(log)) => {
                log.unmark()?;
                log.sync()
            }
            (Step::Marry | Step::NameLog | Step::UnmarkLog, None) => Ok(()),
            (Step::NameData, _) => self.data.name(),
            (Step::UnmarkData, _) => {
                self.data.unmark()?;
                self.kept = true;
                self.data.sync().map_err(|failure| failure.though_made(self.data.place()))
            }
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let left = |site: &Site| {
            tell(format_args!("what was begun in {} is of no use and can be removed", site.draft().display()));
        };
        if !self.is_ours() {
            // What is there is somebody's.
            return self.sites().for_each(left);
        }
        // Both have the mark before either loses what tells that they belong together.
        self.sites().for_each(|site| drop(site.begin()));
        for site in [&mut self.data].into_iter().chain(&mut self.log) {
            if !site.give_up() {
                left(site);
            }
        }
    }
}

#[cfg(test)]
#[path = "beside_tests.rs"]
mod tests;
