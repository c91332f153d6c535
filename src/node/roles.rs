//! What changes when the member's role changes.

use crate::base::Term;
use crate::consensus::{Role, Standing};

/// The leader's duties: they begin when an entry of its own term is applied, because only then does it know
/// everything its predecessors promised; they end with the role.
#[derive(Debug, Default)]
pub(super) struct Roles {
    duties: Option<Term>,
}

/// What to do after looking at the standing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    None,
    /// Duties begin: leases are counted from here.
    TakeUp,
    /// Duties end: leases are not counted here any more.
    LayDown,
}

impl Roles {
    /// Holds the standing against the duties. `applied_term` is the term of the last entry applied.
    pub(super) fn observe(&mut self, standing: &Standing, applied_term: Term) -> Change {
        let leads = standing.role == Role::Leader;
        match self.duties {
            Some(term) if !leads || term != standing.term => {
                self.duties = None;
                Change::LayDown
            }
            None if leads && applied_term == standing.term => {
                self.duties = Some(standing.term);
                Change::TakeUp
            }
            _ => Change::None,
        }
    }

    /// Whether the duties are this member's.
    pub(super) fn on_duty(&self) -> bool {
        self.duties.is_some()
    }

    /// The term of the duties, while they are this member's.
    pub(super) fn duty_term(&self) -> Option<Term> {
        self.duties
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::MemberId;

    fn standing(role: Role, term: Term) -> Standing {
        Standing { role, term, leader: Some(MemberId(1)), committed: 0, role_changes: 0 }
    }

    #[test]
    fn duties_wait_for_an_entry_of_the_own_term() {
        let mut roles = Roles::default();
        assert_eq!(roles.observe(&standing(Role::Leader, 3), 2), Change::None);
        assert!(!roles.on_duty());
        assert_eq!(roles.observe(&standing(Role::Leader, 3), 3), Change::TakeUp);
        assert_eq!(roles.observe(&standing(Role::Leader, 3), 3), Change::None);
        assert_eq!(roles.observe(&standing(Role::Follower, 3), 3), Change::LayDown);
        assert!(!roles.on_duty());
    }

    #[test]
    fn duties_of_one_term_do_not_reach_into_the_next() {
        let mut roles = Roles::default();
        roles.observe(&standing(Role::Leader, 3), 3);
        assert_eq!(roles.observe(&standing(Role::Leader, 5), 3), Change::LayDown);
        assert_eq!(roles.observe(&standing(Role::Leader, 5), 5), Change::TakeUp);
    }
}
