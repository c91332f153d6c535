//! One run: a seed in, a report out.
//!
//! Each run has a thread of its own, because std seeds its hash maps once a thread. First the plan with all its
//! troubles; then a calm world in which everything must come right; then one more loss of power everywhere, after which
//! everything acknowledged must be there.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, Once};
use std::time::Duration;

use madsim::runtime::{NodeHandle, Runtime};
use quorate_spec::history::{Call, Operation, Outcome};
use quorate_spec::request::Request;

use crate::bank::{self, BankClient};
use crate::calm::{CALM_PATIENCE, agree, all_clear, audit, quorum_serves, same_roster, same_users, settled_members};
use crate::chronicle::Chronicle;
use crate::config::MIN_TTL;
use crate::env::{true_now, true_sleep};
use crate::oracles::disk::Promise;
use crate::oracles::ledger::{Entry, Ledger};
use crate::oracles::{Verdict, Violation, bounds, growth, linear, require};
use crate::overheard::Overheard;
use crate::plan::{End, Harm, Plan, PowerLoss};
use crate::told::{Report, Told};
use crate::traffic::Client;
use crate::watchers::{self, Streams};
use crate::world::{World, eventually};
use crate::{
    backups, credentials, damage, director, diverging, lifecycle, operator, quiet_client, quota, registrar, renewing,
    rewinding, room, upkeep, wiping,
};

/// Leases that end within this time are waited for.
const LEASE_PATIENCE: Duration = Duration::from_secs(10);

/// Rounds of notices that are no longer than this are waited for.
const FREQUENT_TICKS: u64 = 10;

/// No timer in a run is set for longer.
const LONGER_THAN_ANY_TIMER: Duration = Duration::from_secs(3 * 3600);

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps what a panic said and where, for the report, instead of printing it in the middle of a progress bar.
fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let story = format!("{panic}\n{}", std::backtrace::Backtrace::force_capture());
            PANIC.with(|kept| {
                kept.borrow_mut().get_or_insert(story);
            });
        }));
    });
}

/// Runs a seed.
pub fn run(seed: u64) -> Report {
    run_plan(Plan::of(seed))
}

/// Runs a plan.
pub fn run_plan(plan: Plan) -> Report {
    recorded(plan, false, None).0
}

/// Runs a plan and tells its whole history, with what members wrote to their logs where somebody listens.
pub fn run_told(plan: Plan, overheard: Option<Overheard>) -> Report {
    recorded(plan, true, overheard).0
}

/// Runs a plan; what clients asked and heard comes with the report.
fn recorded(plan: Plan, told: bool, overheard: Option<Overheard>) -> (Report, Vec<Operation>) {
    let lines = overheard.clone().unwrap_or_default();
    staged(plan, Chronicle::default(), overheard, move |world, mut report| {
        // A panic may have poisoned what it held.
        if report.entries == 0 {
            return (report, Vec::new());
        }
        let operations = world.take_operations();
        if told {
            report.tail = history(world, &operations, lines.take());
        }
        (report, operations)
    })
}

/// Runs a plan and keeps all that can be drawn of it.
pub fn run_drawn(plan: Plan) -> Told {
    staged(plan.clone(), Chronicle::on(), None, |world, report| {
        let (operations, entries) = (world.take_operations(), world.last_entries());
        Told { plan, report, violation: world.violation(), operations, noted: world.chronicle.take(), entries }
    })
}

