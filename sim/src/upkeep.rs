//! Who looks after members: keeps them within their quota, where the plan has one, and asks them in a calm world for digests, how they
//! stand, and to give space back.
//!
//! The way out of a used-up quota is etcd's: delete what is not needed, compact, defragment, disarm. While troubles go on somebody
//! goes it now and then; in a calm world writes go on behind it.

use std::sync::Arc;
use std::time::Duration;

use quorate::base::{Dice, Refusal};
use quorate_spec::history::Outcome;
use quorate_spec::request::{AlarmKind, DeleteRange, Op, Put, Request, Span, Txn};

use crate::calm::CALM_PATIENCE;
use crate::env::{forked, true_now, true_sleep};
use crate::oracles::{Verdict, require};
use crate::plan::{Harm, Kind, Plan};
use crate::traffic::{Client, Settled};
use crate::world::World;

/// The numbers that who keeps members within their quota, and who asks in a calm world, have as clients.
const KEEPER: u32 = u32::MAX - 9;
const CALLER: u32 = u32::MAX - 10;

/// Bytes that etcd reckons for a put beside its key and value.
const PUT: usize = 256;

/// And for a grant.
const GRANT: usize = 64;

/// Whether members have a quota that a run may use up.
pub fn is_bounded(plan: &Plan) -> bool {
    plan.setting.quota_bytes > 0
}

/// Goes the way out whenever the alarm has stood for a while, until the troubles are over.
pub async fn keep(world: Arc<World>) {
    let mut dice = forked(world.plan.seed, "quota", 1);
    let mut client = Client::new(world.clone(), KEEPER);
    let everyone: Vec<usize> = (0..world.members.len()).collect();
    while !world.is_lost() && !world.is_calm() {
        true_sleep(Duration::from_millis(200 + dice.below(2_000))).await;
        let stands = world.ledger().model().alarms().iter().any(|(_, kind)| *kind == AlarmKind::NoSpace);
        if stands {
            client.turn_to(dice.below(everyone.len() as u64) as usize);
            make_room(&world, &mut client, &everyone).await;
        }
    }
}

/// Makes room at these members, as far as they answer.
pub async fn make_room(world: &World, client: &mut Client, members: &[usize]) {
    let first = client.member();
    let (live, revision) = {
        let ledger = world.ledger();
        let model = ledger.model();
        let now = model.state_at(model.revision()).expect("the present is known");
        (now.keys.values().map(|kv| kv.key.len() + kv.value.len()).sum::<usize>() as u64, model.revision())
    };
    if live > world.plan.setting.quota_bytes / 4 {
        let span = Span::between(*b"k", *b"n");
        let _ = client.change(Request::DeleteRange(DeleteRange { span, prev_kv: false })).await;
    }
    let revision = revision.max(world.ledger().model().revision());
    let _ = client.change(Request::Compact { revision }).await;
    for member in members {
        client.turn_to(*member);
        let _ = client.defragment().await;
    }
    client.turn_to(first);
    let standing = world.ledger().model().alarms().clone();
    for (member, kind) in standing.into_iter().filter(|(_, kind)| *kind == AlarmKind::NoSpace) {
        let _ = client.change(Request::Alarm { on: false, member, kind }).await;
    }
}

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

/// A member refused what needs room before it was tried: its disk was full, or its quota is used up.
pub fn refused(world: &World, member: usize, request: &Request) -> Verdict {
    let (quota, asked) = (world.plan.setting.quota_bytes, &world.members[member]);
    let told = asked.living().map_or(0, |living| living.door.status().size_bytes);
    let (largest, cost) = (asked.largest().max(told), cost_of(request) as u64);
    // What it was in the moment of the refusal may have been a little more than anybody saw.
    let is_used_up = quota > 0 && 4 * (largest + cost) >= 3 * quota;
    world.marks.add("the quota was used up", u64::from(is_used_up));
    require(is_used_up || asked.disk.was_full(), "who refuses for want of room lacks it", || {
        format!("member {member}, of {largest} bytes at most with a quota of {quota}: {request:?} of {cost}")
    })
}

/// What a request may add to the store, by etcd's reckoning.
fn cost_of(request: &Request) -> usize {
    match request {
        Request::Put(put) => PUT + put.key.len() + put.value.len(),
        Request::Txn(txn) => cost_of_txn(txn),
        Request::LeaseGrant { .. } => GRANT,
        _ => 0,
    }
}

fn cost_of_txn(txn: &Txn) -> usize {
    let ops = txn.success.iter().chain(&txn.failure);
    let costs = ops.map(|op| match op {
        Op::Put(put) => PUT + put.key.len() + put.value.len(),
        Op::Txn(nested) => cost_of_txn(nested),
        Op::Range(_) | Op::DeleteRange(_) => 0,
    });
    costs.sum()
}

/// Whether it is to be seen of a refusal that it is of the quota.
pub fn is_for_want_of_room(plan: &Plan, outcome: &Outcome) -> bool {
    is_bounded(plan) && matches!(outcome, Outcome::SurelyNot(why) if why == Refusal::NoSpace.text())
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
