//! The answers of transactions and of deletes as they are encoded: what is small at once, and key by key what is not.
//!
//! Invariant: the bytes are those of `TxnResponse`, or of `DeleteRangeResponse`. Does not know of framing.

use std::collections::VecDeque;

use bytes::BytesMut;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::kv::at_leisure;
use super::rows::{Rows, len_within};
use crate::api::guest::LongAnswer;
use crate::api::transport::pieces::{Pieces, Step, Whole, is_full};
use crate::base::limits::PIECE_BYTES;
use crate::wire::etcdserverpb as pb;
use pb::response_op::Response;

/// Field numbers of `RangeResponse.kvs`, `PutResponse.prev_kv`, `DeleteRangeResponse.prev_kvs`, `TxnResponse.responses`, and of what
/// a `ResponseOp` may be.
const KVS: u32 = 2;
const PREV_KV: u32 = 2;
const PREV_KVS: u32 = 3;
const RESPONSES: u32 = 3;
const RANGE: u32 = 1;
const PUT: u32 = 2;
const DELETE_RANGE: u32 = 3;
const TXN: u32 = 4;

/// An answer on its way out; see the module's head.
pub struct Carried<M> {
    /// Keys that a delete deleted.
    deleted: i64,
    /// Whether a transaction's compares held.
    succeeded: bool,
    way: Way<M>,
}

enum Way<M> {
    /// It is small.
    Whole(Whole<M>),
    /// It is made as it leaves.
    Parts(Parts),
}

/// A message in parts, and how long they are together.
#[derive(Default)]
pub struct Parts {
    len: usize,
    parts: VecDeque<Part>,
    /// Its place among the long answers, until it has left.
    _long: Option<LongAnswer>,
}

enum Part {
    /// As they are.
    Bytes(BytesMut),
    Rows(Rows),
}

impl From<(pb::TxnResponse, Option<LongAnswer>)> for Carried<pb::TxnResponse> {
    fn from((answer, long): (pb::TxnResponse, Option<LongAnswer>)) -> Self {
        Self { succeeded: answer.succeeded, deleted: 0, way: Way::of(answer, long, Parts::txn) }
    }
}

impl From<(pb::DeleteRangeResponse, Option<LongAnswer>)> for Carried<pb::DeleteRangeResponse> {
    fn from((answer, long): (pb::DeleteRangeResponse, Option<LongAnswer>)) -> Self {
        Self { deleted: answer.deleted, succeeded: false, way: Way::of(answer, long, Parts::delete_range) }
    }
}

impl<M: Message> Way<M> {
    fn of(answer: M, long: Option<LongAnswer>, parts: impl FnOnce(M) -> Parts) -> Self {
        at_leisure(long.is_some(), || match answer.encoded_len() <= PIECE_BYTES {
            true => Self::Whole(answer.into()),
            false => Self::Parts(Parts { _long: long, ..parts(answer) }),
        })
    }
}

impl<M: Message + 'static> Pieces for Carried<M> {
    fn len(&self) -> usize {
        match &self.way {
            Way::Whole(whole) => whole.len(),
            Way::Parts(parts) => parts.len,
        }
    }

    fn count(&self) -> i64 {
        self.deleted
    }

    fn succeeded(&self) -> bool {
        self.succeeded
    }

    fn step(&mut self, buf: &mut BytesMut, target: usize) -> Step {
        match &mut self.way {
            Way::Whole(whole) => whole.step(buf, target),
            Way::Parts(parts) => parts.step(buf, target),
        }
    }
}

impl Parts {
    fn txn(answer: pb::TxnResponse) -> Self {
        let pb::TxnResponse { header, succeeded, responses } = answer;
        let head = Self::message(&pb::TxnResponse { header, succeeded, responses: Vec::new() });
        responses.into_iter().fold(head, |all, op| all.then(Self::op(op).within(RESPONSES)))
    }

    fn op(op: pb::ResponseOp) -> Self {
        match op.response {
            None => Self::default(),
            Some(Response::ResponseRange(range)) => Self::range(range).within(RANGE),
            Some(Response::ResponsePut(put)) => Self::put(put).within(PUT),
            Some(Response::ResponseDeleteRange(deleted)) => Self::delete_range(deleted).within(DELETE_RANGE),
            Some(Response::ResponseTxn(txn)) => Self::txn(txn).within(TXN),
        }
    }

    fn range(answer: pb::RangeResponse) -> Self {
        let pb::RangeResponse { header, kvs, more, count } = answer;
        let tail = Self::message(&pb::RangeResponse { more, count, ..Default::default() });
        Self::message(&pb::RangeResponse { header, ..Default::default() }).then(Self::rows(KVS, kvs)).then(tail)
    }

    fn put(answer: pb::PutResponse) -> Self {
        let pb::PutResponse { header, prev_kv } = answer;
        let head = Self::message(&pb::PutResponse { header, prev_kv: None });
        head.then(Self::rows(PREV_KV, prev_kv.into_iter().collect()))
    }

    fn delete_range(answer: pb::DeleteRangeResponse) -> Self {
        let pb::DeleteRangeResponse { header, deleted, prev_kvs } = answer;
        let head = pb::DeleteRangeResponse { header, deleted, prev_kvs: Vec::new() };
        Self::message(&head).then(Self::rows(PREV_KVS, prev_kvs))
    }

