//! The second half of a run: what must come right when troubles end.
//!
//! First a random quorum is healed and the rest stays in a bad way for good: the quorum must elect, finish what waits,
//! do new work and agree, within a budget of virtual time. Then everything is healed, and every member must serve.

use std::sync::Arc;
use std::time::Duration;

use quorate::base::{Dice, MemberId};
use quorate_spec::request::{AlarmKind, Put, Range, Request, Span};

use crate::config::{REQUEST_TIMEOUT, member_id};
use crate::draft;
use crate::env::{forked, true_now, true_sleep};
use crate::oracles::{Verdict, Violation, require};
use crate::plan::{Cut, End, Who};
use crate::traffic::{Client, Settled};
use crate::wires::ways;
use crate::world::World;
use crate::{quota, room};

/// Longest time a calm world may take to come right.
pub const CALM_PATIENCE: Duration = Duration::from_secs(30);

/// New operations a healed quorum must do.
const NEW_OPERATIONS: u32 = 100;

/// Elections a healed quorum may need: more is a storm.
const ELECTIONS: usize = 8;

/// For good, as a run sees it.
const FOR_GOOD: Duration = Duration::from_secs(3600);

/// Who belongs to the cluster when every change of it has come to an end; whoever does not, retires.
pub async fn settled_members(world: &Arc<World>, auditor: &mut Client) -> Result<Vec<usize>, Violation> {
    if !world.plan.changes_members() {
        return Ok((0..world.members.len()).filter(|member| !world.members[*member].is_broken()).collect());
    }
    // What is still waiting somewhere is given up or in a log, and what is in an old leader's log alone is gone, or agreed
    // on with what is asked now.
    true_sleep(REQUEST_TIMEOUT + Duration::from_secs(3)).await;
    let started = (0..world.members.len()).filter(|member| world.members[*member].is_admitted());
    let started: Vec<usize> = started.filter(|member| !world.members[*member].is_broken()).collect();
    all_clear(world, auditor, &started).await?;
    let roster = world.raft().roster().all();
    let belongs = |member: &usize| roster.contains(&member_id(*member));
    for gone in started.iter().filter(|member| !belongs(member)) {
        world.members[*gone].retire();
    }
    Ok(started.into_iter().filter(belongs).collect())
}

/// All these members name the members that the log has made.
pub fn same_roster(world: &World, members: &[usize]) -> Verdict {
    let raft = world.raft();
    let (voters, learners) = (raft.roster().voters(), raft.roster().learners());
    for member in members {
        let Some(living) = world.members[*member].living() else { continue };
        let status = living.door.status();
        let named = |learner: bool| {
            let those = status.members.iter().filter(|named| named.is_learner == learner).map(|named| named.id);
            those.collect::<Vec<MemberId>>()
        };
        require(named(false) == voters && named(true) == learners, "members agree on who they are", || {
            format!("member {member} names {:?}; by the log {voters:?} vote and {learners:?} learn", status.members)
        })?;
        let moved = status.members.iter().find(|named| named.peer_urls != raft.roster().urls(named.id));
        require(moved.is_none(), "members agree on where they are", || {
            format!("member {member} names {moved:?}; by the log {:?}", moved.map(|named| raft.roster().urls(named.id)))
        })?;
        require(!status.removed, "who belongs to the cluster is not told otherwise", || format!("member {member}"))?;
    }
    Ok(())
}

/// All these members hold the users and roles that the log has made.
pub fn same_users(world: &World, members: &[usize]) -> Verdict {
    for member in members {
        let Some(living) = world.members[*member].living() else { continue };
        world.ledger().users().holds(*member, &living.door.auth())?;
    }
    Ok(())
}

