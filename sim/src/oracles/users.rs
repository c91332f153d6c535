//! Users and roles by a naive model of their own, told every entry in order: what each is answered, and what every member
//! holds in the end, however often it was restarted or took another's state.
//!
//! Keeps the table of every place of the log, so that other judges can ask who might do what there. Knows nothing of how
//! the product keeps them: names in trees, permissions in lists, and etcd's texts.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use quorate::auth::{Auth, AuthCommand, Permission};

use super::{Verdict, require};

const ROOT: &str = "root";

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct User {
    password: Vec<u8>,
    no_password: bool,
    pub(super) roles: BTreeSet<String>,
}

/// Users and roles behind some entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    pub(super) enabled: bool,
    pub(super) revision: u64,
    pub(super) users: BTreeMap<String, User>,
    /// Permissions in order of their key; of one key, in the order in which they came.
    pub(super) roles: BTreeMap<String, Vec<Permission>>,
}

impl Default for Table {
    fn default() -> Self {
        Self { enabled: false, revision: 1, users: BTreeMap::new(), roles: BTreeMap::new() }
    }
}

/// The model: all tables, each with the place from which on it held.
#[derive(Clone, Debug)]
pub struct Users {
    tables: Vec<(usize, Arc<Table>)>,
}

impl Default for Users {
    fn default() -> Self {
        Self { tables: vec![(0, Arc::default())] }
    }
}

impl Users {
    /// The last table.
    pub fn now(&self) -> &Arc<Table> {
        &self.tables.last().expect("there is one from the beginning").1
    }

    /// Which table held at a place, by number.
    pub fn number_at(&self, place: usize) -> usize {
        self.tables.partition_point(|(from, _)| *from <= place) - 1
    }

    /// The table of a number.
    pub fn numbered(&self, number: usize) -> &Arc<Table> {
        &self.tables[number].1
    }

    /// The tables that held within these places, each with the place from which on it did.
    pub fn within(&self, places: RangeInclusive<usize>) -> &[(usize, Arc<Table>)] {
        &self.tables[self.number_at(*places.start())..=self.number_at(*places.end())]
    }

    /// Takes an entry that leads to `place`; how it is answered.
    pub fn applied(&mut self, command: &AuthCommand, place: usize) -> Result<(), &'static str> {
        let mut table = Table::clone(self.now());
        let changes = table.change(command)?;
        table.revision += u64::from(changes);
        if table != **self.now() {
            self.tables.push((place, Arc::new(table)));
        }
        Ok(())
    }

    /// Whether a member holds the same.
    pub fn holds(&self, member: usize, table: &Auth) -> Verdict {
        self.now().is_held(member, table)
    }
}

impl Table {
    /// Whether everybody is asked who he is.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Grows with every change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What opens a user, where anything does.
    pub fn password(&self, user: &str) -> Option<&[u8]> {
        self.users.get(user).filter(|user| !user.no_password).map(|user| &user.password[..])
    }

    /// Whether there is a user who may do everything.
    pub fn has_root(&self) -> bool {
        self.users.get(ROOT).is_some_and(|root| root.roles.contains(ROOT))
    }

    /// While everybody is asked there is somebody in charge.
    fn keep_root(&self, concerns_root: bool) -> Result<(), &'static str> {
        if self.enabled && concerns_root { Err("etcdserver: invalid auth management") } else { Ok(()) }
    }

    /// As with [`Self::change`]; that it is enabled is no change by which the revision grows.
    fn enable(&mut self) -> Result<bool, &'static str> {
        if !self.enabled {
            self.users.get(ROOT).ok_or("etcdserver: root user does not exist")?;
            if !self.has_root() {
                return Err("etcdserver: root user does not have root role");
            }
        }
        self.enabled = true;
        Ok(false)
    }

    fn authenticate(&self, user: &str) -> Result<bool, &'static str> {
        if !self.enabled {
            return Err("etcdserver: authentication is not enabled");
        }
        self.password(user).ok_or("etcdserver: authentication failed, invalid user ID or password")?;
        Ok(false)
    }

    /// Whether it changed something.
    fn change(&mut self, command: &AuthCommand) -> Result<bool, &'static str> {
        const NO_USER: &str = "etcdserver: user name not found";
        const NO_ROLE: &str = "etcdserver: role name not found";
        match command {
            AuthCommand::Enable => return self.enable(),
            AuthCommand::Disable => return Ok(std::mem::replace(&mut self.enabled, false)),
            AuthCommand::Authenticate { user, .. } => return self.authenticate(user),
            AuthCommand::UserAdd { name, password, no_password } => {
                if self.users.contains_key(name) {
                    return Err("etcdserver: user name already exists");
                }
                let password = if *no_password { Vec::new() } else { password.0.to_vec() };
                let user = User { password, no_password: *no_password, roles: BTreeSet::new() };
                self.users.insert(name.clone(), user);
            }
            AuthCommand::UserDelete { name } => {
                self.keep_root(name == ROOT)?;
                self.users.remove(name).ok_or(NO_USER)?;
            }
            AuthCommand::UserChangePassword { name, password } => {
                let user = self.users.get_mut(name).ok_or(NO_USER)?;
                let password =
                    password.as_ref().ok_or("auth: authentication failed, password was given for no password user");
                user.password = if user.no_password { Vec::new() } else { password?.0.to_vec() };
            }
            AuthCommand::UserGrantRole { user, role } => {
                let user = self.users.get_mut(user).ok_or(NO_USER)?;
                if role != ROOT && !self.roles.contains_key(role) {
                    return Err(NO_ROLE);
                }
                return Ok(user.roles.insert(role.clone()));
            }
            AuthCommand::UserRevokeRole { user, role } => {
                self.keep_root(user == ROOT && role == ROOT)?;
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
                self.keep_root(name == ROOT)?;
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

    /// What the product's says.
    pub fn of(table: &Auth) -> Self {
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
        Self { enabled: table.is_enabled(), revision: table.revision(), users, roles }
    }

    fn is_held(&self, member: usize, table: &Auth) -> Verdict {
        let held = Self::of(table);
        require(held == *self, "members agree on users and roles", || {
            format!("member {member}: {held:?}\nby the log: {self:?}")
        })
    }
}
