//! The clients: each does the steps of its plan, one after the other, and has every answer judged.
//!
//! A client knows what a client knows: whom it talks to, what it was answered. When a member does not answer, or says
//! that it cannot serve, it turns to the next; what surely did not happen it asks again, and now and then also what may
//! have happened, as programs do: then it may happen twice, each time under an id of its own.

mod leases;
mod rights;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use quorate::auth::{Access, Asker, Auth};
use quorate::base::limits::MAX_TXN_ANSWER_BYTES;
use quorate::base::{Dice, Refusal, SeededDice};
use quorate::mvcc::ReadFailure;
use quorate_spec::history::{Call, Operation, Outcome};
use quorate_spec::request::{Answer, Range, RangeAnswer, Request, Txn, TxnAnswer};
use quorate_spec::shape;

use crate::chronicle::Happening;
use crate::convert;
use crate::credentials::Credentials;
use crate::draft::Drafting;
use crate::env::{forked, true_now, true_sleep};
use crate::oracles::disk::Promised;
use crate::oracles::ids::{Attempt, Ending};
use crate::oracles::quiet::OWED;
use crate::oracles::rights::{Access as Looks, is_of_rights};
use crate::oracles::users::Table;
use crate::oracles::witness::{self, Began};
use crate::oracles::{Verdict, Violation, require};
use crate::plan::{Kind, Step};
use crate::quiet;
use crate::quota;
use crate::world::{Lost, PATIENCE, World};

/// Longest list of a transaction, as the default flag has it.
const MAX_TXN_OPS: usize = 128;

/// So many times as long as a view is held it takes to find out for whom it is, where that is asked.
const ASKED_LATER: u32 = 8;

/// How long a view is held usually, at most: who holds one longer does not look later for whom it is.
const BRIEFLY: Duration = Duration::from_millis(25);

/// How long views are held for long: less than an answer is owed in.
const LONG: [Duration; 3] = [Duration::from_millis(200), Duration::from_millis(800), Duration::from_secs(2)];

/// Times a step is asked at most.
const TRIES: u32 = 4;

/// How one attempt ended, as the client sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// Answered, or refused for a reason of the request's own.
    Yes,
    /// It was not done.
    Not,
    /// It may have been done.
    Open,
}

/// What a read came to on its member: where the member stood when it was asked, and the answer.
type Looked<T> = (usize, Result<T, ReadFailure>);

/// One client.
pub struct Client {
    world: Arc<World>,
    number: u32,
    /// Whom it talks to.
    member: usize,
    dice: SeededDice,
    /// The newest revision it has heard of.
    seen: i64,
    /// The newest compaction it has heard of.
    compacted: i64,
    asked: u64,
    credentials: Credentials,
}

fn text_of(refusal: &Refusal) -> String {
    refusal.text().to_string()
}

