//! The table. Part of the replicated machine: the same commands give the same table on every member.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::key_set::KeySet;
use crate::base::limits::MAX_LEASE_TTL_SECONDS;
use crate::base::{LeaseId, LogIndex, Refusal};

/// A lease without its keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Seconds it was granted for, as the client is told.
    pub ttl: i64,
    /// Seconds that were left at the last checkpoint, or 0 where there was none since the last renewal.
    pub remaining: i64,
    /// Index of the entry that granted it: an id may be granted again after a revocation, an index is used once.
    pub granted_at: LogIndex,
}

/// A lease with its keys. Most leases hold one key or none (a session, a Kubernetes event batch), which then
/// cost no tree of their own.
#[derive(Clone, Debug)]
struct Entry {
    lease: Lease,
    keys: Keys,
}

#[derive(Clone, Debug, Default)]
enum Keys {
    #[default]
    None,
    One(Bytes),
    Many(KeySet),
}

/// All leases and the keys attached to them.
///
/// A lease without keys costs about 70 bytes, an attached key about 110 and its own length.
#[derive(Clone, Debug, Default)]
pub struct LeaseTable {
    leases: BTreeMap<LeaseId, Entry>,
    /// The other side of `Entry::keys`. A tree: clients choose the keys, and could choose such that all fall
    /// into one bucket of a hash map.
    by_key: BTreeMap<Bytes, LeaseId>,
    /// Keys that were put with leases that are not there: a data directory of etcd has such keys once it lost leases. A lease that
    /// is granted by that id takes them, on every member alike, whether it began anew meanwhile or not.
    loose: BTreeMap<LeaseId, Keys>,
}

impl LeaseTable {
    /// A table without leases.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a lease of `ttl` seconds by the entry at `granted_at`. `ttl` is what the proposer decided on (etcd's
    /// minimum already in it); only its upper bound is checked here. An existing lease is refused and left as it is.
    pub fn grant(&mut self, id: LeaseId, ttl: i64, granted_at: LogIndex) -> Result<(), Refusal> {
        if id == 0 {
            // 0 means "no lease" on a key: as in etcd there can be no such lease.
            return Err(Refusal::LeaseNotFound);
        }
        if ttl > MAX_LEASE_TTL_SECONDS {
            return Err(Refusal::LeaseTtlTooLarge);
        }
        if self.leases.contains_key(&id) {
            return Err(Refusal::LeaseExists);
        }
        let keys = self.loose.remove(&id).unwrap_or_default();
        self.leases.insert(id, Entry { lease: Lease { ttl, remaining: 0, granted_at }, keys });
        Ok(())
    }

    /// Removes a lease and answers with the keys that hung on it, sorted; the caller deletes them, all in one
    /// revision. They hang on nothing afterwards.
    pub fn revoke(&mut self, id: LeaseId) -> Result<Vec<Bytes>, Refusal> {
        let entry = self.leases.remove(&id).ok_or(Refusal::LeaseNotFound)?;
        let keys: Vec<Bytes> = match entry.keys {
            Keys::None => Vec::new(),
            Keys::One(key) => vec![key],
            Keys::Many(keys) => keys.into_iter().collect(),
        };
        for key in &keys {
            let was = self.by_key.remove(key);
            assert_eq!(was, Some(id), "a lease's keys know their lease");
        }
        Ok(keys)
    }

    /// Hangs `key` on a lease, taking it from the one it hung on. With `id` 0 this is [`LeaseTable::detach`].
    /// A lease that is not there is refused, and the key stays where it was; a key that was put with it before may be put so again.
    pub fn attach(&mut self, id: LeaseId, key: &Bytes) -> Result<(), Refusal> {
        if id == 0 {
            self.detach(key);
            return Ok(());
        }
        if self.by_key.get(key) == Some(&id) {
            return Ok(());
        }
        if !self.leases.contains_key(&id) {
            return Err(Refusal::LeaseNotFound);
        }
        self.hang(id, key);
        Ok(())
    }

