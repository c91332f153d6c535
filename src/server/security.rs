//! Encryption as the flags ask for it: of clients, of metrics, of peers.
//!
//! Invariants: what cannot be had (a file that is missing, a key that is another's) refuses the start, in etcd's words;
//! what is given and not used is told as a warning. Does not know how a handshake goes.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::base::limits;
use crate::env::{Handshake, Sealed, Sealing};
use crate::server::flags::Flags;
use crate::server::socket::{Listen, Listening, Place};
use crate::server::values;
use crate::tls::{
    Acceptor, Allowed, CertificateFiles, Connector, FIRST_BYTE, Protocol, Rejected, ServerTerms, Trust, go_text, make,
};

/// What the flags say of encrypted connections.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// Versions and suites.
    pub protocol: Protocol,
    /// Between clients and this server.
    pub clients: Side,
    /// Between members.
    pub peers: Side,
    /// Years that a certificate is good for that the server makes itself.
    years: u64,
}

/// One of the two.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// Where the certificates lie.
    pub files: CertificateFiles,
    /// Whether a certificate is asked for even where no authorities are named.
    pub client_cert_auth: bool,
    /// Whether the server makes its own.
    auto: bool,
    /// Whether it did: then nobody can be verified by it.
    self_made: bool,
    allowed: Allowed,
    skips_origin: bool,
    /// The name that servers must have, in place of their host's.
    server_name: Option<String>,
}

impl Side {
    fn read(flags: &Flags, before: &str) -> Result<Self, String> {
        let path = |name: &str| PathBuf::from(flags.get(&format!("{before}{name}")));
        let flag = |name: &str| {
            let name = format!("{before}{name}");
            values::boolean(flags.get(&name)).map_err(|why| format!("--{name}: {why}"))
        };
        let client = if before.is_empty() { "client-" } else { before };
        let named = |name: &str| flags.get(&format!("{client}{name}"));
        Ok(Self {
            files: CertificateFiles {
                cert: path("cert-file"),
                key: path("key-file"),
                client_cert: path("client-cert-file"),
                client_key: path("client-key-file"),
                trusted_ca: path("trusted-ca-file"),
                crl: PathBuf::from(named("crl-file")),
            },
            client_cert_auth: flag("client-cert-auth")?,
            auto: flag("auto-tls")?,
            self_made: false,
            allowed: Allowed {
                common_names: values::words(flags.get(&format!("{before}cert-allowed-cn"))),
                hosts: values::words(named("cert-allowed-hostname")),
            },
            // Of clients the file alone says it.
            skips_origin: flags.is_given(&format!("{before}skip-client-san-verification"))
                && flag("skip-client-san-verification")?,
            server_name: None,
        })
    }

    /// Whether there is nothing to encrypt with.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && !self.auto
    }

    fn make_own(&mut self, directory: &Path, hosts: &[String], years: u64, of: &str) -> Result<(), String> {
        if !self.auto {
            return Ok(());
        }
        if !self.files.is_empty() {
            tracing::warn!("ignoring {of} auto TLS since certs given");
            return Ok(());
        }
        let own =
            make(directory, hosts, years).map_err(|why| format!("failed to get {of} self-signed certs: {why}"))?;
        // As in etcd, where nothing else of the flags counts then.
        let files = CertificateFiles {
            client_cert: own.cert.clone(),
            client_key: own.key.clone(),
            cert: own.cert,
            key: own.key,
            ..CertificateFiles::default()
        };
        *self = Self { files, self_made: true, auto: true, ..Self::default() };
        Ok(())
    }

    fn acceptor(&self, protocol: &Protocol, checks_origin: bool, above: &[&'static str]) -> Result<Acceptor, String> {
        Acceptor::new(ServerTerms {
            files: self.files.clone(),
            protocol: protocol.clone(),
            client_cert_auth: self.client_cert_auth,
            allowed: self.allowed.clone(),
            checks_origin: checks_origin && !self.skips_origin,
            above: above.to_vec(),
        })
    }
}

