//! Chunks: the form in which the whole state travels from one member to another.
//!
//! Invariants: chunks are numbered from 0; each is one frame bound to its snapshot and its number, so that one that was
//! changed, or belongs elsewhere, does not verify. What the chunks behind the header say follows from the applied
//! index alone: members send the same bytes, whatever each has pruned or reclaimed. The layout stands in
//! `docs/formats.md`.
//!
//! Does not know where records come from or go to, nor what the state beside them says.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::record::RecordSlice;
use crate::base::{Revision, limits};
use crate::log::{LOG_SNAPSHOT, Place, frame};

const VERSION: u8 = 1;
const KIND_HEADER: u8 = 1;
const KIND_STATE: u8 = 2;
const KIND_RECORDS: u8 = 3;
const KIND_END: u8 = 4;

const HEADER_BYTES: usize = 1 + SnapshotHeader::BYTES;
const END_BYTES: usize = 8 + 8 + 4;

/// What the first chunk says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotHeader {
    /// The store's revision.
    pub revision: i64,
    /// Its compact revision; −1 is never.
    pub compact_revision: i64,
    /// Bytes of the state that belongs to the data.
    pub state_bytes: u64,
    /// About how many bytes of records will come: for progress alone.
    pub about_bytes: u64,
    /// Keys alive: for progress alone.
    pub keys: u64,
}

/// How far a transfer is: everything before was sent, or taken. Where a cut one goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SnapshotProgress {
    /// Number of the next chunk.
    pub chunk: u64,
    /// No record below this is in it.
    pub next: Revision,
    /// Records so far.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Digest of their bytes.
    pub digest: u32,
}

impl SnapshotProgress {
    /// Behind one more chunk; `body` is of records up to `last`, where it is of records.
    pub(super) fn behind(self, records: u64, body: &[u8], last: Option<Revision>) -> Self {
        Self {
            chunk: self.chunk + 1,
            next: last.map_or(self.next, |last| Revision::new(last.main, last.sub + 1)),
            records: self.records + records,
            bytes: self.bytes + body.len() as u64,
            digest: crc32c::crc32c_append(self.digest, body),
        }
    }

    /// What the last chunk must say.
    pub(super) fn end(&self) -> Chunk {
        Chunk::End { records: self.records, bytes: self.bytes, digest: self.digest }
    }
}

/// One chunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Chunk {
    /// The first.
    Header(SnapshotHeader),
    /// A piece of the state that belongs to the data.
    State(Bytes),
    /// Records, each behind its length.
    Records(Bytes),
    /// The last: what all of them came to.
    End { records: u64, bytes: u64, digest: u32 },
}

fn place(id: u64, number: u64) -> Place {
    Place { log: LOG_SNAPSHOT, segment: id, offset: number * frame::FRAME_ALIGN as u64 }
}

/// Chunks that a state of so many bytes takes.
pub(super) fn state_chunks(state_bytes: u64, chunk_bytes: usize) -> u64 {
    state_bytes.div_ceil(chunk_bytes as u64)
}

/// Appends a record to the body of a chunk.
pub(super) fn put_record(body: &mut BytesMut, record: &super::record::Record) {
    // A record came in a batch of the log, which has the same bound and a larger head: so this fits a frame.
    body.put_u32_le(u32::try_from(record.encoded_len()).expect("a record is within its limit"));
    record.encode(body);
}

/// Shows the records of a body in order; the text says what does not hold.
pub(super) fn each_record(
    mut body: &[u8],
    mut on_record: impl FnMut(&RecordSlice<'_>, &[u8]) -> Result<(), String>,
) -> Result<(), String> {
    while !body.is_empty() {
        let (len, rest) = body.split_at_checked(4).ok_or("a chunk ends inside a length")?;
        let len = u32::from_le_bytes(len.try_into().expect("four bytes")) as usize;
        let (record, rest) = rest.split_at_checked(len).ok_or("a chunk ends inside a record")?;
        on_record(&RecordSlice::decode(record)?, record)?;
        body = rest;
    }
    Ok(())
}

impl Chunk {
    /// The bytes of chunk `number` of snapshot `id`.
    pub(super) fn encode(&self, id: u64, number: u64) -> Bytes {
        let mut small = BytesMut::new();
        let (kind, body): (u8, &[u8]) = match self {
            Self::Header(header) => {
                small.put_u8(VERSION);
                header.put(&mut small);
                (KIND_HEADER, &small)
            }
            Self::State(piece) => (KIND_STATE, piece),
            Self::Records(body) => (KIND_RECORDS, body),
            Self::End { records, bytes, digest } => {
                small.put_u64_le(*records);
                small.put_u64_le(*bytes);
                small.put_u32_le(*digest);
                (KIND_END, &small)
            }
        };
        let mut out = BytesMut::with_capacity(frame::FRAME_HEADER_BYTES + body.len() + frame::FRAME_ALIGN);
        let begun = frame::begin(&mut out);
        out.put_slice(body);
        frame::seal(&mut out, begun, place(id, number), kind);
        out.freeze()
    }

    /// Reads chunk `number` of snapshot `id`. Any bytes may be given; the text says what does not hold.
    pub(super) fn decode(id: u64, number: u64, bytes: &Bytes) -> Result<Self, String> {
        let framed = frame::decode(place(id, number), bytes)
            .map_err(|wrong| format!("it is not chunk {number} of snapshot {id:x}, or is damaged: {wrong:?}"))?;
        if framed.total != bytes.len() {
            return Err(format!("chunk {number} has bytes behind its end"));
        }
        let mut body = framed.body;
        match framed.kind {
            KIND_HEADER if body.len() == HEADER_BYTES => {
                let version = body.get_u8();
                if version != VERSION {
                    return Err(format!("a snapshot of unknown version {version}"));
                }
                Ok(Self::Header(SnapshotHeader::take(&mut body)))
            }
            KIND_STATE if !body.is_empty() => Ok(Self::State(body)),
            KIND_RECORDS if !body.is_empty() => Ok(Self::Records(body)),
            KIND_END if body.len() == END_BYTES => {
                Ok(Self::End { records: body.get_u64_le(), bytes: body.get_u64_le(), digest: body.get_u32_le() })
            }
            _ => Err(format!("chunk {number} is of an unknown kind or has another length than its kind")),
        }
    }
}

impl SnapshotHeader {
    /// Bytes of it.
    pub(super) const BYTES: usize = 5 * 8;

    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_i64_le(self.revision);
        out.put_i64_le(self.compact_revision);
        out.put_u64_le(self.state_bytes);
        out.put_u64_le(self.about_bytes);
        out.put_u64_le(self.keys);
    }

    /// Takes the [bytes](Self::BYTES) of one away, which must be there.
    pub(super) fn take(bytes: &mut Bytes) -> Self {
        Self {
            revision: bytes.get_i64_le(),
            compact_revision: bytes.get_i64_le(),
            state_bytes: bytes.get_u64_le(),
            about_bytes: bytes.get_u64_le(),
            keys: bytes.get_u64_le(),
        }
    }

    /// Whether a store can be like this.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.revision < 1
            || self.revision == i64::MAX
            || self.compact_revision < -1
            || self.compact_revision > self.revision
        {
            return Err("a snapshot with impossible revisions".to_string());
        }
        if self.state_bytes > limits::MAX_IMAGE_BYTES {
            return Err(format!("a snapshot's state of {} bytes is beyond the limit", self.state_bytes));
        }
        Ok(())
    }
}
