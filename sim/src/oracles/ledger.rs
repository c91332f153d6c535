//! The ledger: every entry of the log as it was applied, in every life of the node, and the model beside it.
//!
//! Invariants held against the product: an entry once applied never changes, in no later life; entries are
//! applied in order; each does exactly what the model does. An entry is applied only when it is durable, so
//! this is also the ledger of durability: an acknowledged change that a crash took is an entry that changed.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate::machine::{Applied, Command};
use quorate_spec::request::{Answer, Event, Request, text};
use quorate_spec::{Model, Step, Vantage};

use super::{Verdict, require};
use crate::convert;
use crate::env::true_now;

/// One entry of the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The term it was proposed in.
    pub term: u64,
    /// When it was first applied.
    pub at: Duration,
    /// What it asked; nothing in a leader's first entry.
    pub request: Option<Request>,
    /// The grant and the term it names, where it ends a lease as fallen due.
    pub expiry: Option<(u64, u64)>,
    /// What the model did with it.
    pub step: Step,
    /// The vantage before it.
    pub before: Vantage,
    /// Whether a client was told of it.
    pub claimed: bool,
}

/// A lease from its grant to its end, in places of [`Ledger::vantages`].
#[derive(Clone, Copy, Debug)]
pub struct LeaseLife {
    /// The place from which on it exists.
    pub from: usize,
    /// The place from which on it does not, if it has ended.
    pub to: Option<usize>,
    /// Index of the entry that granted it.
    pub index: u64,
    /// Seconds it was granted for.
    pub ttl: i64,
    /// When the grant was applied.
    pub at: Duration,
}

/// See the module's head.
pub struct Ledger {
    model: Model,
    entries: BTreeMap<u64, Entry>,
    /// Where a reader could have stood, in order: after the n-th entry at place n.
    vantages: Vec<Vantage>,
    /// The lives of each lease, in order.
    leases: BTreeMap<i64, Vec<LeaseLife>>,
    /// The last entry applied in the present life.
    last_in_life: Option<u64>,
}

impl Ledger {
    /// A ledger of an empty store whose leases live at least `min_ttl` seconds.
    pub fn new(min_ttl: i64) -> Self {
        let model = Model::new(min_ttl);
        let vantages = vec![model.vantage()];
        Self { model, entries: BTreeMap::new(), vantages, leases: BTreeMap::new(), last_in_life: None }
    }

