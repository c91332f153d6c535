//! The details of one operation: few keys, so that clients meet, and every shape a request can have.
//!
//! Invariant: a draft is a function of its dice and of what its client has seen; a value is written by one
//! operation only.

use quorate::base::{Dice, SeededDice};
use quorate_spec::request::{AlarmKind, Bytes, Compare, DeleteRange, Op, Put, Range, Request, Span, Target, Txn};

use crate::oracles::bank::BANK;

/// The member alarms are raised for.
const ALARMED: u64 = 7;

/// The leases clients choose ids for; an id the node makes is never among them.
pub const LEASES: [i64; 9] = [1, 2, 3, 4, 5, 5, 4, i64::MAX, -9];

/// A revision, said so that it means the same in a run that went a little differently.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Whatever is newest.
    Newest,
    /// So far from the newest the client has heard of.
    Seen(i64),
    /// So many thousandths of the way from the first to the newest it has heard of.
    Share(u64),
    /// So far from the newest compaction it has heard of.
    Compacted(i64),
    /// A number.
    Exactly(i64),
}

/// What a draft is made from.
pub struct Drafting<'a> {
    /// Dice of this draft alone.
    pub dice: &'a mut SeededDice,
    /// How many keys the clients fight over.
    pub keys: u64,
    /// The newest revision the client has heard of.
    pub seen: i64,
    /// The newest compaction the client has heard of.
    pub compacted: i64,
    /// What makes the values of this operation its own.
    pub stamp: String,
    /// Values made so far.
    pub values: u64,
    /// Whether there is a bank: nobody but its own clients touches its keys.
    pub bank: bool,
}

