//! `move-leader`

use std::io;

use clap::ArgMatches;
use prost::Message as _;

use crate::wire::etcdserverpb as pb;

use crate::ctl::command::{Command, Deed, Section, words};
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::go;
use crate::ctl::output::{Look, Object, Reply, Streams, Tree, header};
use crate::ctl::session::Session;

/// `move-leader`
pub const COMMAND: Command = Command {
    name: "move-leader",
    usage: "<transferee-member-id>",
    short: "Transfers leadership to another etcd cluster member.",
    example: "quoratectl move-leader 8211f1d0f64f3269",
    section: Some(Section::Maintenance),
    deed: Deed::Run(|session, matches| Box::pin(move_leader(session, matches))),
    ..Command::PLAIN
};

/// Only the leader can hand over, so it is looked for among the endpoints first.
async fn move_leader(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let words = words(matches);
    let [word] = &words[..] else { return Err(Failure::bad_args("move-leader command needs 1 argument")) };
    let target = go::parse_uint(&word.to_string_lossy(), 16).map_err(Failure::bad_args)?;
    let endpoints = session.endpoints().await?;
    // Says what is wrong with all of them before one is asked.
    session.client().await?;
    for endpoint in &endpoints {
        let client = session.client_of(std::slice::from_ref(endpoint)).await?;
        let status = client.status(pb::StatusRequest {}).await?;
        if status.header.is_some_and(|header| header.member_id == status.leader) {
            let response = client.move_leader(pb::MoveLeaderRequest { target_id: target }).await?;
            return session.show(&Moved { leader: status.leader, target, response });
        }
    }
    Err(Failure::new(Exit::BadArgs, format!("no leader endpoint given at [{}]", endpoints.join(" "))))
}

/// The leadership was handed over. The server's answer does not say from whom to whom.
#[derive(Debug)]
pub struct Moved {
    /// Who was the leader.
    pub leader: u64,
    /// Who is.
    pub target: u64,
    /// The server's answer.
    pub response: pb::MoveLeaderResponse,
}

impl Reply for Moved {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        writeln!(to.out, "Leadership transferred from {:x} to {:x}", self.leader, self.target)
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        Tree::Object(header(Object::new(), self.response.header.as_ref()))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.response.encode_to_vec())
    }
}
