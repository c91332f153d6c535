//! Backups while everything else goes on: in one run of three somebody has members give one now and then, and does not hurry to take
//! it. Each is held against the model (`oracles/backup.rs`).

use std::sync::Arc;
use std::time::Duration;

use quorate::base::{Corruption, Dice, Refusal, SeededDice};

use crate::calm::CALM_PATIENCE;
use crate::env::{forked, true_now, true_sleep};
use crate::oracles::backup::{self, Told};
use crate::oracles::{Verdict, Violation, require};
use crate::plan::Harm;
use crate::world::World;

/// The number it has as a client.
const NUMBER: u32 = u32::MAX - 4;

/// How long it waits for one.
const PATIENCE: Duration = Duration::from_secs(15);

/// Whether backups are taken in a run: not where what is read may be damaged.
pub fn are_taken(world: &World) -> bool {
    world.plan.harm == Harm::Nothing && forked(world.plan.seed, "backups", 0).below(3) == 0
}

/// Takes one after the other until the troubles are over.
pub async fn take(world: Arc<World>) {
    let mut dice = forked(world.plan.seed, "backups", 1);
    while !world.is_lost() && !world.is_calm() {
        true_sleep(Duration::from_millis(100 + dice.below(4_000))).await;
        let member = dice.below(world.members.len() as u64) as usize;
        let rest = Duration::from_millis([0, 0, 20, 500, 3_000][dice.below(5) as usize]);
        let _ = one(&world, member, rest, &mut dice).await;
    }
}

/// In a calm world every one of these members gives one.
pub async fn audit(world: &World, members: &[usize]) -> Verdict {
    if !are_taken(world) {
        return Ok(());
    }
    let mut dice = forked(world.plan.seed, "backups", 2);
    for member in members {
        let since = true_now();
        let mut given = false;
        while !given && true_now() < since + CALM_PATIENCE && !world.is_lost() {
            given = one(world, *member, Duration::ZERO, &mut dice).await;
            if !given {
                true_sleep(Duration::from_millis(100)).await;
            }
        }
        require(given || world.is_lost(), "a calm member gives a backup", || {
            format!("member {member} since {since:?}")
        })?;
    }
    Ok(())
}

/// Has a member give one, and begins to read it a while after it was begun; whether it came whole.
async fn one(world: &World, member: usize, rest: Duration, dice: &mut SeededDice) -> bool {
    let ledger = world.shared_ledger();
    let since = true_now();
    let asked = world.ask((NUMBER, member), PATIENCE, dice, move |door| async move {
        // Where the question arrives: on its way the member may have begun another life, and stand further back.
        let stood = ledger.lock().expect("no holder of the ledger panics").stands(member);
        let mut backup = door.back_up().await?;
        true_sleep(rest).await;
        let mut stream = Vec::new();
        loop {
            let blobs = backup.next().await?;
            if blobs.is_empty() {
                return Ok((stood, stream));
            }
            blobs.iter().for_each(|blob| stream.extend_from_slice(&blob.bytes));
        }
    });
    match asked.await {
        Ok(Ok((stood, stream))) => {
            world.marks.hit("a backup was taken");
            world.judge(judged(world, member, stood, stream));
            true
        }
        Ok(Err(Refusal::Damaged(why))) => {
            // A read that fails, and one of a machine that went down meanwhile.
            let asked = &world.members[member];
            let excused = asked.setting.disk.read_error_one_in > 0
                || why.contains("the machine is down")
                || damage_told(&why).is_some_and(|damage| asked.has_lost(&damage.into(), since));
            let story = || format!("member {member}: {why}");
            world.judge(require(excused, "what was written can be read", story));
            false
        }
        Ok(Err(_)) | Err(_) => false,
    }
}

/// The damage that a refusal tells of, if it does.
fn damage_told(why: &str) -> Option<Corruption> {
    let (file, rest) = why.split_once(" is damaged at offset ")?;
    let (offset, what) = rest.split_once(": ")?;
    Some(Corruption { file: file.to_string(), offset: offset.parse().ok()?, what: what.to_string() })
}

fn judged(world: &World, member: usize, stood: usize, stream: Vec<u8>) -> Verdict {
    let told = Told::of(stream);
    let told =
        told.map_err(|wrong| Violation::now("a backup is what the member held", format!("member {member}: {wrong}")))?;
    let ledger = world.ledger();
    // Of a cluster on old copies of its disks nothing is judged by what was before.
    if world.is_rewound() || ledger.who_differs() == Some(member) {
        Ok(())
    } else {
        backup::holds((&ledger, world.raft().roster()), member, stood, &told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_read_from_what_a_refusal_says() {
        let damage = Corruption { file: "history/1.seg".to_string(), offset: 720, what: "zeroes: all".to_string() };
        assert_eq!(damage_told(&damage.to_string()), Some(damage));
        assert_eq!(damage_told("the machine is down"), None);
    }
}
