//! Service Cluster: the list of members. Changing it comes with clusters of several members.
//!
//! Invariant: headers of this service carry no revision, as in etcd.

use crate::api::porch::Porch;
use crate::base::Refusal;
use crate::env::Env;
use crate::machine::Member;
use crate::wire::etcdserverpb as pb;

impl<E: Env> Porch<E> {
    /// Lists the members, by id.
    pub async fn member_list(&self, request: pb::MemberListRequest) -> Result<pb::MemberListResponse, Refusal> {
        if request.linearizable {
            // Once a linearizable view is there, every membership change before this request is applied.
            self.handle.view(true).await?;
        }
        let status = self.handle.status();
        let mut members: Vec<pb::Member> = status.members.iter().map(member).collect();
        members.sort_unstable_by_key(|member| member.id);
        Ok(pb::MemberListResponse { header: Some(self.header_of(0, status.term)), members })
    }
}

fn member(member: &Member) -> pb::Member {
    pb::Member {
        id: member.id.0,
        name: member.name.clone(),
        peer_ur_ls: member.peer_urls.clone(),
        client_ur_ls: member.client_urls.clone(),
        is_learner: member.is_learner,
    }
}
