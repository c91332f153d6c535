//! Messages for tests, as a peer would send them.

use std::time::Duration;

use super::body::Incoming;
use super::head::BodyLength;
use super::wrong::LineWrong;
use crate::base::MemberId;
use crate::consensus::{PartialAppend, PeerMessage};
use crate::env::{Clock, Env, Instant, MemoryReader, Net, NetListener, NetStream, NetWriter, VirtualEnv};

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

/// The head of a snapshot of this index and term 3, with one voter.
pub(super) fn snapshot(from: MemberId, to: MemberId, term: u64, index: u64) -> PeerMessage {
    let (mut state, mut metadata, mut whole, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    field(&mut state, 1, 1);
    nested(&mut metadata, 1, &state);
    field(&mut metadata, 2, index);
    field(&mut metadata, 3, 3);
    nested(&mut whole, 2, &metadata);
    for (number, value) in [(1, 7), (2, to.0), (3, from.0), (4, term)] {
        field(&mut bytes, number, value);
    }
    nested(&mut bytes, 9, &whole);
    PeerMessage::decode(&bytes).expect("a message").expect("of someone")
}

/// A clock that stands still, for what must not wait.
#[derive(Clone)]
pub(super) struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Instant {
        Instant(0)
    }

    fn wall_ms(&self) -> u64 {
        0
    }

    async fn sleep_until(&self, _deadline: Instant) {
        std::future::pending().await
    }
}

/// What is read from a body of these bytes that comes in pieces, and why there is no more.
pub(super) fn read_pieces(
    bytes: &[u8],
    piece: usize,
    next: impl AsyncFn(&mut Incoming<MemoryReader, NoClock>) -> Result<Option<PeerMessage>, LineWrong>,
) -> (Vec<PeerMessage>, LineWrong) {
    VirtualEnv::run(async |world| {
        let mut listener = world.net().listen("a:1").await.expect("free");
        let (reader, _writer) = world.net().dial("a:1").await.expect("it listens").split();
        let (_, mut writer) = listener.accept().await.expect("it was dialled").0.split();
        let mut incoming = Incoming::new(reader, NoClock, Duration::from_secs(1));
        incoming.begin(BodyLength::ToEnd);
        let writing = async {
            for piece in bytes.chunks(piece) {
                let _ = writer.write(piece).await;
            }
            let _ = writer.finish().await;
            std::future::pending::<()>().await;
        };
        let reading = async {
            let mut read = Vec::new();
            loop {
                match next(&mut incoming).await {
                    Ok(message) => read.extend(message),
                    Err(wrong) => return (read, wrong),
                }
            }
        };
        match super::wait::first(writing, reading).await {
            super::wait::First::One(()) => unreachable!("the writer waits for ever in the end"),
            super::wait::First::Other(read) => read,
        }
    })
}

fn nested(out: &mut Vec<u8>, number: u64, message: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, message.len() as u64);
    out.extend_from_slice(message);
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
