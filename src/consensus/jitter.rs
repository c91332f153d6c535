//! The election timeout, as a pure function.
//!
//! Who follows a leader waits for its turn: those behind the leader in the order of ids stand one after another, the
//! first a tick after the election timeout, when no lease of the lost leader binds the others any more, and the next one
//! [`TURN_TICKS`] later. So the first vote is asked for as soon as it can be granted, and no two ask at once. Who has no
//! leader to go by, or stood and did not win, draws.

use crate::base::{Dice, SeededDice, Term};

/// Ticks between the turns of two followers: their clocks tick up to one apart, and a vote takes its time.
const TURN_TICKS: usize = 2;

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

    /// The timeout in ticks of the follower that is the `turn`-th behind its leader, of `voters`; nothing where there are
    /// too many for the ticks there are.
    pub(super) fn turn(&self, turn: usize, voters: usize) -> Option<usize> {
        let apart = (self.base_ticks.saturating_sub(1) / voters.max(1)).min(TURN_TICKS);
        let timeout = self.base_ticks + 1 + turn * apart;
        (apart > 0 && timeout < 2 * self.base_ticks).then_some(timeout)
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

    #[test]
    fn turns_are_apart_and_within_the_interval() {
        let jitter = Jitter::new(7, 10);
        let turns = |voters: usize| (0..voters - 1).map(|turn| jitter.turn(turn, voters)).collect::<Vec<_>>();
        assert_eq!(turns(3), [Some(11), Some(13)]);
        assert_eq!(turns(5), [Some(11), Some(12), Some(13), Some(14)]);
        assert_eq!(jitter.turn(0, 11), None, "there are not enough ticks");
        assert_eq!(Jitter::new(7, 2).turn(0, 3), None);
    }
}
