//! A member in virtual time, without sockets.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;

use super::checkpoint_files;
use super::corruption::hash_behind;
use super::questions::{Told, encode_answer};
use super::{DriverConfig, Handle, ScrubPace, start, start_with};
use crate::base::{KeyRange, MemberId, Refusal, Wrong, limits};
use crate::consensus::PeerMessage;
use crate::env::{Clock, Disk, DiskFile, Env, OpenMode, ScramblingDisk, Tasks, VirtualEnv, virtual_timeout};
use crate::machine::etcd_peer::hash_question_from_json;
use crate::machine::{
    AlarmAction, AlarmKind, Answer, Command, Compare, CompareResult, CompareTarget, DeleteRange, Image, MemberHash, Op,
    Put, Txn,
};
use crate::mvcc::{HashKv, StoreOptions};
use crate::node::{HeldBounds, NodeConfig};
use crate::peer::{AskFailure, BoxFuture, ChunkSource, EtcdQuestion, PeerAddress, PeerSender};
use crate::wal::UnrecoveredWal;

fn config() -> DriverConfig {
    let own = DriverConfig::alone("one", "http://localhost:2380");
    DriverConfig {
        wal_segment_bytes: 64 * 1024,
        store: StoreOptions { segment_bytes: 64 * 1024, ..own.store },
        node: NodeConfig { checkpoint_entries: 1_000, ..own.node },
        ..own
    }
}

async fn member(env: &VirtualEnv) -> Handle<VirtualEnv> {
    member_of(env, config()).await
}

async fn member_of(env: &VirtualEnv, config: DriverConfig) -> Handle<VirtualEnv> {
    let (handle, _) = start(env.clone(), config).await.expect("it starts");
    while !handle.status().ready {
        env.pass(Duration::from_millis(1)).await;
    }
    handle
}

#[test]
fn leases_live_through_a_pause_and_end_after_it() {
    VirtualEnv::run(async |env| {
        let handle = member(&env).await;
        for id in [1, 2] {
            handle.propose(Command::LeaseGrant { id, ttl: 5 }).await.expect("granted");
        }
        env.pass(Duration::from_secs(3)).await;
        env.leap(Duration::from_secs(8)).await;
        // On one thread, whatever comes first: the tick that is late, or who wants it kept alive.
        env.pass(Duration::from_millis(150)).await;
        assert_eq!(handle.keep_alive(1).await, Ok(Some(5)), "as if it had been said in time");
        env.pass(Duration::from_secs(1)).await;
        assert_eq!(handle.leases().await.map(|ids| ids.len()), Ok(2));
        env.pass(Duration::from_millis(1_500)).await;
        assert_eq!(handle.leases().await, Ok(vec![1]), "the other had two seconds left");
        env.pass(Duration::from_secs(4)).await;
        assert_eq!(handle.leases().await, Ok(Vec::new()));
        handle.stop().await;
    });
}

fn put(key: &str, value: Vec<u8>) -> Command {
    let (lease, prev_kv, ignore_value, ignore_lease) = (0, false, false, false);
    Command::Put(Put { key: key.to_string().into(), value: value.into(), lease, prev_kv, ignore_value, ignore_lease })
}

/// A write passes every stage once, and is counted as what it is.
#[test]
fn writes_are_timed_stage_by_stage_and_applied_under_their_names() {
    VirtualEnv::run(async |env| {
        let handle = member(&env).await;
        let tallies = &handle.facts().tallies;
        let counts = || {
            let stages = &tallies.stages;
            [&stages.queue, &stages.answer, &stages.propose, &stages.sync, &stages.replicate, &stages.apply]
                .map(|stage| stage.measured().count)
        };
        let before = counts();
        handle.propose(put("a", vec![1])).await.expect("written");
        handle.propose(Command::Compact { revision: 9_999, physical: false }).await.expect_err("in the future");
        let per_write: Vec<_> = counts().iter().zip(before).map(|(after, before)| after - before).collect();
        assert_eq!(per_write[..2], [2, 1], "queued both, answered as done only one");
        assert_eq!(per_write[2..], [2; 4], "one after the other, so that each had its own batch");
        let applied: Vec<_> = tallies.applies.measured().map(|(op, well, m)| (op, well, m.count)).collect();
        assert!(applied.contains(&("Put", true, 1)) && applied.contains(&("Compaction", false, 1)), "{applied:?}");
        assert!(applied.contains(&("ClusterMemberAttrSet", true, 1)), "its own, too: {applied:?}");
        handle.stop().await;
    });
}

