//! Data directories are made whole or not at all, and a member starts on them with what the files held.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::arguments::{Given, read};
use super::beside::{Beside, now, run};
use super::failure::Failure;
use super::history::{Build, NEWEST};
use super::site::Site;
use super::source::FileSource;
use super::table::{COMMANDS, GLOBALS};
use super::{hash_kv, import, restore, status};
use crate::backend::Backup;
use crate::bbolt::Database;
use crate::driver::{self, DriverConfig};
use crate::env::{MemoryDisk, TokioDisk, TokioEnv};
use crate::machine::{Command, Image, LeaseImage, Machine, codec};
use crate::mvcc::{HashKv, StoreOptions};
use crate::server::{LogPlace, UNFINISHED};

const STOCK_3_4: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/utl/testdata/etcd-3.4");
const STOCK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/utl/testdata/etcd-3.7");

fn given(words: &[&str], line: &str) -> Given {
    let command = COMMANDS.iter().find(|command| command.words == words).unwrap();
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    read(command, GLOBALS, &words).unwrap()
}

fn restores(line: &str) -> Result<(), Failure> {
    restore::restore(&given(&["snapshot", "restore"], line))
}

/// A snapshot as a client saves it, and the digest of its data.
fn snapshot(dir: &Path) -> (PathBuf, HashKv) {
    let disk = MemoryDisk::new();
    let mut machine = Machine::open(disk, StoreOptions::default(), &Image::default(), &[]).unwrap();
    let mut apply = |command: Command| {
        let index = machine.applied().0 + 1;
        let outcome = machine.apply(index, 2, &codec::encode(index, &command), &|_| false).unwrap();
        assert!(outcome.applied.answer.is_ok());
    };
    apply(Command::LeaseGrant { id: 5, ttl: 100 });
    for number in 0..2000_usize {
        let (key, value) = (format!("key{}", number % 300).into(), vec![b'v'; number % 70].into());
        let lease = i64::from(number % 50 == 0) * 5;
        let (prev_kv, ignore_value, ignore_lease) = (false, false, false);
        apply(Command::Put(crate::machine::Put { key, value, lease, prev_kv, ignore_value, ignore_lease }));
    }
    apply(Command::Compact { revision: 1000, physical: false });
    let mut backup = Backup::measure(&machine.show(), &|| false).unwrap().unwrap();
    let mut bytes = Vec::new();
    while let Some(blob) = backup.next(1 << 16).unwrap() {
        bytes.extend_from_slice(&blob.bytes);
    }
    let path = dir.join("snap.db");
    fs::write(&path, bytes).unwrap();
    (path, machine.store().view().hash_kv(0).unwrap())
}

/// Starts a member on a directory: the digest of its data, and its leases.
fn started(dir: &Path) -> (HashKv, Vec<i64>) {
    started_in(TokioEnv::new(dir.to_path_buf(), 1).unwrap())
}

fn started_in(env: TokioEnv) -> (HashKv, Vec<i64>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let (handle, report) =
            driver::start(env, DriverConfig::alone("elsewhere", "http://localhost:1")).await.unwrap();
        assert!(!report.founded, "it was a member's before");
        while !handle.status().ready {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let digest = handle.view(true).await.unwrap().hash_kv(0).unwrap();
        let leases = handle.leases().await.unwrap();
        handle.stop().await;
        (digest, leases)
    })
}

/// The directory that holds the file has nothing else in it.
fn nothing_beside(file: &Path) -> bool {
    fs::read_dir(file.parent().unwrap()).unwrap().count() == 1
}

#[test]
fn a_member_starts_on_a_restored_snapshot_with_its_data_and_leases() {
    let dir = tempfile::tempdir().unwrap();
    let (file, digest) = snapshot(dir.path());
    let place = dir.path().join("data");
    restores(&format!("{} --data-dir {}", file.display(), place.display())).unwrap();
    assert!(!dir.path().join("data.part").exists());
    assert_eq!(started(&place), (digest, vec![5]));
    let again = restores(&format!("{} --data-dir {}", file.display(), place.display())).unwrap_err();
    assert!(again.text().contains("not empty"), "{}", again.text());
}

