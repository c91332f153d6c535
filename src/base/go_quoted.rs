//! Text in quotes, as Go's `%q` has it.
//!
//! Invariant: what a stranger sent stands in one line, and cannot be taken for what stands around it.

use std::fmt::Write as _;

/// Bytes in quotes; those that are no text stand as numbers.
pub fn go_quoted(bytes: impl AsRef<[u8]>) -> String {
    let mut quoted = String::from('"');
    for chunk in bytes.as_ref().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                '\u{7}' => quoted.push_str("\\a"),
                '\u{8}' => quoted.push_str("\\b"),
                '\u{c}' => quoted.push_str("\\f"),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                '\u{b}' => quoted.push_str("\\v"),
                c if is_printable(c) => quoted.push(c),
                c if (c as u32) < 0x80 => drop(write!(quoted, "\\x{:02x}", c as u32)),
                c if (c as u32) < 0x1_0000 => drop(write!(quoted, "\\u{:04x}", c as u32)),
                c => drop(write!(quoted, "\\U{:08x}", c as u32)),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(quoted, "\\x{byte:02x}");
        }
    }
    quoted.push('"');
    quoted
}

/// Whether Rust prints it as it is, behind a letter: a mark that stands above one is no letter alone.
fn is_printable(c: char) -> bool {
    let mut letters = [b'a', 0, 0, 0, 0];
    let length = c.encode_utf8(&mut letters[1..]).len();
    std::str::from_utf8(&letters[..=length]).is_ok_and(|text| text.escape_debug().nth(1) != Some('\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each as Go's `%q` printed it.
    #[test]
    fn as_go_quotes() {
        for (bytes, quoted) in [
            (&b"a b"[..], r#""a b""#),
            (b"\xff\xfe\"\\\n", r#""\xff\xfe\"\\\n""#),
            (b"\x00\x01\x07\x08\x0b\x0c\r\t\x7f", r#""\x00\x01\a\b\v\f\r\t\x7f""#),
            ("é".as_bytes(), "\"é\""),
            ("e\u{301}".as_bytes(), "\"e\u{301}\""),
            ("\u{85}\u{a0}\u{200b}\u{feff}".as_bytes(), r#""\u0085\u00a0\u200b\ufeff""#),
            ("\u{e0001}".as_bytes(), r#""\U000e0001""#),
        ] {
            assert_eq!(go_quoted(bytes), quoted);
        }
    }
}
