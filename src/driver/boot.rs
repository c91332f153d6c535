//! Boot: from what the disk holds to a node, or to a clear refusal.
//!
//! Newest good checkpoint, history cut back to its position, then the log behind it by the ordinary apply
//! path. There is no replay code.

use std::sync::Arc;

use super::checkpoint_files;
use super::config::DriverConfig;
use super::forcing::{self, Forced};
use super::kept_half::{self, KeptHalf};
use super::memory_file;
use super::opening::{self, Opened};
use super::recheck;
use crate::base::{ClusterId, Corruption, Fault, LogIndex, MemberId, Term, Wrong, derive_cluster_id, derive_member_id};
use crate::consensus::{ConfChange, Electorate, Group, GroupConfig, founding_entry};
use crate::env::{Disk, Env};
use crate::machine::{Image, Machine, Member, State};
use crate::node::{Facts, Node, NodeConfig};
use crate::wal::{
    Batch, EntryKind, HardState, Journal, LogEntry, RecoveredWal, TailReport, UnrecoveredWal, WalIdentity,
};
use crate::watch::RoomBell;

/// What boot found, for the log.
#[derive(Debug)]
pub struct BootReport {
    /// This member and its cluster.
    pub identity: WalIdentity,
    /// Whether the data directory was empty.
    pub founded: bool,
    /// The applied index of the checkpoint started from, 0 without one.
    pub checkpoint: LogIndex,
    /// Checkpoint images passed over because they are damaged; renamed since, see [`super::DAMAGED_SUFFIX`].
    pub damaged: Vec<Corruption>,
    /// Outlines of the history that could not be used: all of their segments was read.
    pub outlines: Vec<Corruption>,
    /// Why another member's state is to take the place of this one's before anybody is served, if it is.
    pub rebuilds: Option<Rebuilds>,
    /// What became of the wish to go on alone, where there was one.
    pub forced: Option<Forced>,
    /// Log entries behind the checkpoint.
    pub replayed: usize,
    /// What was cut off the end of the log, if anything.
    pub tail: TailReport,
    /// Parts of the log that could not be read, and of its mark also what does not verify: made anew from what is whole.
    pub unreadable: Vec<Corruption>,
    /// Damage of the log of which nothing is needed.
    pub passed_over: Vec<Corruption>,
    /// Ids from the flags, where the data directory says otherwise and wins.
    pub differs_from_flags: Option<WalIdentity>,
}

/// Why a member takes the others' state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rebuilds {
    /// It was told to.
    AsTold,
    /// Its history is damaged.
    Damaged(Corruption),
}

/// Whose data directory this is, where it has begun to be a member's: then the flags that found or join a cluster say
/// nothing.
pub fn own_identity<D: Disk>(disk: &D) -> Result<Option<WalIdentity>, Wrong> {
    Ok(UnrecoveredWal::open(disk.clone(), "wal")?.identity())
}

/// A node ready to run, with the journal its keeper will own.
pub(super) struct Booted<D: Disk> {
    pub(super) node: Node<D>,
    pub(super) journal: Journal<D>,
    pub(super) report: BootReport,
    /// What is there of a snapshot that was on its way.
    pub(super) half: Option<KeptHalf>,
}

/// The founding members with their ids, this member, and the cluster they make.
pub(super) fn founders(config: &DriverConfig) -> (Vec<Member>, MemberId, ClusterId) {
    let members: Vec<Member> = config
        .founding_members
        .iter()
        .map(|founder| Member {
            id: derive_member_id(&founder.peer_urls, &config.cluster_token, None),
            name: founder.name.clone(),
            peer_urls: founder.peer_urls.clone(),
            ..Member::default()
        })
        .collect();
    let own = config.founding_members.iter().position(|founder| founder.name == config.name);
    let own = own.map(|at| members[at].id).expect("flags are checked: this member is one of the founders");
    let ids: Vec<MemberId> = members.iter().map(|member| member.id).collect();
    (members, own, derive_cluster_id(&ids))
}

