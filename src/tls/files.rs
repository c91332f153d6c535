//! Files of certificates, keys and authorities, read as etcd reads them.
//!
//! Invariant: what is wrong with a file is told in Go's words, with its path. Does not know when files change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::{Issuer, LEAST_RSA_BITS, is_signed_with, rsa_bits};
use super::well_formed;

/// Where certificates lie. An empty path is none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "the fields are etcd's flags")]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub client_cert: PathBuf,
    pub client_key: PathBuf,
    pub trusted_ca: PathBuf,
    pub crl: PathBuf,
}

impl CertificateFiles {
    /// Whether there is nothing to listen with.
    pub fn is_empty(&self) -> bool {
        self.cert.as_os_str().is_empty() && self.key.as_os_str().is_empty()
    }

    /// Checks that what belongs together was given together.
    ///
    /// # Errors
    /// etcd's text.
    pub fn check(&self) -> Result<(), String> {
        let is_given = |path: &Path| !path.as_os_str().is_empty();
        if is_given(&self.cert) != is_given(&self.key) {
            return Err(format!(
                "KeyFile and CertFile must both be present[key: {}, cert: {}]",
                self.key.display(),
                self.cert.display()
            ));
        }
        if is_given(&self.client_cert) != is_given(&self.client_key) {
            return Err(format!(
                "ClientKeyFile and ClientCertFile must both be present or both absent: key: {}, cert: {}]",
                self.client_key.display(),
                self.client_cert.display()
            ));
        }
        Ok(())
    }

    /// Looks at the authorities where there is nothing else to encrypt with: as in etcd they must be there and well formed, and
    /// may be none; whoever connects to servers then believes nobody.
    ///
    /// # Errors
    /// Go's text.
    pub fn check_authorities(&self) -> Result<(), String> {
        if self.trusted_ca.as_os_str().is_empty() {
            return Ok(());
        }
        certificates_of(&self.trusted_ca).map(drop)
    }

    /// The pair that is shown to servers.
    pub(super) fn outgoing(&self) -> Option<(&Path, &Path)> {
        match (&self.client_cert, &self.cert) {
            (client, _) if !client.as_os_str().is_empty() => Some((client, &self.client_key)),
            (_, cert) if !cert.as_os_str().is_empty() => Some((cert, &self.key)),
            _ => None,
        }
    }
}

/// Reads a file whole.
///
/// # Errors
/// Go's text.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| read_error(path, &error))
}

/// Why a file was not read, in Go's words.
pub fn read_error(path: &Path, error: &io::Error) -> String {
    let (doing, why) = match error.kind() {
        io::ErrorKind::NotFound => ("open", "no such file or directory".to_string()),
        io::ErrorKind::PermissionDenied => ("open", "permission denied".to_string()),
        io::ErrorKind::IsADirectory => ("read", "is a directory".to_string()),
        io::ErrorKind::NotADirectory => ("open", "not a directory".to_string()),
        _ => ("read", error.to_string()),
    };
    format!("{doing} {}: {why}", path.display())
}

/// A certificate with its chain and its key.
///
/// # Errors
/// A file cannot be read, or the two do not belong together; in Go's words.
pub(super) fn certified(provider: &CryptoProvider, cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, String> {
    let (cert_pem, key_pem) = (read(cert)?, read(key)?);
    if let Some(why) = without_certificate(&cert_pem) {
        return Err(format!("tls: {why} ({})", cert.display()));
    }
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&cert_pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("tls: failed to parse certificate: {}: {}", cert.display(), why_no_pem(&error)))?;
    if chain.is_empty() {
        return Err(format!("tls: {NO_CERTIFICATE_PEM} ({})", cert.display()));
    }
    let key_der = PrivateKeyDer::from_pem_slice(&key_pem)
        .map_err(|_| format!("tls: {} ({})", without_key(&key_pem), key.display()))?;
    if let Some(Err(why)) = chain.first().map(|own| well_formed::check(own)) {
        return Err(format!("{why} ({})", cert.display()));
    }
    let unfit = chain.first().and_then(|own| rsa_bits(own)).filter(|(bits, _)| !is_signed_with(*bits));
    CertifiedKey::from_der(chain, key_der, provider).map(Arc::new).map_err(|error| match error {
        _ if unfit.is_some() => {
            let (bits, _) = unfit.unwrap_or_default();
            // The short ones can be broken, too.
            let (takes, remedy) = match bits < LEAST_RSA_BITS {
                true => ("2048 are the least that quorate takes", "a longer key"),
                false => ("quorate signs with 2048, 3072 or 4096", "such a key or one of ECDSA"),
            };
            let name = cert.display();
            format!(
                "tls: the RSA key of {name} has {bits} bits: {takes}; make {remedy} and have its certificate signed"
            )
        }
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "tls: private key does not match public key".to_string()
        }
        Error::InvalidCertificate(_) => format!("x509: malformed certificate ({})", cert.display()),
        error => format!("tls: failed to parse private key ({}): {error}", key.display()),
    })
}

