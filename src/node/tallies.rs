//! What a member did since it started, in numbers that only grow, and how long the work below the porch took.
//!
//! Invariant: whoever counts waits for nobody. The times are measured by the driver, which has a clock; the node has none.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::applied_ops::AppliedOps;
use super::compactions::Compactions;
use super::stages::Stages;
use crate::base::Durations;
use crate::machine::{Answer, Command, DeleteRange, Op, OpAnswer, Put, Txn, TxnAnswer};

/// The numbers. Everyone may read them.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Tallies {
    pub puts: AtomicU64,
    pub deletes: AtomicU64,
    /// Transactions of the store that did more than one thing, as etcd counts them.
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
    /// Taking in a snapshot of another member, from the offer that ended well until all of it is durable.
    pub snapshots: Durations,
    /// Making durable what was still not when all of it was here.
    pub snapshot_syncs: Durations,
    /// What was pruned of what was compacted.
    pub compactions: Compactions,
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
            snapshots: Durations::new(Duration::from_millis(100), 10),
            snapshot_syncs: disk(),
            compactions: Compactions::default(),
            applies: AppliedOps::default(),
            stages: Stages::default(),
        }
    }
}

/// What one of etcd's transactions on its store does: its own counters go by these, and so by how it is built.
#[derive(Clone, Copy, Default, Debug)]
struct Work {
    puts: u64,
    deletes: u64,
    ranges: u64,
}

impl Work {
    /// What a put reads back of its key.
    fn put(&mut self, put: &Put) {
        self.puts += 1;
        self.ranges += u64::from(reads_back(put));
    }

    /// However many keys it deletes.
    fn delete(&mut self, delete: &DeleteRange) {
        self.deletes += 1;
        self.ranges += u64::from(delete.prev_kv);
    }
}

fn reads_back(put: &Put) -> bool {
    put.prev_kv || put.ignore_value || put.ignore_lease
}

impl Tallies {
    /// Counts a command that was applied.
    pub(super) fn applied(&self, command: &Command, answer: &Answer) {
        let mut work = Work::default();
        let mut answer = answer;
        while let Answer::Later(bare, _) = answer {
            answer = bare;
        }
        match (command, answer) {
            (Command::Put(put), _) => {
                work.put(put);
                self.put_bytes.fetch_add((put.key.len() + put.value.len()) as u64, Relaxed);
            }
            (Command::DeleteRange(delete), _) => work.delete(delete),
            (Command::Txn(txn), Answer::Txn(answer)) => return self.transaction(txn, answer),
            (Command::LeaseGrant { .. }, _) => return bump(&self.leases_granted, 1),
            (Command::LeaseRevoke { .. }, _) => return bump(&self.leases_revoked, 1),
            _ => return,
        }
        self.add(work);
    }

    /// Counts a transaction by what it did: its conditions are looked at in a transaction of the store for itself, unless all
    /// of it reads. Of conditions that do not hold all are counted.
    pub fn transaction(&self, txn: &Txn, answer: &TxnAnswer) {
        let (mut looks, mut does) = (Work::default(), Work::default());
        let mut inside = vec![(txn, answer)];
        while let Some((txn, answer)) = inside.pop() {
            looks.ranges += txn.compares.len() as u64;
            let done = if answer.succeeded { &txn.success } else { &txn.failure };
            for (op, answer) in done.iter().zip(&answer.answers) {
                let mut answer = answer;
                while let OpAnswer::Later(bare, _) = answer {
                    answer = bare;
                }
                match (op, answer) {
                    (Op::Put(put), _) => {
                        looks.ranges += u64::from(reads_back(put));
                        does.put(put);
                        self.put_bytes.fetch_add((put.key.len() + put.value.len()) as u64, Relaxed);
                    }
                    (Op::DeleteRange(delete), _) => does.delete(delete),
                    (Op::Range(_), _) => does.ranges += 1,
                    (Op::Txn(txn), OpAnswer::Txn(answer)) => inside.push((txn, answer)),
                    (Op::Txn(_), _) => unreachable!("a transaction is answered as one"),
                }
            }
        }
        if txn.is_read_only() {
            looks.ranges += does.ranges;
            does = Work::default();
        }
        self.add(looks);
        self.add(does);
    }

