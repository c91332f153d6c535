//! kill -9 at every point: the data directory is copied between two calls of the disk while one writer works, and a driver is
//! started on each copy. Segments and checkpoints are small, so that the copies lie in the middle of changes of segment,
//! checkpoints, releases of the log, compactions and reclaims.
//!
//! Invariant held: what was acknowledged when the copy was taken is there, with its revision, value and history; what was
//! under way is there whole or not at all. Does not cover a loss of power: see the crash tests of the rooms below.

#![cfg(feature = "tokio-env")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use quorate::base::{Dice, Fault, KeyRange};
use quorate::driver::{DriverConfig, Handle, start};
use quorate::env::{Disk, DiskFile, Env, MemoryDisk, MemoryFile, OpenMode, TokioClock, TokioEnv, TokioNet, TokioTasks};
use quorate::machine::{Command, Put};
use quorate::mvcc::{RangeQuery, StoreOptions};
use quorate::node::NodeConfig;

const WAL_SEGMENT_BYTES: u64 = 16 * 1024;
const PUTS: i64 = 240;
const KEYS: i64 = 12;
/// A compaction after every so many puts, to this many revisions back.
const COMPACT_EVERY: i64 = 30;
const COMPACT_BEHIND: i64 = 9;
/// A copy at every so many calls that change something; no divisor of the rhythm above.
const COPY_EVERY: u64 = 3;

/// Whether a member changed anything once it had told its end.
static WROTE_AFTER_ITS_END: AtomicBool = AtomicBool::new(false);

/// What was acknowledged: puts, and the revision compacted to.
#[derive(Default)]
struct Acknowledged {
    puts: AtomicI64,
    compacted: AtomicI64,
}

/// A copy of the tree, and what was acknowledged before it was taken.
struct Copy {
    disk: MemoryDisk,
    puts: i64,
    compacted: i64,
}

#[derive(Default)]
struct Camera {
    calls: u64,
    copies: Vec<Copy>,
}

/// A disk in memory that is copied between two of its changes.
#[derive(Clone)]
struct CopiedDisk {
    disk: MemoryDisk,
    camera: Arc<Mutex<Camera>>,
    acknowledged: Arc<Acknowledged>,
    checkpoint_takes: Duration,
    /// The member that worked on it has ended.
    at_rest: Arc<AtomicBool>,
}

struct CopiedFile {
    file: MemoryFile,
    disk: CopiedDisk,
    is_draft: bool,
}

impl CopiedDisk {
    fn new(disk: MemoryDisk) -> Self {
        let (camera, acknowledged, at_rest) = Default::default();
        Self { disk, camera, acknowledged, checkpoint_takes: Duration::ZERO, at_rest }
    }

    /// A checkpoint takes so long that it is often under way when the member is stopped, and another started behind it.
    fn slow(disk: MemoryDisk) -> Self {
        Self { checkpoint_takes: Duration::from_millis(15), ..Self::new(disk) }
    }

    /// One change at a time, so that a copy is of one moment.
    fn change<T>(&self, change: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        let mut camera = self.camera.lock().unwrap();
        if self.at_rest.load(Ordering::SeqCst) {
            WROTE_AFTER_ITS_END.store(true, Ordering::SeqCst);
        }
        camera.calls += 1;
        if camera.calls.is_multiple_of(COPY_EVERY) {
            let (puts, compacted) = (&self.acknowledged.puts, &self.acknowledged.compacted);
            let (puts, compacted) = (puts.load(Ordering::SeqCst), compacted.load(Ordering::SeqCst));
            camera.copies.push(Copy { disk: self.disk.copy(), puts, compacted });
        }
        change()
    }
}

impl Disk for CopiedDisk {
    type File = CopiedFile;

