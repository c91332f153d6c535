//! The bank's clients: they look at all accounts, move money between some of them, and look again.
//!
//! A transfer compares the revisions of every account it touches, so that it is done on what its client saw or not at
//! all; therefore it may be asked again, as it is, whatever became of the first time. It may move between two or three
//! accounts, close one that is empty, or merge neighbours by one range delete; conditions and writes may be nested.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate::base::{Dice, SeededDice};
use quorate_spec::history::Outcome;
use quorate_spec::request::{Answer, Bytes, Compare, DeleteRange, KeyValue, Op, OpAnswer, Put, Range, Request, Span};
use quorate_spec::request::{Target, Txn, TxnAnswer};

use crate::calm::CALM_PATIENCE;
use crate::env::{true_now, true_sleep};
use crate::oracles::bank::{BANK, Moves, OPENING, account, accounts, receipt, receipts, written};
use crate::oracles::{Verdict, require};
use crate::plan::Teller;
use crate::traffic::{Client, Settled};
use crate::world::World;

/// Times a transfer is asked at most.
const TRIES: u32 = 3;

/// What a client saw of the accounts, by key.
type Held = BTreeMap<Bytes, KeyValue>;

fn sum_of(kv: Option<&KeyValue>) -> i64 {
    kv.and_then(|kv| std::str::from_utf8(&kv.value).ok()?.parse().ok()).unwrap_or(0)
}

/// A transfer, ready to be asked.
struct Transfer {
    moves: Moves,
    txn: Txn,
}

/// Drafts a transfer from what was seen; nothing where nobody has any money.
fn draft(dice: &mut SeededDice, count: u64, held: &Held, name: &str) -> Option<Transfer> {
    let sum = |number: u64| sum_of(held.get(&account(number)));
    let mut moves = Moves::new();
    let mut merged = None;
    if count > 2 && dice.one_in(5) {
        // Neighbours give all they have to one that is not among them.
        let first = dice.below(count - 1);
        let end = (first + 1 + dice.below(3)).min(count);
        let heirs: Vec<u64> = (0..count).filter(|number| !(first..end).contains(number)).collect();
        let heir = *heirs.get(dice.below(heirs.len().max(1) as u64) as usize)?;
        moves.extend((first..end).map(|number| (number, -sum(number))));
        moves.push((heir, (first..end).map(sum).sum()));
        merged = Some((first, end));
    } else {
        let from = dice.below(count);
        let payer = (0..count).map(|step| (from + step) % count).find(|number| sum(*number) > 0)?;
        let mut left = 1 + dice.below(u64::try_from(sum(payer)).ok()?) as i64;
        moves.push((payer, -left));
        let one = (payer + 1 + dice.below(count - 1)) % count;
        let other = (one + 1) % count;
        if other != payer && other != one && left > 1 && dice.one_in(2) {
            let part = 1 + dice.below(left.unsigned_abs() - 1) as i64;
            moves.push((other, part));
            left -= part;
        }
        moves.push((one, left));
    }
    let ops = writes(dice, held, &moves, merged, name);
    let txn = conditional(dice, held, &moves, ops);
    Some(Transfer { moves, txn })
}

/// What a transfer writes, its receipt with it.
fn writes(dice: &mut SeededDice, held: &Held, moves: &Moves, merged: Option<(u64, u64)>, name: &str) -> Vec<Op> {
    let mut ops = Vec::new();
    if let Some((first, end)) = merged {
        let span = Span::between(account(first), account(end));
        ops.push(Op::DeleteRange(DeleteRange { span, prev_kv: dice.one_in(2) }));
    }
    for (number, by) in moves.iter().filter(|(number, _)| merged.is_none_or(|(a, b)| !(a..b).contains(number))) {
        let key = account(*number);
        let sum = sum_of(held.get(&key)) + by;
        ops.push(if sum == 0 && dice.one_in(2) {
            Op::DeleteRange(DeleteRange { span: Span::one(key), prev_kv: false })
        } else {
            Op::Put(Put { key, value: sum.to_string().into_bytes(), ..Put::default() })
        });
    }
    ops.push(Op::Put(Put { key: receipt(name), value: written(moves), ..Put::default() }));
    if dice.one_in(2) {
        ops.push(look());
    }
    ops
}

