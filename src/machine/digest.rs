//! The running digest: one number for everything the entries up to an index did, so that members can be held against
//! each other at any time without reading their data.
//!
//! Invariants: what is folded is what the members must agree on, the same on all of them, whatever a member's watchers
//! want to know or its cache holds; each step is a bijection of the number before, so that two digests that differ
//! stay different however alike the entries behind them are. It tells what entries *did*, not what lies on the disk:
//! bytes there have their own checksums.
//!
//! Digests of earlier indexes are kept for a while: of the last [`RECENT`] entries, and of every [`COARSE`]th of many
//! more, so that members that have not applied equally far have an index in common.

use std::collections::VecDeque;

use super::alarms::Alarms;
use super::command::{Answer, Command};
use super::members::{Member, Members};
use crate::auth::{Auth, AuthCommand, Permission, User};
use crate::base::{Event, LogIndex, Refusal, Term, limits};
use crate::lease::LeaseTable;

/// Entries whose digests are kept one by one: about what a busy cluster applies while a question is under way.
const RECENT: u64 = 1_024;

/// Of what lies further back every so many are kept.
const COARSE: u64 = 1_024;

/// Golden ratio, odd: what it multiplies is spread over all bits, and nothing is lost.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// See the module's head.
#[derive(Clone, Debug)]
pub(super) struct RunningDigest {
    value: u64,
    /// Absent where a state of an earlier version was taken up, whose digest nobody knows.
    is_known: bool,
    applied: LogIndex,
    /// By index modulo [`RECENT`]; those of `recent_from..=applied` hold.
    recent: Box<[u64; RECENT as usize]>,
    recent_from: LogIndex,
    coarse: VecDeque<(LogIndex, u64)>,
}

impl RunningDigest {
    /// Goes on from a state: its digest, where it is known, at its applied index.
    pub(super) fn resume(value: Option<u64>, applied: LogIndex) -> Self {
        let mut digest = Self {
            value: value.unwrap_or_default(),
            is_known: value.is_some(),
            applied,
            recent: Box::new([0; RECENT as usize]),
            recent_from: applied,
            coarse: VecDeque::new(),
        };
        digest.keep(applied);
        digest
    }

    /// The digest now.
    pub(super) fn now(&self) -> Option<u64> {
        self.is_known.then_some(self.value)
    }

    /// The digest as it was at `index`, where it is known and was kept.
    pub(super) fn at(&self, index: LogIndex) -> Option<u64> {
        if !self.is_known {
            return None;
        }
        let oldest = self.recent_from.max((self.applied + 1).saturating_sub(RECENT));
        if (oldest..=self.applied).contains(&index) {
            return Some(self.recent[(index % RECENT) as usize]);
        }
        let place = self.coarse.binary_search_by_key(&index, |(kept, _)| *kept).ok()?;
        Some(self.coarse[place].1)
    }

    /// The index to compare members at in a while, when others have come as far and this one further: what is applied
    /// now, or a little before where so much was applied since the last time that it would not be kept. What is not known
    /// here, as after a start, is of no use.
    pub(super) fn lasting_index(&self, since: Option<LogIndex>) -> LogIndex {
        let is_busy = since.is_some_and(|since| self.applied.saturating_sub(since) > RECENT / 4);
        let lasting = self.applied - self.applied % COARSE;
        if is_busy && self.at(lasting).is_some() { lasting } else { self.applied }
    }

    /// What everything so far was folded into, the entry under way included.
    pub(super) fn word(&self) -> u64 {
        self.value
    }

    /// Puts aside what was folded of an entry that is not done, or takes it up again.
    pub(super) fn set_word(&mut self, word: u64) {
        self.value = word;
    }

    fn fold(&mut self, word: u64) {
        let mixed = (self.value ^ word).wrapping_mul(SPREAD);
        self.value = mixed ^ (mixed >> 29);
    }

