//! Scenarios of a node whose disk is this file: what was persisted is said by hand.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot::Receiver;

use super::*;
use crate::base::{Account, KeyRange, MemberId, Refusal, Shares};
use crate::consensus::{Electorate, Group, GroupConfig, founding_entry};
use crate::env::{Instant, MemoryDisk};
use crate::machine::{Answer, Command, Image, Machine, Member, Put, codec};
use crate::mvcc::{RangeQuery, StoreOptions, View};
use crate::wal::HardState;
use crate::watch::{HubBounds, StreamBuffer, StreamId, WatchMessage, WatchSpec};

mod cluster;
mod damage;
mod fair;
mod slices;

type Output = super::Output<MemoryDisk>;
type Input = super::Input<MemoryDisk>;

const MEMBER: MemberId = MemberId(7);

struct Bench {
    node: Node<MemoryDisk>,
    facts: Arc<Facts>,
    now: Instant,
    /// Rounds handed to the keeper and not yet said to be durable.
    unsynced: Vec<u64>,
    outputs: Vec<Output>,
    next_id: u64,
    /// Who asks.
    account: Arc<Account>,
}

fn config() -> NodeConfig {
    NodeConfig {
        member: MEMBER,
        tick: Duration::from_millis(100),
        name: "one".to_string(),
        client_urls: vec!["http://c".to_string()],
        cluster_version: "3.7.0".to_string(),
        request_timeout: Duration::from_secs(7),
        read_retry: Duration::from_millis(500),
        election_timeout: Duration::from_secs(1),
        catch_up_entries: 5_000,
        quota_bytes: 0,
        checkpoint_entries: 1_000,
        snapshot_chunk_bytes: crate::base::limits::SNAPSHOT_CHUNK_BYTES,
        changes_per_turn: crate::base::limits::APPLY_CHANGES_PER_TURN,
        pruned_per_turn: crate::base::limits::COMPACTION_SLICE,
        held: HeldBounds::default(),
        watch: HubBounds::default(),
        catch_up: CatchUpBounds::default(),
        progress_ticks: 6_000,
        lease_checkpoint_interval: Duration::from_secs(300),
        auto_compaction: None,
        rebuild_when_diverged: false,
        seed: 1,
        observer: None,
    }
}

impl Bench {
    /// A node that was just started on an empty disk; its first rounds are not durable yet.
    fn cold(config: NodeConfig) -> Self {
        Self::on(MemoryDisk::new(), StoreOptions::default(), config)
    }

    /// The same on a disk.
    fn on(disk: MemoryDisk, options: StoreOptions, config: NodeConfig) -> Self {
        let member = Member { id: MEMBER, name: "one".to_string(), ..Member::default() };
        let entries = vec![founding_entry(1, MEMBER, member.context())];
        let group_config = GroupConfig {
            member: MEMBER,
            electorate: Electorate { voters: vec![MEMBER], learners: Vec::new() },
            election_ticks: 10,
            pre_vote: true,
            append_bytes: 1 << 20,
            seed: 1,
            applied: (0, 0),
        };
        let group = Group::start(&group_config, HardState { term: 1, vote: 0, commit: 1 }, entries);
        let machine = Machine::open(disk, options, &Image::default(), &[]).expect("opens");
        let facts = Arc::new(Facts::default());
        let node = Node::new(config, group, machine, None, facts.clone(), Arc::new(|| {}));
        let account = facts.shares.open();
        Self { node, facts, now: Instant(1), unsynced: Vec::new(), outputs: Vec::new(), next_id: 1_000, account }
    }

    /// A node that leads and has told its name.
    fn new(config: NodeConfig) -> Self {
        Self::cold(config).leading()
    }

    fn leading(mut self) -> Self {
        self.turn();
        self.settle();
        assert!(self.facts.status().ready, "a lone member is ready after its first rounds");
        self
    }

    fn step(&mut self, input: Input) {
        self.node.step(self.now, input, &mut self.outputs);
    }

