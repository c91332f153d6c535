//! The table as etcd has it, and a naive twin of what permissions allow.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::base::{KeyRange, Refusal};

fn name(name: &str) -> String {
    name.to_string()
}

fn range(key: &str, end: &str) -> KeyRange {
    KeyRange::from_wire(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(end.as_bytes()))
}

fn add_user(user: &str) -> AuthCommand {
    AuthCommand::UserAdd { name: name(user), password: PasswordHash("hash".into()), no_password: false }
}

fn grant_role(user: &str, role: &str) -> AuthCommand {
    AuthCommand::UserGrantRole { user: name(user), role: name(role) }
}

fn grant(role: &str, kind: PermissionKind, key: &str, end: &str) -> AuthCommand {
    AuthCommand::RoleGrantPermission { role: name(role), permission: Some(Permission { kind, range: range(key, end) }) }
}

impl Auth {
    fn done(&mut self, command: AuthCommand) -> Result<(), Refusal> {
        let before = self.clone();
        let judged = self.judge(&command);
        match judged {
            Ok(change) => self.change(change),
            Err(refusal) => {
                assert_eq!(*self, before);
                return Err(refusal);
            }
        }
        Ok(())
    }

    fn asker(&self, user: &str) -> Option<Asker> {
        Some(Asker { user: user.into(), revision: self.revision() })
    }

    fn may(&self, user: &str, key: &str, end: &str, access: Access) -> bool {
        self.check(self.asker(user).as_ref(), &range(key, end), access).is_ok()
    }
}

/// Authentication is on; `anna` has the role `r`, which allows nothing yet.
fn with_anna() -> Auth {
    let mut auth = Auth::default();
    let role = AuthCommand::RoleAdd { name: name("r") };
    for command in [add_user("root"), grant_role("root", "root"), add_user("anna"), role, grant_role("anna", "r")] {
        auth.done(command).expect("accepted");
    }
    auth.done(AuthCommand::Enable).expect("root is there");
    auth
}

#[test]
fn authentication_begins_with_a_root_and_keeps_it() {
    let mut auth = Auth::default();
    assert_eq!(auth.revision(), 1);
    assert_eq!(auth.done(AuthCommand::Enable), Err(Refusal::RootUserNotExist));
    auth.done(add_user("root")).expect("accepted");
    assert_eq!(auth.done(AuthCommand::Enable), Err(Refusal::RootRoleNotExist));
    auth.done(grant_role("root", "root")).expect("the role need not be there");
    assert_eq!(auth.revision(), 3);
    auth.done(AuthCommand::Enable).expect("root is there");
    auth.done(AuthCommand::Enable).expect("again");
    assert_eq!(auth.revision(), 3, "enabling is no change");
    assert_eq!(auth.done(AuthCommand::UserDelete { name: name("root") }), Err(Refusal::InvalidAuthManagement));
    let revoke = AuthCommand::UserRevokeRole { user: name("root"), role: name("root") };
    assert_eq!(auth.done(revoke.clone()), Err(Refusal::InvalidAuthManagement));
    assert_eq!(auth.done(AuthCommand::RoleDelete { name: name("root") }), Err(Refusal::InvalidAuthManagement));
    auth.done(AuthCommand::Disable).expect("accepted");
    assert_eq!(auth.revision(), 4);
    auth.done(AuthCommand::Disable).expect("again");
    assert_eq!(auth.revision(), 4);
    auth.done(revoke).expect("accepted while nobody is asked");
}

