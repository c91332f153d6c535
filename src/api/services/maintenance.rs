//! Service Maintenance: status, digests, defragmentation, alarms.
//!
//! Invariant: defragmentation answers, without a header, when the disk holds what lives; space is reclaimed all the time.

use std::time::Instant;

use crate::api::metrics::registry::{API_VERSION, STORAGE_VERSION};
use crate::api::services::{answers, kv};
use crate::api::session::Session;
use crate::base::{MemberId, Refusal};
use crate::env::Env;
use crate::machine::{AlarmKind, Answer, codec};
use crate::node::NodeStatus;
use crate::wire::etcdserverpb as pb;
use pb::alarm_request;

impl<E: Env> Session<E> {
    /// Tells how this member stands.
    pub async fn status(&self, _: pb::StatusRequest) -> Result<pb::StatusResponse, Refusal> {
        let status = self.handle.status();
        let member = self.handle.identity().member;
        Ok(pb::StatusResponse {
            header: Some(self.header_of(status.revision, status.term)),
            version: API_VERSION.to_string(),
            db_size: told_size(status.size_bytes),
            leader: status.leader.map_or(0, |leader| leader.0),
            raft_index: status.committed,
            raft_term: status.term,
            raft_applied_index: status.applied,
            errors: errors(&status),
            db_size_in_use: told_size(status.in_use_bytes),
            is_learner: is_learner(&status, member),
            storage_version: status.cluster_version.unwrap_or_else(|| STORAGE_VERSION.to_string()),
            db_size_quota: signed(status.quota_bytes),
            downgrade_info: Some(pb::DowngradeInfo {
                enabled: status.downgrade.is_some(),
                target_version: status.downgrade.unwrap_or_default(),
            }),
        })
    }

    /// Lists, raises or clears alarms. What names no alarm to raise or clear does nothing, as in etcd.
    pub async fn alarm(&self, request: pb::AlarmRequest) -> Result<pb::AlarmResponse, Refusal> {
        // etcd proposes these, too, and counts what it proposes.
        let begun = Instant::now();
        if request.action == alarm_request::AlarmAction::Get as i32 {
            let listed = self.list_alarms(request.alarm).await;
            self.metrics.requested("Alarm", listed.is_ok(), begun.elapsed());
            return listed;
        }
        self.require_root().await?;
        let Some(command) = codec::alarm_from_wire(&request) else {
            self.metrics.requested("Alarm", true, begun.elapsed());
            let header = Some(self.header(self.handle.facts().revision()));
            return Ok(pb::AlarmResponse { header, alarms: vec![] });
        };
        let (header, proposed) = self.propose(command).await?;
        let Answer::Alarm(alarms) = proposed.answer else { unreachable!("the machine answers an alarm with alarms") };
        Ok(pb::AlarmResponse { header: Some(header), alarms: alarms.into_iter().map(answers::alarm).collect() })
    }

    /// Those of a kind by its number, 0 is all. A number nobody knows finds none.
    async fn list_alarms(&self, kind: i32) -> Result<pb::AlarmResponse, Refusal> {
        // Once a linearizable view is there, every alarm raised before this request is applied.
        self.handle.inspect(true).await?;
        let status = self.handle.status();
        let alarms = status.alarms.iter().copied().map(answers::alarm);
        Ok(pb::AlarmResponse {
            header: Some(self.header_of(status.revision, status.term)),
            alarms: alarms.filter(|alarm| kind == 0 || alarm.alarm == kind).collect(),
        })
    }

    /// Hands the leadership to another member.
    pub async fn move_leader(&self, request: pb::MoveLeaderRequest) -> Result<pb::MoveLeaderResponse, Refusal> {
        let (member, target) = (self.handle.identity().member, MemberId(request.target_id));
        if let HandOver::Needed = hand_over(&self.handle.status(), member, target)? {
            self.handle.move_leader(target).await?;
        }
        Ok(pb::MoveLeaderResponse { header: None })
    }

    /// Answers when the space that could be given back was: the size that is told next is the one after.
    pub async fn defragment(&self, _: pb::DefragmentRequest) -> Result<pb::DefragmentResponse, Refusal> {
        let _time = self.metrics.asked.defrag_seconds.start_timer();
        self.handle.give_space_back().await?;
        Ok(pb::DefragmentResponse { header: None })
    }

