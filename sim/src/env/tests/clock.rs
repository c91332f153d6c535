//! Clocks: off as the head of the model says, and in no other way.

use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use madsim::runtime::Runtime;
use quorate::base::SeededDice;
use quorate::env::{Clock, Instant};

use super::super::clock::{LateTimers, SimClock, true_now, true_sleep};

#[test]
fn a_moment_that_has_passed_is_ready_at_once_and_short_waits_are_exact() {
    Runtime::new().block_on(async {
        let clock = SimClock::new(5_000, 0, 0);
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
            let clock = SimClock::new(77, drift_ppb, 0);
            let deadline = clock.now().plus(Duration::from_secs(10));
            clock.sleep_until(deadline).await;
            let late = clock.now().since(deadline);
            assert!(clock.now() >= deadline && late < Duration::from_micros(1), "{drift_ppb} {late:?}");
        }
    });
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_drift_may_change_and_no_wait_ends_early() {
    Runtime::new().block_on(async {
        let clock = SimClock::new(0, 0, 0);
        let sleeper = clock.clone();
        let (start, deadline) = (true_now(), clock.now().plus(secs(10)));
        let sleeping = madsim::task::spawn(async move {
            sleeper.sleep_until(deadline).await;
            (true_now(), sleeper.now())
        });
        true_sleep(secs(5)).await;
        clock.set_drift(-500_000_000);
        let (woke, shown) = sleeping.await.unwrap();
        assert!(shown >= deadline && shown.since(deadline) < Duration::from_micros(10));
        let waited = woke - start;
        assert!(waited >= secs(15) && waited < Duration::from_millis(15_001), "half as fast after 5 s: {waited:?}");
        clock.set_drift(1_000_000_000);
        let before = clock.now();
        true_sleep(secs(1)).await;
        assert!(clock.now().since(before) >= secs(2) && clock.now().since(before) < Duration::from_millis(2_001));
    });
}

#[test]
fn the_wall_clock_steps_and_the_monotonic_does_not() {
    Runtime::new().block_on(async {
        let clock = SimClock::new(0, 0, 1_000_000);
        true_sleep(secs(1)).await;
        let (wall, shown) = (clock.wall_ms(), clock.now());
        assert_eq!(wall, 1_001_000);
        clock.step_wall(-500_000);
        assert!(clock.wall_ms() == 501_000 && clock.now().since(shown) < Duration::from_micros(1));
        clock.step_wall(-9_000_000);
        assert_eq!(clock.wall_ms(), 0, "before 1970");
        clock.step_wall(8_999_000 + i64::from(u32::MAX));
        assert_eq!(clock.wall_ms(), 500_000 + u64::from(u32::MAX));
    });
}

#[test]
fn a_suspended_machine_does_not_count_the_time_and_never_goes_back() {
    Runtime::new().block_on(async {
        let clock = SimClock::exact();
        true_sleep(secs(1)).await;
        let before = clock.now();
        true_sleep(secs(10)).await;
        clock.was_suspended(secs(10));
        let passed = clock.now().since(before);
        assert!(passed < Duration::from_millis(1), "{passed:?}");
        true_sleep(secs(10)).await;
        let seen = clock.now();
        clock.was_suspended(secs(10));
        assert!(clock.now() >= seen, "who was awake is not shown an earlier moment");
        let deadline = clock.now().plus(secs(1));
        clock.sleep_until(deadline).await;
        assert!(clock.now() >= deadline);
    });
}

#[test]
fn some_timers_are_late_and_none_is_early() {
    Runtime::new().block_on(async {
        let clock = SimClock::exact();
        clock.set_late_timers(LateTimers { one_in: 4, micros: (20_000, 30_000) }, SeededDice::new(4));
        let mut late = 0;
        for _ in 0..100 {
            let deadline = clock.now().plus(Duration::from_millis(5));
            clock.sleep_until(deadline).await;
            assert!(clock.now() >= deadline);
            let by = clock.now().since(deadline);
            assert!(by < Duration::from_micros(10) || (20..31).contains(&by.as_millis()), "{by:?}");
            late += u32::from(by.as_millis() > 0);
        }
        assert!((10..45).contains(&late), "{late}");
    });
}

#[test]
fn a_paused_member_stands_still_while_its_clock_goes_on() {
    Runtime::new().block_on(async {
        let clock = SimClock::exact();
        let madsim = madsim::runtime::Handle::current();
        let node = madsim.create_node().name("paused").build();
        let ticking = clock.clone();
        let ticks = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = ticks.clone();
        node.spawn(async move {
            loop {
                ticking.sleep_until(ticking.now().plus(Duration::from_millis(100))).await;
                seen.lock().unwrap().push(ticking.now());
            }
        });
        true_sleep(secs(1)).await;
        madsim.pause(node.id());
        true_sleep(secs(5)).await;
        let before = ticks.lock().unwrap().len();
        assert!((8..=10).contains(&before));
        madsim.resume(node.id());
        true_sleep(secs(1)).await;
        let ticks = ticks.lock().unwrap();
        let leap = ticks[before].since(ticks[before - 1]);
        assert!(leap >= secs(5), "the first look after the pause sees a leap: {leap:?}");
    });
}
