//! Who takes the leadership over from this member, while it leads.
//!
//! Invariant: who was asked to in this term and did not, or is known to have no state to lead with, is asked again only when
//! nobody else is left: a member that must not stand keeps silent, and the leader cannot see why.

use raft::StateRole;

use super::group::Group;
use super::standing::PeerProgress;
use crate::base::MemberId;

impl Group {
    /// The voter to hand the leadership to: of those heard of lately, and not passed over, the one that has most of the log.
    pub fn heir(&mut self) -> Option<MemberId> {
        let own = self.raw.raft.id;
        let mut heirs = self.progress();
        heirs.retain(|peer| peer.votes && peer.active && peer.member.0 != own);
        let others: Vec<MemberId> = heirs.iter().map(|peer| peer.member).collect();
        let left = self.passed_over.leaves(self.raw.raft.term, &others);
        heirs.retain(|peer| left.contains(&peer.member));
        heirs.iter().max_by_key(|peer| (peer.matched, peer.member)).map(|peer| peer.member)
    }

    /// This member is no heir as long as there is another.
    pub fn pass_over(&mut self, member: MemberId) {
        self.passed_over.add(self.raw.raft.term, member);
    }

    /// Hands the leadership to a voter, as far as it lies with this member. It is over when another leads, or after
    /// an election timeout; meanwhile proposals are refused.
    pub fn transfer(&mut self, to: MemberId) {
        self.pass_over(to);
        self.raw.transfer_leader(to.0);
        self.settle();
    }

    /// Hands the leadership to the heir, unless somebody is being asked to take it.
    pub(super) fn transfer_to_heir(&mut self) {
        if self.raw.raft.lead_transferee.is_none()
            && let Some(heir) = self.heir()
        {
            self.transfer(heir);
        }
    }

    /// How far the others have come. Empty unless this member leads.
    pub fn progress(&self) -> Vec<PeerProgress> {
        if self.raw.raft.state != StateRole::Leader {
            return Vec::new();
        }
        let prs = self.raw.raft.prs();
        let mut peers: Vec<PeerProgress> = prs
            .iter()
            .map(|(id, progress)| PeerProgress {
                member: MemberId(*id),
                matched: progress.matched,
                active: progress.recent_active || *id == self.raw.raft.id,
                votes: prs.conf().voters().contains(*id),
            })
            .collect();
        peers.sort_unstable_by_key(|peer| peer.member);
        peers
    }
}
