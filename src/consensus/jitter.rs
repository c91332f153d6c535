//! The election timeout, as a pure function.

use crate::base::{Dice, SeededDice, Term};

/// Draws election timeouts of `base..2*base` ticks from what identifies the draw, and nothing else.
///
/// The raft crate draws from the thread's generator, which no seed reaches. Its draw is replaced after every
/// call that may have made one; replacing it always, not only when it changed, keeps the crate's number from
/// having any influence.
#[derive(Debug)]
pub(super) struct Jitter {
    seed: u64,
    base_ticks: usize,
}

impl Jitter {
    pub(super) fn new(seed: u64, base_ticks: usize) -> Self {
        Self { seed, base_ticks }
    }

    /// The timeout in ticks for this term after this many role changes.
    pub(super) fn timeout(&self, term: Term, role_changes: u64) -> usize {
        let mut dice = SeededDice::new(self.seed ^ term.rotate_left(17) ^ role_changes.rotate_left(41));
        self.base_ticks + dice.below(self.base_ticks as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_repeat_and_spread() {
        let jitter = Jitter::new(7, 10);
        let drawn: std::collections::BTreeSet<usize> = (0..200).map(|term| jitter.timeout(term, 3)).collect();
        assert!(drawn.iter().all(|ticks| (10..20).contains(ticks)));
        assert_eq!(drawn.len(), 10, "every value of the interval is drawn");
        assert_eq!(jitter.timeout(5, 1), Jitter::new(7, 10).timeout(5, 1));
    }
}