/// Runs a plan, and has a look at the world when it is over.
fn staged<T: Send + 'static>(
    plan: Plan,
    chronicle: Chronicle,
    overheard: Option<Overheard>,
    look: impl FnOnce(&World, Report) -> T + Send + 'static,
) -> T {
    keep_panics();
    let seed = plan.seed;
    let thread = std::thread::Builder::new().name(format!("seed {seed}")).stack_size(16 << 20);
    let ran = thread.spawn(move || {
        let _listening = overheard.map(tracing::subscriber::set_default);
        let world = World::new(plan, chronicle);
        let kept = world.clone();
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
            runtime.set_time_limit(Duration::from_secs(24 * 3600));
            runtime.block_on(async move {
                let stage = madsim::runtime::Handle::current().create_node().name("stage").build();
                story(&kept, &stage).await;
                let over = true_now();
                // What waits holds what it waits for: it lets go of it only where its node is gone.
                kept.end_all_lives();
                kept.leave(stage);
                true_sleep(Duration::from_millis(1)).await;
                // A timer that was set holds its task as long as it has not gone off.
                true_sleep(LONGER_THAN_ANY_TIMER).await;
                over
            })
        }));
        let panic = PANIC.with(|kept| kept.borrow_mut().take());
        let report = report_of(&world, ran.ok(), panic);
        let seen = look(&world, report);
        world.fold_up();
        seen
    });
    ran.expect("a thread can be started").join().expect("the run itself catches panics")
}

fn report_of(world: &World, virtual_time: Option<Duration>, panic: Option<String>) -> Report {
    let (trace, happenings) = world.trace.digest();
    let failure = match (world.violation(), panic) {
        (Some(violation), _) => Some(violation.to_string()),
        (None, Some(panic)) => Some(format!("a bug asserted itself\n{panic}")),
        (None, None) => virtual_time.is_none().then(|| "the run ended without a word".to_string()),
    };
    // A panic may have poisoned what it held.
    let sound = failure.is_none() || world.violation().is_some();
    let (operations, entries) =
        if sound { (world.operations().len() as u64, world.ledger().entries().len() as u64) } else { (0, 0) };
    let standings = if sound { standings(world) } else { Vec::new() };
    Report {
        seed: world.plan.seed,
        failure,
        tail: Vec::new(),
        standings,
        trace,
        happenings,
        operations,
        entries,
        virtual_time: virtual_time.unwrap_or_default(),
        marks: world.marks.counts(),
    }
}

/// Everything that was asked, applied and logged, in order of time.
fn history(world: &World, operations: &[Operation], logged: Vec<(f64, String)>) -> Vec<String> {
    let mut told = logged;
    for operation in operations {
        let (from, to) = (operation.called_at as f64 / 1e9, operation.returned_at as f64 / 1e9);
        let (who, call, outcome) = (operation.client, &operation.call, &operation.outcome);
        told.push((to, format!("{to:.6}: client {who}, since {from:.6}: {call:?}\n    {outcome:?}")));
    }
    for (index, entry) in world.ledger().entries() {
        let (at, term, request, answer) = (entry.at.as_secs_f64(), entry.term, &entry.request, &entry.step.answer);
        told.push((at, format!("{at:.6}: entry {index} (term {term}): {request:?}\n    {answer:?}")));
    }
    told.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    told.into_iter().map(|(_, line)| line).collect()
}

/// Where each member stands at the end.
fn standings(world: &World) -> Vec<String> {
    let stands = |member: &Arc<crate::member::Member>| match member.living() {
        None => format!("{}: down, life {}", member.host, member.lives()),
        Some(living) => {
            let status = living.door.status();
            let role = if status.is_leader { "leads" } else { "follows" };
            let doubts = if living.door.facts().doubts() { ", doubts" } else { "" };
            format!(
                "{}: {role} in term {} (leader {:x?}), committed {}, applied {}, life {}{doubts}",
                member.host, status.term, status.leader, status.committed, status.applied, living.life
            )
        }
    };
    world.members.iter().map(stands).collect()
}

