//! One frame: a body with its length, kind and checksums, bound to the place it was written to.
//!
//! Invariants: the header's checksum covers the place, the length, the kind and the body's checksum, so a frame
//! that landed elsewhere, or is left over from an earlier use of the file, never verifies, and a length is
//! believed only after the header verified. Every byte of a frame, padding too, is covered. A written header
//! is never all zero (kind 0 does not exist), so zeroes mean "nothing was written here".
//!
//! The layout stands in `docs/formats.md`. Does not know of files.

use bytes::{BufMut, Bytes, BytesMut};

use crate::base::limits::MAX_RECORD_BYTES;

/// Bytes before the body: length u32, kind u8, three zeroes, body checksum u32, header checksum u32.
pub const FRAME_HEADER_BYTES: usize = 16;

/// Frames start at multiples of this, so that a search for frames behind damage can step by it.
pub const FRAME_ALIGN: usize = 8;

/// [`Place::log`] of the raft log.
pub const LOG_WAL: u32 = b'W' as u32;

/// [`Place::log`] of the history.
pub const LOG_HISTORY: u32 = b'H' as u32;

/// [`Place::log`] of a snapshot on its way from one member to another: the segment is the applied index it is of,
/// the offset eight times the chunk's number.
pub const LOG_SNAPSHOT: u32 = b'S' as u32;

/// [`Place::log`] of the logbook of a half: the segment is the generation it is built in.
pub const LOG_HALF: u32 = b'J' as u32;

const BODY_CHECKSUM_AT: usize = 8;
const HEADER_CHECKSUM_AT: usize = 12;

/// Where a frame lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Which log: [`LOG_WAL`] or [`LOG_HISTORY`].
    pub log: u32,
    /// Number of the segment; never used twice in one log.
    pub segment: u64,
    /// Bytes from the start of the segment to the header; a multiple of [`FRAME_ALIGN`].
    pub offset: u64,
}

/// A frame that verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Framed {
    /// What the body is; never 0.
    pub kind: u8,
    /// The body; shares the bytes it was decoded from.
    pub body: Bytes,
    /// Bytes of the whole frame: the next one starts this far on.
    pub total: usize,
}

/// As [`Framed`], with the body where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FramedSlice<'a> {
    /// What the body is; never 0.
    pub kind: u8,
    /// The body.
    pub body: &'a [u8],
    /// Bytes of the whole frame: the next one starts this far on.
    pub total: usize,
}

/// Why there is no frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameWrong {
    /// The header is all zero: nothing was written here.
    End,
    /// The bytes handed in end too early; `need` of them, counted from the frame's start, are needed. A `need`
    /// beyond the header comes from a header that verified and is within [`MAX_RECORD_BYTES`] of body.
    Short {
        /// Bytes needed.
        need: usize,
    },
    /// The bytes are not a frame of this place; the text says what does not hold.
    Damaged(&'static str),
}

/// What a header that verified says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// What the body is; never 0.
    pub kind: u8,
    /// Length of the body in bytes, without padding.
    pub body_len: usize,
    body_checksum: u32,
}

/// Bytes of the whole frame for a body of `body_len` bytes.
pub const fn total_len(body_len: usize) -> usize {
    FRAME_HEADER_BYTES + body_len.next_multiple_of(FRAME_ALIGN)
}

/// Appends a frame whose body is the concatenation of `body`, and returns its bytes in all.
///
/// # Panics
/// If `kind` is 0, the body is longer than [`MAX_RECORD_BYTES`] or the place is not aligned: bugs of the caller.
pub fn encode(out: &mut BytesMut, place: Place, kind: u8, body: &[&[u8]]) -> usize {
    out.reserve(total_len(body.iter().map(|part| part.len()).sum()));
    let start = begin(out);
    for part in body {
        out.put_slice(part);
    }
    seal(out, start, place, kind)
}

/// Opens a frame at the end of `out`: leaves room for the header and returns where it starts. What is appended
/// until [`seal`] is the body; this way a body is built in place and copied once.
pub fn begin(out: &mut BytesMut) -> usize {
    let start = out.len();
    out.put_bytes(0, FRAME_HEADER_BYTES);
    start
}

/// Closes the frame that [`begin`] opened at `start`, and returns its bytes in all.
///
/// # Panics
/// As [`encode`].
pub fn seal(out: &mut BytesMut, start: usize, place: Place, kind: u8) -> usize {
    let body_len = out.len() - start - FRAME_HEADER_BYTES;
    assert!(kind != 0, "kind 0 would look like nothing written");
    assert!(body_len <= MAX_RECORD_BYTES, "a record of {body_len} bytes is beyond the limit");
    assert!(place.offset.is_multiple_of(FRAME_ALIGN as u64), "frame at unaligned offset {}", place.offset);
    let body_checksum = crc32c::crc32c(&out[start + FRAME_HEADER_BYTES..]);
    out.put_bytes(0, body_len.next_multiple_of(FRAME_ALIGN) - body_len);
    let header = &mut out[start..start + FRAME_HEADER_BYTES];
    header[..4].copy_from_slice(&(body_len as u32).to_le_bytes());
    header[4] = kind;
    header[BODY_CHECKSUM_AT..HEADER_CHECKSUM_AT].copy_from_slice(&body_checksum.to_le_bytes());
    let header_checksum = checksum_of_header(place, &header[..HEADER_CHECKSUM_AT]);
    header[HEADER_CHECKSUM_AT..].copy_from_slice(&header_checksum.to_le_bytes());
    total_len(body_len)
}