/// Bytes of the history's files.
fn history_bytes(env: &VirtualEnv) -> u64 {
    let disk = env.disk();
    let len = |name: &String| disk.open(&format!("history/{name}"), OpenMode::Read).and_then(|file| file.len());
    disk.list("history").expect("listed").iter().map(|name| len(name).expect("read")).sum()
}

/// Puts `count` values under one key, and compacts all but the last.
async fn overwrite(handle: &Handle<VirtualEnv>, count: usize) -> i64 {
    for n in 0..count {
        handle.propose(put("one", vec![n as u8; 10_000])).await.expect("written");
    }
    let revision = handle.status().revision;
    let done = handle.propose(Command::Compact { revision, physical: true }).await.expect("compacted");
    assert!(matches!(done.answer, Answer::Compact));
    revision
}

/// Who asks for space is answered when the disk has it back, though nothing is written meanwhile that would make a
/// checkpoint due; the size that is told is the disk's.
#[test]
fn space_that_was_asked_for_is_there_when_the_answer_comes() {
    VirtualEnv::run(async |env| {
        let handle = member(&env).await;
        let revision = overwrite(&handle, 100).await;
        handle.compacted(revision).await.expect("pruned");
        handle.give_space_back().await.expect("given");
        assert!(history_bytes(&env) < 20_000, "{} bytes where one value lives", history_bytes(&env));
        let size = handle.status().size_bytes;
        assert_eq!(size, history_bytes(&env), "as told");
        assert_eq!(handle.status().size_bytes, size);
        let made = handle.status().checkpoints;
        handle.give_space_back().await.expect("given");
        assert_eq!(handle.status().checkpoints, made, "nothing to give, nothing done");
        handle.stop().await;
        // Whatever the order of the last checkpoints: a start finds it all.
        let handle = member(&env).await;
        assert_eq!(handle.view(true).await.expect("led").get(b"one").expect("read").map(|kv| kv.value[0]), Some(99));
        handle.stop().await;
    });
}

/// Nobody asks and nothing is written: the files that were replaced go all the same.
#[test]
fn replaced_files_go_at_rest() {
    VirtualEnv::run(async |env| {
        let handle = member(&env).await;
        overwrite(&handle, 150).await;
        env.pass(Duration::from_secs(5)).await;
        // The segment that grows stays as it is, where nobody asks.
        assert!(history_bytes(&env) < 100_000, "{}", history_bytes(&env));
        assert_eq!(handle.status().size_bytes, history_bytes(&env), "as told");
        let made = handle.status().checkpoints;
        env.pass(Duration::from_secs(20)).await;
        assert_eq!(handle.status().checkpoints, made, "once");
        handle.stop().await;
    });
}

/// One program after the other's answer: compact, give space back, disarm, put.
#[test]
fn the_way_out_of_a_used_up_quota_leads_out() {
    VirtualEnv::run(async |env| {
        let mut config = config();
        config.node.quota_bytes = 400_000;
        let handle = member_of(&env, config).await;
        let big = || put("one", vec![7; 10_000]);
        let refused = loop {
            if let Err(refusal) = handle.propose(big()).await {
                break refusal;
            }
        };
        assert_eq!(refused, Refusal::NoSpace);
        let revision = handle.status().revision;
        handle.propose(Command::Compact { revision, physical: true }).await.expect("compacted");
        handle.compacted(revision).await.expect("pruned");
        handle.give_space_back().await.expect("given");
        assert!(handle.status().size_bytes < 30_000);
        disarm(&handle).await;
        for _ in 0..10 {
            handle.propose(big()).await.expect("there is room");
        }
        handle.stop().await;
    });
}

async fn disarm(handle: &Handle<VirtualEnv>) {
    let (action, member) = (AlarmAction::Deactivate, handle.identity().member);
    handle.propose(Command::Alarm { action, member, kind: AlarmKind::NoSpace }).await.expect("disarmed");
}

