//! Durations as Go's `time.ParseDuration` reads them, which the flags of etcd's tools are read by, and as it prints them.
//!
//! Invariant: what Go reads is read as the same, to the nanosecond, and nothing else is; the error is Go's. Does not know whose flags
//! they are.

use std::fmt::Write as _;
use std::time::Duration;

/// One more than the longest duration, in nanoseconds: of a negative one it is the longest.
const END: u64 = 1 << 63;

/// A duration such as `1h1m1.5s`; a negative one is nothing.
///
/// # Errors
/// Go's text for what is wrong.
pub fn go_duration(text: &str) -> Result<Duration, String> {
    let shown = || quoted(text);
    let invalid = || format!("time: invalid duration {}", shown());
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let (whole, behind) = digits(rest);
        let (fraction, behind) = behind.strip_prefix('.').map_or(("", behind), digits);
        // One that is too long is told before what is wrong behind it.
        let whole = if whole.is_empty() && !fraction.is_empty() { Some(0) } else { whole.parse::<u64>().ok() };
        let whole = whole.filter(|whole| *whole <= END).ok_or_else(invalid)?;
        let letters = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", shown()));
        }
        let unknown = || format!("time: unknown unit {} in duration {}", quoted(unit), shown());
        let scale = nanoseconds(unit).ok_or_else(unknown)?;
        let part = whole.checked_mul(scale).and_then(|whole| whole.checked_add(part_of(fraction, scale)));
        sum = part.and_then(|part| sum.checked_add(part)).filter(|sum| *sum <= END).ok_or_else(invalid)?;
        rest = behind;
    }
    match negative {
        true => Ok(Duration::ZERO),
        false if sum == END => Err(invalid()),
        false => Ok(Duration::from_nanos(sum)),
    }
}

/// A duration as `time.Duration` prints itself: `3.297992ms`, `1m0s`.
pub fn show_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    if nanoseconds < 1_000_000_000 {
        let (unit, size) = match nanoseconds {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{}{unit}", decimal(nanoseconds, size));
    }
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let mut shown = String::new();
    if hours > 0 {
        let _ = write!(shown, "{hours}h");
    }
    if seconds >= 60 {
        let _ = write!(shown, "{minutes}m");
    }
    let _ = write!(shown, "{}s", decimal(nanoseconds % 60_000_000_000, 1_000_000_000));
    shown
}

/// `value / size` with as many decimals as it takes; `size` is a power of ten.
fn decimal(value: u128, size: u128) -> String {
    let fraction = value % size;
    if fraction == 0 {
        return (value / size).to_string();
    }
    let digits = size.ilog10() as usize;
    let fraction = format!("{fraction:0digits$}");
    format!("{}.{}", value / size, fraction.trim_end_matches('0'))
}

/// In quotes, as this reader has them: not as `%q`.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..0x80 => quoted.push(char::from(byte)),
            _ => drop(write!(quoted, "\\x{byte:02x}")),
        }
    }
    quoted.push('"');
    quoted
}

/// The digits a text begins with, and what is behind them.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Nanoseconds of a unit.
fn nanoseconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        // With the sign for micro, and with the Greek letter.
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// What stands behind a point, of a unit: digits beyond what a number holds are passed over.
fn part_of(fraction: &str, unit: u64) -> u64 {
    let (mut value, mut scale) = (0_u64, 1_f64);
    for digit in fraction.bytes() {
        let more = value.checked_mul(10).and_then(|value| value.checked_add(u64::from(digit - b'0')));
        let Some(more) = more.filter(|more| *more < END) else { break };
        (value, scale) = (more, scale * 10.0);
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As stock etcdutl 3.7.1 read each.
    #[test]
    fn what_go_reads_is_read_and_the_rest_refused_in_its_words() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("+0", 0),
            ("-1s", 0),
            ("1h1m1.5s", 3_661_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1us1µs1μs", 3_000),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("9223372036854775807ns", 9_223_372_036_854_775_807),
            ("-9223372036854775808ns", 0),
        ] {
            assert_eq!(go_duration(text), Ok(Duration::from_nanos(nanoseconds)), "{text}");
        }
        for (text, why) in [
            ("", "invalid duration"),
            ("-", "invalid duration"),
            ("x", "invalid duration"),
            (".s", "invalid duration"),
            ("99999999999h", "invalid duration"),
            ("9223372036854775808ns", "invalid duration"),
            ("99999999999999999999s", "invalid duration"),
            ("99999999999999999999", "invalid duration"),
            ("1s99999999999999999999x", "invalid duration"),
            ("9223372036854775809.5x", "invalid duration"),
            ("9223372036854775808", "missing unit in duration"),
            ("1", "missing unit in duration"),
            ("1.5.2s", "missing unit in duration"),
            ("1s2", "missing unit in duration"),
            ("1x", "unknown unit \"x\" in duration"),
            ("1sx", "unknown unit \"sx\" in duration"),
        ] {
            assert_eq!(go_duration(text), Err(format!("time: {why} {text:?}")));
        }
        for (text, told) in [
            ("1é", r#"time: unknown unit "\xc3\xa9" in duration "1\xc3\xa9""#),
            ("\t'\"\\", r#"time: invalid duration "\x09'\"\\""#),
        ] {
            assert_eq!(go_duration(text), Err(told.to_owned()));
        }
    }

    #[test]
    fn durations_are_shown_as_go_prints_them() {
        for (nanoseconds, shown) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (3_297_992, "3.297992ms"),
            (1_000_728_972, "1.000728972s"),
            (60_000_000_000, "1m0s"),
            (3_661_500_000_000, "1h1m1.5s"),
        ] {
            assert_eq!(show_duration(Duration::from_nanos(nanoseconds)), shown);
        }
    }
}
