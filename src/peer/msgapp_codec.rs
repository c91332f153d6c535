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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sample::{append_of, read_pieces};
    use super::*;

    const FROM: MemberId = MemberId(1);
    const TO: MemberId = MemberId(2);

    fn read(bytes: &[u8], piece: usize) -> (Vec<PeerMessage>, LineWrong) {
        let place = std::sync::Mutex::new(MsgAppPlace::default());
        read_pieces(bytes, piece, async |incoming| {
            let mut now = *place.lock().expect("nobody panics with it");
            let next = now.next(incoming, FROM, TO).await;
            *place.lock().expect("nobody panics with it") = now;
            next
        })
    }

    #[test]
    fn frames_are_etcds_byte_by_byte() {
        let mut place = MsgAppPlace::default();
        let mut bytes = Vec::new();
        place.put(&append_of(FROM, TO, 7, 3, &[]), &mut bytes);
        let whole = bytes.len();
        assert_eq!(bytes[..9], [2, 0, 0, 0, 0, 0, 0, 0, whole as u8 - 9]);
        place.put(&append_of(FROM, TO, 7, 3, &[1]), &mut bytes);
        let entry = [16, 7, 24, 4, 34, 1, b'x'];
        let expected =
            [&[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7][..], &entry, &[0, 0, 0, 0, 0, 0, 0, 3]].concat();
        assert_eq!(bytes[whole..], expected);
        MsgAppPlace::put_keep_alive(&mut bytes);
        assert_eq!(bytes.last(), Some(&0));
    }

    proptest! {
        #[test]
        fn appends_survive_any_cutting(
            steps in proptest::collection::vec((proptest::collection::vec(0..2_000_usize, 0..5), 0..4_u8), 1..10),
            piece in 1..3_000_usize,
        ) {
            let (mut term, mut index) = (3, 10);
            let (mut place, mut bytes, mut sent) = (MsgAppPlace::default(), Vec::new(), Vec::new());
            for (payloads, step) in steps {
                match step {
                    0 => term += 1,
                    1 => index = 10,
                    _ => MsgAppPlace::put_keep_alive(&mut bytes),
                }
                let message = append_of(FROM, TO, term, index, &payloads);
                index += payloads.len() as u64;
                place.put(&message, &mut bytes);
                sent.push(message);
            }
            let (read, wrong) = read(&bytes, piece);
            prop_assert_eq!(read, sent);
            prop_assert!(matches!(wrong, LineWrong::Finished), "{}", wrong);
        }

        #[test]
        fn any_bytes_end_with_what_is_wrong(mut bytes in proptest::collection::vec(any::<u8>(), 1..200), kind in 0..4_u8) {
            bytes[0] = kind;
            let (_, wrong) = read(&bytes, 7);
            prop_assert!(!matches!(wrong, LineWrong::Fault(_) | LineWrong::Silent(_)), "{}", wrong);
        }
    }
}
