//! Chains of certificates, from one that is shown to an authority that is trusted.
//!
//! The path is built and checked by the library (signatures, dates, names that authorities are bound to, how many may
//! stand between). Beside it stands what Go's does otherwise, in both directions.
//!
//! Kinder, as Go: a certificate that may be used for anything (`anyExtendedKeyUsage`) may be used for this, and one that
//! is an authority's may be shown as one's own. The library refuses the second; so it reads a copy in which the one byte
//! that says "authority" says the contrary, and the signature is checked over what was signed.
//!
//! Stricter, as Go: an authority must be one that signs certificates, and what is trusted has dates, a use and a number of
//! those between, too. Invariant: what Go refuses is refused; keys and algorithms are those of the library alone.

use std::fmt;
use std::ptr;
use std::time::Duration;

use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, UnixTime,
};
use webpki::{
    EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext, VerifiedPath,
};

use super::certificate::{Issuer, Shower, as_no_authority};
use super::files::Roots;

/// `anyExtendedKeyUsage`, 2.5.29.37.0.
const ANY_USE: KeyPurposeId<'_> = KeyPurposeId::new(&[0x55, 0x1d, 0x25, 0]);
/// 1.3.6.1.5.5.7.3.1 and 1.3.6.1.5.5.7.3.2.
const OF_SERVERS: KeyPurposeId<'_> = KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 1]);
const OF_CLIENTS: KeyPurposeId<'_> = KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 2]);

/// Who shows the certificate: each of a chain must be for that use, for any, or say nothing of it.
#[derive(Clone, Copy)]
struct Use(Shower);

impl Use {
    fn wanted(self) -> KeyUsage {
        match self.0 {
            Shower::Client => KeyUsage::client_auth(),
            Shower::Server => KeyUsage::server_auth(),
        }
    }

    fn refused(self, present: Vec<Vec<usize>>) -> Error {
        Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { required: self.wanted(), present })
    }
}

impl ExtendedKeyUsageValidator for Use {
    fn validate(&self, iter: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        let wanted = match self.0 {
            Shower::Client => OF_CLIENTS,
            Shower::Server => OF_SERVERS,
        };
        // Compared as they stand: the library's numbers of an identifier are not one to one.
        let present = iter.collect::<Result<Vec<_>, _>>()?;
        if present.is_empty() || present.iter().any(|id| *id == wanted || *id == ANY_USE) {
            return Ok(());
        }
        Err(self.refused(present.iter().map(KeyPurposeId::to_decoded_oid).collect()))
    }
}

/// An algorithm that checks over what was signed where the library has read the copy.
struct Signed<'a> {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    read: &'a [u8],
    signed: &'a [u8],
}

impl fmt::Debug for Signed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.algorithm.fmt(f)
    }
}

impl SignatureVerificationAlgorithm for Signed<'_> {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let message = if message == self.read { self.signed } else { message };
        self.algorithm.verify_signature(key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }

    fn fips(&self) -> bool {
        self.algorithm.fips()
    }
}

/// What a certificate is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Court<'a> {
    pub(super) algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
    pub(super) roots: &'a Roots,
    pub(super) shower: Shower,
    pub(super) now: UnixTime,
}

impl Court<'_> {
    /// Whether a chain leads from a certificate to an authority.
    ///
    /// # Errors
    /// None does: what the library says of the one that came furthest.
    pub(super) fn judge(&self, shown: &CertificateDer<'_>, between: &[CertificateDer<'_>]) -> Result<(), Error> {
        let Some((read, place)) = as_no_authority(shown) else {
            return self.walk(self.algorithms, shown, between);
        };
        let signed = |algorithm: &&'static dyn SignatureVerificationAlgorithm| Signed {
            algorithm: *algorithm,
            read: &read[place.clone()],
            signed: &shown[place.clone()],
        };
        let algorithms: Vec<Signed<'_>> = self.algorithms.iter().map(signed).collect();
        let algorithms: Vec<&dyn SignatureVerificationAlgorithm> =
            algorithms.iter().map(|algorithm| algorithm as &dyn SignatureVerificationAlgorithm).collect();
        self.walk(&algorithms, &CertificateDer::from(read.as_slice()), between)
    }

    fn walk(
        &self,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        let shown = EndEntityCert::try_from(shown)?;
        let anchors = &self.roots.anchors;
        let (now, wanted) = (self.now, Use(self.shower));
        let second = |path: &VerifiedPath<'_>| self.second_look(path);
        shown.verify_for_usage(algorithms, anchors, between, now, wanted, None, Some(&second)).map(drop)
    }

    /// What Go asks of the authorities of a path that the library has found good.
    fn second_look(&self, path: &VerifiedPath<'_>) -> Result<(), Error> {
        if Issuer::read(&path.end_entity().der()).is_ok_and(|shown| shown.asks_policies) {
            return Err(Error::UnsupportedCriticalExtension);
        }
        let mut count: u32 = 0;
        for between in path.intermediate_certificates() {
            match Issuer::read(&between.der()) {
                Ok(issuer) if !issuer.signs => return Err(Error::UnknownIssuer),
                Ok(issuer) if issuer.asks_unknown || issuer.asks_policies => {
                    return Err(Error::UnsupportedCriticalExtension);
                }
                Ok(_) => {}
                Err(_) => return Err(Error::UnknownIssuer),
            }
            count += 1;
        }
        let mut roots = self.roots.anchors.iter().zip(&self.roots.issuers);
        let Some((_, root)) = roots.find(|(anchor, _)| ptr::addr_eq(*anchor, path.anchor())) else {
            return Err(Error::UnknownIssuer);
        };
        let now = i64::try_from(self.now.as_secs()).unwrap_or(i64::MAX);
        let moment = |seconds: i64| UnixTime::since_unix_epoch(Duration::from_secs(seconds.max(0).unsigned_abs()));
        match *root {
            root if !root.signs => Err(Error::UnknownIssuer),
            root if root.asks_unknown => Err(Error::UnsupportedCriticalExtension),
            root if now < root.valid.0 => {
                Err(Error::CertNotValidYet { time: self.now, not_before: moment(root.valid.0) })
            }
            root if now > root.valid.1 => Err(Error::CertExpired { time: self.now, not_after: moment(root.valid.1) }),
            root if root.most_between.is_some_and(|most| count > most) => Err(Error::PathLenConstraintViolated),
            root if !root.lets(self.shower) => Err(Use(self.shower).refused(Vec::new())),
            _ => Ok(()),
        }
    }
}
