//! Who belongs to the cluster, by a model of its own: what each change in the log does, and that all members apply the
//! same changes in the same order. One change adds, promotes, moves or removes one member; what is impossible changes
//! nothing. What a change says of a member is read here from etcd's JSON, not by the product.

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
    /// By which entry each was removed.
    removed: BTreeMap<MemberId, u64>,
    /// Where each is reached.
    urls: BTreeMap<MemberId, Vec<String>>,
    /// The term and the digest of each change, by index.
    changes: BTreeMap<u64, (u64, u64)>,
    /// What there was behind each.
    history: BTreeMap<u64, Circle>,
}

/// Who belongs to the cluster behind some entry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Circle {
    /// Who votes.
    pub voters: Vec<MemberId>,
    /// Who only learns.
    pub learners: Vec<MemberId>,
    /// Where each is reached.
    pub urls: BTreeMap<MemberId, Vec<String>>,
    /// Who was removed so far.
    pub removed: BTreeSet<MemberId>,
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
            self.change(entry.index, &change);
        }
        let circle = Circle {
            voters: self.voters(),
            learners: self.learners(),
            urls: self.urls.clone(),
            removed: self.removed.keys().copied().collect(),
        };
        self.history.insert(entry.index, circle);
        Ok(())
    }

    fn change(&mut self, index: u64, change: &ConfChange) {
        let id = change.member;
        let known = self.voters.contains(&id) || self.learners.contains(&id);
        if self.removed.contains_key(&id) {
            return;
        }
        let urls = urls_of(&change.context);
        let taken = self.urls.iter().any(|(other, theirs)| *other != id && theirs.iter().any(|url| urls.contains(url)));
        match change.kind {
            ConfChangeKind::AddLearner if !known && !taken && self.learners.len() < most_learners(&change.context) => {
                self.urls.insert(id, urls);
                let _ = self.learners.insert(id);
            }
            // A learner is promoted, and stays where it is; one who is new votes at once.
            ConfChangeKind::Add if self.learners.remove(&id) => {
                let _ = self.voters.insert(id);
            }
            ConfChangeKind::Add if !known && !taken => {
                self.urls.insert(id, urls);
                let _ = self.voters.insert(id);
            }
            ConfChangeKind::Update if known && !taken => {
                self.urls.insert(id, urls);
            }
            ConfChangeKind::Remove if self.learners.contains(&id) || (known && self.voters.len() > 1) => {
                self.learners.remove(&id);
                self.voters.remove(&id);
                self.urls.remove(&id);
                self.removed.insert(id, index);
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

    /// Who belonged to the cluster by everything up to an entry.
    pub fn at(&self, index: u64) -> Option<&Circle> {
        self.history.range(..=index).next_back().map(|(_, circle)| circle)
    }

    /// Where a member is reached.
    pub fn urls(&self, member: MemberId) -> &[String] {
        self.urls.get(&member).map_or(&[], Vec::as_slice)
    }

    /// The entry by which a member was removed.
    pub fn removed_by(&self, member: MemberId) -> Option<u64> {
        self.removed.get(&member).copied()
    }

    /// Who belongs to the cluster.
    pub fn all(&self) -> Vec<MemberId> {
        self.voters.union(&self.learners).copied().collect()
    }
}

/// The peer URLs of a change, as etcd writes them; none where it says nothing of them.
fn urls_of(context: &[u8]) -> Vec<String> {
    let told: Option<serde_json::Value> = serde_json::from_slice(context).ok();
    let urls = told.as_ref().and_then(|told| told.get("peerURLs")?.as_array());
    urls.into_iter().flatten().filter_map(|url| url.as_str().map(String::from)).collect()
}

/// As many learners as there may be with the one that a change adds, by what it says itself.
fn most_learners(context: &[u8]) -> usize {
    let told: Option<serde_json::Value> = serde_json::from_slice(context).ok();
    let most = told.as_ref().and_then(|told| told.get("maxLearners")?.as_u64());
    most.map_or(limits::MAX_LEARNERS, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate::wal::EntryKind;

    use super::*;

    fn entry(index: u64, kind: ConfChangeKind, member: u64) -> LogEntry {
        at(index, kind, member, "")
    }

    /// A change that says where the member is.
    fn at(index: u64, kind: ConfChangeKind, member: u64, url: &str) -> LogEntry {
        let context = if url.is_empty() { String::new() } else { format!(r#"{{"id":{member},"peerURLs":["{url}"]}}"#) };
        let context = Bytes::from(context.into_bytes());
        let data = ConfChange { id: index, kind, member: MemberId(member), context }.encode();
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
        let counted = |index| roster.at(index).map(|circle| (circle.voters.clone(), circle.learners.clone()));
        assert_eq!(counted(3), Some((vec![MemberId(1)], vec![MemberId(2)])), "the last one stays");
        assert_eq!(counted(4), Some((vec![MemberId(1), MemberId(2)], vec![])));
        assert_eq!(counted(0), None);
        let removed = |index| roster.at(index).map(|circle| circle.removed.clone());
        assert_eq!((removed(4), removed(5)), (Some(BTreeSet::new()), Some(BTreeSet::from([MemberId(1)]))));
        assert!(roster.applied(1, &entry(3, ConfChangeKind::Remove, 1)).is_ok());
        assert!(roster.applied(1, &entry(3, ConfChangeKind::Remove, 2)).is_err(), "another at the same place");
        assert!(roster.applied(1, &entry(0, ConfChangeKind::Remove, 2)).is_err(), "one that nobody else saw");
    }

    #[test]
    fn a_change_says_how_many_learners_there_may_be() {
        let mut roster = Roster::default();
        let among = |index, member, most| {
            let context = format!(r#"{{"id":{member},"peerURLs":["http://{member}:1"],"maxLearners":{most}}}"#);
            let context = Bytes::from(context.into_bytes());
            let change = ConfChange { id: index, kind: ConfChangeKind::AddLearner, member: MemberId(member), context };
            LogEntry { index, term: 1, kind: EntryKind::ConfChange, data: change.encode() }
        };
        for entry in [entry(1, ConfChangeKind::Add, 1), among(2, 2, 2), among(3, 3, 2), among(4, 4, 2)] {
            roster.applied(0, &entry).unwrap();
        }
        assert_eq!(roster.learners(), vec![MemberId(2), MemberId(3)]);
        roster.applied(0, &entry(5, ConfChangeKind::AddLearner, 5)).unwrap();
        assert_eq!(roster.learners(), vec![MemberId(2), MemberId(3)], "one, where nothing is said");
    }

    #[test]
    fn a_member_moves_to_where_nobody_else_is_and_stays_there_when_it_is_promoted() {
        let mut roster = Roster::default();
        for entry in [
            at(1, ConfChangeKind::Add, 1, "http://a:1"),
            at(2, ConfChangeKind::AddLearner, 2, "http://b:1"),
            at(3, ConfChangeKind::Update, 2, "http://a:1"),
            at(4, ConfChangeKind::Update, 1, "http://a:2"),
            entry(5, ConfChangeKind::Add, 2),
            at(6, ConfChangeKind::Update, 3, "http://c:1"),
            at(7, ConfChangeKind::Add, 4, "http://b:1"),
        ] {
            roster.applied(0, &entry).unwrap();
        }
        assert_eq!(roster.voters(), vec![MemberId(1), MemberId(2)], "the place of the last was taken");
        assert_eq!(
            (roster.urls(MemberId(1)), roster.urls(MemberId(2))),
            (&["http://a:2".to_string()][..], &["http://b:1".to_string()][..])
        );
        assert!(roster.urls(MemberId(3)).is_empty());
    }
}
