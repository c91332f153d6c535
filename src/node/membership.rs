//! Changes of who belongs to the cluster, on their way to the log.

use super::input::{Proposed, Reply};
use super::node::Node;
use crate::base::{MemberId, Refusal};
use crate::consensus::{ConfChange, ConfChangeKind, Role};
use crate::env::{Disk, Instant};
use crate::machine::MemberChange;

impl<D: Disk> Node<D> {
    /// Proposes a change. Under an id whose change was made already it is answered as done. What can be seen to be impossible
    /// now is refused at once; the machine decides when it is applied.
    pub(super) fn change_members(
        &mut self,
        id: u64,
        change: &MemberChange,
        now: Instant,
        reply: Reply<Result<Proposed, Refusal>>,
    ) {
        // Asked again by who did not hear the answer.
        if let Some(made) = self.proposals.change_made(id) {
            return reply.send(Ok(made));
        }
        let refused = match change {
            MemberChange::Promote(member) => self.check_promotion(*member),
            _ => Ok(()),
        };
        if let Err(refusal) = refused.and_then(|()| self.machine.check_change(change)) {
            return reply.send(Err(refusal));
        }
        let kind = match change {
            MemberChange::Add { member, .. } if member.is_learner => ConfChangeKind::AddLearner,
            MemberChange::Add { .. } | MemberChange::Promote(_) => ConfChangeKind::Add,
            MemberChange::Remove(_) => ConfChangeKind::Remove,
            MemberChange::Update { .. } => ConfChangeKind::Update,
        };
        let change = ConfChange { id, kind, member: change.member(), context: change.context() };
        self.proposals.add_change(change, now, reply);
    }

    /// A learner must have come far enough, which only the leader knows: as in etcd, nine tenths of what it has.
    fn check_promotion(&self, learner: MemberId) -> Result<(), Refusal> {
        if self.group.standing().role != Role::Leader {
            return Err(Refusal::NotLeader);
        }
        let progress = self.group.progress();
        let matched = |member| progress.iter().find(|peer| peer.member == member).map(|peer| peer.matched);
        let own = matched(self.config.member).unwrap_or(0);
        match matched(learner) {
            // Not one of the group: what the machine says of it counts.
            None => Ok(()),
            Some(matched) if matched.saturating_mul(10) < own.saturating_mul(9) => Err(Refusal::LearnerNotReady),
            Some(_) => Ok(()),
        }
    }
}

/// What an entry changes; nothing where it founds the cluster, as an entry without a request does.
///
/// # Errors
/// It is none, and why.
pub fn change_of(change: &ConfChange) -> Result<Option<MemberChange>, String> {
    let founding = change.id == 0 && change.kind == ConfChangeKind::Add;
    let member_change = match change.kind {
        ConfChangeKind::Add | ConfChangeKind::AddLearner => MemberChange::addition(&change.context)?,
        ConfChangeKind::Remove => MemberChange::Remove(change.member),
        ConfChangeKind::Update => MemberChange::update(&change.context)?,
    };
    if member_change.member() != change.member {
        return Err("its member and its context differ".to_string());
    }
    if let MemberChange::Add { member, .. } = &member_change
        && member.is_learner != (change.kind == ConfChangeKind::AddLearner)
    {
        return Err("its kind and its context differ".to_string());
    }
    Ok((!founding).then_some(member_change))
}
