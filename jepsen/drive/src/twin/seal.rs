//! Certificates of a run over TLS: an authority, both servers, and the twin's own, which servers ask for.
//!
//! The name in the twin's is no user's: where users are asked for, who shows no token is by it somebody without rights.

use std::path::{Path, PathBuf};

use quorate::client::TlsOptions;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::process::Trouble;

/// Where the certificates of one run lie.
#[derive(Debug)]
pub(super) struct Seal {
    directory: PathBuf,
}

impl Seal {
    /// Makes them in a new directory below `home`.
    pub(super) fn make(home: &Path) -> Result<Self, Trouble> {
        let seal = Self { directory: home.join("certificates") };
        std::fs::create_dir(&seal.directory)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "the twin's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        std::fs::write(seal.path("ca.crt"), authority.pem())?;
        for name in ["server", "twin"] {
            let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
            params.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate()?;
            std::fs::write(seal.path(&format!("{name}.crt")), params.signed_by(&key, &authority)?.pem())?;
            std::fs::write(seal.path(&format!("{name}.key")), key.serialize_pem())?;
        }
        Ok(seal)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// For both servers.
    pub(super) fn flags(&self) -> Vec<String> {
        let file = |flag: &str, name: &str| format!("--{flag}={}", self.path(name).display());
        vec![
            file("cert-file", "server.crt"),
            file("key-file", "server.key"),
            file("trusted-ca-file", "ca.crt"),
            "--client-cert-auth".to_owned(),
        ]
    }

    /// What the twin shows them, and believes.
    pub(super) fn shown(&self) -> TlsOptions {
        TlsOptions {
            cacert: self.path("ca.crt"),
            cert: self.path("twin.crt"),
            key: self.path("twin.key"),
            ..TlsOptions::default()
        }
    }
}
