//! The witness: every answer a client heard, held against the ledger.
//!
//! A change must have taken effect between its call and its answer, exactly once, and its answer must be what
//! the model answered there. A read must be what the model answers somewhere between call and answer (a
//! serializable one: anywhere before). A call whose outcome is open took effect once or not at all; what no
//! client asked for, no log may hold, the node's own business apart.

use std::time::Duration;

use quorate_spec::history::{Call, Operation, Outcome};
use quorate_spec::request::{Answer, RangeAnswer, Request, Txn, TxnAnswer};

use crate::draft::LEASES;
use crate::world::MIN_TTL;

use super::ledger::{Entry, Ledger, same_answer};
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

fn same_request(asked: &Request, logged: Option<&Request>) -> bool {
    match (asked, logged) {
        // A lease without an id is given one before the log, and a short one the least time there is.
        (Request::LeaseGrant { id: asked, ttl }, Some(Request::LeaseGrant { id, ttl: logged })) => {
            let named = if *asked == 0 { *id != 0 && !LEASES.contains(id) } else { asked == id };
            named && *logged == (*ttl).max(MIN_TTL)
        }
        (asked, logged) => logged == Some(asked),
    }
}

/// A change that was acknowledged at `index`.
pub fn acknowledged(
    ledger: &mut Ledger,
    began: Began,
    asked: &Request,
    index: u64,
    answer: &Answer,
    revision: i64,
) -> Verdict {
    let Some(entry) = ledger.entry(index) else {
        return Err(Violation::now(
            "an acknowledged change is applied",
            format!("{asked:?}\nwas acknowledged at entry {index}, which no one has applied"),
        ));
    };
    require(
        entry.expiry.is_none() && same_request(asked, entry.request.as_ref()),
        "an answer is to the question asked",
        || format!("{asked:?}\nwas answered by entry {index}, which is {:?}", entry.request),
    )?;
    require(entry.at >= began.at, "a change takes effect between call and answer", || {
        format!("{asked:?}\nwas called at {:?} and answered by entry {index}, applied at {:?}", began.at, entry.at)
    })?;
    let got = Ok(answer.clone());
    let same = same_answer(ledger.model(), entry, &got) && entry.step.revision == revision;
    require(same, "a client hears what the log decided", || {
        format!(
            "{asked:?}\nat entry {index} expected {:?} at revision {}\ngot {answer:?} at revision {revision}",
            entry.step.answer, entry.step.revision
        )
    })?;
    require(ledger.claim(index), "a change takes effect once for one client", || {
        format!("{asked:?}\nwas acknowledged at entry {index}, as was another call before")
    })
}

/// A change the state machine refused: its entry must be there.
pub fn refused(ledger: &mut Ledger, began: Began, asked: &Request, refusal: &str) -> Verdict {
    let is_it = |entry: &Entry| {
        !entry.claimed
            && same_request(asked, entry.request.as_ref())
            && entry.step.answer.as_ref().is_err_and(|text| *text == refusal)
    };
    // The earliest since the call: calls come here in the order of their answers, and among equal ones this
    // leaves the later entries to those who need them.
    let since = ledger.entries().iter().rev().take_while(|(_, entry)| entry.at >= began.at);
    let found = since.filter(|(_, entry)| is_it(entry)).last().map(|(index, _)| *index);
    match found {
        Some(index) => {
            ledger.claim(index);
            Ok(())
        }
        None => Err(Violation::now(
            "a refusal is decided in the log",
            format!("{asked:?}\nwas refused with {refusal:?}, but no entry since the call says so"),
        )),
    }
}

/// A read that was answered, or refused by the store.
pub fn read(
    ledger: &Ledger,
    began: Began,
    linearizable: bool,
    story: impl Fn() -> String,
    admits: impl Fn(&Ledger, quorate_spec::Vantage) -> bool,
) -> Verdict {
    let first = if linearizable { began.entries } else { 0 };
    let mut window = ledger.vantages()[first..].to_vec();
    window.dedup();
    let promise = if linearizable {
        "a read is what the store held between call and answer"
    } else {
        "a serializable read is what the store held once"
    };
    require(window.iter().rev().any(|vantage| admits(ledger, *vantage)), promise, || {
        let last = *window.last().expect("there is always a vantage");
        format!("{}\nbetween {:?} and {last:?}", story(), window[0])
    })
}

/// An answer to a range.
pub fn range(
    ledger: &Ledger,
    began: Began,
    linearizable: bool,
    query: &quorate_spec::request::Range,
    got: &Result<RangeAnswer, String>,
) -> Verdict {
    let story = || {
        let expected = ledger.model().range(query);
        format!("{query:?}\nexpected (as of now) {expected:?}\ngot {got:?}")
    };
    read(ledger, began, linearizable, story, |ledger, vantage| ledger.model().admits_range(vantage, query, got))
}

/// An answer to a transaction that only reads.
pub fn read_only_txn(
    ledger: &Ledger,
    began: Began,
    linearizable: bool,
    txn: &Txn,
    got: &Result<TxnAnswer, String>,
) -> Verdict {
    let story = || format!("{txn:?}\ngot {got:?}");
    read(ledger, began, linearizable, story, |ledger, vantage| {
        let model = ledger.model();
        match (model.read_only_txn(vantage, txn), got) {
            (Ok(want), Ok(got)) => model.same_answer(vantage, txn, &want, got),
            (Err(want), Err(got)) => want == got,
            _ => false,
        }
    })
}

/// After the run: every entry no client was told of must be one a call of open outcome asked for, each call
/// for one entry at most; or the node's own.
pub fn unclaimed(ledger: &Ledger, operations: &[Operation]) -> Verdict {
    let mut open: Vec<(&Operation, &Request)> = Vec::new();
    for operation in operations {
        if let (Call::Change(request), Outcome::Unknown(_)) = (&operation.call, &operation.outcome) {
            open.push((operation, request));
        }
    }
    for (index, entry) in ledger.entries().iter().filter(|(_, entry)| !entry.claimed) {
        let Some(request) = &entry.request else { continue };
        if entry.expiry.is_some() {
            continue;
        }
        let asked = |(operation, asked): &(&Operation, &Request)| {
            u128::from(operation.called_at) <= entry.at.as_nanos() && same_request(asked, Some(request))
        };
        if let Some(at) = open.iter().position(asked) {
            open.remove(at);
            continue;
        }
        let own = matches!(request, Request::Other);
        require(own, "the log holds what was asked, once", || {
            format!("entry {index}, applied at {:?}, was asked for by nobody who waits: {request:?}", entry.at)
        })?;
    }
    Ok(())
}
