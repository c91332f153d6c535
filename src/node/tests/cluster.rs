//! Scenarios of several nodes in one thread: messages go over their wire form, and only where this file lets them.

use std::collections::BTreeSet;

use super::*;
use crate::base::{LeaseId, Shares};
use crate::consensus::{MessageKind, PeerMessage};
use crate::env::run_ready;
use crate::machine::{MemberChange, State};
use crate::mvcc::{SnapshotBuilder, SnapshotSource, WriteMark};
use crate::wal::WalIdentity;
use crate::wal::{Batch, LogEntry};

mod amnesia;
mod leases;
mod rebuild;
mod renewals;
mod room;
mod snapshots;
mod waiting;

/// One member: its node, and the log as its disk has it.
struct Seat {
    id: MemberId,
    node: Node<MemoryDisk>,
    facts: Arc<Facts>,
    unsynced: Vec<(u64, Batch)>,
    hard_state: HardState,
    log: Vec<LogEntry>,
    /// Its disk does not answer.
    hangs: bool,
    /// What it installs is durable and not read yet.
    reads_slowly: bool,
    disk: MemoryDisk,
    snapshots: Vec<(PeerMessage, Box<SnapshotSource<MemoryDisk>>)>,
    /// Last entries of the snapshots that arrived here.
    arrived: Vec<u64>,
    /// Images made durable, whose state is not in place yet.
    installs: Vec<Image>,
    /// Images to rebuild from, not durable yet.
    rebuilds: Vec<Image>,
    /// Checkpoints that are durable and not told yet.
    checkpoints: Vec<u64>,
    /// Where the history ends that was handed out; what of it is written is said by hand.
    history: Option<WriteMark>,
    /// What was asked for the sake of room.
    room: Vec<&'static str>,
}

struct Cluster {
    seats: Vec<Seat>,
    now: Instant,
    /// Who is cut off from everybody.
    cut: BTreeSet<MemberId>,
    /// Kinds that do not get through.
    lost: Vec<MessageKind>,
    next_id: u64,
}

fn id(n: usize) -> MemberId {
    MemberId(n as u64 + 1)
}

fn member(n: usize) -> Member {
    Member { id: id(n), peer_urls: vec![format!("http://m{n}:2380")], ..Member::default() }
}

fn seat(n: usize, hard_state: HardState, log: Vec<LogEntry>, voters: &[MemberId], life: u64) -> Seat {
    let group_config = GroupConfig {
        member: id(n),
        electorate: Electorate { voters: voters.to_vec(), learners: Vec::new() },
        election_ticks: 10,
        pre_vote: true,
        append_bytes: 1 << 20,
        seed: 77 + life,
        applied: (0, 0),
    };
    let group = Group::start(&group_config, hard_state, log.clone());
    let disk = MemoryDisk::new();
    for dir in ["history", "checkpoint"] {
        crate::env::Disk::create_dir(&disk, dir).expect("made");
    }
    let machine = Machine::open(disk.clone(), StoreOptions::default(), &Image::default(), &[]).expect("opens");
    let facts = Arc::new(Facts::default());
    let config = NodeConfig {
        member: id(n),
        name: format!("m{n}"),
        seed: n as u64,
        checkpoint_entries: 20,
        lease_checkpoint_interval: Duration::from_secs(1),
        auto_compaction: Some(AutoCompaction::Revisions(10)),
        catch_up_entries: 5,
        ..config()
    };
    let mut node = Node::new(config, group, machine, None, facts.clone(), Arc::new(|| {}));
    node.count_own_ids_from((n as u64 + 1) << 32 | life << 20);
    Seat {
        id: id(n),
        node,
        facts,
        unsynced: Vec::new(),
        hard_state,
        log,
        hangs: false,
        reads_slowly: false,
        disk,
        snapshots: Vec::new(),
        arrived: Vec::new(),
        installs: Vec::new(),
        rebuilds: Vec::new(),
        checkpoints: Vec::new(),
        history: None,
        room: Vec::new(),
    }
}

impl Seat {
    fn turn(&mut self, now: Instant) -> (bool, Vec<PeerMessage>) {
        let mut outputs = Vec::new();
        self.node.turn(now, &mut outputs).expect("nothing is wrong");
        let more = self.node.work(now, &mut outputs).expect("a memory disk has no faults");
        (more, self.take_outputs(outputs))
    }

