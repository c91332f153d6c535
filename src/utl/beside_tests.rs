//! A process that is killed anywhere leaves what no server starts on and what another run makes anew.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{Beside, STEPS, Step};
use crate::env::LOCK_FILE;
use crate::server::UNFINISHED;

/// Of a log.
const LOG_PART: &str = "0000000000000001.seg";

/// Where data and log are to be.
struct Places {
    dir: tempfile::TempDir,
    data: PathBuf,
    log: Option<PathBuf>,
}

impl Places {
    fn new(data: &str, has_log: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("there")).unwrap();
        symlink("there", dir.path().join("link")).unwrap();
        let (data, log) = (dir.path().join(data), has_log.then(|| dir.path().join("disk/log")));
        Self { dir, data, log }
    }

    fn begin(&self) -> Beside {
        let beside = Beside::begin(&self.data, self.log.as_deref()).unwrap();
        let log = beside.log.as_ref().map_or(beside.data.draft().join("wal"), |log| log.draft().to_path_buf());
        for (dir, part) in [(&beside.data.draft().join("history"), "part"), (&log, LOG_PART)] {
            assert!(!dir.join(part).exists(), "what was left is gone");
            fs::create_dir_all(dir).unwrap();
            fs::write(dir.join(part), b"of it").unwrap();
        }
        beside
    }

    /// What a kill leaves behind so many steps of the end.
    fn killed_behind(&self, steps: usize) {
        let mut beside = self.begin();
        STEPS[..steps].iter().for_each(|step| beside.take(*step).unwrap());
        beside.lock = None;
        std::mem::forget(beside);
    }

    fn is_whole(&self) -> bool {
        let log = self.log.clone().unwrap_or(self.data.join("wal"));
        self.data.join("history/part").exists() && log.join(LOG_PART).exists() && !log.join(UNFINISHED).exists()
    }

    /// Names of all there is.
    fn names(&self) -> Vec<String> {
        let list =
            |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|it| it.path()).collect::<Vec<_>>();
        let mut names: Vec<String> = [list(self.dir.path()), list(&self.dir.path().join("disk"))]
            .concat()
            .into_iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_kill_at_any_step_leaves_what_no_server_takes_and_another_run_does() {
    for (data, has_log) in
        [("new", false), ("new", true), ("there", false), ("there", true), ("link", false), ("link", true)]
    {
        for steps in 0..=STEPS.len() {
            let places = Places::new(data, has_log);
            places.killed_behind(steps);
            let is_done = steps == STEPS.len();
            let is_there = places.data.join("history").exists();
            assert_eq!(is_there && !places.data.join(UNFINISHED).exists(), is_done, "{data} {steps}");
            if is_done {
                assert!(places.is_whole());
                let refused = Beside::begin(&places.data, places.log.as_deref()).err().expect("in use");
                assert!(refused.text().contains("not empty"), "{}", refused.text());
                continue;
            }
            // Given up or ended, it leaves no trace.
            if steps % 2 == 0 {
                drop(places.begin());
                assert!(!places.names().iter().any(|name| name.ends_with(".part") || name == "log"), "{data} {steps}");
                assert!(!fs::read_dir(&places.data).is_ok_and(|mut found| found.next().is_some()), "{data} {steps}");
            }
            places.begin().keep().unwrap();
            assert!(places.is_whole() && !places.data.join(UNFINISHED).exists(), "{data} {has_log} {steps}");
            assert!(!places.names().iter().any(|name| name.ends_with(".part")), "{:?}", places.names());
            assert!(fs::symlink_metadata(places.dir.path().join("link")).unwrap().is_symlink());
        }
    }
}

#[test]
fn what_a_kill_leaves_at_the_start_is_begun_anew() {
    for data in ["new.part", "there"] {
        let places = Places::new(data, false);
        let place = places.dir.path().join(data.trim_end_matches(".part"));
        fs::create_dir_all(&places.data).unwrap();
        fs::write(places.data.join(LOCK_FILE), b"").unwrap();
        fs::write(places.data.join(UNFINISHED), b"").unwrap();
        Beside::begin(&place, None).unwrap().keep().unwrap();
    }
}

