//! Who is counted: by whom a leader is elected, and who holds what it calls committed.
//!
//! Judged by what members say, not by what comes of it: two quorums that do not meet are a bug also where nobody was unlucky enough
//! to be in both. Who begins to lead was given the votes of a majority of those who vote, as far as it has applied the log. And who is the first
//! to say that an entry is committed leads in the term of that entry, and so large a majority has acknowledged it in that
//! term, or holds it itself. Nor does anybody stand for election, whatever became of its disk, without what is committed
//! and was on that disk: who has forgotten it waits for who has not.
//!
//! Does not know how a member came to know who votes: [`super::raft`] holds that against the log.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quorate::base::MemberId;

use super::{Verdict, require};

/// Whom a member counts.
#[derive(Debug, Default)]
struct Counted {
    now: Vec<MemberId>,
    /// And before the last change: what was counted then may be said now.
    before: Vec<MemberId>,
}

impl Counted {
    /// Whether those of whom `counts` says so are a majority.
    fn is_majority(&self, counts: impl Fn(MemberId) -> bool) -> bool {
        let most = |voters: &[MemberId]| voters.iter().filter(|voter| counts(**voter)).count() > voters.len() / 2;
        most(&self.now) || most(&self.before)
    }
}

/// Who says that the log is committed up to an entry.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// Who.
    pub member: MemberId,
    /// The term in which it leads, if it does.
    pub leads: Option<u64>,
    /// Up to which entry.
    pub index: u64,
    /// The term of that entry in its log, where that is known.
    pub term: Option<u64>,
    /// Whether it is durable with it.
    pub is_durable: bool,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct QuorumJudge {
    counted: BTreeMap<MemberId, Counted>,
    /// Up to where a member acknowledged the log of a term's leader.
    acknowledged: BTreeMap<(MemberId, u64), u64>,
    /// Up to where anybody said that the log is committed, and the term of that entry.
    committed: (u64, u64),
    /// Up to where a member has held what is committed, and since when: the newest last.
    held: BTreeMap<MemberId, VecDeque<(Duration, u64)>>,
}

/// So long others may not have been told what is committed: who has lost it since may not hear of it.
const UNTOLD: Duration = Duration::from_secs(2);

impl QuorumJudge {
    /// A new life of a member begins: it says anew whom it counts.
    pub fn new_life(&mut self, member: MemberId) {
        self.counted.remove(&member);
    }

    /// A member counts these.
    pub fn counts(&mut self, member: MemberId, voters: &[MemberId]) {
        let counted = self.counted.entry(member).or_default();
        if counted.now != voters {
            counted.before = std::mem::replace(&mut counted.now, voters.to_vec());
        }
    }

    /// A member acknowledges the log of a term's leader up to an entry.
    pub fn acknowledges(&mut self, member: MemberId, term: u64, index: u64, now: Duration) {
        let up_to = self.acknowledged.entry((member, term)).or_default();
        *up_to = index.max(*up_to);
        let (committed, counted_in) = self.committed;
        if term >= counted_in {
            // The leader of a later term has all that was committed in an earlier one.
            self.holds(member, index.min(committed), now);
        }
    }

    fn holds(&mut self, member: MemberId, index: u64, now: Duration) {
        let held = self.held.entry(member).or_default();
        if held.back().is_none_or(|(_, before)| *before < index) {
            held.push_back((now, index));
        }
        while held.get(1).is_some_and(|(since, _)| *since + UNTOLD < now) {
            held.pop_front();
        }
    }

    /// A member's disk is lost: who has nothing is refused, or asks nobody for a vote that counts.
    pub fn wiped(&mut self, member: MemberId) {
        self.held.remove(&member);
    }

    /// A member whose log ends at this entry asks for votes.
    pub fn stands(&self, member: MemberId, end: u64, now: Duration) -> Verdict {
        let held = self.held.get(&member).into_iter().flatten();
        let owed = held.take_while(|(since, _)| *since + UNTOLD < now).last().map_or(0, |(_, index)| *index);
        require(end >= owed, "who stands has what is committed and was on its disk", || {
            format!(
                "member {member:x?} asks for votes; its log ends at {end}, and it held what is committed up to {owed}"
            )
        })
    }

    /// A member begins to lead; `voted` says who gave it the vote.
    pub fn elected(&self, member: MemberId, term: u64, voted: impl Fn(MemberId) -> bool) -> Verdict {
        let Some(counted) = self.counted.get(&member) else { return Ok(()) };
        require(
            counted.is_majority(|voter| voter == member || voted(voter)),
            "who leads has a majority of the votes",
            || {
                let given: Vec<MemberId> = counted.now.iter().copied().filter(|voter| voted(*voter)).collect();
                format!("member {member:x?} leads in term {term}, voted for by {given:x?} of {counted:x?}")
            },
        )
    }

