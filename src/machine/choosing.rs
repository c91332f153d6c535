//! Which branches a transaction takes.
//!
//! Every compare, nested ones included, looks at the state before the transaction. Those of ranges may have more keys to look at
//! than one turn of the node may take: [`Choosing`] goes on where it stopped. Nothing is changed meanwhile.

use std::cmp::Ordering;

use super::command::{Compare, CompareResult, CompareTarget, Op, Txn};
use crate::base::{KeyRange, KeyValue, Wrong};
use crate::env::Disk;
use crate::mvcc::{Holds, KeyMeta, Looks, View, WriteTxn};

/// Something a transaction reads from: the state it starts from.
pub(super) trait Source {
    /// Whether `holds` says so of every alive key of `range`, as far as `looks` go.
    fn all(
        &self,
        range: &KeyRange,
        with_values: bool,
        looks: &mut Looks,
        holds: &mut dyn FnMut(&KeyValue) -> bool,
    ) -> Result<Holds, Wrong>;
    fn meta(&self, key: &[u8]) -> Option<KeyMeta>;
    fn revision(&self) -> i64;
    fn compact_revision(&self) -> i64;
}

impl<D: Disk> Source for View<D> {
    fn all(
        &self,
        range: &KeyRange,
        with_values: bool,
        looks: &mut Looks,
        holds: &mut dyn FnMut(&KeyValue) -> bool,
    ) -> Result<Holds, Wrong> {
        View::all(self, range, with_values, looks, holds)
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
        looks: &mut Looks,
        holds: &mut dyn FnMut(&KeyValue) -> bool,
    ) -> Result<Holds, Wrong> {
        WriteTxn::all(self, range, with_values, looks, holds)
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
    /// All of it at once.
    pub(super) fn of(source: &impl Source, txn: &Txn) -> Result<Self, Wrong> {
        let path = Choosing::default().go_on(source, txn, &mut { Looks::UNBOUNDED })?;
        Ok(path.expect("nothing bounds it"))
    }
}

/// How far the choice of a transaction's branches is.
#[derive(Default)]
pub(super) struct Choosing {
    /// How many of its compares hold.
    held: usize,
    /// What is left of the range of the next one, where some of it was looked at: it begins with a key.
    rest: Option<KeyRange>,
    succeeded: Option<bool>,
    /// How many operations of the branch were gone over for nested transactions, and what those take.
    walked: usize,
    nested: Vec<Path>,
    /// Within the nested transaction that is next.
    inner: Option<Box<Choosing>>,
}

impl Choosing {
    /// Goes on as far as `looks` go; the path, once all of it is chosen.
    pub(super) fn go_on(&mut self, source: &impl Source, txn: &Txn, looks: &mut Looks) -> Result<Option<Path>, Wrong> {
        let Some(succeeded) = self.compare(source, txn, looks)? else { return Ok(None) };
        let ops = branch(txn, succeeded);
        while let Some(op) = ops.get(self.walked) {
            if let Op::Txn(inner) = op {
                let inside = self.inner.get_or_insert_default();
                let Some(path) = inside.go_on(source, inner, looks)? else { return Ok(None) };
                self.inner = None;
                self.nested.push(path);
            }
            self.walked += 1;
        }
        Ok(Some(Path { succeeded, nested: std::mem::take(&mut self.nested) }))
    }

    /// Whether all compares hold, once that is known.
    fn compare(&mut self, source: &impl Source, txn: &Txn, looks: &mut Looks) -> Result<Option<bool>, Wrong> {
        while self.succeeded.is_none() {
            let Some(compare) = txn.compares.get(self.held) else {
                self.succeeded = Some(true);
                break;
            };
            if looks.is_used_up() {
                break;
            }
            let rest = self.rest.take();
            let holds = match look(source, compare, rest.as_ref().unwrap_or(&compare.range), looks)? {
                Holds::SoFar(rest) => {
                    self.rest = Some(rest);
                    break;
                }
                Holds::ForAll => true,
                Holds::NotForAll => false,
                Holds::NoKey => holds_for_no_key(compare),
            };
            if holds { self.held += 1 } else { self.succeeded = Some(false) }
        }
        Ok(self.succeeded)
    }
}

/// The operations of a branch.
pub(super) fn branch(txn: &Txn, succeeded: bool) -> &[Op] {
    if succeeded { &txn.success } else { &txn.failure }
}

/// Whether a compare holds for every key of a range.
fn look(source: &impl Source, compare: &Compare, range: &KeyRange, looks: &mut Looks) -> Result<Holds, Wrong> {
    let of_values = matches!(compare.target, CompareTarget::Value(_));
    // A key's numbers are in the index; only comparing values may need the disk.
    if let (Some(key), false) = (range.as_single(), of_values) {
        looks.keys -= 1;
        let holds = source.meta(key).map(|meta| holds_for(compare, &numbers_of(meta)));
        return Ok(holds.map_or(Holds::NoKey, |holds| if holds { Holds::ForAll } else { Holds::NotForAll }));
    }
    let held = source.all(range, of_values, looks, &mut |kv| holds_for(compare, kv))?;
    if held == Holds::NoKey {
        // To find that out is a look, too.
        looks.keys = looks.keys.saturating_sub(1);
    }
    Ok(held)
}

/// An empty range compares like a missing key: numbers against 0, a value never.
fn holds_for_no_key(compare: &Compare) -> bool {
    !matches!(compare.target, CompareTarget::Value(_)) && holds_for(compare, &KeyValue::default())
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