const NO_CERTIFICATE_PEM: &str = "failed to find any PEM data in certificate input";

/// What is wrong with a file of PEM. Two of the library's texts show what stands in the file, which may be a key.
fn why_no_pem(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "missing section end marker".to_string(),
        pem::Error::IllegalSectionStart { .. } => "illegal section start".to_string(),
        error => error.to_string(),
    }
}

/// The kinds of the blocks of a file of PEM that have an end, in their order. As for Go and for the library a block begins and
/// ends where a line does, so that one that is indented is none.
fn blocks(pem: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(pem);
    let (mut begun, mut kinds) = (None, Vec::new());
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line).trim_end_matches([' ', '\t']);
        if let Some(kind) = line.strip_prefix("-----BEGIN ") {
            begun = kind.strip_suffix("-----");
        } else if let Some(kind) = line.strip_prefix("-----END ") {
            kinds.extend(begun.take().filter(|begun| Some(*begun) == kind.strip_suffix("-----")).map(str::to_string));
        }
    }
    kinds
}

fn is_key(kind: &str) -> bool {
    kind == "PRIVATE KEY" || kind.ends_with(" PRIVATE KEY")
}

/// What there is in place of a certificate, in Go's words; nothing where there is one.
fn without_certificate(pem: &[u8]) -> Option<String> {
    let kinds = blocks(pem);
    match &kinds[..] {
        kinds if kinds.iter().any(|kind| kind == "CERTIFICATE") => None,
        [] => Some(NO_CERTIFICATE_PEM.to_string()),
        [key] if is_key(key) => Some(
            "failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched"
                .to_string(),
        ),
        kinds => Some(format!(
            "failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{}]",
            kinds.join(" ")
        )),
    }
}

/// Why there is no key that can be read, in Go's words; of one that is encrypted that it is, too.
fn without_key(pem: &[u8]) -> String {
    let kinds = blocks(pem);
    let text = String::from_utf8_lossy(pem);
    match &kinds[..] {
        kinds if kinds.iter().any(|kind| is_key(kind)) => {
            let is_encrypted = text.contains("-----BEGIN ENCRYPTED") || text.contains("Proc-Type: 4,ENCRYPTED");
            let why = if is_encrypted { ": it is encrypted; store it without a passphrase" } else { "" };
            format!("failed to parse private key{why}")
        }
        [] => "failed to find any PEM data in key input".to_string(),
        [only] if only == "CERTIFICATE" => {
            "found a certificate rather than a key in the PEM for the private key".to_string()
        }
        kinds => format!(
            "failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [{}]",
            kinds.join(" ")
        ),
    }
}

/// The certificates of a file of authorities. Any other block is a certificate that cannot be read, as in Go.
fn certificates_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path)?;
    let malformed = |why: String| format!("x509: malformed certificate ({}{why})", path.display());
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| malformed(format!(": {}", why_no_pem(&error))))?;
    if let Some(other) = blocks(&pem).iter().find(|kind| *kind != "CERTIFICATE") {
        return Err(malformed(format!(": there is a block {other:?}")));
    }
    if certificates.iter().any(|der| X509Certificate::from_der(der).is_err()) {
        return Err(malformed(String::new()));
    }
    for der in &certificates {
        well_formed::check(der).map_err(|why| format!("{why} ({})", path.display()))?;
    }
    Ok(certificates)
}

