//! Who belongs to the cluster.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::{MemberId, Refusal, limits};

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
    peer_urls: Option<Vec<String>>,
    #[serde(rename = "isLearner", default, skip_serializing_if = "std::ops::Not::not")]
    is_learner: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(rename = "clientURLs", default, skip_serializing_if = "Vec::is_empty")]
    client_urls: Vec<String>,
    /// Absent in what founds a cluster.
    #[serde(rename = "isPromote", default, skip_serializing_if = "Option::is_none")]
    is_promote: Option<bool>,
    /// Of quorate, and passed over by etcd: as many learners as there may be with the one that is added. Absent where it is
    /// the usual number.
    #[serde(rename = "maxLearners", default, skip_serializing_if = "Option::is_none")]
    max_learners: Option<usize>,
}

/// One change of who belongs to the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MemberChange {
    /// A new member.
    Add {
        /// Who; by its own description a voter or a learner.
        member: Member,
        /// As many learners as there may be with it, by the flag of the member that was asked: the log says it, so that members
        /// with other flags decide alike. Nothing to a voter.
        max_learners: usize,
    },
    /// It belongs to the cluster no more, for ever.
    Remove(MemberId),
    /// It is reached elsewhere.
    Update {
        /// Who.
        id: MemberId,
        /// Where now.
        peer_urls: Vec<String>,
    },
    /// A learner becomes a voter.
    Promote(MemberId),
}

impl MemberChange {
    /// Adds a member, where there may be as many learners as usual.
    pub fn add(member: Member) -> Self {
        Self::Add { member, max_learners: limits::MAX_LEARNERS }
    }

    /// Whom it is about.
    pub fn member(&self) -> MemberId {
        match self {
            Self::Add { member, .. } => member.id,
            Self::Remove(id) | Self::Promote(id) | Self::Update { id, .. } => *id,
        }
    }

    /// The context of its entry, as etcd writes it.
    pub fn context(&self) -> Bytes {
        let id = self.member().0;
        let plain = MemberRecord {
            id,
            peer_urls: None,
            is_learner: false,
            name: String::new(),
            client_urls: Vec::new(),
            is_promote: None,
            max_learners: None,
        };
        let record = match self {
            Self::Add { member, max_learners } => {
                let is_said = member.is_learner && *max_learners != limits::MAX_LEARNERS;
                let max_learners = is_said.then_some(*max_learners);
                MemberRecord { is_promote: Some(false), max_learners, ..member.record() }
            }
            Self::Remove(_) => return Bytes::new(),
            Self::Update { peer_urls, .. } => MemberRecord { peer_urls: Some(peer_urls.clone()), ..plain },
            Self::Promote(_) => MemberRecord { is_promote: Some(true), ..plain },
        };
        encode(&record)
    }

    /// The change an entry describes that makes a member a voter or a learner: who is promoted, or added.
    pub fn addition(context: &[u8]) -> Result<Self, String> {
        let record: MemberRecord = serde_json::from_slice(context).map_err(|error| error.to_string())?;
        if record.is_promote == Some(true) {
            return Ok(Self::Promote(MemberId(record.id)));
        }
        let max_learners = record.max_learners.unwrap_or(limits::MAX_LEARNERS);
        Ok(Self::Add { member: Member::from_record(record), max_learners })
    }

    /// The change an entry describes that says where a member is reached.
    pub fn update(context: &[u8]) -> Result<Self, String> {
        let Member { id, peer_urls, .. } = Member::from_context(context)?;
        Ok(Self::Update { id, peer_urls })
    }
}

fn encode(record: &MemberRecord) -> Bytes {
    serde_json::to_vec(record).expect("strings and numbers have a JSON form").into()
}

impl Member {
    fn record(&self) -> MemberRecord {
        MemberRecord {
            id: self.id.0,
            peer_urls: Some(self.peer_urls.clone()),
            is_learner: self.is_learner,
            name: self.name.clone(),
            client_urls: self.client_urls.clone(),
            is_promote: None,
            max_learners: None,
        }
    }

    fn from_record(record: MemberRecord) -> Self {
        Self {
            id: MemberId(record.id),
            name: record.name,
            peer_urls: record.peer_urls.unwrap_or_default(),
            client_urls: record.client_urls,
            is_learner: record.is_learner,
        }
    }

    /// The context of the change of the configuration that founds a cluster with this member.
    pub fn context(&self) -> Bytes {
        encode(&self.record())
    }

    /// The member a context describes.
    pub fn from_context(context: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(context).map(Self::from_record).map_err(|error| error.to_string())
    }
}

/// The members as etcd's peers tell of them.
pub fn members_json(members: &[Member]) -> Bytes {
    let records: Vec<MemberRecord> = members.iter().map(Member::record).collect();
    serde_json::to_vec(&records).expect("strings and numbers have a JSON form").into()
}

/// Reads what [`members_json`] makes. Any bytes may be given.
pub fn members_from_json(bytes: &[u8]) -> Result<Vec<Member>, String> {
    let records: Vec<MemberRecord> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(records.into_iter().map(Member::from_record).collect())
}

/// The members, by id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Members {
    by_id: BTreeMap<MemberId, Member>,
    /// Ids that were removed: they never come back.
    removed: BTreeSet<MemberId>,
}

impl Members {
    /// The members as an image has them.
    pub fn restore(members: impl IntoIterator<Item = Member>, removed: impl IntoIterator<Item = MemberId>) -> Self {
        Self {
            by_id: members.into_iter().map(|member| (member.id, member)).collect(),
            removed: removed.into_iter().collect(),
        }
    }