#[test]
fn what_somebody_else_put_there_stays() {
    let places = Places::new("there", true);
    let log = places.log.clone().unwrap();
    let refused = |text: &str| {
        let refused = Beside::begin(&places.data, places.log.as_deref()).err().expect("somebody's");
        assert!(refused.text().contains(text), "{}", refused.text());
    };
    // A file of that name alone is no mark of ours.
    fs::write(places.data.join(UNFINISHED), b"a letter").unwrap();
    refused("not empty");
    fs::remove_file(places.data.join(UNFINISHED)).unwrap();
    // In what was left, too.
    places.killed_behind(1);
    fs::write(places.data.join("letter"), b"dear").unwrap();
    refused("not empty");
    fs::remove_file(places.data.join("letter")).unwrap();
    // The log of another.
    fs::create_dir_all(&log).unwrap();
    fs::write(log.join("part"), b"another's").unwrap();
    refused("exists");
    assert_eq!(fs::read(log.join("part")).unwrap(), b"another's");
    // A link that leads nowhere, and a file.
    for name in ["nowhere", "file"] {
        let place = places.dir.path().join(name);
        if name == "file" {
            fs::write(&place, b"x").unwrap()
        } else {
            symlink("gone", &place).unwrap()
        }
        let text = Beside::begin(&place, None).err().expect("no directory").text().to_string();
        assert!(text.contains("not empty or could not be read"), "{text}");
        assert!(Beside::begin(&places.dir.path().join("free"), Some(&place)).is_err());
    }
    assert_eq!(STEPS.last(), Some(&Step::UnmarkData));
}

/// Whatever was left there has the mark, and is not all there is.
#[test]
fn what_somebody_put_beside_a_log_stays() {
    for data in ["new", "there"] {
        for steps in 0..STEPS.len() {
            let places = Places::new(data, true);
            places.killed_behind(steps);
            let log = places.log.clone().unwrap();
            let found = [log.with_extension("part"), log].into_iter().find(|dir| dir.exists()).unwrap();
            fs::create_dir(found.join("mine")).unwrap();
            fs::write(found.join("mine/letter"), b"dear").unwrap();
            drop(Beside::begin(&places.data, places.log.as_deref()));
            assert_eq!(fs::read(found.join("mine/letter")).unwrap_or_default(), b"dear", "{data} {steps}");
        }
    }
    // What was to be a data directory is no log, though it has the mark.
    let places = Places::new("there", false);
    places.killed_behind(0);
    fs::write(places.data.join("letter"), b"dear").unwrap();
    let refused = Beside::begin(&places.dir.path().join("two"), Some(&places.data)).err().expect("it is no log");
    assert!(refused.text().ends_with("/there\" exists"), "{}", refused.text());
    assert!(places.data.join("letter").exists() && places.data.join("history/part").exists());
}

/// The place of the log cannot be made, or another run has it.
#[test]
fn what_cannot_begin_leaves_nothing() {
    let places = Places::new("new", true);
    let (other, log) = (places.dir.path().join("other"), places.log.clone().unwrap());
    fs::write(places.dir.path().join("file"), b"x").unwrap();
    assert!(Beside::begin(&other, Some(&places.dir.path().join("file/log"))).is_err());
    assert!(!places.names().iter().any(|name| name.starts_with("other")), "{:?}", places.names());
    let held = places.begin();
    for there in [false, true] {
        if there {
            fs::create_dir(&other).unwrap();
        }
        let refused = Beside::begin(&other, Some(&log)).err().expect("it is another's");
        assert!(refused.text().contains("in use"), "{}", refused.text());
        assert_eq!(other.exists(), there);
        assert!(!there || fs::read_dir(&other).unwrap().next().is_none());
        assert!(!places.dir.path().join("other.part").exists());
    }
    held.keep().unwrap();
    assert!(places.is_whole());
}

#[test]
fn a_way_back_makes_nothing_on_its_way() {
    let places = Places::new("gone/../new", false);
    places.begin().keep().unwrap();
    assert!(places.dir.path().join("new/history").exists() && !places.dir.path().join("gone").exists());
}

#[test]
fn what_somebody_puts_there_meanwhile_stays() {
    for data in ["there", "link", "new"] {
        let places = Places::new(data, false);
        let beside = places.begin();
        let dir = beside.data.draft().to_path_buf();
        fs::write(dir.join("letter"), b"dear").unwrap();
        drop(beside);
        assert_eq!(fs::read(dir.join("letter")).unwrap(), b"dear");
        assert!(!dir.join("history").exists() && !dir.join(UNFINISHED).exists(), "{data}");
    }
}

/// A link that was turned, as a disk that was mounted: under the name is another directory.
#[test]
fn another_directory_under_the_name_is_left_alone() {
    for keeps in [false, true] {
        let places = Places::new("link", true);
        let beside = places.begin();
        let other = places.dir.path().join("other");
        fs::create_dir_all(other.join("history")).unwrap();
        fs::write(other.join("history/part"), b"another's").unwrap();
        fs::remove_file(&places.data).unwrap();
        symlink("other", &places.data).unwrap();
        if keeps {
            let refused = beside.keep().expect_err("it is another's");
            assert!(refused.text().contains("another directory"), "{}", refused.text());
        } else {
            drop(beside);
        }
        assert_eq!(fs::read(other.join("history/part")).unwrap(), b"another's");
        assert_eq!(fs::read_dir(&other).unwrap().count(), 1, "nothing came to it");
    }
}
