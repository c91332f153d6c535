//! The random sequence of a seed: which step comes next.

use bytes::Bytes;
use quorate::base::Dice;
use quorate::wire::etcdserverpb as pb;

use super::plan::{LONG_LIFE, Plan, STREAMS};
use super::step::Step;
use super::{plan_rare, plan_txn};

impl Plan {
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
            _ => plan_rare::rare(self),
        }
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
