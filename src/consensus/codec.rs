//! Protobuf in the raft crate's own flavour, in one place.

pub(super) fn protobuf_from<M: protobuf::Message>(bytes: &[u8]) -> Option<M> {
    M::parse_from_bytes(bytes).ok()
}

/// Writes the message behind what is in `out`.
pub(super) fn protobuf_into(message: &impl protobuf::Message, out: &mut Vec<u8>) {
    message.write_to_vec(out).expect("a message in memory encodes");
}

/// How often a field occurs at the top of an encoded message, without building anything; nothing where it is none.
pub(super) fn fields(bytes: &[u8], wanted: u32) -> Option<usize> {
    let mut stream = protobuf::CodedInputStream::from_bytes(bytes);
    let mut found = 0;
    while !stream.eof().ok()? {
        let (field, wire_type) = stream.read_tag_unpack().ok()?;
        found += usize::from(field == wanted);
        stream.skip_field(wire_type).ok()?;
    }
    Some(found)
}
