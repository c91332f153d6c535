//! What a certificate says of its owner, and whether it is for a host: the rules and texts of Go's `x509`.

use std::net::IpAddr;

use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};
use x509_parser::public_key::PublicKey;

/// The names in a certificate.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// The common name of the subject; empty where there is none.
    pub common_name: String,
    /// The DNS names among the alternative names.
    pub dns: Vec<String>,
    /// The addresses among the alternative names.
    pub addresses: Vec<IpAddr>,
    /// The serial number, without leading zeroes.
    pub serial: Vec<u8>,
    /// Seconds since 1970 from which, and until which, it is valid.
    pub valid: (i64, i64),
    has_alternatives: bool,
    /// What it may be used for, where it says so.
    uses: Option<Uses>,
}

/// What a certificate may be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Uses {
    as_client: bool,
    as_server: bool,
}

impl Uses {
    /// `None` where the certificate says nothing of it.
    fn read(certificate: &X509Certificate<'_>) -> Result<Option<Self>, String> {
        let uses = certificate.extended_key_usage().map_err(|error| malformed(&error))?;
        Ok(uses.map(|uses| Self {
            as_client: uses.value.any || uses.value.client_auth,
            as_server: uses.value.any || uses.value.server_auth,
        }))
    }

    fn allow(uses: Option<Self>, shower: Shower) -> bool {
        uses.is_none_or(|uses| match shower {
            Shower::Client => uses.as_client,
            Shower::Server => uses.as_server,
        })
    }
}

fn malformed(error: &dyn std::fmt::Display) -> String {
    format!("x509: malformed certificate ({error})")
}

/// Who shows a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shower {
    /// A client.
    Client,
    /// A server.
    Server,
}

impl Names {
    /// Reads a certificate.
    ///
    /// # Errors
    /// It is none.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| malformed(&error))?;
        let mut names = Self {
            // Go takes the last one where there are several.
            common_name: certificate.subject().iter_common_name().last().map_or_else(String::new, |name| {
                name.as_str().map_or_else(|_| String::from_utf8_lossy(name.as_slice()).into_owned(), str::to_string)
            }),
            serial: trimmed(certificate.tbs_certificate.raw_serial()).to_vec(),
            valid: (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp()),
            ..Self::default()
        };
        let alternatives = certificate.subject_alternative_name().map_err(|error| malformed(&error))?;
        names.has_alternatives = alternatives.is_some();
        names.uses = Uses::read(&certificate)?;
        for name in alternatives.iter().flat_map(|alternatives| &alternatives.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.dns.push((*name).to_string()),
                GeneralName::IPAddress(bytes) => names.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        Ok(names)
    }

    /// Whether the certificate is for a host, by name or address.
    ///
    /// # Errors
    /// It is not, in Go's words.
    pub fn verify_host(&self, host: &str) -> Result<(), String> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let fits = match bare.parse::<IpAddr>() {
            Ok(address) => self.addresses.iter().any(|have| have.to_canonical() == address.to_canonical()),
            Err(_) => {
                let host = host.to_ascii_lowercase();
                self.dns.iter().any(|pattern| matches(&pattern.to_ascii_lowercase(), &host))
            }
        };
        if fits { Ok(()) } else { Err(self.mismatch(host, bare.parse::<IpAddr>().is_ok())) }
    }

    /// Whether the certificate may be shown by such a one: what says nothing of its use may be used for anything.
    pub fn may_be_shown_by(&self, shower: Shower) -> bool {
        Uses::allow(self.uses, shower)
    }

    fn mismatch(&self, host: &str, is_address: bool) -> String {
        if !self.has_alternatives && matches(&self.common_name.to_ascii_lowercase(), &host.to_ascii_lowercase()) {
            return "x509: certificate relies on legacy Common Name field, use SANs instead".to_string();
        }
        let valid = if is_address {
            if self.addresses.is_empty() {
                return format!("x509: cannot validate certificate for {host} because it doesn't contain any IP SANs");
            }
            self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        } else {
            self.dns.join(", ")
        };
        if valid.is_empty() {
            return format!("x509: certificate is not valid for any names, but wanted to match {host}");
        }
        format!("x509: certificate is valid for {valid}, not {host}")
    }
}

/// What the certificate of an authority says of those it signs for: what Go's library asks of it and the library beneath
/// does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Issuer {
    /// Seconds since 1970 from which, and until which, it is valid.
    pub valid: (i64, i64),
    /// Whether it may sign certificates.
    pub signs: bool,
    /// How many authorities may stand between it and whom they sign for.
    pub most_between: Option<u32>,
    /// Whether it asks for something that nobody here knows.
    pub asks_unknown: bool,
    /// Whether it asks for policies to be named, which are not looked at here (nor can be in a root: Go's leaves those of
    /// roots alone, too).
    pub asks_policies: bool,
    uses: Option<Uses>,
}

/// The extensions below 2.5.29 that Go's library knows where an authority makes them critical.
///
/// Not 14 and 35, names of keys, and what says where authorities are found: it reads no certificate that has these critical. Not
/// 17, names, which are no authority's, and in which it may find none.
const KNOWN_EXTENSIONS: [u8; 9] = [15, 19, 30, 31, 32, 33, 36, 37, 54];
const POLICY_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 36];

