//! etcd's digest of the entries of a file that is not opened as a store: they are shown twice, in order.
//!
//! Invariant: the number is the one a store of the same entries answers with ([`super::View::fresh_hash_kv`]). The index is in
//! memory, the entries are not.

use super::digest::Counting;
use super::entry_digest::{BUCKET, HashKv};
use super::index_build::{BatchSizes, IndexBuild};
use super::key_index::{KeyIndex, KeyMeta};
use super::record::RecordSlice;

/// The first of two walks over the entries: which are alive is learnt.
pub struct FileDigest {
    build: IndexBuild,
    compacted: i64,
}

impl FileDigest {
    /// Of a file whose compact revision is `compacted`; −1 is never.
    pub fn new(compacted: i64) -> Self {
        Self { build: IndexBuild::new(compacted, BatchSizes::default()), compacted }
    }

    /// Takes note of the next entry.
    pub fn note(&mut self, key: &[u8], meta: KeyMeta) {
        self.build.add(&RecordSlice { meta, last: false, key, value: b"" });
        if self.build.is_full() {
            self.build.fold();
        }
    }

    /// Alive keys among what was noted.
    pub fn alive(mut self) -> u64 {
        self.build.fold();
        self.build.finish().live()
    }

    /// What the second walk needs, for the digest at revision `at`.
    pub fn at(mut self, at: i64) -> FileDigestAt {
        self.build.fold();
        let index = self.build.finish();
        let counting = Counting::new(&index, self.compacted, at);
        FileDigestAt { index, counting, compacted: self.compacted, at, hash: crc32c::crc32c(BUCKET) }
    }
}

/// The second walk.
pub struct FileDigestAt {
    index: KeyIndex,
    counting: Counting,
    compacted: i64,
    at: i64,
    hash: u32,
}

impl FileDigestAt {
    /// Takes the next entry in: its key and value as they are in the file, where it counts.
    pub fn add(&mut self, key: &[u8], meta: &KeyMeta, entry_key: &[u8], entry_value: &[u8]) {
        if meta.revision.main <= self.at && self.counting.counts(&self.index, key, meta) {
            self.hash = crc32c::crc32c_append(self.hash, entry_key);
            self.hash = crc32c::crc32c_append(self.hash, entry_value);
        }
    }

    /// The digest.
    pub fn finish(self) -> HashKv {
        HashKv { hash: self.hash, compact_revision: self.compacted, hash_revision: self.at }
    }
}
