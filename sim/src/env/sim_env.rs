//! The world of one incarnation of a node, as the product sees it.

use std::future::Future;
use std::sync::{Arc, Mutex};

use quorate::base::{Dice, SeededDice};
use quorate::env::{Env, Tasks};

use super::clock::SimClock;
use super::cpu::{CpuMood, SimCpu};
use super::disk::SimDisk;
use super::net::SimNet;

/// Tasks of the node that spawns them: they die with it, and pay for their turns.
#[derive(Clone, Copy, Debug)]
pub struct SimTasks;

impl Tasks for SimTasks {
    fn spawn(&self, _name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        drop(madsim::task::spawn(SimCpu::paced(future)));
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
    dice: Arc<Mutex<SeededDice>>,
}

impl SimEnv {
    /// The world of an incarnation; `disk` must be one that [`SimDisk::power_on`] gave, `net` one that
    /// [`SimNet::boot`] gave.
    pub fn new(clock: SimClock, disk: SimDisk, net: SimNet, dice: SeededDice) -> Self {
        let cpu = SimCpu::new(CpuMood::free());
        Self { clock, disk, net, cpu, dice: Arc::new(Mutex::new(dice)) }
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
        &SimTasks
    }

    fn dice(&self) -> Box<dyn Dice> {
        let seed = self.dice.lock().expect("no holder of the dice panics").next_u64();
        Box::new(SeededDice::new(seed))
    }
}
