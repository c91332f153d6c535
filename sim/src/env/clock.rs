//! Clocks: one true time, and for every machine a clock of its own that is off in ways of its own.
//!
//! What is modelled: the monotonic clock starts anywhere, runs too fast or too slow by a drift that may change, and
//! stands still while the machine is suspended; the wall clock is another, steps either way, and may start before 1970.
//! Timers fire when the monotonic clock shows their moment, never before, and now and then late. A process that is
//! paused (madsim's pause, as SIGSTOP) stands still while its clocks go on: nothing here is needed for it. A wait that
//! is under way when the drift rises ends by the old drift, late, as a timer may be at any time.
//!
//! Invariant: the monotonic clock never goes back, whatever is done to it.
//!
//! True time is madsim's. Its own sleeps last at least a millisecond and, asked for a moment that has passed,
//! a millisecond as well, so that a loop that renews `sleep_until(next_tick)` faster than that never ticks.
//! [`Waiting`] has neither floor: a moment that has passed is ready at once, and shorter waits are exact.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use madsim::time::{Sleep, TimeHandle};
use quorate::base::{Dice, SeededDice};
use quorate::env::{Clock, Instant};

const BILLION: i128 = 1_000_000_000;

/// True time since the start of the run.
pub fn true_now() -> Duration {
    TimeHandle::try_current().map_or(Duration::ZERO, |time| time.elapsed())
}

/// Waits for `duration` of true time.
pub fn true_sleep(duration: Duration) -> impl Future<Output = ()> + Send {
    Waiting::until(true_now() + duration)
}

/// A wait for a moment of true time.
pub struct Waiting {
    until: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Who is woken: each poll of madsim's sleep leaves a timer behind, so it is polled again only for another.
    waker: Option<Waker>,
}

impl Waiting {
    /// Until `until`, which may have passed.
    pub fn until(until: Duration) -> Self {
        Self { until, sleep: None, waker: None }
    }

    /// What it waits for.
    pub fn moment(&self) -> Duration {
        self.until
    }
}

impl Future for Waiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let now = true_now();
        if now >= self.until {
            return Poll::Ready(());
        }
        if self.waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            return Poll::Pending;
        }
        let left = self.until - now;
        let mut sleep = Box::pin(madsim::time::sleep(left));
        let time = TimeHandle::current();
        // `reset` has no floor.
        sleep.as_mut().reset(time.now_instant() + left);
        let polled = sleep.as_mut().poll(context);
        self.waker = Some(context.waker().clone());
        self.sleep = Some(sleep);
        polled
    }
}

/// The clocks of a machine. Clones are the same clocks.
#[derive(Clone)]
pub struct SimClock {
    face: Arc<Mutex<Face>>,
}

struct Face {
    /// Since this moment of true time the drift is what it is, and this is what the monotonic clock showed then.
    since: Duration,
    shown: u64,
    /// How much too fast it runs, in billionths; negative is too slow.
    drift_ppb: i64,
    /// The latest reading.
    latest: u64,
    /// What the wall clock shows at true time zero, in milliseconds since 1970.
    wall_base_ms: i64,
    late: LateTimers,
    dice: SeededDice,
}

/// How timers are late.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LateTimers {
    /// One wait in so many; none at 0.
    pub one_in: u64,
    /// By between these, in microseconds.
    pub micros: (u64, u64),
}

impl Face {
    fn rate(&self) -> i128 {
        BILLION + i128::from(self.drift_ppb)
    }

    /// The monotonic clock at a moment of true time.
    fn at(&self, true_time: Duration) -> u64 {
        let passed = true_time.saturating_sub(self.since).as_nanos() as i128 * self.rate() / BILLION;
        self.shown + u64::try_from(passed).expect("a run ends before the clock does")
    }

    fn read(&mut self) -> u64 {
        self.latest = self.latest.max(self.at(true_now()));
        self.latest
    }

    /// From now on it goes on from here, by this drift.
    fn go_on_from(&mut self, shown: u64, drift_ppb: i64) {
        self.since = true_now();
        self.shown = shown.max(self.latest);
        self.drift_ppb = drift_ppb;
    }

