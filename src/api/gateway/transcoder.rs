//! A long message made JSON piece by piece, as it comes.
//!
//! What is written at once holds the message, its JSON and what both grew out of, and a thread that serves everybody stands still
//! meanwhile. Here whole fields are written as they come, and a message, or bytes, that are long within another are entered.
//!
//! Invariant: the pieces together are what [`from_protobuf`] writes of the whole, where fields stand in the order of their numbers,
//! as every encoder here has them. Does not know of HTTP, nor where a message comes from.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BytesMut};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::api::gateway::json::from_protobuf;

/// Longest number in protobuf.
const VARINT_BYTES: usize = 10;

/// See the module's head.
pub struct Transcoder {
    /// What has begun and not ended, the outermost first.
    open: Vec<Open>,
    /// What has come and was not written; more is put behind it.
    pub received: BytesMut,
    /// What is longer is entered, and no more is written at once.
    portion: usize,
    begun: bool,
}

/// What is written in pieces.
enum Open {
    Message(OpenMessage),
    /// Bytes of which so many are to come.
    Bytes(usize),
}

struct OpenMessage {
    kind: MessageDescriptor,
    /// Bytes of it that are to come.
    left: usize,
    /// A field of it was written.
    spoke: bool,
    /// The field whose list is open.
    list: Option<u32>,
}

/// How it goes on.
enum Next {
    /// With more of the same.
    On,
    /// With what stands within.
    Within(Open),
    /// With what stands around.
    Ended,
    /// When more has come.
    Wait,
}

/// The beginning of a field.
struct Head {
    number: u32,
    has_length: bool,
    /// Bytes of the beginning.
    bytes: usize,
    /// Bytes that follow.
    value: usize,
}

impl Transcoder {
    /// Of a message of so many bytes.
    pub fn new(kind: MessageDescriptor, length: usize, portion: usize) -> Self {
        let open = vec![Open::message(kind, length)];
        Self { open, received: BytesMut::new(), portion, begun: false }
    }

    /// The JSON of what has come, as far as it can be written.
    ///
    /// # Errors
    /// It is no such message.
    pub fn step(&mut self) -> Result<Vec<u8>, String> {
        let mut json = Vec::with_capacity(self.received.len() / 2 * 3);
        if !self.begun {
            self.begun = true;
            json.push(b'{');
        }
        while let Some(open) = self.open.last_mut() {
            let next = match open {
                Open::Message(message) => message.step(&mut self.received, self.portion, &mut json)?,
                Open::Bytes(left) => in_base64(left, &mut self.received, &mut json),
            };
            match next {
                Next::On => {}
                Next::Within(open) => self.open.push(open),
                Next::Ended => drop(self.open.pop()),
                Next::Wait => break,
            }
        }
        Ok(json)
    }

    /// Whether the whole message was written.
    pub fn is_done(&self) -> bool {
        self.open.is_empty()
    }
}

impl Open {
    fn message(kind: MessageDescriptor, left: usize) -> Self {
        Self::Message(OpenMessage { kind, left, spoke: false, list: None })
    }
}

impl OpenMessage {
    /// Writes as many fields of one number as have come, or enters one.
    fn step(&mut self, received: &mut BytesMut, portion: usize, json: &mut Vec<u8>) -> Result<Next, String> {
        if self.left == 0 {
            self.end_list(json);
            json.push(b'}');
            return Ok(Next::Ended);
        }
        let (mut run, mut number) = (0, None);
        while run < self.left.min(portion) {
            let Some(head) = Head::read(&received[run..])? else { break };
            let end = head.value.checked_add(run + head.bytes).filter(|end| *end <= self.left);
            let end = end.ok_or("a field is longer than its message")?;
            if number.is_some_and(|number| number != head.number) {
                break;
            }
            if head.value > portion
                && let Some((field, open)) = self.within(&head)
            {
                if run > 0 {
                    break;
                }
                received.advance(head.bytes);
                self.left -= end;
                self.begin(&field, json);
                json.push(if matches!(open, Open::Bytes(_)) { b'"' } else { b'{' });
                return Ok(Next::Within(open));
            }
            if end > received.len() {
                break;
            }
            (run, number) = (end, Some(head.number));
        }
        let Some(number) = number else { return Ok(Next::Wait) };
        self.left -= run;
        self.write(number, &received.split_to(run), json)?;
        Ok(Next::On)
    }

    /// What is entered of a field: a message or bytes.
    fn within(&self, head: &Head) -> Option<(FieldDescriptor, Open)> {
        let field = self.kind.get_field(head.number).filter(|field| head.has_length && !field.is_map())?;
        let open = match field.kind() {
            Kind::Message(kind) => Open::message(kind, head.value),
            Kind::Bytes => Open::Bytes(head.value),
            _ => return None,
        };
        Some((field, open))
    }

