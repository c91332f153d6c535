//! The scrub: a member reads its history again from time to time, slowly, so that damage at rest is found while the others
//! still have what it took.
//!
//! What it meets the history remembers, and the node decides what becomes of it (`node/history_steps.rs`). Does not know
//! what damage is.

use std::ops::ControlFlow;

use super::comparison::ended_while;
use super::config::ScrubPace;
use super::handle::Handle;
use crate::base::Wrong;
use crate::env::Env;

/// Scrubs until the member ends. On a task that gives way to others.
pub(super) async fn scrub<E: Env>(handle: Handle<E>, pace: ScrubPace) {
    while !ended_while(&handle, pace.rest).await {
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
