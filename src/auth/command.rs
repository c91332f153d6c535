//! What the log says of users and roles.

use super::account::PasswordHash;
use super::permits::Permission;
use crate::base::KeyRange;

/// One step of the table, carried by one log entry.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are etcd's requests")]
pub enum AuthCommand {
    Enable,
    Disable,
    /// A user proved to be who it says; it is to be known by a token from now on. Changes nothing of the table.
    Authenticate {
        user: String,
        /// The drawn part of a simple token; empty where tokens are of another kind.
        token: String,
    },
    UserAdd {
        name: String,
        password: PasswordHash,
        no_password: bool,
    },
    UserDelete {
        name: String,
    },
    UserChangePassword {
        name: String,
        /// Absent where what was given as a hash is none, which is refused unless the user has no password.
        password: Option<PasswordHash>,
    },
    UserGrantRole {
        user: String,
        role: String,
    },
    UserRevokeRole {
        user: String,
        role: String,
    },
    RoleAdd {
        name: String,
    },
    RoleDelete {
        name: String,
    },
    RoleGrantPermission {
        role: String,
        /// Absent where the request has none, which is refused.
        permission: Option<Permission>,
    },
    RoleRevokePermission {
        role: String,
        range: KeyRange,
    },
}

impl AuthCommand {
    /// Whether only a user with the role `root` may do it while authentication is on.
    pub fn needs_root(&self) -> bool {
        !matches!(self, Self::Authenticate { .. })
    }
}
