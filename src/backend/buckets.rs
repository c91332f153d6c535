//! Names of etcd's buckets and of the single keys in them. Source: etcd 3.7 server/storage/schema/bucket.go.

pub(super) const ALARM: &[u8] = b"alarm";
pub(super) const AUTH: &[u8] = b"auth";
pub(super) const AUTH_ROLES: &[u8] = b"authRoles";
pub(super) const AUTH_USERS: &[u8] = b"authUsers";
pub(super) const CLUSTER: &[u8] = b"cluster";
pub(super) const KEY: &[u8] = b"key";
pub(super) const LEASE: &[u8] = b"lease";
pub(super) const MEMBERS: &[u8] = b"members";
pub(super) const MEMBERS_REMOVED: &[u8] = b"members_removed";
pub(super) const META: &[u8] = b"meta";

/// Of `auth`: one byte, 1 where it is on.
pub(super) const AUTH_ENABLED: &[u8] = b"authEnabled";
/// Of `auth`: how often users and roles changed, a big-endian number.
pub(super) const AUTH_REVISION: &[u8] = b"authRevision";
/// Of `cluster`: the version agreed on, as text.
pub(super) const CLUSTER_VERSION: &[u8] = b"clusterVersion";
pub(super) const DOWNGRADE: &[u8] = b"downgrade";
/// Of `meta`: the applied index, a big-endian number.
pub(super) const CONSISTENT_INDEX: &[u8] = b"consistent_index";
/// Of `meta`: the term of the entry at the applied index. Since 3.5.
pub(super) const TERM: &[u8] = b"term";
/// Of `meta`: who votes, in JSON. Since 3.5.
pub(super) const CONF_STATE: &[u8] = b"confState";
/// Of `meta`: a revision at which a compaction was begun.
pub(super) const SCHEDULED_COMPACTION: &[u8] = b"scheduledCompactRev";
/// Of `meta`: a revision at which one was done.
pub(super) const FINISHED_COMPACTION: &[u8] = b"finishedCompactRev";
/// Of `meta`: the version of the form, as text. Since 3.6.
pub(super) const STORAGE_VERSION: &[u8] = b"storageVersion";
