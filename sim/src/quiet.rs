//! Looks whether anything is wrong, and with whom.
//!
//! Whoever is well and can reach each other, a majority among them, owes what everybody owes where all are well: who is gone, stands
//! still or is cut off from them must not matter to them.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate::base::MemberId;

use crate::config::{host, member_id};
use crate::env::{Calls, true_now};
use crate::plan::{Harm, Plan};
use crate::wires::Host;
use crate::world::World;

/// Whether the moods of disks and links leave timers their meaning: nothing takes as long as an election timeout.
pub fn is_gentle(plan: &Plan) -> bool {
    let disks = plan.members.iter().all(|member| {
        let disk = &member.disk;
        disk.stall_one_in == 0 && disk.sync_error_one_in == 0 && disk.read_error_one_in == 0 && !disk.lies
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

/// With whom nothing is wrong now; nobody where that cannot be said, or they are no majority.
fn who_is_quiet(world: &World) -> BTreeSet<usize> {
    let nobody = BTreeSet::new();
    if world.plan.setting.lane.is_some() || world.plan.harm != Harm::Nothing {
        return nobody;
    }
    if !(world.is_calm() || is_gentle(&world.plan))
        || world.operator_is_busy()
        || world.any_unlistening()
        || world.members.iter().any(|member| member.disk.is_bounded())
    {
        return nobody;
    }
    let (roster, voters) = {
        let raft = world.raft();
        (raft.roster().all(), raft.roster().voters())
    };
    let belongs = |number: usize| roster.contains(&member_id(number));
    let started = |number: usize| world.members[number].is_admitted() && !world.members[number].is_retired();
    let those = (0..world.members.len()).filter(|number| belongs(*number)).count();
    // One that was added and never started counts among the voters all the same.
    if those != roster.len() || (0..world.members.len()).any(|number| started(number) != belongs(number)) {
        return nobody;
    }
    let started: Vec<usize> = (0..world.members.len()).filter(|number| started(*number)).collect();
    let well: Vec<usize> = started.iter().copied().filter(|number| world.members[*number].is_well()).collect();
    let quiet = joined(&well, |from, to| is_open(world, from, to));
    // Whom another has still to bring back adds no vote.
    if quiet.len() < started.len() && world.plan.forgets() {
        return nobody;
    }
    if is_majority(&quiet, &voters) { quiet } else { nobody }
}

fn is_open(world: &World, from: usize, to: usize) -> bool {
    let calls = || world.net.mood(&host(from), &host(to)).calls == Calls::Answered;
    world.wires.open((Host::Member(from), Host::Member(to))) && calls()
}

fn is_majority(quiet: &BTreeSet<usize>, voters: &[MemberId]) -> bool {
    2 * quiet.iter().filter(|number| voters.contains(&member_id(**number))).count() > voters.len()
}

/// The largest part of these each of whom reaches each other both ways, where none of the others does so with any of them; nobody
/// where the parts are not so clear.
fn joined(well: &[usize], open: impl Fn(usize, usize) -> bool) -> BTreeSet<usize> {
    let both = |one: usize, other: usize| one == other || (open(one, other) && open(other, one));
    let of = |one: usize| well.iter().copied().filter(|other| both(one, *other)).collect::<BTreeSet<usize>>();
    let largest = well.iter().map(|one| of(*one)).max_by_key(BTreeSet::len).unwrap_or_default();
    let clear = largest.iter().all(|one| of(*one) == largest);
    if clear { largest } else { BTreeSet::new() }
}

/// Takes a look, and judges what it finds. Those who owe answers from now on.
pub fn look(world: &World) -> Option<BTreeSet<usize>> {
    let quiet = who_is_quiet(world);
    let living = quiet.iter().filter_map(|number| world.members[*number].living());
    let term = living.map(|living| living.door.status().term).max().unwrap_or(0);
    let elections = world.raft().elections();
    let lives = world.members.iter().map(|member| member.lives()).sum::<u64>();
    let changes = lives + world.operator_acts() + world.wires.changes();
    let (begins, verdict) = world.quiet().look(true_now(), (&quiet, changes), elections, term);
    world.judge(verdict);
    begins.then_some(quiet)
}

/// Whether nothing stands between a client and a member that owes it an answer: what is cut now was cut all the while.
fn is_reached(world: &World, client: u32, member: usize) -> bool {
    let (here, there) = (Host::Client(client), Host::Member(member));
    world.wires.open((here, there)) && world.wires.open((there, here))
}

/// A request of a client to a member was refused (`why`), or not answered in time (an empty `why`).
pub fn refused(
    world: &World,
    (client, member): (u32, usize),
    asked: Duration,
    why: &str,
    story: impl FnOnce() -> String,
) {
    look(world);
    if !is_reached(world, client, member) {
        return;
    }
    let verdict = world.quiet().refused(member, asked, why, story);
    if verdict.is_err() && world.members[member].installed_since(asked) {
        // Where a leader keeps next to no entries for others, one that is a little behind gets a state, and what it passed on lies
        // in it unnamed: whoever waits for that is told that it is not known.
        world.marks.hit("a quiet member took a state, and did not know what became of a request");
        return;
    }
    world.judge(verdict);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_cut_off_is_told_from_those_who_reach_each_other() {
        let joined_but = |cuts: &[(usize, usize)], well: &[usize]| {
            let all = joined(well, |from, to| !cuts.contains(&(from, to)));
            all.into_iter().collect::<Vec<usize>>()
        };
        assert_eq!(joined_but(&[], &[0, 1, 2]), [0, 1, 2]);
        assert_eq!(joined_but(&[], &[0, 2]), [0, 2], "one is gone");
        assert_eq!(joined_but(&[(0, 1), (0, 2), (1, 0), (2, 0)], &[0, 1, 2]), [1, 2], "apart");
        assert_eq!(joined_but(&[(0, 1), (0, 2)], &[0, 1, 2]), [1, 2], "mute");
        assert!(joined_but(&[(0, 1)], &[0, 1, 2]).is_empty(), "two reach the third, and not each other");
    }

    #[test]
    fn a_majority_is_of_all_who_vote() {
        let voters: Vec<MemberId> = (0..4).map(member_id).collect();
        assert!(is_majority(&BTreeSet::from([0, 1, 3]), &voters));
        assert!(!is_majority(&BTreeSet::from([0, 1, 7]), &voters), "one of them does not vote");
    }
}
