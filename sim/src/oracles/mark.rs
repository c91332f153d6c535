//! The mark of the log: at every start each of its two slots, alone, names a log that is there. A loss of power may take the
//! one that is being written, and what is written without a sync beside it.
//!
//! Reads the slots by `docs/formats.md`, and knows nothing else of the log.

use bytes::{Buf, Bytes};
use quorate::base::Fault;
use quorate::env::{Disk, DiskFile, OpenMode};
use quorate::log::{Place, frame};

/// Where the log lies.
const LOG: &str = "wal";

/// The slots that are synced, and how far apart they are.
const SLOTS: [u64; 2] = [0, 4096];

/// Words of a slot before the number of the first segment: its serial, whose log it is, and how far it was durable.
const WORDS_BEFORE: usize = 4;

/// The number of the segment that a slot says the log begins with; nothing of a slot that does not verify.
fn begins_with(slot: &Bytes, offset: u64) -> Option<u64> {
    let framed = frame::decode(Place { log: u32::from(b'M'), segment: 0, offset }, slot).ok()?;
    let mut body = framed.body;
    if body.len() < (WORDS_BEFORE + 1) * 8 {
        return None;
    }
    body.advance(WORDS_BEFORE * 8);
    Some(body.get_u64_le())
}

/// The segments that a slot of the mark names as the first and that are not there.
pub fn dangling<D: Disk>(disk: &D) -> Result<Vec<String>, Fault> {
    let path = format!("{LOG}/durable");
    if !disk.exists(&path)? {
        return Ok(Vec::new());
    }
    let file = disk.open(&path, OpenMode::Read)?;
    let mut dangling = Vec::new();
    for offset in SLOTS {
        let mut bytes = vec![0; 512];
        let got = file.read_full_at(offset, &mut bytes)?;
        bytes.truncate(got);
        let Some(first) = begins_with(&bytes.into(), offset) else { continue };
        let segment = format!("{LOG}/{first:016x}.seg");
        if !disk.exists(&segment)? {
            dangling.push(segment);
        }
    }
    Ok(dangling)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    #[test]
    fn a_slot_says_where_the_log_begins() {
        let words = [7_u64, 1, 2, 30, 5, 21];
        let body: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut slot = BytesMut::new();
        frame::encode(&mut slot, Place { log: u32::from(b'M'), segment: 0, offset: 4096 }, 3, &[&body]);
        let slot = slot.freeze();
        assert_eq!(begins_with(&slot, 4096), Some(5));
        assert_eq!(begins_with(&slot, 0), None, "it is bound to its place");
    }
}
