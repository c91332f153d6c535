//! What is to be written of the history: where its files are, and pieces of bytes for them.
//!
//! Does not know what the bytes say.

use bytes::Bytes;

/// The directory of the segments.
pub const HISTORY_DIR: &str = "history";

/// The file of segment `number`.
pub fn file_name(number: u64) -> String {
    format!("{HISTORY_DIR}/{number:016x}.seg")
}

/// The file of the outline of segment `number`, where it has one.
pub fn outline_name(number: u64) -> String {
    format!("{HISTORY_DIR}/{number:016x}.outline")
}

/// Up to where the history is meant: a segment and an offset in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WriteMark {
    pub(super) segment: u64,
    pub(super) end: u64,
}

/// Bytes to be written. Those of one history come in order: each starts where the file ends.
#[derive(Clone, Debug)]
pub struct HistoryWrite {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
    pub(super) mark: WriteMark,
}

impl HistoryWrite {
    /// The file, relative to the data directory.
    pub fn file(&self) -> String {
        file_name(self.segment)
    }

    /// Where in it.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What is written once this is.
    pub fn mark(&self) -> WriteMark {
        self.mark
    }
}
