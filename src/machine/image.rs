//! What the machine holds beside the history: the state that members share, and the checkpoint image of one member.
//!
//! An image is a small protobuf message behind a magic number and a checksum (`docs/formats.md`). It names the position
//! up to which the history belongs to it, so that the applied index and its effects are one atomic fact; and it
//! says whose it is, because a history that follows from another cluster's log must not be taken for one's own.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::auth_codec;
use super::command::AlarmKind;
use super::members::Member;
use crate::auth::Auth;
use crate::base::{ClusterId, LeaseId, LogIndex, MemberId, Term};
use crate::lease::Lease;
use crate::mvcc::StorePosition;
use crate::wal::WalIdentity;
use crate::wire::authpb;

const MAGIC: &[u8; 8] = b"QRCHKPT2";
const HEAD: usize = MAGIC.len() + 4 + 8;

/// A lease as an image holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseImage {
    /// Its id.
    pub id: LeaseId,
    /// Granted seconds.
    pub ttl: i64,
    /// Seconds left at the last checkpoint of the leader's clock, 0 where it was renewed since.
    pub remaining: i64,
    /// Index of the entry that granted it.
    pub granted_at: LogIndex,
}

impl LeaseImage {
    pub(super) fn new(id: LeaseId, lease: Lease) -> Self {
        Self { id, ttl: lease.ttl, remaining: lease.remaining, granted_at: lease.granted_at }
    }
}

/// What all members hold alike at one applied index, beside the data. The default is a new cluster's beginning.
#[derive(Clone, PartialEq, Debug)]
pub struct State {
    /// The last entry applied.
    pub applied: (LogIndex, Term),
    /// The members; learners among them.
    pub members: Vec<Member>,
    /// Ids of members that were removed: they never come back.
    pub removed: Vec<MemberId>,
    /// The alarms that stand.
    pub alarms: Vec<(MemberId, AlarmKind)>,
    /// The version agreed on.
    pub cluster_version: Option<String>,
    /// The version the cluster is to go down to, while it is.
    pub downgrade: Option<String>,
    /// The leases; which keys hang on them is in the history.
    pub leases: Vec<LeaseImage>,
    /// The store's revision.
    pub revision: i64,
    /// The store's compact revision; −1 is never.
    pub compact_revision: i64,
    /// The digest of everything that was applied; absent in what an earlier version wrote.
    pub digest: Option<u64>,
    /// Users and roles; those of a new cluster in what an earlier version wrote.
    pub auth: Arc<Auth>,
}

impl Default for State {
    fn default() -> Self {
        let fresh = StorePosition::default();
        Self {
            applied: (0, 0),
            members: Vec::new(),
            removed: Vec::new(),
            alarms: Vec::new(),
            cluster_version: None,
            downgrade: None,
            leases: Vec::new(),
            revision: fresh.revision(),
            compact_revision: fresh.compact_revision(),
            digest: Some(0),
            auth: Arc::default(),
        }
    }
}

/// A checkpoint of one member: the shared state, and where this member's history holds the data belonging to it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Image {
    /// Whose it is; nobody's before there is a cluster.
    pub identity: WalIdentity,
    /// What members share.
    pub state: State,
    /// Where the history belonging to it ends.
    pub position: StorePosition,
}

