//! The table of users and roles. A command is judged first, and what it comes to is put in force in one step.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::account::{Account, PasswordHash, ROOT, User};
use super::command::AuthCommand;
use super::permits::{Access, Permission};
use crate::base::{KeyRange, Refusal, limits};

/// A role: its permissions, in order of their first key.
pub type Role = Arc<Vec<Permission>>;

/// Who asks, as a token or a certificate names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asker {
    /// The user's name.
    pub user: Arc<str>,
    /// The table's revision when it was named.
    pub revision: u64,
}

/// What a command comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Change {
    /// Nothing, and the revision stays.
    Nothing,
    Enabled,
    Disabled,
    /// A user as it is from now on, or that there is none of that name.
    User(String, Option<User>),
    /// A role, likewise.
    Role(String, Option<Role>),
}

/// All users and roles. Clones share what they have in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Auth {
    pub(super) is_enabled: bool,
    pub(super) revision: u64,
    pub(super) users: BTreeMap<String, Arc<Account>>,
    pub(super) roles: BTreeMap<String, Role>,
    /// Names, hashes and keys, in bytes.
    pub(super) weight: usize,
}

impl Default for Auth {
    fn default() -> Self {
        Self { is_enabled: false, revision: 1, users: BTreeMap::new(), roles: BTreeMap::new(), weight: 0 }
    }
}

impl Auth {
    /// The table that an image describes.
    pub fn restore(
        is_enabled: bool,
        revision: u64,
        users: impl IntoIterator<Item = (String, User)>,
        roles: impl IntoIterator<Item = (String, Vec<Permission>)>,
    ) -> Self {
        let mut auth = Self { is_enabled, revision, ..Self::default() };
        roles.into_iter().for_each(|(name, role)| auth.put_role(name, Some(Arc::new(role))));
        users.into_iter().for_each(|(name, user)| auth.put_user(name, Some(user)));
        auth
    }

    /// Whether callers must say who they are.
    pub fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// Grows with every change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The users, by name.
    pub fn users(&self) -> impl Iterator<Item = (&str, &User)> {
        self.users.iter().map(|(name, account)| (name.as_str(), &account.user))
    }

    /// The roles, by name.
    pub fn roles(&self) -> impl Iterator<Item = (&str, &Role)> {
        self.roles.iter().map(|(name, role)| (name.as_str(), role))
    }

