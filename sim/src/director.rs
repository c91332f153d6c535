//! The director: walks the timeline of the plan and lets each trouble befall whom it names.
//!
//! It waits for nothing but the clock. What ends by itself (a cut that heals, a pause) or takes its time (a stop) goes on
//! in a task of its own.

use std::sync::Arc;
use std::time::Duration;

use crate::chronicle::Happening;
use crate::env::{true_now, true_sleep};
use crate::lifecycle;
use crate::plan::{Action, Cut, End, Timed, Who};
use crate::wires::ways;
use crate::world::World;

/// Lets everything befall that the plan has, until the run is lost or calm.
pub async fn direct(world: Arc<World>) {
    for Timed { at, action } in world.plan.timeline.clone() {
        true_sleep(at.saturating_sub(true_now())).await;
        if world.is_lost() || world.is_calm() {
            return;
        }
        world.trace.note("action", format!("{action:?}").as_bytes());
        befall(&world, action);
    }
}

fn befall(world: &Arc<World>, action: Action) {
    match action {
        Action::End { who, how, down } => {
            let named = world.named(who);
            if named.len() > 1 {
                world.marks.hit("every member ended at once");
            }
            for number in named {
                match how {
                    End::Stop => drop(madsim::task::spawn(lifecycle::stop(world.clone(), number, down))),
                    how => world.members[number].end(how, down),
                }
            }
        }
        Action::Trap { who, nth, how, down } => {
            world.named(who).into_iter().for_each(|number| world.members[number].arm(nth, how, down));
        }
        Action::Stall { who, time } => {
            world.marks.hit("the disk stalled for long");
            for number in world.named(who) {
                world.chronicle.member(number, || Happening::Stalls(time));
                world.members[number].disk.stall_for(time);
            }
        }
        Action::StepWall { who, ms } => {
            world.marks.hit("a wall clock stepped");
            world.named(who).into_iter().for_each(|number| world.members[number].step_wall(ms));
        }
        Action::Pause { who, time } => pause(world, who, time),
        Action::Cut { cut, clients, time } => part(world, &cut, clients, time),
    }
}

fn pause(world: &Arc<World>, who: Who, time: Duration) {
    for number in world.named(who) {
        let Some(node) = world.members[number].pause() else { continue };
        world.marks.hit("a member stood still");
        let world = world.clone();
        drop(madsim::task::spawn(async move {
            true_sleep(time).await;
            world.members[number].resume(&node);
        }));
    }
}

fn part(world: &Arc<World>, cut: &Cut, clients: bool, time: Duration) {
    let named = match cut {
        Cut::Apart(who) | Cut::Mute(who) | Cut::Deaf(who) => world.named(*who),
        Cut::Bridge(_) | Cut::Ring | Cut::Links(_) => Vec::new(),
    };
    let numbers: Vec<u32> = if clients { (0..world.client_count()).collect() } else { Vec::new() };
    let ways = ways(cut, &named, world.members.len(), &numbers);
    if ways.is_empty() {
        return;
    }
    world.marks.hit(match cut {
        Cut::Apart(_) => "cut: members apart from the others",
        Cut::Mute(_) => "cut: a member is mute",
        Cut::Deaf(_) => "cut: a member is deaf",
        Cut::Bridge(_) => "cut: two halves with a bridge",
        Cut::Ring => "cut: a ring",
        Cut::Links(_) => "cut: single links",
    });
    world.cut(&ways);
    let world = world.clone();
    drop(madsim::task::spawn(async move {
        true_sleep(time).await;
        world.heal(&ways);
    }));
}
