//! `endpoint health`, `endpoint status` and `endpoint hashkv`

use std::io;
use std::time::Instant;

use clap::{ArgMatches, Args, FromArgMatches};
use futures_util::future::join_all;

use crate::client::Client;
use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::AlarmType;

use super::alarm::every_alarm;
use crate::base::human_bytes;
use crate::ctl::command::{Command, Deed, Section, no_flags};
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::go;
use crate::ctl::output::{Fields, Look, Object, Reply, Streams, Table, Tree, header};
use crate::ctl::session::Session;

/// `endpoint`
pub const COMMAND: Command = Command {
    name: "endpoint",
    short: "Endpoint related commands. Use `quoratectl endpoint --help` to see subcommands",
    long: "Endpoint related commands",
    example: "quoratectl endpoint status --cluster -w table",
    section: Some(Section::Maintenance),
    flags: Cluster::augment_args,
    deed: Deed::Group(&[
        Command {
            name: "hashkv",
            short: "Prints the KV history hash for each endpoint in --endpoints",
            example: "quoratectl endpoint hashkv --cluster",
            flags: |command| HashKv::augment_args(no_flags(command)),
            deed: Deed::Run(|session, matches| Box::pin(hash_kv(session, matches))),
..Command::PLAIN
},
        Command {
            name: "health",
            short: "Checks the healthiness of endpoints specified in `--endpoints` flag",
            example: "quoratectl endpoint health --cluster",
            deed: Deed::Run(|session, matches| Box::pin(health(session, matches))),
..Command::PLAIN
},
        Command {
            name: "status",
            short: "Prints out the status of endpoints specified in `--endpoints` flag",
            example: "quoratectl endpoint status --cluster -w table",
            long: "\
When --write-out is set to simple, this command prints out comma-separated status lists for each endpoint.
The items in the lists are endpoint, ID, version, db size, is leader, is learner, raft term, raft index, raft applied index, errors.
",
            deed: Deed::Run(|session, matches| Box::pin(status(session, matches))),
..Command::PLAIN
},
    ]),
..Command::PLAIN
};

/// The flag that widens a command from the given endpoints to all of the cluster.
#[derive(Args, Debug)]
pub struct Cluster {
    /// use all endpoints from the cluster member list
    #[arg(long)]
    cluster: bool,
}

#[derive(Args, Debug)]
struct HashKv {
    /// maximum revision to hash (default: latest revision)
    #[arg(long, value_name = "int", default_value = "0", value_parser = go::parse_flag_int)]
    rev: i64,
}

/// The endpoints a command is about: the given ones, or every member's.
///
/// # Errors
/// The members cannot be listed.
pub async fn endpoints(session: &mut Session, flags: &Cluster) -> Result<Vec<String>, Failure> {
    if !flags.cluster {
        return session.endpoints().await;
    }
    let request = pb::MemberListRequest { linearizable: true };
    let members = session.client().await?.member_list(request).await.map_err(|error| {
        Failure::new(Exit::Error, format!("failed to fetch endpoints from etcd cluster member list: {error}"))
    })?;
    Ok(members.members.into_iter().flat_map(|member| member.client_ur_ls).collect())
}

fn cluster(matches: &ArgMatches) -> Result<Cluster, Failure> {
    Cluster::from_arg_matches(matches).map_err(|error| Failure::bad_args(error.to_string()))
}

/// How one endpoint is.
#[derive(Debug)]
struct Health {
    endpoint: String,
    healthy: bool,
    took: String,
    error: String,
}

async fn health(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let mut checks = Vec::new();
    for endpoint in endpoints(session, &cluster(matches)?).await? {
        let client = session.opened(std::slice::from_ref(&endpoint))?;
        checks.push(check(endpoint, client));
    }
    let healths = join_all(checks).await;
    let unhealthy = healths.iter().any(|health| !health.error.is_empty());
    session.show(&healths)?;
    if unhealthy { Err(Failure::new(Exit::Error, "unhealthy cluster")) } else { Ok(()) }
}

/// An endpoint is healthy when it can read a key through consensus and the cluster has no alarm.
async fn check(endpoint: String, client: Client) -> Health {
    // One that does not even let the user in is told of as the others are, without a time.
    if let Err(error) = client.log_in().await {
        return Health { endpoint, healthy: false, took: String::new(), error: error.to_string() };
    }
    let start = Instant::now();
    let read = client.range(pb::RangeRequest { key: "health".into(), ..Default::default() }).await;
    let took = go::show_duration(start.elapsed());
    let error = match read {
        // To be refused, a request must have gone through consensus too.
        Err(error) if !error.is_permission_denied() => error.to_string(),
        _ => match client.alarm(every_alarm()).await {
            Ok(response) => alarms(&response.alarms),
            Err(_) => "Unable to fetch the alarm list".to_owned(),
        },
    };
    Health { endpoint, healthy: error.is_empty(), took, error }
}

