//! The client library: one handle on a cluster, over the generated messages and the house's plain words.
//!
//! Purpose: spread requests over endpoints, fail over when one is away, and turn replies into typed errors
//! that keep the server's text. Invariants: a write that may have left this process is never sent again; a
//! watch resumes at the revision after the last one it delivered, so that no event is lost or seen twice; a
//! request with a timeout ends by it. It does not know what the server does with a request, nor how results
//! are shown.
//!
//! ```no_run
//! use quorate::client::{Client, Error, Options};
//! use quorate::wire::etcdserverpb::PutRequest;
//!
//! # async fn example() -> Result<(), Error> {
//! let client = Client::connect(&["127.0.0.1:2379".to_owned()], Options::default()).await?;
//! client.put(PutRequest { key: "greeting".into(), value: "hello".into(), ..Default::default() }).await?;
//!
//! // A lock that goes when this program does, and fences off a holder that comes too late.
//! let session = client.session(10).await?;
//! let lock = session.lock("printer").await?;
//! println!("holder {} has {:?}", lock.revision(), lock.key());
//! lock.release().await?;
//! session.close().await
//! # }
//! ```
//!
//! `tests/client_library.rs` shows each part at work against a server: what is said of a type names its example there.

mod connection;
mod election;
mod error;
mod keep_alive;
mod lock;
mod namespace;
mod options;
mod page;
mod ranges;
pub mod registry;
mod requests;
mod rotation;
mod session;
mod silence;
mod stm;
mod tls;
mod token;
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
