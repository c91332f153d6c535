//! What a member did since it started, in numbers that only grow, and how long the work below the porch took.
//!
//! Invariant: whoever counts waits for nobody. The times are measured by the driver, which has a clock; the node has none.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::applied_ops::AppliedOps;
use super::stages::Stages;
use crate::base::Durations;
use crate::machine::{Answer, Command, OpAnswer, TxnAnswer};

/// The numbers. Everyone may read them.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Tallies {
    pub puts: AtomicU64,
    pub deletes: AtomicU64,
    /// Transactions of more than one operation, or of none, as etcd counts them.
    pub txns: AtomicU64,
    pub ranges: AtomicU64,
    /// Bytes of keys and values put.
    pub put_bytes: AtomicU64,
    pub leases_granted: AtomicU64,
    pub leases_revoked: AtomicU64,
    /// Turns whose work took longer than [`SLOW_APPLY`].
    pub slow_applies: AtomicU64,
    /// Bytes given to the log.
    pub log_bytes: AtomicU64,
    /// Writing to the log, without syncing.
    pub log_writes: Durations,
    /// Syncing the log.
    pub log_syncs: Durations,
    /// Writing history.
    pub history_writes: Durations,
    /// Making a checkpoint durable, with the history it names.
    pub checkpoints: Durations,
    /// What was applied, by kind.
    pub applies: AppliedOps,
    /// Where the time of clients' writes went.
    pub stages: Stages,
}

/// From this on applying counts as slow, as etcd's `--warning-apply-duration`.
pub const SLOW_APPLY: Duration = Duration::from_millis(100);

impl Default for Tallies {
    fn default() -> Self {
        // etcd's bounds.
        let disk = || Durations::new(Duration::from_millis(1), 14);
        Self {
            puts: AtomicU64::default(),
            deletes: AtomicU64::default(),
            txns: AtomicU64::default(),
            ranges: AtomicU64::default(),
            put_bytes: AtomicU64::default(),
            leases_granted: AtomicU64::default(),
            leases_revoked: AtomicU64::default(),
            slow_applies: AtomicU64::default(),
            log_bytes: AtomicU64::default(),
            log_writes: disk(),
            log_syncs: disk(),
            history_writes: disk(),
            checkpoints: disk(),
            applies: AppliedOps::default(),
            stages: Stages::default(),
        }
    }
}

impl Tallies {
    /// Counts a command that was applied.
    pub(super) fn applied(&self, command: &Command, answer: &Answer) {
        let one = |tally: &AtomicU64| {
            tally.fetch_add(1, Relaxed);
        };
        match (command, answer) {
            (Command::Put(put), Answer::Put { .. }) => {
                one(&self.puts);
                self.put_bytes.fetch_add((put.key.len() + put.value.len()) as u64, Relaxed);
            }
            (_, Answer::DeleteRange { deleted, .. }) => {
                self.deletes.fetch_add(unsigned(*deleted), Relaxed);
            }
            (_, Answer::Txn(txn)) => self.transaction(txn),
            (_, Answer::LeaseGrant { .. }) => one(&self.leases_granted),
            (Command::LeaseRevoke { .. }, _) => one(&self.leases_revoked),
            _ => {}
        }
    }

    /// Counts a transaction by what it did.
    pub fn transaction(&self, txn: &TxnAnswer) {
        let (mut puts, mut deletes, mut ranges) = (0, 0, 0);
        let mut inside = vec![txn];
        while let Some(txn) = inside.pop() {
            for answer in &txn.answers {
                let mut answer = answer;
                while let OpAnswer::Later(bare, _) = answer {
                    answer = bare;
                }
                match answer {
                    OpAnswer::Put { .. } => puts += 1,
                    OpAnswer::DeleteRange { deleted, .. } => deletes += unsigned(*deleted),
                    OpAnswer::Range(_) => ranges += 1,
                    OpAnswer::Txn(txn) => inside.push(txn),
                    OpAnswer::Later(..) => unreachable!("it was unwrapped above"),
                }
            }
        }
        if puts + deletes + ranges != 1 {
            self.txns.fetch_add(1, Relaxed);
        }
        self.puts.fetch_add(puts, Relaxed);
        self.deletes.fetch_add(deletes, Relaxed);
        self.ranges.fetch_add(ranges, Relaxed);
    }
}

fn unsigned(count: i64) -> u64 {
    count.try_into().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_counted_by_what_they_did() {
        let tallies = Tallies::default();
        let put = || OpAnswer::Put { prev_kv: None, revision: 1 };
        let inside = TxnAnswer { succeeded: true, answers: vec![put(), put()] };
        let delete = OpAnswer::DeleteRange { deleted: 3, prev_kvs: vec![], revision: 1 };
        tallies.transaction(&TxnAnswer { succeeded: true, answers: vec![put(), delete, OpAnswer::Txn(inside)] });
        tallies.transaction(&TxnAnswer { succeeded: true, answers: vec![put()] });
        let read = |tally: &AtomicU64| tally.load(Relaxed);
        assert_eq!((read(&tallies.puts), read(&tallies.deletes), read(&tallies.txns)), (4, 3, 1));
    }
}
