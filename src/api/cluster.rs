//! Service Cluster: the list of members. Changing it comes with clusters of several members; what of such a request can
//! be judged before is.
//!
//! Invariants: headers of this service carry no revision, as in etcd; no member's URL that cannot be read gets past here.

use crate::api::porch::Porch;
use crate::api::rpc::Rpc;
use crate::base::{Refusal, Url};
use crate::env::Env;
use crate::machine::Member;
use crate::wire::etcdserverpb as pb;

impl<E: Env> Porch<E> {
    /// Adds a member.
    pub fn member_add(&self, request: &pb::MemberAddRequest) -> Result<pb::MemberAddResponse, Refusal> {
        check_urls(&request.peer_ur_ls)?;
        Err(Rpc::MemberAdd.unbuilt())
    }

    /// Changes a member's peer URLs. etcd takes any text here, and a member that cannot read it never starts again.
    pub fn member_update(&self, request: &pb::MemberUpdateRequest) -> Result<pb::MemberUpdateResponse, Refusal> {
        check_urls(&request.peer_ur_ls)?;
        Err(Rpc::MemberUpdate.unbuilt())
    }

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

/// Every URL must be one, and there must be one.
fn check_urls(urls: &[String]) -> Result<Vec<Url>, Refusal> {
    Url::read_all(urls).map_err(|_| Refusal::MemberBadUrls)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_are_none_are_refused() {
        let check = |urls: &[&str]| check_urls(&urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>()).map(drop);
        assert_eq!(check(&["http://b:1", "http://a:1"]), Ok(()));
        for bad in [&[][..], &["a:1"], &["http://a:1", "ftp://a:1"], &["http://a:1/x"], &["http://a"]] {
            assert_eq!(check(bad), Err(Refusal::MemberBadUrls), "{bad:?}");
        }
    }
}
