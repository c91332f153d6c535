//! Commands as the raft log carries them: etcd's `InternalRaftRequest`.
//!
//! The functions `*_from_wire` check a request's shape in etcd's order and are used by the porch, too, so that
//! a request means the same whether it comes from a client or from the log. Bytes are shared, not copied.

use bytes::Bytes;
use prost::Message;

use super::auth_codec;
use super::command::{
    AlarmAction, AlarmKind, Command, Compare, CompareResult, CompareTarget, DeleteRange, Expiry, Op, Put, Remainder,
    Txn,
};
use super::shape;
use crate::auth::Asker;
use crate::base::{KeyRange, LeaseId, LogIndex, MemberId, Refusal, limits};
use crate::mvcc::{RangeQuery, SortOrder, SortTarget};
use crate::wire::etcdserverpb as pb;
use crate::wire::membershippb;

/// A command with the id its proposer waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// Unique in the cluster.
    pub id: u64,
    /// Who asks for it, where that was asked.
    pub asker: Option<Asker>,
    /// What to do; or why a request of that shape is refused, which every member decides alike.
    pub command: Result<Command, Refusal>,
}

/// The log payload of a command nobody asks for by name.
pub fn encode(id: u64, command: &Command) -> Bytes {
    encode_asked(id, None, command)
}

/// The log payload of a command and of who asks for it.
pub fn encode_asked(id: u64, asker: Option<&Asker>, command: &Command) -> Bytes {
    let username = asker.map_or_else(String::new, |asker| asker.user.to_string());
    let auth_revision = asker.map_or(0, |asker| asker.revision);
    let header = pb::RequestHeader { id, username, auth_revision };
    let mut request = pb::InternalRaftRequest { header: Some(header), ..Default::default() };
    match command {
        Command::Put(put) => request.put = Some(put_to_wire(put)),
        Command::DeleteRange(delete) => request.delete_range = Some(delete_range_to_wire(delete)),
        Command::Txn(txn) => request.txn = Some(txn_to_wire(txn)),
        Command::Compact { revision, physical } => {
            request.compaction = Some(pb::CompactionRequest { revision: *revision, physical: *physical });
        }
        Command::LeaseGrant { id, ttl } => request.lease_grant = Some(pb::LeaseGrantRequest { ttl: *ttl, id: *id }),
        Command::LeaseRevoke { id, expiry } => {
            request.lease_revoke = Some(pb::LeaseRevokeRequest { id: *id });
            request.quorate_lease_expiry =
                expiry.map(|expiry| pb::QuorateLeaseExpiry { granted_at: expiry.granted_at, term: expiry.term });
        }
        Command::LeaseCheckpoint { remainders, counted_in } => {
            let one = |it: &Remainder| pb::LeaseCheckpoint { id: it.id, remaining_ttl: it.seconds };
            let checkpoints = remainders.iter().map(one).collect();
            request.lease_checkpoint = Some(pb::LeaseCheckpointRequest { checkpoints });
            let granted_at = || remainders.iter().map(|it| it.granted_at).collect();
            request.quorate_lease_count =
                counted_in.map(|term| pb::QuorateLeaseCount { term, granted_at: granted_at() });
        }
        Command::Alarm { action, member, kind } => request.alarm = Some(alarm_to_wire(*action, *member, *kind)),
        Command::SetMemberAttributes { member, name, client_urls } => {
            request.cluster_member_attr_set = Some(membershippb::ClusterMemberAttrSetRequest {
                member_id: member.0,
                member_attributes: Some(membershippb::Attributes {
                    name: name.clone(),
                    client_urls: client_urls.clone(),
                }),
            });
        }
        Command::SetClusterVersion(version) => {
            request.cluster_version_set = Some(membershippb::ClusterVersionSetRequest { ver: version.clone() });
        }
        Command::SetDowngrade(target) => {
            let (enabled, ver) = (target.is_some(), target.clone().unwrap_or_default());
            request.downgrade_info_set = Some(membershippb::DowngradeInfoSetRequest { enabled, ver });
        }
        Command::Auth(command) => auth_codec::write(&mut request, command),
    }
    request.encode_to_vec().into()
}

/// What is wrong with a log payload that no member of this version can have written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undecodable(pub String);