/// Time a connection has to send its first byte.
const GREETING_TIME: Duration = Duration::from_millis(limits::GREETING_MS);

/// What clients may speak inside, the liked one first.
const CLIENTS_SPEAK: &[&str] = &["h2", "http/1.1"];

/// What peers speak inside.
const PEERS_SPEAK: &[&str] = &["http/1.1"];

impl Security {
    /// As the flags have it.
    ///
    /// # Errors
    /// etcd's text.
    pub fn read(flags: &Flags) -> Result<Self, String> {
        // Of what is given nothing is passed over: an empty name is none that is known.
        let given = flags.is_given("cipher-suites").then(|| flags.get("cipher-suites").split(','));
        let suites: Vec<String> = given.into_iter().flatten().map(str::to_string).collect();
        let protocol = Protocol::new(flags.get("tls-min-version"), flags.get("tls-max-version"), &suites)?;
        let years = values::unsigned(flags.get("self-signed-cert-validity"));
        let years = years.map_err(|why| format!("--self-signed-cert-validity: {why}"))?;
        Ok(Self { protocol, clients: Side::read(flags, "")?, peers: Side::read(flags, "peer-")?, years })
    }

    /// Members were found in a domain: without authorities of their own, they must show certificates of the domain.
    pub fn peers_are_of(&mut self, domain: &str) {
        if self.peers.files.trusted_ca.as_os_str().is_empty() {
            self.peers.server_name = Some(domain.to_owned());
        }
    }

    /// Checks that there is something to encrypt with where a URL asks for it.
    ///
    /// # Errors
    /// etcd's text.
    pub fn check(self, listening: &Listening) -> Result<Self, String> {
        let Listening { clients, http, metrics, peers } = listening;
        if let (Some(listen), true) = (peers.iter().find(|listen| listen.sealed), self.peers.is_empty()) {
            let place = &listen.place;
            return Err(format!("cannot listen on TLS for {place}: KeyFile and CertFile are not presented"));
        }
        if let (Some(listen), true) = (clients.iter().chain(http).find(|listen| listen.sealed), self.clients.is_empty())
        {
            return Err(format!(
                "TLS key/cert (--cert-file, --key-file) must be provided for client url {} with HTTPS scheme",
                listen.url
            ));
        }
        if metrics.iter().any(|listen| listen.sealed) && self.clients.is_empty() {
            let text = "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url";
            return Err(text.to_string());
        }
        Ok(self)
    }

    /// Tells of what was given and is not used.
    pub fn warn(&self, listening: &Listening) {
        for suite in &self.protocol.left_out {
            tracing::warn!(suite, "a cipher suite of --cipher-suites is not supported and left out");
        }
        for url in listening.peers.iter().filter(|listen| !listen.sealed).map(|listen| &listen.url) {
            if !self.peers.is_empty() {
                let text = "scheme is HTTP while key and cert files are present; ignoring key and cert files";
                tracing::warn!("peer-url" = url, "{text}");
            }
            if self.peers.client_cert_auth {
                let text =
                    "scheme is HTTP while --peer-client-cert-auth is enabled; ignoring client cert auth for this URL";
                tracing::warn!("peer-url" = url, "{text}");
            }
        }
        for url in
            listening.clients.iter().chain(&listening.http).filter(|listen| !listen.sealed).map(|listen| &listen.url)
        {
            if !self.clients.is_empty() {
                let text = "scheme is http or unix while key and cert files are present; ignoring key and cert files";
                tracing::warn!("client-url" = url, "{text}");
            }
            if self.clients.client_cert_auth {
                let text = "scheme is http or unix while --client-cert-auth is enabled; ignoring client cert auth for this URL";
                tracing::warn!("client-url" = url, "{text}");
            }
        }
    }

