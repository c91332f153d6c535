//! The world of a run: the members, the network, the judges, and how clients reach a member.
//!
//! Invariant: whatever a client asks runs as a task of the member it asks, so that it dies with it, and its answer
//! travels; a client hears either the answer or, after a while, nothing. What way is cut lets neither through.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use madsim::runtime::{Handle as Sim, NodeHandle};
use quorate::base::{Dice, SeededDice};
use quorate::driver::Handle;
use quorate_spec::history::Operation;

use crate::ambush::Ambushes;
use crate::chronicle::{Chronicle, Happening};
use crate::config::{MIN_TTL, member_id};
use crate::env::{Lane, LaneMood, Marks, SimDisk, SimEnv, SimNet, Trace, forked, true_now, true_sleep};
use crate::member::Member;
use crate::oracles::Violation;
use crate::oracles::bank::BankJudge;
use crate::oracles::disk::{Promise, Promised};
use crate::oracles::leases::LeaseTimes;
use crate::oracles::ledger::{Entry, Ledger};
use crate::oracles::quiet::QuietJudge;
use crate::oracles::raft::RaftJudge;
use crate::oracles::remainders::Remainders;
use crate::oracles::rounds::RoundJudge;
use crate::oracles::upkeep::StatusJudge;
use crate::plan::{Harm, Plan, Who};
use crate::slices::Slices;
use crate::wires::{Host, Way, Wires};

/// How long the most patient client waits for an answer: longer than a member may take to give one.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often a message that cannot get through is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Copies of the platter taken in one run.
const PROMISES: usize = 4;

/// Why a question has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// The member does not live: the question never reached anyone.
    Down,
    /// The member died before it answered, its answer took too long, or the way was cut.
    NoAnswer,
}

/// See the module's head.
pub struct World {
    /// What is to happen.
    pub plan: Plan,
    /// The members, by number.
    pub members: Vec<Arc<Member>>,
    /// What is cut.
    pub wires: Wires,
    /// The network between members; this handle uses nothing itself.
    pub net: SimNet,
    /// What waits for members to do something.
    pub ambushes: Ambushes,
    /// What members carry out in slices.
    pub slices: Slices,
    lane: OnceLock<Lane>,
    /// The trace hash.
    pub trace: Trace,
    /// What happened sometimes.
    pub marks: Marks,
    /// What befell whom, if anybody wants to know.
    pub chronicle: Chronicle,
    /// What is known of the times of leases.
    pub lease_times: Mutex<LeaseTimes>,
    ledger: Arc<Mutex<Ledger>>,
    raft: Mutex<RaftJudge>,
    rounds: Mutex<RoundJudge>,
    remainders: Mutex<Remainders>,
    bank: Mutex<BankJudge>,
    quiet: Mutex<QuietJudge>,
    standings: Mutex<StatusJudge>,
    operator_busy: AtomicBool,
    operator_acts: AtomicU64,
    /// Listeners that are gone.
    unlistening: AtomicUsize,
    /// Bytes of the largest entry of any log.
    largest_entry: AtomicUsize,
    /// All disks were put back to old copies: what was promised before is no measure any more.
    rewound: AtomicBool,
    /// Copies of disks to start again on at the very end.
    copies: Mutex<BTreeMap<usize, SimDisk>>,
    operations: Mutex<Vec<Operation>>,
    promises: Mutex<(Vec<Promise>, SeededDice)>,
    violation: Mutex<Option<Violation>>,
    /// Since when all troubles are over, if they are.
    calm: Mutex<Option<Duration>>,
    /// The hosts of clients.
    visitors: Mutex<Vec<NodeHandle>>,
    #[cfg(test)]
    itself: std::sync::Weak<Self>,
}

