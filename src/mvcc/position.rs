//! A place in the history that a checkpoint names: which segments there are and how long each is.
//!
//! Invariants: segments ascend and do not overlap; no number occurs twice. Decoding checks all of it and
//! allocates no more than the bytes at hand justify; whether the bytes are the ones written is for the
//! checkpoint's digest to say. The layout stands in `docs/formats.md`.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::history_write::{file_name, outline_name};
use super::outline::OutlineMark;

const VERSION: u8 = 2;
/// The version before, whose segments have no outlines.
const VERSION_WITHOUT_OUTLINES: u8 = 1;
const FIXED_BYTES: usize = 1 + 8 + 8 + 4;
const SEGMENT_BYTES: usize = SegmentMark::PLAIN_BYTES + 8 + 4;

/// One segment of a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SegmentMark {
    /// Its number, which names its file.
    pub(super) number: u64,
    /// The first main revision it is about.
    pub(super) first: i64,
    /// The last main revision it is about.
    pub(super) last: i64,
    /// Its length in bytes.
    pub(super) len: u64,
    /// Whether it was rewritten by reclaim.
    pub(super) sparse: bool,
    /// Its outline, where it has one: durable before the position is.
    pub(super) outline: Option<OutlineMark>,
}

impl SegmentMark {
    /// Bytes of one without its outline.
    pub(super) const PLAIN_BYTES: usize = 4 * 8 + 1;

    /// Appends it, without its outline.
    pub(super) fn put_plain(&self, out: &mut BytesMut) {
        out.put_u64_le(self.number);
        out.put_i64_le(self.first);
        out.put_i64_le(self.last);
        out.put_u64_le(self.len);
        out.put_u8(u8::from(self.sparse));
    }

    /// Takes the [bytes](Self::PLAIN_BYTES) of one away, which must be there.
    pub(super) fn take_plain(bytes: &mut Bytes) -> Self {
        Self {
            number: bytes.get_u64_le(),
            first: bytes.get_i64_le(),
            last: bytes.get_i64_le(),
            len: bytes.get_u64_le(),
            sparse: bytes.get_u8() == 1,
            outline: None,
        }
    }
}

/// A place in the history, to be kept in a checkpoint and handed to `Store::open`. The default is a fresh
/// store's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StorePosition {
    pub(super) revision: i64,
    pub(super) compact_revision: i64,
    pub(super) segments: Vec<SegmentMark>,
}

impl Default for StorePosition {
    fn default() -> Self {
        Self { revision: 1, compact_revision: -1, segments: Vec::new() }
    }
}

impl StorePosition {
    /// One that names a segment, with nothing in it; for tests of who looks after files.
    #[cfg(test)]
    pub(crate) fn of_segment(number: u64) -> Self {
        let mark = SegmentMark { number, first: 2, last: 2, len: 0, sparse: false, outline: None };
        Self { revision: 2, compact_revision: -1, segments: vec![mark] }
    }

    /// The store's revision at this position.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The compact revision at this position; −1 is never.
    pub fn compact_revision(&self) -> i64 {
        self.compact_revision
    }

    /// The files it consists of, relative to the data directory, with the bytes of each that count: what a
    /// snapshot for another member carries.
    pub fn files(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        self.segments.iter().map(|segment| (file_name(segment.number), segment.len))
    }

    /// Takes no outline's word: a start at it reads all of the history.
    pub fn forget_outlines(&mut self) {
        self.segments.iter_mut().for_each(|segment| segment.outline = None);
    }

