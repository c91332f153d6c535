//! The lease table: which leases exist, for how long they were granted, and which keys hang on them.
//!
//! Invariants: a key hangs on at most one lease; a lease's keys and the keys' leases are the same relation
//! seen from two sides; iteration is in order of id and of key, the same on every member.
//!
//! There is no time here: the leader counts it and tells the table only to revoke. Does not know of the store.

mod key_set;
mod table;

pub use key_set::{KeySet, Keys};
pub use table::{Lease, LeaseTable};
