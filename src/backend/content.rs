//! The small buckets of a database, from the state that members share.

use std::collections::BTreeMap;

use prost::Message;

use super::buckets as names;
use super::entry::revision_bytes;
use super::versions::STORAGE_VERSION;
use crate::auth::Auth;
use crate::machine::{AlarmKind, State, auth_records};

/// A lease. Source: etcd server/lease/leasepb/lease.proto.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LeaseEntry {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
    #[prost(int64, tag = "2")]
    pub(super) ttl: i64,
    #[prost(int64, tag = "3")]
    pub(super) remaining: i64,
}

/// An alarm. Source: etcd api/etcdserverpb/rpc.proto, `AlarmMember`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AlarmEntry {
    #[prost(uint64, tag = "1")]
    pub(super) member: u64,
    #[prost(int32, tag = "2")]
    pub(super) kind: i32,
}

pub(super) const NO_SPACE: i32 = 1;
pub(super) const CORRUPT: i32 = 2;

/// Entries of one bucket.
pub(super) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// The small buckets by name; that of the keys is there, and empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content(pub(super) BTreeMap<&'static [u8], Entries>);

impl Content {
    /// Of a state.
    pub fn of(state: &State) -> Self {
        let mut buckets: BTreeMap<&'static [u8], Entries> = BTreeMap::new();
        buckets.insert(names::KEY, Entries::new());
        let mut put = |name: &'static [u8], entries: Entries| {
            buckets.insert(name, entries);
        };
        put(names::ALARM, state.alarms.iter().map(|(member, kind)| (alarm(member.0, *kind), Vec::new())).collect());
        let version = state.cluster_version.iter().map(|text| (names::CLUSTER_VERSION.to_vec(), text.clone().into()));
        let downgrade = state.downgrade.iter().map(|target| (names::DOWNGRADE.to_vec(), downgrade(target)));
        put(names::CLUSTER, version.chain(downgrade).collect());
        let leases = state.leases.iter().map(|lease| {
            let entry = LeaseEntry { id: lease.id, ttl: lease.ttl, remaining: lease.remaining };
            (lease.id.to_be_bytes().to_vec(), entry.encode_to_vec())
        });
        put(names::LEASE, leases.collect());
        let members = state.members.iter().map(|member| (id_text(member.id.0), member.context().to_vec()));
        put(names::MEMBERS, members.collect());
        put(names::MEMBERS_REMOVED, state.removed.iter().map(|id| (id_text(id.0), b"removed".to_vec())).collect());
        put(names::META, meta(state));
        let (users, roles) = auth_records(&state.auth);
        put(names::AUTH, auth(state));
        put(names::AUTH_USERS, users.into_iter().collect());
        put(names::AUTH_ROLES, roles.into_iter().collect());
        Self(buckets)
    }
}

/// A downgrade under way, as etcd's JSON has it. The target has no letters to be escaped.
fn downgrade(target: &str) -> Vec<u8> {
    format!("{{\"target-version\":\"{target}\",\"enabled\":true}}").into_bytes()
}

fn id_text(id: u64) -> Vec<u8> {
    format!("{id:x}").into_bytes()
}

fn alarm(member: u64, kind: AlarmKind) -> Vec<u8> {
    let kind = match kind {
        AlarmKind::NoSpace => NO_SPACE,
        AlarmKind::Corrupt => CORRUPT,
    };
    AlarmEntry { member, kind }.encode_to_vec()
}

/// Nothing where there never was a user: etcd takes that for authentication that is off.
fn auth(state: &State) -> Entries {
    if *state.auth == Auth::default() {
        return Entries::new();
    }
    let revision = state.auth.revision().to_be_bytes().to_vec();
    let enabled = vec![u8::from(state.auth.is_enabled())];
    Entries::from([(names::AUTH_ENABLED.to_vec(), enabled), (names::AUTH_REVISION.to_vec(), revision)])
}

fn meta(state: &State) -> Entries {
    let mut entries = Entries::new();
    let mut put = |key: &[u8], value: &[u8]| entries.insert(key.to_vec(), value.to_vec());
    put(names::CONSISTENT_INDEX, &state.applied.0.to_be_bytes());
    put(names::TERM, &state.applied.1.to_be_bytes());
    // The form is the same in both; one that went down is read by members of the version before.
    let went_down = state.downgrade.is_some().then_some(state.cluster_version.as_deref()).flatten();
    put(names::STORAGE_VERSION, went_down.unwrap_or(STORAGE_VERSION).as_bytes());
    put(names::CONF_STATE, conf_state(state).as_bytes());
    if state.compact_revision > 0 {
        let revision = revision_bytes(state.compact_revision, 0);
        put(names::SCHEDULED_COMPACTION, &revision);
        put(names::FINISHED_COMPACTION, &revision);
    }
    entries
}

/// Who votes, as etcd's JSON has it: lists that are empty are left out.
fn conf_state(state: &State) -> String {
    let list = |learners: bool| -> Vec<String> {
        let ids = state.members.iter().filter(|member| member.is_learner == learners);
        ids.map(|member| member.id.0.to_string()).collect()
    };
    let field = |name: &str, ids: Vec<String>| {
        if ids.is_empty() { String::new() } else { format!("\"{name}\":[{}],", ids.join(",")) }
    };
    format!("{{{}{}\"auto_leave\":false}}", field("voters", list(false)), field("learners", list(true)))
}
