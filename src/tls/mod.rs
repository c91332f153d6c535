//! Encrypted connections: certificates, who is let in by them, and how they are renewed while the server runs.
//!
//! A room of the porch that knows neither gRPC nor the store: the server's listeners, the connections between members and
//! the client library all take their terms from here. The simulator's streams stay plain.
//!
//! Invariants: what a flag asks for is checked before anything is served; certificates are read anew when their files
//! change, and a change that cannot be read leaves those that were good; a handshake has a time and their number a bound;
//! nothing but TLS 1.2 and 1.3 is spoken. Texts are etcd's, which are those of Go's library.

mod acceptor;
#[cfg(feature = "server")]
mod auto;
mod certificate;
mod chain;
mod connector;
mod files;
mod go_text;
mod hello;
mod protocol;
mod reload;
mod revoked;
mod verify;
mod well_formed;

#[cfg(all(test, feature = "server"))]
mod chain_tests;
#[cfg(all(test, feature = "server"))]
mod tests;

use std::sync::Arc;

pub use acceptor::{Acceptor, Rejected, ServerStream, ServerTerms};
#[cfg(feature = "server")]
pub use auto::{AutoCertificate, make};
pub use certificate::Names;
pub use connector::{ClientStream, Connector, Trust};
pub use files::{CertificateFiles, read_error};
pub use go_text::go_text;
pub use protocol::Protocol;
pub use verify::Allowed;

/// The first byte of a TLS connection: a record of the handshake.
pub const FIRST_BYTE: u8 = 0x16;

/// An extension of every request that came encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CameSealed;

/// Who a client is by the certificate that was verified. An extension of every request of its connection; there is none
/// where certificates only let clients in (`--trusted-ca-file` without `--client-cert-auth`), or are not asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedClient {
    /// The common name of the certificate's subject; may be empty.
    pub common_name: Arc<str>,
}
