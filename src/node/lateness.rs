//! What is said to who waited too long.
//!
//! Knows nothing of what was asked: one look at who leads, since when, and who is
//! connected serves all that are late.

use std::time::Duration;

use crate::base::{MemberId, Refusal};
use crate::consensus::{Group, Role};
use crate::env::Instant;

/// Why what was asked comes too late, in etcd's words.
pub(super) struct Lateness {
    leader_since: Instant,
    election_timeout: Duration,
    connected: bool,
}

impl Lateness {
    /// As this `member` stands; `connected` says who of the others was heard of lately.
    pub(super) fn at(
        member: MemberId,
        group: &Group,
        leader_since: Instant,
        election_timeout: Duration,
        connected: impl Fn(MemberId) -> bool,
    ) -> Self {
        let standing = group.standing();
        let connected = match standing.leader {
            None => true,
            Some(_) if standing.role == Role::Leader => {
                let voters = group.electorate().voters;
                let reached = voters.iter().filter(|voter| **voter == member || connected(**voter));
                reached.count() > voters.len() / 2
            }
            Some(leader) => connected(leader),
        };
        Self { leader_since, election_timeout, connected }
    }

    /// What who `asked` then is told now.
    pub(super) fn refusal(&self, asked: Instant) -> Refusal {
        // A leader was elected after it was asked and not long ago: the one before was probably lost with it.
        if asked < self.leader_since && self.leader_since.since(asked) < self.election_timeout * 2 {
            return Refusal::TimeoutLeaderFail;
        }
        if self.connected { Refusal::Timeout } else { Refusal::TimeoutConnectionLost }
    }
}