    fn take_outputs(&mut self, outputs: Vec<Output>) -> Vec<PeerMessage> {
        let mut messages = Vec::new();
        for output in outputs {
            match output {
                Output::Persist { number, batch } => self.unsynced.push((number, batch)),
                Output::Send(message) => messages.push(message),
                Output::SendSnapshot { message, source } => self.snapshots.push((message, source)),
                Output::Checkpoint { applied, .. } => self.checkpoints.push(applied),
                Output::WriteHistory { mark, .. } => self.history = Some(mark),
                Output::GiveRoom => self.room.push("give"),
                Output::LookForRoom => self.room.push("look"),
                Output::Install { number, image, batch } => {
                    self.log.clear();
                    self.installs.push(*image);
                    self.unsynced.push((number, batch));
                }
                Output::Rebuild { image } => self.rebuilds.push(*image),
                _ => {}
            }
        }
        messages
    }

    /// Everything handed out so far becomes durable.
    fn sync(&mut self, now: Instant) -> Vec<PeerMessage> {
        let mut newest = None;
        for (number, batch) in self.unsynced.drain(..) {
            newest = Some(number);
            self.hard_state = batch.hard_state.unwrap_or(self.hard_state);
            if let Some(first) = batch.entries.first() {
                self.log.retain(|entry| entry.index < first.index);
                self.log.extend(batch.entries);
            }
        }
        let mut outputs = Vec::new();
        if let Some(number) = newest {
            self.node.step(now, Input::Persisted { number }, &mut outputs);
        }
        for applied in std::mem::take(&mut self.checkpoints) {
            self.node.step(now, Input::Checkpointed { applied }, &mut outputs);
        }
        if self.reads_slowly {
            return self.take_outputs(outputs);
        }
        for image in std::mem::take(&mut self.rebuilds) {
            let machine = Machine::open(self.disk.clone(), StoreOptions::default(), &image, &[]).expect("it is whole");
            self.node.step(now, Input::Rebuilt(Box::new(machine)), &mut outputs);
        }
        for image in std::mem::take(&mut self.installs) {
            let machine = Machine::open(self.disk.clone(), StoreOptions::default(), &image, &[]).expect("it is whole");
            self.node.step(now, Input::Installed(Box::new(machine)), &mut outputs);
        }
        self.take_outputs(outputs)
    }
}

impl Seat {
    /// What it answers at once.
    fn take_snapshot(
        &mut self,
        message: &PeerMessage,
        source: &mut SnapshotSource<MemoryDisk>,
        now: Instant,
    ) -> Option<Vec<PeerMessage>> {
        let at = message.snapshot_at().expect("it is one");
        let (reply, mut offered) = Reply::pair();
        let message_of = Box::new(message.clone());
        self.node.step(now, Input::SnapshotOffered { message: message_of, reply }, &mut Vec::new());
        let generation = answered(&mut offered).expect("answered").ok()?;
        let mut builder = SnapshotBuilder::new(self.disk.clone(), source.id(), generation, 4_096);
        while let Some(chunk) = source.next_chunk().expect("read") {
            run_ready(builder.take(&chunk)).expect("taken");
        }
        let built = run_ready(builder.finish()).expect("whole");
        let state = State::decode(built.state).expect("readable");
        let image = Image::new(WalIdentity::default(), state, built.position).expect("it belongs together");
        let snapshot = ArrivedSnapshot { message: message.clone(), image, came: Came::AtOnce };
        self.arrived.push(at.0);
        let mut outputs = Vec::new();
        self.node.step(now, Input::SnapshotArrived(Box::new(snapshot)), &mut outputs);
        let sent = self.take_outputs(outputs);
        assert!(sent.is_empty() || self.installs.is_empty(), "nothing is promised before it is durable");
        Some(sent)
    }
}

impl Cluster {
    fn new(members: usize) -> Self {
        let ids: Vec<MemberId> = (0..members).map(id).collect();
        let log: Vec<LogEntry> =
            (0..members).map(|n| founding_entry(n as u64 + 1, id(n), member(n).context())).collect();
        let hard_state = HardState { term: 1, vote: 0, commit: members as u64 };
        let seats = (0..members).map(|n| seat(n, hard_state, log.clone(), &ids, 0)).collect();
        Self { seats, now: Instant(1), cut: BTreeSet::new(), lost: Vec::new(), next_id: 1_000 }
    }

    /// Lets everything happen that needs no time.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.exchange() {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// One turn of everybody, and what they say to each other; whether more is to come.
    fn exchange(&mut self) -> bool {
        let busy = self.carry_snapshots();
        self.exchange_but_snapshots() || busy
    }

    /// As [`Self::exchange`], while snapshots wait.
    fn exchange_but_snapshots(&mut self) -> bool {
        let mut messages = Vec::new();
        let mut busy = false;
        for seat in &mut self.seats {
            let (more, sent) = seat.turn(self.now);
            messages.extend(sent);
            busy |= more;
            if !seat.hangs {
                busy |= !seat.unsynced.is_empty() || !seat.rebuilds.is_empty();
                messages.extend(seat.sync(self.now));
            }
        }
        busy |= !messages.is_empty();
        for message in messages {
            self.deliver(&message);
        }
        busy
    }