fn alarms(alarms: &[pb::AlarmMember]) -> String {
    if alarms.is_empty() {
        return String::new();
    }
    let name = |alarm: &pb::AlarmMember| match AlarmType::try_from(alarm.alarm) {
        Ok(AlarmType::Nospace) => "NOSPACE ",
        Ok(AlarmType::Corrupt) => "CORRUPT ",
        _ => "UNKNOWN ",
    };
    format!("Active Alarm(s): {}", alarms.iter().map(name).collect::<String>())
}

impl Reply for Vec<Health> {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        for Health { endpoint, took, error, .. } in self {
            if error.is_empty() {
                writeln!(to.out, "{endpoint} is healthy: successfully committed proposal: took = {took}")?;
            } else {
                writeln!(to.err, "{endpoint} is unhealthy: failed to commit proposal: {error}")?;
            }
        }
        Ok(())
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        list_or_null(self, |health| {
            let object = Object::new()
                .always("endpoint", Tree::text(&health.endpoint))
                .always("health", Tree::Bool(health.healthy))
                .always("took", Tree::text(&health.took))
                .unless_empty("error", Tree::text(&health.error));
            Tree::Object(object)
        })
    }

    fn fields(&self, look: Look) -> Option<Fields> {
        Some(Fields::new(look).each(self, |fields, health| {
            let fields = fields.quoted("Endpoint", &health.endpoint).value("Health", health.healthy);
            fields.value("Took", &health.took).value("Error", &health.error).blank()
        }))
    }

    fn table(&self) -> Option<Table> {
        let row = |Health { endpoint, healthy, took, error }: &Health| {
            vec![endpoint.clone(), healthy.to_string(), took.clone(), error.clone()]
        };
        Some(Table { names: &["endpoint", "health", "took", "error"], rows: self.iter().map(row).collect() })
    }
}

/// An empty list is Go's `null`: nothing was ever put in it.
fn list_or_null<'a, T>(items: &'a [T], each: impl Fn(&'a T) -> Tree<'a>) -> Tree<'a> {
    if items.is_empty() { Tree::Null } else { Tree::list(items, each) }
}

/// The endpoints that answered, with their answers.
pub type Answered<T> = Vec<(String, T)>;

async fn status(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let mut answers: Answered<pb::StatusResponse> = Vec::new();
    let mut failed = false;
    for endpoint in endpoints(session, &cluster(matches)?).await? {
        let client = session.client_of(std::slice::from_ref(&endpoint)).await?;
        match client.status(pb::StatusRequest {}).await {
            Ok(response) => answers.push((endpoint, response)),
            Err(error) => {
                failed = true;
                session.complain(format_args!("Failed to get the status of endpoint {endpoint} ({error})"));
            }
        }
    }
    session.show(&answers)?;
    if failed { Err(Failure::silent(Exit::Error)) } else { Ok(()) }
}

async fn hash_kv(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = HashKv::from_arg_matches(matches).map_err(|error| Failure::bad_args(error.to_string()))?;
    let mut answers: Answered<pb::HashKvResponse> = Vec::new();
    let mut failure = None;
    for endpoint in endpoints(session, &cluster(matches)?).await? {
        let client = session.client_of(std::slice::from_ref(&endpoint)).await?;
        match client.hash_kv(pb::HashKvRequest { revision: flags.rev }).await {
            Ok(response) => answers.push((endpoint, response)),
            Err(error) => {
                session.complain(format_args!("Failed to get the hash of endpoint {endpoint} ({error})"));
                failure = Some(error);
            }
        }
    }
    session.show(&answers)?;
    failure.map_or(Ok(()), |error| Err(error.into()))
}

const STATUS_NAMES: &[&str] = &[
    "endpoint",
    "ID",
    "version",
    "storage version",
    "db size",
    "in use",
    "percentage not in use",
    "quota",
    "is leader",
    "is learner",
    "raft term",
    "raft index",
    "raft applied index",
    "errors",
    "downgrade target version",
    "downgrade enabled",
];

fn status_row((endpoint, status): &(String, pb::StatusResponse)) -> Vec<String> {
    let member = status.header.as_ref().map_or(0, |header| header.member_id);
    let size = |bytes: i64| human_bytes(u64::try_from(bytes).unwrap_or(0));
    // A server that tells no size has nothing unused.
    let used = status.db_size_in_use.saturating_mul(100).checked_div(status.db_size).unwrap_or(100);
    let downgrade = status.downgrade_info.clone().unwrap_or_default();
    vec![
        endpoint.clone(),
        format!("{member:x}"),
        status.version.clone(),
        status.storage_version.clone(),
        size(status.db_size),
        size(status.db_size_in_use),
        format!("{}%", 100 - used),
        size(status.db_size_quota),
        (status.leader == member).to_string(),
        status.is_learner.to_string(),
        status.raft_term.to_string(),
        status.raft_index.to_string(),
        status.raft_applied_index.to_string(),
        status.errors.join(", "),
        downgrade.target_version,
        downgrade.enabled.to_string(),
    ]
}