    fn turn(&mut self) -> bool {
        self.node.turn(self.now, &mut self.outputs).expect("nothing is wrong");
        let more = self.node.work(self.now, &mut self.outputs).expect("a memory disk has no faults");
        for output in std::mem::take(&mut self.outputs) {
            match output {
                Output::Persist { number, batch } => {
                    assert!(!batch.is_empty());
                    self.unsynced.push(number);
                }
                Output::Members(_) => {}
                other => self.outputs.push(other),
            }
        }
        more
    }

    /// Every round handed out so far becomes durable, until nothing is due any more.
    fn settle(&mut self) {
        loop {
            let newest = self.unsynced.drain(..).next_back();
            if let Some(number) = newest {
                self.step(Input::Persisted { number });
            }
            let more = self.turn();
            if !more && self.unsynced.is_empty() {
                break;
            }
        }
    }

    fn propose(&mut self, command: &Command) -> Receiver<Result<Proposed, Refusal>> {
        self.next_id += 1;
        let payload = codec::encode(self.next_id, command);
        let charge = self.account.charge(fund_of(command), payload.len()).expect("few wait");
        let (reply, answer) = Reply::charged(charge);
        let cost = crate::machine::put_cost(command);
        self.step(Input::Propose { id: self.next_id, payload, cost, since: self.now, reply });
        answer
    }

    fn read(&mut self) -> Receiver<Result<View<MemoryDisk>, Refusal>> {
        let (reply, answer) = Reply::pair();
        self.step(Input::Read { linearizable: true, reply });
        answer
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        self.step(Input::Tick);
        self.settle();
    }

    fn keys(&mut self) -> usize {
        let mut answer = self.read();
        self.settle();
        let view = answered(&mut answer).expect("served").expect("not refused");
        view.range(&RangeQuery::plain(KeyRange::all())).expect("read").kvs.len()
    }
}

fn answered<T>(answer: &mut Receiver<T>) -> Option<T> {
    answer.try_recv().expect("every request is answered")
}

fn put(key: &str) -> Command {
    Command::Put(Put { key: Bytes::copy_from_slice(key.as_bytes()), value: Bytes::from_static(b"v"), ..Put::default() })
}

fn next_messages(buffer: &StreamBuffer) -> Vec<WatchMessage> {
    match buffer.poll_batch(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(messages)) => messages,
        Poll::Ready(None) => panic!("the stream is open"),
        Poll::Pending => Vec::new(),
    }
}

#[test]
fn a_write_is_answered_after_its_sync_and_not_before() {
    let mut bench = Bench::new(config());
    let mut answer = bench.propose(&put("a"));
    bench.turn();
    assert_eq!(bench.unsynced.len(), 1, "one round for one write");
    for _ in 0..5 {
        bench.turn();
        assert!(answered(&mut answer).is_none(), "nothing is acknowledged before it is durable");
    }
    bench.settle();
    let proposed = answered(&mut answer).expect("answered").expect("not refused");
    assert_eq!((proposed.answer, proposed.revision), (Answer::Put { prev_kv: None }, 2));
}

#[test]
fn clients_are_welcome_once_the_cluster_knows_where_they_reach_this_member() {
    let mut bench = Bench::cold(config());
    let told = |status: &NodeStatus| status.members.iter().any(|member| member.client_urls == config().client_urls);
    while !told(&bench.facts.status()) {
        assert!(!bench.facts.status().ready, "a founder's name is known before it told anything");
        let number = bench.unsynced.drain(..).next_back();
        number.into_iter().for_each(|number| bench.step(Input::Persisted { number }));
        bench.turn();
    }
    bench.settle();
    assert!(bench.facts.status().ready);
}

/// A description of an earlier life may be applied after that of this one.
#[test]
fn a_member_that_is_described_otherwise_tells_again_who_it_is() {
    let mut bench = Bench::new(config());
    let command = Command::SetMemberAttributes {
        member: MEMBER,
        name: "one".to_string(),
        client_urls: vec!["http://old".to_string()],
    };
    let mut answer = bench.propose(&command);
    bench.settle();
    answered(&mut answer).expect("answered").expect("not refused");
    bench.pass(Duration::from_millis(100));
    let status = bench.facts.status();
    assert_eq!(status.members[0].client_urls, config().client_urls);
    assert!(status.ready);
}