    fn deliver(&mut self, message: &PeerMessage) {
        let dropped = self.cut.contains(&message.from()) || self.cut.contains(&message.to());
        if dropped || self.lost.contains(&message.kind()) {
            return;
        }
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let message = PeerMessage::decode(&bytes).expect("what is sent can be read").expect("it is of someone");
        let now = self.now;
        if let Some(seat) = self.seats.iter_mut().find(|seat| seat.id == message.to()) {
            let mut outputs = Vec::new();
            seat.node.step(now, Input::Peer(message), &mut outputs);
            let sent = seat.take_outputs(outputs);
            assert!(sent.is_empty(), "a step sends nothing by itself");
        }
    }

    /// Snapshots go their way, chunk by chunk; whether there were any.
    fn carry_snapshots(&mut self) -> bool {
        let now = self.now;
        let sent: Vec<_> = self.seats.iter_mut().flat_map(|seat| std::mem::take(&mut seat.snapshots)).collect();
        let any = !sent.is_empty();
        for (message, mut source) in sent {
            let (from, to) = (message.from(), message.to());
            let comes = !self.cut.contains(&from) && !self.cut.contains(&to);
            let receiver = self.seats.iter_mut().find(|seat| comes && seat.id == to);
            let answers = receiver.and_then(|seat| seat.take_snapshot(&message, &mut source, now));
            let arrives = answers.is_some();
            answers.iter().flatten().for_each(|answer| self.deliver(answer));
            let n = self.seats.iter().position(|seat| seat.id == from).expect("who sends is there");
            self.step(n, Input::SnapshotSent { member: to, arrived: arrives });
        }
        any
    }

    /// Lets time pass, tick by tick.
    fn pass(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.now = self.now.plus(Duration::from_millis(100));
            for seat in &mut self.seats {
                seat.node.step(self.now, Input::Tick, &mut Vec::new());
            }
            self.settle();
        }
    }

    fn leader(&self) -> Option<usize> {
        let leaders: Vec<usize> = (0..self.seats.len()).filter(|n| self.seats[*n].facts.status().is_leader).collect();
        let reachable: Vec<usize> = leaders.into_iter().filter(|n| !self.cut.contains(&id(*n))).collect();
        assert!(reachable.len() <= 1, "two lead: {reachable:?}");
        reachable.first().copied()
    }

    fn elect(&mut self) -> usize {
        for _ in 0..100 {
            self.pass(1);
            if let Some(leader) = self.leader() {
                return leader;
            }
        }
        panic!("nobody is elected");
    }

    fn step(&mut self, n: usize, input: Input) {
        self.seats[n].node.step(self.now, input, &mut Vec::new());
    }

    fn propose(&mut self, n: usize, command: &Command) -> Receiver<Result<Proposed, Refusal>> {
        self.next_id += 1;
        let (reply, answer) = Reply::pair();
        let payload = codec::encode(self.next_id, command);
        self.step(n, Input::Propose { id: self.next_id, payload, cost: 0, since: self.now, reply });
        answer
    }

    fn change(&mut self, n: usize, change: MemberChange) -> Receiver<Result<Proposed, Refusal>> {
        self.next_id += 1;
        let (reply, answer) = Reply::pair();
        self.step(n, Input::ChangeMembers { id: self.next_id, change, reply });
        answer
    }

    fn read(&mut self, n: usize) -> Receiver<Result<View<MemoryDisk>, Refusal>> {
        let (reply, answer) = Reply::pair();
        self.step(n, Input::Read { linearizable: true, reply });
        answer
    }

    fn keys(&mut self, n: usize) -> usize {
        let mut answer = self.read(n);
        self.settle();
        let view = answered(&mut answer).expect("served").expect("not refused");
        view.range(&RangeQuery::plain(KeyRange::all())).expect("read").kvs.len()
    }

    /// The member starts again from what its disk has.
    fn restart(&mut self, n: usize, life: u64) {
        let founders: Vec<MemberId> = (0..self.seats.len()).map(id).collect();
        let old = &self.seats[n];
        self.seats[n] = seat(n, old.hard_state, old.log.clone(), &founders, life);
    }

    fn keep_alive(&mut self, n: usize, id: LeaseId) -> Receiver<Result<Option<i64>, Refusal>> {
        let (reply, answer) = Reply::pair();
        self.step(n, Input::Lease(LeaseQuestion::KeepAlive { id, reply }));
        answer
    }
}

fn done<T>(answer: &mut Receiver<Result<T, Refusal>>) -> T {
    answered(answer).expect("answered").expect("not refused")
}

