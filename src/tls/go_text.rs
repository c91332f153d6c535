//! What the library says of a failed handshake, in the words of Go's, which people search their logs for.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// A failed handshake in Go's words.
pub fn go_text(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "EOF".to_string();
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => of_library(error),
        None => match error.kind() {
            io::ErrorKind::ConnectionReset => "read: connection reset by peer".to_string(),
            io::ErrorKind::BrokenPipe => "write: broken pipe".to_string(),
            io::ErrorKind::TimedOut => "i/o timeout".to_string(),
            _ => error.to_string(),
        },
    }
}

pub(super) fn of_library(error: &Error) -> String {
    match error {
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::InvalidEmptyPayload,
        ) => "tls: first record does not look like a TLS handshake".to_string(),
        Error::NoCertificatesPresented => "tls: client didn't provide a certificate".to_string(),
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::AlertReceived(alert) => format!("remote error: tls: {}", of_alert(*alert)),
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => "tls: client offered only unsupported versions".to_string(),
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            "tls: no cipher suite supported by both client and server".to_string()
        }
        Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) => {
            "tls: no key exchanges supported by both client and server".to_string()
        }
        // Go's words depend on the version; these are true of each that needs the extension.
        Error::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired) => {
            "local error: tls: missing extension".to_string()
        }
        Error::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon) => no_signature(),
        // The library's word for the same before version 1.3.
        Error::General(why) if why == "incompatible signing key" => no_signature(),
        Error::NoApplicationProtocol => "tls: client requested unsupported application protocols".to_string(),
        Error::PeerSentOversizedRecord => "tls: oversized record received".to_string(),
        error => format!("tls: {error}"),
    }
}

fn no_signature() -> String {
    "tls: peer doesn't support any of the certificate's signature algorithms".to_string()
}

fn of_certificate(error: &CertificateError) -> String {
    let why = match error {
        // Words of ours stand alone, as etcd's own do.
        CertificateError::Other(other) if other.0.is::<super::verify::Words>() => return other.0.to_string(),
        CertificateError::Expired | CertificateError::NotValidYet => {
            "certificate has expired or is not yet valid".to_string()
        }
        CertificateError::ExpiredContext { time, not_after } => format!(
            "certificate has expired or is not yet valid: current time {} is after {}",
            moment(time.as_secs()),
            moment(not_after.as_secs())
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "certificate has expired or is not yet valid: current time {} is before {}",
            moment(time.as_secs()),
            moment(not_before.as_secs())
        ),
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_string(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate specifies an incompatible key usage".to_string()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let host = expected.to_str();
            match presented.len() {
                0 => format!("certificate is not valid for any names, but wanted to match {host}"),
                _ => format!(
                    "certificate is valid for {}, not {host}",
                    presented.iter().map(|name| bare(name)).collect::<Vec<_>>().join(", ")
                ),
            }
        }
        CertificateError::Other(other) => other.0.to_string(),
        error => error.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

/// A name without the kind that the library puts around it, as in `DnsName("a")`.
fn bare(name: &str) -> &str {
    name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).map_or(name, |name| name.trim_matches('"'))
}

/// A moment as Go writes it.
fn moment(seconds: u64) -> String {
    let (year, month, day) = crate::base::calendar_day(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn of_alert(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CloseNotify => "close notify",
        AlertDescription::UnexpectedMessage => "unexpected message",
        AlertDescription::BadRecordMac => "bad record MAC",
        AlertDescription::HandshakeFailure => "handshake failure",
        AlertDescription::BadCertificate => "bad certificate",
        AlertDescription::UnsupportedCertificate => "unsupported certificate",
        AlertDescription::CertificateRevoked => "revoked certificate",
        AlertDescription::CertificateExpired => "expired certificate",
        AlertDescription::CertificateUnknown => "unknown certificate",
        AlertDescription::IllegalParameter => "illegal parameter",
        AlertDescription::UnknownCA => "unknown certificate authority",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::DecodeError => "error decoding message",
        AlertDescription::DecryptError => "error decrypting message",
        AlertDescription::ProtocolVersion => "protocol version not supported",
        AlertDescription::InsufficientSecurity => "insufficient security level",
        AlertDescription::InternalError => "internal error",
        AlertDescription::UserCanceled => "user canceled",
        AlertDescription::CertificateRequired => "certificate required",
        AlertDescription::NoApplicationProtocol => "no application protocol",
        _ => "unknown alert",
    }
}
