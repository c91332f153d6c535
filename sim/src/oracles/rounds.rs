//! Rounds of linearizable questions: the entry that a round confirms is no older than what anybody had applied when the newest
//! of those who asked for it was taken in.
//!
//! Judged where it is confirmed, not by what is read: a member that is not behind shows the newest state whatever it was told,
//! and a round that confirms too little is a bug there, too.

use std::collections::VecDeque;

use quorate::env::Instant;

use super::{Verdict, require};

/// See the module's head.
#[derive(Debug, Default)]
pub struct RoundJudge {
    /// By member: when each question was taken in, by its own clock, and what had been applied.
    asked: Vec<VecDeque<(Instant, u64)>>,
}

impl RoundJudge {
    /// Nobody has asked yet any of so many members.
    pub fn new(members: usize) -> Self {
        Self { asked: vec![VecDeque::new(); members] }
    }

    /// A new life of a member begins: who asked the one before is answered by nobody.
    pub fn new_life(&mut self, member: usize) {
        self.asked[member].clear();
    }

    /// A member takes a question in, when `applied` was the last entry that anybody had applied.
    pub fn asks(&mut self, member: usize, at: Instant, applied: u64) {
        self.asked[member].push_back((at, applied));
    }

    /// A round confirmed an entry to those who asked up to this moment.
    pub fn confirms(&mut self, member: usize, index: u64, newest: Instant) -> Verdict {
        let mut least = 0;
        while let Some((_, applied)) = self.asked[member].pop_front_if(|(at, _)| *at <= newest) {
            least = applied;
        }
        require(index >= least, "a round confirms what was applied before it was asked for", || {
            format!("member {member}: entry {index} is confirmed; when it was asked, entry {least} was applied")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_those_who_asked_before_is_none_to_those_who_asked_since() {
        let mut judge = RoundJudge::new(2);
        judge.asks(1, Instant(10), 4);
        judge.asks(1, Instant(20), 6);
        judge.asks(0, Instant(20), 9);
        assert!(judge.confirms(1, 4, Instant(10)).is_ok());
        assert!(judge.confirms(1, 5, Instant(20)).is_err(), "entry 6 was there already");
        assert!(judge.confirms(1, 5, Instant(20)).is_ok(), "nobody waits");
        judge.new_life(0);
        assert!(judge.confirms(0, 1, Instant(20)).is_ok());
    }
}
