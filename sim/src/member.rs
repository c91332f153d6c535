//! A member of the cluster and its lives: what it keeps over them, how one begins and how one ends.
//!
//! Invariant: at most one life at a time. Whoever ends it does all of it in one step: the process, the disk, the network;
//! the one who looks after the member hears of it afterwards.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_channel::oneshot;
use madsim::runtime::{Handle as Sim, NodeHandle};
use quorate::base::Wrong;
use quorate::driver::Handle;
use quorate::node::Held;
use quorate::wal::WalIdentity;

use crate::chronicle::{Chronicle, Happening};
use crate::config::{PORTS, host, peer_address};
use crate::env::{
    Aim, CpuMood, DamageBudget, DiskFaults, LateTimers, Marks, SimClock, SimCpu, SimDisk, SimEnv, SimNet, Trace,
    forked, true_now,
};
use crate::plan::{End, MemberSetting, Plan, PowerLoss};

/// A member that serves.
#[derive(Clone)]
pub struct Living {
    /// Its door.
    pub door: Handle<SimEnv>,
    /// Where its tasks run.
    pub node: NodeHandle,
    /// Which life this is, from 1.
    pub life: u64,
    /// Its disk, as this life sees it.
    pub disk: SimDisk,
}

#[derive(Default)]
struct Standing {
    /// The present life, once it has booted.
    living: Option<Living>,
    /// The clocks of the present life, or of the last.
    clock: Option<SimClock>,
    /// Its processor, likewise.
    cpu: Option<SimCpu>,
    /// Where the present life runs, from its first moment on.
    node: Option<NodeHandle>,
    lives: u64,
    /// It is not started before.
    up_from: Duration,
    /// Tells the one who looks after the member that the life is over.
    over: Option<oneshot::Sender<()>>,
    /// A trap ended the life, and this is how and for how long; the rest is still to be done.
    sprung: Option<(End, Duration)>,
    /// The present life was asked to stop.
    stopping: bool,
    /// The present life stands still.
    paused: bool,
    /// Its troubles are over.
    calm: bool,
    /// It is to ask the others before it starts with nothing, as the server does: its disk was lost, or it was added in the
    /// place of one whose was.
    asks: Option<Anew>,
    /// Who it is in a cluster that it was added to.
    joins: Option<WalIdentity>,
    /// It was removed, and lives never again.
    retired: bool,
    /// The one port it listens at; without it all there are.
    port: Option<u16>,
    /// It refuses to start on what is left of its disk, and lives never again.
    broken: bool,
    /// What it held in memory after its last turn.
    held: Held,
    /// The most bytes of history that it told of.
    largest: u64,
    /// When it last took another's state.
    installed_at: Option<Duration>,
}

/// How a member is started with nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anew {
    /// As one that was added, not as a founder.
    pub existing: bool,
    /// It lived before, and its disk was lost.
    pub lost: bool,
}

/// How fast a processor is on which work takes so many hundredths of its usual time.
fn mood(percent: u64) -> CpuMood {
    if percent == 0 { CpuMood::free() } else { CpuMood { slowness_percent: percent, ..CpuMood::usual() } }
}

/// A life that begins.
pub struct Birth {
    /// Its number, from 1.
    pub life: u64,
    /// Its world.
    pub env: SimEnv,
    /// The disk in it.
    pub disk: SimDisk,
    /// Where it runs.
    pub node: NodeHandle,
    /// Hears of its end.
    pub over: oneshot::Receiver<()>,
}

/// See the module's head.
pub struct Member {
    /// Its number, from 0.
    pub number: usize,
    /// Its host and name.
    pub host: String,
    /// What sets it apart.
    pub setting: MemberSetting,
    /// Its disk; this handle uses nothing itself.
    pub disk: SimDisk,
    /// What its disk may take, in common with the others'.
    budget: DamageBudget,
    seed: u64,
    founds: bool,
    net: SimNet,
    trace: Trace,
    marks: Marks,
    chronicle: Chronicle,
    standing: Mutex<Standing>,
}

