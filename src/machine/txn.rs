//! Transactions: compares first, then checks, then the operations in order.
//!
//! Every compare, nested ones included, looks at the state before the transaction; every check is made
//! before anything is written, so that a transaction refused leaves no trace and uses no revision.
//!
//! What it changes may be more than one turn of the node may take: [`Writer::run`] goes on where it stopped.

use bytes::Bytes;

use super::choosing::{Choosing, Path, Source, branch};
use super::command::{Answer, DeleteRange, Op, OpAnswer, Put, Txn, TxnAnswer};
use super::deleted::Deleted;
use super::slice::Slice;
use crate::base::{KeyRange, KeyValue, LeaseId, Refusal, Wrong, limits};
use crate::env::Disk;
use crate::lease::LeaseTable;
use crate::mvcc::{LaterRange, NewValue, RangeQuery, ReadFailure, View, Weight, WriteTxn};

/// How far a transaction is along its path.
#[derive(Default)]
pub(super) struct Place {
    /// Of the operations that are done.
    answers: Vec<OpAnswer>,
    /// How many of them were transactions.
    nested: usize,
    /// Within the operation under way.
    inner: Option<Box<Place>>,
    deleting: Option<Deleting>,
}

/// How far a delete of a range is.
pub(super) struct Deleting {
    rest: Option<KeyRange>,
    deleted: i64,
    prev_kvs: Option<LaterRange>,
}

/// Checks the operations along the path taken, in their order.
fn check<'a>(txn: &'a Txn, path: &Path, one: &mut impl FnMut(&'a Op) -> Result<(), Refusal>) -> Result<(), Refusal> {
    let mut nested = path.nested.iter();
    for op in branch(txn, path.succeeded) {
        match op {
            Op::Txn(inner) => {
                let inner_path = nested.next().expect("a path has a branch for every nested transaction taken");
                check(inner, inner_path, one)?;
            }
            op => one(op)?,
        }
    }
    Ok(())
}

/// Refuses a put that cannot be done: the lease is looked at first, as in etcd. `deleted` are the ranges the
/// transaction deletes before it.
fn check_put(source: &impl Source, leases: &LeaseTable, put: &Put, deleted: &Deleted<'_>) -> Result<(), Refusal> {
    check_lease(leases, put.lease)?;
    // A key deleted just before has nothing left to keep. etcd 3.7.1 looks only at the state before the
    // transaction here, and then panics while it applies: nobody can rely on an answer.
    let gone = || deleted.contains(&put.key);
    if (put.ignore_value || put.ignore_lease) && (source.meta(&put.key).is_none() || gone()) {
        return Err(Refusal::KeyNotFound);
    }
    Ok(())
}

fn check_lease(leases: &LeaseTable, lease: LeaseId) -> Result<(), Refusal> {
    if lease != 0 && !leases.contains(lease) { Err(Refusal::LeaseNotFound) } else { Ok(()) }
}

fn check_range(source: &impl Source, query: &RangeQuery) -> Result<(), Refusal> {
    if query.revision == 0 {
        Ok(())
    } else if query.revision > source.revision() {
        Err(Refusal::FutureRevision)
    } else if query.revision < source.compact_revision() {
        // Negative numbers count, too, where the store was never compacted (its mark is -1): an etcd quirk.
        Err(Refusal::Compacted)
    } else {
        Ok(())
    }
}

/// Answers a transaction that only reads.
pub fn read_txn<D: Disk>(view: &View<D>, txn: &Txn) -> Result<TxnAnswer, ReadFailure> {
    let path = Path::of(view, txn).map_err(ReadFailure::Wrong)?;
    let mut range_only = |op: &Op| match op {
        Op::Range(query) => check_range(view, query),
        _ => unreachable!("a read-only transaction holds ranges only"),
    };
    check(txn, &path, &mut range_only).map_err(ReadFailure::Refused)?;
    let (mut answers, mut room) = (Vec::new(), limits::MAX_TXN_ANSWER_BYTES);
    if !weight_of(view, branch(txn, path.succeeded)).may_fit(room) {
        return Err(Refusal::AnswerTooLarge.into());
    }
    for op in branch(txn, path.succeeded) {
        let Op::Range(query) = op else { unreachable!("a read-only transaction holds ranges only") };
        answers.push(OpAnswer::Range(view.range_within(query, &mut room)?));
    }
    Ok(TxnAnswer { succeeded: path.succeeded, answers })
}

/// What a transaction that only reads may take, whichever way it goes. A few keys that it compares count as a row.
pub fn weigh_read_txn<D: Disk>(view: &View<D>, txn: &Txn) -> Weight {
    let [one, other] = [&txn.success, &txn.failure].map(|ops| weight_of(view, ops));
    let ranges = txn.compares.iter().filter(|compare| compare.range.as_single().is_none());
    let looked_at: u64 = ranges.map(|compare| view.count(&compare.range)).fold(0, u64::saturating_add);
    let compared = Weight { rows: looked_at / limits::LOOKS_PER_CHANGE as u64, ..Weight::default() };
    [one.or(other), compared].into_iter().sum()
}