    /// Hangs `key` on the lease it was put with, as a stored state has it, be that lease there or not.
    pub fn restore(&mut self, id: LeaseId, key: &Bytes) {
        if id != 0 {
            self.hang(id, key);
        }
    }

    fn hang(&mut self, id: LeaseId, key: &Bytes) {
        self.detach(key);
        // A copy of its own: the key may be a slice of a whole request, which must not live as long as the lease.
        let key = Bytes::copy_from_slice(key);
        let keys = match self.leases.get_mut(&id) {
            Some(entry) => &mut entry.keys,
            None => self.loose.entry(id).or_default(),
        };
        keys.insert(key.clone());
        self.by_key.insert(key, id);
    }

    /// Takes `key` from the lease it was put with and answers with that lease, or with 0.
    pub fn detach(&mut self, key: &[u8]) -> LeaseId {
        let Some(id) = self.by_key.remove(key) else { return 0 };
        if let Some(entry) = self.leases.get_mut(&id) {
            entry.keys.remove(key);
        } else {
            let keys = self.loose.get_mut(&id).expect("a key hangs on a lease, or on one that is not there");
            keys.remove(key);
            if matches!(keys, Keys::None) {
                self.loose.remove(&id);
            }
        }
        id
    }

    /// The lease `key` was put with, or 0.
    pub fn lease_of(&self, key: &[u8]) -> LeaseId {
        self.by_key.get(key).copied().unwrap_or(0)
    }

    /// Whether there is such a lease.
    pub fn contains(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    /// The lease, if there is one.
    pub fn get(&self, id: LeaseId) -> Option<Lease> {
        self.leases.get(&id).map(|entry| entry.lease)
    }

    /// Records how many seconds were left, as the leader counted; 0 forgets it, as a renewal does.
    /// A lease that is gone by now is passed over: the checkpoint and the revocation crossed.
    pub fn checkpoint(&mut self, id: LeaseId, remaining: i64) {
        if let Some(entry) = self.leases.get_mut(&id) {
            entry.lease.remaining = remaining.clamp(0, entry.lease.ttl.max(0));
        }
    }

    /// All lease ids, ascending.
    pub fn ids(&self) -> impl Iterator<Item = LeaseId> + '_ {
        self.leases.keys().copied()
    }

    /// All leases, ascending by id: what a checkpoint image writes and a new leader's clock starts from.
    pub fn iter(&self) -> impl Iterator<Item = (LeaseId, Lease)> + '_ {
        self.leases.iter().map(|(id, entry)| (*id, entry.lease))
    }

    /// The keys on a lease, sorted; nothing for a lease that is not there.
    pub fn keys(&self, id: LeaseId) -> impl Iterator<Item = &Bytes> + '_ {
        self.leases.get(&id).into_iter().flat_map(|entry| entry.keys.iter())
    }

    /// The same, to be kept: costs no more for many keys than for few.
    pub fn key_set(&self, id: LeaseId) -> KeySet {
        match self.leases.get(&id).map(|entry| &entry.keys) {
            None | Some(Keys::None) => KeySet::default(),
            Some(Keys::One(key)) => KeySet::from_iter([key.clone()]),
            Some(Keys::Many(keys)) => keys.clone(),
        }
    }

    /// How many there are.
    pub fn count_keys(&self, id: LeaseId) -> usize {
        match self.leases.get(&id).map(|entry| &entry.keys) {
            None | Some(Keys::None) => 0,
            Some(Keys::One(_)) => 1,
            Some(Keys::Many(keys)) => keys.len(),
        }
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there is no lease.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// How many keys hang on leases.
    pub fn attached(&self) -> usize {
        self.by_key.len()
    }
}

impl Keys {
    fn insert(&mut self, key: Bytes) {
        match std::mem::take(self) {
            Self::None => *self = Self::One(key),
            Self::One(first) => *self = Self::Many([first, key].into_iter().collect()),
            Self::Many(mut keys) => {
                keys.insert(key);
                *self = Self::Many(keys);
            }
        }
    }

