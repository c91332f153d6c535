//! Log files that were put aside: what is too old, or too many, goes; the rest is compressed where that is asked for.
//!
//! Names and rules are those of the library that etcd has it from: of `etcd.log` there are `etcd-2026-01-02T03-04-05.678.log` and,
//! compressed, `etcd-2026-01-02T03-04-05.678.log.gz`.
//! Invariants: only files whose names say that they were put aside are ever touched; a compressed file comes into being whole, and
//! what it was made of goes only then, so that whenever the process ends each line is in a file that can be read; whoever writes the
//! log does not wait for it. Does not know what a line says.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::base::{calendar_day, limits};
use crate::server::local_time::Zone;

/// How the name of a compressed file ends.
const COMPRESSED: &str = ".gz";

/// How the name of one ends that is being made.
const DRAFT: &str = ".gz.new";

/// What is kept, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Keep {
    /// `None` is for ever.
    pub max_age: Option<Duration>,
    /// `None` is all of them.
    pub max_backups: Option<usize>,
    /// Whether files are compressed.
    pub compresses: bool,
    /// Whether their names tell local time.
    pub in_local_time: bool,
}

/// The files that were put aside of one log.
#[derive(Debug)]
pub struct Archive {
    directory: PathBuf,
    /// The log's name before its extension, and the extension with its dot.
    stem: String,
    end: String,
    keep: Keep,
    /// Whose time names tell.
    zone: Zone,
    work: Mutex<Work>,
}

/// How it stands with the thread that compresses.
#[derive(Debug, Default)]
struct Work {
    runs: bool,
    /// There is more to do than when it began.
    again: bool,
}

/// A file that was put aside.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Aside {
    moment: String,
    /// What follows the log's own extension.
    more: String,
}

impl Archive {
    /// Of the log at this path.
    pub fn of(path: &Path, keep: Keep) -> Arc<Self> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (stem, end) = match name.rfind('.') {
            Some(dot) => (name[..dot].to_owned(), name[dot..].to_owned()),
            None => (name, String::new()),
        };
        let zone = if keep.in_local_time { Zone::of_system() } else { Zone::default() };
        Arc::new(Self { directory: directory.to_owned(), stem, end, keep, zone, work: Mutex::default() })
    }

    /// Where the log is put at this moment.
    pub fn path_at(&self, moment: SystemTime) -> PathBuf {
        self.path(&Aside { moment: name_of(moment, &self.zone), more: String::new() })
    }

    /// Whether there is one of this moment.
    pub fn has(&self, moment: SystemTime) -> bool {
        let of = |more: &str| self.path(&Aside { moment: name_of(moment, &self.zone), more: more.to_owned() });
        ["", COMPRESSED].iter().any(|more| of(more).exists())
    }

    /// Looks through what was put aside, when there is one more and at a start: time has passed, and an earlier process may have left
    /// something half done.
    pub fn look_through(self: &Arc<Self>, now: SystemTime) {
        self.tidy(now);
        if self.keep.compresses {
            self.compress_beside();
        }
    }

    /// Removes what is too old, or too many. What cannot be removed now is tried again the next time.
    fn tidy(&self, now: SystemTime) {
        let oldest = self.keep.max_age.and_then(|age| now.checked_sub(age)).map(|oldest| name_of(oldest, &self.zone));
        let mut kept = BTreeSet::new();
        for aside in self.all().iter().rev().filter(|aside| aside.more != DRAFT) {
            // One that is being compressed is there twice.
            kept.insert(aside.moment.clone());
            let too_many = self.keep.max_backups.is_some_and(|most| kept.len() > most);
            if too_many || oldest.as_ref().is_some_and(|oldest| aside.moment < *oldest) {
                let _ = fs::remove_file(self.path(aside));
            }
        }
    }

    /// Compresses what is not, on a thread of its own.
    fn compress_beside(self: &Arc<Self>) {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        if work.runs {
            work.again = true;
            return;
        }
        let archive = self.clone();
        // Where there is no thread, it is tried again the next time.
        work.runs = std::thread::Builder::new()
            .name("log-gzip".into())
            .stack_size(limits::STACK_BYTES)
            .spawn(move || archive.compress_all())
            .is_ok();
    }

    fn compress_all(&self) {
        loop {
            let all = self.all();
            for half in all.iter().filter(|aside| aside.more == DRAFT) {
                let _ = fs::remove_file(self.path(half));
            }
            for plain in all.iter().filter(|aside| aside.more.is_empty()) {
                // What cannot be compressed now is tried again the next time.
                let _ = self.compress(plain);
            }
            let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
            if !std::mem::take(&mut work.again) {
                work.runs = false;
                return;
            }
        }
    }

    fn compress(&self, plain: &Aside) -> io::Result<()> {
        let named = |more: &str| self.path(&Aside { more: more.to_owned(), ..plain.clone() });
        let (from, draft) = (self.path(plain), named(DRAFT));
        let made = compress_file(&from, &draft).and_then(|()| {
            fs::rename(&draft, named(COMPRESSED))?;
            File::open(&self.directory)?.sync_all()?;
            fs::remove_file(&from)
        });
        if made.is_err() {
            let _ = fs::remove_file(&draft);
        }
        made
    }

    /// All of them, the oldest first.
    fn all(&self) -> Vec<Aside> {
        let names = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let mut all: Vec<Aside> = names.filter_map(|name| self.aside(&name)).collect();
        all.sort();
        all
    }

    fn aside(&self, name: &str) -> Option<Aside> {
        let rest = name.strip_prefix(self.stem.as_str())?.strip_prefix('-')?;
        let (moment, rest) = rest.split_at_checked(MOMENT.len())?;
        let more = rest.strip_prefix(self.end.as_str())?;
        let is_one = is_moment(moment) && ["", COMPRESSED, DRAFT].contains(&more);
        is_one.then(|| Aside { moment: moment.to_owned(), more: more.to_owned() })
    }

    fn path(&self, aside: &Aside) -> PathBuf {
        self.directory.join(format!("{}-{}{}{}", self.stem, aside.moment, self.end, aside.more))
    }
}

