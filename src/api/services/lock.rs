//! Service `v3lockpb.Lock`: a lock is held by the oldest key under its name.
//!
//! Invariant: who was told of a lock has the oldest key, under a lease that was alive when it was told.

use crate::api::services::contest::{
    Leaving, because, found, key, key_of, made_at, oldest, prefix_of, revision_of, told, when,
};
use crate::api::session::Session;
use crate::base::Refusal;
use crate::env::Env;
use crate::wire::{etcdserverpb as pb, v3lockpb};
use pb::request_op::Request;

impl<E: Env> Session<E> {
    /// Waits for a lock. Whoever has it already with the same lease is told so again.
    pub async fn lock(self, request: v3lockpb::LockRequest) -> Result<v3lockpb::LockResponse, Refusal> {
        self.take_lock(request).await.map_err(told)
    }

    async fn take_lock(self, request: v3lockpb::LockRequest) -> Result<v3lockpb::LockResponse, Refusal> {
        let lease = self.lease_to_contend(request.lease).await?;
        let prefix = prefix_of(&request.name);
        let own = key_of(&prefix, lease);
        let put = pb::PutRequest { key: own.clone(), lease, ..Default::default() };
        let first = || Request::RequestRange(oldest(prefix.clone()));
        let mine = Request::RequestRange(key(own.clone()));
        let enter = when(made_at(own.clone(), 0), vec![Request::RequestPut(put), first()], vec![mine, first()]);
        let mut entered = self.txn(enter).await?;
        let mut since = match entered.succeeded {
            true => revision_of(entered.header.as_ref()),
            false => found(&mut entered, 0).first().map_or(0, |kv| kv.create_revision),
        };
        let owner = found(&mut entered, 1);
        if owner.first().is_none_or(|owner| owner.create_revision == since) {
            return Ok(v3lockpb::LockResponse { header: entered.header, key: own });
        }
        let delete = pb::DeleteRangeRequest { key: own.clone(), ..Default::default() };
        let leaving = Leaving::unless_told(
            &self,
            pb::TxnRequest {
                success: vec![pb::RequestOp { request: Some(Request::RequestDeleteRange(delete)) }],
                ..Default::default()
            },
        );
        let waited = async {
            loop {
                self.wait_for_older(&prefix, since - 1).await?;
                let answer = self.range(key(own.clone())).await?;
                let Some(kv) = answer.kvs.first() else { return Ok(None) };
                if kv.create_revision == since {
                    return Ok(Some(answer.header));
                }
                // Given back meanwhile and asked for again: others may stand before it now. etcd gives it to both.
                since = kv.create_revision;
            }
        };
        match waited.await {
            Err(refusal) => {
                leaving.leave().await;
                Err(refusal)
            }
            Ok(won) => {
                leaving.stay();
                let header = won.ok_or_else(|| because("mutex: session is expired"))?;
                Ok(v3lockpb::LockResponse { header, key: own })
            }
        }
    }

    /// Gives a lock back by its key; a key that is not there is no error.
    pub async fn unlock(&self, request: v3lockpb::UnlockRequest) -> Result<v3lockpb::UnlockResponse, Refusal> {
        let delete = pb::DeleteRangeRequest { key: request.key, ..Default::default() };
        let deleted = self.delete_range(delete).await.map_err(told)?;
        Ok(v3lockpb::UnlockResponse { header: deleted.header })
    }
}
