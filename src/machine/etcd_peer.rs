//! What members ask each other by etcd's own paths of the peer port, as bytes: JSON for digests, protobuf for leases.
//!
//! Any bytes may come. Does not know of HTTP.

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::base::LeaseId;
use crate::wire::etcdserverpb as pb;

/// A member's digest of its data, as `/members/hashkv` tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberHash {
    /// The member's revision.
    pub revision: i64,
    /// The digest.
    pub hash: u32,
    /// The compact revision it was made with; −1 is never.
    pub compact_revision: i64,
    /// The revision it is of.
    pub hash_revision: i64,
}

/// As Go writes it: what is zero is left out.
#[derive(Serialize, Deserialize)]
struct HashRecord {
    #[serde(default)]
    header: HashHeader,
    #[serde(default, skip_serializing_if = "is_zero")]
    hash: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    compact_revision: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    hash_revision: i64,
}

#[derive(Serialize, Deserialize, Default)]
struct HashHeader {
    #[serde(default, skip_serializing_if = "is_zero")]
    revision: i64,
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

impl MemberHash {
    /// The answer's body.
    pub fn to_json(self) -> Bytes {
        let Self { revision, hash, compact_revision, hash_revision } = self;
        let record = HashRecord { header: HashHeader { revision }, hash, compact_revision, hash_revision };
        serde_json::to_vec(&record).expect("numbers have a JSON form").into()
    }

    /// Reads what [`MemberHash::to_json`], or etcd, makes.
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        let HashRecord { header, hash, compact_revision, hash_revision } = serde_json::from_slice(bytes).ok()?;
        Some(Self { revision: header.revision, hash, compact_revision, hash_revision })
    }
}

/// The body that asks for the digest at a revision; 0 is the current one.
pub fn hash_question_to_json(revision: i64) -> Bytes {
    let body = if revision == 0 { "{}".to_string() } else { format!("{{\"revision\":{revision}}}") };
    body.into()
}

/// The revision a body asks for, read as Go reads it: names in any case, what is not known passed over.
pub fn hash_question_from_json(bytes: &[u8]) -> Option<i64> {
    let fields = match serde_json::from_slice(bytes).ok()? {
        serde_json::Value::Null => return Some(0),
        serde_json::Value::Object(fields) => fields,
        _ => return None,
    };
    match fields.iter().rfind(|(name, _)| name.eq_ignore_ascii_case("revision")) {
        None | Some((_, serde_json::Value::Null)) => Some(0),
        Some((_, value)) => value.as_i64(),
    }
}

/// The lease that is to be kept alive.
pub fn keep_alive_from_bytes(bytes: &[u8]) -> Option<LeaseId> {
    pb::LeaseKeepAliveRequest::decode(bytes).ok().map(|request| request.id)
}

/// The body that asks to keep a lease alive.
pub fn keep_alive_to_bytes(id: LeaseId) -> Bytes {
    pb::LeaseKeepAliveRequest { id }.encode_to_vec().into()
}

/// The answer: the lease has so many seconds again.
pub fn kept_alive_to_bytes(id: LeaseId, ttl: i64) -> Bytes {
    pb::LeaseKeepAliveResponse { id, ttl, ..Default::default() }.encode_to_vec().into()
}

/// The seconds of a lease that was kept alive.
pub fn kept_alive_from_bytes(bytes: &[u8]) -> Option<i64> {
    pb::LeaseKeepAliveResponse::decode(bytes).ok().map(|response| response.ttl)
}

/// etcd's `leasepb.LeaseInternalRequest`.
#[derive(Clone, PartialEq, Message)]
struct LeaseInternalRequest {
    #[prost(message, optional, tag = "1")]
    question: Option<pb::LeaseTimeToLiveRequest>,
}

/// etcd's `leasepb.LeaseInternalResponse`.
#[derive(Clone, PartialEq, Message)]
struct LeaseInternalResponse {
    #[prost(message, optional, tag = "1")]
    answer: Option<pb::LeaseTimeToLiveResponse>,
}

/// A lease as a member's answer describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseTimes {
    /// Which.
    pub id: LeaseId,
    /// Whole seconds left.
    pub ttl: i64,
    /// Seconds it was granted for.
    pub granted_ttl: i64,
    /// The keys attached, where they were asked for.
    pub keys: Vec<Bytes>,
}

