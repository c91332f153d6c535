//! Values of flags: numbers, durations, URLs, as etcd writes them.
//!
//! Invariant: a value is taken whole or refused with a reason; nothing is guessed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::base::{Url, go_duration};
use crate::server::socket::{Listen, Place};

/// A bool in the spellings of etcd's flag library.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("parse error".to_string()),
    }
}

/// A number from 0, without a sign. As Go writes numbers: `0x`, `0o` and `0b` begin other bases, a bare `0` octal, and `_` may
/// stand between digits.
pub fn unsigned(text: &str) -> Result<u64, String> {
    let wrong = || "parse error".to_string();
    let lower = text.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', _, ..] => (16, &lower[2..]),
        [b'0', b'o', _, ..] => (8, &lower[2..]),
        [b'0', b'b', _, ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    // What begins with a base has a digit before it.
    let mut after_digit = digits.len() < lower.len();
    let mut number = 0_u64;
    for c in digits.chars() {
        if c == '_' && after_digit {
            after_digit = false;
            continue;
        }
        let digit = c.to_digit(base).ok_or_else(wrong)?;
        after_digit = true;
        let grown = number.checked_mul(base.into()).and_then(|number| number.checked_add(digit.into()));
        number = grown.ok_or("value out of range")?;
    }
    if after_digit { Ok(number) } else { Err(wrong()) }
}

/// A number, with a sign or without.
pub fn signed(text: &str) -> Result<i64, String> {
    let (is_negative, size) = match text.strip_prefix('-') {
        Some(size) => (true, size),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let size = i128::from(unsigned(size)?);
    i64::try_from(if is_negative { -size } else { size }).map_err(|_| "value out of range".to_string())
}

/// A level of the log, as etcd's library has them in any case of letters; nothing is `info`.
pub fn log_level(text: &str) -> Result<&'static str, String> {
    match text.to_ascii_lowercase().as_str() {
        "debug" => Ok("debug"),
        "info" | "" => Ok("info"),
        "warn" | "warning" => Ok("warn"),
        "error" => Ok("error"),
        "dpanic" => Ok("dpanic"),
        "panic" => Ok("panic"),
        "fatal" => Ok("fatal"),
        _ => Err("must be one of debug, info, warn, error, dpanic, panic, fatal".to_string()),
    }
}

/// A duration as Go reads it, which is 292 years at most. Negative ones are refused.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "parse error".to_string();
    let time = go_duration(text).map_err(|_| wrong())?;
    // What is below nothing is read as nothing.
    let is_negative = text.strip_prefix('-').is_some_and(|size| go_duration(size) != Ok(Duration::ZERO));
    if is_negative { Err(wrong()) } else { Ok(time) }
}

/// Beyond which a request is slow, as etcd reads it: 0 is 300 ms, and less than that nothing, so that each is.
pub fn bound_of_slow(text: &str) -> Result<Option<Duration>, String> {
    let (is_negative, size) = text.strip_prefix('-').map_or((false, text), |size| (true, size));
    let time = duration(size)?;
    Ok(if time.is_zero() { Some(Duration::from_millis(300)) } else { (!is_negative).then_some(time) })
}

/// Words, separated by commas.
pub fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_string).collect()
}

/// URLs, separated by commas; sorted, each once. An empty text is none.
pub fn urls(text: &str) -> Result<Vec<Url>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut urls = Url::read_all(text.split(','))?;
    urls.dedup();
    Ok(urls)
}

/// Where to listen. Only addresses are taken (and `localhost`), so that a name server is never asked. A socket's file is,
/// as in etcd, what follows `unix://`; without a slash at its beginning it lies in the working directory.
pub fn listen(url: &Url, flag: &str) -> Result<Listen, String> {
    let sealed = matches!(url.scheme.as_str(), "https" | "unixs");
    Ok(Listen { url: url.text.clone(), host: url.host.clone(), place: place(url, flag)?, sealed })
}

