//! The leader's clock of leases: when each falls due.
//!
//! Only the leader has one; it is made anew with every promotion from the replicated table, and nothing in it
//! is replicated. The clock decides nothing: it names leases whose revocation should be proposed. Time is
//! handed in.
//!
//! Invariants: a lease is in exactly one of two orders, the living or those being revoked; a lease that fell
//! due is named once, until it is forgotten (the revocation was applied) or handed back (it failed); no lease
//! is named before its deadline, and a change of leader never shortens one.
//!
//! Time in which the member heard nothing ([`LeaseClock::stand_still`]) is none: a lease has as much left after it as
//! before, so what its client said meanwhile is heard first. All deadlines here are of a time that leaves it out.
//!
//! The last needs care where remainders are written down (`LeaseCheckpoint`): the next leader counts from what is
//! written, which knows nothing of a renewal since. So a lease counts as written from the moment its remainder is named,
//! and its renewal may be told only once an entry behind it has forgotten the remainder.
//!
//! Does not know the smallest time to live: whoever proposes a grant raises it to etcd's minimum
//! (`ceil(3 * election_ticks / 2 * heartbeat)`, 2 s with default flags) before it enters the log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::LeaseId;
use crate::base::limits::LEASES_DUE_PER_SECOND_AFTER_PROMOTION;
use crate::env::Instant;

/// A lease on the clock.
#[derive(Clone, Copy, Debug)]
struct Timer {
    /// Seconds a renewal is good for.
    ttl: i64,
    deadline: Instant,
    /// Named as due and not heard of since.
    revoking: bool,
    written: Written,
    /// When its remainder is looked at next; nothing where it is too short for that.
    look_at: Option<Instant>,
}

/// What the log may say a lease has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Written {
    /// Nothing: the next leader gives it its time in full.
    Nothing,
    /// A remainder was named, here or before a change of leader.
    Remainder,
    /// An entry that forgets it is under way.
    Forgetting,
}

/// What came of a renewal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Renewal {
    /// The lease is unknown, has fallen due or is being revoked.
    Gone,
    /// It lives for so many seconds, and that may be told.
    Told(i64),
    /// It lives, which may be told once its remainder is forgotten. That is to be proposed.
    Forget(i64),
    /// The same, and the entry that forgets it is under way.
    Forgetting(i64),
}

/// Deadlines of leases. An idle tick costs one look at the earliest; everything else is O(log leases).
#[derive(Clone, Debug)]
pub struct LeaseClock {
    // Trees, not a hash map and a heap: ids are the clients' choice and could be made to collide, renewals
    // would fill a heap with stale deadlines, and the order is asked for (`ids_by_remaining`).
    timers: BTreeMap<LeaseId, Timer>,
    living: BTreeSet<(Instant, LeaseId)>,
    revoking: BTreeSet<(Instant, LeaseId)>,
    /// Whose remainder is to be looked at when.
    looks: BTreeSet<(Instant, LeaseId)>,
    /// Time between two looks at a remainder; shorter ones are not written down.
    checkpoint_interval: Duration,
    /// How long the member stood still since it began to count.
    stood_still: Duration,
}

impl LeaseClock {
    /// A clock without leases, which names remainders longer than `checkpoint_interval` so often.
    pub fn new(checkpoint_interval: Duration) -> Self {
        Self {
            timers: BTreeMap::new(),
            living: BTreeSet::new(),
            revoking: BTreeSet::new(),
            looks: BTreeSet::new(),
            checkpoint_interval,
            stood_still: Duration::ZERO,
        }
    }

    /// For so long the member heard nothing: for leases it did not pass.
    pub fn stand_still(&mut self, time: Duration) {
        self.stood_still = self.stood_still.saturating_add(time);
    }

    /// The moment as leases count. One before a standstill is taken for earlier than it was, which costs no lease anything.
    fn counted(&self, moment: Instant) -> Instant {
        Instant(self.stood_still.as_nanos().try_into().map_or(0, |still| moment.0.saturating_sub(still)))
    }

    /// Starts the time of a lease of `ttl` seconds. Replaces what was known of the id.
    pub fn grant(&mut self, id: LeaseId, ttl: i64, now: Instant) {
        self.forget(id);
        let now = self.counted(now);
        self.start(id, ttl, now.plus(seconds(ttl)), Written::Nothing, now);
    }

