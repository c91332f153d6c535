//! Segment files: their names, their header, and reading one whole.
//!
//! Invariants: the header fills a sector of its own, so that a torn write behind it cannot harm it; it names the
//! log and the segment, so that a file under the wrong name is noticed; a file is read only if its length is one
//! a segment can have. Does not know what lies behind the header.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::frame::{self, FrameWrong, Place};
use crate::base::limits::SECTOR_BYTES;
use crate::base::{Fault, Wrong};
use crate::env::{Disk, DiskFile, OpenMode};

/// Where the first record of a segment starts.
pub const FIRST_RECORD_AT: u64 = SECTOR_BYTES as u64;

/// Version of the formats of both logs; a segment of another version is refused.
pub const VERSION: u32 = 1;

const KIND_HEADER: u8 = 1;
const MAGIC: &[u8; 8] = b"quorate\0";
const SUFFIX: &str = ".seg";

/// What stands at the start of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Which log, as [`Place::log`].
    pub log: u32,
    /// Number of the segment.
    pub segment: u64,
    /// What the log counts (an index, a revision) at the start of the segment; 0 where it is not known yet.
    pub first: u64,
    /// Whether everything behind the header was zero when the segment was begun; if not, the file was used
    /// before and holds leftovers.
    pub zeroed: bool,
    /// Whatever else the log wants to say, at most 256 bytes.
    pub extra: Bytes,
}

impl SegmentHeader {
    /// The first sector of the segment.
    pub fn encode(&self) -> Bytes {
        let mut fixed = BytesMut::with_capacity(36);
        fixed.put_slice(MAGIC);
        fixed.put_u32_le(VERSION);
        fixed.put_u32_le(self.log);
        fixed.put_u64_le(self.segment);
        fixed.put_u64_le(self.first);
        fixed.put_u32_le(u32::from(self.zeroed));
        let mut sector = BytesMut::with_capacity(SECTOR_BYTES);
        frame::encode(&mut sector, place(self.log, self.segment), KIND_HEADER, &[&fixed, &self.extra]);
        assert!(sector.len() <= SECTOR_BYTES, "a segment header fits a sector");
        sector.resize(SECTOR_BYTES, 0);
        sector.freeze()
    }

    /// Reads the header of the segment that `bytes` start with.
    pub fn decode(log: u32, segment: u64, bytes: &Bytes) -> Result<Self, &'static str> {
        let framed = frame::decode(place(log, segment), bytes).map_err(|wrong| match wrong {
            FrameWrong::End => "the segment header is missing",
            FrameWrong::Short { .. } => "the file is shorter than a segment header",
            FrameWrong::Damaged(what) => what,
        })?;
        let mut body = framed.body;
        if framed.kind != KIND_HEADER || body.len() < 36 || body.split_to(8) != MAGIC.as_slice() {
            return Err("this is no segment header");
        }
        if body.get_u32_le() != VERSION {
            return Err("the segment is of a version this program does not know");
        }
        if body.get_u32_le() != log || body.get_u64_le() != segment {
            return Err("the segment header names another segment");
        }
        let first = body.get_u64_le();
        let zeroed = body.get_u32_le() == 1;
        Ok(Self { log, segment, first, zeroed, extra: body })
    }
}

fn place(log: u32, segment: u64) -> Place {
    Place { log, segment, offset: 0 }
}

/// Name of a segment's file in `dir`: sixteen hexadecimal digits, so that names sort as numbers do.
pub fn path(dir: &str, segment: u64) -> String {
    format!("{dir}/{segment:016x}{SUFFIX}")
}

/// The numbers of the segments in `dir`, rising. Files of other names are not segments.
pub fn list<D: Disk>(disk: &D, dir: &str) -> Result<Vec<u64>, Fault> {
    Ok(disk.list(dir)?.iter().filter_map(|name| number(name)).collect())
}

fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let canonical = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if canonical { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// A segment as it was read.
#[derive(Debug, Default)]
pub struct WholeSegment {
    /// All its bytes. Pages that hold only zeroes were never written to here, so they cost address space, not memory.
    pub bytes: Bytes,
    /// End of the last byte that is not zero; 0 if there is none.
    pub written: u64,
    /// Pieces that the device cannot read, from and to; they stand as zeroes in `bytes`.
    pub unreadable: Vec<(u64, u64)>,
    /// What it said of the first of them.
    pub fault: Option<Fault>,
}

impl WholeSegment {
    /// Whether something of these bytes cannot be read.
    pub fn is_unreadable(&self, from: u64, to: u64) -> bool {
        self.unreadable.iter().any(|(start, end)| *start < to && from < *end)
    }
}

/// Bytes read and looked at in one go: they stay in a processor's cache meanwhile.
const READ_SLICE: usize = 128 * 1024;

/// Reads a segment that must not be longer than `max_len`, which bounds the memory it takes. One that is written ahead
/// consists of zeroes for the most part, and start-up must not pay for these with more than reading them. What the device
/// cannot read is left out and told: whether it matters is for the caller to say.
pub fn read_segment<D: Disk>(disk: &D, path: &str, max_len: u64) -> Result<WholeSegment, Wrong> {
    static ZEROES: [u8; READ_SLICE] = [0; READ_SLICE];
    let file = disk.open(path, OpenMode::Read)?;
    let len = file.len()?;
    if len > max_len {
        return Err(Wrong::corrupt(path, max_len, format!("the file has {len} bytes, more than it can have")));
    }
    let mut whole = WholeSegment::default();
    let mut bytes = BytesMut::zeroed(len as usize);
    let mut slice = vec![0; READ_SLICE];
    let (mut at, mut written) = (0, 0);
    while at < bytes.len() {
        let want = READ_SLICE.min(bytes.len() - at);
        let n = match file.read_full_at(at as u64, &mut slice[..want]) {
            Err(fault) if fault.is_of_device() => read_around(&file, at as u64, &mut slice[..want], &mut whole)?,
            answer => answer?,
        };
        if slice[..n] != ZEROES[..n] {
            bytes[at..at + n].copy_from_slice(&slice[..n]);
            written = at as u64 + end_of_writing(&slice[..n]);
        }
        at += n;
        if n < want {
            bytes.truncate(at);
        }
    }
    Ok(WholeSegment { bytes: bytes.freeze(), written, ..whole })
}

/// Reads sector by sector, each twice at most: what fails once may be a hiccup.
fn read_around(file: &impl DiskFile, from: u64, slice: &mut [u8], whole: &mut WholeSegment) -> Result<usize, Fault> {
    let mut done = 0;
    for piece in slice.chunks_mut(SECTOR_BYTES) {
        let at = from + done as u64;
        let first = file.read_full_at(at, piece);
        match first.or_else(|_| file.read_full_at(at, piece)) {
            Ok(n) if n == piece.len() => {}
            Ok(n) => return Ok(done + n),
            Err(fault) if fault.is_of_device() => {
                piece.fill(0);
                whole.unreadable.push((at, at + piece.len() as u64));
                whole.fault.get_or_insert(fault);
            }
            Err(fault) => return Err(fault),
        }
        done += piece.len();
    }
    Ok(done)
}

/// The end of the last byte that is not zero in `bytes`; 0 if there is none.
pub(super) fn end_of_writing(bytes: &[u8]) -> u64 {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{MemoryDisk, ScramblingDisk};
    use crate::log::{LOG_HISTORY, LOG_WAL};

    fn header() -> SegmentHeader {
        SegmentHeader { log: LOG_WAL, segment: 9, first: 77, zeroed: true, extra: Bytes::from_static(b"whose") }
    }

    #[test]
    fn a_header_is_read_back_only_where_it_belongs() {
        let bytes = header().encode();
        assert_eq!(bytes.len(), SECTOR_BYTES);
        assert_eq!(SegmentHeader::decode(LOG_WAL, 9, &bytes), Ok(header()));
        SegmentHeader::decode(LOG_WAL, 10, &bytes).expect_err("another segment");
        SegmentHeader::decode(LOG_HISTORY, 9, &bytes).expect_err("another log");
        SegmentHeader::decode(LOG_WAL, 9, &bytes.slice(..20)).expect_err("short");
        SegmentHeader::decode(LOG_WAL, 9, &Bytes::from_static(&[0; 512])).expect_err("missing");
    }

    #[test]
    fn only_segments_are_listed() {
        let disk = MemoryDisk::new();
        disk.create_dir("w").expect("made");
        for name in ["w/00000000000000ff.seg", "w/0000000000000002.seg", "w/ff.seg", "w/00000000000000FE.seg", "w/mark"]
        {
            disk.open(name, OpenMode::Create).expect("made");
        }
        assert_eq!(list(&disk, "w").expect("listed"), [2, 255]);
        assert_eq!(path("w", 255), "w/00000000000000ff.seg");
    }

    #[test]
    fn a_segment_read_in_slices_is_the_file() {
        let len = 3 * READ_SLICE as u64 + 77;
        let ends = [0, 1, READ_SLICE as u64 - 1, READ_SLICE as u64, READ_SLICE as u64 + 1, len - 1, len];
        for (at, end) in ends.into_iter().enumerate() {
            let disk = ScramblingDisk::new(MemoryDisk::new(), at as u64);
            let file = disk.open("x", OpenMode::Create).expect("made");
            file.set_len(len).expect("grown");
            for byte in [end / 2, end].into_iter().filter(|byte| *byte > 0) {
                file.write_at(byte - 1, &[7]).expect("written");
            }
            let read = read_segment(&disk, "x", len).expect("read");
            assert_eq!(read.written, end);
            let mut whole = vec![0; len as usize];
            assert_eq!(file.read_full_at(0, &mut whole).expect("read") as u64, len);
            assert_eq!(read.bytes, whole);
            read_segment(&disk, "x", len - 1).expect_err("too long");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_rest_is_read() {
        let disk = ScramblingDisk::new(MemoryDisk::new(), 5);
        let len = READ_SLICE as u64 + 10_000;
        disk.open("x", OpenMode::Create).expect("made").write_at(0, &vec![7; len as usize]).expect("written");
        assert!(read_segment(&disk, "x", len).expect("read").fault.is_none());
        for page in [4096, 3 * 4096, READ_SLICE as u64 + 8192] {
            disk.make_unreadable("x", page..page + 4096);
        }
        let read = read_segment(&disk, "x", len).expect("read around");
        assert!(read.fault.as_ref().is_some_and(Fault::is_of_device));
        for at in (0..len).step_by(SECTOR_BYTES) {
            let lost = [1, 3, READ_SLICE as u64 / 4096 + 2].contains(&(at / 4096));
            assert_eq!((read.is_unreadable(at, at + 1), read.bytes[at as usize] == 0), (lost, lost), "{at}");
        }
        assert!(read.is_unreadable(0, 4097) && !read.is_unreadable(0, 4096) && !read.is_unreadable(8192, 12_288));
    }

    #[test]
    fn a_file_too_long_is_not_read() {
        let disk = MemoryDisk::new();
        disk.open("x", OpenMode::Create).expect("made").set_len(1001).expect("grown");
        assert_eq!(read_segment(&disk, "x", 1001).expect("read").bytes.len(), 1001);
        read_segment(&disk, "x", 1000).expect_err("too long");
    }
}
