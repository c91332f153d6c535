//! `auth enable`, `auth disable` and `auth status`

use std::io;

use clap::ArgMatches;
use prost::Message as _;

use crate::wire::etcdserverpb as pb;

use crate::ctl::command::{Command, Deed, Section, no_shared_flags, words};
use crate::ctl::failure::Failure;
use crate::ctl::output::{Look, Object, Reply, Streams, Tree, header};
use crate::ctl::session::Session;

/// `auth`
pub const COMMAND: Command = Command {
    name: "auth",
    usage: "<enable or disable>",
    short: "Enable or disable authentication. Use `quoratectl auth --help` to see subcommands",
    long: "Enable or disable authentication",
    example: "quoratectl auth status",
    section: Some(Section::Authentication),
    flags: no_shared_flags,
    deed: Deed::Group(&[
        Command {
            name: "disable",
            short: "Disables authentication",
            example: "quoratectl --user root:secret auth disable",
            deed: Deed::Run(|session, matches| Box::pin(disable(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "enable",
            short: "Enables authentication",
            example: "quoratectl user add root:secret && quoratectl auth enable",
            deed: Deed::Run(|session, matches| Box::pin(enable(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "status",
            short: "Returns authentication status",
            example: "quoratectl auth status",
            deed: Deed::Run(|session, matches| Box::pin(status(session, matches))),
            ..Command::PLAIN
        },
    ]),
    ..Command::PLAIN
};

/// The user and the role that may do everything.
const ROOT: &str = "root";

fn no_words(matches: &ArgMatches, name: &str) -> Result<(), Failure> {
    match words(matches).is_empty() {
        true => Ok(()),
        false => Err(Failure::bad_args(format!("auth {name} command does not accept any arguments"))),
    }
}

/// A root user without its role is given it on the way, as etcdctl does.
async fn enable(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    no_words(matches, "enable")?;
    let client = session.client().await?;
    while let Err(error) = client.auth_enable(pb::AuthEnableRequest {}).await {
        if error.text() != "etcdserver: root user does not have root role" {
            return Err(error.into());
        }
        client.role_add(pb::AuthRoleAddRequest { name: ROOT.to_owned() }).await?;
        let grant = pb::AuthUserGrantRoleRequest { user: ROOT.to_owned(), role: ROOT.to_owned() };
        client.user_grant_role(grant).await?;
    }
    session.say("Authentication Enabled")
}

async fn disable(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    no_words(matches, "disable")?;
    session.client().await?.auth_disable(pb::AuthDisableRequest {}).await?;
    session.say("Authentication Disabled")
}

async fn status(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    no_words(matches, "status")?;
    let response = session.client().await?.auth_status(pb::AuthStatusRequest {}).await?;
    session.show(&response)
}

impl Reply for pb::AuthStatusResponse {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        writeln!(to.out, "Authentication Status: {}\nAuthRevision: {}", self.enabled, self.auth_revision)
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        let object = header(Object::new(), self.header.as_ref())
            .unless_empty("enabled", Tree::Bool(self.enabled))
            .unless_empty("authRevision", Tree::Uint(self.auth_revision));
        Tree::Object(object)
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}
