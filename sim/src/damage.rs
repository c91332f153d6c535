//! What becomes of members whose disks have taken damage that they cannot mend by themselves.
//!
//! The product's promise: what is damaged is noticed and refused, with file and offset, and never served. So in the calm
//! each of them loses its power, or what rests in memory would hide what the platter holds, and starts: it refuses, or
//! it serves, and then everything it says is judged as any other's. Then it is taken away, and the others go on without.

use std::sync::Arc;
use std::time::Duration;

use quorate_spec::request::{Range, Span};

use crate::env::true_sleep;
use crate::oracles::Verdict;
use crate::plan::{End, PowerLoss};
use crate::traffic::Client;
use crate::world::{World, eventually};

/// How long they may take to start or to refuse, and what was asked of them to be answered.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks at the damaged members, and takes them away.
pub async fn part_with_struck(world: &Arc<World>, auditor: &mut Client) -> Verdict {
    let struck = || world.members.iter().filter(|member| member.is_struck() && !member.is_broken());
    if struck().next().is_none() {
        return Ok(());
    }
    struck().for_each(|member| member.end(End::Power(PowerLoss::DropAll), Duration::ZERO));
    eventually(PATIENCE, || world.is_lost() || struck().all(|member| member.living().is_some())).await;
    // What they believe shows in what they apply, too.
    true_sleep(Duration::from_secs(5)).await;
    let all = Range { span: Span::all(), ..Range::default() };
    for member in struck().map(|member| member.number).collect::<Vec<_>>() {
        auditor.turn_to(member);
        for linearizable in [false, true] {
            auditor.range(all.clone(), linearizable, Duration::ZERO).await;
        }
        let (now, compacted) = {
            let ledger = world.ledger();
            (ledger.model().revision(), ledger.model().compacted())
        };
        for revision in [compacted, compacted + 1, (compacted + now) / 2, now - 1] {
            auditor.range(Range { revision, ..all.clone() }, false, Duration::ZERO).await;
        }
    }
    for member in struck() {
        world.marks.hit("a damaged member served what was whole");
        member.take_away();
    }
    world.violation().map_or(Ok(()), Err)
}