/// Takes note where what is asked meets a command that is carried out in slices.
fn look_for_slices(world: &World, member: usize, asked: &Request) {
    if matches!(asked, Request::Compact { .. }) {
        world.meets(member, "in slices: a compaction was asked for");
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Client {
    /// A client by its number.
    pub fn new(world: Arc<World>, number: u32) -> Self {
        let dice = forked(world.plan.seed, "wire", u64::from(number));
        let member = number as usize % world.members.len();
        let credentials = Credentials::of(&world, number);
        Self { world, number, member, dice, seen: 1, compacted: 0, asked: 0, credentials }
    }

    /// Turns to a member.
    pub fn turn_to(&mut self, member: usize) {
        self.member = member % self.world.members.len();
    }

    /// Whom it talks to.
    pub fn member(&self) -> usize {
        self.member
    }

    /// Does its steps, until they or the run end.
    pub async fn run(mut self, steps: Vec<Step>) {
        for step in steps {
            true_sleep(step.pause).await;
            if self.world.is_lost() || true_now() > self.world.plan.until {
                return;
            }
            if let Some(member) = step.turn_to {
                self.turn_to(member);
            }
            let again = SeededDice::new(step.dice ^ 1).one_in(4);
            for attempt in 1..=TRIES {
                match self.step(step).await {
                    Settled::Yes => break,
                    Settled::Open if !again => break,
                    Settled::Not | Settled::Open => {
                        self.world.marks.hit("a client asked again");
                        self.turn_to(self.member + 1);
                        true_sleep(Duration::from_millis(u64::from(20 * attempt))).await;
                    }
                }
            }
        }
    }

    async fn step(&mut self, step: Step) -> Settled {
        self.asked += 1;
        let mut dice = SeededDice::new(step.dice);
        let stamp = format!("{}.{}", self.number, self.asked);
        let (keys, seen, compacted) = (self.world.plan.keys, self.seen, self.compacted);
        let mut draft =
            Drafting { dice: &mut dice, keys, seen, compacted, stamp, values: 0, bank: self.world.plan.bank.is_some() };
        match step.kind {
            Kind::Put => {
                let put = draft.put();
                self.change(Request::Put(put)).await
            }
            Kind::Delete => {
                let delete = draft.delete();
                self.change(Request::DeleteRange(delete)).await
            }
            Kind::Txn => {
                let txn = draft.txn(2);
                self.txn(txn).await
            }
            Kind::ReadOnlyTxn => {
                let txn = draft.read_only_txn();
                self.txn(txn).await
            }
            Kind::Range | Kind::SerializableRange => {
                let range = draft.range();
                self.range(range, step.kind == Kind::Range, Duration::from_millis(dice.below(25))).await
            }
            Kind::Compact => {
                let request = draft.compaction();
                self.change(request).await
            }
            Kind::LeaseGrant => {
                let request = draft.grant();
                self.change(request).await
            }
            Kind::LeaseRevoke => {
                let id = draft.lease();
                self.change(Request::LeaseRevoke { id }).await
            }
            Kind::KeepAlive => {
                let id = draft.lease();
                self.keep_alive(id).await
            }
            Kind::TimeToLive => {
                let (id, keys) = (draft.lease(), dice.one_in(2));
                self.time_to_live(id, keys).await
            }
            Kind::Leases => self.leases().await,
            Kind::Alarm => {
                let request = draft.alarm();
                self.change(request).await
            }
            Kind::HashKv => {
                let revision = draft.revision();
                self.hash_kv(revision).await
            }
            Kind::Hash => self.hash().await,
            Kind::Status => self.status().await,
            Kind::Defragment => self.defragment().await,
            Kind::LongView => {
                let range = draft.range();
                let (linearizable, held) = (dice.one_in(2), LONG[dice.below(3) as usize]);
                self.world.marks.hit("a view was held for long");
                self.range(range, linearizable, held).await
            }
            Kind::Pages => self.pages(dice).await,
        }
    }

    fn began(&self) -> Began {
        Began::now(&self.world.ledger())
    }

    /// How long it waits this time.
    fn patience(&mut self) -> Duration {
        let lone = self.world.members.len() == 1;
        let choices = if lone { [PATIENCE; 3] } else { [Duration::from_secs(1), Duration::from_secs(5), PATIENCE] };
        choices[self.dice.below(3) as usize]
    }

    fn record(&mut self, began: Began, call: Call, mut outcome: Outcome, mut index: Option<u64>) {
        let entry = index.and_then(|index| self.world.ledger().entry(index).map(|entry| entry.step.answer.clone()));
        if let Some(Err(refusal)) = entry.filter(|answer| answer.as_ref().is_err_and(|text| is_of_rights(text))) {
            // For want of a right it did nothing, whatever the client heard.
            (outcome, index) = (Outcome::SurelyNot(refusal.to_string()), None);
        }
        if let Outcome::Done { revision, .. } = &outcome {
            self.seen = self.seen.max(*revision);
            if let Call::Change(Request::Compact { revision }) = &call {
                self.compacted = self.compacted.max(*revision);
            }
        }
        let operation = Operation {
            id: self.asked,
            client: self.number,
            called_at: nanos(began.at),
            returned_at: nanos(true_now()),
            call,
            outcome,
            index,
        };
        self.world.record(operation);
        self.world.chronicle.member(self.member, || Happening::Answers);
    }

    /// The door of the product and the door of the specification let the same in.
    fn same_door<T>(
        &self,
        product: &Result<T, Refusal>,
        spec: Result<(), &str>,
        asked: &impl std::fmt::Debug,
    ) -> Verdict {
        let got = product.as_ref().map(|_| ()).map_err(Refusal::text);
        require(got == spec, "the door turns away what etcd turns away", || {
            format!("{asked:?}\nexpected {spec:?}, got {got:?}")
        })
    }

    /// Has a change done.
    pub async fn change(&mut self, request: Request) -> Settled {
        self.changed(request).await.1
    }

    /// Has a change done, and tells what came of it.
    pub async fn changed(&mut self, request: Request) -> (Outcome, Settled) {
        self.prove().await;
        let command = convert::command(&request, MAX_TXN_OPS);
        let spec = shape::check(&request, MAX_TXN_OPS);
        self.world.judge(self.same_door(&command, spec, &request));
        let command = match command {
            Ok(command) => command,
            Err(refusal) => {
                self.world.marks.hit("request turned away at the door");
                return (Outcome::SurelyNot(text_of(&refusal)), Settled::Yes);
            }
        };
        let (began, patience) = (self.began(), self.patience());
        let (world, member, asked) = (self.world.clone(), self.member, request.clone());
        let (client, shown, stood) = (self.number, self.credentials.shown(&self.world), self.stood());
        let proposing = self.world.ask((client, member), patience, &mut self.dice, move |door| async move {
            let asker = match shown.admitted(&door, &asked).await {
                Ok(asker) => asker,
                Err(refusal) => return (None, Err(refusal)),
            };
            look_for_slices(&world, member, &asked);
            let id = door.fresh_request_id();
            let attempt = Attempt { client, asker: asker.clone(), request: asked, ending: Ending::Open };
            world.judge(world.ledger().attempts_mut().begin(id, attempt));
            let mut proposed = door.propose_as(id, asker.as_ref(), command).await;
            if let Ok(told) = &mut proposed {
                world.promised(member, Promised::Entry { index: told.index, term: told.term });
                let answer = std::mem::replace(&mut told.answer, quorate::machine::Answer::Done);
                match answer.carry_out(MAX_TXN_ANSWER_BYTES) {
                    Ok(answer) => told.answer = answer,
                    // A fault of the disk: what was done stays done, and the client hears nothing of it.
                    Err(_) => proposed = Err(Refusal::Timeout),
                }
            }
            (Some(id), proposed)
        });
        let asked = proposing.await;
        let id = asked.as_ref().ok().and_then(|(id, _)| *id);
        let (outcome, settled) = match asked {
            Ok((Some(id), Ok(proposed))) => {
                let (answer, revision) = (convert::answer(&proposed.answer), proposed.revision);
                let mut ledger = self.world.ledger();
                let verdict = witness::acknowledged(&mut ledger, id, proposed.index, &answer, revision);
                drop(ledger);
                self.world.judge(verdict);
                (Outcome::Done { answer, revision }, Settled::Yes)
            }
            Ok((id, Err(refusal))) if is_of_rights(refusal.text()) => self.denied(id, stood, &refusal, &request),
            Ok((Some(id), Err(refusal))) => {
                self.turned_down(began, refusal.text(), &request);
                self.refused(id, refusal.text())
            }
            // It was not even found out who asks.
            Ok((None, outcome)) => {
                let why = outcome.map_or_else(|refusal| text_of(&refusal), |_| String::new());
                (Outcome::SurelyNot(why), Settled::Not)
            }
            Err(Lost::Down) => (Outcome::SurelyNot("the member was down".to_string()), Settled::Not),
            Err(Lost::NoAnswer) => {
                self.unanswered(began, patience, &request);
                (Outcome::Unknown("no answer".to_string()), Settled::Open)
            }
        };
        if settled == Settled::Yes {
            self.world.quiet().answered(self.member, began.at);
        }
        let index = id.and_then(|id| self.world.ledger().attempts().index_of(id));
        self.record(began, Call::Change(request), outcome.clone(), index);
        (outcome, settled)
    }

    /// A request was turned down: it may not be while nothing is wrong, if it is not the request's own fault.
    fn turned_down(&self, began: Began, why: &str, asked: &impl std::fmt::Debug) {
        let story = || format!("client {} of member {}: {asked:?}", self.number, self.member);
        quiet::refused(&self.world, (self.number, self.member), began.at, why, story);
    }

    /// A request was not answered for so long.
    fn unanswered(&self, began: Began, patience: Duration, asked: &impl std::fmt::Debug) {
        if patience >= OWED {
            self.turned_down(began, "", asked);
        }
    }

    /// What became of a question, held against what is owed.
    fn owed<T>(
        &self,
        began: Began,
        patience: Duration,
        answer: &Result<Result<T, Refusal>, Lost>,
        asked: &impl std::fmt::Debug,
    ) {
        match answer {
            Ok(Ok(_)) => self.world.quiet().answered(self.member, began.at),
            Ok(Err(refusal)) => self.turned_down(began, refusal.text(), asked),
            Err(Lost::NoAnswer) => self.unanswered(began, patience, asked),
            Err(Lost::Down) => {}
        }
    }

    fn refused(&self, id: u64, refusal: &str) -> (Outcome, Settled) {
        let decided = self.world.ledger().attempts().index_of(id).is_some();
        if refusal == Refusal::Corrupt.text() && !decided && self.world.members[self.member].is_struck() {
            // Its disk was damaged, and it takes the others' state: until it has that, it serves nobody.
            self.world.marks.hit("a damaged member served nobody");
            return (Outcome::Unknown(refusal.to_string()), Settled::Open);
        }
        if refusal == Refusal::NoSpace.text() && !decided {
            let asked = self.world.ledger().attempts().of(id).map(|attempt| attempt.request.clone());
            let verdict = asked.map_or(Ok(()), |asked| quota::refused(&self.world, self.member, &asked));
            self.world.judge(verdict);
        }
        let (verdict, outcome) = witness::refused(&mut self.world.ledger(), id, refusal);
        self.world.judge(verdict);
        let (settled, mark) = match &outcome {
            Outcome::Refused(_) | Outcome::Done { .. } => (Settled::Yes, "change refused by the state machine"),
            Outcome::SurelyNot(_) => (Settled::Not, "change refused before it was tried"),
            Outcome::Unknown(_) => (Settled::Open, "change of open outcome"),
        };
        self.world.marks.hit(mark);
        (outcome, settled)
    }

    /// A read, after the view was held for a while.
    pub async fn range(&mut self, range: Range, linearizable: bool, held: Duration) -> Settled {
        self.read(range, linearizable, held).await.0
    }

    /// A read, and what it was answered, if it was.
    pub async fn read(
        &mut self,
        range: Range,
        linearizable: bool,
        held: Duration,
    ) -> (Settled, Option<Result<RangeAnswer, String>>) {
        let query = convert::query(&range, !linearizable);
        self.world.judge(self.same_door(&query, shape::check_range(&range), &range));
        let Ok(query) = query else { return (Settled::Yes, None) };
        self.prove().await;
        let (began, patience) = (self.began(), self.patience());
        let (world, member) = (self.world.clone(), self.member);
        let (shown, stands) = (self.credentials.shown(&self.world), self.stood());
        let who = shown.user().map(str::to_string);
        let asked = self.world.ask((self.number, member), patience, &mut self.dice, move |door| async move {
            let stood = world.ledger().place_of(door.status().applied);
            let middle = world.slices.at(member);
            let may = |auth: &Auth, asker: Option<&Asker>| auth.check(asker, &query.range, Access::Read);
            let view = shown.view(&door, (linearizable, held.min(BRIEFLY) * ASKED_LATER), may).await?;
            if !linearizable && middle.is_some() && world.slices.at(member) == middle {
                world.marks.hit("in slices: a serializable read was served");
            }
            if !held.is_zero() {
                true_sleep(held).await;
            }
            let answer = view.range(&query).map(|answer| convert::range_answer(&answer));
            Ok((stood, answer.map(|answer| (answer, view.revision()))))
        });
        let answer = asked.await;
        self.owed(began, patience, &answer, &range);
        let may = |table: &Table, who: Option<&str>| table.may(who, &range.span, Looks::Read);
        let denied = self.looks_denied(stands, &answer, &range, may);
        let (stood, got, outcome) = self.looked((&range, began.at), answer, |(answer, revision)| {
            (answer.clone(), Outcome::Done { answer: Answer::Range(answer), revision })
        });
        let settled = if got.is_some() || denied { Settled::Yes } else { Settled::Not };
        if let Some(got) = &got {
            let ledger = self.world.ledger();
            let window = ledger.window(began.entries, (!linearizable).then_some((member, stood)));
            let verdict = witness::range(&ledger, window, who.as_deref(), &range, got);
            drop(ledger);
            self.world.judge(verdict);
        }
        self.record(began, Call::Range { query: range, serializable: !linearizable }, outcome, None);
        (settled, got)
    }

    /// What became of a read: where its member stood, what was answered if anything was, and the outcome.
    fn looked<T, U>(
        &self,
        (asked, since): (&impl std::fmt::Debug, Duration),
        answer: Result<Result<Looked<T>, Refusal>, Lost>,
        done: impl FnOnce(T) -> (U, Outcome),
    ) -> (usize, Option<Result<U, String>>, Outcome) {
        match answer {
            Ok(Ok((stood, Ok(answer)))) => {
                let (answer, outcome) = done(answer);
                (stood, Some(Ok(answer)), outcome)
            }
            Ok(Ok((stood, Err(ReadFailure::Refused(refusal))))) => {
                (stood, Some(Err(text_of(&refusal))), Outcome::Refused(text_of(&refusal)))
            }
            Ok(Ok((_, Err(ReadFailure::Wrong(wrong))))) => {
                // Reading what was written never fails while the machine is up: nothing here damages what is at rest.
                let member = &self.world.members[self.member];
                let excused = member.excuses(&wrong) || member.is_damaged_so(&wrong) || member.has_lost(&wrong, since);
                if !excused && !wrong.to_string().contains("the machine is down") {
                    let story = format!("{asked:?}\nfailed with {wrong}");
                    self.world.judge(Err(Violation::now("what was written can be read", story)));
                }
                (0, None, Outcome::Unknown(wrong.to_string()))
            }
            Ok(Err(refusal)) => (0, None, Outcome::Unknown(text_of(&refusal))),
            Err(lost) => (0, None, Outcome::Unknown(format!("{lost:?}"))),
        }
    }

    async fn txn(&mut self, txn: Txn) -> Settled {
        if !txn.is_read_only() {
            return self.change(Request::Txn(txn)).await;
        }
        self.read_txn(txn).await.0
    }

    /// A transaction that only reads, and what it was answered, if it was.
    pub async fn read_txn(&mut self, txn: Txn) -> (Settled, Option<Result<TxnAnswer, String>>) {
        let product = convert::read_only_txn(&txn, MAX_TXN_OPS);
        let spec = shape::check(&Request::Txn(txn.clone()), MAX_TXN_OPS);
        self.world.judge(self.same_door(&product, spec, &txn));
        let Ok(product) = product else { return (Settled::Yes, None) };
        self.prove().await;
        let (began, patience) = (self.began(), self.patience());
        let (shown, stands) = (self.credentials.shown(&self.world), self.stood());
        let who = shown.user().map(str::to_string);
        let asked = self.world.ask((self.number, self.member), patience, &mut self.dice, move |door| async move {
            let may = |auth: &Auth, asker: Option<&Asker>| quorate::machine::check_read_txn(auth, asker, &product);
            let view = shown.view(&door, (true, Duration::ZERO), may).await?;
            let answer = quorate::machine::read_txn(&view, &product);
            Ok((0, answer.map(|answer| (convert::txn_answer(&answer), view.revision()))))
        });
        let answer = asked.await;
        self.owed(began, patience, &answer, &txn);
        let denied = self.looks_denied(stands, &answer, &txn, |table, who| table.may_txn(who, &txn));
        let (_, got, outcome) = self.looked((&txn, began.at), answer, |(answer, revision)| {
            (answer.clone(), Outcome::Done { answer: Answer::Txn(answer), revision })
        });
        let settled = if got.is_some() || denied { Settled::Yes } else { Settled::Not };
        if let Some(got) = &got {
            let ledger = self.world.ledger();
            let window = ledger.window(began.entries, None);
            let verdict = witness::read_only_txn(&ledger, window, who.as_deref(), &txn, got);
            drop(ledger);
            self.world.judge(verdict);
        }
        self.record(began, Call::ReadOnlyTxn { txn, serializable: false }, outcome, None);
        (settled, got)
    }
}