fn compress_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut plain = File::open(from)?;
    let mode = plain.metadata()?.permissions().mode();
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(to)?;
    let mut compressed = GzEncoder::new(file, Compression::default());
    io::copy(&mut plain, &mut compressed)?;
    compressed.finish()?.sync_all()
}

/// The form of a moment in a name; `d` is a digit.
const MOMENT: &str = "dddd-dd-ddTdd-dd-dd.ddd";

/// `2026-01-02T03-04-05.678`.
fn name_of(moment: SystemTime, zone: &Zone) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let seconds = seconds.saturating_add_signed(zone.ahead(seconds));
    let (year, month, day) = calendar_day(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{millis:03}")
}

fn is_moment(text: &str) -> bool {
    text.len() == MOMENT.len()
        && text
            .chars()
            .zip(MOMENT.chars())
            .all(|(c, wanted)| if wanted == 'd' { c.is_ascii_digit() } else { c == wanted })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;
    use std::time::Instant;

    const COMPRESSES: Keep = Keep { max_age: None, max_backups: None, compresses: true, in_local_time: false };

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000_000 + second)
    }

    fn settle(archive: &Archive) {
        let begun = Instant::now();
        while archive.work.lock().expect("nobody panics").runs {
            assert!(begun.elapsed() < Duration::from_secs(120), "it does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn names(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).expect("there");
        let mut names: Vec<_> =
            names.map(|entry| entry.expect("there").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    fn unpacked(path: &Path) -> String {
        let mut text = String::new();
        GzDecoder::new(File::open(path).expect("there")).read_to_string(&mut text).expect("whole");
        text
    }

    #[test]
    fn what_was_put_aside_is_compressed_and_nothing_else_is_touched() {
        let directory = tempfile::tempdir().expect("a directory");
        let archive = Archive::of(&directory.path().join("quorate.log"), COMPRESSES);
        let others = ["quorate.log", "quorate-other.log", "quorate-2001-09-09T01-46-40.000.txt", "x.gz.new"];
        others.iter().for_each(|name| fs::write(directory.path().join(name), "other").expect("written"));
        let text = "a line of the log\n".repeat(1_000);
        for second in 0..3 {
            fs::write(archive.path_at(at(second)), format!("{second} {text}")).expect("written");
            archive.look_through(at(second));
        }
        settle(&archive);
        let mut expected: Vec<String> = others.iter().map(ToString::to_string).collect();
        for second in 0..3 {
            let name = format!("quorate-2001-09-09T01-46-4{second}.000.log.gz");
            let path = directory.path().join(&name);
            assert_eq!(unpacked(&path), format!("{second} {text}"));
            assert!(fs::metadata(&path).expect("there").len() < 1_000, "it is smaller");
            assert!(archive.has(at(second)));
            expected.push(name);
        }
        expected.sort();
        assert_eq!(names(directory.path()), expected);
    }

    #[test]
    fn what_was_left_half_made_is_made_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let archive = Archive::of(&directory.path().join("log"), COMPRESSES);
        let path = |second: u64, more: &str| PathBuf::from(format!("{}{more}", archive.path_at(at(second)).display()));
        // It ended while it compressed; after the name was given; and as etcd's library leaves it.
        for (second, more, half) in [(0, DRAFT, "half"), (1, COMPRESSED, "whole"), (2, COMPRESSED, "\u{1f}half")] {
            fs::write(path(second, ""), format!("lines of {second}\n")).expect("written");
            fs::write(path(second, more), half).expect("written");
        }
        // Its file went, and it ended before the draft did.
        fs::write(path(3, DRAFT), "half").expect("written");
        archive.look_through(at(4));
        settle(&archive);
        for second in 0..3 {
            assert_eq!(unpacked(&path(second, COMPRESSED)), format!("lines of {second}\n"));
        }
        assert_eq!(names(directory.path()).len(), 3, "{:?}", names(directory.path()));
    }

    #[test]
    fn compressed_or_not_the_newest_few_are_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let keep = Keep { max_backups: Some(2), ..COMPRESSES };
        let archive = Archive::of(&directory.path().join("log"), keep);
        for second in 0..3 {
            fs::write(archive.path_at(at(second)), "lines\n").expect("written");
        }
        // The one between is there twice: it is being compressed.
        fs::write(format!("{}{COMPRESSED}", archive.path_at(at(1)).display()), "half").expect("written");
        archive.look_through(at(4));
        settle(&archive);
        let kept = ["log-2001-09-09T01-46-41.000.gz", "log-2001-09-09T01-46-42.000.gz"];
        assert_eq!(names(directory.path()), kept);
    }
}
