//! `member list`

use std::io;

use clap::{ArgMatches, Args, FromArgMatches};

use crate::wire::etcdserverpb as pb;

use super::command::{Command, Deed, Section, no_flags, no_shared_flags};
use super::failure::Failure;
use super::get;
use super::output::{Look, Object, Reply, Streams, Table, Tree, header};
use super::session::Session;

/// `member`
pub const COMMAND: Command = Command {
    name: "member",
    usage: "",
    short: "Membership related commands. Use `quoratectl member --help` to see subcommands",
    long: "Membership related commands",
    section: Some(Section::Maintenance),
    flags: no_shared_flags,
    deed: Deed::Group(&[Command {
        name: "list",
        usage: "",
        short: "Lists all members in the cluster",
        long: "\
When --write-out is set to simple, this command prints out comma-separated member lists for each endpoint.
The items in the lists are ID, Status, Name, Peer Addrs, Client Addrs, Is Learner.
",
        section: None,
        flags: |command| List::augment_args(no_flags(command)),
        deed: Deed::Run(|session, matches| Box::pin(list(session, matches))),
    }]),
};

#[derive(Args, Debug)]
struct List {
    /// Linearizable(l) or Serializable(s)
    #[arg(long, value_name = "string", default_value = "l")]
    consistency: String,
}

async fn list(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = List::from_arg_matches(matches).map_err(|error| Failure::bad_args(error.to_string()))?;
    // etcdctl names the flag of `get` here, whose value is always "l".
    let serializable = get::serializable(&flags.consistency)
        .map_err(|failure| Failure::new(failure.exit, "unknown consistency flag \"l\""))?;
    let request = pb::MemberListRequest { linearizable: !serializable };
    let response = session.client().await?.member_list(request).await?;
    session.show(&response)
}

/// A cluster's or member's id: hex text with `--hex`, else a number.
fn id(id: u64, look: Look) -> Tree<'static> {
    if look.hex { Tree::Text(format!("{id:x}").into()) } else { Tree::Uint(id) }
}

fn member_tree(member: &pb::Member, look: Look) -> Tree<'_> {
    let urls = |urls| Tree::list(urls, |url: &String| Tree::text(url));
    let object = Object::new();
    let object = if look.hex {
        object.always("ID", id(member.id, look))
    } else {
        object.unless_empty("ID", id(member.id, look))
    };
    Tree::Object(
        object
            .unless_empty("name", Tree::text(&member.name))
            .unless_empty("peerURLs", urls(&member.peer_ur_ls))
            .unless_empty("clientURLs", urls(&member.client_ur_ls))
            .unless_empty("isLearner", Tree::Bool(member.is_learner)),
    )
}

fn table(members: &[pb::Member]) -> Table {
    let row = |member: &pb::Member| {
        vec![
            format!("{:x}", member.id),
            if member.name.is_empty() { "unstarted" } else { "started" }.to_owned(),
            member.name.clone(),
            member.peer_ur_ls.join(","),
            member.client_ur_ls.join(","),
            member.is_learner.to_string(),
        ]
    };
    Table { rows: members.iter().map(row).collect() }
}

impl Reply for pb::MemberListResponse {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        table(&self.members).lines(to.out)
    }

    fn tree(&self, look: Look) -> Tree<'_> {
        let members = Tree::list(&self.members, |member| member_tree(member, look));
        if !look.hex {
            return Tree::Object(header(Object::new(), self.header.as_ref()).unless_empty("members", members));
        }
        let header = self.header.as_ref().map_or(Tree::Null, |header| {
            Tree::Object(
                Object::new()
                    .always("cluster_id", id(header.cluster_id, look))
                    .always("member_id", id(header.member_id, look))
                    .unless_empty("revision", Tree::Int(header.revision))
                    .unless_empty("raft_term", Tree::Uint(header.raft_term)),
            )
        });
        Tree::Object(Object::new().always("header", header).always("members", members))
    }
}
