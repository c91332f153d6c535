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
mod verdict;
mod walk;

#[cfg(test)]
mod tests;

use crate::history::Operation;
pub use verdict::{Bounds, Failure, Judged, Met, Place, Placed, Session, Start, Verdict};

/// Judges all that must be linearizable.
pub fn check(operations: &[Operation], start: &Start, bounds: Bounds) -> Judged {
    judge(operations, start, bounds, case::Old::LeftOut)
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
