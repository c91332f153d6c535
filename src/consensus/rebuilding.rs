//! What rebuilding a member's state asks of consensus, whose log stays as it is.

use raft::eraftpb::ConfChangeType;

use super::group::Group;
use super::standing::Electorate;
use crate::base::{LogIndex, MemberId, Term};

impl Group {
    /// From here on this member does not stand for election: it votes and appends, but has no state to lead with.
    pub fn bar(&mut self) {
        self.barred = true;
    }

    /// It may stand again.
    pub fn unbar(&mut self) {
        self.barred = false;
    }

    /// Takes over who votes from a state that took the place of one which was not to be believed: what that one made of
    /// changes may have been wrong, too.
    pub fn adopt(&mut self, electorate: &Electorate) {
        let Electorate { voters: own_voters, learners: own_learners } = self.electorate();
        let mut steps = Vec::new();
        let missing = |all: &[MemberId], own: &[MemberId], kind| {
            let missing: Vec<_> =
                all.iter().filter(|member| !own.contains(member)).map(|member| (kind, *member)).collect();
            missing
        };
        // Those who come first: there is a voter at every step.
        steps.extend(missing(&electorate.voters, &own_voters, ConfChangeType::AddNode));
        steps.extend(missing(&electorate.learners, &own_learners, ConfChangeType::AddLearnerNode));
        let all = [&electorate.voters[..], &electorate.learners].concat();
        steps.extend(missing(&[own_voters, own_learners].concat(), &all, ConfChangeType::RemoveNode));
        for (kind, member) in steps {
            let mut change = raft::eraftpb::ConfChange { node_id: member.0, ..Default::default() };
            change.set_change_type(kind);
            let conf_state = self.raw.apply_conf_change(&change).expect("a state of a cluster has voters");
            self.raw.mut_store().set_conf_state(conf_state);
        }
        self.settle();
    }

    /// Whether the log has this entry.
    pub fn holds(&self, (index, term): (LogIndex, Term)) -> bool {
        self.raw.raft.raft_log.match_term(index, term)
    }
}
