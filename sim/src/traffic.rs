//! The clients: each does the steps of its plan, one after the other, and has every answer judged.

use std::sync::Arc;
use std::time::Duration;

use quorate::base::{Dice, Refusal, SeededDice};
use quorate::mvcc::ReadFailure;
use quorate_spec::history::{Call, Operation, Outcome};
use quorate_spec::request::{Answer, Range, Request, Txn};
use quorate_spec::shape;

use crate::convert;
use crate::draft::Drafting;
use crate::env::{forked, true_now, true_sleep};
use crate::oracles::witness::{self, Began};
use crate::oracles::{Verdict, Violation, require};
use crate::plan::{Kind, Step};
use crate::world::{Lost, World};

/// Longest list of a transaction, as the default flag has it.
const MAX_TXN_OPS: usize = 128;

/// One client.
pub struct Client {
    world: Arc<World>,
    number: u32,
    dice: SeededDice,
    /// The newest revision it has heard of.
    seen: i64,
    asked: u64,
}

fn text_of(refusal: &Refusal) -> String {
    refusal.text().to_string()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Client {
    /// A client by its number.
    pub fn new(world: Arc<World>, number: u32) -> Self {
        let dice = forked(world.plan.seed, "wire", u64::from(number));
        Self { world, number, dice, seen: 1, asked: 0 }
    }

    /// Does its steps, until they or the run end.
    pub async fn run(mut self, steps: Vec<Step>) {
        for step in steps {
            true_sleep(step.pause).await;
            if self.world.violation().is_some() {
                return;
            }
            self.step(step).await;
        }
    }

    async fn step(&mut self, step: Step) {
        self.asked += 1;
        let mut dice = SeededDice::new(step.dice);
        let stamp = format!("{}.{}", self.number, self.asked);
        let mut draft = Drafting { dice: &mut dice, keys: self.world.plan.keys, seen: self.seen, stamp, values: 0 };
        match step.kind {
            Kind::Put => {
                let put = draft.put();
                self.change(Request::Put(put)).await;
            }
            Kind::Delete => {
                let delete = draft.delete();
                self.change(Request::DeleteRange(delete)).await;
            }
            Kind::Txn => {
                let txn = draft.txn(2);
                self.txn(txn).await;
            }
            Kind::ReadOnlyTxn => {
                let txn = draft.read_only_txn();
                self.txn(txn).await;
            }
            Kind::Range | Kind::SerializableRange => {
                let range = draft.range();
                self.range(range, step.kind == Kind::Range, Duration::from_millis(dice.below(25))).await;
            }
            Kind::Compact => {
                let request = draft.compaction();
                self.change(request).await;
            }
            Kind::LeaseGrant => {
                let request = draft.grant();
                self.change(request).await;
            }
            Kind::LeaseRevoke => {
                let id = draft.lease();
                self.change(Request::LeaseRevoke { id }).await;
            }
            Kind::KeepAlive => {
                let id = draft.lease();
                self.keep_alive(id).await;
            }
            Kind::TimeToLive => {
                let (id, keys) = (draft.lease(), dice.one_in(2));
                self.time_to_live(id, keys).await;
            }
            Kind::Leases => self.leases().await,
            Kind::Alarm => {
                let request = draft.alarm();
                self.change(request).await;
            }
        }
    }

    fn began(&self) -> Began {
        Began::now(&self.world.ledger())
    }

    fn record(&mut self, began: Began, call: Call, outcome: Outcome) {
        if let Outcome::Done { revision, .. } = &outcome {
            self.seen = self.seen.max(*revision);
        }
        let operation = Operation {
            id: self.asked,
            client: self.number,
            called_at: nanos(began.at),
            returned_at: nanos(true_now()),
            call,
            outcome,
            index: None,
        };
        self.world.record(operation);
    }

    /// The door of the product and the door of the specification let the same in.
    fn same_door<T>(&self, product: &Result<T, Refusal>, spec: Result<(), &str>, asked: &str) -> Verdict {
        let got = product.as_ref().map(|_| ()).map_err(text_of);
        require(got == spec.map_err(str::to_string), "the door turns away what etcd turns away", || {
            format!("{asked}\nexpected {spec:?}, got {got:?}")
        })
    }

    /// Has a change done; whether it was.
    pub async fn change(&mut self, request: Request) -> bool {
        let command = convert::command(&request, MAX_TXN_OPS);
        let spec = shape::check(&request, MAX_TXN_OPS);
        self.world.judge(self.same_door(&command, spec, &format!("{request:?}")));
        let Ok(command) = command else {
            self.world.marks.hit("request turned away at the door");
            return false;
        };
        let began = self.began();
        let world = self.world.clone();
        let asked = self.world.ask(&mut self.dice, move |door| async move {
            let proposed = door.propose(command).await;
            if let Ok(proposed) = &proposed {
                world.promised(proposed.index);
            }
            proposed
        });
        let outcome = match asked.await {
            Ok(Ok(proposed)) => {
                let (answer, revision) = (convert::answer(&proposed.answer), proposed.revision);
                let mut ledger = self.world.ledger();
                let verdict = witness::acknowledged(&mut ledger, began, &request, proposed.index, &answer, revision);
                drop(ledger);
                self.world.judge(verdict);
                Outcome::Done { answer, revision }
            }
            Ok(Err(refusal)) => self.refused(began, &request, &text_of(&refusal)),
            Err(Lost::Down) => Outcome::SurelyNot("no node was there to ask".to_string()),
            Err(lost) => Outcome::Unknown(format!("{lost:?}")),
        };
        let done = matches!(outcome, Outcome::Done { .. } | Outcome::Refused(_));
        self.record(began, Call::Change(request), outcome);
        done
    }

    fn refused(&self, began: Began, request: &Request, refusal: &str) -> Outcome {
        let outcome = Outcome::of_refusal(refusal);
        match &outcome {
            Outcome::Refused(refusal) => {
                let verdict = witness::refused(&mut self.world.ledger(), began, request, refusal);
                self.world.judge(verdict);
                self.world.marks.hit("change refused by the state machine");
            }
            Outcome::SurelyNot(_) => self.world.marks.hit("change turned away before the log"),
            _ => self.world.marks.hit("change of open outcome"),
        }
        outcome
    }

    /// A read, after the view was held for a while.
    pub async fn range(&mut self, range: Range, linearizable: bool, held: Duration) -> bool {
        let query = convert::query(&range, !linearizable);
        self.world.judge(self.same_door(&query, shape::check_range(&range), &format!("{range:?}")));
        let Ok(query) = query else { return false };
        let began = self.began();
        let asked = self.world.ask(&mut self.dice, move |door| async move {
            let view = door.view(linearizable).await.map_err(ReadFailure::Refused)?;
            if !held.is_zero() {
                true_sleep(held).await;
            }
            let answer = view.range(&query);
            Ok((view.revision(), answer))
        });
        let (outcome, got) = match asked.await {
            Ok(Ok((_, Ok(answer)))) => {
                let answer = convert::range_answer(&answer);
                let revision = answer.revision;
                (Outcome::Done { answer: Answer::Range(answer.clone()), revision }, Some(Ok(answer)))
            }
            Ok(Ok((_, Err(ReadFailure::Refused(refusal))))) => {
                (Outcome::Refused(text_of(&refusal)), Some(Err(text_of(&refusal))))
            }
            Ok(Err(ReadFailure::Refused(refusal))) => (Outcome::Unknown(text_of(&refusal)), None),
            Ok(Ok((_, Err(ReadFailure::Wrong(wrong)))) | Err(ReadFailure::Wrong(wrong))) => {
                self.damaged(&format!("{range:?}"), &wrong);
                (Outcome::Unknown(wrong.to_string()), None)
            }
            Err(lost) => (Outcome::Unknown(format!("{lost:?}")), None),
        };
        let answered = got.is_some();
        if let Some(got) = got {
            let verdict = witness::range(&self.world.ledger(), began, linearizable, &range, &got);
            self.world.judge(verdict);
        }
        self.record(began, Call::Range { query: range, serializable: !linearizable }, outcome);
        answered
    }

    /// Reading what was written never fails while the machine is up: nothing here damages what is at rest.
    fn damaged(&self, asked: &str, wrong: &quorate::base::Wrong) {
        if !wrong.to_string().contains("the machine is down") {
            let story = format!("{asked}\nfailed with {wrong}");
            self.world.judge(Err(Violation::now("what was written can be read", story)));
        }
    }

    async fn txn(&mut self, txn: Txn) {
        if !txn.is_read_only() {
            self.change(Request::Txn(txn)).await;
            return;
        }
        let product = convert::read_only_txn(&txn, MAX_TXN_OPS);
        let spec = shape::check(&Request::Txn(txn.clone()), MAX_TXN_OPS);
        self.world.judge(self.same_door(&product, spec, &format!("{txn:?}")));
        let Ok(product) = product else { return };
        let began = self.began();
        let asked = self.world.ask(&mut self.dice, move |door| async move {
            let view = door.view(true).await.map_err(ReadFailure::Refused)?;
            Ok((view.revision(), quorate::machine::read_txn(&view, &product)))
        });
        let (outcome, got) = match asked.await {
            Ok(Ok((revision, Ok(answer)))) => {
                let answer = convert::txn_answer(&answer);
                (Outcome::Done { answer: Answer::Txn(answer.clone()), revision }, Some(Ok(answer)))
            }
            Ok(Ok((_, Err(ReadFailure::Refused(refusal))))) => {
                (Outcome::Refused(text_of(&refusal)), Some(Err(text_of(&refusal))))
            }
            Ok(Err(ReadFailure::Refused(refusal))) => (Outcome::Unknown(text_of(&refusal)), None),
            Ok(Ok((_, Err(ReadFailure::Wrong(wrong)))) | Err(ReadFailure::Wrong(wrong))) => {
                self.damaged(&format!("{txn:?}"), &wrong);
                (Outcome::Unknown(wrong.to_string()), None)
            }
            Err(lost) => (Outcome::Unknown(format!("{lost:?}")), None),
        };
        if let Some(got) = got {
            let verdict = witness::read_only_txn(&self.world.ledger(), began, true, &txn, &got);
            self.world.judge(verdict);
        }
        self.record(began, Call::ReadOnlyTxn { txn, serializable: false }, outcome);
    }

    fn note_lease(&self, what: &str, lost: Result<(), Lost>) {
        self.world.trace.note("lease answer", format!("{what} {lost:?}").as_bytes());
    }

    async fn keep_alive(&mut self, id: i64) {
        let began = self.began();
        let asked = self.world.ask(&mut self.dice, move |door| async move { door.keep_alive(id).await });
        let answer = asked.await;
        self.note_lease(&format!("{id} {answer:?}"), Ok(()));
        if let Ok(Ok(got)) = answer {
            if got.is_none() {
                self.world.marks.hit("keep-alive of a lease that is gone");
            }
            let ledger = self.world.ledger();
            let mut times = self.world.lease_times.lock().expect("no judge panics");
            let verdict = times.kept_alive(&ledger, began, id, got);
            drop(times);
            drop(ledger);
            self.world.judge(verdict);
        }
    }

    async fn time_to_live(&mut self, id: i64, keys: bool) {
        let began = self.began();
        let asked = self.world.ask(&mut self.dice, move |door| async move { door.time_to_live(id, keys).await });
        let answer = asked.await;
        self.note_lease(&format!("{id} {answer:?}"), Ok(()));
        if let Ok(Ok(got)) = answer {
            let got = got.map(|standing| {
                let held = standing.keys.iter().map(|key| key.to_vec()).collect();
                (standing.granted_ttl, standing.ttl, keys.then_some(held))
            });
            let ledger = self.world.ledger();
            let times = self.world.lease_times.lock().expect("no judge panics");
            let verdict = times.standing(&ledger, began, id, got);
            drop(times);
            drop(ledger);
            self.world.judge(verdict);
        }
    }

    /// Asks for all leases.
    pub async fn leases(&mut self) {
        let began = self.began();
        let asked = self.world.ask(&mut self.dice, |door| async move { door.leases().await });
        let answer = asked.await;
        self.note_lease(&format!("{answer:?}"), Ok(()));
        if let Ok(Ok(got)) = answer {
            let ledger = self.world.ledger();
            let times = self.world.lease_times.lock().expect("no judge panics");
            let verdict = times.listed(&ledger, began, &got);
            drop(times);
            drop(ledger);
            self.world.judge(verdict);
        }
    }
}
