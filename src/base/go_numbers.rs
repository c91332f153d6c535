//! Numbers and truth values as Go's `strconv` reads them, which etcd's flags are read by.
//!
//! Invariant: what Go reads is read as the same, and nothing else is; the error is Go's reason, which stands at the end of its text.
//! Does not know whose flags they are.

const SYNTAX: &str = "invalid syntax";
const RANGE: &str = "value out of range";

/// A signed number in a fixed base, as `strconv.ParseInt(text, base, 64)`.
///
/// # Errors
/// Go's reason.
pub fn go_int(text: &str, base: u32) -> Result<i64, &'static str> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(base)) {
        return Err(SYNTAX);
    }
    i64::from_str_radix(text, base).map_err(|_| RANGE)
}

/// An unsigned number in a fixed base, as `strconv.ParseUint(text, base, 64)`.
///
/// # Errors
/// Go's reason.
pub fn go_uint(text: &str, base: u32) -> Result<u64, &'static str> {
    if text.is_empty() || !text.chars().all(|digit| digit.is_digit(base)) {
        return Err(SYNTAX);
    }
    u64::from_str_radix(text, base).map_err(|_| RANGE)
}

/// A signed number whose base is told by its prefix, as flags read it.
///
/// # Errors
/// Go's reason.
pub fn go_flag_int(text: &str) -> Result<i64, &'static str> {
    let (sign, number) = match text.strip_prefix('-') {
        Some(number) => ("-", number),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (base, digits) = digits_of(number)?;
    if digits.starts_with(['+', '-']) {
        return Err(SYNTAX);
    }
    go_int(&format!("{sign}{digits}"), base)
}

/// An unsigned number whose base is told by its prefix, as flags read it.
///
/// # Errors
/// Go's reason.
pub fn go_flag_uint(text: &str) -> Result<u64, &'static str> {
    let (base, digits) = digits_of(text)?;
    go_uint(&digits, base)
}

/// A truth value as `strconv.ParseBool` reads it.
///
/// # Errors
/// Go's reason.
pub fn go_bool(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(SYNTAX),
    }
}

/// The base that a number's prefix tells, and the digits behind it, without the underscores that may stand between them.
fn digits_of(number: &str) -> Result<(u32, String), &'static str> {
    let lower = number.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    // Behind a prefix one may stand before the first digit, too.
    let mut before = if base == 10 { '_' } else { '0' };
    for letter in digits.chars() {
        if letter == '_' && !before.is_digit(base) || before == '_' && !letter.is_digit(base) {
            return Err(SYNTAX);
        }
        before = letter;
    }
    if digits.ends_with('_') { Err(SYNTAX) } else { Ok((base, digits.replace('_', ""))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_flags() {
        let (syntax, range) = (Err(SYNTAX), Err(RANGE));
        for (text, int) in [
            ("0", Ok(0)),
            ("-12", Ok(-12)),
            ("+7", Ok(7)),
            ("0x1F", Ok(31)),
            ("-0b101", Ok(-5)),
            ("0o17", Ok(15)),
            ("017", Ok(15)),
            ("1_000_000", Ok(1_000_000)),
            ("0x_ff", Ok(255)),
            ("0_7", Ok(7)),
            ("", syntax),
            ("-", syntax),
            ("--1", syntax),
            ("0x", syntax),
            ("0x-1", syntax),
            ("08", syntax),
            ("_1", syntax),
            ("1_", syntax),
            ("1__0", syntax),
            ("0x_", syntax),
            ("1.5", syntax),
            ("9223372036854775808", range),
            ("-9223372036854775808", Ok(i64::MIN)),
        ] {
            assert_eq!(go_flag_int(text), int, "{text}");
        }
        assert_eq!(go_flag_uint("0xffff_ffff_ffff_ffff"), Ok(u64::MAX));
        assert_eq!(go_flag_uint("18446744073709551616"), Err(RANGE));
        for text in ["-1", "+1", "", "1_"] {
            assert_eq!(go_flag_uint(text), Err(SYNTAX), "{text}");
        }
        assert_eq!((go_bool("T"), go_bool("False"), go_bool("yes")), (Ok(true), Ok(false), Err(SYNTAX)));
    }
}