#[test]
fn three_elect_one_and_every_member_writes_and_reads() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    for n in 0..3 {
        let mut answer = cluster.propose(n, &put(&format!("k{n}")));
        cluster.settle();
        assert_eq!(done(&mut answer).revision, n as i64 + 2);
        for reader in 0..3 {
            assert_eq!(cluster.keys(reader), n + 1, "member {reader}, leader {leader}");
        }
    }
    cluster.pass(2);
    let names: Vec<String> = cluster.seats[0].facts.status().members.into_iter().map(|member| member.name).collect();
    assert_eq!(names, ["m0", "m1", "m2"], "each has told its name");
    assert!(cluster.seats.iter().all(|seat| seat.facts.status().ready));
}

#[test]
fn a_leader_cut_off_answers_nothing_and_another_takes_over() {
    let mut cluster = Cluster::new(3);
    let old = cluster.elect();
    cluster.pass(2);
    cluster.cut.insert(id(old));
    let mut stale = cluster.read(old);
    let mut lost = cluster.propose(old, &put("lost"));
    let mut renewal = cluster.keep_alive(old, 1);
    cluster.settle();
    assert!(answered(&mut stale).is_none(), "nobody confirms that it leads");
    assert!(answered(&mut renewal).is_none());
    let new = cluster.elect();
    assert_ne!(old, new);
    let mut written = cluster.propose(new, &put("kept"));
    cluster.settle();
    done(&mut written);
    cluster.pass(80);
    assert!(matches!(answered(&mut stale), Some(Err(_))), "given up after its time");
    assert!(matches!(answered(&mut lost), Some(Err(_))));
    cluster.cut.clear();
    cluster.pass(30);
    for n in 0..3 {
        assert_eq!(cluster.keys(n), 1, "what was never agreed on is gone");
    }
}

#[test]
fn nothing_is_acknowledged_before_a_majority_has_it_on_disk() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let followers: Vec<usize> = (0..3).filter(|n| *n != leader).collect();
    for n in &followers {
        cluster.seats[*n].hangs = true;
    }
    let mut answer = cluster.propose(leader, &put("a"));
    cluster.settle();
    assert!(answered(&mut answer).is_none(), "the leader's disk alone is no majority");
    cluster.seats[followers[0]].hangs = false;
    cluster.settle();
    done(&mut answer);
}

#[test]
fn an_append_leaves_before_the_leaders_own_sync() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let mut answer = cluster.propose(leader, &put("a"));
    let (_, messages) = cluster.seats[leader].turn(cluster.now);
    let appends =
        messages.iter().filter(|message| message.kind() == MessageKind::Append && message.payload_bytes() > 0);
    assert_eq!(appends.count(), 2);
    assert!(answered(&mut answer).is_none());
}

#[test]
fn a_leader_whose_disk_hangs_hands_over_and_does_not_stand_again() {
    let mut cluster = Cluster::new(3);
    let old = cluster.elect();
    cluster.pass(2);
    cluster.seats[old].hangs = true;
    let mut answer = cluster.propose(old, &put("a"));
    cluster.pass(15);
    let new = cluster.leader().expect("another leads");
    assert_ne!(new, old);
    assert!(answered(&mut answer).is_none(), "not durable there, so not applied there");
    let mut written = cluster.propose(new, &put("b"));
    cluster.settle();
    done(&mut written);
    cluster.pass(20);
    assert_eq!(cluster.leader(), Some(new));
    cluster.seats[old].hangs = false;
    cluster.pass(3);
    assert_eq!(done(&mut answer).revision, 2, "its disk came back: it was agreed on");
}

#[test]
fn a_restarted_member_catches_up_and_old_reads_confirm_nothing() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let follower = (leader + 1) % 3;
    cluster.lost = vec![MessageKind::ReadIndexResponse];
    let mut early = cluster.read(follower);
    cluster.settle();
    assert!(answered(&mut early).is_none());
    let mut written = cluster.propose(leader, &put("a"));
    cluster.settle();
    done(&mut written);
    cluster.restart(follower, 1);
    cluster.lost.clear();
    cluster.pass(15);
    assert_eq!(cluster.keys(follower), 1);
}

#[test]
fn the_leadership_moves_when_asked_and_writes_wait_for_it() {
    let mut cluster = Cluster::new(3);
    let old = cluster.elect();
    cluster.pass(2);
    let to = (old + 1) % 3;
    let (reply, mut moved) = Reply::pair();
    cluster.step(old, Input::HandOver { to: Some(id(to)), reply });
    let mut written = cluster.propose(old, &put("a"));
    cluster.settle();
    done(&mut moved);
    assert_eq!(cluster.leader(), Some(to));
    done(&mut written);
    let (reply, mut refused) = Reply::pair();
    cluster.step(old, Input::HandOver { to: Some(id(old)), reply });
    assert_eq!(answered(&mut refused), Some(Err(Refusal::NotLeader)));
    let (reply, mut refused) = Reply::pair();
    cluster.step(to, Input::HandOver { to: Some(MemberId(99)), reply });
    assert_eq!(answered(&mut refused), Some(Err(Refusal::BadTransferee)));
}

