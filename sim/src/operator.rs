//! The operator: moves the leadership and changes who belongs to the cluster and where they are reached, one thing after the other, as people do.
//!
//! It knows what people know: whom it added, what it was answered. A new member learns first and starts on an empty disk of
//! its own once it was added; it is promoted when it has come far enough. One that was removed goes on until it has heard of
//! it, so that clients still ask it, and then never lives again. A majority is kept by what the product refuses.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quorate::base::{Dice, MemberId, Refusal, SeededDice};
use quorate::machine::{Member, MemberChange};
use quorate::wal::WalIdentity;

use crate::config::{PORTS, host, member_id, peer_url, peer_url_at};
use crate::env::{forked, true_now, true_sleep};
use crate::oracles::require;
use crate::plan::{Errand, Planned};
use crate::world::{Lost, World};

/// The number it has as a client.
const NUMBER: u32 = u32::MAX - 1;

/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Times it asks at most for one change; a learner is promoted when it has come far enough.
const TRIES: u32 = 12;

/// How it waits before it asks again.
const AGAIN: Duration = Duration::from_millis(400);

/// A member that was removed and knows it goes on for up to this long, in milliseconds.
const LINGERS: u64 = 3_000;

/// Runs its errands until they, or the troubles, are over.
pub async fn operate(world: Arc<World>) {
    let mut dice = forked(world.plan.seed, "operator", 0);
    for Planned { at, errand } in world.plan.errands.clone() {
        true_sleep(at.saturating_sub(true_now())).await;
        if world.is_lost() || world.is_calm() {
            return;
        }
        world.trace.note("errand", format!("{errand:?}").as_bytes());
        world.set_operator_busy(true);
        match errand {
            Errand::MoveLeader { to } => move_leader(&world, to, &mut dice).await,
            Errand::Add => add(&world, &mut dice).await,
            Errand::Promote => promote(&world, &mut dice).await,
            Errand::Remove { nth } => remove(&world, nth, &mut dice).await,
            Errand::Update { nth, port } => update(&world, nth, PORTS[port % PORTS.len()], &mut dice).await,
        }
        world.set_operator_busy(false);
    }
}

async fn move_leader(world: &Arc<World>, to: usize, dice: &mut SeededDice) {
    let (to, from) = (to % world.members.len(), world.leader().unwrap_or(0));
    let target = member_id(to);
    let moved = world.ask((NUMBER, from), PATIENCE, dice, move |door| async move { door.move_leader(target).await });
    if let Ok(Ok(())) = moved.await {
        world.marks.hit("the leadership was moved");
        let led = world.raft().has_led(to);
        world.judge(require(led, "whom the leadership was moved to has led", || format!("member {to}")));
    }
}

/// Has a change done; whether it is known to be so.
async fn change(world: &Arc<World>, change: MemberChange, done: &[Refusal], dice: &mut SeededDice) -> bool {
    for _ in 0..TRIES {
        if world.is_lost() || world.is_calm() {
            return false;
        }
        let at = world.leader().unwrap_or_else(|| dice.below(world.members.len() as u64) as usize);
        let asked = change.clone();
        let answer =
            world.ask((NUMBER, at), PATIENCE, dice, move |door| async move { door.change_members(asked).await }).await;
        world.trace.note("errand answered", format!("{answer:?}").as_bytes());
        match answer {
            Ok(Ok(())) => return true,
            Ok(Err(refusal)) if done.contains(&refusal) => return true,
            Ok(Err(refusal)) => {
                let wait = refusal == Refusal::LearnerNotReady;
                world.marks.hit(if wait { "a learner was not ready" } else { "a change of members was refused" });
            }
            Err(Lost::Down | Lost::NoAnswer) => {}
        }
        true_sleep(AGAIN).await;
    }
    false
}

async fn add(world: &Arc<World>, dice: &mut SeededDice) {
    let Some(new) = world.members.iter().find(|member| !member.is_admitted() && !member.is_retired()) else { return };
    let id = member_id(new.number);
    let member = Member { id, peer_urls: vec![peer_url(new.number)], is_learner: true, ..Member::default() };
    if !change(world, MemberChange::add(member), &[Refusal::MemberExists], dice).await {
        // It may belong to the cluster and never start, as a machine that broke before it was used.
        return;
    }
    let cluster = world.members.iter().find_map(|member| Some(member.living()?.door.identity().cluster));
    let Some(cluster) = cluster else { return };
    world.marks.hit("a member was added");
    if world.plan.wipes() {
        new.asks_as_added();
    }
    new.admit(WalIdentity { cluster, member: id });
}

