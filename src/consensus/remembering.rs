//! What a member that starts asks of consensus: what others promised it, and that it says nothing that rests on its own
//! memory before it knows that it has one.

use raft::{INVALID_ID, StateRole};

use super::group::Group;
use super::message::{MessageKind, PeerMessage};
use super::promises::{Acknowledged, Forgotten, Promise, Promises};
use crate::base::{LogIndex, MemberId, Term};

/// What a member answers one that asks what is remembered of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Remembered {
    /// The last it promised, as far as is known.
    pub promise: Promise,
    /// Where who answers leads: in which term, and the end of its log, behind which nobody can have acknowledged to it.
    pub leads: Option<(Term, (LogIndex, Term))>,
    /// The last entry that who answers knows to be committed.
    pub committed: (LogIndex, Term),
}

impl Group {
    /// From here on this member neither stands nor is to be asked for its vote; it goes on following.
    pub fn doubt(&mut self) {
        self.doubts = true;
        let raft = &mut self.raw.raft;
        if matches!(raft.state, StateRole::Candidate | StateRole::PreCandidate) {
            let term = raft.term;
            raft.become_follower(term, INVALID_ID);
            self.settle();
        }
    }

    /// It has what it promised. In a term that has a leader its vote is the leader's, where it knows of none: it may have
    /// given one, and gives no other.
    pub fn trust(&mut self) {
        self.doubts = false;
        let raft = &mut self.raw.raft;
        if raft.vote == INVALID_ID && raft.leader_id != INVALID_ID {
            raft.vote = raft.leader_id;
            self.own.votes(raft.term, raft.vote);
        }
    }

    /// What of a promise this member gave is not there.
    pub fn lacks(&self, promise: &Promise) -> Option<Forgotten> {
        self.own.lacks(promise, self.raw.raft.term)
    }

    /// Answers a member that has started, whose log ends at `last`. One that leads counts on no more of it from now on.
    pub fn recall(&mut self, member: MemberId, last: LogIndex) -> Remembered {
        self.count_on(member, last);
        let raft = &self.raw.raft;
        let leads = (raft.state == StateRole::Leader).then(|| (raft.term, self.log_end()));
        let committed = raft.raft_log.committed;
        let committed = (committed, raft.raft_log.term(committed).unwrap_or(0));
        Remembered { promise: self.promises.of(member), leads, committed }
    }

    /// Another knows this entry to be committed. As long as it is not here, this member neither stands nor helps to elect
    /// one whose log ends before it: whoever may lead has it, so that nobody waits for this in vain.
    pub fn heed(&mut self, (index, term): (LogIndex, Term)) {
        self.committed_elsewhere = self.committed_elsewhere.max((term, index));
    }

    /// Whether an entry is missing here that is known to be committed.
    pub(super) fn lacks_committed(&self) -> bool {
        let (term, index) = self.committed_elsewhere;
        index > 0 && !self.reaches((index, term))
    }

    /// Whether a message asks for a vote to one whose log ends before what is known to be committed.
    pub(super) fn asks_too_early(&self, message: &PeerMessage) -> bool {
        matches!(message.kind(), MessageKind::Vote | MessageKind::PreVote)
            && (message.0.log_term, message.0.index) < self.committed_elsewhere
    }

    /// Of a peer's log no more than this is there, whatever it acknowledged: what lies behind is sent again.
    pub(super) fn count_on(&mut self, member: MemberId, last: LogIndex) {
        let end = self.raw.raft.raft_log.last_index();
        if self.raw.raft.state != StateRole::Leader || member.0 == self.raw.raft.id {
            return;
        }
        let Some(progress) = self.raw.raft.mut_prs().get_mut(member.0).filter(|peer| peer.matched > last) else {
            return;
        };
        progress.matched = 0;
        progress.become_probe();
        progress.next_idx = last.min(end) + 1;
    }

    /// Last entry of the log.
    pub fn log_end(&self) -> (LogIndex, Term) {
        let log = &self.raw.raft.raft_log;
        (log.last_index(), log.last_term())
    }

    /// Whether the log reaches an entry, or a checkpoint covers it.
    pub fn reaches(&self, (index, term): (LogIndex, Term)) -> bool {
        index < self.raw.store().begins_behind() || self.holds((index, term))
    }

    /// What the leader knows of everybody's promises, its own among them, for the others to remember; nothing of another.
    pub fn promises_to_tell(&mut self) -> Option<Promises> {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader {
            return None;
        }
        let index = raft.prs().get(raft.id).map_or(0, |own| own.matched);
        let entry = Acknowledged { in_term: raft.term, index, term: raft.raft_log.term(index).unwrap_or(0) };
        let own = MemberId(raft.id);
        let promise = Promise { term: raft.term, vote: (raft.term, own), entry };
        self.own.acknowledges(entry.in_term, entry.index);
        let mut told = self.promises.clone();
        told.merge(own, &promise);
        Some(told)
    }

    /// What this member remembers of the others.
    pub fn promises(&self) -> &Promises {
        &self.promises
    }

    /// An earlier life kept this, or others told it. Whom only entries that are not applied yet make a member is not passed over: it
    /// may have forgotten, and may ask before they are.
    pub fn remember(&mut self, promises: &Promises) {
        promises.all().iter().for_each(|(member, promise)| self.promises.merge(*member, promise));
    }

    /// Those who were removed ask nothing any more.
    pub fn forget(&mut self, gone: &[MemberId]) {
        self.promises.forget(gone);
    }
}