impl World {
    /// Empty disks and no life yet.
    pub fn new(plan: Plan, chronicle: Chronicle) -> Arc<Self> {
        let (trace, marks) = (Trace::default(), Marks::default());
        let net = SimNet::new(plan.seed, trace.clone(), marks.clone());
        net.set_all_links(plan.setting.links.mood());
        let told = (trace.clone(), marks.clone(), chronicle.clone());
        let budget = plan.harm.budget(plan.founders);
        let member = |number| Arc::new(Member::new(&plan, number, net.clone(), budget.clone(), told.clone()));
        let members = (0..plan.members.len()).map(member).collect();
        let ids = (0..plan.members.len()).map(member_id).collect();
        let drifts = plan.drifts();
        let promises = Mutex::new((Vec::new(), forked(plan.seed, "promises", 0)));
        let mut ledger = Ledger::new(MIN_TTL, plan.members.len());
        if plan.harm != Harm::Nothing {
            ledger.may_be_damaged();
        }
        Arc::new_cyclic(|_itself| Self {
            members,
            net,
            wires: Wires::default(),
            ambushes: Ambushes::new(plan.members.len()),
            slices: Slices::new(&plan),
            lane: OnceLock::new(),
            trace,
            marks,
            chronicle,
            lease_times: Mutex::new(LeaseTimes::new(&drifts)),
            ledger: Arc::new(Mutex::new(ledger)),
            raft: Mutex::new(RaftJudge::new(ids)),
            rounds: Mutex::new(RoundJudge::new(plan.members.len())),
            remainders: Mutex::new(Remainders::new(plan.members.len(), &drifts, plan.setting.lease_checkpoint)),
            bank: Mutex::new(BankJudge::new(plan.bank.as_ref().map_or(0, |bank| bank.accounts))),
            quiet: Mutex::default(),
            standings: Mutex::default(),
            operator_busy: AtomicBool::new(false),
            operator_acts: AtomicU64::new(0),
            unlistening: AtomicUsize::new(0),
            largest_entry: AtomicUsize::new(0),
            rewound: AtomicBool::new(false),
            copies: Mutex::default(),
            operations: Mutex::default(),
            promises,
            violation: Mutex::default(),
            calm: Mutex::default(),
            visitors: Mutex::default(),
            #[cfg(test)]
            itself: _itself.clone(),
            plan,
        })
    }

