//! Values as Go's standard library reads and writes them.
//!
//! etcdctl's texts come from there, and scripts match on them: numbers, truth values, durations and quoting
//! follow it to the letter. Nothing here knows of etcd.

pub use crate::base::go_duration as parse_duration;
pub use crate::base::go_quoted as quote;
pub use crate::base::show_duration;
use crate::base::{go_bool, go_flag_int, go_flag_uint, go_int, go_uint};

/// Why a number cannot be read, in Go's words.
fn number_error(function: &str, text: &str, why: &str) -> String {
    format!("strconv.{function}: parsing {}: {why}", quote(text.as_bytes()))
}

/// A signed number in a fixed base, as `strconv.ParseInt(text, base, 64)`.
///
/// # Errors
/// Go's text for bad syntax or range.
pub fn parse_int(text: &str, base: u32) -> Result<i64, String> {
    go_int(text, base).map_err(|why| number_error("ParseInt", text, why))
}

/// An unsigned number in a fixed base, as `strconv.ParseUint(text, base, 64)`.
///
/// # Errors
/// Go's text for bad syntax or range.
pub fn parse_uint(text: &str, base: u32) -> Result<u64, String> {
    go_uint(text, base).map_err(|why| number_error("ParseUint", text, why))
}

/// A signed number whose base is told by its prefix, as flags read it.
///
/// # Errors
/// Go's text for bad syntax or range.
pub fn parse_flag_int(text: &str) -> Result<i64, String> {
    go_flag_int(text).map_err(|why| number_error("ParseInt", text, why))
}

/// An unsigned number whose base is told by its prefix, as flags read it.
///
/// # Errors
/// Go's text for bad syntax or range.
pub fn parse_flag_uint(text: &str) -> Result<u64, String> {
    go_flag_uint(text).map_err(|why| number_error("ParseUint", text, why))
}

/// A truth value as `strconv.ParseBool` reads it.
///
/// # Errors
/// Go's text for anything else.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    go_bool(text).map_err(|why| number_error("ParseBool", text, why))
}

/// Reads a string in Go's quotes from the start of `text`; gives its bytes and what follows.
/// `None` where there is no whole quoted string.
pub fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (&open, mut rest) = text.split_first()?;
    if open == b'`' {
        let end = rest.iter().position(|&byte| byte == b'`')?;
        return Some((rest[..end].to_vec(), &rest[end + 1..]));
    }
    if open != b'"' {
        return None;
    }
    let mut bytes = Vec::new();
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return Some((bytes, rest)),
            b'\n' => return None,
            b'\\' => rest = unescape(rest, &mut bytes)?,
            _ => bytes.push(byte),
        }
    }
}

/// Reads what follows a backslash into `bytes`.
fn unescape<'a>(text: &'a [u8], bytes: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (&kind, rest) = text.split_first()?;
    let simple = match kind {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'\\' | b'"' => kind,
        b'x' => {
            bytes.push(u8::try_from(digits(rest.get(..2)?, 16)?).ok()?);
            return Some(&rest[2..]);
        }
        b'0'..=b'7' => {
            bytes.push(u8::try_from(digits(text.get(..3)?, 8)?).ok()?);
            return Some(&text[3..]);
        }
        b'u' | b'U' => {
            let length = if kind == b'u' { 4 } else { 8 };
            let c = char::from_u32(digits(rest.get(..length)?, 16)?)?;
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(&rest[length..]);
        }
        _ => return None,
    };
    bytes.push(simple);
    Some(rest)
}

fn digits(text: &[u8], base: u32) -> Option<u32> {
    text.iter().try_fold(0u32, |sum, &byte| {
        let digit = char::from(byte).to_digit(base)?;
        sum.checked_mul(base)?.checked_add(digit)
    })
}

/// A number as `%016x` prints a signed one: the sign counts towards the width.
pub fn hex16(number: i64) -> String {
    if number < 0 { format!("-{:015x}", number.unsigned_abs()) } else { format!("{number:016x}") }
}

/// A text without the blanks around it, as Go counts blanks; of what is no text those of ASCII alone.
pub fn trim_space(text: &[u8]) -> &[u8] {
    match std::str::from_utf8(text) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => text.trim_ascii(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn numbers_and_their_errors() {
        assert_eq!(parse_int("12c8a202fea3a235", 16), Ok(0x12c8_a202_fea3_a235));
        assert_eq!(parse_int("-5", 16), Ok(-5));
        assert_eq!(parse_int("zz", 16), Err("strconv.ParseInt: parsing \"zz\": invalid syntax".to_owned()));
        assert_eq!(parse_int("", 16), Err("strconv.ParseInt: parsing \"\": invalid syntax".to_owned()));
        let range = "strconv.ParseInt: parsing \"8000000000000000\": value out of range";
        assert_eq!(parse_int("8000000000000000", 16), Err(range.to_owned()));
        for (text, number) in [("0x10", 16), ("-0b11", -3), ("017", 15), ("0o17", 15), ("+9", 9), ("0", 0)] {
            assert_eq!(parse_flag_int(text), Ok(number), "{text}");
        }
        for bad in ["", "-", "--1", "+-1", "0x", "9x", "0x-1", "08"] {
            let error = format!("strconv.ParseInt: parsing \"{bad}\": invalid syntax");
            assert_eq!(parse_flag_int(bad), Err(error));
        }
    }

    #[test]
    fn durations_are_read_as_gos() {
        assert_eq!(parse_duration("1h1m1.5s"), Ok(Duration::from_millis(3_661_500)));
        assert_eq!(parse_duration("1"), Err("time: missing unit in duration \"1\"".to_owned()));
        assert_eq!(parse_duration("x"), Err("time: invalid duration \"x\"".to_owned()));
        assert_eq!(parse_duration(""), Err("time: invalid duration \"\"".to_owned()));
        assert_eq!(parse_duration("1x"), Err("time: unknown unit \"x\" in duration \"1x\"".to_owned()));
    }

    #[test]
    fn quoting_both_ways() {
        for (bytes, quoted) in [
            (&b"a"[..], "\"a\""),
            (b"\xff\xfe\"\\\n", r#""\xff\xfe\"\\\n""#),
            (b"\x00\x7f", r#""\x00\x7f""#),
            ("é".as_bytes(), "\"é\""),
        ] {
            assert_eq!(quote(bytes), quoted);
            assert_eq!(unquote(quoted.as_bytes()), Some((bytes.to_vec(), &b""[..])));
        }
        assert_eq!(unquote(b"`a\\n` x"), Some((b"a\\n".to_vec(), &b" x"[..])));
        assert_eq!(unquote(br#""\u00e9\101" "#), Some(("éA".as_bytes().to_vec(), &b" "[..])));
        for bad in [&b""[..], b"a", b"\"a", br#""\z""#, br#""\x1""#, br#""\400""#, br#""\ud800""#] {
            assert_eq!(unquote(bad), None);
        }
    }

    #[test]
    fn a_negative_lease_counts_its_sign() {
        assert_eq!(hex16(-5), "-000000000000005");
        assert_eq!(hex16(0x123), "0000000000000123");
    }
}
