//! The lives of the node: how each begins, what befalls it, how it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use madsim::runtime::{Handle as Sim, NodeHandle};
use quorate::base::{SeededDice, Wrong};
use quorate::driver::BootReport;

use crate::env::{Loss, SimClock, SimEnv, forked, true_now, true_sleep};
use crate::oracles::Violation;
use crate::plan::{End, Trouble};
use crate::world::{Living, Witness, World, eventually};

/// Longest time a boot, or a stop that was asked for, may take in any weather.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a trap in the disk waits for its operation before the life is ended without.
const TRAP_PATIENCE: Duration = Duration::from_secs(2);

/// Drives one node through its lives.
pub struct Lives {
    world: Arc<World>,
    dice: SeededDice,
    lives: u64,
    node: Option<NodeHandle>,
    /// Set by the trap when it ends a life.
    sprung: Arc<AtomicBool>,
}

impl Lives {
    /// Nothing lives yet.
    pub fn new(world: Arc<World>) -> Self {
        let dice = forked(world.plan.seed, "lives", 0);
        Self { world, dice, lives: 0, node: None, sprung: Arc::default() }
    }

    /// All troubles of the plan, one after the other.
    pub async fn suffer(&mut self) {
        self.boot().await;
        let troubles = self.world.plan.troubles.clone();
        for (rest, trouble) in troubles {
            self.live_for(rest).await;
            if self.world.violation().is_some() || self.world.is_calm() {
                return;
            }
            match trouble {
                Trouble::Stall(duration) => {
                    self.world.marks.hit("the disk stalled for long");
                    self.world.disk.stall_for(duration);
                }
                Trouble::Ending { end, at_disk_operation, down } => {
                    self.wait_for_operation(at_disk_operation).await;
                    self.end(end).await;
                    true_sleep(down).await;
                    // Every other boot that follows at once may itself be cut short.
                    if at_disk_operation % 3 == 1 {
                        self.arm(at_disk_operation / 2 + 1);
                    }
                    self.boot().await;
                }
            }
        }
    }

    /// Lets the node live; should it end by itself, it is started again as a supervisor would.
    pub async fn live_for(&mut self, time: Duration) {
        let until = true_now() + time;
        loop {
            self.look_after().await;
            let left = until.saturating_sub(true_now());
            if left.is_zero() || self.world.violation().is_some() {
                return;
            }
            true_sleep(left.min(Duration::from_millis(5))).await;
        }
    }

    /// Starts the node again if it has ended by itself or by the trap.
    pub async fn look_after(&mut self) {
        let ended = self.world.living().and_then(|living| living.door.ending().now());
        if self.sprung.swap(false, Ordering::Relaxed) {
            self.end(End::Power(Loss::torn())).await;
            self.boot().await;
        } else if let Some(how) = ended {
            let excused = match &how {
                Err(wrong) => self.is_injected(wrong),
                Ok(()) => false,
            };
            if !excused {
                let story = format!("the node ended by itself: {how:?}");
                self.world.judge(Err(Violation::now("a node lives until it is ended", story)));
                return;
            }
            self.world.marks.hit("the node stopped on a fault of the disk");
            self.end(End::Kill).await;
            self.boot().await;
        }
    }

    fn is_injected(&self, wrong: &Wrong) -> bool {
        self.world.plan.setting.disk.sync_error_one_in > 0
            && matches!(wrong, Wrong::Fault(fault) if fault.source.raw_os_error() == Some(5))
    }

    /// Ends the life, or the one about to begin, in its n-th operation on the disk.
    fn arm(&self, nth: u64) {
        let sprung = self.sprung.clone();
        self.world.disk.arm(nth, move || {
            sprung.store(true, Ordering::Relaxed);
            // The task that stepped into it runs to its next wait, and no other task of the node runs again.
            Sim::current().kill(madsim::plugin::node());
        });
    }

    async fn wait_for_operation(&mut self, nth: u64) {
        if nth == 0 || self.world.living().is_none() {
            return;
        }
        self.arm(nth);
        let sprung = self.sprung.clone();
        eventually(TRAP_PATIENCE, || sprung.load(Ordering::Relaxed)).await;
        self.world.disk.disarm();
    }