/// The id of the proposal in a log payload, where there is one.
pub fn id_of(payload: &Bytes) -> Option<u64> {
    let request = pb::InternalRaftRequest::decode(payload.clone()).ok().filter(|_| !payload.is_empty())?;
    Some(request.header.map_or(request.id, |header| header.id))
}

/// The lease that a log payload ends, where it is of that kind: as [`decode`] has it, but nothing else is read.
pub fn ended_lease(payload: &Bytes) -> Option<LeaseId> {
    End::decode(&payload[..]).ok()?.lease_revoke.map(|revoke| revoke.id)
}

/// Of `InternalRaftRequest` one field; the others are passed over.
#[derive(Clone, PartialEq, Message)]
struct End {
    #[prost(message, optional, tag = "9")]
    lease_revoke: Option<pb::LeaseRevokeRequest>,
}

/// The command of a log payload. `None` is an entry that changes nothing: a leader's first, or a request of
/// a kind that only reads.
pub fn decode(payload: &Bytes) -> Result<Option<Proposal>, Undecodable> {
    if payload.is_empty() {
        return Ok(None);
    }
    let mut request =
        pb::InternalRaftRequest::decode(payload.clone()).map_err(|error| Undecodable(error.to_string()))?;
    let header = request.header.take();
    let id = header.as_ref().map_or(request.id, |header| header.id);
    let asker = header.and_then(asker_of);
    let command = if let Some(put) = request.put {
        put_from_wire(put).map(Command::Put)
    } else if let Some(delete) = request.delete_range {
        delete_range_from_wire(delete).map(Command::DeleteRange)
    } else if let Some(txn) = request.txn {
        txn_of(txn, limits::MAX_TXN_DEPTH).map(Command::Txn)
    } else if let Some(compaction) = request.compaction {
        Ok(Command::Compact { revision: compaction.revision, physical: compaction.physical })
    } else if let Some(grant) = request.lease_grant {
        Ok(Command::LeaseGrant { id: grant.id, ttl: grant.ttl })
    } else if let Some(revoke) = request.lease_revoke {
        let expiry = request.quorate_lease_expiry;
        let expiry = expiry.map(|expiry| Expiry { granted_at: expiry.granted_at, term: expiry.term });
        Ok(Command::LeaseRevoke { id: revoke.id, expiry })
    } else if let Some(checkpoint) = request.lease_checkpoint {
        Ok(lease_checkpoint_of(checkpoint, request.quorate_lease_count))
    } else if let Some(alarm) = request.alarm {
        match alarm_from_wire(&alarm) {
            Some(command) => Ok(command),
            None => return Ok(None),
        }
    } else if let Some(set) = request.cluster_member_attr_set {
        let attributes = set.member_attributes.unwrap_or_default();
        Ok(Command::SetMemberAttributes {
            member: MemberId(set.member_id),
            name: attributes.name,
            client_urls: attributes.client_urls,
        })
    } else if let Some(set) = request.cluster_version_set {
        Ok(Command::SetClusterVersion(set.ver))
    } else if let Some(set) = request.downgrade_info_set {
        Ok(Command::SetDowngrade(set.enabled.then_some(set.ver)))
    } else if request.downgrade_version_test.is_some() {
        // etcd writes it for its own tests alone; it does nothing.
        return Ok(None);
    } else if let Some(command) = auth_codec::read(&mut request) {
        command.map(Command::Auth)
    } else if auth_codec::only_reads(&request) {
        return Ok(None);
    } else {
        return Err(Undecodable("a logged request of a kind this version does not know".to_string()));
    };
    Ok(Some(Proposal { id, asker, command }))
}

/// Who asks, as a header names it; nobody where it names neither user nor revision.
fn asker_of(header: pb::RequestHeader) -> Option<Asker> {
    let is_named = !header.username.is_empty() || header.auth_revision != 0;
    is_named.then(|| Asker { user: header.username.into(), revision: header.auth_revision })
}

fn lease_checkpoint_of(request: pb::LeaseCheckpointRequest, count: Option<pb::QuorateLeaseCount>) -> Command {
    let counted_in = count.as_ref().map(|count| count.term);
    let granted = count.map(|count| count.granted_at).unwrap_or_default();
    // Where one is missing its lease is nobody's: no entry has the index 0.
    let granted = granted.into_iter().chain(std::iter::repeat(0));
    let one = |(it, granted_at): (pb::LeaseCheckpoint, LogIndex)| Remainder {
        id: it.id,
        seconds: it.remaining_ttl,
        granted_at,
    };
    Command::LeaseCheckpoint { remainders: request.checkpoints.into_iter().zip(granted).map(one).collect(), counted_in }
}

