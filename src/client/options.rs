//! How to reach a cluster: addresses, timeouts, sizes, credentials.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use super::error::Error;

/// Largest request sent where the caller gives none, as in etcd's client: 2 MiB.
pub const DEFAULT_MAX_REQUEST_BYTES: usize = 2 * 1024 * 1024;

/// Largest response taken where the caller gives none, as in etcd's client: what a 32-bit length can say.
pub const DEFAULT_MAX_RESPONSE_BYTES: usize = i32::MAX as usize;

/// Who the caller is.
#[derive(Clone, Debug)]
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

/// How a [`super::Client`] behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Longest wait for one connection to be made.
    pub connect_timeout: Duration,
    /// Longest wait for one request, over all its attempts; `None` waits as long as attempts are allowed.
    pub timeout: Option<Duration>,
    /// Time between pings on a connection that has requests under way.
    pub keepalive_time: Duration,
    /// Time a ping may go unanswered before the connection is given up.
    pub keepalive_timeout: Duration,
    /// Largest request, in bytes.
    pub max_request_bytes: usize,
    /// Largest response, in bytes.
    pub max_response_bytes: usize,
    /// Who the caller is; `None` is nobody.
    pub credentials: Option<Credentials>,
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
        }
    }
}

/// The server refuses pings that come more often than this (etcd's `--grpc-keepalive-min-time`), and closes
/// the connection; a shorter wish is stretched to it, as gRPC for Go does.
const MIN_KEEPALIVE_TIME: Duration = Duration::from_secs(10);

/// A channel to one endpoint that connects when first used. Must be called inside a tokio runtime.
///
/// An endpoint is `host:port`, `http://host:port` or `unix:path`.
///
/// # Errors
/// `https` and `unixs` are refused with [`Error::TlsNotBuilt`], anything unreadable with [`Error::BadEndpoint`].
pub fn channel(endpoint: &str, options: &Options) -> Result<Channel, Error> {
    let endpoint = address(endpoint)?
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(options.keepalive_time.max(MIN_KEEPALIVE_TIME))
        .keep_alive_timeout(options.keepalive_timeout)
        .keep_alive_while_idle(false);
    Ok(endpoint.connect_lazy())
}

fn address(endpoint: &str) -> Result<Endpoint, Error> {
    let bad = |reason: &str| Error::BadEndpoint(format!("bad endpoint {endpoint:?}: {reason}"));
    let uri = match endpoint.split_once("://") {
        Some(("https" | "unixs", _)) => return Err(Error::TlsNotBuilt(endpoint.to_owned())),
        Some(("http" | "unix", _)) => endpoint.to_owned(),
        Some((scheme, _)) => return Err(bad(&format!("unknown scheme {scheme:?}"))),
        None if endpoint.starts_with("unixs:") => return Err(Error::TlsNotBuilt(endpoint.to_owned())),
        None if endpoint.starts_with("unix:") => endpoint.to_owned(),
        None if endpoint.is_empty() => return Err(bad("it is empty")),
        None => format!("http://{endpoint}"),
    };
    Endpoint::from_shared(uri).map_err(|_| bad("it is not an address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plain_form_is_an_address() {
        for good in ["127.0.0.1:2379", "http://localhost:2379", "[::1]:2379", "unix:///tmp/s", "unix:/tmp/s"] {
            assert!(address(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn tls_is_refused_by_name_and_nonsense_by_reason() {
        for tls in ["https://127.0.0.1:2379", "unixs:///tmp/s", "unixs:/tmp/s"] {
            assert!(matches!(address(tls), Err(Error::TlsNotBuilt(_))), "{tls}");
        }
        for bad in ["", "ftp://a:1", "http://bad:port:x", "a b"] {
            assert!(matches!(address(bad), Err(Error::BadEndpoint(_))), "{bad}");
        }
    }
}
