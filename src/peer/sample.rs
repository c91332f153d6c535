//! Messages for tests, as a peer would send them.

use crate::base::MemberId;
use crate::consensus::{PartialAppend, PeerMessage};

/// An append from 1 to 2, of one entry with a payload of so many bytes, index 4 and term 7.
pub(super) fn append(bytes: usize) -> PeerMessage {
    append_of(MemberId(1), MemberId(2), 7, 3, &[bytes])
}

/// An append of entries with payloads of so many bytes, behind the entry of this index and the same term.
pub(super) fn append_of(from: MemberId, to: MemberId, term: u64, index: u64, payloads: &[usize]) -> PeerMessage {
    let mut append = PartialAppend::new(from, to, term, index);
    for (number, bytes) in payloads.iter().enumerate() {
        let mut entry = Vec::new();
        field(&mut entry, 2, term);
        field(&mut entry, 3, index + 1 + number as u64);
        varint(&mut entry, 4 << 3 | 2);
        varint(&mut entry, *bytes as u64);
        entry.resize(entry.len() + bytes, b'x');
        append.push(&entry).expect("an entry");
    }
    append.finish(index).expect("an append")
}

/// A heartbeat from 1 to 2 of term 7.
pub(super) fn heartbeat() -> PeerMessage {
    message(8, MemberId(1), MemberId(2), 7)
}

/// A message of a kind, by raft's number for it, without anything that is its own.
pub(super) fn message(kind: u64, from: MemberId, to: MemberId, term: u64) -> PeerMessage {
    let mut bytes = Vec::new();
    for (number, value) in [(1, kind), (2, to.0), (3, from.0), (4, term)] {
        field(&mut bytes, number, value);
    }
    PeerMessage::decode(&bytes).expect("a message").expect("of someone")
}

fn field(out: &mut Vec<u8>, number: u64, value: u64) {
    varint(out, number << 3);
    varint(out, value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
