//! Whether a certificate is one by the rules of Go's `x509`, where the libraries here look less closely: the sign of its serial
//! number, the names in it, and the names that an authority binds those it signs for to.
//!
//! Invariant: what is refused here Go refuses, in these words. The contrary does not hold: of URIs what stands behind the
//! scheme is looked at as far as it is a host.

use std::net::IpAddr;

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::base::go_quoted;

/// Looks at a certificate. What cannot be read at all is left to who reads it.
///
/// # Errors
/// Go's text.
pub(super) fn check(der: &[u8]) -> Result<(), String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Ok(()) };
    if certificate.tbs_certificate.raw_serial().first().is_some_and(|first| first & 0x80 != 0) {
        return Err("x509: negative serial number".to_string());
    }
    for extension in certificate.extensions() {
        match extension.oid.as_bytes() {
            [0x55, 0x1d, 17] => alternative_names(extension.value)?,
            [0x55, 0x1d, 30] => constraints(extension.value)?,
            _ => {}
        }
    }
    Ok(())
}

const SEQUENCE: u8 = 0x30;
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const ADDRESS: u8 = 0x87;

/// The first element: its tag, what is in it, and what stands behind.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if *first >= 0x80 {
        let count = usize::from(first & 0x7f);
        let digits = rest.get(..count).filter(|digits| (1..=4).contains(&digits.len()))?;
        length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        rest = &rest[count..];
    }
    let (content, behind) = rest.split_at_checked(length)?;
    Some((*tag, content, behind))
}

/// What is in the first element, and what stands behind it, where it is of this tag.
fn tagged(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    element(bytes).filter(|(found, ..)| *found == tag).map(|(_, content, behind)| (content, behind))
}

