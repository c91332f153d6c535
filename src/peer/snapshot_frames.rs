//! Frames of a snapshot on its way, behind its head: a manifest, chunks, and an end that says how many there were.
//!
//! Each is four bytes of length, four of checksum (CRC-32C) and the bytes, big-endian. A length of all ones is the end,
//! whose eight bytes are the number of chunks. TCP's own checksum lets one error in some ten million bad packets pass,
//! which is not enough for a whole store.

use bytes::Bytes;

use super::body::Incoming;
use super::message_codec::read_length;
use super::wrong::LineWrong;
use crate::base::limits;
use crate::consensus::{MessageKind, PeerMessage};
use crate::env::{Clock, NetReader};

/// Where a snapshot goes.
pub(super) const SNAPSHOT_PATH: &str = "/raft/snapshot";
/// Where one is offered. Members of another make know no such place.
pub(super) const OFFER_PATH: &str = "/quorate/snapshot";

const END: u32 = u32::MAX;
const HEADER_BYTES: usize = 8;

/// What comes behind the manifest.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum SnapshotFrame {
    Chunk(Bytes),
    /// There were so many chunks.
    End(u64),
}

pub(super) fn put_manifest(manifest: &[u8], out: &mut Vec<u8>) {
    put(manifest.len() as u32, manifest, out);
}

pub(super) fn put_chunk(chunk: &[u8], out: &mut Vec<u8>) {
    put(chunk.len() as u32, chunk, out);
}

pub(super) fn put_end(chunks: u64, out: &mut Vec<u8>) {
    put(END, &chunks.to_be_bytes(), out);
}

fn put(length: u32, bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&crc32c::crc32c(bytes).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The head and the manifest of a snapshot.
pub(super) async fn read_introduction<R: NetReader, C: Clock>(
    incoming: &mut Incoming<R, C>,
) -> Result<(PeerMessage, Bytes), LineWrong> {
    let length = read_length(incoming, "the head of a snapshot", limits::PEER_MESSAGE_BYTES).await?;
    let length = length.ok_or(LineWrong::Cut)?;
    let bytes = incoming.exactly(length).await?.ok_or(LineWrong::Cut)?;
    let message = PeerMessage::decode(bytes).map_err(LineWrong::Malformed)?;
    incoming.take(length);
    let message = message.filter(|message| message.kind() == MessageKind::Snapshot);
    let message = message.ok_or_else(|| LineWrong::malformed("wrong raft message type"))?;
    let manifest = read(incoming, "a manifest", limits::SNAPSHOT_MANIFEST_BYTES).await?;
    match manifest {
        SnapshotFrame::Chunk(manifest) => Ok((message, manifest)),
        SnapshotFrame::End(_) => Err(LineWrong::malformed("a snapshot without a manifest")),
    }
}

/// The next chunk, or the end.
pub(super) async fn read_frame<R: NetReader, C: Clock>(
    incoming: &mut Incoming<R, C>,
) -> Result<SnapshotFrame, LineWrong> {
    match read(incoming, "a chunk", limits::SNAPSHOT_FRAME_BYTES).await? {
        SnapshotFrame::Chunk(chunk) if chunk.is_empty() => Err(LineWrong::malformed("a chunk of nothing")),
        frame => Ok(frame),
    }
}

async fn read<R: NetReader, C: Clock>(
    incoming: &mut Incoming<R, C>,
    what: &'static str,
    limit: usize,
) -> Result<SnapshotFrame, LineWrong> {
    let header = incoming.exactly(HEADER_BYTES).await?.ok_or(LineWrong::Cut)?;
    let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes of eight"));
    let (length, checksum) = (word(0), word(4));
    incoming.take(HEADER_BYTES);
    let bytes = if length == END { 8 } else { length as usize };
    if bytes > limit {
        return Err(LineWrong::TooLong { what, bytes: u64::from(length), limit });
    }
    let body = incoming.exactly(bytes).await?.ok_or(LineWrong::Cut)?;
    if crc32c::crc32c(body) != checksum {
        return Err(LineWrong::malformed(format!("the checksum of {what} does not hold")));
    }
    let frame = if length == END {
        SnapshotFrame::End(u64::from_be_bytes(body.try_into().expect("eight bytes were asked for")))
    } else {
        SnapshotFrame::Chunk(Bytes::copy_from_slice(body))
    };
    incoming.take(bytes);
    Ok(frame)
}
