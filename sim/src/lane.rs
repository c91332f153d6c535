//! The message lane: messages between members as such, without the transport's streams under them.
//!
//! It knows what streams cannot show: a message that comes twice, and one that comes again much later, to another life of
//! its receiver. Between two members messages keep their order otherwise. What way is cut lets nothing through, be it
//! sent before. A message travels in its wire form.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use madsim::runtime::NodeHandle;
use quorate::base::{Dice, MemberId, SeededDice, derive_member_id};
use quorate::consensus::{MessageKind, PeerMessage};
use quorate::peer::{PeerAddress, PeerDoor, PeerSender};

use crate::config::{TOKEN, peer_url};
use crate::env::{Marks, Trace, forked, true_now, true_sleep};
use crate::plan::{LaneMood, Plan};
use crate::wires::{Host, Wires};

/// One direction between two members.
struct Link {
    dice: SeededDice,
    /// On their way, in order.
    queue: VecDeque<Bytes>,
    last: Duration,
}

#[derive(Default)]
struct Traffic {
    links: BTreeMap<(usize, usize), Link>,
    /// The doors of the present lives, by member, with the moment they opened.
    doors: BTreeMap<usize, (u64, Arc<dyn PeerDoor>, Duration)>,
    calm: bool,
}

/// See the module's head.
pub struct Lane {
    seed: u64,
    mood: LaneMood,
    ids: Vec<MemberId>,
    wires: Arc<Wires>,
    trace: Trace,
    marks: Marks,
    traffic: Mutex<Traffic>,
}

impl Lane {
    /// A lane nobody is on.
    pub fn new(plan: &Plan, wires: Arc<Wires>, trace: Trace, marks: Marks) -> Arc<Self> {
        let id = |member| derive_member_id(&[peer_url(member)], TOKEN, None);
        let ids = (0..plan.members.len()).map(id).collect();
        let (seed, mood) = (plan.seed, plan.setting.lane.clone());
        Arc::new(Self { seed, mood, ids, wires, trace, marks, traffic: Mutex::default() })
    }

    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().expect("no holder of the lane panics")
    }

    /// The ids of the members, by number.
    pub fn ids(&self) -> &[MemberId] {
        &self.ids
    }

    /// The number of a member.
    pub fn number_of(&self, id: MemberId) -> Option<usize> {
        self.ids.iter().position(|known| *known == id)
    }

    /// From now on nothing comes twice or late.
    pub fn calm_down(&self) {
        self.traffic().calm = true;
    }

    /// A life of a member opens its door; its sending side. What is on its way travels on `ground`.
    pub fn connect(
        self: &Arc<Self>,
        member: usize,
        life: u64,
        door: Arc<dyn PeerDoor>,
        ground: NodeHandle,
    ) -> Arc<dyn PeerSender> {
        self.traffic().doors.insert(member, (life, door, true_now()));
        Arc::new(Sender { lane: Arc::clone(self), member, life, ground })
    }

    /// A life of a member has ended: nothing arrives at it, and nothing more leaves.
    pub fn kill(&self, member: usize) {
        self.traffic().doors.remove(&member);
    }

    fn leave(self: &Arc<Self>, from: usize, message: &PeerMessage, ground: &NodeHandle) {
        let Some(to) = self.number_of(message.to()) else { return };
        if message.kind() == MessageKind::Snapshot {
            // A state is no message: it is the transport's to bring.
            let door = self.traffic().doors.get(&from).cloned();
            return door.into_iter().for_each(|(_, door, _)| door.snapshot_sent(message.to(), false));
        }
        let bytes = message.encode();
        self.trace.note("sent", &bytes[..bytes.len().min(64)]);
        if !self.wires.open((Host::Member(from), Host::Member(to))) {
            self.marks.hit("a message between members was lost at a cut");
            return self.unreachable(from, message.to());
        }
        let now = true_now();
        let mut traffic = self.traffic();
        let calm = traffic.calm;
        let link = traffic.links.entry((from, to)).or_insert_with(|| Link {
            dice: forked(self.seed, &format!("lane {from} {to}"), 0),
            queue: VecDeque::new(),
            last: Duration::ZERO,
        });
        let (low, high) = self.mood.micros;
        let delay = Duration::from_micros(low + link.dice.below(high - low + 1));
        let slow = !calm && link.dice.one_in(self.mood.slow_one_in);
        let delay = if slow { delay * 30 } else { delay };
        link.last = link.last.max(now + delay) + Duration::from_nanos(1);
        let wait = link.last - now;
        link.queue.push_back(bytes.clone());
        // A proposal passed on is the one message that is not the same twice: no transport may double it.
        let replayed = !calm && link.dice.one_in(self.mood.replay_one_in) && message.kind() != MessageKind::Propose;
        let late = replayed.then(|| Duration::from_micros(link.dice.below(5_000_000)));
        drop(traffic);
        let lane = Arc::clone(self);
        drop(ground.spawn(async move {
            true_sleep(wait).await;
            let next = lane.traffic().links.get_mut(&(from, to)).and_then(|link| link.queue.pop_front());
            if let Some(bytes) = next {
                lane.arrive(from, to, &bytes);
            }
        }));
        if let Some(late) = late {
            self.marks.hit("a message between members came again");
            let lane = Arc::clone(self);
            drop(ground.spawn(async move {
                true_sleep(wait + late).await;
                lane.arrive(from, to, &bytes);
            }));
        }
    }

    fn arrive(&self, from: usize, to: usize, bytes: &[u8]) {
        if !self.wires.open((Host::Member(from), Host::Member(to))) {
            return;
        }
        let Some((_, door, _)) = self.traffic().doors.get(&to).cloned() else { return };
        let message = PeerMessage::decode(bytes).expect("what was encoded can be decoded");
        door.arrived(message);
    }

    fn unreachable(&self, from: usize, to: MemberId) {
        if let Some((_, door, _)) = self.traffic().doors.get(&from).cloned() {
            door.unreachable(to);
        }
    }
}

/// The sending side of one life of a member.
struct Sender {
    lane: Arc<Lane>,
    member: usize,
    life: u64,
    ground: NodeHandle,
}

impl Sender {
    fn lives(&self) -> bool {
        self.lane.traffic().doors.get(&self.member).is_some_and(|(life, _, _)| *life == self.life)
    }
}

impl PeerSender for Sender {
    fn send(&self, message: PeerMessage) {
        if self.lives() {
            self.lane.leave(self.member, &message, &self.ground);
        }
    }

    fn set_peers(&self, _peers: Vec<PeerAddress>) {}

    fn connected_for(&self, member: MemberId) -> Option<Duration> {
        let other = self.lane.number_of(member)?;
        let (here, there) = (Host::Member(self.member), Host::Member(other));
        let open = self.lane.wires.open((here, there)) && self.lane.wires.open((there, here));
        let since = self.lane.traffic().doors.get(&other).map(|(_, _, since)| *since)?;
        open.then(|| true_now().saturating_sub(since))
    }

    fn stop(&self) {
        let mut traffic = self.lane.traffic();
        if traffic.doors.get(&self.member).is_some_and(|(life, _, _)| *life == self.life) {
            traffic.doors.remove(&self.member);
        }
    }
}