#[test]
fn what_is_passed_on_while_the_leadership_is_handed_over_waits_too() {
    let mut cluster = Cluster::new(3);
    let old = cluster.elect();
    cluster.pass(2);
    let (to, third) = ((old + 1) % 3, (old + 2) % 3);
    // The heir does not hear of it: the leader takes no proposals until it gives up.
    cluster.lost = vec![MessageKind::TimeoutNow];
    let (reply, _moved) = Reply::pair();
    cluster.step(old, Input::HandOver { to: Some(id(to)), reply });
    cluster.settle();
    let mut written = cluster.propose(third, &put("a"));
    cluster.settle();
    assert!(answered(&mut written).is_none(), "it waits");
    cluster.pass(11);
    done(&mut written);
    assert_eq!(cluster.keys(to), 1, "once");
}

#[test]
fn who_has_much_to_apply_lets_its_clients_wait() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let follower = (leader + 1) % 3;
    for n in 0..=crate::base::limits::MAX_APPLY_BACKLOG {
        drop(cluster.propose(leader, &put(&format!("k{n}"))));
    }
    cluster.settle();
    cluster.restart(follower, 1);
    // What it slept through is committed for it all at once.
    let now = cluster.now;
    cluster.seats[leader].node.step(now, Input::Tick, &mut Vec::new());
    let (_, messages) = cluster.seats[leader].turn(now);
    messages.iter().filter(|message| message.to() == id(follower)).for_each(|message| cluster.deliver(message));
    let mut written = cluster.propose(follower, &put("a"));
    cluster.settle();
    done(&mut written);
}

#[test]
fn who_is_no_leader_hands_nothing_over() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let (heir, third) = ((leader + 1) % 3, (leader + 2) % 3);
    let (reply, _moved) = Reply::pair();
    cluster.step(leader, Input::HandOver { to: Some(id(heir)), reply });
    let now = cluster.now;
    let (_, messages) = cluster.seats[leader].turn(now);
    let order = messages.into_iter().find(|message| message.kind() == MessageKind::TimeoutNow).expect("it is told");
    let order = order.in_the_name_of(id(third));
    let term = cluster.seats[heir].facts.status().term;
    cluster.deliver(&order);
    cluster.settle();
    assert_eq!(cluster.seats[heir].facts.status().term, term, "it does not stand");
    assert_eq!(cluster.leader(), Some(leader));
}

#[test]
fn the_first_behind_a_lost_leader_stands_as_soon_as_the_others_may_vote() {
    for leader_first in 0..3 {
        let mut cluster = Cluster::new(3);
        let mut leader = cluster.elect();
        cluster.pass(2);
        if leader != leader_first {
            let (reply, _moved) = Reply::pair();
            cluster.step(leader, Input::HandOver { to: Some(id(leader_first)), reply });
            cluster.pass(2);
            leader = leader_first;
        }
        assert_eq!(cluster.leader(), Some(leader));
        cluster.cut.insert(id(leader));
        cluster.pass(10);
        assert_eq!(cluster.leader(), None);
        cluster.pass(1);
        assert_eq!(cluster.leader(), Some((leader + 1) % 3));
    }
}

#[test]
fn members_come_and_go() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(3);
    let mut added = cluster.change(leader, MemberChange::add(Member { is_learner: true, ..member(3) }));
    cluster.settle();
    done(&mut added);
    cluster.seats.push(seat(3, HardState::default(), Vec::new(), &[], 0));
    cluster.pass(5);
    assert!(cluster.seats[3].facts.status().is_learner);
    assert_eq!(cluster.seats[3].facts.status().members.len(), 4);
    let mut early = cluster.change((leader + 1) % 3, MemberChange::Promote(id(3)));
    assert_eq!(answered(&mut early).expect("at once").err(), Some(Refusal::NotLeader));
    let mut promoted = cluster.change(leader, MemberChange::Promote(id(3)));
    cluster.settle();
    done(&mut promoted);
    assert!(!cluster.seats[3].facts.status().is_learner);
    let gone = (leader + 2) % 3;
    let mut removed = cluster.change((leader + 1) % 3, MemberChange::Remove(id(gone)));
    cluster.settle();
    done(&mut removed);
    cluster.pass(2);
    assert!(cluster.seats[gone].facts.status().removed, "it is told, and stops");
    let mut again = cluster.change(leader, MemberChange::add(member(gone)));
    cluster.settle();
    assert_eq!(answered(&mut again).expect("answered").err(), Some(Refusal::MemberNotFound), "never again");
    assert_eq!(cluster.seats[3].facts.status().members.len(), 3);
}

