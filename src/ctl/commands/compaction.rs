//! `compaction`, for which `compact` is a unique beginning.

use std::ffi::OsString;

use clap::{ArgMatches, Args, FromArgMatches};

use crate::wire::etcdserverpb as pb;

use crate::ctl::command::{Command, Deed, Section};
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::go;
use crate::ctl::session::Session;

/// `compaction`
pub const COMMAND: Command = Command {
    name: "compaction",
    usage: "[options] <revision>",
    short: "Compacts the event history in etcd",
    example: "quoratectl compaction 1000",
    section: Some(Section::KeyValue),
    flags: Compaction::augment_args,
    deed: Deed::Run(|session, matches| Box::pin(run(session, matches))),
    ..Command::PLAIN
};

#[derive(Args, Debug)]
struct Compaction {
    /// 'true' to wait for compaction to physically remove all old revisions
    #[arg(long)]
    physical: bool,
    args: Vec<OsString>,
}

async fn run(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = Compaction::from_arg_matches(matches).map_err(|error| Failure::bad_args(error.to_string()))?;
    let [revision] = &flags.args[..] else {
        return Err(Failure::bad_args("compaction command needs 1 argument"));
    };
    let revision = go::parse_int(&revision.to_string_lossy(), 10).map_err(|error| Failure::new(Exit::Error, error))?;
    session.client().await?.compact(pb::CompactionRequest { revision, physical: flags.physical }).await?;
    // Says the same in every format, as etcdctl does.
    session.say(format_args!("compacted revision {revision}"))
}
