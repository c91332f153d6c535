//! The checkpoint image: everything the machine holds beside the history.
//!
//! A small protobuf message between a magic number and a checksum (`docs/formats.md`). It names the position
//! up to which the history belongs to it, so that the applied index and its effects are one atomic fact.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::command::AlarmKind;
use super::members::Member;
use crate::base::{LeaseId, LogIndex, MemberId, Term};
use crate::lease::Lease;
use crate::mvcc::StorePosition;

const MAGIC: &[u8; 8] = b"QRCHKPT1";
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
}

impl LeaseImage {
    pub(super) fn new(id: LeaseId, lease: Lease) -> Self {
        Self { id, ttl: lease.ttl, remaining: lease.remaining }
    }
}

/// The machine's state at one applied index, beside the history. The default is a new cluster's beginning.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Image {
    /// The last entry applied.
    pub applied: (LogIndex, Term),
    /// The members.
    pub members: Vec<Member>,
    /// Those who were members once.
    pub removed: Vec<MemberId>,
    /// The alarms that stand.
    pub alarms: Vec<(MemberId, AlarmKind)>,
    /// The version agreed on.
    pub cluster_version: Option<String>,
    /// The leases; which keys hang on them is in the history.
    pub leases: Vec<LeaseImage>,
    /// Where the history belonging to it ends.
    pub position: StorePosition,
}

#[derive(Clone, PartialEq, Message)]
struct ImageMessage {
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
    #[prost(bytes = "bytes", tag = "7")]
    position: Bytes,
    #[prost(uint64, repeated, tag = "8")]
    removed: Vec<u64>,
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
}

impl Image {
    /// The file's bytes.
    pub fn encode(&self) -> Bytes {
        let message = ImageMessage {
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
            leases: self
                .leases
                .iter()
                .map(|lease| LeaseMessage { id: lease.id, ttl: lease.ttl, remaining: lease.remaining })
                .collect(),
            position: self.position.encode(),
            removed: self.removed.iter().map(|member| member.0).collect(),
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
        Self::from_message(message)
    }

    fn from_message(message: ImageMessage) -> Result<Self, String> {
        let alarms = message.alarms.iter().map(|alarm| match alarm.kind {
            1 => Ok((MemberId(alarm.member), AlarmKind::NoSpace)),
            2 => Ok((MemberId(alarm.member), AlarmKind::Corrupt)),
            other => Err(format!("alarm kind {other} is not known to this version")),
        });
        Ok(Self {
            applied: (message.applied_index, message.applied_term),
            alarms: alarms.collect::<Result<_, _>>()?,
            removed: message.removed.into_iter().map(MemberId).collect(),
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
            leases: message
                .leases
                .into_iter()
                .map(|lease| LeaseImage { id: lease.id, ttl: lease.ttl, remaining: lease.remaining })
                .collect(),
            position: StorePosition::decode(message.position)?,
        })
    }
}
