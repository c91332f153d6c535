//! The world of one incarnation of a node, as the product sees it.

use std::future::Future;
use std::sync::{Arc, Mutex};

use quorate::base::{Dice, SeededDice};
use quorate::env::{Env, Tasks};

use super::clock::SimClock;
use super::disk::SimDisk;
use super::net::SimNet;

/// Tasks of the node that spawns them: they die with it.
#[derive(Clone, Copy, Debug)]
pub struct SimTasks;

impl Tasks for SimTasks {
    fn spawn(&self, _name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        drop(madsim::task::spawn(future));
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
    dice: Arc<Mutex<SeededDice>>,
}

impl SimEnv {
    /// The world of an incarnation; `disk` must be one that [`SimDisk::power_on`] gave, `net` one that
    /// [`SimNet::boot`] gave.
    pub fn new(clock: SimClock, disk: SimDisk, net: SimNet, dice: SeededDice) -> Self {
        Self { clock, disk, net, dice: Arc::new(Mutex::new(dice)) }
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
