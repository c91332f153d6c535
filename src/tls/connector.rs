//! Connections that go out.
//!
//! Invariant: a server is believed by its certificate and the name it was asked for by, unless told otherwise.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::files::{self, CertificateFiles, Roots};
use super::protocol::{Clock, Protocol};
use super::reload::{Joined, Reloading};
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
    library: Joined<Option<Arc<CertifiedKey>>, Arc<dyn ServerCertVerifier>, ClientConfig>,
}

impl Connector {
    /// With this trust.
    ///
    /// # Errors
    /// A file cannot be read or used; Go's words.
    pub fn new(trust: Trust) -> Result<Self, String> {
        trust.files.check()?;
        trust.allowed.check()?;
        let Trust { files, protocol, anyone, allowed, above } = trust;
        let provider = protocol.provider.clone();
        let named = |path: &Path| Some(path.to_path_buf()).filter(|path| !path.as_os_str().is_empty());
        let authorities = named(&files.trusted_ca);
        if let Some(named) = authorities.as_ref().filter(|_| anyone) {
            // Nobody is judged by them; that they cannot be read is told all the same.
            Roots::read(named)?;
        }
        let authorities = authorities.filter(|_| !anyone);
        let judge = {
            let (provider, trusted_ca) = (provider.clone(), files.trusted_ca.clone());
            move || -> Result<Arc<dyn ServerCertVerifier>, String> {
                let allowed = allowed.clone();
                if anyone {
                    return Ok(Arc::new(AnyServer { allowed }));
                }
                Ok(Arc::new(ServerJudge::new(&provider, Roots::read(&trusted_ca)?, allowed)))
            }
        };
        let judge = Reloading::new(Vec::from_iter(authorities), judge)?;
        let pair = files.outgoing().map(|(cert, key)| [cert.to_path_buf(), key.to_path_buf()]);
        let own = Reloading::new(pair.iter().flatten().cloned().collect(), move || {
            pair.as_ref().map(|[cert, key]| files::certified(&provider, cert, key)).transpose()
        })?;
        let library = Joined::new(own, judge, move |own, judge| build(&protocol, &above, own.as_ref(), judge))?;
        Ok(Self { library })
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

fn build(
    protocol: &Protocol,
    above: &[&'static str],
    own: Option<&Arc<CertifiedKey>>,
    judge: &Arc<dyn ServerCertVerifier>,
) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_details(protocol.provider.clone(), Arc::new(Clock))
        .with_protocol_versions(protocol.versions)
        .map_err(|error| format!("tls: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(judge.clone());
    let mut library = match own {
        Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.clone()))),
        None => builder.with_no_client_auth(),
    };
    library.alpn_protocols = above.iter().map(|name| name.as_bytes().to_vec()).collect();
    // Every connection is judged by the authorities of its moment.
    library.resumption = rustls::client::Resumption::disabled();
    Ok(library)
}