    /// Starts the time of a lease again, in full. One that had fallen due when it was `asked` for or is being revoked
    /// can not be saved any more, even if the revocation is still under way, because its keys may be gone already
    /// elsewhere. Between asking and now may lie a round that confirmed the leadership: it costs the lease nothing.
    pub fn renew(&mut self, id: LeaseId, asked: Instant, now: Instant) -> Renewal {
        let (asked, now) = (self.counted(asked), self.counted(now));
        let Some(timer) = self.timers.get_mut(&id).filter(|timer| !timer.revoking && timer.deadline > asked) else {
            return Renewal::Gone;
        };
        // After a promotion with an extension the old deadline can be the later one, and then it stays.
        let renewed = now.plus(seconds(timer.ttl)).max(timer.deadline);
        let was = std::mem::replace(&mut timer.deadline, renewed);
        let (ttl, deadline, written) = (timer.ttl, timer.deadline, timer.written);
        if written == Written::Remainder {
            timer.written = Written::Forgetting;
        }
        assert!(self.living.remove(&(was, id)), "a living lease is in order");
        self.living.insert((deadline, id));
        self.look_later(id, now);
        match written {
            Written::Nothing => Renewal::Told(ttl),
            Written::Remainder => Renewal::Forget(ttl),
            Written::Forgetting => Renewal::Forgetting(ttl),
        }
    }

    /// What of a lease was written is forgotten, as applied.
    pub fn forgotten(&mut self, id: LeaseId) {
        self.write(id, Written::Forgetting, Written::Nothing);
    }

    /// The entry that forgets came to nothing, or may have.
    pub fn not_forgotten(&mut self, id: LeaseId) {
        self.write(id, Written::Forgetting, Written::Remainder);
    }

    fn write(&mut self, id: LeaseId, from: Written, to: Written) {
        if let Some(timer) = self.timers.get_mut(&id).filter(|timer| timer.written == from) {
            timer.written = to;
        }
    }

    /// Up to `max` leases whose remainder is to be written down now, with its seconds, rounded up.
    pub fn remainders(&mut self, now: Instant, max: usize) -> Vec<(LeaseId, i64)> {
        let now = self.counted(now);
        let mut named = Vec::new();
        while named.len() < max {
            let Some((_, id)) = self.looks.first().copied().filter(|(at, _)| *at <= now) else { break };
            self.look_never(id);
            self.look_later(id, now);
            let timer = self.timers.get_mut(&id).expect("a lease that is looked at is on the clock");
            let left = seconds_up(timer.deadline.since(now));
            // One that has its time in full has it without a word; one that is just being renewed is looked at later.
            if left < timer.ttl && left > 0 && !timer.revoking && timer.written != Written::Forgetting {
                timer.written = Written::Remainder;
                named.push((id, left));
            }
        }
        named
    }

    /// Looks at the lease's remainder in an interval, if it does not fall due before and is not looked at anyhow.
    fn look_later(&mut self, id: LeaseId, now: Instant) {
        let timer = self.timers.get_mut(&id).expect("only leases on the clock are looked at");
        if timer.look_at.is_none() && timer.deadline.since(now) > self.checkpoint_interval {
            let at = now.plus(self.checkpoint_interval);
            timer.look_at = Some(at);
            self.looks.insert((at, id));
        }
    }

    fn look_never(&mut self, id: LeaseId) {
        if let Some(at) = self.timers.get_mut(&id).and_then(|timer| timer.look_at.take()) {
            assert!(self.looks.remove(&(at, id)), "a look is in the order its timer says");
        }
    }

    /// Time left; zero when it has fallen due, `None` when it is unknown.
    pub fn remaining(&self, id: LeaseId, now: Instant) -> Option<Duration> {
        self.timers.get(&id).map(|timer| timer.deadline.since(self.counted(now)))
    }

    /// The lease is gone. Unknown ids are passed over.
    pub fn forget(&mut self, id: LeaseId) {
        self.look_never(id);
        let Some(timer) = self.timers.remove(&id) else { return };
        let order = if timer.revoking { &mut self.revoking } else { &mut self.living };
        assert!(order.remove(&(timer.deadline, id)), "a lease is in the order its timer says");
    }

