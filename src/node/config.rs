//! What of a node's behaviour comes from flags.

use std::sync::Arc;
use std::time::Duration;

use super::auto_compaction::AutoCompaction;
use super::catch_up::CatchUpBounds;
use super::observer::Observer;
use crate::base::{MemberId, limits};
use crate::watch::HubBounds;

/// What waits in memory at most, in bytes; [`HeldBounds::default`] is what ships.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldBounds {
    /// Committed and not applied: beyond it nothing more is taken in.
    pub unapplied: usize,
    /// History that the disk does not have: beyond it applying what needs room waits.
    pub unwritten: usize,
    /// History that nobody was given to write: from so much on it is handed out.
    pub gathered: usize,
}

impl Default for HeldBounds {
    fn default() -> Self {
        Self {
            unapplied: limits::MAX_UNAPPLIED_BYTES,
            unwritten: limits::APPLYING_WAITS_HISTORY_BYTES,
            gathered: limits::WRITE_HISTORY_BYTES,
        }
    }
}

/// What of a node's behaviour comes from flags.
#[derive(Clone)]
pub struct NodeConfig {
    /// This member.
    pub member: MemberId,
    /// How long a tick is.
    pub tick: Duration,
    /// Its name, told to the cluster.
    pub name: String,
    /// Where clients reach it, told to the cluster.
    pub client_urls: Vec<String>,
    /// The version this member speaks, as `major.minor.patch`.
    pub cluster_version: String,
    /// How long a request may wait for its outcome.
    pub request_timeout: Duration,
    /// How long a read round may go unanswered before it is tried anew.
    pub read_retry: Duration,
    /// Added to every lease when a new leader begins to count it: what may have passed unseen. A member not heard of
    /// for this long counts as not connected.
    pub election_timeout: Duration,
    /// Entries kept in memory behind a checkpoint for members that lag a little.
    pub catch_up_entries: u64,
    /// Bytes of history beyond which writing is refused; 0 is no bound.
    pub quota_bytes: u64,
    /// Entries after which a checkpoint is made.
    pub checkpoint_entries: u64,
    /// Bytes of records in a chunk of a snapshot for another member.
    pub snapshot_chunk_bytes: usize,
    /// Keys changed by what one turn applies; at least one.
    pub changes_per_turn: usize,
    /// Changes that one turn looks at to prune what was compacted.
    pub pruned_per_turn: usize,
    /// What waits in memory at most.
    pub held: HeldBounds,
    /// What watch streams hold.
    pub watch: HubBounds,
    /// How much is read at once for watchers that fell behind.
    pub catch_up: CatchUpBounds,
    /// Ticks between two notices of progress to a watcher that asked for them.
    pub progress_ticks: u64,
    /// Time between two looks at what a long lease has left, so that it outlives a change of leader.
    pub lease_checkpoint_interval: Duration,
    /// What of the history is compacted by itself.
    pub auto_compaction: Option<AutoCompaction>,
    /// Whether a member that a majority names as differing takes the others' state by itself.
    pub rebuild_when_diverged: bool,
    /// Seed of everything drawn here.
    pub seed: u64,
    /// Who is told of every entry applied.
    pub observer: Option<Arc<dyn Observer>>,
}

impl NodeConfig {
    /// What the flags' defaults make of a member of this name; for what a test or a tool does not care about.
    pub fn new(name: &str) -> Self {
        let election_timeout = Duration::from_secs(1);
        Self {
            member: MemberId::default(),
            tick: Duration::from_millis(100),
            name: name.to_string(),
            client_urls: vec!["http://localhost:2379".to_string()],
            cluster_version: "3.7.0".to_string(),
            request_timeout: Duration::from_secs(5) + 2 * election_timeout,
            read_retry: Duration::from_millis(500),
            election_timeout,
            catch_up_entries: limits::CATCH_UP_ENTRIES,
            quota_bytes: limits::DEFAULT_QUOTA_BYTES,
            checkpoint_entries: 100_000,
            snapshot_chunk_bytes: limits::SNAPSHOT_CHUNK_BYTES,
            changes_per_turn: limits::APPLY_CHANGES_PER_TURN,
            pruned_per_turn: limits::COMPACTION_SLICE,
            held: HeldBounds::default(),
            watch: HubBounds::default(),
            catch_up: CatchUpBounds::default(),
            progress_ticks: 6_000,
            lease_checkpoint_interval: Duration::from_millis(limits::LEASE_CHECKPOINT_MS),
            auto_compaction: None,
            rebuild_when_diverged: false,
            seed: 1,
            observer: None,
        }
    }

    /// So many milliseconds in ticks; at least one. The first tick may come at once: what has to have that time whole waits for
    /// one more.
    pub(super) fn ticks(&self, ms: u64) -> u64 {
        let ticks = Duration::from_millis(ms).as_nanos().div_ceil(self.tick.as_nanos().max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is meant to be a second is about one whatever a tick is, and never none.
    #[test]
    fn times_are_counted_in_ticks_of_any_length() {
        let ticks = |tick, ms| NodeConfig { tick: Duration::from_millis(tick), ..NodeConfig::new("a") }.ticks(ms);
        assert_eq!([1, 20, 100, 300, 10_000].map(|tick| ticks(tick, 1_000)), [1_000, 50, 10, 4, 1]);
        assert_eq!(NodeConfig { tick: Duration::ZERO, ..NodeConfig::new("a") }.ticks(u64::MAX), u64::MAX);
    }
}
