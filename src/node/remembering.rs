//! A member that starts says nothing that rests on its memory before it knows that its disk is the one it had.
//!
//! It asks the others what it promised them. Until enough of them have answered it follows, appends and acknowledges what
//! it then has; it neither votes nor stands. So one whose disk is an older copy, or empty, is to the others as if it were
//! down, and it is back when it has again what it promised:
//! - Nobody knows of anything that is missing here: it goes on when all have answered, or a majority with it and the others
//!   were silent for an election timeout. Where one of them leads, it first reaches what the leader's log was then: what it acknowledged to that leader, and what may
//!   still be on its way there, lies before.
//! - Something is missing: it goes on only once it has an entry of a leader of that term or a later one, and all that
//!   leader had when it was asked. The leader was elected without its vote, by a majority of which one had every entry that
//!   was committed with its word ([decision 11](../../docs/decisions/0011-amnesia.md)).

use std::sync::atomic::Ordering::Release;

use super::node::Node;
use super::output::Output;
use super::recollection::Recalled;
use crate::base::{LogIndex, MemberId, Term};
use crate::consensus::{Promise, Promises, Remembered, Role};
use crate::env::{Disk, Instant};

/// The lowest term in which anybody can have been elected: the founding entries are of the first.
const FIRST_ELECTED_TERM: Term = 2;

impl<D: Disk> Node<D> {
    /// It has started from a disk of an earlier life, which kept this of members' promises. Nothing to ask where nobody else votes.
    pub fn doubt(&mut self, kept: &Promises) {
        self.remember(kept);
        let voters = self.group.electorate().voters;
        self.set_doubts(voters.iter().any(|voter| *voter != self.config.member));
    }

    /// As one that asked nobody would; for tests.
    #[cfg(test)]
    pub(super) fn trust_itself(&mut self) {
        self.set_doubts(false);
    }

    fn set_doubts(&mut self, doubts: bool) {
        self.recollection.doubts = doubts;
        self.recollection.since = None;
        self.facts.doubts.store(doubts, Release);
        if doubts {
            self.group.doubt();
        } else {
            self.facts.counted_on_by.store(0, Release);
            self.group.trust();
        }
    }

    /// Who counted on more than there is has something to say as the leader alone: where another is followed it is asked no more,
    /// and where it leads after all its next message says so again.
    pub(super) fn follows_another(&mut self) {
        let counted_on_by = self.facts.counted_on_by().filter(|_| self.recollection.doubts);
        if let (Some(asked), Some(leader)) = (counted_on_by, self.group.standing().leader)
            && asked != leader
        {
            self.facts.counted_on_by.store(0, Release);
        }
    }

    /// What is remembered of a member that has started. Where clients reach it, it told through a leader, in a term behind that
    /// of the founding entries: a disk that knows of no such term is not the one it told that from.
    pub(super) fn recall(&mut self, of: MemberId, last: LogIndex) -> Remembered {
        let mut remembered = self.group.recall(of, last);
        let members = self.machine.members();
        if members.iter().any(|member| member.id == of && !member.client_urls.is_empty()) {
            remembered.promise.term = remembered.promise.term.max(FIRST_ELECTED_TERM);
        }
        remembered
    }

    /// What others promised, as far as they are not removed.
    pub(super) fn note_promises(&mut self, promises: &Promises) {
        self.group.remember(promises);
        self.group.forget(&self.machine.removed());
    }

    /// What was remembered in an earlier life, this member's own promises by the word of others among it.
    fn remember(&mut self, promises: &Promises) {
        self.note_promises(promises);
        let own = promises.of(self.config.member);
        if let Some(what) = self.group.lacks(&own) {
            self.recollection.lost.merge(&own);
            self.recollection.forgotten = Some((self.config.member, what));
        }
    }

    /// What to keep for a later life.
    pub(super) fn promises_held(&self) -> Promises {
        let mut held = self.group.promises().clone();
        if self.recollection.forgotten.is_some() {
            held.merge(self.config.member, &self.recollection.lost);
        }
        held
    }

    /// Another's memory of this member, or that it cannot be reached.
    pub(super) fn recollected(
        &mut self,
        from: MemberId,
        remembered: Option<Remembered>,
        now: Instant,
        out: &mut Vec<Output<D>>,
    ) -> Recalled {
        let Some(remembered) = remembered else {
            self.recollection.answers.remove(&from);
            return Recalled::Waits;
        };
        self.group.heed(remembered.committed);
        self.recollection.answers.insert(from, (now, remembered));
        let missing = self.group.lacks(&remembered.promise);
        if let Some(what) = missing {
            self.recollection.lost.merge(&remembered.promise);
            self.recollection.forgotten = Some((from, what));
            let leads = self.group.standing().role == Role::Leader;
            if leads {
                return Recalled::Forgets { from, what, leads };
            }
            self.set_doubts(true);
        }
        self.settle_doubt(now, out)
    }

    /// Once a tick, and with each answer.
    pub(super) fn settle_doubt(&mut self, now: Instant, out: &mut Vec<Output<D>>) -> Recalled {
        if !self.recollection.doubts {
            return Recalled::Whole;
        }
        let since = *self.recollection.since.get_or_insert(now);
        // Nobody else has a say: the others were removed.
        let alone = self.group.is_lone_voter();
        let restored = alone || self.is_restored();
        match self.recollection.forgotten {
            _ if restored => {}
            Some((from, what)) => return Recalled::Forgets { from, what, leads: false },
            None if self.is_known_whole(now, since) => {}
            None => return Recalled::Waits,
        }
        self.set_doubts(false);
        for message in self.recollection.take_held() {
            self.peer_message(message, now, out);
        }
        self.recollection.lost = Promise::default();
        if self.recollection.forgotten.take().is_some() { Recalled::Restored } else { Recalled::Whole }
    }

    /// Whether this member has all that the present leader had when it was asked, and no promise is of a later term.
    fn is_restored(&self) -> bool {
        let standing = self.group.standing();
        let answer = standing.leader.and_then(|leader| self.recollection.answers.get(&leader));
        let Some((term, end)) = answer.and_then(|(_, remembered)| remembered.leads) else { return false };
        term == standing.term && self.group.reaches(end) && self.recollection.lost.last_term() <= term
    }

    /// Whether all know of nothing that is missing; or a majority, where the others did not answer for as long as it takes
    /// until somebody stands. None of them leads.
    fn is_known_whole(&self, now: Instant, since: Instant) -> bool {
        let voters = self.group.electorate().voters;
        let answers = &self.recollection.answers;
        let known = voters.iter().filter(|voter| **voter == self.config.member || answers.contains_key(voter)).count();
        let waited = now.since(since) >= self.config.election_timeout;
        // One that led and is heard no more does not lead this member for ever.
        let heard = |came: Instant| now.since(came) < self.config.election_timeout;
        let led = answers.values().any(|(came, remembered)| remembered.leads.is_some() && heard(*came));
        (known == voters.len() || (waited && known > voters.len() / 2)) && !led
    }
}
