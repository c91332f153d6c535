//! Identities and how etcd derives them.

use std::fmt;

use sha1::{Digest, Sha1};

/// A raft term.
pub type Term = u64;

/// A position in the raft log; the first entry has index 1.
pub type LogIndex = u64;

/// A lease, as the client sees it; 0 means "no lease".
pub type LeaseId = i64;

/// A watcher on one watch stream; −1 is the stream itself.
pub type WatchId = i64;

/// A member of a cluster; printed in hexadecimal without padding, as etcd does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MemberId(pub u64);

/// A cluster; printed as [`MemberId`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClusterId(pub u64);

macro_rules! hex_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }
    };
}

hex_id!(MemberId);
hex_id!(ClusterId);

/// The member id etcd derives: the first eight bytes of SHA-1 over the sorted peer URLs, the cluster token
/// and, for a member added later, the time in decimal seconds; concatenated without separators.
pub fn derive_member_id(peer_urls: &[String], cluster_token: &str, unix_seconds: Option<u64>) -> MemberId {
    let mut sorted: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let mut sha = Sha1::new();
    for url in sorted {
        sha.update(url);
    }
    sha.update(cluster_token);
    if let Some(seconds) = unix_seconds {
        sha.update(seconds.to_string());
    }
    MemberId(first_eight_bytes(sha))
}

/// The cluster id etcd derives: the first eight bytes of SHA-1 over the sorted initial member ids.
pub fn derive_cluster_id(members: &[MemberId]) -> ClusterId {
    let mut sorted = members.to_vec();
    sorted.sort_unstable();
    let mut sha = Sha1::new();
    for member in sorted {
        sha.update(member.0.to_be_bytes());
    }
    ClusterId(first_eight_bytes(sha))
}

fn first_eight_bytes(sha: Sha1) -> u64 {
    let digest = sha.finalize();
    digest.iter().take(8).fold(0, |id, byte| (id << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_default_single_member_are_etcds() {
        // What a stock etcd 3.7.1 with default flags reports for its only member.
        let member = derive_member_id(&["http://localhost:2380".to_string()], "etcd-cluster", None);
        assert_eq!(member.to_string(), "8e9e05c52164694d");
        assert_eq!(derive_cluster_id(&[member]).to_string(), "cdf818194e3a8c32");
    }
}
