//! The random draws of a seed that steps are made of: keys, spans, values, revisions, and requests of them.
//!
//! Invariant: the sequence is a function of the seed and of the revisions that correct servers reach, so that the same
//! seed on fresh servers gives the same sequence. Small pools of keys, lease ids and revisions make the steps meet each
//! other; bad values stand beside good ones in every pool. Does not send anything.

use bytes::Bytes;
use quorate::base::{Dice, SeededDice};
use quorate::wire::etcdserverpb as pb;

/// How many watch streams a sequence has. The last one is for watchers that start in the future or in the compacted past:
/// while one of the first kind waits no progress answer may come, and after one of the second kind stock etcd never
/// sends one on that stream again (it keeps the cancelled watcher and waits for it), so it is never asked for one.
pub const STREAMS: usize = 3;
/// The key every stream watches from its first request on.
pub const FIRST_KEY: &[u8] = b"k/first";
/// Lives at least this long cannot end within a run.
pub(super) const LONG_LIFE: i64 = 3_600;

/// The generator of one sequence.
pub struct Plan {
    pub(super) dice: SeededDice,
    /// The revision both sides have reached.
    pub current: i64,
    /// The last compacted revision, 0 before the first.
    pub compact: i64,
    /// The revision before which watch history is not known.
    pub base: i64,
    /// Ids of the watchers of each stream.
    pub watchers: Vec<Vec<i64>>,
    /// Whether no range ends before it begins: with users, stock etcd's answer to such a one hangs on the shape of the tree
    /// in which it keeps permissions.
    pub(super) forward: bool,
    /// Steps until a raised alarm is taken back.
    pub(super) alarmed: Option<(u32, pb::AlarmRequest)>,
}

impl Plan {
    /// The sequence of `seed` on servers at revision `current`, compacted at `compact`.
    pub fn new(seed: u64, current: i64, compact: i64, base: i64) -> Self {
        let dice = SeededDice::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x7477_696e);
        Self { dice, current, compact, base, watchers: vec![Vec::new(); STREAMS], forward: false, alarmed: None }
    }

    /// A key: mostly one of a few, so that requests meet; sometimes empty, binary or long.
    pub fn key(&mut self) -> Bytes {
        match self.dice.below(40) {
            0 => Bytes::new(),
            1 => Bytes::from_static(&[0]),
            2 => Bytes::from_static(&[0xff]),
            3 => Bytes::from_static(&[0xff, 0xff]),
            4 => Bytes::from_static(b"k/\x00\xfe\xff"),
            5 => Bytes::from(vec![b'L'; 1 + self.dice.below(3000) as usize]),
            6 => Bytes::from_static(b"\xc3\x28 not utf-8"),
            7..15 => format!("k/{}/{}", self.dice.below(3), self.dice.below(4)).into(),
            _ => format!("k/{}", self.dice.below(12)).into(),
        }
    }

    /// A key and a range end of every kind: none, prefix, any, backwards, equal, open, overflowing.
    pub fn span(&mut self) -> (Bytes, Bytes) {
        let key = self.key();
        let end = match self.dice.below(12) {
            0..4 => Bytes::new(),
            4..6 => prefix_end(&key),
            6..8 => self.key(),
            8 => Bytes::from_static(&[0]),
            9 => key.clone(),
            10 => return (Bytes::from_static(&[0]), Bytes::from_static(&[0])),
            _ => return (Bytes::from_static(b"k/"), Bytes::from_static(b"k0")),
        };
        let is_backwards = end.as_ref() != [0] && !end.is_empty() && end < key;
        if self.forward && is_backwards { (end, key) } else { (key, end) }
    }

    /// A value, now and then empty or large.
    pub fn value(&mut self) -> Bytes {
        match self.dice.below(30) {
            0..3 => Bytes::new(),
            3 => Bytes::from(vec![self.dice.next_u64() as u8; self.dice.below(40_000) as usize]),
            4..10 => format!("v{}", self.dice.below(4)).into(),
            _ => format!("value {}", self.dice.next_u64()).into(),
        }
    }

    /// A revision of every kind: current, past, compacted, future, nonsense.
    pub fn revision(&mut self) -> i64 {
        match self.dice.below(24) {
            0..6 => 0,
            6..8 => self.current,
            8..14 => self.current - self.dice.below(30) as i64,
            14 => self.compact,
            15 => self.compact + 1,
            16 => self.compact - 1,
            17 => self.current + 1,
            18 => self.current + 1 + self.dice.below(50) as i64,
            19 => -(self.dice.below(4) as i64),
            20 => 1,
            21 => self.dice.below(self.current.max(1) as u64) as i64,
            22 => i64::MAX,
            _ => i64::MIN,
        }
    }

    /// A lease id: none, one of a few, one that is not there, negative, largest.
    pub fn lease(&mut self) -> i64 {
        match self.dice.below(16) {
            0..8 => 0,
            8..14 => 1 + self.dice.below(5) as i64,
            14 => 0x7fff_0000 + self.dice.below(3) as i64,
            _ => [-1, i64::MIN, i64::MAX, -7][self.dice.below(4) as usize],
        }
    }

    /// An enum value, rarely one outside of the enum.
    pub fn choice(&mut self, count: u64) -> i32 {
        match self.dice.below(60) {
            0 => [99, -1, i32::MAX, i32::MIN, count as i32][self.dice.below(5) as usize],
            _ => self.dice.below(count) as i32,
        }
    }

    /// A put with every option.
    pub fn put(&mut self) -> pb::PutRequest {
        let (ignore_value, ignore_lease) = (self.dice.one_in(10), self.dice.one_in(10));
        pb::PutRequest {
            key: self.key(),
            value: if ignore_value && !self.dice.one_in(5) { Bytes::new() } else { self.value() },
            lease: if (ignore_lease && !self.dice.one_in(5)) || self.dice.one_in(2) { 0 } else { self.lease() },
            prev_kv: self.dice.one_in(3),
            ignore_value,
            ignore_lease,
        }
    }

    /// A delete with every option.
    pub fn delete(&mut self) -> pb::DeleteRangeRequest {
        let (key, range_end) = self.span();
        pb::DeleteRangeRequest { key, range_end, prev_kv: self.dice.one_in(2) }
    }

    /// A range with every option.
    pub fn range(&mut self) -> pb::RangeRequest {
        let (key, range_end) = self.span();
        let mut request = pb::RangeRequest {
            key,
            range_end,
            limit: [0, 0, 0, 1, 2, 3, 7, 100, -1, i64::MAX, i64::MIN][self.dice.below(11) as usize],
            revision: self.revision(),
            serializable: self.dice.one_in(3),
            keys_only: self.dice.one_in(4),
            count_only: self.dice.one_in(8),
            ..Default::default()
        };
        if self.dice.one_in(3) {
            request.sort_order = self.choice(3);
            request.sort_target = self.choice(5);
        }
        if self.dice.one_in(5) {
            request.min_mod_revision = self.bound();
            request.max_mod_revision = self.bound();
            request.min_create_revision = self.bound();
            request.max_create_revision = self.bound();
        }
        request
    }

    fn bound(&mut self) -> i64 {
        if self.dice.one_in(2) { 0 } else { self.revision() }
    }
}

/// etcd's end of a prefix: the prefix plus one, open when all bytes are 0xff.
pub(super) fn prefix_end(key: &[u8]) -> Bytes {
    let mut end = key.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < 0xff {
            *last += 1;
            return end.into();
        }
        end.pop();
    }
    Bytes::from_static(&[0])
}
