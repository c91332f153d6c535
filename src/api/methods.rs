//! The methods of the client port by name: one table for dispatch, metrics and texts.
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
    ($($rpc:ident $flow:ident $path:literal,)*) => {
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

            /// `/package.Service/Method`.
            pub fn path(self) -> &'static str {
                match self { $(Self::$rpc => $path,)* }
            }

            /// How its messages flow.
            pub fn flow(self) -> Flow {
                match self { $(Self::$rpc => Flow::$flow,)* }
            }
        }
    };
}

impl Rpc {
    /// Whether a member that only learns answers it, as in etcd; of ranges those alone that need no other member.
    pub fn is_for_learners(self) -> bool {
        matches!(self, Self::Range | Self::Status | Self::Snapshot)
    }
}

rpcs! {
    Range Unary "/etcdserverpb.KV/Range",
    RangeStream ServerStream "/etcdserverpb.KV/RangeStream",
    Put Unary "/etcdserverpb.KV/Put",
    DeleteRange Unary "/etcdserverpb.KV/DeleteRange",
    Txn Unary "/etcdserverpb.KV/Txn",
    Compact Unary "/etcdserverpb.KV/Compact",
    Watch BidiStream "/etcdserverpb.Watch/Watch",
    LeaseGrant Unary "/etcdserverpb.Lease/LeaseGrant",
    LeaseRevoke Unary "/etcdserverpb.Lease/LeaseRevoke",
    LeaseKeepAlive BidiStream "/etcdserverpb.Lease/LeaseKeepAlive",
    LeaseTimeToLive Unary "/etcdserverpb.Lease/LeaseTimeToLive",
    LeaseLeases Unary "/etcdserverpb.Lease/LeaseLeases",
    MemberAdd Unary "/etcdserverpb.Cluster/MemberAdd",
    MemberRemove Unary "/etcdserverpb.Cluster/MemberRemove",
    MemberUpdate Unary "/etcdserverpb.Cluster/MemberUpdate",
    MemberList Unary "/etcdserverpb.Cluster/MemberList",
    MemberPromote Unary "/etcdserverpb.Cluster/MemberPromote",
    Alarm Unary "/etcdserverpb.Maintenance/Alarm",
    Status Unary "/etcdserverpb.Maintenance/Status",
    Defragment Unary "/etcdserverpb.Maintenance/Defragment",
    Hash Unary "/etcdserverpb.Maintenance/Hash",
    HashKv Unary "/etcdserverpb.Maintenance/HashKV",
    Snapshot ServerStream "/etcdserverpb.Maintenance/Snapshot",
    MoveLeader Unary "/etcdserverpb.Maintenance/MoveLeader",
    Downgrade Unary "/etcdserverpb.Maintenance/Downgrade",
    AuthEnable Unary "/etcdserverpb.Auth/AuthEnable",
    AuthDisable Unary "/etcdserverpb.Auth/AuthDisable",
    AuthStatus Unary "/etcdserverpb.Auth/AuthStatus",
    Authenticate Unary "/etcdserverpb.Auth/Authenticate",
    UserAdd Unary "/etcdserverpb.Auth/UserAdd",
    UserGet Unary "/etcdserverpb.Auth/UserGet",
    UserList Unary "/etcdserverpb.Auth/UserList",
    UserDelete Unary "/etcdserverpb.Auth/UserDelete",
    UserChangePassword Unary "/etcdserverpb.Auth/UserChangePassword",
    UserGrantRole Unary "/etcdserverpb.Auth/UserGrantRole",
    UserRevokeRole Unary "/etcdserverpb.Auth/UserRevokeRole",
    RoleAdd Unary "/etcdserverpb.Auth/RoleAdd",
    RoleGet Unary "/etcdserverpb.Auth/RoleGet",
    RoleList Unary "/etcdserverpb.Auth/RoleList",
    RoleDelete Unary "/etcdserverpb.Auth/RoleDelete",
    RoleGrantPermission Unary "/etcdserverpb.Auth/RoleGrantPermission",
    RoleRevokePermission Unary "/etcdserverpb.Auth/RoleRevokePermission",
    Lock Unary "/v3lockpb.Lock/Lock",
    Unlock Unary "/v3lockpb.Lock/Unlock",
    Campaign Unary "/v3electionpb.Election/Campaign",
    Proclaim Unary "/v3electionpb.Election/Proclaim",
    Leader Unary "/v3electionpb.Election/Leader",
    Observe ServerStream "/v3electionpb.Election/Observe",
    Resign Unary "/v3electionpb.Election/Resign",
    HealthCheck Unary "/grpc.health.v1.Health/Check",
    HealthWatch ServerStream "/grpc.health.v1.Health/Watch",
    HealthList Unary "/grpc.health.v1.Health/List",
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
