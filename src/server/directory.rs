//! What is wrong with a data directory before anything of it is read: one of etcd's, one whose log was taken away, one
//! that others may read.
//!
//! Invariants: a directory that is refused is not touched; a missing or empty one is fine. Does not know the formats.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::env::LOCK_FILE;

/// Refuses a directory that holds a store of etcd and none of ours: starting beside it would look like the loss of
/// every key.
pub fn check_foreign(root: &Path) -> Result<(), String> {
    let etcds = root.join("member");
    if root.join("wal").is_dir()
        || root.join(PLACE_NOTE).exists()
        || !(etcds.join("wal").is_dir() || etcds.join("snap").is_dir())
    {
        return Ok(());
    }
    Err(format!(
        "data directory {}: it holds a data directory of etcd (member/), whose files cannot be served from; give another \
         one, or make one of it: quorateutl migrate --from-etcd {0} --data-dir DIR",
        root.display()
    ))
}

/// In a directory that is being made and is not whole yet.
pub const UNFINISHED: &str = "unfinished";

/// Refuses a directory, of data or of a log, that an offline tool began to make and did not finish: a server would begin with a part of
/// the data. Only what is surely not there is not.
pub fn check_finished(dir: &Path) -> Result<(), String> {
    match fs::symlink_metadata(dir.join(UNFINISHED)) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
        _ => Err(format!(
            "{}: a restore or migration was ended before this was whole, and nothing in it is of use: run it again with the \
             same flags, which replaces it, or remove what is in it and begin again",
            dir.display()
        )),
    }
}

/// Where a directory is made that is to stand at `place` and is not there before.
pub fn draft_of(place: &Path) -> PathBuf {
    let mut draft = place.components().collect::<PathBuf>().into_os_string();
    draft.push(".part");
    PathBuf::from(draft)
}

/// Refuses to found a member at a place for which a data directory is being made, or was begun and not finished: whoever began it
/// does not want an empty one.
pub fn check_unmade(root: &Path) -> Result<(), String> {
    let draft = draft_of(root);
    match fs::symlink_metadata(draft.join(UNFINISHED)) {
        // Also a name that is too long to be anybody's.
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename) =>
        {
            return Ok(());
        }
        Err(error) => {
            return Err(format!(
                "data directory {}: whether a restore or migration into it is under way cannot be seen: {}: {error}",
                root.display(),
                draft.display()
            ));
        }
        Ok(_) => {}
    }
    Err(format!(
        "data directory {}: a restore or migration into it is under way, or was ended before it was whole ({}): run it again with \
         the same flags, or remove that directory to begin with an empty store",
        root.display(),
        draft.display()
    ))
}

/// In a data directory: where its log is, if that is elsewhere.
pub const PLACE_NOTE: &str = "wal-dir";

/// Beside a log that lies elsewhere: whose it is.
pub const OWNER_NOTE: &str = "data-dir";

/// Whether a log that lies elsewhere has a part of this name: its segments, its mark, whose it is, and the drafts of the latter.
pub fn is_part_of_log(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let is_number = |stem: &str| stem.len() == 16 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
    matches!(name.strip_suffix(".new").unwrap_or(name), "durable" | OWNER_NOTE)
        || name.strip_suffix(".seg").is_some_and(is_number)
}

/// Whether a member has begun there, wherever its log is.
pub fn holds_member(root: &Path) -> bool {
    root.join("wal/durable").exists() || root.join(PLACE_NOTE).exists()
}

/// Whether a directory has something of a log in it.
pub fn holds_log(dir: &Path) -> bool {
    let mut log = fs::read_dir(dir).into_iter().flatten().flatten();
    log.any(|entry| entry.file_name() == "durable" || entry.path().extension().is_some_and(|e| e == "seg"))
}

/// Whether something of a member is in a data directory, besides its log.
pub fn begun_in(root: &Path) -> bool {
    let is_noted = fs::metadata(root.join(LOCK_FILE)).is_ok_and(|lock| lock.len() > 0);
    let has_files = |dir: &str| fs::read_dir(root.join(dir)).is_ok_and(|mut entries| entries.next().is_some());
    is_noted || has_files("history") || has_files("checkpoint")
}