    /// Counts a read, whatever came of it.
    pub fn range(&self) {
        bump(&self.ranges, 1);
    }

    fn add(&self, work: Work) {
        bump(&self.txns, u64::from(work.puts + work.deletes + work.ranges > 1));
        bump(&self.puts, work.puts);
        bump(&self.deletes, work.deletes);
        bump(&self.ranges, work.ranges);
    }
}

fn bump(tally: &AtomicU64, by: u64) {
    if by > 0 {
        tally.fetch_add(by, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::base::KeyRange;
    use crate::machine::{Compare, CompareResult, CompareTarget};

    fn counted(tallies: &Tallies) -> [u64; 4] {
        [&tallies.puts, &tallies.deletes, &tallies.ranges, &tallies.txns].map(|tally| tally.swap(0, Relaxed))
    }

    /// As stock etcd 3.7.1 was seen to count.
    #[test]
    fn what_is_done_is_counted_as_etcd_counts() {
        let tallies = Tallies::default();
        let put = |prev_kv| Put { key: "k".into(), value: "v".into(), prev_kv, ..Put::default() };
        let delete = |prev_kv| DeleteRange { range: KeyRange::from_wire("k".into(), Bytes::new()), prev_kv };
        let put_answer = || OpAnswer::Put { prev_kv: None, revision: 1 };
        let deleted = || OpAnswer::DeleteRange { deleted: 3, prev_kvs: vec![], revision: 1 };
        for (prev_kv, expected) in [(false, [1, 0, 0, 0]), (true, [1, 0, 1, 1])] {
            tallies.applied(&Command::Put(put(prev_kv)), &Answer::Put { prev_kv: None });
            assert_eq!(counted(&tallies), expected);
        }
        let answer = || Answer::DeleteRange { deleted: 3, prev_kvs: vec![] };
        for (prev_kv, expected) in [(false, [0, 1, 0, 0]), (true, [0, 1, 1, 1])] {
            tallies.applied(&Command::DeleteRange(delete(prev_kv)), &answer());
            assert_eq!(counted(&tallies), expected);
        }
        let compare = || Compare {
            range: KeyRange::from_wire("k".into(), Bytes::new()),
            target: CompareTarget::Version(0),
            result: CompareResult::Equal,
        };
        let txn = |compares: usize, success| Txn {
            compares: std::iter::repeat_with(compare).take(compares).collect(),
            success,
            failure: vec![],
        };
        let count = |txn: &Txn, answers| {
            tallies.transaction(txn, &TxnAnswer { succeeded: true, answers });
            counted(&tallies)
        };
        assert_eq!(count(&txn(0, vec![]), vec![]), [0, 0, 0, 0], "empty");
        assert_eq!(count(&txn(1, vec![]), vec![]), [0, 0, 1, 0], "one condition");
        assert_eq!(count(&txn(2, vec![]), vec![]), [0, 0, 2, 1], "two");
        assert_eq!(count(&txn(1, vec![Op::Put(put(false))]), vec![put_answer()]), [1, 0, 1, 0]);
        assert_eq!(count(&txn(0, vec![Op::Put(put(true))]), vec![put_answer()]), [1, 0, 2, 1]);
        assert_eq!(count(&txn(0, vec![Op::DeleteRange(delete(false))]), vec![deleted()]), [0, 1, 0, 0]);
        let inside = Op::Txn(txn(1, vec![Op::Put(put(false)), Op::Put(put(false))]));
        let answered = OpAnswer::Txn(TxnAnswer { succeeded: true, answers: vec![put_answer(), put_answer()] });
        assert_eq!(count(&txn(1, vec![inside]), vec![answered]), [2, 0, 2, 2], "both conditions, both puts");
    }
}
