//! How the promotions of learners that were asked of this member came out.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::Refusal;

/// Outcomes by number.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Promotions {
    /// That were done.
    pub done: u64,
    /// That were not, by reason as etcd words it.
    pub refused: BTreeMap<String, u64>,
}

/// The counts of a member. Reasons are few: texts of refusals.
#[derive(Default)]
pub(super) struct PromotionCounts(Mutex<Promotions>);

impl PromotionCounts {
    pub(super) fn count(&self, outcome: &Result<(), Refusal>) {
        let mut counts = self.lock();
        match outcome {
            Ok(()) => counts.done += 1,
            Err(refusal) => *counts.refused.entry(reason(refusal).to_string()).or_default() += 1,
        }
    }

    pub(super) fn told(&self) -> Promotions {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Promotions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As etcd's members say it among themselves.
pub(super) fn reason(refusal: &Refusal) -> &str {
    match refusal {
        Refusal::MemberNotFound => "membership: ID not found",
        Refusal::MemberNotLearner => "membership: can only promote a learner member",
        // What another member said in words of its own is not counted by them.
        Refusal::Told(_) | Refusal::Damaged(_) | Refusal::Unimplemented(_) => "other",
        refusal => refusal.text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_by_reason() {
        let counts = PromotionCounts::default();
        for outcome in
            [Ok(()), Err(Refusal::MemberNotFound), Err(Refusal::MemberNotFound), Err(Refusal::LearnerNotReady)]
        {
            counts.count(&outcome);
        }
        let told = counts.told();
        assert_eq!((told.done, told.refused["membership: ID not found"], told.refused.len()), (1, 2, 2));
    }
}
