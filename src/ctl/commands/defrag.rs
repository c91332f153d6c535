//! `defrag`

use std::time::Instant;

use clap::{ArgMatches, Args, FromArgMatches};

use crate::wire::etcdserverpb as pb;

use super::endpoint::{Cluster, endpoints};
use crate::ctl::command::{Command, Deed, Section, no_flags};
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::go::show_duration;
use crate::ctl::session::Session;

/// `defrag`
pub const COMMAND: Command = Command {
    name: "defrag",
    short: "Defragments the storage of the etcd members with given endpoints",
    example: "quoratectl defrag --cluster",
    section: Some(Section::Maintenance),
    flags: |command| Cluster::augment_args(no_flags(command)),
    deed: Deed::Run(|session, matches| Box::pin(run(session, matches))),
    ..Command::PLAIN
};

/// One endpoint after the other: defragmenting stops a stock member's work, and not all should stand at once.
async fn run(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = Cluster::from_arg_matches(matches).map_err(|error| Failure::bad_args(error.to_string()))?;
    let mut failed = false;
    for endpoint in endpoints(session, &flags).await? {
        let client = session.client_of(std::slice::from_ref(&endpoint)).await?;
        let start = Instant::now();
        let result = client.defragment(pb::DefragmentRequest {}).await;
        let took = show_duration(start.elapsed());
        match result {
            Ok(_) => session.say(format_args!("Finished defragmenting etcd member[{endpoint}]. took {took}"))?,
            Err(error) => {
                failed = true;
                session.complain(format_args!("Failed to defragment etcd member[{endpoint}]. took {took}. ({error})"));
            }
        }
    }
    if failed { Err(Failure::silent(Exit::Error)) } else { Ok(()) }
}
