//! The trace a request says it belongs to, in W3C's headers `traceparent` and `tracestate`.
//!
//! Invariant: a header is taken or refused as OpenTelemetry's library for Go does, which etcd stands on; what is refused is
//! as if it were not there.

use http::HeaderMap;

/// The bit of the flags by which a caller asks for spans.
pub const SAMPLED: u8 = 1;

/// The bit that says that the trace's id was drawn by chance.
const RANDOM: u8 = 2;

/// Entries of `tracestate`, as W3C has it.
const STATES: usize = 32;

/// A caller's span.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parent {
    pub trace: [u8; 16],
    pub span: [u8; 8],
    pub flags: u8,
    /// What others of the trace want handed on; empty where it was refused.
    pub state: String,
}

impl Parent {
    /// The caller's span, where a request names one.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name)?.to_str().ok();
        let mut rest = text("traceparent")?;
        let [version] = part(&mut rest)?;
        let (trace, span) = (part(&mut rest)?, part(&mut rest)?);
        let [flags] = part(&mut rest)?;
        let extended = !rest.is_empty() || flags > SAMPLED | RANDOM;
        if version == u8::MAX || version == 0 && extended || trace == [0; 16] || span == [0; 8] {
            return None;
        }
        let state = text("tracestate").and_then(state).unwrap_or_default();
        Some(Self { trace, span, flags: flags & (SAMPLED | RANDOM), state })
    }

    /// Whether it asks for spans.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// The next part of a header: so many bytes in lower hexadecimals, up to a hyphen or the end.
fn part<const N: usize>(rest: &mut &str) -> Option<[u8; N]> {
    let (digits, left) = rest.split_once('-').unwrap_or((rest, ""));
    *rest = left;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// A `tracestate` whose entries are all well-formed, without blanks around them.
fn state(text: &str) -> Option<String> {
    let mut entries: Vec<(&str, &str)> = Vec::new();
    for entry in text.split(',').filter(|entry| !entry.is_empty()) {
        let (key, value) = entry.split_once('=')?;
        let blank = [' ', '\t'];
        let (key, value) = (key.trim_start_matches(blank), value.trim_end_matches(blank));
        let twice = entries.iter().any(|(other, _)| *other == key);
        if twice || entries.len() == STATES || !is_key(key) || !is_value(value) {
            return None;
        }
        entries.push((key, value));
    }
    let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Some(entries.join(","))
}

fn is_key(key: &str) -> bool {
    let rest = |text: &str, most| {
        let fine = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
        text.len() <= most && text.as_bytes().iter().skip(1).all(fine)
    };
    let begins = |text: &str| text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    let begins_or_digit = |text: &str| begins(text) || text.as_bytes().first().is_some_and(u8::is_ascii_digit);
    match key.split_once('@') {
        None => begins(key) && rest(key, 256),
        Some((tenant, system)) => begins_or_digit(tenant) && rest(tenant, 241) && begins(system) && rest(system, 14),
    }
}

fn is_value(value: &str) -> bool {
    let fine = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'=');
    (1..=256).contains(&value.len()) && value.as_bytes().iter().all(fine) && !value.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn of(parent: &str, state: &str) -> Option<Parent> {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", parent.parse().expect("a header"));
        headers.insert("tracestate", state.parse().expect("a header"));
        Parent::of(&headers)
    }

    #[test]
    fn a_header_is_taken_as_w3c_has_it_and_as_go_reads_it() {
        let sampled = of(&format!("00-{TRACE}-{SPAN}-01"), "").expect("well-formed");
        assert!(sampled.is_sampled());
        assert_eq!((sampled.trace[..2].to_vec(), sampled.span[1]), (vec![0x4b, 0xf9], 0xf0));
        assert!(!of(&format!("00-{TRACE}-{SPAN}-00"), "").expect("well-formed").is_sampled());
        assert_eq!(of(&format!("00-{TRACE}-{SPAN}-03"), "").expect("well-formed").flags, 3);
        // Of versions to come what is known is read.
        assert_eq!(of(&format!("cc-{TRACE}-{SPAN}-ff-more"), "").expect("well-formed").flags, 3);
        let zeroes = "0".repeat(32);
        for wrong in [
            String::new(),
            format!("00-{TRACE}-{SPAN}"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-04"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{zeroes}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeroes[..16]),
            format!("00-{TRACE}0-{SPAN}-01"),
            format!("0x-{TRACE}-{SPAN}-01"),
        ] {
            assert_eq!(of(&wrong, ""), None, "{wrong}");
        }
    }

    #[test]
    fn a_state_is_handed_on_whole_or_not_at_all() {
        let state = |text| of(&format!("00-{TRACE}-{SPAN}-01"), text).expect("well-formed").state;
        let many: Vec<String> = (0..33).map(|n| format!("k{n}=v")).collect();
        for (text, handed_on) in [
            ("a=1, b=2\t", "a=1,b=2"),
            (",a=1,,", "a=1"),
            ("7up@drink=x y", "7up@drink=x y"),
            ("a=1,a=2", ""),
            ("A=1", ""),
            ("7a=1", ""),
            ("a", ""),
            ("a=", ""),
            ("a=b=c", ""),
            (&many.join(","), ""),
            (&many[1..].join(","), &many[1..].join(",")),
        ] {
            assert_eq!(state(text), handed_on, "{text}");
        }
    }
}
