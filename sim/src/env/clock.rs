//! Clocks: one true time, and for every node a clock that is off by an offset and a drift.
//!
//! True time is madsim's. Its own sleeps last at least a millisecond and, asked for a moment that has passed,
//! a millisecond as well, so that a loop that renews `sleep_until(next_tick)` faster than that never ticks.
//! [`Waiting`] has neither floor: a moment that has passed is ready at once, and shorter waits are exact.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use madsim::time::{Sleep, TimeHandle};
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

/// The clock of one incarnation of a node.
#[derive(Clone, Copy, Debug)]
pub struct SimClock {
    /// What the monotonic clock shows at true time zero, in nanoseconds.
    pub base: u64,
    /// How much too fast it runs, in billionths; negative is too slow.
    pub drift_ppb: i64,
    /// What the wall clock shows at true time zero, in milliseconds since 1970.
    pub wall_base_ms: u64,
}

impl SimClock {
    /// A clock that shows true time.
    pub fn exact() -> Self {
        Self { base: 0, drift_ppb: 0, wall_base_ms: 1_600_000_000_000 }
    }

    fn rate(&self) -> i128 {
        BILLION + i128::from(self.drift_ppb)
    }

    /// What this clock shows at a moment of true time.
    pub fn at(&self, true_time: Duration) -> Instant {
        let passed = true_time.as_nanos() as i128 * self.rate() / BILLION;
        Instant(self.base + u64::try_from(passed).expect("a run ends before the clock does"))
    }

    /// The first moment of true time at which this clock shows `instant`.
    fn true_time_of(&self, instant: Instant) -> Duration {
        let passed = i128::from(instant.0.saturating_sub(self.base));
        let nanos = (passed * BILLION + self.rate() - 1) / self.rate();
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 4).min(u64::MAX / 4))
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        self.at(true_now())
    }

    fn wall_ms(&self) -> u64 {
        self.wall_base_ms + u64::try_from(true_now().as_millis()).unwrap_or(0)
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send {
        // A wait beyond a year is a wait for ever, and must not overflow the timer.
        let until = self.true_time_of(deadline).min(Duration::from_secs(366 * 24 * 3600));
        Waiting::until(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use madsim::runtime::Runtime;

    #[test]
    fn a_moment_that_has_passed_is_ready_at_once_and_short_waits_are_exact() {
        Runtime::new().block_on(async {
            let clock = SimClock { base: 5_000, drift_ppb: 0, wall_base_ms: 0 };
            true_sleep(Duration::from_millis(3)).await;
            let before = true_now();
            clock.sleep_until(Instant(4_000)).await;
            clock.sleep_until(clock.now()).await;
            assert_eq!(true_now(), before);
            clock.sleep_until(clock.now().plus(Duration::from_micros(50))).await;
            let waited = true_now() - before;
            assert!(waited >= Duration::from_micros(50), "{waited:?}");
            assert!(waited < Duration::from_micros(60), "{waited:?}");
        });
    }

    #[test]
    fn a_loop_that_renews_its_deadline_ticks() {
        Runtime::new().block_on(async {
            let clock = SimClock::exact();
            let (mut ticks, mut next) = (0, clock.now().plus(Duration::from_millis(100)));
            while true_now() < Duration::from_millis(950) {
                true_sleep(Duration::from_micros(100)).await;
                let mut tick = std::pin::pin!(clock.sleep_until(next));
                let ready = std::future::poll_fn(|context| Poll::Ready(tick.as_mut().poll(context).is_ready()));
                if ready.await {
                    ticks += 1;
                    next = next.plus(Duration::from_millis(100));
                }
            }
            assert_eq!(ticks, 9);
        });
    }

    #[test]
    fn a_drifting_clock_wakes_when_it_shows_the_time() {
        Runtime::new().block_on(async {
            for drift_ppb in [-100_000_000, -3, 0, 7, 250_000_000] {
                let clock = SimClock { base: 77, drift_ppb, wall_base_ms: 0 };
                let deadline = clock.now().plus(Duration::from_secs(10));
                clock.sleep_until(deadline).await;
                let late = clock.now().since(deadline);
                assert!(clock.now() >= deadline && late < Duration::from_micros(1), "{drift_ppb} {late:?}");
            }
        });
    }
}