#[derive(Clone, PartialEq, Message)]
struct ImageMessage {
    #[prost(uint64, tag = "1")]
    cluster: u64,
    #[prost(uint64, tag = "2")]
    member: u64,
    #[prost(message, required, tag = "3")]
    state: StateMessage,
    #[prost(bytes = "bytes", tag = "4")]
    position: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct StateMessage {
    #[prost(uint64, tag = "1")]
    applied_index: u64,
    #[prost(uint64, tag = "2")]
    applied_term: u64,
    #[prost(message, repeated, tag = "3")]
    members: Vec<MemberMessage>,
    #[prost(message, repeated, tag = "4")]
    alarms: Vec<AlarmMessage>,
    #[prost(string, optional, tag = "5")]
    cluster_version: Option<String>,
    #[prost(message, repeated, tag = "6")]
    leases: Vec<LeaseMessage>,
    #[prost(uint64, repeated, tag = "7")]
    removed: Vec<u64>,
    #[prost(sint64, tag = "8")]
    revision: i64,
    #[prost(sint64, tag = "9")]
    compact_revision: i64,
    #[prost(fixed64, optional, tag = "10")]
    digest: Option<u64>,
    #[prost(message, optional, tag = "11")]
    auth: Option<AuthMessage>,
    #[prost(string, optional, tag = "12")]
    downgrade: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct AuthMessage {
    #[prost(bool, tag = "1")]
    enabled: bool,
    #[prost(uint64, tag = "2")]
    revision: u64,
    #[prost(message, repeated, tag = "3")]
    users: Vec<authpb::User>,
    #[prost(message, repeated, tag = "4")]
    roles: Vec<authpb::Role>,
}

impl AuthMessage {
    fn new(auth: &Auth) -> Self {
        Self {
            enabled: auth.is_enabled(),
            revision: auth.revision(),
            users: auth.users().map(|(name, user)| auth_codec::user_to_wire(name, user)).collect(),
            roles: auth.roles().map(|(name, role)| auth_codec::role_to_wire(name, role)).collect(),
        }
    }

    fn read(self) -> Result<Auth, String> {
        let users = self.users.into_iter().map(auth_codec::user_from_wire).collect::<Result<Vec<_>, _>>()?;
        let roles = self.roles.into_iter().map(auth_codec::role_from_wire).collect::<Result<Vec<_>, _>>()?;
        Ok(Auth::restore(self.enabled, self.revision, users, roles))
    }
}

#[derive(Clone, PartialEq, Message)]
struct MemberMessage {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, repeated, tag = "3")]
    peer_urls: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    client_urls: Vec<String>,
    #[prost(bool, tag = "5")]
    is_learner: bool,
}

#[derive(Clone, PartialEq, Message)]
struct AlarmMessage {
    #[prost(uint64, tag = "1")]
    member: u64,
    #[prost(uint32, tag = "2")]
    kind: u32,
}

#[derive(Clone, PartialEq, Message)]
struct LeaseMessage {
    #[prost(sint64, tag = "1")]
    id: i64,
    #[prost(sint64, tag = "2")]
    ttl: i64,
    #[prost(sint64, tag = "3")]
    remaining: i64,
    #[prost(uint64, tag = "4")]
    granted_at: u64,
}

impl State {
    /// Its bytes, as a snapshot for another member carries them.
    pub fn encode(&self) -> Bytes {
        self.to_message().encode_to_vec().into()
    }

    /// Reads what [`Self::encode`] wrote. Any bytes may be given; the text says what does not hold.
    pub fn decode(bytes: Bytes) -> Result<Self, String> {
        Self::from_message(StateMessage::decode(bytes).map_err(|error| error.to_string())?)
    }

    fn to_message(&self) -> StateMessage {
        StateMessage {
            applied_index: self.applied.0,
            applied_term: self.applied.1,
            members: self
                .members
                .iter()
                .map(|member| MemberMessage {
                    id: member.id.0,
                    name: member.name.clone(),
                    peer_urls: member.peer_urls.clone(),
                    client_urls: member.client_urls.clone(),
                    is_learner: member.is_learner,
                })
                .collect(),
            alarms: self
                .alarms
                .iter()
                .map(|(member, kind)| AlarmMessage {
                    member: member.0,
                    kind: match kind {
                        AlarmKind::NoSpace => 1,
                        AlarmKind::Corrupt => 2,
                    },
                })
                .collect(),
            cluster_version: self.cluster_version.clone(),
            downgrade: self.downgrade.clone(),
            leases: self
                .leases
                .iter()
                .map(|lease| LeaseMessage {
                    id: lease.id,
                    ttl: lease.ttl,
                    remaining: lease.remaining,
                    granted_at: lease.granted_at,
                })
                .collect(),
            removed: self.removed.iter().map(|member| member.0).collect(),
            revision: self.revision,
            compact_revision: self.compact_revision,
            digest: self.digest,
            auth: Some(AuthMessage::new(&self.auth)),
        }
    }

