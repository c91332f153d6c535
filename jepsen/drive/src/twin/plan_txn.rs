//! Random transactions: compares with every target, nested branches, missing parts, too many operations.
//!
//! Does not know what the transaction will do; see [`super::plan`].

use quorate::base::Dice;
use quorate::wire::etcdserverpb as pb;
use quorate::wire::etcdserverpb::compare::TargetUnion;
use quorate::wire::etcdserverpb::request_op::Request;

use super::plan::Plan;

/// The deepest random nesting. Deeper ones are sent as raw bytes, since this client could not read the answer.
const DEPTH: u32 = 4;

/// A transaction.
pub fn txn(plan: &mut Plan) -> pb::TxnRequest {
    let mut txn = match plan.dice.below(40) {
        0 => crowded(plan),
        1 => tower(plan),
        _ => branch(plan, 0),
    };
    if has_open_delete(&txn) {
        keep_nothing(&mut txn);
    }
    txn
}

/// Whether anything in it deletes up to the end of the keyspace.
fn has_open_delete(txn: &pb::TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Request::RequestDeleteRange(delete)) => delete.range_end.as_ref() == [0],
        Some(Request::RequestTxn(inner)) => has_open_delete(inner),
        _ => false,
    })
}

/// Takes the flags that keep a value or lease from all its puts. Stock etcd 3.7.1 does not see that a delete with the end
/// `\0` overlaps a put, lets both through, and panics in apply when that put then wants to keep what is no longer there;
/// the entry stays in its log, so it never starts again. A twin that dies compares nothing.
fn keep_nothing(txn: &mut pb::TxnRequest) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Request::RequestPut(put)) => (put.ignore_value, put.ignore_lease) = (false, false),
            Some(Request::RequestTxn(inner)) => keep_nothing(inner),
            _ => {}
        }
    }
}

fn branch(plan: &mut Plan, depth: u32) -> pb::TxnRequest {
    let compares = plan.dice.below(3);
    let compare = (0..compares).map(|_| compare(plan)).collect();
    let read_only = plan.dice.one_in(4);
    let ops = |plan: &mut Plan| {
        let count = plan.dice.below(5);
        (0..count).map(|_| op(plan, depth, read_only)).collect()
    };
    pb::TxnRequest { compare, success: ops(plan), failure: ops(plan) }
}

fn op(plan: &mut Plan, depth: u32, read_only: bool) -> pb::RequestOp {
    let range = |plan: &mut Plan| {
        let mut range = plan.range();
        // A future or compacted revision fails the whole transaction: mostly not.
        if !plan.dice.one_in(6) {
            range.revision = 0;
        }
        Request::RequestRange(range)
    };
    let request = match plan.dice.below(40) {
        0 => None,
        _ if read_only => Some(range(plan)),
        1..18 => {
            let mut put = plan.put();
            // Unknown leases and missing keys fail the whole transaction: mostly not.
            if !plan.dice.one_in(5) {
                (put.lease, put.ignore_value, put.ignore_lease) = (0, false, false);
            }
            Some(Request::RequestPut(put))
        }
        18..24 => Some(Request::RequestDeleteRange(plan.delete())),
        24..32 if depth < DEPTH => Some(Request::RequestTxn(branch(plan, depth + 1))),
        _ => Some(range(plan)),
    };
    pb::RequestOp { request }
}

fn compare(plan: &mut Plan) -> pb::Compare {
    let target = plan.choice(5);
    let number = match plan.dice.below(4) {
        0 => plan.dice.below(4) as i64,
        1 => plan.lease(),
        _ => plan.revision(),
    };
    // Now and then the union is missing or of another kind than the target says.
    let kind = if plan.dice.one_in(12) { plan.dice.below(6) as i32 } else { target };
    let target_union = match kind {
        0 => Some(TargetUnion::Version(number)),
        1 => Some(TargetUnion::CreateRevision(number)),
        2 => Some(TargetUnion::ModRevision(number)),
        3 => Some(TargetUnion::Value(plan.value())),
        4 => Some(TargetUnion::Lease(number)),
        _ => None,
    };
    let (key, range_end) = plan.span();
    let range_end = if plan.dice.one_in(3) { range_end } else { Default::default() };
    pb::Compare { result: plan.choice(4), target, key, range_end, target_union }
}

/// Around the limit of 128 operations in a list.
fn crowded(plan: &mut Plan) -> pb::TxnRequest {
    let count = 126 + plan.dice.below(4);
    let list = |plan: &mut Plan| -> Vec<pb::RequestOp> {
        (0..count)
            .map(|at| {
                let key = format!("k/many/{at}").into();
                let put = pb::PutRequest { key, value: plan.value().slice(..0), ..Default::default() };
                pb::RequestOp { request: Some(Request::RequestPut(put)) }
            })
            .collect()
    };
    match plan.dice.below(3) {
        0 => pb::TxnRequest { success: list(plan), ..Default::default() },
        1 => pb::TxnRequest { failure: list(plan), ..Default::default() },
        _ => pb::TxnRequest { compare: (0..count).map(|_| compare(plan)).collect(), ..Default::default() },
    }
}

/// Transactions in each other, some with so many siblings that the budget of the inner ones runs out.
fn tower(plan: &mut Plan) -> pb::TxnRequest {
    let siblings = plan.dice.below(16);
    let mut inner = branch(plan, DEPTH);
    for level in 0..plan.dice.below(20) {
        let mut success: Vec<pb::RequestOp> = (0..siblings)
            .map(|at| {
                let put = pb::PutRequest { key: format!("k/t/{level}/{at}").into(), ..Default::default() };
                pb::RequestOp { request: Some(Request::RequestPut(put)) }
            })
            .collect();
        success.push(pb::RequestOp { request: Some(Request::RequestTxn(inner)) });
        inner = pb::TxnRequest { success, ..Default::default() };
    }
    inner
}
