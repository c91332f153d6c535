//! Protobuf in the raft crate's own flavour, in one place.

use bytes::Bytes;

pub(super) fn protobuf_bytes(message: &impl protobuf::Message) -> Bytes {
    message.write_to_bytes().expect("a message in memory encodes").into()
}

pub(super) fn protobuf_from<M: protobuf::Message>(bytes: &[u8]) -> Option<M> {
    M::parse_from_bytes(bytes).ok()
}
