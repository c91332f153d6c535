//! The driver on the real clock: on the real disk, what is acknowledged is there after a restart; on one that fails, the
//! driver ends with the fault and acknowledges nothing after it.

#![cfg(feature = "tokio-env")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use bytes::Bytes;
use quorate::base::{Dice, KeyRange, Refusal, Wrong};
use quorate::driver::{DriverConfig, Handle, start};
use quorate::env::{Env, MemoryDisk, ScramblingDisk, TokioClock, TokioEnv, TokioNet, TokioTasks};
use quorate::machine::{Answer, Command, Put};
use quorate::mvcc::RangeQuery;
use quorate::node::NodeConfig;

fn config() -> DriverConfig {
    let own = DriverConfig::alone("one", "http://localhost:2380");
    DriverConfig { node: NodeConfig { checkpoint_entries: 50, ..own.node }, ..own }
}

async fn open(dir: &std::path::Path) -> (TokioEnv, Handle<TokioEnv>) {
    let env = TokioEnv::new(dir.to_path_buf(), 1).unwrap();
    let (handle, _) = start(env.clone(), config()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(180), until_ready(&handle)).await.expect("a lone member gets ready");
    (env, handle)
}

async fn until_ready<E: Env>(handle: &Handle<E>) {
    while !handle.status().ready {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn writes_survive_restarts_and_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = 0;
    for round in 0..5 {
        let (_env, handle) = open(dir.path()).await;
        assert_eq!(handle.identity().member.to_string(), "8e9e05c52164694d");
        let view = handle.view(true).await.unwrap();
        let found = view.range(&RangeQuery::plain(KeyRange::all())).unwrap();
        assert_eq!(found.count, written, "round {round}");
        for n in 0..70 {
            put(&handle, format!("key-{round}-{n}")).await.unwrap();
            written += 1;
        }
        handle.stop().await;
    }
}

/// The shortest lease is a matter of who proposes it: what was answered holds under other flags, too.
#[tokio::test]
async fn a_lease_stays_as_long_as_it_was_answered_under_other_flags() {
    let dir = tempfile::tempdir().unwrap();
    for (min_lease_ttl, id) in [(15, 1), (2, 2), (30, 3)] {
        let env = TokioEnv::new(dir.path().to_path_buf(), 1).unwrap();
        let (handle, _) = start(env, DriverConfig { min_lease_ttl, ..config() }).await.unwrap();
        tokio::time::timeout(Duration::from_secs(180), until_ready(&handle)).await.expect("a lone member gets ready");
        let granted = handle.propose(Command::LeaseGrant { id, ttl: 1 }).await.unwrap();
        assert_eq!(granted.answer, Answer::LeaseGrant { id, ttl: min_lease_ttl });
        let first = handle.time_to_live(1, false).await.unwrap().expect("it lives");
        assert_eq!(first.granted_ttl, 15);
        handle.stop().await;
    }
}

async fn put<E: Env>(handle: &Handle<E>, key: String) -> Result<(), Refusal> {
    let put = Put { key: key.into(), value: Bytes::from_static(b"value"), ..Put::default() };
    handle.propose(Command::Put(put)).await.map(drop)
}

async fn count<E: Env>(handle: &Handle<E>) -> i64 {
    let view = handle.view(true).await.unwrap();
    view.range(&RangeQuery::plain(KeyRange::all())).unwrap().count
}

/// The real clock and tasks on a disk in memory that fails when it is told to.
#[derive(Clone)]
struct FailingEnv {
    real: TokioEnv,
    disk: ScramblingDisk<MemoryDisk>,
}

impl Env for FailingEnv {
    type Clock = TokioClock;
    type Disk = ScramblingDisk<MemoryDisk>;
    type Net = TokioNet;
    type Tasks = TokioTasks;

    fn clock(&self) -> &TokioClock {
        self.real.clock()
    }

    fn disk(&self) -> &Self::Disk {
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

impl FailingEnv {
    fn new(dir: &std::path::Path, disk: &MemoryDisk) -> Self {
        Self { real: TokioEnv::new(dir.to_path_buf(), 1).unwrap(), disk: ScramblingDisk::new(disk.clone(), 1) }
    }

    async fn open(&self) -> Handle<Self> {
        let (handle, _) = start(self.clone(), config()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(180), until_ready(&handle)).await.expect("a lone member gets ready");
        handle
    }
}

/// Arms the disk, writes until a write is refused, and holds what must be so then and after a restart.
async fn fails_once(arm: impl Fn(&ScramblingDisk<MemoryDisk>), doing: &str) {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::new());
    let env = FailingEnv::new(dir.path(), &disk);
    let handle = env.open().await;
    put(&handle, "before".to_string()).await.unwrap();
    arm(&env.disk);
    let mut acknowledged = 1;
    while put(&handle, format!("key-{acknowledged}")).await.is_ok() {
        acknowledged += 1;
        assert!(acknowledged < 10_000, "the armed fault was never met");
    }
    let wrong = tokio::time::timeout(Duration::from_secs(180), handle.ending().wait()).await.unwrap().unwrap_err();
    assert!(matches!(&*wrong, Wrong::Fault(fault) if fault.doing == doing), "{wrong}");
    for n in 0..20 {
        // The disk works again, and still nothing is promised.
        put(&handle, format!("after-{n}")).await.expect_err("the driver has ended");
    }
    env.real.join(Duration::from_secs(180)).expect("every task ends");
    let handle = FailingEnv::new(dir.path(), &disk).open().await;
    let held = count(&handle).await;
    // The write that was under way is there or not; those after the fault are not.
    assert!(held == acknowledged || held == acknowledged + 1, "{held} held, {acknowledged} acknowledged");
    handle.stop().await;
}

#[tokio::test]
async fn a_failed_sync_or_write_ends_the_driver_and_acknowledges_nothing_more() {
    // Every few calls, so that the log, its mark, the history, a checkpoint and the space made ahead are all met.
    for n in [1, 2, 3, 4, 7, 20, 48, 49, 50, 51, 52, 53, 54, 55, 90] {
        fails_once(|disk| disk.fail_sync(n), "sync").await;
        fails_once(|disk| disk.fail_write(n), "write").await;
    }
}