/// Checks and takes over a range request.
pub fn range_from_wire(request: pb::RangeRequest) -> Result<RangeQuery, Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    let order = match request.sort_order {
        0 => SortOrder::None,
        1 => SortOrder::Ascend,
        2 => SortOrder::Descend,
        _ => return Err(Refusal::InvalidSortOption),
    };
    let target = match request.sort_target {
        0 => SortTarget::Key,
        1 => SortTarget::Version,
        2 => SortTarget::Create,
        3 => SortTarget::Mod,
        4 => SortTarget::Value,
        _ => return Err(Refusal::InvalidSortOption),
    };
    Ok(RangeQuery {
        range: KeyRange::from_wire(request.key, request.range_end),
        limit: request.limit,
        revision: request.revision,
        order,
        target,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
        serializable: request.serializable,
    })
}

/// Checks and takes over a put.
pub fn put_from_wire(request: pb::PutRequest) -> Result<Put, Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Refusal::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Refusal::LeaseProvided);
    }
    Ok(Put {
        key: request.key,
        value: request.value,
        lease: request.lease,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    })
}

/// Checks and takes over a delete.
pub fn delete_range_from_wire(request: pb::DeleteRangeRequest) -> Result<DeleteRange, Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    Ok(DeleteRange { range: KeyRange::from_wire(request.key, request.range_end), prev_kv: request.prev_kv })
}

/// Checks and takes over a transaction: number of operations, each operation's shape, then keys written
/// twice. `max_ops` is the flag `--max-txn-ops`.
pub fn txn_from_wire(request: pb::TxnRequest, max_ops: usize) -> Result<Txn, Refusal> {
    shape::check_txn_size(&request, max_ops as i64)?;
    let txn = txn_of(request, limits::MAX_TXN_DEPTH)?;
    shape::check_duplicate_keys(&txn)?;
    Ok(txn)
}

fn txn_of(request: pb::TxnRequest, depth: usize) -> Result<Txn, Refusal> {
    if depth == 0 {
        return Err(Refusal::TooManyOps);
    }
    let ops = |list: Vec<pb::RequestOp>| -> Result<Vec<Op>, Refusal> {
        list.into_iter().map(|op| op_of(op, depth - 1)).collect()
    };
    Ok(Txn {
        compares: request.compare.into_iter().map(compare_from_wire).collect::<Result<_, _>>()?,
        success: ops(request.success)?,
        failure: ops(request.failure)?,
    })
}

fn op_of(op: pb::RequestOp, depth: usize) -> Result<Op, Refusal> {
    use pb::request_op::Request;
    match op.request.ok_or(Refusal::KeyNotFound)? {
        Request::RequestRange(range) => range_from_wire(range).map(Op::Range),
        Request::RequestPut(put) => put_from_wire(put).map(Op::Put),
        Request::RequestDeleteRange(delete) => delete_range_from_wire(delete).map(Op::DeleteRange),
        Request::RequestTxn(txn) => txn_of(txn, depth).map(Op::Txn),
    }
}

fn compare_from_wire(compare: pb::Compare) -> Result<Compare, Refusal> {
    use pb::compare::TargetUnion;
    if compare.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    // An operand of another kind than the target counts as not given.
    let union = compare.target_union;
    let target = match compare.target {
        0 => CompareTarget::Version(if let Some(TargetUnion::Version(v)) = union { v } else { 0 }),
        1 => CompareTarget::Create(if let Some(TargetUnion::CreateRevision(v)) = union { v } else { 0 }),
        2 => CompareTarget::Mod(if let Some(TargetUnion::ModRevision(v)) = union { v } else { 0 }),
        3 => CompareTarget::Value(if let Some(TargetUnion::Value(v)) = union { v } else { Bytes::new() }),
        4 => CompareTarget::Lease(if let Some(TargetUnion::Lease(v)) = union { v } else { 0 }),
        other => CompareTarget::Unknown(other),
    };
    let result = match compare.result {
        0 => CompareResult::Equal,
        1 => CompareResult::Greater,
        2 => CompareResult::Less,
        3 => CompareResult::NotEqual,
        other => CompareResult::Unknown(other),
    };
    Ok(Compare { range: KeyRange::from_wire(compare.key, compare.range_end), target, result })
}

