//! Answers that come one after the other, as the gRPC library wants them.
//!
//! Invariant: a stream whose client insists on a leader ends when there was none for three election timeouts.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::{Status, Streaming};

use crate::api::dispatch::received;
use crate::api::health;
use crate::api::porch::Porch;
use crate::api::range_chunks::RangeChunks;
use crate::api::rpc::Rpc;
use crate::api::status::status_of;
use crate::base::Refusal;
use crate::env::Env;
use crate::wire::etcdserverpb as pb;

/// Answers in order. After an error or `None` nothing follows.
pub trait Answers: Send + 'static {
    /// What is answered.
    type Message: Send + 'static;

    /// The next answer.
    fn next(&mut self) -> impl Future<Output = Option<Result<Self::Message, Status>>> + Send;
}

/// Ends a stream that wants a leader and has none.
pub struct LeaderGuard<E: Env> {
    porch: Arc<Porch<E>>,
    tick: Interval,
    leaderless: u32,
}

/// Election timeouts without a leader before a stream that wants one is ended, as in etcd.
const LEADERLESS_TIMEOUTS: u32 = 3;

impl<E: Env> LeaderGuard<E> {
    /// A guard for one stream.
    pub fn new(porch: Arc<Porch<E>>) -> Self {
        let mut tick = interval(porch.terms.election_timeout.max(Duration::from_millis(1)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { porch, tick, leaderless: 0 }
    }

    /// Completes when the stream is to be ended.
    async fn lost(&mut self) {
        while self.leaderless <= LEADERLESS_TIMEOUTS {
            self.tick.tick().await;
            let has_leader = self.porch.handle.status().leader.is_some();
            self.leaderless = if has_leader { 0 } else { self.leaderless + 1 };
        }
    }
}

/// The answers as a stream, under `guard` if the client wants a leader.
pub fn stream_of<A: Answers, E: Env>(
    answers: A,
    guard: Option<LeaderGuard<E>>,
) -> impl Stream<Item = Result<A::Message, Status>> + Send + 'static {
    unfold(Some((answers, guard)), |state| async {
        let (mut answers, mut guard) = state?;
        let item = {
            let next = pin!(answers.next());
            match &mut guard {
                None => next.await,
                Some(guard) => tokio::select! {
                    biased;
                    item = next => item,
                    () = guard.lost() => Some(Err(status_of(&Refusal::NoLeader))),
                },
            }
        }?;
        let rest = item.is_ok().then_some((answers, guard));
        Some((item, rest))
    })
}

impl<E: Env> Answers for RangeChunks<E> {
    type Message = pb::RangeStreamResponse;

    async fn next(&mut self) -> Option<Result<Self::Message, Status>> {
        Some(RangeChunks::next(self).await?.map_err(|refusal| status_of(&refusal)))
    }
}

/// Keep-alives: one answer for each request, in order; the next request is not read before.
pub struct KeepAlives<E: Env> {
    /// The service.
    pub porch: Arc<Porch<E>>,
    /// What the client sends.
    pub inbound: Streaming<pb::LeaseKeepAliveRequest>,
}

impl<E: Env> Answers for KeepAlives<E> {
    type Message = pb::LeaseKeepAliveResponse;

    async fn next(&mut self) -> Option<Result<Self::Message, Status>> {
        match received(&self.porch, Rpc::LeaseKeepAlive, &mut self.inbound).await {
            Ok(request) => {
                let answer = self.porch.lease_keep_alive(request?).await;
                Some(answer.map_err(|refusal| status_of(&refusal)))
            }
            Err(status) => {
                self.porch.metrics.stream_failure("receive", "lease-keepalive");
                Some(Err(status))
            }
        }
    }
}

/// A health watch: one answer, then open until the client goes or the server stops.
pub struct HealthWatch {
    /// The answer, until it is given.
    pub answer: Option<health::HealthCheckResponse>,
}

impl Answers for HealthWatch {
    type Message = health::HealthCheckResponse;

    async fn next(&mut self) -> Option<Result<Self::Message, Status>> {
        match self.answer.take() {
            Some(answer) => Some(Ok(answer)),
            None => std::future::pending().await,
        }
    }
}
