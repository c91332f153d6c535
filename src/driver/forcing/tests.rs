//! Three members in virtual time, two of which are lost.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use bytes::Bytes;

use super::Forced;
use crate::base::{KeyRange, MemberId, Refusal};
use crate::driver::{BootReport, DriverConfig, FoundingMember, Handle, find_cluster, start};
use crate::env::VirtualEnv;
use crate::machine::{Command, Member, MemberChange, Put};
use crate::mvcc::RangeQuery;
use crate::wal::WalIdentity;

const FOUNDERS: [&str; 3] = ["a", "b", "c"];

fn config(host: &str, members: &[&str]) -> DriverConfig {
    let named = |name: &&str| FoundingMember { name: name.to_string(), peer_urls: vec![format!("http://{name}:2380")] };
    let config = DriverConfig::new(host, members.iter().map(named).collect());
    DriverConfig { listen_peers: vec![format!("{host}:2380")], ..config }
}

fn forced(host: &str) -> DriverConfig {
    DriverConfig { force_new_cluster: true, ..config(host, &FOUNDERS) }
}

async fn open(env: &VirtualEnv, config: DriverConfig) -> (Handle<VirtualEnv>, BootReport) {
    let (handle, report) = start(env.clone(), config).await.unwrap();
    until(env, "it is ready", || handle.status().ready).await;
    (handle, report)
}

async fn until(env: &VirtualEnv, what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        env.pass(Duration::from_millis(10)).await;
    }
    panic!("in vain: {what}");
}

async fn put(handle: &Handle<VirtualEnv>, key: &'static str) -> Result<(), Refusal> {
    let put = Put { key: Bytes::from_static(key.as_bytes()), value: "v".into(), ..Put::default() };
    handle.propose(Command::Put(put)).await.map(|_| ())
}

async fn keys(handle: &Handle<VirtualEnv>) -> Vec<String> {
    let view = handle.view(true).await.unwrap();
    let kvs = view.range(&RangeQuery::plain(KeyRange::all())).unwrap().kvs;
    kvs.iter().map(|kv| String::from_utf8(kv.key.to_vec()).unwrap()).collect()
}

fn ids(handle: &Handle<VirtualEnv>) -> Vec<MemberId> {
    handle.status().members.iter().map(|member| member.id).collect()
}

/// Three members, "kept" acknowledged by all and "open" in the log of `a` alone; then all are stopped.
async fn lost(env: &VirtualEnv) -> (VirtualEnv, Vec<MemberId>) {
    let worlds = [env.clone(), env.at("b"), env.at("c")];
    let mut handles = Vec::new();
    for (world, host) in worlds.iter().zip(FOUNDERS) {
        handles.push(start(world.clone(), config(host, &FOUNDERS)).await.unwrap().0);
    }
    let [a, b, c] = &handles[..] else { panic!("three") };
    until(env, "all are ready", || handles.iter().all(|handle| handle.status().ready)).await;
    if !a.facts().leads() {
        let leader = handles.iter().find(|handle| handle.facts().leads()).unwrap();
        leader.move_leader(a.identity().member).await.unwrap();
        until(env, "a leads", || a.facts().leads()).await;
    }
    put(a, "kept").await.unwrap();
    b.stop().await;
    c.stop().await;
    let refused = put(a, "open").await.unwrap_err();
    assert!(
        matches!(refused, Refusal::Timeout | Refusal::TimeoutLeaderFail | Refusal::TimeoutConnectionLost),
        "{refused:?}"
    );
    a.stop().await;
    (worlds[1].clone(), [b, c].map(|handle| handle.identity().member).to_vec())
}

/// Changes the members once it is healthy: it is refused while the one added before is fresh.
async fn change(env: &VirtualEnv, asked: &Handle<VirtualEnv>, change: MemberChange) {
    let mut done = Err(Refusal::Unhealthy);
    for _ in 0..100 {
        done = asked.change_members(change.clone()).await;
        if done != Err(Refusal::Unhealthy) {
            break;
        }
        env.pass(Duration::from_millis(100)).await;
    }
    done.unwrap();
}

