//! Durations that were measured, counted by how long they were. The counts are read from outside while they grow.
//!
//! Invariant: measuring takes no lock. Does not know what was measured, nor a clock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How long something took, each time.
#[derive(Debug)]
pub struct Durations {
    first: Duration,
    /// Those of at most `first`, at most twice that, and so on; the last are longer than all bounds.
    counts: Vec<AtomicU64>,
    nanoseconds: AtomicU64,
}

/// What was measured so far.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Measured {
    /// Bounds, and how many were at most that.
    pub buckets: Vec<(Duration, u64)>,
    /// How many there were.
    pub count: u64,
    /// All of them together.
    pub sum: Duration,
}

impl Durations {
    /// Nothing measured yet; `bounds` bounds, each twice the one before.
    pub fn new(first: Duration, bounds: usize) -> Self {
        Self { first, counts: (0..=bounds).map(|_| AtomicU64::new(0)).collect(), nanoseconds: AtomicU64::new(0) }
    }

    /// One more.
    pub fn took(&self, time: Duration) {
        self.took_each(time, 1);
    }

    /// So many more that took as long as each other.
    pub fn took_each(&self, time: Duration, times: u64) {
        let bounds = self.counts.len() - 1;
        let place = (0..bounds).find(|place| time <= self.bound(*place)).unwrap_or(bounds);
        self.counts[place].fetch_add(times, Relaxed);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds.saturating_mul(times), Relaxed);
    }

    fn bound(&self, place: usize) -> Duration {
        self.first.saturating_mul(1 << place.min(31))
    }

    /// What was measured so far.
    pub fn measured(&self) -> Measured {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(self.counts.len() - 1);
        for (place, bucket) in self.counts.iter().enumerate() {
            count += bucket.load(Relaxed);
            if place + 1 < self.counts.len() {
                buckets.push((self.bound(place), count));
            }
        }
        Measured { buckets, count, sum: Duration::from_nanos(self.nanoseconds.load(Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_where_it_belongs() {
        let durations = Durations::new(Duration::from_millis(1), 3);
        for time in [0, 1, 2, 3, 4, 5] {
            durations.took(Duration::from_millis(time));
        }
        durations.took_each(Duration::from_millis(500), 2);
        let measured = durations.measured();
        let counts: Vec<_> = measured.buckets.iter().map(|(bound, count)| (bound.as_millis(), *count)).collect();
        assert_eq!(counts, [(1, 2), (2, 3), (4, 5)]);
        assert_eq!((measured.count, measured.sum), (8, Duration::from_millis(1_015)));
    }
}
