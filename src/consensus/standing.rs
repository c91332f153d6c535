//! What a group says of itself: where a member stands, who votes, how far the others are, what became of a message.

use crate::base::{LogIndex, MemberId, Term};

/// What a member does in its term.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are raft's")]
pub enum Role {
    Follower,
    Candidate,
    Leader,
}

/// Where a member stands in its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// What it does.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Whom it takes for the leader.
    pub leader: Option<MemberId>,
    /// The highest index known to be committed.
    pub committed: LogIndex,
    /// Elections and defeats seen since start.
    pub role_changes: u64,
}

/// Who votes and who only learns.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Electorate {
    /// Those who vote.
    pub voters: Vec<MemberId>,
    /// Those who do not.
    pub learners: Vec<MemberId>,
}

/// How far another member has come, as the leader knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerProgress {
    /// Who.
    pub member: MemberId,
    /// The last entry it acknowledged.
    pub matched: LogIndex,
    /// Whether it was heard of lately.
    pub active: bool,
    /// Whether it votes.
    pub votes: bool,
}

/// What became of a message that was stepped in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stepped {
    /// It was taken.
    Taken,
    /// No sound peer sends it; why.
    TurnedAway(&'static str),
    /// Its sender leads, and counts on more of this member's log than there is. It is to be asked what it remembers.
    CountsOnMore,
    /// It shows that a peer lacks what it acknowledged; it is not counted on.
    PeerLogLost {
        /// The peer.
        member: MemberId,
        /// The entry it acknowledged.
        acknowledged: LogIndex,
        /// What it says it has.
        last: LogIndex,
    },
}
