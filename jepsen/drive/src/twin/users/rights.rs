//! Users and roles as both sides have answered for them, in the plainest way: what a walk through permissions allows.
//!
//! Invariant: it is told of every change that was carried out. It says whose watches end, and lets the plan of a
//! sequence mostly ask for what makes sense. Does not know tokens.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate::wire::authpb;

use crate::twin::step::AuthStep;

/// A user.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// None for one whom no password opens.
    pub password: Option<String>,
    /// Names of the roles.
    pub roles: BTreeSet<String>,
}

/// Users and roles.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// Whether callers are asked who they are.
    pub enabled: bool,
    /// By name.
    pub users: BTreeMap<String, Account>,
    /// By name; ranges that begin with one key stand in the order in which they were granted.
    pub roles: BTreeMap<String, Vec<authpb::Permission>>,
}

impl Rights {
    /// Takes a change that was carried out.
    pub fn note(&mut self, step: &AuthStep) {
        match step {
            AuthStep::Enable => self.enabled = true,
            AuthStep::Disable => self.enabled = false,
            AuthStep::UserAdd(request) => {
                let closed = request.options.is_some_and(|options| options.no_password);
                let password = (!closed).then(|| request.password.clone());
                self.users.insert(request.name.clone(), Account { password, roles: BTreeSet::new() });
            }
            AuthStep::UserDelete(request) => drop(self.users.remove(&request.name)),
            AuthStep::UserChangePassword(request) => {
                if let Some(user) = self.users.get_mut(&request.name) {
                    // An empty one closes the user, as none does from the start.
                    user.password = user.password.take().map(|_| request.password.clone()).filter(|it| !it.is_empty());
                }
            }
            AuthStep::UserGrantRole(request) => {
                if let Some(user) = self.users.get_mut(&request.user) {
                    user.roles.insert(request.role.clone());
                }
            }
            AuthStep::UserRevokeRole(request) => {
                if let Some(user) = self.users.get_mut(&request.name) {
                    user.roles.remove(&request.role);
                }
            }
            AuthStep::RoleAdd(request) => drop(self.roles.insert(request.name.clone(), Vec::new())),
            AuthStep::RoleDelete(request) => {
                self.roles.remove(&request.role);
                self.users.values_mut().for_each(|user| user.roles.retain(|role| *role != request.role));
            }
            AuthStep::RoleGrant(request) => self.grant(&request.name, request.perm.clone().unwrap_or_default()),
            AuthStep::RoleRevoke(request) => {
                if let Some(role) = self.roles.get_mut(&request.role) {
                    role.retain(|have| have.key != request.key || have.range_end != request.range_end);
                }
            }
            AuthStep::Status
            | AuthStep::Authenticate(_)
            | AuthStep::UserGet(_)
            | AuthStep::UserList
            | AuthStep::RoleGet(_)
            | AuthStep::RoleList => {}
        }
    }

    fn grant(&mut self, role: &str, granted: authpb::Permission) {
        let Some(role) = self.roles.get_mut(role) else { return };
        match role.iter_mut().find(|have| have.key == granted.key && have.range_end == granted.range_end) {
            Some(have) => have.perm_type = granted.perm_type,
            None => role.push(granted),
        }
    }

    /// Whether the role has this range, and another that begins with the same key was granted before: there the sides
    /// differ, as decided.
    pub fn is_shadowed(&self, role: &str, key: &[u8], end: &[u8]) -> bool {
        let permissions = self.roles.get(role).map_or(&[][..], Vec::as_slice);
        let mut same_key = permissions.iter().filter(|have| have.key == key);
        same_key.next().is_some_and(|first| first.range_end != end) && same_key.any(|have| have.range_end == end)
    }

    /// Why a watch of `user` on this range ends, if it does.
    pub fn why_cut(&self, user: Option<&str>, key: &[u8], end: &[u8]) -> Option<String> {
        let told = |code: &str, text: &str| Some(format!("rpc error: code = {code} desc = etcdserver: {text}"));
        match user {
            _ if !self.enabled => None,
            None => told("InvalidArgument", "user name is empty"),
            Some(user) if self.may_read(user, key, end) => None,
            Some(_) => told("PermissionDenied", "permission denied"),
        }
    }

