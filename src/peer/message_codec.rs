//! Frames of the message stream: eight bytes of length, big-endian, and a raft message.
//!
//! Invariant: a length is held against its limit before a byte of memory is taken for it.

use super::body::Incoming;
use super::wrong::LineWrong;
use crate::base::limits;
use crate::consensus::{LINK_HEARTBEAT, PeerMessage};
use crate::env::{Clock, NetReader};

/// Writes a frame behind what is in `out`.
pub(super) fn put_message(message: &PeerMessage, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    message.encode(out);
    let length = (out.len() - start - 8) as u64;
    out[start..start + 8].copy_from_slice(&length.to_be_bytes());
}

/// Writes the frame that says that the connection is alive.
pub(super) fn put_keep_alive(out: &mut Vec<u8>) {
    out.extend_from_slice(&(LINK_HEARTBEAT.len() as u64).to_be_bytes());
    out.extend_from_slice(LINK_HEARTBEAT);
}

/// Reads eight bytes as a length up to a limit; nothing where the body has ended before them.
pub(super) async fn read_length<R: NetReader, C: Clock>(
    incoming: &mut Incoming<R, C>,
    what: &'static str,
    limit: usize,
) -> Result<Option<usize>, LineWrong> {
    let Some(bytes) = incoming.exactly(8).await? else { return Ok(None) };
    let bytes: [u8; 8] = bytes.try_into().expect("eight bytes were asked for");
    incoming.take(8);
    let length = u64::from_be_bytes(bytes);
    match usize::try_from(length) {
        Ok(length) if length <= limit => Ok(Some(length)),
        _ => Err(LineWrong::TooLong { what, bytes: length, limit }),
    }
}

/// The next message; nothing of one that only says that the connection is alive.
pub(super) async fn next_message<R: NetReader, C: Clock>(
    incoming: &mut Incoming<R, C>,
) -> Result<Option<PeerMessage>, LineWrong> {
    let length = read_length(incoming, "a raft message", limits::PEER_MESSAGE_BYTES).await?;
    let length = length.ok_or(LineWrong::Finished)?;
    let bytes = incoming.exactly(length).await?.ok_or(LineWrong::Cut)?;
    let message = PeerMessage::decode(bytes).map_err(LineWrong::Malformed);
    incoming.take(length);
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sample::{append, heartbeat, read_pieces};
    use super::*;

    proptest! {
        #[test]
        fn messages_survive_any_cutting(sizes in proptest::collection::vec(0..5_000_usize, 0..8), piece in 1..3_000_usize) {
            let mut bytes = Vec::new();
            let mut sent = Vec::new();
            for size in sizes {
                put_keep_alive(&mut bytes);
                for message in [append(size), heartbeat()] {
                    put_message(&message, &mut bytes);
                    sent.push(message);
                }
            }
            let (read, wrong) = read_pieces(&bytes, piece, async |incoming| next_message(incoming).await);
            prop_assert_eq!(read, sent);
            prop_assert!(matches!(wrong, LineWrong::Finished), "{}", wrong);
        }

        #[test]
        fn any_bytes_end_with_what_is_wrong(bytes in proptest::collection::vec(any::<u8>(), 0..200), small in any::<bool>()) {
            let mut bytes = bytes;
            if small {
                // Or hardly any length is believed.
                bytes.splice(0..0, [0, 0, 0, 0, 0, 0, 0, 20]);
            }
            let (_, wrong) = read_pieces(&bytes, 7, async |incoming| next_message(incoming).await);
            prop_assert!(!matches!(wrong, LineWrong::Fault(_) | LineWrong::Silent(_)), "{}", wrong);
        }
    }

    #[test]
    fn a_stream_cut_within_a_frame_is_told_from_one_that_ended() {
        let mut bytes = Vec::new();
        put_message(&append(100), &mut bytes);
        for cut in 1..bytes.len() {
            let (read, wrong) = read_pieces(&bytes[..cut], 64, async |incoming| next_message(incoming).await);
            assert!(read.is_empty() && matches!(wrong, LineWrong::Cut), "{cut}: {wrong}");
        }
    }
}