/// As etcd, which says that it failed to attach a lease, and serves the key: whose digest counts the lease's number all the same.
#[test]
fn a_key_whose_lease_is_not_there_keeps_its_number_and_the_digest() {
    let dir = tempfile::tempdir().unwrap();
    let (file, digest) = snapshot(dir.path());
    let mut bytes = fs::read(&file).unwrap();
    let lease = |id: u8| [&i64::from(id).to_be_bytes()[..], &[8, id, 16, 100]].concat();
    let at = bytes.windows(12).position(|some| some == lease(5)).unwrap();
    bytes[at..at + 12].copy_from_slice(&lease(4));
    fs::write(&file, bytes).unwrap();
    let place = dir.path().join("data");
    restores(&format!("{} --skip-hash-check --data-dir {}", file.display(), place.display())).unwrap();
    assert_eq!(started(&place), (digest, vec![4]));
    assert_eq!(started(&place), (digest, vec![4]), "of its own checkpoint, too");
    // Of each key the last put counts: six of the last 300 have the lease.
    let loose = |id, at: &str| {
        let (file, disk) = (file.clone(), TokioDisk::open(dir.path().join(at)).unwrap());
        let built = run(move |stop| {
            now(driver::prepare(&disk))?;
            let source = FileSource::open(&file, Duration::ZERO, &stop)?;
            let database = Database::open(source, "snapshot")?;
            let lease = LeaseImage { id, ttl: 100, remaining: 0, granted_at: 0 };
            Build { disk: &disk, database: &database, compacted: 1000, marked: None, stop: &stop }.build(&[lease])
        });
        built.unwrap().loose
    };
    assert_eq!((loose(5, "with"), loose(4, "without")), (0, 6));
}

#[test]
fn a_raised_revision_is_compacted_up_to_there() {
    let dir = tempfile::tempdir().unwrap();
    let (file, digest) = snapshot(dir.path());
    let place = dir.path().join("data");
    let raise = "--bump-revision 1000 --mark-compacted";
    restores(&format!("{} --data-dir {} {raise}", file.display(), place.display())).unwrap();
    let (raised, _) = started(&place);
    let revision = digest.hash_revision + 1000;
    assert_eq!((raised.hash_revision, raised.compact_revision), (revision, revision));
    // Behind the greatest number there is none, and some are to come: that is the number's fault, not the file's.
    let most = i64::MAX - (1 << 50) - digest.hash_revision;
    restores(&format!(
        "{} --data-dir {}/most --bump-revision {most} --mark-compacted",
        file.display(),
        dir.path().display()
    ))
    .unwrap();
    for beyond in [most + 1, i64::MAX - digest.hash_revision, i64::MAX - digest.hash_revision + 1, i64::MAX] {
        let place = dir.path().join("beyond");
        let line = format!("{} --data-dir {}", file.display(), place.display());
        let refused = restores(&format!("{line} --bump-revision {beyond} --mark-compacted")).unwrap_err();
        assert_eq!(refused.text(), "--bump-revision is beyond any revision", "{beyond}");
        assert!(!place.exists());
    }
}

/// Whoever raised it: a member that is to make the number behind the greatest ends.
#[test]
fn data_at_the_end_of_all_revisions_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = snapshot(dir.path());
    for (newest, fits) in [(NEWEST, true), (NEWEST + 1, false)] {
        let (file, place) = (file.clone(), dir.path().join(newest.to_string()));
        let built = run(move |stop| {
            let database = Database::open(FileSource::open(&file, Duration::ZERO, &stop)?, "snap.db")?;
            let beside = Beside::begin(&place, None)?;
            now(driver::prepare(beside.disk()))?;
            let (disk, compacted) = (beside.disk(), newest);
            let build = Build { disk, database: &database, compacted, marked: Some(newest), stop: &stop };
            build.build(&[]).map(|built| built.position.revision())
        });
        let told = built.map_err(|failure| failure.text().to_string());
        let refused = || Err(format!("its revision {newest} leaves none for changes to come"));
        assert_eq!(told, if fits { Ok(newest) } else { refused() });
    }
}

