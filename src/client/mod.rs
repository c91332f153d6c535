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
//! A transaction that reads first and then decides is written as its work; it runs again until nobody was faster:
//!
//! ```no_run
//! # use quorate::client::{Client, Error, Isolation};
//! # async fn example(client: Client, from: &str, to: &str) -> Result<(), Error> {
//! let moved = client.transact(Isolation::default(), |mut run| async move {
//!     let word = run.get(from.to_owned()).await?.unwrap_or_default();
//!     run.delete(from.to_owned());
//!     run.put(to.to_owned(), word.clone());
//!     Ok(word)
//! });
//! println!("{:?}", moved.await?);
//! # Ok(())
//! # }
//! ```
//!
//! **Manners.** A read that one endpoint does not answer within a second is sent to another beside it, and so on until each was asked; a
//! write is sent again only where it never left. So
//! [`Error::Deadline`], and [`Error::Answered`] with `Unavailable`, say of a write that it may have been done: read before doing it
//! again, or put a comparison into a transaction. Where nobody answers a request is tried until [`Options::timeout`], or a hundred times
//! where none is given; [`Client::unreached`] then has who did not, and why: nobody there, no TLS, a certificate
//! that is not believed. Watches, keep-alives and sessions outlive their connection and go on elsewhere. Tokens are fetched anew as they end: within a request's
//! timeout, and by watches and keep-alives for as long as it takes; only a password that is refused ends a watch, and a keep-alive or a session tries it again as long as its
//! lease may live. One member is asked for
//! one, for that costs it a hash, and another where nobody answers for ten seconds; what is under way goes on whoever gives up waiting.
//! Who fails to get a lock or an office, or drops the future that waits for it, stands in line no longer; what may stay, and until
//! when, each function says.
//!
//! **Streams.** There is one connection to an endpoint, and each watch, keep-alive, session, observer and waiting lock is a stream of its own on it, as
//! is each request while it is under way. Where a server or a proxy before it bounds the streams of a connection (`--max-concurrent-streams` of
//! etcd; about a hundred at nginx and HAProxy) what is beyond waits without a word, a request until its timeout: raise the bound, watch a range instead of
//! many keys, or open more clients.
//!
//! **Encryption.** With [`TlsOptions`] servers are believed by an authority, and believe the program by its certificate:
//!
//! ```no_run
//! # use quorate::client::{Client, Error, Options, TlsOptions};
//! # async fn example() -> Result<(), Error> {
//! let tls = TlsOptions { cacert: "ca.crt".into(), cert: "app.crt".into(), key: "app.key".into(), ..TlsOptions::default() };
//! let options = Options { tls: Some(tls), ..Options::default() };
//! let client = Client::connect(&["https://10.0.0.1:2379".to_owned(), "https://10.0.0.2:2379".to_owned()], options).await?;
//! # Ok(())
//! # }
//! ```
//!
//! `tests/client_library.rs` shows each part at work against a server: what is said of a type names its example there.

// What a caller is given it can name.
#![deny(unnameable_types)]

mod connection;
mod dial;
mod election;
mod endpoints;
mod error;
mod greeting;
mod hedge;
mod keep_alive;
mod lock;
mod namespace;
mod options;
mod page;
mod parts;
mod pause;
mod ranges;
mod refreshes;
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
pub use parts::Parts;
pub use ranges::{OPEN_END, prefix_end, under_prefix};
pub use session::{DEFAULT_SESSION_SECONDS, Session};
pub use stm::{Isolation, Stm};
pub use tls::LastWord;
/// The code of an answer: see [`Error::code`].
pub use tonic::Code;
pub use watch::{WatchRange, Watcher};

#[cfg(test)]
mod tests;
