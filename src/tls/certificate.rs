//! What a certificate says of its owner, and whether it is for a host: the rules and texts of Go's `x509`.

use std::net::IpAddr;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

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
        let malformed = |error: &dyn std::fmt::Display| format!("x509: malformed certificate ({error})");
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
        let uses = certificate.extended_key_usage().map_err(|error| malformed(&error))?;
        names.uses = uses.map(|uses| Uses {
            as_client: uses.value.any || uses.value.client_auth,
            as_server: uses.value.any || uses.value.server_auth,
        });
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
        self.uses.is_none_or(|uses| match shower {
            Shower::Client => uses.as_client,
            Shower::Server => uses.as_server,
        })
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