/// Heals a quorum alone and demands progress; a cluster that can spare nobody is passed over.
pub async fn quorum_serves(world: &Arc<World>, auditor: &mut Client, everyone: &[usize]) -> Verdict {
    let (voters, learners) = {
        let judge = world.raft();
        (judge.roster().voters(), judge.roster().learners())
    };
    let mut voting: Vec<usize> =
        everyone.iter().copied().filter(|member| voters.contains(&member_id(*member))).collect();
    let broken = voters.len() - voting.len();
    let mut dice = forked(world.plan.seed, "core", 0);
    let sparable = (voters.len().saturating_sub(1) / 2).saturating_sub(broken);
    let spare = dice.below(sparable as u64 + 1) as usize;
    let mut core = everyone.to_vec();
    // Who only learns can always be spared; a founder that has still to found is neither.
    for learner in everyone.iter().copied().filter(|member| learners.contains(&member_id(*member))) {
        if dice.one_in(2) {
            core.retain(|member| *member != learner);
            freeze(world, learner, dice.below(5));
        }
    }
    let mut sure: Vec<usize> = voting.iter().copied().filter(|member| is_sure(world, *member)).collect();
    for _ in 0..spare {
        let (frozen, how) = (voting.remove(dice.below(voting.len() as u64) as usize), dice.below(5));
        if is_spared(frozen, &mut sure, voters.len()) {
            core.retain(|member| *member != frozen);
            freeze(world, frozen, how);
        } else {
            world.marks.hit("a member was not spared: others are in doubt");
        }
    }
    if core.len() == everyone.len() {
        return Ok(());
    }
    world.marks.hit("a quorum alone had to serve");
    let elections = world.raft().elections();
    all_clear(world, auditor, &core).await?;
    for nth in 0..NEW_OPERATIONS {
        let put = Put { key: b"calm".to_vec(), value: format!("{nth}").into_bytes(), ..Put::default() };
        insist(world, auditor, &core, &Request::Put(put)).await?;
    }
    let held = world.raft().elections() - elections;
    require(held <= ELECTIONS, "a healed quorum does not go on electing", || {
        format!("{held} leaders were elected while members {core:?} alone had to serve")
    })?;
    agree(world, &core).await
}

/// Whether a member may vote: one whose disk may be older than what it promised does not, until a leader that the others
/// elect has given it back what it lacks.
fn is_sure(world: &World, member: usize) -> bool {
    !world.plan.forgets() || world.members[member].living().is_some_and(|living| !living.door.facts().doubts())
}

/// Whether a member can be left out: those who are `sure` without it are a majority of so many voters. If so it is.
fn is_spared(member: usize, sure: &mut Vec<usize>, voters: usize) -> bool {
    let others = sure.iter().filter(|other| **other != member).count();
    let spared = others > voters / 2;
    if spared {
        sure.retain(|other| *other != member);
    }
    spared
}

/// Leaves a member in a bad way, one of five.
fn freeze(world: &World, member: usize, how: u64) {
    let who = Who::Member(member);
    let cut = match how {
        0 => return world.members[member].end(End::Kill, FOR_GOOD),
        1 => return drop(world.members[member].pause()),
        2 => Cut::Apart(who),
        3 => Cut::Mute(who),
        _ => Cut::Deaf(who),
    };
    world.cut(&ways(&cut, &[member], world.members.len(), &[]));
}

/// Clears every alarm a draft can have raised, and those of disks that had no room: as long as one stands nothing new is written,
/// and no member clears its own.
pub async fn all_clear(world: &World, auditor: &mut Client, members: &[usize]) -> Verdict {
    for request in draft::all_clear() {
        insist(world, auditor, members, &request).await?;
    }
    let standing = world.ledger().model().alarms().clone();
    for (member, _) in standing.into_iter().filter(|(_, kind)| *kind == AlarmKind::NoSpace) {
        let request = Request::Alarm { on: false, member, kind: AlarmKind::NoSpace };
        insist(world, auditor, members, &request).await?;
    }
    Ok(())
}

/// Asks one member after the other until a change is done.
pub async fn insist(world: &World, auditor: &mut Client, members: &[usize], request: &Request) -> Verdict {
    let since = true_now();
    require(!members.is_empty() || world.is_lost(), "a calm world has members", || {
        format!(
            "who lives: {:?}",
            (0..world.members.len()).map(|member| world.members[member].is_broken()).collect::<Vec<_>>()
        )
    })?;
    let mut at = members.iter().position(|member| *member == auditor.member()).unwrap_or(0);
    while true_now() < since + CALM_PATIENCE && !members.is_empty() && !world.is_lost() {
        auditor.turn_to(members[at]);
        if auditor.change(request.clone()).await == Settled::Yes {
            return Ok(());
        }
        if quota::is_bounded(&world.plan) {
            room::make_room(world, auditor, members).await;
        }
        at = (at + 1) % members.len();
        true_sleep(Duration::from_millis(100)).await;
    }
    require(world.is_lost(), "a calm quorum does what it is asked", || {
        format!("{request:?} of members {members:?} since {since:?}")
    })
}

