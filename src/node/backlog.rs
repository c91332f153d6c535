//! What is committed and not applied yet, and how much of it there is.
//!
//! Invariant: whatever the reason that nothing is applied (another's state is awaited or read, history finds no room, entries
//! come faster than they are applied), what waits has a bound: beyond it [`Backlog::is_full`], and then this member takes no
//! more appends, which its leader sends again, and proposes nothing where it leads. What it has taken before may still be
//! committed, so that the bound is passed by what a leader may have uncommitted. Does not know why something waits.

use std::collections::VecDeque;

use crate::base::{LogIndex, limits};
use crate::wal::LogEntry;

/// Why what is committed waits to be applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeldBack {
    /// Until more history was written.
    UnwrittenHistory,
    /// There is so much of it that no more is taken in.
    FullBacklog,
    /// A command that changes many keys is before it.
    LongCommand,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    entries: VecDeque<LogEntry>,
    bytes: usize,
    /// Whether the first waits until history was written.
    pub(super) waits_for_history: bool,
    /// The first at the last tick.
    first: Option<LogIndex>,
    /// What was told last of why something waits.
    told: Option<HeldBack>,
}

fn size(entry: &LogEntry) -> usize {
    entry.data.len() + size_of::<LogEntry>()
}

impl Backlog {
    /// These were committed, behind those that are here.
    pub(super) fn extend(&mut self, entries: Vec<LogEntry>) {
        self.bytes += entries.iter().map(size).sum::<usize>();
        self.entries.extend(entries);
    }

    /// The first is to be applied.
    pub(super) fn pop_front(&mut self) -> Option<LogEntry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= size(&entry);
        Some(entry)
    }

    /// The first was begun, and is to be gone on with.
    pub(super) fn push_front(&mut self, entry: LogEntry) {
        self.bytes += size(&entry);
        self.entries.push_front(entry);
    }

    /// The one that is to be applied next.
    pub(super) fn front(&self) -> Option<&LogEntry> {
        self.entries.front()
    }

    /// All of it, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &LogEntry> {
        self.entries.iter()
    }

    /// The one committed last.
    pub(super) fn back(&self) -> Option<&LogEntry> {
        self.entries.back()
    }

    /// They are in a state that takes the place of what they would be applied to.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether no more should come.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > limits::MAX_UNAPPLIED_BYTES
    }

    /// Why something waits, as far as it is known here.
    pub(super) fn held_back(&self) -> Option<HeldBack> {
        if self.waits_for_history {
            Some(HeldBack::UnwrittenHistory)
        } else {
            self.is_full().then_some(HeldBack::FullBacklog)
        }
    }

    /// Why something waits that did not wait, or for another reason, when this was asked last.
    pub(super) fn begins_to_wait(&mut self) -> Option<HeldBack> {
        let now = self.held_back();
        if std::mem::replace(&mut self.told, now) == now { None } else { now }
    }

    /// Whether something could be applied now.
    pub(super) fn wants_turn(&self) -> bool {
        !self.entries.is_empty() && !self.waits_for_history
    }

    /// Once a tick: whether there is too much of it, or it waits for history, and nothing was applied since the last.
    pub(super) fn stands_still(&mut self) -> bool {
        let first = self.front().map(|next| next.index);
        let same = std::mem::replace(&mut self.first, first) == first;
        same && (self.waits_for_history || self.is_full())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::EntryKind;

    #[test]
    fn that_something_waits_is_told_each_time_it_begins() {
        let entry = |bytes: usize| LogEntry { index: 1, term: 1, kind: EntryKind::Normal, data: vec![0; bytes].into() };
        let mut backlog = Backlog::default();
        backlog.extend(vec![entry(10)]);
        assert_eq!(backlog.begins_to_wait(), None, "it is applied soon");
        backlog.waits_for_history = true;
        assert_eq!([backlog.begins_to_wait(), backlog.begins_to_wait()], [Some(HeldBack::UnwrittenHistory), None]);
        backlog.extend(vec![entry(limits::MAX_UNAPPLIED_BYTES)]);
        backlog.waits_for_history = false;
        assert_eq!([backlog.begins_to_wait(), backlog.begins_to_wait()], [Some(HeldBack::FullBacklog), None]);
        backlog.pop_front();
        backlog.pop_front();
        assert_eq!(backlog.begins_to_wait(), None);
        backlog.waits_for_history = true;
        assert_eq!(backlog.begins_to_wait(), Some(HeldBack::UnwrittenHistory), "another time");
    }
}
