//! Something made from files, made anew when they change.
//!
//! Files are looked at when the thing is asked for: no task and no notice of the system's is needed, and what is handed
//! out is never older than the question. Invariant: what cannot be made leaves what was made before, with one warning a
//! change (a certificate is often replaced before its key).

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Device, number, length and times of each file: another file, or another content.
type Stamp = Vec<Option<(u64, u64, u64, i64, i64, i64, i64)>>;

type Make<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// What is made from files.
pub(super) struct Reloading<T> {
    files: Vec<PathBuf>,
    make: Make<T>,
    made: Mutex<(Stamp, Arc<T>)>,
}

impl<T> fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading").field("files", &self.files).finish_non_exhaustive()
    }
}

impl<T> Reloading<T> {
    /// Makes it for the first time.
    ///
    /// # Errors
    /// What `make` says.
    pub(super) fn new(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let stamp = stamp(&files);
        let made = Mutex::new((stamp, Arc::new(make()?)));
        Ok(Self { files, make: Box::new(make), made })
    }

    /// The thing as the files have it now.
    pub(super) fn current(&self) -> Arc<T> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken before the files are read: a change while they are is found the next time.
        let now = stamp(&self.files);
        if made.0 != now {
            made.0 = now;
            match (self.make)() {
                Ok(new) => {
                    made.1 = Arc::new(new);
                    tracing::info!(files = ?self.files, "certificates were read anew");
                }
                Err(error) => {
                    tracing::warn!(error, files = ?self.files, "certificates changed and cannot be used; those from before stay");
                }
            }
        }
        made.1.clone()
    }
}

type Join<A, B, T> = Box<dyn Fn(&A, &B) -> Result<T, String> + Send + Sync>;

/// What is made of two things, each of which is made anew for itself: one whose file is wrong does not hold back the other.
pub(super) struct Joined<A, B, T> {
    one: Reloading<A>,
    other: Reloading<B>,
    join: Join<A, B, T>,
    made: Mutex<(Arc<A>, Arc<B>, Arc<T>)>,
}

impl<A, B, T> fmt::Debug for Joined<A, B, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joined").field("one", &self.one).field("other", &self.other).finish_non_exhaustive()
    }
}

impl<A, B, T> Joined<A, B, T> {
    /// Makes it for the first time.
    ///
    /// # Errors
    /// What `join` says.
    pub(super) fn new(
        one: Reloading<A>,
        other: Reloading<B>,
        join: impl Fn(&A, &B) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let (first, second) = (one.current(), other.current());
        let made = Arc::new(join(&first, &second)?);
        Ok(Self { one, other, join: Box::new(join), made: Mutex::new((first, second, made)) })
    }

    /// The thing as the files have it now.
    pub(super) fn current(&self) -> Arc<T> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let (one, other) = (self.one.current(), self.other.current());
        if !Arc::ptr_eq(&one, &made.0) || !Arc::ptr_eq(&other, &made.1) {
            match (self.join)(&one, &other) {
                Ok(new) => made.2 = Arc::new(new),
                Err(error) => tracing::warn!(error, "certificates that were read anew cannot be used together"),
            }
            (made.0, made.1) = (one, other);
        }
        made.2.clone()
    }
}

fn stamp(files: &[PathBuf]) -> Stamp {
    let of = |file: &PathBuf| {
        let found = fs::metadata(file).ok()?;
        let (modified, changed) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
        Some((found.dev(), found.ino(), found.len(), modified.0, modified.1, changed.0, changed.1))
    };
    files.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_wrong_does_not_hold_back_the_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let write = |name: &str, text: &str| {
            fs::write(path("draft"), text).expect("written");
            fs::rename(path("draft"), path(name)).expect("renamed");
        };
        let part = |name: &str| {
            write(name, "1");
            let file = path(name);
            Reloading::new(vec![file.clone()], move || match fs::read_to_string(&file) {
                Ok(text) if text == "bad" => Err(text),
                text => text.map_err(|error| error.to_string()),
            })
        };
        let (one, other) = (part("one").expect("made"), part("other").expect("made"));
        let both = Joined::new(one, other, |one: &String, other: &String| Ok(format!("{one} {other}"))).expect("made");
        assert!(*both.current() == "1 1" && Arc::ptr_eq(&both.current(), &both.current()), "not made twice");
        for (name, text, want) in [
            ("one", "bad", "1 1"),
            ("other", "2", "1 2"),
            ("one", "3", "3 2"),
            ("other", "bad", "3 2"),
            ("one", "4", "4 2"),
        ] {
            write(name, text);
            assert_eq!(*both.current(), want);
        }
    }

    #[test]
    fn a_change_is_seen_and_a_bad_one_leaves_what_was_good() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("f");
        let write = |text: &str| {
            let draft = directory.path().join("draft");
            fs::write(&draft, text).expect("written");
            fs::rename(&draft, &file).expect("renamed");
        };
        write("one");
        let path = file.clone();
        let make = move || match fs::read_to_string(&path) {
            Ok(text) if text == "bad" => Err("bad".to_string()),
            text => text.map_err(|error| error.to_string()),
        };
        let reloading = Reloading::new(vec![file.clone()], make).expect("made");
        let (first, again) = (reloading.current(), reloading.current());
        assert!(*first == "one" && Arc::ptr_eq(&first, &again), "not made twice");
        for (text, want) in [("bad", "one"), ("two", "two"), ("six", "six")] {
            write(text);
            assert_eq!(*reloading.current(), want);
        }
        fs::remove_file(&file).expect("removed");
        assert_eq!(*reloading.current(), "six");
    }
}
