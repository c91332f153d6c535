//! The record of a run: who asked what and when, what came back, and what the log did.
//!
//! Invariant: times are true time (one clock for the whole run, nanoseconds since its start), never a node's.

use crate::request::{Answer, Range, Request, Txn};

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

/// How a call ended.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// With an answer and the revision in its header.
    Done {
        /// The answer.
        answer: Answer,
        /// The header's revision.
        revision: i64,
    },
    /// With a refusal that says what the state machine says: it was decided, and changed nothing.
    Refused(String),
    /// With an error that leaves open whether it took effect, or not at all: the node died, time ran out.
    Unknown(String),
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
