//! Linearizability: is there one order of all operations, true to real time, that explains every answer?
//!
//! The search is Wing and Gong's with Lowe's memoisation, over the sequential [`Model`] of the whole store. It
//! knows nothing of logs and nodes, only what clients asked, when, and what they heard. [`case`] prepares a
//! history, [`search`] looks for the order, [`walk`] is the model with a way back.
//!
//! What is judged: changes, linearizable ranges and transactions that only read, refusals of the state machine
//! among them. Each kind of outcome is taken for exactly what it says ([`crate::history::Effect`]): what is done
//! has one place between call and return; what is surely not has none; what is open has one at most, any time
//! after its call. An expiry is a revocation nobody called: one may follow each grant, if the caller says that
//! leases expire.
//!
//! What is not: keep-alives and questions for the time left, because the model knows no time; serializable
//! reads, which may be old and are judged by [`check_serializable`]; watches.
//!
//! Invariants: a history that has an order is never called `NotLinearizable`, and one that has none never
//! `Linearizable` (an order found is an order walked). What cannot be said within the bounds is `Undecided`.

mod case;
mod search;
mod walk;

#[cfg(test)]
mod tests;

use crate::Model;
use crate::history::Operation;

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

/// Judges all that must be linearizable.
pub fn check(operations: &[Operation], start: &Start, bounds: Bounds) -> Judged {
    judge(operations, start, bounds, case::Old::LeftOut)
}

/// What holds the serializable reads of one client together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Session {
    /// Nothing: each may be as old as it likes.
    None,
    /// None is older than the one before it (a client that stays with one member).
    Monotone,
}

/// Judges the serializable reads of a history: one order explains them together with everything else, if each
/// may have looked at any moment before its answer. A history that is not linearizable is no better with them,
/// so ask [`check`] first.
pub fn check_serializable(operations: &[Operation], start: &Start, bounds: Bounds, session: Session) -> Judged {
    judge(operations, start, bounds, case::Old::Within(session))
}

fn judge(operations: &[Operation], start: &Start, bounds: Bounds, old: case::Old) -> Judged {
    let case = case::Case::new(operations, start, old);
    let met = if operations.len() > bounds.operations {
        Some(Met::Operations)
    } else {
        (case.open > bounds.open).then_some(Met::Open)
    };
    if let Some(met) = met {
        return Judged { verdict: Verdict::Undecided(met), states: 0 };
    }
    let judged = search::run(&case, &start.model, bounds.states, search::Evidence::Used);
    if !matches!(judged.verdict, Verdict::NotLinearizable(_)) {
        return judged;
    }
    // Evidence stops at the first thing that cannot come to be as it was seen later; without it the order goes on
    // to the answer that is wrong, which is what people want to be shown.
    let shown = search::run(&case, &start.model, bounds.states, search::Evidence::Ignored);
    assert!(!matches!(shown.verdict, Verdict::Linearizable(_)), "evidence turns nothing away that has an order");
    let states = judged.states + shown.states;
    match shown.verdict {
        Verdict::NotLinearizable(_) => Judged { states, ..shown },
        _ => Judged { states, ..judged },
    }
}