    /// One user.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name).map(|account| &account.user)
    }

    /// One role.
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.get(name)
    }

    /// Refuses an asker who may not access all of `range` so. Looks in etcd's order.
    pub fn check(&self, asker: Option<&Asker>, range: &KeyRange, access: Access) -> Result<(), Refusal> {
        match self.account_of(asker)? {
            Some(account) if !account.may(range, access) => Err(Refusal::PermissionDenied),
            _ => Ok(()),
        }
    }

    /// As [`Self::check`], for each of these keys.
    pub fn check_keys<'a>(
        &self,
        asker: Option<&Asker>,
        mut keys: impl Iterator<Item = &'a bytes::Bytes>,
        access: Access,
    ) -> Result<(), Refusal> {
        let Some(first) = keys.next() else { return Ok(()) };
        let Some(account) = self.account_of(asker)? else { return Ok(()) };
        let may = |key: &bytes::Bytes| account.may(&KeyRange::single(key.clone()), access);
        if account.may_all(access) || (may(first) && keys.all(may)) { Ok(()) } else { Err(Refusal::PermissionDenied) }
    }

    /// As [`Self::check_keys`], of keys on a lease: the role `root` is enough at whatever revision its holder was named, as
    /// in etcd.
    pub fn check_attached<'a>(
        &self,
        asker: Option<&Asker>,
        keys: impl Iterator<Item = &'a bytes::Bytes>,
        access: Access,
    ) -> Result<(), Refusal> {
        if self.check_root(asker).is_ok() { Ok(()) } else { self.check_keys(asker, keys, access) }
    }

    /// The asker's account, nothing while nobody is asked who he is; or why the asker may access nothing.
    fn account_of(&self, asker: Option<&Asker>) -> Result<Option<&Account>, Refusal> {
        if !self.is_enabled {
            return Ok(None);
        }
        let asker = asker.filter(|asker| asker.revision > 0).ok_or(Refusal::UserEmpty)?;
        if asker.revision < self.revision {
            return Err(Refusal::AuthOldRevision);
        }
        self.users.get(&*asker.user).map(|account| Some(&**account)).ok_or(Refusal::PermissionDenied)
    }

    /// Refuses an asker who has not the role `root`. As in etcd the revision it was named at does not matter: what it may
    /// do is looked up here.
    pub fn check_root(&self, asker: Option<&Asker>) -> Result<(), Refusal> {
        if !self.is_enabled {
            return Ok(());
        }
        let asker = asker.filter(|asker| !asker.user.is_empty()).ok_or(Refusal::UserEmpty)?;
        let account = self.users.get(&*asker.user).ok_or(Refusal::UserNotFound)?;
        if account.is_root() { Ok(()) } else { Err(Refusal::PermissionDenied) }
    }

    /// Refuses one who has not said who he is.
    pub fn check_named(&self, asker: Option<&Asker>) -> Result<(), Refusal> {
        if self.is_enabled && asker.is_none() { Err(Refusal::UserEmpty) } else { Ok(()) }
    }

    /// Whether `user`, by whatever it was named, may read all of `range` now; why not.
    pub fn check_watcher(&self, user: Option<&Arc<str>>, range: &KeyRange) -> Result<(), Refusal> {
        let asker = user.map(|user| Asker { user: user.clone(), revision: self.revision });
        self.check(asker.as_ref(), range, Access::Read)
    }

    /// What a command comes to, or why it is refused. Looks in etcd's order. Does not look at who asks.
    pub fn judge(&self, command: &AuthCommand) -> Result<Change, Refusal> {
        match command {
            AuthCommand::Enable => self.judge_enable(),
            AuthCommand::Disable => Ok(if self.is_enabled { Change::Disabled } else { Change::Nothing }),
            AuthCommand::Authenticate { user, .. } => self.judge_authenticate(user),
            AuthCommand::UserAdd { name, password, no_password } => self.judge_user_add(name, password, *no_password),
            AuthCommand::UserDelete { name } => {
                self.keep_root(name == ROOT)?;
                self.known_user(name)?;
                Ok(Change::User(name.clone(), None))
            }
            AuthCommand::UserChangePassword { name, password } => {
                let mut user = self.known_user(name)?.clone();
                let before = user.password.0.len();
                user.password = match password {
                    _ if user.no_password => PasswordHash::default(),
                    Some(password) => password.clone(),
                    None => return Err(Refusal::NoPasswordUser),
                };
                let more = user.password.0.len().saturating_sub(before);
                self.roomy(more, Change::User(name.clone(), Some(user)))
            }
            AuthCommand::UserGrantRole { user, role } => self.judge_grant_role(user, role),
            AuthCommand::UserRevokeRole { user, role } => {
                self.keep_root(user == ROOT && role == ROOT)?;
                let mut changed = self.known_user(user)?.clone();
                if !changed.has_role(role) {
                    return Err(Refusal::RoleNotGranted);
                }
                changed.roles.retain(|have| have != role);
                Ok(Change::User(user.clone(), Some(changed)))
            }
            AuthCommand::RoleAdd { name } if name.is_empty() => Err(Refusal::RoleEmpty),
            AuthCommand::RoleAdd { name } if self.roles.contains_key(name) => Err(Refusal::RoleAlreadyExists),
            AuthCommand::RoleAdd { name } => self.roomy(name.len(), Change::Role(name.clone(), Some(Role::default()))),
            AuthCommand::RoleDelete { name } => {
                self.keep_root(name == ROOT)?;
                self.known_role(name)?;
                Ok(Change::Role(name.clone(), None))
            }
            AuthCommand::RoleGrantPermission { role, permission } => self.judge_grant(role, permission.as_ref()),
            AuthCommand::RoleRevokePermission { role, range } => {
                let mut permissions = (**self.known_role(role)?).clone();
                let had = permissions.len();
                permissions.retain(|have| have.range != *range);
                if permissions.len() == had {
                    return Err(Refusal::PermissionNotGranted);
                }
                Ok(Change::Role(role.clone(), Some(Arc::new(permissions))))
            }
        }
    }

    fn judge_enable(&self) -> Result<Change, Refusal> {
        if self.is_enabled {
            return Ok(Change::Nothing);
        }
        let root = self.user(ROOT).ok_or(Refusal::RootUserNotExist)?;
        if root.is_root() { Ok(Change::Enabled) } else { Err(Refusal::RootRoleNotExist) }
    }

    fn judge_authenticate(&self, user: &str) -> Result<Change, Refusal> {
        if !self.is_enabled {
            return Err(Refusal::AuthNotEnabled);
        }
        match self.user(user) {
            Some(user) if !user.no_password => Ok(Change::Nothing),
            _ => Err(Refusal::AuthFailed),
        }
    }

    fn judge_user_add(&self, name: &str, password: &PasswordHash, no_password: bool) -> Result<Change, Refusal> {
        if name.is_empty() {
            return Err(Refusal::UserEmpty);
        }
        if self.users.contains_key(name) {
            return Err(Refusal::UserAlreadyExists);
        }
        let password = if no_password { PasswordHash::default() } else { password.clone() };
        let more = name.len() + password.0.len();
        self.roomy(more, Change::User(name.to_string(), Some(User { password, no_password, roles: Vec::new() })))
    }

    fn judge_grant_role(&self, user: &str, role: &str) -> Result<Change, Refusal> {
        let mut changed = self.known_user(user)?.clone();
        // The role `root` may be granted without being there, as in etcd.
        if role != ROOT {
            self.known_role(role)?;
        }
        if changed.has_role(role) {
            return Ok(Change::Nothing);
        }
        changed.roles.push(role.to_string());
        changed.roles.sort_unstable();
        self.roomy(role.len(), Change::User(user.to_string(), Some(changed)))
    }

    /// A range that was granted before has the new kind from now on. etcd looks at the first range with that key alone
    /// and would let both kinds stand: who takes a right to write away must not be left with it (decision 14).
    fn judge_grant(&self, role: &str, permission: Option<&Permission>) -> Result<Change, Refusal> {
        let granted = permission.ok_or(Refusal::PermissionNotGiven)?;
        if !granted.is_sound() {
            return Err(Refusal::InvalidAuthManagement);
        }
        let mut permissions = (**self.known_role(role)?).clone();
        match permissions.iter_mut().find(|have| have.range == granted.range) {
            Some(have) => have.kind = granted.kind,
            None => {
                let behind = permissions.partition_point(|have| have.range.start <= granted.range.start);
                permissions.insert(behind, granted.clone());
            }
        }
        let more = granted.range.start.len() + granted.range.wire_end().len();
        self.roomy(more, Change::Role(role.to_string(), Some(Arc::new(permissions))))
    }

    fn known_user(&self, name: &str) -> Result<&User, Refusal> {
        self.user(name).ok_or(Refusal::UserNotFound)
    }

    fn known_role(&self, name: &str) -> Result<&Role, Refusal> {
        self.role(name).ok_or(Refusal::RoleNotFound)
    }

    /// Refuses what would leave nobody in charge.
    fn keep_root(&self, concerns_root: bool) -> Result<(), Refusal> {
        if self.is_enabled && concerns_root { Err(Refusal::InvalidAuthManagement) } else { Ok(()) }
    }

    /// A change that needs `more` bytes, where there are so many.
    fn roomy(&self, more: usize, change: Change) -> Result<Change, Refusal> {
        if more > 0 && self.weight + more > limits::MAX_AUTH_BYTES { Err(Refusal::NoSpace) } else { Ok(change) }
    }

    /// Puts a change in force. Enabling keeps the revision, as in etcd.
    pub fn change(&mut self, change: Change) {
        match change {
            Change::Nothing => return,
            Change::Enabled => {
                self.is_enabled = true;
                return;
            }
            Change::Disabled => self.is_enabled = false,
            Change::User(name, user) => self.put_user(name, user),
            Change::Role(name, role) => self.change_role(name, role),
        }
        self.revision += 1;
    }

    fn put_user(&mut self, name: String, user: Option<User>) {
        let weigh = |name: &str, user: &User| {
            name.len() + user.password.0.len() + user.roles.iter().map(String::len).sum::<usize>()
        };
        if let Some(was) = self.users.get(&name) {
            self.weight -= weigh(&name, &was.user);
        }
        match user {
            None => drop(self.users.remove(&name)),
            Some(user) => {
                self.weight += weigh(&name, &user);
                let account = Account::new(user, &self.roles);
                self.users.insert(name, Arc::new(account));
            }
        }
    }

    fn put_role(&mut self, name: String, role: Option<Role>) {
        let weigh = |name: &str, role: &Role| {
            let permissions = role.iter().map(|it| it.range.start.len() + it.range.wire_end().len());
            name.len() + permissions.sum::<usize>()
        };
        if let Some(was) = self.roles.get(&name) {
            self.weight -= weigh(&name, was);
        }
        match role {
            None => drop(self.roles.remove(&name)),
            Some(role) => {
                self.weight += weigh(&name, &role);
                self.roles.insert(name, role);
            }
        }
    }

    /// A role changes with everyone who has it; one that goes is nobody's any more.
    fn change_role(&mut self, name: String, role: Option<Role>) {
        let is_gone = role.is_none();
        let having = self.users.iter().filter(|(_, account)| account.user.has_role(&name));
        let having: Vec<(String, User)> = having.map(|(user, account)| (user.clone(), account.user.clone())).collect();
        self.put_role(name.clone(), role);
        for (user, mut changed) in having {
            if is_gone {
                changed.roles.retain(|have| *have != name);
            }
            self.put_user(user, Some(changed));
        }
    }
}
