//! The world as it ships: the system's clock, files and threads.
//!
//! Invariant: every spawned task has a thread of its own with a small runtime for timers, so a task that waits
//! for the disk delays no other; the light ones, which never do, share one runtime. A task for which the system has no thread left
//! waits for one. Does not know what the tasks do, nor how they are told to end.

use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::seam::{Clock, Env, Instant, Tasks};
use super::tokio_disk::TokioDisk;
use super::tokio_net::{Sealing, TokioNet};
use crate::base::{Dice, Fault, SeededDice, limits};

/// The real world. Clones are the same world.
#[derive(Clone, Debug)]
pub struct TokioEnv {
    clock: TokioClock,
    disk: TokioDisk,
    net: TokioNet,
    tasks: TokioTasks,
    seed: u64,
    dice_given: Arc<AtomicU64>,
}

/// The system's clocks; moments are counted from when it was made.
#[derive(Clone, Debug)]
pub struct TokioClock {
    start: std::time::Instant,
}

/// Threads, one a task, and one runtime for the light ones, begun with the first of them.
#[derive(Clone, Debug)]
pub struct TokioTasks {
    running: Arc<(Mutex<Running>, Condvar)>,
    light: Arc<Mutex<Light>>,
    begin: BeginThread,
}

/// What a thread is begun for.
type Work = Box<dyn FnOnce() + Send>;

/// Begins a thread of this name.
type BeginThread = fn(&str, Work) -> io::Result<()>;

/// Work that no thread has taken yet.
type Waiting = Arc<Mutex<Option<Work>>>;

impl Default for TokioTasks {
    fn default() -> Self {
        Self { running: Arc::default(), light: Arc::default(), begin: begin_thread }
    }
}

/// The runtime of the light tasks.
#[derive(Debug, Default)]
enum Light {
    #[default]
    NotBegun,
    Runs(LightRuntime),
    Ended,
}

/// Ends in the background: it may be dropped by a task of another runtime, which must not be blocked. Its tasks guard
/// nothing: they are dropped where they wait.
#[derive(Debug)]
struct LightRuntime(Option<tokio::runtime::Runtime>);

impl Drop for LightRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    tasks: std::collections::BTreeMap<u64, &'static str>,
}

/// A seed nobody can guess from the outside: from the system's entropy, as the standard hasher draws it.
pub fn entropy_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

impl TokioEnv {
    /// The world with its data directory at `root`, made where missing. Production draws `seed` from
    /// [`entropy_seed`].
    pub fn new(root: PathBuf, seed: u64) -> Result<Self, Fault> {
        Ok(Self {
            clock: TokioClock { start: std::time::Instant::now() },
            disk: TokioDisk::open(root)?,
            net: TokioNet::default(),
            tasks: TokioTasks::default(),
            seed,
            dice_given: Arc::default(),
        })
    }

    /// The same world, one directory of whose disk lies elsewhere, see [`TokioDisk::with_elsewhere`].
    pub fn with_elsewhere(mut self, name: &str, place: PathBuf) -> Result<Self, Fault> {
        self.disk = self.disk.with_elsewhere(name, place)?;
        Ok(self)
    }

    /// The same world, whose connections between members are encrypted where their addresses ask for it.
    #[must_use]
    pub fn sealed_by(mut self, sealing: Arc<dyn Sealing>) -> Self {
        self.net = TokioNet::sealed_by(sealing);
        self
    }

    /// The same world, whose ports may be listened at by others that share them, too, or not.
    #[must_use]
    pub fn sharing_ports(mut self, shares: bool) -> Self {
        self.net.share_ports(shares);
        self
    }

    /// Blocks this thread until every task has ended, at most `timeout`; the error names those that have not.
    /// A task that panicked has ended. The light tasks are dropped. To be called at shutdown, from outside the tasks.
    pub fn join(&self, timeout: Duration) -> Result<(), Vec<&'static str>> {
        self.tasks.join(timeout)
    }
}

impl Env for TokioEnv {
    type Clock = TokioClock;
    type Disk = TokioDisk;
    type Net = TokioNet;
    type Tasks = TokioTasks;

