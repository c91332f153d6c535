//! How compactions went, in the numbers that etcd has for them.
//!
//! There is one pass over what was compacted, in slices, and what it prunes is the index: so the time of a slice is etcd's pause of
//! the index, and its pause of the database. Invariant: whoever counts waits for nobody. Does not know a clock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::base::Durations;

/// The numbers. Everyone may read them.
#[derive(Debug)]
pub struct Compactions {
    /// Turns that pruned a slice, by etcd's bounds for the database.
    pub pauses: Durations,
    /// The same, by those for the index.
    pub index_pauses: Durations,
    /// Passes, from the first slice to the last.
    pub passes: Durations,
    /// Changes of keys that were taken out of the index.
    pub changes: AtomicU64,
    /// When the last pass ended, in seconds since 1970.
    pub ended_at: AtomicU64,
}

impl Default for Compactions {
    fn default() -> Self {
        // etcd's bounds.
        Self {
            pauses: Durations::new(Duration::from_millis(1), 13),
            index_pauses: Durations::new(Duration::from_micros(500), 14),
            passes: Durations::new(Duration::from_millis(100), 14),
            changes: AtomicU64::default(),
            ended_at: AtomicU64::default(),
        }
    }
}

impl Compactions {
    /// A slice that took so many changes out, in a turn that took so long.
    pub fn slice(&self, changes: u64, took: Duration) {
        self.pauses.took(took);
        self.index_pauses.took(took);
        self.changes.fetch_add(changes, Relaxed);
    }

    /// A pass that took so long and ended at `wall_ms`.
    pub fn pass(&self, took: Duration, wall_ms: u64) {
        self.passes.took(took);
        self.ended_at.store(wall_ms / 1_000, Relaxed);
    }
}