async fn make_directories<D: Disk>(disk: &D) -> Result<(), Fault> {
    for dir in ["wal", "history", checkpoint_files::DIR] {
        disk.create_dir(dir)?;
    }
    disk.sync_dir("").await
}

/// Opens the data directory and builds the node.
pub(super) async fn boot<E: Env>(
    env: &E,
    config: &DriverConfig,
    facts: Arc<Facts>,
    bell: RoomBell,
) -> Result<Booted<E::Disk>, Wrong> {
    let disk = env.disk();
    make_directories(disk).await?;
    let (mut found, rechecks) = recheck::newest_images(disk).await?;
    let surplus = std::mem::take(&mut found.surplus);
    let (members, own, cluster) = founders(config);
    let from_flags = config.joins.unwrap_or(WalIdentity { cluster, member: own });
    let unrecovered = UnrecoveredWal::open(disk.clone(), "wal")?.with_segment_bytes(config.wal_segment_bytes);
    let unrecovered = unrecovered.with_catch_up(config.node.catch_up_entries.max(1));
    let identity = unrecovered.identity().unwrap_or(from_flags);
    let founded = unrecovered.identity().is_none();
    if founded {
        check_nothing_is_left(disk)?;
    }
    let ahead = opening::read_ahead(env, &unrecovered, &found);
    let (opened, mut wal) = opening::open_both(env, config, identity, found, (unrecovered, ahead)).await?;
    let Opened { mut machine, image, kept, damaged, hollow, .. } = opened;
    let applied = image.state.applied;
    opening::cut_if_void(&mut wal, applied).await?;
    // One that joins has nothing until the others send it their log or a snapshot, and stands for nothing until that
    // says that it votes. Asked for its vote it gives one, as raft wants of a member whose log lags.
    let founds = config.joins.is_none() && identity == from_flags;
    if founds && wal.hard_state == HardState::default() && wal.entries.is_empty() {
        found_cluster(&mut wal, &members).await?;
    }
    check_reaches(&wal, &image)?;
    let wanted = config.force_new_cluster && !founded;
    let forced =
        if wanted { Some(forcing::force(env, &mut wal, &image.state, identity, &hollow).await?) } else { None };
    let electorate = electorate(&image.state, &wal.entries);
    let is_whole = hollow.is_none();
    let report = BootReport {
        identity,
        founded,
        outlines: machine.unusable_outlines().to_vec(),
        checkpoint: applied.0,
        damaged,
        rebuilds: rebuilds(config, hollow, &electorate, identity, founded)?,
        forced,
        replayed: wal.entries.iter().filter(|entry| entry.index > applied.0).count(),
        tail: wal.tail,
        unreadable: wal.unreadable,
        passed_over: wal.passed_over,
        differs_from_flags: (identity != from_flags).then_some(from_flags),
    };
    let half = tidy_history(disk, &mut machine, identity, &image, &kept)?;
    // Only now: a start that is refused changes nothing.
    checkpoint_files::set_aside(disk, &report.damaged, &surplus).await?;
    checkpoint_files::discard_reserves(disk)?;
    recheck::settle(disk, rechecks && is_whole)?;
    let hard_state = opening::raised(wal.hard_state, applied);
    let log_end = wal.entries.last().map_or(applied.0, |last| last.index.max(applied.0));
    let group_config = group_config(env, config, (identity.member, applied), electorate);
    let group = Group::start(&group_config, hard_state, wal.entries);
    let node_config = NodeConfig { member: identity.member, tick: config.tick, ..config.node.clone() };
    let is_damaged = matches!(report.rebuilds, Some(Rebuilds::Damaged(_)));
    let older = kept.first().filter(|_| !is_damaged);
    let mut node = Node::new(node_config, group, machine, older, facts, bell);
    node.replays_to(log_end);
    if report.rebuilds.is_some() {
        node.rebuild();
    }
    node.doubt(&memory_file::read(disk, identity));
    Ok(Booted { node, journal: wal.journal, report, half })
}

