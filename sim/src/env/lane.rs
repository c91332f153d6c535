//! A message lane between members: whole raft messages, lossy as datagrams, in place of the transport.
//!
//! What is modelled: a message takes as long as the link between its hosts says and does not pass it while it is
//! clogged, nor if it is when it would arrive; beyond that it may be dropped, delivered twice, held back behind later
//! ones, dropped where too many wait for their turn on the link, or delivered once more long after, to whatever life and term the receiver is in by then. Of these a proposal is
//! spared the second coming: the transport promises that it arrives once at most. Who sent a message
//! that did not arrive is told so now and then, as a broken connection tells. A snapshot has its own way, in
//! `lane_snapshot.rs`. A receiver that counts the sender among the removed refuses, and says so. What is not modelled: the
//! transport itself, its streams and its bounds.
//!
//! Invariant (the fence): a sender belongs to one life of its host and sends nothing after it; a door is called only
//! while the life that opened it goes on.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quorate::base::{Dice, MemberId, SeededDice};
use quorate::consensus::{MessageKind, PeerMessage};
use quorate::peer::PeerDoor;

use super::clock::{Waiting, true_now};
use super::forked;
use super::net::SimNet;
use super::pipe::wake;
use super::trace::{Marks, Trace};

/// How the lane behaves beyond what the links do. Every "one in" is off at 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneMood {
    /// One message in so many is dropped.
    pub drop_one_in: u64,
    /// One in so many arrives twice.
    pub duplicate_one_in: u64,
    /// One in so many is held back.
    pub delay_one_in: u64,
    /// For between so long, in microseconds.
    pub delay_micros: (u64, u64),
    /// One in so many is delivered once more, late.
    pub replay_one_in: u64,
    /// After between so long, in milliseconds.
    pub replay_millis: (u64, u64),
    /// The sender of one in so many that did not arrive is told.
    pub tells_one_in: u64,
}

impl LaneMood {
    /// What the links let pass arrives, once.
    pub fn calm() -> Self {
        let (delay_micros, replay_millis) = ((0, 0), (0, 0));
        let (drop_one_in, duplicate_one_in, delay_one_in, replay_one_in) = (0, 0, 0, 0);
        Self {
            drop_one_in,
            duplicate_one_in,
            delay_one_in,
            delay_micros,
            replay_one_in,
            replay_millis,
            tells_one_in: 1,
        }
    }
}

/// Something that happens later.
enum Due {
    /// A message arrives; whether it is the first time.
    Arrival { message: PeerMessage, from: String, first: bool, sender: SimNet },
    /// A sender hears that something did not arrive.
    Unreachable { told: SimNet, member: MemberId, from: MemberId },
    /// A sender hears what became of a snapshot.
    SnapshotSent { told: SimNet, member: MemberId, from: MemberId, arrived: bool },
    /// A sender hears that it was removed.
    Removed { told: SimNet, from: MemberId },
}

/// A member that can be reached.
struct Open {
    net: SimNet,
    host: String,
    door: Arc<dyn PeerDoor>,
    since: Duration,
}

struct Way {
    mood: LaneMood,
    seed: u64,
    /// Dice of each directed pair, by purpose.
    dice: BTreeMap<(MemberId, MemberId), PairDice>,
    open: BTreeMap<MemberId, Open>,
    /// By the moment, then in the order in which it was decided.
    due: BTreeMap<(Duration, u64), Due>,
    decided: u64,
    pump: Option<Waker>,
    trace: Trace,
    marks: Marks,
}

struct PairDice {
    drops: SeededDice,
    duplicates: SeededDice,
    delays: SeededDice,
    replays: SeededDice,
    tells: SeededDice,
}

/// The lane of a run. Clones are the same lane.
#[derive(Clone)]
pub struct Lane {
    way: Arc<Mutex<Way>>,
    net: SimNet,
}

impl Lane {
    /// A lane along the links of a network. To be made in a task that outlives all members: what is on its way is
    /// carried by a task spawned here.
    pub fn new(net: &SimNet, mood: LaneMood, seed: u64, trace: Trace, marks: Marks) -> Self {
        let (dice, open, due) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let way = Way { mood, seed, dice, open, due, decided: 0, pump: None, trace, marks };
        let lane = Self { way: Arc::new(Mutex::new(way)), net: net.clone() };
        drop(madsim::task::spawn(lane.clone().carry()));
        lane
    }

