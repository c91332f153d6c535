//! When proposals leave: to a leader that may be hoped to hear them, and in batches.

use super::node::Node;
use crate::consensus::Role;
use crate::env::Disk;

impl<D: Disk> Node<D> {
    /// Whether what waits to be proposed should go now. While a batch of the leader's is being made durable it gathers.
    pub(super) fn may_propose(&self) -> bool {
        self.reaches_leader() && !self.group.gathers()
    }

    /// Whether what is passed on to the leader now may be hoped to arrive: what is lost on the way has an open outcome.
    fn reaches_leader(&self) -> bool {
        let standing = self.group.standing();
        standing.role == Role::Leader || standing.leader.is_some_and(|leader| self.contacts.is_known(leader))
    }
}
