//! What members have promised, and who remembers it.
//!
//! A vote and an acknowledged entry are promises that the disk of who gave them keeps. To whom they were given remembers
//! them, too, and a leader tells the others, so that a member that starts again can ask whether its disk is the one it had.
//!
//! A log goes back as a whole: who has lost a promise has lost all it gave after it. So of each member the last one is
//! enough: in the highest term, and there the highest entry. What a member gave in a term below that of its hard state,
//! it gave before the hard state was written, and has.
//!
//! Invariant: what is remembered of a member never gets less, as long as it belongs to the cluster.

use std::fmt;

use raft::eraftpb::{Message, MessageType};
use raft::{Raft, StateRole, Storage};

use super::message::PeerMessage;
use crate::base::{LogIndex, MemberId, Term, limits};
use crate::wal::{HardState, LogEntry};

/// An entry that a member acknowledged as durable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Acknowledged {
    /// The term in which it did; 0 for never.
    pub in_term: Term,
    /// The entry.
    pub index: LogIndex,
    /// The entry's own term; 0 where it is not known.
    pub term: Term,
}

/// The last a member is known to have promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Promise {
    /// It said something in this term.
    pub term: Term,
    /// It voted in this term, 0 for none, for this member.
    pub vote: (Term, MemberId),
    /// It acknowledged this entry.
    pub entry: Acknowledged,
}

impl Promise {
    /// With what another knows of the same member.
    pub fn merge(&mut self, other: &Self) {
        self.term = self.term.max(other.term);
        if other.vote.0 > self.vote.0 {
            self.vote = other.vote;
        }
        self.entry = self.entry.max(other.entry);
    }

    /// The highest term in it.
    pub fn last_term(&self) -> Term {
        self.term.max(self.vote.0).max(self.entry.in_term)
    }
}

/// What a member promised and does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forgotten {
    /// It spoke in a term that its disk does not know.
    Term {
        /// The term.
        spoke: Term,
        /// What its disk knows.
        knows: Term,
    },
    /// It gave its vote, of which its disk knows nothing.
    Vote {
        /// In this term.
        term: Term,
        /// To this member.
        to: MemberId,
    },
    /// It acknowledged an entry that its log does not hold.
    Entry {
        /// The entry.
        acknowledged: LogIndex,
        /// Where the log ended.
        last: LogIndex,
    },
}

impl fmt::Display for Forgotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Term { spoke, knows } => write!(f, "it spoke in term {spoke}, and its disk knows of term {knows}"),
            Self::Vote { term, to } => write!(f, "it voted for {to} in term {term}, and its disk knows nothing of it"),
            Self::Entry { acknowledged, last } => {
                write!(f, "it acknowledged entry {acknowledged}, and its log ended at {last}")
            }
        }
    }
}

/// What the promises of a member are held against: what its disk held when it started, and what it promised since.
#[derive(Debug)]
pub(super) struct OwnPromises {
    term: Term,
    vote: u64,
    /// Up to here a checkpoint covers everything.
    covered: LogIndex,
    last: LogIndex,
    /// First index and term of each run of entries of one term.
    runs: Vec<(LogIndex, Term)>,
    /// Promised since: votes, and by term the highest entry acknowledged.
    votes: Vec<(Term, u64)>,
    entries: Vec<(Term, LogIndex)>,
    /// What was promised since in this term or an earlier one is not known any more.
    lost_count: Term,
}

impl OwnPromises {
    pub(super) fn new(hard_state: HardState, applied: (LogIndex, Term), entries: &[LogEntry]) -> Self {
        let mut runs: Vec<(LogIndex, Term)> = Vec::new();
        for entry in entries {
            if runs.last().is_none_or(|(_, term)| *term != entry.term) {
                runs.push((entry.index, entry.term));
            }
        }
        Self {
            term: hard_state.term,
            vote: hard_state.vote,
            covered: applied.0,
            last: entries.last().map_or(applied.0, |entry| entry.index.max(applied.0)),
            runs,
            votes: Vec::new(),
            entries: Vec::new(),
            lost_count: 0,
        }
    }

    /// Something leaves that may be a promise.
    pub(super) fn says(&mut self, message: &Message) {
        match message.get_msg_type() {
            MessageType::MsgRequestVote => self.votes.push((message.term, message.from)),
            MessageType::MsgRequestVoteResponse if !message.reject => self.votes.push((message.term, message.to)),
            MessageType::MsgAppendResponse if !message.reject => self.acknowledges(message.term, message.index),
            // Who leads has voted for itself, though it may have asked nobody else.
            MessageType::MsgAppend | MessageType::MsgHeartbeat
                if self.votes.last() != Some(&(message.term, message.from)) =>
            {
                self.votes.push((message.term, message.from));
            }
            _ => return,
        }
        if self.votes.len() > limits::PROMISES_KEPT {
            self.lost_count = self.votes.remove(0).0;
        }
        if self.entries.len() > limits::PROMISES_KEPT {
            self.lost_count = self.lost_count.max(self.entries.remove(0).0);
        }
    }