/// From the first boot to the last look. Whatever is no member and no client runs on the `stage`.
async fn story(world: &Arc<World>, stage: &NodeHandle) {
    let lane_of = world.clone();
    // Made there, its task outlives all members.
    let _ = stage.spawn(async move { drop(lane_of.lane()) }).await;
    for number in 0..world.members.len() {
        drop(stage.spawn(lifecycle::look_after(world.clone(), number)));
    }
    drop(stage.spawn(director::direct(world.clone())));
    drop(stage.spawn(director::spring(world.clone())));
    if world.plan.changes_members() {
        drop(stage.spawn(operator::operate(world.clone())));
        drop(stage.spawn(operator::retire_removed(world.clone())));
    }
    if credentials::has_registrar(world.plan.seed) {
        drop(stage.spawn(registrar::register(world.clone())));
    }
    if renewing::are_asked_for(world) {
        drop(stage.spawn(renewing::change(world.clone())));
        drop(stage.spawn(renewing::renew(world.clone())));
    }
    drop(stage.spawn(quiet_client::watch(world.clone())));
    if quota::is_bounded(&world.plan) {
        drop(stage.spawn(room::keep(world.clone())));
    }
    if backups::are_taken(world) {
        drop(stage.spawn(backups::take(world.clone())));
    }
    let mut clients = Vec::new();
    for (number, steps) in (0..).zip(world.plan.clients.clone()) {
        clients.push(host(world, number).spawn(Client::new(world.clone(), number).run(steps)));
    }
    let streams = Streams::default();
    for (number, plan) in (clients.len() as u32..).zip(world.plan.watching.clone()) {
        drop(host(world, number).spawn(watchers::watch(world.clone(), streams.clone(), number, plan)));
    }
    if let Some(bank) = &world.plan.bank {
        let first = world.client_count() - bank.tellers.len() as u32;
        for (number, teller) in (first..).zip(bank.tellers.clone()) {
            clients.push(host(world, number).spawn(BankClient::new(world.clone(), number, bank.accounts).run(teller)));
        }
    }
    for client in clients {
        drop(client.await);
    }
    if !world.is_lost() {
        let verdict = come_right(world, &streams).await;
        world.judge(verdict);
    }
}

/// Where a client runs.
fn host(world: &World, client: u32) -> NodeHandle {
    let node = madsim::runtime::Handle::current().create_node().name(format!("c{client}")).build();
    world.visits(node.clone());
    node
}

/// The calm world, and the last loss of power.
async fn come_right(world: &Arc<World>, streams: &Streams) -> Verdict {
    world.calm_down();
    let mut auditor = Client::new(world.clone(), u32::MAX);
    wiping::settle(world).await?;
    damage::part_with_struck(world, &mut auditor).await?;
    if world.plan.harm == Harm::Beyond {
        return last_words(world);
    }
    let everyone = settled_members(world, &mut auditor).await?;
    quorum_serves(world, &mut auditor, &everyone).await?;
    world.calm_down();
    let calm = true_now();
    all_clear(world, &mut auditor, &everyone).await?;
    upkeep::writes_go_on(world, &mut auditor, &everyone).await?;
    audit(world, &mut auditor, &everyone).await?;
    upkeep::audit(world, &everyone).await?;
    bank::audit(world, &mut auditor, &everyone).await?;
    known_addresses(world, &everyone).await?;
    backups::audit(world, &everyone).await?;
    operator::leave_old_addresses(world, &everyone);
    audit(world, &mut auditor, &everyone).await?;
    eventually(CALM_PATIENCE, || world.is_lost() || watchers::all_caught_up(world, streams).is_ok()).await;
    watchers::all_caught_up(world, streams)?;
    told_progress(world, streams).await?;
    nothing_lies_about(world, &everyone).await?;
    nothing_waits(world, &everyone).await?;
    note_last_lives(world);
    none_outlives(world, calm).await?;
    eventually(CALM_PATIENCE, || world.is_lost() || watchers::all_caught_up(world, streams).is_ok()).await;
    watchers::all_caught_up(world, streams)?;
    let sound = |promise: &Promise| !world.members[promise.member()].is_struck();
    for promise in world.take_promises().into_iter().filter(sound) {
        promise.look(&world.plan, world.shared_ledger(), &world.marks).await?;
    }
    for member in &world.members {
        member.end(End::Power(PowerLoss::DropAll), Duration::ZERO);
    }
    audit(world, &mut auditor, &everyone).await?;
    upkeep::audit(world, &everyone).await?;
    bank::audit(world, &mut auditor, &everyone).await?;
    agree(world, &everyone).await?;
    same_roster(world, &everyone)?;
    eventually(CALM_PATIENCE, || world.is_lost() || same_users(world, &everyone).is_ok()).await;
    same_users(world, &everyone)?;
    diverging::look(world, &mut auditor, &everyone).await?;
    last_words(world)?;
    rewinding::look(world).await
}

