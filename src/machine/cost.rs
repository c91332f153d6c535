//! What a command may add to the store.
//!
//! Knows etcd's reckoning only, not what is stored.

use super::command::{Command, Op, Put, Txn};

/// Bytes a command may add to the store by etcd's reckoning, 0 for one that adds nothing: a put counts
/// 256 and its key and value, a lease 64, a transaction its costlier branch.
pub fn put_cost(command: &Command) -> u64 {
    match command {
        Command::Put(put) => one_put_cost(put),
        Command::Txn(txn) => txn_cost(txn),
        Command::LeaseGrant { .. } => 64,
        _ => 0,
    }
}

fn one_put_cost(put: &Put) -> u64 {
    256 + put.key.len() as u64 + put.value.len() as u64
}

fn txn_cost(txn: &Txn) -> u64 {
    let branch = |ops: &[Op]| -> u64 {
        ops.iter()
            .map(|op| match op {
                Op::Put(put) => one_put_cost(put),
                Op::Txn(nested) => txn_cost(nested),
                Op::Range(_) | Op::DeleteRange(_) => 0,
            })
            .sum()
    };
    branch(&txn.success).max(branch(&txn.failure))
}
