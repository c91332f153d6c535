//! Watch answers as they travel: an event is encoded once and spliced into the answer of every watcher.
//!
//! Invariant: the bytes are those of `WatchResponse`; a revision is split over two answers only where the
//! client allowed it, and then every part but the last says so.
//! Does not know where events come from.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::encoding::{self, WireType};
use prost::{DecodeError, Message};

use crate::api::services::answers::key_value;
use crate::api::transport::pieces::{Pieces, Step, is_full};
use crate::base::limits::UNCOPIED_VALUE_BYTES;
use crate::base::{Event, EventKind, KeyValue};
use crate::wire::{etcdserverpb as pb, mvccpb};

/// Field number of `WatchResponse.events`.
const EVENTS: u32 = 11;

/// A `WatchResponse` whose events are encoded already. It is only ever sent: decoding is refused.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RawWatchResponse {
    /// Every field but the events.
    pub head: pb::WatchResponse,
    /// Each the encoding of one `Event`.
    pub events: Vec<Bytes>,
}

impl Message for RawWatchResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        debug_assert!(self.head.events.is_empty(), "events are given encoded");
        self.head.encode_raw(buf);
        for event in &self.events {
            encoding::encode_key(EVENTS, WireType::LengthDelimited, buf);
            encoding::encode_varint(event.len() as u64, buf);
            buf.put_slice(event);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: encoding::DecodeContext,
    ) -> Result<(), DecodeError> {
        encoding::skip_field(wire_type, tag, buf, context)
    }

    fn encoded_len(&self) -> usize {
        self.head.encoded_len() + self.events.iter().map(spliced_len).sum::<usize>()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What an encoded event takes inside an answer.
fn spliced_len(event: &Bytes) -> usize {
    encoding::key_len(EVENTS) + encoding::encoded_len_varint(event.len() as u64) + event.len()
}

/// The encoding of one event, with the previous key-value if `prev`.
pub fn encode_event(event: &Event, prev: bool) -> Bytes {
    let kind = match event.kind {
        EventKind::Put => mvccpb::event::EventType::Put,
        EventKind::Delete => mvccpb::event::EventType::Delete,
    };
    let message = mvccpb::Event {
        r#type: kind as i32,
        kv: Some(shared(&event.kv)),
        prev_kv: if prev { event.prev_kv.as_ref().map(shared) } else { None },
    };
    message.encode_to_vec().into()
}

fn shared(kv: &KeyValue) -> mvccpb::KeyValue {
    key_value(kv.clone())
}

/// Splits an answer that is too large, if its watcher allows: as many events as fit into `limit` bytes
/// together, at least one, and `fragment` set on every part but the last.
pub fn split(response: RawWatchResponse, limit: usize) -> Vec<RawWatchResponse> {
    let head_len = response.head.encoded_len();
    if response.events.len() < 2 || response.encoded_len() < limit {
        return vec![response];
    }
    let RawWatchResponse { head, events } = response;
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut size = head_len;
    for event in events {
        let len = spliced_len(&event);
        if !part.is_empty() && size + len >= limit {
            parts.push(RawWatchResponse { head: head.clone(), events: std::mem::take(&mut part) });
            size = head_len;
        }
        size += len;
        part.push(event);
    }
    for earlier in &mut parts {
        earlier.head.fragment = true;
    }
    parts.push(RawWatchResponse { head, events: part });
    parts
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
        let before = encoding::key_len(EVENTS) + encoding::encoded_len_varint(event.len() as u64);
        if is_full(buf, before + if lump { 0 } else { event.len() }, target) {
            self.kept = Some(event);
            return Step::Full;
        }
        encoding::encode_key(EVENTS, WireType::LengthDelimited, buf);
        encoding::encode_varint(event.len() as u64, buf);
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
    use crate::api::services::range_pieces::tests::sizes;
    use crate::api::transport::pieces::tests::encoded;
    use proptest::prelude::*;

    fn event(key: Vec<u8>, value: Vec<u8>, delete: bool, prev: bool) -> Event {
        let kv = KeyValue {
            key: key.into(),
            value: value.into(),
            create_revision: 3,
            mod_revision: 9,
            version: 2,
            lease: -1,
        };
        Event { kind: if delete { EventKind::Delete } else { EventKind::Put }, prev_kv: prev.then(|| kv.clone()), kv }
    }

    fn head() -> pb::WatchResponse {
        let header = pb::ResponseHeader { cluster_id: u64::MAX, member_id: 5, revision: 9, raft_term: 2 };
        pb::WatchResponse { header: Some(header), watch_id: 7, ..Default::default() }
    }

    proptest! {
        #[test]
        fn pieces_of_a_watch_answer_are_the_message(sizes in sizes(), target in 1..40_000_usize) {
            let head = pb::WatchResponse { watch_id: 3, canceled: true, ..Default::default() };
            let response = RawWatchResponse { head, events: sizes.iter().map(|size| vec![1; *size].into()).collect() };
            let (bytes, len, _) = encoded(WatchPieces::from(response.clone()), target);
            prop_assert_eq!(len, bytes.len());
            prop_assert!(bytes == response.encode_to_vec());
        }

        #[test]
        fn spliced_bytes_are_the_messages_own(
            events in proptest::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>(), any::<bool>(), any::<bool>()), 0..5),
            wide in any::<bool>(),
        ) {
            let events: Vec<Event> = events.into_iter().map(|(k, v, d, p)| event(k, v, d, p)).collect();
            let raw = RawWatchResponse {
                head: head(),
                events: events.iter().map(|event| encode_event(event, wide)).collect(),
            };
            let decoded = pb::WatchResponse::decode(&raw.encode_to_vec()[..]).expect("a watch response");
            prop_assert_eq!(raw.encoded_len(), decoded.encoded_len());
            prop_assert_eq!(raw.encode_to_vec(), decoded.encode_to_vec());
            prop_assert_eq!(decoded.events.len(), events.len());
            for (sent, event) in decoded.events.iter().zip(&events) {
                prop_assert_eq!(sent.kv.as_ref(), Some(&shared(&event.kv)));
                prop_assert_eq!(sent.prev_kv.is_some(), wide && event.prev_kv.is_some());
            }
        }

        #[test]
        fn parts_hold_every_event_once_and_all_but_the_last_say_so(
            sizes in proptest::collection::vec(0..200_usize, 0..30),
            limit in 60..500_usize,
        ) {
            let events: Vec<Bytes> = sizes.iter().map(|&size| Bytes::from(vec![1; size])).collect();
            let whole = RawWatchResponse { head: head(), events: events.clone() };
            let fits = whole.encoded_len() < limit || events.len() < 2;
            let parts = split(whole, limit);
            prop_assert_eq!(parts.len() == 1 || !fits, true);
            for (place, part) in parts.iter().enumerate() {
                prop_assert_eq!(part.head.fragment, place + 1 < parts.len());
                // The flag itself takes two bytes more.
                prop_assert!(part.events.len() <= 1 || part.encoded_len() < limit + 2);
            }
            let sent: Vec<Bytes> = parts.into_iter().flat_map(|part| part.events).collect();
            prop_assert_eq!(sent, events);
        }
    }
}
