//! Versions of etcd's form that are spoken here.

/// What a database that is written says of its form.
pub const STORAGE_VERSION: &str = "3.7.0";

/// The newest form that is read: one of the future may mean something else by what looks the same.
pub(super) const NEWEST: (u64, u64) = (3, 7);

/// Major and minor of a version as etcd writes it.
pub(super) fn parse(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