/// Waits for some rounds of notices, where they are short: whoever asked to be told how far it is must have been told.
async fn told_progress(world: &World, streams: &Streams) -> Verdict {
    if world.plan.setting.progress_ticks > FREQUENT_TICKS {
        return Ok(());
    }
    let since = true_now();
    let told = || world.is_lost() || watchers::all_told_progress(world, streams, since).is_ok();
    eventually(CALM_PATIENCE, told).await;
    world.marks.hit("notices of progress demanded");
    if world.is_lost() { Ok(()) } else { watchers::all_told_progress(world, streams, since) }
}

/// Waits until no member keeps a history file that nobody needs.
async fn nothing_lies_about(world: &World, members: &[usize]) -> Verdict {
    for member in members {
        let lying = || {
            let living = world.members[*member].living().filter(|_| !world.members[*member].is_struck());
            living.map_or(Ok(Vec::new()), |living| growth::unneeded(&living.disk))
        };
        eventually(CALM_PATIENCE, || world.is_lost() || lying().is_ok_and(|files| files.is_empty())).await;
        let left = lying();
        require(
            world.is_lost() || left.as_ref().is_ok_and(Vec::is_empty),
            "no history file stays that nobody needs",
            || format!("member {member}: {left:?}"),
        )?;
    }
    Ok(())
}

/// Waits until no member holds anything in memory that somebody would wait for, nor more of its log than it is to keep.
async fn nothing_waits(world: &World, members: &[usize]) -> Verdict {
    for member in members {
        let rests = || bounds::at_rest(&world.members[*member].held(), &world.plan.setting);
        let rests = eventually(CALM_PATIENCE, || world.is_lost() || rests()).await;
        require(rests || world.is_lost(), "who has nothing to do holds nothing", || {
            format!("member {member}: {:?}", world.members[*member].held())
        })?;
    }
    Ok(())
}

/// Waits until every member knows where the others are.
async fn known_addresses(world: &World, members: &[usize]) -> Verdict {
    eventually(CALM_PATIENCE, || world.is_lost() || same_roster(world, members).is_ok()).await;
    same_roster(world, members)
}

/// A member whose disk is full raises an alarm that no client asked for: it may explain what clients were refused, and hear
/// of it when they clear it.
fn members_own_alarms(ledger: &Ledger, operations: &[Operation]) -> Vec<Operation> {
    let asked: BTreeSet<u64> = operations.iter().filter_map(|operation| operation.index).collect();
    let raised = |entry: &Entry| matches!(entry.request, Some(Request::Alarm { on: true, .. }));
    let own = ledger.entries().iter().filter(|(index, entry)| raised(entry) && !asked.contains(index));
    let operations = own.zip(1..).filter_map(|((index, entry), nth)| {
        let at = u64::try_from(entry.at.as_nanos()).unwrap_or(u64::MAX);
        Some(Operation {
            id: u64::MAX - u64::from(nth),
            client: u32::MAX - 1_000 - nth,
            called_at: at.saturating_sub(OWN_PROPOSAL_NANOS),
            returned_at: at,
            call: Call::Change(entry.request.clone()?),
            outcome: Outcome::Unknown("a member's own".to_string()),
            index: Some(*index),
        })
    });
    operations.collect()
}

/// A member's own proposal is applied within this time, or given up.
const OWN_PROPOSAL_NANOS: u64 = 60_000_000_000;

fn last_words(world: &World) -> Verdict {
    let ledger = world.ledger();
    let times = world.lease_times.lock().expect("no judge panics");
    world.marks.add("leases expired", times.ended_in_time(&ledger)?);
    let mut operations = world.operations().clone();
    operations.extend(members_own_alarms(&ledger, &operations));
    let decided = linear::check(&operations, MIN_TTL);
    let decided = decided.map_err(|story| Violation::now("an order explains every answer", story))?;
    world.marks.add("order of all answers found", u64::from(decided.linearizable));
    world.marks.add("order of all answers undecided", u64::from(!decided.linearizable));
    world.marks.add("serializable reads undecided", u64::from(!decided.serializable));
    Ok(())
}

