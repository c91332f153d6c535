//! Connections that come in.
//!
//! Invariants: a handshake ends within its time, and there are never more at once than the bound; who is not let in is
//! told apart in words, at both ends; certificates are those that the files hold when the handshake begins. Sessions are not resumed:
//! every connection shows its certificate anew, to the authorities and the list of revoked ones of that moment.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio_rustls::StartHandshake;

use super::VerifiedClient;
use super::certificate::Names;
use super::files::{self, CertificateFiles, Roots};
use super::hello::Hello;
use super::protocol::{Clock, Protocol};
use super::reload::{Joined, Reloading};
use super::revoked::Revoked;
use super::verify::{Allowed, ClientJudge, Words};
use crate::base::{go_quoted, limits};

/// A connection that came in, decrypted.
pub type ServerStream<S> = tokio_rustls::server::TlsStream<S>;

/// On what terms connections come in.
#[derive(Clone, Debug, Default)]
pub struct ServerTerms {
    /// Where the certificates lie.
    pub files: CertificateFiles,
    /// Versions and suites.
    pub protocol: Protocol,
    /// Whether a client is who its certificate says. It must show one, too, where authorities are named; then it is only let
    /// in by it.
    pub client_cert_auth: bool,
    /// Names that clients must have.
    pub allowed: Allowed,
    /// Whether a client's certificate must be for the address it comes from.
    pub checks_origin: bool,
    /// The protocols offered above, the liked one first.
    pub above: Vec<&'static str>,
}

/// Why a connection was not let in.
#[derive(Debug)]
pub struct Rejected {
    /// In Go's words.
    pub text: String,
    /// The server that the client asked for, where it said so.
    pub server_name: String,
    /// The certificate that it showed.
    pub names: Option<Box<Names>>,
    /// It only went away.
    pub is_silent: bool,
    /// The connection, where it is open still: see [`Acceptor::part`].
    rest: Rest,
}

trait Both: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Both for S {}

#[derive(Default)]
struct Rest(Option<Box<dyn Both>>);

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "open" } else { "closed" })
    }
}

#[derive(Debug)]
struct Terms {
    library: Arc<ServerConfig>,
    protocol: Protocol,
}

/// Takes connections in.
#[derive(Debug)]
pub struct Acceptor {
    terms: JoinedTerms,
    /// Apart: whoever is revoked is, also while another file cannot be used.
    revoked: Reloading<Revoked>,
    names_clients: bool,
    checks_origin: bool,
    handshakes: Semaphore,
    partings: Semaphore,
}

/// Time for one who is not let in to read why.
const PART_WITHIN: Duration = Duration::from_millis(limits::PARTING_MS);

const HANDSHAKE_TIME: Duration = Duration::from_millis(limits::HANDSHAKE_MS);

impl Acceptor {
    /// On these terms.
    ///
    /// # Errors
    /// A file cannot be read or used; Go's words.
    pub fn new(terms: ServerTerms) -> Result<Self, String> {
        terms.files.check()?;
        terms.allowed.check()?;
        let verifies = terms.client_cert_auth || !terms.files.trusted_ca.as_os_str().is_empty();
        let crl = terms.files.crl.clone();
        let list = if crl.as_os_str().is_empty() { Vec::new() } else { vec![crl.clone()] };
        let revoked = Reloading::new(list, move || Revoked::read(&crl))?;
        let (checks_origin, names_clients) = (terms.checks_origin, terms.client_cert_auth);
        let terms = joined(terms, verifies)?;
        let [handshakes, partings] = [limits::HANDSHAKES; 2].map(Semaphore::new);
        Ok(Self { terms, revoked, names_clients, checks_origin, handshakes, partings })
    }

