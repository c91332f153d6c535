//! A database file streamed from what a node shows of itself.
//!
//! Invariants: all of it is of one applied index; the file is measured before its first byte, from outlines of the history where
//! there are any, so its length is known, and it is as long as was said. In memory are a few pages, a window of the history and the small buckets. The last blob is the digest
//! of all before it, as etcd's is. Whoever asks waits for the disk.

use bytes::{BufMut, Bytes};
use sha2::{Digest, Sha256};

use super::buckets as names;
use super::content::{Content, Entries};
use crate::base::Wrong;
use crate::bbolt::Writer;
use crate::env::Disk;
use crate::machine::Shown;
use crate::mvcc::{RecordSlice, Retained, put_entry};

/// A piece of the stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blob {
    /// The bytes.
    pub bytes: Bytes,
    /// Bytes of the file behind it; the digest does not count.
    pub remaining: u64,
}

/// A file on its way; see the module's head.
pub struct Backup<D: Disk> {
    run: Run<D>,
    /// Bytes of the file, and of what was given of it.
    size: u64,
    given: u64,
    digest: Option<Sha256>,
}

/// A run over everything, to write it.
struct Run<D: Disk> {
    writer: Writer,
    /// What is left of the buckets.
    rest: std::collections::btree_map::IntoIter<&'static [u8], Entries>,
    records: Retained<D>,
    /// Whether the bucket of the keys is open.
    in_keys: bool,
    ended: bool,
    /// An entry without its value.
    entry: Vec<u8>,
}

impl<D: Disk> Run<D> {
    fn new(writer: Writer, content: Content, records: Retained<D>) -> Self {
        Self { writer, rest: content.0.into_iter(), records, in_keys: false, ended: false, entry: Vec::new() }
    }

    /// Puts the next entry, or the next small bucket.
    fn step(&mut self) -> Result<(), Wrong> {
        if self.in_keys {
            if self.records.step()? {
                let record = self.records.current();
                put_record(&mut self.writer, &mut self.entry, &record, record.value.len());
            } else {
                self.writer.end();
                self.in_keys = false;
            }
            return Ok(());
        }
        let Some((name, entries)) = self.rest.next() else {
            self.writer.finish();
            self.ended = true;
            return Ok(());
        };
        self.writer.begin(name);
        if name == names::KEY {
            self.in_keys = true;
            return Ok(());
        }
        put_small(&mut self.writer, &entries);
        Ok(())
    }
}

/// Puts all of a bucket, and ends it.
fn put_small(writer: &mut Writer, entries: &Entries) {
    for (key, value) in entries {
        writer.put(key, value.len(), |out| out.put_slice(value));
    }
    writer.end();
}

/// Puts a record, whose value has `value_len` bytes: a writer that measures has no use for them. `entry` is room for it.
fn put_record(writer: &mut Writer, entry: &mut Vec<u8>, record: &RecordSlice<'_>, value_len: usize) {
    entry.clear();
    let value_at = put_entry(entry, record, value_len);
    let key = super::entry::REVISION_BYTES + usize::from(record.meta.is_tombstone());
    let (head, tail) = entry.split_at(value_at);
    let (key, head) = head.split_at(key);
    writer.put(key, head.len() + value_len + tail.len(), |out| {
        out.put_slice(head);
        out.put_slice(record.value);
        out.put_slice(tail);
    });
}

/// Entries measured between two questions whether anybody still waits.
const ASK_EVERY: u64 = 4096;

impl<D: Disk> Backup<D> {
    /// Measures the file: looks at all that will be in it once. `given_up` is asked now and then: nothing comes of it then.
    pub fn measure(shown: &Shown<D>, given_up: &dyn Fn() -> bool) -> Result<Option<Self>, Wrong> {
        let content = Content::of(&shown.state);
        let (mut writer, mut entry, mut number) = (Writer::measure(), Vec::new(), 0_u64);
        for (name, entries) in &content.0 {
            writer.begin(name);
            if *name == names::KEY {
                let is_whole = shown.records.sketch(&mut |record, value_len| {
                    number += 1;
                    put_record(&mut writer, &mut entry, record, value_len);
                    !(number.is_multiple_of(ASK_EVERY) && given_up())
                })?;
                if !is_whole {
                    return Ok(None);
                }
            }
            put_small(&mut writer, entries);
        }
        let layout = writer.finish();
        let run = Run::new(Writer::new(layout), content, shown.records.again());
        Ok(Some(Self { run, size: layout.bytes(), given: 0, digest: Some(Sha256::new()) }))
    }

    /// Bytes of the file, without the digest.
    pub fn bytes(&self) -> u64 {
        self.size
    }

    /// The next piece of the file, of `most` bytes but for the last one; behind it the digest; then nothing.
    pub fn next(&mut self, most: usize) -> Result<Option<Blob>, Wrong> {
        while self.run.writer.ready() < most && !self.run.ended {
            self.run.step()?;
        }
        let bytes = self.run.writer.take(most);
        if bytes.is_empty() {
            assert_eq!(self.given, self.size, "the file is as long as was measured");
            let digest = self.digest.take().map(|digest| Bytes::copy_from_slice(&digest.finalize()));
            return Ok(digest.map(|bytes| Blob { bytes, remaining: 0 }));
        }
        if let Some(digest) = &mut self.digest {
            digest.update(&bytes);
        }
        self.given += bytes.len() as u64;
        Ok(Some(Blob { bytes, remaining: self.size - self.given }))
    }
}
