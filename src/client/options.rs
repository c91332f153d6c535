//! How to reach a cluster: addresses, timeouts, sizes, credentials.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use super::dial::{Dial, Target, USUAL_PATIENCE, Way};
use super::error::Error;
use super::tls::LastWord;
use crate::tls::{CertificateFiles, Connector, Trust};

/// Largest request sent where the caller gives none, as in etcd's client: 2 MiB.
pub const DEFAULT_MAX_REQUEST_BYTES: usize = 2 * 1024 * 1024;

/// Largest response taken where the caller gives none, as in etcd's client: what a 32-bit length can say.
pub const DEFAULT_MAX_RESPONSE_BYTES: usize = i32::MAX as usize;

/// Who the caller is.
///
/// Example, run as a test: `a_user_may_do_what_its_roles_say` in `tests/client_library.rs`.
#[derive(Clone)]
pub enum Credentials {
    /// A user's name and password, exchanged for a token when connecting.
    Password {
        /// The user's name.
        name: String,
        /// The password in clear.
        password: String,
    },
    /// A token obtained elsewhere.
    Token(String),
}

/// Who is named, and not what proves it: options are written into logs.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Password { name, .. } => {
                f.debug_struct("Password").field("name", name).finish_non_exhaustive()
            }
            Credentials::Token(_) => f.debug_struct("Token").finish_non_exhaustive(),
        }
    }
}

/// How a [`super::Client`] behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Longest wait for one connection to be made; zero is 20 s, as gRPC for Go has it.
    pub connect_timeout: Duration,
    /// Longest wait for one request, over all its attempts; `None` waits as long as attempts are allowed.
    pub timeout: Option<Duration>,
    /// Time between pings on a connection that has requests under way.
    pub keepalive_time: Duration,
    /// Time a ping may go unanswered before the connection is given up; zero is 20 s, as gRPC for Go has it.
    pub keepalive_timeout: Duration,
    /// Largest request, in bytes.
    pub max_request_bytes: usize,
    /// Largest response, in bytes.
    pub max_response_bytes: usize,
    /// Who the caller is; `None` is nobody.
    pub credentials: Option<Credentials>,
    /// How encrypted endpoints are reached; with it an endpoint without a scheme is one.
    pub tls: Option<TlsOptions>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            connect_timeout: Duration::from_secs(2),
            timeout: None,
            keepalive_time: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(6),
            max_request_bytes: DEFAULT_MAX_REQUEST_BYTES,
            max_response_bytes: DEFAULT_MAX_RESPONSE_BYTES,
            credentials: None,
            tls: None,
        }
    }
}

fn named_or_usual(named: Duration) -> Duration {
    if named.is_zero() { USUAL_PATIENCE } else { named }
}

impl Options {
    /// Longest wait for one connection.
    pub(super) fn longest_connect(&self) -> Duration {
        named_or_usual(self.connect_timeout)
    }
}

/// The server refuses pings that come more often than this (etcd's `--grpc-keepalive-min-time`), and closes
/// the connection; a shorter wish is stretched to it, as gRPC for Go does.
const MIN_KEEPALIVE_TIME: Duration = Duration::from_secs(10);

/// What is longer is this: nobody waits for it, and the clocks below count so far.
const LONGEST_KEEPALIVE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Makes channels by one set of options. The files it names are read once, and told of where they cannot be used, whether or not an
/// endpoint needs them: who names them means to be encrypted.
pub(super) struct Channels<'a> {
    options: &'a Options,
    connector: Option<Arc<Connector>>,
}

impl<'a> Channels<'a> {
    /// # Errors
    /// A file cannot be used ([`Error::BadCertificate`]).
    pub(super) fn new(options: &'a Options) -> Result<Self, Error> {
        let mut channels = Self { options, connector: None };
        if options.tls.as_ref().is_some_and(TlsOptions::names_a_file) {
            channels.connector()?;
        }
        Ok(channels)
    }

    fn connector(&mut self) -> Result<Arc<Connector>, Error> {
        if let Some(connector) = &self.connector {
            return Ok(connector.clone());
        }
        let tls = self.options.tls.clone().unwrap_or_default();
        let connector = tls.connector().map_err(Error::BadCertificate)?;
        Ok(self.connector.insert(connector).clone())
    }

