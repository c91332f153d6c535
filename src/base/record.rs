//! What the store holds and tells: key-values and events.

use bytes::Bytes;

use super::ids::LeaseId;

/// A key with its value and its place in history. A tombstone carries only `key` and `mod_revision`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct KeyValue {
    /// The key; never empty.
    pub key: Bytes,
    /// The value; empty in answers that ask for keys only.
    pub value: Bytes,
    /// Main revision of the put that created the key; kept until it is deleted.
    pub create_revision: i64,
    /// Main revision of the last change.
    pub mod_revision: i64,
    /// Puts since creation, from 1; 0 in a tombstone.
    pub version: i64,
    /// The lease the key is attached to, or 0.
    pub lease: LeaseId,
}

/// What happened to a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EventKind {
    /// The key was written.
    Put,
    /// The key was deleted.
    Delete,
}

/// One change of one key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key as it stands after the change; for a delete, its tombstone.
    pub kv: KeyValue,
    /// The key as it stood before, where it existed and is still known.
    pub prev_kv: Option<KeyValue>,
}
