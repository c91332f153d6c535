//! The version that members agree to speak: the leader sees to it.
//!
//! Invariant: it is this version's own, or while a downgrade is under way the target, one below. Where another target was
//! agreed on, which etcd's members let nobody ask for, the version stays as it is.

use crate::env::{Disk, Instant};
use crate::machine::{Command, downgrade};

use super::node::Node;
use super::proposals::OwnProposal;

impl<D: Disk> Node<D> {
    /// Proposes the version that is to be, where it is another and nobody was asked yet.
    pub(super) fn settle_version(&mut self, now: Instant) {
        if self.version_proposed || !self.roles.on_duty() {
            return;
        }
        let own = &self.config.cluster_version;
        let wanted = match self.machine.downgrade() {
            None => own.clone(),
            Some(target) if downgrade::allowed_target(own).is_some_and(|allowed| allowed == target) => {
                target.to_string()
            }
            Some(_) => return,
        };
        if self.machine.cluster_version() != Some(&wanted) {
            self.version_proposed = true;
            self.propose_own(&Command::SetClusterVersion(wanted), OwnProposal::Version, now);
        }
    }
}
