//! Three members on real disks and sockets, one of which finds its history damaged at its start, or is told to take the
//! others' state: it has all of it again before it serves anybody. A lone member is refused.

#![cfg(feature = "tokio-env")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use quorate::base::KeyRange;
use quorate::driver::{BootReport, DriverConfig, FoundingMember, Handle, Rebuilds, ScrubPace, start};
use quorate::env::TokioEnv;
use quorate::machine::{Command, Put};
use quorate::mvcc::{RangeQuery, StoreOptions};
use quorate::node::NodeConfig;

const NAMES: [&str; 3] = ["one", "two", "three"];

fn config(name: usize, ports: &[u16]) -> DriverConfig {
    let url = |port: &u16| format!("http://127.0.0.1:{port}");
    let founder = |(name, port): (&&str, &u16)| FoundingMember { name: name.to_string(), peer_urls: vec![url(port)] };
    let own = DriverConfig::new(NAMES[name], NAMES.iter().zip(ports).map(founder).collect());
    DriverConfig {
        listen_peers: vec![format!("127.0.0.1:{}", ports[name])],
        tick: Duration::from_millis(50),
        node: NodeConfig {
            client_urls: vec![format!("http://{}:2379", NAMES[name])],
            election_timeout: Duration::from_millis(500),
            catch_up_entries: 20,
            checkpoint_entries: 30,
            seed: name as u64,
            ..own.node
        },
        ..own
    }
}

async fn open(dir: &Path, config: DriverConfig) -> Result<(Handle<TokioEnv>, BootReport), String> {
    let env = TokioEnv::new(dir.to_path_buf(), 1).unwrap();
    start(env, config).await.map_err(|wrong| wrong.to_string())
}

async fn until_ready(handle: &Handle<TokioEnv>) {
    let ready = async {
        while !handle.status().ready {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ready).await.expect("the member gets ready");
}

async fn put(handle: &Handle<TokioEnv>, n: usize) {
    let put = Put { key: format!("key-{n}").into(), value: Bytes::from_static(b"value"), ..Put::default() };
    handle.propose(Command::Put(put)).await.unwrap();
}

async fn digest(handle: &Handle<TokioEnv>) -> (i64, u32) {
    let view = handle.view(true).await.unwrap();
    (view.range(&RangeQuery::plain(KeyRange::all())).unwrap().count, view.hash_kv(0).unwrap().hash)
}

/// Turns a bit in the middle of the largest file of the history.
fn damage(dir: &Path) {
    let files = std::fs::read_dir(dir.join("history")).unwrap().map(|file| file.unwrap().path());
    let file = files.max_by_key(|file| std::fs::metadata(file).unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = 300.min(bytes.len() / 2);
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_member_takes_the_others_state_and_a_lone_one_is_refused() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let sockets: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
    drop(sockets);
    let mut handles = Vec::new();
    for (n, dir) in dirs.iter().enumerate() {
        handles.push(open(dir.path(), config(n, &ports)).await.unwrap().0);
    }
    for handle in &handles {
        until_ready(handle).await;
    }
    for n in 0..100 {
        put(&handles[n % 3], n).await;
    }
    let third = handles.pop().unwrap();
    tokio::time::timeout(Duration::from_secs(30), async {
        while third.status().checkpoints < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("checkpoints are made");
    third.stop().await;

    damage(dirs[2].path());
    let (third, report) = open(dirs[2].path(), config(2, &ports)).await.unwrap();
    assert!(matches!(report.rebuilds, Some(Rebuilds::Damaged(_))), "{report:?}");
    assert!(!third.status().ready);
    put(&handles[0], 100).await;
    until_ready(&third).await;
    assert_eq!(digest(&third).await, digest(&handles[0]).await);
    assert_eq!(digest(&third).await.0, 101);
    third.stop().await;

    // What it has now is sound; being told to, it takes it once more.
    let told = DriverConfig { rebuild_from_peers: true, ..config(2, &ports) };
    let (third, report) = open(dirs[2].path(), told).await.unwrap();
    assert_eq!(report.rebuilds, Some(Rebuilds::AsTold));
    until_ready(&third).await;
    put(&third, 101).await;
    assert_eq!(digest(&third).await, digest(&handles[1]).await);
    for handle in handles.iter().chain([&third]) {
        handle.stop().await;
    }

    let alone = tempfile::tempdir().unwrap();
    let (lone, _) = open(alone.path(), config(0, &ports[..1])).await.unwrap();
    until_ready(&lone).await;
    for n in 0..100 {
        put(&lone, n).await;
    }
    lone.stop().await;
    let told = DriverConfig { rebuild_from_peers: true, ..config(0, &ports[..1]) };
    let refused = open(alone.path(), told).await.err().expect("nobody has its data");
    assert!(refused.contains("no other member votes"), "{refused}");
    damage(alone.path());
    let refused = open(alone.path(), config(0, &ports[..1])).await.err().expect("nobody has its data");
    assert!(refused.contains("no other member votes, who would have the data"), "{refused}");
}

/// Turns a bit in the first segment of the history, which has an outline: a start does not read it.
fn damage_outlined(dir: &Path) {
    let names = std::fs::read_dir(dir.join("history")).unwrap().map(|file| file.unwrap().path());
    let outline = names.filter(|name| name.extension().is_some_and(|ending| ending == "outline")).min().unwrap();
    let segment = outline.with_extension("seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[300] ^= 1;
    std::fs::write(segment, bytes).unwrap();
}

/// Damage that a start does not see is found while the member serves, by itself or by whoever reads there, and the others'
/// state takes its place, leader or not; meanwhile nobody is given what is damaged.
#[tokio::test]
async fn damage_found_while_serving_is_healed_from_the_others() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let sockets: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
    drop(sockets);
    let scrub = ScrubPace { rest: Duration::from_millis(500), step_bytes: 4096, pause: Duration::from_millis(1) };
    let small = |n: usize| {
        let own = config(n, &ports);
        let store = StoreOptions { segment_bytes: 4096, cache_bytes: 0 };
        DriverConfig { store, scrub: if n == 2 { scrub } else { own.scrub }, ..own }
    };
    let mut handles = Vec::new();
    for (n, dir) in dirs.iter().enumerate() {
        handles.push(open(dir.path(), small(n)).await.unwrap().0);
    }
    for handle in &handles {
        until_ready(handle).await;
    }
    for n in 0..300 {
        put(&handles[n % 3], n).await;
    }
    // At rest checkpoints name the outlines.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let expected = digest(&handles[0]).await;
    for n in [2, 1] {
        handles.remove(n).stop().await;
        damage_outlined(dirs[n].path());
        let (handle, report) = open(dirs[n].path(), small(n)).await.unwrap();
        assert_eq!((report.rebuilds, report.outlines), (None, Vec::new()));
        handles.insert(n, handle);
        let handle = &handles[n];
        let read = || async {
            let view = handle.view(true).await.ok()?;
            view.range(&RangeQuery::plain(KeyRange::all())).ok().map(|answer| answer.count)
        };
        if n == 1 {
            // Nobody scrubs here: a client meets it.
            until_ready(handle).await;
            assert!(handle.view(true).await.is_ok_and(|view| view.hash_kv(0).is_err()));
        }
        let healed = async {
            while !(handle.status().ready && read().await == Some(300)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), healed).await.expect("it is healed");
        assert_eq!(digest(handle).await, expected);
    }
    for handle in &handles {
        assert!(handle.status().alarms.is_empty());
        handle.stop().await;
    }
}
