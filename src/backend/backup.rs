//! A database file streamed from what a node shows of itself.
//!
//! Invariants: all of it is of one applied index; the file is measured before its first byte, so its length is known, and it is
//! as long as was said. In memory are a few pages, a window of the history and the small buckets. The last blob is the digest
//! of all before it, as etcd's is. Whoever asks waits for the disk.

use bytes::{BufMut, Bytes};
use sha2::{Digest, Sha256};

use super::buckets as names;
use super::content::{Content, Entries};
use crate::base::Wrong;
use crate::bbolt::Writer;
use crate::env::Disk;
use crate::machine::Shown;
use crate::mvcc::{Record, Retained, put_entry};

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

/// One run over everything, be it to measure or to write.
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
            match self.records.next_record()? {
                Some(record) => self.put(&record),
                None => {
                    self.writer.end();
                    self.in_keys = false;
                }
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
        for (key, value) in &entries {
            self.writer.put(key, value.len(), |out| out.put_slice(value));
        }
        self.writer.end();
        Ok(())
    }

    fn put(&mut self, record: &Record) {
        self.entry.clear();
        let value_at = put_entry(&mut self.entry, record);
        let key = super::entry::REVISION_BYTES + usize::from(record.meta.is_tombstone());
        let (head, tail) = self.entry.split_at(value_at);
        let (key, head) = head.split_at(key);
        let bytes = head.len() + record.value.len() + tail.len();
        self.writer.put(key, bytes, |out| {
            out.put_slice(head);
            out.put_slice(&record.value);
            out.put_slice(tail);
        });
    }
}

/// Entries measured between two questions whether anybody still waits.
const ASK_EVERY: u64 = 4096;

impl<D: Disk> Backup<D> {
    /// Measures the file: reads all that will be in it once. `given_up` is asked now and then: nothing comes of it then.
    pub fn measure(shown: &Shown<D>, given_up: &dyn Fn() -> bool) -> Result<Option<Self>, Wrong> {
        let content = Content::of(&shown.state);
        let mut run = Run::new(Writer::measure(), content.clone(), shown.records.again());
        for step in 0_u64.. {
            if run.rest.len() == 0 && !run.in_keys {
                break;
            }
            if step.is_multiple_of(ASK_EVERY) && given_up() {
                return Ok(None);
            }
            run.step()?;
        }
        let layout = run.writer.finish();
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