#[test]
fn a_damaged_snapshot_leaves_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = snapshot(dir.path());
    let whole = fs::read(&file).unwrap();
    let line = format!("{} --data-dir {}/data", file.display(), dir.path().display());
    for at in (0..whole.len()).step_by(9_973) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        fs::write(&file, &damaged).unwrap();
        let refused = restores(&line).unwrap_err();
        assert!(refused.text().contains("expected sha256"), "{}", refused.text());
        // Without a look at the digest what comes out is a directory or an error, and nothing half made.
        let place = dir.path().join("data");
        if restores(&format!("{line} --skip-hash-check")).is_ok() {
            fs::remove_dir_all(place).unwrap();
        }
        assert!(nothing_beside(&file), "at {at}");
    }
    for len in [0, 31, 4096, whole.len() - 33, whole.len() - 1] {
        fs::write(&file, &whole[..len]).unwrap();
        assert!(restores(&format!("{line} --skip-hash-check")).is_err() || len > whole.len() - 33, "{len}");
        let _ = fs::remove_dir_all(dir.path().join("data"));
        assert!(restores(&line).is_err());
        assert!(nothing_beside(&file), "cut at {len}");
    }
}

/// As etcdutl: the status looks at every page, and at both meta pages, but not at the digest behind them, which `restore` does.
#[test]
fn a_status_is_of_the_pages_and_not_of_the_digest() {
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = snapshot(dir.path());
    let whole = fs::read(&file).unwrap();
    let told = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        status::status(&given(&["snapshot", "status"], &file.display().to_string()))
    };
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        bytes
    };
    for same in
        [whole.clone(), flipped(whole.len() - 1), whole[..whole.len() - 32].to_vec(), [&whole[..], b"more"].concat()]
    {
        told(&same).unwrap();
    }
    for (bytes, what) in [
        (flipped(0), "page 0 says it is page 64"),
        (flipped(4096), "page 1 says it is page 65"),
        (flipped(4096 + 8), "page 1: it is no meta page, but 0x44"),
        (flipped(2 * 4096 + 8), "page 2: it is neither leaf nor branch"),
        (whole[..whole.len() - 33].to_vec(), "it ends after"),
    ] {
        let refused = told(&bytes).unwrap_err();
        assert!(refused.text().contains(what), "{what}: {}", refused.text());
    }
}

#[test]
fn a_log_is_restored_to_a_place_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (file, digest) = snapshot(dir.path());
    let (place, log) = (dir.path().join("data"), dir.path().join("disk/log"));
    let line = format!("{} --data-dir {} --wal-dir {}", file.display(), place.display(), log.display());
    restores(&line).unwrap();
    assert!(!place.join("wal").exists() && log.join("durable").exists());
    assert!(!dir.path().join("disk/log.part").exists() && !dir.path().join("data.part").exists());
    let at = |wal_dir: &Path| LogPlace::of(&place, wal_dir.to_str().unwrap()).unwrap();
    at(&log).settle().unwrap();
    assert!(at(&dir.path().join("other")).settle().is_err(), "its log is where it was made");
    let env = TokioEnv::new(place.clone(), 1).unwrap().with_elsewhere("wal", log.clone()).unwrap();
    assert_eq!(started_in(env), (digest, vec![5]));

    fs::remove_dir_all(&place).unwrap();
    assert!(restores(&line).unwrap_err().text().ends_with("disk/log\" exists"));
    let within = format!("{} --data-dir {} --wal-dir {1}/log", file.display(), place.display());
    assert!(restores(&within).unwrap_err().text().contains("lie in each other"));
    // By whatever way they are named.
    std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
    for log in ["link/data/log", "data/../data/log", "link/link", "other/../data/log"] {
        let within =
            format!("{} --data-dir {} --wal-dir {}/{log}", file.display(), place.display(), dir.path().display());
        let refused = restores(&within).unwrap_err();
        assert!(
            refused.text().contains("lie in each other") || refused.text().contains("exists"),
            "{}",
            refused.text()
        );
        assert!(!place.exists() && !dir.path().join("other").exists(), "{log}");
    }
    let usual =
        format!("{} --data-dir {} --wal-dir {}/link/data/wal", file.display(), place.display(), dir.path().display());
    restores(&usual).unwrap();
    assert!(place.join("wal/durable").exists(), "it is where it is without the flag");
    fs::remove_dir_all(&place).unwrap();
    // What comes to nothing leaves nothing at either place.
    fs::remove_dir_all(dir.path().join("disk")).unwrap();
    fs::write(&file, &fs::read(&file).unwrap()[..8_192]).unwrap();
    restores(&format!("{line} --skip-hash-check")).unwrap_err();
    assert!(!place.exists() && !log.exists() && !dir.path().join("disk/log.part").exists());
}