    /// Begins a leadership: every lease of the table, as (id, seconds granted, seconds left at the last
    /// checkpoint or 0), gets its time, in full where there was no checkpoint, and `extend` more, at least an
    /// election timeout, for the time nobody counted. What was known before is dropped. Where many would fall
    /// due together they get a little more, so that they go a few at a time.
    pub fn promote(&mut self, now: Instant, leases: impl IntoIterator<Item = (LeaseId, i64, i64)>, extend: Duration) {
        self.demote();
        let mut timers: Vec<(Instant, LeaseId, i64, Written)> = leases
            .into_iter()
            .map(|(id, ttl, left)| {
                let (left, written) = if left > 0 { (left, Written::Remainder) } else { (ttl, Written::Nothing) };
                (now.plus(extend).plus(seconds(left)), id, ttl, written)
            })
            .collect();
        timers.sort_unstable_by_key(|(own, id, ..)| (*own, *id));
        // Of a second's worth of leases none is moved; the first beyond follows the first of them by a second.
        let window = LEASES_DUE_PER_SECOND_AFTER_PROMOTION;
        let mut deadlines: Vec<Instant> = Vec::with_capacity(timers.len());
        for (own, id, ttl, written) in timers {
            let place = deadlines.len();
            let mut deadline = own;
            if let Some(first) = place.checked_sub(window) {
                deadline = deadline.max(deadlines[first].plus(Duration::from_secs(1)));
            }
            // Order is kept: who had more time left does not fall due before who had less.
            deadline = deadlines.last().map_or(deadline, |last| deadline.max(*last));
            deadlines.push(deadline);
            self.start(id, ttl, deadline, written, now);
        }
    }

    /// Ends a leadership: time is no longer this member's business.
    pub fn demote(&mut self) {
        *self = Self::new(self.checkpoint_interval);
    }

    /// Up to `max` leases that have fallen due, the earliest first. Each is named once: its revocation is then
    /// under way until [`LeaseClock::forget`] or [`LeaseClock::retry`].
    pub fn due(&mut self, now: Instant, max: usize) -> Vec<LeaseId> {
        let now = self.counted(now);
        let mut due = Vec::new();
        while due.len() < max {
            let Some((deadline, id)) = self.living.first().copied().filter(|(deadline, _)| *deadline <= now) else {
                break;
            };
            self.living.pop_first();
            self.revoking.insert((deadline, id));
            self.timers.get_mut(&id).expect("an ordered lease has a timer").revoking = true;
            due.push(id);
        }
        due
    }

    /// The revocation of a lease failed: it will be named again. Ids that are gone or were not named are
    /// passed over.
    pub fn retry(&mut self, id: LeaseId) {
        let Some(timer) = self.timers.get_mut(&id).filter(|timer| timer.revoking) else { return };
        timer.revoking = false;
        let deadline = timer.deadline;
        assert!(self.revoking.remove(&(deadline, id)), "a lease being revoked is in order");
        self.living.insert((deadline, id));
    }

    /// The earliest deadline of a lease that was not named as due, if the member does not stand still until then.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.living.first().map(|(deadline, _)| deadline.plus(self.stood_still))
    }

    /// Leases whose revocation is under way.
    pub fn in_flight(&self) -> usize {
        self.revoking.len()
    }

    /// All leases, the least time left first: etcd's order of `LeaseLeases`. Costs time in proportion to them.
    pub fn ids_by_remaining(&self) -> Vec<LeaseId> {
        let mut all: Vec<(Instant, LeaseId)> = self.revoking.iter().chain(&self.living).copied().collect();
        // Two sorted runs: the sort only merges them.
        all.sort();
        all.into_iter().map(|(_, id)| id).collect()
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.timers.len()
    }

    /// Whether there is no lease.
    pub fn is_empty(&self) -> bool {
        self.timers.is_empty()
    }

    fn start(&mut self, id: LeaseId, ttl: i64, deadline: Instant, written: Written, now: Instant) {
        let was = self.timers.insert(id, Timer { ttl, deadline, revoking: false, written, look_at: None });
        assert!(was.is_none(), "a lease is on the clock once");
        self.living.insert((deadline, id));
        self.look_later(id, now);
    }
}

/// A time to live as a duration; a negative one is none at all.
fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}

