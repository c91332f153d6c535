//! What a client says first, kept until it is let in or not.
//!
//! The library tells what it did not like and not what was offered, which is what helps whoever looks after the client.
//! It is read here once more, for the library shows no versions of a greeting that it takes, and nothing at all of one that it
//! refuses before it has seen the terms. Invariant: a bounded part is kept; of a greeting that cannot be read, or is longer,
//! nothing is told.

use std::io;

use rustls::server::{Accepted, Acceptor};
use rustls::{Error, PeerIncompatible};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::go_text::go_text;
use super::protocol::Protocol;
use crate::base::go_quoted;

/// Read at once, and kept at most.
const CHUNK_BYTES: usize = 4_096;

const TLS_1_2: u16 = 0x0303;
const TLS_1_3: u16 = 0x0304;

/// A fatal alert: the version of the protocol.
const VERSION_ALERT: [u8; 7] = [0x15, 3, 1, 0, 2, 2, 70];

/// A fatal alert: an extension is missing.
const MISSING_ALERT: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 109];

/// What was said, as it came, and what is spoken here.
#[derive(Debug)]
pub(super) struct Hello<'a> {
    said: Vec<u8>,
    protocol: &'a Protocol,
}

/// What a client offers.
#[derive(PartialEq, Eq, Debug)]
struct Offer {
    versions: Vec<u16>,
    suites: Vec<u16>,
    protocols: Vec<Vec<u8>>,
}

