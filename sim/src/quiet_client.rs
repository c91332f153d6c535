//! Has every member asked something when nothing was wrong for a while, and looks at their queues at any time.

use std::sync::Arc;
use std::time::Duration;

use quorate_spec::history::Outcome;
use quorate_spec::request::{Put, Request};

use crate::env::{true_now, true_sleep};
use crate::oracles::rights::is_of_rights;
use crate::oracles::{bounds, require};
use crate::quiet::look;
use crate::quota;
use crate::traffic::{Client, Settled};
use crate::world::World;

/// The number of the client that asks.
const NUMBER: u32 = u32::MAX - 2;

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(50);

/// Times a member is asked at most.
const TRIES: u32 = 3;

/// Looks until the run is over; each time it has become quiet every member is asked something.
pub async fn watch(world: Arc<World>) {
    let mut client = Client::new(world.clone(), NUMBER);
    while !world.is_lost() {
        true_sleep(LOOK).await;
        for living in world.members.iter().filter_map(|member| member.living()) {
            world.judge(bounds::queues_within(living.door.waiting(), &living.door.peer_traffic()));
        }
        let Some(quiet) = look(&world) else { continue };
        world.marks.hit("quiet times judged");
        if !world.is_calm() {
            world.marks.hit("quiet times judged while troubles go on");
        }
        if world
            .members
            .iter()
            .any(|member| member.is_admitted() && !member.is_retired() && !quiet.contains(&member.number))
        {
            world.marks.hit("quiet times of a majority beside others judged");
        }
        for member in quiet {
            ask(&world, &mut client, member).await;
        }
    }
}

/// Has a member do something new, unless it stops being quiet meanwhile.
async fn ask(world: &World, client: &mut Client, member: usize) {
    let asked = true_now();
    let mut left = TRIES;
    while left > 0 {
        client.turn_to(member);
        if !world.members[member].is_well() || world.is_lost() {
            return;
        }
        let put = Put { key: b"quiet".to_vec(), value: format!("{asked:?}").into_bytes(), ..Put::default() };
        let (outcome, settled) = client.changed(Request::Put(put)).await;
        if settled == Settled::Yes {
            world.marks.hit("a quiet member did what it was asked");
            return;
        }
        if quota::is_for_want_of_room(&world.plan, &outcome) {
            return;
        }
        // While users and roles change, what was decided at an older table is asked again: that is no try of the member's.
        let anew = matches!(&outcome, Outcome::SurelyNot(why) if is_of_rights(why));
        left -= u32::from(!anew);
    }
    look(world);
    let owed = world.quiet().owes(member, asked);
    world.judge(require(!owed, "a request is answered while nothing is wrong", || {
        format!("member {member} did nothing new in {TRIES} attempts from {asked:?} on")
    }));
}