    /// The digest of the key-values at a revision, equal to etcd's for the same changes.
    pub async fn hash_kv(&self, request: pb::HashKvRequest) -> Result<pb::HashKvResponse, Refusal> {
        let _time = self.metrics.asked.hash_rev_seconds.start_timer();
        let view = self.handle.inspect(false).await?;
        let digest = kv::at_leisure(true, || view.hash_kv(request.revision)).map_err(kv::refusal_of)?;
        Ok(pb::HashKvResponse {
            header: Some(self.header(view.revision())),
            hash: digest.hash,
            compact_revision: digest.compact_revision,
            hash_revision: digest.hash_revision,
        })
    }

    /// A digest of everything that can be read. etcd's is of its file, so the numbers differ from etcd's; both
    /// serve to hold members of one cluster against each other.
    pub async fn hash(&self, _: pb::HashRequest) -> Result<pb::HashResponse, Refusal> {
        let _time = self.metrics.asked.hash_seconds.start_timer();
        let view = self.handle.inspect(false).await?;
        let hash = kv::at_leisure(true, || view.hash()).map_err(kv::refusal_of)?;
        Ok(pb::HashResponse { header: Some(self.header(view.revision())), hash })
    }
}

/// What is left to do of a hand-over that may be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HandOver {
    /// Nothing: the target leads already.
    Done,
    /// The target must take over.
    Needed,
}

/// Only the leader hands over, and only to a voter of its cluster.
fn hand_over(status: &NodeStatus, member: MemberId, target: MemberId) -> Result<HandOver, Refusal> {
    if status.leader != Some(member) {
        return Err(Refusal::NotLeader);
    }
    if !status.members.iter().any(|have| have.id == target && !have.is_learner) {
        return Err(Refusal::BadTransferee);
    }
    Ok(if target == member { HandOver::Done } else { HandOver::Needed })
}

fn signed(bytes: u64) -> i64 {
    bytes.try_into().unwrap_or(i64::MAX)
}

/// Whether `member` takes no part in votes.
pub fn is_learner(status: &NodeStatus, member: MemberId) -> bool {
    status.members.iter().any(|have| have.id == member && have.is_learner)
}

fn errors(status: &NodeStatus) -> Vec<String> {
    let leader = status.leader.is_none().then(|| Refusal::NoLeader.text().to_string());
    let alarms = status.alarms.iter().map(|(member, kind)| {
        let kind = match kind {
            AlarmKind::NoSpace => "NOSPACE",
            AlarmKind::Corrupt => "CORRUPT",
        };
        match member.0 {
            // Nobody in particular; it is not named, as what is nothing never is in this form.
            0 => format!("alarm:{kind}"),
            member => format!("memberID:{member} alarm:{kind}"),
        }
    });
    leader.into_iter().chain(alarms).collect()
}

/// The size of a store as clients are told it: never 0, as etcd's file never is, because etcdctl divides by it.
fn told_size(bytes: u64) -> i64 {
    signed(bytes.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_never_told_to_have_no_size() {
        assert_eq!([0, 1, 512].map(told_size), [1, 1, 512]);
    }

    #[test]
    fn the_leader_hands_over_to_a_voter_and_nobody_else_does() {
        let member = |id, is_learner| crate::machine::Member {
            id: MemberId(id),
            name: String::new(),
            peer_urls: vec![],
            client_urls: vec![],
            is_learner,
        };
        let members = vec![member(1, false), member(2, false), member(3, true)];
        let status = NodeStatus { leader: Some(MemberId(1)), members, ..Default::default() };
        let to = |target| hand_over(&status, MemberId(1), MemberId(target));
        assert_eq!((to(1), to(2)), (Ok(HandOver::Done), Ok(HandOver::Needed)));
        assert_eq!((to(3), to(4)), (Err(Refusal::BadTransferee), Err(Refusal::BadTransferee)));
        assert_eq!(hand_over(&status, MemberId(2), MemberId(2)), Err(Refusal::NotLeader));
        let leaderless = NodeStatus { leader: None, ..status.clone() };
        assert_eq!(hand_over(&leaderless, MemberId(1), MemberId(1)), Err(Refusal::NotLeader));
    }

    #[test]
    fn a_status_names_what_is_wrong() {
        let mut status = NodeStatus::default();
        status.alarms.push((MemberId(10), AlarmKind::Corrupt));
        assert_eq!(errors(&status), ["etcdserver: no leader", "memberID:10 alarm:CORRUPT"]);
        status.leader = Some(MemberId(10));
        status.alarms = vec![(MemberId(0), AlarmKind::NoSpace)];
        assert_eq!(errors(&status), ["alarm:NOSPACE"]);
        status.alarms.clear();
        assert!(errors(&status).is_empty());
    }
}