/// Waits until every lease that has to end has ended, and sees to it that none is late.
async fn none_outlives(world: &World, calm: Duration) -> Verdict {
    loop {
        let due = {
            let calm = calm.max(world.counts_leases_since());
            let (ledger, times) = (world.ledger(), world.lease_times.lock().expect("no judge panics"));
            times.none_outlived(&ledger, calm)?;
            times.next_due(&ledger, calm)
        };
        match due {
            Some(due) if due < true_now() + LEASE_PATIENCE && !world.is_lost() => {
                true_sleep(due.saturating_sub(true_now()) + Duration::from_millis(1)).await;
            }
            _ => return Ok(()),
        }
    }
}

fn note_last_lives(world: &World) {
    world.marks.add("answers owed and given", world.quiet().kept());
    world.marks.add("leaders elected", world.raft().elections() as u64);
    for living in world.members.iter().filter_map(|member| member.living()) {
        let status = living.door.status();
        world.marks.add("checkpoints made (last life)", status.checkpoints);
        world.marks.add("leases named as due (last life)", status.expired_leases);
        world.marks.add("remainders of leases written (last life)", status.lease_checkpoints);
    }
}

#[cfg(test)]
mod tests {
    use quorate_spec::history::{Call, Outcome};
    use quorate_spec::request::Answer;

    use super::*;

    #[test]
    fn a_seed_keeps_every_promise_and_tells_the_same_twice() {
        for seed in 0..8 {
            let (first, second) = (run(seed), run(seed));
            assert_eq!(first.failure, None, "seed {seed}");
            assert_eq!((first.trace, first.happenings), (second.trace, second.happenings), "seed {seed}");
        }
    }

    /// A swarm runs many seeds in one process.
    #[test]
    fn a_run_leaves_nothing_behind() {
        for seed in 0..12 {
            let world = staged(Plan::of(seed), Chronicle::default(), None, move |world, report| {
                assert_eq!(report.failure, None, "seed {seed}");
                world.itself()
            });
            assert!(world.upgrade().is_none(), "seed {seed}: {} still hold it", world.strong_count());
        }
    }

    /// The search itself: the histories of seeds have an order, and with one read altered they have none.
    #[test]
    fn an_altered_read_is_noticed() {
        let mut altered = 0;
        for seed in 0..20 {
            let (report, mut operations) = recorded(Plan::of(seed), false, None);
            assert_eq!(report.failure, None, "seed {seed}");
            // One with too many open outcomes is not decided, and where a member raised an alarm by itself what clients heard
            // alone has no order: neither says anything of the judge.
            if !linear::check(&operations, MIN_TTL).is_ok_and(|decided| decided.linearizable) {
                continue;
            }
            let read =
                operations.iter_mut().rev().find_map(|operation| match (&operation.call, &mut operation.outcome) {
                    (Call::Range { serializable: false, .. }, Outcome::Done { answer: Answer::Range(answer), .. }) => {
                        answer.kvs.iter_mut().find(|kv| !kv.value.is_empty())
                    }
                    _ => None,
                });
            let Some(read) = read else { continue };
            read.value = b"altered".to_vec();
            let Err(story) = linear::check(&operations, MIN_TTL) else { continue };
            assert!(story.contains(&format!("{:?}", b"altered")), "seed {seed}: {story}");
            altered += 1;
        }
        assert!(altered >= 3, "{altered} histories with a read");
    }

    #[test]
    fn different_seeds_tell_different_stories() {
        assert_ne!(run(1).trace, run(2).trace);
    }

    /// The judges themselves: on a disk whose syncs do nothing, promises are broken, and it is noticed.
    #[test]
    fn a_disk_that_lies_is_noticed() {
        let lied = |seed| {
            let mut plan = Plan::of(seed);
            plan.members[0].disk.lies = true;
            (plan.harm, plan.setting.lane) = (Harm::Nothing, None);
            run_plan(plan).failure
        };
        let noticed = (0..10).filter(|seed| lied(*seed).is_some()).count();
        assert!(noticed >= 9, "noticed in {noticed} of 10 runs, each of which ends with a loss of power");
    }
}
