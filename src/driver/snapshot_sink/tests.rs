//! Snapshots that arrive in several attempts, or not at all.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::base::{ClusterId, MemberId};
use crate::consensus::{Electorate, Group, GroupConfig};
use crate::env::{DiskFile, MemoryDisk, VirtualEnv};
use crate::machine::{Command, Machine, Put, codec};
use crate::mvcc::{SnapshotSource, StoreOptions};
use crate::wal::HardState;

const ADDRESSEE: MemberId = MemberId(2);

fn machine(entries: u64) -> Machine<MemoryDisk> {
    let options = StoreOptions { cache_bytes: 0, segment_bytes: 300 };
    let mut machine = Machine::open(MemoryDisk::new(), options, &Image::default(), &[]).unwrap();
    for index in 1..=entries {
        let put = Put { key: format!("k{index}").into(), value: "a value".into(), ..Put::default() };
        machine.apply(index, 1, &codec::encode(index, &Command::Put(put)), &|_| false).unwrap();
    }
    machine
}

fn head(machine: &Machine<MemoryDisk>) -> PeerMessage {
    let config = GroupConfig {
        member: MemberId(1),
        electorate: Electorate { voters: vec![MemberId(1), ADDRESSEE], learners: Vec::new() },
        election_ticks: 10,
        pre_vote: true,
        append_bytes: 1 << 20,
        seed: 1,
        applied: machine.applied(),
    };
    let hard_state = HardState { term: 1, vote: 0, commit: machine.applied().0 };
    Group::start(&config, hard_state, Vec::new()).snapshot_head(ADDRESSEE)
}

/// One who receives.
struct Bench {
    env: VirtualEnv,
    halves: Halves<VirtualEnv>,
    node: Arc<Mailbox<Input<MemoryDisk>>>,
    generation: u64,
}

impl Bench {
    fn new(env: VirtualEnv) -> Self {
        for dir in ["history", "checkpoint"] {
            env.disk().create_dir(dir).unwrap();
        }
        let (halves, node) = (Halves::new(env.clone()), Arc::new(Mailbox::new(10, 10)));
        Self { env, halves, node, generation: 0 }
    }

    async fn open(&mut self, head: &PeerMessage, source: &SnapshotSource<MemoryDisk>) -> Box<Sink<VirtualEnv>> {
        self.generation += 1;
        let identity = WalIdentity { cluster: ClusterId(9), member: ADDRESSEE };
        let beginning =
            Beginning { identity, generation: self.generation, segment_bytes: 300, node: self.node.clone() };
        Box::new(Sink::open(self.halves.clone(), head.clone(), source.manifest(), beginning).await.unwrap())
    }

    /// Takes up to so many chunks in, from where it is wanted.
    async fn send(
        &mut self,
        head: &PeerMessage,
        source: &SnapshotSource<MemoryDisk>,
        chunks: u64,
    ) -> Box<Sink<VirtualEnv>> {
        // Asked first, as an offer does.
        let wanted = self.open(head, source).await.next();
        let mut sink = self.open(head, source).await;
        assert_eq!(sink.next(), wanted, "the offer was answered so");
        let mut source = source.again();
        source.seek(wanted).unwrap();
        for number in wanted..wanted + chunks {
            let Some(chunk) = source.next_chunk().unwrap() else { break };
            sink.put(chunk).await.unwrap();
            assert_eq!(sink.next(), number + 1);
        }
        sink
    }

    fn files(&self) -> usize {
        self.history().len()
    }

    fn history(&self) -> Vec<String> {
        let mut files = self.env.disk().all_files();
        files.retain(|file| file.starts_with("history/"));
        files
    }

    async fn arrived(&self) -> Vec<bool> {
        let mut inputs = Vec::new();
        crate::env::virtual_timeout(Duration::from_millis(1), self.node.take(&mut inputs)).await.unwrap_or(false);
        let arrived = inputs.into_iter().map(|input| match input {
            Input::SnapshotArrived(snapshot) => {
                let files: Vec<String> = snapshot.image.position.files().map(|(name, _)| name).collect();
                assert_eq!(self.history(), files);
                snapshot.went_on
            }
            _ => panic!("nothing else is told"),
        });
        arrived.collect()
    }
}

#[test]
fn a_snapshot_that_was_cut_goes_on_in_another_attempt() {
    VirtualEnv::run(async |env| {
        let mut bench = Bench::new(env);
        let machine = machine(40);
        let (head, source) = (head(&machine), machine.snapshot(100));
        let mut from = 0;
        for chunks in [0, 3, 4, 0, 5] {
            let sink = bench.send(&head, &source, chunks).await;
            assert_eq!(sink.next(), from + chunks, "nothing is sent twice");
            from = sink.next();
            drop(sink);
            bench.env.pass(Duration::from_secs(30)).await;
        }
        assert!(bench.files() > 0 && bench.arrived().await.is_empty());
        bench.send(&head, &source, 1_000).await.finish().await.unwrap();
        assert_eq!(bench.arrived().await, [true]);
        // Whole ones are kept by nobody here.
        bench.env.pass(Duration::from_millis(limits::SNAPSHOT_HALF_KEPT_MS + 1)).await;
        assert!(bench.files() > 0);
        assert_eq!(bench.open(&head, &source).await.next(), 0);
    });
}