/// Whether Go's library knows all the kinds of names that this binds those it signs for to.
fn is_bound_by_known(extension: &ParsedExtension<'_>) -> bool {
    let ParsedExtension::NameConstraints(bounds) = extension else { return true };
    [&bounds.permitted_subtrees, &bounds.excluded_subtrees].into_iter().flatten().flatten().all(|tree| {
        matches!(
            tree.base,
            GeneralName::DNSName(_) | GeneralName::IPAddress(_) | GeneralName::RFC822Name(_) | GeneralName::URI(_)
        )
    })
}

impl Issuer {
    /// Reads a certificate.
    ///
    /// # Errors
    /// It is none.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| malformed(&error))?;
        let basic = certificate.basic_constraints().map_err(|error| malformed(&error))?.map(|basic| basic.value);
        let usage = certificate.key_usage().map_err(|error| malformed(&error))?.map(|usage| usage.value);
        let is_authority = basic.map_or(certificate.version() != X509Version::V3, |basic| basic.ca);
        let asks_unknown = certificate.extensions().iter().any(|extension| {
            let is_known = matches!(extension.oid.as_bytes(), [0x55, 0x1d, last] if KNOWN_EXTENSIONS.contains(last));
            extension.critical && !(is_known && is_bound_by_known(extension.parsed_extension()))
        });
        Ok(Self {
            valid: (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp()),
            // A usage that names nothing is as good as none.
            signs: is_authority && usage.is_none_or(|usage| usage.flags == 0 || usage.key_cert_sign()),
            most_between: basic.and_then(|basic| basic.path_len_constraint),
            asks_unknown,
            asks_policies: certificate.extensions().iter().any(|found| found.oid.as_bytes() == POLICY_CONSTRAINTS),
            uses: Uses::read(&certificate)?,
        })
    }

    /// Whether those it signs for may show themselves so.
    pub fn lets(&self, shower: Shower) -> bool {
        Uses::allow(self.uses, shower)
    }
}

/// A certificate of an authority that is shown as one's own: the same but for the byte that says so, and where what was
/// signed stands in both. The length of nothing changes.
///
/// `None` for what is no authority, or no certificate.
pub fn as_no_authority(der: &[u8]) -> Option<(Vec<u8>, std::ops::Range<usize>)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    certificate.basic_constraints().ok()?.filter(|basic| basic.value.ca)?;
    let is_basic = |oid: &[u8]| oid == [0x55, 0x1d, 19];
    let value = certificate.extensions().iter().find(|found| is_basic(found.oid.as_bytes()))?.value;
    // A sequence of a length in one byte, that begins with the bool `true`.
    let [0x30, 0..0x80, 0x01, 0x01, 0xff, ..] = value else { return None };
    let at = |part: &[u8]| part.as_ptr().addr().checked_sub(der.as_ptr().addr());
    let signed = certificate.tbs_certificate.as_ref();
    let (flag, from) = (at(value)? + 4, at(signed)?);
    let mut read = der.to_vec();
    *read.get_mut(flag)? = 0;
    Some((read, from..from + signed.len()))
}

/// Bits that a key of RSA must have: the least that the cryptography here signs with and believes. Go's takes 1,024.
pub const LEAST_RSA_BITS: usize = 2048;

/// Whether the cryptography here signs with a key of RSA of so many bits. It believes those of any number of bits up to 8,192.
pub fn is_signed_with(rsa_bits: usize) -> bool {
    matches!(rsa_bits, LEAST_RSA_BITS | 3072 | 4096)
}

/// Bits of the key of a certificate, where it is of RSA, and whose it is.
pub fn rsa_bits(der: &[u8]) -> Option<(usize, String)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() else { return None };
    let modulus = trimmed(key.modulus);
    let free = modulus.first().map_or(0, |first| first.leading_zeros() as usize);
    Some((modulus.len() * 8 - free, certificate.subject().to_string()))
}

/// A number without leading zeroes, as Go's big integers have it.
pub fn trimmed(bytes: &[u8]) -> &[u8] {
    let zeroes = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeroes..]
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Whether a name fits a pattern, whose first label alone may be `*`.
fn matches(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.trim_end_matches('.'), host.trim_end_matches('.'));
    if pattern.is_empty() || host.is_empty() || host.contains('*') {
        return false;
    }
    match pattern.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(first, below)| !first.is_empty() && below == rest),
        None => pattern == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_fit_as_in_go() {
        let names = Names {
            dns: vec!["a.example".into(), "*.b.example".into()],
            addresses: vec!["10.0.0.1".parse().expect("an address"), "::1".parse().expect("an address")],
            has_alternatives: true,
            ..Names::default()
        };
        for host in ["a.example", "A.Example", "x.b.example", "10.0.0.1", "[::1]", "::1", "a.example."] {
            assert_eq!(names.verify_host(host), Ok(()), "{host}");
        }
        for (host, why) in [
            ("x.y.b.example", "x509: certificate is valid for a.example, *.b.example, not x.y.b.example"),
            ("b.example", "x509: certificate is valid for a.example, *.b.example, not b.example"),
            ("10.0.0.2", "x509: certificate is valid for 10.0.0.1, ::1, not 10.0.0.2"),
        ] {
            assert_eq!(names.verify_host(host), Err(why.to_string()));
        }
        let old = Names { common_name: "a".into(), ..Names::default() };
        assert!(old.verify_host("a").is_err_and(|why| why.contains("legacy Common Name")));
        assert!(old.verify_host("1.2.3.4").is_err_and(|why| why.contains("doesn't contain any IP SANs")));
        assert!(old.verify_host("b").is_err_and(|why| why.contains("not valid for any names, but wanted to match b")));
    }
}
