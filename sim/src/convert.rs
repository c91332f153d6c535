//! Between the product's words and the specification's, field by field and without judgement.

use bytes::Bytes;
use quorate::base::{Event, EventKind, KeyRange, KeyValue, MemberId, Refusal};
use quorate::machine::{self as product, codec};
use quorate::mvcc::{RangeAnswer, RangeQuery, SortOrder, SortTarget};
use quorate::wire::etcdserverpb as pb;
use quorate_spec::request as spec;

/// The product's command for a request, through the door every request of a client passes: the wire message
/// and the checks of its shape.
///
/// # Errors
/// The door's refusal.
pub fn command(request: &spec::Request, max_ops: usize) -> Result<product::Command, Refusal> {
    Ok(match request {
        spec::Request::Put(it) => product::Command::Put(codec::put_from_wire(put(it))?),
        spec::Request::DeleteRange(it) => product::Command::DeleteRange(codec::delete_range_from_wire(delete(it))?),
        spec::Request::Txn(it) => product::Command::Txn(codec::txn_from_wire(txn(it), max_ops)?),
        spec::Request::Compact { revision } => product::Command::Compact { revision: *revision, physical: false },
        spec::Request::LeaseGrant { id, ttl } => product::Command::LeaseGrant { id: *id, ttl: *ttl },
        spec::Request::LeaseRevoke { id } => product::Command::LeaseRevoke { id: *id, expiry: None },
        spec::Request::Alarm { on, member, kind } => product::Command::Alarm {
            action: if *on { product::AlarmAction::Activate } else { product::AlarmAction::Deactivate },
            member: MemberId(*member),
            kind: match kind {
                spec::AlarmKind::NoSpace => product::AlarmKind::NoSpace,
                spec::AlarmKind::Corrupt => product::AlarmKind::Corrupt,
            },
        },
        spec::Request::Other => unreachable!("only the product makes such entries"),
    })
}

/// The product's transaction, for one that only reads.
///
/// # Errors
/// The door's refusal.
pub fn read_only_txn(it: &spec::Txn, max_ops: usize) -> Result<product::Txn, Refusal> {
    codec::txn_from_wire(txn(it), max_ops)
}

/// The product's query.
///
/// # Errors
/// The door's refusal.
pub fn query(it: &spec::Range, serializable: bool) -> Result<RangeQuery, Refusal> {
    codec::range_from_wire(pb::RangeRequest { serializable, ..range(it) })
}

/// The product's range of keys.
pub fn key_range(span: &spec::Span) -> KeyRange {
    KeyRange::from_wire(bytes(&span.key), bytes(&span.end))
}

fn bytes(raw: &[u8]) -> Bytes {
    Bytes::copy_from_slice(raw)
}

fn put(it: &spec::Put) -> pb::PutRequest {
    pb::PutRequest {
        key: bytes(&it.key),
        value: bytes(&it.value),
        lease: it.lease,
        prev_kv: it.prev_kv,
        ignore_value: it.ignore_value,
        ignore_lease: it.ignore_lease,
    }
}

fn delete(it: &spec::DeleteRange) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: bytes(&it.span.key), range_end: bytes(&it.span.end), prev_kv: it.prev_kv }
}

fn txn(it: &spec::Txn) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: it.compares.iter().map(compare).collect(),
        success: it.success.iter().map(op).collect(),
        failure: it.failure.iter().map(op).collect(),
    }
}

fn compare(it: &spec::Compare) -> pb::Compare {
    use pb::compare::TargetUnion;
    let (target, target_union) = match &it.target {
        spec::Target::Version(operand) => (0, Some(TargetUnion::Version(*operand))),
        spec::Target::Create(operand) => (1, Some(TargetUnion::CreateRevision(*operand))),
        spec::Target::Mod(operand) => (2, Some(TargetUnion::ModRevision(*operand))),
        spec::Target::Value(operand) => (3, Some(TargetUnion::Value(bytes(operand)))),
        spec::Target::Lease(operand) => (4, Some(TargetUnion::Lease(*operand))),
        spec::Target::Unknown(number) => (*number, None),
    };
    let (key, range_end) = (bytes(&it.span.key), bytes(&it.span.end));
    pb::Compare { result: it.result, target, key, range_end, target_union }
}

