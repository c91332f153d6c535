//! What is committed and not applied yet, and how much of it there is.
//!
//! Invariant: whatever the reason that nothing is applied (another's state is awaited or read, history finds no room, entries
//! come faster than they are applied), what waits has a bound: beyond it [`Backlog::is_full`], and then this member takes no
//! more appends, which its leader sends again, and proposes nothing where it leads. What it has taken before may still be
//! committed, so that the bound is passed by what a leader may have uncommitted. Does not know why something waits. Of what the
//! entries say it knows which leases they end.

use std::collections::{BTreeSet, VecDeque};

use crate::base::{LeaseId, LogIndex};
use crate::machine::codec;
use crate::wal::{EntryKind, LogEntry};

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
#[derive(Debug)]
pub(super) struct Backlog {
    /// Bytes beyond which no more should come.
    most: usize,
    entries: VecDeque<LogEntry>,
    bytes: usize,
    /// Which leases they end, each with the entry that does.
    ends: BTreeSet<(LeaseId, LogIndex)>,
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

/// The lease that an entry ends, if it does.
fn ended_by(entry: &LogEntry) -> Option<LeaseId> {
    match entry.kind {
        EntryKind::Normal => codec::ended_lease(&entry.data),
        EntryKind::ConfChange | EntryKind::ConfChangeV2 => None,
    }
}

impl Backlog {
    /// Nothing waits, and no more than about so many bytes are to.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            entries: VecDeque::new(),
            bytes: 0,
            ends: BTreeSet::new(),
            waits_for_history: false,
            first: None,
            told: None,
        }
    }

    /// These were committed, behind those that are here.
    pub(super) fn extend(&mut self, entries: Vec<LogEntry>) {
        entries.iter().for_each(|entry| self.count(entry));
        self.entries.extend(entries);
    }

    fn count(&mut self, entry: &LogEntry) {
        self.bytes += size(entry);
        self.ends.extend(ended_by(entry).map(|id| (id, entry.index)));
    }

    /// The first is to be applied.
    pub(super) fn pop_front(&mut self) -> Option<LogEntry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= size(&entry);
        if let Some(id) = ended_by(&entry) {
            self.ends.remove(&(id, entry.index));
        }
        Some(entry)
    }

    /// The first was begun, and is to be gone on with.
    pub(super) fn push_front(&mut self, entry: LogEntry) {
        self.count(&entry);
        self.entries.push_front(entry);
    }

    /// Whether what waits reaches to `index`, and nothing of it ends this lease.
    pub(super) fn lets_live(&self, id: LeaseId, index: LogIndex) -> bool {
        let reaches = self.back().is_some_and(|last| last.index >= index);
        reaches && self.ends.range((id, LogIndex::MIN)..=(id, LogIndex::MAX)).next().is_none()
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
        *self = Self::new(self.most);
    }

    /// Whether no more should come.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > self.most
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
    use crate::machine::Command;

    #[test]
    fn a_lease_lives_as_long_as_nothing_that_waits_ends_it() {
        let entry = |index, command: &Command| LogEntry {
            index,
            term: 1,
            kind: EntryKind::Normal,
            data: codec::encode(index, command),
        };
        let end = |index, id| entry(index, &Command::LeaseRevoke { id, expiry: None });
        let mut backlog = Backlog::new(5_000);
        assert!(!backlog.lets_live(7, 4), "who knows what is committed up to there");
        let other = entry(4, &Command::LeaseGrant { id: 8, ttl: 5 });
        backlog.extend(vec![end(3, 7), other, end(5, 7), end(6, -7)]);
        assert!(backlog.lets_live(8, 6) && !backlog.lets_live(8, 7));
        assert!(!backlog.lets_live(7, 6) && !backlog.lets_live(-7, 6));
        let begun = backlog.pop_front().expect("it is there");
        assert!(!backlog.lets_live(7, 6), "it is ended twice");
        backlog.push_front(begun);
        for _ in 3..=5 {
            backlog.pop_front();
        }
        assert!(backlog.lets_live(7, 6) && !backlog.lets_live(-7, 6));
        let begun = backlog.pop_front().expect("it is there");
        backlog.push_front(begun);
        assert!(!backlog.lets_live(-7, 6), "its end is under way");
        backlog.clear();
        backlog.extend(vec![entry(7, &Command::LeaseGrant { id: 9, ttl: 5 })]);
        assert!(backlog.lets_live(-7, 7));
    }

    #[test]
    fn that_something_waits_is_told_each_time_it_begins() {
        let entry = |bytes: usize| LogEntry { index: 1, term: 1, kind: EntryKind::Normal, data: vec![0; bytes].into() };
        const MOST: usize = 5_000;
        let mut backlog = Backlog::new(MOST);
        backlog.extend(vec![entry(10)]);
        assert_eq!(backlog.begins_to_wait(), None, "it is applied soon");
        backlog.waits_for_history = true;
        assert_eq!([backlog.begins_to_wait(), backlog.begins_to_wait()], [Some(HeldBack::UnwrittenHistory), None]);
        backlog.extend(vec![entry(MOST)]);
        backlog.waits_for_history = false;
        assert_eq!([backlog.begins_to_wait(), backlog.begins_to_wait()], [Some(HeldBack::FullBacklog), None]);
        backlog.pop_front();
        backlog.pop_front();
        assert_eq!(backlog.begins_to_wait(), None);
        backlog.waits_for_history = true;
        assert_eq!(backlog.begins_to_wait(), Some(HeldBack::UnwrittenHistory), "another time");
    }
}