    fn fold_bytes(&mut self, bytes: &[u8]) {
        self.fold((bytes.len() as u64) << 32 | u64::from(crc32c::crc32c(bytes)));
    }

    fn fold_number(&mut self, number: i64) {
        self.fold(number as u64);
    }

    /// An entry begins.
    pub(super) fn begin(&mut self, index: LogIndex, term: Term) {
        self.fold(index);
        self.fold(term);
    }

    /// The entry that was begun has done everything.
    pub(super) fn end(&mut self, index: LogIndex) {
        self.applied = index;
        self.keep(index);
    }

    fn keep(&mut self, index: LogIndex) {
        self.recent[(index % RECENT) as usize] = self.value;
        if index.is_multiple_of(COARSE) {
            if self.coarse.len() == limits::KEPT_DIGESTS {
                self.coarse.pop_front();
            }
            self.coarse.push_back((index, self.value));
        }
    }

    /// The entry was refused.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        self.fold(1);
        self.fold_bytes(refusal.text().as_bytes());
    }

    /// The entry changed the data.
    pub(super) fn events(&mut self, events: &[Event]) {
        for Event { kind, kv, .. } in events {
            self.fold((kv.version as u64) << 1 | *kind as u64);
            self.fold_number(kv.mod_revision);
            self.fold_number(kv.create_revision);
            self.fold_number(kv.lease);
            self.fold_bytes(&kv.key);
            self.fold_bytes(&kv.value);
        }
    }

    /// What a command did beside its events.
    pub(super) fn answered(&mut self, command: &Command, answer: &Answer, state: &Shared<'_>) {
        match (command, answer) {
            (Command::Put(_) | Command::DeleteRange(_), _) => self.fold(2),
            (_, Answer::Txn(txn)) => self.fold(4 | u64::from(txn.succeeded)),
            (Command::Compact { .. }, _) => self.fold_number(state.compact_revision),
            (Command::LeaseGrant { id, .. }, Answer::LeaseGrant { ttl, .. }) => {
                self.fold_number(*id);
                self.fold_number(*ttl);
            }
            (Command::LeaseRevoke { id, .. }, _) => self.fold_number(*id),
            (Command::LeaseCheckpoint { remainders, .. }, _) => {
                for lease in remainders.iter().filter_map(|it| state.leases.get(it.id)) {
                    self.fold_number(lease.remaining);
                }
            }
            (Command::Alarm { .. }, _) => {
                for (member, kind) in state.alarms.list() {
                    self.fold(member.0);
                    self.fold(kind as u64);
                }
            }
            (Command::SetMemberAttributes { .. }, _) => self.members(state.members),
            (Command::SetClusterVersion(version), _) => self.fold_bytes(version.as_bytes()),
            (Command::SetDowngrade(target), _) => self.fold_bytes(target.as_deref().unwrap_or_default().as_bytes()),
            (Command::Auth(command), _) => self.auth(command, state.auth),
            _ => self.fold(3),
        }
    }

    /// The user or role that a command names, as it is now.
    fn auth(&mut self, command: &AuthCommand, auth: &Auth) {
        self.fold(auth.revision() << 1 | u64::from(auth.is_enabled()));
        match command {
            AuthCommand::Enable | AuthCommand::Disable => {}
            AuthCommand::Authenticate { user: name, .. }
            | AuthCommand::UserAdd { name, .. }
            | AuthCommand::UserDelete { name }
            | AuthCommand::UserChangePassword { name, .. }
            | AuthCommand::UserGrantRole { user: name, .. }
            | AuthCommand::UserRevokeRole { user: name, .. } => {
                self.fold_bytes(name.as_bytes());
                if let Some(User { password, no_password, roles }) = auth.user(name) {
                    self.fold(u64::from(*no_password));
                    self.fold_bytes(&password.0);
                    roles.iter().for_each(|role| self.fold_bytes(role.as_bytes()));
                }
            }
            AuthCommand::RoleAdd { name }
            | AuthCommand::RoleDelete { name }
            | AuthCommand::RoleGrantPermission { role: name, .. }
            | AuthCommand::RoleRevokePermission { role: name, .. } => {
                self.fold_bytes(name.as_bytes());
                for Permission { kind, range } in auth.role(name).into_iter().flat_map(|role| role.iter()) {
                    self.fold(kind.number() as u64);
                    self.fold_bytes(&range.start);
                    self.fold_bytes(&range.wire_end());
                }
            }
        }
    }

    /// Who belongs to the cluster now. What a member is called by those it founds a cluster with is not agreed on: each gives its
    /// own name, and may know the others by any (found by DNS they have numbers). It counts once it is told, and where clients
    /// are is told with it.
    pub(super) fn members(&mut self, members: &Members) {
        for Member { id, name, peer_urls, client_urls, is_learner } in members.list() {
            self.fold(id.0);
            self.fold(u64::from(is_learner));
            if !client_urls.is_empty() {
                self.fold_bytes(name.as_bytes());
            }
            for urls in [peer_urls, client_urls] {
                self.fold(urls.len() as u64);
                urls.iter().for_each(|url| self.fold_bytes(url.as_bytes()));
            }
        }
        for id in members.removed() {
            self.fold(id.0);
        }
    }
}

