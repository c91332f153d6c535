//! Users and roles by a naive model of their own, told every entry in order: what each is answered, and what every member
//! holds in the end, however often it was restarted or took another's state.
//!
//! Knows nothing of how the product keeps them: names in trees, permissions in lists, and etcd's texts.

use std::collections::{BTreeMap, BTreeSet};

use quorate::auth::{Auth, AuthCommand, Permission};
use quorate::machine::Command;

use super::{Verdict, require};

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct User {
    password: Vec<u8>,
    no_password: bool,
    roles: BTreeSet<String>,
}

/// The model.
#[derive(Clone, Debug)]
pub struct Users {
    revision: u64,
    users: BTreeMap<String, User>,
    /// Permissions in order of their key; of one key, in the order in which they came.
    roles: BTreeMap<String, Vec<Permission>>,
}

impl Default for Users {
    fn default() -> Self {
        Self { revision: 1, users: BTreeMap::new(), roles: BTreeMap::new() }
    }
}

impl Users {
    /// Takes an entry; how it is answered, if it is of users or roles. Authentication stays off: nobody is called `root`.
    pub fn applied(&mut self, command: &Command) -> Option<Result<(), &'static str>> {
        let Command::Auth(command) = command else { return None };
        Some(self.change(command).map(|changes| self.revision += u64::from(changes)))
    }

    /// Whether it changed something.
    fn change(&mut self, command: &AuthCommand) -> Result<bool, &'static str> {
        const NO_USER: &str = "etcdserver: user name not found";
        const NO_ROLE: &str = "etcdserver: role name not found";
        match command {
            AuthCommand::Enable => return Err("etcdserver: root user does not exist"),
            AuthCommand::Disable => return Ok(false),
            AuthCommand::Authenticate { .. } => return Err("etcdserver: authentication is not enabled"),
            AuthCommand::UserAdd { name, password, no_password } => {
                if self.users.contains_key(name) {
                    return Err("etcdserver: user name already exists");
                }
                let user = User { password: password.0.to_vec(), no_password: *no_password, roles: BTreeSet::new() };
                self.users.insert(name.clone(), user);
            }
            AuthCommand::UserDelete { name } => {
                self.users.remove(name).ok_or(NO_USER)?;
            }
            AuthCommand::UserChangePassword { name, password } => {
                let user = self.users.get_mut(name).ok_or(NO_USER)?;
                user.password = if user.no_password { Vec::new() } else { password.0.to_vec() };
            }
            AuthCommand::UserGrantRole { user, role } => {
                let user = self.users.get_mut(user).ok_or(NO_USER)?;
                if !self.roles.contains_key(role) {
                    return Err(NO_ROLE);
                }
                return Ok(user.roles.insert(role.clone()));
            }
            AuthCommand::UserRevokeRole { user, role } => {
                let user = self.users.get_mut(user).ok_or(NO_USER)?;
                if !user.roles.remove(role) {
                    return Err("etcdserver: role is not granted to the user");
                }
            }
            AuthCommand::RoleAdd { name } => {
                if self.roles.contains_key(name) {
                    return Err("etcdserver: role name already exists");
                }
                self.roles.insert(name.clone(), Vec::new());
            }
            AuthCommand::RoleDelete { name } => {
                self.roles.remove(name).ok_or(NO_ROLE)?;
                for user in self.users.values_mut() {
                    user.roles.remove(name);
                }
            }
            AuthCommand::RoleGrantPermission { role, permission } => {
                let granted = permission.as_ref().ok_or("etcdserver: permission not given")?;
                let role = self.roles.get_mut(role).ok_or(NO_ROLE)?;
                match role.iter_mut().find(|have| have.range == granted.range) {
                    Some(have) => have.kind = granted.kind,
                    None => role.push(granted.clone()),
                }
                role.sort_by(|one, other| one.range.start.cmp(&other.range.start));
            }
            AuthCommand::RoleRevokePermission { role, range } => {
                let role = self.roles.get_mut(role).ok_or(NO_ROLE)?;
                let place = role.iter().position(|have| have.range == *range);
                role.remove(place.ok_or("etcdserver: permission is not granted to the role")?);
            }
        }
        Ok(true)
    }

    /// Whether a member holds the same.
    pub fn holds(&self, member: usize, table: &Auth) -> Verdict {
        let users: BTreeMap<String, User> = table
            .users()
            .map(|(name, user)| {
                let roles = user.roles.iter().cloned().collect();
                let (password, no_password) = (user.password.0.to_vec(), user.no_password);
                (name.to_string(), User { password, no_password, roles })
            })
            .collect();
        let roles: BTreeMap<String, Vec<Permission>> =
            table.roles().map(|(name, role)| (name.to_string(), (**role).clone())).collect();
        let same = users == self.users && roles == self.roles && table.revision() == self.revision;
        require(same && !table.is_enabled(), "members agree on users and roles", || {
            format!(
                "member {member}: revision {}, {users:?}, {roles:?}\nby the log: revision {}, {:?}, {:?}",
                table.revision(),
                self.revision,
                self.users,
                self.roles
            )
        })
    }
}