/// A full disk is a state: what needs room is refused, everything else works, a start too; and when there is room again
/// and the alarm is disarmed, writing goes on.
#[test]
fn a_full_disk_is_a_state() {
    VirtualEnv::run(async |env| {
        let handle = member(&env).await;
        for n in 0..100 {
            handle.propose(put(&format!("key{}", n % 10), vec![n as u8; 4_000])).await.expect("written");
        }
        handle.propose(Command::LeaseGrant { id: 1, ttl: 5 }).await.expect("granted");
        env.disk().leave_room(Some(300_000));
        let refused = loop {
            if let Err(refusal) = handle.propose(put("one", vec![7; 4_000])).await {
                break refusal;
            }
            env.pass(Duration::from_millis(10)).await;
        };
        assert_eq!(refused, Refusal::NoSpace);
        env.pass(Duration::from_secs(1)).await;
        assert!(handle.status().alarms.iter().any(|(_, kind)| *kind == AlarmKind::NoSpace));
        // Reads, deletes, a lease's end, compaction.
        let alive = |view: &crate::mvcc::View<_>| view.count(&crate::base::KeyRange::all());
        assert_eq!(alive(&handle.view(true).await.expect("led")), 11);
        let range = crate::base::KeyRange::single("key1".into());
        handle.propose(Command::DeleteRange(DeleteRange { range, prev_kv: true })).await.expect("deleted");
        env.pass(Duration::from_secs(8)).await;
        assert_eq!(handle.leases().await, Ok(Vec::new()), "it fell due and was ended");
        let revision = handle.status().revision;
        handle.propose(Command::Compact { revision, physical: true }).await.expect("compacted");
        handle.compacted(revision).await.expect("pruned");
        handle.stop().await;
        // A start, on the same disk.
        let handle = member(&env).await;
        assert_eq!(alive(&handle.view(true).await.expect("led")), 10);
        let size = handle.status().size_bytes;
        handle.give_space_back().await.expect("given what can be given");
        assert!(handle.status().size_bytes <= size);
        env.disk().leave_room(None);
        disarm(&handle).await;
        env.pass(Duration::from_secs(3)).await;
        for n in 0..300 {
            handle.propose(put("one", vec![n as u8; 4_000])).await.expect("there is room");
        }
        assert!(handle.status().alarms.is_empty());
        handle.stop().await;
        let handle = member(&env).await;
        assert_eq!(alive(&handle.view(true).await.expect("led")), 10);
        handle.stop().await;
    });
}

/// Not even the log has room for what is written: it waits, whoever asked hears so in time, reads are answered, and when
/// there is room again everything goes on, without a start.
#[test]
fn a_log_without_room_waits_for_some() {
    VirtualEnv::run(async |env| {
        let handle = member(&env).await;
        for n in 0..10 {
            handle.propose(put(&format!("key{n}"), vec![n; 4_000])).await.expect("written");
        }
        env.pass(Duration::from_secs(1)).await;
        // All at once: nobody had told anybody yet that there is little left.
        env.disk().leave_room(Some(0));
        let many = (0..60).map(|n| {
            let (handle, value) = (handle.clone(), vec![n as u8; 4_000]);
            let (done, outcome) = futures_channel::oneshot::channel();
            env.tasks().spawn("writer", async move {
                let _ = done.send(handle.propose(put(&format!("late{n}"), value)).await.is_ok());
            });
            outcome
        });
        let many: Vec<_> = many.collect();
        let mut outcomes = (0, 0);
        for one in many {
            if one.await.expect("it ends") { outcomes.0 += 1 } else { outcomes.1 += 1 }
        }
        assert!(outcomes.1 > 0, "some found no room: {outcomes:?}");
        env.pass(Duration::from_secs(20)).await;
        assert!(handle.ending().now().is_none(), "it goes on");
        let view = handle.view(false).await.expect("reads are answered");
        assert_eq!(view.get(b"key7").expect("read").map(|kv| kv.value[0]), Some(7));
        env.disk().leave_room(None);
        env.pass(Duration::from_secs(5)).await;
        if !handle.status().alarms.is_empty() {
            disarm(&handle).await;
        }
        handle.propose(put("after", vec![1; 4_000])).await.expect("written");
        handle.stop().await;
        let handle = member(&env).await;
        let view = handle.view(true).await.expect("led");
        assert!(view.get(b"after").expect("read").is_some());
        assert!(view.count(&KeyRange::all()) >= 11 + outcomes.0, "what was acknowledged is there");
        handle.stop().await;
    });
}