impl Drafting<'_> {
    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.dice.below(choices.len() as u64) as usize].clone()
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.dice.one_in(one_in)
    }

    fn key(&mut self) -> Bytes {
        if self.chance(100) {
            return Bytes::new();
        }
        if self.chance(12) {
            return self.one_of(&[b"\0".to_vec(), b"\xff\xff".to_vec(), b"k".to_vec(), b"k0\0".to_vec()]);
        }
        format!("k{}", self.dice.below(self.keys)).into_bytes()
    }

    /// The keys of a range: one, some, from one on, none because the end lies before the start, all.
    pub fn span(&mut self) -> Span {
        match self.dice.below(10) {
            0..=4 => Span::one(self.key()),
            5..=6 => Span::between(self.key(), self.key()),
            7 => Span::between(self.key(), *b"\0"),
            8 => Span::between(*b"k", *b"l"),
            _ => Span::all(),
        }
    }

    fn value(&mut self) -> Bytes {
        self.values += 1;
        if self.chance(20) {
            return Bytes::new();
        }
        let mut value = format!("{}.{}", self.stamp, self.values).into_bytes();
        if self.chance(8) {
            let padding = self.one_of(&[10, 600, 600, 9_000]);
            value.resize(value.len() + padding, b'.');
        }
        value
    }

    /// A revision to read at: mostly now, else recent, old, future or absurd.
    pub fn revision(&mut self) -> i64 {
        let moment = self.moment();
        self.at(moment)
    }

    fn moment(&mut self) -> Moment {
        let dice = &mut self.dice;
        match dice.below(20) {
            0..=9 => Moment::Newest,
            10..=13 => Moment::Seen(-(dice.below(6) as i64)),
            14..=15 => Moment::Share(dice.below(1_000)),
            16 => Moment::Seen(1 + dice.below(3) as i64),
            17 => Moment::Seen(0),
            18 => Moment::Compacted(dice.below(3) as i64 - 1),
            _ => self.one_of(&[1, 2, -1, -2, i64::MAX, i64::MIN].map(Moment::Exactly)),
        }
    }

    /// The revision of a moment, as far as the client knows.
    fn at(&self, moment: Moment) -> i64 {
        let seen = self.seen.max(1);
        match moment {
            Moment::Newest => 0,
            Moment::Seen(more) => seen + more,
            Moment::Share(thousandths) => 1 + (seen - 1) * thousandths as i64 / 1_000,
            Moment::Compacted(more) => self.compacted + more,
            Moment::Exactly(revision) => revision,
        }
    }

    /// One of the leases the clients fight over.
    pub fn lease(&mut self) -> i64 {
        self.one_of(&LEASES)
    }

    /// A read.
    pub fn range(&mut self) -> Range {
        let mut range = Range { span: self.span(), revision: self.revision(), ..Range::default() };
        if self.chance(2) {
            range.limit = self.one_of(&[0, 1, 2, 3, 100, -1, i64::MAX]);
        }
        if self.chance(3) {
            range.sort_order = self.dice.below(3) as i32;
            range.sort_target = self.dice.below(5) as i32;
        }
        if self.chance(60) {
            range.sort_target = self.one_of(&[-1, 5, 77]);
        }
        range.keys_only = self.chance(6);
        range.count_only = self.chance(8);
        for field in 0..4 {
            if !self.chance(12) {
                continue;
            }
            let bound = self.revision();
            match field {
                0 => range.min_mod_revision = bound,
                1 => range.max_mod_revision = bound,
                2 => range.min_create_revision = bound,
                _ => range.max_create_revision = bound,
            }
        }
        range
    }

    /// A write of one key.
    pub fn put(&mut self) -> Put {
        let mut put = Put { key: self.key(), value: self.value(), prev_kv: self.chance(3), ..Put::default() };
        if self.chance(3) {
            put.lease = self.lease();
        }
        if self.chance(10) {
            put.ignore_value = true;
            if !self.chance(5) {
                put.value.clear();
            }
        }
        if self.chance(10) {
            put.ignore_lease = true;
            if !self.chance(5) {
                put.lease = 0;
            }
        }
        put
    }

    /// A delete.
    pub fn delete(&mut self) -> DeleteRange {
        let mut span = self.span();
        if self.bank && span.holds(BANK.as_bytes()) {
            span = Span::between(*b"k", *b"l");
        }
        DeleteRange { span, prev_kv: self.chance(2) }
    }

    fn compare(&mut self) -> Compare {
        let small = self.dice.below(4) as i64;
        let target = match self.dice.below(12) {
            0..=2 => Target::Version(small),
            3..=4 => Target::Create(if small == 0 { 0 } else { self.revision() }),
            5..=6 => Target::Mod(if small == 0 { 0 } else { self.revision() }),
            7..=8 => Target::Value(if small == 0 { Bytes::new() } else { b"5".to_vec() }),
            9..=10 => Target::Lease(if small == 0 { 0 } else { self.lease() }),
            _ => Target::Unknown(9),
        };
        let result = if self.chance(40) { 8 } else { self.dice.below(4) as i32 };
        Compare { span: self.span(), target, result }
    }

    /// A transaction; mostly small, sometimes at the edge of what is allowed, nested up to `depth`.
    pub fn txn(&mut self, depth: u64) -> Txn {
        let compares = (0..self.dice.below(4)).map(|_| self.compare()).collect();
        if self.chance(40) {
            let many = self.one_of(&[127, 128, 129]);
            return Txn { compares, success: self.many_ops(many), failure: Vec::new() };
        }
        let (success, failure) = (self.ops(depth), self.ops(depth));
        Txn { compares, success, failure }
    }

    fn ops(&mut self, depth: u64) -> Vec<Op> {
        let count = self.one_of(&[0, 1, 1, 2, 2, 3, 5]);
        let mut ops = Vec::new();
        let mut written: Vec<Bytes> = Vec::new();
        for _ in 0..count {
            let op = match self.dice.below(8) {
                0..=3 => Op::Put(self.put()),
                4 => Op::DeleteRange(self.delete()),
                5 if depth > 0 => Op::Txn(self.txn(depth - 1)),
                _ => Op::Range(self.range()),
            };
            // Mostly avoid what the door would turn away at once: the same key written twice.
            let clashes = match &op {
                Op::Put(put) => written.contains(&put.key),
                Op::DeleteRange(delete) => written.iter().any(|key| delete.span.holds(key)),
                _ => false,
            };
            if clashes && !self.chance(6) {
                continue;
            }
            if let Op::Put(put) = &op {
                written.push(put.key.clone());
            }
            ops.push(op);
        }
        ops
    }

    fn many_ops(&mut self, count: u64) -> Vec<Op> {
        let op = |n: u64| match n % 3 {
            0 => Op::Put(Put { key: format!("m{n}").into(), value: self.value(), ..Put::default() }),
            1 => Op::Range(Range { span: Span::one(format!("m{}", n - 1)), ..Range::default() }),
            _ => Op::DeleteRange(DeleteRange { span: Span::one(format!("n{n}")), prev_kv: true }),
        };
        (0..count).map(op).collect()
    }

    /// A transaction of reads.
    pub fn read_only_txn(&mut self) -> Txn {
        let ranges = |me: &mut Self| (0..me.dice.below(4)).map(|_| Op::Range(me.range())).collect();
        let compares = (0..self.dice.below(3)).map(|_| self.compare()).collect();
        Txn { compares, success: ranges(self), failure: ranges(self) }
    }

    /// A compaction; mostly a little behind now, so that reads of the past stay possible.
    pub fn compaction(&mut self) -> Request {
        let revision = if self.chance(3) { self.revision() } else { (self.seen - self.dice.below(30) as i64).max(1) };
        Request::Compact { revision }
    }

    /// A new lease: mostly so short that it ends within the run.
    pub fn grant(&mut self) -> Request {
        let id = if self.chance(5) { 0 } else { self.lease() };
        let ttl = self.one_of(&[1, 2, 2, 3, 5, 60, 1_000_000, 9_000_000_000, 9_000_000_001, 0, -7]);
        Request::LeaseGrant { id, ttl }
    }

    /// An alarm raised, or more often cleared.
    pub fn alarm(&mut self) -> Request {
        let kind = if self.chance(3) { AlarmKind::Corrupt } else { AlarmKind::NoSpace };
        Request::Alarm { on: self.chance(3), member: ALARMED, kind }
    }
}

/// Requests that clear every alarm a draft can have raised.
pub fn all_clear() -> [Request; 2] {
    [AlarmKind::Corrupt, AlarmKind::NoSpace].map(|kind| Request::Alarm { on: false, member: ALARMED, kind })
}