    fn lock(&self) -> MutexGuard<'_, Way> {
        self.way.lock().expect("no holder of the lane panics")
    }

    /// Changes its mood.
    pub fn set_mood(&self, mood: LaneMood) {
        self.lock().mood = mood;
    }

    /// Since when a member takes messages, and on which host; nothing while it does not.
    pub(super) fn opened(&self, member: MemberId) -> Option<(String, Duration)> {
        let way = self.lock();
        way.open.get(&member).filter(|open| open.net.is_alive()).map(|open| (open.host.clone(), open.since))
    }

    /// Since when messages pass both ways between two hosts; nothing while they do not.
    pub(super) fn good_since(&self, here: &str, there: &str) -> Option<Duration> {
        let ways = [self.net.passes(here, there), self.net.passes(there, here)];
        ways.iter().all(|(passes, _)| *passes).then(|| ways.iter().map(|(_, since)| *since).max().unwrap_or_default())
    }

    /// A member takes no more messages in this life.
    pub(super) fn close(&self, member: MemberId, net: &SimNet) {
        let mut way = self.lock();
        if way.open.get(&member).is_some_and(|open| open.net.is_same_life(net)) {
            way.open.remove(&member);
        }
    }

    /// A member can be reached from now on, as long as the life lasts that `net` was given for.
    pub fn open(&self, member: MemberId, net: &SimNet, door: Arc<dyn PeerDoor>) {
        let (net, host) = (net.clone(), net.host_name());
        self.lock().open.insert(member, Open { net, host, door, since: true_now() });
    }

    /// Delivers what is due, for ever.
    async fn carry(self) {
        let mut wait = None;
        loop {
            let due = poll_fn(|context| self.poll_due(&mut wait, context)).await;
            self.deliver(due);
        }
    }

    fn poll_due(&self, wait: &mut Option<Waiting>, context: &mut Context<'_>) -> Poll<Due> {
        loop {
            let mut way = self.lock();
            let first = way.due.first_key_value().map(|((at, _), _)| *at);
            if first.is_some_and(|at| at <= true_now()) {
                let (_, due) = way.due.pop_first().expect("the first is there");
                return Poll::Ready(due);
            }
            way.pump = Some(context.waker().clone());
            let Some(at) = first else { return Poll::Pending };
            if wait.as_ref().is_none_or(|wait| wait.moment() != at) {
                *wait = Some(Waiting::until(at));
            }
            drop(way);
            let waiting = wait.as_mut().expect("it was just set");
            if Pin::new(waiting).poll(context).is_pending() {
                return Poll::Pending;
            }
            *wait = None;
        }
    }

    /// The door of a member, if its life goes on, with its host.
    fn door(&self, member: MemberId) -> Option<(Arc<dyn PeerDoor>, String)> {
        let way = self.lock();
        let open = way.open.get(&member).filter(|open| open.net.is_alive())?;
        Some((Arc::clone(&open.door), open.host.clone()))
    }

    /// The door of the life that sent something, to tell it.
    fn door_of(&self, member: MemberId, told: &SimNet) -> Option<Arc<dyn PeerDoor>> {
        let way = self.lock();
        let open = way.open.get(&member).filter(|open| open.net.is_same_life(told) && told.is_alive())?;
        Some(Arc::clone(&open.door))
    }

    fn deliver(&self, due: Due) {
        match due {
            Due::Arrival { message, from, first, sender } => self.arrive(message, &from, first, &sender),
            Due::Unreachable { told, member, from } => {
                if let Some(door) = self.door_of(from, &told) {
                    door.unreachable(member);
                }
            }
            Due::SnapshotSent { told, member, from, arrived } => {
                if let Some(door) = self.door_of(from, &told) {
                    door.snapshot_sent(member, arrived);
                }
            }
            Due::Removed { told, from } => {
                if let Some(door) = self.door_of(from, &told) {
                    door.removed();
                }
            }
        }
    }

    fn arrive(&self, message: PeerMessage, from: &str, first: bool, sender: &SimNet) {
        let (sent_by, to) = (message.from(), message.to());
        let reached = self.door(to).filter(|(_, host)| self.net.passes(from, host).0);
        let Some((door, host)) = reached else {
            if first {
                self.lock().marks.hit("lane: message met a dead host or a partition");
                self.failed(&message, sender);
            }
            return;
        };
        let roster = door.roster();
        let back = self.net.arrival(&host, from, 0);
        if roster.removed.contains(&sent_by) {
            if let Some(back) = back {
                self.at(back, Due::Removed { told: sender.clone(), from: sent_by });
            }
            return;
        }
        self.lock().trace.note("message", &[message.kind() as u8, u8::from(first)]);
        door.arrived(message);
    }

    fn at(&self, at: Duration, due: Due) {
        let mut way = self.lock();
        way.decided += 1;
        let key = (at, way.decided);
        let earlier = way.due.first_key_value().is_none_or(|((first, _), _)| at < *first);
        way.due.insert(key, due);
        if earlier {
            wake(&mut way.pump);
        }
    }

    /// The life of a member, and its door.
    pub(super) fn life_of(&self, member: MemberId) -> Option<(SimNet, Arc<dyn PeerDoor>)> {
        let way = self.lock();
        let open = way.open.get(&member).filter(|open| open.net.is_alive())?;
        Some((open.net.clone(), Arc::clone(&open.door)))
    }

    /// Whether what is sent now is dropped.
    pub(super) fn drops(&self, from: MemberId, to: MemberId) -> bool {
        let mut way = self.lock();
        let one_in = way.mood.drop_one_in;
        way.pair(from, to).drops.one_in(one_in)
    }

    /// The sender of a snapshot hears at `at` that it arrived.
    pub(super) fn tell_sent(&self, message: &PeerMessage, sender: &SimNet, at: Duration) {
        let (from, member) = (message.from(), message.to());
        self.at(at, Due::SnapshotSent { told: sender.clone(), member, from, arrived: true });
        self.lock().marks.hit("lane: state carried");
    }

    /// The sender hears at `at` that it was removed.
    pub(super) fn tell_removed(&self, from: MemberId, sender: &SimNet, at: Duration) {
        self.at(at, Due::Removed { told: sender.clone(), from });
    }

    /// A message did not arrive: its sender may hear of it, and of a snapshot will.
    pub(super) fn failed(&self, message: &PeerMessage, sender: &SimNet) {
        let (from, member) = (message.from(), message.to());
        let soon = true_now() + Duration::from_millis(1);
        if message.kind() == MessageKind::Snapshot {
            self.at(soon, Due::SnapshotSent { told: sender.clone(), member, from, arrived: false });
        }
        let mut way = self.lock();
        let one_in = way.mood.tells_one_in;
        let tells = way.pair(from, member).tells.one_in(one_in);
        drop(way);
        if tells {
            self.at(soon, Due::Unreachable { told: sender.clone(), member, from });
        }
    }

    /// A message leaves.
    pub(super) fn send(&self, message: PeerMessage, from: &str, sender: &SimNet) {
        let mut fate = self.lock().fate(message.from(), message.to());
        if message.kind() == MessageKind::Propose {
            (fate.twice, fate.replay) = (false, None);
        }
        let host = self.lock().open.get(&message.to()).map(|open| open.host.clone());
        let Some(host) = host else { return self.failed(&message, sender) };
        let arrival = |message, first| Due::Arrival { message, from: from.to_string(), first, sender: sender.clone() };
        if let Some(after) = fate.replay {
            self.at(true_now() + after, arrival(message.clone(), false));
        }
        if self.net.is_full(from, &host) {
            // Streams hold the sender up; datagrams are lost.
            self.lock().marks.hit("lane: message met a full link");
            return self.failed(&message, sender);
        }
        let arrives = self.net.arrival(from, &host, message.payload_bytes());
        let Some(arrives) = arrives.filter(|_| !fate.dropped) else { return self.failed(&message, sender) };
        if fate.twice
            && let Some(again) = self.net.arrival(from, &host, message.payload_bytes())
        {
            self.at(again, arrival(message.clone(), false));
        }
        self.at(arrives + fate.delay, arrival(message, true));
    }
}

