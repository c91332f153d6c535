//! A batch as bytes: one frame with a fixed head and the entries one behind the other.
//!
//! Invariants: every batch carries the hard state and the last index of the log, so that any batch alone tells
//! both; its number is one more than the last one's and its chain is that one's fingerprint; `durable` names the
//! newest batch known to be synced when it was written. Layout: `docs/formats.md`.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::entry::{EntryKind, HardState, LogEntry};
use crate::base::LogIndex;
use crate::log::{Place, frame};

/// Kind of a batch's frame.
pub(super) const KIND_BATCH: u8 = 2;

const HEAD_BYTES: usize = 64;
const ENTRY_HEAD_BYTES: usize = 16;
const FLAG_CUT: u32 = 1;

/// What a batch says besides its entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BatchHead {
    /// Its number, from 1.
    pub number: u64,
    /// Newest batch known durable when this one was written, or 0.
    pub durable: u64,
    /// Last index of the log after this batch.
    pub last_index: LogIndex,
    /// The hard state after this batch.
    pub hard_state: HardState,
    /// Fingerprint of the batch before, or 0.
    pub chain: u32,
    /// Entries in it.
    pub count: u32,
    /// Whether the log starts anew behind the index before its entries: what was there is void, a gap is allowed.
    pub cut: bool,
}

impl BatchHead {
    /// Index of the first entry; one behind the last index if there is none.
    pub fn first_index(&self) -> LogIndex {
        self.last_index + 1 - u64::from(self.count)
    }
}

/// Bytes of the frame that [`encode`] makes.
pub(super) fn encoded_len(entries: &[LogEntry]) -> usize {
    let entries = entries.iter().map(|entry| ENTRY_HEAD_BYTES + entry.data.len()).sum::<usize>();
    frame::total_len(HEAD_BYTES + entries)
}

/// Appends the batch's frame to `out`; each byte of the entries is copied once. Returns the frame's fingerprint.
pub(super) fn encode(out: &mut BytesMut, place: Place, head: &BatchHead, entries: &[LogEntry]) -> u32 {
    out.reserve(encoded_len(entries));
    let start = frame::begin(out);
    out.put_u64_le(head.number);
    out.put_u64_le(head.durable);
    out.put_u64_le(head.last_index);
    out.put_u64_le(head.hard_state.term);
    out.put_u64_le(head.hard_state.vote);
    out.put_u64_le(head.hard_state.commit);
    out.put_u32_le(head.chain);
    out.put_u32_le(head.count);
    out.put_u32_le(if head.cut { FLAG_CUT } else { 0 });
    out.put_u32_le(0);
    for entry in entries {
        let len = u32::try_from(entry.data.len()).expect("an entry is within the record limit");
        // Length and kind in one word: the kind in the high half, the rest of it zero.
        out.put_u64_le(u64::from(len) | u64::from(entry.kind.to_byte()) << 32);
        out.put_u64_le(entry.term);
        out.put_slice(&entry.data);
    }
    frame::seal(out, start, place, KIND_BATCH);
    frame::fingerprint(&out[start..])
}

/// Reads the fixed head of a batch's body.
pub(super) fn decode_head(body: &Bytes) -> Result<BatchHead, &'static str> {
    let Some(mut fixed) = body.get(..HEAD_BYTES) else {
        return Err("a batch is shorter than its head");
    };
    let number = fixed.get_u64_le();
    let durable = fixed.get_u64_le();
    let last_index = fixed.get_u64_le();
    let hard_state = HardState { term: fixed.get_u64_le(), vote: fixed.get_u64_le(), commit: fixed.get_u64_le() };
    let (chain, count, flags, zero) = (fixed.get_u32_le(), fixed.get_u32_le(), fixed.get_u32_le(), fixed.get_u32_le());
    let possible = number > durable && last_index >= u64::from(count) && last_index < u64::MAX;
    if !possible || flags & !FLAG_CUT != 0 || zero != 0 {
        return Err("a batch verifies but its head holds what is never written");
    }
    Ok(BatchHead { number, durable, last_index, hard_state, chain, count, cut: flags & FLAG_CUT != 0 })
}

/// Calls `each` for every entry of a batch's body, in order; their data share `body`.
pub(super) fn decode_entries(
    head: &BatchHead,
    body: &Bytes,
    mut each: impl FnMut(LogEntry),
) -> Result<(), &'static str> {
    let mut rest = body.slice(HEAD_BYTES..);
    for nth in 0..u64::from(head.count) {
        if rest.len() < ENTRY_HEAD_BYTES {
            return Err("a batch verifies but holds fewer entries than it says");
        }
        let word = rest.get_u64_le();
        let term = rest.get_u64_le();
        let len = word as u32 as usize;
        let kind = u8::try_from(word >> 32).ok().and_then(EntryKind::from_byte);
        let Some(kind) = kind else {
            return Err("an entry verifies but is of a kind this program does not know");
        };
        if rest.len() < len {
            return Err("an entry verifies but reaches beyond its batch");
        }
        each(LogEntry { index: head.first_index() + nth, term, kind, data: rest.split_to(len) });
    }
    if rest.is_empty() { Ok(()) } else { Err("a batch verifies but holds more than its entries") }
}
