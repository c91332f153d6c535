//! What the machine is told, and what it answers.

use bytes::Bytes;

use crate::auth::AuthCommand;
use crate::base::{Event, KeyRange, KeyValue, LeaseId, LogIndex, MemberId, Refusal, Term};
use crate::mvcc::{LaterRange, RangeAnswer, RangeQuery};

/// Write one key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Put {
    /// The key; never empty.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The lease to attach the key to, or 0 to detach it.
    pub lease: LeaseId,
    /// Answer with what the key held before.
    pub prev_kv: bool,
    /// Keep the value it has; the key must exist.
    pub ignore_value: bool,
    /// Keep the lease it has; the key must exist.
    pub ignore_lease: bool,
}

/// Delete the keys of a range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeleteRange {
    /// The keys.
    pub range: KeyRange,
    /// Answer with what they held.
    pub prev_kv: bool,
}

/// How a compare holds key against operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CompareResult {
    Equal,
    Greater,
    Less,
    NotEqual,
    /// A number outside etcd's enumeration: holds always, as in etcd.
    Unknown(i32),
}

/// What a compare looks at, with its operand. An operand the client left out is 0 or empty.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are the fields of a key-value")]
pub enum CompareTarget {
    Version(i64),
    Create(i64),
    Mod(i64),
    Value(Bytes),
    Lease(i64),
    /// A number outside etcd's enumeration: nothing is compared.
    Unknown(i32),
}

/// A condition of a transaction. Over a range it must hold for every key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compare {
    /// The keys looked at.
    pub range: KeyRange,
    /// The field and the operand.
    pub target: CompareTarget,
    /// How they must stand to each other.
    pub result: CompareResult,
}

/// One operation of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Op {
    Range(RangeQuery),
    Put(Put),
    DeleteRange(DeleteRange),
    Txn(Txn),
}

/// If every compare holds `success` is done, else `failure`; in order, as one revision.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Txn {
    /// The conditions, all looked at before anything is done.
    pub compares: Vec<Compare>,
    /// Done when all hold.
    pub success: Vec<Op>,
    /// Done otherwise.
    pub failure: Vec<Op>,
}

impl Txn {
    /// Whether no operation of either branch can write: such a transaction needs no log entry.
    /// A nested transaction counts as a write, as in etcd.
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| matches!(op, Op::Range(_)))
    }
}

/// What is wrong with a member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AlarmKind {
    /// Its storage quota is used up.
    NoSpace,
    /// Its data differs from its peers'.
    Corrupt,
}

/// What to do with an alarm. Reading alarms needs no command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AlarmAction {
    Activate,
    Deactivate,
}

/// Which lease has fallen due, and who counted its time. Between proposing and applying the lease may have been revoked
/// and its id granted anew, and the leader deposed by one who knows of a renewal: such an expiry is no one's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expiry {
    /// Index of the entry that granted the lease.
    pub granted_at: LogIndex,
    /// The term in which the proposer led.
    pub term: Term,
}

/// The time one lease had left when the leader looked at its clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remainder {
    /// Which lease.
    pub id: LeaseId,
    /// Whole seconds, rounded up; 0 forgets an earlier remainder, because the lease was renewed.
    pub seconds: i64,
    /// Index of the entry that granted it; 0 where nobody says.
    pub granted_at: LogIndex,
}

/// One step of the machine, carried by one log entry.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are etcd's requests")]
pub enum Command {
    Put(Put),
    DeleteRange(DeleteRange),
    Txn(Txn),
    Compact {
        revision: i64,
        physical: bool,
    },
    LeaseGrant {
        id: LeaseId,
        ttl: i64,
    },
    LeaseRevoke {
        id: LeaseId,
        /// Absent where a client asks; it means whatever lease has the id then.
        expiry: Option<Expiry>,
    },
    /// What is left of leases outlives a change of leader.
    LeaseCheckpoint {
        remainders: Vec<Remainder>,
        /// The term in which the proposer led; absent in an entry of a stock etcd, which is believed as it is there.
        counted_in: Option<Term>,
    },
    Alarm {
        action: AlarmAction,
        member: MemberId,
        kind: AlarmKind,
    },
    /// A member tells its name and where clients reach it.
    SetMemberAttributes {
        member: MemberId,
        name: String,
        client_urls: Vec<String>,
    },
    /// The version all members agree to speak, as `major.minor.patch`.
    SetClusterVersion(String),
    /// The cluster is to go down to this version, or to none any more.
    SetDowngrade(Option<String>),
    /// Users, roles, and whether anyone is asked who he is.
    Auth(AuthCommand),
}

/// The answer to one operation of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum OpAnswer {
    Range(RangeAnswer),
    Put {
        prev_kv: Option<KeyValue>,
        revision: i64,
    },
    DeleteRange {
        deleted: i64,
        prev_kvs: Vec<KeyValue>,
        revision: i64,
    },
    Txn(TxnAnswer),
    /// The rows of the answer are still to be read: see [`Answer::carry_out`].
    Later(Box<OpAnswer>, LaterRange),
}

/// The answer to a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TxnAnswer {
    /// Whether every compare held.
    pub succeeded: bool,
    /// One answer for each operation done.
    pub answers: Vec<OpAnswer>,
}

/// The answer to a command.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are the commands")]
pub enum Answer {
    Put {
        prev_kv: Option<KeyValue>,
    },
    DeleteRange {
        deleted: i64,
        prev_kvs: Vec<KeyValue>,
    },
    Txn(TxnAnswer),
    Compact,
    LeaseGrant {
        id: LeaseId,
        ttl: i64,
    },
    LeaseRevoke,
    /// The alarms of that kind that stand (activate) or were cleared (deactivate).
    Alarm(Vec<(MemberId, AlarmKind)>),
    /// A user is known from now on by the token of its entry, at this revision of the table of users.
    Authenticated {
        auth_revision: u64,
    },
    Done,
    /// The rows of the answer are still to be read: see [`Answer::carry_out`].
    Later(Box<Answer>, LaterRange),
}

/// What applying one log entry did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// For the one who asked.
    pub answer: Result<Answer, Refusal>,
    /// For the response header: the store's revision after the entry.
    pub revision: i64,
    /// For the watchers: the changes of this revision in order; empty when nothing changed.
    pub events: Vec<Event>,
    /// The digest of everything applied up to the entry, where it is known: the same on all members.
    pub digest: Option<u64>,
}
