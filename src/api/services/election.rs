//! Service `v3electionpb.Election`: the leader is the one with the oldest key under the election's name.
//!
//! Invariants: a proclamation changes the key that was elected or none; an observer is told of every leader there is when
//! it looks, and of every proclamation of one until it is gone. Its stream ends in order where it can go on no more, as etcd's.

use bytes::Bytes;
use tonic::Status;

use crate::api::services::answers::key_value;
use crate::api::services::contest::{
    Events, Leaving, all_under, because, found, key, key_of, made_at, oldest, prefix_of, revision_of, told, when,
};
use crate::api::session::Session;
use crate::api::transport::pieces::Whole;
use crate::api::transport::streams::Answers;
use crate::base::{EventKind, KeyRange, Refusal};
use crate::env::Env;
use crate::wire::{etcdserverpb as pb, v3electionpb as election};
use pb::request_op::Request;

const NOT_LEADER: &str = "election: not leader";
const NO_LEADER: &str = "election: no leader";
const NO_KEY: &str = "\"leader\" field must be provided";

/// Puts a value, as long as the key is that which was elected.
fn proclamation(key: Bytes, revision: i64, value: Bytes, lease: i64) -> pb::TxnRequest {
    let put = pb::PutRequest { key: key.clone(), value, lease, ..Default::default() };
    when(made_at(key, revision), vec![Request::RequestPut(put)], vec![])
}

/// Takes the key away, as long as it is that which was elected.
fn resignation(key: Bytes, revision: i64) -> pb::TxnRequest {
    let delete = pb::DeleteRangeRequest { key: key.clone(), ..Default::default() };
    when(made_at(key, revision), vec![Request::RequestDeleteRange(delete)], vec![])
}

impl<E: Env> Session<E> {
    /// Waits to be elected. As with etcd, who waited is not told that its own key went meanwhile (its lease ended, or it
    /// resigned elsewhere): what it then does as the leader is refused. Our own client looks for itself.
    pub async fn campaign(self, request: election::CampaignRequest) -> Result<election::CampaignResponse, Refusal> {
        self.stand(request).await.map_err(told)
    }

    async fn stand(self, request: election::CampaignRequest) -> Result<election::CampaignResponse, Refusal> {
        let election::CampaignRequest { name, lease, value } = request;
        let lease = self.lease_to_contend(lease).await?;
        let prefix = prefix_of(&name);
        let own = key_of(&prefix, lease);
        let put = pb::PutRequest { key: own.clone(), value: value.clone(), lease, ..Default::default() };
        let mine = Request::RequestRange(key(own.clone()));
        let mut entered = self.txn(when(made_at(own.clone(), 0), vec![Request::RequestPut(put)], vec![mine])).await?;
        let mut rev = revision_of(entered.header.as_ref());
        if !entered.succeeded {
            let before = found(&mut entered, 0).into_iter().next().unwrap_or_default();
            rev = before.create_revision;
            if before.value != value
                && let Err(refusal) = self.proclaimed(proclamation(own.clone(), rev, value, lease)).await
            {
                Leaving::unless_told(&self, resignation(own, rev)).leave().await;
                return Err(refusal);
            }
        }
        let leaving = Leaving::unless_told(&self, resignation(own.clone(), rev));
        let waited = self.wait_for_older(&prefix, rev - 1).await;
        // Only a client that goes away resigns by it, as in etcd.
        leaving.stay();
        waited?;
        let leader = Some(election::LeaderKey { name, key: own, rev, lease });
        Ok(election::CampaignResponse { header: entered.header, leader })
    }

    async fn proclaimed(&self, txn: pb::TxnRequest) -> Result<Option<pb::ResponseHeader>, Refusal> {
        let answer = self.txn(txn).await?;
        if answer.succeeded { Ok(answer.header) } else { Err(because(NOT_LEADER)) }
    }

    /// Changes what the leader says.
    pub async fn proclaim(&self, request: election::ProclaimRequest) -> Result<election::ProclaimResponse, Refusal> {
        let leader = request.leader.ok_or_else(|| because(NO_KEY))?;
        let lease = self.lease_to_contend(leader.lease).await.map_err(told)?;
        let txn = proclamation(leader.key, leader.rev, request.value, lease);
        Ok(election::ProclaimResponse { header: self.proclaimed(txn).await.map_err(told)? })
    }

    /// Lets another be elected. Who leads no more resigns from nothing.
    pub async fn resign(&self, request: election::ResignRequest) -> Result<election::ResignResponse, Refusal> {
        let leader = request.leader.ok_or_else(|| because(NO_KEY))?;
        // etcd makes a lease here, too, where none is given: nobody needs it.
        let answer = self.txn(resignation(leader.key, leader.rev)).await.map_err(told)?;
        Ok(election::ResignResponse { header: answer.header })
    }

    /// Tells who leads.
    pub async fn leader(&self, request: election::LeaderRequest) -> Result<election::LeaderResponse, Refusal> {
        let answer = self.range(oldest(prefix_of(&request.name))).await.map_err(told)?;
        let kv = answer.kvs.into_iter().next().ok_or_else(|| because(NO_LEADER))?;
        Ok(election::LeaderResponse { header: answer.header, kv: Some(kv) })
    }
}

/// Who leads, and what it says, from now on.
pub struct Observed<E: Env> {
    session: Session<E>,
    prefix: Bytes,
    /// What becomes of the leader that was told last.
    leader: Option<Events<E>>,
}

impl<E: Env> Observed<E> {
    /// Begins to look.
    pub fn open(session: Session<E>, request: &election::LeaderRequest) -> Self {
        Self { session, prefix: prefix_of(&request.name), leader: None }
    }

    async fn look(&mut self) -> Result<election::LeaderResponse, Refusal> {
        loop {
            let Some(leader) = &mut self.leader else { return self.find().await };
            let (revision, shared) = leader.next().await?;
            match shared.event.kind {
                EventKind::Delete => self.leader = None,
                EventKind::Put => {
                    let header = Some(self.session.header(revision));
                    return Ok(election::LeaderResponse { header, kv: Some(key_value(shared.event.kv.clone())) });
                }
            }
        }
    }

    /// The leader there is, or the first that comes.
    async fn find(&mut self) -> Result<election::LeaderResponse, Refusal> {
        let answer = self.session.range(oldest(self.prefix.clone())).await?;
        let now = revision_of(answer.header.as_ref());
        let (header, kv) = match answer.kvs.into_iter().next() {
            Some(kv) => (answer.header, kv),
            None => {
                let mut events = Events::open(&self.session, all_under(self.prefix.clone()), now).await?;
                loop {
                    let event = &events.next().await?.1.event;
                    if event.kind == EventKind::Put {
                        break (Some(self.session.header(event.kv.mod_revision)), key_value(event.kv.clone()));
                    }
                }
            }
        };
        let after = revision_of(header.as_ref()) + 1;
        self.leader = Some(Events::open(&self.session, KeyRange::single(kv.key.clone()), after).await?);
        Ok(election::LeaderResponse { header, kv: Some(kv) })
    }
}

impl<E: Env> Answers for Observed<E> {
    type Message = Whole<election::LeaderResponse>;

    async fn next(&mut self) -> Option<Result<Self::Message, Status>> {
        self.look().await.ok().map(|answer| Ok(Whole::from(answer)))
    }
}
