//! A world for tests in which hours cost nothing: tokio's paused clock, the network and the disk in memory.
//!
//! Invariant: time moves only while every task waits for it. Runs on the current thread, inside [`VirtualEnv::run`].

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::memory_disk::MemoryDisk;
use super::memory_net::MemoryNet;
use super::seam::{Clock, Disk, Env, Instant, Tasks};
use crate::base::{Dice, SeededDice};

/// The world as one host has it.
#[derive(Clone)]
pub(crate) struct VirtualEnv<D = MemoryDisk> {
    clock: VirtualClock,
    disk: D,
    net: MemoryNet,
    tasks: VirtualTasks,
    dice_given: Arc<AtomicU64>,
}

/// tokio's clock, which stands still while anything runs.
#[derive(Clone)]
pub(crate) struct VirtualClock {
    start: tokio::time::Instant,
}

/// Tasks of one thread.
#[derive(Clone)]
pub(crate) struct VirtualTasks;

impl VirtualEnv {
    /// Runs a test in a world of its own, given as the host `a`; [`VirtualEnv::at`] gives the others.
    pub(crate) fn run<T>(test: impl AsyncFnOnce(Self) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("the system gives a timer").block_on(async {
            let clock = VirtualClock { start: tokio::time::Instant::now() };
            let disk = MemoryDisk::new();
            let net = MemoryNet::new("a");
            test(Self { clock, disk, net, tasks: VirtualTasks, dice_given: Arc::default() }).await
        })
    }

    /// The same world, as another host has it.
    pub(crate) fn at(&self, host: &str) -> Self {
        Self { net: self.net.at(host), disk: MemoryDisk::new(), ..self.clone() }
    }

    /// The same host with another disk.
    pub(crate) fn with_disk<D>(&self, disk: D) -> VirtualEnv<D> {
        let Self { clock, net, tasks, dice_given, .. } = self.clone();
        VirtualEnv { clock, disk, net, tasks, dice_given }
    }

    /// The moment now.
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Lets time pass, and with it everything that was to happen.
    pub(crate) async fn pass(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Time leaps: what was to happen meanwhile comes late, as after a pause of the whole process.
    pub(crate) async fn leap(&self, duration: Duration) {
        tokio::time::advance(duration).await;
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        Instant(self.start.elapsed().as_nanos() as u64)
    }

    fn wall_ms(&self) -> u64 {
        1_700_000_000_000 + self.start.elapsed().as_millis() as u64
    }

    async fn sleep_until(&self, deadline: Instant) {
        tokio::time::sleep_until(self.start + Duration::from_nanos(deadline.0)).await;
    }
}

impl Tasks for VirtualTasks {
    fn spawn(&self, _name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(future));
    }

    fn spawn_light(&self, _name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(future));
    }
}

impl<D: Disk> Env for VirtualEnv<D> {
    type Clock = VirtualClock;
    type Disk = D;
    type Net = MemoryNet;
    type Tasks = VirtualTasks;

    fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    fn disk(&self) -> &D {
        &self.disk
    }

    fn net(&self) -> &MemoryNet {
        &self.net
    }

    fn tasks(&self) -> &VirtualTasks {
        &self.tasks
    }

    fn dice(&self) -> Box<dyn Dice> {
        Box::new(SeededDice::new(self.dice_given.fetch_add(1, Ordering::Relaxed)))
    }
}

/// What the future gives within the time; an error where it does not.
pub(crate) async fn virtual_timeout<T>(time: Duration, future: impl Future<Output = T>) -> Result<T, ()> {
    tokio::time::timeout(time, future).await.map_err(|_| ())
}
