//! One member is started on an older copy of its directory, or on an empty one: it takes no part in an election before it
//! has again what it promised.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use quorate::driver::{DriverConfig, Handle, check_not_begun, find_cluster};
use quorate::env::TokioEnv;
use quorate::node::NodeConfig;

use crate::cluster::{Homes, LIMIT, digest, leader, put, until, until_ready, until_remembered, world};

/// Enough that nobody needs a snapshot.
const CATCH_UP: u64 = 1_000;

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

/// A start on an empty directory is refused, whatever the flags say of the cluster, and what to do is told. Members that do not
/// answer in time are passed over, so it is tried again.
async fn refused_as_begun(empty: &Path, config: &DriverConfig) {
    let is_refused =
        |text: &str| text.contains("already been bootstrapped") && text.contains("quoratectl member remove");
    let (mut existing, mut new, began) = (String::new(), String::new(), Instant::now());
    while !is_refused(&existing) || existing != new {
        assert!(began.elapsed() < LIMIT, "{existing:?} {new:?}");
        existing = find_cluster(&world(empty), config).await.err().unwrap_or_default();
        new = check_not_begun(&world(empty), config).await.err().unwrap_or_default();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_on_an_older_copy_waits_for_a_leader_that_the_others_elect() {
    let homes = Homes::new(CATCH_UP);
    let copied = tempfile::tempdir().unwrap();
    let mut members = homes.open_all().await;
    put(&members[0], 0).await;
    let leader = leader(&members).await;
    let (old, third) = ((leader + 1) % 3, (leader + 2) % 3);
    members[old].stop().await;
    copy(homes.dir(old), copied.path());
    members[old] = homes.open(old).await;
    until("it has what it promised", || !members[old].facts().doubts()).await;
    for n in 1..100 {
        put(&members[leader], n).await;
    }
    let end = members[leader].facts().log_end();
    until("all have all", || members.iter().all(|member| member.facts().log_end() >= end)).await;

    // While the leader lives it sends what is missing.
    members[old].stop().await;
    put_back(copied.path(), homes.dir(old));
    members[old] = homes.open(old).await;
    until("it has again what it promised", || !members[old].facts().doubts()).await;
    assert_eq!(digest(&members[old]).await.0, 100);

    // With the leader away the third remembers, and the two elect nobody.
    until_remembered(&members[third], &members[old], end).await;
    members[old].stop().await;
    put_back(copied.path(), homes.dir(old));
    members[leader].stop().await;
    // It handed over to the third, who finds no majority.
    until("nobody leads", || !members[third].status().is_leader && members[third].status().leader.is_none()).await;
    members[old] = homes.open(old).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(members[old].facts().doubts());
    assert!(!members[third].status().is_leader && !members[old].status().is_leader);
    members[leader] = homes.open(leader).await;
    for member in &members {
        until_ready(member).await;
    }
    until("it has again what it promised", || !members[old].facts().doubts()).await;
    assert_eq!(digest(&members[old]).await.0, 100);

    members[old].stop().await;
    let empty = tempfile::tempdir().unwrap();
    refused_as_begun(empty.path(), &homes.config(old)).await;
    for n in [leader, third] {
        members[n].stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_promised_something_is_refused_though_it_never_said_where_clients_reach_it() {
    let homes = Homes::new(CATCH_UP);
    let silent = |n: usize| {
        let config = homes.config(n);
        DriverConfig { node: NodeConfig { client_urls: Vec::new(), ..config.node.clone() }, ..config }
    };
    check_not_begun(&world(homes.dir(0)), &silent(0)).await.unwrap();
    let mut members = homes.open_all_with(&silent).await;
    put(&members[0], 0).await;
    let old = (leader(&members).await + 1) % 3;
    members.remove(old).stop().await;
    let empty = tempfile::tempdir().unwrap();
    refused_as_begun(empty.path(), &silent(old)).await;
    let anew = DriverConfig { cluster_token: "another".to_string(), ..silent(old) };
    check_not_begun(&world(empty.path()), &anew)
        .await
        .expect("another cluster may be begun beside the last of this one's members");
    for member in members {
        member.stop().await;
    }
}

/// Waits until the member of this number has on its disk what it remembers now of the two others: it writes that now and then,
/// where it changed.
async fn until_kept(homes: &Homes, members: &[Handle<TokioEnv>], n: usize) {
    let end = members[n].facts().log_end();
    for other in (0..3).filter(|other| *other != n) {
        until_remembered(&members[n], &members[other], end).await;
    }
    let written = || fs::metadata(homes.dir(n).join("promises")).and_then(|file| file.modified()).ok();
    // What is written first may have been asked for before.
    for key in [0, 1] {
        let before = written();
        put(&members[n], key).await;
        until("what is remembered is written", || written() != before).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_on_copies_of_different_ages_say_so_and_elect_nobody() {
    let homes = Homes::new(CATCH_UP);
    let copies: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let members = homes.open_all().await;
    put(&members[0], 0).await;
    for member in &members {
        member.stop().await;
    }
    for (n, to) in copies.iter().enumerate() {
        copy(homes.dir(n), to.path());
    }
    let members = homes.open_all().await;
    for n in 1..100 {
        put(&members[n % 3], n).await;
    }
    until_kept(&homes, &members, 2).await;
    for member in &members {
        member.stop().await;
    }

    put_back(copies[0].path(), homes.dir(0));
    put_back(copies[1].path(), homes.dir(1));
    // The third knows better, and is to be heard: two who have the same to say do without one that is silent so long.
    let patient = |n| {
        let config = homes.config(n);
        DriverConfig { node: NodeConfig { election_timeout: LIMIT, ..config.node.clone() }, ..config }
    };
    let members = homes.begin_all(patient).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(members[0].facts().doubts() && members[1].facts().doubts());
    assert!(members.iter().all(|member| !member.status().is_leader));
    for member in &members {
        member.stop().await;
    }
}

/// Nobody could tell the wiped one that it had begun when it started, and what it had acknowledged nobody remembers but the one
/// that is away: that it once followed a leader is enough.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_wiped_elects_nobody_with_one_that_lags() {
    let homes = Homes::new(CATCH_UP);
    let mut members = homes.open_all().await;
    put(&members[0], 0).await;
    let leader = leader(&members).await;
    let (wiped, lags) = ((leader + 1) % 3, (leader + 2) % 3);
    // It knows by then that the other has served.
    let end = members[leader].facts().log_end();
    until("it has what there is", || members[lags].status().applied >= end).await;
    members[lags].stop().await;
    for n in 1..30 {
        put(&members[leader], n).await;
    }
    members[wiped].stop().await;
    members[leader].stop().await;
    fs::remove_dir_all(homes.dir(wiped)).unwrap();
    fs::create_dir(homes.dir(wiped)).unwrap();
    // What was in memory only is gone, as after a kill before it was kept.
    let _ = fs::remove_file(homes.dir(lags).join("promises"));
    members[wiped] = homes.open(wiped).await;
    members[lags] = homes.open(lags).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(members[wiped].facts().doubts());
    assert!(!members[wiped].status().is_leader && !members[lags].status().is_leader);
    members[leader] = homes.open(leader).await;
    for member in &members {
        until_ready(member).await;
    }
    until("it has again what it promised", || !members[wiped].facts().doubts()).await;
    for member in &members {
        assert_eq!(digest(member).await.0, 30);
    }
    for member in &members {
        member.stop().await;
    }
}
