//! What is looked at before a change of the members is proposed, where `--strict-reconfig-check` asks for it: etcd's
//! rules that keep a cluster from being led into losing its majority.
//!
//! These look at who has started and who can be reached now, which members need not agree on; what they must agree on is
//! decided when the change is applied.

use std::time::Duration;

use crate::base::{MemberId, Refusal, limits};
use crate::machine::{Member, MemberChange};

/// The cluster as one member sees it.
pub(super) struct Outlook<'a, F> {
    pub(super) own: MemberId,
    pub(super) members: &'a [Member],
    /// How long the connection to another member has been good, if it is.
    pub(super) connected_for: F,
}

impl<F: Fn(MemberId) -> Option<Duration>> Outlook<'_, F> {
    /// Whether the change should be proposed.
    pub(super) fn check(&self, change: &MemberChange) -> Result<(), Refusal> {
        match change {
            MemberChange::Add { member, .. } if member.is_learner => self.majority_with_one_more(),
            MemberChange::Add { .. } => {
                self.enough_started_for_one_more()?;
                self.majority_with_one_more()
            }
            MemberChange::Promote(_) => self.enough_started_with_one_more(),
            MemberChange::Remove(member) => self.check_removal(*member),
            MemberChange::Update { .. } => Ok(()),
        }
    }

    fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| !member.is_learner)
    }

    fn started(&self) -> usize {
        self.voters().filter(|member| !member.name.is_empty()).count()
    }

    /// Whether those who have started would be a majority with one more, who has not.
    fn enough_started_for_one_more(&self) -> Result<(), Refusal> {
        let (started, all) = (self.started(), self.voters().count() + 1);
        // One member alone may always be joined: the new one has to start before anything is agreed on.
        let from_one = started == 1 && all == 2;
        if from_one || started > all / 2 { Ok(()) } else { Err(Refusal::NotEnoughStarted) }
    }

    /// Whether those who have started would be a majority with one more, who has. As in etcd, whoever is to be promoted counts as
    /// started, also where it is nobody: what it is, and how far it has come, is told by those who decide that.
    fn enough_started_with_one_more(&self) -> Result<(), Refusal> {
        let (started, all) = (self.started() + 1, self.voters().count() + 1);
        if started > all / 2 { Ok(()) } else { Err(Refusal::NotEnoughStarted) }
    }

    /// As in etcd, who is no member counts as one who votes: that there is none is told once the rest would do without.
    fn check_removal(&self, gone: MemberId) -> Result<(), Refusal> {
        if self.members.iter().any(|member| member.id == gone && member.is_learner) {
            return Ok(());
        }
        let left: Vec<&Member> = self.voters().filter(|member| member.id != gone).collect();
        let started = left.iter().filter(|member| !member.name.is_empty()).count();
        if started <= left.len() / 2 {
            return Err(Refusal::NotEnoughStarted);
        }
        if gone != self.own && (self.connected_for)(gone).is_none() {
            // Down, it counts for nothing now: without it there is only less to lose.
            return Ok(());
        }
        let reached = self.voters().filter(|member| self.is_reached(member.id)).count();
        if reached.saturating_sub(1) < 1 + left.len() / 2 { Err(Refusal::Unhealthy) } else { Ok(()) }
    }

    /// Whether those who are reached would be a majority with one more who is not there yet. One alone may always be joined.
    fn majority_with_one_more(&self) -> Result<(), Refusal> {
        let all = self.voters().count();
        let reached = self.voters().filter(|member| self.is_reached(member.id)).count();
        if all == 1 || reached > all.div_ceil(2) { Ok(()) } else { Err(Refusal::Unhealthy) }
    }

    fn is_reached(&self, member: MemberId) -> bool {
        let steady = Duration::from_millis(limits::HEALTHY_FOR_MS);
        member == self.own || (self.connected_for)(member).is_some_and(|time| time >= steady)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, name: &str, is_learner: bool) -> Member {
        Member { id: MemberId(id), name: name.to_string(), is_learner, ..Member::default() }
    }

    fn check(members: &[Member], reached: &[u64], change: &MemberChange) -> Option<Refusal> {
        let connected_for = |member: MemberId| reached.contains(&member.0).then_some(Duration::from_secs(9));
        Outlook { own: MemberId(1), members, connected_for }.check(change).err()
    }

    #[test]
    fn a_cluster_grows_while_a_majority_is_reached_with_one_more() {
        let add = MemberChange::add(member(9, "", false));
        let three = [member(1, "a", false), member(2, "b", false), member(3, "c", false)];
        assert_eq!(check(&three, &[2, 3], &add), None);
        assert_eq!(check(&three, &[2], &add), Some(Refusal::Unhealthy));
        assert_eq!(check(&three[..1], &[], &add), None, "one grows to two");
        let unstarted = [member(1, "a", false), member(2, "", false)];
        assert_eq!(check(&unstarted, &[2], &add), Some(Refusal::NotEnoughStarted));
        // As etcd: a member that was added and has not started does not hold the next one up, while three of five are there.
        let four = [member(1, "a", false), member(2, "b", false), member(3, "c", false), member(4, "", false)];
        assert_eq!(check(&four, &[2, 3], &add), None);
        assert_eq!(check(&four, &[2], &add), Some(Refusal::Unhealthy));
        let learner = MemberChange::add(member(9, "", true));
        assert_eq!(check(&three, &[2], &learner), Some(Refusal::Unhealthy));
    }

    #[test]
    fn nobody_is_removed_whom_the_majority_needs() {
        let three = [member(1, "a", false), member(2, "b", false), member(3, "c", false)];
        let remove = |id| MemberChange::Remove(MemberId(id));
        assert_eq!(check(&three, &[2, 3], &remove(3)), None);
        assert_eq!(check(&three, &[2], &remove(3)), None, "one that is down");
        assert_eq!(check(&three, &[2], &remove(2)), Some(Refusal::Unhealthy));
        let unstarted = [member(1, "a", false), member(2, "b", false), member(3, "", false)];
        assert_eq!(check(&unstarted, &[2], &remove(2)), Some(Refusal::NotEnoughStarted));
        assert_eq!(check(&unstarted, &[2], &remove(3)), None, "one that never started");
        let learner = [member(1, "a", false), member(2, "", true)];
        assert_eq!(check(&learner, &[], &remove(2)), None);
    }

    #[test]
    fn who_is_nobody_is_told_so_where_enough_have_started() {
        let (remove, promote) = (MemberChange::Remove(MemberId(9)), MemberChange::Promote(MemberId(9)));
        let two = [member(1, "a", false), member(2, "", false)];
        assert_eq!(check(&two, &[], &remove), Some(Refusal::NotEnoughStarted));
        assert_eq!(check(&two[..1], &[], &remove), None, "it goes on to who knows that it is nobody");
        assert_eq!(check(&two, &[], &promote), None, "it counts as started");
        let four = [member(1, "a", false), member(2, "", false), member(3, "", false), member(4, "", false)];
        assert_eq!(check(&four, &[], &promote), Some(Refusal::NotEnoughStarted));
        let learner = [member(1, "a", false), member(2, "b", false), member(3, "", false), member(4, "", true)];
        assert_eq!(check(&learner, &[2], &MemberChange::Promote(MemberId(4))), None, "one whose name is not known yet");
    }
}