impl<'a> Hello<'a> {
    /// Of a client that has said nothing yet.
    pub(super) fn new(protocol: &'a Protocol) -> Self {
        Self { said: Vec::new(), protocol }
    }

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
            self.said.extend_from_slice(&rest[..length.min(CHUNK_BYTES - self.said.len())]);
            while !rest.is_empty() && acceptor.read_tls(&mut rest)? > 0 {}
            match acceptor.accept() {
                Ok(Some(accepted)) => return Ok(accepted),
                Ok(None) => {}
                Err((error, mut alert)) => {
                    let mut told = Vec::new();
                    match self.alert(&error) {
                        Some(alert) => told.extend(alert),
                        None => alert.write_all(&mut told)?,
                    }
                    // Whoever has gone away need not be told.
                    let _ = stream.write_all(&told).await;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }

    /// Go's alert, where the library sends another: it judges before it knows the version.
    fn alert(&self, error: &Error) -> Option<[u8; 7]> {
        let Error::PeerIncompatible(why) = error else { return None };
        let offer = self.offer()?;
        match self.protocol.latest_of(&offer.versions) {
            None => Some(VERSION_ALERT),
            Some(version) if self.lacks(why, &offer, version) && version == TLS_1_3 => Some(MISSING_ALERT),
            Some(_) => None,
        }
    }

    /// Whether only the list of signatures is missing. Go looks at the suites before it.
    fn lacks(&self, why: &PeerIncompatible, offer: &Offer, version: u16) -> bool {
        *why == PeerIncompatible::SignatureAlgorithmsExtensionRequired
            && self.protocol.has_suite_of(version, &offer.suites)
    }

    /// Why the client was not let in, in Go's words, with what it offered.
    pub(super) fn text(&self, error: &io::Error) -> String {
        let text = go_text(error);
        let library = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let (Some(library), Some(offer)) = (library, self.offer()) else { return text };
        let why = match library {
            Error::PeerIncompatible(why) => why,
            Error::NoApplicationProtocol => {
                let protocols: Vec<String> = offer.protocols.iter().map(go_quoted).collect();
                return format!("{text} ([{}])", protocols.join(" "));
            }
            _ => return text,
        };
        let Some(version) = self.protocol.latest_of(&offer.versions) else {
            return format!("tls: client offered only unsupported versions: {}", in_hex(&offer.versions));
        };
        match why {
            why if self.lacks(why, &offer, version) && version == TLS_1_3 => {
                "local error: tls: missing extension".to_string()
            }
            why if self.lacks(why, &offer, version) => {
                "tls: missing signature_algorithms from TLS 1.2 peer".to_string()
            }
            PeerIncompatible::NoKxGroupsInCommon if version == TLS_1_3 => text,
            // Before 1.3 the exchange of keys is a part of the suite.
            PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired => {
                let text = "tls: no cipher suite supported by both client and server; client offered";
                format!("{text}: {}", in_hex(&offer.suites))
            }
            _ => text,
        }
    }

    /// What is offered, where all of it came in one record.
    fn offer(&self) -> Option<Offer> {
        let mut record = Cursor(&self.said);
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
                        offer.protocols.push(name.0.to_vec());
                    }
                }
                _ => {}
            }
        }
        if offer.versions.is_empty() {
            // As Go reads a client that names the latest alone: 1.3 is never meant by it.
            offer.versions = (0x0301..=TLS_1_2).rev().filter(|version| *version <= latest).collect();
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

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::super::{Acceptor, CertificateFiles, ServerTerms, make};
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
            protocols: vec![b"h2".to_vec(), b"foo".to_vec()],
        };
        let protocol = Protocol::default();
        let read = |said: &[u8]| Hello { said: said.to_vec(), protocol: &protocol }.offer();
        assert_eq!(read(&said), Some(offer));
        for (latest, versions) in [(0x0300, "[]"), (0x0302, "[302 301]"), (0x0304, "[303 302 301]")] {
            let old = read(&greeting(latest, &[0, 0x9c], &[])).expect("read");
            assert_eq!(in_hex(&old.versions), versions);
        }
        for cut in 0..said.len() {
            assert_eq!(read(&said[..cut]), None, "{cut}");
        }
        assert_eq!(read(b"GET / HTTP/1.1\r\n\r\n"), None);
    }

    fn extension(kind: u8, of: &[u8]) -> Vec<u8> {
        [&[0, kind][..], &list(2, of)].concat()
    }

    const BOTH: &[u8] = &[4, 3, 4, 3, 3];
    const ONLY_1_2: &[u8] = &[2, 3, 3];
    const ONLY_1_3: &[u8] = &[2, 3, 4];
    /// The first suite of 1.3, and two of 1.2 by the kind of the key.
    const SUITES: &[u8] = &[0x13, 1, 0xc0, 0x2b, 0xc0, 0x2f];
    const X25519: &[u8] = &[0, 0x1d];
    const NO_GROUP: &[u8] = &[1, 0x9f];
    const P256: &[u8] = &[4, 3];
    const PSS: &[u8] = &[8, 4];
    const SHA1: &[u8] = &[2, 3];
    /// The library finds out late, and says so in a word of its own.
    const ED25519: &[u8] = &[8, 7];

    /// With versions, groups, signatures and protocols, each where it is not empty.
    fn offering(suites: &[u8], [versions, groups, signatures, protocols]: [&[u8]; 4]) -> Vec<u8> {
        let share = list(2, &[X25519, &list(2, &[&[9][..], &[0; 31]].concat())].concat());
        let extensions = [
            (43, versions.to_vec()),
            (10, list(2, groups)),
            (13, list(2, signatures)),
            (16, list(2, protocols)),
            (51, if versions.is_empty() { Vec::new() } else { share }),
        ];
        let given = extensions.into_iter().filter(|(_, of)| !of.is_empty() && of != &[0, 0]);
        let given: Vec<u8> = given.flat_map(|(kind, of)| extension(kind, &of)).collect();
        greeting(0x0303, suites, &list(2, &given))
    }

    /// The text and the last alert of a server of these versions for one who says this.
    async fn refused(versions: [&str; 2], said: &[u8]) -> (String, Option<u8>) {
        let directory = tempfile::tempdir().expect("a directory");
        let made = make(directory.path(), &["localhost".to_string()], 1).expect("made");
        let files = CertificateFiles { cert: made.cert, key: made.key, ..CertificateFiles::default() };
        let protocol = Protocol::new(versions[0], versions[1], &[]).expect("versions");
        let terms = ServerTerms { files, protocol, above: vec!["h2"], ..ServerTerms::default() };
        let acceptor = Acceptor::new(terms).expect("good certificates");
        let (mut near, far) = tokio::io::duplex(1 << 14);
        near.write_all(said).await.expect("written");
        let rejected = acceptor.accept(far, None).await.expect_err("refused");
        let text = rejected.text.clone();
        drop(rejected);
        let mut told = Vec::new();
        near.read_to_end(&mut told).await.expect("told");
        (text, if told.first() == Some(&0x15) { told.last().copied() } else { None })
    }

    /// Least and most of the server's versions, what is offered, the text, and the alert.
    type Case<'a> = ([&'a str; 2], &'a [u8], [&'a [u8]; 4], String, Option<u8>);

    /// Each was said to stock etcd with a key on P-256, which logged this text. The alert is its, too, where neither of
    /// the two had answered before.
    #[tokio::test]
    async fn who_is_refused_is_told_apart_in_gos_words() {
        const LACKS: &str = "tls: missing signature_algorithms from TLS 1.2 peer";
        const MISSING: &str = "local error: tls: missing extension";
        const SIGNATURE: &str = "tls: peer doesn't support any of the certificate's signature algorithms";
        const EXCHANGE: &str = "tls: no key exchanges supported by both client and server";
        let none = |of: &str| format!("tls: no cipher suite supported by both client and server; client offered: {of}");
        let unsupported = |of: &str| format!("tls: client offered only unsupported versions: {of}");
        let protocols = |of: &str| format!("tls: client requested unsupported application protocols ({of})");
        let (all, new, old) = (["", ""], ["TLS1.3", ""], ["", "TLS1.2"]);
        let spaced = list(1, b"bar baz");
        let offered = "[1301 c02b c02f]";
        let names = [&list(1, b"foo")[..], &list(1, b"a\"\x00\n\xff\xc3\xa9"), &list(1, b"\xe2\x80\x8b")].concat();
        let plain: [&[u8]; 4] = [BOTH, X25519, P256, &[]];
        let [_, groups, signatures, _] = plain;
        let cases: [Case<'_>; 26] = [
            (all, SUITES, [BOTH, groups, &[], &[]], MISSING.to_string(), Some(109)),
            (new, SUITES, [ONLY_1_3, groups, &[], &[]], MISSING.to_string(), Some(109)),
            (all, SUITES, [ONLY_1_2, groups, &[], &[]], LACKS.to_string(), Some(40)),
            (all, SUITES, [&[], groups, &[], &[]], LACKS.to_string(), Some(40)),
            (old, SUITES, [BOTH, groups, &[], &[]], LACKS.to_string(), Some(40)),
            (all, &[0, 0x9c, 0, 0x2f], [&[], groups, &[], &[]], none("[9c 2f]"), Some(40)),
            (all, &[0, 0x9c], [BOTH, groups, &[], &[]], none("[9c]"), Some(40)),
            (new, SUITES, [ONLY_1_2, groups, &[], &[]], unsupported("[303]"), Some(70)),
            (old, SUITES, [ONLY_1_3, groups, &[], &[]], unsupported("[304]"), Some(70)),
            (old, SUITES, [ONLY_1_3, groups, signatures, &[]], unsupported("[304]"), Some(70)),
            (new, SUITES, [&[], groups, signatures, &[]], unsupported("[303 302 301]"), Some(70)),
            (all, SUITES, [&[4, 0x7a, 0x7a, 3, 2], groups, &[], &[]], unsupported("[7a7a 302]"), Some(70)),
            (all, SUITES, [&[4, 0x7a, 0x7a, 3, 2], groups, signatures, &[]], unsupported("[7a7a 302]"), Some(70)),
            (all, &[0, 0x9c, 0, 0x35], plain, none("[9c 35]"), Some(40)),
            (all, &[0, 0x9c, 0, 0x35], [&[], groups, signatures, &[]], none("[9c 35]"), Some(40)),
            (all, &[0xc0, 0x2f], [&[], groups, signatures, &[]], none("[c02f]"), Some(40)),
            (all, SUITES, [BOTH, NO_GROUP, signatures, &[]], EXCHANGE.to_string(), Some(40)),
            (new, SUITES, [BOTH, NO_GROUP, signatures, &[]], EXCHANGE.to_string(), Some(40)),
            (all, SUITES, [&[], NO_GROUP, signatures, &[]], none(offered), Some(40)),
            (old, SUITES, [BOTH, NO_GROUP, signatures, &[]], none(offered), Some(40)),
            (all, SUITES, [BOTH, groups, PSS, &[]], SIGNATURE.to_string(), None),
            (all, SUITES, [&[], groups, PSS, &[]], SIGNATURE.to_string(), Some(40)),
            (all, SUITES, [&[], groups, SHA1, &[]], SIGNATURE.to_string(), Some(40)),
            (all, SUITES, [&[], groups, ED25519, &[]], SIGNATURE.to_string(), None),
            (all, SUITES, [BOTH, groups, signatures, &names], protocols(r#"["foo" "a\"\x00\n\xffé" "\u200b"]"#), None),
            (old, SUITES, [&[], groups, signatures, &spaced], protocols(r#"["bar baz"]"#), Some(120)),
        ];
        for (number, (versions, suites, with, text, alert)) in cases.into_iter().enumerate() {
            assert_eq!(refused(versions, &offering(suites, with)).await, (text, alert), "{number}");
        }
    }

    #[tokio::test]
    async fn a_client_of_an_old_version_is_told_so() {
        let protocol = Protocol::default();
        let (mut near, mut far) = tokio::io::duplex(1 << 12);
        near.write_all(&greeting(0x0302, &[0, 0x9c], &[])).await.expect("written");
        let mut hello = Hello::new(&protocol);
        let error = hello.read(&mut far).await.expect_err("too old");
        assert_eq!(hello.text(&error), "tls: client offered only unsupported versions: [302 301]");
        drop(far);
        let mut told = Vec::new();
        near.read_to_end(&mut told).await.expect("told");
        assert_eq!(told, VERSION_ALERT);
    }
}
