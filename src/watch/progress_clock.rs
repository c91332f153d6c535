//! When the rounds of progress are.
//!
//! Does not know what is told in a round.

use std::collections::BTreeSet;

use super::message::StreamId;
use crate::base::{Dice, SeededDice, WatchId};

/// The id under which a notice speaks for every watcher on the stream.
pub(super) const WHOLE_STREAM: WatchId = -1;

/// When streams with watchers that want notices have their rounds, in ticks.
pub(super) struct ProgressClock {
    now: u64,
    period: u64,
    dice: SeededDice,
    due: BTreeSet<(u64, StreamId)>,
}

impl ProgressClock {
    pub(super) fn new(period: u64, seed: u64) -> Self {
        Self { now: 0, period: period.max(1), dice: SeededDice::new(seed), due: BTreeSet::new() }
    }

    /// Notes the next round of a stream, a period and up to a tenth of it from now; answers when.
    pub(super) fn next_round(&mut self, id: StreamId) -> u64 {
        // The jitter keeps the rounds of streams that were opened together apart.
        let due = self.now + self.period + self.dice.below(self.period / 10 + 1);
        self.due.insert((due, id));
        due
    }

    /// Notes the rest of a round at the next tick; answers when.
    pub(super) fn next_tick(&mut self, id: StreamId) -> u64 {
        self.due.insert((self.now + 1, id));
        self.now + 1
    }

    /// A tick went by.
    pub(super) fn tick(&mut self) {
        self.now += 1;
    }

    /// The next stream whose round is due.
    pub(super) fn take_due(&mut self) -> Option<StreamId> {
        self.due.first().filter(|(due, _)| *due <= self.now)?;
        self.due.pop_first().map(|(_, id)| id)
    }

    pub(super) fn forget(&mut self, due: u64, id: StreamId) {
        self.due.remove(&(due, id));
    }
}
