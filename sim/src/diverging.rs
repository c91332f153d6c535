//! A member whose state is falsified, at the end of some runs: who differs is named within seconds, by an alarm in the log, and
//! serves nothing from then on; told to by a flag, it takes the others' state by itself.
//!
//! What is falsified is what nobody would notice by itself: the running digest in the member's newest image, as after an
//! entry that did something else there than elsewhere; or values as they lie in its history, with every checksum right, which
//! one of the looks at the data has to find that flags ask for: on an interval, at a compaction, or at the member's start.

use std::sync::Arc;
use std::time::Duration;

use quorate::base::Refusal;
use quorate::machine::AlarmKind;
use quorate_spec::request::{AlarmKind as Kind, Put, Request};

use crate::calm::{CALM_PATIENCE, agree, all_clear, audit, insist};
use crate::config::member_id;
use crate::env::{true_now, true_sleep};
use crate::falsifying;
use crate::oracles::{Verdict, Violation, require};
use crate::plan::{Divergence, End, Falsified};
use crate::traffic::{Client, Settled};
use crate::world::{World, eventually};

/// Time from its start to the alarm: a start asks the others and finds a leader, the leader notes an index and asks for it a
/// second later, and a round that was under way meanwhile is lost.
const NAMED_WITHIN: Duration = Duration::from_secs(8);

/// The same where data are looked at once a second: every member reads all it has, and what a compaction left at its leisure.
const FOUND_WITHIN: Duration = Duration::from_secs(15);

/// Times the others are asked for something, and how they are waited for in between.
const TRIES: usize = 50;
const AGAIN: Duration = Duration::from_millis(100);

/// How long it stays down.
const DOWN: Duration = Duration::from_millis(100);

/// Falsifies the state of one member where the plan says so, and looks at what becomes of it. The others go on in any case.
pub async fn look(world: &Arc<World>, auditor: &mut Client, everyone: &[usize]) -> Verdict {
    let voters = world.raft().roster().voters();
    let voting = everyone.iter().filter(|member| voters.contains(&member_id(**member))).count();
    let Some(divergence) = world.plan.divergence.filter(|_| voting > 2 && voting == voters.len()) else {
        return Ok(());
    };
    // Nothing is owed meanwhile: an alarm refuses what changes anything.
    world.set_operator_busy(true);
    let verdict = one(world, auditor, everyone, divergence).await;
    world.set_operator_busy(false);
    verdict
}

async fn one(world: &Arc<World>, auditor: &mut Client, everyone: &[usize], divergence: Divergence) -> Verdict {
    let Divergence { nth, what, rebuilds } = divergence;
    let mut victim = everyone[nth % everyone.len()];
    if what == Falsified::DataOnInterval && world.leader() == Some(victim) {
        // As etcd, a leader that differs blames another.
        victim = everyone[(nth + 1) % everyone.len()];
    }
    let (member, id) = (&world.members[victim], member_id(victim));
    let others: Vec<usize> = everyone.iter().copied().filter(|other| *other != victim).collect();
    // What is written behind it is to be done, and not refused for want of room.
    all_clear(world, auditor, everyone).await?;
    if !falsified(world, victim, what).await? {
        return Ok(());
    }
    let since = true_now();
    if what == Falsified::DataAtStart {
        return refuses_by_itself(world, auditor, victim, &others).await;
    }
    let named = |by: usize| {
        let status = world.members[by].living().map(|living| living.door.status());
        status.is_some_and(|status| status.alarms.contains(&(id, AlarmKind::Corrupt)))
    };
    let cured = || world.ledger().who_differs().is_none();
    let told = || world.is_lost() || cured() || others.iter().any(|other| named(*other));
    // Something is applied behind it; or the alarm stands already.
    let put = Put { key: b"calm".to_vec(), value: b"differs".to_vec(), ..Put::default() };
    do_unless(auditor, &others, &Request::Put(put), told).await;
    if what == Falsified::DataAtCompaction {
        let revision = world.ledger().model().revision();
        do_unless(auditor, &others, &Request::Compact { revision }, told).await;
    }
    let patience = if what == Falsified::Digest { NAMED_WITHIN } else { FOUND_WITHIN };
    let in_time = eventually(patience, told).await;
    if world.is_lost() {
        return Ok(());
    }
    if cured() && !others.iter().any(|other| named(*other)) {
        // It lagged so far that it was sent a snapshot, before anybody asked.
        world.marks.hit("a falsified state was replaced unseen");
        return agree(world, everyone).await;
    }
    if !in_time && what != Falsified::Digest && same_data(world, victim, others[0]).await {
        world.marks.hit("falsified values that nobody can see");
        world.ledger().differs_no_more();
        return Ok(());
    }
    require(in_time, "who differs is named within seconds", || {
        format!("member {victim}, whose state was falsified ({what:?}), serves since {since:?} and is not named")
    })?;
    world.marks.hit(if what == Falsified::Digest {
        "who differed was named"
    } else {
        "who differed by its data was named"
    });
    if rebuilds {
        let cleared = || everyone.iter().all(|other| world.members[*other].living().is_some() && !named(*other));
        let cleared = eventually(CALM_PATIENCE, || world.is_lost() || cleared()).await;
        require(cleared, "who differs takes the others' state when it is to", || format!("member {victim}"))?;
        world.ledger().differs_no_more();
        world.marks.hit("who differed took the others' state");
        audit(world, auditor, everyone).await?;
        return agree(world, everyone).await;
    }
    serves_nothing(world, victim, named).await?;
    member.take_away();
    let alarm = Request::Alarm { on: false, member: id.0, kind: Kind::Corrupt };
    insist(world, auditor, &others, &alarm).await?;
    audit(world, auditor, &others).await?;
    agree(world, &others).await
}

