//! The message lane: what may befall a message does, and the fate of what matters is told.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use madsim::runtime::Runtime;
use quorate::base::Wrong;
use quorate::base::{ClusterId, MemberId};
use quorate::consensus::PeerMessage;
use quorate::peer::{BoxFuture, ChunkSink, ChunkSource, PeerAddress, PeerDoor, PeerSender, Roster};

use super::super::clock::{true_now, true_sleep};
use super::super::{Lane, LaneMood, LaneSender, Latency, LinkMood, Marks, SimNet, Trace, partition};

const APPEND: u8 = 3;
const SNAPSHOT: u8 = 7;

/// What a member was told.
#[derive(Default)]
struct Told {
    arrived: Mutex<Vec<(u64, Duration)>>,
    unreachable: Mutex<Vec<MemberId>>,
    snapshots: Mutex<Vec<bool>>,
    removed: Mutex<bool>,
    removes: Mutex<Vec<MemberId>>,
    chunks: Arc<Mutex<Vec<Bytes>>>,
}

struct Taken(Arc<Mutex<Vec<Bytes>>>);

impl ChunkSink for Taken {
    fn next(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    fn put(&mut self, chunk: Bytes) -> BoxFuture<'_, Result<(), String>> {
        self.0.lock().unwrap().push(chunk);
        Box::pin(std::future::ready(Ok(())))
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// So many chunks of a kilobyte.
struct Chunks(u64);

impl ChunkSource for Chunks {
    fn manifest(&self) -> Bytes {
        Bytes::new()
    }

    fn chunk(&mut self, number: u64) -> BoxFuture<'_, Result<Option<Bytes>, Wrong>> {
        let chunk = (number < self.0).then(|| vec![number as u8; 1_000].into());
        Box::pin(std::future::ready(Ok(chunk)))
    }
}

impl Told {
    fn indexes(&self) -> Vec<u64> {
        self.arrived.lock().unwrap().iter().map(|(index, _)| *index).collect()
    }
}

impl PeerDoor for Told {
    fn arrived(&self, message: PeerMessage) {
        self.arrived.lock().unwrap().push((message.index(), true_now()));
    }

    fn unreachable(&self, member: MemberId) {
        self.unreachable.lock().unwrap().push(member);
    }

    fn snapshot_sent(&self, _: MemberId, arrived: bool) {
        self.snapshots.lock().unwrap().push(arrived);
    }

    fn snapshot_offered(
        &self,
        _: &PeerMessage,
        _: Bytes,
    ) -> BoxFuture<'static, Result<Option<Box<dyn ChunkSink>>, String>> {
        let sink: Box<dyn ChunkSink> = Box::new(Taken(self.chunks.clone()));
        Box::pin(std::future::ready(Ok(Some(sink))))
    }

    fn removed(&self) {
        *self.removed.lock().unwrap() = true;
    }

    fn roster(&self) -> Roster {
        let removed = self.removes.lock().unwrap().clone();
        Roster { cluster: ClusterId(1), removed, ..Roster::default() }
    }
}

/// A message of raft's from member 1 to member 2, told apart by its index.
fn message(kind: u8, index: u8) -> PeerMessage {
    let mut bytes = vec![0x08, kind, 0x10, 2, 0x18, 1, 0x20, 9, 0x30, index];
    if kind == 7 {
        // A snapshot is of something: of this index, in term 1, with member 1 for a voter.
        bytes.extend([0x4a, 10, 0x12, 8, 0x0a, 2, 0x08, 1, 0x10, index, 0x18, 1]);
    }
    PeerMessage::decode(&bytes).unwrap().unwrap()
}

struct Two {
    net: SimNet,
    lane: Lane,
    sender: LaneSender,
    one: Arc<Told>,
    other: Arc<Told>,
    marks: Marks,
}

