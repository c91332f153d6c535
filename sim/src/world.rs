//! The world of a run: one node that lives and dies, its disk, the judges, and how clients reach it.
//!
//! Invariant: whatever a client asks runs as a task of the node, so that it dies with it, and its answer
//! travels; a client hears either the answer or, after a while, nothing.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use madsim::runtime::NodeHandle;
use quorate::base::{Dice, MemberId, SeededDice};
use quorate::driver::{DriverConfig, FoundingMember, Handle};
use quorate::machine::{Applied, Command};
use quorate::mvcc::StoreOptions;
use quorate::node::{NodeConfig, Observer};
use quorate_spec::history::Operation;

use crate::convert;
use crate::env::{DiskFaults, Marks, SimDisk, SimEnv, SimNet, Trace, forked, true_now, true_sleep};
use crate::oracles::Violation;
use crate::oracles::disk::Promise;
use crate::oracles::leases::LeaseTimes;
use crate::oracles::ledger::Ledger;
use crate::plan::Plan;

/// Shortest lease, in seconds, as the default flags make it.
pub const MIN_TTL: i64 = 2;

/// How long a client waits for an answer: longer than the node may take to give one.
const PATIENCE: Duration = Duration::from_secs(20);

/// Copies of the platter taken in one run.
const PROMISES: usize = 2;

/// A node that lives.
#[derive(Clone)]
pub struct Living {
    /// Its door.
    pub door: Handle<SimEnv>,
    /// Where its tasks run.
    pub node: NodeHandle,
    /// Which life this is, from 1.
    pub life: u64,
}

/// Why a question has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// No node lives.
    Down,
    /// The node died before it answered, or its answer took too long.
    NoAnswer,
}

/// See the module's head.
pub struct World {
    /// What is to happen.
    pub plan: Plan,
    /// The disk; this handle uses nothing itself.
    pub disk: SimDisk,
    /// The network; this handle uses nothing itself.
    pub net: SimNet,
    /// The trace hash.
    pub trace: Trace,
    /// What happened sometimes.
    pub marks: Marks,
    ledger: Mutex<Ledger>,
    /// What is known of the times of leases.
    pub lease_times: Mutex<LeaseTimes>,
    living: Mutex<Option<Living>>,
    operations: Mutex<Vec<Operation>>,
    promises: Mutex<(Vec<Promise>, SeededDice)>,
    violation: Mutex<Option<Violation>>,
    calm: Mutex<bool>,
}

impl World {
    /// An empty disk and no node yet.
    pub fn new(plan: Plan) -> Arc<Self> {
        let (trace, marks) = (Trace::default(), Marks::default());
        let dice = forked(plan.seed, "disk", 0);
        let disk = SimDisk::new(plan.setting.disk.clone(), dice, trace.clone(), marks.clone());
        let net = SimNet::new(plan.seed, trace.clone(), marks.clone());
        let lease_times = LeaseTimes::new(plan.setting.drift_ppb);
        let promises = Mutex::new((Vec::new(), forked(plan.seed, "promises", 0)));
        Arc::new(Self {
            plan,
            disk,
            net,
            trace,
            marks,
            ledger: Mutex::new(Ledger::new(MIN_TTL)),
            lease_times: Mutex::new(lease_times),
            living: Mutex::default(),
            operations: Mutex::default(),
            promises,
            violation: Mutex::default(),
            calm: Mutex::default(),
        })
    }

