//! The keys that the deletes of a transaction take, so that asking for one costs a logarithm and not a look at each delete.
//!
//! Invariant: a key is in it when one of the ranges that were added holds it. Does not know what is done with them.

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};

use crate::base::{KeyRange, RangeEnd};

/// Where a run of keys ends; later ones are greater.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum End<'a> {
    /// With this key.
    With(&'a [u8]),
    /// Before this key.
    Before(&'a [u8]),
    Open,
}

impl End<'_> {
    fn holds(&self, key: &[u8]) -> bool {
        match self {
            Self::With(end) => key <= *end,
            Self::Before(end) => key < *end,
            Self::Open => true,
        }
    }

    /// Whether it ends behind `other` does.
    fn is_behind(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Open, _) => *other != Self::Open,
            (_, Self::Open) => false,
            (Self::With(a), Self::With(b)) | (Self::Before(a), Self::Before(b)) => a > b,
            (Self::With(a), Self::Before(b)) => a >= b,
            (Self::Before(a), Self::With(b)) => {
                // Nothing lies between a key and the same with a zero behind it.
                *a > *b && a.strip_prefix(*b) != Some(&[0])
            }
        }
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Deleted<'a>(BTreeMap<&'a [u8], End<'a>>);

impl<'a> Deleted<'a> {
    /// Adds a range.
    pub(super) fn add(&mut self, range: &'a KeyRange) {
        if range.is_empty() {
            return;
        }
        let end = match &range.end {
            RangeEnd::Single => End::With(&range.start),
            RangeEnd::Before(end) => End::Before(end),
            RangeEnd::Open => End::Open,
        };
        self.put(&range.start, end);
    }

    /// Adds all that another has.
    pub(super) fn add_all(&mut self, other: Self) {
        other.0.into_iter().for_each(|(start, end)| self.put(start, end));
    }

    fn put(&mut self, start: &'a [u8], end: End<'a>) {
        if let Some((_, before)) = self.0.range::<[u8], _>((Unbounded, Included(start))).next_back()
            && !end.is_behind(before)
        {
            return;
        }
        // Runs that lie wholly in the new one go; one that begins before it may overlap, and is asked first.
        while let Some((other, until)) = self.0.range::<[u8], _>((Included(start), Unbounded)).next()
            && end.holds(other)
            && !until.is_behind(&end)
        {
            let other = *other;
            self.0.remove(other);
        }
        self.0.insert(start, end);
    }

    /// Whether a key is in it.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        // Of runs that overlap a later one ends later: the last that begins at or before the key ends last of all those.
        self.0.range::<[u8], _>((Unbounded, Included(key))).next_back().is_some_and(|(_, end)| end.holds(key))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn word() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(prop::sample::select(vec![0_u8, b'a', b'b', 255]), 0..4).prop_map(Bytes::from)
    }

    fn end() -> impl Strategy<Value = RangeEnd> {
        prop_oneof![
            3 => Just(RangeEnd::Single),
            3 => word().prop_map(RangeEnd::Before),
            1 => Just(RangeEnd::Open),
        ]
    }

    proptest! {
        #[test]
        fn holds_what_one_of_its_ranges_holds(
            ranges in prop::collection::vec((word(), end()), 0..12), keys in prop::collection::vec(word(), 0..40),
            cut in 0..12_usize,
        ) {
            let ranges: Vec<KeyRange> = ranges.into_iter().map(|(start, end)| KeyRange { start, end }).collect();
            let (first, second) = ranges.split_at(cut.min(ranges.len()));
            let (mut deleted, mut others) = (Deleted::default(), Deleted::default());
            first.iter().for_each(|range| deleted.add(range));
            second.iter().for_each(|range| others.add(range));
            deleted.add_all(others);
            for key in keys {
                prop_assert_eq!(deleted.contains(&key), ranges.iter().any(|range| range.contains(&key)), "{:?}", key);
            }
        }
    }
}
