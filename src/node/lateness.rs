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

impl Lateness {
    /// As the node stands now.
    pub(super) fn at<D: Disk>(node: &Node<D>, now: Instant) -> Self {
        let standing = node.group.standing();
        let connected = |member| node.contacts.connected_since(member, now, now);
        Self {
            leader_since: node.leadership.since(),
            election_timeout: node.config.election_timeout,
            connected: match standing.leader {
                None => true,
                Some(_) if standing.role == Role::Leader => {
                    let voters = node.group.electorate().voters;
                    let reached = voters.iter().filter(|member| **member == node.config.member || connected(**member));
                    reached.count() > voters.len() / 2
                }
                Some(leader) => connected(leader),
            },
        }
    }

    /// What it is answered who asked then.
    pub(super) fn refusal(&self, asked: Instant) -> Refusal {
        // A leader was elected after it was asked and not long ago: the one before was probably lost with it.
        if asked < self.leader_since && self.leader_since.since(asked) < self.election_timeout * 2 {
            return Refusal::TimeoutLeaderFail;
        }
        if self.connected { Refusal::Timeout } else { Refusal::TimeoutConnectionLost }
    }
}