    /// Writes whole fields of one number.
    fn write(&mut self, number: u32, fields: &[u8], json: &mut Vec<u8>) -> Result<(), String> {
        let Some(field) = self.kind.get_field(number) else { return Ok(()) };
        let written = from_protobuf(&self.kind, fields)?;
        // Without the braces of the message, and of a list its items alone.
        let mut inner = &written[1..written.len() - 1];
        if inner.is_empty() {
            return Ok(());
        }
        if field.is_list() {
            // The name in quotes, a colon and the brackets.
            inner = &inner[field.name().len() + 4..inner.len() - 1];
            self.begin(&field, json);
        } else {
            self.end_list(json);
            self.part(json);
        }
        json.extend_from_slice(inner);
        Ok(())
    }

    /// What stands before the value of a field, or before an item of its list.
    fn begin(&mut self, field: &FieldDescriptor, json: &mut Vec<u8>) {
        if self.list == Some(field.number()) {
            return json.push(b',');
        }
        self.end_list(json);
        self.part(json);
        json.extend_from_slice(format!("\"{}\":", field.name()).as_bytes());
        if field.is_list() {
            json.push(b'[');
            self.list = Some(field.number());
        }
    }

    fn end_list(&mut self, json: &mut Vec<u8>) {
        if self.list.take().is_some() {
            json.push(b']');
        }
    }

    fn part(&mut self, json: &mut Vec<u8>) {
        if std::mem::replace(&mut self.spoke, true) {
            json.push(b',');
        }
    }
}

/// Writes bytes as they come, three by three.
fn in_base64(left: &mut usize, received: &mut BytesMut, json: &mut Vec<u8>) -> Next {
    let here = received.len().min(*left);
    let taken = if here == *left { here } else { here / 3 * 3 };
    if taken == 0 {
        return Next::Wait;
    }
    json.extend_from_slice(STANDARD.encode(received.split_to(taken)).as_bytes());
    *left -= taken;
    if *left > 0 {
        return Next::On;
    }
    json.push(b'"');
    Next::Ended
}

impl Head {
    /// The one that these bytes begin with; nothing where it is not whole.
    fn read(bytes: &[u8]) -> Result<Option<Self>, String> {
        let Some((tag, tag_bytes)) = varint(bytes)? else { return Ok(None) };
        let rest = &bytes[tag_bytes..];
        let (head, value) = match tag & 7 {
            0 => match varint(rest)? {
                Some((_, value)) => (tag_bytes, value),
                None => return Ok(None),
            },
            1 => (tag_bytes, 8),
            2 => match varint(rest)? {
                Some((value, length)) => (tag_bytes + length, usize::try_from(value).unwrap_or(usize::MAX)),
                None => return Ok(None),
            },
            5 => (tag_bytes, 4),
            other => return Err(format!("no such kind of field: {other}")),
        };
        let number = u32::try_from(tag >> 3).map_err(|_| "no such number of a field".to_string())?;
        Ok(Some(Self { number, has_length: tag & 7 == 2, bytes: head, value }))
    }
}

