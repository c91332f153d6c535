//! Who is told of what happens inside: the simulator's witness.

use crate::base::{Event, LogIndex, Term, limits};
use crate::consensus::{Electorate, PeerMessage, Standing};
use crate::env::Instant;
use crate::machine::{Applied, Command};
use crate::mvcc::Pruned;
use crate::wal::{Batch, LogEntry};

/// What one turn did on the node's thread, where raft's clock waits for it: bounded, the bytes of one entry, one record and one
/// revision apart, however large they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TurnWork {
    /// Entries applied.
    pub entries: usize,
    /// Bytes of them.
    pub entry_bytes: usize,
    /// Keys they changed, and compared (so many of those are one change: [`limits::LOOKS_PER_CHANGE`]).
    pub changes: usize,
    /// Bytes of the last of them.
    pub last_bytes: usize,
    /// Bytes of history read because values are compared, or somebody wants to know what there was before.
    pub previous_bytes: usize,
    /// Whether a command was done that an earlier turn had begun.
    pub ends: bool,
    /// Whether one was left that a later turn goes on with.
    pub pauses: bool,
    /// Bytes of history read to prune what was compacted.
    pub compaction_bytes: usize,
    /// What was pruned by that.
    pub pruned: Pruned,
    /// Bytes of history read for watchers that are nearly in step.
    pub catch_up_bytes: usize,
}

impl TurnWork {
    /// What more may be applied, if anything: so many keys changed, and so many bytes read for it. Nothing behind a command that
    /// took several turns: whatever comes, there is a turn between two such in which nothing is under way.
    pub(super) fn room(&self, changes_per_turn: usize) -> Option<(usize, usize)> {
        let may_more = self.entries < limits::APPLY_ENTRIES_PER_TURN
            && self.entry_bytes < limits::APPLY_BYTES_PER_TURN
            && !self.ends;
        let changes = changes_per_turn.checked_sub(self.changes).filter(|room| may_more && *room > 0);
        let bytes = limits::APPLY_BYTES_PER_TURN.checked_sub(self.previous_bytes).filter(|room| *room > 0);
        changes.zip(bytes)
    }

    /// An entry is applied, or gone on with.
    pub(super) fn begins(&mut self, bytes: usize) {
        self.entries += 1;
        self.entry_bytes += bytes;
        self.last_bytes = bytes;
    }

    /// It changed so many keys, for which so many bytes were read.
    pub(super) fn changed(&mut self, keys: usize, previous_bytes: usize) {
        self.changes += keys;
        self.previous_bytes += previous_bytes;
    }
}

/// What a node holds in memory after a turn, for others and for later.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Clients' proposals that wait to be applied.
    pub proposals: usize,
    /// Bytes of them.
    pub proposal_bytes: usize,
    /// Questions that wait for a round, or to be served.
    pub reads: usize,
    /// Bytes of what others pass on and cannot be proposed yet.
    pub passed_on_bytes: usize,
    /// Entries committed and not applied.
    pub unapplied: usize,
    /// Bytes of them.
    pub unapplied_bytes: usize,
    /// Bytes of history that the disk does not have.
    pub unwritten_bytes: usize,
    /// Entries of the log.
    pub log_entries: usize,
    /// Bytes of their payloads.
    pub log_bytes: usize,
    /// Bytes of entries handed to the log and not known durable.
    pub undurable_bytes: usize,
    /// Messages that wait for what they promise to become durable.
    pub held_back: usize,
    /// Snapshots kept for others, and with them the log behind.
    pub snapshots: usize,
    /// Index of the last entry of the log, be it not handed out yet.
    pub last_log: LogIndex,
    /// Index of the last entry applied.
    pub applied: LogIndex,
    /// Whether so much waits to be applied that no append is taken in.
    pub lacks_room: bool,
    /// Bytes of events that wait for the reader of a watch stream, but for the heaviest message: of the one that holds most.
    pub watch_bytes: usize,
    /// Messages that wait for one, likewise.
    pub watch_messages: usize,
}

/// Someone who is told of what a node does in the moment it does it. All but [`Observer::applied`] may be left out.
pub trait Observer: Send + Sync {
    /// An ordinary entry was applied. `request` is the id inside it. Both are absent for a leader's first entry. Of one that was
    /// carried out in slices only those events are there that a watcher is told of.
    fn applied(&self, entry: (LogIndex, Term), request: Option<u64>, command: Option<&Command>, applied: &Applied);

    /// A slice of an entry made these changes, and others `before` them.
    fn carried_out(&self, _entry: (LogIndex, Term), _before: usize, _events: &[Event]) {}

    /// A change of the configuration was applied.
    fn reconfigured(&self, _entry: &LogEntry) {}

    /// Role, term or leader changed.
    fn stands(&self, _standing: &Standing) {}

    /// Whom the group counts, with everything up to this entry applied.
    fn counts(&self, _electorate: &Electorate, _applied: LogIndex) {}

    /// A question that needs a round is taken in.
    fn asks(&self, _at: Instant) {}

    /// A round confirmed this entry to those who ask, the newest of whom was taken in at this moment.
    fn confirms(&self, _index: LogIndex, _newest: Instant) {}

    /// A batch is handed to the log, under the number by which it is told durable.
    fn appends(&self, _number: u64, _batch: &Batch) {}

    /// The state of another member takes the place of log and state. It is told durable by this number, like a batch; what
    /// comes with it is its hard state.
    fn installs(&self, _number: u64, _at: (LogIndex, Term), _batch: &Batch) {}

    /// The state of another member, up to this entry, has taken the place of what was: entries up to it are not applied here.
    fn installed(&self, _at: (LogIndex, Term)) {}

    /// The batches up to this number are durable, as the node was told.
    fn persisted(&self, _number: u64) {}

    /// Something rare happened that is worth counting.
    fn notes(&self, _what: &'static str) {}

    /// A turn is over.
    fn worked(&self, _work: &TurnWork) {}

    /// What is held after it.
    fn holds(&self, _held: &Held) {}

    /// So many bytes of history were read beside the node for watchers that fell behind.
    fn reads(&self, _bytes: usize) {}

    /// A message leaves for another member.
    fn sends(&self, _message: &PeerMessage) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_one_room_for_all_its_entries() {
        let mut work = TurnWork::default();
        assert_eq!(work.room(5), Some((5, limits::APPLY_BYTES_PER_TURN)));
        work.changed(3, 1_000);
        assert_eq!(work.room(5), Some((2, limits::APPLY_BYTES_PER_TURN - 1_000)), "also for what is read");
        work.changed(0, limits::APPLY_BYTES_PER_TURN);
        assert_eq!(work.room(5), None);
        assert_eq!(TurnWork { changes: 5, ..TurnWork::default() }.room(5), None);
        assert_eq!(TurnWork { ends: true, ..TurnWork::default() }.room(5), None, "what takes turns is the last of one");
    }
}
