//! What a client says first, kept until it is let in or not.
//!
//! The library tells what it did not like and not what was offered, which is what helps whoever looks after the client.
//! Invariant: a bounded part is kept; of a greeting that cannot be read, or is longer, nothing is told.

use std::io;

use rustls::server::{Accepted, Acceptor};
use rustls::{Error, PeerIncompatible};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::go_text::go_text;

/// Read at once, and kept at most.
const CHUNK_BYTES: usize = 4_096;

const TLS_1_2: u16 = 0x0303;
const TLS_1_3: u16 = 0x0304;

/// A fatal alert: the version of the protocol.
const VERSION_ALERT: [u8; 7] = [0x15, 3, 1, 0, 2, 2, 70];

/// What was said, as it came.
#[derive(Debug, Default)]
pub(super) struct Hello(Vec<u8>);

/// What a client offers.
#[derive(PartialEq, Eq, Debug)]
struct Offer {
    versions: Vec<u16>,
    suites: Vec<u16>,
    protocols: Vec<String>,
}

impl Offer {
    fn is_too_old(&self) -> bool {
        self.versions.iter().all(|version| *version < TLS_1_2)
    }
}

impl Hello {
    /// Reads a greeting, and answers one that cannot be taken.
    ///
    /// # Errors
    /// It is none, or the connection broke.
    pub(super) async fn read<S>(&mut self, stream: &mut S) -> io::Result<Accepted>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut acceptor, mut chunk) = (Acceptor::default(), vec![0; CHUNK_BYTES]);
        loop {
            let length = stream.read(&mut chunk).await?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut rest = &chunk[..length];
            self.0.extend_from_slice(&rest[..length.min(CHUNK_BYTES - self.0.len())]);
            while !rest.is_empty() && acceptor.read_tls(&mut rest)? > 0 {}
            match acceptor.accept() {
                Ok(Some(accepted)) => return Ok(accepted),
                Ok(None) => {}
                Err((error, mut alert)) => {
                    let mut told = Vec::new();
                    if self.offer().is_some_and(|offer| offer.is_too_old()) {
                        // The library's says nothing of versions.
                        told.extend(VERSION_ALERT);
                    } else {
                        alert.write_all(&mut told)?;
                    }
                    // Whoever has gone away need not be told.
                    let _ = stream.write_all(&told).await;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }

    /// Why the client was not let in, in Go's words, with what it offered.
    pub(super) fn text(&self, error: &io::Error) -> String {
        let text = go_text(error);
        let library = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let (Some(library), Some(offer)) = (library, self.offer()) else { return text };
        let no_suite = || {
            let text = "tls: no cipher suite supported by both client and server; client offered";
            format!("{text}: {}", in_hex(&offer.suites))
        };
        match library {
            Error::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired) if !offer.is_too_old() => {
                "tls: peer doesn't support any of the certificate's signature algorithms".to_string()
            }
            Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            ) => format!("{text}: {}", in_hex(&offer.versions)),
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => no_suite(),
            // Before 1.3 the exchange of keys is a part of the suite.
            Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) if !offer.versions.contains(&TLS_1_3) => {
                no_suite()
            }
            Error::NoApplicationProtocol => {
                let protocols: Vec<String> = offer.protocols.iter().map(|name| format!("{name:?}")).collect();
                format!("{text} ([{}])", protocols.join(" "))
            }
            _ => text,
        }
    }

    /// What is offered, where all of it came in one record.
    fn offer(&self) -> Option<Offer> {
        let mut record = Cursor(&self.0);
        record.take(3).filter(|head| head[0] == super::FIRST_BYTE)?;
        let mut message = record.list(2)?;
        message.take(1).filter(|kind| kind[0] == 1)?;
        let mut hello = message.list(3)?;
        let latest = hello.number()?;
        hello.take(32)?;
        hello.list(1)?;
        let suites = hello.list(2)?.numbers();
        hello.list(1)?;
        let mut offer = Offer { versions: Vec::new(), suites, protocols: Vec::new() };
        let mut extensions = hello.list(2).unwrap_or_default();
        while let Some(kind) = extensions.number() {
            let mut extension = extensions.list(2)?;
            match kind {
                43 => offer.versions = extension.list(1)?.numbers(),
                16 => {
                    let mut names = extension.list(2)?;
                    while let Some(name) = names.list(1) {
                        offer.protocols.push(String::from_utf8_lossy(name.0).into_owned());
                    }
                }
                _ => {}
            }
        }
        if offer.versions.is_empty() {
            // As Go reads a client that names the latest alone.
            offer.versions = (0x0301..=TLS_1_3).rev().filter(|version| *version <= latest).collect();
        }
        Some(offer)
    }
}