#[test]
fn what_nobody_goes_on_with_gives_its_space_back() {
    VirtualEnv::run(async |env| {
        let mut bench = Bench::new(env);
        let machine = machine(40);
        let (head, source) = (head(&machine), machine.snapshot(100));
        drop(bench.send(&head, &source, 9).await);
        bench.env.pass(Duration::from_millis(limits::SNAPSHOT_HALF_KEPT_MS - 1)).await;
        assert!(bench.files() > 0);
        // Going on with it makes its time longer.
        drop(bench.send(&head, &source, 1).await);
        bench.env.pass(Duration::from_millis(limits::SNAPSHOT_HALF_KEPT_MS - 1)).await;
        assert!(bench.files() > 0);
        bench.env.pass(Duration::from_millis(2)).await;
        assert_eq!(bench.files(), 0);
        assert_eq!(bench.open(&head, &source).await.next(), 0);
        // And again, for the one who looks after it has ended.
        drop(bench.send(&head, &source, 9).await);
        assert!(bench.files() > 0);
        bench.env.pass(Duration::from_millis(limits::SNAPSHOT_HALF_KEPT_MS + 1)).await;
        assert_eq!(bench.files(), 0);
        // At the end of the member nothing is left, and nothing is kept any more.
        drop(bench.send(&head, &source, 9).await);
        let late = bench.send(&head, &source, 1).await;
        bench.halves.close();
        drop(late);
        bench.env.pass(Duration::from_millis(1)).await;
        assert_eq!(bench.files(), 0);
    });
}

#[test]
fn only_the_same_snapshot_goes_on() {
    VirtualEnv::run(async |env| {
        let mut bench = Bench::new(env);
        let (old, new) = (machine(40), machine(41));
        let source = old.snapshot(100);
        drop(bench.send(&head(&old), &source, 9).await);
        // Offered, another one leaves what is there; with its first chunk it takes the place.
        assert_eq!(bench.open(&head(&new), &new.snapshot(100)).await.next(), 0);
        assert_eq!(bench.open(&head(&old), &old.snapshot(101)).await.next(), 0, "its chunks are others");
        assert_eq!(bench.open(&head(&old), &source).await.next(), 9);
        let newer = bench.send(&head(&new), &new.snapshot(100), 2).await;
        assert_eq!(bench.open(&head(&old), &source).await.next(), 0);
        // Two at a time do not meet.
        let again = bench.send(&head(&old), &source, 1_000).await;
        drop(newer);
        bench.halves.forget();
        again.finish().await.unwrap();
        assert_eq!(bench.arrived().await, [false]);
    });
}

/// A chunk that does not fit what is there, or a state that is not what its head says: the next attempt begins anew, and
/// nothing is left.
#[test]
fn what_is_refused_is_not_kept() {
    VirtualEnv::run(async |env| {
        let mut bench = Bench::new(env);
        let machine = machine(40);
        let (own, source) = (head(&machine), machine.snapshot(100));
        let mut sink = bench.send(&own, &source, 9).await;
        assert!(bench.files() > 0);
        assert!(sink.put(Bytes::from_static(b"no chunk")).await.is_err());
        assert_eq!(bench.files(), 0, "the space is free before the answer");
        assert!(sink.put(source.again().next_chunk().unwrap().unwrap()).await.is_err(), "it is over");
        drop(sink);
        assert_eq!(bench.open(&own, &source).await.next(), 0);
        // Not whole.
        assert!(bench.send(&own, &source, 9).await.finish().await.is_err());
        assert_eq!((bench.files(), bench.open(&own, &source).await.next()), (0, 0));
        // Another's head.
        let wrong = head(&self::machine(39));
        let why = bench.send(&wrong, &source, 1_000).await.finish().await.unwrap_err();
        assert!(why.contains("not what its head says"), "{why}");
        assert_eq!(bench.files(), 0);
        assert!(bench.arrived().await.is_empty());
        let beginning = Beginning {
            identity: WalIdentity::default(),
            generation: 99,
            segment_bytes: 300,
            node: bench.node.clone(),
        };
        let short = Sink::open(bench.halves.clone(), own, Bytes::from_static(b"short"), beginning).await;
        assert!(short.is_err());
    });
}

/// Once raft has taken it nothing becomes durable before its image is, not even a vote.
#[test]
fn a_snapshot_for_whose_image_there_is_no_room_does_not_arrive() {
    VirtualEnv::run(async |env| {
        let mut bench = Bench::new(env);
        let machine = machine(40);
        let (head, source) = (head(&machine), machine.snapshot(100));
        let bytes = |bench: &Bench| -> usize {
            let files = bench.env.disk().all_files().into_iter();
            let len = |file: String| bench.env.disk().open(&file, crate::env::OpenMode::Read).unwrap().len().unwrap();
            files.map(|file| len(file) as usize).sum()
        };
        let sink = bench.send(&head, &source, 1_000).await;
        let before = bytes(&bench);
        sink.finish().await.unwrap();
        assert_eq!(bench.arrived().await, [false]);
        let takes = bytes(&bench) - before;
        for file in bench.env.disk().all_files() {
            bench.env.disk().remove(&file).unwrap();
        }
        let sink = bench.send(&head, &source, 1_000).await;
        assert_eq!(bytes(&bench), before);
        bench.env.disk().leave_room(Some(takes - 1));
        let refused = sink.finish().await.expect_err("there is no room");
        assert!(refused.contains("reserve"), "{refused}");
        assert_eq!(bench.arrived().await, Vec::<bool>::new());
        assert_eq!(bench.env.disk().all_files(), Vec::<String>::new(), "and gives back what it took");
        bench.env.disk().leave_room(Some(before + takes));
        bench.send(&head, &source, 1_000).await.finish().await.unwrap();
        assert_eq!(bench.arrived().await, [false]);
        bench.env.disk().leave_room(Some(0));
        let fits = vec![1; 8].into();
        checkpoint_files::write(bench.env.disk(), 40, &fits).await.expect("it takes the room that was held for it");
    });
}