    /// Makes the certificates that the server is to make itself, in the data directory.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn make_own(&mut self, data: &Path, listening: &Listening) -> Result<(), String> {
        let hosts = |listen: &[&[Listen]]| {
            let hosts = listen.iter().copied().flatten().filter(|listen| matches!(listen.place, Place::Net(_)));
            hosts.map(|listen| listen.host.clone()).collect::<Vec<_>>()
        };
        let fixtures = data.join("fixtures");
        self.peers.make_own(&fixtures.join("peer"), &hosts(&[&listening.peers]), self.years, "peer")?;
        self.clients.make_own(
            &fixtures.join("client"),
            &hosts(&[&listening.clients, &listening.http]),
            self.years,
            "client",
        )
    }

    /// Who takes clients in, and who those that want metrics; `None` where no URL asks for it.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub fn doors(&self, listening: &Listening) -> Result<Doors, String> {
        let door =
            |listen: &[&[Listen]], checks_origin| match listen.iter().copied().flatten().any(|listen| listen.sealed) {
                true => self.clients.acceptor(&self.protocol, checks_origin, CLIENTS_SPEAK).map(|a| Some(Arc::new(a))),
                false => Ok(None),
            };
        Ok(Doors {
            clients: door(&[&listening.clients, &listening.http], false)?,
            metrics: door(&[&listening.metrics], true)?,
        })
    }

    /// What encrypts connections between members. As in etcd its files are looked at where peers speak without encryption, too:
    /// another's URL may ask for it.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub fn between_members(&self, listen: &[Listen]) -> Result<Arc<dyn Sealing>, String> {
        let acceptor = match listen.iter().any(|listen| listen.sealed) {
            true => Some(Arc::new(self.peers.acceptor(&self.protocol, true, PEERS_SPEAK)?)),
            false => None,
        };
        let trust = Trust {
            files: self.peers.files.clone(),
            protocol: self.protocol.clone(),
            anyone: self.peers.self_made,
            allowed: self.peers.allowed.clone(),
            above: PEERS_SPEAK.to_vec(),
        };
        let server_name = self.peers.server_name.clone();
        let between = BetweenMembers { acceptor, trust: trust.clone(), server_name, connector: OnceLock::new() };
        if trust.files.is_empty() {
            trust.files.check_authorities()?;
        } else {
            between.connector()?;
        }
        Ok(Arc::new(between))
    }
}

/// Who takes connections in.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Doors {
    pub clients: Option<Arc<Acceptor>>,
    pub metrics: Option<Arc<Acceptor>>,
}

/// Encrypts what members say to each other.
#[derive(Debug)]
struct BetweenMembers {
    acceptor: Option<Arc<Acceptor>>,
    trust: Trust,
    /// The name that members must have, in place of their host's.
    server_name: Option<String>,
    /// Made with the first connection where no certificate is given: others may ask for encryption at any time.
    connector: OnceLock<Result<Arc<Connector>, String>>,
}

impl BetweenMembers {
    fn connector(&self) -> Result<Arc<Connector>, String> {
        self.connector.get_or_init(|| Connector::new(self.trust.clone()).map(Arc::new)).clone()
    }
}

impl Sealing for BetweenMembers {
    fn accept(&self, stream: TcpStream, from: SocketAddr) -> Handshake {
        let acceptor = self.acceptor.clone();
        Box::pin(async move {
            let acceptor = acceptor.ok_or_else(|| io::Error::other("there are no certificates to listen with"))?;
            let mut first = [0];
            let begun = tokio::time::timeout(GREETING_TIME, stream.peek(&mut first)).await;
            let greeted = match begun {
                Ok(Ok(1)) if first[0] != FIRST_BYTE => Err(Rejected::other_protocol().left(stream)),
                Err(_) => Err(Rejected::saying("i/o timeout")),
                _ => acceptor.accept(stream, Some(from.ip())).await,
            };
            match greeted {
                Ok((stream, _)) => Ok(Box::new(stream) as Box<dyn Sealed>),
                Err(mut rejected) => {
                    tell_rejected("rejected connection on peer endpoint", &from, &rejected);
                    acceptor.part(&mut rejected).await;
                    Err(io::Error::other(rejected.text))
                }
            }
        })
    }

