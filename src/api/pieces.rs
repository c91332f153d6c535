//! Messages as they are encoded: piece by piece, as they leave.
//!
//! A large answer that is encoded at once is held three times: as a struct, as bytes, and as room that was outgrown. Here
//! the length is known first, the bytes are made in small pieces while the client takes them, and large values are sent
//! as they lie in the store.
//!
//! Invariant: the bytes are those of the message, and as many as [`Pieces::len`] said. Does not know of framing.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::api::watch_frames::RawWatchResponse;
use crate::base::limits::UNCOPIED_VALUE_BYTES;
use crate::wire::{etcdserverpb as pb, mvccpb};

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

fn is_full(buf: &BytesMut, len: usize, target: usize) -> bool {
    !buf.is_empty() && buf.len() + len > target
}

/// Field numbers of `RangeStreamResponse.range_response`, `RangeResponse.kvs`, `KeyValue.value` and `WatchResponse.events`.
const RANGE_RESPONSE: u32 = 1;
const KVS: u32 = 2;
const VALUE: u32 = 5;
const EVENTS: u32 = 11;

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
        Self { len, head: Some(head), kvs: kvs.into_iter(), kept: None, tail }
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

/// A watch answer, event by event.
pub struct WatchPieces {
    len: usize,
    head: Option<pb::WatchResponse>,
    events: std::vec::IntoIter<Bytes>,
    kept: Option<Bytes>,
}

impl From<RawWatchResponse> for WatchPieces {
    fn from(response: RawWatchResponse) -> Self {
        let len = response.encoded_len();
        let RawWatchResponse { head, events } = response;
        Self { len, head: Some(head), events: events.into_iter(), kept: None }
    }
}

impl Pieces for WatchPieces {
    fn len(&self) -> usize {
        self.len
    }

    fn step(&mut self, buf: &mut BytesMut, target: usize) -> Step {
        if let Some(head) = self.head.take() {
            buf.reserve(head.encoded_len());
            head.encode_raw(buf);
            return Step::Wrote;
        }
        let Some(event) = self.kept.take().or_else(|| self.events.next()) else { return Step::End };
        let lump = event.len() >= UNCOPIED_VALUE_BYTES;
        let before = key_len(EVENTS) + encoded_len_varint(event.len() as u64);
        if is_full(buf, before + if lump { 0 } else { event.len() }, target) {
            self.kept = Some(event);
            return Step::Full;
        }
        encode_key(EVENTS, WireType::LengthDelimited, buf);
        encode_varint(event.len() as u64, buf);
        if lump {
            return Step::Lump(event);
        }
        buf.put_slice(&event);
        Step::Wrote
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything a message encodes to, and the most that one piece of copied bytes had.
    fn encoded(mut pieces: impl Pieces, target: usize) -> (Vec<u8>, usize, usize) {
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

    fn key_value(key: Vec<u8>, size: usize, lease: i64) -> mvccpb::KeyValue {
        let value = vec![7; size].into();
        mvccpb::KeyValue { key: key.into(), create_revision: 1, mod_revision: -1, version: 0, value, lease }
    }

    fn sizes() -> impl Strategy<Value = Vec<usize>> {
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
            prop_assert!(bytes == response.encode_to_vec());
            prop_assert!(most <= target + UNCOPIED_VALUE_BYTES + key.len() + 200, "{}", most);
            let streamed = pb::RangeStreamResponse { range_response: Some(response) };
            let (bytes, len, _) = encoded(RangePieces::from(streamed.clone()), target);
            prop_assert_eq!(len, bytes.len());
            prop_assert!(bytes == streamed.encode_to_vec());
        }

        #[test]
        fn pieces_of_a_watch_answer_are_the_message(sizes in sizes(), target in 1..40_000_usize) {
            let head = pb::WatchResponse { watch_id: 3, canceled: true, ..Default::default() };
            let response = RawWatchResponse { head, events: sizes.iter().map(|size| vec![1; *size].into()).collect() };
            let (bytes, len, _) = encoded(WatchPieces::from(response.clone()), target);
            prop_assert_eq!(len, bytes.len());
            prop_assert!(bytes == response.encode_to_vec());
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
