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

impl Timer {
    /// Whether a renewal that was asked for then saves the lease.
    fn can_be_renewed(&self, asked: Instant) -> bool {
        !self.revoking && self.deadline > asked
    }
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
        let Some(timer) = self.timers.get_mut(&id).filter(|timer| timer.can_be_renewed(asked)) else {
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

    /// Whether a renewal that was `asked` for then would be [`Renewal::Told`] now.
    pub fn would_tell(&self, id: LeaseId, asked: Instant) -> bool {
        let lives = |timer: &Timer| timer.can_be_renewed(self.counted(asked)) && timer.written == Written::Nothing;
        self.timers.get(&id).is_some_and(lives)
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
    #[cfg(test)]
    fn next_deadline(&self) -> Option<Instant> {
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
mod tests;
