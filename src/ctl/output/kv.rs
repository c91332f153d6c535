//! The parts nearly every reply has: the header and key-value pairs.

use std::io::{self, Write};

use crate::wire::etcdserverpb::ResponseHeader;
use crate::wire::mvccpb::KeyValue;

use super::Look;
use super::tree::{Object, Tree};

/// The header under its own name; nothing where there is none.
pub fn header<'a>(object: Object<'a>, header: Option<&ResponseHeader>) -> Object<'a> {
    let tree = header.map_or(Tree::Null, |header| Tree::Object(header_fields(Object::new(), header)));
    object.unless_empty("header", tree)
}

/// The header's fields, for replies that have them among their own.
pub fn header_fields<'a>(object: Object<'a>, header: &ResponseHeader) -> Object<'a> {
    object
        .unless_empty("cluster_id", Tree::Uint(header.cluster_id))
        .unless_empty("member_id", Tree::Uint(header.member_id))
        .unless_empty("revision", Tree::Int(header.revision))
        .unless_empty("raft_term", Tree::Uint(header.raft_term))
}

/// One key-value pair; nothing where there is none.
pub fn key_value(kv: Option<&KeyValue>) -> Tree<'_> {
    let Some(kv) = kv else { return Tree::Null };
    let object = Object::new()
        .unless_empty("key", Tree::Bytes(&kv.key))
        .unless_empty("create_revision", Tree::Int(kv.create_revision))
        .unless_empty("mod_revision", Tree::Int(kv.mod_revision))
        .unless_empty("version", Tree::Int(kv.version))
        .unless_empty("value", Tree::Bytes(&kv.value))
        .unless_empty("lease", Tree::Int(kv.lease));
    Tree::Object(object)
}

/// Key-value pairs in order.
pub fn key_values(kvs: &[KeyValue]) -> Tree<'_> {
    Tree::list(kvs, |kv| key_value(Some(kv)))
}

/// A pair's key and value, each on its line.
///
/// # Errors
/// Writing failed.
pub fn kv_lines(kv: &KeyValue, look: Look, out: &mut dyn Write) -> io::Result<()> {
    if !look.values_only {
        bytes_line(&kv.key, look, out)?;
    }
    bytes_line(&kv.value, look, out)
}

fn bytes_line(bytes: &[u8], look: Look, out: &mut dyn Write) -> io::Result<()> {
    if look.hex {
        for byte in bytes {
            write!(out, "\\x{byte:02x}")?;
        }
    } else {
        out.write_all(bytes)?;
    }
    out.write_all(b"\n")
}
