//! Snapshots that arrive in several attempts, or not at all.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::base::{ClusterId, Fault, MemberId};
use crate::consensus::{Electorate, Group, GroupConfig};
use crate::driver::kept_half;
use crate::env::{DiskFile, MemoryDisk, OpenMode, VirtualEnv};
use crate::machine::{Command, Machine, Put, codec};
use crate::mvcc::{SnapshotSource, StoreOptions};
use crate::wal::HardState;

const ADDRESSEE: MemberId = MemberId(2);

const OWN: WalIdentity = WalIdentity { cluster: ClusterId(9), member: ADDRESSEE };

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
    segment_bytes: u64,
}

impl Bench {
    fn new(env: VirtualEnv) -> Self {
        for dir in ["history", "checkpoint"] {
            env.disk().create_dir(dir).unwrap();
        }
        let (halves, node) = (Halves::new(env.clone(), Arc::default()), Arc::new(Mailbox::new(10, 10)));
        Self { env, halves, node, generation: 0, segment_bytes: 300 }
    }

    /// Asked again for as long as something is read.
    async fn open(&mut self, head: &PeerMessage, source: &SnapshotSource<MemoryDisk>) -> Box<Sink<VirtualEnv>> {
        loop {
            match self.offer(head, source).await.unwrap() {
                Some(sink) => return Box::new(sink),
                None => self.env.pass(Duration::from_millis(1)).await,
            }
        }
    }

    async fn offer(
        &mut self,
        head: &PeerMessage,
        source: &SnapshotSource<MemoryDisk>,
    ) -> Result<Option<Sink<VirtualEnv>>, String> {
        self.generation += 1;
        let (generation, segment_bytes) = (self.generation, self.segment_bytes);
        let beginning = Beginning { identity: OWN, generation, segment_bytes, node: self.node.clone() };
        Sink::open(self.halves.clone(), head.clone(), source.manifest(), beginning).await
    }

