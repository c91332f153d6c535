//! Commands that are ended in the middle, by the user or for want of room: what they say, what they leave behind, and that
//! the next try goes through. `defrag` has no middle: the online one is a question, the offline one has nothing to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use prost::Message as _;
use quorate::wire::etcdserverpb as pb;

use crate::full_disk::SmallDisk;
use crate::process::{Home, LIMIT, Server, all, ended, key, put, put_many, running};

/// A data directory of a stopped etcd 3.7.1.
const STOCK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/utl/testdata/etcd-3.7");

/// Attempts to end a command in its middle: it may be done before the signal reaches it.
const ATTEMPTS: u32 = 50;

fn utl(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorateutl"));
    command.args(words).stdin(Stdio::null());
    command
}

fn save(server_port: u16, place: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quoratectl"));
    let endpoint = format!("--endpoints=127.0.0.1:{server_port}");
    command.args([&endpoint, "snapshot", "save"]).arg(place).stdin(Stdio::null());
    command
}

/// The command under a limit of the size of files, in KiB.
fn limited(command: &Command, kib: u32) -> Command {
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("ulimit -f {kib}; exec \"$0\" \"$@\"")]).arg(command.get_program());
    shell.args(command.get_args()).stdin(Stdio::null());
    shell
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// It said why, ended badly, and not by a signal.
fn failed_for(output: &Output, why: &str) {
    let text = text(output);
    assert!(output.status.code().is_some_and(|code| code != 0), "{} {text}", output.status);
    assert!(text.starts_with("Error: ") && text.contains(why), "{text}");
}

fn done(command: &mut Command) {
    let output = ended(command);
    assert!(output.status.success(), "{} {}", output.status, text(&output));
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Begins a command again and again, and sends it `signal` as soon as `draft` is there, until it was in time: its exit code
/// and what it said.
fn ended_in_the_middle(begin: impl Fn() -> Command, draft: &Path, place: &Path, signal: &str) -> (Option<i32>, String) {
    for _ in 0..ATTEMPTS {
        let mut process = running(begin());
        let began = Instant::now();
        while !draft.exists() && !place.exists() {
            assert!(began.elapsed() < LIMIT, "nothing is begun");
            std::thread::sleep(Duration::from_micros(200));
        }
        process.signal(signal);
        let status = process.wait();
        if !status.success() {
            return (status.code(), process.stderr());
        }
        // It was faster.
        let removed = if place.is_dir() { fs::remove_dir_all(place) } else { fs::remove_file(place) };
        removed.unwrap();
    }
    panic!("it was faster {ATTEMPTS} times");
}

/// A server with some megabytes, and a snapshot of it.
async fn filled(home: &Home) -> (Server, PathBuf) {
    let server = home.start();
    let mut kv = server.kv();
    for number in 0..40 {
        put(&mut kv, key(number), "x".repeat(500_000)).await.unwrap();
    }
    let place = home.path().join("whole.db");
    done(&mut save(home.client_port, &place));
    (server, place)
}

/// The same, with what the server holds, and an empty directory to work in.
struct Scene {
    home: Home,
    server: Server,
    snapshot: PathBuf,
    held: u32,
    work: PathBuf,
}

impl Scene {
    async fn set() -> Self {
        let home = Home::new();
        let (server, snapshot) = filled(&home).await;
        let held = digest(&server).await;
        let work = home.path().join("work");
        fs::create_dir(&work).unwrap();
        Self { home, server, snapshot, held, work }
    }
}

fn restore(snapshot: &Path, place: &Path) -> Command {
    let mut command = utl(&["snapshot", "restore"]);
    command.arg(snapshot).arg("--data-dir").arg(place);
    command
}

async fn digest(server: &Server) -> u32 {
    server.maintenance().hash_kv(pb::HashKvRequest::default()).await.unwrap().into_inner().hash
}

/// A server on a directory that was restored has what the snapshot's had.
async fn serves(home: &Home, dir: &Path, expected: u32) {
    let server = home.start_with(&[&format!("--data-dir={}", dir.display())]);
    assert_eq!(digest(&server).await, expected);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_user_ends_leaves_nothing_and_the_next_try_goes_through() {
    let Scene { home, server, snapshot, held, work } = Scene::set().await;

    // A snapshot that is there stays as it is.
    let saved = work.join("saved.db");
    let draft = work.join("saved.db.part");
    for (signal, by) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let (code, text) = ended_in_the_middle(|| save(home.client_port, &saved), &draft, &saved, signal);
        // Before that it may say that the server has not answered yet.
        assert!(code == Some(by) && text.ends_with("Error: stopped: nothing was saved\n"), "{code:?} {text}");
        assert_eq!(names(&work), Vec::<String>::new());
    }
    // Nothing can be done about this one: it leaves its draft, which is in nobody's way.
    let (code, _) = ended_in_the_middle(|| save(home.client_port, &saved), &draft, &saved, "KILL");
    assert_eq!((code, saved.exists()), (None, false));
    done(&mut save(home.client_port, &saved));
    assert_eq!(names(&work), ["saved.db"]);
    fs::remove_file(&saved).unwrap();
    server.stop();

    let place = work.join("data");
    let draft = work.join("data.part/history");
    let urls =
        format!("--initial-cluster=m1=http://127.0.0.1:{0} --initial-advertise-peer-urls=http://127.0.0.1:{0}", 1);
    let restore = || {
        let mut command = restore(&snapshot, &place);
        command.arg("--name=m1").args(urls.split(' '));
        command
    };
    for (signal, by) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let (code, text) = ended_in_the_middle(restore, &draft, &place, signal);
        assert_eq!((code, &text[..]), (Some(by), "Error: interrupted: nothing was made\n"));
        assert_eq!(names(&work), Vec::<String>::new());
    }
    let (code, _) = ended_in_the_middle(restore, &draft, &place, "KILL");
    assert_eq!((code, place.exists()), (None, false));
    // Nor does a server begin on what is left.
    let (code, text) = home.refused(&[&format!("--data-dir={}", work.join("data.part").display())]);
    assert!(code != 0 && text.contains("data.part"), "{code} {text}");
    done(&mut restore());
    assert_eq!(names(&work), ["data"]);
    serves(&home, &place, held).await;
}