/// Has one of the members do something, unless it is `told` by then who differs: the alarm refuses it.
async fn do_unless(auditor: &mut Client, members: &[usize], request: &Request, told: impl Fn() -> bool) {
    for member in members.iter().cycle().take(TRIES) {
        auditor.turn_to(*member);
        if told() || auditor.change(request.clone()).await == Settled::Yes {
            return;
        }
        true_sleep(AGAIN).await;
    }
}

/// Falsifies what a member has, and waits until it lives again; false where nothing was falsified.
async fn falsified(world: &Arc<World>, victim: usize, what: Falsified) -> Result<bool, Violation> {
    let member = &world.members[victim];
    let lives = member.lives();
    if what != Falsified::Digest {
        // Who watches there would be told what was falsified: nobody can know before it is found.
        world.send_visitors_away();
    }
    member.end(End::Kill, DOWN);
    let done = match what {
        Falsified::Digest => member.alter(falsifying::digest).await,
        Falsified::DataOnInterval | Falsified::DataAtCompaction | Falsified::DataAtStart => {
            member.alter(falsifying::values).await
        }
    };
    match done {
        Ok(true) => {}
        // No image was made yet, which a start would begin from.
        Ok(false) => return Ok(false),
        Err(wrong) => {
            return require(false, "a calm disk does what it is asked", || format!("{wrong:?}")).map(|()| false);
        }
    }
    world.marks.hit(if what == Falsified::Digest { "a state was falsified" } else { "data were falsified" });
    world.ledger().differs(victim);
    eventually(CALM_PATIENCE, || world.is_lost() || member.lives() > lives && member.living().is_some()).await;
    Ok(!world.is_lost())
}

/// A member whose data were falsified and who looks at its start refuses to serve.
async fn refuses_by_itself(world: &Arc<World>, auditor: &mut Client, victim: usize, others: &[usize]) -> Verdict {
    let applied = || world.members[victim].living().map_or(0, |living| living.door.status().applied);
    let last = world.ledger().last_index();
    eventually(CALM_PATIENCE, || world.is_lost() || applied() >= last).await;
    let Some(living) = world.members[victim].living() else { return Ok(()) };
    let checked = living.node.spawn(async move { living.door.check_at_start().await });
    let Ok(checked) = checked.await else { return Ok(()) };
    if checked.is_ok() && same_data(world, victim, others[0]).await {
        world.marks.hit("falsified values that nobody can see");
        world.ledger().differs_no_more();
        return Ok(());
    }
    require(checked.is_err() || world.is_lost(), "who differs by its data refuses to start", || {
        format!("member {victim}, whose values were falsified, found nothing at its start")
    })?;
    world.marks.hit("who differed by its data refused to start");
    world.members[victim].take_away();
    audit(world, auditor, others).await?;
    agree(world, others).await
}

/// Whether two members hold the same at one revision, as they read it now.
async fn same_data(world: &World, one: usize, other: usize) -> bool {
    let mut hashes = Vec::new();
    for member in [one, other] {
        let Some(living) = world.members[member].living() else { return false };
        let hashed = living.node.spawn(async move { living.door.view(false).await.ok()?.fresh_hash_kv(0).ok() });
        hashes.extend(hashed.await.ok().flatten());
    }
    hashes.len() == 2 && hashes[0] == hashes[1]
}

/// Once it has heard of the alarm itself, nobody is given a view there.
async fn serves_nothing(world: &World, victim: usize, named: impl Fn(usize) -> bool) -> Verdict {
    let heard = eventually(CALM_PATIENCE, || world.is_lost() || named(victim)).await;
    require(heard, "who differs hears of it", || format!("member {victim}"))?;
    let Some(living) = world.members[victim].living() else { return Ok(()) };
    for linearizable in [false, true] {
        let door = living.door.clone();
        let asked = living.node.spawn(async move { door.view(linearizable).await.err() });
        let Ok(refusal) = asked.await else { return Ok(()) };
        require(refusal == Some(Refusal::Corrupt), "who differs serves nothing", || {
            format!("member {victim} was asked for a view (linearizable: {linearizable}) and said {refusal:?}")
        })?;
    }
    Ok(())
}
