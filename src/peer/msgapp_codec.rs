//! Frames of the msgapp stream, etcd's second version: an append that goes on where the last one ended is its entries and
//! its commit index alone.
//!
//! Invariants: both ends count term and index alike, from the last frame that named them; counts and lengths are held
//! against their limits before a byte of memory is taken for them.

use super::body::Incoming;
use super::message_codec::read_length;
use super::wrong::LineWrong;
use crate::base::{LogIndex, MemberId, Term, limits};
use crate::consensus::{PartialAppend, PeerMessage};
use crate::env::{Clock, NetReader};

const KEEP_ALIVE: u8 = 0;
const ENTRIES: u8 = 1;
const WHOLE: u8 = 2;

/// Where the stream stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct MsgAppPlace {
    term: Term,
    index: LogIndex,
}

impl MsgAppPlace {
    /// Writes a frame behind what is in `out`, which goes out whole or not at all.
    pub(super) fn put(&mut self, message: &PeerMessage, out: &mut Vec<u8>) {
        if !message.continues(self.term, self.index) {
            out.push(WHOLE);
            super::message_codec::put_message(message, out);
            (self.term, self.index) = (message.term(), message.last_index());
            return;
        }
        out.push(ENTRIES);
        out.extend_from_slice(&(message.entry_count() as u64).to_be_bytes());
        for number in 0..message.entry_count() {
            let start = out.len();
            out.extend_from_slice(&[0; 8]);
            message.encode_entry(number, out);
            let length = (out.len() - start - 8) as u64;
            out[start..start + 8].copy_from_slice(&length.to_be_bytes());
        }
        out.extend_from_slice(&message.commit().to_be_bytes());
        self.index += message.entry_count() as u64;
    }

    /// Writes the frame that says that the connection is alive.
    pub(super) fn put_keep_alive(out: &mut Vec<u8>) {
        out.push(KEEP_ALIVE);
    }

    /// The next message from `remote` to `local`; nothing of one that only says that the connection is alive.
    pub(super) async fn next<R: NetReader, C: Clock>(
        &mut self,
        incoming: &mut Incoming<R, C>,
        remote: MemberId,
        local: MemberId,
    ) -> Result<Option<PeerMessage>, LineWrong> {
        let kind = incoming.exactly(1).await?.ok_or(LineWrong::Finished)?[0];
        incoming.take(1);
        match kind {
            KEEP_ALIVE => Ok(None),
            ENTRIES => self.next_entries(incoming, remote, local).await.map(Some),
            WHOLE => {
                let message = super::message_codec::next_message(incoming).await.map_err(in_the_middle)?;
                if let Some(message) = &message {
                    (self.term, self.index) = (message.term(), message.last_index());
                }
                Ok(message)
            }
            kind => Err(LineWrong::malformed(format!("failed to parse type {kind} in msgappv2 stream"))),
        }
    }

    async fn next_entries<R: NetReader, C: Clock>(
        &mut self,
        incoming: &mut Incoming<R, C>,
        remote: MemberId,
        local: MemberId,
    ) -> Result<PeerMessage, LineWrong> {
        let count = read_length(incoming, "a list of entries", limits::PEER_MESSAGE_ENTRIES).await?;
        let count = count.ok_or(LineWrong::Cut)?;
        let mut append = PartialAppend::new(remote, local, self.term, self.index);
        let mut room = limits::PEER_MESSAGE_BYTES;
        for _ in 0..count {
            let length = read_length(incoming, "an entry", room).await?.ok_or(LineWrong::Cut)?;
            let bytes = incoming.exactly(length).await?.ok_or(LineWrong::Cut)?;
            append.push(bytes).map_err(LineWrong::Malformed)?;
            incoming.take(length);
            room -= length;
        }
        let commit = incoming.exactly(8).await?.ok_or(LineWrong::Cut)?;
        let commit = u64::from_be_bytes(commit.try_into().expect("eight bytes were asked for"));
        incoming.take(8);
        let message = append.finish(commit).map_err(LineWrong::Malformed)?;
        self.index += count as u64;
        Ok(message)
    }
}

/// The end of the stream is no end of a frame.
fn in_the_middle(wrong: LineWrong) -> LineWrong {
    match wrong {
        LineWrong::Finished => LineWrong::Cut,
        wrong => wrong,
    }
}
