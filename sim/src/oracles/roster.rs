//! Who belongs to the cluster, by a model of its own: what each change in the log does, and that all members apply the
//! same changes in the same order. One change adds, promotes or removes one member; what is impossible changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use quorate::base::{MemberId, limits};
use quorate::consensus::{ConfChange, ConfChangeKind};
use quorate::wal::LogEntry;

use super::{Verdict, require};

/// See the module's head.
#[derive(Debug, Default)]
pub struct Roster {
    voters: BTreeSet<MemberId>,
    learners: BTreeSet<MemberId>,
    removed: BTreeSet<MemberId>,
    /// The term and the digest of each change, by index.
    changes: BTreeMap<u64, (u64, u64)>,
}

impl Roster {
    /// Takes a change in the moment a member applies it.
    pub fn applied(&mut self, member: usize, entry: &LogEntry) -> Verdict {
        let told = (entry.term, fxhash::hash64(&entry.data[..]));
        if let Some(known) = self.changes.get(&entry.index) {
            return require(*known == told, "a change of the members once applied stays", || {
                format!("member {member}: entry {} was {known:?} and is {told:?}", entry.index)
            });
        }
        let newest = self.changes.last_key_value().map_or(0, |(index, _)| *index);
        require(entry.index > newest, "changes of the members are applied in one order", || {
            format!("member {member}: entry {} is new, though {newest} was applied before", entry.index)
        })?;
        self.changes.insert(entry.index, told);
        let change = ConfChange::decode(&entry.data);
        require(change.is_some(), "a change of the members can be read", || format!("{entry:?}"))?;
        if let Some(change) = change {
            self.change(&change);
        }
        Ok(())
    }

    fn change(&mut self, change: &ConfChange) {
        let id = change.member;
        let known = self.voters.contains(&id) || self.learners.contains(&id);
        if self.removed.contains(&id) {
            return;
        }
        match change.kind {
            ConfChangeKind::AddLearner if !known && self.learners.len() < limits::MAX_LEARNERS => {
                let _ = self.learners.insert(id);
            }
            // A learner is promoted; one who is new votes at once.
            ConfChangeKind::Add if self.learners.remove(&id) || !known => {
                let _ = self.voters.insert(id);
            }
            ConfChangeKind::Remove if self.learners.contains(&id) || (known && self.voters.len() > 1) => {
                self.learners.remove(&id);
                self.voters.remove(&id);
                self.removed.insert(id);
            }
            ConfChangeKind::Add | ConfChangeKind::AddLearner | ConfChangeKind::Remove | ConfChangeKind::Update => {}
        }
    }

    /// Who votes.
    pub fn voters(&self) -> Vec<MemberId> {
        self.voters.iter().copied().collect()
    }

    /// Who only learns.
    pub fn learners(&self) -> Vec<MemberId> {
        self.learners.iter().copied().collect()
    }

    /// Who belongs to the cluster.
    pub fn all(&self) -> Vec<MemberId> {
        self.voters.union(&self.learners).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate::wal::EntryKind;

    use super::*;

    fn entry(index: u64, kind: ConfChangeKind, member: u64) -> LogEntry {
        let data = ConfChange { id: index, kind, member: MemberId(member), context: Bytes::new() }.encode();
        LogEntry { index, term: 1, kind: EntryKind::ConfChange, data }
    }

    #[test]
    fn members_come_and_go_one_at_a_time_and_for_ever() {
        let mut roster = Roster::default();
        for (index, kind, member) in [
            (1, ConfChangeKind::Add, 1),
            (2, ConfChangeKind::AddLearner, 2),
            (3, ConfChangeKind::Remove, 1),
            (4, ConfChangeKind::Add, 2),
            (5, ConfChangeKind::Remove, 1),
            (6, ConfChangeKind::Add, 1),
            (7, ConfChangeKind::AddLearner, 3),
            (8, ConfChangeKind::AddLearner, 4),
        ] {
            roster.applied(0, &entry(index, kind, member)).unwrap();
        }
        assert_eq!(
            (roster.voters(), roster.learners()),
            (vec![MemberId(2)], vec![MemberId(3)]),
            "one learner at a time"
        );
        assert!(roster.applied(1, &entry(3, ConfChangeKind::Remove, 1)).is_ok());
        assert!(roster.applied(1, &entry(3, ConfChangeKind::Remove, 2)).is_err(), "another at the same place");
        assert!(roster.applied(1, &entry(0, ConfChangeKind::Remove, 2)).is_err(), "one that nobody else saw");
    }
}