#[test]
fn who_always_comes_late_tells_all_the_same_that_time_ran_out() {
    let mut bench = Bench::new(config());
    let mut answer = bench.propose(&put("a"));
    bench.turn();
    let late = Duration::from_millis(300);
    for _ in 0..8 {
        bench.now = bench.now.plus(late);
        bench.step(Input::Deaf { time: late });
        bench.step(Input::Tick);
        bench.turn();
    }
    assert!(answered(&mut answer).is_none(), "its time is not over");
    for _ in 0..30 {
        bench.now = bench.now.plus(late);
        bench.step(Input::Deaf { time: late });
        bench.step(Input::Tick);
        bench.turn();
    }
    assert!(answered(&mut answer).expect("told").is_err());
}

#[test]
fn many_writes_share_one_round() {
    let mut bench = Bench::new(config());
    let mut answers: Vec<_> = (0..100).map(|n| bench.propose(&put(&format!("k{n}")))).collect();
    bench.turn();
    assert_eq!(bench.unsynced.len(), 1);
    bench.settle();
    assert!(answers.iter_mut().all(|answer| matches!(answered(answer), Some(Ok(_)))));
    assert_eq!(bench.keys(), 100);
}

#[test]
fn what_is_proposed_together_is_logged_in_batches_the_log_can_hold() {
    let mut bench = Bench::new(config());
    let value = Bytes::from(vec![7; 1_500_000]);
    let big = |n: usize| {
        let key = Bytes::from(format!("big-{n}").into_bytes());
        Command::Put(Put { key, value: value.clone(), ..Put::default() })
    };
    let mut answers: Vec<_> = (0..60).map(|n| bench.propose(&big(n))).collect();
    let mut batches = 0;
    loop {
        bench.node.turn(bench.now, &mut bench.outputs).expect("a memory disk has no faults");
        let Some(Output::Persist { number, batch }) = bench.outputs.drain(..).next() else { break };
        let bytes: usize = batch.entries.iter().map(|entry| entry.data.len()).sum();
        assert!(bytes <= crate::base::limits::MAX_BATCH_BYTES, "{bytes} bytes in one batch");
        bench.step(Input::Persisted { number });
        batches += 1;
    }
    assert!(batches > 10, "90 MB are more than one batch");
    bench.settle();
    assert!(answers.iter_mut().all(|answer| matches!(answered(answer), Some(Ok(_)))));
}

#[test]
fn what_comes_while_a_batch_is_made_durable_is_the_next_one_unless_the_disk_is_slow() {
    let mut bench = Bench::new(config());
    let entries = |bench: &mut Bench| {
        bench.node.turn(bench.now, &mut bench.outputs).expect("a memory disk has no faults");
        let batches = bench.outputs.drain(..).filter_map(|output| match output {
            Output::Persist { number, batch } => Some((number, batch.entries.len())),
            _ => None,
        });
        batches.collect::<Vec<_>>()
    };
    let _first = bench.propose(&put("a"));
    let first = entries(&mut bench);
    assert_eq!(first.len(), 1);
    let _rest: Vec<_> = ["b", "c"].map(|key| bench.propose(&put(key))).into();
    assert_eq!(entries(&mut bench), [], "one is under way");
    bench.step(Input::Persisted { number: first[0].0 });
    let next = entries(&mut bench);
    assert_eq!((next.len(), next[0].1), (1, 2), "both in one");
    let _last = bench.propose(&put("d"));
    bench.step(Input::Tick);
    assert_eq!(entries(&mut bench).len(), 1, "nobody waits for a disk that is slow");
}