    /// A channel to one endpoint that connects when first used, and the way it goes. Must be called inside a tokio runtime.
    ///
    /// An endpoint is `host:port`, `http://host:port`, `https://host:port`, `unix:path` or `unixs:path`. `https` and `unixs`
    /// are encrypted always, `http` and `unix` never, and without a scheme it is where [`Options::tls`] is given. So it is of
    /// `dns:///host:port` and `passthrough:///host:port`, as gRPC calls its resolvers.
    ///
    /// # Errors
    /// Anything unreadable is [`Error::BadEndpoint`], a file that cannot be used [`Error::BadCertificate`].
    pub(super) fn channel(&mut self, endpoint: &str) -> Result<(Channel, Arc<Way>), Error> {
        let options = self.options;
        let address = Address::read(endpoint, options.tls.is_some())?;
        let channel = address.endpoint()?;
        let channel = channel
            .http2_keep_alive_interval(options.keepalive_time.clamp(MIN_KEEPALIVE_TIME, LONGEST_KEEPALIVE))
            .keep_alive_timeout(named_or_usual(options.keepalive_timeout).min(LONGEST_KEEPALIVE))
            .keep_alive_while_idle(false);
        let seal = match address.sealed_host() {
            None => None,
            Some(host) => {
                let wanted = options.tls.as_ref().map(|tls| tls.server_name.clone()).filter(|name| !name.is_empty());
                Some((self.connector()?, wanted.unwrap_or(host)))
            }
        };
        // What may stand around host and port is not for who dials.
        let (host, port) = (channel.uri().host().unwrap_or_default(), channel.uri().port_u16().unwrap_or_default());
        let target = match address.target {
            Target::Net(_) => Target::Net(format!("{host}:{port}")),
            file => file,
        };
        let way = Arc::new(Way::new(target, seal, options.longest_connect()));
        Ok((channel.connect_with_connector_lazy(Dial(way.clone())), way))
    }
}

/// One channel alone, for who brings a stub of its own: an endpoint as [`super::Client`] takes it.
///
/// # Errors
/// Anything unreadable is [`Error::BadEndpoint`], a file that cannot be used [`Error::BadCertificate`].
pub fn channel(endpoint: &str, options: &Options) -> Result<(Channel, LastWord), Error> {
    let (channel, way) = Channels::new(options)?.channel(endpoint)?;
    Ok((channel, way.last_word().clone()))
}

/// Whether nothing is encrypted on the way to an endpoint.
pub(super) fn is_plain(endpoint: &str, options: &Options) -> bool {
    Address::read(endpoint, options.tls.is_some()).is_ok_and(|address| !address.sealed)
}

/// How encrypted endpoints are reached. Empty paths are none; without authorities the system's are believed.
///
/// Example, run as a test: `a_program_with_a_certificate_is_let_in_and_others_are_told_why` in `tests/client_library.rs`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TlsOptions {
    /// The authorities that servers are believed by.
    pub cacert: PathBuf,
    /// The certificate shown to servers.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Believe any server.
    pub insecure_skip_verify: bool,
    /// The name that servers must have; empty is the host of the endpoint.
    pub server_name: String,
}

impl TlsOptions {
    fn names_a_file(&self) -> bool {
        [&self.cacert, &self.cert, &self.key].into_iter().any(|path| !path.as_os_str().is_empty())
    }

    fn connector(self) -> Result<Arc<Connector>, String> {
        let files = CertificateFiles { cert: self.cert, key: self.key, trusted_ca: self.cacert, ..Default::default() };
        let trust = Trust { files, anyone: self.insecure_skip_verify, above: vec!["h2"], ..Default::default() };
        Connector::new(trust).map(Arc::new)
    }
}

/// An endpoint, taken apart.
struct Address {
    target: Target,
    sealed: bool,
    text: String,
}

/// An address whose host is left out is this machine's, as for Go.
fn hosted(address: &str) -> String {
    if address.starts_with(':') { format!("localhost{address}") } else { address.to_owned() }
}