/// Turns a bit in the value of the first record of a sealed segment.
fn damage_first_segment(env: &VirtualEnv) -> String {
    let name = format!(
        "history/{}",
        env.disk().list("history").expect("listed").iter().find(|n| n.ends_with(".seg")).expect("one")
    );
    let file = env.disk().open(&name, OpenMode::Write).expect("opened");
    let mut byte = [0];
    file.read_full_at(500, &mut byte).expect("read");
    file.write_at(500, &[byte[0] ^ 4]).expect("written");
    name
}

/// Checkpoints are made often.
fn often() -> DriverConfig {
    let config = config();
    DriverConfig { node: NodeConfig { checkpoint_entries: 20, ..config.node }, ..config }
}

/// A lone member that has served for long, with outlines for all but the end of its history: values of 10 kB.
async fn with_outlines(env: &VirtualEnv, config: &DriverConfig) {
    let handle = member_of(env, config.clone()).await;
    for n in 0..60 {
        handle.propose(put(&format!("key-{n}"), vec![n as u8; 10_000])).await.expect("written");
    }
    // At rest a checkpoint is made that names them.
    env.pass(Duration::from_secs(3)).await;
    handle.stop().await;
}

/// What a start does not read is read again in the background. A lone member that finds damage so names it and serves nobody
/// any more, until somebody has disarmed the alarm; then it serves what is whole.
#[test]
fn a_lone_member_finds_damage_by_itself_and_raises_the_alarm() {
    VirtualEnv::run(async |env| {
        // The first pass begins within it, but not within a sixteenth.
        let scrub = ScrubPace { rest: Duration::from_secs(32), step_bytes: 20_000, pause: Duration::from_millis(10) };
        let config = DriverConfig { scrub: Some(scrub), ..often() };
        with_outlines(&env, &config).await;
        let segment = damage_first_segment(&env);
        let (handle, report) = start(env.clone(), config).await.expect("a start reads no values");
        assert!(report.outlines.is_empty() && report.damaged.is_empty(), "{report:?}");
        let own = handle.identity().member;
        env.pass(Duration::from_secs(1)).await;
        let view = handle.view(true).await.expect("served");
        assert_eq!(view.get(b"key-59").expect("whole").map(|kv| kv.value.len()), Some(10_000));
        env.pass(Duration::from_secs(34)).await;
        assert!(handle.status().alarms.contains(&(own, AlarmKind::Corrupt)), "{:?}", handle.status().alarms);
        assert_eq!(handle.view(true).await.err(), Some(Refusal::Corrupt));
        let disarm = Command::Alarm { action: AlarmAction::Deactivate, member: own, kind: AlarmKind::Corrupt };
        handle.propose(disarm).await.expect("disarmed");
        env.pass(Duration::from_secs(1)).await;
        let view = handle.view(true).await.expect("served");
        assert_eq!(view.get(b"key-59").expect("whole").map(|kv| kv.value.len()), Some(10_000));
        let wrong = view.get(b"key-0").expect_err("damaged");
        assert!(matches!(&wrong, Wrong::Corruption(damage) if damage.file == segment), "{wrong}");
        env.pass(Duration::from_secs(70)).await;
        assert!(handle.status().alarms.is_empty(), "once in a life");
        handle.stop().await;
    });
}

