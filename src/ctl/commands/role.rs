//! `role add`, `delete`, `get`, `list`, `grant-permission` and `revoke-permission`

use std::ffi::OsString;
use std::io::{self, Write};

use bytes::Bytes;
use clap::{ArgMatches, Args, FromArgMatches};
use prost::Message as _;

use crate::client::{OPEN_END, prefix_end};
use crate::wire::authpb::Permission;
use crate::wire::authpb::permission::Type;
use crate::wire::etcdserverpb as pb;

use crate::ctl::command::{Command, Deed, Section, no_flags, no_shared_flags, words};
use crate::ctl::failure::Failure;
use crate::ctl::go;
use crate::ctl::output::{Done, Fields, Look, Object, Reply, Streams, Tree, header};
use crate::ctl::session::{Session, bytes, text};

/// `role`
pub const COMMAND: Command = Command {
    name: "role",
    usage: "<subcommand>",
    short: "Role related commands. Use `quoratectl role --help` to see subcommands",
    long: "Role related commands",
    example: "quoratectl role add reader\nquoratectl role grant-permission reader read /app/ --prefix",
    section: Some(Section::Authentication),
    flags: no_shared_flags,
    deed: Deed::Group(&[
        Command {
            name: "add",
            usage: "<role name>",
            short: "Adds a new role",
            example: "quoratectl role add reader",
            deed: Deed::Run(|session, matches| Box::pin(add(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "delete",
            usage: "<role name>",
            short: "Deletes a role",
            example: "quoratectl role delete reader",
            deed: Deed::Run(|session, matches| Box::pin(delete(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "get",
            usage: "<role name>",
            short: "Gets detailed information of a role",
            example: "quoratectl role get reader",
            deed: Deed::Run(|session, matches| Box::pin(get(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "grant-permission",
            usage: "[options] <role name> <permission type> <key> [endkey]",
            short: "Grants a key to a role",
            example: "quoratectl role grant-permission reader read /app/ --prefix",
            flags: |command| Grant::augment_args(no_flags(command)),
            deed: Deed::Run(|session, matches| Box::pin(grant(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "list",
            short: "Lists all roles",
            example: "quoratectl role list",
            deed: Deed::Run(|session, matches| Box::pin(list(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "revoke-permission",
            usage: "<role name> <key> [endkey]",
            short: "Revokes a key from a role",
            example: "quoratectl role revoke-permission reader /app/ --prefix",
            flags: |command| Revoke::augment_args(no_flags(command)),
            deed: Deed::Run(|session, matches| Box::pin(revoke(session, matches))),
            ..Command::PLAIN
        },
    ]),
    ..Command::PLAIN
};

#[derive(Args, Debug)]
struct Grant {
    /// grant a prefix permission
    #[arg(long)]
    prefix: bool,
    /// grant a permission of keys that are greater than or equal to the given key using byte compare
    #[arg(long)]
    from_key: bool,
}

#[derive(Args, Debug)]
struct Revoke {
    /// revoke a prefix permission
    #[arg(long)]
    prefix: bool,
    /// revoke a permission of keys that are greater than or equal to the given key using byte compare
    #[arg(long)]
    from_key: bool,
}

fn unreadable(error: clap::Error) -> Failure {
    Failure::bad_args(error.to_string())
}

/// The role's name, where it is all a command takes.
fn only_name(matches: &ArgMatches, command: &str) -> Result<String, Failure> {
    match &words(matches)[..] {
        [name] => text(name),
        _ => Err(Failure::bad_args(format!("role {command} command requires role name as its argument"))),
    }
}

async fn add(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let name = only_name(matches, "add")?;
    let header = session.client().await?.role_add(pb::AuthRoleAddRequest { name: name.clone() }).await?.header;
    session.show(&Done { deed: format!("Role {name} created"), header })
}

async fn delete(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let role = only_name(matches, "delete")?;
    let header = session.client().await?.role_delete(pb::AuthRoleDeleteRequest { role: role.clone() }).await?.header;
    session.show(&Done { deed: format!("Role {role} deleted"), header })
}

async fn get(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let role = only_name(matches, "get")?;
    let response = session.client().await?.role_get(pb::AuthRoleGetRequest { role: role.clone() }).await?;
    session.show(&Described { role, response })
}

async fn list(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    if !words(matches).is_empty() {
        return Err(Failure::bad_args("role list command requires no arguments"));
    }
    let response = session.client().await?.role_list(pb::AuthRoleListRequest {}).await?;
    session.show(&response)
}

async fn grant(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = Grant::from_arg_matches(matches).map_err(unreadable)?;
    let words = words(matches);
    let [role, kind, key, more @ ..] = &words[..] else {
        let needs = "role grant command requires role name, permission type, and key [endkey] as its argument";
        return Err(Failure::bad_args(needs));
    };
    let kind = permission_type(&kind.to_string_lossy())?;
    let (key, range_end) = keys(key, more.first(), flags.prefix, flags.from_key)?;
    let name = text(role)?;
    let perm = Some(Permission { perm_type: kind as i32, key, range_end });
    let request = pb::AuthRoleGrantPermissionRequest { name: name.clone(), perm };
    let header = session.client().await?.role_grant_permission(request).await?.header;
    session.show(&Done { deed: format!("Role {name} updated"), header })
}

async fn revoke(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = Revoke::from_arg_matches(matches).map_err(unreadable)?;
    let words = words(matches);
    let [role, key, more @ ..] = &words[..] else {
        let needs = "role revoke-permission command requires role name and key [endkey] as its argument";
        return Err(Failure::bad_args(needs));
    };
    let shown = key.to_string_lossy().into_owned();
    let (key, range_end) = keys(key, more.first(), flags.prefix, flags.from_key)?;
    let role = text(role)?;
    let deed = match &range_end[..] {
        [] => format!("Permission of key {shown} is revoked from role {role}"),
        [0] => format!("Permission of range [{shown}, <open ended> is revoked from role {role}"),
        end => format!("Permission of range [{shown}, {}) is revoked from role {role}", String::from_utf8_lossy(end)),
    };
    let request = pb::AuthRoleRevokePermissionRequest { role, key, range_end };
    let header = session.client().await?.role_revoke_permission(request).await?.header;
    session.show(&Done { deed, header })
}

/// A kind of permission by its name, in capitals or not.
fn permission_type(name: &str) -> Result<Type, Failure> {
    Type::from_str_name(&name.to_uppercase())
        .ok_or_else(|| Failure::bad_args(format!("invalid permission type: {name}")))
}

/// The keys a permission is about. An empty key stands for the first there can be.
fn keys(key: &OsString, end: Option<&OsString>, prefix: bool, from_key: bool) -> Result<(Bytes, Bytes), Failure> {
    let both = || Failure::bad_args("--from-key and --prefix flags are mutually exclusive");
    let key = bytes(key);
    if key.is_empty() {
        return match (prefix, from_key) {
            (true, true) => Err(both()),
            (false, false) => Ok((OPEN_END, Bytes::new())),
            _ => Ok((OPEN_END, OPEN_END)),
        };
    }
    let end = match (end, prefix, from_key) {
        (None, true, true) => return Err(both()),
        (None, true, false) => prefix_end(&key),
        (None, false, true) => OPEN_END,
        (None, false, false) => Bytes::new(),
        (Some(_), true, _) => return Err(Failure::bad_args("unexpected endkey argument with --prefix flag")),
        (Some(_), false, true) => return Err(Failure::bad_args("unexpected endkey argument with --from-key flag")),
        (Some(end), false, false) => bytes(end),
    };
    Ok((key, end))
}

/// What a role may do. The server's answer does not say which role it is.
#[derive(Debug)]
pub struct Described {
    /// The role.
    pub role: String,
    /// The server's answer.
    pub response: pb::AuthRoleGetResponse,
}

/// One permission's keys on a line.
fn keys_line(permission: &Permission, out: &mut dyn Write) -> io::Result<()> {
    let (key, end) = (&permission.key, &permission.range_end);
    out.write_all(if end.is_empty() { b"\t" } else { b"\t[" })?;
    out.write_all(key)?;
    match &end[..] {
        [] => {}
        [0] => out.write_all(b", <open ended>")?,
        _ => {
            out.write_all(b", ")?;
            out.write_all(end)?;
            out.write_all(b")")?;
        }
    }
    if !end.is_empty() && !key.is_empty() && prefix_end(key) == *end {
        out.write_all(b" (prefix ")?;
        out.write_all(key)?;
        out.write_all(b")")?;
    }
    out.write_all(b"\n")
}

impl Reply for Described {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        writeln!(to.out, "Role {}", self.role)?;
        for (title, kind) in [("KV Read:", Type::Read), ("KV Write:", Type::Write)] {
            writeln!(to.out, "{title}")?;
            if self.role == "root" && self.response.perm.is_empty() {
                writeln!(to.out, "\t[, <open ended>")?;
            }
            let allows =
                |permission: &&Permission| [kind as i32, Type::Readwrite as i32].contains(&permission.perm_type);
            self.response.perm.iter().filter(allows).try_for_each(|permission| keys_line(permission, to.out))?;
        }
        Ok(())
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        let permissions = Tree::list(&self.response.perm, |permission| {
            let object = Object::new()
                .unless_empty("permType", Tree::Int(permission.perm_type.into()))
                .unless_empty("key", Tree::Bytes(&permission.key))
                .unless_empty("range_end", Tree::Bytes(&permission.range_end));
            Tree::Object(object)
        });
        Tree::Object(header(Object::new(), self.response.header.as_ref()).unless_empty("perm", permissions))
    }

    fn fields(&self, look: Look) -> Option<Fields> {
        let fields = Fields::of(self.response.header.as_ref(), look);
        Some(fields.each(&self.response.perm, |fields, permission| {
            let kind = Type::try_from(permission.perm_type).map_or("", |kind| kind.as_str_name());
            fields
                .value("PermType", format_args!(" {kind}"))
                .quoted("Key", &permission.key)
                .quoted("RangeEnd", &permission.range_end)
        }))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.response.encode_to_vec())
    }
}

impl Reply for pb::AuthRoleListResponse {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        self.roles.iter().try_for_each(|role| writeln!(to.out, "{role}"))
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        let roles = Tree::list(&self.roles, |role| Tree::text(role));
        Tree::Object(header(Object::new(), self.header.as_ref()).unless_empty("roles", roles))
    }

    fn fields(&self, look: Look) -> Option<Fields> {
        let roles: Vec<String> = self.roles.iter().map(|role| go::quote(role.as_bytes())).collect();
        let fields = Fields::of(self.header.as_ref(), look);
        Some(match roles.is_empty() {
            true => fields.nothing("Roles"),
            false => fields.value("Roles", roles.join(" ")),
        })
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_permissions() {
        let of = |key: &str, end: Option<&str>, prefix, from_key| {
            let end = end.map(OsString::from);
            keys(&OsString::from(key), end.as_ref(), prefix, from_key).map_err(|failure| failure.text)
        };
        let pair = |key: &'static [u8], end: &'static [u8]| Ok((Bytes::from_static(key), Bytes::from_static(end)));
        assert_eq!(of("", None, false, false), pair(b"\0", b""));
        assert_eq!(of("", None, true, false), pair(b"\0", b"\0"));
        assert_eq!(of("", Some("x"), false, true), pair(b"\0", b"\0"));
        assert_eq!(of("a", None, true, false), pair(b"a", b"b"));
        assert_eq!(of("a", None, false, true), pair(b"a", b"\0"));
        assert_eq!(of("a", Some("c"), false, false), pair(b"a", b"c"));
        assert!(of("a", Some("c"), true, true).expect_err("two ends").contains("--prefix"));
        assert!(of("a", None, true, true).expect_err("two flags").contains("mutually exclusive"));
    }
}