/// Numbers as Go writes them by sixteen.
fn in_hex(numbers: &[u16]) -> String {
    let numbers: Vec<String> = numbers.iter().map(|number| format!("{number:x}")).collect();
    format!("[{}]", numbers.join(" "))
}

/// Bytes that are taken one after the other.
#[derive(Clone, Copy, Default)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// What follows its own length, which is a number of so many bytes.
    fn list(&mut self, bytes: usize) -> Option<Cursor<'a>> {
        let length = self.take(bytes)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        self.take(length).map(Cursor)
    }

    fn numbers(mut self) -> Vec<u16> {
        std::iter::from_fn(|| self.number()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After its own length.
    fn list(bytes: usize, of: &[u8]) -> Vec<u8> {
        [&of.len().to_be_bytes()[size_of::<usize>() - bytes..], of].concat()
    }

    fn greeting(latest: u16, suites: &[u8], extensions: &[u8]) -> Vec<u8> {
        let version = latest.to_be_bytes();
        let hello = [&version[..], &[7; 32], &[0], &list(2, suites), &list(1, &[0]), extensions].concat();
        [&[super::super::FIRST_BYTE, 3, 1][..], &list(2, &[&[1][..], &list(3, &hello)].concat())].concat()
    }

    #[test]
    fn what_a_client_offers_is_read() {
        let versions = [&[0, 43][..], &list(2, &list(1, &[3, 4, 3, 3]))].concat();
        let protocols = [&[0, 16][..], &list(2, &list(2, b"\x02h2\x03foo"))].concat();
        let unknown = [&[0x7a, 0x7a][..], &list(2, b"xyz")].concat();
        let said = greeting(0x0303, &[0x13, 1, 0, 0x9c], &list(2, &[unknown, versions, protocols].concat()));
        let offer = Offer {
            versions: vec![0x0304, 0x0303],
            suites: vec![0x1301, 0x9c],
            protocols: vec!["h2".to_string(), "foo".to_string()],
        };
        assert_eq!(Hello(said.clone()).offer(), Some(offer));
        let old = Hello(greeting(0x0302, &[0, 0x9c], &[])).offer().expect("read");
        assert_eq!((in_hex(&old.versions).as_str(), old.is_too_old()), ("[302 301]", true));
        for cut in 0..said.len() {
            assert_eq!(Hello(said[..cut].to_vec()).offer(), None, "{cut}");
        }
        assert_eq!(Hello(b"GET / HTTP/1.1\r\n\r\n".to_vec()).offer(), None);
    }

    #[tokio::test]
    async fn a_client_of_an_old_version_is_told_so() {
        let (mut near, mut far) = tokio::io::duplex(1 << 12);
        near.write_all(&greeting(0x0302, &[0, 0x9c], &[])).await.expect("written");
        let mut hello = Hello::default();
        let error = hello.read(&mut far).await.expect_err("too old");
        assert_eq!(hello.text(&error), "tls: client offered only unsupported versions: [302 301]");
        drop(far);
        let mut told = Vec::new();
        near.read_to_end(&mut told).await.expect("told");
        assert_eq!(told, VERSION_ALERT);
    }
}