/// Where the newest image's history is damaged, and the log has lost what the older image needs, there is no way back to that:
/// others are to be asked. Here there are none, and the start says so.
#[test]
fn an_older_image_that_the_log_does_not_reach_is_no_way_back() {
    VirtualEnv::run(async |env| {
        let handle = member_of(&env, often()).await;
        // Not at rest, where two checkpoints are of the same data.
        for n in 0..70 {
            handle.propose(put(&format!("key-{n}"), vec![n as u8; 10_000])).await.expect("written");
        }
        handle.stop().await;
        let disk = env.disk();
        let found = checkpoint_files::newest(disk).await.expect("read");
        let (newest, older) = (found.image.expect("there").image, found.older.expect("there").image);
        let files = |image: &Image| image.position.files().map(|(name, _)| name).collect::<Vec<_>>();
        let own = files(&newest).into_iter().find(|name| !files(&older).contains(name)).expect("the history went on");
        let recovered = async |after| {
            let wal = UnrecoveredWal::open(disk.copy(), "wal").expect("opened").with_segment_bytes(64 * 1024);
            wal.recover(newest.identity, after).await.map(|wal| wal.entries.len())
        };
        // All of the log that the newest does not need, as far as batches of the older are in it.
        let logs: Vec<String> = disk.list("wal").expect("listed");
        for log in logs.iter().filter(|name| name.ends_with(".seg")) {
            let file = disk.open(&format!("wal/{log}"), OpenMode::Write).expect("opened");
            let mut bytes = vec![0; file.len().expect("known") as usize];
            file.read_full_at(0, &mut bytes).expect("read");
            let kept = bytes.clone();
            for byte in &mut bytes[512..] {
                *byte ^= 1;
            }
            file.write_at(0, &bytes).expect("written");
            if recovered(newest.state.applied.0).await.is_err() {
                file.write_at(0, &kept).expect("written");
            }
        }
        recovered(newest.state.applied.0).await.expect("nothing of it is needed");
        recovered(older.state.applied.0).await.expect_err("it was needed");
        let file = disk.open(&own, OpenMode::Write).expect("opened");
        let mut byte = [0];
        file.read_full_at(500, &mut byte).expect("read");
        file.write_at(500, &[byte[0] ^ 4]).expect("written");
        disk.open("recheck", OpenMode::Create).expect("a start that reads everything");
        let refused = start(env.clone(), often()).await.err().expect("nobody has its data").to_string();
        assert!(refused.contains("no other member votes, who would have the data"), "{refused}");
        assert!(refused.contains(&own), "{refused}");
    });
}

/// A start of many keys sorts them in parts, side by side, and finds the state that was.
#[test]
fn a_start_of_many_keys_finds_what_was_there() {
    VirtualEnv::run(async |env| {
        let handle = member_of(&env, often()).await;
        let keys = 2 * limits::INDEX_PART_RECORDS + 1_000;
        let key = |n: usize| bytes::Bytes::from(format!("/{}/{:07}", n % 7, n * 7_919 % keys));
        for from in (0..keys).step_by(10_000) {
            let one = |n| Op::Put(Put { key: key(n), value: "x".into(), ..Put::default() });
            let success = (from..keys.min(from + 10_000)).map(one).collect();
            let txn = Txn { compares: Vec::new(), success, failure: Vec::new() };
            handle.propose(Command::Txn(txn)).await.expect("written");
        }
        for n in (0..keys).step_by(keys / 30) {
            handle.propose(put(&String::from_utf8_lossy(&key(n)), b"again".to_vec())).await.expect("written");
        }
        env.pass(Duration::from_secs(1)).await;
        let before = handle.view(true).await.expect("served").hash_kv(0).expect("read");
        handle.stop().await;
        let (handle, report) = start(env.clone(), often()).await.expect("it is whole");
        assert!(report.checkpoint > 10, "{report:?}");
        env.pass(Duration::from_secs(1)).await;
        let view = handle.view(true).await.expect("served");
        assert_eq!((view.count(&KeyRange::all()), view.hash_kv(0).expect("read")), (keys as u64, before));
        handle.stop().await;
    });
}

