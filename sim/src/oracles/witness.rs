//! The witness: every answer a client heard, held against the ledger.
//!
//! A change must have taken effect between its call and its answer, exactly once, and its answer must be what the model
//! answered there: its request id says which entry it is. A read must be what the model answers somewhere in its window:
//! for a linearizable one between what any member had applied at its call and now, for a serializable one within what its
//! own member had applied.

use std::time::Duration;

use quorate::base::Refusal;
use quorate_spec::Vantage;
use quorate_spec::history::Outcome;
use quorate_spec::request::{Answer, Range, RangeAnswer, Txn, TxnAnswer};

use super::ids::Ending;
use super::ledger::{Ledger, same_answer};
use super::{Verdict, Violation, require};

/// Where in the ledger a call began.
#[derive(Clone, Copy, Debug)]
pub struct Began {
    /// How many entries had been applied.
    pub entries: usize,
    /// When.
    pub at: Duration,
}

impl Began {
    /// A call that begins now.
    pub fn now(ledger: &Ledger) -> Self {
        Self { entries: ledger.vantages().len() - 1, at: crate::env::true_now() }
    }
}

/// A change that was acknowledged at `index`.
pub fn acknowledged(ledger: &mut Ledger, id: u64, index: u64, answer: &Answer, revision: i64) -> Verdict {
    ledger.attempts_mut().ended(id, Ending::Decided)?;
    let asked = || format!("{:?}", ledger.attempts().of(id));
    let found = ledger.attempts().index_of(id);
    let entry = found.filter(|found| *found == index).and_then(|index| ledger.entry(index));
    let Some(entry) = entry else {
        return Err(Violation::now(
            "an acknowledged change is applied",
            format!("{}\nwas acknowledged at entry {index}, and is entry {found:?}", asked()),
        ));
    };
    let got = Ok(answer.clone());
    let same = same_answer(ledger.model(), entry, &got) && entry.step.revision == revision;
    require(same, "a client hears what the log decided", || {
        format!(
            "{}\nat entry {index} expected {:?} at revision {}\ngot {answer:?} at revision {revision}",
            asked(),
            entry.step.answer,
            entry.step.revision
        )
    })
}

/// A change that was refused, and how that ended it: where the state machine decided, its entry must be there and say so.
pub fn refused(ledger: &mut Ledger, id: u64, refusal: &str) -> (Verdict, Outcome) {
    let found = ledger.attempts().index_of(id).and_then(|index| ledger.entry(index));
    let outcome = match Outcome::of_refusal(refusal) {
        // A member whose disk is full refuses at the door, too.
        Outcome::Refused(text) if found.is_none() && text == Refusal::NoSpace.text() => Outcome::SurelyNot(text),
        outcome => outcome,
    };
    let verdict = match &outcome {
        Outcome::SurelyNot(_) => ledger.attempts_mut().ended(id, Ending::SurelyNot),
        Outcome::Refused(_) => {
            let says_so = found.is_some_and(|entry| entry.step.answer.as_ref().is_err_and(|text| *text == refusal));
            let verdict = require(says_so, "a refusal is decided in the log", || {
                format!("{:?}\nwas refused with {refusal:?}; its entry is {found:?}", ledger.attempts().of(id))
            });
            verdict.and_then(|()| ledger.attempts_mut().ended(id, Ending::Decided))
        }
        Outcome::Done { .. } | Outcome::Unknown(_) => Ok(()),
    };
    (verdict, outcome)
}

/// A read that was answered, or refused by the store: what it says must be so somewhere in its window.
fn read(window: &[Vantage], story: impl Fn() -> String, admits: impl Fn(Vantage) -> bool) -> Verdict {
    let mut last = None;
    let mut fresh = window.iter().rev().filter(|vantage| last.replace(**vantage) != Some(**vantage));
    require(fresh.any(|vantage| admits(*vantage)), "a read is what the store held within its window", || {
        format!("{}\nwithin {:?} to {:?}", story(), window.first(), window.last())
    })
}

/// An answer to a range.
pub fn range(ledger: &Ledger, window: &[Vantage], query: &Range, got: &Result<RangeAnswer, String>) -> Verdict {
    let story = || {
        let expected = ledger.model().range(query);
        format!("{query:?}\nexpected (as of now) {expected:?}\ngot {got:?}")
    };
    read(window, story, |vantage| ledger.model().admits_range(vantage, query, got))
}

/// An answer to a transaction that only reads.
pub fn read_only_txn(ledger: &Ledger, window: &[Vantage], txn: &Txn, got: &Result<TxnAnswer, String>) -> Verdict {
    read(
        window,
        || format!("{txn:?}\ngot {got:?}"),
        |vantage| {
            let model = ledger.model();
            match (model.read_only_txn(vantage, txn), got) {
                (Ok(want), Ok(got)) => model.same_answer(vantage, txn, &want, got),
                (Err(want), Err(got)) => want == got,
                _ => false,
            }
        },
    )
}