/// An address without the dot that ends a full name: no certificate has it.
fn undotted(address: &str) -> String {
    match address.rsplit_once(':') {
        Some((host, port)) => format!("{}:{port}", host.strip_suffix('.').unwrap_or(host)),
        None => address.to_owned(),
    }
}

/// The port of an address, where it is a number that no port has.
fn beyond_ports(address: &str) -> Option<&str> {
    let authority = address.split(['/', '?', '#']).next().unwrap_or_default();
    let (_, port) = authority.rsplit_once(':')?;
    let is_number = !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit());
    (is_number && port.parse::<u16>().is_err()).then_some(port)
}

impl Address {
    fn read(endpoint: &str, seals_bare: bool) -> Result<Self, Error> {
        let bad = |reason: &str| Error::BadEndpoint(format!("bad endpoint {endpoint:?}: {reason}"));
        let lower = |(scheme, rest): (&str, _)| (scheme.to_ascii_lowercase(), rest);
        let parts = endpoint.split_once("://").map(lower);
        let (target, sealed) = match parts.as_ref().map(|(scheme, rest)| (&scheme[..], *rest)) {
            Some((scheme @ ("http" | "https"), rest)) => (Target::Net(undotted(&hosted(rest))), scheme == "https"),
            Some((scheme @ ("unix" | "unixs"), rest)) => (Target::File(rest.to_owned()), scheme == "unixs"),
            // As gRPC's own resolvers are named; one of a name server says which, and is not had.
            Some(("dns" | "passthrough", rest)) if rest.starts_with('/') => {
                (Target::Net(undotted(&hosted(&rest[1..]))), seals_bare)
            }
            Some(("dns" | "passthrough", _)) => return Err(bad("no name server of its own is asked")),
            Some((scheme, _)) => return Err(bad(&format!("unknown scheme {scheme:?}"))),
            None => match endpoint.split_once(':') {
                Some((scheme @ ("unix" | "unixs"), rest)) => (Target::File(rest.to_owned()), scheme == "unixs"),
                _ if endpoint.is_empty() => return Err(bad("it is empty")),
                _ => (Target::Net(hosted(endpoint)), seals_bare),
            },
        };
        Ok(Self { target, sealed, text: endpoint.to_owned() })
    }

    fn endpoint(&self) -> Result<Endpoint, Error> {
        let uri = match &self.target {
            // The library is not told of the encryption: it is brought from here.
            Target::Net(address) => format!("http://{address}"),
            Target::File(_) if self.sealed => "http://localhost".to_owned(),
            Target::File(path) => format!("unix:{path}"),
        };
        let refuse = |why: &str| Error::BadEndpoint(format!("bad endpoint {:?}: {why}", self.text));
        let bad = || refuse("it is not an address");
        if let Target::Net(address) = &self.target
            && let Some(port) = beyond_ports(address)
        {
            return Err(refuse(&format!("port {port} is out of range, which ends at {}", u16::MAX)));
        }
        let endpoint = Endpoint::from_shared(uri).map_err(|_| bad())?;
        if matches!(self.target, Target::Net(_)) && endpoint.uri().port_u16().is_none() {
            // The library would take the port of its scheme, where somebody else may listen.
            return Err(refuse("it has no port"));
        }
        if !self.sealed {
            return Ok(endpoint);
        }
        let origin = match &self.target {
            Target::Net(address) => format!("https://{address}"),
            Target::File(_) => "https://localhost".to_owned(),
        };
        Ok(endpoint.origin(origin.parse().map_err(|_| bad())?))
    }