    fn open(&self, name: &str, mode: OpenMode) -> Result<CopiedFile, Fault> {
        let open = || self.disk.open(name, mode);
        let file = if mode == OpenMode::Create { self.change(open)? } else { open()? };
        Ok(CopiedFile { file, disk: self.clone(), is_draft: name == "checkpoint/draft" })
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, Fault> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &str) -> Result<(), Fault> {
        self.change(|| self.disk.create_dir(dir))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        self.change(|| self.disk.rename(from, to))
    }

    fn remove(&self, name: &str) -> Result<(), Fault> {
        self.change(|| self.disk.remove(name))
    }

    fn exists(&self, name: &str) -> Result<bool, Fault> {
        self.disk.exists(name)
    }

    async fn sync_dir(&self, dir: &str) -> Result<(), Fault> {
        self.disk.sync_dir(dir).await
    }
}

impl DiskFile for CopiedFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Fault> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), Fault> {
        self.disk.change(|| self.file.write_at(offset, data))
    }

    fn len(&self) -> Result<u64, Fault> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> Result<(), Fault> {
        self.disk.change(|| self.file.set_len(len))
    }

    async fn sync(&self) -> Result<(), Fault> {
        if self.is_draft {
            tokio::time::sleep(self.disk.checkpoint_takes).await;
        }
        self.file.sync().await
    }
}

/// The real clock and tasks on such a disk.
#[derive(Clone)]
struct CopiedEnv {
    real: TokioEnv,
    disk: CopiedDisk,
}

impl Env for CopiedEnv {
    type Clock = TokioClock;
    type Disk = CopiedDisk;
    type Net = TokioNet;
    type Tasks = TokioTasks;

    fn clock(&self) -> &TokioClock {
        self.real.clock()
    }

    fn disk(&self) -> &CopiedDisk {
        &self.disk
    }

    fn net(&self) -> &TokioNet {
        self.real.net()
    }

    fn tasks(&self) -> &TokioTasks {
        self.real.tasks()
    }

    fn dice(&self) -> Box<dyn Dice> {
        self.real.dice()
    }
}

fn config() -> DriverConfig {
    let own = DriverConfig::alone("one", "http://localhost:2380");
    DriverConfig {
        wal_segment_bytes: WAL_SEGMENT_BYTES,
        store: StoreOptions { segment_bytes: 4096, cache_bytes: 1024 },
        node: NodeConfig { checkpoint_entries: 20, ..own.node },
        ..own
    }
}