impl Member {
    /// A member that never lived.
    pub fn new(plan: &Plan, number: usize, net: SimNet, budget: DamageBudget, told: (Trace, Marks, Chronicle)) -> Self {
        let (trace, marks, chronicle) = told;
        let setting = plan.members[number].clone();
        let dice = forked(plan.seed, "disk", number as u64);
        let disk = SimDisk::new(setting.disk.faults(), dice, trace.clone(), marks.clone());
        disk.set_budget(budget.clone(), &host(number));
        let standing = Mutex::default();
        let founds = number < plan.founders;
        Self {
            number,
            host: host(number),
            setting,
            disk,
            budget,
            seed: plan.seed,
            founds,
            net,
            trace,
            marks,
            chronicle,
            standing,
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().expect("no holder of this lock panics")
    }

    /// The life that serves, if one does.
    pub fn living(&self) -> Option<Living> {
        self.standing().living.clone()
    }

    /// What it holds in memory now, by its own word.
    pub fn holds(&self, held: Held) {
        self.standing().held = held;
    }

    /// What it held in memory after its last turn.
    pub fn held(&self) -> Held {
        self.standing().held
    }

    /// It tells of so many bytes of history.
    pub fn weighs(&self, bytes: u64) {
        let mut standing = self.standing();
        standing.largest = standing.largest.max(bytes);
    }

    /// The most bytes of history that it told of.
    pub fn largest(&self) -> u64 {
        self.standing().largest
    }

    /// It took another's state.
    pub fn installs(&self) {
        self.standing().installed_at = Some(true_now());
    }

    /// Whether it took another's state at that time or later.
    pub fn installed_since(&self, time: Duration) -> bool {
        self.standing().installed_at.is_some_and(|installed| installed >= time)
    }

    /// Lives so far.
    pub fn lives(&self) -> u64 {
        self.standing().lives
    }

    /// Until when it stays down.
    pub fn up_from(&self) -> Duration {
        self.standing().up_from
    }

    /// Whether it serves, moves, is not about to stop, and its disk is not held up.
    pub fn is_well(&self) -> bool {
        let standing = self.standing();
        standing.living.is_some() && !standing.stopping && !standing.paused && !self.disk.is_stalled()
    }

    /// Whether the present life was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.standing().stopping
    }

    /// Who it is in the cluster it was added to, if it was.
    pub fn joins(&self) -> Option<WalIdentity> {
        self.standing().joins
    }

    /// Ends the present life, and all that is on the disk goes.
    pub fn loses_disk(&self, existing: bool, down: Duration) {
        self.end(End::Kill, down);
        self.disk.wipe();
        self.standing().asks = Some(Anew { existing, lost: true });
    }

    /// How it asks the others before it starts with nothing, if it does.
    pub fn asks(&self) -> Option<Anew> {
        self.standing().asks
    }

    /// From now on it asks before it starts with nothing.
    pub fn asks_as_added(&self) {
        self.standing().asks = Some(Anew { existing: true, lost: false });
    }

    /// It was added to the cluster, and may start.
    pub fn admit(&self, identity: WalIdentity) {
        self.standing().joins = Some(identity);
    }

    /// Whether it may start: it founds the cluster or was added to it.
    pub fn is_admitted(&self) -> bool {
        self.founds || self.joins().is_some()
    }

    /// The ports it listens at in a life that begins now.
    pub fn ports(&self) -> Vec<u16> {
        self.standing().port.map_or_else(|| PORTS.to_vec(), |port| vec![port])
    }

    /// From now on it listens at this port alone.
    pub fn keep_port(&self, port: u16) {
        self.standing().port = Some(port);
        for left in PORTS.into_iter().filter(|left| *left != port) {
            self.net.close_listener(&peer_address(self.number, left));
        }
    }

    /// It was removed: its life ends, and there is no other.
    pub fn retire(&self) {
        self.standing().retired = true;
        self.end(End::Kill, Duration::ZERO);
    }

    /// Whether it was removed, or refuses to start on a damaged disk, and lives never again.
    pub fn is_retired(&self) -> bool {
        let standing = self.standing();
        standing.retired || standing.broken
    }

    /// It refuses to start on what is left of its disk: its life ends, and there is no other.
    pub fn breaks(&self) {
        self.marks.hit("a damaged member refused to start");
        self.standing().broken = true;
        self.end(End::Kill, Duration::ZERO);
    }

    /// It is taken away with its damaged disk: its life ends, and there is no other.
    pub fn take_away(&self) {
        self.standing().broken = true;
        self.end(End::Kill, Duration::ZERO);
    }

    /// Whether it refuses to start on what is left of its disk.
    pub fn is_broken(&self) -> bool {
        self.standing().broken
    }

    /// Whether its disk has taken damage that it cannot mend by itself.
    pub fn is_struck(&self) -> bool {
        self.budget.spent_on().contains(&self.host)
    }

    /// Whether its disk does otherwise than it says.
    pub fn disk_is_false(&self) -> bool {
        let disk = &self.setting.disk;
        self.is_struck() || disk.lies || disk.lost_write_one_in > 0 || disk.misdirected_write_one_in > 0
    }

    /// Whether its data may be gone: damaged, or not to be read for the moment.
    pub fn may_have_lost(&self) -> bool {
        self.is_struck() || self.setting.disk.read_error_one_in > 0
    }

