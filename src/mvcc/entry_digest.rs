//! The fold of records to etcd's digest: what its file would hold for each, in order of revision.
//!
//! Does not know which records count, nor of views.

use std::sync::Arc;

use prost::encoding::{encode_varint, encoded_len_varint};

use super::history::{SCAN_WINDOW, Table};
use super::record::RecordSlice;
use crate::base::Wrong;
use crate::env::Disk;

/// What etcd's digest begins with: the name of its bucket.
pub(super) const BUCKET: &[u8] = b"key";

/// A digest of the data at a revision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashKv {
    /// The digest.
    pub hash: u32,
    /// The compact revision it was made with; −1 is never.
    pub compact_revision: i64,
    /// The revision it is of.
    pub hash_revision: i64,
}

/// The digest of those records up to main revision `at` that count.
pub(super) fn digest<D: Disk>(
    table: &Arc<Table<D>>,
    at: i64,
    counts: impl Fn(&RecordSlice<'_>) -> bool,
) -> Result<u32, Wrong> {
    let mut hash = crc32c::crc32c(BUCKET);
    let mut entry = Vec::new();
    let mut scan = table.scan(0, at, SCAN_WINDOW);
    while scan.step()? {
        let record = scan.current();
        if counts(&record) {
            entry.clear();
            let lease = put_entry(&mut entry, &record, record.value.len());
            hash = crc32c::crc32c_append(hash, &entry[..lease]);
            hash = crc32c::crc32c_append(hash, record.value);
            hash = crc32c::crc32c_append(hash, &entry[lease..]);
        }
    }
    Ok(hash)
}

/// Appends the entry etcd's file would hold for a record, without the value's bytes: its revision as the key, the
/// key-value message as the value. Returns where the value's bytes belong, of which there are `value_len`.
///
/// A record without a key is the mark that a restore leaves when it raises the revision: etcd's has nothing but a revision.
pub fn put_entry(entry: &mut Vec<u8>, record: &RecordSlice<'_>, value_len: usize) -> usize {
    let meta = &record.meta;
    entry.extend_from_slice(&meta.revision.main.to_be_bytes());
    entry.push(b'_');
    entry.extend_from_slice(&i64::from(meta.revision.sub).to_be_bytes());
    if meta.is_tombstone() {
        entry.push(b't');
    }
    if record.key.is_empty() {
        return entry.len();
    }
    put_bytes_head(entry, 1, record.key.len());
    entry.extend_from_slice(record.key);
    if !meta.is_tombstone() {
        put_number(entry, 2, meta.create_revision);
        put_number(entry, 3, meta.revision.main);
        put_number(entry, 4, meta.version);
        put_bytes_head(entry, 5, value_len);
    }
    let at = entry.len();
    put_number(entry, 6, meta.lease);
    at
}

fn put_bytes_head(entry: &mut Vec<u8>, field: u8, len: usize) {
    if len > 0 {
        debug_assert!(encoded_len_varint(u64::from(field) << 3) == 1, "small field numbers are one byte");
        entry.push(field << 3 | 2);
        encode_varint(len as u64, entry);
    }
}

fn put_number(entry: &mut Vec<u8>, field: u8, number: i64) {
    if number != 0 {
        entry.push(field << 3);
        encode_varint(number as u64, entry);
    }
}
