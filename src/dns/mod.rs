//! Names of the network: the servers of a service (SRV records), and the address of a host.
//!
//! A room of the porch that server and command line share. Which name servers are asked is the system's affair
//! (`/etc/resolv.conf`), but for [`NAME_SERVERS`]. Invariants: a question has a time; an answer has as many servers as
//! the limits say at most; texts are those of Go's resolver, which etcd shows. Does not know what is served.

mod lookup;
mod own_servers;

#[cfg(test)]
mod tests;

pub use lookup::{Names, Service};
pub use own_servers::NAME_SERVERS;