    /// Whether its disk was told to behave so that this may go wrong, in another try it may not.
    pub fn excuses(&self, wrong: &Wrong) -> bool {
        match wrong {
            Wrong::Fault(fault) if fault.is_no_space() => self.disk.was_full(),
            // When its troubles are over, what cannot be read is damaged.
            Wrong::Fault(fault) => {
                let fails = self.setting.disk.fails() && !(self.standing().calm && self.is_struck());
                fails && fault.source.raw_os_error() == Some(5)
            }
            // Of the history: what it cannot read twice in a row is damage for whoever reads.
            Wrong::Corruption(damage) => {
                self.setting.disk.read_error_one_in > 0 && damage.what.contains("Input/output error")
            }
        }
    }

    /// Whether this is what the system has lost of what was not synced, for who reads since then: nobody has heard of it yet, and who
    /// syncs will.
    pub fn has_lost(&self, wrong: &Wrong, since: Duration) -> bool {
        let lost = matches!(wrong, Wrong::Corruption(damage) if self.disk.has_lost(damage, since));
        if lost {
            self.marks.hit("disk: somebody read what was lost before anybody heard of it");
        }
        lost
    }

    /// Whether the damage that its disk has taken accounts for this.
    pub fn is_damaged_so(&self, wrong: &Wrong) -> bool {
        match wrong {
            Wrong::Fault(fault) => self.is_struck() && fault.source.raw_os_error() == Some(5),
            Wrong::Corruption(_) => self.is_struck(),
        }
    }

    /// Begins a life. The one before must have ended.
    pub fn begin(&self) -> Birth {
        let mut standing = self.standing();
        assert!(standing.node.is_none(), "a member lives once at a time");
        standing.lives += 1;
        let life = standing.lives;
        self.chronicle.member(self.number, || Happening::Begins(life));
        let node = Sim::current().create_node().name(format!("{}-{life}", self.host)).build();
        let (sender, over) = oneshot::channel();
        standing.paused = false;
        (standing.node, standing.over, standing.stopping) = (Some(node.clone()), Some(sender), false);
        drop(standing);
        let disk = self.disk.power_on();
        let wall_base_ms = if self.setting.wall_restarts {
            // The clock shows the same time at every start.
            1_500_000_000_000 - i64::try_from(true_now().as_millis()).unwrap_or(0)
        } else {
            1_600_000_000_000
        };
        let clock = SimClock::new(1_000_000_000 * life, self.setting.drift_ppb, wall_base_ms);
        if self.setting.late_one_in > 0 {
            let late = LateTimers { one_in: self.setting.late_one_in, micros: (0, 50_000) };
            clock.set_late_timers(late, forked(self.seed, &format!("late {}", self.host), life));
        }
        let dice = forked(self.seed, &format!("env {}", self.host), life);
        let env = SimEnv::new(node.clone(), clock.clone(), disk.clone(), self.net.boot(&self.host), dice);
        let mut standing = self.standing();
        env.cpu().set_mood(mood(if standing.calm { 0 } else { self.setting.cpu_percent }));
        (standing.clock, standing.cpu) = (Some(clock), Some(env.cpu().clone()));
        drop(standing);
        Birth { life, env, disk, node, over }
    }

    /// The life that began has booted and serves; `false` if it has ended meanwhile.
    pub fn serves(&self, living: Living) -> bool {
        let mut standing = self.standing();
        let goes_on = standing.node.is_some() && standing.lives == living.life && standing.sprung.is_none();
        if goes_on {
            standing.living = Some(living);
            self.chronicle.member(self.number, || Happening::Serves);
        }
        goes_on
    }

    /// Ends the present life, and puts the disk back to what a copy holds.
    pub fn put_back(&self, copy: &SimDisk, down: Duration) {
        self.end(End::Kill, down);
        self.disk.put_back(copy);
    }

    /// Has its disk altered while it is down, before the next life.
    pub async fn alter<F: Future>(&self, how: impl FnOnce(SimDisk) -> F) -> F::Output {
        let altered = how(self.disk.power_on()).await;
        self.disk.kill();
        altered
    }

    /// Takes how a trap ended the life, if one did.
    pub fn take_sprung(&self) -> Option<(End, Duration)> {
        self.standing().sprung.take()
    }

    /// The present life is asked to stop from now on; it, if it serves and was not asked before.
    pub fn begin_stop(&self) -> Option<Living> {
        let mut standing = self.standing();
        if standing.stopping {
            return None;
        }
        standing.stopping = standing.living.is_some();
        standing.living.clone()
    }

    /// The run is over: whatever lives of it goes, without a word.
    pub fn goes(&self) {
        self.disk.disarm();
        let mut standing = self.standing();
        if let Some(node) = standing.node.take() {
            Sim::current().kill(node.id());
        }
        standing.over = None;
    }