async fn open(real: &TokioEnv, disk: CopiedDisk) -> Handle<CopiedEnv> {
    let env = CopiedEnv { real: real.clone(), disk };
    let (handle, _) = start(env, config()).await.unwrap();
    let until_ready = async {
        while !handle.status().ready {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(180), until_ready).await.is_err() {
        panic!("a lone member gets ready: {:?}, {:?}", handle.ending().now(), handle.status());
    }
    handle
}

async fn close(handle: Handle<CopiedEnv>, disk: &CopiedDisk) {
    handle.stop().await;
    disk.at_rest.store(true, Ordering::SeqCst);
}

fn key(put: i64) -> Bytes {
    // Not in turn: some keys are written over often and some seldom, so that segments die unevenly.
    format!("key-{:02}", put * put % KEYS).into()
}

fn value(put: i64) -> Bytes {
    format!("value of put {put} {}", "x".repeat((put * 37 % 90) as usize)).into()
}

/// Every key after so many puts: its last put.
fn model(puts: i64) -> BTreeMap<Bytes, i64> {
    (1..=puts).map(|put| (key(put), put)).collect()
}

async fn write(handle: &Handle<CopiedEnv>, acknowledged: &Acknowledged, puts: std::ops::RangeInclusive<i64>) {
    for number in puts {
        let put = Put { key: key(number), value: value(number), ..Put::default() };
        handle.propose(Command::Put(put)).await.unwrap();
        acknowledged.puts.store(number, Ordering::SeqCst);
        if number % COMPACT_EVERY == 0 {
            // The first put makes revision 2.
            let revision = number + 1 - COMPACT_BEHIND;
            handle.propose(Command::Compact { revision, physical: true }).await.unwrap();
            acknowledged.compacted.store(revision, Ordering::SeqCst);
        }
    }
}

/// Holds the state at every revision that is not compacted against the model.
async fn judge(handle: &Handle<CopiedEnv>, least_puts: i64, least_compacted: i64) -> i64 {
    let view = handle.view(true).await.unwrap();
    let puts = view.revision() - 1;
    assert!((least_puts..=least_puts + 1).contains(&puts), "{puts} puts are there, {least_puts} were acknowledged");
    // A store that was never compacted says -1.
    let compacted = view.compact_revision().max(0);
    assert!(compacted >= least_compacted, "compacted to {compacted}, {least_compacted} was acknowledged");
    for revision in view.compact_revision().max(1)..=view.revision() {
        let answer = view.range(&RangeQuery { revision, ..RangeQuery::plain(KeyRange::all()) }).unwrap();
        let held: Vec<_> = answer.kvs.iter().map(|kv| (kv.key.clone(), kv.value.clone(), kv.mod_revision)).collect();
        let expected: Vec<_> = model(revision - 1).into_iter().map(|(key, put)| (key, value(put), put + 1)).collect();
        assert_eq!(held, expected, "at revision {revision}");
    }
    puts
}

#[tokio::test(flavor = "multi_thread")]
async fn every_moment_can_be_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let real = TokioEnv::new(dir.path().to_path_buf(), 1).unwrap();
    let disk = CopiedDisk::new(MemoryDisk::new());
    let handle = open(&real, disk.clone()).await;
    write(&handle, &disk.acknowledged, 1..=PUTS).await;
    close(handle, &disk).await;
    let copies = std::mem::take(&mut disk.camera.lock().unwrap().copies);
    assert!(copies.len() > 40, "{} copies", copies.len());
    let has = |copy: &Copy, what: &dyn Fn(&str) -> bool| copy.disk.all_files().iter().any(|file| what(file));
    assert!(copies.iter().any(|copy| has(copy, &|file| file == "checkpoint/draft")), "a copy amid a checkpoint");
    assert!(copies.iter().any(|copy| has(copy, &|file| file.ends_with(".spare"))), "a copy behind a release");
    let mut fallen_back = 0;
    for (number, copy) in copies.into_iter().enumerate() {
        let context = format!("copy {number}: {:?}", copy.disk.all_files());
        let disk = CopiedDisk::new(copy.disk);
        let handle = open(&real, disk.clone()).await;
        eprintln!("{context}");
        let puts = judge(&handle, copy.puts, copy.compacted).await;
        // It goes on from there as if nothing had been, also over a second end.
        write(&handle, &disk.acknowledged, puts + 1..=puts + 40).await;
        let again = disk.camera.lock().unwrap().copies.pop().expect("there were changes");
        close(handle, &disk).await;
        let least = again.puts.max(puts);
        // And over a second fault: the newest checkpoint is damaged after a start from it.
        let (disk, files) = (CopiedDisk::slow(again.disk.clone()), again.disk);
        let handle = open(&real, disk.clone()).await;
        judge(&handle, least, again.compacted).await;
        close(handle, &disk).await;
        let images: Vec<String> = files.all_files().into_iter().filter(|file| file.ends_with(".image")).collect();
        if let [_, newest] = &images[..] {
            files.open(newest, OpenMode::Write).unwrap().write_at(9, b"\xa5\xa5\xa5\xa5").unwrap();
            fallen_back += 1;
            let disk = CopiedDisk::slow(files);
            let handle = open(&real, disk.clone()).await;
            judge(&handle, least, again.compacted).await;
            close(handle, &disk).await;
        }
    }
    assert!(fallen_back > 5, "{fallen_back} starts from the older checkpoint");
    assert!(!WROTE_AFTER_ITS_END.load(Ordering::SeqCst), "nothing writes in a directory whose member has ended");
    real.join(Duration::from_secs(180)).expect("every task ends");
}
