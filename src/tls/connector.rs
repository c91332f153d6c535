//! Connections that go out.
//!
//! Invariant: a server is believed by its certificate and the name it was asked for by, unless told otherwise.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::files::{self, CertificateFiles, Roots};
use super::protocol::Protocol;
use super::reload::Reloading;
use super::verify::{Allowed, AnyServer, ServerJudge};

/// A connection that went out, decrypted.
pub type ClientStream<S> = tokio_rustls::client::TlsStream<S>;

/// Which servers are believed, and what is shown to them.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Where the certificates lie. Without authorities the system's are believed.
    pub files: CertificateFiles,
    /// Versions and suites.
    pub protocol: Protocol,
    /// Whether any server is believed.
    pub anyone: bool,
    /// Names that servers must have.
    pub allowed: Allowed,
    /// The protocols offered above.
    pub above: Vec<&'static str>,
}

/// Makes connections.
#[derive(Debug)]
pub struct Connector {
    library: Reloading<ClientConfig>,
}

impl Connector {
    /// With this trust.
    ///
    /// # Errors
    /// A file cannot be read or used; Go's words.
    pub fn new(trust: Trust) -> Result<Self, String> {
        trust.files.check()?;
        trust.allowed.check()?;
        let files = trust.files.all();
        Ok(Self { library: Reloading::new(files, move || build(&trust))? })
    }

    /// Greets the server behind a stream, which is to be `host`: a name or an address.
    ///
    /// # Errors
    /// The server is not believed, or does not believe this side; [`super::go_text`] has the words.
    pub async fn connect<S>(&self, stream: S, host: &str) -> io::Result<ClientStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let server = ServerName::try_from(bare.to_string())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{host:?} is no name of a server")))?;
        TlsConnector::from(self.library.current()).connect(server, stream).await
    }
}

fn build(trust: &Trust) -> Result<ClientConfig, String> {
    let provider = &trust.protocol.provider;
    let judge: Arc<dyn ServerCertVerifier> = if trust.anyone {
        Arc::new(AnyServer { allowed: trust.allowed.clone() })
    } else {
        Arc::new(ServerJudge::new(provider, Roots::read(&trust.files.trusted_ca)?, trust.allowed.clone()))
    };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(trust.protocol.versions)
        .map_err(|error| format!("tls: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(judge);
    let mut library = match trust.files.outgoing() {
        Some((cert, key)) => {
            let own = files::certified(provider, cert, key)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)))
        }
        None => builder.with_no_client_auth(),
    };
    library.alpn_protocols = trust.above.iter().map(|name| name.as_bytes().to_vec()).collect();
    // Every connection is judged by the authorities of its moment.
    library.resumption = rustls::client::Resumption::disabled();
    Ok(library)
}
