//! Who is let in by a certificate, and which server is believed: its chain, and etcd's checks beside it.
//!
//! Invariants: a certificate has a chain to an authority ([`super::chain`]), or is itself on the list of authorities (as
//! self-signed ones are), and then is believed within its dates, for its names and for what it may be used for. Where verification is switched off nothing is verified at all, as with Go's `InsecureSkipVerify`.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};

use super::certificate::{LEAST_RSA_BITS, Names, Shower, rsa_bits};
use super::chain::Court;
use super::files::Roots;
use super::well_formed;
use crate::base::go_quoted;

/// Names one of which a certificate must have. Both empty allows any.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Allowed {
    /// Common names.
    pub common_names: Vec<String>,
    /// Hosts that the certificate must be for.
    pub hosts: Vec<String>,
}

impl Allowed {
    /// # Errors
    /// Both were given; etcd's text.
    pub fn check(&self) -> Result<(), String> {
        if self.common_names.is_empty() || self.hosts.is_empty() {
            return Ok(());
        }
        let list = |words: &[String]| words.iter().map(go_quoted).collect::<Vec<_>>().join(" ");
        Err(format!(
            "AllowedCNs and AllowedHostnames are mutually exclusive (cns=[{}], hostnames=[{}])",
            list(&self.common_names),
            list(&self.hosts)
        ))
    }

    fn is_any(&self) -> bool {
        self.common_names.is_empty() && self.hosts.is_empty()
    }

    fn admit(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if self.is_any() {
            return Ok(());
        }
        let names = Names::read(certificate).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let fits =
            self.common_names.contains(&names.common_name) || self.hosts.iter().any(|h| names.verify_host(h).is_ok());
        let refused = || Words {
            text: "client certificate authentication failed".to_string(),
            names: Some(Box::new(names.clone())),
        };
        if fits { Ok(()) } else { Err(refusal(refused())) }
    }
}

/// A refusal of ours, with its text.
#[derive(Debug)]
pub(super) struct Words {
    text: String,
    /// Of the certificate, where it was read and its chain was good: the line of the log names them then, as etcd's.
    names: Option<Box<Names>>,
}

impl Words {
    /// Of a handshake that ended so.
    pub(super) fn names(error: &io::Error) -> Option<Box<Names>> {
        let library = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())?;
        let Error::InvalidCertificate(CertificateError::Other(other)) = library else { return None };
        other.0.downcast_ref::<Self>()?.names.clone()
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Words {}

fn in_words(text: &str) -> Error {
    refusal(Words { text: text.to_string(), names: None })
}

fn refusal(words: Words) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(words))))
}

/// A refusal of the library's beneath, as that above has it; in Go's words where it has none.
fn of_library(refused: webpki::Error) -> Error {
    use webpki::Error as Found;
    let known = match refused {
        Found::BadDer | Found::BadDerTime | Found::TrailingData(_) => CertificateError::BadEncoding,
        Found::CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before },
        Found::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        Found::InvalidCertValidity => CertificateError::Expired,
        Found::UnknownIssuer => CertificateError::UnknownIssuer,
        // Signed by one who has the name of an authority and not its key.
        Found::InvalidSignatureForPublicKey => CertificateError::UnknownIssuer,
        Found::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        Found::EndEntityUsedAsCa => return unverified("certificate is not authorized to sign other certificates"),
        Found::PathLenConstraintViolated => return unverified("too many intermediates for path length constraint"),
        Found::UnsupportedCriticalExtension => return unverified("unhandled critical extension"),
        Found::NameConstraintViolation => {
            return unverified("a root or intermediate certificate is not authorized to sign for this name");
        }
        Found::UnsupportedSignatureAlgorithmContext(_) | Found::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            return unverified("cannot verify signature: algorithm unimplemented");
        }
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    Error::InvalidCertificate(known)
}

/// A refusal in Go's words.
fn unverified(why: &str) -> Error {
    in_words(&format!("tls: failed to verify certificate: x509: {why}"))
}

/// What is said of a key of RSA that is too short, where one of these has one.
fn short_key<'a>(mut certificates: impl Iterator<Item = &'a CertificateDer<'a>>) -> Option<Error> {
    let (bits, whose) = certificates.find_map(|der| rsa_bits(der).filter(|(bits, _)| *bits < LEAST_RSA_BITS))?;
    Some(unverified(&format!(
        "the RSA key of the certificate of {whose:?} has {bits} bits: {LEAST_RSA_BITS} are the least that quorate takes; it \
         needs a certificate with a longer key"
    )))
}

