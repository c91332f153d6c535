//! What was applied, by etcd's names of the operations, and how long that took.
//!
//! Entries are applied many at a time and the node has no clock: each of a turn's is given an equal part of its time.
//! Invariants: every proposal that is applied is counted once, under its own name; nobody waits for a count.

use std::time::Duration;

use crate::base::{Durations, Measured, Refusal};
use crate::machine::{Answer, Command, OP_NAMES};

/// How many of each kind one turn applied: in vain, and with success.
#[derive(Clone, Debug, Default)]
pub struct TurnOps {
    counts: [[u32; 2]; OP_NAMES.len()],
    total: u32,
}

impl TurnOps {
    /// One more; without a command one that nobody understands. Of what was compacted etcd says that it went well, too.
    pub fn applied(&mut self, command: Option<&Command>, answer: &Result<Answer, Refusal>) {
        let went_well = matches!(answer, Ok(_) | Err(Refusal::Compacted));
        self.counts[command.map_or(0, Command::op)][usize::from(went_well)] += 1;
        self.total += 1;
    }

    /// A turn begins.
    pub(super) fn clear(&mut self) {
        if self.total > 0 {
            *self = Self::default();
        }
    }

    /// Whether nothing was applied.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

/// How long applying took, by kind and success. Everyone may read it.
#[derive(Debug)]
pub struct AppliedOps([[Durations; 2]; OP_NAMES.len()]);

impl Default for AppliedOps {
    fn default() -> Self {
        // etcd's bounds.
        Self(std::array::from_fn(|_| std::array::from_fn(|_| Durations::new(Duration::from_micros(100), 20))))
    }
}

impl AppliedOps {
    /// A turn that applied these `took` so long.
    pub fn took(&self, ops: &TurnOps, took: Duration) {
        let each = took / ops.total.max(1);
        for (counts, durations) in ops.counts.iter().zip(&self.0) {
            for (count, durations) in counts.iter().zip(durations) {
                if *count > 0 {
                    durations.took_each(each, (*count).into());
                }
            }
        }
    }

    /// What was measured of each kind there was: its name, whether it went well, and how long it took.
    pub fn measured(&self) -> impl Iterator<Item = (&'static str, bool, Measured)> {
        let by_name = OP_NAMES.iter().zip(&self.0);
        let all = by_name.flat_map(|(name, [failed, well])| [(*name, true, well), (*name, false, failed)]);
        all.map(|(name, well, durations)| (name, well, durations.measured()))
            .filter(|(_, _, measured)| measured.count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Put;

    #[test]
    fn the_time_of_a_turn_is_shared_by_what_it_applied() {
        let (mut turn, all) = (TurnOps::default(), AppliedOps::default());
        let put = Command::Put(Put::default());
        let compact = Command::Compact { revision: 1, physical: false };
        turn.applied(Some(&put), &Ok(Answer::Put { prev_kv: None }));
        turn.applied(Some(&put), &Ok(Answer::Put { prev_kv: None }));
        turn.applied(Some(&put), &Err(Refusal::LeaseNotFound));
        turn.applied(Some(&compact), &Err(Refusal::Compacted));
        turn.applied(None, &Ok(Answer::Done));
        all.took(&turn, Duration::from_millis(10));
        let ms = Duration::from_millis;
        let told: Vec<_> = all.measured().map(|(name, well, m)| (name, well, m.count, m.sum)).collect();
        assert_eq!(
            told,
            [
                ("unknown", true, 1, ms(2)),
                ("Put", true, 2, ms(4)),
                ("Put", false, 1, ms(2)),
                ("Compaction", true, 1, ms(2)),
            ]
        );
        turn.clear();
        assert!(turn.is_empty());
    }
}
