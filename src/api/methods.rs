//! The methods of the client port by name: one table for dispatch, metrics, texts and the JSON gateway.
//!
//! Invariant: a method known to etcd is in the table, built or not, so that its metrics exist from the start
//! and its refusal names it.

use crate::base::Refusal;

/// How a method's messages flow, as etcd's metrics name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// One request, one answer.
    Unary,
    /// One request, many answers.
    ServerStream,
    /// Many of both.
    BidiStream,
}

impl Flow {
    /// The label's value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStream => "server_stream",
            Self::BidiStream => "bidi_stream",
        }
    }
}

macro_rules! rpcs {
    ($($rpc:ident $flow:ident $path:literal [$($json:literal),*],)*) => {
        /// A method of the client port.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs, reason = "the names are etcd's methods")]
        pub enum Rpc { $($rpc,)* }

        impl Rpc {
            /// Every method.
            pub const ALL: &[Self] = &[$(Self::$rpc,)*];

            /// The method a request's path names.
            pub fn from_path(path: &str) -> Option<Self> {
                match path {
                    $($path => Some(Self::$rpc),)*
                    _ => None,
                }
            }

            /// The method that a path of the JSON gateway names.
            pub fn from_json_path(path: &str) -> Option<Self> {
                match path {
                    $($($json => Some(Self::$rpc),)*)*
                    _ => None,
                }
            }

            /// `/package.Service/Method`.
            pub fn path(self) -> &'static str {
                match self { $(Self::$rpc => $path,)* }
            }

            /// `package.Service/Method`.
            pub fn full_name(self) -> &'static str {
                &self.path()[1..]
            }

            /// How its messages flow.
            pub fn flow(self) -> Flow {
                match self { $(Self::$rpc => Flow::$flow,)* }
            }
        }
    };
}

impl Rpc {
    /// Whether an answer to the one message it takes may wait for what another client does.
    pub fn waits_for_others(self) -> bool {
        matches!(self, Self::Lock | Self::Campaign)
    }

    /// Whether a member that only learns answers it, as in etcd; of ranges those alone that need no other member.
    pub fn is_for_learners(self) -> bool {
        matches!(self, Self::Range | Self::Status | Self::Snapshot)
    }
}

/// Whom a method is for, while callers are asked who they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// Anyone.
    Anyone,
    /// It depends on the keys or users that are asked for: the method, or the machine where it is applied, looks.
    ByRequest,
    /// Whoever says who he is.
    Named,
    /// Who has the role `root`.
    Root,
}

impl Rpc {
    /// Whom it is for, as in etcd. Alarms are listed for less than they are raised: the method looks.
    pub fn right(self) -> Right {
        match self {
            Self::AuthStatus | Self::Authenticate => Right::Anyone,
            Self::HealthCheck | Self::HealthWatch | Self::HealthList => Right::Anyone,
            Self::Range | Self::RangeStream | Self::Put | Self::DeleteRange | Self::Txn | Self::Watch => {
                Right::ByRequest
            }
            Self::UserGet | Self::RoleGet => Right::ByRequest,
            // What are no addresses is told to anyone, before it is asked who calls.
            Self::MemberAdd => Right::ByRequest,
            Self::LeaseKeepAlive => Right::ByRequest,
            Self::LeaseGrant | Self::LeaseRevoke | Self::LeaseTimeToLive | Self::LeaseLeases => Right::Named,
            Self::MemberList | Self::Status | Self::Alarm => Right::Named,
            // On the server these put and watch keys in their caller's name.
            Self::Lock | Self::Unlock | Self::Campaign | Self::Proclaim => Right::ByRequest,
            Self::Leader | Self::Observe | Self::Resign => Right::ByRequest,
            _ => Right::Root,
        }
    }
}

