//! Service Lease.
//!
//! Invariant: a lease that is unknown or has run out is answered with a TTL (0 or -1), not with an error,
//! where etcd does so.

use tonic::{Status, Streaming};

use crate::api::methods::Rpc;
use crate::api::services::kv::{LONG_READ_KEYS, at_leisure};
use crate::api::services::lease_pieces::LeasePieces;
use crate::api::session::Session;
use crate::api::status::status_of;
use crate::api::transport::inbound::received;
use crate::api::transport::pieces::Whole;
use crate::api::transport::streams::Answers;
use crate::auth::Access;
use crate::base::Refusal;
use crate::env::Env;
use crate::lease::KeySet;
use crate::machine::{Answer, Command};
use crate::node::{LeaseAccess, LeaseStanding};
use crate::wire::etcdserverpb as pb;

impl<E: Env> Session<E> {
    /// Makes a lease.
    pub async fn lease_grant(&self, request: pb::LeaseGrantRequest) -> Result<pb::LeaseGrantResponse, Refusal> {
        let _span = self.draft(&request).begin();
        // A life that is too long is refused by the machine, because a full store is told first, as in etcd.
        // An id of 0 is replaced below the porch, before the grant enters the log.
        let grant = Command::LeaseGrant { id: request.id, ttl: request.ttl };
        let (header, proposed) = self.propose(grant).await?;
        let Answer::LeaseGrant { id, ttl } = proposed.answer else {
            unreachable!("the machine answers a grant with a grant")
        };
        self.metrics.asked.lease_ttl.observe(ttl as f64);
        Ok(pb::LeaseGrantResponse { header: Some(header), id, ttl, error: String::new() })
    }

    /// Ends a lease and deletes its keys.
    pub async fn lease_revoke(&self, request: pb::LeaseRevokeRequest) -> Result<pb::LeaseRevokeResponse, Refusal> {
        let _span = self.draft(&request).begin();
        let (header, _) = self.propose(Command::LeaseRevoke { id: request.id, expiry: None }).await?;
        Ok(pb::LeaseRevokeResponse { header: Some(header) })
    }

    /// Gives a lease its full time again. The header is taken before, as in etcd.
    pub async fn lease_keep_alive(
        &self,
        request: pb::LeaseKeepAliveRequest,
    ) -> Result<pb::LeaseKeepAliveResponse, Refusal> {
        let _span = self.draft(&request).begin();
        let header = self.header(self.handle.facts().revision());
        if self.handle.asks_who() {
            let asker = self.require_named().await?;
            self.handle.check_leases(asker, LeaseAccess::Renew(request.id)).await?;
        }
        let ttl = match self.handle.keep_alive_for(&self.patron().account, request.id).await {
            Ok(ttl) => {
                self.metrics.asked.leases_renewed.inc_by(ttl.is_some().into());
                ttl.unwrap_or(0)
            }
            Err(Refusal::LeaseNotFound) => 0,
            Err(refusal) => return Err(refusal),
        };
        Ok(pb::LeaseKeepAliveResponse { header: Some(header), id: request.id, ttl })
    }

    /// Tells how long a lease has. Its keys, where they are many, have a place among the long answers.
    pub async fn lease_time_to_live(&self, request: pb::LeaseTimeToLiveRequest) -> Result<LeasePieces, Refusal> {
        let mut standing = self.standing(&request).await?;
        let rows = standing.as_ref().map_or(0, |standing| standing.keys.len() as u64);
        let (many, mut long) = (rows > LONG_READ_KEYS, None);
        if many {
            let patron = self.patron();
            long = self.guest().try_long_read(&patron, rows);
            if long.is_none() {
                // Who waits holds no list: what is changed meanwhile would be kept for him.
                drop(standing);
                long = Some(self.guest().long_read(&patron, rows, true).await);
                standing = self.standing(&request).await?;
            }
        }
        if let Some(standing) = standing.as_ref().filter(|standing| !standing.keys.is_empty()) {
            self.may_read(&standing.keys).await?;
        }
        let header = Some(self.header(self.handle.facts().revision()));
        let gone = pb::LeaseTimeToLiveResponse { header, id: request.id, ttl: -1, ..Default::default() };
        let (bare, keys) = match standing {
            None => (gone, KeySet::default()),
            Some(LeaseStanding { granted_ttl, ttl, keys }) => {
                (pb::LeaseTimeToLiveResponse { ttl, granted_ttl, ..gone }, keys)
            }
        };
        Ok(at_leisure(many, || LeasePieces::new(&bare, keys, long.map(|long| long.done(rows as usize)))))
    }

    async fn standing(&self, request: &pb::LeaseTimeToLiveRequest) -> Result<Option<LeaseStanding>, Refusal> {
        match self.handle.time_to_live_for(&self.patron().account, request.id, request.keys).await {
            Err(Refusal::LeaseNotFound) => Ok(None),
            other => other,
        }
    }

    /// Refuses one who may not read all these keys, which were just heard of: of the member on duty, so users are looked
    /// at as they are when this member has come as far.
    async fn may_read(&self, keys: &KeySet) -> Result<(), Refusal> {
        if !self.handle.asks_who() {
            return Ok(());
        }
        self.view(true).await?;
        let asker = self.asker().await?;
        let many = keys.len() as u64 > LONG_READ_KEYS;
        at_leisure(many, || self.handle.auth().check_attached(asker.as_ref(), keys.iter(), Access::Read))
    }

    /// Lists the leases.
    pub async fn lease_leases(&self, _: pb::LeaseLeasesRequest) -> Result<pb::LeaseLeasesResponse, Refusal> {
        if self.handle.asks_who() {
            let asker = self.require_named().await?;
            self.handle.check_leases(asker, LeaseAccess::List).await?;
        }
        let ids = self.handle.leases_for(&self.patron().account).await?;
        Ok(pb::LeaseLeasesResponse {
            header: Some(self.header(self.handle.facts().revision())),
            leases: ids.into_iter().map(|id| pb::LeaseStatus { id }).collect(),
        })
    }
}

/// Keep-alives: one answer for each request, in order; the next request is not read before.
pub struct KeepAlives<E: Env> {
    /// The service.
    pub session: Session<E>,
    /// What the client sends.
    pub inbound: Streaming<pb::LeaseKeepAliveRequest>,
}

impl<E: Env> Answers for KeepAlives<E> {
    type Message = Whole<pb::LeaseKeepAliveResponse>;

    async fn next(&mut self) -> Option<Result<Self::Message, Status>> {
        match received(&self.session, Rpc::LeaseKeepAlive, &mut self.inbound).await {
            Ok(request) => {
                let answer = self.session.lease_keep_alive(request?).await;
                Some(answer.map(Whole::from).map_err(|refusal| status_of(&refusal)))
            }
            Err(status) => {
                self.session.metrics.stream_failure("receive", "lease-keepalive");
                Some(Err(status))
            }
        }
    }
}
