//! The pace of a snapshot on its way to a member, or of a backup to a client: bytes by the second, fewer while those who write at
//! this member feel it.
//!
//! Every so often what clients' writes took meanwhile is held against what they took before: where they take clearly longer
//! the pace falls, else it rises, between two bounds. Nobody writes, and it is as fast as it may be.
//!
//! Invariant: the bytes of any time stay within the largest pace for it; the smallest one is always given, so that who
//! catches up, or saves, comes to an end. Does not know what makes writes slow.

use std::time::Duration;

use super::wait::Timer;
use crate::base::limits;
use crate::env::{Clock, Instant};

/// Clients' writes that a member has answered since its start, and how long they had waited, in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AnsweredWrites {
    /// How many.
    pub count: u64,
    /// Their waiting, in microseconds.
    pub waited_us: u64,
}

/// The bounds of a pace, in bytes a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Paces {
    /// While nobody writes.
    pub most: u64,
    /// While somebody writes, and does not feel it.
    pub beside_writes: u64,
    /// While those who write feel it; always given.
    pub least: u64,
}

impl Paces {
    /// Those of a snapshot to a member, at most so many bytes a second.
    pub(super) fn of_snapshot(most: u64) -> Self {
        let most = most.max(1);
        Self { most, beside_writes: most, least: (most / limits::SNAPSHOT_PACES).max(1) }
    }
}

/// See the module's head. What is spent ahead is waited for.
pub struct Pace<C: Clock> {
    timer: Timer<C>,
    paces: Paces,
    bytes_per_second: u64,
    /// When everything spent until now is paid for.
    paid_at: Instant,
    looked: (Instant, AnsweredWrites),
    /// What a write takes while little is sent, in microseconds.
    usual_us: Option<u64>,
}

impl<C: Clock> Pace<C> {
    /// Within these bounds. It begins slowly. `writes` is what is answered by now.
    pub fn new(clock: C, paces: Paces, writes: AnsweredWrites) -> Self {
        let timer = Timer::new(clock);
        let now = timer.now();
        Self { timer, paces, bytes_per_second: paces.least, paid_at: now, looked: (now, writes), usual_us: None }
    }

    /// Whether it is faster than it may be while somebody writes.
    pub fn is_free(&self) -> bool {
        self.bytes_per_second > self.paces.beside_writes
    }

    /// Waits until so many bytes may be sent. `writes` is what is answered by now.
    pub async fn spend(&mut self, bytes: u64, writes: impl FnOnce() -> AnsweredWrites) {
        if self.paid_at > self.timer.now() {
            self.timer.sleep(self.paid_at.since(self.timer.now())).await;
        }
        let now = self.timer.now();
        if now >= self.looked.0.plus(Duration::from_millis(limits::SNAPSHOT_PACE_MS)) {
            self.look(now, writes());
        }
        let cost = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        // What was not used is gone: a pause is no credit for a burst. But that a timer is late costs nothing.
        let forgiven = Instant(now.0.saturating_sub(LATE_NANOS));
        self.paid_at = self.paid_at.max(forgiven).plus(Duration::from_nanos(u64::try_from(cost).unwrap_or(u64::MAX)));
    }

    fn look(&mut self, now: Instant, writes: AnsweredWrites) {
        let before = std::mem::replace(&mut self.looked, (now, writes)).1;
        let count = writes.count.saturating_sub(before.count);
        let mean_us = writes.waited_us.saturating_sub(before.waited_us).checked_div(count);
        let is_felt = mean_us.is_some_and(|mean_us| {
            let usual_us = self.usual_us.map_or(mean_us, |usual_us| usual_us.min(mean_us));
            self.usual_us = Some(usual_us);
            mean_us > usual_us + usual_us / 2 + SLACK_US
        });
        let Paces { most, beside_writes, least } = self.paces;
        // Step by step: that none was answered meanwhile may be because they are held up.
        let highest = if count == 0 { most } else { beside_writes };
        let next = if is_felt { self.bytes_per_second / 2 } else { self.bytes_per_second.saturating_mul(2) };
        self.bytes_per_second = next.clamp(least, highest);
    }
}

