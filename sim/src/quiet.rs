//! Looks whether anything is wrong.

use std::time::Duration;

use crate::config::member_id;
use crate::env::true_now;
use crate::plan::{Harm, Plan};
use crate::world::World;

/// Whether the moods of disks and links leave timers their meaning: nothing takes as long as an election timeout.
pub fn is_gentle(plan: &Plan) -> bool {
    let disks = plan.members.iter().all(|member| {
        let disk = &member.disk;
        disk.stall_one_in == 0 && disk.sync_error_one_in == 0 && !disk.lies
    });
    disks && is_prompt(plan)
}

/// The same of links and processors alone.
pub fn is_prompt(plan: &Plan) -> bool {
    let links = &plan.setting.links;
    let prompt = plan.members.iter().all(|member| member.cpu_percent <= 100) && plan.setting.slicing.micros <= 200;
    let slow = if links.slow_one_in == 0 { links.micros.1 } else { 100 * links.micros.1 };
    let steady = links.cut_one_in == 0 && (links.loss_one_in == 0 || links.loss_one_in >= 200);
    prompt && steady && slow <= 200_000 && (links.bytes_per_second == 0 || links.bytes_per_second >= 1_000_000)
}

/// Whether nothing is wrong now.
fn is_quiet(world: &World) -> bool {
    if world.plan.setting.lane.is_some() || world.plan.harm != Harm::Nothing {
        return false;
    }
    if !(world.is_calm() || is_gentle(&world.plan))
        || world.operator_is_busy()
        || world.wires.any_cut()
        || world.any_unlistening()
        || world.members.iter().any(|member| member.disk.is_bounded())
    {
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
pub fn look(world: &World) -> bool {
    let quiet = is_quiet(world);
    let term = world.members.iter().filter_map(|member| Some(member.living()?.door.status().term)).max().unwrap_or(0);
    let elections = world.raft().elections();
    let changes = world.members.iter().map(|member| member.lives()).sum::<u64>() + world.operator_acts();
    let (begins, verdict) = world.quiet().look(true_now(), (quiet, changes), elections, term);
    world.judge(verdict);
    begins
}

/// A request of a client was refused (`why`), or not answered in time (an empty `why`).
pub fn refused(world: &World, asked: Duration, why: &str, story: impl FnOnce() -> String) {
    look(world);
    let verdict = world.quiet().refused(asked, why, story);
    world.judge(verdict);
}
