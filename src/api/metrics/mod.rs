//! What is counted and told, under etcd's names.
//!
//! Invariant: names, kinds and labels are etcd's. Does not know the services, nor how a page is served.

mod mirror;
pub mod peers;
mod process;
pub mod registry;