#[test]
fn commands_are_refused_as_etcd_does() {
    let mut auth = with_anna();
    let no_key = Permission { kind: PermissionKind::Read, range: range("", "b") };
    let refused = [
        (add_user(""), Refusal::UserEmpty),
        (add_user("anna"), Refusal::UserAlreadyExists),
        (AuthCommand::UserDelete { name: name("bert") }, Refusal::UserNotFound),
        (
            AuthCommand::UserChangePassword { name: name("bert"), password: Some(PasswordHash::default()) },
            Refusal::UserNotFound,
        ),
        (AuthCommand::UserChangePassword { name: name("bert"), password: None }, Refusal::UserNotFound),
        (AuthCommand::UserChangePassword { name: name("anna"), password: None }, Refusal::NoPasswordUser),
        (grant_role("bert", "r"), Refusal::UserNotFound),
        (grant_role("anna", "s"), Refusal::RoleNotFound),
        (AuthCommand::UserRevokeRole { user: name("anna"), role: name("s") }, Refusal::RoleNotGranted),
        (AuthCommand::RoleAdd { name: name("") }, Refusal::RoleEmpty),
        (AuthCommand::RoleAdd { name: name("r") }, Refusal::RoleAlreadyExists),
        (AuthCommand::RoleDelete { name: name("s") }, Refusal::RoleNotFound),
        (AuthCommand::RoleGrantPermission { role: name("r"), permission: None }, Refusal::PermissionNotGiven),
        (
            AuthCommand::RoleGrantPermission { role: name("s"), permission: Some(no_key) },
            Refusal::InvalidAuthManagement,
        ),
        (grant("r", PermissionKind::Read, "b", "a"), Refusal::InvalidAuthManagement),
        (grant("r", PermissionKind::Read, "b", "b"), Refusal::InvalidAuthManagement),
        (grant("s", PermissionKind::Read, "b", "c"), Refusal::RoleNotFound),
        (AuthCommand::RoleRevokePermission { role: name("r"), range: range("a", "b") }, Refusal::PermissionNotGranted),
        (AuthCommand::Authenticate { user: name("bert"), token: name("t") }, Refusal::AuthFailed),
    ];
    let revision = auth.revision();
    for (command, refusal) in refused {
        assert_eq!(auth.done(command.clone()), Err(refusal), "{command:?}");
    }
    auth.done(grant_role("anna", "r")).expect("granted before");
    auth.done(AuthCommand::Authenticate { user: name("anna"), token: name("t") }).expect("known");
    assert_eq!(auth.revision(), revision, "nothing of it is a change");
}

#[test]
fn who_asks_is_looked_at_in_etcds_order() {
    let auth = with_anna();
    let key = range("a", "");
    let check = |user: &str, revision| auth.check(Some(&Asker { user: user.into(), revision }), &key, Access::Read);
    assert_eq!(auth.check(None, &key, Access::Read), Err(Refusal::UserEmpty));
    assert_eq!(check("anna", 0), Err(Refusal::UserEmpty));
    assert_eq!(check("root", auth.revision() - 1), Err(Refusal::AuthOldRevision));
    assert_eq!(check("nobody", auth.revision()), Err(Refusal::PermissionDenied));
    assert_eq!(check("anna", auth.revision()), Err(Refusal::PermissionDenied));
    assert_eq!(check("root", auth.revision()), Ok(()));
    assert_eq!(auth.check_root(None), Err(Refusal::UserEmpty));
    assert_eq!(auth.check_root(auth.asker("nobody").as_ref()), Err(Refusal::UserNotFound));
    assert_eq!(auth.check_root(auth.asker("anna").as_ref()), Err(Refusal::PermissionDenied));
    assert_eq!(auth.check_root(Some(&Asker { user: "root".into(), revision: 1 })), Ok(()));
    assert_eq!(Auth::default().check(None, &key, Access::Write), Ok(()));
}

#[test]
fn ranges_that_touch_are_one() {
    let mut auth = with_anna();
    for (kind, key, end) in [
        (PermissionKind::Read, "a", "c"),
        (PermissionKind::ReadWrite, "c", "e"),
        (PermissionKind::Write, "x", ""),
        (PermissionKind::Read, "y", "\0"),
        (PermissionKind::Unknown(7), "m", "n"),
    ] {
        auth.done(grant("r", kind, key, end)).expect("accepted");
    }
    for (key, end, access, may) in [
        ("a", "e", Access::Read, true),
        ("a", "f", Access::Read, false),
        ("a", "e", Access::Write, false),
        ("c", "d", Access::Write, true),
        ("x", "", Access::Write, true),
        ("x", "x\0", Access::Write, true),
        ("x", "", Access::Read, false),
        ("yy", "\0", Access::Read, true),
        ("yy", "z", Access::Read, true),
        ("x", "\0", Access::Read, false),
        ("m", "", Access::Read, false),
        // It holds no key, and is where its first one is.
        ("b", "a", Access::Read, true),
    ] {
        assert_eq!(auth.may("anna", key, end, access), may, "{key:?} {end:?} {access:?}");
    }
}

