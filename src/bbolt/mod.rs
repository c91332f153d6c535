//! The file format of bbolt, the B+tree file that etcd keeps its data in: written in one stream, read with nothing believed.
//!
//! Invariants: the [`Writer`] holds a page of each level in memory and one entry, however large the file is; the reader
//! ([`Database`]) allocates no more than [limits](crate::base::limits) say, ends on any bytes, and names the place of what does
//! not hold. The layout stands in `docs/formats.md`. Source: go.etcd.io/bbolt 1.5, whose files are of version 2.
//!
//! Does not know what etcd keeps in its buckets, nor of disks.

mod database;
mod memory;
mod page;
mod pages;
mod seen;
mod walk;
mod writer;

pub use database::Database;
pub use memory::Memory;
pub use page::PAGE_BYTES;
pub use pages::Source;
pub use seen::Seen;
pub use walk::Walk;
pub use writer::{Layout, Writer};

#[cfg(test)]
mod tests;