/// Whole seconds, rounded up.
fn seconds_up(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX).saturating_add(i64::from(time.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn new_clock() -> LeaseClock {
        LeaseClock::new(Duration::from_secs(300))
    }

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    #[test]
    fn a_lease_falls_due_at_its_deadline_and_not_before() {
        let mut clock = new_clock();
        clock.grant(1, 5, at(10));
        assert_eq!(clock.next_deadline(), Some(at(15)));
        assert!(clock.due(Instant(at(15).0 - 1), 9).is_empty());
        assert_eq!(clock.remaining(1, at(12)), Some(Duration::from_secs(3)));
        assert_eq!(clock.due(at(15), 9), [1]);
        assert_eq!(clock.remaining(1, at(20)), Some(Duration::ZERO));
    }

    #[test]
    fn what_fell_due_cannot_be_renewed() {
        let mut clock = new_clock();
        clock.grant(1, 5, at(0));
        assert_eq!(clock.renew(1, at(4), at(4)), Renewal::Told(5));
        assert_eq!(clock.renew(1, at(9), at(9)), Renewal::Gone, "due, though not named yet");
        assert_eq!(clock.due(at(9), 9), [1]);
        assert_eq!(clock.renew(1, at(9), at(9)), Renewal::Gone);
        clock.retry(1);
        assert_eq!(clock.renew(1, at(9), at(9)), Renewal::Gone, "a failed revocation does not bring it back");
        assert_eq!(clock.renew(2, at(0), at(0)), Renewal::Gone);
    }

    #[test]
    fn time_in_which_nothing_was_heard_is_none() {
        let mut clock = new_clock();
        clock.grant(1, 5, at(10));
        clock.grant(2, 5, at(2));
        clock.stand_still(Duration::from_secs(8));
        assert_eq!(clock.remaining(1, at(20)), Some(Duration::from_secs(3)), "as at 12, when it stood still");
        assert_eq!(clock.due(at(20), 9), [2], "it was due at 7, and the member heard until 12");
        assert_eq!(clock.next_deadline(), Some(at(23)));
        assert!(clock.due(at(22), 9).is_empty());
        assert_eq!(clock.renew(1, at(22), at(22)), Renewal::Told(5));
        assert!(clock.due(at(26), 9).is_empty());
        assert_eq!(clock.due(at(27), 9), [1], "no longer than its time after that");
        clock.promote(at(30), [(3, 5, 0)], Duration::from_secs(1));
        assert_eq!(clock.due(at(36), 9), [3], "who begins to count begins anew");
    }

    #[test]
    fn a_renewal_asked_before_the_grant_shortens_nothing() {
        let mut clock = new_clock();
        clock.grant(1, 5, at(10));
        assert_eq!(clock.renew(1, at(8), at(8)), Renewal::Told(5));
        assert!(clock.due(Instant(at(15).0 - 1), 9).is_empty());
    }

    #[test]
    fn due_leases_are_named_once_bounded_and_again_after_a_retry() {
        let mut clock = new_clock();
        for id in 1..=5 {
            clock.grant(id, 10 - id, at(0));
        }
        assert_eq!(clock.due(at(100), 2), [5, 4]);
        assert_eq!(clock.in_flight(), 2);
        clock.retry(5);
        clock.forget(4);
        assert_eq!(clock.due(at(100), 2), [5, 3]);
        assert_eq!(clock.due(at(100), 9), [2, 1]);
        assert!(clock.due(at(100), 9).is_empty());
        assert_eq!(clock.len(), 4);
    }

    #[test]
    fn a_promotion_gives_what_was_left_and_the_extension() {
        let mut clock = new_clock();
        clock.grant(9, 1, at(0));
        clock.promote(at(50), [(1, 60, 0), (2, 60, 20), (3, -1, 0)], Duration::from_secs(1));
        assert_eq!(clock.remaining(1, at(50)), Some(Duration::from_secs(61)));
        assert_eq!(clock.remaining(2, at(50)), Some(Duration::from_secs(21)));
        assert_eq!(clock.remaining(3, at(50)), Some(Duration::from_secs(1)));
        assert_eq!(clock.remaining(9, at(50)), None);
        assert_eq!(clock.ids_by_remaining(), [3, 2, 1]);
        assert_eq!(
            clock.renew(2, at(51), at(51)),
            Renewal::Forget(60),
            "a renewal is in full, and outdates what is written"
        );
        assert_eq!(clock.renew(2, at(52), at(52)), Renewal::Forgetting(60));
        clock.forgotten(2);
        assert_eq!(clock.renew(2, at(53), at(53)), Renewal::Told(60));
    }

    #[test]
    fn long_remainders_are_named_every_interval_until_they_are_short() {
        let mut clock = new_clock();
        clock.grant(1, 300, at(0));
        clock.grant(2, 1_000, at(0));
        clock.grant(3, 700, at(0));
        assert!(clock.remainders(at(299), 9).is_empty());
        assert_eq!(clock.remainders(at(300), 1), [(2, 700)]);
        assert_eq!(clock.remainders(at(301), 9), [(3, 399)]);
        assert!(clock.remainders(at(302), 9).is_empty(), "once in an interval");
        assert_eq!(clock.renew(3, at(500), at(500)), Renewal::Forget(700));
        assert_eq!(clock.remainders(at(601), 9), [(2, 399)], "not while a renewal is under way");
        clock.forgotten(3);
        assert_eq!(clock.remainders(at(901), 9), [(2, 99), (3, 299)]);
        assert!(clock.remainders(at(999), 9).is_empty(), "the second is short now");
        assert!(clock.remainders(Instant(at(300).0 * 5), 9).is_empty());
        assert_eq!(clock.due(at(1_200), 9), [1, 2, 3]);
    }

    #[test]
    fn what_has_its_time_in_full_needs_no_word() {
        let mut clock = new_clock();
        clock.grant(1, 1_000, at(0));
        assert_eq!(clock.renew(1, at(300), at(300)), Renewal::Told(1_000));
        assert!(clock.remainders(at(300), 9).is_empty());
        assert_eq!(clock.remainders(Instant(at(600).0 + 1), 9), [(1, 700)], "rounded up");
    }

    #[test]
    fn a_promotion_spreads_what_would_fall_due_together() {
        let rate = LEASES_DUE_PER_SECOND_AFTER_PROMOTION;
        let mut clock = new_clock();
        let leases = (1..=3 * rate as i64 + 1).map(|id| (id, 10, 0));
        clock.promote(at(0), leases, Duration::from_secs(1));
        assert_eq!(clock.due(at(11), usize::MAX).len(), rate, "as many as a second takes are not moved");
        for second in 12..14 {
            assert_eq!(clock.due(at(second), usize::MAX).len(), rate);
        }
        assert_eq!(clock.due(at(14), usize::MAX).len(), 1);
    }

    #[test]
    fn the_longest_lease_does_not_overflow() {
        let mut clock = new_clock();
        clock.grant(1, i64::MAX, at(1_000_000_000));
        assert!(clock.due(at(9_000_000_000), 9).is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Grant(LeaseId, i64),
        Renew(LeaseId),
        Forget(LeaseId),
        Retry(LeaseId),
        Due(usize),
        Wait(u64),
        Promote(u64),
    }

    fn some_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1..8i64, 0..6i64).prop_map(|(id, ttl)| Step::Grant(id, ttl)),
            3 => (1..8i64).prop_map(Step::Renew),
            1 => (1..8i64).prop_map(Step::Forget),
            1 => (1..8i64).prop_map(Step::Retry),
            3 => (0..4usize).prop_map(Step::Due),
            4 => (0..4u64).prop_map(Step::Wait),
            1 => (0..3u64).prop_map(Step::Promote),
        ]
    }

    /// A lease of the twin, which is a list searched from end to end.
    #[derive(Clone, Debug)]
    struct Plain {
        id: LeaseId,
        ttl: i64,
        deadline: u64,
        revoking: bool,
    }

    proptest! {
        #[test]
        fn the_clock_is_its_naive_twin(steps in prop::collection::vec(some_step(), 1..100)) {
            let mut clock = new_clock();
            let mut twin: Vec<Plain> = Vec::new();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Grant(id, ttl) => {
                        clock.grant(id, ttl, at(now));
                        twin.retain(|one| one.id != id);
                        twin.push(Plain { id, ttl, deadline: now + ttl as u64, revoking: false });
                    }
                    Step::Renew(id) => {
                        let found = twin.iter_mut().find(|one| one.id == id && !one.revoking && one.deadline > now);
                        let want = found.map(|one| {
                            one.deadline = one.deadline.max(now + one.ttl as u64);
                            Renewal::Told(one.ttl)
                        });
                        prop_assert_eq!(clock.renew(id, at(now), at(now)), want.unwrap_or(Renewal::Gone));
                    }
                    Step::Forget(id) => {
                        clock.forget(id);
                        twin.retain(|one| one.id != id);
                    }
                    Step::Retry(id) => {
                        clock.retry(id);
                        twin.iter_mut().filter(|one| one.id == id).for_each(|one| one.revoking = false);
                    }
                    Step::Due(max) => {
                        twin.sort_by_key(|one| (one.deadline, one.id));
                        let mut want = Vec::new();
                        for one in twin.iter_mut().filter(|one| !one.revoking && one.deadline <= now).take(max) {
                            one.revoking = true;
                            want.push(one.id);
                        }
                        prop_assert_eq!(clock.due(at(now), max), want);
                    }
                    Step::Wait(seconds) => now += seconds,
                    Step::Promote(extend) => {
                        let table: Vec<_> = twin.iter().map(|one| (one.id, one.ttl, 0)).collect();
                        clock.promote(at(now), table, Duration::from_secs(extend));
                        for one in &mut twin {
                            one.deadline = now + extend + one.ttl as u64;
                            one.revoking = false;
                        }
                    }
                }
                twin.sort_by_key(|one| (one.deadline, one.id));
                prop_assert_eq!(clock.ids_by_remaining(), twin.iter().map(|one| one.id).collect::<Vec<_>>());
                prop_assert_eq!(clock.in_flight(), twin.iter().filter(|one| one.revoking).count());
                let next = twin.iter().find(|one| !one.revoking).map(|one| at(one.deadline));
                prop_assert_eq!(clock.next_deadline(), next);
                for one in &twin {
                    let left = Duration::from_secs(one.deadline.saturating_sub(now));
                    prop_assert_eq!(clock.remaining(one.id, at(now)), Some(left));
                }
            }
        }

        /// What a client was told holds under every later leader, whatever of the log the change of leader took.
        #[test]
        fn a_renewal_that_was_told_outlives_every_change_of_leader(
            steps in prop::collection::vec((0..6_u8, 1..4_i64, 1..40_u64), 1..120),
        ) {
            let mut clock = LeaseClock::new(Duration::from_secs(10));
            // What is applied, and what is proposed behind it.
            let mut table: BTreeMap<LeaseId, (i64, i64)> = (1..4).map(|id| (id, (20 * id, 0))).collect();
            let mut log: std::collections::VecDeque<(LeaseId, i64)> = Default::default();
            let mut waiting: Vec<(LeaseId, Instant)> = Vec::new();
            let mut told: BTreeMap<LeaseId, Instant> = BTreeMap::new();
            let mut now = 0;
            table.iter().for_each(|(id, (ttl, _))| clock.grant(*id, *ttl, at(0)));
            for (step, id, number) in steps {
                match step {
                    0 => match clock.renew(id, at(now), at(now)) {
                        Renewal::Gone => {}
                        Renewal::Told(ttl) => { told.insert(id, at(now).plus(seconds(ttl))); }
                        Renewal::Forgetting(ttl) => waiting.push((id, at(now).plus(seconds(ttl)))),
                        Renewal::Forget(ttl) => {
                            waiting.push((id, at(now).plus(seconds(ttl))));
                            log.push_back((id, 0));
                        }
                    },
                    1 => log.extend(clock.remainders(at(now), 2)),
                    2 | 3 => for (id, left) in log.drain(..log.len().min(number as usize)) {
                        table.get_mut(&id).expect("one of three").1 = left;
                        if left == 0 {
                            clock.forgotten(id);
                            let (done, rest) = waiting.iter().partition(|(one, _)| *one == id);
                            waiting = rest;
                            told.extend::<Vec<_>>(done);
                        }
                    },
                    4 => now += number,
                    _ => {
                        // Some of the log is lost, the rest is applied before the next leader counts.
                        log.truncate(number as usize % 4);
                        log.drain(..).for_each(|(id, left)| table.get_mut(&id).expect("one of three").1 = left);
                        waiting.clear();
                        clock.promote(at(now), table.iter().map(|(id, (ttl, left))| (*id, *ttl, *left)), Duration::ZERO);
                    }
                }
                for (id, until) in &told {
                    let left = clock.remaining(*id, at(now)).expect("none is revoked");
                    prop_assert!(at(now).plus(left) >= *until, "lease {} ends at {:?}, not {:?}", id, left, until);
                }
            }
        }

        /// Never shortened, never reordered, never more in a second than may be.
        #[test]
        fn a_promotion_only_gives_time(ttls in prop::collection::vec(1..4i64, 1..4000)) {
            let mut clock = new_clock();
            let leases: Vec<_> = (1..).zip(&ttls).map(|(id, ttl)| (id, *ttl, 0)).collect();
            clock.promote(at(0), leases.iter().copied(), Duration::ZERO);
            let mut deadlines: Vec<Instant> = Vec::new();
            for (id, ttl, _) in &leases {
                let left = clock.remaining(*id, at(0)).expect("promoted");
                prop_assert!(left >= seconds(*ttl));
                deadlines.push(Instant(0).plus(left));
            }
            deadlines.sort_unstable();
            let rate = LEASES_DUE_PER_SECOND_AFTER_PROMOTION;
            for pair in deadlines.windows(rate + 1) {
                prop_assert!(pair[rate].since(pair[0]) >= Duration::from_secs(1));
            }
        }
    }
}
