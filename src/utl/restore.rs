//! `snapshot restore`: a data directory made of a snapshot, for the first start of a new cluster.
//!
//! Invariants: the cluster, its members and their ids are those that etcdutl makes of the same flags, and so is the data, by its
//! digest; all members that are made of one snapshot begin alike. Of the old cluster nothing is left but data, leases and alarms.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::arguments::Given;
use super::beside::{Beside, Stop, check_free, check_log_free, now, run};
use super::failure::{Exit, Failure};
use super::history::{Build, Built, NEWEST, told_of_loose};
use super::site::real;
use super::source::{FileSource, check_there};
use super::telling::tell;
use crate::backend::{Foreign, Records};
use crate::base::{MemberId, derive_cluster_id, derive_member_id};
use crate::bbolt::{Database, Source};
use crate::driver::{Seedling, plant, prepare};
use crate::machine::{Image, Member, State};
use crate::server::founding;
use crate::server::{InitialMember, LOG};
use crate::wal::{HardState, WalIdentity};

/// Bytes of the digest behind a snapshot.
const DIGEST_BYTES: u64 = 32;
/// Read at once: stays in a processor's cache from the read to the digest.
const DIGEST_WINDOW: usize = 256 * 1024;
/// A file is of whole sectors; with a digest behind it it is not.
const SECTOR_BYTES: u64 = 512;

/// What to make of which snapshot.
struct Plan {
    snapshot: PathBuf,
    place: PathBuf,
    /// Where the log is to be, if not in the directory.
    log: Option<PathBuf>,
    name: String,
    members: Vec<InitialMember>,
    token: String,
    skips_digest: bool,
    bump: i64,
    /// How long whoever writes to the snapshot is waited for.
    patience: Duration,
}

/// Makes the directory.
pub fn restore(given: &Given) -> Result<(), Failure> {
    let plan = plan(given)?;
    run(move |stop| make(&plan, &stop))
}

fn plan(given: &Given) -> Result<Plan, Failure> {
    let bad = |text: &str| Failure::new(Exit::BadArguments, text);
    let [snapshot] = &given.arguments[..] else {
        return Err(bad("snapshot restore requires exactly one argument"));
    };
    let bump: u64 = given.number("bump-revision");
    if (bump > 0) != given.is_on("mark-compacted") {
        return Err(bad("--mark-compacted required if --revision-bump > 0"));
    }
    let bump = i64::try_from(bump).map_err(|_| bad("--bump-revision is beyond any revision"))?;
    let name = given.text("name").to_string();
    let urls = crate::base::Url::read_all(given.text("initial-advertise-peer-urls").split(','))?;
    let urls: Vec<String> = urls.into_iter().map(|url| url.text).collect();
    let members = founding::read(given.text("initial-cluster"))?;
    founding::check(&members, &name, &urls, false, str::to_owned)?;
    let place = match given.text("data-dir") {
        "" => PathBuf::from(format!("{name}.etcd")),
        dir => PathBuf::from(dir),
    };
    check_free(&place)?;
    let log =
        Some(given.text("wal-dir")).filter(|log| !log.is_empty() && real(Path::new(log)) != real(&place.join(LOG)));
    log.map_or(Ok(()), |log| check_log_free(&place, Path::new(log)))?;
    let log = log.map(PathBuf::from);
    let [here, elsewhere] = [Some(&place), log.as_ref()].map(|path| path.map(|path| real(path)));
    if here.zip(elsewhere).is_some_and(|(here, log)| log.starts_with(&here) || here.starts_with(&log)) {
        return Err(bad(
            "--wal-dir and --data-dir lie in each other: give another place, or none, which is wal in the latter",
        ));
    }
    let token = given.text("initial-cluster-token").to_string();
    let (snapshot, skips_digest) = (PathBuf::from(snapshot), given.is_on("skip-hash-check"));
    let patience = given.time("timeout");
    Ok(Plan { snapshot, place, log, name, members, token, skips_digest, bump, patience })
}

fn make(plan: &Plan, stop: &Stop) -> Result<(), Failure> {
    check_there(&plan.snapshot)
        .map_err(|failure| Failure::new(Exit::Error, failure.text().to_string().replacen("stat ", "open ", 1)))?;
    let source = FileSource::open(&plan.snapshot, plan.patience, stop)?;
    let Some(end) = digest_at(&source, plan.skips_digest)? else {
        let (beside, told) = build(plan, source, stop)?;
        return keep(beside, &told, stop);
    };
    // Beside the work, on another processor: nothing is kept before both are done.
    let other = source.again()?;
    let (built, checked) = thread::scope(|scope| {
        let check = scope.spawn(move || check_digest(&other, end, stop).inspect_err(|_| stop.give_up()));
        (build(plan, source, stop), check.join().expect("a panic is a bug that ends the process"))
    });
    // As etcdutl: what the digest says of the file comes before whatever else is wrong with it.
    checked?;
    let (beside, told) = built?;
    keep(beside, &told, stop)
}

fn keep(beside: Beside, told: &str, stop: &Stop) -> Result<(), Failure> {
    stop.check()?;
    beside.keep()?;
    tell(told);
    Ok(())
}