/// Everything there is now on every member, and something of the past.
pub async fn audit(world: &World, auditor: &mut Client, members: &[usize]) -> Verdict {
    let all = Range { span: Span::all(), ..Range::default() };
    for member in members.iter().copied() {
        auditor.turn_to(member);
        let since = true_now();
        let mut settled = Settled::Not;
        while settled != Settled::Yes && true_now() < since + CALM_PATIENCE && !world.is_lost() {
            settled = auditor.range(all.clone(), true, Duration::ZERO).await;
            if settled != Settled::Yes {
                true_sleep(Duration::from_millis(50)).await;
            }
        }
        require(settled == Settled::Yes || world.is_lost(), "a calm member answers reads", || {
            format!("member {member}: {all:?} since {since:?}")
        })?;
        let (now, compacted) = {
            let ledger = world.ledger();
            (ledger.model().revision(), ledger.model().compacted())
        };
        // What was forgotten stays so, whatever a start began at.
        let forgotten = (compacted > 1).then_some(compacted - 1);
        for revision in [compacted, compacted + 1, (compacted + now) / 2, now - 1].into_iter().chain(forgotten) {
            auditor.range(Range { revision, ..all.clone() }, true, Duration::ZERO).await;
        }
        auditor.leases().await;
    }
    world.violation().map_or(Ok(()), Err)
}

/// All these members, at one revision, hold the same by their own digest.
pub async fn agree(world: &World, members: &[usize]) -> Verdict {
    let since = true_now();
    loop {
        let mut told = Vec::new();
        for member in members {
            let Some(living) = world.members[*member].living() else { continue };
            let hashed = living.node.spawn(async move {
                let view = living.door.view(false).await.ok()?;
                view.fresh_hash_kv(0).ok()
            });
            told.extend(hashed.await.ok().flatten().map(|hash| (*member, hash)));
        }
        let at_one = |(_, hash): &(usize, quorate::mvcc::HashKv)| {
            (hash.hash_revision, hash.compact_revision) == (told[0].1.hash_revision, told[0].1.compact_revision)
        };
        if told.len() == members.len() && told.iter().all(at_one) {
            let same = told.iter().all(|(_, hash)| hash.hash == told[0].1.hash);
            world.marks.hit("digests of members compared");
            return require(same, "members at one revision have one digest", || format!("{told:?}"));
        }
        let late = true_now() > since + CALM_PATIENCE;
        require(!late || world.is_lost(), "calm members come to one revision", || format!("{told:?} since {since:?}"))?;
        if world.is_lost() {
            return Ok(());
        }
        true_sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seed 103950 at b38551e: of five, two were left out, and of the three one waited for a leader of the others'.
    #[test]
    fn so_many_are_healed_that_those_who_may_vote_are_a_majority() {
        let left_out = |drawn: &[usize], sure: &[usize]| {
            let mut sure = sure.to_vec();
            drawn.iter().copied().filter(|member| is_spared(*member, &mut sure, 5)).collect::<Vec<usize>>()
        };
        assert_eq!(left_out(&[0, 3], &[0, 1, 2, 3, 4]), [0, 3]);
        assert_eq!(left_out(&[0, 3], &[0, 2, 3, 4]), [0], "with another member 1 would have nobody to bring it back");
        assert_eq!(left_out(&[1, 3], &[0, 2, 3, 4]), [1, 3], "who is in doubt adds no vote");
        assert_eq!(left_out(&[0, 3], &[2, 3, 4]), [0], "who does not live yet may be in doubt");
        assert!(left_out(&[3, 4], &[2, 3, 4]).is_empty());
    }
}
