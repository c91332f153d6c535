//! The record of a run: who asked what and when, what came back, and what the log did.
//!
//! Invariant: times are true time (one clock for the whole run, nanoseconds since its start), never a node's.

use crate::request::{Answer, Range, Request, Txn, text};

/// What a client asked.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Call {
    /// Something that takes a place in the log.
    Change(Request),
    /// A read; `serializable` ones may be old.
    Range {
        /// What is read.
        query: Range,
        /// Whether an old answer is allowed.
        serializable: bool,
    },
    /// A transaction that only reads.
    ReadOnlyTxn {
        /// The transaction.
        txn: Txn,
        /// Whether all its ranges allow an old answer.
        serializable: bool,
    },
}

/// How a call ended. What a judge may conclude is one of three kinds: [`Outcome::effect`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// With an answer and the revision in its header.
    Done {
        /// The answer.
        answer: Answer,
        /// The header's revision.
        revision: i64,
    },
    /// With a refusal that says what the state machine says: it was decided, in one place of the order, and
    /// changed nothing. The text must be the model's.
    Refused(String),
    /// With a refusal from before anything was agreed on, or never sent: it is nowhere in the order, and whoever
    /// finds it there has found a lie.
    SurelyNot(String),
    /// With an error that leaves open whether it took effect, or not at all: the node died, time ran out. It may
    /// take effect at any moment after its call, also long after the error, or never; once at most.
    Unknown(String),
}

/// What an outcome says about the order of all changes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    /// Done: it has exactly one place, between call and return.
    Done,
    /// Surely not: it has none.
    SurelyNot,
    /// Open: at most one, at any time from the call on.
    Open,
}

/// Refusals that only the state machine gives, with the place in the order that comes with it.
const DECIDED: [&str; 8] = [
    text::KEY_NOT_FOUND,
    text::COMPACTED,
    text::FUTURE_REVISION,
    text::NO_SPACE,
    text::LEASE_NOT_FOUND,
    text::LEASE_EXISTS,
    text::LEASE_TTL_TOO_LARGE,
    text::CORRUPT,
];

/// Refusals given only before a request is proposed. Not among them: everything about leaders and time, which
/// may be said of a request that is on its way ("no leader", "request timed out", "server stopped").
const TURNED_AWAY: [&str; 8] = [
    text::EMPTY_KEY,
    text::VALUE_PROVIDED,
    text::LEASE_PROVIDED,
    text::TOO_MANY_OPS,
    text::DUPLICATE_KEY,
    text::INVALID_SORT,
    text::REQUEST_TOO_LARGE,
    text::TOO_MANY_REQUESTS,
];

impl Outcome {
    /// How a call that was refused with this text ended. A text that is not known leaves it open.
    pub fn of_refusal(refusal: &str) -> Self {
        if DECIDED.contains(&refusal) {
            Self::Refused(refusal.to_string())
        } else if TURNED_AWAY.contains(&refusal) {
            Self::SurelyNot(refusal.to_string())
        } else {
            Self::Unknown(refusal.to_string())
        }
    }

    /// What it says about the order.
    pub fn effect(&self) -> Effect {
        match self {
            Self::Done { .. } | Self::Refused(_) => Effect::Done,
            Self::SurelyNot(_) => Effect::SurelyNot,
            Self::Unknown(_) => Effect::Open,
        }
    }
}

/// One call of one client.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Operation {
    /// Its number in the run.
    pub id: u64,
    /// Who asked.
    pub client: u32,
    /// When the call left.
    pub called_at: u64,
    /// When the answer came.
    pub returned_at: u64,
    /// What was asked.
    pub call: Call,
    /// What came.
    pub outcome: Outcome,
    /// The log index it took effect at, where the judge could tell.
    pub index: Option<u64>,
}

/// One entry of the log, as a node applied it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// Its place.
    pub index: u64,
    /// The term it was proposed in.
    pub term: u64,
    /// When it was first applied.
    pub applied_at: u64,
    /// What it asked for.
    pub request: Request,
}

/// A whole run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// The calls, in the order they returned.
    pub operations: Vec<Operation>,
    /// The log, in order.
    pub entries: Vec<Entry>,
}