    fn dial(&self, stream: TcpStream, host: String) -> Handshake {
        let connector = self.connector();
        let host = self.server_name.clone().unwrap_or(host);
        Box::pin(async move {
            let stream = connector.map_err(io::Error::other)?.connect(stream, &host).await;
            let stream = stream.map_err(|error| io::Error::other(go_text(&error)))?;
            Ok(Box::new(stream) as Box<dyn Sealed>)
        })
    }
}

/// etcd's line in the log of one who was not let in.
pub fn tell_rejected(text: &'static str, from: &dyn fmt::Display, rejected: &Rejected) {
    let (server_name, error) = (&rejected.server_name, &rejected.text);
    if rejected.is_silent {
        tracing::debug!("remote-addr" = %from, "server-name" = server_name, error, "{text}");
    } else if let Some(names) = &rejected.names {
        let addresses: Vec<String> = names.addresses.iter().map(ToString::to_string).collect();
        tracing::warn!(
            "remote-addr" = %from,
            "server-name" = server_name,
            "ip-addresses" = ?addresses,
            "dns-names" = ?names.dns,
            error,
            "{text}"
        );
    } else {
        tracing::warn!("remote-addr" = %from, "server-name" = server_name, error, "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each was asked of stock etcd, with peers and clients that speak without encryption.
    #[test]
    fn files_of_peers_are_looked_at_without_encryption_too() {
        let place = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            std::fs::write(place.path().join(name), text).expect("written");
            place.path().join(name).display().to_string()
        };
        let nowhere = place.path().join("nowhere").display().to_string();
        let here = place.path().display().to_string();
        let key = file("key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
        let junk = file("junk", "junk\n");
        let gone = format!("open {nowhere}: no such file or directory");
        let started = |arguments: &[String]| {
            let flags = Flags::read(arguments.iter().cloned(), []).map_err(|_| "flags".to_string())?;
            let (security, listening) = (Security::read(&flags)?, Listening::default());
            let security = security.check(&listening)?;
            security.doors(&listening)?;
            security.between_members(&listening.peers).map(drop)
        };
        for (arguments, why) in [
            (vec![format!("--peer-trusted-ca-file={nowhere}")], Some(gone.clone())),
            (vec![format!("--peer-trusted-ca-file={here}")], Some(format!("read {here}: is a directory"))),
            (
                vec![format!("--peer-trusted-ca-file={key}")],
                Some(format!("x509: malformed certificate ({key}: there is a block \"PRIVATE KEY\")")),
            ),
            // None is no reason to end, and whatever else stands beside is not looked at.
            (vec![format!("--peer-trusted-ca-file={junk}")], None),
            (
                vec![format!("--peer-trusted-ca-file={nowhere}"), format!("--peer-client-cert-file={nowhere}")],
                Some(gone.clone()),
            ),
            (vec![format!("--peer-client-cert-file={nowhere}"), format!("--peer-crl-file={nowhere}")], None),
            (
                vec![format!("--peer-cert-file={nowhere}")],
                Some(format!("KeyFile and CertFile must both be present[key: , cert: {nowhere}]")),
            ),
            (vec![format!("--peer-cert-file={nowhere}"), format!("--peer-key-file={nowhere}")], Some(gone)),
            (
                ["trusted-ca-file", "cert-file", "client-crl-file"].map(|name| format!("--{name}={nowhere}")).into(),
                None,
            ),
        ] {
            assert_eq!(started(&arguments).err(), why, "{arguments:?}");
        }
    }
}