fn op(it: &spec::Op) -> pb::RequestOp {
    use pb::request_op::Request;
    pb::RequestOp {
        request: Some(match it {
            spec::Op::Range(it) => Request::RequestRange(range(it)),
            spec::Op::Put(it) => Request::RequestPut(put(it)),
            spec::Op::DeleteRange(it) => Request::RequestDeleteRange(delete(it)),
            spec::Op::Txn(it) => Request::RequestTxn(txn(it)),
        }),
    }
}

fn range(it: &spec::Range) -> pb::RangeRequest {
    pb::RangeRequest {
        key: bytes(&it.span.key),
        range_end: bytes(&it.span.end),
        limit: it.limit,
        revision: it.revision,
        sort_order: it.sort_order,
        sort_target: it.sort_target,
        serializable: false,
        keys_only: it.keys_only,
        count_only: it.count_only,
        min_mod_revision: it.min_mod_revision,
        max_mod_revision: it.max_mod_revision,
        min_create_revision: it.min_create_revision,
        max_create_revision: it.max_create_revision,
    }
}

const TARGETS: [SortTarget; 5] =
    [SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value];

/// The grant and the term that a revocation of a lease that fell due names; a client's names nothing.
pub fn expiry(command: &product::Command) -> Option<(u64, u64)> {
    match command {
        product::Command::LeaseRevoke { expiry: Some(expiry), .. } => Some((expiry.granted_at, expiry.term)),
        _ => None,
    }
}

/// The specification's request for a command of the log.
pub fn request(command: &product::Command) -> spec::Request {
    match command {
        product::Command::Put(it) => spec::Request::Put(spec_put(it)),
        product::Command::DeleteRange(it) => spec::Request::DeleteRange(spec_delete(it)),
        product::Command::Txn(it) => spec::Request::Txn(spec_txn(it)),
        product::Command::Compact { revision, .. } => spec::Request::Compact { revision: *revision },
        product::Command::LeaseGrant { id, ttl } => spec::Request::LeaseGrant { id: *id, ttl: *ttl },
        product::Command::LeaseRevoke { id, .. } => spec::Request::LeaseRevoke { id: *id },
        product::Command::Alarm { action, member, kind } => spec::Request::Alarm {
            on: *action == product::AlarmAction::Activate,
            member: member.0,
            kind: alarm_kind(*kind),
        },
        product::Command::LeaseCheckpoint { .. }
        | product::Command::SetMemberAttributes { .. }
        | product::Command::SetClusterVersion(_)
        | product::Command::SetDowngrade(_)
        | product::Command::Auth(_) => spec::Request::Other,
    }
}

/// The specification's kind of an alarm.
pub fn alarm_kind(kind: product::AlarmKind) -> spec::AlarmKind {
    match kind {
        product::AlarmKind::NoSpace => spec::AlarmKind::NoSpace,
        product::AlarmKind::Corrupt => spec::AlarmKind::Corrupt,
    }
}

fn span_of(range: &KeyRange) -> spec::Span {
    spec::Span { key: range.start.to_vec(), end: range.wire_end().to_vec() }
}

fn spec_put(it: &product::Put) -> spec::Put {
    spec::Put {
        key: it.key.to_vec(),
        value: it.value.to_vec(),
        lease: it.lease,
        prev_kv: it.prev_kv,
        ignore_value: it.ignore_value,
        ignore_lease: it.ignore_lease,
    }
}

fn spec_delete(it: &product::DeleteRange) -> spec::DeleteRange {
    spec::DeleteRange { span: span_of(&it.range), prev_kv: it.prev_kv }
}

fn spec_txn(it: &product::Txn) -> spec::Txn {
    spec::Txn {
        compares: it.compares.iter().map(spec_compare).collect(),
        success: it.success.iter().map(spec_op).collect(),
        failure: it.failure.iter().map(spec_op).collect(),
    }
}

fn spec_compare(it: &product::Compare) -> spec::Compare {
    let target = match &it.target {
        product::CompareTarget::Version(operand) => spec::Target::Version(*operand),
        product::CompareTarget::Create(operand) => spec::Target::Create(*operand),
        product::CompareTarget::Mod(operand) => spec::Target::Mod(*operand),
        product::CompareTarget::Value(operand) => spec::Target::Value(operand.to_vec()),
        product::CompareTarget::Lease(operand) => spec::Target::Lease(*operand),
        product::CompareTarget::Unknown(number) => spec::Target::Unknown(*number),
    };
    let result = match it.result {
        product::CompareResult::Equal => 0,
        product::CompareResult::Greater => 1,
        product::CompareResult::Less => 2,
        product::CompareResult::NotEqual => 3,
        product::CompareResult::Unknown(other) => other,
    };
    spec::Compare { span: span_of(&it.range), target, result }
}

