//! What members of any make ask each other by etcd's own paths: promotion, digests, leases, downgrades.
//!
//! Invariants: statuses and texts are etcd's; a digest, which reads everything, is made on a task of its own, and few at
//! once. Does not know of HTTP.

use futures_channel::oneshot;

use super::handle::Handle;
use super::promotions::reason;
use super::questions::{Question, Told};
use crate::base::{LeaseId, MemberId, Refusal};
use crate::env::{Env, Tasks};
use crate::machine::{LeaseTimes, MemberChange, MemberHash, etcd_peer, members_json};
use crate::mvcc::{HashKv, ReadFailure, View};
use crate::node::LeaseStanding;
use crate::peer::{AskFailure, EtcdAnswer, EtcdQuestion};

impl<E: Env> Handle<E> {
    /// Has this member answer a question that came by one of etcd's paths.
    pub(super) async fn answer_as_etcd(&self, question: EtcdQuestion) -> EtcdAnswer {
        let answer = match question {
            EtcdQuestion::Promote(member) => return self.promote(member).await,
            EtcdQuestion::Downgrade => return self.tell_downgrade().await,
            EtcdQuestion::HashKv(body) => match etcd_peer::hash_question_from_json(&body) {
                Some(revision) => return self.tell_hash(revision).await,
                None => None,
            },
            EtcdQuestion::KeepAlive(body) => match etcd_peer::keep_alive_from_bytes(&body) {
                Some(id) => return self.keep_alive_as_leader(id).await,
                None => None,
            },
            EtcdQuestion::TimeToLive(body) => match etcd_peer::time_to_live_from_bytes(&body) {
                Some((id, keys)) => return self.times_as_leader(id, keys).await,
                None => None,
            },
        };
        answer.unwrap_or_else(|| EtcdAnswer::Refused(400, "error unmarshalling request".to_string()))
    }

    async fn promote(&self, member: MemberId) -> EtcdAnswer {
        match self.change_members(MemberChange::Promote(member)).await {
            Ok(()) => {
                let members = members_json(&self.status().members);
                EtcdAnswer::Json([&members[..], b"\n"].concat().into())
            }
            Err(refusal) => {
                tracing::warn!("member-id" = %member, error = refusal.text(), "failed to promote a member");
                promotion_refused(&refusal)
            }
        }
    }

    /// As of now: whatever was agreed on before the question counts.
    async fn tell_downgrade(&self) -> EtcdAnswer {
        match self.inspect(true).await {
            Ok(_) if self.status().downgrade.is_some() => EtcdAnswer::Word("true"),
            Ok(_) => EtcdAnswer::Word("false"),
            Err(refusal) => EtcdAnswer::Refused(500, format!("failed linearized read: {}", refusal.text())),
        }
    }

    async fn tell_hash(&self, revision: i64) -> EtcdAnswer {
        match self.hash_kv(revision).await {
            Ok(hash) => EtcdAnswer::Json(hash.to_json()),
            Err(refusal) => {
                tracing::warn!("requested-revision" = revision, error = refusal.text(), "failed to get hashKV");
                // As the store says it, without the server's name before it.
                let text = refusal.text();
                let text = text.strip_prefix("etcdserver: ").unwrap_or(text);
                EtcdAnswer::Refused(400, text.to_string())
            }
        }
    }

    async fn keep_alive_as_leader(&self, id: LeaseId) -> EtcdAnswer {
        match self.answer_as_leader(Question::KeepAlive(id)).await {
            Ok(Told::KeepAlive(Some(ttl))) => EtcdAnswer::Protobuf(etcd_peer::kept_alive_to_bytes(id, ttl)),
            Ok(_) => lease_not_found(),
            Err(refusal) => lease_refused(400, &refusal),
        }
    }

    async fn times_as_leader(&self, id: LeaseId, keys: bool) -> EtcdAnswer {
        match self.answer_as_leader(Question::TimeToLive { id, keys }).await {
            Ok(Told::TimeToLive(Some(LeaseStanding { granted_ttl, ttl, keys }))) => {
                EtcdAnswer::Protobuf(etcd_peer::times_to_bytes(LeaseTimes {
                    id,
                    ttl,
                    granted_ttl,
                    keys: keys.into_iter().collect(),
                }))
            }
            Ok(_) => lease_not_found(),
            Err(refusal) => lease_refused(500, &refusal),
        }
    }

    /// The digest of this member's data at a revision, 0 being its own, and its revision.
    pub async fn hash_kv(&self, revision: i64) -> Result<MemberHash, Refusal> {
        self.hashed(move |view| view.hash_kv(revision)).await
    }

    /// The digest of all that this member has now. Once a compaction was asked for at revision 0, [`Self::hash_kv`] of 0 is
    /// the one made by that, of nothing, as in etcd.
    pub(super) async fn own_hash(&self) -> Result<MemberHash, Refusal> {
        self.hashed(|view| view.fresh_hash_kv(0)).await
    }

    async fn hashed(
        &self,
        make: impl FnOnce(View<E::Disk>) -> Result<HashKv, ReadFailure> + Send + 'static,
    ) -> Result<MemberHash, Refusal> {
        let view = self.inspect(false).await?;
        let current = view.revision();
        let place = self.digests().take().ok_or(Refusal::TooManyRequests)?;
        let (tell, made) = oneshot::channel();
        self.env().tasks().spawn("digest", async move {
            let _ = tell.send(make(view));
            drop(place);
        });
        match made.await {
            Ok(Ok(hash)) => Ok(told(current, hash)),
            Ok(Err(ReadFailure::Refused(refusal))) => Err(refusal),
            Ok(Err(ReadFailure::Wrong(wrong))) => Err(Refusal::Damaged(wrong.to_string())),
            Err(oneshot::Canceled) => Err(Refusal::Stopped),
        }
    }

    /// Another member's digest at a revision.
    pub(super) async fn hash_of_member(&self, member: MemberId, revision: i64) -> Result<MemberHash, AskFailure> {
        let body = etcd_peer::hash_question_to_json(revision);
        let (status, body) = self.ask_as_etcd(member, EtcdQuestion::HashKv(body)).await?;
        if status != 200 {
            return Err(AskFailure::Refused(String::from_utf8_lossy(&body).trim_end().to_string()));
        }
        MemberHash::from_json(&body).ok_or_else(|| AskFailure::Refused("it cannot be read".to_string()))
    }
}

fn told(revision: i64, HashKv { hash, compact_revision, hash_revision }: HashKv) -> MemberHash {
    MemberHash { revision, hash, compact_revision, hash_revision }
}

fn promotion_refused(refusal: &Refusal) -> EtcdAnswer {
    let status = match refusal {
        Refusal::MemberNotFound => 404,
        Refusal::MemberNotLearner | Refusal::LearnerNotReady => 412,
        _ => return EtcdAnswer::Failed,
    };
    EtcdAnswer::Refused(status, reason(refusal).to_string())
}

fn lease_not_found() -> EtcdAnswer {
    EtcdAnswer::Refused(404, "lease not found".to_string())
}

fn lease_refused(status: u16, refusal: &Refusal) -> EtcdAnswer {
    let text = if *refusal == Refusal::NotLeader { "not a primary lessor" } else { refusal.text() };
    EtcdAnswer::Refused(status, text.to_string())
}

#[cfg(test)]
mod tests;