fn weight_of<D: Disk>(view: &View<D>, ops: &[Op]) -> Weight {
    let weights = ops.iter().map(|op| match op {
        Op::Range(query) => view.weight(query),
        _ => unreachable!("a read-only transaction holds ranges only"),
    });
    weights.sum()
}

/// What a write transaction works with.
pub(super) struct Writer<'a, 'b, D: Disk> {
    pub(super) write: &'a mut WriteTxn<'b, D>,
    pub(super) leases: &'a mut LeaseTable,
    /// Bytes of the log entry the values are slices of.
    pub(super) backing_bytes: usize,
}

impl<D: Disk> Writer<'_, '_, D> {
    /// Goes on choosing the path against the state before, as far as the slice goes.
    pub(super) fn choose(&self, txn: &Txn, choosing: &mut Choosing, slice: &mut Slice) -> Result<Option<Path>, Wrong> {
        let mut looks = slice.looks();
        let before = looks.keys;
        let path = choosing.go_on(&*self.write, txn, &mut looks)?;
        slice.looked_at(before - looks.keys);
        Ok(path)
    }

    /// Refuses what cannot be done along a path.
    pub(super) fn check(&self, txn: &Txn, path: &Path) -> Result<(), Refusal> {
        let (source, mut deleted) = (&*self.write, Deleted::default());
        check(txn, path, &mut |op| match op {
            Op::Put(put) => check_put(source, self.leases, put, &deleted),
            Op::Range(query) => check_range(source, query),
            Op::DeleteRange(delete) => {
                deleted.add(&delete.range);
                Ok(())
            }
            Op::Txn(_) => unreachable!("nested transactions are walked, not checked"),
        })
    }

    /// The most keys the operations along a path can change; `puts` are made before.
    pub(super) fn most_changes(&self, txn: &Txn, path: &Path, puts: &mut u64) -> u64 {
        let mut nested = path.nested.iter();
        let mut most = 0;
        for op in branch(txn, path.succeeded) {
            most += match op {
                Op::Range(_) => 0,
                Op::Put(_) => {
                    *puts += 1;
                    1
                }
                Op::DeleteRange(DeleteRange { range, .. }) if range.as_single().is_some() => 1,
                Op::DeleteRange(DeleteRange { range, .. }) => self.most_of(range) + *puts,
                Op::Txn(inner) => {
                    let path = nested.next().expect("a path has a branch for every nested transaction taken");
                    self.most_changes(inner, path, puts)
                }
            };
        }
        most
    }

    /// The most keys that a delete of a range can delete now.
    pub(super) fn most_of(&self, range: &KeyRange) -> u64 {
        if range.as_single().is_some() { 1 } else { self.write.count(range) }
    }

    /// As [`WriteTxn::reads_few`], of all keys that the operations along a path change.
    pub(super) fn reads_few(&self, txn: &Txn, path: &Path, few: &mut usize) -> bool {
        let mut nested = path.nested.iter();
        branch(txn, path.succeeded).iter().all(|op| match op {
            Op::Range(_) => true,
            Op::Put(put) => self.write.reads_few(&KeyRange::single(put.key.clone()), few),
            Op::DeleteRange(delete) => self.write.reads_few(&delete.range, few),
            Op::Txn(inner) => {
                let path = nested.next().expect("a path has a branch for every nested transaction taken");
                self.reads_few(inner, path, few)
            }
        })
    }

    /// Does what is left of the operations along the path, as far as the slice goes; whether all are done.
    pub(super) fn run(&mut self, txn: &Txn, path: &Path, place: &mut Place, slice: &mut Slice) -> Result<bool, Wrong> {
        let ops = branch(txn, path.succeeded);
        while let Some(op) = ops.get(place.answers.len()) {
            let answer = match op {
                Op::Range(query) => self.range(query)?,
                Op::Put(_) | Op::DeleteRange(_) if slice.is_used_up(self.write.read_bytes()) => return Ok(false),
                Op::Put(put) => {
                    slice.changed(1);
                    let prev_kv = self.put(put)?;
                    let revision = self.write.revision();
                    let bare = |prev_kv| OpAnswer::Put { prev_kv, revision };
                    prev_kv.map_or_else(|later| OpAnswer::Later(Box::new(bare(None)), later), bare)
                }
                Op::DeleteRange(delete) => {
                    let deleting = place.deleting.get_or_insert_with(|| self.begin_delete(delete));
                    if !self.delete_on(deleting, slice)? {
                        return Ok(false);
                    }
                    let Deleting { deleted, prev_kvs, .. } = place.deleting.take().expect("it was under way");
                    let bare = OpAnswer::DeleteRange { deleted, prev_kvs: Vec::new(), revision: self.write.revision() };
                    match prev_kvs {
                        Some(later) => OpAnswer::Later(Box::new(bare), later),
                        None => bare,
                    }
                }
                Op::Txn(inner) => {
                    let path = &path.nested[place.nested];
                    let inside = place.inner.get_or_insert_default();
                    if !self.run(inner, path, inside, slice)? {
                        return Ok(false);
                    }
                    place.nested += 1;
                    OpAnswer::Txn(place.inner.take().expect("it was under way").answer(path))
                }
            };
            place.answers.push(answer);
        }
        Ok(true)
    }

