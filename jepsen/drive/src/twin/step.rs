//! One step of a sequence: a request (or a short fixed walk of requests) sent to both sides.
//!
//! Does not know who answers. Requests are generated messages, so that values no honest client would send can be sent.

use quorate::wire::etcdserverpb as pb;

/// What is asked next.
#[derive(Clone, Debug)]
pub enum Step {
    /// KV/Range.
    Range(pb::RangeRequest),
    /// KV/RangeStream, answers put together again.
    RangeStream(pb::RangeRequest),
    /// KV/Put.
    Put(pb::PutRequest),
    /// KV/DeleteRange.
    Delete(pb::DeleteRangeRequest),
    /// KV/Txn.
    Txn(pb::TxnRequest),
    /// KV/Compact.
    Compact(pb::CompactionRequest),
    /// Maintenance/HashKV.
    HashKv(i64),
    /// Lease/LeaseGrant with a chosen id and a long life.
    Grant(pb::LeaseGrantRequest),
    /// A lease with a short life or an id chosen by the server: granted, attached, asked for, revoked in one go, so that
    /// neither its id nor its expiry can reach a later step.
    BriefLease { grant: pb::LeaseGrantRequest, key: Vec<u8> },
    /// Lease/LeaseRevoke.
    Revoke(i64),
    /// Lease/LeaseTimeToLive.
    TimeToLive(pb::LeaseTimeToLiveRequest),
    /// Lease/LeaseLeases.
    Leases,
    /// Lease/LeaseKeepAlive: these ids on one stream.
    KeepAlive(Vec<i64>),
    /// Maintenance/Alarm.
    Alarm(pb::AlarmRequest),
    /// Maintenance/Status, the parts that can be equal.
    Status,
    /// Cluster/MemberList.
    MemberList(bool),
    /// Maintenance/Defragment.
    Defragment,
    /// Requests that are refused, of the rarer services.
    Refused(Refused),
    /// Service Auth.
    Auth(AuthStep),
    /// Maintenance/Snapshot and Maintenance/Hash: whether they are refused, and how. What they give differs.
    Barred,
    /// A watch stream opened in the place of this one; of sequences with users alone.
    Open(usize),
    /// Watch create on the stream of this number.
    Watch(usize, pb::WatchCreateRequest),
    /// Watch cancel.
    Cancel(usize, i64),
    /// Watch progress request.
    Progress(usize),
}

/// Requests of the rarer services that change nothing on a fresh single member.
#[derive(Clone, Debug)]
pub enum Refused {
    /// Maintenance/MoveLeader to a member that is not there.
    MoveLeader(u64),
    /// Maintenance/Downgrade.
    Downgrade(pb::DowngradeRequest),
    /// Cluster/MemberRemove of an unknown id.
    MemberRemove(u64),
    /// Cluster/MemberUpdate of an unknown id.
    MemberUpdate(pb::MemberUpdateRequest),
    /// Cluster/MemberPromote of an unknown id.
    MemberPromote(u64),
    /// Cluster/MemberAdd with addresses that do not parse.
    MemberAdd(pb::MemberAddRequest),
}

/// Requests of service Auth.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are the service's methods")]
pub enum AuthStep {
    Enable,
    Disable,
    Status,
    Authenticate(pb::AuthenticateRequest),
    UserAdd(pb::AuthUserAddRequest),
    UserGet(pb::AuthUserGetRequest),
    UserList,
    UserDelete(pb::AuthUserDeleteRequest),
    UserChangePassword(pb::AuthUserChangePasswordRequest),
    UserGrantRole(pb::AuthUserGrantRoleRequest),
    UserRevokeRole(pb::AuthUserRevokeRoleRequest),
    RoleAdd(pb::AuthRoleAddRequest),
    RoleGet(pb::AuthRoleGetRequest),
    RoleList,
    RoleDelete(pb::AuthRoleDeleteRequest),
    RoleGrant(pb::AuthRoleGrantPermissionRequest),
    RoleRevoke(pb::AuthRoleRevokePermissionRequest),
}

impl AuthStep {
    /// Whether it changes users, roles or whether they are asked for.
    pub fn is_change(&self) -> bool {
        !matches!(
            self,
            Self::Status
                | Self::Authenticate(_)
                | Self::UserGet(_)
                | Self::UserList
                | Self::RoleGet(_)
                | Self::RoleList
        )
    }
}
