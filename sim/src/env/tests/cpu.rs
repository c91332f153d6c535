//! Work takes time, for whoever does it and for nobody else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use madsim::runtime::Runtime;
use quorate::env::Clock;

use super::super::clock::{SimClock, true_now, true_sleep};
use super::super::cpu::{CpuMood, SimCpu, charge_turn};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_long_turn_is_felt_by_the_timers_of_its_task_and_by_no_other() {
    Runtime::new().block_on(async {
        let cpu = SimCpu::new(CpuMood::free());
        let (busy, idle) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        for (seen, work) in [(busy.clone(), millis(250)), (idle.clone(), Duration::ZERO)] {
            let cpu = cpu.clone();
            madsim::task::spawn(SimCpu::paced(async move {
                let clock = SimClock::exact();
                loop {
                    clock.sleep_until(clock.now().plus(millis(100))).await;
                    seen.lock().unwrap().push(true_now());
                    cpu.charge(work);
                }
            }));
        }
        true_sleep(millis(1_010)).await;
        assert_eq!(idle.lock().unwrap().len(), 10);
        // Each round waits 100 ms for the timer, which is set when the turn begins, and pays 250.
        let busy = busy.lock().unwrap();
        let apart: Vec<u128> = busy.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
        assert!(busy.len() == 4 && apart.iter().all(|apart| (249..=251).contains(apart)), "{apart:?}");
    });
}

#[test]
fn work_is_charged_by_units_bytes_and_slowness() {
    Runtime::new().block_on(async {
        let mood = CpuMood { unit_nanos: 1_000, kilobyte_nanos: 500, slowness_percent: 1_000 };
        let cpu = SimCpu::new(mood);
        let start = true_now();
        let worker = cpu.clone();
        madsim::task::spawn(SimCpu::paced(async move {
            worker.charge_work(1_000, 2 * 1024 * 1024);
            one_turn().await;
        }))
        .await
        .unwrap();
        let took = true_now() - start;
        assert!(took >= Duration::from_micros(20_240) && took < Duration::from_micros(20_260), "{took:?}");
        cpu.set_mood(CpuMood::free());
        cpu.charge_work(1_000, 2_000_000);
        charge_turn(millis(100));
        assert!(true_now() - start - took < millis(1), "outside of a paced task nobody pays");
    });
}

/// Lets the executor have a turn.
async fn one_turn() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[test]
fn small_debts_add_up() {
    Runtime::new().block_on(async {
        let cpu = SimCpu::new(CpuMood::usual());
        let start = true_now();
        madsim::task::spawn(SimCpu::paced(async move {
            for _ in 0..1_000 {
                cpu.charge_work(1, 0);
                one_turn().await;
            }
        }))
        .await
        .unwrap();
        let took = true_now() - start;
        assert!(took >= Duration::from_micros(1_980) && took < Duration::from_micros(2_400), "{took:?}");
    });
}