/// A timer of the system may be late by this.
const LATE_NANOS: u64 = 5_000_000;

/// Less than this is no slowness, whatever is usual.
const SLACK_US: u64 = 500;

// On the virtual clock of the tests.
#[cfg(all(test, feature = "tokio-env"))]
mod tests {
    use super::*;
    use crate::env::{Env, VirtualEnv};

    const MOST: u64 = 64_000_000;

    fn least(most: u64) -> u64 {
        Paces::of_snapshot(most).least
    }

    /// Sends for so long while a write takes so many microseconds, a thousand a second; the bytes.
    async fn sent(pace: &mut Pace<<VirtualEnv as Env>::Clock>, world: &VirtualEnv, ms: u64, write_us: u64) -> u64 {
        let (began, mut bytes, base) = (world.now(), 0, pace.looked.1);
        let since = pace.looked.0;
        while world.now().since(began) < Duration::from_millis(ms) {
            let count = if write_us == 0 { 0 } else { world.now().since(since).as_millis() as u64 };
            let writes = AnsweredWrites { count: base.count + count, waited_us: base.waited_us + count * write_us };
            pace.spend(8_000, || writes).await;
            bytes += 8_000;
        }
        bytes
    }

    fn within(bytes: u64, per_second: u64, ms: u64) -> bool {
        bytes.abs_diff(per_second * ms / 1_000) < per_second * ms / 1_000 / 4
    }

    #[test]
    fn it_is_slow_while_writes_are_slow_and_fast_while_nobody_feels_it() {
        VirtualEnv::run(async |world| {
            let mut pace = Pace::new(world.clock().clone(), Paces::of_snapshot(MOST), AnsweredWrites::default());
            assert!(within(sent(&mut pace, &world, 100, 2_000).await, least(MOST), 100), "it begins slowly");
            sent(&mut pace, &world, 500, 2_000).await;
            assert!(within(sent(&mut pace, &world, 1_000, 2_000).await, MOST, 1_000), "nobody feels it");
            sent(&mut pace, &world, 500, 9_000).await;
            let slow = sent(&mut pace, &world, 1_000, 9_000).await;
            assert!(within(slow, least(MOST), 1_000), "{slow}: it is felt, and goes on all the same");
            sent(&mut pace, &world, 500, 3_400).await;
            assert!(within(sent(&mut pace, &world, 1_000, 3_400).await, MOST, 1_000), "within what is usual");
            sent(&mut pace, &world, 500, 9_000).await;
            sent(&mut pace, &world, 500, 0).await;
            assert!(within(sent(&mut pace, &world, 1_000, 0).await, MOST, 1_000), "nobody writes");
            // A pause is no credit.
            world.pass(Duration::from_secs(10)).await;
            assert!(within(sent(&mut pace, &world, 1_000, 0).await, MOST, 1_000));
        });
    }

    #[test]
    fn what_has_a_lower_bound_beside_writes_keeps_to_it_as_long_as_somebody_writes() {
        VirtualEnv::run(async |world| {
            let paces = Paces { most: u64::MAX / 4, beside_writes: 16_000_000, least: 4_000_000 };
            let mut pace = Pace::new(world.clock().clone(), paces, AnsweredWrites::default());
            sent(&mut pace, &world, 500, 2_000).await;
            assert!(within(sent(&mut pace, &world, 1_000, 2_000).await, paces.beside_writes, 1_000), "nobody feels it");
            assert!(!pace.is_free());
            sent(&mut pace, &world, 500, 9_000).await;
            assert!(within(sent(&mut pace, &world, 1_000, 9_000).await, paces.least, 1_000), "it is felt");
        });
    }

    #[test]
    fn the_smallest_budget_is_a_pace_too() {
        VirtualEnv::run(async |world| {
            let mut pace = Pace::new(world.clock().clone(), Paces::of_snapshot(0), AnsweredWrites::default());
            pace.spend(3, AnsweredWrites::default).await;
            pace.spend(3, AnsweredWrites::default).await;
            assert_eq!(world.now().since(Instant(0)), Duration::from_secs(3));
        });
    }
}
