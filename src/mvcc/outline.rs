//! The outline of a history segment: its records without their values, and where each lies.
//!
//! A start builds the index from keys and numbers; values are most of the bytes, and nobody asks for most of them. So a
//! segment that will not grow any more gets an outline, in a file beside it, and a start reads that in its place. What
//! of the segment is not read then is verified when it is read, as all of it always was.
//!
//! Invariants: an outline follows from its segment's bytes alone; it is believed only where a position names it by length
//! and checksum, so one that is half written, stale, damaged or gone is as none, and the segment is read whole. Decoding
//! trusts no length. The layout stands in `docs/formats.md`. Does not know of files.

use bytes::{BufMut, Bytes, BytesMut};

use super::key_index::KeyMeta;
use super::record::{RecordSlice, body_len};
use crate::base::Revision;
use crate::log::frame::{FRAME_ALIGN, total_len};

const MAGIC: &[u8; 8] = b"QRTOUTL1";

/// Magic, number of the segment, its length, records.
const HEAD_BYTES: usize = 8 + 8 + 8 + 8;

const TOMBSTONE: u8 = 1;
const LAST: u8 = 2;
/// Bytes that are no record lie before this one.
const GAP: u8 = 4;
/// The revision follows the one before: the next change of its transaction, or the first of the next.
const FOLLOWS: u8 = 8;
const LEASED: u8 = 16;
const KNOWN: u8 = TOMBSTONE | LAST | GAP | FOLLOWS | LEASED;

/// What a position says of an outline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OutlineMark {
    /// Its bytes.
    pub(super) len: u64,
    /// CRC-32C of all of them.
    pub(super) checksum: u32,
}

impl OutlineMark {
    /// The mark of an outline's bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { len: bytes.len() as u64, checksum: crc32c::crc32c(bytes) }
    }
}

/// An outline being written, record by record.
#[derive(Debug)]
pub(super) struct OutlineWriter {
    bytes: BytesMut,
    segment: u64,
    records: u64,
    /// Where the record before ended.
    end: u64,
    before: Revision,
    last: bool,
}

impl OutlineWriter {
    /// Of segment `segment`.
    pub(super) fn new(segment: u64) -> Self {
        let bytes = BytesMut::zeroed(HEAD_BYTES);
        Self { bytes, segment, records: 0, end: 0, before: Revision::default(), last: true }
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The next record, whose frame lies at `at`.
    pub(super) fn add(&mut self, at: u64, record: &RecordSlice<'_>) {
        let (meta, out) = (&record.meta, &mut self.bytes);
        let revision = meta.revision;
        let (gap, follows) = (at - self.end, revision == following(self.before, self.last));
        let flag = |bit: u8, is: bool| if is { bit } else { 0 };
        out.put_u8(
            flag(TOMBSTONE, meta.is_tombstone())
                | flag(LAST, record.last)
                | flag(GAP, gap > 0)
                | flag(FOLLOWS, follows)
                | flag(LEASED, meta.lease != 0),
        );
        if gap > 0 {
            put_number(out, gap / FRAME_ALIGN as u64);
        }
        if !follows {
            // Revisions ascend.
            put_number(out, (revision.main - self.before.main) as u64);
            put_number(out, u64::from(revision.sub));
        }
        if !meta.is_tombstone() {
            put_number(out, (revision.main - meta.create_revision) as u64);
            put_number(out, meta.version as u64);
        }
        if meta.lease != 0 {
            out.put_i64_le(meta.lease);
        }
        put_number(out, record.key.len() as u64);
        out.put_slice(record.key);
        put_number(out, record.value.len() as u64);
        self.end = at + total_len(body_len(record.key.len(), record.value.len())) as u64;
        (self.before, self.last) = (revision, record.last);
        self.records += 1;
    }

    /// The file's bytes, of a segment of `len` bytes.
    pub(super) fn finish(mut self, len: u64) -> Bytes {
        let mut head = &mut self.bytes[..HEAD_BYTES];
        head.put_slice(MAGIC);
        head.put_u64_le(self.segment);
        head.put_u64_le(len);
        head.put_u64_le(self.records);
        self.bytes.freeze()
    }
}

/// The revision that comes next where none is left out.
fn following(before: Revision, last: bool) -> Revision {
    if last {
        Revision::new(before.main.wrapping_add(1), 0)
    } else {
        Revision::new(before.main, before.sub.wrapping_add(1))
    }
}

fn put_number(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// Shows every record of an outline to `on_record`, with where its frame lies and how long its value is, in order; values
/// are empty. The text says what does not hold.
pub(super) fn each_record(
    bytes: &[u8],
    (segment, len): (u64, u64),
    mut on_record: impl FnMut(u64, &RecordSlice<'_>, usize) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    let (head, body) = bytes.split_at_checked(HEAD_BYTES).ok_or("an outline is shorter than its head")?;
    let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    if head[..8] != MAGIC[..] {
        return Err("it does not begin as an outline does");
    }
    if (number(8), number(16)) != (segment, len) {
        return Err("it is the outline of another segment");
    }
    let (mut rest, mut end, mut before, mut was_last) = (Rest(body), 0_u64, Revision::default(), true);
    for _ in 0..number(24) {
        let flags = rest.byte()?;
        if flags & !KNOWN != 0 {
            return Err("an outline has unknown flags");
        }
        let is = |bit: u8| flags & bit != 0;
        let gap = if is(GAP) { rest.number()? } else { 0 };
        let at = gap.checked_mul(FRAME_ALIGN as u64).and_then(|gap| end.checked_add(gap)).ok_or(TOO_LARGE)?;
        let revision = if is(FOLLOWS) { following(before, was_last) } else { rest.revision_behind(before)? };
        let (mut create_revision, mut version) = (0, 0);
        if !is(TOMBSTONE) {
            let age = i64::try_from(rest.number()?).map_err(|_| TOO_LARGE)?;
            create_revision = revision.main.checked_sub(age).ok_or(TOO_LARGE)?;
            version = i64::try_from(rest.number()?).map_err(|_| TOO_LARGE)?;
            if version == 0 {
                return Err("an outline contradicts its own tombstone mark");
            }
        }
        let lease = if is(LEASED) { i64::from_le_bytes(rest.array()?) } else { 0 };
        let key_len = usize::try_from(rest.number()?).map_err(|_| TOO_LARGE)?;
        let key = rest.take(key_len)?;
        let value_len = rest.number()?;
        // What a segment holds, whatever the outline says.
        let value_len = usize::try_from(value_len).ok().filter(|_| value_len <= len).ok_or(TOO_LARGE)?;
        let meta = KeyMeta { create_revision, revision, version, lease };
        end = at.checked_add(total_len(body_len(key.len(), value_len)) as u64).ok_or(TOO_LARGE)?;
        if end > len {
            return Err("an outline has a record beyond its segment");
        }
        on_record(at, &RecordSlice { meta, last: is(LAST), key, value: b"" }, value_len)?;
        (before, was_last) = (revision, is(LAST));
    }
    if rest.0.is_empty() { Ok(()) } else { Err("an outline goes on behind its records") }
}

const TOO_LARGE: &str = "an outline has a number that is too large";

/// What is left of an outline's bytes.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("an outline ends inside a record")?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        Ok(self.take(N)?.try_into().expect("as many were taken"))
    }

    fn number(&mut self) -> Result<u64, &'static str> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(TOO_LARGE)
    }

