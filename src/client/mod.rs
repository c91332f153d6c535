//! The client library: one handle on a cluster, over the generated messages and the house's plain words.
//!
//! Purpose: spread requests over endpoints, fail over when one is away, and turn replies into typed errors
//! that keep the server's text. Invariants: a write that may have left this process is never sent again; a
//! watch resumes at the revision after the last one it delivered, so that no event is lost or seen twice; a
//! request with a timeout ends by it. It does not know what the server does with a request, nor how results
//! are shown.

mod connection;
mod election;
mod error;
mod keep_alive;
mod lock;
mod namespace;
mod options;
mod ranges;
mod requests;
mod rotation;
mod session;
mod stm;
mod tls;
mod turn;
mod watch;

pub use connection::{Attach, Client, Safety, Wire};
pub use election::{Candidate, Observer};
pub use error::Error;
pub use keep_alive::KeepAlive;
pub use lock::Lock;
pub use namespace::{Namespace, NamespaceWatcher};
pub use options::{Credentials, Options, TlsOptions, channel};
pub use ranges::{OPEN_END, prefix_end};
pub use session::{DEFAULT_SESSION_SECONDS, Session};
pub use stm::{Isolation, Stm};
pub use watch::{WatchRange, Watcher};

#[cfg(test)]
mod tests;
