//! What etcd turns away at the door, before anything is agreed on: the shape of a request alone decides.

use std::collections::BTreeSet;

use crate::request::{Bytes, Op, Put, Range, Refusal, Request, Span, Txn, text};

/// Whether the door lets a request in; `max_ops` is the longest list a transaction may have.
///
/// # Errors
/// The refusal's text.
pub fn check(request: &Request, max_ops: usize) -> Result<(), Refusal> {
    match request {
        Request::Put(put) => check_put(put),
        Request::DeleteRange(delete) => check_key(&delete.span.key),
        Request::Txn(txn) => check_txn(txn, max_ops),
        _ => Ok(()),
    }
}

/// Whether the door lets a range in.
///
/// # Errors
/// The refusal's text.
pub fn check_range(range: &Range) -> Result<(), Refusal> {
    check_key(&range.span.key)?;
    if (0..=2).contains(&range.sort_order) && (0..=4).contains(&range.sort_target) {
        Ok(())
    } else {
        Err(text::INVALID_SORT)
    }
}

/// Whether the door lets a transaction in.
///
/// # Errors
/// The refusal's text.
pub fn check_txn(txn: &Txn, max_ops: usize) -> Result<(), Refusal> {
    check_ops(txn, i64::try_from(max_ops).unwrap_or(i64::MAX))?;
    for branch in [&txn.success, &txn.failure] {
        check_writes(branch)?;
    }
    Ok(())
}

fn check_key(key: &Bytes) -> Result<(), Refusal> {
    if key.is_empty() { Err(text::EMPTY_KEY) } else { Ok(()) }
}

fn check_put(put: &Put) -> Result<(), Refusal> {
    check_key(&put.key)?;
    if put.ignore_value && !put.value.is_empty() {
        return Err(text::VALUE_PROVIDED);
    }
    if put.ignore_lease && put.lease != 0 {
        return Err(text::LEASE_PROVIDED);
    }
    Ok(())
}

/// A nested transaction may be as long as what its parent left over.
fn check_ops(txn: &Txn, budget: i64) -> Result<(), Refusal> {
    let longest = txn.compares.len().max(txn.success.len()).max(txn.failure.len()) as i64;
    if longest > budget {
        return Err(text::TOO_MANY_OPS);
    }
    for compare in &txn.compares {
        check_key(&compare.span.key)?;
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Range(range) => check_range(range)?,
            Op::Put(put) => check_put(put)?,
            Op::DeleteRange(delete) => check_key(&delete.span.key)?,
            Op::Txn(nested) => check_ops(nested, budget - longest)?,
        }
    }
    Ok(())
}

/// What a list of operations may write.
#[derive(Clone, Default)]
struct Writes {
    puts: BTreeSet<Bytes>,
    deletes: Vec<Span>,
}

/// No key is put twice, or put and deleted, by operations that are done together. The branches of one nested
/// transaction are alternatives; each is held against the siblings of the transaction. Deletes may overlap;
/// one without an end counts for nothing (measured on etcd 3.7.1, which takes the end `"\0"` for a key);
/// as in etcd, a nested put is held against the deletes of *earlier* nested siblings only.
fn check_writes(ops: &[Op]) -> Result<Writes, Refusal> {
    let mut all = Writes::default();
    for op in ops {
        if let Op::DeleteRange(delete) = op
            && delete.span.end != [0]
        {
            all.deletes.push(delete.span.clone());
        }
    }
    for op in ops {
        let Op::Txn(nested) = op else { continue };
        let mut alternatives = Writes::default();
        for branch in [&nested.success, &nested.failure] {
            let writes = check_writes(branch)?;
            let clashes =
                writes.puts.iter().any(|key| all.puts.contains(key) || all.deletes.iter().any(|span| span.holds(key)));
            if clashes {
                return Err(text::DUPLICATE_KEY);
            }
            alternatives.puts.extend(writes.puts);
            alternatives.deletes.extend(writes.deletes);
        }
        all.puts.extend(alternatives.puts);
        all.deletes.extend(alternatives.deletes);
    }
    for op in ops {
        let Op::Put(put) = op else { continue };
        let fresh = all.puts.insert(put.key.clone());
        if !fresh || all.deletes.iter().any(|span| span.holds(&put.key)) {
            return Err(text::DUPLICATE_KEY);
        }
    }
    Ok(all)
}
