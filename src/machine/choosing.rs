//! Which branches a transaction takes.
//!
//! Every compare, nested ones included, looks at the state before the transaction.

use std::cmp::Ordering;

use bytes::Bytes;

use super::command::{Compare, CompareResult, CompareTarget, Op, Txn};
use crate::base::{KeyRange, KeyValue, Wrong};
use crate::env::Disk;
use crate::mvcc::{KeyMeta, View, WriteTxn};

/// Something a transaction reads from: the state it starts from.
pub(super) trait Source {
    /// Whether `holds` says so of every alive key of `range`; nothing of a range without one.
    fn all(
        &self,
        range: &KeyRange,
        with_values: bool,
        holds: &mut dyn FnMut(&KeyValue) -> bool,
    ) -> Result<Option<bool>, Wrong>;
    fn meta(&self, key: &[u8]) -> Option<KeyMeta>;
    fn revision(&self) -> i64;
    fn compact_revision(&self) -> i64;
}

impl<D: Disk> Source for View<D> {
    fn all(
        &self,
        range: &KeyRange,
        with_values: bool,
        holds: &mut dyn FnMut(&KeyValue) -> bool,
    ) -> Result<Option<bool>, Wrong> {
        View::all(self, range, with_values, holds)
    }
    fn meta(&self, key: &[u8]) -> Option<KeyMeta> {
        View::meta(self, key)
    }
    fn revision(&self) -> i64 {
        View::revision(self)
    }
    fn compact_revision(&self) -> i64 {
        View::compact_revision(self)
    }
}

impl<D: Disk> Source for WriteTxn<'_, D> {
    fn all(
        &self,
        range: &KeyRange,
        with_values: bool,
        holds: &mut dyn FnMut(&KeyValue) -> bool,
    ) -> Result<Option<bool>, Wrong> {
        WriteTxn::all(self, range, with_values, holds)
    }
    fn meta(&self, key: &[u8]) -> Option<KeyMeta> {
        WriteTxn::meta(self, key)
    }
    fn revision(&self) -> i64 {
        WriteTxn::revision(self)
    }
    fn compact_revision(&self) -> i64 {
        WriteTxn::compact_revision(self)
    }
}

/// The branches a transaction takes, in the order its nested transactions are met.
pub(super) struct Path {
    pub(super) succeeded: bool,
    pub(super) nested: Vec<Path>,
}

impl Path {
    pub(super) fn of(source: &impl Source, txn: &Txn) -> Result<Self, Wrong> {
        let mut succeeded = true;
        for compare in &txn.compares {
            if !holds(source, compare)? {
                succeeded = false;
                break;
            }
        }
        let mut nested = Vec::new();
        for op in branch(txn, succeeded) {
            if let Op::Txn(inner) = op {
                nested.push(Self::of(source, inner)?);
            }
        }
        Ok(Self { succeeded, nested })
    }
}

pub(super) fn branch(txn: &Txn, succeeded: bool) -> &[Op] {
    if succeeded { &txn.success } else { &txn.failure }
}

/// Whether a compare holds for every key of its range. An empty range compares like a missing key: numbers
/// against 0, a value never.
fn holds(source: &impl Source, compare: &Compare) -> Result<bool, Wrong> {
    // A key's numbers are in the index; only comparing values may need the disk.
    if let (Some(key), false) = (compare.range.as_single(), matches!(compare.target, CompareTarget::Value(_))) {
        let found = source.meta(key).map_or_else(KeyValue::default, numbers_of);
        return Ok(holds_for(compare, &found));
    }
    let of_values = matches!(compare.target, CompareTarget::Value(_));
    let found = source.all(&compare.range, of_values, &mut |kv| holds_for(compare, kv))?;
    Ok(found.unwrap_or_else(|| !of_values && holds_for(compare, &KeyValue::default())))
}

/// What a compare of numbers looks at.
fn numbers_of(meta: KeyMeta) -> KeyValue {
    KeyValue {
        create_revision: meta.create_revision,
        mod_revision: meta.mod_revision(),
        version: meta.version,
        lease: meta.lease,
        ..KeyValue::default()
    }
}

fn holds_for(compare: &Compare, kv: &KeyValue) -> bool {
    let order = match &compare.target {
        CompareTarget::Version(operand) => kv.version.cmp(operand),
        CompareTarget::Create(operand) => kv.create_revision.cmp(operand),
        CompareTarget::Mod(operand) => kv.mod_revision.cmp(operand),
        CompareTarget::Value(operand) => kv.value.cmp(operand),
        CompareTarget::Lease(operand) => kv.lease.cmp(operand),
        CompareTarget::Unknown(_) => Ordering::Equal,
    };
    match compare.result {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
        CompareResult::Unknown(_) => true,
    }
}