/// Authorities that are trusted.
#[derive(Debug)]
pub(super) struct Roots {
    /// Those that can be used, as the library has them.
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    /// What each of these says of those it signs for.
    pub(super) issuers: Vec<Issuer>,
    /// Each of all as it stands, to know one that is presented itself.
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// Those of a file, or where none is named the system's.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        if path.as_os_str().is_empty() { Ok(Self::of(system())) } else { Self::of_pem(path) }
    }

    fn of_pem(path: &Path) -> Result<Self, String> {
        let certificates = certificates_of(path)?;
        if certificates.is_empty() {
            return Err(format!("x509: no certificates in {}", path.display()));
        }
        Ok(Self::of(certificates))
    }

    pub(super) fn of(certificates: Vec<CertificateDer<'static>>) -> Self {
        // Go keeps those it cannot use, too, and nothing is signed by them.
        let usable = |certificate: &CertificateDer<'_>| {
            let anchor = webpki::anchor_from_trusted_cert(certificate).ok()?.to_owned();
            Issuer::read(certificate).ok().map(|issuer| (anchor, issuer))
        };
        let (anchors, issuers) = certificates.iter().filter_map(usable).unzip();
        Self { anchors, issuers, certificates }
    }
}

/// Where systems keep the authorities they trust, in Go's order.
const SYSTEM_FILES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The system's authorities; none where it has none.
fn system() -> Vec<CertificateDer<'static>> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let files = SYSTEM_FILES.iter().map(PathBuf::from);
    let pem = match named {
        Some(named) => std::fs::read(named).ok(),
        None => files.into_iter().find_map(|file| std::fs::read(file).ok()),
    };
    CertificateDer::pem_slice_iter(&pem.unwrap_or_default()).filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each was asked of stock etcd.
    #[test]
    fn blocks_begin_and_end_where_lines_do() {
        for (text, kinds) in [
            ("", &[][..]),
            ("-----BEGIN A-----\nAAAA\n-----END A-----\n", &["A"]),
            (
                "-----BEGIN A----- \t\r\nAAAA\r\n-----END A-----\r\n# more\n-----BEGIN B-----\n-----END B-----",
                &["A", "B"],
            ),
            ("  -----BEGIN A-----\n  AAAA\n  -----END A-----\n", &[]),
            ("-----BEGIN A-----\nAAAA\n  -----END A-----\n", &[]),
            ("x -----BEGIN A-----\nAAAA\n-----END A-----\n", &[]),
            ("-----BEGIN A-----\nAAAA\n-----END A-----x\n", &[]),
            ("-----BEGIN A-----\nAAAA\n-----END B-----\n-----END A-----\n", &[]),
            ("-----BEGIN A-----\nAAAA\n-----BEGIN B-----\nAAAA\n-----END B-----\n", &["B"]),
            ("-----BEGIN A----- AAAA -----END A-----\n-----BEGIN B-----\n-----END B-----\n", &["B"]),
            ("-----BEGIN A-----\rAAAA\r-----END A-----\r", &[]),
        ] {
            assert_eq!(blocks(text.as_bytes()), kinds, "{text:?}");
        }
    }

    #[test]
    fn what_stands_in_a_file_is_not_told() {
        const SECRET: &str = "TUlHSEFnRUFNQk1H";
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("both");
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        // A key whose lines an editor or a variable joined.
        let key = format!("-----BEGIN PRIVATE KEY----- {SECRET} -----END PRIVATE KEY-----");
        let bytes = format!("{:?}", SECRET.as_bytes());
        let provider = rustls::crypto::ring::default_provider();
        for (behind, why) in [("\n", "missing section end marker"), (" x\n", "illegal section start")] {
            std::fs::write(&path, format!("{certificate}{key}{behind}")).expect("written");
            let shown = certified(&provider, &path, &path).map(drop).expect_err("refused");
            assert_eq!(shown, format!("tls: failed to parse certificate: {}: {why}", path.display()));
            let believed = Roots::read(&path).map(drop).expect_err("refused");
            assert_eq!(believed, format!("x509: malformed certificate ({}: {why})", path.display()));
            for text in [shown, believed, without_key(key.as_bytes())] {
                assert!(!text.contains(SECRET) && !text.contains(bytes.trim_matches(['[', ']'])), "{text}");
            }
        }
    }
}
