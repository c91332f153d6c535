//! A whole cluster that is started again on old copies of all its disks, at the very end of some runs: more than it must survive.
//!
//! What was promised since then is gone, and where all copies are of one moment nothing tells them from disks that were
//! stopped then ([decision 11](../../docs/decisions/0011-amnesia.md)). So nothing is held against what was before. What is
//! demanded: that nobody asserts itself, and that the cluster either goes on, all of it with one and the same state, or says
//! loudly why not: a member doubts what it has, or ends on what it found.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate::base::Refusal;
use quorate::machine::{Command, Put};

use crate::calm::agree;
use crate::config::member_id;
use crate::env::true_sleep;
use crate::member::Member;
use crate::oracles::{Verdict, require};
use crate::world::{World, eventually};

/// Time to come up, to ask each other and to elect somebody.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster that goes on has told whatever it knows to be missing by then.
const SETTLES: Duration = Duration::from_secs(5);

/// Puts all disks back where there is a copy of each, and looks at what becomes of it.
pub async fn look(world: &Arc<World>) -> Verdict {
    let copies = std::mem::take(&mut *world.copies());
    if copies.len() < world.members.len() || world.plan.members.len() > world.plan.founders || world.is_lost() {
        return Ok(());
    }
    world.marks.hit("all disks were put back to old copies");
    world.set_operator_busy(true);
    world.send_visitors_away();
    world.rewind();
    for (number, copy) in &copies {
        world.members[*number].put_back(copy, Duration::ZERO);
    }
    let goes_on = || leads(world).is_some();
    let settled = eventually(PATIENCE, || world.is_lost() || goes_on() || says_why(world)).await;
    require(settled, "a cluster on old disks goes on or says why not", || format!("{:?}", stands(world)))?;
    true_sleep(SETTLES).await;
    if says_why(world) {
        world.marks.hit("old disks: a member said what is missing");
    }
    // Whoever doubts may be brought back by a leader that the others elect.
    eventually(PATIENCE, || world.is_lost() || goes_on()).await;
    let Some(leader) = leads(world) else {
        return require(says_why(world) || world.is_lost(), "a cluster on old disks goes on or says why not", || {
            format!("{:?}", stands(world))
        });
    };
    world.marks.hit("old disks: the cluster went on");
    let Some(living) = world.members[leader].living() else { return Ok(()) };
    let put = Put { key: Bytes::from_static(b"calm"), value: Bytes::from_static(b"rewound"), ..Put::default() };
    let asked = living.node.spawn(async move { living.door.propose(Command::Put(put)).await.err() });
    let refusal = asked.await.unwrap_or(None);
    // An alarm of the time of the copies may stand, or users may be asked for: then it is refused where it is applied.
    let is_of_then = |refusal: &Refusal| matches!(refusal, Refusal::NoSpace | Refusal::Corrupt | Refusal::UserEmpty);
    let done = refusal.as_ref().is_none_or(is_of_then);
    require(done || leads(world) != Some(leader), "a cluster on old disks goes on or says why not", || {
        format!("a put was not done: {refusal:?}; {:?}", stands(world))
    })?;
    let living: Vec<usize> = (0..world.members.len()).filter(|member| !world.members[*member].is_broken()).collect();
    agree(world, &living).await
}

/// Who leads everybody that lives.
fn leads(world: &World) -> Option<usize> {
    let living = world.members.iter().filter(|member| !member.is_broken());
    let statuses: Vec<_> = living.map(|member| Some(member.living()?.door.status())).collect::<Option<_>>()?;
    let leader = world.leader()?;
    let id = member_id(leader);
    statuses.iter().all(|status| status.leader == Some(id)).then_some(leader)
}

/// Whether anybody says what is wrong.
fn says_why(world: &World) -> bool {
    let says =
        |member: &Arc<Member>| member.is_broken() || member.living().is_some_and(|living| living.door.facts().doubts());
    world.members.iter().any(says)
}

fn stands(world: &World) -> Vec<String> {
    let stand = |member: &Arc<Member>| {
        let Some(living) = member.living() else { return format!("{}: down", member.host) };
        let status = living.door.status();
        format!(
            "{}: term {}, leader {:?}, doubts {}",
            member.host,
            status.term,
            status.leader,
            living.door.facts().doubts()
        )
    };
    world.members.iter().map(stand).collect()
}