rpcs! {
    Range Unary "/etcdserverpb.KV/Range" ["/v3/kv/range"],
    RangeStream ServerStream "/etcdserverpb.KV/RangeStream" [],
    Put Unary "/etcdserverpb.KV/Put" ["/v3/kv/put"],
    DeleteRange Unary "/etcdserverpb.KV/DeleteRange" ["/v3/kv/deleterange"],
    Txn Unary "/etcdserverpb.KV/Txn" ["/v3/kv/txn"],
    Compact Unary "/etcdserverpb.KV/Compact" ["/v3/kv/compaction"],
    Watch BidiStream "/etcdserverpb.Watch/Watch" ["/v3/watch"],
    LeaseGrant Unary "/etcdserverpb.Lease/LeaseGrant" ["/v3/lease/grant"],
    LeaseRevoke Unary "/etcdserverpb.Lease/LeaseRevoke" ["/v3/lease/revoke", "/v3/kv/lease/revoke"],
    LeaseKeepAlive BidiStream "/etcdserverpb.Lease/LeaseKeepAlive" ["/v3/lease/keepalive"],
    LeaseTimeToLive Unary "/etcdserverpb.Lease/LeaseTimeToLive" ["/v3/lease/timetolive", "/v3/kv/lease/timetolive"],
    LeaseLeases Unary "/etcdserverpb.Lease/LeaseLeases" ["/v3/lease/leases", "/v3/kv/lease/leases"],
    MemberAdd Unary "/etcdserverpb.Cluster/MemberAdd" ["/v3/cluster/member/add"],
    MemberRemove Unary "/etcdserverpb.Cluster/MemberRemove" ["/v3/cluster/member/remove"],
    MemberUpdate Unary "/etcdserverpb.Cluster/MemberUpdate" ["/v3/cluster/member/update"],
    MemberList Unary "/etcdserverpb.Cluster/MemberList" ["/v3/cluster/member/list"],
    MemberPromote Unary "/etcdserverpb.Cluster/MemberPromote" ["/v3/cluster/member/promote"],
    Alarm Unary "/etcdserverpb.Maintenance/Alarm" ["/v3/maintenance/alarm"],
    Status Unary "/etcdserverpb.Maintenance/Status" ["/v3/maintenance/status"],
    Defragment Unary "/etcdserverpb.Maintenance/Defragment" ["/v3/maintenance/defragment"],
    Hash Unary "/etcdserverpb.Maintenance/Hash" ["/v3/maintenance/hash"],
    HashKv Unary "/etcdserverpb.Maintenance/HashKV" ["/v3/maintenance/hashkv"],
    Snapshot ServerStream "/etcdserverpb.Maintenance/Snapshot" ["/v3/maintenance/snapshot"],
    MoveLeader Unary "/etcdserverpb.Maintenance/MoveLeader" ["/v3/maintenance/transfer-leadership"],
    Downgrade Unary "/etcdserverpb.Maintenance/Downgrade" ["/v3/maintenance/downgrade"],
    AuthEnable Unary "/etcdserverpb.Auth/AuthEnable" ["/v3/auth/enable"],
    AuthDisable Unary "/etcdserverpb.Auth/AuthDisable" ["/v3/auth/disable"],
    AuthStatus Unary "/etcdserverpb.Auth/AuthStatus" ["/v3/auth/status"],
    Authenticate Unary "/etcdserverpb.Auth/Authenticate" ["/v3/auth/authenticate"],
    UserAdd Unary "/etcdserverpb.Auth/UserAdd" ["/v3/auth/user/add"],
    UserGet Unary "/etcdserverpb.Auth/UserGet" ["/v3/auth/user/get"],
    UserList Unary "/etcdserverpb.Auth/UserList" ["/v3/auth/user/list"],
    UserDelete Unary "/etcdserverpb.Auth/UserDelete" ["/v3/auth/user/delete"],
    UserChangePassword Unary "/etcdserverpb.Auth/UserChangePassword" ["/v3/auth/user/changepw"],
    UserGrantRole Unary "/etcdserverpb.Auth/UserGrantRole" ["/v3/auth/user/grant"],
    UserRevokeRole Unary "/etcdserverpb.Auth/UserRevokeRole" ["/v3/auth/user/revoke"],
    RoleAdd Unary "/etcdserverpb.Auth/RoleAdd" ["/v3/auth/role/add"],
    RoleGet Unary "/etcdserverpb.Auth/RoleGet" ["/v3/auth/role/get"],
    RoleList Unary "/etcdserverpb.Auth/RoleList" ["/v3/auth/role/list"],
    RoleDelete Unary "/etcdserverpb.Auth/RoleDelete" ["/v3/auth/role/delete"],
    RoleGrantPermission Unary "/etcdserverpb.Auth/RoleGrantPermission" ["/v3/auth/role/grant"],
    RoleRevokePermission Unary "/etcdserverpb.Auth/RoleRevokePermission" ["/v3/auth/role/revoke"],
    Lock Unary "/v3lockpb.Lock/Lock" ["/v3/lock/lock"],
    Unlock Unary "/v3lockpb.Lock/Unlock" ["/v3/lock/unlock"],
    Campaign Unary "/v3electionpb.Election/Campaign" ["/v3/election/campaign"],
    Proclaim Unary "/v3electionpb.Election/Proclaim" ["/v3/election/proclaim"],
    Leader Unary "/v3electionpb.Election/Leader" ["/v3/election/leader"],
    Observe ServerStream "/v3electionpb.Election/Observe" ["/v3/election/observe"],
    Resign Unary "/v3electionpb.Election/Resign" ["/v3/election/resign"],
    HealthCheck Unary "/grpc.health.v1.Health/Check" [],
    HealthWatch ServerStream "/grpc.health.v1.Health/Watch" [],
    HealthList Unary "/grpc.health.v1.Health/List" [],
}

