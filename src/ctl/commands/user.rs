//! `user add`, `delete`, `get`, `list`, `passwd`, `grant-role` and `revoke-role`

use std::io;

use clap::{ArgMatches, Args, FromArgMatches};
use prost::Message as _;

use crate::wire::authpb::UserAddOptions;
use crate::wire::etcdserverpb as pb;

use super::role::Described;
use crate::ctl::command::{Command, Deed, Section, no_flags, no_shared_flags, words};
use crate::ctl::failure::Failure;
use crate::ctl::output::{Done, Look, Object, Reply, Streams, Tree, header};
use crate::ctl::session::{Session, text};

/// `user`
pub const COMMAND: Command = Command {
    name: "user",
    usage: "<subcommand>",
    short: "User related commands. Use `quoratectl user --help` to see subcommands",
    long: "User related commands",
    example: "quoratectl user add alice\nquoratectl user grant-role alice reader",
    section: Some(Section::Authentication),
    flags: no_shared_flags,
    deed: Deed::Group(&[
        Command {
            name: "add",
            usage: "<user name or user:password> [options]",
            short: "Adds a new user",
            example: "quoratectl user add alice",
            flags: |command| Add::augment_args(no_flags(command)),
            deed: Deed::Run(|session, matches| Box::pin(add(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "delete",
            usage: "<user name>",
            short: "Deletes a user",
            example: "quoratectl user delete alice",
            deed: Deed::Run(|session, matches| Box::pin(delete(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "get",
            usage: "<user name> [options]",
            short: "Gets detailed information of a user",
            example: "quoratectl user get alice --detail",
            flags: |command| Get::augment_args(no_flags(command)),
            deed: Deed::Run(|session, matches| Box::pin(get(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "grant-role",
            usage: "<user name> <role name>",
            short: "Grants a role to a user",
            example: "quoratectl user grant-role alice reader",
            deed: Deed::Run(|session, matches| Box::pin(grant_role(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "list",
            short: "Lists all users",
            example: "quoratectl user list",
            deed: Deed::Run(|session, matches| Box::pin(list(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "passwd",
            usage: "<user name> [options]",
            short: "Changes password of user",
            example: "quoratectl user passwd alice",
            flags: |command| ChangePassword::augment_args(no_flags(command)),
            deed: Deed::Run(|session, matches| Box::pin(change_password(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "revoke-role",
            usage: "<user name> <role name>",
            short: "Revokes a role from a user",
            example: "quoratectl user revoke-role alice reader",
            deed: Deed::Run(|session, matches| Box::pin(revoke_role(session, matches))),
            ..Command::PLAIN
        },
    ]),
    ..Command::PLAIN
};

#[derive(Args, Debug)]
struct Add {
    /// Read password from stdin instead of interactive terminal
    #[arg(long, default_value = "true")]
    interactive: bool,
    /// Supply password from the command line flag
    #[arg(long, value_name = "string", default_value = "")]
    new_user_password: String,
    /// Create a user without password (CN based auth only)
    #[arg(long)]
    no_password: bool,
}

#[derive(Args, Debug)]
struct Get {
    /// Show permissions of roles granted to the user
    #[arg(long)]
    detail: bool,
}

#[derive(Args, Debug)]
struct ChangePassword {
    /// If true, read password from stdin instead of interactive terminal
    #[arg(long, default_value = "true")]
    interactive: bool,
}

fn unreadable(error: clap::Error) -> Failure {
    Failure::bad_args(error.to_string())
}

/// The words of a command, as many as it needs.
fn exactly<const N: usize>(matches: &ArgMatches, needs: &str) -> Result<[String; N], Failure> {
    let words = words(matches);
    if words.len() != N {
        return Err(Failure::bad_args(needs));
    }
    let words = words.iter().map(|word| text(word)).collect::<Result<Vec<String>, Failure>>()?;
    words.try_into().map_err(|_| Failure::bad_args(needs))
}

/// A password typed twice alike, or the first word of the input where nobody is to be asked.
fn new_password(session: &mut Session, name: &str, interactive: bool) -> Result<String, Failure> {
    if !interactive {
        let mut line = String::new();
        session.input().read_line(&mut line)?;
        return Ok(line.split_whitespace().next().unwrap_or_default().to_owned());
    }
    let password = session.ask(&format!("Password of {name}: "))?;
    if password.is_empty() {
        return Err(Failure::bad_args("empty password"));
    }
    if password != session.ask(&format!("Type password of {name} again for confirmation: "))? {
        return Err(Failure::bad_args("given passwords are different"));
    }
    Ok(password)
}

async fn add(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = Add::from_arg_matches(matches).map_err(unreadable)?;
    let [word] = exactly(matches, "user add command requires user name as its argument")?;
    let (name, password) = if flags.no_password {
        (word, String::new())
    } else if !flags.new_user_password.is_empty() {
        (word, flags.new_user_password)
    } else if let Some((name, password)) = word.split_once(':') {
        if name.is_empty() {
            return Err(Failure::bad_args("empty user name is not allowed"));
        }
        (name.to_owned(), password.to_owned())
    } else {
        let password = new_password(session, &word, flags.interactive)?;
        (word, password)
    };
    let request = pb::AuthUserAddRequest {
        name: name.clone(),
        password,
        options: Some(UserAddOptions { no_password: flags.no_password }),
        hashed_password: String::new(),
    };
    let header = session.client().await?.user_add(request).await?.header;
    session.show(&Done { deed: format!("User {name} created"), header })
}

async fn delete(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let [name] = exactly(matches, "user delete command requires user name as its argument")?;
    let header = session.client().await?.user_delete(pb::AuthUserDeleteRequest { name: name.clone() }).await?.header;
    session.show(&Done { deed: format!("User {name} deleted"), header })
}

async fn get(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = Get::from_arg_matches(matches).map_err(unreadable)?;
    let [name] = exactly(matches, "user get command requires user name as its argument")?;
    let client = session.client().await?;
    let response = client.user_get(pb::AuthUserGetRequest { name: name.clone() }).await?;
    if !flags.detail {
        return session.show(&Roles { name, response });
    }
    session.say(format_args!("User: {name}"))?;
    for role in response.roles {
        session.say("")?;
        let response = client.role_get(pb::AuthRoleGetRequest { role: role.clone() }).await?;
        session.show(&Described { role, response })?;
    }
    Ok(())
}

async fn list(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let [] = exactly(matches, "user list command requires no arguments")?;
    let response = session.client().await?.user_list(pb::AuthUserListRequest {}).await?;
    session.show(&response)
}

async fn change_password(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = ChangePassword::from_arg_matches(matches).map_err(unreadable)?;
    let [name] = exactly(matches, "user passwd command requires user name as its argument")?;
    let password = new_password(session, &name, flags.interactive)?;
    let request = pb::AuthUserChangePasswordRequest { name, password, hashed_password: String::new() };
    let header = session.client().await?.user_change_password(request).await?.header;
    session.show(&Done { deed: "Password updated".to_owned(), header })
}

async fn grant_role(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let [user, role] = exactly(matches, "user grant command requires user name and role name as its argument")?;
    let deed = format!("Role {role} is granted to user {user}");
    let header = session.client().await?.user_grant_role(pb::AuthUserGrantRoleRequest { user, role }).await?.header;
    session.show(&Done { deed, header })
}

async fn revoke_role(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let [name, role] = exactly(matches, "user revoke-role requires user name and role name as its argument")?;
    let deed = format!("Role {role} is revoked from user {name}");
    let header = session.client().await?.user_revoke_role(pb::AuthUserRevokeRoleRequest { name, role }).await?.header;
    session.show(&Done { deed, header })
}

/// A user's roles. The server's answer does not say whose they are.
#[derive(Debug)]
pub struct Roles {
    /// The user.
    pub name: String,
    /// The server's answer.
    pub response: pb::AuthUserGetResponse,
}

fn texts(texts: &[String]) -> Tree<'_> {
    Tree::list(texts, |text| Tree::text(text))
}

impl Reply for Roles {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        let roles: String = self.response.roles.iter().map(|role| format!(" {role}")).collect();
        writeln!(to.out, "User: {}\nRoles:{roles}", self.name)
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        let object = header(Object::new(), self.response.header.as_ref());
        Tree::Object(object.unless_empty("roles", texts(&self.response.roles)))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.response.encode_to_vec())
    }
}

impl Reply for pb::AuthUserListResponse {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        self.users.iter().try_for_each(|user| writeln!(to.out, "{user}"))
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        Tree::Object(header(Object::new(), self.header.as_ref()).unless_empty("users", texts(&self.users)))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}