/// The writes under the condition that every account touched is as it was seen.
fn conditional(dice: &mut SeededDice, held: &Held, moves: &Moves, ops: Vec<Op>) -> Txn {
    let same = |(number, _): &(u64, i64)| {
        let key = account(*number);
        let target = Target::Mod(held.get(&key).map_or(0, |kv| kv.mod_revision));
        Compare { span: Span::one(key), target, result: 0 }
    };
    let mut compares: Vec<Compare> = moves.iter().map(same).collect();
    let failure = vec![look()];
    if !dice.one_in(3) {
        return Txn { compares, success: ops, failure };
    }
    let rest = compares.split_off(dice.below(1 + compares.len() as u64) as usize);
    let nested = Txn { compares: rest, success: ops, failure: failure.clone() };
    Txn { compares, success: vec![Op::Txn(nested)], failure }
}

fn look() -> Op {
    Op::Range(Range { span: accounts(), ..Range::default() })
}

/// Whether the writes of a transfer were done, and what it saw of the accounts when it was over.
fn told(answer: &TxnAnswer) -> (bool, Option<&[KeyValue]>) {
    match answer.answers.last() {
        Some(OpAnswer::Txn(nested)) => {
            let (done, seen) = told(nested);
            (answer.succeeded && done, seen)
        }
        Some(OpAnswer::Range(range)) => (answer.succeeded, Some(&range.kvs)),
        _ => (answer.succeeded, None),
    }
}

/// One client of the bank.
pub struct BankClient {
    world: Arc<World>,
    client: Client,
    number: u32,
    accounts: u64,
    /// The newest revision it has heard of.
    seen: i64,
}

impl BankClient {
    /// A client of a bank of so many accounts.
    pub fn new(world: Arc<World>, number: u32, accounts: u64) -> Self {
        Self { client: Client::new(world.clone(), number), world, number, accounts, seen: 1 }
    }

    /// Does its turns, until they or the run end.
    pub async fn run(mut self, teller: Teller) {
        let mut dice = SeededDice::new(teller.dice);
        self.open(&mut dice).await;
        for turn in 0..teller.turns {
            true_sleep(Duration::from_nanos(dice.below(1 + teller.pause.as_nanos() as u64))).await;
            if self.world.is_lost() || true_now() > self.world.plan.until {
                return;
            }
            if dice.one_in(8) {
                self.client.turn_to(dice.below(self.world.members.len() as u64) as usize);
            }
            let held = self.look(&mut dice).await;
            if dice.one_in(4) {
                continue;
            }
            let name = format!("{}.{turn}", self.number);
            let Some(transfer) = held.and_then(|held| draft(&mut dice, self.accounts, &held, &name)) else { continue };
            self.transfer(&name, &transfer, &mut dice).await;
        }
    }

    /// Opens the bank, unless someone has.
    async fn open(&mut self, dice: &mut SeededDice) {
        let opening =
            |number| Op::Put(Put { key: account(number), value: OPENING.to_string().into_bytes(), ..Put::default() });
        let mark = format!("{BANK}open").into_bytes();
        let mut success: Vec<Op> = (0..self.accounts).map(opening).collect();
        success.push(Op::Put(Put { key: mark.clone(), ..Put::default() }));
        let compare = Compare { span: Span::one(mark), target: Target::Create(0), result: 0 };
        let txn = Txn { compares: vec![compare], success, failure: Vec::new() };
        for _ in 0..10 {
            if self.world.is_lost() || true_now() > self.world.plan.until {
                return;
            }
            let (outcome, settled) = self.client.changed(Request::Txn(txn.clone())).await;
            if let Outcome::Done { answer: Answer::Txn(TxnAnswer { succeeded: true, .. }), revision } = outcome {
                self.world.marks.hit("a bank opened");
                let verdict = self.world.bank().opened(revision);
                self.world.judge(verdict);
            }
            // Its own condition keeps it from being done twice.
            if settled == Settled::Yes {
                return;
            }
            self.client.turn_to(self.client.member() + 1);
            true_sleep(Duration::from_millis(20 + dice.below(200))).await;
        }
    }

    /// Looks at all accounts: now, or as of a revision; with or without agreement; nothing where the bank is not seen
    /// open or nobody answers.
    async fn look(&mut self, dice: &mut SeededDice) -> Option<Held> {
        let revision = if dice.one_in(4) { (self.seen - dice.below(20) as i64).max(1) } else { 0 };
        let linearizable = dice.below(3) < 2;
        let range = Range { span: accounts(), revision, ..Range::default() };
        let least = if linearizable && revision == 0 { self.world.bank().acknowledged() } else { 0 };
        let kvs = if linearizable && dice.one_in(4) {
            let txn = Txn { success: vec![Op::Range(range)], ..Txn::default() };
            let (_, got) = self.client.read_txn(txn).await;
            let answer = got?.ok()?.answers.into_iter().next();
            let Some(OpAnswer::Range(answer)) = answer else { return None };
            (answer.kvs, answer.revision)
        } else {
            let held = Duration::from_millis(dice.below(25));
            let (_, got) = self.client.read(range, linearizable, held).await;
            let answer = got?.ok()?;
            (answer.kvs, answer.revision)
        };
        let (kvs, store) = kvs;
        self.seen = self.seen.max(store);
        let at = if revision == 0 { store } else { revision };
        self.world.marks.hit(if linearizable { "accounts looked at" } else { "accounts looked at, perhaps of old" });
        self.judge_look((at, least), &kvs);
        (!kvs.is_empty()).then(|| kvs.into_iter().map(|kv| (kv.key.clone(), kv)).collect())
    }