    /// The store as it stands after the last entry.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The entry of an index.
    pub fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.get(&index)
    }

    /// A client was told of the entry; `false` if one was before.
    pub fn claim(&mut self, index: u64) -> bool {
        self.entries.get_mut(&index).is_some_and(|entry| !std::mem::replace(&mut entry.claimed, true))
    }

    /// All entries, by index.
    pub fn entries(&self) -> &BTreeMap<u64, Entry> {
        &self.entries
    }

    /// Where readers could stand so far; a reader of now stands at the last.
    pub fn vantages(&self) -> &[Vantage] {
        &self.vantages
    }

    /// The last index applied in any life; 0 before the first.
    pub fn last_index(&self) -> u64 {
        self.entries.last_key_value().map_or(0, |(index, _)| *index)
    }

    /// The lives of a lease, in order.
    pub fn lives_of(&self, lease: i64) -> &[LeaseLife] {
        self.leases.get(&lease).map_or(&[], Vec::as_slice)
    }

    /// The leases that were ever granted.
    pub fn leases(&self) -> impl Iterator<Item = i64> {
        self.leases.keys().copied()
    }

    fn follow_leases(&mut self, index: u64, entry: &Entry) {
        let place = self.vantages.len();
        match (&entry.request, &entry.step.answer) {
            (Some(Request::LeaseGrant { id, .. }), Ok(Answer::LeaseGrant { ttl, .. })) => {
                let life = LeaseLife { from: place, to: None, index, ttl: *ttl, at: entry.at };
                self.leases.entry(*id).or_default().push(life);
            }
            (Some(Request::LeaseRevoke { id, .. }), Ok(_)) => {
                let lives = self.leases.get_mut(id).expect("a lease that is revoked was granted");
                lives.last_mut().expect("a lease granted has a life").to = Some(place);
            }
            _ => {}
        }
    }

    /// Whether an entry of `term` may end a lease as fallen due: the grant it names is the one that stands, and who
    /// named it led in the term of the entry.
    fn may_expire(&self, id: i64, (granted_at, named_in): (u64, u64), term: u64) -> bool {
        let living = self.lives_of(id).last().filter(|life| life.to.is_none());
        named_in == term && living.is_some_and(|life| life.index == granted_at)
    }

    /// A new life begins.
    pub fn new_life(&mut self) {
        self.last_in_life = None;
    }

    /// Takes an entry in the moment it is applied.
    pub fn applied(&mut self, index: u64, term: u64, command: Option<&Command>, applied: &Applied) -> Verdict {
        let request = command.map(convert::request);
        let expiry = command.and_then(convert::expiry);
        let last = self.last_in_life.replace(index);
        require(last.is_none_or(|last| index > last), "entries are applied in order", || {
            format!("entry {index} came after entry {last:?}")
        })?;
        if let Some(known) = self.entries.get(&index) {
            let same = known.term == term && known.request == request && known.expiry == expiry;
            require(same, "an entry once applied stays (durability)", || {
                format!(
                    "entry {index} was (term {}) {:?}\nand is now (term {term}) {request:?}",
                    known.term, known.request
                )
            })?;
            return agree(&self.model, index, known, applied);
        }
        let newest = self.last_index();
        require(index > newest, "an entry once applied stays (durability)", || {
            format!("entry {index} is new, though entry {newest} was applied before: {request:?}")
        })?;
        let before = self.model.vantage();
        let step = match (&request, expiry) {
            (Some(Request::LeaseRevoke { id }), Some(expiry)) if !self.may_expire(*id, expiry, term) => {
                Step { answer: Err(text::LEASE_NOT_FOUND.into()), revision: before.revision, events: Vec::new() }
            }
            (Some(request), _) => self.model.apply(request),
            (None, _) => Step { answer: Ok(Answer::Done), revision: before.revision, events: Vec::new() },
        };
        let entry = Entry { term, at: true_now(), request, expiry, step, before, claimed: false };
        let verdict = agree(&self.model, index, &entry, applied);
        self.follow_leases(index, &entry);
        self.entries.insert(index, entry);
        self.vantages.push(self.model.vantage());
        verdict
    }
}

/// Whether the product did with an entry what the model did.
fn agree(model: &Model, index: u64, entry: &Entry, applied: &Applied) -> Verdict {
    let got = match &applied.answer {
        Ok(answer) => Ok(convert::answer(answer)),
        Err(refusal) => Err(refusal.text().to_string()),
    };
    require(same_answer(model, entry, &got), "an entry is answered as the model answers", || {
        format!("entry {index}: {:?}\nexpected {:?}\ngot      {got:?}", entry.request, entry.step.answer)
    })?;
    require(applied.revision == entry.step.revision, "an entry uses the revisions the model uses", || {
        format!(
            "entry {index}: {:?}\nexpected revision {}, got {}",
            entry.request, entry.step.revision, applied.revision
        )
    })?;
    let events: Vec<Event> = applied.events.iter().map(convert::event).collect();
    let same = events.len() == entry.step.events.len()
        && entry.step.events.iter().zip(&events).all(|(want, got)| same_event(want, got));
    require(same, "an entry changes what the model changes", || {
        format!("entry {index}: {:?}\nexpected {:?}\ngot      {events:?}", entry.request, entry.step.events)
    })
}

/// Whether `got` answers the entry as the model did.
pub fn same_answer(model: &Model, entry: &Entry, got: &Result<Answer, String>) -> bool {
    match (&entry.request, &entry.step.answer, got) {
        (Some(Request::Txn(txn)), Ok(Answer::Txn(want)), Ok(Answer::Txn(got))) => {
            model.same_answer(entry.before, txn, want, got)
        }
        (_, Ok(want), Ok(got)) => want == got,
        (_, Err(want), Err(got)) => want == got,
        _ => false,
    }
}

/// What a key held before is loaded only where someone wants it.
fn same_event(want: &Event, got: &Event) -> bool {
    want.deleted == got.deleted && want.kv == got.kv && (got.prev.is_none() || want.prev == got.prev)
}
