//! The witness: every answer a client heard, held against the ledger.
//!
//! A change must have taken effect between its call and its answer, exactly once, and its answer must be what the model
//! answered there: its request id says which entry it is. A read must be what the model answers somewhere in its window:
//! for a linearizable one between what any member had applied at its call and now, for a serializable one within what its
//! own member had applied. Where users are asked for, it must have been for the eyes of who asked, in the same moment.

use std::ops::RangeInclusive;
use std::time::Duration;

use quorate::base::Refusal;
use quorate_spec::Vantage;
use quorate_spec::history::Outcome;
use quorate_spec::request::{Answer, Bytes, Range, RangeAnswer, Span, Txn, TxnAnswer};

use super::ids::Ending;
use super::ledger::{Ledger, same_answer};
use super::rights::Access;
use super::users::Table;
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

/// A change that was refused for want of a right: where it became an entry, the entry says so.
pub fn denied(ledger: &mut Ledger, id: u64, refusal: &str) -> Verdict {
    let found = ledger.attempts().index_of(id).and_then(|index| ledger.entry(index));
    let says_so = found.is_some_and(|entry| entry.step.answer.as_ref().is_err_and(|text| *text == refusal));
    require(says_so, "a refusal is decided in the log", || {
        format!("{:?}\nwas refused with {refusal:?}; its entry is {found:?}", ledger.attempts().of(id))
    })?;
    ledger.attempts_mut().ended(id, Ending::Decided)
}

/// A read that was answered, or refused by the store: what it says must be so somewhere in its window, and be there for the
/// eyes of who asked.
fn read(
    ledger: &Ledger,
    window: RangeInclusive<usize>,
    story: impl Fn() -> String,
    may: impl Fn(&Table) -> bool,
    admits: impl Fn(Vantage) -> bool,
) -> Verdict {
    let ends = (ledger.vantages().get(*window.start()), ledger.vantages().get(*window.end()));
    let (mut last, mut was_so) = (None, false);
    for place in window.rev() {
        let at = (ledger.vantages()[place], ledger.users().number_at(place));
        if last.replace(at) == Some(at) || !admits(at.0) {
            continue;
        }
        was_so = true;
        if may(ledger.users().numbered(at.1)) {
            return Ok(());
        }
    }
    require(!was_so, "nobody is shown what he may not read", &story)?;
    Err(Violation::now(
        "a read is what the store held within its window",
        format!("{}\nwithin {:?} to {:?}", story(), ends.0, ends.1),
    ))
}

/// An answer to a range that `who` asked for.
pub fn range(
    ledger: &Ledger,
    window: RangeInclusive<usize>,
    who: Option<&str>,
    query: &Range,
    got: &Result<RangeAnswer, String>,
) -> Verdict {
    let story = || {
        let expected = ledger.model().range(query);
        format!("{who:?}: {query:?}\nexpected (as of now) {expected:?}\ngot {got:?}")
    };
    let may = |table: &Table| table.may(who, &query.span, Access::Read);
    read(ledger, window, story, may, |vantage| ledger.model().admits_range(vantage, query, got))
}

/// An answer to a transaction that only reads, and that `who` asked for.
pub fn read_only_txn(
    ledger: &Ledger,
    window: RangeInclusive<usize>,
    who: Option<&str>,
    txn: &Txn,
    got: &Result<TxnAnswer, String>,
) -> Verdict {
    let story = || format!("{who:?}: {txn:?}\ngot {got:?}");
    read(
        ledger,
        window,
        story,
        |table| table.may_txn(who, txn),
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

/// The keys of a lease that `who` was told: he might read each of them in one moment since it was asked.
pub fn told_keys(ledger: &Ledger, window: RangeInclusive<usize>, who: Option<&str>, keys: &[Bytes]) -> Verdict {
    let may = |table: &Table| {
        table.may_all(who) || keys.iter().all(|key| table.may(who, &Span::one(key.clone()), Access::Read))
    };
    let shown = ledger.users().within(window).iter().any(|(_, table)| may(table));
    require(shown, "nobody is shown what he may not read", || format!("{who:?} was told of {keys:?} on a lease"))
}
