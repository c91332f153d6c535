//! What went between this member and one peer, counted as etcd counts it.
//!
//! Invariant: counting waits for nobody. Does not know under what names it is told.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::base::MemberId;

/// Upper bounds of how long a round trip took, in seconds: etcd's.
pub const ROUND_TRIP_BOUNDS: [f64; 16] = doubled(0.0001);
/// Upper bounds of how long a snapshot took, in seconds: etcd's.
pub const SNAPSHOT_BOUNDS: [f64; 10] = doubled(0.1);

const fn doubled<const N: usize>(first: f64) -> [f64; N] {
    let mut bounds = [first; N];
    let mut at = 1;
    while at < N {
        bounds[at] = bounds[at - 1] * 2.0;
        at += 1;
    }
    bounds
}

/// Durations, by bounds.
#[derive(Debug)]
pub(super) struct Durations<const N: usize> {
    bounds: &'static [f64; N],
    within: [AtomicU64; N],
    count: AtomicU64,
    micros: AtomicU64,
}

impl<const N: usize> Durations<N> {
    fn new(bounds: &'static [f64; N]) -> Self {
        let within = std::array::from_fn(|_| AtomicU64::new(0));
        Self { bounds, within, count: AtomicU64::new(0), micros: AtomicU64::new(0) }
    }

    pub(super) fn took(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        for (within, _) in self.within.iter().zip(self.bounds).filter(|(_, bound)| seconds <= **bound) {
            within.fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.micros.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    fn told(&self) -> ToldDurations {
        ToldDurations {
            within: self.within.iter().map(|within| within.load(Relaxed)).collect(),
            count: self.count.load(Relaxed),
            seconds: self.micros.load(Relaxed) as f64 / 1e6,
        }
    }
}

/// Snapshots one way.
#[derive(Debug)]
pub(super) struct Snapshots {
    under_way: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    durations: Durations<10>,
}

impl Snapshots {
    fn new() -> Self {
        let (under_way, succeeded, failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { under_way, succeeded, failed, durations: Durations::new(&SNAPSHOT_BOUNDS) }
    }

    pub(super) fn begins(&self) {
        self.under_way.fetch_add(1, Relaxed);
    }

    /// Ends; how long it took, where it came to its end.
    pub(super) fn ends(&self, took: Option<Duration>) {
        self.under_way.fetch_sub(1, Relaxed);
        match took {
            Some(time) => {
                self.succeeded.fetch_add(1, Relaxed);
                self.durations.took(time);
            }
            None => drop(self.failed.fetch_add(1, Relaxed)),
        }
    }

    fn told(&self) -> ToldSnapshots {
        ToldSnapshots {
            under_way: self.under_way.load(Relaxed),
            succeeded: self.succeeded.load(Relaxed),
            failed: self.failed.load(Relaxed),
            durations: self.durations.told(),
        }
    }
}

/// The counts of one peer.
#[derive(Debug)]
pub(super) struct Traffic {
    pub(super) sent_bytes: AtomicU64,
    pub(super) received_bytes: AtomicU64,
    pub(super) sent_failures: AtomicU64,
    pub(super) received_failures: AtomicU64,
    pub(super) disconnected: AtomicU64,
    pub(super) round_trips: Durations<16>,
    pub(super) sent_snapshots: Snapshots,
    pub(super) received_snapshots: Snapshots,
}

impl Default for Traffic {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            sent_bytes: zero(),
            received_bytes: zero(),
            sent_failures: zero(),
            received_failures: zero(),
            disconnected: zero(),
            round_trips: Durations::new(&ROUND_TRIP_BOUNDS),
            sent_snapshots: Snapshots::new(),
            received_snapshots: Snapshots::new(),
        }
    }
}

impl Traffic {
    pub(super) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// With how many messages wait, and their bytes.
    pub(super) fn told(&self, member: MemberId, active: bool, waiting: (usize, usize)) -> PeerTraffic {
        PeerTraffic {
            member,
            active,
            waiting,
            sent_bytes: self.sent_bytes.load(Relaxed),
            received_bytes: self.received_bytes.load(Relaxed),
            sent_failures: self.sent_failures.load(Relaxed),
            received_failures: self.received_failures.load(Relaxed),
            disconnected: self.disconnected.load(Relaxed),
            round_trips: self.round_trips.told(),
            sent_snapshots: self.sent_snapshots.told(),
            received_snapshots: self.received_snapshots.told(),
        }
    }
}

/// Durations as they are told.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ToldDurations {
    /// How many took at most each bound.
    pub within: Vec<u64>,
    /// How many there were.
    pub count: u64,
    /// Their sum.
    pub seconds: f64,
}

/// Snapshots one way, as they are told.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ToldSnapshots {
    /// On their way now.
    pub under_way: u64,
    /// That came to their end.
    pub succeeded: u64,
    /// That did not.
    pub failed: u64,
    /// How long those took that did.
    pub durations: ToldDurations,
}

/// What went between this member and a peer, since it is one.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PeerTraffic {
    /// The peer.
    pub member: MemberId,
    /// Whether a stream from it is open.
    pub active: bool,
    /// Messages that wait to be sent to it, and the bytes of their payloads.
    pub waiting: (usize, usize),
    /// Bytes of messages sent to it.
    pub sent_bytes: u64,
    /// Bytes of messages received from it.
    pub received_bytes: u64,
    /// Messages, or connections with what was on them, that did not get through.
    pub sent_failures: u64,
    /// Connections that brought what could not be read.
    pub received_failures: u64,
    /// Times the last stream from it closed.
    pub disconnected: u64,
    /// From a question to its answer.
    pub round_trips: ToldDurations,
    /// Sent to it.
    pub sent_snapshots: ToldSnapshots,
    /// Received from it.
    pub received_snapshots: ToldSnapshots,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_within_their_bounds() {
        let durations = Durations::new(&SNAPSHOT_BOUNDS);
        [50, 100, 150, 60_000].into_iter().for_each(|ms| durations.took(Duration::from_millis(ms)));
        let told = durations.told();
        assert_eq!((told.within[0], told.within[1], told.within[9], told.count), (2, 3, 3, 4));
        assert!((told.seconds - 60.3).abs() < 1e-6);
        assert!((ROUND_TRIP_BOUNDS[15] - 3.2768).abs() < 1e-9);
    }
}