/// Makes all of it, and says what it is.
fn build(plan: &Plan, source: FileSource, stop: &Stop) -> Result<(Beside, String), Failure> {
    fill(plan, source, stop).map_err(|failure| failure.in_making(&plan.place))
}

fn fill(plan: &Plan, source: FileSource, stop: &Stop) -> Result<(Beside, String), Failure> {
    let name = source.name().to_string();
    let database = Database::open(source, &name)?;
    let foreign = Foreign::read(&database, &name, &mut database.unseen())?;
    let beside = Beside::begin(&plan.place, plan.log.as_deref())?;
    now(prepare(beside.disk()))?;
    let marked = if plan.bump == 0 { None } else { Some(bumped(&database, &foreign, plan.bump)?) };
    let compacted = marked.unwrap_or(foreign.compacted);
    let history = Build { disk: beside.disk(), database: &database, compacted, marked, stop }.build(&foreign.leases)?;
    let Built { position, fingerprint, records, loose } = history;
    let (members, identity) = cluster(plan);
    let added = members.iter().map(added).collect::<String>();
    let applied = (members.len() as u64, 1);
    let revision = position.revision();
    let mut state = State {
        applied,
        members,
        removed: Vec::new(),
        alarms: foreign.alarms,
        cluster_version: None,
        downgrade: None,
        leases: foreign.leases,
        revision,
        compact_revision: position.compact_revision(),
        digest: Some(fingerprint),
        auth: Arc::new(foreign.auth),
    };
    state.leases.iter_mut().for_each(|lease| lease.granted_at = applied.0);
    let image = Image::new(identity, state, position).map_err(Failure::from)?;
    now(plant(beside.disk(), Seedling { image, hard_state: HardState::default(), entries: Vec::new() }))?;
    let mut told = String::new();
    if let Some(text) = told_of_loose(loose) {
        told = text + "\n";
    }
    told += &format!(
        "restored {name} into {}: revision {revision}, {records} records, member {} of cluster {}{added}",
        plan.place.display(),
        identity.member,
        identity.cluster
    );
    Ok((beside, told))
}

/// A line for who looks after what became a member, with etcdutl's words at its head.
fn added(member: &Member) -> String {
    format!("\nadded member {} ({}) at {}", member.id, member.name, member.peer_urls.join(","))
}

/// The members the flags name, with the ids etcd gives them, and which of them this is.
fn cluster(plan: &Plan) -> (Vec<Member>, WalIdentity) {
    let id = |urls: &[String]| derive_member_id(urls, &plan.token, None);
    let mut members: Vec<Member> = plan
        .members
        .iter()
        .map(|member| Member {
            id: id(&member.peer_urls),
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
            client_urls: Vec::new(),
            is_learner: false,
        })
        .collect();
    members.sort_by_key(|member| member.id);
    let own = members.iter().find(|member| member.name == plan.name).map(|member| member.id);
    let ids: Vec<MemberId> = members.iter().map(|member| member.id).collect();
    let member = own.expect("the flags are checked: this member is one of them");
    (members, WalIdentity { cluster: derive_cluster_id(&ids), member })
}

/// Where the file's digest is; nothing where it is not to be looked at.
fn digest_at(source: &FileSource, skips: bool) -> Result<Option<u64>, Failure> {
    if skips {
        return Ok(None);
    }
    let bytes = source.bytes()?;
    if bytes % SECTOR_BYTES != DIGEST_BYTES {
        return Err(Failure::new(Exit::Error, "snapshot missing hash but --skip-hash-check=false"));
    }
    Ok(Some(bytes - DIGEST_BYTES))
}

/// Holds the file to the digest behind it, in etcdutl's words.
fn check_digest(source: &FileSource, end: u64, stop: &Stop) -> Result<(), Failure> {
    let (mut digest, mut at, mut window) = (Sha256::new(), 0, vec![0; DIGEST_WINDOW]);
    while at < end {
        stop.check()?;
        let most = usize::try_from(end - at).map_or(window.len(), |rest| rest.min(window.len()));
        let got = source.read_at(at, &mut window[..most])?;
        if got == 0 {
            return Err(Failure::new(Exit::Error, "the snapshot became shorter while it was read"));
        }
        digest.update(&window[..got]);
        at += got as u64;
    }
    let mut stored = [0; DIGEST_BYTES as usize];
    source.read_at(end, &mut stored)?;
    let found = digest.finalize();
    if found[..] != stored {
        let list = |bytes: &[u8]| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(" ");
        let text = format!("expected sha256 [{}], got [{}]", list(&stored), list(&found));
        return Err(Failure::new(Exit::Error, text));
    }
    Ok(())
}

/// The revision that is `bump` behind the newest in the file.
fn bumped<S: Source>(database: &Database<S>, foreign: &Foreign, bump: i64) -> Result<i64, Failure> {
    let mut seen = database.unseen();
    let mut records = Records::of(database, &mut seen);
    let mut newest = 0;
    while let Some((record, _, _)) = records.next_record()? {
        newest = record.meta.revision.main;
    }
    let raised = newest.max(foreign.compacted).checked_add(bump);
    raised
        .filter(|raised| *raised <= NEWEST)
        .ok_or_else(|| Failure::new(Exit::BadArguments, "--bump-revision is beyond any revision"))
}
