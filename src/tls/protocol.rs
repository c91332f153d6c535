//! Versions and cipher suites, by Go's names.
//!
//! Invariant: an unknown name is refused in etcd's words. A suite that Go has and the library here does not (no forward
//! secrecy, CBC, RC4, 3DES) is left out and named, and refused where nothing would remain.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::{CipherSuite, SupportedCipherSuite, SupportedProtocolVersion, version};

/// The system's time. A clock before 1970 says its beginning: certificates are not valid yet, and nothing ends.
#[derive(Debug)]
pub(super) struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(moment(SystemTime::now()))
    }
}

fn moment(now: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// What is spoken: versions, suites and the cryptography behind them.
#[derive(Clone)]
pub struct Protocol {
    /// The suites.
    pub(super) provider: Arc<CryptoProvider>,
    /// The versions.
    pub(super) versions: &'static [&'static SupportedProtocolVersion],
    /// Suites that were asked for and are not there.
    pub left_out: Vec<String>,
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.provider.cipher_suites.iter().map(|suite| suite.suite())).finish()
    }
}

static ONLY_1_2: &[&SupportedProtocolVersion] = &[&version::TLS12];
static ONLY_1_3: &[&SupportedProtocolVersion] = &[&version::TLS13];
static BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// Suites of TLS 1.2, by every name that Go and etcd have for them.
const OFFERED: [(&str, CipherSuite); 8] = [
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// Those of TLS 1.3 may be named; Go and etcd always offer all of them.
const ALWAYS: [&str; 3] = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// Suites that Go has beside these.
const MISSING: [&str; 16] = [
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
];

impl Default for Protocol {
    fn default() -> Self {
        Self { provider: Arc::new(ring::default_provider()), versions: BOTH, left_out: Vec::new() }
    }
}

impl Protocol {
    /// From the values of `--tls-min-version`, `--tls-max-version` and `--cipher-suites`.
    ///
    /// # Errors
    /// etcd's text.
    pub fn new(least: &str, most: &str, suites: &[String]) -> Result<Self, String> {
        let (low, high) = (version(least)?.unwrap_or(2), version(most)?);
        if high.is_some_and(|high| low > high) {
            return Err(format!("min version ({least}) is greater than max version ({most})"));
        }
        if low == 3 && !suites.is_empty() {
            return Err("cipher suites cannot be configured when only TLS1.3 is enabled".to_string());
        }
        let versions = match (low, high) {
            (3, _) => ONLY_1_3,
            (_, Some(2)) => ONLY_1_2,
            _ => BOTH,
        };
        let mut protocol = Self { versions, ..Self::default() };
        if !suites.is_empty() {
            protocol.choose(suites)?;
        }
        Ok(protocol)
    }

    /// The latest of these versions that is spoken.
    pub(super) fn latest_of(&self, offered: &[u16]) -> Option<u16> {
        self.versions.iter().map(|spoken| u16::from(spoken.version)).filter(|spoken| offered.contains(spoken)).max()
    }

    /// Whether a version has one of these suites here.
    pub(super) fn has_suite_of(&self, version: u16, offered: &[u16]) -> bool {
        self.provider
            .cipher_suites
            .iter()
            .any(|suite| u16::from(suite.version().version) == version && offered.contains(&u16::from(suite.suite())))
    }

    fn choose(&mut self, names: &[String]) -> Result<(), String> {
        let mut provider = ring::default_provider();
        let all = std::mem::take(&mut provider.cipher_suites);
        let (mut chosen, older): (Vec<SupportedCipherSuite>, Vec<_>) =
            all.into_iter().partition(|suite| suite.tls13().is_some());
        let before = chosen.len();
        for name in names {
            let Some((_, suite)) = OFFERED.iter().find(|(known, _)| known == name) else {
                match name.as_str() {
                    name if ALWAYS.contains(&name) => {}
                    name if MISSING.contains(&name) => self.left_out.push(name.to_string()),
                    _ => return Err(format!("unexpected TLS cipher suite {name:?}")),
                }
                continue;
            };
            // In the order given, as etcd prefers them.
            let new = older.iter().filter(|have| have.suite() == *suite && !chosen.contains(have)).copied();
            chosen.extend(new.collect::<Vec<_>>());
        }
        if chosen.len() == before && !self.left_out.is_empty() {
            return Err(format!("--cipher-suites: none of {} is supported by quorate", self.left_out.join(",")));
        }
        provider.cipher_suites = chosen;
        self.provider = Arc::new(provider);
        Ok(())
    }
}

fn version(text: &str) -> Result<Option<u8>, String> {
    match text {
        "" => Ok(None),
        "TLS1.2" => Ok(Some(2)),
        "TLS1.3" => Ok(Some(3)),
        _ => Err(format!("unexpected TLS version {text:?} (must be one of: TLS1.2, TLS1.3)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suites(names: &str) -> Result<Vec<CipherSuite>, String> {
        let names: Vec<String> = names.split(',').map(str::to_string).collect();
        let protocol = Protocol::new("TLS1.2", "", &names)?;
        Ok(protocol.provider.cipher_suites.iter().map(SupportedCipherSuite::suite).collect())
    }

    /// The library's own clock panics there. That nobody takes it is held by clippy.toml.
    #[test]
    fn a_clock_before_1970_judges_certificates() {
        let ago = SystemTime::UNIX_EPOCH - std::time::Duration::from_secs(1);
        assert_eq!(moment(ago).as_secs(), 0);
        assert_eq!(moment(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(7)).as_secs(), 7);
    }

    #[test]
    fn versions_and_suites_are_refused_in_etcds_words() {
        for (least, most, names, why) in [
            ("TLS1.1", "", "", "unexpected TLS version \"TLS1.1\" (must be one of: TLS1.2, TLS1.3)"),
            ("TLS1.2", "x", "", "unexpected TLS version \"x\" (must be one of: TLS1.2, TLS1.3)"),
            ("TLS1.3", "TLS1.2", "", "min version (TLS1.3) is greater than max version (TLS1.2)"),
            (
                "TLS1.3",
                "",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                "cipher suites cannot be configured when only TLS1.3 is enabled",
            ),
            ("TLS1.2", "", "TLS_NO", "unexpected TLS cipher suite \"TLS_NO\""),
            (
                "",
                "",
                "TLS_RSA_WITH_AES_128_CBC_SHA",
                "--cipher-suites: none of TLS_RSA_WITH_AES_128_CBC_SHA is supported by quorate",
            ),
        ] {
            let names: Vec<String> = names.split(',').filter(|name| !name.is_empty()).map(str::to_string).collect();
            assert_eq!(Protocol::new(least, most, &names).map(drop), Err(why.to_string()));
        }
        assert_eq!(Protocol::new("", "TLS1.2", &[]).map(|protocol| protocol.versions.len()), Ok(1));
        assert_eq!(Protocol::new("TLS1.2", "", &[]).map(|protocol| protocol.versions.len()), Ok(2));
    }

    #[test]
    fn suites_stand_in_the_order_given_and_those_of_1_3_stay() {
        let chosen = suites(
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305,TLS_RSA_WITH_AES_128_CBC_SHA,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,\
             TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        );
        let chosen = chosen.expect("known");
        assert_eq!(
            chosen[3..],
            [
                CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
                CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
            ]
        );
        assert_eq!(suites("TLS_AES_128_GCM_SHA256").map(|suites| suites.len()), Ok(3));
    }
}
