//! Who belongs to the cluster.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::MemberId;

/// A member as the cluster knows it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// Its name; empty until it has started and told.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started and told.
    pub client_urls: Vec<String>,
    /// Whether it only learns and has no vote.
    pub is_learner: bool,
}

/// A member in the context of a change of the configuration: etcd's JSON, field for field.
#[derive(Serialize, Deserialize)]
struct MemberRecord {
    id: u64,
    #[serde(rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(rename = "isLearner", default, skip_serializing_if = "std::ops::Not::not")]
    is_learner: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(rename = "clientURLs", default, skip_serializing_if = "Vec::is_empty")]
    client_urls: Vec<String>,
}

impl Member {
    /// The context of the change of the configuration that adds this member.
    pub fn context(&self) -> Bytes {
        let context = MemberRecord {
            id: self.id.0,
            peer_urls: self.peer_urls.clone(),
            is_learner: self.is_learner,
            name: self.name.clone(),
            client_urls: self.client_urls.clone(),
        };
        serde_json::to_vec(&context).expect("strings and numbers have a JSON form").into()
    }

    /// The member a context describes.
    pub fn from_context(context: &[u8]) -> Result<Self, String> {
        let context: MemberRecord = serde_json::from_slice(context).map_err(|error| error.to_string())?;
        Ok(Self {
            id: MemberId(context.id),
            name: context.name,
            peer_urls: context.peer_urls,
            client_urls: context.client_urls,
            is_learner: context.is_learner,
        })
    }
}

/// The members, by id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Members {
    by_id: BTreeMap<MemberId, Member>,
    /// Ids that were removed: they never come back.
    removed: BTreeSet<MemberId>,
}

impl Members {
    /// The members that belong to the cluster, and the ids of those that did.
    pub fn new(members: &[Member], removed: &[MemberId]) -> Self {
        let by_id = members.iter().map(|member| (member.id, member.clone())).collect();
        Self { by_id, removed: removed.iter().copied().collect() }
    }

    /// Ids of members that were removed, ascending.
    pub fn removed(&self) -> Vec<MemberId> {
        self.removed.iter().copied().collect()
    }

    /// Adds a member, or describes it anew; what it told of itself is kept.
    pub fn add(&mut self, member: Member) {
        let known = self.by_id.entry(member.id).or_default();
        let (name, client_urls) = (std::mem::take(&mut known.name), std::mem::take(&mut known.client_urls));
        *known = member;
        if known.name.is_empty() {
            known.name = name;
        }
        if known.client_urls.is_empty() {
            known.client_urls = client_urls;
        }
    }

    /// A member tells its name and where clients reach it; one that is not known is ignored, as in etcd.
    pub fn describe(&mut self, id: MemberId, name: String, client_urls: Vec<String>) {
        if let Some(member) = self.by_id.get_mut(&id) {
            member.name = name;
            member.client_urls = client_urls;
        }
    }

    /// All members, by id.
    pub fn list(&self) -> Vec<Member> {
        self.by_id.values().cloned().collect()
    }

    /// The members that vote.
    pub fn voters(&self) -> Vec<MemberId> {
        self.by_id.values().filter(|member| !member.is_learner).map(|member| member.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_is_etcds_json() {
        let member = Member {
            id: MemberId(0x8e9e_05c5_2164_694d),
            peer_urls: vec!["http://localhost:2380".to_string()],
            name: "default".to_string(),
            ..Member::default()
        };
        let context = member.context();
        assert_eq!(
            context,
            r#"{"id":10276657743932975437,"peerURLs":["http://localhost:2380"],"name":"default"}"#.as_bytes()
        );
        assert_eq!(Member::from_context(&context), Ok(member));
        assert!(Member::from_context(b"{").is_err());
    }

    #[test]
    fn what_a_member_told_survives_being_added_again() {
        let mut members = Members::default();
        let id = MemberId(1);
        members.describe(id, "early".to_string(), Vec::new());
        assert!(members.list().is_empty(), "an unknown member is ignored");
        members.add(Member { id, ..Member::default() });
        members.describe(id, "a".to_string(), vec!["u".to_string()]);
        members.add(Member { id, peer_urls: vec!["p".to_string()], ..Member::default() });
        let list = members.list();
        assert_eq!((list[0].name.as_str(), list[0].client_urls.len(), list[0].peer_urls.len()), ("a", 1, 1));
        assert_eq!(members.voters(), vec![id]);
    }
}
