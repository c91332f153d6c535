//! The backend: etcd's database file, as the state of a store. Written for `Maintenance.Snapshot`, read for a restore.
//!
//! Invariants: what is written is what the store shows at one applied index, and nothing waits for it; what is read is held against
//! what a store can be before anything is made of it. Both go through the file once or twice and keep no more of it in memory
//! than the room `bbolt` does and what is said with each.
//!
//! Does not know of the network, nor where files lie.

mod backup;
mod buckets;
mod content;
mod entry;
mod foreign;
mod log;
mod records;
mod status;
mod versions;

pub use backup::{Backup, Blob};
pub use foreign::Foreign;
pub use log::ForeignLog;
pub use records::Records;
pub use status::{FileStatus, hash_kv, status};
pub use versions::STORAGE_VERSION;

#[cfg(test)]
mod tests;