    fn message(message: &impl Message) -> Self {
        let mut bytes = BytesMut::with_capacity(message.encoded_len());
        message.encode_raw(&mut bytes);
        Self { len: bytes.len(), parts: VecDeque::from([Part::Bytes(bytes)]), _long: None }
    }

    fn rows(field: u32, rows: Vec<crate::wire::mvccpb::KeyValue>) -> Self {
        let rows = Rows::new(field, rows);
        Self { len: rows.len(), parts: VecDeque::from([Part::Rows(rows)]), _long: None }
    }

    /// As a message in a field with this number.
    fn within(mut self, field: u32) -> Self {
        let mut bytes = BytesMut::new();
        encode_key(field, WireType::LengthDelimited, &mut bytes);
        encode_varint(self.len as u64, &mut bytes);
        self.len = len_within(field, self.len);
        self.parts.push_front(Part::Bytes(bytes));
        self
    }

    fn then(mut self, next: Self) -> Self {
        self.len += next.len;
        self.parts.extend(next.parts);
        self
    }

    fn step(&mut self, buf: &mut BytesMut, target: usize) -> Step {
        while let Some(part) = self.parts.front_mut() {
            match part {
                Part::Bytes(bytes) if is_full(buf, bytes.len(), target) => return Step::Full,
                Part::Bytes(bytes) => {
                    buf.extend_from_slice(bytes);
                    self.parts.pop_front();
                    return Step::Wrote;
                }
                Part::Rows(rows) => match rows.step(buf, target) {
                    Step::End => self.parts.pop_front().map_or((), drop),
                    step => return step,
                },
            }
        }
        Step::End
    }
}

#[cfg(test)]
mod tests {
    use super::super::range_pieces::tests::{key_values, sizes};
    use super::*;
    use crate::api::transport::pieces::tests::encoded;
    use crate::base::limits::UNCOPIED_VALUE_BYTES;
    use proptest::prelude::*;

    fn header() -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader { revision: 9, ..Default::default() })
    }

    fn op() -> impl Strategy<Value = pb::ResponseOp> {
        let range = (sizes(), any::<bool>(), 0..9_i64).prop_map(|(sizes, more, count)| {
            Response::ResponseRange(pb::RangeResponse { header: header(), kvs: key_values(&sizes), more, count })
        });
        let put = proptest::option::of(sizes()).prop_map(|before| {
            let prev_kv = before.and_then(|sizes| key_values(&sizes).pop());
            Response::ResponsePut(pb::PutResponse { header: header(), prev_kv })
        });
        let deleted = delete_range().prop_map(Response::ResponseDeleteRange);
        let leaf = prop_oneof![range, put, deleted].prop_map(|response| pb::ResponseOp { response: Some(response) });
        let leaf = prop_oneof![9 => leaf, 1 => Just(pb::ResponseOp { response: None })];
        leaf.prop_recursive(3, 12, 4, |op| {
            proptest::collection::vec(op, 0..4)
                .prop_map(|ops| pb::ResponseOp { response: Some(Response::ResponseTxn(txn(ops))) })
        })
    }

    fn delete_range() -> impl Strategy<Value = pb::DeleteRangeResponse> {
        (sizes(), 0..9_i64).prop_map(|(sizes, deleted)| {
            let prev_kvs = key_values(&sizes);
            pb::DeleteRangeResponse { header: header(), deleted, prev_kvs }
        })
    }

    fn txn(responses: Vec<pb::ResponseOp>) -> pb::TxnResponse {
        pb::TxnResponse { header: header(), succeeded: responses.len().is_multiple_of(2), responses }
    }

    /// Whether pieces are the message, and none is much more than its target.
    fn check(pieces: impl Pieces, message: &impl Message, target: usize) {
        let (bytes, len, most) = encoded(pieces, target);
        assert_eq!(len, bytes.len());
        assert!(bytes == message.encode_to_vec());
        assert!(most <= target + UNCOPIED_VALUE_BYTES + 400, "{most}");
    }

    proptest! {
        #[test]
        fn pieces_of_a_transaction_are_the_message(ops in proptest::collection::vec(op(), 0..6), target in 1..40_000_usize) {
            let answer = txn(ops);
            check(Carried::<pb::TxnResponse> { deleted: 0, succeeded: false, way: Way::Parts(Parts::txn(answer.clone())) }, &answer, target);
            check(Carried::from((answer.clone(), None)), &answer, target.max(PIECE_BYTES));
        }

        #[test]
        fn pieces_of_a_delete_are_the_message(answer in delete_range(), target in 1..40_000_usize) {
            let way = Way::Parts(Parts::delete_range(answer.clone()));
            let parts = Carried::<pb::DeleteRangeResponse> { deleted: 0, succeeded: false, way };
            check(parts, &answer, target);
            check(Carried::from((answer.clone(), None)), &answer, target.max(PIECE_BYTES));
        }
    }

    #[test]
    fn what_is_small_is_encoded_at_once_and_what_is_large_as_it_leaves() {
        let answer = |many: usize| {
            let kvs = key_values(&vec![100; many]);
            let response = Some(Response::ResponseRange(pb::RangeResponse { kvs, ..Default::default() }));
            txn(vec![pb::ResponseOp { response }])
        };
        assert!(matches!(Carried::from((answer(10), None)).way, Way::Whole(_)));
        let large = Carried::from((answer(10_000), None));
        assert!(matches!(large.way, Way::Parts(_)));
        let (_, _, most) = encoded(large, PIECE_BYTES);
        assert!(most <= PIECE_BYTES);
    }
}