/// What the system could not write of the history may show what was there before. Whether it is that, a sync says: one that fails ends
/// the member, without an alarm, and the next start has everything from the log. After one that is well it is damage.
#[test]
fn history_behind_which_a_sync_fails_ends_the_member_and_raises_no_alarm() {
    for fails in [true, false] {
        VirtualEnv::run(async |env| {
            let disk = ScramblingDisk::new(env.disk().clone(), 1);
            let (scrambled, config) = (env.with_disk(disk.clone()), config());
            // The history goes to the disk at once, and is read from there.
            let config = DriverConfig {
                store: StoreOptions { cache_bytes: 0, ..config.store },
                node: NodeConfig { held: HeldBounds { gathered: 1, ..HeldBounds::default() }, ..config.node },
                ..config
            };
            let (handle, _) = start(scrambled.clone(), config.clone()).await.expect("it starts");
            env.pass(Duration::from_secs(1)).await;
            handle.propose(put("key", b"value".to_vec())).await.expect("written");
            env.pass(Duration::from_secs(1)).await;
            let files = env.disk().list("history").expect("listed");
            let [segment] = &files[..] else { panic!("one segment: {files:?}") };
            let file = env.disk().open(&format!("history/{segment}"), OpenMode::Write).expect("opened");
            let len = file.len().expect("measured");
            assert!(len > 0, "it was written");
            file.write_at(0, &vec![0; len as usize]).expect("written");
            handle.view(true).await.expect("served").get(b"key").expect_err("it is not there");
            if fails {
                disk.fail_sync(1);
            }
            let ended = virtual_timeout(Duration::from_secs(5), handle.ending().wait()).await;
            let alarm = (handle.identity().member, AlarmKind::Corrupt);
            assert_eq!(handle.status().alarms.contains(&alarm), !fails, "{:?}", handle.status().alarms);
            if !fails {
                assert!(ended.is_err(), "it goes on");
                return handle.stop().await;
            }
            let wrong = ended.expect("it ends").expect_err("by the sync");
            assert!(matches!(&*wrong, Wrong::Fault(_)) && wrong.to_string().contains("history"), "{wrong}");
            env.pass(Duration::from_secs(1)).await;
            let (handle, _) = start(scrambled, config).await.expect("it starts again");
            env.pass(Duration::from_secs(1)).await;
            let view = handle.view(true).await.expect("served");
            assert_eq!(view.get(b"key").expect("read").map(|kv| kv.value), Some("value".into()));
            assert!(handle.status().alarms.is_empty());
            handle.stop().await;
        });
    }
}

/// Who wants none has none.
#[test]
fn without_a_scrub_damage_is_met_by_who_reads_it_alone() {
    VirtualEnv::run(async |env| {
        let config = DriverConfig { scrub: None, ..often() };
        with_outlines(&env, &config).await;
        damage_first_segment(&env);
        let (handle, _) = start(env.clone(), config).await.expect("a start reads no values");
        env.pass(Duration::from_secs(60 * 60)).await;
        assert!(handle.status().alarms.is_empty());
        handle.view(true).await.expect("served").get(b"key-0").expect_err("damaged");
        handle.stop().await;
    });
}

/// A member that ended on damage reads all of its history at the next start, and until it is whole at every one.
#[test]
fn who_ended_on_damage_reads_all_of_the_history() {
    VirtualEnv::run(async |env| {
        let config = often();
        with_outlines(&env, &config).await;
        let copy = env.disk().copy();
        let segment = damage_first_segment(&env);
        let (handle, _) = start(env.clone(), config.clone()).await.expect("a start reads no values");
        env.pass(Duration::from_secs(1)).await;
        // Deciding it takes the damaged value: nobody can carry out half of an entry.
        let compare = Compare {
            range: KeyRange::single("key-0".into()),
            target: CompareTarget::Value("x".into()),
            result: CompareResult::Equal,
        };
        let txn = Txn {
            compares: vec![compare],
            success: Vec::new(),
            failure: vec![Op::DeleteRange(DeleteRange { range: KeyRange::single("none".into()), prev_kv: false })],
        };
        let _ = handle.propose(Command::Txn(txn)).await;
        let ending = handle.ending().wait().await.expect_err("it cannot go on");
        assert!(matches!(&*ending, Wrong::Corruption(damage) if damage.file == segment), "{ending}");
        env.pass(Duration::from_secs(1)).await;
        for _ in 0..2 {
            let refused = start(env.clone(), config.clone()).await.err().expect("all of it is read");
            assert!(matches!(&refused, Wrong::Corruption(damage) if damage.file == segment), "{refused}");
        }
        // As it was: the next start finds it whole, and the one after that reads outlines again.
        let file = copy.open(&segment, OpenMode::Read).expect("opened");
        let mut bytes = vec![0; file.len().expect("read") as usize];
        file.read_full_at(0, &mut bytes).expect("read");
        env.disk().open(&segment, OpenMode::Write).expect("opened").write_at(0, &bytes).expect("written");
        let handle = member_of(&env, config.clone()).await;
        assert!(!env.disk().exists("recheck").expect("asked"));
        handle.stop().await;
    });
}