    /// The ledger. Never held over a wait.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no judge panics")
    }

    /// The node, if one lives.
    pub fn living(&self) -> Option<Living> {
        self.living.lock().expect("no holder of this lock panics").clone()
    }

    /// A life begins or ends.
    pub fn set_living(&self, living: Option<Living>) {
        *self.living.lock().expect("no holder of this lock panics") = living;
    }

    /// A promise was broken; the first counts.
    pub fn judge(&self, verdict: Result<(), Violation>) {
        if let Err(violation) = verdict {
            let mut first = self.violation.lock().expect("no holder of this lock panics");
            first.get_or_insert(violation);
        }
    }

    /// The first promise broken.
    pub fn violation(&self) -> Option<Violation> {
        self.violation.lock().expect("no holder of this lock panics").clone()
    }

    /// Whether troubles are over.
    pub fn is_calm(&self) -> bool {
        *self.calm.lock().expect("no holder of this lock panics")
    }

    /// Troubles are over.
    pub fn calm_down(&self) {
        *self.calm.lock().expect("no holder of this lock panics") = true;
        let lies = self.plan.setting.disk.lies;
        self.disk.set_faults(DiskFaults { lies, ..DiskFaults::calm() });
    }

    /// Puts an operation on record.
    pub fn record(&self, operation: Operation) {
        let outcome = fxhash::hash64(&operation.outcome);
        self.trace.note("answer", &outcome.to_le_bytes());
        self.operations.lock().expect("no holder of this lock panics").push(operation);
    }

    /// All operations so far.
    pub fn operations(&self) -> MutexGuard<'_, Vec<Operation>> {
        self.operations.lock().expect("no holder of this lock panics")
    }

    /// An answer for `index` leaves: now and then the platter is copied, to be looked at later.
    pub fn promised(&self, index: u64) {
        let mut promises = self.promises.lock().expect("no holder of this lock panics");
        if promises.0.len() < PROMISES && promises.1.one_in(60) {
            promises.0.push(Promise::now(&self.disk, index));
        }
    }

    /// The copies taken.
    pub fn take_promises(&self) -> Vec<Promise> {
        std::mem::take(&mut self.promises.lock().expect("no holder of this lock panics").0)
    }

    /// Has the node do something for a client, a message's way there and back.
    pub async fn ask<T, F>(
        &self,
        dice: &mut SeededDice,
        what: impl FnOnce(Handle<SimEnv>) -> F + Send + 'static,
    ) -> Result<T, Lost>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        true_sleep(self.wire(dice)).await;
        let living = self.living().ok_or(Lost::Down)?;
        let asked = living.node.spawn(async move { what(living.door).await });
        match madsim::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => {
                true_sleep(self.wire(dice)).await;
                Ok(answer)
            }
            Ok(Err(_)) | Err(_) => Err(Lost::NoAnswer),
        }
    }

    fn wire(&self, dice: &mut SeededDice) -> Duration {
        Duration::from_nanos(dice.below(1 + self.plan.setting.wire.as_nanos() as u64))
    }

    /// The node's flags.
    pub fn driver_config(&self, seed: u64, observer: Arc<dyn Observer>) -> DriverConfig {
        let setting = &self.plan.setting;
        let store = StoreOptions { cache_bytes: setting.cache_bytes, segment_bytes: setting.segment_bytes };
        DriverConfig {
            name: "one".to_string(),
            founding_members: vec![FoundingMember {
                name: "one".to_string(),
                peer_urls: vec!["http://one:2380".to_string()],
            }],
            cluster_token: "sim".to_string(),
            tick: Duration::from_millis(100),
            election_ticks: 10,
            pre_vote: true,
            max_request_bytes: quorate::base::limits::MAX_REQUEST_BYTES,
            wal_segment_bytes: setting.wal_segment_bytes,
            min_lease_ttl: MIN_TTL,
            store,
            node: NodeConfig {
                member: MemberId(0),
                name: "one".to_string(),
                client_urls: vec!["http://one:2379".to_string()],
                cluster_version: "3.7.0".to_string(),
                request_timeout: Duration::from_secs(7),
                read_retry: Duration::from_millis(500),
                election_timeout: Duration::from_secs(1),
                catch_up_entries: quorate::base::limits::CATCH_UP_ENTRIES,
                quota_bytes: 0,
                checkpoint_entries: setting.checkpoint_entries,
                progress_ticks: setting.progress_ticks,
                seed,
                observer: Some(observer),
            },
        }
    }
}

/// What the node tells in the moment it applies an entry.
pub struct Witness {
    /// Whom it is told to.
    pub world: Arc<World>,
    /// The disk of the life that tells: a life that has ended tells nothing more.
    pub disk: SimDisk,
}

impl Observer for Witness {
    fn applied(&self, (index, term): (u64, u64), _: Option<u64>, command: Option<&Command>, applied: &Applied) {
        if !self.disk.is_alive() {
            return;
        }
        let answer = applied.answer.as_ref().map(convert::answer).map_err(|refusal| refusal.text());
        let request = command.map(convert::request);
        let what = fxhash::hash64(&(index, term, request, answer, applied.revision, applied.events.len()));
        self.world.trace.note("applied", &what.to_le_bytes());
        let verdict = self.world.ledger().applied(index, term, command, applied);
        self.world.judge(verdict);
    }
}

/// Waits until `holds`, at most for `patience`; whether it came to hold.
pub async fn eventually(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let until = true_now() + patience;
    while !holds() {
        if true_now() >= until {
            return false;
        }
        true_sleep(Duration::from_millis(5)).await;
    }
    true
}