/// A number, and how long it is; nothing where it is not whole.
fn varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, String> {
    let mut number = 0;
    for (at, byte) in bytes.iter().take(VARINT_BYTES).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((number, at + 1)));
        }
    }
    if bytes.len() < VARINT_BYTES { Ok(None) } else { Err("a number without an end".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::gateway::json::kinds;
    use crate::api::methods::Rpc;
    use crate::base::limits;
    use crate::wire::{etcdserverpb as pb, mvccpb};
    use pb::response_op::Response;
    use proptest::prelude::*;
    use prost::Message;

    /// All of it in JSON, made of pieces of so many bytes; and the longest that was held or written at once.
    fn written(rpc: Rpc, message: &[u8], piece: usize, portion: usize) -> Result<(Vec<u8>, usize), String> {
        let mut transcoder = Transcoder::new(kinds(rpc).output.clone(), message.len(), portion);
        let (mut json, mut most) = (transcoder.step()?, 0);
        for bytes in message.chunks(piece) {
            transcoder.received.extend_from_slice(bytes);
            let more = transcoder.step()?;
            most = most.max(more.len()).max(transcoder.received.len());
            json.extend_from_slice(&more);
        }
        if transcoder.is_done() { Ok((json, most)) } else { Err("cut short".into()) }
    }

    fn header() -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader { cluster_id: u64::MAX, member_id: 2, revision: 3, raft_term: 0 })
    }

    fn key_values(sizes: &[usize]) -> Vec<mvccpb::KeyValue> {
        let kv = |(n, size): (usize, &usize)| mvccpb::KeyValue {
            key: format!("key \"{n}\"").into(),
            create_revision: n as i64,
            mod_revision: -1,
            version: 1,
            value: (0..*size).map(|at| (at * 7 + n) as u8).collect::<Vec<_>>().into(),
            lease: (n % 2) as i64,
        };
        sizes.iter().enumerate().map(kv).collect()
    }

    fn ranged(sizes: &[usize]) -> pb::RangeResponse {
        let more = sizes.len() % 2 == 1;
        pb::RangeResponse { header: header(), kvs: key_values(sizes), more, count: sizes.len() as i64 }
    }

    fn answers(sizes: &[usize]) -> Vec<(Rpc, Vec<u8>)> {
        let op = |response| pb::ResponseOp { response: Some(response) };
        let kvs = key_values(sizes);
        let deleted = pb::DeleteRangeResponse { header: header(), deleted: 5, prev_kvs: kvs.clone() };
        let put = pb::PutResponse { header: None, prev_kv: kvs.first().cloned() };
        let inner = vec![op(Response::ResponseRange(ranged(sizes))), op(Response::ResponsePut(put.clone()))];
        let inner = pb::TxnResponse { header: Some(pb::ResponseHeader::default()), succeeded: false, responses: inner };
        let responses = vec![
            op(Response::ResponseDeleteRange(deleted.clone())),
            op(Response::ResponseTxn(inner)),
            op(Response::ResponseRange(pb::RangeResponse::default())),
        ];
        let txn = pb::TxnResponse { header: header(), succeeded: true, responses };
        let keys = kvs.iter().map(|kv| kv.value.clone()).collect();
        let lease = pb::LeaseTimeToLiveResponse { header: header(), id: 7, ttl: -1, granted_ttl: 9, keys };
        vec![
            (Rpc::Range, ranged(sizes).encode_to_vec()),
            (Rpc::DeleteRange, deleted.encode_to_vec()),
            (Rpc::Put, put.encode_to_vec()),
            (Rpc::Txn, txn.encode_to_vec()),
            (Rpc::LeaseTimeToLive, lease.encode_to_vec()),
        ]
    }

    proptest! {
        #[test]
        fn pieces_of_json_are_that_of_the_whole(
            sizes in proptest::collection::vec(prop_oneof![0..40_usize, 200..900_usize], 0..12),
            piece in 1..700_usize, portion in 1..300_usize,
        ) {
            for (rpc, message) in answers(&sizes) {
                let (json, _) = written(rpc, &message, piece, portion).expect("a message");
                let whole = from_protobuf(&kinds(rpc).output, &message).expect("a message");
                prop_assert_eq!(String::from_utf8_lossy(&json), String::from_utf8_lossy(&whole));
            }
        }

        #[test]
        fn what_is_no_message_does_no_harm(
            bytes in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), piece in 1..99_usize,
        ) {
            let _ = written(Rpc::Range, &bytes, piece, 50);
            for (rpc, mut message) in answers(&[3, 500, 40]) {
                let at = at.index(message.len());
                message[at] = byte;
                let _ = written(rpc, &message, piece, 50);
            }
        }
    }

    #[test]
    fn no_more_than_a_portion_is_held_or_written_however_long_the_message() {
        let portion = limits::JSON_AT_ONCE_BYTES;
        for sizes in [vec![10_000; 500], vec![100; 20_000], vec![5_000_000], vec![portion, portion + 1, 3 * portion]] {
            for (rpc, message) in answers(&sizes) {
                let (_, most) = written(rpc, &message, limits::PIECE_BYTES, portion).expect("a message");
                assert!(most <= 4 * portion, "{most} of {rpc:?}");
            }
        }
    }

    /// A list that is cut would be written as several maps.
    #[test]
    fn no_answer_holds_a_map() {
        fn holds_one(kind: &MessageDescriptor, seen: &mut Vec<String>) -> bool {
            if seen.contains(&kind.full_name().to_string()) {
                return false;
            }
            seen.push(kind.full_name().to_string());
            let within = |kind: Kind| matches!(kind, Kind::Message(kind) if holds_one(&kind, seen));
            kind.fields().any(|field| field.is_map()) || kind.fields().map(|field| field.kind()).any(within)
        }
        for rpc in [Rpc::Range, Rpc::Txn, Rpc::Put, Rpc::DeleteRange, Rpc::LeaseTimeToLive, Rpc::LeaseLeases] {
            assert!(!holds_one(&kinds(rpc).output, &mut Vec::new()), "{rpc:?}");
        }
    }
}
