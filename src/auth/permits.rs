//! What of the keyspace one user may read and write.
//!
//! Invariant: the intervals of a [`Reach`] are sorted, none touches the next. So a range is inside of what is allowed
//! exactly where one interval holds all of it. Does not know users or roles.

use bytes::Bytes;

use crate::base::{KeyRange, RangeEnd};

/// What a permission lets do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are etcd's")]
pub enum PermissionKind {
    Read,
    Write,
    ReadWrite,
    /// A number outside etcd's enumeration: it is kept, and allows nothing, as in etcd.
    Unknown(i32),
}

impl PermissionKind {
    /// The kind of this number of etcd's.
    pub fn of_number(number: i32) -> Self {
        match number {
            0 => Self::Read,
            1 => Self::Write,
            2 => Self::ReadWrite,
            number => Self::Unknown(number),
        }
    }

    /// Its number.
    pub fn number(self) -> i32 {
        match self {
            Self::Read => 0,
            Self::Write => 1,
            Self::ReadWrite => 2,
            Self::Unknown(number) => number,
        }
    }
}

/// A kind of access to a range of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Permission {
    /// What may be done.
    pub kind: PermissionKind,
    /// With which keys.
    pub range: KeyRange,
}

impl Permission {
    /// Whether etcd takes such a range for a permission: it has a key, and an end above it or none.
    pub fn is_sound(&self) -> bool {
        !self.range.start.is_empty() && !self.range.is_empty()
    }
}

/// What is done with keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Access {
    Read,
    Write,
}

/// Keys from `start` up to `end`, or without end.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Interval {
    start: Bytes,
    end: Option<Bytes>,
}

impl Interval {
    fn of(range: &KeyRange) -> Self {
        let end = match &range.end {
            RangeEnd::Open => None,
            RangeEnd::Before(end) => Some(end.clone()),
            RangeEnd::Single => Some([&range.start[..], b"\0"].concat().into()),
        };
        Self { start: range.start.clone(), end }
    }

    /// Whether it ends below `key`, so that a key fits between.
    fn ends_below(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_some_and(|end| end[..] < *key)
    }

    fn holds_key(&self, key: &[u8]) -> bool {
        self.start[..] <= *key && self.end.as_ref().is_none_or(|end| *key < end[..])
    }

    /// Whether all of `range` is inside. One that can hold no key is where its first key is. So it is in etcd, but that it may
    /// refuse one whose end is below its first key: it searches a tree of a user's permissions as if the end were above.
    fn holds(&self, range: &KeyRange) -> bool {
        match &range.end {
            RangeEnd::Single => self.holds_key(&range.start),
            RangeEnd::Before(end) if *end <= range.start => self.holds_key(&range.start),
            RangeEnd::Open => self.start <= range.start && self.end.is_none(),
            RangeEnd::Before(end) => self.start <= range.start && self.end.as_ref().is_none_or(|own| end <= own),
        }
    }
}

/// The union of ranges.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Reach(Vec<Interval>);

impl Reach {
    fn of<'a>(ranges: impl Iterator<Item = &'a KeyRange>) -> Self {
        let mut all: Vec<Interval> = ranges.map(Interval::of).collect();
        all.sort_unstable_by(|a, b| a.start.cmp(&b.start));
        let mut merged: Vec<Interval> = Vec::new();
        for next in all {
            match merged.last_mut() {
                Some(last) if !last.ends_below(&next.start) => {
                    let longer = last.end.is_some() && (next.end.is_none() || next.end > last.end);
                    if longer {
                        last.end = next.end;
                    }
                }
                _ => merged.push(next),
            }
        }
        Self(merged)
    }

    fn holds(&self, range: &KeyRange) -> bool {
        let behind = self.0.partition_point(|interval| interval.start <= range.start);
        behind > 0 && self.0[behind - 1].holds(range)
    }

    /// Whether there is no key outside.
    fn is_everything(&self) -> bool {
        // `"\0"` is the lowest key.
        matches!(&self.0[..], [only] if only.end.is_none() && only.start[..] <= b"\0"[..])
    }
}

/// What one user's roles allow together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Permits {
    read: Reach,
    write: Reach,
}

impl Permits {
    /// The union of permissions, by kind of access.
    pub(super) fn of(permissions: &[&Permission]) -> Self {
        use PermissionKind::{Read, ReadWrite, Write};
        let of_kinds = |kinds: [PermissionKind; 2]| {
            let allowed = permissions.iter().filter(|permission| kinds.contains(&permission.kind));
            Reach::of(allowed.map(|permission| &permission.range))
        };
        Self { read: of_kinds([Read, ReadWrite]), write: of_kinds([Write, ReadWrite]) }
    }

    /// Whether all of `range` may be accessed so.
    pub(super) fn allow(&self, range: &KeyRange, access: Access) -> bool {
        self.reach(access).holds(range)
    }

    /// Whether every key may be accessed so.
    pub(super) fn allow_everything(&self, access: Access) -> bool {
        self.reach(access).is_everything()
    }

    fn reach(&self, access: Access) -> &Reach {
        match access {
            Access::Read => &self.read,
            Access::Write => &self.write,
        }
    }
}
