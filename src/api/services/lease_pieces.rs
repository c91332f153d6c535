//! The answer to how long a lease has, as it is encoded: key by key, for there may be as many as the store has.
//!
//! Invariant: the bytes are those of `LeaseTimeToLiveResponse`. The keys are shared with the store's own list. Does not know of
//! framing.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::api::guest::LongAnswer;
use crate::api::transport::pieces::{Pieces, Step, is_full};
use crate::lease::{KeySet, Keys};
use crate::wire::etcdserverpb as pb;

/// The field of the keys, which is the last.
const KEYS: u32 = 5;

/// See the module's head.
pub struct LeasePieces {
    len: usize,
    /// What stands before the keys.
    head: Option<BytesMut>,
    keys: Keys,
    /// The key that did not fit.
    kept: Option<Bytes>,
    /// Its place among the long answers, until it has left.
    _long: Option<LongAnswer>,
}

fn len_of(key: &Bytes) -> usize {
    key_len(KEYS) + encoded_len_varint(key.len() as u64) + key.len()
}

impl LeasePieces {
    /// Of an answer without its keys, and of these; with its place where it is a long one.
    pub fn new(bare: &pb::LeaseTimeToLiveResponse, keys: KeySet, long: Option<LongAnswer>) -> Self {
        let mut head = BytesMut::new();
        bare.encode_raw(&mut head);
        let len = head.len() + keys.iter().map(len_of).sum::<usize>();
        Self { len, head: Some(head), keys: keys.into_iter(), kept: None, _long: long }
    }
}

impl Pieces for LeasePieces {
    fn len(&self) -> usize {
        self.len
    }

    fn step(&mut self, buf: &mut BytesMut, target: usize) -> Step {
        if let Some(head) = self.head.take() {
            if is_full(buf, head.len(), target) {
                self.head = Some(head);
                return Step::Full;
            }
            buf.extend_from_slice(&head);
            return Step::Wrote;
        }
        let Some(key) = self.kept.take().or_else(|| self.keys.next()) else { return Step::End };
        if is_full(buf, len_of(&key), target) {
            self.kept = Some(key);
            return Step::Full;
        }
        encode_key(KEYS, WireType::LengthDelimited, buf);
        encode_varint(key.len() as u64, buf);
        buf.put_slice(&key);
        Step::Wrote
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::transport::pieces::tests::encoded;

    #[test]
    fn the_bytes_are_those_of_the_message() {
        for many in [0_u32, 1, 3_000] {
            let keys: Vec<Bytes> = (0..many).map(|n| Bytes::from(format!("key {n:09}"))).collect();
            let header = Some(pb::ResponseHeader { revision: 9, ..Default::default() });
            let bare = pb::LeaseTimeToLiveResponse { header, id: 7, ttl: 3, granted_ttl: 10, keys: Vec::new() };
            let whole = pb::LeaseTimeToLiveResponse { keys: keys.clone(), ..bare.clone() };
            let (bytes, len, most) = encoded(LeasePieces::new(&bare, keys.into_iter().collect(), None), 1_000);
            assert_eq!(bytes, whole.encode_to_vec());
            assert_eq!(len, bytes.len());
            assert!(most <= 1_000);
        }
    }
}