/// Refuses a directory whose log is gone from `log` although the member had `begun`: it would start as a new one, without what it
/// acknowledged.
pub fn check_log(root: &Path, log: &Path, begun: bool) -> Result<(), String> {
    if !begun || holds_log(log) {
        return Ok(());
    }
    Err(format!(
        "data directory {}: the member has begun, but its log ({}/) is gone; put it back, or remove the directory as a \
         whole and let the member join again",
        root.display(),
        log.strip_prefix(root).unwrap_or(log).display()
    ))
}

/// A warning where others than the owner may enter.
pub fn open_to_others(root: &Path) -> Option<String> {
    let mode = fs::metadata(root).ok()?.mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        let path = root.display();
        format!(
            "directory {path:?} exists, and its permission is {}; the recommended one is drwx------, which keeps the data \
             from others",
            letters(mode)
        )
    })
}

/// As `ls` has it.
fn letters(mode: u32) -> String {
    let of = |bits: u32| {
        let letter = |bit, letter| if bits & bit != 0 { letter } else { '-' };
        [letter(4, 'r'), letter(2, 'w'), letter(1, 'x')]
    };
    ['d'].into_iter().chain(of(mode >> 6)).chain(of(mode >> 3)).chain(of(mode)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_store_of_etcd_is_refused_and_not_touched() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        assert_eq!(check_foreign(&root.join("missing")), Ok(()));
        assert_eq!(check_foreign(root), Ok(()));
        fs::create_dir(root.join("member")).expect("made");
        assert_eq!(check_foreign(root), Ok(()), "a name alone is nobody's");
        fs::create_dir(root.join("member/snap")).expect("made");
        assert!(check_foreign(root).expect_err("etcd's").contains("data directory of etcd"));
        fs::create_dir(root.join("wal")).expect("made");
        assert_eq!(check_foreign(root), Ok(()), "one of ours is there as well");
    }

    #[test]
    fn what_is_not_finished_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        assert_eq!(check_finished(root), Ok(()));
        fs::write(root.join(UNFINISHED), b"").expect("written");
        assert!(check_finished(root).expect_err("a part").contains("begin again"));
    }

    #[test]
    fn nobody_founds_where_a_restore_was_begun() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("data");
        assert_eq!(check_unmade(&root), Ok(()));
        let draft = directory.path().join("data.part");
        fs::create_dir(&draft).expect("made");
        assert_eq!(check_unmade(&root), Ok(()), "somebody else's");
        fs::write(draft.join(UNFINISHED), b"").expect("written");
        for written in [root.clone(), root.join("")] {
            assert!(check_unmade(&written).expect_err("begun").contains("data.part"));
        }
        assert_eq!(check_unmade(&directory.path().join("d".repeat(253))), Ok(()), "nobody made that");
        let loops = directory.path().join("loops.part");
        std::os::unix::fs::symlink(&loops, &loops).expect("linked");
        let told = check_unmade(&directory.path().join("loops")).expect_err("who knows");
        assert!(told.contains("cannot be seen"), "{told}");
    }

    #[test]
    fn a_log_that_was_taken_away_is_missed() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        let log = &root.join("wal");
        assert_eq!(check_log(root, log, false), Ok(()));
        assert!(check_log(root, log, true).expect_err("no log").contains("its log (wal/) is gone"));
        fs::create_dir(root.join("wal")).expect("made");
        assert!(check_log(root, log, true).is_err(), "an empty one is none");
        fs::write(root.join("wal/0000000000000001.seg"), b"x").expect("written");
        assert_eq!(check_log(root, log, true), Ok(()));
    }

    #[test]
    fn of_a_log_is_what_a_member_writes_there() {
        for (name, is_part) in [
            ("0000000000000001.seg", true),
            ("durable", true),
            ("durable.new", true),
            ("data-dir", true),
            ("data-dir.new", true),
            ("letter", false),
            ("letter.seg", false),
            ("new", false),
        ] {
            assert_eq!(is_part_of_log(name.as_ref()), is_part, "{name}");
        }
    }

    #[test]
    fn only_the_owner_should_enter() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        for (mode, letters) in [(0o700, None), (0o755, Some("drwxr-xr-x")), (0o777, Some("drwxrwxrwx"))] {
            fs::set_permissions(root, fs::Permissions::from_mode(mode)).expect("set");
            let told = open_to_others(root);
            assert_eq!(told.is_some(), letters.is_some());
            assert!(told.is_none_or(|text| text.contains(letters.unwrap_or_default())));
        }
    }
}
