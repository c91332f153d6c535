//! What a range read asks and answers.

use bytes::Bytes;

use crate::base::{KeyRange, KeyValue, limits};

/// By which field an answer is ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "the names are the fields of a key-value")]
pub enum SortTarget {
    #[default]
    Key,
    Version,
    Create,
    Mod,
    Value,
}

/// In which direction an answer is ordered. With `None` the limit is taken in key order *before* sorting,
/// an etcd quirk that clients see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub enum SortOrder {
    #[default]
    None,
    Ascend,
    Descend,
}

/// A read of a range at one revision. The fields and their quirks are etcd's `RangeRequest`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeQuery {
    /// The keys asked for.
    pub range: KeyRange,
    /// At most this many key-values; 0 or less is no limit.
    pub limit: i64,
    /// The revision to read at; 0 or less is the current one.
    pub revision: i64,
    /// Direction.
    pub order: SortOrder,
    /// Field.
    pub target: SortTarget,
    /// Leave values (and, as etcd does, leases) out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// Drop key-values changed before; 0 is off. Filters do not change `count` and disable limit push-down.
    pub min_mod_revision: i64,
    /// Drop key-values changed after; 0 is off.
    pub max_mod_revision: i64,
    /// Drop key-values created before; 0 is off.
    pub min_create_revision: i64,
    /// Drop key-values created after; 0 is off.
    pub max_create_revision: i64,
    /// May be answered from this member's state without asking the others.
    pub serializable: bool,
}

impl RangeQuery {
    /// Everything in `range`, now, in key order.
    pub fn plain(range: KeyRange) -> Self {
        Self {
            range,
            limit: 0,
            revision: 0,
            order: SortOrder::None,
            target: SortTarget::Key,
            keys_only: false,
            count_only: false,
            min_mod_revision: 0,
            max_mod_revision: 0,
            min_create_revision: 0,
            max_create_revision: 0,
            serializable: false,
        }
    }

    /// Whether it drops some of the key-values of its range.
    pub(super) fn has_filters(&self) -> bool {
        let Self { min_mod_revision, max_mod_revision, min_create_revision, max_create_revision, .. } = self;
        [min_mod_revision, max_mod_revision, min_create_revision, max_create_revision].iter().any(|bound| **bound != 0)
    }

    /// Whether no more keys are looked at than the limit allows: with order NONE, and wherever the answer is the same, the
    /// limit is taken before anything else.
    pub fn stops_at_limit(&self) -> bool {
        let in_key_order = self.target == SortTarget::Key && self.order != SortOrder::Descend;
        !self.has_filters() && (self.order == SortOrder::None || in_key_order)
    }
}

/// What a read may take, as far as that is cheap to know before it is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Weight {
    /// Rows that it looks at, at most unless it `is_guess`.
    pub rows: u64,
    /// Bytes of memory that those of its answer take at least, without keys and values.
    pub least_bytes: u64,
    /// Whether the rows are guessed: of an older revision as many are taken for as there are now.
    pub is_guess: bool,
}

impl Weight {
    /// Whether an answer may fit into so many bytes of memory.
    pub fn may_fit(&self, bytes: usize) -> bool {
        self.least_bytes <= bytes as u64
    }

    /// Whether there may be more rows than so many.
    pub fn may_exceed(&self, rows: u64) -> bool {
        self.is_guess || self.rows > rows
    }

    /// What this or the other may take, whichever it is.
    pub fn or(self, other: Self) -> Self {
        Self {
            rows: self.rows.max(other.rows),
            least_bytes: self.least_bytes.min(other.least_bytes),
            is_guess: self.is_guess || other.is_guess,
        }
    }
}

impl std::iter::Sum for Weight {
    fn sum<I: Iterator<Item = Self>>(weights: I) -> Self {
        weights.fold(Self::default(), |all, one| Self {
            rows: all.rows.saturating_add(one.rows),
            least_bytes: all.least_bytes.saturating_add(one.least_bytes),
            is_guess: all.is_guess || one.is_guess,
        })
    }
}

/// How much a walk over alive keys may look at, and what of it is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Looks {
    /// Keys.
    pub keys: usize,
    /// Bytes of keys and values that are read from the history's files, one of them apart.
    pub bytes: usize,
}

impl Looks {
    /// As much as there is.
    pub const UNBOUNDED: Self = Self { keys: usize::MAX, bytes: usize::MAX };

    /// Whether nothing more may be looked at.
    pub fn is_used_up(&self) -> bool {
        self.keys == 0 || self.bytes == 0
    }

    /// A key was looked at. A long value takes as long as several keys, and one that is read from the history's files as long as a
    /// change.
    pub(super) fn took(&mut self, key: &[u8], value: &Bytes, is_read: bool) {
        let read = if is_read { limits::LOOKS_PER_CHANGE } else { 1 };
        self.keys = self.keys.saturating_sub(read + value.len() / limits::LOOK_BYTES);
        self.bytes = self.bytes.saturating_sub(if is_read { key.len() + value.len() } else { 0 });
    }
}

/// Whether something holds for every alive key of a range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Holds {
    /// There is none.
    NoKey,
    /// For every one.
    ForAll,
    /// Not for one of them.
    NotForAll,
    /// For those that were looked at; this is left of the range.
    SoFar(KeyRange),
}

/// The answer to a [`RangeQuery`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RangeAnswer {
    /// The key-values, in the order asked for.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut some off.
    pub more: bool,
    /// Keys in the range at that revision, whatever limit and filters.
    pub count: i64,
    /// The store's current revision when the view was taken, for the response header.
    pub revision: i64,
}
