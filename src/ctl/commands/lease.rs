//! `lease grant`, `revoke`, `timetolive`, `list` and `keep-alive`

use std::io;

use clap::{ArgMatches, Args, FromArgMatches};
use prost::Message as _;

use crate::client;
use crate::wire::etcdserverpb as pb;

use crate::ctl::command::{Command, Deed, Section, no_flags, no_shared_flags, words};
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::go::{self, hex16};
use crate::ctl::output::{Done, Fields, Look, Object, Reply, Streams, Tree, header_fields};
use crate::ctl::session::Session;

/// `lease`
pub const COMMAND: Command = Command {
    name: "lease",
    short: "Lease related commands. Use `quoratectl lease --help` to see subcommands",
    long: "Lease related commands",
    example: "quoratectl lease grant 60\nquoratectl lease list",
    section: Some(Section::KeyValue),
    flags: no_shared_flags,
    deed: Deed::Group(&[
        Command {
            name: "grant",
            usage: "<ttl>",
            short: "Creates leases",
            example: "quoratectl lease grant 60",
            deed: Deed::Run(|session, matches| Box::pin(grant(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "keep-alive",
            usage: "[options] <leaseID>",
            short: "Keeps leases alive (renew)",
            example: "quoratectl lease keep-alive 32695410dcc0ca06",
            flags: |command| KeepAlive::augment_args(no_flags(command)),
            deed: Deed::Run(|session, matches| Box::pin(keep_alive(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "list",
            short: "List all active leases",
            example: "quoratectl lease list",
            deed: Deed::Run(|session, _| Box::pin(list(session))),
            ..Command::PLAIN
        },
        Command {
            name: "revoke",
            usage: "<leaseID>",
            short: "Revokes leases",
            example: "quoratectl lease revoke 32695410dcc0ca06",
            deed: Deed::Run(|session, matches| Box::pin(revoke(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "timetolive",
            usage: "<leaseID> [options]",
            short: "Get lease information",
            example: "quoratectl lease timetolive 32695410dcc0ca06 --keys",
            flags: |command| TimeToLive::augment_args(no_flags(command)),
            deed: Deed::Run(|session, matches| Box::pin(time_to_live(session, matches))),
            ..Command::PLAIN
        },
    ]),
    ..Command::PLAIN
};

#[derive(Args, Debug)]
struct KeepAlive {
    /// Resets the keep-alive time to its original value and exits immediately
    #[arg(long)]
    once: bool,
}

#[derive(Args, Debug)]
struct TimeToLive {
    /// Get keys attached to this lease
    #[arg(long)]
    keys: bool,
}

/// The only word of a command.
fn only_word(matches: &ArgMatches, needs: &str) -> Result<String, Failure> {
    match &words(matches)[..] {
        [word] => Ok(word.to_string_lossy().into_owned()),
        _ => Err(Failure::bad_args(needs)),
    }
}

fn lease_id(word: &str) -> Result<i64, Failure> {
    go::parse_int(word, 16)
        .map_err(|error| Failure::bad_args(format!("bad lease ID arg ({error}), expecting ID in Hex")))
}

/// Failures of the lease queries end with another code than those of writes, as in etcdctl.
fn bad_connection(error: client::Error) -> Failure {
    Failure::new(Exit::BadConnection, error.to_string())
}

async fn grant(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let word = only_word(matches, "lease grant command needs TTL argument")?;
    let ttl = go::parse_int(&word, 10).map_err(|error| Failure::bad_args(format!("bad TTL ({error})")))?;
    let response = session
        .client()
        .await?
        .lease_grant(pb::LeaseGrantRequest { ttl, id: 0 })
        .await
        .map_err(|error| Failure::new(Exit::Error, format!("failed to grant lease ({error})")))?;
    session.show(&response)
}

async fn revoke(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let id = lease_id(&only_word(matches, "lease revoke command needs 1 argument")?)?;
    let response = session
        .client()
        .await?
        .lease_revoke(pb::LeaseRevokeRequest { id })
        .await
        .map_err(|error| Failure::new(Exit::Error, format!("failed to revoke lease ({error})")))?;
    session.show(&Done { deed: format!("lease {} revoked", hex16(id)), header: response.header })
}

async fn time_to_live(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = TimeToLive::from_arg_matches(matches).map_err(|error| Failure::bad_args(error.to_string()))?;
    let word = only_word(matches, "lease timetolive command needs lease ID as argument")?;
    let client = session.client().await?;
    let request = pb::LeaseTimeToLiveRequest { id: lease_id(&word)?, keys: flags.keys };
    let response = client.lease_time_to_live(request).await.map_err(bad_connection)?;
    session.show(&Remaining { response, keys: flags.keys })
}

async fn list(session: &mut Session) -> Result<(), Failure> {
    let response = session.client().await?.lease_leases(pb::LeaseLeasesRequest {}).await.map_err(bad_connection)?;
    session.show(&response)
}

async fn keep_alive(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = KeepAlive::from_arg_matches(matches).map_err(|error| Failure::bad_args(error.to_string()))?;
    let id = lease_id(&only_word(matches, "lease keep-alive command needs lease ID as argument")?)?;
    let client = session.client().await?;
    if flags.once {
        let response = client.keep_alive_once(id).await.map_err(bad_connection)?;
        return session.show(&response);
    }
    let mut renewals = client.keep_alive(id);
    while let Some(response) = renewals.next().await {
        session.show(&response.map_err(bad_connection)?)?;
    }
    if session.format_name()? == "simple" {
        session.say(format_args!("lease {} expired or revoked.", hex16(id)))?;
    }
    // That nobody answered ends it, too; where somebody said that the lease is gone it does not matter who else did not.
    if renewals.ran_out() {
        session.tell_unreached(false);
    }
    Ok(())
}

/// The header's fields among a lease reply's own, as etcd's client library has them.
fn among(header: Option<&pb::ResponseHeader>) -> Object<'static> {
    header.map_or_else(Object::new, |header| header_fields(Object::new(), header))
}

/// etcd's client wraps answers about leases so that only their header is left of them here.
fn header_bytes(header: Option<&pb::ResponseHeader>) -> Option<Vec<u8>> {
    Some(header.copied().unwrap_or_default().encode_to_vec())
}

impl Reply for pb::LeaseGrantResponse {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        writeln!(to.out, "lease {} granted with TTL({}s)", hex16(self.id), self.ttl)
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        let object = among(self.header.as_ref())
            .always("ID", Tree::Int(self.id))
            .always("TTL", Tree::Int(self.ttl))
            .always("Error", Tree::Text(self.error.as_str().into()));
        Tree::Object(object)
    }

    fn fields(&self, look: Look) -> Option<Fields> {
        Some(Fields::of(self.header.as_ref(), look).lease("ID", self.id).value("TTL", self.ttl))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        header_bytes(self.header.as_ref())
    }
}

impl Reply for pb::LeaseKeepAliveResponse {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        writeln!(to.out, "lease {} keepalived with TTL({})", hex16(self.id), self.ttl)
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        let object = among(self.header.as_ref()).always("ID", Tree::Int(self.id)).always("TTL", Tree::Int(self.ttl));
        Tree::Object(object)
    }

    fn fields(&self, look: Look) -> Option<Fields> {
        Some(Fields::of(self.header.as_ref(), look).lease("ID", self.id).value("TTL", self.ttl))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        header_bytes(self.header.as_ref())
    }
}

/// How long a lease has left, with the keys attached to it where they were asked for.
#[derive(Debug)]
pub struct Remaining {
    /// The server's answer.
    pub response: pb::LeaseTimeToLiveResponse,
    /// Whether the keys were asked for.
    pub keys: bool,
}

impl Reply for Remaining {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        let pb::LeaseTimeToLiveResponse { id, ttl, granted_ttl, keys, .. } = &self.response;
        if *granted_ttl == 0 && *ttl == -1 {
            return writeln!(to.out, "lease {} already expired", hex16(*id));
        }
        write!(to.out, "lease {} granted with TTL({granted_ttl}s), remaining({ttl}s)", hex16(*id))?;
        if self.keys {
            to.out.write_all(b", attached keys([")?;
            to.out.write_all(&keys.join(&b' '))?;
            to.out.write_all(b"])")?;
        }
        to.out.write_all(b"\n")
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        let response = &self.response;
        let keys = match &response.keys[..] {
            [] => Tree::Null,
            keys => Tree::list(keys, |key| Tree::Bytes(key)),
        };
        let object = among(response.header.as_ref())
            .always("id", Tree::Int(response.id))
            .always("ttl", Tree::Int(response.ttl))
            .always("granted-ttl", Tree::Int(response.granted_ttl))
            .always("keys", keys);
        Tree::Object(object)
    }

    fn fields(&self, look: Look) -> Option<Fields> {
        let response = &self.response;
        let fields = Fields::of(response.header.as_ref(), look)
            .lease("ID", response.id)
            .value("TTL", response.ttl)
            .value("GrantedTTL", response.granted_ttl);
        Some(fields.each(&response.keys, |fields, key| fields.quoted("Key", key)))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        header_bytes(self.response.header.as_ref())
    }
}

impl Reply for pb::LeaseLeasesResponse {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        writeln!(to.out, "found {} leases", self.leases.len())?;
        self.leases.iter().try_for_each(|lease| writeln!(to.out, "{}", hex16(lease.id)))
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        let leases = Tree::list(&self.leases, |lease| Tree::Object(Object::new().always("id", Tree::Int(lease.id))));
        Tree::Object(among(self.header.as_ref()).always("leases", leases))
    }

    fn fields(&self, look: Look) -> Option<Fields> {
        let fields = Fields::of(self.header.as_ref(), look);
        Some(fields.each(&self.leases, |fields, lease| fields.lease("ID", lease.id)))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        header_bytes(self.header.as_ref())
    }
}