#[test]
fn what_is_not_finished_goes() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("data");
    fs::create_dir_all(place.with_extension("part").join("wal")).unwrap();
    fs::write(place.with_extension("part").join("wal/left"), b"by another run").unwrap();
    let refused = Beside::begin(&place, None).err().expect("it may be anybody's");
    assert!(refused.text().contains("is in the way"), "{}", refused.text());
    assert!(place.with_extension("part").join("wal/left").exists());
    fs::write(place.with_extension("part").join(UNFINISHED), b"somebody's").unwrap();
    assert!(Beside::begin(&place, None).is_err(), "the name alone is no mark");
    fs::remove_file(place.with_extension("part").join(UNFINISHED)).unwrap();
    Site::of(&place).begin().unwrap();
    let beside = Beside::begin(&place, None).unwrap();
    assert!(!place.with_extension("part").join("wal").exists(), "what was left is gone");
    assert!(Beside::begin(&place, None).is_err(), "it is this one's alone");
    drop(beside);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let panicked = run(|_| -> Result<(), Failure> { Err(Failure::new(super::failure::Exit::Error, "no")) });
    assert_eq!(panicked.unwrap_err().text(), "no");
}

/// Files of stock etcd 3.7.1, killed with four entries behind its database; the digest is the one it answered with.
#[test]
fn a_stopped_etcd_becomes_the_same_member() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("data");
    let line = format!("--from-etcd {STOCK} --data-dir {}", place.display());
    import::import(&given(&["migrate"], &line)).unwrap();
    let (digest, leases) = started(&place);
    assert_eq!(digest, HashKv { hash: 600_424_632, compact_revision: 6, hash_revision: 15 });
    assert_eq!(leases, [0x717c_a21c_f05f_2e05]);
}

/// Files of etcd 3.4.13, killed with a put behind its database, and with what it says of itself in the words of the version 2 API;
/// the digest is the one it answered with when it was started again.
#[test]
fn a_stopped_etcd_of_3_4_becomes_the_same_member() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("data");
    let line = format!("--from-etcd {STOCK_3_4} --data-dir {}", place.display());
    import::import(&given(&["migrate"], &line)).unwrap();
    let (digest, leases) = started(&place);
    assert_eq!(digest, HashKv { hash: 130_299_245, compact_revision: 6, hash_revision: 13 });
    assert_eq!(leases, [0x0051_a21d_a665_8f0f]);
}

/// A copy of the files of stock etcd, to be changed.
fn copied(dir: &Path) -> (PathBuf, PathBuf) {
    let from = dir.join("etcd");
    let log = "member/wal/0000000000000000-0000000000000000.wal";
    for sub in ["member/wal", "member/snap"] {
        fs::create_dir_all(from.join(sub)).unwrap();
    }
    for file in [log, "member/snap/db"] {
        fs::copy(Path::new(STOCK).join(file), from.join(file)).unwrap();
    }
    let log = from.join(log);
    (from, log)
}

/// A running etcd has its database for itself, and writes to it: what would be read of it is of no one moment.
#[test]
fn no_command_reads_what_etcd_writes_to() {
    let dir = tempfile::tempdir().unwrap();
    let (from, _) = copied(dir.path());
    let (file, place) = (from.join("member/snap/db"), dir.path().join("data"));
    let held = fs::File::open(&file).unwrap();
    held.lock().unwrap();
    let (file, place) = (file.display(), place.display());
    let refused = [
        hash_kv::hash_kv(&given(&["hashkv"], &format!("{file} --timeout 1ms"))),
        status::status(&given(&["snapshot", "status"], &format!("{file} --timeout 1ms"))),
        restores(&format!("{file} --skip-hash-check --data-dir {place} --timeout 1ms")),
        import::import(&given(
            &["migrate"],
            &format!("--from-etcd {} --data-dir {place} --timeout 1ms", from.display()),
        )),
    ];
    for refused in refused {
        assert_eq!(refused.unwrap_err().text(), format!("{file}: it is in use: stop etcd first"));
    }
    assert!(nothing_beside(&from));
}

