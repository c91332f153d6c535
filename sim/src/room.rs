//! The way out of a used-up quota, as etcd has it: delete what is not needed, compact, defragment, disarm. While troubles go on somebody
//! goes it now and then.

use std::sync::Arc;
use std::time::Duration;

use quorate::base::Dice;
use quorate_spec::request::{AlarmKind, DeleteRange, Request, Span};

use crate::env::{forked, true_sleep};
use crate::traffic::Client;
use crate::world::World;

/// The number that who goes it has as a client.
const KEEPER: u32 = u32::MAX - 9;

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
