//! The world of one incarnation of a node, as the product sees it.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use madsim::runtime::NodeHandle;
use quorate::base::{Dice, SeededDice};
use quorate::env::{Env, Tasks};

use super::clock::{SimClock, true_sleep};
use super::cpu::{CpuMood, SimCpu};
use super::disk::SimDisk;
use super::net::SimNet;

/// Tasks of one incarnation, whoever has it begin them: they die with its node, and pay for their turns. A quiet one may begin late:
/// it gives way.
#[derive(Clone)]
pub struct SimTasks {
    node: NodeHandle,
    quiet: Arc<Mutex<SeededDice>>,
}

/// One quiet task in so many has to wait for others.
const WAITS_ONE_IN: u64 = 3;

/// For so many milliseconds at most.
const WAITS_MS: u64 = 1_000;

impl SimTasks {
    fn new(node: NodeHandle, dice: SeededDice) -> Self {
        Self { node, quiet: Arc::new(Mutex::new(dice)) }
    }

    fn waits(&self) -> Option<Duration> {
        let mut dice = self.quiet.lock().expect("no holder of the dice panics");
        (dice.below(WAITS_ONE_IN) == 0).then(|| Duration::from_millis(dice.below(WAITS_MS)))
    }
}

impl Tasks for SimTasks {
    fn spawn(&self, _name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        drop(self.node.spawn(SimCpu::paced(future)));
    }

    fn spawn_quiet(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let waits = self.waits();
        self.spawn(name, async move {
            if let Some(time) = waits {
                true_sleep(time).await;
            }
            future.await;
        });
    }

    fn spawn_light(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.spawn(name, future);
    }
}

/// Clock, disk, network, tasks and dice of one incarnation.
#[derive(Clone)]
pub struct SimEnv {
    clock: SimClock,
    disk: SimDisk,
    net: SimNet,
    cpu: SimCpu,
    tasks: SimTasks,
    dice: Arc<Mutex<SeededDice>>,
}

impl SimEnv {
    /// The world of an incarnation; `disk` must be one that [`SimDisk::power_on`] gave, `net` one that
    /// [`SimNet::boot`] gave; its tasks are those of `node`.
    pub fn new(node: NodeHandle, clock: SimClock, disk: SimDisk, net: SimNet, dice: SeededDice) -> Self {
        let cpu = SimCpu::new(CpuMood::free());
        // Of the same seed, and taking no throw from what the product is given.
        let tasks = SimTasks::new(node, SeededDice::new(!dice.clone().next_u64()));
        Self { clock, disk, net, cpu, tasks, dice: Arc::new(Mutex::new(dice)) }
    }

    /// Its processor: whoever watches the product work charges it here.
    pub fn cpu(&self) -> &SimCpu {
        &self.cpu
    }
}

impl Env for SimEnv {
    type Clock = SimClock;
    type Disk = SimDisk;
    type Net = SimNet;
    type Tasks = SimTasks;

    fn clock(&self) -> &SimClock {
        &self.clock
    }

    fn disk(&self) -> &SimDisk {
        &self.disk
    }

    fn net(&self) -> &SimNet {
        &self.net
    }

    fn tasks(&self) -> &SimTasks {
        &self.tasks
    }

    fn dice(&self) -> Box<dyn Dice> {
        let seed = self.dice.lock().expect("no holder of the dice panics").next_u64();
        Box::new(SeededDice::new(seed))
    }
}
