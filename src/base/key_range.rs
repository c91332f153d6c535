//! Ranges of keys, as `key` and `range_end` of etcd's requests name them.

use bytes::Bytes;

/// Where a range ends.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum RangeEnd {
    /// The range is the single key it starts with.
    Single,
    /// Every key below this one.
    Before(Bytes),
    /// Every key from the start on.
    Open,
}

/// A range of keys. One whose end is not above its start is empty, which is no error.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct KeyRange {
    /// The first key.
    pub start: Bytes,
    /// Where it ends.
    pub end: RangeEnd,
}

impl KeyRange {
    /// The range etcd means by `key` and `range_end`: no end is the single key, `"\0"` has no end.
    pub fn from_wire(key: Bytes, range_end: Bytes) -> Self {
        let end = if range_end.is_empty() {
            RangeEnd::Single
        } else if range_end[..] == [0] {
            RangeEnd::Open
        } else {
            RangeEnd::Before(range_end)
        };
        Self { start: key, end }
    }

    /// The single key.
    pub fn single(key: Bytes) -> Self {
        Self { start: key, end: RangeEnd::Single }
    }

    /// Every key.
    pub fn all() -> Self {
        Self { start: Bytes::new(), end: RangeEnd::Open }
    }

    /// The `range_end` that stands for this range's end on the wire.
    pub fn wire_end(&self) -> Bytes {
        match &self.end {
            RangeEnd::Single => Bytes::new(),
            RangeEnd::Before(end) => end.clone(),
            RangeEnd::Open => Bytes::from_static(b"\0"),
        }
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            RangeEnd::Single => self.start[..] == *key,
            RangeEnd::Before(end) => self.start[..] <= *key && *key < end[..],
            RangeEnd::Open => self.start[..] <= *key,
        }
    }

    /// What of the range lies behind `key`, which is in it.
    pub fn behind(&self, key: &[u8]) -> Self {
        match &self.end {
            RangeEnd::Single => Self { start: self.start.clone(), end: RangeEnd::Before(self.start.clone()) },
            end => Self { start: [key, &[0]].concat().into(), end: end.clone() },
        }
    }

    /// What of the range lies at `key`, which is in it, and behind.
    pub fn from_key(&self, key: &[u8]) -> Self {
        Self { start: Bytes::copy_from_slice(key), end: self.end.clone() }
    }

    /// Whether no key can lie in the range.
    pub fn is_empty(&self) -> bool {
        matches!(&self.end, RangeEnd::Before(end) if end[..] <= self.start[..])
    }

    /// The single key, if that is what the range is.
    pub fn as_single(&self) -> Option<&Bytes> {
        matches!(self.end, RangeEnd::Single).then_some(&self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &'static [u8], end: &'static [u8]) -> KeyRange {
        KeyRange::from_wire(Bytes::from_static(key), Bytes::from_static(end))
    }

    #[test]
    fn ends_mean_what_etcd_means() {
        assert!(range(b"a", b"").contains(b"a"));
        assert!(!range(b"a", b"").contains(b"aa"));
        assert!(range(b"a", b"\0").contains(b"zz"));
        assert!(!range(b"a", b"\0").contains(b"A"));
        assert!(range(b"\0", b"\0").contains(b"\0"));
        assert!(range(b"a", b"c").contains(b"bzz"));
        assert!(!range(b"a", b"c").contains(b"c"));
        assert!(range(b"c", b"a").is_empty());
        assert!(range(b"c", b"c").is_empty());
        assert!(!range(b"c", b"c").contains(b"c"));
    }

    #[test]
    fn nothing_lies_between_a_key_and_what_is_behind_it() {
        let all = range(b"a", b"c");
        assert!(!all.behind(b"ab").contains(b"ab") && all.behind(b"ab").contains(b"ab\0"));
        assert!(!all.behind(b"ab").contains(b"c") && range(b"a", b"\0").behind(b"ab").contains(b"zz"));
        assert!(range(b"a", b"").behind(b"a").is_empty());
    }

    #[test]
    fn wire_end_round_trips() {
        for (key, end) in [(b"a", &b""[..]), (b"a", b"\0"), (b"a", b"b")] {
            let range = KeyRange::from_wire(Bytes::from_static(key), Bytes::copy_from_slice(end));
            assert_eq!(range.wire_end(), end);
        }
    }
}
