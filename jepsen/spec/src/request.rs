//! What a client may ask and what it may hear, as plain data.
//!
//! The names follow etcd's messages. Numbers that etcd leaves open on the wire (a sort target, a compare
//! result) are kept as numbers, because an unknown one has a defined effect.

/// Raw bytes of a key or a value.
pub type Bytes = Vec<u8>;

/// A refusal: the text the client sees. Only texts of [`text`] occur.
pub type Refusal = &'static str;

/// The texts of refusals, as etcd words them.
pub mod text {
    /// An operation without a key.
    pub const EMPTY_KEY: &str = "etcdserver: key is not provided";
    /// `ignore_value` or `ignore_lease` on a key that is not there.
    pub const KEY_NOT_FOUND: &str = "etcdserver: key not found";
    /// `ignore_value` together with a value.
    pub const VALUE_PROVIDED: &str = "etcdserver: value is provided";
    /// `ignore_lease` together with a lease.
    pub const LEASE_PROVIDED: &str = "etcdserver: lease is provided";
    /// A list of a transaction is longer than allowed.
    pub const TOO_MANY_OPS: &str = "etcdserver: too many operations in txn request";
    /// A transaction could write one key twice.
    pub const DUPLICATE_KEY: &str = "etcdserver: duplicate key given in txn request";
    /// A sort target or order outside the enumeration.
    pub const INVALID_SORT: &str = "etcdserver: invalid sort option";
    /// More bytes than a request may have.
    pub const REQUEST_TOO_LARGE: &str = "etcdserver: request is too large";
    /// Too much is waiting already; the request was not taken in.
    pub const TOO_MANY_REQUESTS: &str = "etcdserver: too many requests";
    /// The revision is behind the compaction.
    pub const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
    /// The revision is ahead of the store.
    pub const FUTURE_REVISION: &str = "etcdserver: mvcc: required revision is a future revision";
    /// The space alarm stands.
    pub const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";
    /// No such lease.
    pub const LEASE_NOT_FOUND: &str = "etcdserver: requested lease not found";
    /// A lease of that id is there.
    pub const LEASE_EXISTS: &str = "etcdserver: lease already exists";
    /// A time to live beyond the limit.
    pub const LEASE_TTL_TOO_LARGE: &str = "etcdserver: too large lease TTL";
    /// The corruption alarm stands.
    pub const CORRUPT: &str = "etcdserver: corrupt cluster";
}

/// A key with its value and its place in history.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
#[allow(missing_docs, reason = "the names are etcd's")]
pub struct KeyValue {
    pub key: Bytes,
    pub value: Bytes,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
}

/// One change of one key, as a watcher hears of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Event {
    /// Whether the key was deleted; then `kv` carries only key and `mod_revision`.
    pub deleted: bool,
    /// The key after the change.
    pub kv: KeyValue,
    /// The key before the revision, if it existed.
    pub prev: Option<KeyValue>,
}

/// The keys an operation speaks of, as `key` and `range_end` of etcd's messages.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Span {
    /// The first key, or the only one.
    pub key: Bytes,
    /// Empty: the single key. `"\0"`: everything from `key` on. Else: everything below it.
    pub end: Bytes,
}

impl Span {
    /// The single key.
    pub fn one(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), end: Bytes::new() }
    }

    /// From `key` up to and without `end`.
    pub fn between(key: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self { key: key.into(), end: end.into() }
    }

    /// Every key.
    pub fn all() -> Self {
        Self { key: vec![0], end: vec![0] }
    }

    /// Whether `key` is among them.
    pub fn holds(&self, key: &[u8]) -> bool {
        if self.end.is_empty() {
            key == self.key
        } else if self.end == [0] {
            key >= &self.key[..]
        } else {
            key >= &self.key[..] && key < &self.end[..]
        }
    }
}

/// Read a span at a revision.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
#[allow(missing_docs, reason = "the names are etcd's")]
pub struct Range {
    pub span: Span,
    pub limit: i64,
    pub revision: i64,
    /// 0 none, 1 ascending, 2 descending.
    pub sort_order: i32,
    /// 0 key, 1 version, 2 create, 3 mod, 4 value.
    pub sort_target: i32,
    pub keys_only: bool,
    pub count_only: bool,
    pub min_mod_revision: i64,
    pub max_mod_revision: i64,
    pub min_create_revision: i64,
    pub max_create_revision: i64,
}

