//! Commands that take several turns: what of the rest of the node stands aside meanwhile, and who is spared for it.
//!
//! Invariants: who begins to watch while one is under way is told of it from the history; no lease falls due, and nobody whose
//! request is committed is told that it comes too late, as long as the entries held up by it are applied.

use fxhash::FxHashSet;

use super::backlog::HeldBack;
use super::node::Node;
use super::output::Output;
use crate::base::limits;
use crate::consensus::ConfChange;
use crate::env::{Disk, Instant};
use crate::machine::codec;
use crate::wal::{EntryKind, LogEntry};

impl<D: Disk> Node<D> {
    /// Whether a command is being carried out that was begun in an earlier turn: until it is done nothing else happens to the
    /// data, and nobody comes into step, or he would miss a part of what it does.
    pub(super) fn is_carrying_out(&self) -> bool {
        self.machine.is_under_way() && !self.snapshots.installing() && !self.rebuild.under_way()
    }

    /// Whether entries are being applied that such a command held up, or holds up.
    pub(super) fn is_held_up(&self) -> bool {
        let moves_on = !self.snapshots.installing() && !self.rebuild.under_way() && !self.committed.waits_for_history;
        moves_on && self.counters.last_applied() < self.hold_up.reach()
    }

    /// Why what is committed waits to be applied, if it does.
    pub fn held_back(&self) -> Option<HeldBack> {
        self.is_carrying_out().then_some(HeldBack::LongCommand).or_else(|| self.committed.held_back())
    }

    /// Takes note of what the turn left under way.
    pub(super) fn note_hold_up(&mut self, now: Instant, out: &mut Vec<Output<D>>) {
        let is_carrying_out = self.is_carrying_out();
        if is_carrying_out {
            let committed = self.committed.back().map_or(0, |last| last.index);
            self.hold_up.goes_on(committed);
            self.hand_out(false, out);
        }
        self.watches.in_the_middle(is_carrying_out);
        self.count_hold_up(now);
    }

    /// Tells the clock of leases how long it stood still. To be called before it is asked anything.
    pub(super) fn count_hold_up(&mut self, now: Instant) {
        if self.hold_up.stands_still() {
            let goes_on = self.is_held_up();
            if let Some(time) = self.hold_up.take_time(now, goes_on) {
                self.lease_clock.stand_still(time);
            }
        }
    }

    /// The proposals among what is held up.
    pub(super) fn held_up_proposals(&self) -> FxHashSet<u64> {
        let waiting = self.committed.iter().take_while(|entry| entry.index <= self.hold_up.reach());
        // A member proposes nothing once it is that far behind: its own are among these.
        let most = 2 * usize::try_from(limits::MAX_APPLY_BACKLOG).unwrap_or(usize::MAX);
        waiting.take(most).filter_map(proposal_in).collect()
    }
}

fn proposal_in(entry: &LogEntry) -> Option<u64> {
    match entry.kind {
        EntryKind::Normal => codec::id_of(&entry.data),
        EntryKind::ConfChange => ConfChange::decode(&entry.data).map(|change| change.id),
        EntryKind::ConfChangeV2 => None,
    }
}