    /// Whether a change is possible, by etcd's rules. All members decide alike, from the log alone; what is refused
    /// here changes nothing, and the group is not told of it.
    pub fn check(&self, change: &MemberChange) -> Result<(), Refusal> {
        let id = change.member();
        if self.removed.contains(&id) {
            return Err(Refusal::MemberNotFound);
        }
        let known = self.by_id.get(&id);
        match change {
            MemberChange::Add { member, max_learners } => {
                if known.is_some() {
                    return Err(Refusal::MemberExists);
                }
                self.check_urls(id, &member.peer_urls)?;
                let learners = self.by_id.values().filter(|member| member.is_learner).count();
                if member.is_learner && learners >= *max_learners {
                    return Err(Refusal::TooManyLearners);
                }
            }
            MemberChange::Remove(_) => {
                let known = known.ok_or(Refusal::MemberNotFound)?;
                // etcd lets this be committed, and no member starts again.
                if !known.is_learner && self.voters().len() == 1 {
                    return Err(Refusal::NotEnoughStarted);
                }
            }
            MemberChange::Update { peer_urls, .. } => {
                known.ok_or(Refusal::MemberNotFound)?;
                self.check_urls(id, peer_urls)?;
            }
            MemberChange::Promote(_) => {
                if !known.ok_or(Refusal::MemberNotFound)?.is_learner {
                    return Err(Refusal::MemberNotLearner);
                }
            }
        }
        Ok(())
    }

    fn check_urls(&self, id: MemberId, urls: &[String]) -> Result<(), Refusal> {
        let others = self.by_id.values().filter(|member| member.id != id);
        let taken = others.flat_map(|member| &member.peer_urls).any(|url| urls.contains(url));
        if taken { Err(Refusal::PeerUrlExists) } else { Ok(()) }
    }

    /// Carries out a change that [`Members::check`] let pass.
    pub fn change(&mut self, change: MemberChange) {
        match change {
            MemberChange::Add { member, .. } => self.add(member),
            MemberChange::Remove(id) => {
                self.by_id.remove(&id);
                self.removed.insert(id);
            }
            MemberChange::Update { id, peer_urls } => {
                self.by_id.get_mut(&id).expect("checked: it is a member").peer_urls = peer_urls;
            }
            MemberChange::Promote(id) => {
                self.by_id.get_mut(&id).expect("checked: it is a member").is_learner = false;
            }
        }
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

    fn member(id: u64, is_learner: bool) -> Member {
        Member { id: MemberId(id), peer_urls: vec![format!("http://{id}:2380")], is_learner, ..Member::default() }
    }

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
        assert_eq!(
            MemberChange::Promote(MemberId(5)).context(),
            r#"{"id":5,"peerURLs":null,"isPromote":true}"#.as_bytes()
        );
    }

    #[test]
    fn a_change_survives_its_context() {
        let add = MemberChange::add(member(4, true));
        assert!(!String::from_utf8_lossy(&add.context()).contains("maxLearners"), "as etcd writes it");
        assert_eq!(MemberChange::addition(&add.context()), Ok(add));
        let among_more = MemberChange::Add { member: member(4, true), max_learners: 3 };
        assert!(String::from_utf8_lossy(&among_more.context()).ends_with(r#""isPromote":false,"maxLearners":3}"#));
        assert_eq!(MemberChange::addition(&among_more.context()), Ok(among_more));
        let promote = MemberChange::Promote(MemberId(4));
        assert_eq!(MemberChange::addition(&promote.context()), Ok(promote));
        let update = MemberChange::Update { id: MemberId(4), peer_urls: vec!["http://x:1".to_string()] };
        assert_eq!(MemberChange::update(&update.context()), Ok(update));
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

    #[test]
    fn impossible_changes_are_refused() {
        let mut members = Members::restore([member(1, false), member(2, true)], []);
        let check = |members: &Members, change| members.check(&change).err();
        assert_eq!(check(&members, MemberChange::add(member(1, false))), Some(Refusal::MemberExists));
        let elsewhere = Member { id: MemberId(9), ..member(1, false) };
        assert_eq!(check(&members, MemberChange::add(elsewhere)), Some(Refusal::PeerUrlExists));
        assert_eq!(check(&members, MemberChange::add(member(3, true))), Some(Refusal::TooManyLearners));
        let among = |max_learners, is_learner| MemberChange::Add { member: member(3, is_learner), max_learners };
        assert_eq!(check(&members, among(2, true)), None, "the change says how many there may be");
        assert_eq!(check(&members, among(0, true)), Some(Refusal::TooManyLearners));
        assert_eq!(check(&members, among(0, false)), None, "a voter is none");
        assert_eq!(check(&members, MemberChange::Promote(MemberId(1))), Some(Refusal::MemberNotLearner));
        assert_eq!(check(&members, MemberChange::Promote(MemberId(7))), Some(Refusal::MemberNotFound));
        assert_eq!(
            check(&members, MemberChange::Remove(MemberId(1))),
            Some(Refusal::NotEnoughStarted),
            "the last voter"
        );
        assert_eq!(check(&members, MemberChange::Remove(MemberId(2))), None);
        members.change(MemberChange::Remove(MemberId(2)));
        assert_eq!(check(&members, MemberChange::add(member(2, false))), Some(Refusal::MemberNotFound), "for ever");
        assert_eq!(members.removed(), [MemberId(2)]);
    }

    #[test]
    fn a_promoted_learner_votes() {
        let mut members = Members::restore([member(1, false), member(2, true)], []);
        members.change(MemberChange::Promote(MemberId(2)));
        assert_eq!(members.voters(), [MemberId(1), MemberId(2)]);
        members.change(MemberChange::Update { id: MemberId(2), peer_urls: vec!["http://new:1".to_string()] });
        assert_eq!(members.list()[1].peer_urls, ["http://new:1"]);
    }
}
