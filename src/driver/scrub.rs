//! The scrub: a member reads its history again from time to time, slowly, so that damage at rest is found while the others
//! still have what it took.
//!
//! What it meets the history remembers, and the node decides what becomes of it (`node/history_steps.rs`). Does not know
//! what damage is.

use std::ops::ControlFlow;
use std::time::Duration;

use super::comparison::ended_while;
use super::config::ScrubPace;
use super::handle::Handle;
use crate::base::{Dice, Wrong};
use crate::env::{Env, Tasks};

/// The first of so many parts of the rest passes before the first pass begins.
const SETTLING_PART: u64 = 16;

/// Begins to scrub, on a task that gives way to others, where that is asked for; it ends with the member.
pub(super) fn begin<E: Env>(handle: &Handle<E>, pace: Option<ScrubPace>) {
    if let Some(pace) = pace {
        let first = first_rest(pace.rest, &mut *handle.env().dice());
        handle.env().tasks().spawn_quiet("scrub", scrub(handle.clone(), pace, first));
    }
}

/// From a start to the first pass: somewhere in the time between two, but not in the bustle of the start.
fn first_rest(rest: Duration, dice: &mut dyn Dice) -> Duration {
    let ms = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
    let least = ms / SETTLING_PART;
    Duration::from_millis(least + dice.below((ms - least).max(1)))
}

async fn scrub<E: Env>(handle: Handle<E>, pace: ScrubPace, first: Duration) {
    let mut rest = first;
    while !ended_while(&handle, std::mem::replace(&mut rest, pace.rest)).await {
        if pass(&handle, pace).await.is_break() {
            return;
        }
    }
}

/// One pass over all of the history; breaks at the member's end.
async fn pass<E: Env>(handle: &Handle<E>, pace: ScrubPace) -> ControlFlow<()> {
    let (mut from, mut steps) = (0, 0_u64);
    loop {
        match step(handle, from, pace.step_bytes).await {
            Ok(Some(next)) => from = next,
            Ok(None) => {
                tracing::debug!(steps, "the history was read again, and is whole");
                return ControlFlow::Continue(());
            }
            Err(wrong) => {
                tracing::warn!(error = %wrong, "the history could not be read again");
                return ControlFlow::Continue(());
            }
        }
        steps += 1;
        if ended_while(handle, pace.pause).await {
            return ControlFlow::Break(());
        }
    }
}

/// A step of a view of its own, so that nothing is held open between two. Nothing while nobody is served.
async fn step<E: Env>(handle: &Handle<E>, from: i64, bytes: usize) -> Result<Option<i64>, Wrong> {
    match handle.inspect(false).await {
        Ok(view) => view.scrub(from, bytes),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SeededDice;

    #[test]
    fn first_passes_are_spread_over_the_rest() {
        let rest = Duration::from_secs(6 * 60 * 60);
        let mut dice = SeededDice::new(1);
        let drawn: Vec<Duration> = (0..1_000).map(|_| first_rest(rest, &mut dice)).collect();
        assert!(drawn.iter().all(|first| (rest / 16..rest).contains(first)));
        let early = drawn.iter().filter(|first| **first < rest / 2).count();
        assert!((350..650).contains(&early), "{early}");
        assert_eq!(first_rest(Duration::ZERO, &mut dice), Duration::ZERO);
    }
}
