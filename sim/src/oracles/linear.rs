//! The black box: whether some order of the operations explains every answer clients heard.
//!
//! Looks at what clients asked and heard and at nothing else, so that a mistake in what the node tells of itself,
//! or in the judges that believe it, cannot hide here. Not every history is small enough to be decided.

use std::fmt::Write;

use quorate_spec::Model;
use quorate_spec::history::Operation;
use quorate_spec::linear::{Bounds, Failure, Judged, Placed, Session, Start, Verdict, check_serializable};

/// How far a search goes here: some hundred milliseconds at most, so that a run stays a run.
const BOUNDS: Bounds = Bounds { operations: 5_000, open: 300, states: 20_000 };

/// Operations of the longest order shown before the place where it ends.
const SHOWN: usize = 5;

/// Which of the two questions were decided within the bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decided {
    /// Whether everything but old reads has an order.
    pub linearizable: bool,
    /// Whether it still has one together with the reads that may be old.
    pub serializable: bool,
}

/// Judges a history that began with an empty store, whose leases live at least `min_ttl` seconds and may expire.
///
/// # Errors
/// There is no such order; told for people.
pub fn check(operations: &[Operation], min_ttl: i64) -> Result<Decided, String> {
    let start = Start { model: Model::new(min_ttl), leases_expire: true };
    let linearizable = decided(operations, quorate_spec::linear::check(operations, &start, BOUNDS))?;
    // A member that starts again may have forgotten how far it was until its log is committed anew: no session.
    let with_old = check_serializable(operations, &start, BOUNDS, Session::None);
    Ok(Decided { linearizable, serializable: decided(operations, with_old)? })
}

fn decided(operations: &[Operation], judged: Judged) -> Result<bool, String> {
    match judged.verdict {
        Verdict::Linearizable(_) => Ok(true),
        Verdict::Undecided(_) => Ok(false),
        Verdict::NotLinearizable(failure) => Err(told(operations, &failure)),
    }
}

fn told(operations: &[Operation], failure: &Failure) -> String {
    let mut story = format!("{} operations in order, up to revision {}:\n", failure.prefix.len(), failure.revision);
    let mut tell = |word: &str, at: usize| {
        let Operation { client, called_at, returned_at, call, outcome, .. } = &operations[at];
        let (from, to) = (*called_at as f64 / 1e9, *returned_at as f64 / 1e9);
        let line = writeln!(story, "{word} client {client}, {from:.6} to {to:.6}: {call:?}\n    {outcome:?}");
        line.expect("a string takes all that is written to it");
    };
    for place in failure.prefix.iter().rev().take(SHOWN).rev() {
        if let Placed::Operation(at) = place.placed {
            tell("placed:", at);
        }
    }
    for at in &failure.stuck {
        tell("cannot be next:", *at);
    }
    story
}
