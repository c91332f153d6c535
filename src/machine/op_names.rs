//! What etcd's metrics call commands.
//!
//! Invariant: every command has one name, and every name its place in [`OP_NAMES`], by which it can be counted.

use super::command::Command;
use crate::auth::AuthCommand;

/// The names. The first is that of an entry that says nothing this member understands.
pub const OP_NAMES: [&str; 24] = [
    "unknown",
    "Put",
    "DeleteRange",
    "Txn",
    "Compaction",
    "LeaseGrant",
    "LeaseRevoke",
    "LeaseCheckpoint",
    "Alarm",
    "ClusterMemberAttrSet",
    "ClusterVersionSet",
    "AuthEnable",
    "AuthDisable",
    "Authenticate",
    "AuthUserAdd",
    "AuthUserDelete",
    "AuthUserChangePassword",
    "AuthUserGrantRole",
    "AuthUserRevokeRole",
    "AuthRoleAdd",
    "AuthRoleDelete",
    "AuthRoleGrantPermission",
    "AuthRoleRevokePermission",
    "DowngradeInfoSet",
];

impl Command {
    /// The place of its name in [`OP_NAMES`].
    pub fn op(&self) -> usize {
        match self {
            Self::Put(_) => 1,
            Self::DeleteRange(_) => 2,
            Self::Txn(_) => 3,
            Self::Compact { .. } => 4,
            Self::LeaseGrant { .. } => 5,
            Self::LeaseRevoke { .. } => 6,
            Self::LeaseCheckpoint { .. } => 7,
            Self::Alarm { .. } => 8,
            Self::SetMemberAttributes { .. } => 9,
            Self::SetClusterVersion(_) => 10,
            Self::SetDowngrade(_) => 23,
            Self::Auth(command) => auth_op(command),
        }
    }

    /// What etcd's metrics call it.
    pub fn op_name(&self) -> &'static str {
        OP_NAMES[self.op()]
    }
}

fn auth_op(command: &AuthCommand) -> usize {
    match command {
        AuthCommand::Enable => 11,
        AuthCommand::Disable => 12,
        AuthCommand::Authenticate { .. } => 13,
        AuthCommand::UserAdd { .. } => 14,
        AuthCommand::UserDelete { .. } => 15,
        AuthCommand::UserChangePassword { .. } => 16,
        AuthCommand::UserGrantRole { .. } => 17,
        AuthCommand::UserRevokeRole { .. } => 18,
        AuthCommand::RoleAdd { .. } => 19,
        AuthCommand::RoleDelete { .. } => 20,
        AuthCommand::RoleGrantPermission { .. } => 21,
        AuthCommand::RoleRevokePermission { .. } => 22,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::PasswordHash;
    use crate::base::{KeyRange, MemberId};
    use crate::machine::{AlarmAction, AlarmKind, DeleteRange, Put, Txn};

    #[test]
    fn every_command_has_etcds_name() {
        let hash = || PasswordHash::default();
        let (user, role) = (String::new, String::new);
        let auth = [
            (AuthCommand::Enable, "AuthEnable"),
            (AuthCommand::Disable, "AuthDisable"),
            (AuthCommand::Authenticate { user: user(), token: user() }, "Authenticate"),
            (AuthCommand::UserAdd { name: user(), password: hash(), no_password: true }, "AuthUserAdd"),
            (AuthCommand::UserDelete { name: user() }, "AuthUserDelete"),
            (AuthCommand::UserChangePassword { name: user(), password: Some(hash()) }, "AuthUserChangePassword"),
            (AuthCommand::UserGrantRole { user: user(), role: role() }, "AuthUserGrantRole"),
            (AuthCommand::UserRevokeRole { user: user(), role: role() }, "AuthUserRevokeRole"),
            (AuthCommand::RoleAdd { name: role() }, "AuthRoleAdd"),
            (AuthCommand::RoleDelete { name: role() }, "AuthRoleDelete"),
            (AuthCommand::RoleGrantPermission { role: role(), permission: None }, "AuthRoleGrantPermission"),
            (
                AuthCommand::RoleRevokePermission { role: role(), range: KeyRange::single("a".into()) },
                "AuthRoleRevokePermission",
            ),
        ];
        let member = MemberId(1);
        let others = [
            (Command::Put(Put::default()), "Put"),
            (Command::DeleteRange(DeleteRange { range: KeyRange::single("a".into()), prev_kv: false }), "DeleteRange"),
            (Command::Txn(Txn::default()), "Txn"),
            (Command::Compact { revision: 1, physical: false }, "Compaction"),
            (Command::LeaseGrant { id: 1, ttl: 1 }, "LeaseGrant"),
            (Command::LeaseRevoke { id: 1, expiry: None }, "LeaseRevoke"),
            (Command::LeaseCheckpoint { remainders: vec![], counted_in: None }, "LeaseCheckpoint"),
            (Command::Alarm { action: AlarmAction::Activate, member, kind: AlarmKind::NoSpace }, "Alarm"),
            (Command::SetMemberAttributes { member, name: user(), client_urls: vec![] }, "ClusterMemberAttrSet"),
            (Command::SetClusterVersion(user()), "ClusterVersionSet"),
            (Command::SetDowngrade(None), "DowngradeInfoSet"),
        ];
        let auth = auth.into_iter().map(|(command, name)| (Command::Auth(command), name));
        let all: Vec<_> = others.into_iter().chain(auth).collect();
        assert_eq!(all.len() + 1, OP_NAMES.len(), "the first is no command's");
        for (command, name) in all {
            assert_eq!(command.op_name(), name);
        }
    }
}
