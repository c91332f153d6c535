//! Pages: the head of one, and the two meta pages a file begins with.
//!
//! Numbers are little-endian, as every machine that bbolt is in use on has them.

use bytes::{Buf, BufMut, BytesMut};

/// Bytes of a page as they are written here; files are read with other sizes, too.
pub const PAGE_BYTES: usize = 4096;

/// Bytes of a page's head.
pub(super) const HEAD_BYTES: usize = 16;
/// Bytes of an element of a leaf, and of a branch.
pub(super) const ELEMENT_BYTES: usize = 16;
/// Bytes of a bucket's head: root page and sequence.
pub(super) const BUCKET_BYTES: usize = 16;
/// Bytes of a meta page behind its head.
pub(super) const META_BYTES: usize = 64;

pub(super) const BRANCH: u16 = 0x01;
pub(super) const LEAF: u16 = 0x02;
pub(super) const META: u16 = 0x04;
/// Of a leaf's element: its value is a bucket's head.
pub(super) const IS_BUCKET: u32 = 0x01;
/// In a meta page: which pages are free is not written down, but follows from the tree.
pub(super) const NO_FREELIST: u64 = u64::MAX;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

/// What a page begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    /// Its number.
    pub(super) id: u64,
    pub(super) flags: u16,
    /// Elements in it.
    pub(super) count: u16,
    /// Pages behind it that belong to it.
    pub(super) overflow: u32,
}

impl Head {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.id);
        out.put_u16_le(self.flags);
        out.put_u16_le(self.count);
        out.put_u32_le(self.overflow);
    }

    /// Of the first bytes of a page.
    pub(super) fn decode(mut bytes: &[u8]) -> Self {
        Self {
            id: bytes.get_u64_le(),
            flags: bytes.get_u16_le(),
            count: bytes.get_u16_le(),
            overflow: bytes.get_u32_le(),
        }
    }
}

/// What a meta page says: which state of the file is the newest, and where its tree begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Meta {
    pub(super) page_bytes: u32,
    /// The page of the bucket that holds all others.
    pub(super) root: u64,
    /// Pages of the file.
    pub(super) pages: u64,
    /// The greater of the two is the newer.
    pub(super) transaction: u64,
}

impl Meta {
    /// A whole meta page; it is the first where its transaction is even.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        let from = out.len();
        Head { id: self.transaction % 2, flags: META, count: 0, overflow: 0 }.encode(out);
        out.put_u32_le(MAGIC);
        out.put_u32_le(VERSION);
        out.put_u32_le(self.page_bytes);
        out.put_u32_le(0);
        out.put_u64_le(self.root);
        out.put_u64_le(0);
        out.put_u64_le(NO_FREELIST);
        out.put_u64_le(self.pages);
        out.put_u64_le(self.transaction);
        let checksum = checksum(&out[from + HEAD_BYTES..]);
        out.put_u64_le(checksum);
        out.resize(from + PAGE_BYTES, 0);
    }

    /// Of the bytes behind a page's head; the text says what does not hold.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let Some(mut fields) = bytes.get(..META_BYTES) else { return Err("it is too short".to_string()) };
        let (magic, version, page_bytes) = (fields.get_u32_le(), fields.get_u32_le(), fields.get_u32_le());
        if magic != MAGIC {
            return Err("it is no bbolt database".to_string());
        }
        if version != VERSION {
            return Err(format!("it is a bbolt database of version {version}, and only version {VERSION} is known"));
        }
        let (_flags, root, _sequence) = (fields.get_u32_le(), fields.get_u64_le(), fields.get_u64_le());
        let (_freelist, pages, transaction) = (fields.get_u64_le(), fields.get_u64_le(), fields.get_u64_le());
        if fields.get_u64_le() != checksum(&bytes[..META_BYTES - 8]) {
            return Err("the checksum of its meta page does not hold".to_string());
        }
        if !page_bytes.is_power_of_two() || !(1024..=65_536).contains(&page_bytes) {
            return Err(format!("its pages are of {page_bytes} bytes"));
        }
        if root < 2 || root >= pages {
            return Err(format!("its tree begins at page {root} of {pages}"));
        }
        Ok(Self { page_bytes, root, pages, transaction })
    }
}

/// FNV-1a in 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
