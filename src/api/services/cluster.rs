//! Service Cluster: the list of members, and its changes.
//!
//! Invariants: headers of this service carry no revision, as in etcd; no member's URL that cannot be read gets past here.

use crate::api::session::Session;
use crate::base::{MemberId, Refusal, Url, derive_member_id};
use crate::env::Env;
use crate::machine::{Member, MemberChange};
use crate::wire::etcdserverpb as pb;

impl<E: Env> Session<E> {
    /// Adds a member, under an id of its URLs and of the second in which it is added, as in etcd.
    pub async fn member_add(&self, request: pb::MemberAddRequest) -> Result<pb::MemberAddResponse, Refusal> {
        let peer_urls: Vec<String> = check_urls(&request.peer_ur_ls)?.into_iter().map(|url| url.text).collect();
        self.require_root().await?;
        let id = derive_member_id(&peer_urls, "", Some(self.handle.wall_ms() / 1_000));
        let added = Member { id, peer_urls, is_learner: request.is_learner, ..Member::default() };
        let shown = member(&added);
        let max_learners = self.terms.max_learners;
        self.handle.change_members(MemberChange::Add { member: added, max_learners }).await?;
        let (header, members) = self.members();
        Ok(pb::MemberAddResponse { header, member: Some(shown), members })
    }

    /// Removes a member, for ever.
    pub async fn member_remove(&self, request: pb::MemberRemoveRequest) -> Result<pb::MemberRemoveResponse, Refusal> {
        self.handle.change_members(MemberChange::Remove(MemberId(request.id))).await?;
        let (header, members) = self.members();
        Ok(pb::MemberRemoveResponse { header, members })
    }

    /// Makes a learner a voter.
    pub async fn member_promote(
        &self,
        request: pb::MemberPromoteRequest,
    ) -> Result<pb::MemberPromoteResponse, Refusal> {
        self.handle.change_members(MemberChange::Promote(MemberId(request.id))).await?;
        let (header, members) = self.members();
        Ok(pb::MemberPromoteResponse { header, members })
    }

    /// Changes a member's peer URLs. etcd takes any text here, and a member that cannot read it never starts again.
    pub async fn member_update(&self, request: pb::MemberUpdateRequest) -> Result<pb::MemberUpdateResponse, Refusal> {
        // Who is no member is told so first, as in etcd.
        if !self.handle.status().members.iter().any(|member| member.id.0 == request.id) {
            return Err(Refusal::MemberNotFound);
        }
        let peer_urls = check_urls(&request.peer_ur_ls)?.into_iter().map(|url| url.text).collect();
        self.handle.change_members(MemberChange::Update { id: MemberId(request.id), peer_urls }).await?;
        let (header, members) = self.members();
        Ok(pb::MemberUpdateResponse { header, members })
    }

    /// Lists the members, by id.
    pub async fn member_list(&self, request: pb::MemberListRequest) -> Result<pb::MemberListResponse, Refusal> {
        if request.linearizable {
            // Once a linearizable view is there, every membership change before this request is applied.
            self.handle.view(true).await?;
        }
        let (header, members) = self.members();
        Ok(pb::MemberListResponse { header, members })
    }

    fn members(&self) -> (Option<pb::ResponseHeader>, Vec<pb::Member>) {
        let status = self.handle.status();
        let mut members: Vec<pb::Member> = status.members.iter().map(member).collect();
        members.sort_unstable_by_key(|member| member.id);
        (Some(self.header_of(0, status.term)), members)
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
