//! The director: walks the timeline of the plan and lets each trouble befall whom it names.
//!
//! It waits for nothing but the clock. What ends by itself (a cut that heals, a pause) or takes its time (a stop) goes on
//! in a task of its own.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use crate::ambush::Caught;
use crate::chronicle::Happening;
use crate::config::host;
use crate::env::{Calls, FileClass, LinkMood, true_now, true_sleep};
use crate::lifecycle;
use crate::member::Member;
use crate::plan::{Action, Cut, End, Timed, Who};
use crate::wiping;
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

/// Lets those be caught who step into an ambush, until the run is lost or calm.
pub async fn spring(world: Arc<World>) {
    let Some(mut caught) = world.ambushes.to_director() else { return };
    while let Some(Caught { after, action }) = caught.next().await {
        let world = world.clone();
        drop(madsim::task::spawn(async move {
            true_sleep(after).await;
            if !world.is_lost() && !world.is_calm() {
                world.trace.note("caught", format!("{action:?}").as_bytes());
                world.marks.hit("a member stepped into an ambush");
                befall(&world, action);
            }
        }));
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
        Action::Trap { who, nth, aim, how, down } => {
            world.named(who).into_iter().for_each(|number| world.members[number].arm((aim, nth), how, down));
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
        Action::Drift { who, ppb } => {
            world.marks.hit("a clock's drift changed");
            world.named(who).into_iter().for_each(|number| world.members[number].drift(ppb));
        }
        Action::Slow { who, percent, time } => {
            world.marks.hit("a processor was slow");
            passing(world, who, time, move |member| member.slow_down(Some(percent)), |member| member.slow_down(None));
        }
        Action::Fill { who, room, time } => {
            world.marks.hit("a disk had little room");
            let fill = move |member: &Member| member.disk.leave_room(Some(room));
            passing(world, who, time, fill, |member| member.disk.leave_room(None));
        }
        Action::Rot { who, class, damage } => {
            for number in world.named(who) {
                let damaged = world.members[number].disk.damage(class, damage);
                world.marks.add(mark_of(class), u64::from(damaged.is_some()));
            }
        }
        Action::PutBack { who, after, down } => put_back(world, who, after, down),
        Action::Wipe { who, existing, down } => wiping::wipe(world, who, existing, down),
        Action::Copy { who } => {
            for number in world.named(who) {
                world.copies().insert(number, world.members[number].disk.fork_platter());
            }
        }
        Action::Unlisten { who, told, time } => unlisten(world, who, told, time),
        Action::Reset { one, other } => {
            let (one, other) = (one % world.members.len(), other % world.members.len());
            world.marks.hit("all connections of two members were cut");
            world.net.cut_connections(&host(one), &host(other));
        }
        Action::Block { from, to, told, time } => block(world, (from, to), told, time),
        Action::Ambush { moment, nth, after, then } => world.ambushes.lay((moment, nth), after, *then),
        Action::Suspend { who, time } => pause(world, who, time, true),
        Action::Pause { who, time } => pause(world, who, time, false),
        Action::Cut { cut, clients, time } => part(world, &cut, clients, time),
    }
}

fn mark_of(class: FileClass) -> &'static str {
    match class {
        FileClass::Log => "damage: log",
        FileClass::Mark => "damage: mark of the log",
        FileClass::History => "damage: history",
        FileClass::Image => "damage: checkpoint image",
        FileClass::Outline => "damage: outline of the history",
        FileClass::Aside => "damage: a file that means nothing",
    }
}

/// Something that befalls members for a time.
fn passing(
    world: &Arc<World>,
    who: Who,
    time: Duration,
    begin: impl Fn(&Member),
    end: impl Fn(&Member) + Send + 'static,
) {
    let named = world.named(who);
    named.iter().for_each(|number| begin(&world.members[*number]));
    let world = world.clone();
    drop(madsim::task::spawn(async move {
        true_sleep(time).await;
        if !world.is_calm() {
            named.iter().for_each(|number| end(&world.members[*number]));
        }
    }));
}

/// Calls from one member to another do not succeed for a time.
fn block(world: &Arc<World>, (from, to): (usize, usize), told: bool, time: Duration) {
    let (from, to) = (host(from % world.members.len()), host(to % world.members.len()));
    if from == to {
        return;
    }
    world.marks.hit("calls between two members were blocked");
    let calls = if told { Calls::Refused } else { Calls::Swallowed };
    world.net.set_link(&from, &to, LinkMood { calls, ..world.net.mood(&from, &to) });
    let world = world.clone();
    drop(madsim::task::spawn(async move {
        true_sleep(time).await;
        let answered = LinkMood { calls: Calls::Answered, ..world.net.mood(&from, &to) };
        world.net.set_link(&from, &to, answered);
    }));
}

/// Members' listeners go for a time: nobody gets through to them, while they call whom they like.
fn unlisten(world: &Arc<World>, who: Who, told: bool, time: Duration) {
    for number in world.named(who) {
        world.marks.hit("a listener vanished");
        world.unlistens();
        let to = host(number);
        let others: Vec<String> = (0..world.members.len()).filter(|other| *other != number).map(host).collect();
        let all = move |world: &World, calls| {
            for from in &others {
                world.net.set_link(from, &to, LinkMood { calls, ..world.net.mood(from, &to) });
            }
        };
        all(world, if told { Calls::Refused } else { Calls::Swallowed });
        world.net.cut_taken(&host(number));
        let world = world.clone();
        drop(madsim::task::spawn(async move {
            true_sleep(time).await;
            all(&world, Calls::Answered);
            world.listens_again();
        }));
    }
}

/// Copies a member's disk now and puts it back later.
fn put_back(world: &Arc<World>, who: Who, after: Duration, down: Duration) {
    for number in world.named(who) {
        let copy = world.members[number].disk.fork_platter();
        let known = world.raft().copied(number);
        let world = world.clone();
        drop(madsim::task::spawn(async move {
            true_sleep(after).await;
            if !world.is_lost() && !world.is_calm() {
                world.marks.hit("a disk was put back to an older copy");
                world.members[number].put_back(&copy, down);
                world.raft().put_back(number, known);
            }
        }));
    }
}

fn pause(world: &Arc<World>, who: Who, time: Duration, suspended: bool) {
    for number in world.named(who) {
        let Some(node) = world.members[number].pause() else { continue };
        world.marks.hit("a member stood still");
        let world = world.clone();
        drop(madsim::task::spawn(async move {
            true_sleep(time).await;
            // In the calm everybody goes on, and who stands still anew does so for another reason.
            if world.is_calm() {
                return;
            }
            if suspended {
                world.marks.hit("a machine was suspended");
                world.members[number].was_suspended(time);
            }
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
        // In the calm everything is healed, and what is cut anew is not this trouble's.
        if !world.is_calm() {
            world.heal(&ways);
        }
    }));
}
