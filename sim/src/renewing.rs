//! Renewals whose answer hangs on what the leader has still to apply. In every other run of several members somebody grants and
//! ends leases of its own through the leader, in the middle of a command of that one where there is one; as soon as anybody has
//! applied such an entry, somebody else asks the leader to renew that lease, and in the middle of a command one that lives.

use std::sync::Arc;
use std::time::Duration;

use quorate::base::Dice;
use quorate_spec::request::Request;

use crate::env::{forked, true_now, true_sleep};
use crate::traffic::Client;
use crate::world::World;

/// The numbers they have as clients.
const CHANGER: u32 = u32::MAX - 5;
const RENEWER: u32 = u32::MAX - 6;

/// Leases that nobody else knows of.
const LEASES: [i64; 3] = [701, 702, 703];

/// Pause between two looks at the leader and at the log.
const LOOK: Duration = Duration::from_millis(2);

/// How long the middle of a command is waited for.
const MIDDLE: Duration = Duration::from_millis(500);

/// Whether they are asked for in a run.
pub fn are_asked_for(world: &World) -> bool {
    world.plan.founders > 1 && forked(world.plan.seed, "renewing", 0).one_in(2)
}

fn goes_on(world: &World) -> bool {
    !world.is_lost() && !world.is_calm()
}

/// How often a lease was granted, and whether it is there.
fn known_of(world: &World, id: i64) -> (usize, bool) {
    let ledger = world.ledger();
    let lives = ledger.lives_of(id);
    (lives.len(), lives.last().is_some_and(|life| life.to.is_none()))
}

/// Grants and ends one lease after the other until the troubles are over.
pub async fn change(world: Arc<World>) {
    let mut dice = forked(world.plan.seed, "renewing", 1);
    let mut client = Client::new(world.clone(), CHANGER);
    while goes_on(&world) {
        true_sleep(Duration::from_millis(20 + dice.below(300))).await;
        let until = true_now() + MIDDLE;
        while goes_on(&world) && world.under_way_at_leader().is_none() && true_now() < until {
            true_sleep(LOOK).await;
        }
        let Some(leader) = world.leader() else { continue };
        let (id, ttl) = (LEASES[dice.below(3) as usize], [3, 60][dice.below(2) as usize]);
        let (_, lives) = known_of(&world, id);
        client.turn_to(leader);
        let request = if lives { Request::LeaseRevoke { id } } else { Request::LeaseGrant { id, ttl } };
        let _ = client.change(request).await;
    }
}

/// Renews them until the troubles are over.
pub async fn renew(world: Arc<World>) {
    let mut dice = forked(world.plan.seed, "renewing", 2);
    let mut client = Client::new(world.clone(), RENEWER);
    let mut known = LEASES.map(|id| known_of(&world, id));
    while goes_on(&world) {
        true_sleep(LOOK).await;
        let now = LEASES.map(|id| known_of(&world, id));
        let changed = (0..LEASES.len()).find(|nth| now[*nth] != known[*nth]);
        let is_in_the_middle = world.under_way_at_leader().is_some();
        let lives = (0..LEASES.len()).filter(|nth| now[*nth].1).max_by_key(|_| dice.below(1 << 16));
        let (Some(nth), Some(leader)) = (changed.or(lives.filter(|_| is_in_the_middle)), world.leader()) else {
            continue;
        };
        known[nth] = now[nth];
        client.turn_to(leader);
        let _ = client.keep_alive(LEASES[nth]).await;
    }
}
