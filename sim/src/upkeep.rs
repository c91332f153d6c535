//! Who looks after members in a calm world: where there is a quota writes go on once room was made, and digests, standings and space
//! are asked of everyone.

use std::sync::Arc;
use std::time::Duration;

use quorate_spec::history::Outcome;
use quorate_spec::request::{Put, Request};

use crate::calm::CALM_PATIENCE;
use crate::env::{true_now, true_sleep};
use crate::oracles::{Verdict, require};
use crate::plan::{Harm, Kind};
use crate::quota::is_bounded;
use crate::room::make_room;
use crate::traffic::{Client, Settled};
use crate::world::World;

/// The number that who asks has as a client.
const CALLER: u32 = u32::MAX - 10;

/// In a calm world every one of these members lets writes in, once room was made.
pub async fn writes_go_on(world: &World, auditor: &mut Client, members: &[usize]) -> Verdict {
    if !is_bounded(&world.plan) {
        return Ok(());
    }
    for member in members {
        let since = true_now();
        let mut done = false;
        while !done && true_now() < since + CALM_PATIENCE && !world.is_lost() {
            auditor.turn_to(*member);
            let put = Put { key: b"room".to_vec(), value: format!("{since:?}").into_bytes(), ..Put::default() };
            done = matches!(auditor.changed(Request::Put(put)).await.0, Outcome::Done { .. });
            if !done {
                world.marks.hit("room had to be made in a calm world");
                make_room(world, auditor, members).await;
                true_sleep(Duration::from_millis(100)).await;
            }
        }
        require(done || world.is_lost(), "writes go on where room was made", || {
            let told = world.members[*member].living().map(|living| living.door.status());
            format!("member {member} since {since:?}: {told:?}")
        })?;
    }
    world.marks.hit("writes went on under a quota");
    Ok(())
}

/// In a calm world where nothing is damaged every one of these members tells its digests and how it stands; where the run asks for it, each gives space back.
pub async fn audit(world: &Arc<World>, members: &[usize]) -> Verdict {
    if world.plan.harm != Harm::Nothing {
        return Ok(());
    }
    let mut client = Client::new(world.clone(), CALLER);
    let gives = world.plan.clients.iter().flatten().any(|step| step.kind == Kind::Defragment);
    for member in members {
        client.turn_to(*member);
        let (now, compacted) = {
            let ledger = world.ledger();
            (ledger.model().revision(), ledger.model().compacted())
        };
        for revision in [0, (now + compacted.max(1)) / 2, compacted.max(1)] {
            client.turn_to(*member);
            let _ = client.hash_kv(revision).await;
        }
        let _ = client.status().await;
        let since = true_now();
        let mut given = !gives;
        while !given && true_now() < since + CALM_PATIENCE && !world.is_lost() {
            client.turn_to(*member);
            given = client.defragment().await == Settled::Yes;
            if !given {
                true_sleep(Duration::from_millis(100)).await;
            }
        }
        require(given || world.is_lost(), "a calm member gives space back", || {
            format!("member {member} since {since:?}")
        })?;
    }
    world.violation().map_or(Ok(()), Err)
}