/// Removes what nobody names; what is there of a snapshot stays where it may be of use, and is what this gives.
fn tidy_history<D: Disk>(
    disk: &D,
    machine: &mut Machine<D>,
    identity: WalIdentity,
    image: &Image,
    kept: &[Image],
) -> Result<Option<KeptHalf>, Wrong> {
    let beside: Vec<&Image> = kept.iter().collect();
    let half = kept_half::find(disk, identity, image, &beside)?;
    machine.tidy_files(disk, image, &beside, half.as_ref().map(|kept| &kept.half))?;
    Ok(half)
}

fn group_config<E: Env>(
    env: &E,
    config: &DriverConfig,
    (member, applied): (MemberId, (LogIndex, Term)),
    electorate: Electorate,
) -> GroupConfig {
    GroupConfig {
        member,
        electorate,
        election_ticks: config.election_ticks,
        pre_vote: config.pre_vote,
        append_bytes: config.append_bytes,
        seed: env.dice().next_u64(),
        applied,
    }
}

/// Whether the others' state is to be taken. A lone voter that is told to has nobody to take it from.
fn rebuilds(
    config: &DriverConfig,
    hollow: Option<Corruption>,
    electorate: &Electorate,
    own: WalIdentity,
    founded: bool,
) -> Result<Option<Rebuilds>, Wrong> {
    if let Some(damage) = hollow {
        return Ok(Some(Rebuilds::Damaged(damage)));
    }
    if !config.rebuild_from_peers || founded {
        return Ok(None);
    }
    if !electorate.voters.iter().any(|voter| *voter != own.member) {
        let why = std::io::Error::other("no other member votes, from whom the state could be had");
        return Err(Fault::new("rebuild", "history", why).into());
    }
    Ok(Some(Rebuilds::AsTold))
}

/// Writes the first entries of a new cluster: one for each founding member, committed by definition.
async fn found_cluster<D: Disk>(wal: &mut RecoveredWal<D>, members: &[Member]) -> Result<(), Wrong> {
    let mut members = members.to_vec();
    members.sort_by_key(|member| member.id);
    let entries: Vec<LogEntry> =
        members.iter().zip(1..).map(|(member, index)| founding_entry(index, member.id, member.context())).collect();
    let hard_state = HardState { term: 1, vote: 0, commit: entries.len() as LogIndex };
    wal.journal.append(&Batch { hard_state: Some(hard_state), entries: entries.clone() })?;
    wal.journal.sync().await?;
    wal.hard_state = hard_state;
    wal.entries = entries;
    Ok(())
}

/// The log comes into being before anything else: where there is none, nothing else may be there, or a log was lost.
fn check_nothing_is_left<D: Disk>(disk: &D) -> Result<(), Wrong> {
    for dir in [checkpoint_files::DIR, "history"] {
        if let Some(file) = disk.list(dir)?.first() {
            return Err(Wrong::corrupt("wal", 0, format!("the log is gone, but {dir}/{file} is there")));
        }
    }
    Ok(())
}

/// The log must go on where the checkpoint ends, or a part of history is missing.
fn check_reaches<D: Disk>(wal: &RecoveredWal<D>, image: &Image) -> Result<(), Wrong> {
    match wal.entries.first() {
        Some(first) if first.index > image.state.applied.0 + 1 => Err(Wrong::corrupt(
            "wal",
            0,
            format!(
                "the log begins at entry {}, but the newest good checkpoint ends at {}",
                first.index, image.state.applied.0
            ),
        )),
        _ => Ok(()),
    }
}

/// Who votes at the checkpoint, or by the founding entries where there is none yet.
fn electorate(state: &State, entries: &[LogEntry]) -> Electorate {
    if state.applied.0 == 0 {
        let founding = entries.iter().take_while(|entry| entry.kind == EntryKind::ConfChange && entry.term == 1);
        let changes = founding.filter_map(|entry| ConfChange::decode(&entry.data)).filter(|change| change.id == 0);
        return Electorate { voters: changes.map(|change| change.member).collect(), learners: Vec::new() };
    }
    let (learners, voters): (Vec<&Member>, Vec<&Member>) = state.members.iter().partition(|member| member.is_learner);
    let ids = |members: Vec<&Member>| members.iter().map(|member| member.id).collect();
    Electorate { voters: ids(voters), learners: ids(learners) }
}