#[test]
fn a_read_sees_every_write_answered_before_it() {
    let mut bench = Bench::new(config());
    for n in 1..20 {
        let mut answer = bench.propose(&put(&format!("k{n}")));
        bench.settle();
        assert!(answered(&mut answer).is_some());
        assert_eq!(bench.keys(), n);
    }
}

#[test]
fn a_read_before_the_first_commit_of_the_term_waits() {
    let mut bench = Bench::cold(config());
    let mut answer = bench.read();
    bench.turn();
    assert!(answered(&mut answer).is_none());
    bench.settle();
    assert!(matches!(answered(&mut answer), Some(Ok(_))), "the round is tried anew as soon as it can be answered");
}

#[test]
fn what_waits_too_long_is_told_so_once() {
    let mut bench = Bench::new(config());
    let mut write = bench.propose(&put("a"));
    bench.turn();
    bench.now = bench.now.plus(Duration::from_secs(8));
    bench.step(Input::Tick);
    assert!(matches!(answered(&mut write), Some(Err(Refusal::Timeout))));
    bench.settle();
    assert_eq!(bench.keys(), 1, "its outcome was open, and here it came to be");
}

#[test]
fn a_lease_ends_when_its_time_is_up_and_lives_on_when_renewed() {
    let mut bench = Bench::new(config());
    let mut granted = bench.propose(&Command::LeaseGrant { id: 42, ttl: 5 });
    bench.settle();
    assert!(matches!(answered(&mut granted), Some(Ok(_))));
    let mut held = bench.propose(&Command::Put(Put { key: Bytes::from_static(b"held"), lease: 42, ..Put::default() }));
    bench.settle();
    assert!(matches!(answered(&mut held), Some(Ok(_))));
    bench.pass(Duration::from_secs(4));
    let (reply, mut renewed) = Reply::pair();
    bench.step(Input::Lease(LeaseQuestion::KeepAlive { id: 42, reply }));
    assert_eq!(answered(&mut renewed), Some(Ok(Some(5))));
    bench.pass(Duration::from_secs(4));
    assert_eq!(bench.keys(), 1);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.keys(), 0);
    let (reply, mut standing) = Reply::pair();
    bench.step(Input::Lease(LeaseQuestion::TimeToLive { id: 42, keys: true, reply }));
    assert_eq!(answered(&mut standing), Some(Ok(None)));
}

/// A thousand leases fall due at once: they end as fast as the log takes their ends, and not so many a tick.
#[test]
fn leases_that_fall_due_together_end_without_waiting_for_ticks() {
    let mut bench = Bench::new(config());
    let mut granted: Vec<_> = (1..=1_000).map(|id| bench.propose(&Command::LeaseGrant { id, ttl: 5 })).collect();
    bench.settle();
    assert!(granted.iter_mut().all(|answer| answered(answer).is_some()));
    bench.pass(Duration::from_secs(4));
    assert_eq!(bench.facts.expired_leases.load(Relaxed), 0);
    bench.now = bench.now.plus(Duration::from_secs(2));
    bench.step(Input::Tick);
    let mut rounds = 0;
    while bench.facts.expired_leases.load(Relaxed) < 1_000 || !bench.unsynced.is_empty() {
        bench.turn();
        let newest = bench.unsynced.drain(..).next_back();
        if let Some(number) = newest {
            bench.step(Input::Persisted { number });
        }
        assert!(bench.node.lease_clock.in_flight() <= crate::base::limits::MAX_REVOCATIONS_IN_FLIGHT);
        rounds += 1;
        assert!(rounds < 100, "{}", bench.facts.expired_leases.load(Relaxed));
    }
    bench.settle();
    assert_eq!(bench.node.machine.leases().iter().count(), 0);
}

