//! Whom a leader does not hand over to, as long as there is another.

use std::collections::BTreeSet;

use crate::base::{MemberId, Term};

/// Whom to pass over, in a term.
#[derive(Debug, Default)]
pub(super) struct PassedOver {
    term: Term,
    members: BTreeSet<MemberId>,
}

impl PassedOver {
    pub(super) fn add(&mut self, term: Term, member: MemberId) {
        self.keep(term);
        self.members.insert(member);
    }

    /// Who of these is left. When nobody is, all are again.
    pub(super) fn leaves(&mut self, term: Term, members: &[MemberId]) -> Vec<MemberId> {
        self.keep(term);
        if members.iter().all(|member| self.members.contains(member)) {
            self.members.clear();
        }
        members.iter().copied().filter(|member| !self.members.contains(member)).collect()
    }

    /// What was of another term says nothing any more.
    fn keep(&mut self, term: Term) {
        if std::mem::replace(&mut self.term, term) != term {
            self.members.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_asked_in_turn_and_in_another_term_anew() {
        let all = [1, 2, 3].map(MemberId);
        let mut passed_over = PassedOver::default();
        assert_eq!(passed_over.leaves(5, &all), all);
        passed_over.add(5, MemberId(3));
        passed_over.add(5, MemberId(1));
        assert_eq!(passed_over.leaves(5, &all), [MemberId(2)]);
        assert_eq!(passed_over.leaves(5, &all[..1]), all[..1], "nobody else is there");
        passed_over.add(5, MemberId(3));
        assert_eq!(passed_over.leaves(5, &all), all[..2]);
        assert_eq!(passed_over.leaves(6, &all), all);
    }
}