    /// The name that the server must have; `None` where nothing is encrypted.
    fn sealed_host(&self) -> Option<String> {
        match &self.target {
            _ if !self.sealed => None,
            Target::Net(address) => {
                Some(address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).to_owned())
            }
            // A path has no name: etcd's client takes its last part, and of `unixs://localhost:1` what stands before the port.
            Target::File(path) => {
                let host = path.rsplit('/').next().and_then(|last| last.split(':').next()).unwrap_or_default();
                Some(if host.is_empty() { "localhost".to_owned() } else { host.to_owned() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(endpoint: &str) -> Result<Endpoint, Error> {
        Address::read(endpoint, false)?.endpoint()
    }

    #[test]
    fn every_form_is_an_address() {
        for (good, host) in [
            ("127.0.0.1:2379", None),
            ("http://localhost:2379", None),
            ("HTTP://localhost:2379", None),
            ("Https://a:1", Some("a")),
            ("[::1]:2379", None),
            (":2379", None),
            ("http://:2379", None),
            ("https://:2379", Some("localhost")),
            ("unix:///tmp/s", None),
            ("unix:/tmp/s", None),
            ("https://a.example:2379", Some("a.example")),
            ("https://[::1]:2379", Some("[::1]")),
            ("https://a.example.:2379", Some("a.example")),
            ("unixs:///tmp/s.sock", Some("s.sock")),
            ("unixs:/", Some("localhost")),
            ("unixs://127.0.0.1:1", Some("127.0.0.1")),
            ("dns:///127.0.0.1:2379", None),
            ("passthrough:///localhost:2379", None),
        ] {
            assert!(read(good).is_ok(), "{good}");
            let address = Address::read(good, false).expect("an address");
            assert_eq!(address.sealed_host().as_deref(), host, "{good}");
        }
        let bare = Address::read("127.0.0.1:2379", true).expect("an address");
        assert_eq!(bare.sealed_host().as_deref(), Some("127.0.0.1"), "as the options have it");
        let named = Address::read("dns:///a.example:2379", true).expect("an address");
        assert_eq!(named.sealed_host().as_deref(), Some("a.example"), "so has one of a resolver");
        assert_eq!(Address::read("http://a:1", true).expect("an address").sealed_host(), None);
    }

    #[test]
    fn nonsense_is_refused_by_reason_and_files_by_name() {
        let portless = ["127.0.0.1", "http://a", "https://a/", "a:", "a:notaport", "a:99999", "[::1]"];
        for bad in ["", "ftp://a:1", "http://bad:port:x", "a b", "dns://10.0.0.1/a:1"].into_iter().chain(portless) {
            assert!(matches!(read(bad), Err(Error::BadEndpoint(_))), "{bad}");
        }
        for (bad, port) in [("a:99999", "99999"), ("https://a:65536/x", "65536"), ("[::1]:99999999999", "99999999999")]
        {
            let refused = read(bad).expect_err("no port").to_string();
            assert_eq!(refused, format!("bad endpoint {bad:?}: port {port} is out of range, which ends at 65535"));
        }
        assert!(read("a:65535").is_ok());
        for bad in [":", "http://:"] {
            assert!(matches!(read(bad), Err(Error::BadEndpoint(_))), "{bad}");
        }
        assert_eq!(read(":2379").expect("an address").uri().host(), Some("localhost"));
    }

    /// Also where no endpoint is encrypted, or every server is believed.
    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_told_of_whatever_it_is_for() {
        let nowhere = || PathBuf::from("/nowhere/pem");
        for insecure_skip_verify in [false, true] {
            let some = TlsOptions { insecure_skip_verify, ..TlsOptions::default() };
            let both = "KeyFile and CertFile must both be present[key: , cert: /nowhere/pem]";
            for (tls, why) in [
                (TlsOptions { cacert: nowhere(), ..some.clone() }, "open /nowhere/pem: no such file or directory"),
                (TlsOptions { cert: nowhere(), ..some.clone() }, both),
                (
                    TlsOptions { cert: nowhere(), key: nowhere(), ..some.clone() },
                    "open /nowhere/pem: no such file or directory",
                ),
            ] {
                let options = Options { tls: Some(tls), ..Options::default() };
                let refused = Channels::new(&options).map(drop).expect_err("no such file");
                assert_eq!(refused.to_string(), why);
            }
            let options = Options { tls: Some(some), ..Options::default() };
            let made = Channels::new(&options).and_then(|mut made| made.channel("http://user@[::1]:7/path"));
            let (_, way) = made.expect("an endpoint");
            assert!(format!("{way:?}").contains("Net(\"[::1]:7\")"), "{way:?}");
        }
    }
}