    fn from_message(message: StateMessage) -> Result<Self, String> {
        let alarms = message.alarms.iter().map(|alarm| match alarm.kind {
            1 => Ok((MemberId(alarm.member), AlarmKind::NoSpace)),
            2 => Ok((MemberId(alarm.member), AlarmKind::Corrupt)),
            other => Err(format!("alarm kind {other} is not known to this version")),
        });
        Ok(Self {
            applied: (message.applied_index, message.applied_term),
            alarms: alarms.collect::<Result<_, _>>()?,
            members: message
                .members
                .into_iter()
                .map(|member| Member {
                    id: MemberId(member.id),
                    name: member.name,
                    peer_urls: member.peer_urls,
                    client_urls: member.client_urls,
                    is_learner: member.is_learner,
                })
                .collect(),
            cluster_version: message.cluster_version,
            downgrade: message.downgrade,
            leases: message
                .leases
                .into_iter()
                .map(|lease| LeaseImage {
                    id: lease.id,
                    ttl: lease.ttl,
                    remaining: lease.remaining,
                    granted_at: lease.granted_at,
                })
                .collect(),
            removed: message.removed.into_iter().map(MemberId).collect(),
            revision: message.revision,
            compact_revision: message.compact_revision,
            digest: message.digest,
            auth: Arc::new(message.auth.map(AuthMessage::read).transpose()?.unwrap_or_default()),
        })
    }
}

impl Image {
    /// An image of what belongs together; says why, where it does not.
    pub fn new(identity: WalIdentity, state: State, position: StorePosition) -> Result<Self, String> {
        if (state.revision, state.compact_revision) != (position.revision(), position.compact_revision()) {
            return Err(format!(
                "its state is of revision {} and its history of {}",
                state.revision,
                position.revision()
            ));
        }
        Ok(Self { identity, state, position })
    }

    /// The file's bytes.
    pub fn encode(&self) -> Bytes {
        let message = ImageMessage {
            cluster: self.identity.cluster.0,
            member: self.identity.member.0,
            state: self.state.to_message(),
            position: self.position.encode(),
        };
        let len = message.encoded_len();
        let mut out = BytesMut::with_capacity(HEAD + len);
        out.put_slice(MAGIC);
        out.put_u32_le(0);
        out.put_u64_le(len as u64);
        message.encode(&mut out).expect("a buffer in memory grows");
        let checksum = crc32c::crc32c(&out[MAGIC.len() + 4..]);
        out[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&checksum.to_le_bytes());
        out.freeze()
    }

    /// Reads a file's bytes; says what does not hold. Any bytes may be given.
    pub fn decode(file: &Bytes) -> Result<Self, String> {
        if file.len() < HEAD || file[..MAGIC.len()] != MAGIC[..] {
            return Err("it does not begin as a checkpoint image does".to_string());
        }
        let stored = u32::from_le_bytes(file[8..12].try_into().expect("four bytes"));
        let len = u64::from_le_bytes(file[12..20].try_into().expect("eight bytes"));
        if len != (file.len() - HEAD) as u64 {
            return Err(format!("its length is {} where its head says {len}", file.len() - HEAD));
        }
        if crc32c::crc32c(&file[12..]) != stored {
            return Err("its checksum does not hold".to_string());
        }
        let message = ImageMessage::decode(file.slice(HEAD..)).map_err(|error| error.to_string())?;
        let position = StorePosition::decode(message.position)?;
        let state = State::from_message(message.state)?;
        let identity = WalIdentity { cluster: ClusterId(message.cluster), member: MemberId(message.member) };
        Self::new(identity, state, position)
    }
}