    /// The member ends, and starts again as this one; whether it found a half.
    async fn restart(&mut self, own: WalIdentity) -> bool {
        self.halves.close();
        self.env.pass(Duration::from_millis(1)).await;
        self.halves = Halves::new(self.env.clone(), Arc::default());
        let found = kept_half::find(self.env.disk(), own, &Image::default(), &[]).unwrap();
        let is_found = found.is_some();
        found.into_iter().for_each(|half| self.halves.found(half, self.segment_bytes, (own, self.node.clone())));
        is_found
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

    async fn arrived(&self) -> Vec<Came> {
        let mut inputs = Vec::new();
        crate::env::virtual_timeout(Duration::from_millis(1), self.node.take(&mut inputs)).await.unwrap_or(false);
        let arrived = inputs.into_iter().map(|input| match input {
            Input::SnapshotArrived(snapshot) => {
                let files: Vec<String> = snapshot.image.position.files().map(|(name, _)| name).collect();
                assert_eq!(self.history(), files);
                snapshot.came
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
        let counted = |bench: &Bench| {
            let tallies = &bench.halves.facts.tallies;
            [&tallies.snapshots, &tallies.snapshot_syncs].map(|times| times.measured().count)
        };
        assert_eq!(counted(&bench), [0, 0], "of those that came whole there is none");
        bench.send(&head, &source, 1_000).await.finish().await.unwrap();
        assert_eq!(counted(&bench), [1, 1]);
        assert_eq!(bench.arrived().await, [Came::AfterCut]);
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
        // At the end of the member what is there is left to its next life, in which it has its hour.
        drop(bench.send(&head, &source, 9).await);
        let late = bench.send(&head, &source, 1).await;
        bench.halves.close();
        drop(late);
        bench.env.pass(Duration::from_millis(1)).await;
        assert!(bench.files() > 0);
        assert!(bench.restart(OWN).await);
        bench.env.pass(Duration::from_millis(limits::SNAPSHOT_HALF_KEPT_MS - 1)).await;
        assert!(bench.files() > 0);
        bench.env.pass(Duration::from_millis(2)).await;
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
        assert_eq!(bench.arrived().await, [Came::AtOnce]);
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
        // So large that nothing is noted, for a logbook that ends gives room.
        bench.segment_bytes = 1 << 20;
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
        assert_eq!(bench.arrived().await, [Came::AtOnce]);
        let takes = bytes(&bench) - before;
        for file in bench.env.disk().all_files() {
            bench.env.disk().remove(&file).unwrap();
        }
        let sink = bench.send(&head, &source, 1_000).await;
        assert_eq!(bytes(&bench), before);
        bench.env.disk().leave_room(Some(takes - 1));
        let refused = sink.finish().await.expect_err("there is no room");
        assert!(refused.contains("reserve"), "{refused}");
        assert_eq!(bench.arrived().await, Vec::<Came>::new());
        assert_eq!(bench.env.disk().all_files(), Vec::<String>::new(), "and gives back what it took");
        bench.env.disk().leave_room(Some(before + takes));
        bench.send(&head, &source, 1_000).await.finish().await.unwrap();
        let mut inputs = Vec::new();
        assert!(bench.node.take(&mut inputs).await);
        let Some(Input::SnapshotArrived(arrived)) = inputs.pop() else { panic!("it arrived") };
        // Neither an ordinary checkpoint nor another state takes the room, however small.
        let disk = bench.env.disk();
        disk.leave_room(Some(0));
        let full = |written: Result<(), Fault>| assert!(written.is_err_and(|fault| fault.is_no_space()));
        full(checkpoint_files::write(disk, 40, &vec![1; 8].into()).await);
        checkpoint_files::discard_draft(disk).unwrap();
        full(checkpoint_files::reserve(disk, &Image::default()).await);
        crate::driver::make_durable(disk, &arrived.image).await.map(drop).expect("it has the room that is held for it");
        assert_eq!(disk.list(checkpoint_files::DIR).unwrap(), ["0000000000000028.image"]);
        let found = checkpoint_files::newest(disk).await.unwrap().image.unwrap();
        assert_eq!(found.image, arrived.image);
    });
}

/// However often and wherever its receiver ends: it goes on with what it has, and nothing is sent twice.
#[test]
fn a_half_outlives_its_receiver() {
    VirtualEnv::run(async |env| {
        let mut bench = Bench::new(env);
        // A note for each record.
        bench.segment_bytes = 200;
        let machine = machine(40);
        let (head, source) = (head(&machine), machine.snapshot(100));
        let state_chunks = 1 + source.again().header().state_bytes.div_ceil(100);
        // What is there before the first record is not worth a note.
        drop(bench.send(&head, &source, state_chunks).await);
        assert!(!bench.restart(OWN).await);
        assert_eq!(bench.open(&head, &source).await.next(), 0);
        let mut from = 0;
        for chunks in [state_chunks + 1, 3, 4, 0, 5] {
            let sink = bench.send(&head, &source, chunks).await;
            assert_eq!(sink.next(), from + chunks, "nothing is sent twice");
            from = sink.next();
            drop(sink);
            assert!(bench.restart(OWN).await);
        }
        assert!(bench.arrived().await.is_empty());
        bench.send(&head, &source, 1_000).await.finish().await.unwrap();
        assert_eq!(bench.arrived().await, [Came::AfterRestart]);
        assert!(bench.history().iter().all(|file| file.ends_with(".seg")), "a whole one is no half");
        assert!(!bench.restart(OWN).await);
        // Cut and not restarted, all of it is of one life.
        drop(bench.send(&head, &source, 20).await);
        bench.send(&head, &source, 1_000).await.finish().await.unwrap();
        let mut inputs = Vec::new();
        assert!(bench.node.take(&mut inputs).await);
        assert!(matches!(&inputs[..], [Input::SnapshotArrived(snapshot)] if snapshot.came == Came::AfterCut));
    });
}

/// However long it takes to read what an earlier life left, and however long the disk makes it wait: those who ask meanwhile
/// do it no harm.
#[test]
fn who_offers_while_a_half_is_busy_does_it_no_harm() {
    VirtualEnv::run(async |env| {
        let mut bench = Bench::new(env);
        bench.segment_bytes = 200;
        let machine = machine(40);
        let (head, source) = (head(&machine), machine.snapshot(100));
        let stall = Duration::from_millis(limits::SNAPSHOT_STALL_MS);
        for is_reading in [true, false] {
            drop(bench.send(&head, &source, 20).await);
            let files = bench.history();
            bench.halves.close();
            bench.env.pass(Duration::from_millis(1)).await;
            bench.halves = Halves::new(bench.env.clone(), Arc::default());
            let KeptHalf { name, half } =
                kept_half::find(bench.env.disk(), OWN, &Image::default(), &[]).unwrap().unwrap();
            let (clock, disk) = (bench.env.clock().clone(), bench.env.disk().clone());
            let (until, node) = (clock.now().plus(stall * 11 / 2), bench.node.clone());
            let reads = Arc::new(AtomicBool::new(is_reading));
            let (closed, told) = (bench.halves.closed.clone(), (reads.clone(), Arc::default()));
            let desk = Desk::begin(&bench.env, "slow", |jobs| async move {
                clock.sleep_until(until).await;
                let begun = Begun::Before { half, segment_bytes: 200 };
                build((disk, closed), begun, (OWN, node), (jobs, told)).await;
            });
            bench.halves.keep(name, Building { desk, reads, arrived: Arc::default() });
            for number in 0..4 {
                let offered = crate::env::virtual_timeout(stall, bench.offer(&head, &source)).await;
                match (is_reading, number) {
                    (true, _) => assert!(matches!(offered, Ok(Ok(None))), "it is said at once"),
                    (false, 0 | 1) => assert!(offered.is_err(), "its answer does not come"),
                    (false, _) => {
                        let why = offered.unwrap().err().expect("it is refused");
                        assert!(why.contains("waits for the disk"), "{why}");
                    }
                }
                bench.env.pass(stall).await;
                assert_eq!(bench.history(), files, "it is there as it was");
            }
            bench.env.clock().sleep_until(until).await;
            bench.env.pass(Duration::from_millis(1)).await;
            assert_eq!(bench.open(&head, &source).await.next(), 20, "it goes on");
            bench.send(&head, &source, 1_000).await.finish().await.unwrap();
            assert_eq!(bench.arrived().await, [Came::AfterRestart]);
            for file in bench.history() {
                bench.env.disk().remove(&file).unwrap();
            }
        }
    });
}

/// Whose connection is lost while the whole is taken over does not send it once more.
#[test]
fn what_arrived_while_its_sender_was_away_does_not_begin_anew() {
    VirtualEnv::run(async |env| {
        let mut bench = Bench::new(env);
        let machine = machine(40);
        let (head, source) = (head(&machine), machine.snapshot(100));
        let minute = Duration::from_secs(60);
        let (clock, disk, node) = (bench.env.clock().clone(), bench.env.disk().clone(), bench.node.clone());
        let (arrived, closed) = (Arc::<AtomicBool>::default(), bench.halves.closed.clone());
        let told = (Arc::default(), arrived.clone());
        let desk = Desk::begin(&bench.env, "slow", |jobs| async move {
            clock.sleep_until(clock.now().plus(minute)).await;
            let mut builder = SnapshotBuilder::new(disk.clone(), 40, 1, 300);
            let mut source = self::machine(40).snapshot(100);
            while let Some(chunk) = source.next_chunk().unwrap() {
                builder.take(&chunk).await.unwrap();
            }
            build((disk, closed), Begun::Now(Box::new(builder)), (OWN, node), (jobs, told)).await;
        });
        let name = SnapshotName::of(head.snapshot_at().unwrap(), source.manifest()).unwrap();
        let building = Building { desk, reads: Arc::default(), arrived };
        let sink = Sink {
            halves: bench.halves.clone(),
            offered: Instant::default(),
            name,
            head: head.clone(),
            beginning: None,
            next: 0,
            went_on: true,
            building: Some(building),
        };
        let cut = crate::env::virtual_timeout(minute / 2, Box::new(sink).finish()).await;
        assert!(cut.is_err(), "its sender has gone");
        let why = bench.offer(&head, &source).await.err().expect("it is refused");
        assert!(why.contains("here already"), "{why}");
        assert_eq!(bench.arrived().await, [Came::AfterCut]);
    });
}

#[test]
fn only_the_same_snapshot_of_the_same_member_goes_on_after_a_restart() {
    VirtualEnv::run(async |env| {
        let mut bench = Bench::new(env);
        let (old, new) = (machine(40), machine(41));
        let (source, newer) = (old.snapshot(100), new.snapshot(100));
        drop(bench.send(&head(&old), &source, 20).await);
        let others = [WalIdentity { cluster: ClusterId(8), ..OWN }, WalIdentity { member: MemberId(3), ..OWN }];
        for other in others {
            assert!(!bench.restart(other).await, "another's is none");
        }
        assert!(bench.restart(OWN).await);
        assert_eq!(bench.open(&head(&new), &newer).await.next(), 0);
        assert_eq!(bench.open(&head(&old), &old.snapshot(101)).await.next(), 0, "its chunks are others");
        assert_eq!(bench.open(&head(&old), &source).await.next(), 20);
        // With the first chunk of another it goes, and is not found again.
        let sink = bench.send(&head(&new), &newer, 1).await;
        bench.env.pass(Duration::from_millis(1)).await;
        assert_eq!(bench.files(), 0);
        drop(sink);
        assert!(!bench.restart(OWN).await);
        // One that a start is beyond is none, nor one among whose files a history lies.
        drop(bench.send(&head(&old), &source, 20).await);
        let found = |image: &Image| kept_half::find(bench.env.disk(), OWN, image, &[]).unwrap().is_some();
        let at = |index| Image { state: State { applied: (index, 1), ..State::default() }, ..Image::default() };
        assert_eq!([39, 40, 41].map(|index| found(&at(index))), [true, true, false]);
        let of = |generation: u64| Image {
            position: crate::mvcc::StorePosition::of_segment(generation << 32),
            ..Image::default()
        };
        let own = bench.generation;
        assert_eq!([own - 1, own, own + 1].map(|generation| found(&of(generation))), [true, false, false]);
    });
}

/// Whatever becomes of its files meanwhile, what goes on is a part of what was sent.
#[test]
fn a_half_that_was_damaged_goes_on_before_the_damage() {
    VirtualEnv::run(async |env| {
        let mut bench = Bench::new(env);
        let machine = machine(40);
        let (head, source) = (head(&machine), machine.snapshot(100));
        let mut came = std::collections::BTreeSet::new();
        for share in 0..24 {
            drop(bench.send(&head, &source, 30).await);
            bench.halves.close();
            bench.env.pass(Duration::from_millis(1)).await;
            let files = bench.history();
            let file = &files[files.len() * share / 24];
            let file = bench.env.disk().open(file, OpenMode::Write).unwrap();
            let (at, mut byte) = (file.len().unwrap() * 2 / 3, [0]);
            file.read_full_at(at, &mut byte).unwrap();
            file.write_at(at, &[byte[0] ^ 0x10]).unwrap();
            bench.restart(OWN).await;
            let from = bench.open(&head, &source).await.next();
            came.insert(from);
            bench.send(&head, &source, 1_000).await.finish().await.unwrap();
            let how = bench.arrived().await;
            assert_eq!(how, [if from > 0 { Came::AfterRestart } else { Came::AtOnce }]);
            for file in bench.history() {
                bench.env.disk().remove(&file).unwrap();
            }
        }
        assert!(came.len() > 5 && came.iter().all(|from| *from < 31), "{came:?}");
    });
}