/// Write one key.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
#[allow(missing_docs, reason = "the names are etcd's")]
pub struct Put {
    pub key: Bytes,
    pub value: Bytes,
    pub lease: i64,
    pub prev_kv: bool,
    pub ignore_value: bool,
    pub ignore_lease: bool,
}

/// Delete the keys of a span.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
#[allow(missing_docs, reason = "the names are etcd's")]
pub struct DeleteRange {
    pub span: Span,
    pub prev_kv: bool,
}

/// What a compare looks at, with its operand.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the names are etcd's")]
pub enum Target {
    Version(i64),
    Create(i64),
    Mod(i64),
    Value(Bytes),
    Lease(i64),
    /// Outside the enumeration: key and operand count as equal.
    Unknown(i32),
}

/// A condition of a transaction.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Compare {
    /// The keys; the condition must hold for each.
    pub span: Span,
    /// The field.
    pub target: Target,
    /// 0 equal, 1 greater, 2 less, 3 not equal; any other holds always.
    pub result: i32,
}

/// One operation of a transaction.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the names are etcd's")]
pub enum Op {
    Range(Range),
    Put(Put),
    DeleteRange(DeleteRange),
    Txn(Txn),
}

/// If all compares hold then `success` else `failure`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
#[allow(missing_docs, reason = "the names are etcd's")]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub success: Vec<Op>,
    pub failure: Vec<Op>,
}

impl Txn {
    /// Whether no operation of either branch can write: such a transaction is a read and needs no agreement.
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| matches!(op, Op::Range(_)))
    }

    /// Whether a put stands in either branch, at any depth: what the space alarm turns away.
    pub fn has_put(&self) -> bool {
        self.success.iter().chain(&self.failure).any(|op| match op {
            Op::Put(_) => true,
            Op::Txn(txn) => txn.has_put(),
            Op::Range(_) | Op::DeleteRange(_) => false,
        })
    }
}

/// What is wrong with a member.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the names are etcd's")]
pub enum AlarmKind {
    NoSpace,
    Corrupt,
}

/// A request that takes its place in the order of all changes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the names are etcd's")]
pub enum Request {
    Put(Put),
    DeleteRange(DeleteRange),
    Txn(Txn),
    Compact {
        revision: i64,
    },
    LeaseGrant {
        id: i64,
        ttl: i64,
    },
    /// Also what an expiry does.
    LeaseRevoke {
        id: i64,
    },
    Alarm {
        on: bool,
        member: u64,
        kind: AlarmKind,
    },
    /// An entry that does not touch what the model knows of.
    Other,
}

/// What a range hears.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct RangeAnswer {
    /// The key-values in order.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut some off.
    pub more: bool,
    /// Keys in the span at that revision, whatever limit and filters.
    pub count: i64,
    /// The revision in the header: the store's, also for a read of the past.
    pub revision: i64,
}

/// What one operation of a transaction hears.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the names are etcd's")]
pub enum OpAnswer {
    Range(RangeAnswer),
    Put { prev_kv: Option<KeyValue>, revision: i64 },
    DeleteRange { deleted: i64, prev_kvs: Vec<KeyValue>, revision: i64 },
    Txn(TxnAnswer),
}

/// What a transaction hears.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
#[allow(missing_docs, reason = "the names are etcd's")]
pub struct TxnAnswer {
    pub succeeded: bool,
    pub answers: Vec<OpAnswer>,
}

/// What a request hears.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the names are etcd's")]
pub enum Answer {
    Put {
        prev_kv: Option<KeyValue>,
    },
    DeleteRange {
        deleted: i64,
        prev_kvs: Vec<KeyValue>,
    },
    Txn(TxnAnswer),
    Range(RangeAnswer),
    Compact,
    LeaseGrant {
        id: i64,
        ttl: i64,
    },
    LeaseRevoke,
    /// The alarms of that kind that stand (on) or were cleared (off).
    Alarm(Vec<(u64, AlarmKind)>),
    Done,
}