    /// The files of outlines that belong to it.
    pub(super) fn outline_files(&self) -> impl Iterator<Item = String> + '_ {
        let outlined = self.segments.iter().filter(|segment| segment.outline.is_some());
        outlined.map(|segment| outline_name(segment.number))
    }

    /// The largest number of its segments.
    pub(super) fn last_number(&self) -> Option<u64> {
        self.segments.iter().map(|segment| segment.number).max()
    }

    /// Whether segment `number` belongs to it.
    pub(super) fn names(&self, number: u64) -> bool {
        self.segments.iter().any(|segment| segment.number == number)
    }

    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(FIXED_BYTES + self.segments.len() * SEGMENT_BYTES);
        out.put_u8(VERSION);
        out.put_i64_le(self.revision);
        out.put_i64_le(self.compact_revision);
        out.put_u32_le(u32::try_from(self.segments.len()).expect("segments are large, so they are few"));
        for segment in &self.segments {
            segment.put_plain(&mut out);
            // An outline is never empty.
            let OutlineMark { len, checksum } = segment.outline.unwrap_or(OutlineMark { len: 0, checksum: 0 });
            out.put_u64_le(len);
            out.put_u32_le(checksum);
        }
        out.freeze()
    }

    /// Reads what [`Self::encode`] wrote. The text says what does not hold.
    pub fn decode(mut bytes: Bytes) -> Result<Self, String> {
        if bytes.len() < FIXED_BYTES {
            return Err("a history position is cut short".into());
        }
        let version = bytes.get_u8();
        let segment_bytes = match version {
            VERSION => SEGMENT_BYTES,
            VERSION_WITHOUT_OUTLINES => SegmentMark::PLAIN_BYTES,
            _ => return Err(format!("a history position has unknown version {version}")),
        };
        let (revision, compact_revision) = (bytes.get_i64_le(), bytes.get_i64_le());
        let count = bytes.get_u32_le() as usize;
        if bytes.len() != count.saturating_mul(segment_bytes) {
            return Err("a history position has another length than its segments need".into());
        }
        let mut segments = Vec::with_capacity(count);
        for _ in 0..count {
            let mut segment = SegmentMark::take_plain(&mut bytes);
            if version == VERSION {
                let outline = OutlineMark { len: bytes.get_u64_le(), checksum: bytes.get_u32_le() };
                segment.outline = (outline.len > 0).then_some(outline);
            }
            segments.push(segment);
        }
        let position = Self { revision, compact_revision, segments };
        position.check()?;
        Ok(position)
    }

    fn check(&self) -> Result<(), String> {
        if self.revision < 1 || self.compact_revision < -1 || self.compact_revision > self.revision {
            return Err("a history position has impossible revisions".into());
        }
        let mut before = 1;
        for segment in &self.segments {
            if segment.first <= before || segment.last < segment.first || segment.last > self.revision {
                return Err(format!("segment {:x} of a history position is out of order", segment.number));
            }
            before = segment.last;
        }
        let mut numbers: Vec<u64> = self.segments.iter().map(|segment| segment.number).collect();
        numbers.sort_unstable();
        if numbers.windows(2).any(|pair| pair[0] == pair[1]) || numbers.last() == Some(&u64::MAX) {
            return Err("a history position names a segment twice".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trips(
            runs in prop::collection::vec((1i64..9, 0i64..9, 0u64..1000, any::<bool>(), 0u64..3, any::<u32>()), 0..9),
        ) {
            let mut position = StorePosition::default();
            for (number, (gap, more, len, sparse, outlined, checksum)) in (0..).zip(runs) {
                let first = position.revision + gap;
                position.revision = first + more;
                let outline = (outlined > 0).then_some(OutlineMark { len: outlined, checksum });
                position.segments.push(SegmentMark { number, first, last: position.revision, len, sparse, outline });
            }
            prop_assert_eq!(StorePosition::decode(position.encode()), Ok(position));
        }

        #[test]
        fn any_bytes_are_a_position_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), fix: bool) {
            let mut bytes = bytes;
            if fix && !bytes.is_empty() {
                bytes[0] = if bytes[0] < 128 { VERSION } else { VERSION_WITHOUT_OUTLINES };
            }
            let _ = StorePosition::decode(Bytes::from(bytes));
        }
    }

    /// What the version before wrote is still a position.
    #[test]
    fn a_position_without_outlines_is_read() {
        let mut bytes = BytesMut::new();
        bytes.put_u8(1);
        bytes.put_i64_le(9);
        bytes.put_i64_le(-1);
        bytes.put_u32_le(1);
        for number in [3_i64, 2, 9, 640] {
            bytes.put_i64_le(number);
        }
        bytes.put_u8(1);
        let mark = SegmentMark { number: 3, first: 2, last: 9, len: 640, sparse: true, outline: None };
        let position = StorePosition { revision: 9, compact_revision: -1, segments: vec![mark] };
        assert_eq!(StorePosition::decode(bytes.freeze()), Ok(position));
        let unknown = Bytes::from_static(&[3; FIXED_BYTES]);
        assert!(StorePosition::decode(unknown).is_err_and(|what| what.contains("unknown version 3")));
    }

    #[test]
    fn overlaps_are_noticed() {
        let mark = |number, first, last| SegmentMark { number, first, last, len: 1, sparse: false, outline: None };
        for segments in [vec![mark(1, 2, 9), mark(2, 9, 10)], vec![mark(1, 2, 3), mark(1, 4, 5)], vec![mark(1, 2, 11)]]
        {
            let position = StorePosition { revision: 10, compact_revision: -1, segments };
            assert!(StorePosition::decode(position.encode()).is_err());
        }
    }
}