#[test]
fn a_leader_may_remove_itself() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let mut removed = cluster.change(leader, MemberChange::Remove(id(leader)));
    cluster.settle();
    done(&mut removed);
    cluster.cut.insert(id(leader));
    let next = cluster.elect();
    assert_ne!(next, leader);
    let mut written = cluster.propose(next, &put("a"));
    cluster.settle();
    done(&mut written);
}

/// Of two members the leader removes itself, and the other is down before it hears that this is committed.
#[test]
fn a_removed_member_stays_until_the_others_can_go_on_without_it() {
    let mut cluster = Cluster::new(2);
    let removed = cluster.elect();
    let stays = 1 - removed;
    cluster.pass(2);
    assert!(!cluster.seats[removed].node.is_dispensable(), "nobody was removed");
    let mut answer = cluster.change(removed, MemberChange::Remove(id(removed)));
    // The entry reaches the other and is acknowledged; that it is committed does not reach it.
    for _ in 0..100 {
        if cluster.seats[removed].node.is_removed() {
            break;
        }
        cluster.exchange();
    }
    done(&mut answer);
    cluster.cut.insert(id(stays));
    cluster.restart(stays, 9);
    cluster.pass(30);
    assert!(!cluster.seats[removed].node.is_dispensable(), "the other cannot elect itself without this vote");
    cluster.cut.clear();
    assert_eq!(cluster.elect(), stays);
    cluster.pass(3);
    let members = cluster.seats[stays].facts.status().members;
    assert_eq!(members.iter().map(|member| member.id).collect::<Vec<_>>(), [id(stays)]);
    // By then it says so to who was removed, at its peer port.
    cluster.seats[removed].facts.told_removed();
    assert!(cluster.seats[removed].node.is_dispensable());
    let mut written = cluster.propose(stays, &put("a"));
    cluster.settle();
    done(&mut written);
}

#[test]
fn a_removed_follower_is_dispensable_at_once() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let removed = (leader + 1) % 3;
    cluster.pass(2);
    let mut answer = cluster.change(leader, MemberChange::Remove(id(removed)));
    cluster.settle();
    done(&mut answer);
    assert!(cluster.seats[removed].node.is_removed());
    assert!(cluster.seats[removed].node.is_dispensable());
}

#[test]
fn the_last_voter_cannot_be_removed() {
    let mut cluster = Cluster::new(1);
    let leader = cluster.elect();
    let mut refused = cluster.change(leader, MemberChange::Remove(id(leader)));
    cluster.settle();
    assert_eq!(answered(&mut refused).expect("answered").err(), Some(Refusal::NotEnoughStarted));
}

#[test]
fn a_lease_lives_on_under_another_leader_and_followers_know_no_time() {
    let mut cluster = Cluster::new(3);
    let old = cluster.elect();
    cluster.pass(2);
    let mut granted = cluster.propose(old, &Command::LeaseGrant { id: 42, ttl: 5 });
    cluster.settle();
    done(&mut granted);
    let mut renewed = cluster.keep_alive(old, 42);
    cluster.settle();
    assert_eq!(done(&mut renewed), Some(5));
    let mut refused = cluster.keep_alive((old + 1) % 3, 42);
    assert_eq!(answered(&mut refused), Some(Err(Refusal::NotLeader)));
    cluster.cut.insert(id(old));
    let new = cluster.elect();
    cluster.pass(50);
    assert_eq!(cluster.seats[new].facts.status().leases, 1, "a change of leader shortens no lease");
    cluster.pass(20);
    assert_eq!(cluster.seats[new].facts.status().leases, 0);
}

/// A cluster whose leases are looked at every second, with a lease of 20 s at its leader.
fn cluster_with_a_long_lease() -> (Cluster, usize) {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let mut granted = cluster.propose(leader, &Command::LeaseGrant { id: 42, ttl: 20 });
    cluster.settle();
    done(&mut granted);
    (cluster, leader)
}

#[test]
fn what_a_lease_has_left_outlives_a_change_of_leader() {
    let (mut cluster, old) = cluster_with_a_long_lease();
    cluster.pass(105);
    cluster.cut.insert(id(old));
    let new = cluster.elect();
    // 10 s are written down, or a look's interval less is; an election timeout is added.
    cluster.pass(99);
    assert_eq!(cluster.seats[new].facts.status().leases, 1, "not shortened");
    cluster.pass(35);
    assert_eq!(cluster.seats[new].facts.status().leases, 0, "and not begun anew");
}