    /// It votes, and tells nobody.
    pub(super) fn votes(&mut self, term: Term, to: u64) {
        self.votes.push((term, to));
    }

    pub(super) fn acknowledges(&mut self, term: Term, index: LogIndex) {
        match self.entries.last_mut() {
            Some((last, highest)) if *last == term => *highest = index.max(*highest),
            _ => self.entries.push((term, index)),
        }
    }

    fn held_at_start(&self, entry: &Acknowledged) -> bool {
        if entry.index <= self.covered {
            return true;
        }
        let run = self.runs.iter().rev().find(|(first, _)| *first <= entry.index);
        entry.index <= self.last && run.is_some_and(|(_, term)| entry.term == 0 || entry.term == *term)
    }

    /// What of a promise this member does not have. `now` is the term it is in.
    pub(super) fn lacks(&self, promise: &Promise, now: Term) -> Option<Forgotten> {
        if promise.term > self.term.max(now) {
            return Some(Forgotten::Term { spoke: promise.term, knows: now });
        }
        let (term, to) = promise.vote;
        let has = term < self.term || (term == self.term && self.vote == to.0) || term <= self.lost_count;
        if term > 0 && !has && !self.votes.contains(&(term, to.0)) {
            return Some(Forgotten::Vote { term, to });
        }
        let entry = &promise.entry;
        let has = entry.in_term < self.term || entry.in_term <= self.lost_count;
        let has = has || (entry.in_term == self.term && self.held_at_start(entry));
        let since = |(term, index): &(Term, LogIndex)| *term == entry.in_term && *index >= entry.index;
        if entry.in_term > 0 && !has && !self.entries.iter().any(since) {
            return Some(Forgotten::Entry { acknowledged: entry.index, last: self.last });
        }
        None
    }
}

/// What this member remembers of the others.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Promises(Vec<(MemberId, Promise)>);

impl Promises {
    /// As somebody tells them.
    pub fn told(promises: Vec<(MemberId, Promise)>) -> Self {
        Self(promises)
    }

    /// Each member with what is remembered of it.
    pub fn all(&self) -> &[(MemberId, Promise)] {
        &self.0
    }

    /// What is remembered of a member.
    pub fn of(&self, member: MemberId) -> Promise {
        self.0.iter().find(|(other, _)| *other == member).map(|(_, promise)| *promise).unwrap_or_default()
    }

    /// With more of a member.
    pub fn merge(&mut self, member: MemberId, promise: &Promise) {
        match self.0.iter_mut().find(|(other, _)| *other == member) {
            Some((_, known)) => known.merge(promise),
            None => self.0.push((member, *promise)),
        }
    }

    /// Those who were removed are forgotten.
    pub(super) fn forget(&mut self, gone: &[MemberId]) {
        self.0.retain(|(member, _)| !gone.contains(member));
    }

    /// A message arrived. What a pre-vote says is of a term to come, and no promise.
    pub(super) fn heard<T: Storage>(&mut self, raft: &Raft<T>, message: &PeerMessage) {
        let message = &message.0;
        let kind = message.get_msg_type();
        let promises = !matches!(kind, MessageType::MsgRequestPreVote | MessageType::MsgRequestPreVoteResponse);
        if message.term == 0 || !promises || raft.prs().get(message.from).is_none() {
            return;
        }
        let mut promise = Promise { term: message.term, ..Promise::default() };
        match kind {
            // Who stands, and who leads, has voted for itself.
            MessageType::MsgRequestVote | MessageType::MsgAppend | MessageType::MsgHeartbeat => {
                promise.vote = (message.term, MemberId(message.from));
            }
            MessageType::MsgRequestVoteResponse if !message.reject => {
                promise.vote = (message.term, MemberId(raft.id));
            }
            MessageType::MsgAppendResponse if !message.reject && message.index <= raft.raft_log.last_index() => {
                let led = message.term == raft.term && raft.state == StateRole::Leader;
                let term = if led { raft.raft_log.term(message.index).unwrap_or(0) } else { 0 };
                promise.entry = Acknowledged { in_term: message.term, index: message.index, term };
            }
            _ => {}
        }
        self.merge(MemberId(message.from), &promise);
    }
}