/// The lease whose times are asked for, and whether its keys are.
pub fn time_to_live_from_bytes(bytes: &[u8]) -> Option<(LeaseId, bool)> {
    // Absent it is the lease 0, as Go reads a message that is not there.
    let question = LeaseInternalRequest::decode(bytes).ok()?.question.unwrap_or_default();
    Some((question.id, question.keys))
}

/// The body that asks for a lease's times.
pub fn time_to_live_to_bytes(id: LeaseId, keys: bool) -> Bytes {
    LeaseInternalRequest { question: Some(pb::LeaseTimeToLiveRequest { id, keys }) }.encode_to_vec().into()
}

/// The answer.
pub fn times_to_bytes(times: LeaseTimes) -> Bytes {
    let LeaseTimes { id, ttl, granted_ttl, keys } = times;
    let answer =
        pb::LeaseTimeToLiveResponse { header: Some(pb::ResponseHeader::default()), id, ttl, granted_ttl, keys };
    LeaseInternalResponse { answer: Some(answer) }.encode_to_vec().into()
}

/// Reads what [`times_to_bytes`], or etcd, makes.
pub fn times_from_bytes(bytes: &[u8]) -> Option<LeaseTimes> {
    let pb::LeaseTimeToLiveResponse { id, ttl, granted_ttl, keys, .. } =
        LeaseInternalResponse::decode(bytes).ok()?.answer?;
    Some(LeaseTimes { id, ttl, granted_ttl, keys })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from stock etcd 3.7.1.
    #[test]
    fn the_bytes_are_etcds() {
        let hash = MemberHash { revision: 4, hash: 1_226_034_253, compact_revision: 2, hash_revision: 4 };
        let text = r#"{"header":{"revision":4},"hash":1226034253,"compact_revision":2,"hash_revision":4}"#;
        assert_eq!((&hash.to_json()[..], MemberHash::from_json(text.as_bytes())), (text.as_bytes(), Some(hash)));
        let empty = MemberHash { revision: 1, hash: 0, compact_revision: 0, hash_revision: 0 };
        assert_eq!(&empty.to_json()[..], br#"{"header":{"revision":1}}"#);
        assert_eq!(MemberHash::from_json(&empty.to_json()), Some(empty));

        assert_eq!(&kept_alive_to_bytes(5, 100)[..], b"\x10\x05\x18\x64");
        let times = LeaseTimes { id: 5, ttl: 99, granted_ttl: 100, keys: vec![Bytes::from_static(b"k1")] };
        let bytes = times_to_bytes(times.clone());
        assert_eq!(&bytes[..], b"\x0a\x0c\x0a\x00\x10\x05\x18\x63\x20\x64\x2a\x02k1");
        assert_eq!(times_from_bytes(&bytes), Some(times));
    }

    #[test]
    fn questions_are_read_as_etcd_reads_them() {
        for (body, revision) in [
            ("{}", Some(0)),
            ("null", Some(0)),
            (r#"{"revision":3}"#, Some(3)),
            (r#"{"Revision":3,"x":[1]}"#, Some(3)),
            (r#"{"revision":null}"#, Some(0)),
            (r#"{"revision":"3"}"#, None),
            (r#"{"revision":3.5}"#, None),
            ("", None),
            ("[]", None),
            ("{}x", None),
        ] {
            assert_eq!(hash_question_from_json(body.as_bytes()), revision, "{body}");
        }
        for revision in [0, 7] {
            assert_eq!(hash_question_from_json(&hash_question_to_json(revision)), Some(revision));
        }
        assert_eq!(keep_alive_from_bytes(&keep_alive_to_bytes(-5)), Some(-5));
        assert_eq!((keep_alive_from_bytes(b""), keep_alive_from_bytes(b"xyz")), (Some(0), None));
        assert_eq!(kept_alive_from_bytes(&kept_alive_to_bytes(5, 9)), Some(9));
        assert_eq!(time_to_live_from_bytes(&time_to_live_to_bytes(9, true)), Some((9, true)));
        assert_eq!((time_to_live_from_bytes(b""), time_to_live_from_bytes(b"xyz")), (Some((0, false)), None));
    }
}
