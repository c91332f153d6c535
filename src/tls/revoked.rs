//! A list of certificates that were revoked.
//!
//! As in etcd a serial number on the list is refused whoever signed it, and neither the list's signature nor its age is
//! looked at: who may write the file decides.

use std::path::Path;

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::certificate::{Names, trimmed};
use super::files;

/// Serial numbers that are refused, sorted.
#[derive(Debug, Default)]
pub(super) struct Revoked(Vec<Vec<u8>>);

impl Revoked {
    /// Reads a list, as bytes (which alone etcd takes) or in PEM; an empty path is an empty list.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        if path.as_os_str().is_empty() {
            return Ok(Self::default());
        }
        let bytes = files::read(path)?;
        let der = CertificateRevocationListDer::from_pem_slice(&bytes).map_or(bytes, |list| list.to_vec());
        let (_, list) = CertificateRevocationList::from_der(&der)
            .map_err(|error| format!("x509: malformed crl ({}: {error})", path.display()))?;
        let mut serials: Vec<Vec<u8>> =
            list.iter_revoked_certificates().map(|revoked| trimmed(revoked.raw_serial()).to_vec()).collect();
        serials.sort();
        Ok(Self(serials))
    }

    /// Refuses certificates of the list; any of a chain.
    ///
    /// # Errors
    /// etcd's text.
    pub(super) fn check(&self, names: &Names) -> Result<(), String> {
        if self.0.binary_search(&names.serial).is_err() {
            return Ok(());
        }
        let serial: String = names.serial.iter().map(|byte| format!("{byte:02x}")).collect();
        Err(format!("transport: certificate serial {serial} revoked"))
    }
}