/// The process stood still for longer than the lease: what its client said meanwhile waits, and is heard first.
#[test]
fn a_pause_is_not_time_that_passed() {
    let mut bench = Bench::new(config());
    for id in [42, 43] {
        drop(bench.propose(&Command::LeaseGrant { id, ttl: 5 }));
    }
    bench.settle();
    bench.pass(Duration::from_secs(3));
    let mut write = bench.propose(&Command::Put(Put { key: Bytes::from_static(b"held"), lease: 43, ..Put::default() }));
    bench.turn();
    let pause = Duration::from_secs(8);
    bench.now = bench.now.plus(pause);
    bench.step(Input::Deaf { time: pause });
    let (reply, mut renewed) = Reply::pair();
    bench.step(Input::Lease(LeaseQuestion::KeepAlive { id: 42, reply }));
    assert_eq!(answered(&mut renewed), Some(Ok(Some(5))));
    bench.step(Input::Tick);
    assert!(answered(&mut write).is_none(), "its sync may have been done all the while");
    bench.settle();
    assert!(matches!(answered(&mut write), Some(Ok(_))));
    assert_eq!(bench.facts.expired_leases.load(Relaxed), 0);
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.keys(), 0, "nobody kept this one alive, and two seconds were left");
    assert_eq!(bench.facts.expired_leases.load(Relaxed), 1);
}

/// In one queue stand a client's revoke, its grant of the same id, and the node's own revoke of the lease that fell due.
#[test]
fn a_lease_granted_anew_outlives_the_expiry_of_the_old_one() {
    let mut bench = Bench::new(config());
    drop(bench.propose(&Command::LeaseGrant { id: 42, ttl: 5 }));
    bench.settle();
    bench.now = bench.now.plus(Duration::from_secs(6));
    let mut revoked = bench.propose(&Command::LeaseRevoke { id: 42, expiry: None });
    let mut granted = bench.propose(&Command::LeaseGrant { id: 42, ttl: 9 });
    let mut held = bench.propose(&Command::Put(Put { key: Bytes::from_static(b"held"), lease: 42, ..Put::default() }));
    bench.step(Input::Tick);
    assert_eq!(bench.facts.expired_leases.load(Relaxed), 1, "the old one was named as due");
    bench.settle();
    for answer in [&mut revoked, &mut granted, &mut held] {
        assert!(matches!(answered(answer), Some(Ok(_))));
    }
    assert_eq!(bench.keys(), 1, "the new lease was not meant");
    let (reply, mut renewed) = Reply::pair();
    bench.step(Input::Lease(LeaseQuestion::KeepAlive { id: 42, reply }));
    assert_eq!(answered(&mut renewed), Some(Ok(Some(9))), "its time runs");
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.keys(), 0, "and ends");
}

#[test]
fn watchers_hear_what_is_applied_and_the_past_they_ask_for() {
    let mut bench = Bench::new(config());
    drop(bench.propose(&put("before")));
    bench.settle();
    let (reply, mut opened) = Reply::pair();
    bench.step(Input::Watch(WatchInput::Open { stream: StreamId(1), account: Arc::<Shares>::default().open(), reply }));
    let buffer = answered(&mut opened).expect("opened");
    for start_revision in [0, 2] {
        let spec = WatchSpec::events(KeyRange::all(), start_revision);
        let question = buffer.ask().expect("there is room");
        bench.step(Input::Watch(WatchInput::Create { stream: StreamId(1), asker: Ok(None), spec, question }));
    }
    drop(bench.propose(&put("after")));
    bench.settle();
    let mut heard: Vec<(i64, Vec<i64>)> = Vec::new();
    for message in next_messages(&buffer) {
        if let WatchMessage::Events { watch_id, events, .. } = message {
            heard.push((watch_id, events.iter().map(|event| event.event.kv.mod_revision).collect()));
        }
    }
    let of = |id| heard.iter().filter(|(watch, _)| *watch == id).flat_map(|(_, revs)| revs.clone()).collect::<Vec<_>>();
    assert_eq!(of(0), [3], "the first hears what comes");
    assert_eq!(of(1), [2, 3], "the second hears the past first");
}