    /// The ledger. Never held over a wait.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        held(&self.ledger)
    }

    /// The judge of what members tell each other. Never held over a wait.
    pub fn raft(&self) -> MutexGuard<'_, RaftJudge> {
        held(&self.raft)
    }

    /// The judge of what confirms a read. Never held over a wait.
    pub fn rounds(&self) -> MutexGuard<'_, RoundJudge> {
        held(&self.rounds)
    }

    /// The judge of what leases have left. Never held over a wait; the ledger is taken before it.
    pub fn remainders(&self) -> MutexGuard<'_, Remainders> {
        held(&self.remainders)
    }

    /// The judge of the bank. Never held over a wait.
    pub fn bank(&self) -> MutexGuard<'_, BankJudge> {
        held(&self.bank)
    }

    /// The judge of what is owed while nothing is wrong. Never held over a wait.
    pub fn quiet(&self) -> MutexGuard<'_, QuietJudge> {
        held(&self.quiet)
    }

    /// The judge of how members say they stand. Never held over a wait; the ledger is taken behind it.
    pub fn standings(&self) -> MutexGuard<'_, StatusJudge> {
        held(&self.standings)
    }

    /// Whether the operator is changing something.
    pub fn operator_is_busy(&self) -> bool {
        self.operator_busy.load(Ordering::Relaxed)
    }

    /// The operator begins to change something, or is done.
    pub fn set_operator_busy(&self, busy: bool) {
        self.operator_acts.fetch_add(u64::from(busy), Ordering::Relaxed);
        self.operator_busy.store(busy, Ordering::Relaxed);
    }

    /// How often the operator has begun.
    pub fn operator_acts(&self) -> u64 {
        self.operator_acts.load(Ordering::Relaxed)
    }

    /// Whether the listener of any member is gone.
    pub fn any_unlistening(&self) -> bool {
        self.unlistening.load(Ordering::Relaxed) > 0
    }

    /// A listener is gone.
    pub fn unlistens(&self) {
        self.unlistening.fetch_add(1, Ordering::Relaxed);
    }

    /// And is there again.
    pub fn listens_again(&self) {
        self.unlistening.fetch_sub(1, Ordering::Relaxed);
    }

    /// Entries of so many bytes are in a log.
    pub fn hears_of_entries(&self, sizes: impl Iterator<Item = usize>) {
        self.largest_entry.fetch_max(sizes.max().unwrap_or(0), Ordering::Relaxed);
    }

    /// Bytes of the largest entry of any log so far.
    pub fn largest_entry(&self) -> usize {
        self.largest_entry.load(Ordering::Relaxed)
    }

    /// Copies of members' disks to start again on at the very end. Never held over a wait.
    pub fn copies(&self) -> MutexGuard<'_, BTreeMap<usize, SimDisk>> {
        held(&self.copies)
    }

    /// All disks are put back to old copies: nothing is judged by what was before.
    pub fn rewind(&self) {
        self.rewound.store(true, Ordering::Relaxed);
    }

    /// Whether they were.
    pub fn is_rewound(&self) -> bool {
        self.rewound.load(Ordering::Relaxed)
    }

    /// The ledger, for who lives longer than a borrow.
    pub fn shared_ledger(&self) -> Arc<Mutex<Ledger>> {
        Arc::clone(&self.ledger)
    }

    /// A promise was broken; the first counts.
    pub fn judge(&self, verdict: Result<(), Violation>) {
        if let Err(violation) = verdict {
            let mut first = held(&self.violation);
            first.get_or_insert(violation);
        }
    }

    /// The first promise that was broken.
    pub fn violation(&self) -> Option<Violation> {
        held(&self.violation).clone()
    }

    /// Whether a promise was broken: there is no use in going on.
    pub fn is_lost(&self) -> bool {
        held(&self.violation).is_some()
    }

    /// The lane that carries messages in place of the transport, if the plan has one. To be asked for the first time
    /// by a task that lives as long as the run.
    pub fn lane(&self) -> Option<Lane> {
        let setting = self.plan.setting.lane.as_ref()?;
        let of_run = || Lane::new(&self.net, setting.mood(), self.plan.seed, self.trace.clone(), self.marks.clone());
        Some(self.lane.get_or_init(of_run).clone())
    }

    /// A member lives anew: who watches what members do begins anew with it.
    pub fn new_life(&self, member: usize) {
        self.ledger().new_life(member);
        self.raft().new_life(member);
        self.rounds().new_life(member);
        self.remainders().new_life(member);
        if self.slices.gone(member) {
            self.marks.hit("in slices: a life ended");
        }
    }

    /// This happens to a member, which may be in the middle of a command that it carries out in slices.
    pub fn meets(&self, member: usize, what: &'static str) {
        if self.slices.at(member).is_some() {
            self.marks.hit(what);
        }
    }

    /// Whether all troubles are over.
    pub fn is_calm(&self) -> bool {
        self.calm_since().is_some()
    }

    /// Since when all troubles are over, if they are.
    pub fn calm_since(&self) -> Option<Duration> {
        *held(&self.calm)
    }

    /// Since when leases are counted at the latest.
    pub fn counts_leases_since(&self) -> Duration {
        let elected = self.raft().last_elected();
        self.remainders().counts_since(elected, true_now())
    }

    /// Troubles are over.
    pub fn calm_down(&self) {
        *held(&self.calm) = Some(true_now());
        self.chronicle.ways(|| Happening::HealAll);
        self.ambushes.clear();
        if let Some(lane) = self.lane.get() {
            lane.set_mood(LaneMood::calm());
        }
        self.wires.heal_all();
        self.net.heal();
        self.members.iter().for_each(|member| member.calm_down());
    }

    /// A client has a host of its own.
    pub fn visits(&self, host: NodeHandle) {
        held(&self.visitors).push(host);
    }

    /// Every client goes, those that watch among them.
    pub fn send_visitors_away(&self) {
        let visitors = std::mem::take(&mut *held(&self.visitors));
        visitors.into_iter().for_each(|host| self.leave(host));
    }

    /// The run is over: every member and every client goes.
    pub fn end_all_lives(&self) {
        self.send_visitors_away();
        self.members.iter().for_each(|member| member.goes());
    }

    /// A node goes, and whatever runs there.
    pub fn leave(&self, node: NodeHandle) {
        Sim::current().kill(node.id());
    }

    /// Nobody looks at it any more: what it holds that holds it goes.
    pub fn fold_up(&self) {
        self.members.iter().for_each(|member| member.fold_up());
    }

    /// This world, as long as anybody has it.
    #[cfg(test)]
    pub fn itself(&self) -> std::sync::Weak<Self> {
        self.itself.clone()
    }

    /// How many clients there are; their numbers count from 0, the watching ones behind the others, those of the bank last.
    pub fn client_count(&self) -> u32 {
        let tellers = self.plan.bank.as_ref().map_or(0, |bank| bank.tellers.len());
        u32::try_from(self.plan.clients.len() + self.plan.watching.len() + tellers).expect("a plan has few clients")
    }

    /// Cuts ways.
    pub fn cut(&self, ways: &[Way]) {
        self.chronicle.ways(|| Happening::Cut(ways.to_vec()));
        self.wires.cut(ways);
        self.net.partition(&self.wires.cuts());
    }

    /// Heals ways that were cut.
    pub fn heal(&self, ways: &[Way]) {
        self.chronicle.ways(|| Happening::Heal(ways.to_vec()));
        self.wires.heal(ways);
        self.net.partition(&self.wires.cuts());
    }

    /// Whom a trouble befalls, by how things stand now.
    pub fn named(&self, who: Who) -> Vec<usize> {
        let count = self.members.len();
        match who {
            Who::Member(number) => vec![number % count],
            Who::All => (0..count).collect(),
            Who::Caught => vec![0],
            Who::Leader => vec![self.leader().unwrap_or(0)],
            Who::Follower(nth) => {
                let leader = self.leader().unwrap_or(0);
                let others: Vec<usize> = (0..count).filter(|number| *number != leader).collect();
                vec![if others.is_empty() { leader } else { others[nth % others.len()] }]
            }
        }
    }

    /// Who leads; of two who think so, the one in the later term.
    pub fn leader(&self) -> Option<usize> {
        let led = |member: &Arc<Member>| {
            let status = member.living()?.door.status();
            status.is_leader.then_some((status.term, member.number))
        };
        self.members.iter().filter_map(led).max().map(|(_, number)| number)
    }

    /// Who leads, and the command in whose middle it is, if it is in one.
    pub fn under_way_at_leader(&self) -> Option<(usize, (u64, u64))> {
        let leader = self.leader()?;
        self.slices.at(leader).map(|entry| (leader, entry))
    }

    /// Puts an operation on record.
    pub fn record(&self, operation: Operation) {
        let outcome = fxhash::hash64(&operation.outcome);
        self.trace.note("answer", &outcome.to_le_bytes());
        held(&self.operations).push(operation);
    }

    /// All operations so far.
    pub fn operations(&self) -> MutexGuard<'_, Vec<Operation>> {
        held(&self.operations)
    }

    /// All operations, to be looked at after the run: also where a panic ended it.
    pub fn take_operations(&self) -> Vec<Operation> {
        std::mem::take(&mut *self.operations.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The log, to be looked at after the run: also where a panic ended it.
    pub fn last_entries(&self) -> BTreeMap<u64, Entry> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).entries().clone()
    }

    /// A promise of a member leaves: now and then its platter is copied, to be looked at later.
    pub fn promised(&self, member: usize, promised: Promised) {
        let mut promises = held(&self.promises);
        if promises.0.len() < PROMISES && promises.1.one_in(60) {
            promises.0.push(Promise::now(&self.members[member].disk, member, promised));
        }
    }

    /// The copies taken.
    pub fn take_promises(&self) -> Vec<Promise> {
        std::mem::take(&mut held(&self.promises).0)
    }

    /// Has a member do something for a client, a message's way there and back, in at most `patience`.
    pub async fn ask<T, F>(
        &self,
        (client, member): (u32, usize),
        patience: Duration,
        dice: &mut SeededDice,
        what: impl FnOnce(Handle<SimEnv>) -> F + Send + 'static,
    ) -> Result<T, Lost>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let until = true_now() + patience;
        let (here, there) = (Host::Client(client), Host::Member(member));
        self.travel((here, there), dice, until).await?;
        let living = self.members[member].living().ok_or(Lost::Down)?;
        let asked = living.node.spawn(async move { what(living.door).await });
        match madsim::time::timeout(until.saturating_sub(true_now()), asked).await {
            Ok(Ok(answer)) => {
                self.travel((there, here), dice, until).await?;
                Ok(answer)
            }
            Ok(Err(_)) | Err(_) => Err(Lost::NoAnswer),
        }
    }

    /// A message's way; one that cannot get through is sent again until time is up.
    pub async fn travel(&self, way: Way, dice: &mut SeededDice, until: Duration) -> Result<(), Lost> {
        let time = Duration::from_nanos(dice.below(1 + self.plan.setting.wire.as_nanos() as u64));
        true_sleep(time).await;
        while !self.wires.open(way) {
            if true_now() + AGAIN >= until {
                self.marks.hit("a client's message got stuck at a cut");
                true_sleep(until.saturating_sub(true_now())).await;
                return Err(Lost::NoAnswer);
            }
            true_sleep(AGAIN).await;
        }
        Ok(())
    }
}

/// Waits until `holds`, at most for `patience`; whether it came to hold.
pub async fn eventually(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let until = true_now() + patience;
    while !holds() {
        if true_now() >= until {
            return false;
        }
        true_sleep(Duration::from_millis(20)).await;
    }
    true
}

/// What only one at a time has. A run is one thread: whoever would have to wait would wait for itself, for ever.
///
/// # Panics
/// If somebody has it.
fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.try_lock().expect("a run is one thread: it is held already, or who held it panicked")
}
