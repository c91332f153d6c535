//! The random draws of sequences with users: who asks, and changes of users and roles.
//!
//! Invariant: there is always a password that opens root, so that a sequence cannot lock itself out. Names, roles and
//! passwords come from small pools with bad ones among them. Does not send anything.

use bytes::Bytes;
use quorate::base::Dice;
use quorate::wire::{authpb, etcdserverpb as pb};

use super::rights::Rights;
use crate::twin::plan::Plan;
use crate::twin::step::AuthStep;

/// Who may be users; most of them are there most of the time.
pub const PEOPLE: [&str; 6] = ["root", "anna", "bert", "cleo", "dora", "eve"];
const ROLES: [&str; 6] = ["root", "reader", "writer", "keeper", "wide", "odd"];
/// A role gets no more ranges: beyond twelve Go's sort gives those that begin with one key any order.
const MOST_RANGES: usize = 10;

/// Who is to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Who shows nothing.
    Nobody,
    /// A user, with the newest of his tokens, for which he logs in where he has none that holds.
    User(String),
    /// The holder of any token there ever was, counted from the newest.
    Past(u64),
    /// Who shows what is no token.
    Forger(&'static str),
}

/// Who asks next.
pub fn wish(plan: &mut Plan) -> Wish {
    match plan.dice.below(100) {
        0..4 => Wish::Nobody,
        4..7 => Wish::Past(plan.dice.below(12)),
        7..9 => {
            let texts = ["", "x", "x.1", ".1", "a.b.c", "Bearer ", "x.-1", "x.99999999999999999999999", "\u{e9}.1"];
            Wish::Forger(texts[plan.dice.below(texts.len() as u64) as usize])
        }
        9..36 => Wish::User("root".to_owned()),
        _ => Wish::User(PEOPLE[1 + plan.dice.below(5) as usize].to_owned()),
    }
}

fn name(plan: &mut Plan) -> String {
    match plan.dice.below(30) {
        0 => String::new(),
        1 => "nobody".to_owned(),
        2 => "\u{fc}ber/x y".to_owned(),
        _ => PEOPLE[plan.dice.below(6) as usize].to_owned(),
    }
}

fn role(plan: &mut Plan) -> String {
    match plan.dice.below(30) {
        0 => String::new(),
        1 => "nothing".to_owned(),
        // The role root makes its holder root: not too often.
        2 => "root".to_owned(),
        _ => ROLES[1 + plan.dice.below(5) as usize].to_owned(),
    }
}

/// A password. One that is too long is asked for by root alone: stock etcd hashes before it looks at who asks, quorate
/// after (docs/compat.md).
fn password(plan: &mut Plan, by_root: bool) -> String {
    match plan.dice.below(40) {
        0 => String::new(),
        1 if by_root => "p".repeat(73),
        2 => "p".repeat(72),
        3 => "with\u{0}zero".to_owned(),
        n => format!("pass {}", n % 4),
    }
}

/// A permission's range: of the keys that are in use, wide ones too.
fn range(plan: &mut Plan) -> (Bytes, Bytes) {
    let wide: [(&[u8], &[u8]); 6] =
        [(b"k/", b"k0"), (b"k/", b"\0"), (b"\0", b"k/5"), (b"k/1", b"k/5"), (b"k/4", b"l"), (b"\0", b"\0")];
    match plan.dice.below(12) {
        n @ 0..6 => {
            let (key, end) = wide[n as usize];
            (Bytes::from_static(key), Bytes::from_static(end))
        }
        _ => plan.span(),
    }
}

/// A range that the role has, or any.
fn known_range(plan: &mut Plan, rights: &Rights, role: &str) -> (Bytes, Bytes) {
    let have = rights.roles.get(role).map_or(&[][..], Vec::as_slice);
    if have.is_empty() || plan.dice.one_in(8) {
        return range(plan);
    }
    let it = &have[plan.dice.below(have.len() as u64) as usize];
    (it.key.clone(), it.range_end.clone())
}

/// A user as added: root always with a password.
pub fn user_add(plan: &mut Plan, name: String, by_root: bool) -> AuthStep {
    let options = match plan.dice.below(8) {
        0 if name != "root" => Some(authpb::UserAddOptions { no_password: true }),
        1 => Some(authpb::UserAddOptions { no_password: false }),
        _ => None,
    };
    // Hashing is the server's.
    let hashed_password = if plan.dice.one_in(10) { "bm8gaGFzaA==".to_owned() } else { String::new() };
    AuthStep::UserAdd(pb::AuthUserAddRequest { name, password: password(plan, by_root), options, hashed_password })
}

