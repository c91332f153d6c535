//! The random sequence of a seed: which step comes next.
//!
//! Invariant: the sequence is a function of the seed and of the revisions that correct servers reach, so that the same
//! seed on fresh servers gives the same sequence. Small pools of keys, lease ids and revisions make the steps meet each
//! other; bad values stand beside good ones in every pool. Does not send anything.

use bytes::Bytes;
use quorate::base::{Dice, SeededDice};
use quorate::wire::etcdserverpb as pb;

use super::step::Step;
use super::{plan_rare, plan_txn};

/// How many watch streams a sequence has. The last one is for watchers that start in the future or in the compacted past:
/// while one of the first kind waits no progress answer may come, and after one of the second kind stock etcd never
/// sends one on that stream again (it keeps the cancelled watcher and waits for it), so it is never asked for one.
pub const STREAMS: usize = 3;
/// The key every stream watches from its first request on.
pub const FIRST_KEY: &[u8] = b"k/first";
/// Lives at least this long cannot end within a run.
const LONG_LIFE: i64 = 3_600;

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
    /// Steps until a raised alarm is taken back.
    alarmed: Option<(u32, pb::AlarmRequest)>,
}

impl Plan {
    /// The sequence of `seed` on servers at revision `current`, compacted at `compact`.
    pub fn new(seed: u64, current: i64, compact: i64, base: i64) -> Self {
        let dice = SeededDice::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x7477_696e);
        Self { dice, current, compact, base, watchers: vec![Vec::new(); STREAMS], alarmed: None }
    }

    /// The next step.
    pub fn next_step(&mut self) -> Step {
        match &mut self.alarmed {
            Some((0, request)) => {
                let request = *request;
                self.alarmed = None;
                return Step::Alarm(pb::AlarmRequest { action: 2, ..request });
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        match self.dice.below(1000) {
            0..250 => Step::Put(self.put()),
            250..420 => Step::Range(self.range()),
            420..470 => Step::RangeStream(self.streamable_range()),
            470..550 => Step::Delete(self.delete()),
            550..740 => Step::Txn(plan_txn::txn(self)),
            740..748 => {
                Step::Compact(pb::CompactionRequest { revision: self.revision(), physical: self.dice.one_in(4) })
            }
            748..790 => Step::HashKv(self.revision()),
            790..880 => self.lease_step(),
            880..950 => self.watch_step(),
            950..956 => self.alarm(),
            956..965 => Step::Alarm(pb::AlarmRequest { action: 0, member_id: 0, alarm: self.dice.below(4) as i32 }),
            965..975 => Step::Status,
            975..978 => Step::MemberList(self.dice.one_in(2)),
            978..979 => Step::Defragment,
            _ => Step::Refused(plan_rare::refused(self)),
        }
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
        (key, end)
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

    /// A range for RangeStream. Order NONE with a target other than KEY sorts each chunk by itself and pages by the last
    /// key of an unordered chunk: what comes out depends on where chunks are cut, so it is not asked for.
    fn streamable_range(&mut self) -> pb::RangeRequest {
        let mut request = self.range();
        if request.sort_order == 0 {
            request.sort_target = 0;
        }
        if self.dice.one_in(2) {
            request.sort_order = 0;
            request.sort_target = 0;
        }
        request
    }

    fn lease_step(&mut self) -> Step {
        let id = self.lease();
        match self.dice.below(20) {
            0..6 => {
                let ttl = match self.dice.below(8) {
                    0 => 9_000_000_000,
                    1 => 9_000_000_001,
                    2 => i64::MAX,
                    _ => LONG_LIFE + self.dice.below(1000) as i64,
                };
                // Id 0 lets the server choose; only a brief lease can do that and stay comparable.
                Step::Grant(pb::LeaseGrantRequest { ttl, id: if id == 0 { 1 } else { id } })
            }
            6..8 => {
                let ttl = [0, -1, 1, 2, 3, i64::MIN, 60, LONG_LIFE][self.dice.below(8) as usize];
                let id = if self.dice.one_in(2) { 0 } else { 0x6000 + id.rem_euclid(7) };
                Step::BriefLease { grant: pb::LeaseGrantRequest { ttl, id }, key: self.key().to_vec() }
            }
            8..12 => Step::Revoke(id),
            12..16 => Step::TimeToLive(pb::LeaseTimeToLiveRequest { id, keys: !self.dice.one_in(3) }),
            16..18 => Step::Leases,
            _ => {
                let count = 1 + self.dice.below(4);
                Step::KeepAlive((0..count).map(|_| self.lease()).collect())
            }
        }
    }

    fn watch_step(&mut self) -> Step {
        let stream = self.dice.below(STREAMS as u64) as usize;
        let last = stream == STREAMS - 1;
        match self.dice.below(10) {
            0..6 if self.watchers[stream].len() < 12 => Step::Watch(stream, self.watch(last)),
            6 if !last => Step::Progress(stream),
            7 => Step::Cancel(stream, [-1, 0x1234, i64::MAX, i64::MIN][self.dice.below(4) as usize]),
            _ => {
                let ids = &self.watchers[stream];
                let at = self.dice.below(ids.len() as u64) as usize;
                Step::Cancel(stream, ids.get(at).copied().unwrap_or(3))
            }
        }
    }

    fn watch(&mut self, future: bool) -> pb::WatchCreateRequest {
        let (key, range_end) = self.span();
        let start = match self.dice.below(6) {
            0 if future => self.compact - 1,
            1 if future => self.dice.below(self.compact.max(1) as u64) as i64,
            2 if future => i64::MAX,
            3 if future => 0,
            _ if future => self.current + 1 + self.dice.below(60) as i64,
            _ => self.watch_start(),
        };
        let filters = match self.dice.below(8) {
            0 => vec![0],
            1 => vec![1],
            2 => vec![0, 1],
            3 => vec![0, 0, 7, -1],
            _ => Vec::new(),
        };
        pb::WatchCreateRequest {
            key,
            range_end,
            start_revision: start,
            progress_notify: self.dice.one_in(4),
            filters,
            prev_kv: self.dice.one_in(2),
            watch_id: match self.dice.below(10) {
                0 => -1,
                1 => i64::MAX,
                2..5 => 1 + self.dice.below(12) as i64,
                _ => 0,
            },
            fragment: self.dice.one_in(4),
        }
    }

    /// A start that is now, nonsense, or in the known past that is still there (see [`STREAMS`]).
    fn watch_start(&mut self) -> i64 {
        let start = match self.dice.below(10) {
            0..3 => 0,
            3 => -1,
            4 => i64::MIN,
            5 => self.compact,
            6 => self.compact + 1,
            _ => self.current - self.dice.below(60) as i64,
        };
        let known = start <= 0 || (start > self.base && start >= self.compact && start <= self.current);
        if known { start } else { 0 }
    }

    fn alarm(&mut self) -> Step {
        if self.alarmed.is_some() {
            return Step::Status;
        }
        // The member id is the caller's; a made-up one works and is the same on both sides.
        let member_id = [0, 5, u64::MAX][self.dice.below(3) as usize];
        let alarm = if self.dice.one_in(3) { 2 } else { 1 };
        let request = pb::AlarmRequest { action: 1, member_id, alarm };
        self.alarmed = Some((self.dice.below(25) as u32, request));
        Step::Alarm(request)
    }

    /// The steps that take everything back that would reach the next sequence, except revisions.
    pub fn last_steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        if let Some((_, request)) = self.alarmed.take() {
            steps.push(Step::Alarm(pb::AlarmRequest { action: 2, ..request }));
        }
        let everything = || (Bytes::from_static(&[0]), Bytes::from_static(&[0]));
        let (key, range_end) = everything();
        steps.push(Step::Range(pb::RangeRequest { key, range_end, ..Default::default() }));
        let (key, range_end) = everything();
        steps.push(Step::RangeStream(pb::RangeRequest { key, range_end, ..Default::default() }));
        steps.push(Step::HashKv(0));
        for id in (1..6).chain(0x7fff_0000..0x7fff_0003).chain([-1, i64::MIN, i64::MAX, -7]) {
            steps.push(Step::Revoke(id));
        }
        let (key, range_end) = everything();
        steps.push(Step::Delete(pb::DeleteRangeRequest { key, range_end, prev_kv: true }));
        steps.extend([Step::Leases, Step::HashKv(0)]);
        steps
    }
}

/// etcd's end of a prefix: the prefix plus one, open when all bytes are 0xff.
fn prefix_end(key: &[u8]) -> Bytes {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_steps_and_another_seed_others() {
        let steps = |seed| {
            let mut plan = Plan::new(seed, 10, 0, 1);
            (0..500).map(|_| format!("{:?}", plan.next_step())).collect::<Vec<_>>()
        };
        assert_eq!(steps(3), steps(3));
        assert_ne!(steps(3), steps(4));
    }

    #[test]
    fn a_watch_never_starts_where_history_is_unknown_and_only_the_last_stream_reaches_into_the_future() {
        let mut plan = Plan::new(1, 500, 40, 100);
        for _ in 0..50_000 {
            if let Step::Watch(stream, request) = plan.next_step() {
                let start = request.start_revision;
                assert!(!(40..=100).contains(&start), "start {start}");
                let odd = start > 500 || (start > 0 && start < 40);
                assert!(!odd || stream == STREAMS - 1, "start {start} on stream {stream}");
            }
        }
    }
}
