//! A member whose state is falsified, at the end of some runs: who differs is named within seconds, by an alarm in the log, and
//! serves nothing from then on; told to by a flag, it takes the others' state by itself.
//!
//! What is falsified is what nobody would notice by itself: the running digest in the member's newest image, as after an
//! entry that did something else there than elsewhere. What it holds stays right, so that the judges go on judging it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate::base::{Fault, Refusal};
use quorate::env::{Disk, DiskFile, OpenMode};
use quorate::machine::{AlarmKind, Image};
use quorate_spec::request::{AlarmKind as Kind, Put, Request};

use crate::calm::{CALM_PATIENCE, agree, audit, insist};
use crate::config::member_id;
use crate::env::true_now;
use crate::oracles::{Verdict, require};
use crate::plan::End;
use crate::traffic::Client;
use crate::world::{World, eventually};

/// Time from its start to the alarm: a start asks the others and finds a leader, the leader notes an index and asks for it a
/// second later, and a round that was under way meanwhile is lost.
const NAMED_WITHIN: Duration = Duration::from_secs(8);

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
    let verdict = one(world, auditor, everyone, divergence.nth % everyone.len(), divergence.rebuilds).await;
    world.set_operator_busy(false);
    verdict
}

async fn one(world: &Arc<World>, auditor: &mut Client, everyone: &[usize], victim: usize, rebuilds: bool) -> Verdict {
    let victim = everyone[victim];
    let (member, id) = (&world.members[victim], member_id(victim));
    let others: Vec<usize> = everyone.iter().copied().filter(|other| *other != victim).collect();
    let lives = member.lives();
    member.end(End::Kill, DOWN);
    match member.alter(falsify).await {
        Ok(true) => {}
        // No image was made yet, which a start would begin from.
        Ok(false) => return Ok(()),
        Err(fault) => return require(false, "a calm disk does what it is asked", || format!("{fault:?}")),
    }
    world.marks.hit("a state was falsified");
    world.ledger().differs(victim);
    eventually(CALM_PATIENCE, || world.is_lost() || member.lives() > lives && member.living().is_some()).await;
    let since = true_now();
    // Something is applied behind it; or the alarm stands already.
    let put = Put { key: b"calm".to_vec(), value: b"differs".to_vec(), ..Put::default() };
    auditor.turn_to(others[0]);
    auditor.change(Request::Put(put)).await;
    let named = |by: usize| {
        let status = world.members[by].living().map(|living| living.door.status());
        status.is_some_and(|status| status.alarms.contains(&(id, AlarmKind::Corrupt)))
    };
    let cured = || world.ledger().who_differs().is_none();
    let told = || world.is_lost() || cured() || others.iter().any(|other| named(*other));
    let in_time = eventually(NAMED_WITHIN, told).await;
    if world.is_lost() {
        return Ok(());
    }
    if cured() && !others.iter().any(|other| named(*other)) {
        // It lagged so far that it was sent a snapshot, before anybody asked.
        world.marks.hit("a falsified state was replaced unseen");
        return agree(world, everyone).await;
    }
    require(in_time, "who differs is named within seconds", || {
        format!("member {victim}, whose state was falsified, serves since {since:?} and is not named")
    })?;
    world.marks.hit("who differs was named");
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

/// Falsifies the images that can be read; whether there was one.
async fn falsify<D: Disk>(disk: D) -> Result<bool, Fault> {
    let mut falsified = false;
    for name in disk.list("checkpoint")?.iter().filter(|name| name.ends_with(".image")) {
        let file = disk.open(&format!("checkpoint/{name}"), OpenMode::Write)?;
        let mut bytes = vec![0; file.len()? as usize];
        file.read_full_at(0, &mut bytes)?;
        let Ok(mut image) = Image::decode(&Bytes::from(bytes)) else { continue };
        image.state.digest = image.state.digest.map(|digest| digest ^ 1);
        let bytes = image.encode();
        file.set_len(bytes.len() as u64)?;
        file.write_at(0, &bytes)?;
        file.sync().await?;
        falsified |= image.state.digest.is_some();
    }
    Ok(falsified)
}