    /// A member says that the log is committed up to an entry.
    pub fn committed(&mut self, word: Word, now: Duration) -> Verdict {
        let before = self.committed;
        if word.index <= before.0 {
            return Ok(());
        }
        self.committed = (word.index, word.term.unwrap_or(before.1));
        // Of what was there before the first life, or came with a state, nobody was told.
        let Some(term) = word.term else { return Ok(()) };
        require(word.leads == Some(term), "what is committed is of the term of who says so first", || {
            format!("{word:x?}, behind {before:?}")
        })?;
        let acknowledged = self.acknowledged.iter().filter(|((_, in_term), _)| *in_term == term);
        let holders = acknowledged.map(|((member, _), up_to)| (*member, word.index.min(*up_to)));
        let holders: Vec<_> = holders.chain(word.is_durable.then_some((word.member, word.index))).collect();
        holders.into_iter().for_each(|(member, up_to)| self.holds(member, up_to, now));
        let Some(counted) = self.counted.get(&word.member) else { return Ok(()) };
        let holds = |voter: MemberId| {
            let acknowledged = self.acknowledged.get(&(voter, term)).is_some_and(|up_to| *up_to >= word.index);
            acknowledged || (voter == word.member && word.is_durable)
        };
        require(counted.is_majority(holds), "what is committed is held by a majority of those who vote", || {
            let holders: Vec<MemberId> = counted.now.iter().copied().filter(|voter| holds(*voter)).collect();
            format!("{word:x?}: held by {holders:x?} of {counted:x?}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [MemberId; 4] = [MemberId(1), MemberId(2), MemberId(3), MemberId(4)];

    const NOW: Duration = Duration::from_secs(9);

    fn judge(voters: usize) -> QuorumJudge {
        let mut judge = QuorumJudge::default();
        judge.counts(ALL[0], &ALL[..voters]);
        judge
    }

    fn word(index: u64, term: u64) -> Word {
        Word { member: ALL[0], leads: Some(3), index, term: Some(term), is_durable: true }
    }

    #[test]
    fn half_of_the_votes_elects_nobody_and_who_only_learns_adds_none() {
        let judge = judge(2);
        assert!(judge.elected(ALL[0], 3, |voter| voter == ALL[2]).is_err(), "the third does not vote");
        assert!(judge.elected(ALL[0], 3, |voter| voter == ALL[1]).is_ok());
        assert!(judge.elected(ALL[1], 3, |_| false).is_ok(), "it has not said whom it counts");
    }

    #[test]
    fn half_of_those_who_vote_commit_nothing() {
        let mut judge = judge(4);
        judge.acknowledges(ALL[1], 3, 9, NOW);
        judge.acknowledges(ALL[2], 2, 9, NOW);
        assert!(judge.committed(word(9, 3), NOW).is_err(), "what was acknowledged to another leader does not count");
        judge.acknowledges(ALL[2], 3, 10, NOW);
        assert!(judge.committed(word(10, 3), NOW).is_err(), "the second has it up to 9");
        judge.acknowledges(ALL[1], 3, 12, NOW);
        judge.acknowledges(ALL[2], 3, 12, NOW);
        assert!(judge.committed(Word { is_durable: false, ..word(11, 3) }, NOW).is_err(), "its own disk counts, too");
        assert!(judge.committed(word(12, 3), NOW).is_ok());
        assert!(judge.committed(word(12, 9), NOW).is_ok(), "it is said already");
    }

    #[test]
    fn who_leads_commits_in_its_own_term_and_nobody_else_says_it_first() {
        let mut judge = judge(1);
        assert!(judge.committed(word(5, 2), NOW).is_err(), "an entry of an older term is not counted");
        assert!(judge.committed(Word { leads: None, ..word(6, 3) }, NOW).is_err(), "a follower has it from nobody");
        assert!(judge.committed(word(7, 3), NOW).is_ok());
        assert!(judge.committed(Word { leads: None, ..word(7, 3) }, NOW).is_ok());
    }

    #[test]
    fn what_was_counted_before_a_change_may_be_said_after_it() {
        let mut judge = judge(2);
        judge.acknowledges(ALL[1], 3, 9, NOW);
        judge.counts(ALL[0], &ALL);
        assert!(judge.committed(word(9, 3), NOW).is_ok());
        judge.counts(ALL[0], &ALL[..3]);
        assert!(judge.committed(word(10, 3), NOW).is_err());
    }

    #[test]
    fn who_has_forgotten_what_is_committed_does_not_stand() {
        let mut judge = judge(3);
        judge.acknowledges(ALL[1], 3, 9, NOW);
        judge.acknowledges(ALL[2], 3, 8, NOW);
        assert!(judge.committed(word(9, 3), NOW).is_ok());
        assert!(judge.stands(ALL[1], 7, NOW + UNTOLD).is_ok(), "nobody may have been told");
        let later = NOW + 2 * UNTOLD;
        assert!(judge.stands(ALL[1], 8, later).is_err());
        assert!(judge.stands(ALL[1], 9, later).is_ok());
        assert!(judge.stands(ALL[2], 8, later).is_ok(), "it never had more");
        judge.acknowledges(ALL[2], 4, 30, later);
        assert!(judge.stands(ALL[2], 8, later).is_ok());
        assert!(judge.stands(ALL[2], 8, later + 2 * UNTOLD).is_err(), "with a later leader it had it, too");
        judge.wiped(ALL[1]);
        assert!(judge.stands(ALL[1], 0, later).is_ok());
    }
}
