//! Answers that come one after the other.
//!
//! Invariants: no stream outlives the node, nor its client's deadline; a stream whose client insists on a leader ends
//! when there was none for three election timeouts.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tonic::Status;

use crate::api::porch::Porch;
use crate::api::status::{deadline_exceeded, status_of};
use crate::api::transport::pieces::Pieces;
use crate::base::Refusal;
use crate::env::Env;

/// Answers in order. After an error or `None` nothing follows.
pub trait Answers: Send + 'static {
    /// What is answered.
    type Message: Pieces + Unpin;

    /// The next answer.
    fn next(&mut self) -> impl Future<Output = Option<Result<Self::Message, Status>>> + Send;
}

/// Watches over a stream that might wait for ever: for the node's end, for the client's deadline and, if asked, for the
/// loss of the leader.
pub struct Guard<E: Env> {
    porch: Arc<Porch<E>>,
    deadline: Option<Instant>,
    ended: watch::Receiver<bool>,
    leader_tick: Option<Interval>,
    leaderless: u32,
}

/// Election timeouts without a leader before a stream that wants one is ended, as in etcd.
const LEADERLESS_TIMEOUTS: u32 = 3;

impl<E: Env> Guard<E> {
    /// A guard for one stream.
    pub fn new(porch: Arc<Porch<E>>, require_leader: bool, deadline: Option<Instant>) -> Self {
        let leader_tick = require_leader.then(|| {
            let mut tick = interval(porch.terms.election_timeout.max(Duration::from_millis(1)));
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            tick
        });
        Self { ended: porch.ended(), porch, deadline, leader_tick, leaderless: 0 }
    }

    /// Completes when the stream is to be ended, with the reason.
    async fn broken(&mut self) -> Status {
        let Self { porch, deadline, ended, leader_tick, leaderless } = self;
        let late = async {
            match deadline {
                None => std::future::pending().await,
                Some(deadline) => sleep_until(*deadline).await,
            }
        };
        let lost = async {
            let Some(tick) = leader_tick else { return std::future::pending().await };
            while *leaderless <= LEADERLESS_TIMEOUTS {
                tick.tick().await;
                *leaderless = if porch.has_leader() { 0 } else { *leaderless + 1 };
            }
        };
        tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => status_of(&Refusal::Stopped),
            () = lost => status_of(&Refusal::NoLeader),
            () = late => deadline_exceeded(),
        }
    }
}

/// The answers as a stream, under a guard.
pub fn stream_of<A: Answers, E: Env>(
    answers: A,
    guard: Guard<E>,
) -> impl Stream<Item = Result<A::Message, Status>> + Send + 'static {
    unfold(Some((answers, guard)), |state| async {
        let (mut answers, mut guard) = state?;
        let item = tokio::select! {
            biased;
            item = answers.next() => item,
            reason = guard.broken() => Some(Err(reason)),
        }?;
        let rest = item.is_ok().then_some((answers, guard));
        Some((item, rest))
    })
}