    /// Greets a client that connected from an address, where it has one.
    ///
    /// # Errors
    /// It is not let in.
    pub async fn accept<S>(
        &self,
        stream: S,
        from: Option<IpAddr>,
    ) -> Result<(ServerStream<S>, Option<VerifiedClient>), Rejected>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Ok(_place) = self.handshakes.try_acquire() else {
            return Err(Rejected::saying("too many handshakes at once"));
        };
        let (terms, revoked) = (self.terms.current(), self.revoked.current());
        let greeting = async {
            let (stream, server_name) = greet(&terms, stream).await?;
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let checked = self.check(&revoked, chain, from).await;
            let names = match checked {
                Ok(names) => names,
                Err(rejected) => return Err(Rejected { server_name, ..rejected }.left(stream)),
            };
            let client = names.filter(|_| self.names_clients);
            let client = client.map(|names| VerifiedClient { common_name: names.common_name.into() });
            Ok((stream, client))
        };
        tokio::time::timeout(HANDSHAKE_TIME, greeting).await.unwrap_or_else(|_| Err(Rejected::saying("i/o timeout")))
    }

    /// Closes what is left of a connection that was not let in. What its client has said lies there unread, and would take
    /// with it why it was refused: so it is read off until the client goes, for a bounded time and of a bounded number.
    pub async fn part(&self, rejected: &mut Rejected) {
        let (Some(mut rest), Ok(_place)) = (rejected.rest.0.take(), self.partings.try_acquire()) else { return };
        let parting = async {
            let _ = rest.shutdown().await;
            let mut said = [0; 512];
            while let Ok(1..) = rest.read(&mut said).await {}
        };
        let _ = tokio::time::timeout(PART_WITHIN, parting).await;
    }

    /// What etcd asks of a client's certificates when the handshake is done. Gives the client's own.
    async fn check(
        &self,
        revoked: &Revoked,
        chain: &[CertificateDer<'_>],
        from: Option<IpAddr>,
    ) -> Result<Option<Names>, Rejected> {
        let mut own = None;
        for certificate in chain {
            let names = Names::read(certificate).map_err(|why| Rejected::saying(&why))?;
            let own = own.get_or_insert(names.clone());
            revoked
                .check(&names)
                .map_err(|text| Rejected { names: Some(Box::new(own.clone())), ..Rejected::saying(&text) })?;
        }
        if let (Some(names), Some(from), true) = (&own, from, self.checks_origin) {
            let checked = comes_from(names, from).await;
            checked.map_err(|text| Rejected { names: own.clone().map(Box::new), ..Rejected::saying(&text) })?;
        }
        Ok(own)
    }
}

impl Rejected {
    /// One whose first byte is none of TLS: nothing is answered, so that a client of another protocol reads nothing odd.
    pub fn other_protocol() -> Self {
        Self::saying("tls: first record does not look like a TLS handshake")
    }

    /// With these words alone.
    pub fn saying(text: &str) -> Self {
        Self {
            text: text.to_string(),
            server_name: String::new(),
            names: None,
            is_silent: false,
            rest: Rest::default(),
        }
    }

    /// With the connection, which is open still.
    pub fn left<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(self, stream: S) -> Self {
        Self { rest: Rest(Some(Box::new(stream))), ..self }
    }

    fn by_library(error: &io::Error, hello: &Hello<'_>, server_name: String) -> Self {
        let text = hello.text(error);
        Self { is_silent: text == "EOF", server_name, names: Words::names(error), ..Self::saying(&text) }
    }
}

/// What is shown and who is believed.
type JoinedTerms = Joined<Arc<CertifiedKey>, Option<Arc<ClientJudge>>, Terms>;

/// What is shown and who is believed, each read anew for itself.
fn joined(terms: ServerTerms, verifies: bool) -> Result<JoinedTerms, String> {
    let ServerTerms { files, protocol, allowed, above, .. } = terms;
    let provider = protocol.provider.clone();
    let pair = [files.cert.clone(), files.key.clone()];
    let own = {
        let (provider, [cert, key]) = (provider.clone(), pair.clone());
        Reloading::new(pair.to_vec(), move || files::certified(&provider, &cert, &key))?
    };
    // Who connects shows it, and reads it anew; what cannot be used refuses the start.
    if let Some((cert, key)) = files.outgoing() {
        files::certified(&provider, cert, key)?;
    }
    let is_named = verifies && !files.trusted_ca.as_os_str().is_empty();
    let authorities = if is_named { vec![files.trusted_ca.clone()] } else { Vec::new() };
    let judge = Reloading::new(authorities, move || {
        let judge = || ClientJudge::new(&provider, Roots::read(&files.trusted_ca)?, allowed.clone()).map(Arc::new);
        verifies.then(judge).transpose()
    })?;
    Joined::new(own, judge, move |own, judge| build(&protocol, &above, own, judge.as_ref()))
}

