//! A machine's processor: work takes time, and whoever does it is held up by it.
//!
//! In virtual time a turn of a task takes none, however much it does. Here work is charged, by units and bytes, to the
//! task in whose turn it is done; when the turn is over the task is held up for what it owes before it is polled
//! again, so that its timers, its messages and whoever waits for it feel a long turn. Each task has a processor of its
//! own, as each long-lived one has a thread of its own in production: the others go on meanwhile. What a turn sends
//! leaves before the turn is paid for.
//!
//! Invariant: a task is never polled while it owes more than [`GRAIN`].

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use super::clock::{Waiting, true_now};

/// Less than this is owed on and not paid yet: a timer for each microsecond would slow the simulator down.
pub const GRAIN: Duration = Duration::from_micros(20);

thread_local! {
    /// What the task being polled owes for this turn; nothing while none is polled. A run has one thread.
    static OWED: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// How fast a processor is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuMood {
    /// Nanoseconds for a unit of work: an entry applied, a row read.
    pub unit_nanos: u64,
    /// Nanoseconds for a kilobyte that is written or read.
    pub kilobyte_nanos: u64,
    /// How long everything takes, in hundredths: 1000 is a machine starved to a tenth.
    pub slowness_percent: u64,
}

impl CpuMood {
    /// Work takes no time.
    pub fn free() -> Self {
        Self { unit_nanos: 0, kilobyte_nanos: 0, slowness_percent: 100 }
    }

    /// About what the product takes on one core: two microseconds an entry, one a kilobyte.
    pub fn usual() -> Self {
        Self { unit_nanos: 2_000, kilobyte_nanos: 1_000, slowness_percent: 100 }
    }
}

/// A machine's processor. Clones are the same one.
#[derive(Clone)]
pub struct SimCpu {
    mood: Arc<Mutex<CpuMood>>,
}

impl SimCpu {
    /// A processor in a mood.
    pub fn new(mood: CpuMood) -> Self {
        Self { mood: Arc::new(Mutex::new(mood)) }
    }

    fn mood(&self) -> MutexGuard<'_, CpuMood> {
        self.mood.lock().expect("no holder of the mood panics")
    }

    /// Changes how fast it is.
    pub fn set_mood(&self, mood: CpuMood) {
        *self.mood() = mood;
    }

    /// Whether it takes longer than is usual.
    pub fn is_slow(&self) -> bool {
        self.mood().slowness_percent > 100
    }

    /// So many units of work on so many bytes were done in this turn.
    pub fn charge_work(&self, units: u64, bytes: u64) {
        let mood = *self.mood();
        self.charge(Duration::from_nanos(units * mood.unit_nanos + bytes * mood.kilobyte_nanos / 1024));
    }

    /// Work that takes so long on a machine that is not slow was done in this turn.
    pub fn charge(&self, work: Duration) {
        let slowness = self.mood().slowness_percent;
        charge_turn(Duration::from_nanos((work.as_nanos() as u64).saturating_mul(slowness) / 100));
    }

    /// A task that pays for its turns.
    pub fn paced<F: Future<Output = ()> + Send>(future: F) -> impl Future<Output = ()> + Send {
        Paced { future: Box::pin(future), owed: Duration::ZERO, paying: None }
    }
}

/// The task being polled waits so long in its turn, as for a call of the system that does not answer at once. Does
/// nothing outside of the tasks of a simulated machine.
pub fn charge_turn(time: Duration) {
    OWED.with(|owed| owed.set(owed.get().map(|before| before + time)));
}

struct Paced<F> {
    future: Pin<Box<F>>,
    owed: Duration,
    paying: Option<Waiting>,
}

impl<F: Future<Output = ()>> Paced<F> {
    /// One turn, and what it costs.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let outer = OWED.with(|owed| owed.replace(Some(Duration::ZERO)));
        let polled = self.future.as_mut().poll(context);
        let cost = OWED.with(|owed| owed.replace(outer));
        self.owed += cost.unwrap_or_default();
        polled
    }
}

impl<F: Future<Output = ()>> Future for Paced<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(paying) = self.paying.as_mut() {
                if Pin::new(paying).poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.paying = None;
            }
            if self.turn(context).is_ready() {
                return Poll::Ready(());
            }
            if self.owed < GRAIN {
                return Poll::Pending;
            }
            // Whoever wakes the task while it pays wakes it in vain: once it has paid it is polled in any case.
            self.paying = Some(Waiting::until(true_now() + std::mem::take(&mut self.owed)));
        }
    }
}