/// A role that goes takes its rights along; a right that is granted anew is what it was granted as last.
#[test]
fn what_is_taken_away_is_gone() {
    let mut auth = with_anna();
    auth.done(grant("r", PermissionKind::Read, "a", "b")).expect("accepted");
    auth.done(grant("r", PermissionKind::ReadWrite, "a", "c")).expect("accepted");
    assert!(auth.may("anna", "b", "", Access::Write));
    auth.done(grant("r", PermissionKind::Read, "a", "c")).expect("accepted");
    assert!(!auth.may("anna", "b", "", Access::Write) && auth.may("anna", "b", "", Access::Read));
    assert_eq!(auth.role("r").map(|role| role.len()), Some(2));
    auth.done(AuthCommand::RoleRevokePermission { role: name("r"), range: range("a", "c") }).expect("granted");
    assert!(!auth.may("anna", "b", "", Access::Read) && auth.may("anna", "a", "", Access::Read));
    auth.done(AuthCommand::RoleDelete { name: name("r") }).expect("there");
    assert_eq!(auth.user("anna").map(|user| user.roles.len()), Some(0));
    assert!(!auth.may("anna", "a", "", Access::Read));
    auth.done(AuthCommand::RoleAdd { name: name("r") }).expect("free again");
    assert!(!auth.may("anna", "a", "", Access::Read), "a new role of that name is nobody's");
}

#[test]
fn the_weight_is_what_there_is() {
    let mut auth = with_anna();
    auth.done(grant("r", PermissionKind::Read, "a", "b")).expect("accepted");
    let restored = Auth::restore(
        true,
        auth.revision(),
        auth.users().map(|(name, user)| (name.to_string(), user.clone())),
        auth.roles().map(|(name, role)| (name.to_string(), (**role).clone())),
    );
    assert_eq!(restored, auth);
    for user in ["anna", "root"] {
        auth.change(Change::User(name(user), None));
    }
    auth.change(Change::Role(name("r"), None));
    assert_eq!(auth, Auth { revision: auth.revision(), ..Auth::restore(true, 0, [], []) });
    auth.weight = crate::base::limits::MAX_AUTH_BYTES;
    assert_eq!(auth.done(add_user("one too many")), Err(Refusal::NoSpace));
}

fn any_range() -> impl Strategy<Value = (u8, Option<u8>)> {
    (b'a'..b'h', prop_oneof![Just(None), (b'a'..b'i').prop_map(Some), Just(Some(0))])
}

fn wire(range: (u8, Option<u8>)) -> KeyRange {
    KeyRange::from_wire(Bytes::copy_from_slice(&[range.0]), range.1.map_or_else(Bytes::new, |end| vec![end].into()))
}

/// Such a range holds no key; it is looked whether its first one is allowed.
#[test]
fn a_range_that_ends_where_it_begins_is_allowed_where_its_key_is() {
    let mut auth = with_anna();
    auth.done(grant("r", PermissionKind::Read, "b", "d")).expect("accepted");
    let may = |key: u8, end: u8| auth.check(auth.asker("anna").as_ref(), &wire((key, Some(end))), Access::Read).is_ok();
    assert!(may(b'b', b'b') && may(b'c', b'c') && may(b'c', b'a'));
    assert!(!may(b'a', b'a') && !may(b'd', b'd') && !may(b'e', b'c'));
}

proptest! {
    /// The twin asks key by key: a range is allowed where each of its keys is. Keys of one and two letters, so that
    /// there is one between any two ends.
    #[test]
    fn permissions_allow_what_they_allow_key_by_key(
        granted in prop::collection::vec((any_range(), 0..3u8), 0..8),
        asked in any_range(),
        write in any::<bool>(),
    ) {
        let kinds = [PermissionKind::Read, PermissionKind::Write, PermissionKind::ReadWrite];
        let permissions: Vec<Permission> = granted
            .iter()
            .map(|(range, kind)| Permission { kind: kinds[*kind as usize], range: wire(*range) })
            .filter(Permission::is_sound)
            .collect();
        let (access, useless) =
            if write { (Access::Write, PermissionKind::Read) } else { (Access::Read, PermissionKind::Write) };
        let auth = {
            let mut auth = with_anna();
            auth.change(Change::Role(name("r"), Some(Arc::new(permissions.clone()))));
            auth
        };
        let asked = wire(asked);
        prop_assume!(!asked.is_empty());
        let keys = (b'a'..=b'y').flat_map(|first| [vec![first], vec![first, b'm'], vec![first, 0]]);
        let each = keys.filter(|key| asked.contains(key)).all(|key| {
            permissions.iter().any(|permission| permission.kind != useless && permission.range.contains(&key))
        });
        let may = auth.check(auth.asker("anna").as_ref(), &asked, access).is_ok();
        prop_assert_eq!(may, each);
    }
}
