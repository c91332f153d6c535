//! Obligations: while nothing is wrong, the cluster owes answers.
//!
//! A time is *quiet* for members, a majority among them, who live, move, belong to the cluster and reach each other, while no disk of
//! theirs is held up, none is short of room or bound to fail, the operator changes nothing, and nothing that is wrong with others gets
//! better or worse. When it has been quiet for [`GRACE`], a request that is asked of one of them
//! then and answered while it still is may not be refused for want of a leader, room or time, nor left without an answer,
//! nobody is elected, and no term begins. Whether it is quiet is seen from outside, never asked of the product.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Verdict, require};
use crate::config::ELECTION;

/// Quiet before anything is owed: ten election timeouts, in which whatever was wrong comes right.
pub const GRACE: Duration = Duration::from_secs(10 * ELECTION.as_secs());

/// An answer is owed to who waits for so long.
pub const OWED: Duration = Duration::from_secs(5);

/// What is said for want of a leader, room or time.
const EXCUSES: [&str; 6] = [
    "etcdserver: no leader",
    "etcdserver: too many requests",
    "etcdserver: leader changed",
    "etcdserver: request timed out",
    "etcdserver: request timed out, possibly due to previous leader failure",
    "etcdserver: request timed out, possibly due to connection lost",
];

/// See the module's head.
#[derive(Debug, Default)]
pub struct QuietJudge {
    /// Since when it is quiet, if it is.
    since: Option<Duration>,
    /// For whom.
    who: BTreeSet<usize>,
    /// How many had led, and the newest term, when the grace was over.
    owed_from: Option<(usize, u64)>,
    /// How many lives there had been, acts of the operator, and ways cut or healed.
    changes: u64,
    /// Requests that were owed an answer and had it.
    kept: u64,
}

impl QuietJudge {
    /// It is looked at for whom it is quiet; `elections` and the newest `term` of theirs as they are now. A life more than before is
    /// one that ended unseen, and an act more of the operator, or a change of the ways, one that came and went unseen. Whether
    /// answers began to be owed with this look.
    pub fn look(
        &mut self,
        now: Duration,
        (quiet, changes): (&BTreeSet<usize>, u64),
        elections: usize,
        term: u64,
    ) -> (bool, Verdict) {
        let others = self.who != *quiet;
        if quiet.is_empty() || std::mem::replace(&mut self.changes, changes) != changes || others {
            (self.since, self.owed_from) = (None, None);
            self.who.clone_from(quiet);
            return (false, Ok(()));
        }
        let since = *self.since.get_or_insert(now);
        if now < since + GRACE {
            return (false, Ok(()));
        }
        let Some((led, then)) = self.owed_from else {
            self.owed_from = Some((elections, term));
            return (true, Ok(()));
        };
        let verdict = require((elections, term) == (led, then), "nobody is elected while nothing is wrong", || {
            format!("quiet since {since:?}: {led} had led, the last in term {then}; now {elections}, in term {term}")
        });
        (false, verdict)
    }

    /// Whether a member owes an answer to a request that was asked at `asked`.
    pub fn owes(&self, member: usize, asked: Duration) -> bool {
        self.who.contains(&member) && self.since.is_some_and(|since| asked >= since + GRACE)
    }

    /// A request that a member was asked at `asked` was refused, or not answered within a time, while it was quiet.
    pub fn refused(&self, member: usize, asked: Duration, why: &str, story: impl FnOnce() -> String) -> Verdict {
        let broken = self.owes(member, asked) && (why.is_empty() || EXCUSES.contains(&why));
        require(!broken, "a request is answered while nothing is wrong", || {
            format!("{}\nasked at {asked:?}, quiet for {:?} since {:?}: {why:?}", story(), self.who, self.since)
        })
    }

    /// A member answered a request.
    pub fn answered(&mut self, member: usize, asked: Duration) {
        self.kept += u64::from(self.owes(member, asked));
    }

    /// Answers that were owed and given.
    pub fn kept(&self) -> u64 {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn all() -> BTreeSet<usize> {
        BTreeSet::from([0, 1, 2])
    }

    fn quiet_since_5() -> QuietJudge {
        let mut judge = QuietJudge::default();
        judge.look(at(4), (&all(), 3), 1, 2).1.unwrap();
        judge.look(at(5), (&all(), 3), 1, 2).1.unwrap();
        assert!(judge.look(at(16), (&all(), 3), 1, 2).0);
        judge
    }

    #[test]
    fn an_election_is_noticed_once_the_grace_is_over_and_only_while_it_is_quiet() {
        let mut judge = QuietJudge::default();
        judge.look(at(4), (&all(), 3), 1, 2).1.unwrap();
        judge.look(at(5), (&all(), 3), 1, 2).1.unwrap();
        judge.look(at(9), (&all(), 3), 2, 3).1.unwrap();
        assert_eq!(judge.look(at(15), (&all(), 3), 2, 3), (true, Ok(())));
        judge.look(at(16), (&all(), 3), 2, 3).1.unwrap();
        assert!(judge.look(at(17), (&all(), 3), 3, 4).1.is_err(), "elected");
        assert!(quiet_since_5().look(at(17), (&all(), 3), 1, 3).1.is_err(), "a term without a leader");
        judge.look(at(18), (&BTreeSet::new(), 3), 3, 4).1.unwrap();
        judge.look(at(30), (&all(), 3), 4, 5).1.unwrap();
    }

    #[test]
    fn who_is_not_among_them_owes_nothing_and_with_others_it_begins_anew() {
        let mut judge = quiet_since_5();
        let two = BTreeSet::from([0, 2]);
        judge.look(at(20), (&two, 3), 2, 3).1.unwrap();
        assert!(!judge.owes(0, at(21)), "whom the others left had to elect first");
        judge.look(at(21), (&two, 3), 2, 3).1.unwrap();
        judge.look(at(31), (&two, 3), 2, 3).1.unwrap();
        assert!(judge.owes(0, at(31)) && !judge.owes(1, at(31)));
        assert!(judge.refused(1, at(32), "etcdserver: no leader", String::new).is_ok());
        assert!(judge.refused(2, at(32), "etcdserver: no leader", String::new).is_err());
    }

    #[test]
    fn a_life_that_ended_unseen_was_not_quiet() {
        let mut judge = quiet_since_5();
        assert!(judge.owes(0, at(16)));
        judge.look(at(17), (&all(), 4), 2, 3).1.unwrap();
        assert!(!judge.owes(0, at(17)));
    }

    #[test]
    fn a_refusal_is_noticed_where_an_answer_is_owed() {
        let judge = quiet_since_5();
        let refused = |asked, why| judge.refused(0, at(asked), why, String::new);
        assert!(refused(14, "etcdserver: no leader").is_ok(), "asked within the grace");
        assert!(refused(16, "etcdserver: no leader").is_err());
        assert!(refused(16, "").is_err(), "no answer");
        assert!(refused(16, "etcdserver: key is not provided").is_ok(), "for its own fault");
    }
}