fn two(mood: LaneMood) -> Two {
    let marks = Marks::default();
    let net = SimNet::new(5, Trace::default(), marks.clone());
    let lane = Lane::new(&net, mood, 5, Trace::default(), marks.clone());
    let (a, b) = (net.boot("a"), net.boot("b"));
    net.set_link("a", "b", LinkMood { latency: Latency::Constant(1_000), ..LinkMood::calm() });
    let (one, other) = (Arc::<Told>::default(), Arc::<Told>::default());
    let sender = LaneSender::new(&lane, MemberId(1), &a);
    sender.set_peers(vec![PeerAddress { member: MemberId(2), urls: Vec::new() }]);
    lane.open(MemberId(1), &a, one.clone());
    lane.open(MemberId(2), &b, other.clone());
    Two { net, lane, sender, one, other, marks }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn in_good_weather_every_message_arrives_once_when_the_link_says() {
    Runtime::new().block_on(async {
        let two = two(LaneMood::calm());
        for index in 0..100 {
            let sent = true_now();
            two.sender.send(message(APPEND, index));
            true_sleep(millis(2)).await;
            let last = *two.other.arrived.lock().unwrap().last().unwrap();
            let way = last.1 - sent;
            assert!(last.0 == u64::from(index) && way >= millis(1) && way < Duration::from_micros(1_010), "{way:?}");
        }
        assert_eq!(two.other.indexes(), (0..100).collect::<Vec<u64>>());
        assert!(two.one.unreachable.lock().unwrap().is_empty());
        assert!(two.sender.connected_for(MemberId(2)).unwrap() >= millis(200));
        assert_eq!(two.sender.connected_for(MemberId(3)), None);
    });
}

#[test]
fn messages_are_dropped_doubled_held_back_and_replayed() {
    Runtime::new().block_on(async {
        let mood = LaneMood {
            drop_one_in: 4,
            duplicate_one_in: 4,
            delay_one_in: 4,
            delay_micros: (2_000, 9_000),
            replay_one_in: 10,
            replay_millis: (60_000, 90_000),
            tells_one_in: 2,
        };
        let two = two(mood);
        for index in 0..100 {
            two.sender.send(message(APPEND, index));
            true_sleep(Duration::from_micros(100)).await;
        }
        true_sleep(millis(1_000)).await;
        let soon = two.other.indexes();
        let different: BTreeSet<u64> = soon.iter().copied().collect();
        assert!((50..95).contains(&different.len()), "some were dropped: {}", different.len());
        assert!(soon.len() > different.len() + 5, "some came twice");
        assert!(soon.windows(2).filter(|pair| pair[0] > pair[1]).count() > 5, "some came after later ones");
        let told = two.one.unreachable.lock().unwrap().len();
        assert!(told > 2 && told < 100 - different.len(), "some of the drops are told");
        // The receiver dies and lives again: old messages meet its new life.
        two.net.kill("b");
        true_sleep(millis(30_000)).await;
        let reborn = Arc::<Told>::default();
        two.lane.open(MemberId(2), &two.net.boot("b"), reborn.clone());
        true_sleep(millis(100_000)).await;
        assert!(reborn.indexes().len() > 3 && two.other.indexes() == soon, "{:?}", two.marks.counts());
    });
}

#[test]
fn a_partition_holds_for_messages_on_their_way_too() {
    Runtime::new().block_on(async {
        let two = two(LaneMood::calm());
        two.sender.send(message(APPEND, 1));
        two.net.partition(&partition::one_way("a", "b"));
        two.sender.send(message(APPEND, 2));
        two.sender.send_snapshot(message(SNAPSHOT, 3), Box::new(Chunks(3)));
        assert_eq!(two.sender.connected_for(MemberId(2)), None);
        true_sleep(millis(100)).await;
        assert_eq!(two.one.unreachable.lock().unwrap().len(), 3);
        two.net.end_partition();
        two.sender.send(message(APPEND, 4));
        two.sender.send_snapshot(message(SNAPSHOT, 5), Box::new(Chunks(3)));
        true_sleep(millis(100)).await;
        assert_eq!(two.other.indexes(), [4, 5]);
        assert_eq!(two.other.chunks.lock().unwrap().len(), 3, "the state comes before its message");
        assert_eq!(*two.one.snapshots.lock().unwrap(), [false, true], "the fate of a snapshot is always told");
        let good = two.sender.connected_for(MemberId(2)).unwrap();
        assert!(good >= millis(100) && good < millis(150), "{good:?}");
    });
}

#[test]
fn a_dead_life_neither_sends_nor_hears() {
    Runtime::new().block_on(async {
        let two = two(LaneMood::calm());
        two.sender.send(message(APPEND, 1));
        two.net.kill("a");
        two.sender.send(message(APPEND, 2));
        true_sleep(millis(100)).await;
        assert_eq!(two.other.indexes(), [1], "what was on its way arrives");
        assert_eq!(two.sender.connected_for(MemberId(2)), None);
        let reborn = two.net.boot("a");
        let told = Arc::<Told>::default();
        two.lane.open(MemberId(1), &reborn, told.clone());
        two.net.kill("b");
        let sender = LaneSender::new(&two.lane, MemberId(1), &reborn);
        sender.send(message(APPEND, 3));
        true_sleep(millis(100)).await;
        assert!(told.unreachable.lock().unwrap().is_empty(), "it knew no peers");
        sender.set_peers(vec![PeerAddress { member: MemberId(2), urls: Vec::new() }]);
        assert_eq!(sender.connected_for(MemberId(2)), None);
        sender.send(message(APPEND, 4));
        true_sleep(millis(100)).await;
        assert_eq!(*told.unreachable.lock().unwrap(), [MemberId(2)]);
        assert!(two.one.unreachable.lock().unwrap().is_empty(), "the life before hears nothing");
    });
}

#[test]
fn who_stops_is_not_reached_and_who_was_removed_hears_of_it() {
    Runtime::new().block_on(async {
        let two = two(LaneMood::calm());
        two.other.removes.lock().unwrap().push(MemberId(1));
        two.sender.send(message(APPEND, 1));
        true_sleep(millis(100)).await;
        assert!(two.other.indexes().is_empty() && *two.one.removed.lock().unwrap());
        two.other.removes.lock().unwrap().clear();
        two.sender.stop();
        two.sender.set_peers(vec![PeerAddress { member: MemberId(2), urls: Vec::new() }]);
        two.sender.send(message(APPEND, 2));
        true_sleep(millis(100)).await;
        assert!(two.other.indexes().is_empty());
    });
}
