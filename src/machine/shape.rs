//! What a transaction must look like before it is proposed: etcd's checks, in etcd's order.
//!
//! They hold before the log, not in it: a logged transaction has passed them.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::command::{Op, Txn};
use super::deleted::Deleted;
use crate::base::{RangeEnd, Refusal};
use crate::wire::etcdserverpb as pb;

/// Refuses a transaction with more than `budget` operations in a list, its nested ones included: each level
/// takes the length of its longest list from the budget of the next.
///
/// Walks compares, success, failure and reports the first thing wrong, whichever kind it is.
pub(super) fn check_txn_size(txn: &pb::TxnRequest, budget: i64) -> Result<(), Refusal> {
    let longest = txn.compare.len().max(txn.success.len()).max(txn.failure.len()) as i64;
    if longest > budget {
        return Err(Refusal::TooManyOps);
    }
    if txn.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Refusal::EmptyKey);
    }
    txn.success.iter().chain(&txn.failure).try_for_each(|op| check_op(op, budget - longest))
}

fn check_op(op: &pb::RequestOp, budget: i64) -> Result<(), Refusal> {
    use pb::request_op::Request;
    match op.request.as_ref().ok_or(Refusal::KeyNotFound)? {
        Request::RequestRange(range) => {
            if range.key.is_empty() {
                return Err(Refusal::EmptyKey);
            }
            if !(0..=2).contains(&range.sort_order) || !(0..=4).contains(&range.sort_target) {
                return Err(Refusal::InvalidSortOption);
            }
            Ok(())
        }
        Request::RequestPut(put) if put.key.is_empty() => Err(Refusal::EmptyKey),
        Request::RequestPut(put) if put.ignore_value && !put.value.is_empty() => Err(Refusal::ValueProvided),
        Request::RequestPut(put) if put.ignore_lease && put.lease != 0 => Err(Refusal::LeaseProvided),
        Request::RequestDeleteRange(delete) if delete.key.is_empty() => Err(Refusal::EmptyKey),
        Request::RequestPut(_) | Request::RequestDeleteRange(_) => Ok(()),
        Request::RequestTxn(txn) => check_txn_size(txn, budget),
    }
}

/// Refuses a transaction that writes a key twice on one path, or writes a key it deletes. The branches of a
/// nested transaction are alternatives to each other, but not to their siblings.
pub(super) fn check_duplicate_keys(txn: &Txn) -> Result<(), Refusal> {
    written_by(&txn.success)?;
    written_by(&txn.failure)?;
    Ok(())
}

#[derive(Default)]
struct Written<'a> {
    puts: BTreeSet<&'a Bytes>,
    /// Without those of an open end: etcd compares the end `"\0"` as if it were a key, and clients may rely on what that
    /// lets through.
    deletes: Deleted<'a>,
}

fn written_by(ops: &[Op]) -> Result<Written<'_>, Refusal> {
    let mut written = Written::default();
    for op in ops {
        if let Op::DeleteRange(delete) = op
            && delete.range.end != RangeEnd::Open
        {
            written.deletes.add(&delete.range);
        }
    }
    for op in ops {
        let Op::Txn(nested) = op else { continue };
        let then = written_by(&nested.success)?;
        let otherwise = written_by(&nested.failure)?;
        for key in &then.puts {
            if written.deletes.contains(key) || !written.puts.insert(key) {
                return Err(Refusal::DuplicateKey);
            }
        }
        for key in &otherwise.puts {
            let taken = written.puts.contains(*key) && !then.puts.contains(*key);
            if taken || written.deletes.contains(key) {
                return Err(Refusal::DuplicateKey);
            }
            written.puts.insert(key);
        }
        written.deletes.add_all(then.deletes);
        written.deletes.add_all(otherwise.deletes);
    }
    for op in ops {
        let Op::Put(put) = op else { continue };
        if written.deletes.contains(&put.key) || !written.puts.insert(&put.key) {
            return Err(Refusal::DuplicateKey);
        }
    }
    Ok(written)
}
