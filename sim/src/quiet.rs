//! Looks whether anything is wrong, and has every member asked when nothing was for a while.

use std::sync::Arc;
use std::time::Duration;

use quorate_spec::request::{Put, Request};

use crate::config::member_id;
use crate::env::{true_now, true_sleep};
use crate::oracles::require;
use crate::plan::Plan;
use crate::traffic::{Client, Settled};
use crate::world::World;

/// The number of the client that asks.
const NUMBER: u32 = u32::MAX - 2;

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(50);

/// Times a member is asked at most.
const TRIES: u32 = 3;

/// Whether the moods of disks and links leave timers their meaning: nothing takes as long as an election timeout.
pub fn is_gentle(plan: &Plan) -> bool {
    let disks = plan.members.iter().all(|member| {
        let disk = &member.disk;
        disk.stall_one_in == 0 && disk.sync_error_one_in == 0 && !disk.lies
    });
    let links = &plan.setting.links;
    let slow = if links.slow_one_in == 0 { links.micros.1 } else { 100 * links.micros.1 };
    let steady = links.cut_one_in == 0 && (links.loss_one_in == 0 || links.loss_one_in >= 200);
    disks && steady && slow <= 200_000 && (links.bytes_per_second == 0 || links.bytes_per_second >= 1_000_000)
}

/// Whether nothing is wrong now.
fn is_quiet(world: &World) -> bool {
    // Where a leader keeps no entries for others, one that is a little behind gets a snapshot, and what it passed on lies in
    // it unnamed: whoever asked for it hears that the time ran out, with nothing wrong.
    if world.plan.setting.catch_up_entries == 0 {
        return false;
    }
    if !(world.is_calm() || is_gentle(&world.plan)) || world.operator_is_busy() || world.wires.any_cut() {
        return false;
    }
    let roster = world.raft().roster().all();
    let belongs = |number: usize| roster.contains(&member_id(number));
    let started = |number: usize| world.members[number].is_admitted() && !world.members[number].is_retired();
    let voters = (0..world.members.len()).filter(|number| belongs(*number)).count();
    // One that was added and never started counts among the voters all the same.
    voters == roster.len()
        && (0..world.members.len()).all(|number| started(number) == belongs(number))
        && (0..world.members.len()).filter(|number| started(*number)).all(|number| world.members[number].is_well())
}

/// Takes a look, and judges what it finds.
fn look(world: &World) -> bool {
    let quiet = is_quiet(world);
    let term = world.members.iter().filter_map(|member| Some(member.living()?.door.status().term)).max().unwrap_or(0);
    let elections = world.raft().elections();
    let lives = world.members.iter().map(|member| member.lives()).sum();
    let (begins, verdict) = world.quiet().look(true_now(), (quiet, lives), elections, term);
    world.judge(verdict);
    begins
}

/// A request of a client was refused (`why`), or not answered in time (an empty `why`).
pub fn refused(world: &World, asked: Duration, why: &str, story: impl FnOnce() -> String) {
    look(world);
    let verdict = world.quiet().refused(asked, why, story);
    world.judge(verdict);
}

/// Looks until the run is over; each time it has become quiet every member is asked something.
pub async fn watch(world: Arc<World>) {
    let mut client = Client::new(world.clone(), NUMBER);
    while !world.is_lost() {
        true_sleep(LOOK).await;
        if !look(&world) {
            continue;
        }
        world.marks.hit("quiet times judged");
        if !world.is_calm() {
            world.marks.hit("quiet times judged while troubles go on");
        }
        for member in 0..world.members.len() {
            ask(&world, &mut client, member).await;
        }
    }
}

/// Has a member do something new, unless it stops being quiet meanwhile.
async fn ask(world: &World, client: &mut Client, member: usize) {
    let asked = true_now();
    for _ in 0..TRIES {
        client.turn_to(member);
        if !world.members[member].is_well() || world.is_lost() {
            return;
        }
        let put = Put { key: b"quiet".to_vec(), value: format!("{asked:?}").into_bytes(), ..Put::default() };
        if client.change(Request::Put(put)).await == Settled::Yes {
            world.marks.hit("a quiet member did what it was asked");
            return;
        }
    }
    look(world);
    let owed = world.quiet().owes(asked);
    world.judge(require(!owed, "a request is answered while nothing is wrong", || {
        format!("member {member} did nothing new in {TRIES} attempts from {asked:?} on")
    }));
}