#[test]
fn a_checkpoint_is_made_after_its_history_and_lets_the_log_go() {
    let mut bench = Bench::new(NodeConfig { checkpoint_entries: 10, ..config() });
    for n in 0..10 {
        drop(bench.propose(&put(&format!("k{n}"))));
        bench.settle();
    }
    let kinds: Vec<&str> = bench
        .outputs
        .iter()
        .map(|output| match output {
            Output::WriteHistory { .. } => "history",
            Output::Checkpoint { .. } => "checkpoint",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["history", "checkpoint"], "what the image names is handed out before it");
    let Some(Output::Checkpoint { applied, .. }) = bench.outputs.pop() else { panic!("a checkpoint") };
    bench.outputs.clear();
    bench.step(Input::Checkpointed { applied });
    assert!(matches!(bench.outputs[..], [Output::ReleaseLog { up_to: 0 }]), "two checkpoints are kept");
}

#[test]
fn a_used_up_quota_refuses_writes_and_raises_the_alarm() {
    let mut bench = Bench::new(NodeConfig { quota_bytes: 2_000, ..config() });
    let mut refused = None;
    for n in 0..100 {
        let mut answer = bench.propose(&put(&format!("k{n}")));
        assert!(answered(&mut answer).is_none(), "who is refused is told once the alarm stands");
        bench.settle();
        if let Some(Err(refusal)) = answered(&mut answer) {
            refused = Some(refusal);
            break;
        }
    }
    assert_eq!(refused, Some(Refusal::NoSpace));
    assert!(bench.facts.has_alarm(crate::machine::AlarmKind::NoSpace));
    let range = KeyRange::from_wire(Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    let mut deleted = bench.propose(&Command::DeleteRange(crate::machine::DeleteRange { range, prev_kv: false }));
    bench.settle();
    assert!(matches!(answered(&mut deleted), Some(Ok(_))), "deleting stays possible");
}

/// That it was refused is certain, and would be told as open by the end of the member.
#[test]
fn who_waits_for_the_alarm_of_the_quota_is_refused_before_the_end() {
    let mut bench = Bench::new(NodeConfig { quota_bytes: 1, ..config() });
    bench.settle();
    let mut refused = bench.propose(&put("k"));
    bench.turn();
    assert!(answered(&mut refused).is_none(), "the alarm is on its way");
    let (reply, mut drained) = Reply::pair();
    bench.step(Input::Drain { reply });
    assert!(matches!(answered(&mut refused), Some(Err(Refusal::NoSpace))));
    bench.settle();
    assert_eq!(answered(&mut drained), Some(()));
    assert!(bench.facts.has_alarm(crate::machine::AlarmKind::NoSpace), "it was raised all the same");
}

#[test]
fn draining_finishes_what_was_begun_and_refuses_what_comes() {
    let mut bench = Bench::new(config());
    let mut begun = bench.propose(&put("a"));
    bench.turn();
    let (reply, mut drained) = Reply::pair();
    bench.step(Input::Drain { reply });
    let mut late = bench.propose(&put("b"));
    // Readers that come again and again must not hold up the end.
    let mut late_read = bench.read();
    bench.turn();
    assert!(matches!(answered(&mut late), Some(Err(Refusal::Stopped))));
    assert!(matches!(answered(&mut late_read), Some(Err(Refusal::Stopped))));
    assert!(answered(&mut drained).is_none(), "something still waits");
    bench.settle();
    assert!(matches!(answered(&mut begun), Some(Ok(_))));
    assert_eq!(answered(&mut drained), Some(()));
}

#[test]
fn the_version_goes_down_with_a_downgrade_and_comes_back_without() {
    let mut bench = Bench::new(config());
    for (target, version) in
        [(Some("3.6.0"), "3.6.0"), (None, "3.7.0"), (Some("3.5.0"), "3.7.0"), (Some("3.6.0"), "3.6.0")]
    {
        drop(bench.propose(&Command::SetDowngrade(target.map(str::to_string))));
        bench.settle();
        bench.pass(Duration::from_millis(100));
        let status = bench.facts.status();
        assert_eq!((status.downgrade.as_deref(), status.cluster_version.as_deref()), (target, Some(version)));
    }
}
