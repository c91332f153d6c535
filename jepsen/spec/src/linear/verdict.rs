//! What a search is given, and what comes of it.

use crate::Model;

/// How far a search may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Operations, open ones among them.
    pub operations: usize,
    /// Operations of open outcome that could take effect, possible expiries not counted.
    pub open: usize,
    /// States visited, which bounds time and memory (16 bytes each).
    pub states: u64,
}

impl Default for Bounds {
    /// Enough for some seconds of work at most.
    fn default() -> Self {
        Self { operations: 100_000, open: 10_000, states: 200_000 }
    }
}

/// What is known beside the operations.
#[derive(Clone, Debug)]
pub struct Start {
    /// The store at the beginning of the history.
    pub model: Model,
    /// Whether leases expire by themselves.
    pub leases_expire: bool,
}

/// What took effect at one place of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placed {
    /// The operation at this place of the history.
    Operation(usize),
    /// A lease expired.
    Expiry(i64),
}

/// One place of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// What took effect.
    pub placed: Placed,
    /// A moment at which it may have: never falls along the order, and lies between call and return.
    pub at: u64,
    /// The store's revision after it.
    pub revision: i64,
}

/// Why no order was found: as far as one was, and what then could not go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The longest order of a part of the history that was found.
    pub prefix: Vec<Place>,
    /// The operations, by their place in the history, one of which would have to be next, and none can.
    pub stuck: Vec<usize>,
    /// The store's revision there.
    pub revision: i64,
}

/// Which bound was met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Met {
    /// More operations than allowed.
    Operations,
    /// More open ones than allowed.
    Open,
    /// The states visited.
    States,
}

/// What a search found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// This order explains every answer.
    Linearizable(Vec<Place>),
    /// There is none.
    NotLinearizable(Failure),
    /// Not decided within the bounds.
    Undecided(Met),
}

/// A verdict, and what it cost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// States visited.
    pub states: u64,
}

/// What holds the serializable reads of one client together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Session {
    /// Nothing: each may be as old as it likes.
    None,
    /// None is older than the one before it (a client that stays with one member).
    Monotone,
}