/// Wherever the log is cut: as whole as the database, or nothing is made.
#[test]
fn a_log_that_ends_before_its_database_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let (from, log) = copied(dir.path());
    let place = dir.path().join("data");
    let line = format!("--from-etcd {} --data-dir {}", from.display(), place.display());
    let whole = fs::read(&log).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let (mut early, mut taken) = (0, 0);
    for len in (8..used).step_by(97).chain([1000, used - 1]) {
        fs::write(&log, &whole[..len]).unwrap();
        match import::import(&given(&["migrate"], &line)) {
            Ok(()) => {
                taken += 1;
                fs::remove_dir_all(&place).unwrap();
            }
            Err(refused) => {
                assert!(refused.text().contains("the end of the log is lost"), "{len}: {}", refused.text());
                assert!(taken == 0 || len == 1000, "{len}: what is shorter was taken");
                early += 1;
            }
        }
        assert!(nothing_beside(&from), "{len}");
    }
    assert!(early > 3 && taken > 0, "{early} {taken}");
    fs::write(&log, &whole[..1000]).unwrap();
    let refused = import::import(&given(&["migrate"], &line)).unwrap_err();
    assert!(refused.text().contains("ends at entry") && refused.text().contains("way 1"), "{}", refused.text());
}

#[test]
fn a_log_of_etcd_may_lie_elsewhere_and_nothing_is_made_where_etcd_is() {
    let dir = tempfile::tempdir().unwrap();
    let (from, log) = copied(dir.path());
    let (place, elsewhere) = (dir.path().join("data"), dir.path().join("log"));
    fs::rename(log.parent().unwrap(), &elsewhere).unwrap();
    let line = format!("--from-etcd {} --data-dir {}", from.display(), place.display());
    let refused = import::import(&given(&["migrate"], &line)).unwrap_err();
    assert!(refused.text().ends_with("name that directory by --from-wal-dir"), "{}", refused.text());
    for within in [from.join("new"), from.join("member/../new"), elsewhere.join("new")] {
        let line = format!("--from-etcd {} --data-dir {}", from.display(), within.display());
        let line = format!("{line} --from-wal-dir {}", elsewhere.display());
        let refused = import::import(&given(&["migrate"], &line)).unwrap_err();
        assert!(refused.text().contains("--data-dir lies in what is read"), "{}", refused.text());
    }
    import::import(&given(&["migrate"], &format!("{line} --from-wal-dir {}", elsewhere.display()))).unwrap();
    let (digest, _) = started(&place);
    assert_eq!(digest, HashKv { hash: 600_424_632, compact_revision: 6, hash_revision: 15 });
}

#[test]
fn a_log_that_does_not_hold_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let (from, log) = copied(dir.path());
    let line = format!("--from-etcd {} --data-dir {}/data", from.display(), dir.path().display());
    let whole = fs::read(&log).unwrap();
    let mut changed = whole.clone();
    changed[900] ^= 1;
    fs::write(&log, changed).unwrap();
    let refused = import::import(&given(&["migrate"], &line)).unwrap_err();
    assert!(refused.text().contains("checksum") || refused.text().contains("cannot be read"), "{}", refused.text());
    // Two with the greatest number of all, which has no next.
    for part in 0..2 {
        fs::write(log.with_file_name(format!("ffffffffffffffff-{part:016x}.wal")), &whole).unwrap();
    }
    fs::remove_file(&log).unwrap();
    let refused = import::import(&given(&["migrate"], &line)).unwrap_err();
    assert!(refused.text().contains("a part of the log behind it is missing"), "{}", refused.text());
    for part in 0..2 {
        fs::remove_file(log.with_file_name(format!("ffffffffffffffff-{part:016x}.wal"))).unwrap();
    }
    let refused = import::import(&given(&["migrate"], &line)).unwrap_err();
    assert!(refused.text().contains("no log"), "{}", refused.text());
    assert!(nothing_beside(&from));
}