fn place(url: &Url, flag: &str) -> Result<Place, String> {
    if matches!(url.scheme.as_str(), "unix" | "unixs") {
        if url.host.is_empty() {
            return Err(format!("--{flag}: {} names no file for the socket", url.text));
        }
        return Ok(Place::File(PathBuf::from(&url.host)));
    }
    let ip = match url.host.as_str() {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().map_err(|_| format!("--{flag}: expected IP in URL for binding ({})", url.text))?,
    };
    let port = url.port.parse().map_err(|_| format!("--{flag}: no port to listen on ({})", url.text))?;
    Ok(Place::Net(SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_gos() {
        for (text, number) in [
            ("0", 0),
            ("100", 100),
            ("0100", 64),
            ("0_7", 7),
            ("8_000_000_000", 8_000_000_000),
            ("0x40000000", 1 << 30),
            ("0X_fF", 255),
            ("0o17", 15),
            ("0b101", 5),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(unsigned(text), Ok(number), "{text}");
        }
        for text in ["", "+1", "-1", "08", "0x", "0xg", "1__0", "_1", "1_", "0x_", "1.0", "1e3", "0b2", "x", "0o"] {
            assert_eq!(unsigned(text), Err("parse error".to_string()), "{text}");
        }
        for text in ["18446744073709551616", "0x10000000000000000"] {
            assert_eq!(unsigned(text), Err("value out of range".to_string()), "{text}");
        }
        for (text, number) in [("-0x10", -16), ("+7", 7), ("-9223372036854775808", i64::MIN), ("0777", 511)] {
            assert_eq!(signed(text), Ok(number), "{text}");
        }
        for text in ["9223372036854775808", "-9223372036854775809"] {
            assert_eq!(signed(text), Err("value out of range".to_string()), "{text}");
        }
        for text in ["--1", "+-1", "-", "+"] {
            assert_eq!(signed(text), Err("parse error".to_string()), "{text}");
        }
    }

    #[test]
    fn durations_are_etcds() {
        let table = [
            ("2h0m0s", 7_200_000_000_000),
            ("100ms", 100_000_000),
            ("1.5s", 1_500_000_000),
            ("1m30s", 90_000_000_000),
            ("7µs", 7_000),
            ("0s", 0),
            ("0", 0),
            ("+1s", 1_000_000_000),
            ("-0", 0),
            ("-0h0ns", 0),
            (".5s", 500_000_000),
            ("9223372036854775807ns", i64::MAX as u128),
        ];
        for (text, nanos) in table {
            assert_eq!(duration(text).map(|duration| duration.as_nanos()), Ok(nanos), "{text}");
        }
        for wrong in [
            "",
            "1",
            "s",
            "-1s",
            "1x",
            "NaNs",
            "1e3s",
            "1..2s",
            "2562048h",
            "9223372036854775808ns",
            "-9223372036854775808ns",
            "99999999999999999999h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bound_of_slow_requests_is_etcds() {
        for (text, bound) in
            [("300ms", Some(300)), ("0s", Some(300)), ("-0s", Some(300)), ("7ms", Some(7)), ("-1ns", None)]
        {
            assert_eq!(bound_of_slow(text), Ok(bound.map(Duration::from_millis)), "{text}");
        }
        assert!(bound_of_slow("-").is_err() && bound_of_slow("1").is_err());
    }

    #[test]
    fn urls_have_scheme_host_and_port() {
        let both = urls("http://10.0.0.1:2379,http://[::1]:2380").expect("two URLs");
        assert_eq!((both[0].host.as_str(), both[0].port.as_str()), ("10.0.0.1", "2379"));
        assert_eq!(place(&both[1], "x"), Ok(Place::Net("[::1]:2380".parse().expect("an address"))));
        for (text, path) in
            [("unix:///run/e.sock", "/run/e.sock"), ("unix://localhost:2379", "localhost:2379"), ("unix:e", "e")]
        {
            assert_eq!(place(&Url::read(text).expect("a URL"), "x"), Ok(Place::File(path.into())));
        }
        for (text, sealed) in
            [("unixs:///e", true), ("unix:///e", false), ("https://[::1]:1", true), ("http://[::1]:1", false)]
        {
            let listen = listen(&Url::read(text).expect("a URL"), "x").expect("a place");
            assert_eq!((listen.sealed, listen.url.as_str()), (sealed, text));
        }
        assert_eq!(urls("http://b:1,http://a:1,http://b:1").map(|urls| urls.len()), Ok(2));
        for wrong in ["10.0.0.1:2379", "ftp://a:1", "http://a", "http://a:1/path", "http://::1:1"] {
            assert!(urls(wrong).is_err(), "{wrong}");
        }
        for (text, why) in [
            ("http://example.com:1", "expected IP in URL for binding (http://example.com:1)"),
            ("http://:1", "expected IP in URL for binding (http://:1)"),
            ("http://1.2.3.4:65536", "no port to listen on (http://1.2.3.4:65536)"),
            ("http://1.2.3.4:", "no port to listen on (http://1.2.3.4:)"),
        ] {
            let url = Url::read(text).expect("a URL");
            assert_eq!(place(&url, "listen-client-urls"), Err(format!("--listen-client-urls: {why}")));
        }
    }
}