async fn add(env: &VirtualEnv, asked: &Handle<VirtualEnv>, host: &str, members: &[&str]) -> Handle<VirtualEnv> {
    let url = vec![format!("http://{host}:2380")];
    let id = MemberId(1000 + u64::from(host.as_bytes()[0]));
    let member = Member { id, peer_urls: url, ..Member::default() };
    change(env, asked, MemberChange::add(member)).await;
    let world = env.at(host);
    let mut joining = config(host, members);
    joining.joins = Some(find_cluster(&world, &joining).await.unwrap());
    open(&world, joining).await.0
}

#[test]
fn the_one_that_is_left_goes_on_and_grows_again() {
    VirtualEnv::run(async |env| {
        let (world_of_b, mut others) = lost(&env).await;
        others.sort();
        let (a, report) = open(&env, forced("a")).await;
        let Some(Forced::Removed { members, committed, commits }) = report.forced else {
            panic!("{:?}", report.forced)
        };
        assert_eq!(members, others);
        assert!(commits >= committed + 3, "an entry that was open and two removals: {committed} {commits}");
        assert_eq!((ids(&a), a.status().removed_members), (vec![a.identity().member], others));
        assert_eq!(keys(&a).await, ["kept", "open"], "what may have been acknowledged is kept");
        put(&a, "alone").await.unwrap();
        a.stop().await;

        let (a, report) = open(&env, forced("a")).await;
        assert_eq!(report.forced, Some(Forced::Alone), "left on, it does nothing");
        let d = add(&env, &a, "d", &["a", "d"]).await;
        let e = add(&env, &a, "e", &["a", "d", "e"]).await;
        put(&d, "three").await.unwrap();
        for handle in [&a, &d, &e] {
            assert_eq!(keys(handle).await, ["alone", "kept", "open", "three"]);
            assert_eq!(ids(handle).len(), 3);
        }
        a.stop().await;

        let (a, report) = open(&env, forced("a")).await;
        let answering = [&d, &e].map(|handle| handle.identity().member).to_vec();
        assert_eq!(report.forced, Some(Forced::MajorityAnswers(answering)), "left on, it removes nobody who is there");
        put(&a, "still three").await.unwrap();

        let b = start(world_of_b, config("b", &FOUNDERS)).await.unwrap().0;
        until(&env, "b hears that it was removed", || b.facts().is_removed()).await;
        assert_eq!(ids(&a).len(), 3);
    });
}

#[test]
fn a_learner_becomes_the_voter_and_who_was_removed_is_refused() {
    VirtualEnv::run(async |env| {
        let (a, _) = open(&env, config("a", &["a"])).await;
        let learner =
            Member { id: MemberId(77), peer_urls: vec!["http://b:2380".into()], is_learner: true, ..Member::default() };
        a.change_members(MemberChange::add(learner)).await.unwrap();
        let world = env.at("b");
        let joins = Some(WalIdentity { cluster: a.identity().cluster, member: MemberId(77) });
        let (b, _) = open(&world, DriverConfig { joins, ..config("b", &["a", "b"]) }).await;
        put(&a, "x").await.unwrap();
        until(&env, "b has it", || b.status().revision == a.status().revision).await;
        b.stop().await;
        let of_a = a.identity().member;
        a.stop().await;

        let force = DriverConfig { force_new_cluster: true, joins, ..config("b", &["a", "b"]) };
        let (b, report) = open(&world, force).await;
        assert!(matches!(report.forced, Some(Forced::Removed { members, .. }) if members == [of_a]));
        assert!(!b.status().members[0].is_learner);
        put(&b, "y").await.unwrap();
        assert_eq!(keys(&b).await, ["x", "y"]);

        let c = add(&env, &b, "c", &["b", "c"]).await;
        let (world_of_c, of_c) = (c.env().clone(), c.identity().clone());
        change(&env, &b, MemberChange::Remove(of_c.member)).await;
        c.ending().wait().await.unwrap();
        let joins = Some(WalIdentity { cluster: of_c.cluster, member: of_c.member });
        let force = DriverConfig { force_new_cluster: true, joins, ..config("c", &["b", "c"]) };
        let refused = start(world_of_c, force).await.err().expect("refused").to_string();
        assert!(refused.contains("this member was removed from the cluster"), "{refused}");
    });
}
