//! Who is let in by a certificate, and which server is believed: the library's checks, and etcd's beside them.
//!
//! Invariants: nothing is let through that the library refuses, but for one thing that Go allows and the library does not:
//! a certificate that is itself on the list of authorities (as self-signed ones are) is believed within its dates, for
//! its names and for what it may be used for. Where verification is switched off nothing is verified at all, as with Go's `InsecureSkipVerify`.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};

use super::certificate::{Names, Shower};
use super::files::Roots;

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
        let list = |words: &[String]| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ");
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
        if fits { Ok(()) } else { Err(in_words("client certificate authentication failed")) }
    }
}

/// A refusal of ours, with its text.
#[derive(Debug)]
pub(super) struct Words(pub(super) String);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Words {}

fn in_words(text: &str) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Words(text.to_string())))))
}

/// Whether a refusal of the library's is one that Go's would not make of a certificate that is an authority itself, or
/// is looked at again in [`own_anchor`] and behind it: who signed it, that it is an authority, its use and its names.
fn is_open(refused: &Error) -> bool {
    let Error::InvalidCertificate(refused) = refused else { return false };
    match refused {
        CertificateError::UnknownIssuer
        // Another authority has the name of the one that signed it.
        | CertificateError::BadSignature
        | CertificateError::InvalidPurpose
        | CertificateError::InvalidPurposeContext { .. }
        | CertificateError::NotValidForName
        | CertificateError::NotValidForNameContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => true,
        // The library beneath has no kind for it.
        CertificateError::Other(other) => other.0.to_string() == "CaUsedAsEndEntity",
        _ => false,
    }
}

/// Lets through what is on the list of authorities itself, where the library has refused it for a reason that Go's would
/// not have.
fn own_anchor(
    roots: &Roots,
    certificate: &CertificateDer<'_>,
    shower: Shower,
    now: UnixTime,
    refused: Error,
) -> Result<Names, Error> {
    if !is_open(&refused) || !roots.certificates.iter().any(|root| root.as_ref() == certificate.as_ref()) {
        return Err(refused);
    }
    let names = Names::read(certificate).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < names.valid.0 {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if now > names.valid.1 {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    if !names.may_be_shown_by(shower) {
        return Err(Error::InvalidCertificate(CertificateError::InvalidPurpose));
    }
    Ok(names)
}

/// Judges the certificates of clients.
#[derive(Debug)]
pub(super) struct ClientJudge {
    library: Arc<dyn ClientCertVerifier>,
    roots: Roots,
    allowed: Allowed,
}

impl ClientJudge {
    pub(super) fn new(provider: &Arc<CryptoProvider>, roots: Roots, allowed: Allowed) -> Result<Self, String> {
        let library = WebPkiClientVerifier::builder_with_provider(roots.store.clone(), provider.clone());
        let library = library.build().map_err(|error| format!("no authority that clients are trusted by: {error}"))?;
        Ok(Self { library, roots, allowed })
    }
}

impl ClientCertVerifier for ClientJudge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.library.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Err(refused) = self.library.verify_client_cert(certificate, between, now) {
            own_anchor(&self.roots, certificate, Shower::Client, now, refused)?;
        }
        self.allowed.admit(certificate)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.library.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.library.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.library.supported_verify_schemes()
    }
}

/// Judges the certificates of servers.
#[derive(Debug)]
pub(super) struct ServerJudge {
    /// `None` where the system trusts nobody.
    library: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    roots: Roots,
    allowed: Allowed,
}

impl ServerJudge {
    pub(super) fn new(provider: &Arc<CryptoProvider>, roots: Roots, allowed: Allowed) -> Self {
        let library = WebPkiServerVerifier::builder_with_provider(roots.store.clone(), provider.clone()).build().ok();
        Self { library, provider: provider.clone(), roots, allowed }
    }
}

impl ServerCertVerifier for ServerJudge {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let unknown = Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        let judged = self
            .library
            .as_ref()
            .map_or(unknown, |library| library.verify_server_cert(certificate, between, server, ocsp, now).map(drop));
        if let Err(refused) = judged {
            let names = own_anchor(&self.roots, certificate, Shower::Server, now, refused)?;
            names.verify_host(&server.to_str()).map_err(|why| in_words(&why))?;
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
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
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
