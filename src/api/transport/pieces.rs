//! Messages as they are encoded: piece by piece, as they leave.
//!
//! A large answer that is encoded at once is held three times: as a struct, as bytes, and as room that was outgrown. Here
//! the length is known first, the bytes are made in small pieces while the client takes them, and large values are sent
//! as they lie in the store.
//!
//! Invariant: the bytes are those of the message, and as many as [`Pieces::len`] said. Does not know of framing, nor of any message.

use bytes::{Bytes, BytesMut};
use prost::Message;

/// What a step of encoding did.
#[derive(PartialEq, Eq, Debug)]
pub enum Step {
    /// Wrote something.
    Wrote,
    /// Wrote nothing: what comes next does not fit behind what is there already.
    Full,
    /// Next come these bytes, which are not to be copied.
    Lump(Bytes),
    /// There is nothing left.
    End,
}

/// A message on its way out.
pub trait Pieces: Send + 'static {
    /// Bytes of the whole message; to be asked before the first step.
    fn len(&self) -> usize;

    /// Keys that it tells of, where etcd counts them; to be asked before the first step.
    fn count(&self) -> i64 {
        0
    }

    /// Of a transaction, whether its compares held; to be asked before the first step.
    fn succeeded(&self) -> bool {
        false
    }

    /// Encodes a little more of it onto `buf`, which should not grow beyond `target`.
    fn step(&mut self, buf: &mut BytesMut, target: usize) -> Step;
}

/// A message that is encoded at once.
pub struct Whole<M>(Option<M>);

impl<M: Message> From<M> for Whole<M> {
    fn from(message: M) -> Self {
        Self(Some(message))
    }
}

impl<M: Message + 'static> Pieces for Whole<M> {
    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, Message::encoded_len)
    }

    fn step(&mut self, buf: &mut BytesMut, target: usize) -> Step {
        let Some(message) = self.0.take() else { return Step::End };
        let len = message.encoded_len();
        if is_full(buf, len, target) {
            self.0 = Some(message);
            return Step::Full;
        }
        buf.reserve(len);
        message.encode_raw(buf);
        Step::Wrote
    }
}

/// Whether so many bytes do not fit behind what is there already.
pub fn is_full(buf: &BytesMut, len: usize, target: usize) -> bool {
    !buf.is_empty() && buf.len() + len > target
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::wire::etcdserverpb as pb;

    /// Everything a message encodes to, and the most that one piece of copied bytes had.
    pub fn encoded(mut pieces: impl Pieces, target: usize) -> (Vec<u8>, usize, usize) {
        let (len, mut all, mut most) = (pieces.len(), Vec::new(), 0);
        let mut buf = BytesMut::new();
        loop {
            let step = pieces.step(&mut buf, target);
            let ended = step == Step::End;
            if step != Step::Wrote || buf.len() >= target {
                most = most.max(buf.len());
                all.extend_from_slice(&buf.split());
            }
            if let Step::Lump(bytes) = step {
                all.extend_from_slice(&bytes);
            }
            if ended {
                return (all, len, most);
            }
        }
    }

    #[test]
    fn what_is_whole_waits_for_an_empty_buffer() {
        let message = pb::RangeRequest { key: vec![1; 100].into(), ..Default::default() };
        let mut whole = Whole::from(message.clone());
        let mut buf = BytesMut::from(&b"before"[..]);
        assert_eq!(whole.step(&mut buf, 50), Step::Full);
        buf.clear();
        assert_eq!(whole.step(&mut buf, 50), Step::Wrote);
        assert_eq!(whole.step(&mut buf, 50), Step::End);
        assert_eq!(buf, message.encode_to_vec());
    }
}