fn alternative_names(value: &[u8]) -> Result<(), String> {
    let (mut rest, _) = tagged(SEQUENCE, value).ok_or("x509: invalid subject alternative names")?;
    while !rest.is_empty() {
        let (tag, name, behind) = element(rest).ok_or("x509: invalid subject alternative name")?;
        rest = behind;
        let malformed = |kind: &str| Err(format!("x509: SAN {kind} is malformed"));
        match tag {
            EMAIL if !name.is_ascii() => return malformed("rfc822Name"),
            DNS if !name.is_ascii() => return malformed("dNSName"),
            URI if !name.is_ascii() => return malformed("uniformResourceIdentifier"),
            URI => location(&String::from_utf8_lossy(name))?,
            ADDRESS if !matches!(name.len(), 4 | 16) => {
                return Err(format!("x509: cannot parse IP address of length {}", name.len()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn location(text: &str) -> Result<(), String> {
    let quoted = go_quoted(text);
    if text.chars().any(|character| character.is_ascii_control()) {
        let why = "net/url: invalid control character in URL";
        return Err(format!("x509: cannot parse URI {quoted}: parse {quoted}: {why}"));
    }
    // Elsewhere it stands in what a URI says, and begins no host.
    let is_scheme = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let behind = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)).map_or("", |(_, behind)| behind);
    let place = behind.split(['/', '?', '#']).next().unwrap_or_default();
    let host = place.rsplit_once('@').map_or(place, |(_, host)| host);
    if is_domain(host) { Ok(()) } else { Err(format!("x509: cannot parse URI {quoted}: invalid domain")) }
}

fn constraints(value: &[u8]) -> Result<(), String> {
    const PERMITTED: u8 = 0xa0;
    const EXCLUDED: u8 = 0xa1;
    let invalid = || "x509: invalid NameConstraints extension".to_string();
    let (content, behind) = tagged(SEQUENCE, value).ok_or_else(invalid)?;
    let (permitted, rest) = tagged(PERMITTED, content).unwrap_or((&[], content));
    let (excluded, rest) = tagged(EXCLUDED, rest).unwrap_or((&[], rest));
    if !behind.is_empty() || !rest.is_empty() {
        return Err(invalid());
    }
    if permitted.is_empty() && excluded.is_empty() {
        return Err("x509: empty name constraints extension".to_string());
    }
    for mut trees in [permitted, excluded] {
        while !trees.is_empty() {
            let (tree, behind) = tagged(SEQUENCE, trees).ok_or_else(invalid)?;
            let (tag, base, _) = element(tree).ok_or_else(invalid)?;
            constraint(tag, base)?;
            trees = behind;
        }
    }
    Ok(())
}

fn constraint(tag: u8, base: &[u8]) -> Result<(), String> {
    if tag == ADDRESS {
        return network(base);
    }
    let text = String::from_utf8_lossy(base);
    let quoted = go_quoted(base);
    let (kind, is_good) = match tag {
        EMAIL => ("rfc822Name", is_mailbox(&text)),
        DNS => ("dnsName", is_bound(&text)),
        URI => ("URI", is_bound(&text)),
        _ => return Ok(()),
    };
    if !base.is_ascii() {
        return Err(format!("x509: invalid constraint value: x509: {quoted} cannot be encoded as an IA5String"));
    }
    if tag == URI && text.parse::<IpAddr>().is_ok() {
        return Err(format!("x509: failed to parse URI constraint {quoted}: cannot be IP address"));
    }
    if is_good { Ok(()) } else { Err(format!("x509: failed to parse {kind} constraint {quoted}")) }
}

/// An address and its mask, which is ones and then zeroes.
fn network(base: &[u8]) -> Result<(), String> {
    if !matches!(base.len(), 8 | 32) {
        return Err(format!("x509: IP constraint contained value of length {}", base.len()));
    }
    let mask = &base[base.len() / 2..];
    if is_run(mask) {
        return Ok(());
    }
    let shown: String = mask.iter().map(|byte| format!("{byte:02x}")).collect();
    Err(format!("x509: IP constraint contained invalid mask {shown}"))
}

/// Whether no one follows a zero.
fn is_run(mask: &[u8]) -> bool {
    let bits = mask.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    bits.is_sorted_by(|one, next| one >= next)
}

/// A name to which others are bound: that of a host, or with a dot before it of all below one.
fn is_bound(text: &str) -> bool {
    text.is_empty() || (text != "." && is_domain(text.strip_prefix('.').unwrap_or(text)))
}

/// A mailbox, or where it may be. Quotes in its first part are not looked at.
fn is_mailbox(text: &str) -> bool {
    match text.rsplit_once('@') {
        Some((name, host)) => !name.is_empty() && is_domain(host),
        None => is_bound(text),
    }
}

/// A name of printed characters, none of whose parts is empty. None at all is one for Go.
fn is_domain(text: &str) -> bool {
    text.is_empty() || text.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        [&[tag, u8::try_from(content.len()).expect("short")], &content[..]].concat()
    }

    /// Each was asked of stock etcd 3.7.1, as the certificate of a client.
    #[test]
    fn names_are_taken_and_refused_as_by_go() {
        let uri = |text: &str, why: &str| Err(format!("x509: cannot parse URI \"{text}\": {why}"));
        let of_length = |length: usize| Err(format!("x509: cannot parse IP address of length {length}"));
        let malformed = |kind: &str| Err(format!("x509: SAN {kind} is malformed"));
        for (tag, name, wanted) in [
            (ADDRESS, &[127, 0, 0, 1][..], Ok(())),
            (ADDRESS, &[0; 16], Ok(())),
            (ADDRESS, &[], of_length(0)),
            (ADDRESS, &[1, 2, 3, 4, 5], of_length(5)),
            (ADDRESS, &[0; 17], of_length(17)),
            (DNS, b"a b", Ok(())),
            (DNS, b"", Ok(())),
            (DNS, b"\xe4.example", malformed("dNSName")),
            (EMAIL, b"nobody", Ok(())),
            (EMAIL, "\u{e4}@b".as_bytes(), malformed("rfc822Name")),
            (URI, b"spiffe://a/b", Ok(())),
            (URI, b"urn:x", Ok(())),
            (URI, b"urn:x?u=http://a..b/", Ok(())),
            (URI, b"http://[::1]/", Ok(())),
            (URI, b"http://1.2.3.4/", Ok(())),
            (URI, b"http://a_b/", Ok(())),
            (URI, b"http://a..b/", uri("http://a..b/", "invalid domain")),
            (URI, "http://\u{e4}/".as_bytes(), malformed("uniformResourceIdentifier")),
            (
                URI,
                b"http://a/\x01",
                uri("http://a/\\x01", "parse \"http://a/\\x01\": net/url: invalid control character in URL"),
            ),
            (0x88, &[0x2a, 3], Ok(())),
        ] {
            let first = tlv(ADDRESS, &[&[127, 0, 0, 1]]);
            let names = tlv(SEQUENCE, &[&first, &tlv(tag, &[name])]);
            assert_eq!(alternative_names(&names), wanted, "{tag:x} {name:x?}");
        }
        assert_eq!(alternative_names(&[SEQUENCE, 0]), Ok(()));
        assert_eq!(alternative_names(&[0x30, 5, 0x87, 4, 1]), Err("x509: invalid subject alternative names".into()));
    }

    /// Likewise.
    #[test]
    fn constraints_are_taken_and_refused_as_by_go() {
        let failed = |kind: &str, text: &str| Err(format!("x509: failed to parse {kind} constraint \"{text}\""));
        let long = |length: usize| Err(format!("x509: IP constraint contained value of length {length}"));
        for (tag, base, wanted) in [
            (DNS, &b"example"[..], Ok(())),
            (DNS, b".example", Ok(())),
            (DNS, b"a..b", failed("dnsName", "a..b")),
            (DNS, b"a.", failed("dnsName", "a.")),
            (
                DNS,
                "\u{e4}".as_bytes(),
                Err("x509: invalid constraint value: x509: \"\u{e4}\" cannot be encoded as an IA5String".into()),
            ),
            (ADDRESS, &[127, 0, 0, 0, 255, 0, 0, 0], Ok(())),
            (ADDRESS, &[127, 0, 0, 0, 255, 255, 128, 0], Ok(())),
            (ADDRESS, &[0; 8], Ok(())),
            (ADDRESS, &[127, 0, 0, 1], long(4)),
            (ADDRESS, &[0; 9], long(9)),
            (
                ADDRESS,
                &[127, 0, 0, 0, 255, 0, 255, 0],
                Err("x509: IP constraint contained invalid mask ff00ff00".into()),
            ),
            (EMAIL, b"@", failed("rfc822Name", "@")),
            (EMAIL, b"a@b.example", Ok(())),
            (EMAIL, b"b.example", Ok(())),
            (URI, b"example", Ok(())),
            (URI, b"a..b", failed("URI", "a..b")),
            (URI, b"1.2.3.4", Err("x509: failed to parse URI constraint \"1.2.3.4\": cannot be IP address".into())),
            (0xa4, &[SEQUENCE, 0], Ok(())),
        ] {
            let trees = tlv(SEQUENCE, &[&tlv(tag, &[base])]);
            for side in [0xa0, 0xa1] {
                let value = tlv(SEQUENCE, &[&tlv(side, &[&trees])]);
                assert_eq!(constraints(&value), wanted, "{tag:x} {base:x?}");
                let more = constraints(&[&value[..], &[0]].concat());
                assert_eq!(more, Err("x509: invalid NameConstraints extension".into()));
            }
        }
        for empty in [&[SEQUENCE, 0][..], &[SEQUENCE, 2, 0xa0, 0]] {
            assert_eq!(constraints(empty), Err("x509: empty name constraints extension".into()));
        }
        for invalid in [&[4, 0][..], &[SEQUENCE, 2, 0xa2, 0], &[]] {
            assert_eq!(constraints(invalid), Err("x509: invalid NameConstraints extension".into()));
        }
    }
}