/// The header checksum of a sealed frame: a fingerprint of place, length, kind and body. `frame` starts at its
/// header.
pub fn fingerprint(frame: &[u8]) -> u32 {
    read_u32(frame, HEADER_CHECKSUM_AT)
}

/// Reads the frame at the start of `bytes`, which may go on behind it. Verifies everything.
pub fn decode(place: Place, bytes: &Bytes) -> Result<Framed, FrameWrong> {
    let FramedSlice { kind, body, total } = decode_slice(place, bytes)?;
    Ok(Framed { kind, body: bytes.slice(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + body.len()), total })
}

/// As [`decode`], without taking hold of the bytes.
pub fn decode_slice(place: Place, bytes: &[u8]) -> Result<FramedSlice<'_>, FrameWrong> {
    let head = decode_head(place, bytes)?;
    let total = total_len(head.body_len);
    if bytes.len() < total {
        return Err(FrameWrong::Short { need: total });
    }
    let body_end = FRAME_HEADER_BYTES + head.body_len;
    let body = &bytes[FRAME_HEADER_BYTES..body_end];
    if crc32c::crc32c(body) != head.body_checksum {
        return Err(FrameWrong::Damaged("the body does not match its checksum"));
    }
    if bytes[body_end..total].iter().any(|byte| *byte != 0) {
        return Err(FrameWrong::Damaged("the padding is not zero"));
    }
    Ok(FramedSlice { kind: head.kind, body, total })
}

/// Reads and verifies only the header at the start of `bytes`; the body may be anything.
pub fn decode_head(place: Place, bytes: &[u8]) -> Result<Head, FrameWrong> {
    let Some(header) = bytes.get(..FRAME_HEADER_BYTES) else {
        return Err(FrameWrong::Short { need: FRAME_HEADER_BYTES });
    };
    if header.iter().all(|byte| *byte == 0) {
        return Err(FrameWrong::End);
    }
    if checksum_of_header(place, &header[..HEADER_CHECKSUM_AT]) != read_u32(header, HEADER_CHECKSUM_AT) {
        return Err(FrameWrong::Damaged("the header does not match its checksum"));
    }
    let body_len = read_u32(header, 0) as usize;
    if header[4] == 0 || header[5..BODY_CHECKSUM_AT] != [0; 3] || body_len > MAX_RECORD_BYTES {
        return Err(FrameWrong::Damaged("the header verifies but holds what is never written"));
    }
    Ok(Head { kind: header[4], body_len, body_checksum: read_u32(header, BODY_CHECKSUM_AT) })
}

fn checksum_of_header(place: Place, covered: &[u8]) -> u32 {
    let mut bytes = [0; 20 + HEADER_CHECKSUM_AT];
    bytes[..4].copy_from_slice(&place.log.to_le_bytes());
    bytes[4..12].copy_from_slice(&place.segment.to_le_bytes());
    bytes[12..20].copy_from_slice(&place.offset.to_le_bytes());
    bytes[20..].copy_from_slice(covered);
    crc32c::crc32c(&bytes)
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: Place = Place { log: LOG_WAL, segment: 7, offset: 4096 };

    fn framed(place: Place, kind: u8, body: &[u8]) -> Bytes {
        let mut out = BytesMut::new();
        let total = encode(&mut out, place, kind, &[body]);
        assert_eq!(total, out.len());
        assert_eq!(total, total_len(body.len()));
        out.freeze()
    }

    #[test]
    fn layout_is_as_documented() {
        let bytes = framed(HERE, 3, b"abc");
        assert_eq!(bytes[..8], [3, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(bytes[8..12], crc32c::crc32c(b"abc").to_le_bytes());
        assert_eq!(bytes[16..], *b"abc\0\0\0\0\0");
    }

    #[test]
    fn zeroes_are_the_end_and_few_bytes_are_short() {
        assert_eq!(decode(HERE, &Bytes::from_static(&[0; 64])), Err(FrameWrong::End));
        assert_eq!(decode(HERE, &Bytes::from_static(&[0; 15])), Err(FrameWrong::Short { need: 16 }));
        let bytes = framed(HERE, 1, &[9; 100]);
        assert_eq!(decode(HERE, &bytes.slice(..50)), Err(FrameWrong::Short { need: bytes.len() }));
    }

    #[test]
    fn a_frame_verifies_only_at_its_place() {
        let bytes = framed(HERE, 1, b"body");
        for place in [Place { log: LOG_HISTORY, ..HERE }, Place { segment: 8, ..HERE }, Place { offset: 4104, ..HERE }]
        {
            assert!(matches!(decode(place, &bytes), Err(FrameWrong::Damaged(_))));
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
            kind in 1..=255_u8,
            behind in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut out = BytesMut::new();
            let refs: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let total = encode(&mut out, HERE, kind, &refs);
            out.extend_from_slice(&behind);
            let framed = decode(HERE, &out.freeze()).expect("decodes");
            prop_assert_eq!(framed.kind, kind);
            prop_assert_eq!(framed.total, total);
            prop_assert_eq!(framed.body.to_vec(), parts.concat());
        }

        #[test]
        fn any_flipped_bit_is_noticed(body in prop::collection::vec(any::<u8>(), 0..60), at: prop::sample::Index, bit in 0..8_u8) {
            let mut bytes = framed(HERE, 5, &body).to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(matches!(decode(HERE, &Bytes::from(bytes)), Err(FrameWrong::Damaged(_))));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(HERE, &Bytes::from(bytes));
        }
    }
}
