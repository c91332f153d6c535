//! What every service shares: the node's handle, the terms of the house, the counters.
//!
//! Does not know single services.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::api::guest::{Guest, Guests};
use crate::api::metrics::registry::Metrics;
use crate::api::slow::SlowRequests;
use crate::api::traces::Tracer;
use crate::auth::Asker;
use crate::base::{Account, Refusal, limits};
use crate::driver::Handle;
use crate::env::Env;
use crate::machine::Command;
use crate::mvcc::View;
use crate::node::Proposed;
use crate::passport::{COST_DEFAULT, Hasher, TokenKind};
use crate::wire::etcdserverpb as pb;

/// The terms a server's flags set for its clients.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Largest request, in bytes.
    pub max_request_bytes: usize,
    /// Operations in one list of a transaction.
    pub max_txn_ops: usize,
    /// Learners that there may be in the cluster, as far as it is asked here.
    pub max_learners: usize,
    /// A request that takes longer is slow; with `None` each is.
    pub slow_request: Option<Duration>,
    /// A stream that asked for a leader ends after three times this without one.
    pub election_timeout: Duration,
}

impl Terms {
    /// Largest message a client may send, and the size from which a watch answer may be split.
    pub fn max_message_bytes(&self) -> usize {
        self.max_request_bytes + limits::GRPC_OVERHEAD_BYTES
    }
}

/// How users prove who they are.
#[derive(Clone, Debug)]
pub struct Passports {
    /// What they hold once they did.
    pub tokens: TokenKind,
    /// Where passwords are hashed and compared.
    pub hasher: Hasher,
}

impl Default for Passports {
    fn default() -> Self {
        Self { tokens: TokenKind::default(), hasher: Hasher::new(COST_DEFAULT) }
    }
}

/// The services of one member.
pub struct Porch<E: Env> {
    pub(super) handle: Handle<E>,
    pub(super) terms: Terms,
    pub(super) passports: Passports,
    guests: Guests,
    /// Where spans of requests are made, if they are.
    pub(super) tracer: Option<Arc<Tracer>>,
    pub(super) slow: SlowRequests,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Turns true once, when the node has ended.
    ended: watch::Sender<bool>,
}

impl<E: Env> Porch<E> {
    /// Services on top of `handle`.
    pub fn new(handle: Handle<E>, terms: Terms, metrics: Arc<Metrics>) -> Self {
        let guests = Guests::new(handle.facts().shares.clone());
        let (passports, ended) = (Passports::default(), watch::Sender::new(false));
        let slow = SlowRequests::beyond(terms.slow_request);
        Self { handle, terms, passports, guests, tracer: None, slow, metrics, ended }
    }

    /// The same, where users prove who they are in other ways than by default.
    pub fn with_passports(self, passports: Passports) -> Self {
        Self { passports, ..self }
    }

    /// The same, where a collector is told of requests.
    pub fn with_tracer(self, tracer: Option<Arc<Tracer>>) -> Self {
        Self { tracer, ..self }
    }

    /// Whoever came by a new connection; the place to which is looked up only where it is told.
    pub fn welcome(&self, place: impl FnOnce() -> Option<SocketAddr>, from: Option<SocketAddr>) -> Guest {
        self.guests.welcome(self.tracer.as_ref().and_then(|_| place()), from)
    }

    /// Waits for the node's end and ends the streams that would wait for ever. To be run beside the services.
    pub async fn end_streams_with_the_node(&self) {
        // How it ended is for the composition to look at.
        let _ = self.handle.ending().wait().await;
        self.ended.send_replace(true);
    }

    /// Tells a stream of the node's end.
    pub(super) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }

    /// Whether this member knows a leader.
    pub(super) fn has_leader(&self) -> bool {
        self.handle.facts().has_leader()
    }

    /// A response header at `revision` and the current term.
    pub(super) fn header(&self, revision: i64) -> pb::ResponseHeader {
        self.header_of(revision, self.handle.facts().term())
    }

    /// A response header at `revision` and `term`.
    pub(super) fn header_of(&self, revision: i64, term: u64) -> pb::ResponseHeader {
        let identity = self.handle.identity();
        pb::ResponseHeader { cluster_id: identity.cluster.0, member_id: identity.member.0, revision, raft_term: term }
    }

    /// Proposes a command and gives the answer with its header.
    pub(super) async fn propose_for(
        &self,
        account: &Arc<Account>,
        asker: Option<&Asker>,
        command: Command,
    ) -> Result<(pb::ResponseHeader, Proposed), Refusal> {
        let (kind, begun) = (command.op_name(), Instant::now());
        let outcome = self.handle.propose_for(account, asker, command).await;
        if let Some(success) = is_counted_success(outcome.as_ref().err()) {
            self.metrics.requested(kind, success, begun.elapsed());
        }
        if let Err(refusal) = &outcome
            && is_lost(refusal)
        {
            self.metrics.asked.proposals_failed.inc();
        }
        let proposed = outcome?;
        Ok((self.header_of(proposed.revision, proposed.term), proposed))
    }

    /// A view, counted where it could not be had.
    pub(super) async fn view_of(&self, account: &Arc<Account>, linearizable: bool) -> Result<View<E::Disk>, Refusal> {
        self.handle.view_on(account, linearizable).await.inspect_err(|refusal| match refusal {
            refusal if !linearizable || !is_lost(refusal) => {}
            Refusal::NoLeader | Refusal::Stopped => self.metrics.asked.read_indexes_failed.inc(),
            _ => self.metrics.asked.slow_read_indexes.inc(),
        })
    }
}

/// Whether etcd counts a proposal as successful: one that was applied is, whatever came of it. What it turns away before it is
/// proposed it does not count.
fn is_counted_success(refusal: Option<&Refusal>) -> Option<bool> {
    match refusal {
        Some(Refusal::TooManyRequests | Refusal::InvalidAuthToken) => None,
        Some(Refusal::RequestTooLarge) => Some(false),
        Some(refusal) => Some(!is_lost(refusal)),
        None => Some(true),
    }
}

/// Whether a request came to nothing, or its outcome is open.
pub(super) fn is_lost(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Timeout
            | Refusal::TimeoutLeaderFail
            | Refusal::TimeoutConnectionLost
            | Refusal::TimeoutWaitingForApply
            | Refusal::NoLeader
            | Refusal::LeaderChanged
            | Refusal::Stopped
    )
}