/// A peer that knows no running digest, and has applied the compaction of revision 9, the one before which was at 3; or has
/// not.
struct Compacting(bool);

impl Compacting {
    fn digest(&self, revision: i64) -> (u16, Bytes) {
        let digest = |hash| MemberHash { revision: 9, hash, compact_revision: 3, hash_revision: revision }.to_json();
        match (revision, self.0) {
            (9, true) => (200, digest(6)),
            (9, false) => (200, digest(7)),
            (8, true) => (400, "mvcc: required revision has been compacted".into()),
            (8, false) => (200, digest(4)),
            _ => panic!("of {revision} nothing is asked"),
        }
    }
}

impl PeerSender for Compacting {
    fn send(&self, _message: PeerMessage) {}

    fn send_snapshot(&self, _message: PeerMessage, _source: Box<dyn ChunkSource>) {}

    fn ask(&self, _member: MemberId, _question: Bytes) -> BoxFuture<'static, Result<Bytes, AskFailure>> {
        Box::pin(std::future::ready(Ok(encode_answer(&Ok(Told::Digest(None))))))
    }

    fn ask_as_etcd(
        &self,
        _member: MemberId,
        question: EtcdQuestion,
    ) -> BoxFuture<'static, Result<(u16, Bytes), AskFailure>> {
        let EtcdQuestion::HashKv(body) = question else { panic!("{question:?} is not asked") };
        let answer = self.digest(hash_question_from_json(&body).expect("readable"));
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn set_peers(&self, _peers: Vec<PeerAddress>) {}

    fn connected_for(&self, _member: MemberId) -> Option<Duration> {
        None
    }

    fn stop(&self) {}
}

#[test]
fn what_a_compaction_took_out_is_counted_and_how_long_it_took() {
    VirtualEnv::run(async |env| {
        let handle = member(&env).await;
        for key in ["a", "b", "a", "b", "a", "b"] {
            let put = Put { key: key.into(), value: "v".into(), ..Put::default() };
            handle.propose(Command::Put(put)).await.expect("put");
        }
        let compactions = &handle.facts().tallies.compactions;
        let counted = || {
            let [pauses, again] = [&compactions.pauses, &compactions.index_pauses].map(|of| of.measured().count);
            assert_eq!(pauses, again);
            (pauses > 0, compactions.passes.measured().count, compactions.changes.load(Relaxed))
        };
        assert_eq!((counted(), compactions.ended_at.load(Relaxed)), ((false, 0, 0), 0));
        let before = env.clock().wall_ms() / 1_000;
        for (revision, changes) in [(handle.status().revision - 1, 3), (handle.status().revision, 4)] {
            handle.propose(Command::Compact { revision, physical: false }).await.expect("compacted");
            env.pass(Duration::from_secs(1)).await;
            assert_eq!(counted(), (true, if changes == 3 { 1 } else { 2 }, changes));
        }
        let ended = compactions.ended_at.load(Relaxed);
        assert!((before..=env.clock().wall_ms() / 1_000).contains(&ended), "{ended}");
    });
}

/// What comes of asking such a peer.
fn digest_behind(has_compacted: bool) -> Result<u32, String> {
    VirtualEnv::run(async |env| {
        let config = DriverConfig::alone("one", "http://localhost:2380");
        let connect = async |_, _| Ok(Arc::new(Compacting(has_compacted)) as Arc<dyn PeerSender>);
        let (handle, _) = start_with(env.clone(), config, connect).await.expect("it starts");
        env.pass(Duration::from_secs(1)).await;
        let (tell, told) = futures_channel::oneshot::channel();
        let asking = handle.clone();
        env.tasks().spawn("asking", async move {
            let own = HashKv { hash: 6, compact_revision: 3, hash_revision: 9 };
            let _ = tell.send(hash_behind(&asking, MemberId(2), own).await);
        });
        env.pass(Duration::from_secs(3)).await;
        let digest = told.await.expect("it was asked").map(|digest| digest.hash);
        handle.stop().await;
        digest
    })
}

#[test]
fn a_compaction_that_no_running_digest_shows_is_seen_by_what_it_forgot() {
    assert_eq!(digest_behind(true), Ok(6));
    let late = Err("it has not applied as much".to_string());
    assert_eq!(digest_behind(false), late, "a digest of another kind is not held against the leader's");
}
