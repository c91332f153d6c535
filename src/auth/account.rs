//! A user: the password's hash, the roles, and what these allow.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::permits::{Access, Permission, Permits};
use crate::base::KeyRange;

/// Name of the user and of the role that may do everything.
pub const ROOT: &str = "root";

/// A password as it is kept: bcrypt's own text. Never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PasswordHash(pub Bytes);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

/// A user as it is stored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct User {
    /// Empty for one without a password.
    pub password: PasswordHash,
    /// Known by certificate alone: no password opens it.
    pub no_password: bool,
    /// Names of the roles, sorted.
    pub roles: Vec<String>,
}

impl User {
    /// Whether it may do everything.
    pub fn is_root(&self) -> bool {
        self.has_role(ROOT)
    }

    /// Whether it was granted this role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.binary_search_by(|have| have.as_str().cmp(role)).is_ok()
    }
}

/// A user with what its roles allow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Account {
    pub(super) user: User,
    is_root: bool,
    permits: Permits,
}

impl Account {
    pub(super) fn new(user: User, roles: &BTreeMap<String, Arc<Vec<Permission>>>) -> Self {
        let granted = user.roles.iter().filter_map(|role| roles.get(role));
        let permissions: Vec<&Permission> = granted.flat_map(|role| role.iter()).collect();
        Self { is_root: user.is_root(), permits: Permits::of(&permissions), user }
    }

    pub(super) fn is_root(&self) -> bool {
        self.is_root
    }

    pub(super) fn may(&self, range: &KeyRange, access: Access) -> bool {
        self.is_root || self.permits.allow(range, access)
    }

    pub(super) fn may_all(&self, access: Access) -> bool {
        self.is_root || self.permits.allow_everything(access)
    }
}