    /// The first moment of true time at which this clock will show `instant`, if nothing is done to it.
    fn true_time_of(&self, instant: Instant) -> Duration {
        let passed = i128::from(instant.0.saturating_sub(self.shown));
        let nanos = (passed * BILLION + self.rate() - 1) / self.rate();
        self.since + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 4).min(u64::MAX / 4))
    }
}

impl SimClock {
    /// Clocks that show `base` nanoseconds and `wall_base_ms` milliseconds since 1970 at true time zero, or would have
    /// with the drift they have now. The drift is in billionths.
    pub fn new(base: u64, drift_ppb: i64, wall_base_ms: i64) -> Self {
        let late = LateTimers { one_in: 0, micros: (0, 0) };
        let (since, dice) = (Duration::ZERO, SeededDice::new(0));
        let face = Face { since, shown: base, drift_ppb, latest: 0, wall_base_ms, late, dice };
        Self { face: Arc::new(Mutex::new(face)) }
    }

    /// Clocks that show true time.
    pub fn exact() -> Self {
        Self::new(0, 0, 1_600_000_000_000)
    }

    fn face(&self) -> MutexGuard<'_, Face> {
        self.face.lock().expect("no holder of the clock panics")
    }

    /// From now on the monotonic clock is so many billionths too fast.
    pub fn set_drift(&self, drift_ppb: i64) {
        let mut face = self.face();
        let shown = face.read();
        face.go_on_from(shown, drift_ppb);
    }

    /// The wall clock steps, back if `ms` is negative.
    pub fn step_wall(&self, ms: i64) {
        let mut face = self.face();
        face.wall_base_ms = face.wall_base_ms.saturating_add(ms);
    }

    /// The machine was suspended for `duration` until now: the monotonic clock did not count it. Whoever read it
    /// meanwhile, as only a process that was not paused can, is not shown an earlier moment.
    pub fn was_suspended(&self, duration: Duration) {
        let mut face = self.face();
        let then = face.at(true_now().saturating_sub(duration));
        let drift_ppb = face.drift_ppb;
        face.go_on_from(then, drift_ppb);
    }

    /// From now on timers are late so.
    pub fn set_late_timers(&self, late: LateTimers, dice: SeededDice) {
        let mut face = self.face();
        (face.late, face.dice) = (late, dice);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        Instant(self.face().read())
    }

    fn wall_ms(&self) -> u64 {
        let passed = i64::try_from(true_now().as_millis()).unwrap_or(i64::MAX);
        // A system whose clock stands before 1970 shows the seam 0.
        u64::try_from(self.face().wall_base_ms.saturating_add(passed)).unwrap_or(0)
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send {
        ClockWait { clock: self.clone(), deadline, wait: None }
    }
}

/// A wait for a moment of a machine's clock.
struct ClockWait {
    clock: SimClock,
    deadline: Instant,
    wait: Option<Waiting>,
}

impl ClockWait {
    /// A wait for the moment of true time at which the timer fires.
    fn timer(&self) -> Waiting {
        let mut face = self.clock.face();
        // A wait beyond a year is a wait for ever, and must not overflow the timer.
        let until = face.true_time_of(self.deadline).min(Duration::from_secs(366 * 24 * 3600));
        let LateTimers { one_in, micros: (low, high) } = face.late;
        let late = if face.dice.one_in(one_in) { low + face.dice.below(high - low + 1) } else { 0 };
        Waiting::until(until + Duration::from_micros(late))
    }
}

impl Future for ClockWait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.wait.is_none() {
                if self.clock.now() >= self.deadline {
                    return Poll::Ready(());
                }
                self.wait = Some(self.timer());
            }
            let wait = self.wait.as_mut().expect("it was just set");
            if Pin::new(wait).poll(context).is_pending() {
                return Poll::Pending;
            }
            // The clock may have slowed down meanwhile: then it is not yet time.
            self.wait = None;
        }
    }
}