impl Reply for Answered<pb::StatusResponse> {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        self.table().unwrap_or_default().lines(to.out)
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        list_or_null(self, |(endpoint, status)| {
            Tree::Object(Object::new().always("Endpoint", Tree::text(endpoint)).always("Status", status_tree(status)))
        })
    }

    fn fields(&self, look: Look) -> Option<Fields> {
        Some(Fields::new(look).each(self, |fields, (endpoint, status)| {
            let downgrade = status.downgrade_info.clone().unwrap_or_default();
            fields
                .header(status.header.as_ref())
                .quoted("Version", &status.version)
                .quoted("StorageVersion", &status.storage_version)
                .value("DBSize", status.db_size)
                .value("DBSizeInUse", status.db_size_in_use)
                .value("DBSizeQuota", status.db_size_quota)
                .value("Leader", status.leader)
                .value("IsLearner", status.is_learner)
                .value("RaftIndex", status.raft_index)
                .value("RaftTerm", status.raft_term)
                .value("RaftAppliedIndex", status.raft_applied_index)
                .value("Errors", format_args!("[{}]", status.errors.join(" ")))
                .quoted("Endpoint", endpoint)
                .quoted("DowngradeTargetVersion", &downgrade.target_version)
                .value("DowngradeEnabled", downgrade.enabled)
                .blank()
        }))
    }

    fn table(&self) -> Option<Table> {
        Some(Table { names: STATUS_NAMES, rows: self.iter().map(status_row).collect() })
    }
}

fn status_tree(status: &pb::StatusResponse) -> Tree<'_> {
    let downgrade = status.downgrade_info.as_ref().map_or(Tree::Null, |downgrade| {
        let object = Object::new()
            .unless_empty("enabled", Tree::Bool(downgrade.enabled))
            .unless_empty("targetVersion", Tree::text(&downgrade.target_version));
        Tree::Object(object)
    });
    let object = header(Object::new(), status.header.as_ref())
        .unless_empty("version", Tree::text(&status.version))
        .unless_empty("dbSize", Tree::Int(status.db_size))
        .unless_empty("leader", Tree::Uint(status.leader))
        .unless_empty("raftIndex", Tree::Uint(status.raft_index))
        .unless_empty("raftTerm", Tree::Uint(status.raft_term))
        .unless_empty("raftAppliedIndex", Tree::Uint(status.raft_applied_index))
        .unless_empty("errors", Tree::list(&status.errors, |error| Tree::text(error)))
        .unless_empty("dbSizeInUse", Tree::Int(status.db_size_in_use))
        .unless_empty("isLearner", Tree::Bool(status.is_learner))
        .unless_empty("storageVersion", Tree::text(&status.storage_version))
        .unless_empty("dbSizeQuota", Tree::Int(status.db_size_quota))
        .unless_empty("downgradeInfo", downgrade);
    Tree::Object(object)
}

impl Reply for Answered<pb::HashKvResponse> {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        self.table().unwrap_or_default().lines(to.out)
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        list_or_null(self, |(endpoint, answer)| {
            let object = header(Object::new(), answer.header.as_ref())
                .unless_empty("hash", Tree::Uint(answer.hash.into()))
                .unless_empty("compact_revision", Tree::Int(answer.compact_revision))
                .unless_empty("hash_revision", Tree::Int(answer.hash_revision));
            let answer = Tree::Object(object);
            Tree::Object(Object::new().always("Endpoint", Tree::text(endpoint)).always("HashKV", answer))
        })
    }

    fn fields(&self, look: Look) -> Option<Fields> {
        Some(Fields::new(look).each(self, |fields, (endpoint, answer)| {
            fields
                .header(answer.header.as_ref())
                .quoted("Endpoint", endpoint)
                .value("Hash", answer.hash)
                .value("HashRevision", answer.hash_revision)
                .blank()
        }))
    }

    fn table(&self) -> Option<Table> {
        let row = |(endpoint, answer): &(String, pb::HashKvResponse)| {
            vec![endpoint.clone(), answer.hash.to_string(), answer.hash_revision.to_string()]
        };
        Some(Table { names: &["endpoint", "hash", "hash revision"], rows: self.iter().map(row).collect() })
    }
}
