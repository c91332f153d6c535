//! Keys in files: PEM, and as much of DER as finds a public key in it.
//!
//! Invariant: any bytes may be given; what is not as it should be is nothing. Does not know algorithms.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT: u8 = 0x06;
const VERSION_OF_CERTIFICATE: u8 = 0xa0;

/// Object identifiers of the algorithms of public keys.
pub(super) const RSA_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
pub(super) const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
pub(super) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// The first block of a PEM file: its label and what it holds.
pub(super) fn first_block(pem: &[u8]) -> Option<(String, Vec<u8>)> {
    let text = String::from_utf8_lossy(pem);
    let (_, from_label) = text.split_once("-----BEGIN ")?;
    let (label, body) = from_label.split_once("-----")?;
    let (body, _) = body.split_once(&format!("-----END {label}-----"))?;
    let digits: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    Some((label.to_string(), BASE64.decode(digits).ok()?))
}

/// The key in a `SubjectPublicKeyInfo`, bare or in a certificate, if it is one of this algorithm (by its object identifier).
pub(super) fn public_key(der: &[u8], algorithm: &[u8]) -> Option<Vec<u8>> {
    key_of_info(der, algorithm).or_else(|| key_of_info(info_of_certificate(der)?, algorithm))
}

/// Bits of the modulus of an RSA public key, as PKCS#1 writes it.
pub(super) fn rsa_bits(der: &[u8]) -> Option<usize> {
    let (modulus, _) = rsa_numbers(der)?;
    Some(8 * modulus.len() - modulus.first()?.leading_zeros() as usize)
}

/// The modulus and the exponent of such a key, without the zeros before them. There is a modulus.
pub(super) fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut key = Reader(der).inside(SEQUENCE)?;
    let (modulus, exponent) = (key.content(INTEGER)?, key.content(INTEGER)?);
    // A private key goes on, and begins with its version.
    let is_public = key.0.is_empty();
    let bare = |number: &[u8]| number.iter().take_while(|byte| **byte == 0).count();
    let (modulus, exponent) = (&modulus[bare(modulus)..], &exponent[bare(exponent)..]);
    (is_public && !modulus.is_empty()).then_some((modulus, exponent))
}

fn key_of_info(der: &[u8], algorithm: &[u8]) -> Option<Vec<u8>> {
    let mut info = Reader(der).inside(SEQUENCE)?;
    if info.inside(SEQUENCE)?.content(OBJECT)? != algorithm {
        return None;
    }
    // The first byte says how many bits of the last one are none of the key's: keys have whole bytes.
    match info.content(BIT_STRING)?.split_first()? {
        (0, key) => Some(key.to_vec()),
        _ => None,
    }
}

fn info_of_certificate(der: &[u8]) -> Option<&[u8]> {
    let mut signed = Reader(der).inside(SEQUENCE)?.inside(SEQUENCE)?;
    if signed.0.first() == Some(&VERSION_OF_CERTIFICATE) {
        signed.content(VERSION_OF_CERTIFICATE)?;
    }
    signed.content(INTEGER)?;
    // Algorithm, issuer, validity, subject.
    for _ in 0..4 {
        signed.content(SEQUENCE)?;
    }
    Some(signed.0)
}

/// The number that is the private key of a curve, as SEC 1 writes it, bare or wrapped in PKCS#8. `curve` is the curve's
/// object identifier; a bare key may leave it out.
pub(super) fn curve_number<'a>(der: &'a [u8], curve: &[u8]) -> Option<&'a [u8]> {
    const PARAMETERS: u8 = 0xa0;
    let mut key = Reader(der).inside(SEQUENCE)?;
    if key.content(INTEGER)? == [0] {
        let mut algorithm = key.inside(SEQUENCE)?;
        algorithm.content(OBJECT)?;
        if algorithm.content(OBJECT)? != curve {
            return None;
        }
        return curve_number(key.content(OCTET_STRING)?, curve);
    }
    let number = key.content(OCTET_STRING)?;
    let named = match key.inside(PARAMETERS) {
        Some(mut parameters) => parameters.content(OBJECT)?,
        None => curve,
    };
    (named == curve).then_some(number)
}

/// A private key of a curve as PKCS#8 wraps it, of one as SEC 1 writes it. `curve` is the curve's object identifier.
pub(super) fn wrapped(sec1: &[u8], curve: &[u8]) -> Vec<u8> {
    let algorithm = [element(OBJECT, EC_PUBLIC_KEY), element(OBJECT, curve)].concat();
    let parts = [element(INTEGER, &[0]), element(SEQUENCE, &algorithm), element(OCTET_STRING, sec1)].concat();
    element(SEQUENCE, &parts)
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let length = (content.len() as u32).to_be_bytes();
            let digits: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | digits.len() as u8);
            out.extend(digits);
        }
    }
    out.extend(content);
    out
}

/// Elements one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The content of the next element, where it has this tag.
    fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_first()?;
        let (length, rest) = rest.split_first()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(*length), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (*first == tag).then_some(content)
    }

    fn inside(&mut self, tag: u8) -> Option<Self> {
        self.content(tag).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_wrapped_reads_back() {
        for length in [1, 127, 128, 300, 70_000] {
            let content = vec![7; length];
            let element = element(OCTET_STRING, &content);
            assert_eq!(Reader(&element).content(OCTET_STRING), Some(&content[..]));
            assert_eq!(Reader(&element[..element.len() - 1]).content(OCTET_STRING), None);
        }
    }

    #[test]
    fn the_modulus_is_counted_and_nothing_else_taken_for_one() {
        let key = |parts: &[&[u8]]| {
            element(SEQUENCE, &parts.iter().flat_map(|part| element(INTEGER, part)).collect::<Vec<u8>>())
        };
        assert_eq!(rsa_bits(&key(&[&[0, 0x80, 1], &[3]])), Some(16));
        assert_eq!(rsa_bits(&key(&[&[0x01, 1], &[3]])), Some(9));
        let read = key(&[&[0, 0x80, 1], &[0, 0, 1, 2]]);
        assert_eq!(rsa_numbers(&read), Some((&[0x80, 1][..], &[1, 2][..])));
        for none in [&[&[0][..], &[3]][..], &[&[0, 0x80, 1]], &[&[0], &[0x80, 1], &[3]], &[]] {
            assert_eq!(rsa_bits(&key(none)), None, "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_key_or_none(junk in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (public_key(&junk, RSA_PUBLIC_KEY), rsa_bits(&junk), first_block(&junk), curve_number(&junk, &[1]));
            let _ = curve_number(&element(SEQUENCE, &[&element(INTEGER, &[0])[..], &junk].concat()), &[1]);
            let _ = first_block(&[b"-----BEGIN A-----", &junk[..], b"-----END A-----"].concat());
        }
    }
}