/// What befalls a message.
struct Fate {
    dropped: bool,
    twice: bool,
    delay: Duration,
    replay: Option<Duration>,
}

impl Way {
    fn pair(&mut self, from: MemberId, to: MemberId) -> &mut PairDice {
        let seed = self.seed;
        self.dice.entry((from, to)).or_insert_with(|| {
            let of = |purpose| forked(seed, &format!("lane {from:?} {to:?}"), purpose);
            PairDice { drops: of(0), duplicates: of(1), delays: of(2), replays: of(3), tells: of(4) }
        })
    }

    fn fate(&mut self, from: MemberId, to: MemberId) -> Fate {
        let mood = self.mood;
        let dice = self.pair(from, to);
        let between = |dice: &mut SeededDice, (low, high): (u64, u64)| low + dice.below(high - low + 1);
        let delayed = dice.delays.one_in(mood.delay_one_in);
        let replayed = dice.replays.one_in(mood.replay_one_in);
        let fate = Fate {
            dropped: dice.drops.one_in(mood.drop_one_in),
            twice: dice.duplicates.one_in(mood.duplicate_one_in),
            delay: if delayed {
                Duration::from_micros(between(&mut dice.delays, mood.delay_micros))
            } else {
                Duration::ZERO
            },
            replay: replayed.then(|| Duration::from_millis(between(&mut dice.replays, mood.replay_millis))),
        };
        for (name, happened) in [
            ("lane: message dropped", fate.dropped),
            ("lane: message delivered twice", fate.twice && !fate.dropped),
            ("lane: message held back", delayed && !fate.dropped),
            ("lane: message replayed late", replayed),
        ] {
            self.marks.add(name, u64::from(happened));
        }
        fate
    }
}
