//! The answer of a range as it is encoded: key by key, a large value as it lies in the store.
//!
//! Invariant: the bytes are those of `RangeResponse`, or of `RangeStreamResponse`. Does not know of framing.

use bytes::{BufMut, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::rows::Rows;
use crate::api::guest::LongAnswer;
use crate::api::transport::pieces::{Pieces, Step};
use crate::wire::etcdserverpb as pb;

/// Field numbers of `RangeStreamResponse.range_response` and `RangeResponse.kvs`.
const RANGE_RESPONSE: u32 = 1;
const KVS: u32 = 2;

/// The answer of a range, key by key.
pub struct RangePieces {
    len: usize,
    /// What stands before the keys.
    head: Option<BytesMut>,
    rows: Rows,
    /// What stands behind the keys.
    tail: Option<pb::RangeResponse>,
    /// Its place among the long answers, until it has left.
    _long: Option<LongAnswer>,
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
        Self { len, head: Some(head), rows: Rows::new(KVS, kvs), tail, _long: None }
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
        match self.rows.step(buf, target) {
            Step::End => {}
            step => return step,
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
    use crate::base::limits::UNCOPIED_VALUE_BYTES;
    use crate::wire::mvccpb;
    use proptest::prelude::*;

    fn key_value(key: Vec<u8>, size: usize, lease: i64) -> mvccpb::KeyValue {
        let value = vec![7; size].into();
        mvccpb::KeyValue { key: key.into(), create_revision: 1, mod_revision: -1, version: 0, value, lease }
    }

    /// With values of these sizes.
    pub fn key_values(sizes: &[usize]) -> Vec<mvccpb::KeyValue> {
        sizes.iter().enumerate().map(|(n, size)| key_value(format!("key {n}").into(), *size, n as i64 % 3)).collect()
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
