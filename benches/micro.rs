//! What the log and the watch hub cost: `cargo bench --bench micro`.
//!
//! Processor time of one thread for work in memory, wall time where a disk is waited for. The store has its own
//! bench, `mvcc`; the whole server is measured beside etcd by `quorate-jepsen bench`.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use quorate::base::{ClusterId, Event, EventKind, KeyRange, KeyValue, MemberId, Shares};
use quorate::env::{Disk, MemoryDisk, TokioDisk, run_ready};
use quorate::machine::{Command, Put, codec};
use quorate::wal::{Batch, EntryKind, HardState, LogEntry, UnrecoveredWal, WalIdentity};
use quorate::watch::{HubBounds, HubNow, SharedEvent, StreamId, WatchHub, WatchSpec};

fn put(n: u64) -> Command {
    let key = Bytes::from(format!("/registry/pods/namespace-00/{n:010}"));
    Command::Put(Put { key, value: Bytes::from(vec![7; 256]), ..Put::default() })
}

/// Nanoseconds this thread was on a processor; wall time where the system does not say.
fn cpu_ns() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let wall = START.get_or_init(Instant::now).elapsed().as_nanos() as u64;
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(wall)
}

fn tell(name: &str, cpu: u64, wall: std::time::Duration, times: u64) {
    let (cpu, wall) = (cpu as f64 / times as f64, wall.as_nanos() as f64 / times as f64);
    println!("{name:<52} {cpu:>10.0} ns of CPU {wall:>12.0} ns");
}

fn each(name: &str, times: u64, per_round: u64, mut round: impl FnMut(u64)) {
    let (cpu, wall) = (cpu_ns(), Instant::now());
    (0..times).for_each(&mut round);
    tell(name, cpu_ns() - cpu, wall.elapsed(), times * per_round);
}

fn batch(first: u64, entries: u64) -> Batch {
    let entries = (first..first + entries)
        .map(|index| LogEntry { index, term: 2, kind: EntryKind::Normal, data: codec::encode(index, &put(index)) })
        .collect();
    Batch { hard_state: Some(HardState { term: 2, vote: 1, commit: first - 1 }), entries }
}

fn log<D: Disk>(name: &str, disk: D, rounds: u64, entries: u64) {
    disk.create_dir("wal").expect("a directory can be made");
    let identity = WalIdentity { cluster: ClusterId(1), member: MemberId(1) };
    let wal = UnrecoveredWal::open(disk, "wal").expect("an empty log opens");
    let mut journal = run_ready(wal.recover(identity, 0)).expect("an empty log recovers").journal;
    let batches: Vec<Batch> = (0..rounds).map(|round| batch(1 + round * entries, entries)).collect();
    each(name, rounds, entries, |round| {
        journal.append(&batches[round as usize]).expect("appended");
        run_ready(journal.sync()).expect("synced");
    });
}

fn watch_fan_out(watchers: u64) {
    let mut hub = WatchHub::new(u64::MAX, 1, HubBounds::default());
    let account = Arc::<Shares>::default().open();
    let buffers: Vec<_> = (0..16).map(|n| hub.open_stream(StreamId(n), Arc::new(|| {}), account.clone())).collect();
    let now = HubNow { revision: 1, compact_revision: -1 };
    let mut cx = Context::from_waker(Waker::noop());
    let mut drain = || {
        for buffer in &buffers {
            while let Poll::Ready(Some(messages)) = buffer.poll_batch(&mut cx) {
                std::hint::black_box(messages);
            }
        }
    };
    for n in 0..watchers {
        let spec = WatchSpec::events(
            KeyRange::from_wire(Bytes::from_static(b"/registry/"), Bytes::from_static(b"/registry0")),
            0,
        );
        hub.create(StreamId(n % 16), spec, now);
        if n % 1_024 == 0 {
            drain();
        }
    }
    drain();
    let rounds = 2_000_000 / watchers.max(1_000);
    each(&format!("one event to {watchers} watchers on 16 streams, each"), rounds, watchers, |round| {
        let revision = round as i64 + 2;
        let kv = KeyValue {
            key: Bytes::from_static(b"/registry/pods/namespace-00/0000000001"),
            value: Bytes::from_static(&[7; 256]),
            create_revision: 2,
            mod_revision: revision,
            version: revision - 1,
            lease: 0,
        };
        hub.apply(revision, &[Arc::new(SharedEvent::new(Event { kind: EventKind::Put, kv, prev_kv: None }))]);
        drain();
    });
}

fn main() {
    each("command to payload", 200_000, 1, |n| {
        std::hint::black_box(codec::encode(n, &put(n)));
    });
    let payload = codec::encode(1, &put(1));
    each("payload to command", 200_000, 1, |_| {
        std::hint::black_box(codec::decode(&payload).expect("it was encoded"));
    });
    log("log in memory, batches of 100, an entry", MemoryDisk::new(), 500, 100);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = |name: &str| TokioDisk::open(dir.path().join(name)).expect("a directory can be made");
    log("log on disk with sync, batches of 1, an entry", disk("one"), 500, 1);
    log("log on disk with sync, batches of 100, an entry", disk("hundred"), 200, 100);
    watch_fan_out(1_000);
    watch_fan_out(10_000);
}
