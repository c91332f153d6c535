//! Members whose whole disk is lost, and who are started again with nothing: what they are told, and by whom they are replaced.
//!
//! A machine starts as the server does: with nothing on its disk it asks the others first (`check_not_begun`, or
//! `find_cluster` for one that was added). Who began before is refused, wherever anybody can be reached who knows; it is
//! taken away, and the operator puts another in its place. Where nobody can be reached it may begin as a founder, as a
//! first start does; then it is one whose disk went back to its very beginning, and keeps every promise as such.
//!
//! Invariant (the budget): a disk is lost only where every voter is there, and none is being replaced.

use std::sync::Arc;
use std::time::Duration;

use quorate::base::Wrong;
use quorate::driver::{DriverConfig, FoundingMember, check_not_begun, find_cluster, own_identity};
use quorate::env::Env;

use crate::config::{host, member_id};
use crate::env::{Calls, SimEnv};
use crate::member::Member;
use crate::operator;
use crate::oracles::{Verdict, Violation, require};
use crate::plan::Who;
use crate::quiet::is_prompt;
use crate::world::{World, eventually};

/// What a member is told that began before.
const BEGUN: &str = "has already been bootstrapped";

/// Longest time in a calm world until it is known whether a member is refused.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a member did not start.
pub enum NotStarted {
    /// Something is wrong with its world.
    Wrong(Wrong),
    /// It was told not to.
    Refused(String),
}

impl From<Wrong> for NotStarted {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

/// A disk is lost, where the cluster can spare it.
pub fn wipe(world: &Arc<World>, who: Who, existing: bool, down: Duration) {
    let Some(number) = world.named(who).first().copied() else { return };
    let voters = world.raft().roster().voters();
    let there = |id| world.members.iter().any(|member| member_id(member.number) == id && member.living().is_some());
    let votes = voters.contains(&member_id(number));
    if !votes || world.operator_is_busy() || !voters.iter().all(|id| there(*id)) {
        world.marks.hit("a disk was spared");
        return;
    }
    world.marks.hit("a disk was lost");
    world.members[number].loses_disk(existing, down);
    world.raft().wiped(number);
}

/// What a server asks before the first start in an empty directory, and what that makes of its flags.
pub async fn ask_first(env: &SimEnv, mut config: DriverConfig, existing: bool) -> Result<DriverConfig, NotStarted> {
    if own_identity(env.disk())?.is_some() {
        return Ok(config);
    }
    let asked = if existing {
        find_cluster(env, &config).await.map(|identity| config.joins = Some(identity))
    } else {
        check_not_begun(env, &config).await
    };
    asked.map(|()| config).map_err(NotStarted::Refused)
}

/// The members that the flags of one that was added name: those there are.
pub fn named_members(world: &World) -> Vec<FoundingMember> {
    let raft = world.raft();
    let (roster, numbers) = (raft.roster(), 0..world.members.len());
    let there = numbers.filter(|number| !roster.urls(member_id(*number)).is_empty());
    there
        .map(|number| FoundingMember { name: host(number), peer_urls: roster.urls(member_id(number)).to_vec() })
        .collect()
}

/// The lives of those who can be reached by this member, know that it began before, and are `named` by its flags where they are:
/// it knows of nobody else.
pub fn witnesses(world: &World, member: usize, named: &[FoundingMember]) -> Vec<(usize, u64)> {
    let (id, own) = (member_id(member), host(member));
    let known: Vec<bool> = {
        let raft = world.raft();
        let urls = |number: &usize| raft.roster().urls(member_id(*number)).to_vec();
        let is_named = |url: &String| named.iter().any(|other| other.peer_urls.contains(url));
        (0..world.members.len()).map(|number| urls(&number).iter().any(is_named)).collect()
    };
    let knows = |other: &Arc<Member>| {
        let living = other.living().filter(|_| other.number != member && other.is_well() && known[other.number])?;
        let (there, back) = (world.net.mood(&own, &other.host), world.net.mood(&other.host, &own));
        let open = world.net.passes(&own, &other.host).0 && world.net.passes(&other.host, &own).0;
        let answered = there.calls == Calls::Answered && back.calls == Calls::Answered;
        let named = living.door.status().members.iter().any(|known| known.id == id && !known.client_urls.is_empty());
        (open && answered && named).then_some((other.number, living.life))
    };
    world.members.iter().filter_map(knows).collect()
}

/// Whoever knew that it began before was there before and after it asked, and yet it starts.
pub fn let_in(world: &World, member: usize, named: &[FoundingMember], before: &[(usize, u64)]) -> Verdict {
    let after = witnesses(world, member, named);
    let both = before.iter().filter(|witness| after.contains(witness)).count();
    // One alone may have been asked in a bad moment.
    require(both < 2 || !is_prompt(&world.plan), "who lost its disk is refused", || {
        format!(
            "member {member} starts with nothing, though {before:?} knew that it had begun before, and {after:?} do"
        )
    })
}

/// A member was told not to start: where that is for good it is taken away and replaced. Whether it was.
pub fn refused(world: &Arc<World>, member: &Member, text: &str) -> bool {
    world.trace.note("refused", text.as_bytes());
    if !text.contains(BEGUN) {
        world.marks.hit("a start waited for the cluster");
        return false;
    }
    if member.asks().is_none_or(|asks| !asks.lost) {
        let story = format!("{} was added and never began: {text}", member.host);
        world.judge(Err(Violation::now("who was added and never began may start", story)));
    }
    world.marks.hit("who lost its disk was refused");
    member.breaks();
    if !world.is_calm() {
        drop(madsim::task::spawn(operator::replace(world.clone(), member.number)));
    }
    true
}

/// In a calm world: waits until it is known of everybody whether it is refused.
pub async fn settle(world: &World) -> Verdict {
    let open = |member: &&Arc<Member>| member.asks().is_some() && !member.is_retired() && member.living().is_none();
    let settled = || world.members.iter().filter(open).count() == 0;
    let in_time = eventually(PATIENCE, || world.is_lost() || settled()).await;
    require(in_time, "who starts with nothing is refused or let in", || {
        format!("{:?}", world.members.iter().filter(open).map(|member| &member.host).collect::<Vec<_>>())
    })
}
