//! Where a member's log is: in its data directory, or at a place of its own (`--wal-dir`), perhaps on another disk.
//!
//! Invariants: a data directory and the place of its log name each other, by a token that no others have, before the log
//! comes into being; from then on neither is used without the other. So a place that is not mounted, is another's or was left out
//! of the flags is noticed, and never begun in anew: that would forget votes. Does not know what is in a log.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::env::{TokioEnv, entropy_seed};
use crate::server::directory::{OWNER_NOTE, PLACE_NOTE, begun_in, holds_log};

/// The log's directory where nothing else is said, and its name on the disk.
pub const LOG: &str = "wal";

/// What both notes begin with.
const NOTE_HEAD: &str = "a member's log lies apart from its data\n";

/// A note is read up to here: longer than any path.
const NOTE_BYTES: usize = 8 * 1024;

/// The data directory and the place of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogPlace {
    root: PathBuf,
    /// `None` is in the data directory.
    elsewhere: Option<PathBuf>,
}

/// What one of the two says.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Note {
    token: String,
    path: PathBuf,
}

/// What is noted in a directory, if anything can be read.
fn noted(file: &Path) -> Result<Option<Note>, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let text = match fs::read(file) {
        Ok(bytes) => String::from_utf8_lossy(&bytes[..bytes.len().min(NOTE_BYTES)]).into_owned(),
        // What is no directory is refused by who enters it.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(wrong(&error)),
    };
    let lines = text.strip_prefix(NOTE_HEAD).and_then(|rest| rest.split_once('\n'));
    let Some((token, path)) = lines.filter(|(token, path)| !token.is_empty() && !path.trim_end().is_empty()) else {
        return Err(wrong(
            &"it does not say where a member's log is, or whose: a title, the token that both places have in their second line, and a path",
        ));
    };
    Ok(Some(Note { token: token.to_string(), path: PathBuf::from(path.trim_end()) }))
}

