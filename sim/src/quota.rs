//! The quota of members, in runs that have one: who refuses for want of room must lack it.

use quorate::base::Refusal;
use quorate_spec::history::Outcome;
use quorate_spec::request::{Op, Request, Txn};

use crate::oracles::{Verdict, require};
use crate::plan::Plan;
use crate::world::World;

/// Bytes that etcd reckons for a put beside its key and value.
const PUT: usize = 256;

/// And for a grant.
const GRANT: usize = 64;

/// Whether members have a quota that a run may use up.
pub fn is_bounded(plan: &Plan) -> bool {
    plan.setting.quota_bytes > 0
}

/// A member refused what needs room before it was tried: its disk was full, or its quota is used up.
pub fn refused(world: &World, member: usize, request: &Request) -> Verdict {
    let (quota, asked) = (world.plan.setting.quota_bytes, &world.members[member]);
    let told = asked.living().map_or(0, |living| living.door.status().size_bytes);
    let (largest, cost) = (asked.largest().max(told), cost_of(request) as u64);
    // What it was in the moment of the refusal may have been a little more than anybody saw.
    let is_used_up = quota > 0 && 4 * (largest + cost) >= 3 * quota;
    world.marks.add("the quota was used up", u64::from(is_used_up));
    require(is_used_up || asked.disk.was_full(), "who refuses for want of room lacks it", || {
        format!("member {member}, of {largest} bytes at most with a quota of {quota}: {request:?} of {cost}")
    })
}

/// What a request may add to the store, by etcd's reckoning.
fn cost_of(request: &Request) -> usize {
    match request {
        Request::Put(put) => PUT + put.key.len() + put.value.len(),
        Request::Txn(txn) => cost_of_txn(txn),
        Request::LeaseGrant { .. } => GRANT,
        _ => 0,
    }
}

fn cost_of_txn(txn: &Txn) -> usize {
    let ops = txn.success.iter().chain(&txn.failure);
    let costs = ops.map(|op| match op {
        Op::Put(put) => PUT + put.key.len() + put.value.len(),
        Op::Txn(nested) => cost_of_txn(nested),
        Op::Range(_) | Op::DeleteRange(_) => 0,
    });
    costs.sum()
}

/// Whether it is to be seen of a refusal that it is of the quota.
pub fn is_for_want_of_room(plan: &Plan, outcome: &Outcome) -> bool {
    is_bounded(plan) && matches!(outcome, Outcome::SurelyNot(why) if why == Refusal::NoSpace.text())
}