    fn judge_look(&self, at: (i64, i64), kvs: &[KeyValue]) {
        let verdict = self.world.bank().looked(at, kvs);
        self.world.judge(verdict);
    }

    async fn transfer(&mut self, name: &str, transfer: &Transfer, dice: &mut SeededDice) {
        for _ in 0..TRIES {
            self.world.bank().tries(name, &transfer.moves);
            let (outcome, settled) = self.client.changed(Request::Txn(transfer.txn.clone())).await;
            let marks = &self.world.marks;
            match outcome {
                Outcome::Done { answer: Answer::Txn(answer), revision } => {
                    self.seen = self.seen.max(revision);
                    let (done, seen) = told(&answer);
                    if let Some(kvs) = seen {
                        marks.hit("accounts looked at by a transfer");
                        self.judge_look((revision, 0), kvs);
                    }
                    marks.hit(if done { "a transfer was done" } else { "a transfer met another" });
                    if done {
                        let verdict = self.world.bank().done(name, revision);
                        self.world.judge(verdict);
                    } else {
                        self.world.bank().not_done(name);
                    }
                }
                Outcome::Refused(_) | Outcome::SurelyNot(_) => self.world.bank().not_done(name),
                Outcome::Done { .. } | Outcome::Unknown(_) => marks.hit("a transfer of open outcome"),
            }
            if settled == Settled::Yes || self.world.is_lost() || (settled == Settled::Open && dice.one_in(2)) {
                return;
            }
            self.client.turn_to(self.client.member() + 1);
            true_sleep(Duration::from_millis(1 + dice.below(100))).await;
        }
    }
}

/// In a calm world: accounts and receipts on every member, by a read of one revision.
pub async fn audit(world: &World, auditor: &mut Client, members: &[usize]) -> Verdict {
    if world.plan.bank.is_none() {
        return Ok(());
    }
    for member in members.iter().copied() {
        auditor.turn_to(member);
        let since = true_now();
        let all = Range { span: Span::between(BANK, *b"bank0"), ..Range::default() };
        let answer = loop {
            let (_, got) = auditor.read(all.clone(), true, Duration::ZERO).await;
            match got {
                Some(Ok(answer)) => break answer,
                _ if world.is_lost() => return Ok(()),
                _ => require(true_now() < since + CALM_PATIENCE, "a calm member answers reads", || {
                    format!("member {member}: {all:?} since {since:?}")
                })?,
            }
            true_sleep(Duration::from_millis(50)).await;
        };
        let among =
            |span: Span| -> Vec<KeyValue> { answer.kvs.iter().filter(|kv| span.holds(&kv.key)).cloned().collect() };
        let (accounts, receipts) = (among(accounts()), among(receipts()));
        world.bank().settled(answer.revision, &accounts, &receipts)?;
        world.marks.add("receipts held against the accounts", receipts.len() as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_moves_money_and_makes_none_and_every_shape_is_drafted() {
        let mut dice = SeededDice::new(7);
        let kv = |number: u64| KeyValue { key: account(number), value: b"40".to_vec(), ..KeyValue::default() };
        let held: Held = (0..4).map(kv).map(|kv| (kv.key.clone(), kv)).collect();
        let (mut shapes, mut nested) = ([0; 3], 0);
        for turn in 0..300 {
            let Transfer { moves, txn } = draft(&mut dice, 4, &held, &format!("1.{turn}")).unwrap();
            assert_eq!(moves.iter().map(|(_, by)| by).sum::<i64>(), 0, "{moves:?}");
            assert!(moves.iter().all(|(_, by)| 40 + by >= 0), "{moves:?}");
            let inner = match &txn.success[0] {
                Op::Txn(inner) => inner,
                _ => &txn,
            };
            nested += u32::from(inner != &txn);
            let range = inner.success.iter().any(|op| matches!(op, Op::DeleteRange(it) if !it.span.end.is_empty()));
            shapes[if range { 0 } else { moves.len() - 1 }] += 1;
        }
        assert!(shapes.iter().all(|count| *count > 20) && nested > 20, "{shapes:?} {nested}");
    }
}