#[test]
fn a_renewal_is_told_once_what_was_left_is_forgotten_and_then_holds() {
    let (mut cluster, old) = cluster_with_a_long_lease();
    cluster.pass(155);
    cluster.lost = vec![MessageKind::AppendResponse];
    let mut renewed = cluster.keep_alive(old, 42);
    let mut again = cluster.keep_alive(old, 42);
    cluster.settle();
    assert!(answered(&mut renewed).is_none(), "the log still says that 5 s are left");
    cluster.lost.clear();
    cluster.pass(2);
    assert_eq!((done(&mut renewed), done(&mut again)), (Some(20), Some(20)));
    cluster.cut.insert(id(old));
    let new = cluster.elect();
    cluster.pass(195);
    assert_eq!(cluster.seats[new].facts.status().leases, 1, "the renewal counts");
    cluster.pass(60);
    assert_eq!(cluster.seats[new].facts.status().leases, 0);
}

#[test]
fn a_renewal_that_may_be_forgotten_is_not_told() {
    let (mut cluster, old) = cluster_with_a_long_lease();
    cluster.pass(155);
    cluster.cut.insert(id(old));
    let mut renewed = cluster.keep_alive(old, 42);
    cluster.pass(30);
    assert!(!matches!(answered(&mut renewed), Some(Ok(_))));
    let new = cluster.leader().expect("another leads");
    cluster.pass(60);
    assert_eq!(cluster.seats[new].facts.status().leases, 0);
}

#[test]
fn history_is_compacted_by_the_leader_and_by_its_successor() {
    let mut cluster = Cluster::new(3);
    let old = cluster.elect();
    cluster.pass(2);
    let write = |cluster: &mut Cluster, n: usize, count: usize| {
        for _ in 0..count {
            let mut written = cluster.propose(n, &put("a"));
            cluster.settle();
            done(&mut written);
        }
    };
    let compacted = |cluster: &Cluster, n: usize| cluster.seats[n].facts.status().compact_revision;
    write(&mut cluster, old, 30);
    cluster.pass(3_100);
    for n in 0..3 {
        assert_eq!(compacted(&cluster, n), 21, "10 revisions of 31 are kept");
    }
    cluster.cut.insert(id(old));
    let new = cluster.elect();
    write(&mut cluster, new, 5);
    cluster.pass(3_100);
    assert_eq!(compacted(&cluster, new), 26);
    assert_eq!(compacted(&cluster, old), 21);
}

#[test]
fn a_member_whose_log_went_back_stops_instead_of_voting_on() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let follower = (leader + 1) % 3;
    let (hard_state, log) = (cluster.seats[follower].hard_state, cluster.seats[follower].log.clone());
    for n in 0..5 {
        let mut written = cluster.propose(leader, &put(&format!("k{n}")));
        cluster.settle();
        done(&mut written);
    }
    let seat = &mut cluster.seats[follower];
    (seat.hard_state, seat.log) = (hard_state, log);
    cluster.restart(follower, 1);
    // The leader counts on what it was told: its heartbeat says so.
    let now = cluster.now.plus(Duration::from_millis(100));
    cluster.seats[leader].node.step(now, Input::Tick, &mut Vec::new());
    let (_, messages) = cluster.seats[leader].turn(now);
    let heartbeat = messages.into_iter().find(|message| message.to() == id(follower)).expect("a heartbeat");
    let seat = &mut cluster.seats[follower];
    seat.node.step(now, Input::Peer(heartbeat), &mut Vec::new());
    let wrong = seat.node.turn(now, &mut Vec::new()).expect_err("it stops");
    assert!(wrong.to_string().contains("entries were lost"), "{wrong}");
}

/// A leader that has lost the log which the second needs, who is still cut off.
fn with_one_far_behind() -> (Cluster, usize, usize) {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let late = (leader + 1) % 3;
    let mut granted = cluster.propose(leader, &Command::LeaseGrant { id: 42, ttl: 500 });
    cluster.settle();
    done(&mut granted);
    cluster.cut.insert(id(late));
    for n in 0..100 {
        let mut written = cluster.propose(leader, &put(&format!("k{n}")));
        cluster.settle();
        done(&mut written);
    }
    assert!(cluster.seats[leader].facts.status().checkpoints > 1, "the log before is gone");
    (cluster, leader, late)
}

