//! Certificates that a server makes for itself (`--auto-tls`): anyone may read what is sent, nobody who only listens can.
//!
//! As etcd's: in the data directory under `fixtures`, kept for the next start, signed by themselves, for the hosts that are
//! listened at. The key is P-256, where etcd takes P-521, which the cryptography here does not have.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

/// Where a certificate and its key were put.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct AutoCertificate {
    pub cert: PathBuf,
    pub key: PathBuf,
}

const DAYS_A_YEAR: u64 = 365;

/// From the beginning of 1970 to the end of 9999, the last year that a certificate can name.
const LAST_MOMENT: Duration = Duration::from_secs(253_402_300_800);

/// The certificate in a directory, made where there is none, for `hosts` and so many years.
///
/// # Errors
/// It cannot be made or written.
pub fn make(directory: &Path, hosts: &[String], years: u64) -> Result<AutoCertificate, String> {
    if years == 0 {
        return Err("selfSignedCertValidity is invalid,it should be greater than 0".to_string());
    }
    let made = AutoCertificate { cert: directory.join("cert.pem"), key: directory.join("key.pem") };
    if made.cert.exists() && made.key.exists() {
        return Ok(made);
    }
    let wrong = |error: &dyn std::fmt::Display| format!("cannot make a certificate: {error}");
    let now = SystemTime::now();
    let seconds = years.checked_mul(DAYS_A_YEAR * 86_400).map(Duration::from_secs);
    let end =
        seconds.and_then(|seconds| now.checked_add(seconds)).filter(|end| *end < SystemTime::UNIX_EPOCH + LAST_MOMENT);
    let end = end.ok_or_else(|| format!("--self-signed-cert-validity={years} is too long"))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "etcd");
    params.not_before = now.into();
    params.not_after = end.into();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    for host in hosts {
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.as_str().try_into().map_err(|error| wrong(&error))?),
        });
    }
    let key = KeyPair::generate().map_err(|error| wrong(&error))?;
    let certificate = params.self_signed(&key).map_err(|error| wrong(&error))?;
    tracing::warn!(years, "automatically generate certificates");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| wrong(&error))?;
    write(&made.cert, 0o644, &certificate.pem()).map_err(|error| wrong(&error))?;
    tracing::info!(path = %made.cert.display(), "created cert file");
    write(&made.key, 0o600, &key.serialize_pem()).map_err(|error| wrong(&error))?;
    tracing::info!(path = %made.key.display(), "created key file");
    Ok(made)
}

fn write(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())
}