    fn remove(&mut self, key: &[u8]) {
        let removed = match self {
            Self::None => false,
            Self::One(only) => {
                let same = only[..] == *key;
                if same {
                    *self = Self::None;
                }
                same
            }
            Self::Many(keys) => {
                let removed = keys.remove(key);
                if keys.is_empty() {
                    *self = Self::None;
                }
                removed
            }
        };
        assert!(removed, "a key knows the lease it hangs on");
    }

    fn iter(&self) -> impl Iterator<Item = &Bytes> + '_ {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(key) => (Some(key), None),
            Self::Many(keys) => (None, Some(keys.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> Bytes {
        Bytes::copy_from_slice(name.as_bytes())
    }

    #[test]
    fn grants_are_checked_as_etcd_does() {
        let mut table = LeaseTable::new();
        assert_eq!(table.grant(7, MAX_LEASE_TTL_SECONDS, 9), Ok(()));
        assert_eq!(table.grant(7, 1, 9), Err(Refusal::LeaseExists));
        assert_eq!(table.grant(8, MAX_LEASE_TTL_SECONDS + 1, 9), Err(Refusal::LeaseTtlTooLarge));
        assert_eq!(table.grant(7, i64::MAX, 9), Err(Refusal::LeaseTtlTooLarge), "the ttl is looked at first");
        assert_eq!(table.grant(-3, 5, 9), Ok(()), "a negative id is a lease like any other");
        assert_eq!(table.grant(0, 5, 9), Err(Refusal::LeaseNotFound));
        assert_eq!(table.ids().collect::<Vec<_>>(), [-3, 7]);
        assert_eq!(table.get(7), Some(Lease { ttl: MAX_LEASE_TTL_SECONDS, remaining: 0, granted_at: 9 }));
        assert_eq!(table.get(8), None);
    }

    #[test]
    fn a_key_moves_and_a_refused_move_leaves_it() {
        let mut table = LeaseTable::new();
        table.grant(1, 5, 9).expect("accepted");
        table.grant(2, 5, 9).expect("accepted");
        table.attach(1, &key("a")).expect("accepted");
        table.attach(2, &key("a")).expect("accepted");
        assert_eq!(table.lease_of(b"a"), 2);
        assert_eq!(table.keys(1).count(), 0);
        assert_eq!(table.attach(3, &key("a")), Err(Refusal::LeaseNotFound));
        assert_eq!(table.lease_of(b"a"), 2);
        table.attach(0, &key("a")).expect("accepted");
        assert_eq!(table.lease_of(b"a"), 0);
        assert_eq!(table.attached(), 0);
    }

    /// As a data directory of etcd has it that lost a lease.
    #[test]
    fn a_key_whose_lease_is_not_there_keeps_it_until_it_is_put_anew_or_the_lease_is_granted() {
        let mut table = LeaseTable::new();
        for name in ["put anew", "put again", "deleted", "left"] {
            table.restore(7, &key(name));
        }
        assert_eq!((table.contains(7), table.count_keys(7), table.lease_of(b"left")), (false, 0, 7));
        assert_eq!(table.revoke(7), Err(Refusal::LeaseNotFound));
        assert_eq!(table.attach(7, &key("new")), Err(Refusal::LeaseNotFound));
        assert_eq!(table.attach(7, &key("put again")), Ok(()), "with the lease it has");
        assert_eq!(table.attach(0, &key("put anew")), Ok(()));
        assert_eq!((table.detach(b"deleted"), table.detach(b"deleted")), (7, 0));
        assert_eq!(table.grant(7, 5, 9), Ok(()));
        assert_eq!(table.revoke(7), Ok(vec![key("left"), key("put again")]));
        assert_eq!(table.attached(), 0);
        // The last of them leaves nothing behind.
        table.restore(8, &key("a"));
        assert_eq!((table.detach(b"a"), table.grant(8, 5, 9), table.count_keys(8)), (8, Ok(()), 0));
    }

    #[test]
    fn a_revoked_lease_gives_its_keys_sorted_and_frees_them() {
        let mut table = LeaseTable::new();
        table.grant(1, 5, 9).expect("accepted");
        for name in ["c", "a", "b", "a"] {
            table.attach(1, &key(name)).expect("accepted");
        }
        assert_eq!(table.revoke(1), Ok(vec![key("a"), key("b"), key("c")]));
        assert_eq!(table.lease_of(b"a"), 0);
        assert_eq!(table.revoke(1), Err(Refusal::LeaseNotFound));
        assert_eq!(table.grant(1, 5, 9), Ok(()), "an id is free again");
        assert_eq!(table.keys(1).count(), 0);
    }

    #[test]
    fn a_checkpoint_stays_within_the_lease() {
        let mut table = LeaseTable::new();
        table.grant(1, 60, 9).expect("accepted");
        table.checkpoint(1, 20);
        assert_eq!(table.get(1), Some(Lease { ttl: 60, remaining: 20, granted_at: 9 }));
        table.checkpoint(1, 100);
        assert_eq!(table.get(1), Some(Lease { ttl: 60, remaining: 60, granted_at: 9 }));
        table.checkpoint(1, 0);
        assert_eq!(table.get(1), Some(Lease { ttl: 60, remaining: 0, granted_at: 9 }));
        table.checkpoint(9, 20);
        assert!(!table.contains(9));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Grant(i64),
        Revoke(i64),
        Attach(i64, u8),
        Detach(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (1..6i64).prop_map(Step::Grant),
            (1..6i64).prop_map(Step::Revoke),
            (0..6i64, 0..12u8).prop_map(|(id, key)| Step::Attach(id, key)),
            (0..6i64, 0..12u8).prop_map(|(id, key)| Step::Attach(id, key)),
            (0..12u8).prop_map(Step::Detach),
        ];
        prop::collection::vec(step, 0..120)
    }

    proptest! {
        /// The twin is a list of leases and a list of (key, lease) pairs, searched from end to end.
        #[test]
        fn the_table_is_its_naive_twin(steps in steps()) {
            let mut table = LeaseTable::new();
            let mut leases: Vec<i64> = Vec::new();
            let mut pairs: Vec<(Bytes, i64)> = Vec::new();
            for step in steps {
                match step {
                    Step::Grant(id) => {
                        let fresh = !leases.contains(&id);
                        prop_assert_eq!(table.grant(id, 5, 9).is_ok(), fresh);
                        if fresh { leases.push(id); }
                    }
                    Step::Revoke(id) => {
                        let known = leases.contains(&id);
                        leases.retain(|one| *one != id);
                        let mut gone: Vec<Bytes> = pairs.iter().filter(|pair| pair.1 == id).map(|pair| pair.0.clone()).collect();
                        gone.sort();
                        pairs.retain(|pair| pair.1 != id);
                        prop_assert_eq!(table.revoke(id), if known { Ok(gone) } else { Err(Refusal::LeaseNotFound) });
                    }
                    Step::Attach(id, name) => {
                        let name = Bytes::copy_from_slice(&[name]);
                        let known = id == 0 || leases.contains(&id);
                        prop_assert_eq!(table.attach(id, &name).is_ok(), known);
                        if known {
                            pairs.retain(|pair| pair.0 != name);
                            if id != 0 { pairs.push((name, id)); }
                        }
                    }
                    Step::Detach(name) => {
                        let was = pairs.iter().find(|pair| pair.0[..] == [name]).map_or(0, |pair| pair.1);
                        pairs.retain(|pair| pair.0[..] != [name]);
                        prop_assert_eq!(table.detach(&[name]), was);
                    }
                }
                leases.sort_unstable();
                prop_assert_eq!(table.ids().collect::<Vec<_>>(), leases.clone());
                prop_assert_eq!(table.attached(), pairs.len());
                for id in 0..6 {
                    let mut keys: Vec<Bytes> = pairs.iter().filter(|pair| pair.1 == id).map(|pair| pair.0.clone()).collect();
                    keys.sort();
                    prop_assert_eq!(table.keys(id).cloned().collect::<Vec<_>>(), keys);
                }
                for name in 0..12u8 {
                    let lease = pairs.iter().find(|pair| pair.0[..] == [name]).map_or(0, |pair| pair.1);
                    prop_assert_eq!(table.lease_of(&[name]), lease);
                }
            }
        }
    }
}