    /// The answer to a range where it is at hand; else it is put off, because nobody may want it.
    fn range(&mut self, query: &RangeQuery) -> Result<OpAnswer, Wrong> {
        match self.write.range_at_hand(query) {
            None => {
                let later = self.write.range_later(query.clone());
                Ok(OpAnswer::Later(Box::new(OpAnswer::empty_range()), later))
            }
            Some(Ok(answer)) => Ok(OpAnswer::Range(answer)),
            Some(Err(ReadFailure::Wrong(wrong))) => Err(wrong),
            Some(Err(ReadFailure::Refused(refusal))) => {
                unreachable!("a range checked along the path was refused: {refusal}")
            }
        }
    }

    /// Refuses a put outside a transaction that cannot be done.
    pub(super) fn check_put(&self, put: &Put) -> Result<(), Refusal> {
        check_put(&*self.write, self.leases, put, &Deleted::default())
    }

    /// Writes a key that was checked; what it held before if that was asked for, be it still to be read.
    pub(super) fn put(&mut self, put: &Put) -> Result<Result<Option<KeyValue>, LaterRange>, Wrong> {
        let (mut value, mut lease, mut backing_bytes) = (put.value.clone(), put.lease, self.backing_bytes);
        if put.ignore_lease {
            lease = self.write.meta(&put.key).map_or(0, |meta| meta.lease);
        }
        if put.ignore_value
            && let Some(kept) = self.write.get(&put.key)?
        {
            backing_bytes = kept.value.len();
            value = kept.value;
        }
        let prev_kv = if put.prev_kv { self.before(&put.key)? } else { Ok(None) };
        self.write.put(NewValue { key: put.key.clone(), value, lease, backing_bytes })?;
        self.leases.attach(lease, &put.key).expect("the lease was checked before anything was written");
        Ok(prev_kv)
    }

    /// What a key holds, at hand or to be read.
    fn before(&mut self, key: &Bytes) -> Result<Result<Option<KeyValue>, LaterRange>, Wrong> {
        let query = RangeQuery::plain(KeyRange::single(key.clone()));
        if self.write.is_at_hand(&query) { self.write.get(key).map(Ok) } else { Ok(Err(self.write.range_later(query))) }
    }

    /// A delete of a range, of which nothing is done yet.
    pub(super) fn begin_delete(&mut self, delete: &DeleteRange) -> Deleting {
        let prev_kvs = delete.prev_kv.then(|| self.write.range_later(RangeQuery::plain(delete.range.clone())));
        Deleting { rest: Some(delete.range.clone()), deleted: 0, prev_kvs }
    }

    /// Goes on with it as far as the slice goes; whether it is done.
    pub(super) fn delete_on(&mut self, deleting: &mut Deleting, slice: &mut Slice) -> Result<bool, Wrong> {
        while let Some(range) = deleting.rest.take() {
            if slice.is_used_up(self.write.read_bytes()) {
                deleting.rest = Some(range);
                return Ok(false);
            }
            let (mut deleted, leases) = (0, &mut *self.leases);
            deleting.rest = self.write.delete_some(&range, slice.room(), |key, lease| {
                deleted += 1;
                let hung_on = if lease == 0 { 0 } else { leases.detach(key) };
                assert_eq!(hung_on, lease, "a key hangs on the lease it was put with");
            })?;
            deleting.deleted += deleted as i64;
            slice.changed(deleted);
        }
        Ok(true)
    }

    /// Deletes what is left of the keys on a lease, as far as the slice goes; whether none is left.
    pub(super) fn delete_leased(&mut self, id: LeaseId, slice: &mut Slice) -> Result<bool, Wrong> {
        loop {
            if slice.is_used_up(self.write.read_bytes()) {
                return Ok(self.leases.keys(id).next().is_none());
            }
            let Some(key) = self.leases.keys(id).next().cloned() else { return Ok(true) };
            let hung_on = self.leases.detach(&key);
            assert_eq!(hung_on, id, "a lease's keys know their lease");
            let mut deleted = 0;
            let rest = self.write.delete_some(&KeyRange::single(key), (1, usize::MAX), |_, lease| {
                assert_eq!(lease, id, "a key on a lease is alive and knows it");
                deleted += 1;
            })?;
            assert!(rest.is_none(), "one key is deleted at once");
            slice.changed(deleted);
        }
    }
}

impl Place {
    /// The answer of a transaction that is done.
    pub(super) fn answer(self, path: &Path) -> TxnAnswer {
        TxnAnswer { succeeded: path.succeeded, answers: self.answers }
    }
}

impl Deleting {
    /// The answer of a delete that is done.
    pub(super) fn answer(self) -> Answer {
        let bare = Answer::DeleteRange { deleted: self.deleted, prev_kvs: Vec::new() };
        match self.prev_kvs {
            Some(later) => Answer::Later(Box::new(bare), later),
            None => bare,
        }
    }
}
