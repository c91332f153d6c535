//! How long a member takes from its start until it is ready, and what it holds then, on a data directory of many values:
//! `cargo bench --no-default-features --features tokio-env --bench boot -- <keys> <bytes of a value>`.
//!
//! Each start is a process of its own, on files whose pages were dropped from memory or not, once by outlines and once reading
//! everything, as every start did before there were outlines: so the two stand beside each other in one run.
//!
//! To hold two builds beside each other on the same data: `-- fill <directory> <keys> <bytes>` with one, then
//! `-- start <directory>` with each in turn.

use std::path::Path;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::driver::{DriverConfig, Handle, start};
use quorate::env::TokioEnv;
use quorate::machine::{Command, Put};
use quorate::node::NodeConfig;

/// Puts under way at once.
const AT_ONCE: u64 = 100;

fn config() -> DriverConfig {
    let own = DriverConfig::alone("one", "http://localhost:2380");
    DriverConfig { node: NodeConfig { quota_bytes: 0, ..own.node }, ..own }
}

async fn open(dir: &Path) -> Handle<TokioEnv> {
    let env = TokioEnv::new(dir.to_path_buf(), 1).expect("the directory opens");
    let (handle, _) = start(env, config()).await.expect("it starts");
    while !handle.status().ready {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    handle
}

async fn fill(dir: &Path, keys: u64, value_bytes: usize) {
    let handle = open(dir).await;
    let workers = (0..AT_ONCE).map(|worker| {
        let handle = handle.clone();
        tokio::spawn(async move {
            for n in (worker..keys).step_by(AT_ONCE as usize) {
                let key = format!("/registry/pods/namespace-{:02}/{n:010}", n % 50).into();
                let value = Bytes::from(vec![n as u8; value_bytes]);
                handle.propose(Command::Put(Put { key, value, ..Put::default() })).await.expect("written");
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.expect("it goes on");
    }
    // At rest the last outlines are named.
    tokio::time::sleep(Duration::from_secs(5)).await;
    handle.stop().await;
}

/// Writes back, and drops from memory what the system holds of all files.
fn drop_pages(dir: &Path) {
    for entry in std::fs::read_dir(dir).expect("listed") {
        let path = entry.expect("listed").path();
        if path.is_dir() {
            drop_pages(&path);
        } else {
            let file = std::fs::File::open(&path).expect("opened");
            file.sync_all().expect("synced");
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advised");
        }
    }
}

/// What a child says: milliseconds until ready, and the most memory it held.
fn start_once(dir: &Path, cold: bool, whole: bool) {
    if whole {
        std::fs::write(dir.join("recheck"), b"").expect("noted");
    }
    if cold {
        drop_pages(dir);
    }
    let program = std::env::current_exe().expect("known");
    let said = Process::new(program).arg("start").arg(dir).output().expect("it runs");
    let what = if whole { "everything read" } else { "outlines read" };
    print!("{what:<16} {:<5} {}", if cold { "cold" } else { "warm" }, String::from_utf8_lossy(&said.stdout));
}

async fn started(dir: &Path) {
    let begun = Instant::now();
    let handle = open(dir).await;
    let took = begun.elapsed();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("?").trim().to_string();
    println!("{:>8} ms {peak:>14} at most", took.as_millis());
    handle.stop().await;
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if let [word, dir] = &arguments[..]
        && word == "start"
    {
        return runtime.block_on(started(Path::new(dir)));
    }
    let number = |at: usize, usual: u64| arguments.get(at).and_then(|word| word.parse().ok()).unwrap_or(usual);
    if let [word, dir, _, _] = &arguments[..]
        && word == "fill"
    {
        return runtime.block_on(fill(Path::new(dir), number(2, 0), number(3, 0) as usize));
    }
    let (keys, value_bytes) = (number(0, 100_000), number(1, 256));
    let dir = tempfile::tempdir().expect("a temporary directory");
    runtime.block_on(fill(dir.path(), keys, value_bytes as usize));
    println!("{keys} keys of 38 bytes with values of {value_bytes}");
    for _ in 0..3 {
        for (cold, whole) in [(true, false), (false, false), (true, true), (false, true)] {
            start_once(dir.path(), cold, whole);
            if whole {
                // It made its outlines anew: another start lets a checkpoint name them.
                runtime.block_on(async {
                    let handle = open(dir.path()).await;
                    while handle.status().checkpoints == 0 {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    handle.stop().await;
                });
            }
        }
    }
}