fn spec_op(it: &product::Op) -> spec::Op {
    match it {
        product::Op::Range(it) => spec::Op::Range(spec_range(it)),
        product::Op::Put(it) => spec::Op::Put(spec_put(it)),
        product::Op::DeleteRange(it) => spec::Op::DeleteRange(spec_delete(it)),
        product::Op::Txn(it) => spec::Op::Txn(spec_txn(it)),
    }
}

fn spec_range(it: &RangeQuery) -> spec::Range {
    spec::Range {
        span: span_of(&it.range),
        limit: it.limit,
        revision: it.revision,
        sort_order: match it.order {
            SortOrder::None => 0,
            SortOrder::Ascend => 1,
            SortOrder::Descend => 2,
        },
        sort_target: TARGETS.iter().position(|target| *target == it.target).map_or(-1, |n| n as i32),
        keys_only: it.keys_only,
        count_only: it.count_only,
        min_mod_revision: it.min_mod_revision,
        max_mod_revision: it.max_mod_revision,
        min_create_revision: it.min_create_revision,
        max_create_revision: it.max_create_revision,
    }
}

/// The specification's key-value.
pub fn key_value(kv: &KeyValue) -> spec::KeyValue {
    spec::KeyValue {
        key: kv.key.to_vec(),
        value: kv.value.to_vec(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

fn key_values(kvs: &[KeyValue]) -> Vec<spec::KeyValue> {
    kvs.iter().map(key_value).collect()
}

/// The specification's event.
pub fn event(it: &Event) -> spec::Event {
    spec::Event {
        deleted: it.kind == EventKind::Delete,
        kv: key_value(&it.kv),
        prev: it.prev_kv.as_ref().map(key_value),
    }
}

/// The specification's answer to a range.
pub fn range_answer(it: &RangeAnswer) -> spec::RangeAnswer {
    spec::RangeAnswer { kvs: key_values(&it.kvs), more: it.more, count: it.count, revision: it.revision }
}

/// The specification's answer to a transaction.
pub fn txn_answer(it: &product::TxnAnswer) -> spec::TxnAnswer {
    let one = |answer: &product::OpAnswer| match answer {
        product::OpAnswer::Range(it) => spec::OpAnswer::Range(range_answer(it)),
        product::OpAnswer::Put { prev_kv, revision } => {
            spec::OpAnswer::Put { prev_kv: prev_kv.as_ref().map(key_value), revision: *revision }
        }
        product::OpAnswer::DeleteRange { deleted, prev_kvs, revision } => {
            spec::OpAnswer::DeleteRange { deleted: *deleted, prev_kvs: key_values(prev_kvs), revision: *revision }
        }
        product::OpAnswer::Txn(nested) => spec::OpAnswer::Txn(txn_answer(nested)),
        product::OpAnswer::Later(..) => unreachable!("what was put off is carried out first"),
    };
    spec::TxnAnswer { succeeded: it.succeeded, answers: it.answers.iter().map(one).collect() }
}

/// The specification's answer to a command.
pub fn answer(it: &product::Answer) -> spec::Answer {
    match it {
        product::Answer::Put { prev_kv } => spec::Answer::Put { prev_kv: prev_kv.as_ref().map(key_value) },
        product::Answer::DeleteRange { deleted, prev_kvs } => {
            spec::Answer::DeleteRange { deleted: *deleted, prev_kvs: key_values(prev_kvs) }
        }
        product::Answer::Txn(it) => spec::Answer::Txn(txn_answer(it)),
        product::Answer::Compact => spec::Answer::Compact,
        product::Answer::LeaseGrant { id, ttl } => spec::Answer::LeaseGrant { id: *id, ttl: *ttl },
        product::Answer::LeaseRevoke => spec::Answer::LeaseRevoke,
        product::Answer::Alarm(list) => {
            spec::Answer::Alarm(list.iter().map(|(member, kind)| (member.0, alarm_kind(*kind))).collect())
        }
        product::Answer::Done | product::Answer::Authenticated { .. } => spec::Answer::Done,
        product::Answer::Later(..) => unreachable!("what was put off is carried out first"),
    }
}
