//! `member add`, `member list`, `member promote`, `member remove` and `member update`

use std::io;

use clap::{ArgMatches, Args, FromArgMatches};
use prost::Message as _;

use crate::wire::etcdserverpb as pb;

use super::get;
use crate::ctl::command::{Command, Deed, Section, no_flags, no_shared_flags, words};
use crate::ctl::failure::Failure;
use crate::ctl::go;
use crate::ctl::output::{Fields, Look, Object, Reply, Streams, Table, Tree, header};
use crate::ctl::session::Session;

/// `member`
pub const COMMAND: Command = Command {
    name: "member",
    short: "Membership related commands. Use `quoratectl member --help` to see subcommands",
    long: "Membership related commands",
    example: "quoratectl member list -w table",
    section: Some(Section::Maintenance),
    flags: no_shared_flags,
    deed: Deed::Group(&[
        Command {
            name: "add",
            usage: "<memberName> [options]",
            short: "Adds a member into the cluster",
            example: "quoratectl member add m4 --peer-urls http://10.0.0.4:2380 --learner",
            flags: |command| Add::augment_args(no_flags(command)),
            deed: Deed::Run(|session, matches| Box::pin(add(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "list",
            short: "Lists all members in the cluster",
            example: "quoratectl member list -w table",
            long: "\
When --write-out is set to simple, this command prints out comma-separated member lists for each endpoint.
The items in the lists are ID, Status, Name, Peer Addrs, Client Addrs, Is Learner.
",
            flags: |command| List::augment_args(no_flags(command)),
            deed: Deed::Run(|session, matches| Box::pin(list(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "promote",
            usage: "<memberID>",
            short: "Promotes a non-voting member in the cluster",
            example: "quoratectl member promote 8211f1d0f64f3269",
            long: "Promotes a non-voting learner member to a voting one in the cluster.\n",
            deed: Deed::Run(|session, matches| Box::pin(promote(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "remove",
            usage: "<memberID>",
            short: "Removes a member from the cluster",
            example: "quoratectl member remove 8211f1d0f64f3269",
            deed: Deed::Run(|session, matches| Box::pin(remove(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "update",
            usage: "<memberID> [options]",
            short: "Updates a member in the cluster",
            example: "quoratectl member update 8211f1d0f64f3269 --peer-urls http://10.0.0.5:2380",
            flags: |command| Update::augment_args(no_flags(command)),
            deed: Deed::Run(|session, matches| Box::pin(update(session, matches))),
            ..Command::PLAIN
        },
    ]),
    ..Command::PLAIN
};

#[derive(Args, Debug)]
struct Add {
    // A comment would lose its dot.
    #[arg(long, value_name = "string", default_value = "", help = "comma separated peer URLs for the new member.")]
    peer_urls: String,
    /// indicates if the new member is raft learner
    #[arg(long)]
    learner: bool,
}

#[derive(Args, Debug)]
struct List {
    /// Linearizable(l) or Serializable(s)
    #[arg(long, value_name = "string", default_value = "l")]
    consistency: String,
}

#[derive(Args, Debug)]
struct Update {
    #[arg(long, value_name = "string", default_value = "", help = "comma separated peer URLs for the updated member.")]
    peer_urls: String,
}

fn unreadable(error: clap::Error) -> Failure {
    Failure::bad_args(error.to_string())
}

/// The URLs of a flag, as they were given: what is wrong with one is the client library's to say.
fn urls(flag: &str) -> Result<Vec<String>, Failure> {
    if flag.is_empty() {
        return Err(Failure::bad_args("member peer urls not provided"));
    }
    Ok(flag.split(',').map(str::to_owned).collect())
}

/// The only word, as a member's id in hex digits.
fn only_id(matches: &ArgMatches) -> Result<u64, Failure> {
    let words = words(matches);
    let [word] = &words[..] else { return Err(Failure::bad_args("member ID is not provided")) };
    go::parse_uint(&word.to_string_lossy(), 16)
        .map_err(|why| Failure::bad_args(format!("bad member ID arg ({why}), expecting ID in Hex")))
}

async fn add(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = Add::from_arg_matches(matches).map_err(unreadable)?;
    let words: Vec<String> = words(matches).iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let name = match &words[..] {
        [] => return Err(Failure::bad_args("member name not provided")),
        [name] => name.clone(),
        several => {
            let meant = several.iter().filter(|word| word.to_lowercase().starts_with("http"));
            let meant: String = meant.map(|url| format!(", did you mean --peer-urls={url}")).collect();
            return Err(Failure::bad_args(format!("too many arguments{meant}")));
        }
    };
    let request = pb::MemberAddRequest { peer_ur_ls: urls(&flags.peer_urls)?, is_learner: flags.learner };
    let response = session.client().await?.member_add(request).await?;
    session.show(&response)?;
    if session.format_name()? == "simple" {
        session.say(first_start(&name, &flags.peer_urls, &response))?;
    }
    Ok(())
}

/// The variables that the new member is to be started with.
fn first_start(name: &str, peer_urls: &str, response: &pb::MemberAddResponse) -> String {
    let new = response.member.as_ref().map_or(0, |member| member.id);
    let url_of = |member: &pb::Member| {
        let name = if member.id == new { name.to_owned() } else { member.name.clone() };
        member.peer_ur_ls.iter().map(move |url| format!("{name}={url}")).collect::<Vec<_>>()
    };
    let cluster: Vec<String> = response.members.iter().flat_map(url_of).collect();
    let quote = |text: &str| go::quote(text.as_bytes());
    format!(
        "\nETCD_NAME={}\nETCD_INITIAL_CLUSTER={}\nETCD_INITIAL_ADVERTISE_PEER_URLS={}\n\
         ETCD_INITIAL_CLUSTER_STATE=\"existing\"",
        quote(name),
        quote(&cluster.join(",")),
        quote(peer_urls)
    )
}

async fn list(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = List::from_arg_matches(matches).map_err(unreadable)?;
    // etcdctl names the flag of `get` here, whose value is always "l".
    let serializable = get::serializable(&flags.consistency)
        .map_err(|failure| Failure::new(failure.exit, "unknown consistency flag \"l\""))?;
    let request = pb::MemberListRequest { linearizable: !serializable };
    let response = session.client().await?.member_list(request).await?;
    session.show(&response)
}

async fn promote(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let id = only_id(matches)?;
    let pb::MemberPromoteResponse { header, members } =
        session.client().await?.member_promote(pb::MemberPromoteRequest { id }).await?;
    session.show(&Changed { id, deed: "promoted in", header, members })
}

async fn remove(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let id = only_id(matches)?;
    let pb::MemberRemoveResponse { header, members } =
        session.client().await?.member_remove(pb::MemberRemoveRequest { id }).await?;
    session.show(&Changed { id, deed: "removed from", header, members })
}

async fn update(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = Update::from_arg_matches(matches).map_err(unreadable)?;
    let id = only_id(matches)?;
    let request = pb::MemberUpdateRequest { id, peer_ur_ls: urls(&flags.peer_urls)? };
    let pb::MemberUpdateResponse { header, members } = session.client().await?.member_update(request).await?;
    session.show(&Changed { id, deed: "updated in", header, members })
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

/// A reply with a header, sometimes one member, and all members. With `--hex` nothing is left out of it.
fn reply_tree<'a>(
    reply_header: Option<&pb::ResponseHeader>,
    new: Option<&'a pb::Member>,
    members: &'a [pb::Member],
    look: Look,
) -> Tree<'a> {
    let members = Tree::list(members, |member| member_tree(member, look));
    let new = new.map(|member| member_tree(member, look));
    if !look.hex {
        let object = header(Object::new(), reply_header);
        let object = new.into_iter().fold(object, |object, member| object.unless_empty("member", member));
        return Tree::Object(object.unless_empty("members", members));
    }
    let header = reply_header.map_or(Tree::Null, |header| {
        Tree::Object(
            Object::new()
                .always("cluster_id", id(header.cluster_id, look))
                .always("member_id", id(header.member_id, look))
                .unless_empty("revision", Tree::Int(header.revision))
                .unless_empty("raft_term", Tree::Uint(header.raft_term)),
        )
    });
    let object = Object::new().always("header", header);
    let object = new.into_iter().fold(object, |object, member| object.always("member", member));
    Tree::Object(object.always("members", members))
}

fn cluster_of(header: Option<&pb::ResponseHeader>) -> u64 {
    header.map_or(0, |header| header.cluster_id)
}

impl Reply for pb::MemberAddResponse {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        let (id, learner) = self.member.as_ref().map_or((0, false), |member| (member.id, member.is_learner));
        let learner = if learner { " as learner" } else { "" };
        writeln!(to.out, "Member {id:16x} added{learner} to cluster {:16x}", cluster_of(self.header.as_ref()))
    }

    fn tree(&self, look: Look) -> Tree<'_> {
        reply_tree(self.header.as_ref(), self.member.as_ref(), &self.members, look)
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}

/// A member was changed. The server's answer does not say which it was.
#[derive(Debug)]
pub struct Changed {
    /// The member.
    pub id: u64,
    /// What was done, as far as the cluster's id.
    pub deed: &'static str,
    /// Of the server's answer.
    pub header: Option<pb::ResponseHeader>,
    /// The members there are now.
    pub members: Vec<pb::Member>,
}

impl Reply for Changed {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        writeln!(to.out, "Member {:16x} {} cluster {:16x}", self.id, self.deed, cluster_of(self.header.as_ref()))
    }

    fn tree(&self, look: Look) -> Tree<'_> {
        reply_tree(self.header.as_ref(), None, &self.members, look)
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        // Answers about a changed member are alike.
        let answer = pb::MemberRemoveResponse { header: self.header, members: self.members.clone() };
        Some(answer.encode_to_vec())
    }
}

impl Reply for pb::MemberListResponse {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        self.table().unwrap_or_default().lines(to.out)
    }

    fn tree(&self, look: Look) -> Tree<'_> {
        reply_tree(self.header.as_ref(), None, &self.members, look)
    }

    fn fields(&self, look: Look) -> Option<Fields> {
        let fields = Fields::of(self.header.as_ref(), look);
        Some(fields.each(&self.members, |fields, member| {
            fields
                .id("ID", member.id)
                .quoted("Name", &member.name)
                .each(&member.peer_ur_ls, |fields, url| fields.quoted("PeerURL", url))
                .each(&member.client_ur_ls, |fields, url| fields.quoted("ClientURL", url))
                .value("IsLearner", member.is_learner)
                .blank()
        }))
    }

    fn table(&self) -> Option<Table> {
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
        let names = &["ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"];
        Some(Table { names, rows: self.members.iter().map(row).collect() })
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}
