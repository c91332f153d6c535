//! Consensus: the `raft` crate behind a wall. The only room that names its types.
//!
//! A [`Group`] is stepped with ticks, proposals and read requests, and gives [`Ready`] parts back: what to
//! persist, what is committed, which reads are confirmed. It does no input or output of its own.
//!
//! Invariants:
//! - The election timeout is a pure function of seed, member, term and role changes, never of the crate's
//!   own random numbers: the same seed gives the same elections.
//! - Entries are handed out as committed only after they were acknowledged as persisted here.
//! - `applied <= committed <= last`, asserted on every move.
//!
//! Does not know what an entry means, except for changes of the configuration.

mod codec;
mod conf_change;
mod group;
mod guard;
mod handing_over;
mod jitter;
mod log_cache;
mod message;
mod outbox;
mod passed_over;
mod promises;
mod ready;
mod rebuilding;
mod remembering;
mod sending;
mod standing;

pub use conf_change::{ConfChange, ConfChangeKind, founding_entry};
pub use group::{Group, GroupConfig};
pub use message::{LINK_HEARTBEAT, MessageKind, PartialAppend, PeerMessage};
pub use promises::{Acknowledged, Forgotten, Promise, Promises};
pub use ready::{ConfirmedRead, Ready, passed_on};
pub use remembering::Remembered;
pub use sending::LogHeld;
pub use standing::{Electorate, PeerProgress, Role, Standing, Stepped};
