//! Three members on real disks and sockets, of which one is started on an older copy of its directory, or on an empty one:
//! it takes no part in an election before it has again what it promised.

#![cfg(feature = "tokio-env")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use quorate::base::{KeyRange, limits};
use quorate::driver::{DriverConfig, FoundingMember, Handle, check_not_begun, find_cluster, start};
use quorate::env::TokioEnv;
use quorate::machine::{Command, Put};
use quorate::mvcc::RangeQuery;
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
            catch_up_entries: 1_000,
            checkpoint_entries: 30,
            seed: name as u64,
            ..own.node
        },
        ..own
    }
}

fn world(dir: &Path) -> TokioEnv {
    TokioEnv::new(dir.to_path_buf(), 1).unwrap()
}

async fn open(dir: &Path, config: DriverConfig) -> Handle<TokioEnv> {
    start(world(dir), config).await.unwrap().0
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let holds = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), holds).await.expect(what);
}

async fn until_ready(handle: &Handle<TokioEnv>) {
    until("the member gets ready", || handle.status().ready).await;
}

async fn put(handle: &Handle<TokioEnv>, n: usize) {
    let put = Put { key: format!("key-{n}").into(), value: Bytes::from_static(b"value"), ..Put::default() };
    handle.propose(Command::Put(put)).await.unwrap();
}

async fn count(handle: &Handle<TokioEnv>) -> i64 {
    let view = handle.view(true).await.unwrap();
    view.range(&RangeQuery::plain(KeyRange::all())).unwrap().count
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let to = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &to);
        } else {
            fs::copy(file.path(), to).unwrap();
        }
    }
}

fn put_back(copied: &Path, dir: &Path) {
    fs::remove_dir_all(dir).unwrap();
    copy(copied, dir);
}

#[tokio::test]
async fn a_member_on_an_older_copy_waits_for_a_leader_that_the_others_elect() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let copied = tempfile::tempdir().unwrap();
    let sockets: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
    drop(sockets);
    let mut members = Vec::new();
    for (n, dir) in dirs.iter().enumerate() {
        members.push(open(dir.path(), config(n, &ports)).await);
    }
    for member in &members {
        until_ready(member).await;
    }
    put(&members[0], 0).await;
    let leader = members.iter().position(|member| member.status().is_leader).unwrap();
    let (old, third) = ((leader + 1) % 3, (leader + 2) % 3);
    members[old].stop().await;
    copy(dirs[old].path(), copied.path());
    members[old] = open(dirs[old].path(), config(old, &ports)).await;
    until("it has what it promised", || !members[old].facts().doubts()).await;
    for n in 1..100 {
        put(&members[leader], n).await;
    }
    let end = members[leader].facts().log_end();
    until("all have all", || members.iter().all(|member| member.facts().log_end() >= end)).await;

    // While the leader lives it sends what is missing.
    members[old].stop().await;
    put_back(copied.path(), dirs[old].path());
    members[old] = open(dirs[old].path(), config(old, &ports)).await;
    assert!(members[old].facts().doubts());
    until("it has again what it promised", || !members[old].facts().doubts()).await;
    assert_eq!(count(&members[old]).await, 100);

    // With the leader away the third remembers, and the two elect nobody.
    tokio::time::sleep(Duration::from_millis(3 * limits::REMEMBER_TELL_MS)).await;
    members[old].stop().await;
    put_back(copied.path(), dirs[old].path());
    members[leader].stop().await;
    // It handed over to the third, who finds no majority.
    until("nobody leads", || !members[third].status().is_leader && members[third].status().leader.is_none()).await;
    members[old] = open(dirs[old].path(), config(old, &ports)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!members[third].status().is_leader && !members[old].status().is_leader);
    members[leader] = open(dirs[leader].path(), config(leader, &ports)).await;
    for member in &members {
        until_ready(member).await;
    }
    until("it has again what it promised", || !members[old].facts().doubts()).await;
    assert_eq!(count(&members[old]).await, 100);

    // An empty directory is refused, whatever the flags say of the cluster.
    members[old].stop().await;
    let empty = tempfile::tempdir().unwrap();
    let existing = find_cluster(&world(empty.path()), &config(old, &ports)).await.unwrap_err();
    let new = check_not_begun(&world(empty.path()), &config(old, &ports)).await.unwrap_err();
    assert!(existing.contains("quoratectl member remove") && new == existing, "{existing} {new}");
    for n in [leader, third] {
        members[n].stop().await;
    }
}

#[tokio::test]
async fn one_that_has_promised_something_is_refused_though_it_never_said_where_clients_reach_it() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let sockets: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
    drop(sockets);
    let silent = |n: usize| {
        let config = config(n, &ports);
        DriverConfig { node: NodeConfig { client_urls: Vec::new(), ..config.node.clone() }, ..config }
    };
    check_not_begun(&world(dirs[0].path()), &silent(0)).await.unwrap();
    let mut members = Vec::new();
    for (n, dir) in dirs.iter().enumerate() {
        members.push(open(dir.path(), silent(n)).await);
    }
    for member in &members {
        until_ready(member).await;
    }
    put(&members[0], 0).await;
    let old = members.iter().position(|member| !member.status().is_leader).unwrap();
    members.remove(old).stop().await;
    let empty = tempfile::tempdir().unwrap();
    let existing = find_cluster(&world(empty.path()), &silent(old)).await.unwrap_err();
    let new = check_not_begun(&world(empty.path()), &silent(old)).await.unwrap_err();
    assert!(existing.contains("already been bootstrapped") && new == existing, "{existing} {new}");
    for member in members {
        member.stop().await;
    }
}

#[tokio::test]
async fn members_on_copies_of_different_ages_say_so_and_elect_nobody() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let copies: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let sockets: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
    drop(sockets);
    let start_all = async || {
        let mut members = Vec::new();
        for (n, dir) in dirs.iter().enumerate() {
            members.push(open(dir.path(), config(n, &ports)).await);
        }
        members
    };
    let members = start_all().await;
    for member in &members {
        until_ready(member).await;
    }
    put(&members[0], 0).await;
    for member in &members {
        member.stop().await;
    }
    for (dir, to) in dirs.iter().zip(&copies) {
        copy(dir.path(), to.path());
    }
    let members = start_all().await;
    for member in &members {
        until_ready(member).await;
    }
    for n in 1..100 {
        put(&members[n % 3], n).await;
    }
    // What they remember of each other is kept now and then.
    tokio::time::sleep(Duration::from_millis(2 * limits::REMEMBER_KEEP_MS)).await;
    for member in &members {
        member.stop().await;
    }

    put_back(copies[0].path(), dirs[0].path());
    put_back(copies[1].path(), dirs[1].path());
    let members = start_all().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(members[0].facts().doubts() && members[1].facts().doubts());
    assert!(members.iter().all(|member| !member.status().is_leader));
    for member in &members {
        member.stop().await;
    }
}