    /// Ends the present life.
    pub async fn end(&mut self, end: End) {
        if matches!(end, End::Stop) && !self.sprung.load(Ordering::Relaxed) {
            self.stop().await;
        }
        self.sprung.store(false, Ordering::Relaxed);
        self.world.set_living(None);
        if let Some(node) = self.node.take() {
            Sim::current().kill(node.id());
        }
        self.world.net.kill("one");
        match end {
            End::Stop => self.world.disk.kill(),
            End::Kill => {
                self.world.marks.hit("process killed, system lived on");
                self.world.disk.kill();
            }
            End::Power(loss) => {
                self.world.marks.hit("power lost");
                self.world.disk.lose_power(loss);
            }
        }
        self.world.trace.note("end", format!("{end:?}").as_bytes());
    }

    async fn stop(&mut self) {
        let Some(living) = self.world.living() else { return };
        let door = living.door.clone();
        let stopped = living.node.spawn(async move { door.stop().await });
        let in_time = madsim::time::timeout(PATIENCE, stopped).await;
        let clean = matches!(living.door.ending().now(), Some(Ok(())));
        let excused = living.door.ending().now().is_some_and(|how| how.is_err_and(|wrong| self.is_injected(&wrong)));
        if in_time.is_err() || !(clean || excused) {
            let story = format!("asked to stop; after {PATIENCE:?}: {:?}", living.door.ending().now());
            self.world.judge(Err(Violation::now("a node stops when it is asked to", story)));
        }
        self.world.marks.hit("stopped cleanly");
    }

    /// Begins a life; again and again while the disk fails, as a supervisor would.
    pub async fn boot(&mut self) {
        for _ in 0..100 {
            if self.world.violation().is_some() {
                return;
            }
            match self.try_boot().await {
                Ok(()) => return,
                Err(end) => {
                    self.end(end).await;
                    true_sleep(Duration::from_millis(10)).await;
                }
            }
        }
        let story = "a hundred boots failed".to_string();
        self.world.judge(Err(Violation::now("a node boots", story)));
    }

    async fn try_boot(&mut self) -> Result<(), End> {
        self.lives += 1;
        let world = self.world.clone();
        let disk = world.disk.power_on();
        let setting = &world.plan.setting;
        let wall_base_ms = if setting.wall_restarts {
            // The clock shows the same time at every start.
            1_500_000_000_000 - i64::try_from(true_now().as_millis()).unwrap_or(0)
        } else {
            1_600_000_000_000
        };
        let clock = SimClock::new(1_000_000_000 * self.lives, setting.drift_ppb, wall_base_ms);
        let env = SimEnv::new(clock, disk.clone(), world.net.boot("one"), forked(world.plan.seed, "env", self.lives));
        let seed = quorate::base::Dice::next_u64(&mut self.dice);
        let config = world.driver_config(seed, Arc::new(Witness { world: world.clone(), disk }));
        world.ledger().new_life();
        let node = Sim::current().create_node().name(format!("life-{}", self.lives)).build();
        self.node = Some(node.clone());
        let starting = node.spawn(quorate::driver::start(env, config));
        match madsim::time::timeout(PATIENCE, starting).await {
            Ok(Ok(_)) if self.sprung.load(Ordering::Relaxed) => {
                world.marks.hit("life ended during boot");
                Err(End::Power(Loss::torn()))
            }
            Ok(Ok(Ok((door, report)))) => {
                self.took_off(&report);
                world.set_living(Some(Living { door, node, life: self.lives }));
                Ok(())
            }
            Ok(Ok(Err(wrong))) if self.is_injected(&wrong) => {
                world.marks.hit("the disk failed a boot");
                Err(End::Kill)
            }
            Ok(Ok(Err(wrong))) => {
                world.judge(Err(Violation::now("a node boots from what a crash left", format!("{wrong:?}"))));
                Ok(())
            }
            Ok(Err(_)) => {
                world.marks.hit("life ended during boot");
                Err(End::Power(Loss::torn()))
            }
            Err(_) => {
                let story = format!("no answer after {PATIENCE:?}");
                world.judge(Err(Violation::now("a node boots", story)));
                Ok(())
            }
        }
    }

    fn took_off(&self, report: &BootReport) {
        let marks = &self.world.marks;
        marks.hit("lives");
        if self.lives > 1 {
            marks.hit("restarts");
        }
        if report.checkpoint > 0 {
            marks.hit("booted from a checkpoint");
        }
        if !report.damaged.is_empty() {
            marks.hit("booted past a damaged checkpoint");
        }
        if report.replayed > 0 && self.lives > 1 {
            marks.hit("log replayed at boot");
        }
        self.world.trace.note("boot", format!("{report:?}").as_bytes());
        if report.tail.torn_bytes > 0 {
            marks.hit("torn tail of the log cut");
        }
        if report.tail.torn_segments > 0 {
            marks.hit("torn segment of the log cut");
        }
    }
}
