//! Reading a span of one state, with every option of etcd's range.

use std::cmp::Ordering;

use crate::request::{KeyValue, Range, RangeAnswer};
use crate::state::State;

/// The answer of `range` over `state`; `revision` is what the header tells.
pub fn read(state: &State, range: &Range, revision: i64) -> RangeAnswer {
    let in_span: Vec<KeyValue> =
        state.keys.values().filter(|kv| range.span.holds(&kv.key)).map(|kv| (**kv).clone()).collect();
    let count = in_span.len() as i64;
    if range.count_only {
        return RangeAnswer { kvs: Vec::new(), more: false, count, revision };
    }
    let mut kvs = fetched(in_span, range);
    kvs.retain(|kv| passes(kv, range));
    sort(&mut kvs, range);
    let more = range.limit > 0 && kvs.len() as i64 > range.limit;
    if more {
        kvs.truncate(range.limit as usize);
    }
    if range.keys_only {
        kvs.iter_mut().for_each(|kv| strip(kv, range));
    }
    RangeAnswer { kvs, more, count, revision }
}

/// The quirk: without an order and without filters only limit + 1 keys are looked at, before any sorting.
fn fetched(mut kvs: Vec<KeyValue>, range: &Range) -> Vec<KeyValue> {
    let takes_all = range.sort_order != 0 || has_filters(range);
    if range.limit > 0 && !takes_all {
        kvs.truncate(usize::try_from(range.limit).map_or(usize::MAX, |limit| limit.saturating_add(1)));
    }
    kvs
}

fn has_filters(range: &Range) -> bool {
    range.min_mod_revision != 0
        || range.max_mod_revision != 0
        || range.min_create_revision != 0
        || range.max_create_revision != 0
}

fn passes(kv: &KeyValue, range: &Range) -> bool {
    let above = |bound: i64, value: i64| bound == 0 || value >= bound;
    let below = |bound: i64, value: i64| bound == 0 || value <= bound;
    below(range.max_mod_revision, kv.mod_revision)
        && above(range.min_mod_revision, kv.mod_revision)
        && below(range.max_create_revision, kv.create_revision)
        && above(range.min_create_revision, kv.create_revision)
}

/// The order of two key-values by the field asked for; equal ones may come in any order.
pub fn by_target(target: i32, a: &KeyValue, b: &KeyValue) -> Ordering {
    match target {
        1 => a.version.cmp(&b.version),
        2 => a.create_revision.cmp(&b.create_revision),
        3 => a.mod_revision.cmp(&b.mod_revision),
        4 => a.value.cmp(&b.value),
        _ => a.key.cmp(&b.key),
    }
}

fn sort(kvs: &mut [KeyValue], range: &Range) {
    match range.sort_order {
        2 => kvs.sort_by(|a, b| by_target(range.sort_target, b, a)),
        1 => kvs.sort_by(|a, b| by_target(range.sort_target, a, b)),
        _ if range.sort_target != 0 => kvs.sort_by(|a, b| by_target(range.sort_target, a, b)),
        _ => {}
    }
}

/// Keys alone come from the index, which knows no lease; a sort by value reads the whole record first.
fn strip(kv: &mut KeyValue, range: &Range) {
    kv.value.clear();
    if range.sort_target != 4 {
        kv.lease = 0;
    }
}

/// Whether `got` is an answer etcd could give to `range` over `state`.
///
/// etcd's sort is not stable, so key-values equal in the field asked for may come in any order, and with a
/// limit any of the equal ones at the edge may be the ones cut off. Everything else must be as in [`read`].
pub fn is_answer(state: &State, range: &Range, revision: i64, got: &RangeAnswer) -> bool {
    let expected = read(state, range, revision);
    if expected == *got {
        return true;
    }
    if range.sort_target == 0 || expected.kvs.len() != got.kvs.len() {
        return false;
    }
    if (expected.more, expected.count, expected.revision) != (got.more, got.count, got.revision) {
        return false;
    }
    same_up_to_ties(state, range, &expected, got)
}

fn same_up_to_ties(state: &State, range: &Range, expected: &RangeAnswer, got: &RangeAnswer) -> bool {
    let everything = Range { limit: 0, keys_only: false, ..range.clone() };
    let whole = |key: &[u8]| state.keys.get(key).map(|kv| (**kv).clone());
    let mut seen = std::collections::BTreeSet::new();
    let candidates = match range.sort_order {
        // Without an order the keys looked at are fixed before sorting, so only their order is free.
        0 if range.limit > 0 && !has_filters(range) => {
            fetched(read(state, &Range { sort_target: 0, ..everything }, 0).kvs, range)
        }
        _ => read(state, &everything, 0).kvs,
    };
    expected.kvs.iter().zip(&got.kvs).all(|(want, have)| {
        let (Some(want), Some(full)) = (whole(&want.key), whole(&have.key)) else { return false };
        let mut stripped = full.clone();
        if range.keys_only {
            strip(&mut stripped, range);
        }
        stripped == *have
            && by_target(range.sort_target, &want, &full) == Ordering::Equal
            && candidates.contains(&full)
            && seen.insert(have.key.clone())
    })
}
