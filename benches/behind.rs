//! What reading on the node's thread costs those who put: 100 clients that put, alone and beside 100 watchers that begin at the
//! beginning, and beside a compaction of everything:
//! `cargo bench --no-default-features --features tokio-env --bench behind -- <revisions>`.
//!
//! The stretches alone stand between the others in one run, so that a slow minute shows in both. No porch, no network.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::base::{KeyRange, RangeEnd};
use quorate::driver::{DriverConfig, Handle, start};
use quorate::env::TokioEnv;
use quorate::machine::{Command, Put};
use quorate::node::NodeConfig;
use quorate::watch::{WatchMessage, WatchSpec};

const CLIENTS: u64 = 100;
const WATCHERS: usize = 100;
const STRETCH: Duration = Duration::from_secs(5);

fn put(n: u64, keys: u64) -> Command {
    let key = format!("/registry/pods/namespace-{:02}/{:010}", n % 50, n % keys).into();
    Command::Put(Put { key, value: Bytes::from(vec![n as u8; 256]), ..Put::default() })
}

/// Processor time of this process in microseconds.
fn cpu_us() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let times = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    // In hundredths of a second.
    times.filter_map(|word| word.parse::<u64>().ok()).sum::<u64>() * 10_000
}

/// Clients that put until `during` is over; prints what they saw.
async fn stretch(name: &str, handle: &Handle<TokioEnv>, keys: u64, during: impl Future<Output = String>) {
    let over = Arc::new(AtomicBool::new(false));
    let (begun, cpu) = (Instant::now(), cpu_us());
    let clients = (0..CLIENTS).map(|client| {
        let (handle, over) = (handle.clone(), over.clone());
        tokio::spawn(async move {
            let (mut seen, mut n) = (Vec::new(), client);
            while !over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                handle.propose(put(n, keys)).await.expect("written");
                seen.push(asked.elapsed());
                n += CLIENTS;
            }
            seen
        })
    });
    let clients: Vec<_> = clients.collect();
    let said = during.await;
    over.store(true, Ordering::Relaxed);
    let (took, cpu) = (begun.elapsed(), cpu_us() - cpu);
    let mut seen = Vec::new();
    for client in clients {
        seen.extend(client.await.expect("it goes on"));
    }
    seen.sort_unstable();
    let at = |part: usize| seen[(seen.len() - 1) * part / 1000].as_secs_f64() * 1e3;
    println!(
        "{name:<10} {:>7.1} s {:>9} puts {:>8.0} /s   p50 {:>7.2} ms   p99 {:>7.2} ms   worst {:>7.1} ms   {:>6.1} us CPU/put   {said}",
        took.as_secs_f64(),
        seen.len(),
        seen.len() as f64 / took.as_secs_f64(),
        at(500),
        at(990),
        at(1000),
        cpu as f64 / seen.len() as f64,
    );
}

async fn alone() -> String {
    tokio::time::sleep(STRETCH).await;
    String::new()
}

/// Watchers from the beginning of what there is, for a while; how many events they were told.
async fn watched(handle: &Handle<TokioEnv>) -> String {
    let told = Arc::new(AtomicU64::new(0));
    let mut readers = Vec::new();
    // What is not compacted.
    let first = handle.view(true).await.expect("read").compact_revision().max(1);
    for _ in 0..WATCHERS {
        let (stream, reader) = handle.open_watch_stream().await.expect("opened");
        let all = KeyRange { start: Bytes::from_static(b"\0"), end: RangeEnd::Open };
        stream.create(WatchSpec::events(all, first)).expect("asked");
        let told = told.clone();
        readers.push(tokio::spawn(async move {
            let _stream = stream;
            while let Some(batch) = reader.next_batch().await {
                let events = |message: &WatchMessage| match message {
                    WatchMessage::Events { events, .. } => events.len() as u64,
                    _ => 0,
                };
                told.fetch_add(batch.iter().map(events).sum(), Ordering::Relaxed);
            }
        }));
    }
    tokio::time::sleep(STRETCH).await;
    readers.iter().for_each(|reader| reader.abort());
    format!("{} events told", told.load(Ordering::Relaxed))
}

/// A compaction of everything, to its end.
async fn compacted(handle: &Handle<TokioEnv>) -> String {
    let revision = handle.view(true).await.expect("read").revision();
    handle.propose(Command::Compact { revision, physical: true }).await.expect("written");
    handle.compacted(revision).await.expect("done");
    format!("{revision} revisions compacted")
}

async fn measure(revisions: u64) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let own = DriverConfig::alone("one", "http://localhost:2380");
    let config = DriverConfig { node: NodeConfig { quota_bytes: 0, ..own.node }, ..own };
    let env = TokioEnv::new(dir.path().to_path_buf(), 1).expect("the directory opens");
    let (handle, _) = start(env, config).await.expect("it starts");
    while !handle.status().ready {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let keys = revisions / 2;
    for _ in 0..2 {
        let fill = (0..CLIENTS).map(|client| {
            let handle = handle.clone();
            tokio::spawn(async move {
                for n in (client..revisions).step_by(CLIENTS as usize) {
                    handle.propose(put(n, keys)).await.expect("written");
                }
            })
        });
        for client in fill.collect::<Vec<_>>() {
            client.await.expect("it goes on");
        }
        stretch("alone", &handle, keys, alone()).await;
        stretch("watchers", &handle, keys, watched(&handle)).await;
        stretch("alone", &handle, keys, alone()).await;
        stretch("compaction", &handle, keys, compacted(&handle)).await;
        stretch("alone", &handle, keys, alone()).await;
    }
    handle.stop().await;
}

fn main() {
    let revisions = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(1_000_000);
    tokio::runtime::Runtime::new().expect("a runtime").block_on(measure(revisions));
}