fn migrate(from: &Path, place: &Path) -> Command {
    let mut command = utl(&["migrate", "--from-etcd"]);
    command.arg(from).arg("--data-dir").arg(place);
    command
}

/// A record of etcd's log.
#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(uint32, tag = "2")]
    checksum: u32,
    #[prost(bytes = "vec", tag = "3")]
    data: Vec<u8>,
}

/// A snapshot that etcd's log names.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Named {
    #[prost(uint64, tag = "1")]
    index: u64,
    #[prost(uint64, tag = "2")]
    term: u64,
}

/// Adds to a log of etcd that its member was sent a snapshot.
fn name_snapshot(log: &Path, snapshot: Named) {
    let mut bytes = fs::read(log).unwrap();
    let (mut at, mut checksum) = (0, 0);
    while let Some(head) = bytes.get(at..at + 8).map(|head| u64::from_le_bytes(head.try_into().unwrap()))
        && head != 0
    {
        let len = usize::try_from(head & 0x00ff_ffff_ffff_ffff).unwrap();
        checksum = Record::decode(&bytes[at + 8..at + 8 + len]).unwrap().checksum;
        at += (8 + len).next_multiple_of(8);
    }
    bytes.truncate(at);
    let data = snapshot.encode_to_vec();
    let record = Record { kind: 5, checksum: crc32c::crc32c_append(checksum, &data), data }.encode_to_vec();
    let pad = record.len().next_multiple_of(8) - record.len();
    let head = record.len() as u64 | if pad > 0 { (0x80 | pad as u64) << 56 } else { 0 };
    bytes.extend_from_slice(&head.to_le_bytes());
    bytes.extend_from_slice(&record);
    bytes.resize(at + 8 + record.len() + pad + 512, 0);
    fs::write(log, bytes).unwrap();
}