/// Puts another in the place of a member whose disk was lost, and who is refused.
pub async fn replace(world: Arc<World>, gone: usize) {
    let (mut dice, id) = (forked(world.plan.seed, "replace", gone as u64), member_id(gone));
    world.set_operator_busy(true);
    if change(&world, MemberChange::Remove(id), &[Refusal::MemberNotFound], &mut dice).await {
        world.marks.hit("who lost its disk was removed");
        add(&world, &mut dice).await;
        for _ in 0..TRIES {
            if world.is_calm() || world.is_lost() || world.raft().roster().learners().is_empty() {
                break;
            }
            promote(&world, &mut dice).await;
        }
        if world.raft().roster().learners().is_empty() {
            world.marks.hit("who lost its disk was replaced");
        }
    }
    world.set_operator_busy(false);
}

async fn promote(world: &Arc<World>, dice: &mut SeededDice) {
    let learners = world.raft().roster().learners();
    for id in learners {
        // One that was never started would cost the majority.
        let started = world.members.iter().any(|member| member_id(member.number) == id && member.is_admitted());
        if started && change(world, MemberChange::Promote(id), &[Refusal::MemberNotLearner], dice).await {
            world.marks.hit("a learner was promoted");
        }
    }
}

async fn remove(world: &Arc<World>, nth: usize, dice: &mut SeededDice) {
    let members: Vec<MemberId> = world.raft().roster().all();
    if members.len() < 2 {
        return;
    }
    let id = members[nth % members.len()];
    if change(world, MemberChange::Remove(id), &[Refusal::MemberNotFound], dice).await {
        world.marks.hit("a member was removed");
    }
}

/// Says where a member is reached; it listens there already, and goes on at the old address until calm.
async fn update(world: &Arc<World>, nth: usize, port: u16, dice: &mut SeededDice) {
    let members: Vec<MemberId> = world.raft().roster().all();
    if members.is_empty() {
        return;
    }
    let id = members[nth % members.len()];
    let Some(member) = world.members.iter().find(|member| member_id(member.number) == id) else { return };
    let peer_urls = vec![peer_url_at(member.number, port)];
    if change(world, MemberChange::Update { id, peer_urls }, &[], dice).await {
        world.marks.hit("a member's address was changed");
    }
}

/// In a calm world: every member listens where the log says and nowhere else, and what was connected before is cut, so that
/// the others have to find it there.
pub fn leave_old_addresses(world: &World, members: &[usize]) {
    for number in members.iter().copied() {
        let urls = world.raft().roster().urls(member_id(number)).to_vec();
        let port = PORTS.into_iter().find(|port| urls == [peer_url_at(number, *port)]);
        world.judge(require(port.is_some(), "a member is reached where it was said to be", || {
            format!("member {number} is to be reached at {urls:?}")
        }));
        let Some(port) = port else { continue };
        world.members[number].keep_port(port);
        if port == PORTS[0] {
            continue;
        }
        world.marks.hit("a member was reached at its new address alone");
        // For a moment the others do not find it.
        drop(world.quiet().look(true_now(), (&BTreeSet::new(), 0), 0, 0));
        for other in members.iter().filter(|other| **other != number) {
            world.net.cut_connections(&host(number), &host(*other));
        }
    }
}

/// Retires those who have heard that they were removed, until the troubles are over.
pub async fn retire_removed(world: Arc<World>) {
    let mut dice = forked(world.plan.seed, "retire", 0);
    while !world.is_lost() && !world.is_calm() {
        for member in &world.members {
            let heard = member.living().is_some_and(|living| living.door.status().removed);
            if heard && !member.is_retired() {
                let belongs = world.raft().roster().all().contains(&member_id(member.number));
                world.judge(require(!belongs, "who is told to be removed was removed", || member.host.clone()));
                true_sleep(Duration::from_millis(dice.below(LINGERS))).await;
                if others_know(&world, member_id(member.number)) {
                    world.marks.hit("a removed member heard of it");
                    member.retire();
                } else {
                    world.marks.hit("a removed member is needed still");
                }
            }
        }
        true_sleep(Duration::from_millis(100)).await;
    }
}

/// Whether everyone who votes names this member no more, as far as they live, and most of them for good: the machine of one
/// that was removed is not taken away before that.
pub fn others_know(world: &World, removed: MemberId) -> bool {
    let voters = world.raft().roster().voters();
    let mut aware = 0;
    for voter in world.members.iter().filter(|member| voters.contains(&member_id(member.number))) {
        let Some(living) = voter.living() else { continue };
        if living.door.status().members.iter().any(|member| member.id == removed) {
            return false;
        }
        let raft = world.raft();
        let removed_by = raft.roster().removed_by(removed);
        aware += usize::from(removed_by.is_some_and(|index| raft.knows_committed(voter.number, index)));
    }
    aware > voters.len() / 2
}
