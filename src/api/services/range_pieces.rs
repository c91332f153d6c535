//! The answer of a range as it is encoded: key by key, a large value as it lies in the store.
//!
//! Invariant: the bytes are those of `RangeResponse`, or of `RangeStreamResponse`. Does not know of framing.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::api::guest::LongAnswer;
use crate::api::transport::pieces::{Pieces, Step, is_full};
use crate::base::limits::UNCOPIED_VALUE_BYTES;
use crate::wire::{etcdserverpb as pb, mvccpb};

/// Field numbers of `RangeStreamResponse.range_response`, `RangeResponse.kvs` and `KeyValue.value`.
const RANGE_RESPONSE: u32 = 1;
const KVS: u32 = 2;
const VALUE: u32 = 5;

/// The answer of a range, key by key.
pub struct RangePieces {
    len: usize,
    /// What stands before the keys.
    head: Option<BytesMut>,
    kvs: std::vec::IntoIter<mvccpb::KeyValue>,
    /// The key-value that did not fit, or of which the value was just sent.
    kept: Option<Kept>,
    /// What stands behind the keys.
    tail: Option<pb::RangeResponse>,
    /// Its place among the long answers, until it has left.
    _long: Option<LongAnswer>,
}

enum Kept {
    Next(mvccpb::KeyValue),
    /// What follows the value of one.
    Rest(mvccpb::KeyValue),
}

impl From<pb::RangeResponse> for RangePieces {
    fn from(response: pb::RangeResponse) -> Self {
        let len = response.encoded_len();
        Self::new(response, len, BytesMut::new())
    }
}

/// An answer, and the place it has where it is a long one.
impl From<(pb::RangeResponse, Option<LongAnswer>)> for RangePieces {
    fn from((response, long): (pb::RangeResponse, Option<LongAnswer>)) -> Self {
        Self { _long: long, ..Self::from(response) }
    }
}

impl From<pb::RangeStreamResponse> for RangePieces {
    fn from(response: pb::RangeStreamResponse) -> Self {
        let len = response.encoded_len();
        let Some(response) = response.range_response else {
            return Self::new(pb::RangeResponse::default(), 0, BytesMut::new());
        };
        let mut head = BytesMut::new();
        encode_key(RANGE_RESPONSE, WireType::LengthDelimited, &mut head);
        encode_varint(response.encoded_len() as u64, &mut head);
        Self::new(response, len, head)
    }
}

impl RangePieces {
    fn new(response: pb::RangeResponse, len: usize, mut head: BytesMut) -> Self {
        let pb::RangeResponse { header, kvs, more, count } = response;
        pb::RangeResponse { header, ..Default::default() }.encode_raw(&mut head);
        let tail = Some(pb::RangeResponse { more, count, ..Default::default() });
        Self { len, head: Some(head), kvs: kvs.into_iter(), kept: None, tail, _long: None }
    }

    /// The next key-value; a large value leaves as it is.
    fn key_value(&mut self, kv: mvccpb::KeyValue, buf: &mut BytesMut, target: usize) -> Step {
        let len = kv.encoded_len();
        let lump = kv.value.len() >= UNCOPIED_VALUE_BYTES;
        let copied = len - if lump { kv.value.len() } else { 0 } + key_len(KVS) + encoded_len_varint(len as u64);
        if is_full(buf, copied, target) {
            self.kept = Some(Kept::Next(kv));
            return Step::Full;
        }
        buf.reserve(copied);
        encode_key(KVS, WireType::LengthDelimited, buf);
        encode_varint(len as u64, buf);
        if !lump {
            kv.encode_raw(buf);
            return Step::Wrote;
        }
        let mvccpb::KeyValue { value, lease, .. } = kv;
        mvccpb::KeyValue { value: Bytes::new(), lease: 0, ..kv }.encode_raw(buf);
        encode_key(VALUE, WireType::LengthDelimited, buf);
        encode_varint(value.len() as u64, buf);
        self.kept = Some(Kept::Rest(mvccpb::KeyValue { lease, ..Default::default() }));
        Step::Lump(value)
    }
}

impl Pieces for RangePieces {
    fn len(&self) -> usize {
        self.len
    }

    fn count(&self) -> i64 {
        self.tail.as_ref().map_or(0, |tail| tail.count)
    }

    fn step(&mut self, buf: &mut BytesMut, target: usize) -> Step {
        if let Some(head) = self.head.take() {
            buf.put(head);
            return Step::Wrote;
        }
        match self.kept.take() {
            Some(Kept::Rest(rest)) => {
                rest.encode_raw(buf);
                return Step::Wrote;
            }
            Some(Kept::Next(kv)) => return self.key_value(kv, buf, target),
            None => {}
        }
        if let Some(kv) = self.kvs.next() {
            return self.key_value(kv, buf, target);
        }
        match self.tail.take() {
            Some(tail) => {
                tail.encode_raw(buf);
                Step::Wrote
            }
            None => Step::End,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::api::transport::pieces::tests::encoded;
    use proptest::prelude::*;

    fn key_value(key: Vec<u8>, size: usize, lease: i64) -> mvccpb::KeyValue {
        let value = vec![7; size].into();
        mvccpb::KeyValue { key: key.into(), create_revision: 1, mod_revision: -1, version: 0, value, lease }
    }

    /// Sizes of values around those that are not copied.
    pub fn sizes() -> impl Strategy<Value = Vec<usize>> {
        let size = prop_oneof![0..400_usize, UNCOPIED_VALUE_BYTES - 2..UNCOPIED_VALUE_BYTES + 2, Just(100_000)];
        proptest::collection::vec(size, 0..40)
    }

    proptest! {
        #[test]
        fn pieces_of_a_range_are_the_message(
            sizes in sizes(), key in any::<Vec<u8>>(), lease in -1..2_i64, more in any::<bool>(), count in 0..9_i64,
            headed in any::<bool>(), target in 1..40_000_usize,
        ) {
            let header = headed.then_some(pb::ResponseHeader { revision: 5, ..Default::default() });
            let kvs = sizes.iter().map(|size| key_value(key.clone(), *size, lease)).collect();
            let response = pb::RangeResponse { header, kvs, more, count };
            let (bytes, len, most) = encoded(RangePieces::from(response.clone()), target);
            prop_assert_eq!(len, bytes.len());
            prop_assert_eq!(RangePieces::from(response.clone()).count(), count);
            prop_assert!(bytes == response.encode_to_vec());
            prop_assert!(most <= target + UNCOPIED_VALUE_BYTES + key.len() + 200, "{}", most);
            let streamed = pb::RangeStreamResponse { range_response: Some(response) };
            let (bytes, len, _) = encoded(RangePieces::from(streamed.clone()), target);
            prop_assert_eq!(len, bytes.len());
            prop_assert!(bytes == streamed.encode_to_vec());
        }
    }
}
