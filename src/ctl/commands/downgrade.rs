//! `downgrade validate`, `downgrade enable` and `downgrade cancel`

use std::io;

use clap::ArgMatches;
use prost::Message as _;

use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::downgrade_request::DowngradeAction;

use crate::ctl::command::{Command, Deed, Section, no_shared_flags, words};
use crate::ctl::failure::Failure;
use crate::ctl::output::{Look, Object, Reply, Streams, Tree, header};
use crate::ctl::session::{Session, text};

/// `downgrade`
pub const COMMAND: Command = Command {
    name: "downgrade",
    usage: "<TARGET_VERSION>",
    short: "Downgrade related commands. Use `quoratectl downgrade --help` to see subcommands",
    long: "Downgrade related commands",
    example: "quoratectl downgrade validate 3.6",
    section: Some(Section::Maintenance),
    flags: no_shared_flags,
    deed: Deed::Group(&[
        Command {
            name: "cancel",
            short: "Cancel the ongoing downgrade action to cluster",
            example: "quoratectl downgrade cancel",
            deed: Deed::Run(|session, _| {
                Box::pin(async move { ask(session, "cancel", DowngradeAction::Cancel, String::new()).await })
            }),
            ..Command::PLAIN
        },
        Command {
            name: "enable",
            usage: "<TARGET_VERSION>",
            short: "Start a downgrade action to cluster",
            example: "quoratectl downgrade enable 3.6",
            deed: Deed::Run(|session, matches| {
                Box::pin(async move { ask(session, "enable", DowngradeAction::Enable, target(matches)?).await })
            }),
            ..Command::PLAIN
        },
        Command {
            name: "validate",
            usage: "<TARGET_VERSION>",
            short: "Validate downgrade capability before starting downgrade",
            example: "quoratectl downgrade validate 3.6",
            deed: Deed::Run(|session, matches| {
                Box::pin(async move { ask(session, "validate", DowngradeAction::Validate, target(matches)?).await })
            }),
            ..Command::PLAIN
        },
    ]),
    ..Command::PLAIN
};

/// The version to go down to.
fn target(matches: &ArgMatches) -> Result<String, Failure> {
    match &words(matches)[..] {
        [] => Err(Failure::bad_args("TARGET_VERSION not provided")),
        [version] if version.is_empty() => Err(Failure::bad_args("target version not provided")),
        [version] => text(version),
        _ => Err(Failure::bad_args("too many arguments")),
    }
}

async fn ask(
    session: &mut Session,
    verb: &'static str,
    action: DowngradeAction,
    version: String,
) -> Result<(), Failure> {
    let request = pb::DowngradeRequest { action: action as i32, version };
    let response = session.client().await?.downgrade(request).await?;
    session.show(&Asked { verb, response })
}

/// What a server says of a downgrade. Its answer does not say what it was asked.
#[derive(Debug)]
pub struct Asked {
    /// What was asked.
    pub verb: &'static str,
    /// The server's answer.
    pub response: pb::DowngradeResponse,
}

impl Reply for Asked {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        writeln!(to.out, "Downgrade {} success, cluster version {}", self.verb, self.response.version)
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        let object = header(Object::new(), self.response.header.as_ref());
        Tree::Object(object.unless_empty("version", Tree::text(&self.response.version)))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.response.encode_to_vec())
    }
}
