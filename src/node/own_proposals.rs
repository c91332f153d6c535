//! What the node proposes by itself, and what becomes of it.

use super::node::Node;
use super::proposals::OwnProposal;
use crate::base::Refusal;
use crate::env::{Disk, Instant};
use crate::machine::{Answer, Command, codec};

impl<D: Disk> Node<D> {
    pub(super) fn propose_own(&mut self, command: &Command, own: OwnProposal, now: Instant) {
        self.own_ids += 1;
        self.proposals.add_own(self.own_ids, codec::encode(self.own_ids, command), now, own);
    }

    /// A proposal of the node's own was refused, or nothing was heard of it: it will be made again where it is still
    /// wanted. Each may be applied twice without harm.
    pub(super) fn own_came_to_nothing(&mut self, own: OwnProposal) {
        match own {
            OwnProposal::Revoke(id) => self.lease_clock.retry(id),
            OwnProposal::SpaceAlarm => self.space_alarm_settled(),
            OwnProposal::DamageAlarm => self.space.damage_alarm_came_to_nothing(),
            OwnProposal::Attributes => self.telling = false,
            OwnProposal::Version => self.version_proposed = false,
            // It is looked at again in an interval.
            OwnProposal::Remainders => {}
            OwnProposal::Compact(_) => self.compactor.failed(),
            OwnProposal::Forget(id) => self.renewal_came_to_nothing(id),
            OwnProposal::Rebuilt => self.rebuild.clearing_came_to_nothing(),
        }
    }

    /// A proposal of the node's own was applied, with this answer.
    pub(super) fn own_applied(&mut self, own: OwnProposal, answer: &Result<Answer, Refusal>, now: Instant) {
        match own {
            OwnProposal::Rebuilt => self.rebuild.clearing_came_to_nothing(),
            OwnProposal::SpaceAlarm => self.space_alarm_settled(),
            // An older description of this member may be applied after it, and is put right again.
            OwnProposal::Attributes => self.telling = false,
            OwnProposal::Version => self.version_proposed = false,
            _ => {}
        }
        if let OwnProposal::Compact(revision) = own {
            match answer {
                Ok(_) | Err(Refusal::Compacted) => self.compactor.done(revision, now),
                Err(_) => self.compactor.failed(),
            }
        }
    }
}