impl Rpc {
    /// `package.Service`.
    pub fn service(self) -> &'static str {
        self.path()[1..].split_once('/').map_or("", |(service, _)| service)
    }

    /// `Method`.
    pub fn method(self) -> &'static str {
        self.path()[1..].split_once('/').map_or("", |(_, method)| method)
    }

    /// What a method that etcd has and this server has not yet is answered with.
    pub fn unbuilt(self) -> Refusal {
        Refusal::Unimplemented(format!("quorate: {} is not implemented yet", &self.path()[1..]))
    }
}

/// What a path that names no method is answered with, in the words of etcd's gRPC library.
pub fn unknown_method_text(path: &str) -> String {
    let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.rsplit_once('/')) else {
        return format!("malformed method name: {path:?}");
    };
    if Rpc::ALL.iter().any(|rpc| rpc.service() == service) {
        format!("unknown method {method} for service {service}")
    } else {
        format!("unknown service {service}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_in_the_order_of_its_numbers_and_paths_find_it() {
        for (position, &rpc) in Rpc::ALL.iter().enumerate() {
            assert_eq!(rpc as usize, position);
            assert_eq!(Rpc::from_path(rpc.path()), Some(rpc));
            assert_eq!(Rpc::from_json_path(rpc.path()), None);
            assert_eq!(format!("/{}/{}", rpc.service(), rpc.method()), rpc.path());
        }
    }

    #[test]
    fn unbuilt_methods_are_named() {
        let text = "quorate: etcdserverpb.Auth/AuthEnable is not implemented yet";
        assert_eq!(Rpc::AuthEnable.unbuilt(), Refusal::Unimplemented(text.to_string()));
    }

    #[test]
    fn unknown_methods_are_named() {
        assert_eq!(unknown_method_text("/etcdserverpb.KV/Fly"), "unknown method Fly for service etcdserverpb.KV");
        assert_eq!(unknown_method_text("/a.B/C"), "unknown service a.B");
        assert_eq!(unknown_method_text("x"), "malformed method name: \"x\"");
    }
}
