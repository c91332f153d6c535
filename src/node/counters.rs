//! The chain every index of the node hangs in.

use crate::base::LogIndex;

/// `released <= checkpointed <= applied <= committed`, asserted on every move. None ever goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    released: LogIndex,
    checkpointed: LogIndex,
    applied: LogIndex,
    committed: LogIndex,
}

impl Counters {
    /// A node that starts from a checkpoint.
    pub fn starting_at(checkpointed: LogIndex) -> Self {
        Self { released: 0, checkpointed, applied: checkpointed, committed: checkpointed }
    }

    pub fn committed(&mut self, index: LogIndex) {
        Self::advance("committed", &mut self.committed, index);
        self.check();
    }

    pub fn applied(&mut self, index: LogIndex) {
        Self::advance("applied", &mut self.applied, index);
        self.check();
    }

    pub fn checkpointed(&mut self, index: LogIndex) {
        Self::advance("checkpointed", &mut self.checkpointed, index);
        self.check();
    }

    pub fn released(&mut self, index: LogIndex) {
        Self::advance("released", &mut self.released, index);
        self.check();
    }

    /// The highest entry a durable checkpoint covers.
    pub fn last_checkpointed(&self) -> LogIndex {
        self.checkpointed
    }

    /// A snapshot took the place of what was applied: it is a checkpoint, too, and the log before it is gone.
    pub fn installed(&mut self, index: LogIndex) {
        self.committed(self.committed.max(index));
        self.applied(index);
        self.checkpointed(index);
    }

    /// The highest entry applied.
    pub fn last_applied(&self) -> LogIndex {
        self.applied
    }

    fn advance(name: &str, counter: &mut LogIndex, index: LogIndex) {
        assert!(index >= *counter, "{name} goes back from {counter} to {index}");
        *counter = index;
    }

    fn check(&self) {
        assert!(
            self.released <= self.checkpointed && self.checkpointed <= self.applied && self.applied <= self.committed,
            "the chain is broken: {self:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_moves_forward() {
        let mut counters = Counters::starting_at(5);
        counters.committed(9);
        counters.applied(8);
        counters.checkpointed(8);
        counters.released(5);
        assert_eq!(counters.last_applied(), 8);
    }

    #[test]
    #[should_panic(expected = "the chain is broken")]
    fn nothing_is_applied_before_it_is_committed() {
        Counters::starting_at(5).applied(6);
    }

    #[test]
    #[should_panic(expected = "goes back")]
    fn nothing_goes_back() {
        Counters::starting_at(5).committed(4);
    }
}