/// A permission for a role, or the end of one where it has enough, or where the two sides would differ, as decided.
fn grant(plan: &mut Plan, rights: &Rights, name: String) -> AuthStep {
    let (key, range_end) = if plan.dice.one_in(4) { known_range(plan, rights, &name) } else { range(plan) };
    let full = rights.roles.get(&name).is_some_and(|have| have.len() >= MOST_RANGES);
    if full || rights.is_shadowed(&name, &key, &range_end) {
        return revoke(plan, rights, name);
    }
    // What is no kind is kept and allows nothing.
    let perm_type = if plan.dice.one_in(3) { plan.choice(3) } else { 2 };
    let perm = (!plan.dice.one_in(30)).then_some(authpb::Permission { perm_type, key, range_end });
    AuthStep::RoleGrant(pb::AuthRoleGrantPermissionRequest { name, perm })
}

fn revoke(plan: &mut Plan, rights: &Rights, role: String) -> AuthStep {
    let (key, range_end) = known_range(plan, rights, &role);
    AuthStep::RoleRevoke(pb::AuthRoleRevokePermissionRequest { role, key, range_end })
}

/// What brings authentication back where it is off.
pub fn repair(plan: &mut Plan, rights: &Rights) -> AuthStep {
    let root = || "root".to_owned();
    match rights.users.get("root") {
        None => user_add(plan, root(), false),
        Some(user) if !user.roles.contains("root") => {
            AuthStep::UserGrantRole(pb::AuthUserGrantRoleRequest { user: root(), role: root() })
        }
        Some(_) => AuthStep::Enable,
    }
}

/// A request of service Auth.
pub fn auth_step(plan: &mut Plan, rights: &Rights, by_root: bool) -> AuthStep {
    match plan.dice.below(100) {
        0..2 if rights.enabled => AuthStep::Disable,
        0..2 => AuthStep::Enable,
        2..4 => AuthStep::Status,
        4..9 => {
            let name = name(plan);
            let known = rights.users.get(&name).and_then(|user| user.password.clone());
            let password = known.filter(|_| !plan.dice.one_in(3)).unwrap_or_else(|| password(plan, by_root));
            AuthStep::Authenticate(pb::AuthenticateRequest { name, password })
        }
        9..19 => {
            let name = name(plan);
            user_add(plan, name, by_root)
        }
        19..24 => AuthStep::UserGet(pb::AuthUserGetRequest { name: name(plan) }),
        24..26 => AuthStep::UserList,
        26..28 => AuthStep::UserDelete(pb::AuthUserDeleteRequest { name: name(plan) }),
        28..33 => {
            let (name, mut password) = (name(plan), password(plan, by_root));
            // An empty one closes the user, and root would be locked out.
            if password.is_empty() && name == "root" {
                password.push('p');
            }
            let request = pb::AuthUserChangePasswordRequest { name, password, ..Default::default() };
            AuthStep::UserChangePassword(request)
        }
        33..52 => AuthStep::UserGrantRole(pb::AuthUserGrantRoleRequest { user: name(plan), role: role(plan) }),
        52..58 => AuthStep::UserRevokeRole(pb::AuthUserRevokeRoleRequest { name: name(plan), role: role(plan) }),
        58..65 => AuthStep::RoleAdd(pb::AuthRoleAddRequest { name: role(plan) }),
        65..70 => AuthStep::RoleGet(pb::AuthRoleGetRequest { role: role(plan) }),
        70..72 => AuthStep::RoleList,
        72..74 => AuthStep::RoleDelete(pb::AuthRoleDeleteRequest { role: role(plan) }),
        74..93 => {
            let role = role(plan);
            grant(plan, rights, role)
        }
        _ => {
            let role = role(plan);
            revoke(plan, rights, role)
        }
    }
}

/// A range more for one of the roles that are there in the beginning.
pub fn any_grant(plan: &mut Plan, rights: &Rights) -> AuthStep {
    let role = ROLES[1 + plan.dice.below(5) as usize].to_owned();
    grant(plan, rights, role)
}

/// The users and roles of a sequence's beginning; the roles are empty yet.
pub fn founding(plan: &mut Plan) -> Vec<AuthStep> {
    let mut steps = Vec::new();
    for role in &ROLES[1..] {
        steps.push(AuthStep::RoleAdd(pb::AuthRoleAddRequest { name: (*role).to_owned() }));
    }
    for name in PEOPLE {
        let password = format!("pass {}", plan.dice.below(4));
        steps.push(AuthStep::UserAdd(pb::AuthUserAddRequest { name: name.to_owned(), password, ..Default::default() }));
        let roles = if name == "root" { 1 } else { plan.dice.below(3) };
        for _ in 0..roles {
            let role = if name == "root" { "root".to_owned() } else { role(plan) };
            steps.push(AuthStep::UserGrantRole(pb::AuthUserGrantRoleRequest { user: name.to_owned(), role }));
        }
    }
    steps
}