/// What an entry may have changed beside the data.
pub(super) struct Shared<'a> {
    pub(super) leases: &'a LeaseTable,
    pub(super) members: &'a Members,
    pub(super) alarms: &'a Alarms,
    pub(super) compact_revision: i64,
    pub(super) auth: &'a Auth,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A digest after entries that did what these words say.
    fn after(words: &[u64]) -> RunningDigest {
        let mut digest = RunningDigest::resume(Some(0), 0);
        for (word, index) in words.iter().zip(1..) {
            digest.begin(index, 1);
            digest.fold(*word);
            digest.end(index);
        }
        digest
    }

    #[test]
    fn what_differed_once_differs_for_ever() {
        let alike: Vec<u64> = (0..5_000).collect();
        let (one, other) = (after(&[&[7][..], &alike].concat()), after(&[&[8][..], &alike].concat()));
        for index in [1_024, 4_096, 4_999, 5_001] {
            assert_ne!(one.at(index), other.at(index), "entry {index}");
        }
        assert_eq!(one.now(), after(&[&[7][..], &alike].concat()).now());
    }

    #[test]
    fn earlier_digests_are_kept_for_a_while() {
        let all: Vec<u64> = (0..10_000).collect();
        let digest = after(&all);
        let as_it_was = |index: u64| after(&all[..index as usize]).now();
        for index in [10_000, 9_999, 10_000 - RECENT + 1, 9 * COARSE, COARSE] {
            assert_eq!(digest.at(index), as_it_was(index), "entry {index}");
        }
        for index in [10_001, 10_000 - RECENT, 7, COARSE + 1] {
            assert_eq!(digest.at(index), None, "entry {index}");
        }
        assert_eq!(digest.lasting_index(Some(9_000)), 9 * COARSE);
        assert_eq!(digest.lasting_index(Some(9_990)), 10_000);
        assert_eq!(digest.lasting_index(None), 10_000);
    }

    #[test]
    fn a_digest_is_known_from_where_its_state_was_taken_up() {
        let resumed = RunningDigest::resume(after(&[1, 2, 3]).now(), 3);
        assert_eq!((resumed.at(3), resumed.at(2), resumed.at(4)), (after(&[1, 2, 3]).now(), None, None));
        let started = RunningDigest::resume(Some(7), 700);
        assert_eq!(started.lasting_index(Some(0)), 700, "what lasts is not known here");
        let unknown = RunningDigest::resume(None, 3);
        assert_eq!((unknown.now(), unknown.at(3)), (None, None));
    }
}