    /// Whether `user` may read all of a range that holds keys.
    pub fn may_read(&self, user: &str, key: &[u8], end: &[u8]) -> bool {
        let Some(user) = self.users.get(user) else { return false };
        if user.roles.contains("root") {
            return true;
        }
        let permissions = user.roles.iter().filter_map(|role| self.roles.get(role)).flatten();
        let readable: Vec<_> = permissions.filter(|it| matches!(it.perm_type, 0 | 2)).map(interval).collect();
        let (mut reached, wanted) = interval_of(if key.is_empty() { &[0] } else { key }, end);
        // Step by step: the furthest end of all that begin at or before what was reached.
        loop {
            let here =
                readable.iter().filter(|(from, to)| *from <= reached && to.as_ref().is_none_or(|to| *to > reached));
            let Some(furthest) = here.map(|(_, to)| to.clone()).max_by(later) else { return false };
            match (&furthest, &wanted) {
                (None, _) => return true,
                (Some(to), Some(wanted)) if to >= wanted => return true,
                (Some(to), _) => reached.clone_from(to),
            }
        }
    }
}

type Interval = (Bytes, Option<Bytes>);

fn interval(permission: &authpb::Permission) -> Interval {
    interval_of(&permission.key, &permission.range_end)
}

fn interval_of(key: &[u8], end: &[u8]) -> Interval {
    let end = match end {
        [] => Some([key, b"\0"].concat().into()),
        [0] => None,
        end => Some(Bytes::copy_from_slice(end)),
    };
    (Bytes::copy_from_slice(key), end)
}

/// No end is later than any.
fn later(a: &Option<Bytes>, b: &Option<Bytes>) -> std::cmp::Ordering {
    match (a, b) {
        (None, None) => std::cmp::Ordering::Equal,
        (None, _) => std::cmp::Ordering::Greater,
        (_, None) => std::cmp::Ordering::Less,
        (Some(a), Some(b)) => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate::wire::etcdserverpb as pb;

    #[test]
    fn a_range_is_readable_where_permissions_cover_all_of_it() {
        let mut rights = Rights { enabled: true, ..Rights::default() };
        let name = || "anna".to_owned();
        rights.note(&AuthStep::UserAdd(pb::AuthUserAddRequest { name: name(), ..Default::default() }));
        rights.note(&AuthStep::RoleAdd(pb::AuthRoleAddRequest { name: "r".to_owned() }));
        rights.note(&AuthStep::UserGrantRole(pb::AuthUserGrantRoleRequest { user: name(), role: "r".to_owned() }));
        let grant = |rights: &mut Rights, kind, key: &'static str, end: &'static str| {
            let perm = Some(authpb::Permission { perm_type: kind, key: key.into(), range_end: end.into() });
            rights.note(&AuthStep::RoleGrant(pb::AuthRoleGrantPermissionRequest { name: "r".to_owned(), perm }));
        };
        for (kind, key, end) in [(0, "b", "d"), (2, "c", "f"), (1, "f", "h"), (0, "x", "\0")] {
            grant(&mut rights, kind, key, end);
        }
        let may = |key: &str, end: &str| rights.may_read("anna", key.as_bytes(), end.as_bytes());
        assert!(may("b", "f") && may("b", "") && may("e", "") && may("y", "\0") && may("x", "z"));
        assert!(!may("a", "c") && !may("b", "g") && !may("f", "") && !may("b", "\0") && !may("", "\0"));
        assert_eq!(rights.why_cut(Some("anna"), b"b", b"f"), None);
        assert!(rights.why_cut(Some("bert"), b"b", b"f").is_some() && rights.why_cut(None, b"b", b"").is_some());
        grant(&mut rights, 0, "b", "e");
        assert!(rights.is_shadowed("r", b"b", b"e") && !rights.is_shadowed("r", b"b", b"d"));
    }
}
