//! Format `json`: the tree on one line, as Go's `encoding/json` writes it.
//!
//! Numbers are JSON numbers however large, byte strings are base64, and `<`, `>`, `&`, U+2028 and U+2029 are
//! escaped, because Go does so by default.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::tree::Tree;

/// Writes a tree on a line of its own.
///
/// # Errors
/// Writing failed.
pub fn write_line(tree: &Tree<'_>, out: &mut dyn Write) -> io::Result<()> {
    write(tree, out)?;
    out.write_all(b"\n")
}

fn write(tree: &Tree<'_>, out: &mut dyn Write) -> io::Result<()> {
    match tree {
        Tree::Null => out.write_all(b"null"),
        Tree::Bool(value) => write!(out, "{value}"),
        Tree::Int(value) => write!(out, "{value}"),
        Tree::Uint(value) => write!(out, "{value}"),
        Tree::Text(value) => write_text(value, out),
        Tree::Bytes(value) => write!(out, "\"{}\"", STANDARD.encode(value)),
        Tree::List(values) => {
            out.write_all(b"[")?;
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.write_all(b",")?;
                }
                write(value, out)?;
            }
            out.write_all(b"]")
        }
        Tree::Object(object) => {
            out.write_all(b"{")?;
            for (index, (name, value)) in object.shown().enumerate() {
                if index > 0 {
                    out.write_all(b",")?;
                }
                write!(out, "\"{name}\":")?;
                write(value, out)?;
            }
            out.write_all(b"}")
        }
    }
}

fn write_text(text: &str, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(out, "\\{c}")?,
            '\n' => out.write_all(b"\\n")?,
            '\r' => out.write_all(b"\\r")?,
            '\t' => out.write_all(b"\\t")?,
            '\u{8}' => out.write_all(b"\\b")?,
            '\u{c}' => out.write_all(b"\\f")?,
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => write!(out, "\\u{:04x}", c as u32)?,
            c => write!(out, "{c}")?,
        }
    }
    out.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use super::super::tree::Object;
    use super::*;

    #[test]
    fn every_kind_of_value_as_go_writes_it() -> io::Result<()> {
        let object = Object::new()
            .unless_empty("gone", Tree::Int(0))
            .always("kept", Tree::Int(0))
            .always("big", Tree::Uint(u64::MAX))
            .always("bytes", Tree::Bytes(b"\xff\xfe"))
            .always("text", Tree::Text("a<b>&\"\\\n\u{1}\u{2028}é".into()))
            .unless_empty("empty list", Tree::List(vec![]))
            .always("list", Tree::List(vec![Tree::Null, Tree::Bool(true)]));
        let mut out = Vec::new();
        write(&Tree::Object(object), &mut out)?;
        let expected = r#"{"kept":0,"big":18446744073709551615,"bytes":"//4=","text":"a\u003cb\u003e\u0026\"\\\n\u0001\u2028é","list":[null,true]}"#;
        assert_eq!(String::from_utf8_lossy(&out), expected);
        Ok(())
    }
}