/// A takeover of a stopped etcd's files: of so many that it has a middle, for its member went on here and was saved.
#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_that_is_ended_leaves_nothing_and_the_next_goes_through() {
    let home = Home::new();
    let taken = home.path().join("taken");
    done(&mut migrate(Path::new(STOCK), &taken));
    let server = home.start_with(&[&format!("--data-dir={}", taken.display())]);
    let mut kv = server.kv();
    for number in 0..40 {
        put(&mut kv, key(number), "x".repeat(500_000)).await.unwrap();
    }
    let held = digest(&server).await;
    let from = home.path().join("etcd");
    for sub in ["member/wal", "member/snap"] {
        fs::create_dir_all(from.join(sub)).unwrap();
    }
    done(&mut save(home.client_port, &from.join("member/snap/db")));
    let term = server.maintenance().status(pb::StatusRequest {}).await.unwrap().into_inner().raft_term;
    server.stop();
    let [log] = &names(&Path::new(STOCK).join("member/wal"))[..] else { panic!("it is one file") };
    fs::copy(Path::new(STOCK).join("member/wal").join(log), from.join("member/wal").join(log)).unwrap();
    // The log is of before, and the database of now.
    let refused = text(&ended(&mut migrate(&from, &home.path().join("refused"))));
    assert!(refused.contains("the end of the log is lost"), "{refused}");
    let (_, index) = refused.split_once("its database at entry ").unwrap();
    let index = index.split(':').next().unwrap().parse().unwrap();
    name_snapshot(&from.join("member/wal").join(log), Named { index, term });

    let work = home.path().join("work");
    fs::create_dir(&work).unwrap();
    let (place, draft) = (work.join("data"), work.join("data.part/history"));
    for (signal, by) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let (code, text) = ended_in_the_middle(|| migrate(&from, &place), &draft, &place, signal);
        assert_eq!((code, &text[..]), (Some(by), "Error: interrupted: nothing was made\n"));
        assert_eq!(names(&work), Vec::<String>::new());
    }
    let (code, _) = ended_in_the_middle(|| migrate(&from, &place), &draft, &place, "KILL");
    assert_eq!((code, place.exists()), (None, false));
    let (code, text) = home.refused(&[&format!("--data-dir={}", work.join("data.part").display())]);
    assert!(code != 0 && text.contains("data.part"), "{code} {text}");
    done(&mut migrate(&from, &place));
    assert_eq!(names(&work), ["data"]);
    serves(&home, &place, held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_no_room_for_says_so_and_leaves_nothing() {
    let Scene { home, server, snapshot, held, work } = Scene::set().await;
    let saved = work.join("saved.db");
    fs::write(&saved, "another").unwrap();
    let place = work.join("data");
    let mut restore = restore(&snapshot, &place);
    let mut migrate = migrate(Path::new(STOCK), &place);

    let output = ended(&mut limited(&save(home.client_port, &saved), 3_000));
    failed_for(&output, "could not write snapshot: write ");
    failed_for(&output, "saved.db.part: file too large");
    assert_eq!(fs::read(&saved).unwrap(), b"another", "what was there stays");
    for (command, kib) in [(&restore, 3_000), (&migrate, 1)] {
        let output = ended(&mut limited(command, kib));
        failed_for(&output, "File too large");
        failed_for(&output, &format!("Error: cannot make {}: cannot ", place.display()));
        failed_for(&output, "; nothing was made");
        assert_eq!(names(&work), ["saved.db"]);
    }
    // The limit is gone, and so is what was in the way.
    done(&mut migrate);
    fs::remove_dir_all(&place).unwrap();
    done(&mut restore);
    done(&mut save(home.client_port, &saved));
    assert_eq!(fs::read(&saved).unwrap(), fs::read(&snapshot).unwrap(), "of the same state");
    assert_eq!(names(&work), ["data", "saved.db"]);
    server.stop();
    serves(&home, &place, held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_save_and_restore_and_leaves_nothing() {
    let home = Home::new();
    let Some(disk) = SmallDisk::mount(home.path().join("small"), "4m") else {
        eprintln!("SKIPPED: no right to mount a file system");
        return;
    };
    let (server, snapshot) = filled(&home).await;
    let place = disk.path().join("data");
    let mut restore = restore(&snapshot, &place);
    let mut save = save(home.client_port, &disk.path().join("saved.db"));
    for (command, why) in [(&mut save, "no space left on device"), (&mut restore, "No space left on device")] {
        failed_for(&ended(command), why);
        assert_eq!(names(disk.path()), Vec::<String>::new());
    }
    disk.grow("600m");
    done(&mut save);
    done(&mut restore);
    assert_eq!(names(disk.path()), ["data", "saved.db"]);
    server.stop();
}

/// A mirror that is ended is gone on with by the next one; one whose destination takes no more says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_was_ended_is_made_whole_by_the_next() {
    let (from, to) = (Home::new(), Home::new());
    let (source, destination) = (from.start(), to.start_with(&["--quota-backend-bytes=6000000"]));
    put_many(&source, 0..200).await;
    let mirror = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quoratectl"));
        let (source, destination) =
            (format!("--endpoints=127.0.0.1:{}", from.client_port), format!("127.0.0.1:{}", to.client_port));
        command.args([&source, "make-mirror", "--max-txn-ops=1", &destination]).stdin(Stdio::null());
        running(command)
    };
    let mut first = mirror();
    let began = Instant::now();
    while all(&destination).await.is_empty() {
        assert!(began.elapsed() < LIMIT, "nothing is mirrored");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    first.signal("TERM");
    assert!(!first.wait().success());
    let held = all(&source).await;
    let mut second = mirror();
    let began = Instant::now();
    while all(&destination).await != held {
        assert!(began.elapsed() < LIMIT, "the mirror is not whole");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut kv = source.kv();
    for number in 0..12 {
        put(&mut kv, key(number), "x".repeat(1_000_000)).await.unwrap();
    }
    assert_eq!(second.wait().code(), Some(1));
    assert_eq!(second.stderr(), "Error: etcdserver: mvcc: database space exceeded\n");
    let alarms = destination.maintenance().alarm(pb::AlarmRequest::default()).await.unwrap().into_inner().alarms;
    assert_eq!(alarms.len(), 1, "it says so itself");
    source.stop();
    destination.stop();
}
