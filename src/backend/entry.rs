//! One entry of the bucket `key`: a revision, and what it left of a key.

use bytes::{Buf, Bytes};
use prost::Message;

use crate::base::Revision;
use crate::mvcc::{KeyMeta, Record};
use crate::wire::mvccpb;

/// Bytes of a revision: main, an underscore, sub.
pub(super) const REVISION_BYTES: usize = 17;

/// A revision as etcd writes it.
pub(super) fn revision_bytes(main: i64, sub: i64) -> [u8; REVISION_BYTES] {
    let mut bytes = [b'_'; REVISION_BYTES];
    bytes[..8].copy_from_slice(&main.to_be_bytes());
    bytes[9..].copy_from_slice(&sub.to_be_bytes());
    bytes
}

/// Main and sub of a revision; nothing where it is none.
pub(super) fn read_revision(mut bytes: &[u8]) -> Option<(i64, i64)> {
    if bytes.len() != REVISION_BYTES || bytes[8] != b'_' {
        return None;
    }
    let main = bytes.get_i64();
    bytes.advance(1);
    Some((main, bytes.get_i64()))
}

/// The record of an entry; the text says what does not hold.
pub(super) fn read_entry(key: &[u8], value: Bytes) -> Result<Record, String> {
    let (revision, rest) = key.split_at_checked(REVISION_BYTES).ok_or("its key is shorter than a revision")?;
    let is_tombstone = match rest {
        b"" => false,
        b"t" => true,
        _ => return Err("its key is longer than a revision".to_string()),
    };
    let (main, sub) = read_revision(revision).ok_or("its key is no revision")?;
    let sub = u32::try_from(sub).map_err(|_| format!("revision {main} has part {sub}"))?;
    if main < 1 {
        return Err(format!("revision {main} is before the first"));
    }
    let revision = Revision::new(main, sub);
    if value.is_empty() && !is_tombstone {
        // The mark of a restore that raised the revision: an entry of nothing.
        let meta = KeyMeta { create_revision: main, revision, version: 1, lease: 0 };
        return Ok(Record { meta, last: false, key: Bytes::new(), value: Bytes::new() });
    }
    let kv = mvccpb::KeyValue::decode(value).map_err(|error| format!("revision {revision}: {error}"))?;
    if kv.key.is_empty() {
        return Err(format!("revision {revision} is of no key"));
    }
    if is_tombstone {
        let meta = KeyMeta { create_revision: 0, revision, version: 0, lease: 0 };
        return Ok(Record { meta, last: false, key: kv.key, value: Bytes::new() });
    }
    if kv.mod_revision != main || kv.version < 1 || !(1..=main).contains(&kv.create_revision) {
        return Err(format!("revision {revision} contradicts what it says of its key"));
    }
    let meta = KeyMeta { create_revision: kv.create_revision, revision, version: kv.version, lease: kv.lease };
    Ok(Record { meta, last: false, key: kv.key, value: kv.value })
}