    fn revision_behind(&mut self, before: Revision) -> Result<Revision, &'static str> {
        let more = i64::try_from(self.number()?).map_err(|_| TOO_LARGE)?;
        let main = before.main.checked_add(more).ok_or(TOO_LARGE)?;
        Ok(Revision::new(main, u32::try_from(self.number()?).map_err(|_| TOO_LARGE)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Row = (u64, KeyMeta, bool, Vec<u8>, usize);

    fn read(bytes: &[u8], segment: u64, len: u64) -> Result<Vec<Row>, &'static str> {
        let mut rows = Vec::new();
        each_record(bytes, (segment, len), |at, record, value_len| {
            rows.push((at, record.meta, record.last, record.key.to_vec(), value_len));
            Ok(())
        })?;
        Ok(rows)
    }

    /// Records in any order a segment may have, with their places.
    fn rows() -> impl Strategy<Value = (Vec<Row>, u64)> {
        let one = (
            (0..3_i64, 0..3_u32, 0..4_u64),
            (0..300_i64, 0..1_000_000_i64, prop_oneof![Just(0), any::<i64>()]),
            any::<bool>(),
            prop::collection::vec(any::<u8>(), 1..300),
            0..70_000_usize,
        );
        prop::collection::vec(one, 0..40).prop_map(|drawn| {
            let (mut rows, mut end, mut before) = (Vec::new(), 0, Revision::new(5, 0));
            for ((main, sub, gap), (age, version, lease), last, key, value_len) in drawn {
                let sub = if main == 0 { before.sub + 1 + sub } else { sub };
                let revision = Revision::new(before.main + main, sub);
                let (create_revision, value_len) = if version == 0 { (0, 0) } else { (revision.main - age, value_len) };
                let at = end + gap * 8;
                end = at + total_len(body_len(key.len(), value_len)) as u64;
                before = revision;
                rows.push((at, KeyMeta { create_revision, revision, version, lease }, last, key, value_len));
            }
            (rows, end)
        })
    }

    fn written(rows: &[Row], segment: u64, len: u64) -> Bytes {
        let mut outline = OutlineWriter::new(segment);
        for (at, meta, last, key, value_len) in rows {
            outline.add(*at, &RecordSlice { meta: *meta, last: *last, key, value: &vec![0; *value_len] });
        }
        outline.finish(len)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read((rows, len) in rows(), segment: u64) {
            let bytes = written(&rows, segment, len);
            prop_assert_eq!(read(&bytes, segment, len), Ok(rows));
            prop_assert!(read(&bytes, segment.wrapping_add(1), len).is_err());
            prop_assert!(read(&bytes, segment, len + 8).is_err());
        }

        #[test]
        fn any_bytes_are_an_outline_or_an_error(
            (rows, len) in rows(), at: prop::sample::Index, with: u8, cut: prop::sample::Index, tail: Vec<u8>,
        ) {
            let mut bytes = written(&rows, 7, len).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = with;
            let _ = read(&bytes, 7, len);
            bytes.truncate(cut.index(bytes.len()));
            let _ = read(&bytes, 7, len);
            bytes.extend_from_slice(&tail);
            let _ = read(&bytes, 7, u64::MAX);
        }
    }
}