/// Judges a certificate but for its names. One that is on the list of authorities itself is judged by what it says alone,
/// as in Go; the answer is whether it was.
fn judge(court: &Court<'_>, shown: &CertificateDer<'_>, between: &[CertificateDer<'_>]) -> Result<bool, Error> {
    for certificate in std::iter::once(shown).chain(between) {
        let whose = match court.shower {
            Shower::Client => "client certificate",
            Shower::Server => "certificate from server",
        };
        well_formed::check(certificate).map_err(|why| in_words(&format!("tls: failed to parse {whose}: {why}")))?;
    }
    let roots = &court.roots.certificates;
    let is_root = roots.iter().any(|root| root.as_ref() == shown.as_ref());
    if is_root {
        listed(court, shown)?;
    } else if let Err(refused) = court.judge(shown, between) {
        let is_signature = matches!(refused, webpki::Error::InvalidSignatureForPublicKey);
        let refused = match refused {
            // It ends before it begins, so the library does not look at the time.
            webpki::Error::InvalidCertValidity => out_of_time(std::iter::once(shown).chain(between), court.now),
            refused => of_library(refused),
        };
        let short = is_signature.then(|| short_key(between.iter().chain(roots))).flatten();
        return Err(short.unwrap_or(refused));
    }
    // The library would say no more of it than that its signature is none.
    short_key(std::iter::once(shown)).map_or(Ok(is_root), Err)
}

/// The first of these that is not good yet, or no more.
fn out_of_time<'a>(mut certificates: impl Iterator<Item = &'a CertificateDer<'a>>, now: UnixTime) -> Error {
    let found = certificates.find_map(|der| in_time(&Names::read(der).ok()?, now).err());
    found.unwrap_or(Error::InvalidCertificate(CertificateError::Expired))
}

/// Whether a certificate is good at this time; what begins later is told before what has ended, as by Go.
fn in_time(names: &Names, now: UnixTime) -> Result<(), Error> {
    let moment = |seconds: i64| UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    let (time, seconds) = (now, i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    let (from, until) = names.valid;
    Err(Error::InvalidCertificate(if seconds < from {
        CertificateError::NotValidYetContext { time, not_before: moment(from) }
    } else if seconds > until {
        CertificateError::ExpiredContext { time, not_after: moment(until) }
    } else {
        return Ok(());
    }))
}

/// Judges what is on the list of authorities itself.
fn listed(court: &Court<'_>, certificate: &CertificateDer<'_>) -> Result<(), Error> {
    // Whatever the library cannot read it could not check the signature of a handshake of, either.
    webpki::EndEntityCert::try_from(certificate).map_err(of_library)?;
    let names = Names::read(certificate).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    in_time(&names, court.now)?;
    if !names.may_be_shown_by(court.shower) {
        return Err(Error::InvalidCertificate(CertificateError::InvalidPurpose));
    }
    Ok(())
}

/// Judges the certificates of clients.
#[derive(Debug)]
pub(super) struct ClientJudge {
    algorithms: WebPkiSupportedAlgorithms,
    subjects: Vec<DistinguishedName>,
    roots: Roots,
    allowed: Allowed,
}

impl ClientJudge {
    pub(super) fn new(provider: &CryptoProvider, roots: Roots, allowed: Allowed) -> Result<Self, String> {
        if roots.anchors.is_empty() {
            return Err("no authority that clients are trusted by: no root trust anchors were provided".to_string());
        }
        let subjects = roots.anchors.iter().map(|root| DistinguishedName::in_sequence(&root.subject)).collect();
        Ok(Self { algorithms: provider.signature_verification_algorithms, subjects, roots, allowed })
    }
}

impl ClientCertVerifier for ClientJudge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let court = Court { algorithms: self.algorithms.all, roots: &self.roots, shower: Shower::Client, now };
        judge(&court, certificate, between)?;
        self.allowed.admit(certificate)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Judges the certificates of servers. Where the system trusts nobody, none is believed.
#[derive(Debug)]
pub(super) struct ServerJudge {
    algorithms: WebPkiSupportedAlgorithms,
    roots: Roots,
    allowed: Allowed,
}

impl ServerJudge {
    pub(super) fn new(provider: &CryptoProvider, roots: Roots, allowed: Allowed) -> Self {
        Self { algorithms: provider.signature_verification_algorithms, roots, allowed }
    }
}

impl ServerCertVerifier for ServerJudge {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let court = Court { algorithms: self.algorithms.all, roots: &self.roots, shower: Shower::Server, now };
        if judge(&court, certificate, between)? {
            let names = Names::read(certificate);
            let names = names.map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
            let refused = |why: String| in_words(&format!("tls: failed to verify certificate: {why}"));
            names.verify_host(&server.to_str()).map_err(refused)?;
        } else {
            verify_server_name(&ParsedCertificate::try_from(certificate)?, server)?;
        }
        self.allowed.admit(certificate)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Believes any server. Its signature is not looked at either: whoever stands between could make both. So keys that the
/// cryptography here does not know (P-521, as etcd makes them by itself) do no harm.
#[derive(Debug)]
pub(super) struct AnyServer {
    pub(super) allowed: Allowed,
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.allowed.is_any() {
            // As in etcd: without a verified chain there is nobody who could be allowed.
            return Err(in_words("client certificate authentication failed"));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP521_SHA512,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
        ]
    }
}
