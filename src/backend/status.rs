//! What can be told of a database without making anything of it: `snapshot status` and `hashkv`.

use bytes::Bytes;

use super::buckets as names;
use super::entry::read_entry;
use super::foreign::Foreign;
use super::records::Records;
use crate::base::{Refusal, Wrong};
use crate::bbolt::{Database, Source};
use crate::mvcc::{FileDigest, HashKv, ReadFailure};

/// A database as `snapshot status` tells of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileStatus {
    /// CRC-32C of the names of all buckets and their entries.
    pub hash: u32,
    /// Main revision of the newest change.
    pub revision: i64,
    /// Alive keys.
    pub keys: u64,
    /// Bytes.
    pub bytes: u64,
    /// Version of the form; empty where it says none.
    pub version: String,
}

/// Reads all of `database`, which errors call `name`. `heard` is told of the bytes that were looked at.
pub fn status<S: Source>(database: &Database<S>, name: &str, heard: &mut dyn FnMut(u64)) -> Result<FileStatus, Wrong> {
    // Beyond what is needed to read it, as etcdutl.
    database.check_metas()?;
    let mut seen = database.unseen();
    let mut told = FileStatus { hash: 0, revision: 0, keys: 0, bytes: database.bytes(), version: String::new() };
    // As a store builds its index: sorted at the end, whatever the keys are like.
    let mut keys = FileDigest::new(-1);
    let buckets: Vec<Bytes> = database.buckets().cloned().collect();
    for bucket in buckets {
        told.hash = crc32c::crc32c_append(told.hash, &bucket);
        let mut walk = database.walk(&bucket, &mut seen);
        while let Some((key, value)) = walk.next_entry()? {
            told.hash = crc32c::crc32c_append(told.hash, &key);
            told.hash = crc32c::crc32c_append(told.hash, &value);
            heard((key.len() + value.len()) as u64);
            if bucket[..] != *names::KEY {
                continue;
            }
            let record = read_entry(&key, value).map_err(|what| walk.damaged(format!("bucket key: {what}")))?;
            told.revision = record.meta.revision.main;
            keys.note(&record.key, record.meta);
        }
    }
    told.keys = keys.alive();
    let foreign = Foreign::read(database, name, &mut database.unseen())?;
    told.version = foreign.storage_version.unwrap_or_default();
    Ok(told)
}

/// etcd's digest of the data at `revision`; 0 is the newest. Goes through the file twice.
pub fn hash_kv<S: Source>(database: &Database<S>, name: &str, revision: i64) -> Result<HashKv, ReadFailure> {
    let compacted = Foreign::read(database, name, &mut database.unseen())?.compacted;
    let mut digest = FileDigest::new(compacted);
    let mut newest = compacted.max(1);
    let mut seen = database.unseen();
    let mut records = Records::of(database, &mut seen);
    while let Some((record, _, _)) = records.next_record()? {
        newest = newest.max(record.meta.revision.main);
        digest.note(&record.key, record.meta);
    }
    let at = if revision == 0 { newest } else { revision };
    // One below 0 is before all there was, as in etcd.
    if (0..compacted).contains(&at) {
        return Err(Refusal::Compacted.into());
    }
    if at > newest {
        return Err(Refusal::FutureRevision.into());
    }
    let mut digest = digest.at(at);
    let mut seen = database.unseen();
    let mut records = Records::of(database, &mut seen);
    while let Some((record, key, value)) = records.next_record()? {
        digest.add(&record.key, &record.meta, &key, &value);
    }
    Ok(digest.finish())
}