fn build(
    protocol: &Protocol,
    above: &[&'static str],
    own: &Arc<CertifiedKey>,
    judge: Option<&Arc<ClientJudge>>,
) -> Result<Terms, String> {
    let builder = ServerConfig::builder_with_details(protocol.provider.clone(), Arc::new(Clock))
        .with_protocol_versions(protocol.versions)
        .map_err(|error| format!("tls: {error}"))?;
    let builder = match judge {
        Some(judge) => builder.with_client_cert_verifier(judge.clone()),
        None => builder.with_no_client_auth(),
    };
    let mut library = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(own.clone())));
    library.alpn_protocols = above.iter().map(|name| name.as_bytes().to_vec()).collect();
    library.session_storage = Arc::new(NoServerSessionStorage {});
    library.send_tls13_tickets = 0;
    Ok(Terms { library: Arc::new(library), protocol: protocol.clone() })
}

async fn greet<S>(terms: &Terms, mut stream: S) -> Result<(ServerStream<S>, String), Rejected>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut hello = Hello::new(&terms.protocol);
    let begun = match hello.read(&mut stream).await {
        Ok(accepted) => StartHandshake::from_parts(accepted, stream),
        Err(error) => return Err(Rejected::by_library(&error, &hello, String::new()).left(stream)),
    };
    let server_name = begun.client_hello().server_name().unwrap_or_default().to_string();
    match begun.into_stream(terms.library.clone()).into_fallible().await {
        Ok(stream) => Ok((stream, server_name)),
        Err((error, stream)) => Err(Rejected::by_library(&error, &hello, server_name).left(stream)),
    }
}

/// Whether a client's certificate is for the address it comes from, where it names addresses or hosts at all.
async fn comes_from(names: &Names, from: IpAddr) -> Result<(), String> {
    let from = from.to_canonical();
    if names.dns.is_empty() && names.addresses.is_empty() {
        return Ok(());
    }
    if !names.addresses.is_empty() {
        match names.verify_host(&from.to_string()) {
            Ok(()) => return Ok(()),
            Err(why) if names.dns.is_empty() => return Err(why),
            Err(_) => {}
        }
    }
    let dns: Vec<String> = names.dns.iter().map(go_quoted).collect();
    let mismatch = format!("tls: \"{from}\" does not match any of DNSNames [{}]", dns.join(" "));
    let found = lookup::is_one_of(from, &names.dns).await;
    match found {
        Ok(true) => Ok(()),
        Ok(false) => Err(mismatch),
        Err(why) => Err(format!("{mismatch} ({why})")),
    }
}

mod lookup {
    //! Asking the system for names and addresses, as etcd does: backwards first, then forwards.

    use std::net::IpAddr;

    /// Whether an address belongs to one of these names; `*.` stands for anything before.
    pub(super) async fn is_one_of(address: IpAddr, names: &[String]) -> Result<bool, String> {
        let owners = backwards(address).await;
        let (wild, plain): (Vec<&String>, Vec<&String>) = names.iter().partition(|name| name.starts_with("*."));
        for owner in owners.iter().flatten() {
            let owner = owner.strip_suffix('.').unwrap_or(owner);
            if wild.iter().any(|name| owner.ends_with(&name[1..])) || plain.iter().any(|name| name.as_str() == owner) {
                return Ok(true);
            }
        }
        let mut failed = owners.err();
        for name in plain {
            match tokio::net::lookup_host((name.as_str(), 0)).await {
                Ok(mut found) => {
                    if found.any(|found| found.ip().to_canonical() == address) {
                        return Ok(true);
                    }
                }
                Err(_) => failed = Some(format!("lookup {name}: no such host")),
            }
        }
        failed.map_or(Ok(false), Err)
    }

    #[cfg(feature = "server")]
    async fn backwards(address: IpAddr) -> Result<Vec<String>, String> {
        let asked = tokio::task::spawn_blocking(move || dns_lookup::lookup_addr(&address)).await;
        match asked {
            // What has no name is answered with its address.
            Ok(Ok(name)) if name.parse::<IpAddr>().is_ok() => Ok(Vec::new()),
            Ok(Ok(name)) => Ok(vec![name]),
            Ok(Err(error)) => Err(format!("lookup {address}: {error}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[cfg(not(feature = "server"))]
    async fn backwards(_: IpAddr) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}