    /// Nobody looks at it any more: what it holds of its last life goes.
    pub fn fold_up(&self) {
        // After a panic that ended the run it may be poisoned.
        let mut standing = self.standing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (standing.living, standing.over, standing.node) = (None, None, None);
        // A driver's doors hold each other, and with them the disk, also when the life is over.
        self.disk.empty();
    }

    /// Ends the present life, if there is one, and keeps the member down for a while from now.
    pub fn end(&self, how: End, down: Duration) {
        let (node, over) = {
            let mut standing = self.standing();
            (standing.living, standing.sprung) = (None, None);
            standing.up_from = standing.up_from.max(true_now() + down);
            (standing.node.take(), standing.over.take())
        };
        if let Some(node) = node {
            // One that stands still would never notice.
            Sim::current().resume(node.id());
            Sim::current().kill(node.id());
        }
        match how {
            End::Stop | End::Kill => self.disk.kill(),
            End::Power(loss) => {
                self.disk.lose_power(loss.loss());
            }
        }
        match how {
            End::Stop | End::Kill => self.net.kill(&self.host),
            End::Power(_) => self.net.lose_power(&self.host),
        }
        self.chronicle.member(self.number, || Happening::Ends(how));
        self.trace.note("end", format!("{} {how:?}", self.host).as_bytes());
        self.marks.hit(match how {
            End::Stop => "stopped cleanly",
            End::Kill => "process killed, system lived on",
            End::Power(PowerLoss::DropAll) => "power lost, and everything unsynced",
            End::Power(_) => "power lost",
        });
        if let Some(over) = over {
            // Nobody listens any more where the boot was given up.
            let _ = over.send(());
        }
    }

    /// Ends the present life, or the one about to begin, in its n-th operation on the disk that the aim counts.
    pub fn arm(self: &Arc<Self>, (aim, nth): (Aim, u64), how: End, down: Duration) {
        let member = Arc::clone(self);
        self.disk.arm_at(aim, nth, move || {
            // The task that stepped into it runs to its next wait, and no other task of the node runs again. It may be another
            // member's, which hands over a state on the lane.
            let node = member.standing().node.as_ref().map(NodeHandle::id);
            Sim::current().kill(node.unwrap_or_else(madsim::plugin::node));
            member.chronicle.member(member.number, || Happening::Ends(how));
            let mut standing = member.standing();
            (standing.living, standing.sprung) = (None, Some((how, down)));
            if let Some(over) = standing.over.take() {
                let _ = over.send(());
            }
        });
    }

    /// Lets the member stand still; where, so that it can go on.
    pub fn pause(&self) -> Option<NodeHandle> {
        let node = self.standing().node.clone()?;
        self.standing().paused = true;
        Sim::current().pause(node.id());
        self.chronicle.member(self.number, || Happening::Pauses);
        Some(node)
    }

    /// Lets a life go on that stood still, unless it has ended.
    pub fn resume(&self, node: &NodeHandle) {
        let same = self.standing().node.as_ref().is_some_and(|present| present.id() == node.id());
        if same {
            self.standing().paused = false;
            self.chronicle.member(self.number, || Happening::GoesOn);
            Sim::current().resume(node.id());
        }
    }

    /// The wall clock steps, back where `ms` is negative, until the next start.
    pub fn step_wall(&self, ms: i64) {
        if let Some(clock) = &self.standing().clock {
            clock.step_wall(ms);
        }
    }

    /// The monotonic clock drifts so from now on, until the next start.
    pub fn drift(&self, ppb: i64) {
        if let Some(clock) = &self.standing().clock {
            clock.set_drift(ppb);
        }
    }

    /// The machine was suspended for so long until now.
    pub fn was_suspended(&self, time: Duration) {
        if let Some(clock) = &self.standing().clock {
            clock.was_suspended(time);
        }
    }

    /// Work takes so many hundredths of its usual time, until the next start; as the plan has it without.
    pub fn slow_down(&self, percent: Option<u64>) {
        if let Some(cpu) = &self.standing().cpu {
            cpu.set_mood(mood(percent.unwrap_or(self.setting.cpu_percent)));
        }
    }

    /// No more troubles: whatever is armed, stalled or standing still goes on.
    pub fn calm_down(&self) {
        let lies = self.setting.disk.lies;
        self.chronicle.member(self.number, || Happening::Calms);
        self.disk.disarm();
        self.disk.set_faults(DiskFaults { lies, ..DiskFaults::calm() });
        let mut standing = self.standing();
        standing.calm = true;
        if let Some(cpu) = &standing.cpu {
            cpu.set_mood(CpuMood::free());
        }
        standing.up_from = Duration::ZERO;
        standing.paused = false;
        if let Some(node) = &standing.node {
            Sim::current().resume(node.id());
        }
    }
}