/// The command of an alarm request; `None` where it changes nothing (reading, or no kind named).
pub fn alarm_from_wire(request: &pb::AlarmRequest) -> Option<Command> {
    let action = match request.action {
        1 => AlarmAction::Activate,
        2 => AlarmAction::Deactivate,
        _ => return None,
    };
    let kind = match request.alarm {
        1 => AlarmKind::NoSpace,
        2 => AlarmKind::Corrupt,
        _ => return None,
    };
    Some(Command::Alarm { action, member: MemberId(request.member_id), kind })
}

fn alarm_to_wire(action: AlarmAction, member: MemberId, kind: AlarmKind) -> pb::AlarmRequest {
    pb::AlarmRequest {
        action: match action {
            AlarmAction::Activate => 1,
            AlarmAction::Deactivate => 2,
        },
        member_id: member.0,
        alarm: match kind {
            AlarmKind::NoSpace => 1,
            AlarmKind::Corrupt => 2,
        },
    }
}

fn put_to_wire(put: &Put) -> pb::PutRequest {
    pb::PutRequest {
        key: put.key.clone(),
        value: put.value.clone(),
        lease: put.lease,
        prev_kv: put.prev_kv,
        ignore_value: put.ignore_value,
        ignore_lease: put.ignore_lease,
    }
}

fn delete_range_to_wire(delete: &DeleteRange) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: delete.range.start.clone(),
        range_end: delete.range.wire_end(),
        prev_kv: delete.prev_kv,
    }
}

fn range_to_wire(query: &RangeQuery) -> pb::RangeRequest {
    pb::RangeRequest {
        key: query.range.start.clone(),
        range_end: query.range.wire_end(),
        limit: query.limit,
        revision: query.revision,
        sort_order: match query.order {
            SortOrder::None => 0,
            SortOrder::Ascend => 1,
            SortOrder::Descend => 2,
        },
        sort_target: match query.target {
            SortTarget::Key => 0,
            SortTarget::Version => 1,
            SortTarget::Create => 2,
            SortTarget::Mod => 3,
            SortTarget::Value => 4,
        },
        serializable: query.serializable,
        keys_only: query.keys_only,
        count_only: query.count_only,
        min_mod_revision: query.min_mod_revision,
        max_mod_revision: query.max_mod_revision,
        min_create_revision: query.min_create_revision,
        max_create_revision: query.max_create_revision,
    }
}

fn txn_to_wire(txn: &Txn) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: txn.compares.iter().map(compare_to_wire).collect(),
        success: txn.success.iter().map(op_to_wire).collect(),
        failure: txn.failure.iter().map(op_to_wire).collect(),
    }
}

fn op_to_wire(op: &Op) -> pb::RequestOp {
    use pb::request_op::Request;
    let request = match op {
        Op::Range(query) => Request::RequestRange(range_to_wire(query)),
        Op::Put(put) => Request::RequestPut(put_to_wire(put)),
        Op::DeleteRange(delete) => Request::RequestDeleteRange(delete_range_to_wire(delete)),
        Op::Txn(txn) => Request::RequestTxn(txn_to_wire(txn)),
    };
    pb::RequestOp { request: Some(request) }
}

fn compare_to_wire(compare: &Compare) -> pb::Compare {
    use pb::compare::TargetUnion;
    let (target, union) = match &compare.target {
        CompareTarget::Version(v) => (0, Some(TargetUnion::Version(*v))),
        CompareTarget::Create(v) => (1, Some(TargetUnion::CreateRevision(*v))),
        CompareTarget::Mod(v) => (2, Some(TargetUnion::ModRevision(*v))),
        CompareTarget::Value(v) => (3, Some(TargetUnion::Value(v.clone()))),
        CompareTarget::Lease(v) => (4, Some(TargetUnion::Lease(*v))),
        CompareTarget::Unknown(number) => (*number, None),
    };
    let result = match compare.result {
        CompareResult::Equal => 0,
        CompareResult::Greater => 1,
        CompareResult::Less => 2,
        CompareResult::NotEqual => 3,
        CompareResult::Unknown(number) => number,
    };
    pb::Compare {
        result,
        target,
        key: compare.range.start.clone(),
        range_end: compare.range.wire_end(),
        target_union: union,
    }
}