/// Between cutting its log and having read the state there is nothing a member could stand on.
#[test]
fn who_installs_a_snapshot_does_not_stand_for_election() {
    let (mut cluster, leader, late) = with_one_far_behind();
    cluster.cut.clear();
    cluster.seats[late].reads_slowly = true;
    cluster.pass(15);
    assert_eq!(cluster.seats[late].installs.len(), 1, "it installs");
    assert_eq!(cluster.seats[late].facts.status().installing, 1, "and says so");
    let (reply, mut moved) = Reply::pair();
    cluster.step(leader, Input::HandOver { to: Some(id(late)), reply });
    cluster.pass(1);
    assert!(answered(&mut moved).is_none(), "asked to stand, it does not");
    cluster.cut.insert(id(leader));
    cluster.cut.insert(id(3 - leader - late));
    cluster.pass(60);
    assert_eq!(cluster.seats[late].node.group.standing().role, crate::consensus::Role::Follower);
    cluster.seats[late].reads_slowly = false;
    cluster.cut.remove(&id(3 - leader - late));
    let next = cluster.elect();
    assert_ne!(next, leader);
    let mut written = cluster.propose(late, &put("after"));
    cluster.settle();
    assert_eq!(done(&mut written).revision, 102);
    assert_eq!(cluster.seats[late].facts.status().installing, 0);
}

#[test]
fn who_lags_too_far_gets_a_snapshot_and_goes_on_from_there() {
    let (mut cluster, _, late) = with_one_far_behind();
    let (reply, mut opened) = Reply::pair();
    cluster.step(
        late,
        Input::Watch(WatchInput::Open { stream: StreamId(1), account: Arc::<Shares>::default().open(), reply }),
    );
    let buffer = answered(&mut opened).expect("opened");
    let before = cluster.seats[late].facts.status().revision;
    cluster.cut.clear();
    cluster.pass(15);
    assert_eq!(cluster.seats[late].facts.status().revision, 101);
    assert!(before < 101);
    assert_eq!(cluster.seats[late].facts.status().leases, 1);
    assert_eq!(cluster.seats[late].facts.status().members.len(), 3);
    assert_eq!(cluster.keys(late), 100);
    let mut written = cluster.propose(late, &put("after"));
    cluster.settle();
    assert_eq!(done(&mut written).revision, 102);
    assert_eq!(cluster.keys(late), 101);
    drop(buffer);
}

#[test]
fn an_append_from_the_beginning_does_no_harm_where_the_beginning_is_released() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    for n in 0..100 {
        let mut written = cluster.propose(leader, &put(&format!("k{n}")));
        cluster.settle();
        done(&mut written);
    }
    let follower = (leader + 1) % 3;
    let term = cluster.seats[follower].facts.status().term;
    let entries: Vec<(u64, u64)> = (1..=3).map(|index| (index, 1)).collect();
    let early = PeerMessage::append(id(leader), id(follower), term, (0, 0), &entries);
    let now = cluster.now;
    let seat = &mut cluster.seats[follower];
    seat.node.step(now, Input::Peer(early), &mut Vec::new());
    seat.turn(now);
    cluster.pass(2);
    assert_eq!(cluster.keys(follower), 100);
}

#[test]
fn what_nobody_could_apply_is_not_proposed_for_another() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let follower = (leader + 1) % 3;
    let id_less = crate::consensus::founding_entry(1, id(9), member(8).context()).data;
    for (is_change, payload) in
        [(false, Bytes::from_static(b"\xff\xff")), (true, Bytes::from_static(b"{")), (true, id_less)]
    {
        let passed_on = PeerMessage::proposal(id(follower), id(leader), is_change, payload);
        cluster.step(leader, Input::Peer(passed_on));
        cluster.pass(1);
    }
    assert_eq!(cluster.seats[leader].facts.status().turned_away, 3);
    let mut written = cluster.propose(follower, &put("a"));
    cluster.settle();
    done(&mut written);
    assert_eq!(cluster.seats[leader].facts.status().members.len(), 3);
}

#[test]
fn a_follower_whose_disk_hangs_holds_a_bounded_part_of_the_log_and_has_all_of_it_later() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let slow = (leader + 1) % 3;
    cluster.seats[slow].hangs = true;
    let value = Bytes::from(vec![7; 1 << 20]);
    for n in 0..100 {
        let key = Bytes::from(format!("big-{n}").into_bytes());
        let big = Command::Put(Put { key, value: value.clone(), ..Put::default() });
        let mut written = cluster.propose(leader, &big);
        cluster.settle();
        done(&mut written);
    }
    let held = |seat: &Seat| -> usize {
        let entries = seat.unsynced.iter().flat_map(|(_, batch)| &batch.entries);
        entries.map(|entry| entry.data.len()).sum()
    };
    let bytes = held(&cluster.seats[slow]);
    assert!(bytes > 32 << 20, "it takes in what it may: {bytes}");
    assert!(bytes <= crate::base::limits::MAX_UNDURABLE_BYTES + (2 << 20), "{bytes}");
    cluster.seats[slow].hangs = false;
    cluster.pass(20);
    assert_eq!(cluster.keys(slow), 100);
}
