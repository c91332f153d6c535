//! What those are told whose answer comes too late.

use std::time::Duration;

use super::node::Node;
use crate::base::Refusal;
use crate::consensus::Role;
use crate::env::{Disk, Instant};

/// Why what was asked comes too late, in etcd's words.
pub(super) struct Lateness {
    leader_since: Instant,
    election_timeout: Duration,
    connected: bool,
}

impl<D: Disk> Node<D> {
    /// What those are told who waited too long, as things stand now.
    pub(super) fn lateness(&self, now: Instant) -> Lateness {
        let standing = self.group.standing();
        let connected = |member| self.contacts.connected_since(member, now, now);
        Lateness {
            leader_since: self.leadership.since(),
            election_timeout: self.config.election_timeout,
            connected: match standing.leader {
                None => true,
                Some(_) if standing.role == Role::Leader => {
                    let voters = self.group.electorate().voters;
                    let reached = voters.iter().filter(|member| **member == self.config.member || connected(**member));
                    reached.count() > voters.len() / 2
                }
                Some(leader) => connected(leader),
            },
        }
    }
}

impl Lateness {
    /// What it is answered who asked then.
    pub(super) fn refusal(&self, asked: Instant) -> Refusal {
        // A leader was elected after it was asked and not long ago: the one before was probably lost with it.
        if asked < self.leader_since && self.leader_since.since(asked) < self.election_timeout * 2 {
            return Refusal::TimeoutLeaderFail;
        }
        if self.connected { Refusal::Timeout } else { Refusal::TimeoutConnectionLost }
    }
}