    fn clock(&self) -> &TokioClock {
        &self.clock
    }

    fn disk(&self) -> &TokioDisk {
        &self.disk
    }

    fn net(&self) -> &TokioNet {
        &self.net
    }

    fn tasks(&self) -> &TokioTasks {
        &self.tasks
    }

    fn dice(&self) -> Box<dyn Dice> {
        let number = self.dice_given.fetch_add(1, Ordering::Relaxed);
        // Two draws apart, or the n-th dice would repeat the first ones from the n-th throw on.
        let seed = SeededDice::new(self.seed).next_u64() ^ SeededDice::new(!number).next_u64();
        Box::new(SeededDice::new(seed))
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        Instant(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn wall_ms(&self) -> u64 {
        // A wall clock before 1970 is a misconfigured host; 0 is as good as any answer.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
    }

    /// Must be polled inside a runtime with timers, as every task of [`TokioTasks`] is.
    async fn sleep_until(&self, deadline: Instant) {
        let left = deadline.since(self.now());
        if !left.is_zero() {
            tokio::time::sleep(left).await;
        }
    }
}

impl TokioTasks {
    fn join(&self, timeout: Duration) -> Result<(), Vec<&'static str>> {
        let (running, ended) = &*self.running;
        let (left, _) = ended
            .wait_timeout_while(lock(running), timeout, |running| !running.tasks.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        *self.light.lock().unwrap_or_else(PoisonError::into_inner) = Light::Ended;
        if left.tasks.is_empty() { Ok(()) } else { Err(left.tasks.values().copied().collect()) }
    }
}

impl TokioTasks {
    /// Runs `first` in the task's thread, then the task.
    fn spawn_after(&self, name: &'static str, first: fn(), future: impl Future<Output = ()> + Send + 'static) {
        let standing = {
            let mut running = lock(&self.running.0);
            let number = running.next;
            running.next += 1;
            running.tasks.insert(number, name);
            Standing { tasks: self.clone(), number }
        };
        let work: Work = Box::new(move || {
            let standing = standing;
            first();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            runtime.expect("the system gives a timer").block_on(future);
            drop(standing);
        });
        let waiting = Arc::new(Mutex::new(Some(work)));
        if let Err(error) = hand_over(self.begin, name, &waiting) {
            self.hand_over_later(name, waiting, &error);
        }
    }

    /// The limit of threads is this user's, or that of a group of processes, and others may use it up: no reason to end.
    fn hand_over_later(&self, name: &'static str, waiting: Waiting, error: &io::Error) {
        tracing::warn!(task = name, %error, "the system gives no thread: the task waits for one");
        let begin = self.begin;
        self.spawn_light(name, async move {
            loop {
                tokio::time::sleep(Duration::from_millis(limits::THREAD_AGAIN_MS)).await;
                if hand_over(begin, name, &waiting).is_ok() {
                    return tracing::info!(task = name, "the task has its thread");
                }
            }
        });
    }
}

/// Begins a thread for what waits; where there is none it waits on.
fn hand_over(begin: BeginThread, name: &str, waiting: &Waiting) -> io::Result<()> {
    let taken = waiting.clone();
    begin(
        name,
        Box::new(move || {
            let work = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
            work.into_iter().for_each(|work| work());
        }),
    )
}

fn begin_thread(name: &str, work: Work) -> io::Result<()> {
    // Its end is told by `Standing`, so the handle is not needed.
    std::thread::Builder::new().name(name.to_string()).stack_size(limits::STACK_BYTES).spawn(work).map(drop)
}

/// Gives this thread a tenth of the weight of others: enough that it comes to an end on a machine that is never idle.
fn give_way() {
    // On Linux the process that is named by nothing is the thread that calls. Where it is refused, all are equal.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, 10);
}

/// Strikes its task off the list when it goes, also when the task panics.
struct Standing {
    tasks: TokioTasks,
    number: u64,
}

impl Drop for Standing {
    fn drop(&mut self) {
        let (running, ended) = &*self.tasks.running;
        lock(running).tasks.remove(&self.number);
        ended.notify_all();
    }
}

impl Tasks for TokioTasks {
    /// # Panics
    /// If the system gives no timer, or no thread to the first of all tasks: nothing useful can be done without.
    fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.spawn_after(name, || {}, future);
    }

    /// # Panics
    /// As [`Tasks::spawn`].
    fn spawn_quiet(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.spawn_after(name, give_way, future);
    }

    fn spawn_light(&self, _name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let mut light = self.light.lock().unwrap_or_else(PoisonError::into_inner);
        if let Light::NotBegun = &*light {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime
                .worker_threads(1)
                .thread_name("light")
                .thread_stack_size(limits::STACK_BYTES)
                .enable_all()
                .build();
            *light = Light::Runs(LightRuntime(Some(runtime.expect("the system gives a thread and a timer"))));
        }
        if let Light::Runs(LightRuntime(Some(runtime))) = &*light {
            drop(runtime.spawn(future));
        }
    }
}

fn lock(running: &Mutex<Running>) -> MutexGuard<'_, Running> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn env() -> (tempfile::TempDir, TokioEnv) {
        let dir = tempfile::tempdir().expect("made");
        let env = TokioEnv::new(dir.path().to_path_buf(), 7).expect("opened");
        (dir, env)
    }

    #[test]
    fn tasks_have_threads_of_their_own_and_are_joined() {
        let (_dir, env) = env();
        let (to_task, from_test) = mpsc::channel::<()>();
        let (to_test, from_task) = mpsc::channel();
        // Blocks its thread, as a sync does.
        env.tasks().spawn("blocked", async move {
            let _ = from_test.recv();
        });
        let clock = env.clock().clone();
        env.tasks().spawn("sleeper", async move {
            let deadline = clock.now().plus(Duration::from_millis(5));
            clock.sleep_until(deadline).await;
            let name = std::thread::current().name().map(str::to_string);
            to_test.send((clock.now() >= deadline, name)).expect("the test waits");
        });
        assert_eq!(from_task.recv().expect("told"), (true, Some("sleeper".to_string())));
        assert_eq!(env.join(Duration::from_millis(20)), Err(vec!["blocked"]));
        drop(to_task);
        assert_eq!(env.join(Duration::from_secs(60)), Ok(()));
    }

    /// It is done once, when there is a thread, and whoever waits for the tasks waits for it.
    #[test]
    fn a_task_for_which_there_is_no_thread_waits_for_one() {
        static REFUSALS: AtomicU64 = AtomicU64::new(3);
        fn sparing(name: &str, work: Work) -> io::Result<()> {
            let refuses =
                REFUSALS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
            if refuses { Err(io::ErrorKind::WouldBlock.into()) } else { begin_thread(name, work) }
        }
        let (_dir, mut env) = env();
        env.tasks.begin = sparing;
        let (done, told) = mpsc::channel();
        env.tasks().spawn_quiet("late", async move {
            done.send(std::thread::current().name().map(str::to_string)).expect("awaited")
        });
        assert_eq!(lock(&env.tasks.running.0).tasks.len(), 1, "it is waited for");
        assert_eq!((told.recv(), REFUSALS.load(Ordering::Relaxed)), (Ok(Some("late".to_string())), 0));
        assert!(told.recv().is_err(), "once");
        assert_eq!(env.join(Duration::from_secs(60)), Ok(()));
    }

    #[test]
    fn a_world_with_light_tasks_may_be_dropped_inside_a_runtime() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("made");
        let (_dir, env) = env();
        env.tasks().spawn_light("waits", std::future::pending());
        runtime.block_on(async move { drop(env) });
    }

    #[test]
    fn dice_differ_from_each_other_and_repeat_with_the_seed() {
        let (_dir, one) = env();
        let (_dir, other) = env();
        let throws = |env: &TokioEnv| [env.dice().next_u64(), env.dice().next_u64()];
        let first = throws(&one);
        assert_ne!(first[0], first[1]);
        assert_eq!(first, throws(&other));
        assert_ne!(first, throws(&one));
        assert_ne!(entropy_seed(), entropy_seed());
    }
}
