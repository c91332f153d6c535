//! One record of the history: one change of one key, and its bytes.
//!
//! Invariant: decoding never trusts a length beyond the bytes at hand. The layout stands in `docs/formats.md`.
//! Does not know where records lie.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::key_index::KeyMeta;
use crate::base::{KeyValue, Revision};

/// Kind of frame a record is in.
pub const KIND_RECORD: u8 = 1;

/// Kind of frame that says nothing: it fills the rest of a sector, so that what is written next touches none that a
/// checkpoint promised.
pub const KIND_PAD: u8 = 2;

/// Bytes of a body before the key.
const FIXED_BYTES: usize = 8 + 4 + 1 + 8 + 8 + 8 + 4;

const TOMBSTONE: u8 = 1;
const LAST: u8 = 2;

/// Bytes of the body of a record with such a key and value.
pub fn body_len(key_len: usize, value_len: usize) -> usize {
    FIXED_BYTES + key_len + value_len
}

/// One change of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Revision, create revision, version and lease; version 0 is a tombstone.
    pub meta: KeyMeta,
    /// Whether its transaction ends with it.
    pub last: bool,
    /// The key.
    pub key: Bytes,
    /// The value; empty in a tombstone.
    pub value: Bytes,
}

impl Record {
    /// Bytes of the body.
    pub fn encoded_len(&self) -> usize {
        body_len(self.key.len(), self.value.len())
    }

    /// Appends the body's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        RecordSlice { meta: self.meta, last: self.last, key: &self.key, value: &self.value }.encode(out);
    }

    /// Reads a body; key and value share its bytes. The text says what does not hold.
    pub fn decode(body: Bytes) -> Result<Self, &'static str> {
        let RecordSlice { meta, last, key, .. } = RecordSlice::decode(&body)?;
        let value_start = FIXED_BYTES + key.len();
        Ok(Self { meta, last, key: body.slice(FIXED_BYTES..value_start), value: body.slice(value_start..) })
    }

    /// The key-value the change left.
    pub fn into_key_value(self) -> KeyValue {
        KeyValue {
            key: self.key,
            value: self.value,
            create_revision: self.meta.create_revision,
            mod_revision: self.meta.revision.main,
            version: self.meta.version,
            lease: self.meta.lease,
        }
    }
}

/// As [`Record`], where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordSlice<'a> {
    /// Revision, create revision, version and lease; version 0 is a tombstone.
    pub meta: KeyMeta,
    /// Whether its transaction ends with it.
    pub last: bool,
    /// The key.
    pub key: &'a [u8],
    /// The value; empty in a tombstone.
    pub value: &'a [u8],
}

impl<'a> RecordSlice<'a> {
    /// Bytes of the body.
    pub fn encoded_len(&self) -> usize {
        body_len(self.key.len(), self.value.len())
    }

    /// Appends the body's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        let meta = &self.meta;
        out.reserve(self.encoded_len());
        out.put_i64_le(meta.revision.main);
        out.put_u32_le(meta.revision.sub);
        out.put_u8((u8::from(meta.is_tombstone()) * TOMBSTONE) | (u8::from(self.last) * LAST));
        out.put_i64_le(meta.create_revision);
        out.put_i64_le(meta.version);
        out.put_i64_le(meta.lease);
        out.put_u32_le(u32::try_from(self.key.len()).expect("a key is within a request"));
        out.put_slice(self.key);
        out.put_slice(self.value);
    }

    /// Reads a body. The text says what does not hold.
    pub fn decode(mut body: &'a [u8]) -> Result<Self, &'static str> {
        if body.len() < FIXED_BYTES {
            return Err("a record is shorter than its fixed part");
        }
        let revision = Revision::new(body.get_i64_le(), body.get_u32_le());
        let flags = body.get_u8();
        let (create_revision, version, lease) = (body.get_i64_le(), body.get_i64_le(), body.get_i64_le());
        let key_len = body.get_u32_le() as usize;
        if flags & !(TOMBSTONE | LAST) != 0 {
            return Err("a record has unknown flags");
        }
        let tombstone = flags & TOMBSTONE != 0;
        let (key, value) = body.split_at_checked(key_len).ok_or("a record's key is longer than the record")?;
        if tombstone != (version == 0) || version < 0 || tombstone && !value.is_empty() {
            return Err("a record contradicts its own tombstone mark");
        }
        let meta = KeyMeta { create_revision, revision, version, lease };
        Ok(Self { meta, last: flags & LAST != 0, key, value })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trips(
            main in 1i64.., sub: u32, create: i64, version in 0i64.., lease: i64, last: bool,
            key in prop::collection::vec(any::<u8>(), 1..40), value in prop::collection::vec(any::<u8>(), 0..90),
        ) {
            let value = if version == 0 { Vec::new() } else { value };
            let record = Record {
                meta: KeyMeta { create_revision: create, revision: Revision::new(main, sub), version, lease },
                last, key: key.into(), value: value.into(),
            };
            let mut out = BytesMut::new();
            record.encode(&mut out);
            prop_assert_eq!(Record::decode(out.freeze()), Ok(record));
        }

        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(record) = Record::decode(Bytes::from(bytes.clone())) {
                let mut out = BytesMut::new();
                record.encode(&mut out);
                prop_assert_eq!(&out[..], &bytes[..]);
            }
        }
    }
}