/// Writes a note, whole or not at all, and durably.
fn note(dir: &Path, name: &str, note: &Note) -> Result<(), String> {
    let draft = dir.join(format!("{name}.new"));
    let write = || {
        let mut file = File::create(&draft)?;
        file.write_all(format!("{NOTE_HEAD}{}\n{}\n", note.token, note.path.display()).as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, dir.join(name))?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|error| format!("write {}: {error}", dir.join(name).display()))
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Whether two paths lead to one place, as far as that can be seen.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other || matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

/// Has the two name each other. `root` and `place` are where they are, `to_be` where they will be.
pub fn marry(root: &Path, place: &Path, to_be: (&Path, &Path)) -> Result<(), String> {
    let token = format!("{:016x}{:016x}", entropy_seed(), entropy_seed());
    // The place first: until the data directory names it, it is nobody's.
    note(place, OWNER_NOTE, &Note { token: token.clone(), path: absolute(to_be.0)? })?;
    note(root, PLACE_NOTE, &Note { token, path: absolute(to_be.1)? })
}

/// Whether the two name each other.
pub fn are_married(root: &Path, place: &Path) -> bool {
    match (noted(&root.join(PLACE_NOTE)), noted(&place.join(OWNER_NOTE))) {
        (Ok(Some(of_root)), Ok(Some(of_place))) => of_root.token == of_place.token,
        _ => false,
    }
}

impl LogPlace {
    /// Where the flags put it; the empty text and `wal` in the data directory are one.
    pub fn of(root: &Path, wal_dir: &str) -> Result<Self, String> {
        let own = absolute(&root.join(LOG))?;
        let elsewhere = if wal_dir.is_empty() { None } else { Some(absolute(Path::new(wal_dir))?) };
        let elsewhere = elsewhere.filter(|place| !is_same(place, &own));
        if let Some(place) = &elsewhere {
            let root = absolute(root)?;
            let taken = [root.clone(), root.join("history"), root.join("checkpoint")];
            if taken.iter().any(|taken| is_same(taken, place)) {
                return Err(format!("--wal-dir={wal_dir} is no place for a log: the data directory has it already"));
            }
        }
        Ok(Self { root: root.to_path_buf(), elsewhere })
    }

    /// The log's directory.
    pub fn dir(&self) -> PathBuf {
        self.elsewhere.clone().unwrap_or_else(|| self.root.join(LOG))
    }

    /// Whether a member has begun.
    pub fn holds_member(&self) -> bool {
        self.dir().join("durable").exists()
    }

    /// The world whose disk has the log at its place.
    pub fn on(&self, env: TokioEnv) -> Result<TokioEnv, String> {
        match &self.elsewhere {
            None => Ok(env),
            Some(place) => env.with_elsewhere(LOG, place.clone()).map_err(|fault| format!("--wal-dir: {fault}")),
        }
    }

    /// Refuses a data directory and a place that do not belong together. Nothing is touched.
    pub fn check(&self) -> Result<(), String> {
        let of_root = noted(&self.root.join(PLACE_NOTE))?;
        let root = self.root.display();
        let Some(place) = &self.elsewhere else {
            let Some(Note { path, .. }) = of_root else { return Ok(()) };
            let path = path.display();
            return Err(format!("data directory {root}: its log lies in {path}: start with --wal-dir={path}"));
        };
        let shown = place.display();
        let own = self.root.join(LOG);
        if holds_log(&own) {
            let own = own.display();
            return Err(format!(
                "--wal-dir={shown}: the log of data directory {root} lies in {own}: leave the flag out, or stop the member and \
                 move what is in {own} there"
            ));
        }
        if holds_etcds(place) {
            return Err(format!("--wal-dir={shown}: a log of etcd is there, which cannot be served from"));
        }
        let of_place = noted(&place.join(OWNER_NOTE))?;
        match of_root {
            Some(noted) if !is_same(&noted.path, place) => {
                let path = noted.path.display();
                let note = self.root.join(PLACE_NOTE);
                Err(format!(
                    "--wal-dir={shown}: the log of data directory {root} lies in {path}: start with --wal-dir={path}; if all of \
                     it was moved, write the new place into the third line of {}",
                    note.display()
                ))
            }
            Some(noted) if of_place.as_ref().map(|note| &note.token) != Some(&noted.token) => Err(format!(
                "--wal-dir={shown}: what is there is not the log of data directory {root}, although it was: is its disk \
                 mounted? Without its log a member would forget whom it voted for; put it back, or remove both and let the member \
                 join again"
            )),
            Some(_) => Ok(()),
            None => self.check_first(place, of_place.as_ref()),
        }
    }

    /// The same where the data directory names no place yet.
    fn check_first(&self, place: &Path, of_place: Option<&Note>) -> Result<(), String> {
        let (root, shown) = (self.root.display(), place.display());
        match (holds_log(place), begun_in(&self.root), of_place) {
            (false, false, _) => Ok(()),
            (false, true, _) => Err(format!(
                "--wal-dir={shown}: a member has begun in data directory {root}, and its log is neither there nor in {shown}; put \
                 it back, or remove the directory as a whole and let the member join again"
            )),
            (true, _, Some(owner)) => Err(format!(
                "--wal-dir={shown}: the log there is that of data directory {}; if it was moved from there to {root}, remove {}",
                owner.path.display(),
                place.join(OWNER_NOTE).display()
            )),
            (true, false, None) => Err(format!(
                "--wal-dir={shown}: there is a log, but data directory {root} has nothing of its member: name the data directory \
                 it belongs to, or remove the log and let the member join again"
            )),
            // Somebody moved the log there.
            (true, true, None) => Ok(()),
        }
    }

    /// Has the two name each other where they do not yet. To be called once both are locked, before anything begins.
    pub fn settle(&self) -> Result<(), String> {
        self.check()?;
        match &self.elsewhere {
            Some(place) if noted(&self.root.join(PLACE_NOTE))?.is_none() => {
                marry(&self.root, place, (&self.root, place))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a directory has segments of etcd's log.
fn holds_etcds(dir: &Path) -> bool {
    let mut entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.any(|entry| entry.path().extension().is_some_and(|extension| extension == "wal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data directory and a place, and what is done to them.
    struct Member {
        _dir: tempfile::TempDir,
        root: PathBuf,
        place: PathBuf,
    }

    impl Member {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("made");
            let (root, place) = (dir.path().join("data"), dir.path().join("log"));
            for dir in [&root, &place] {
                fs::create_dir(dir).expect("made");
            }
            Self { _dir: dir, root, place }
        }

        fn at(&self, place: &Path) -> LogPlace {
            LogPlace::of(&self.root, place.to_str().expect("a text")).expect("a place")
        }

        fn check(&self) -> Result<(), String> {
            self.at(&self.place).check()
        }

        /// As a first start leaves it.
        fn begun() -> Self {
            let member = Self::new();
            member.at(&member.place).settle().expect("nothing is there");
            log_in(&member.place);
            fs::write(member.root.join("LOCK"), "begun").expect("written");
            member
        }
    }

    fn log_in(dir: &Path) {
        fs::create_dir_all(dir).expect("made");
        fs::write(dir.join("durable"), "x").expect("written");
    }

    #[track_caller]
    fn refused(checked: Result<(), String>, words: &str) {
        let text = checked.expect_err(words);
        assert!(text.contains(words) && !text.contains('\n'), "{text}");
    }

    #[test]
    fn a_member_begins_and_goes_on_where_it_began() {
        let member = Member::begun();
        let place = member.at(&member.place);
        assert!(place.holds_member());
        place.settle().expect("again");
        // By another way to the same place.
        let link = member.root.with_extension("link");
        std::os::unix::fs::symlink(&member.place, &link).expect("made");
        member.at(&link).settle().expect("the same");
    }

    #[test]
    fn the_place_in_the_data_directory_is_none_of_its_own() {
        let member = Member::new();
        assert_eq!(member.at(&member.root.join("wal")), LogPlace::of(&member.root, "").expect("the default"));
        for wrong in ["", "history", "checkpoint", "../data"] {
            let place = member.root.join(wrong);
            let text = LogPlace::of(&member.root, place.to_str().expect("a text")).expect_err("taken");
            assert!(text.contains("no place for a log"), "{text}");
        }
    }

    #[test]
    fn a_flag_that_is_left_out_or_names_another_place_is_refused() {
        let member = Member::begun();
        let shown = member.place.display().to_string();
        refused(LogPlace::of(&member.root, "").expect("a place").check(), &format!("start with --wal-dir={shown}"));
        let other = member.root.with_extension("other");
        refused(member.at(&other).check(), &format!("lies in {shown}"));
        // It was moved as a whole, and whoever did says so.
        fs::rename(&member.place, &other).expect("moved");
        refused(member.at(&other).check(), "write the new place into");
        let note = member.root.join(PLACE_NOTE);
        let text = fs::read_to_string(&note).expect("there").replace(&shown, other.to_str().expect("a text"));
        fs::write(note, text).expect("written");
        member.at(&other).settle().expect("moved");
    }

    #[test]
    fn a_place_that_is_not_mounted_is_not_begun_in_anew() {
        let member = Member::begun();
        let away = member.place.with_extension("away");
        fs::rename(&member.place, &away).expect("unmounted");
        refused(member.check(), "is its disk mounted?");
        fs::create_dir(&member.place).expect("made");
        refused(member.check(), "is its disk mounted?");
        // Nor with another member's log in it.
        log_in(&member.place);
        refused(member.check(), "is its disk mounted?");
        let other = Member::begun();
        let swapped = fs::read(other.place.join(OWNER_NOTE)).expect("there");
        fs::write(member.place.join(OWNER_NOTE), swapped).expect("written");
        refused(member.check(), "is its disk mounted?");
    }

    #[test]
    fn a_log_without_its_data_and_data_without_a_log_are_refused() {
        let member = Member::begun();
        let fresh = Member::new();
        refused(fresh.at(&member.place).check(), "is that of data directory");
        fs::remove_file(member.place.join(OWNER_NOTE)).expect("there");
        refused(fresh.at(&member.place).check(), "nothing of its member");
        fs::remove_file(member.root.join(PLACE_NOTE)).expect("there");
        refused(member.at(&fresh.place).check(), "neither there nor in");
        fs::write(fresh.place.join("0000000000000000-0000000000000000.wal"), "x").expect("written");
        refused(fresh.check(), "a log of etcd");
    }

    #[test]
    fn a_log_is_moved_out_of_the_data_directory_by_hand() {
        let member = Member::new();
        log_in(&member.root.join("wal"));
        fs::write(member.root.join("LOCK"), "begun").expect("written");
        refused(member.check(), "leave the flag out");
        fs::remove_dir(&member.place).expect("empty");
        fs::rename(member.root.join("wal"), &member.place).expect("moved");
        member.at(&member.place).settle().expect("it has begun, and here is its log");
        refused(LogPlace::of(&member.root, "").expect("a place").check(), "start with --wal-dir");
    }

    #[test]
    fn a_note_that_cannot_be_read_is_refused() {
        let member = Member::begun();
        for text in ["", "x", NOTE_HEAD, "a member's log lies apart from its data\ntoken\n"] {
            fs::write(member.root.join(PLACE_NOTE), text).expect("written");
            refused(member.check(), "does not say");
        }
    }

    #[test]
    fn a_first_start_that_was_ended_between_the_notes_begins_again() {
        let member = Member::new();
        note(&member.place, OWNER_NOTE, &Note { token: "t".to_string(), path: member.root.clone() }).expect("noted");
        member.at(&member.place).settle().expect("nothing has begun");
        member.at(&member.place).settle().expect("they name each other");
    }
}
