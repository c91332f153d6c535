//! How long a lease lives over changes of the leader.
//!
//! A leader that counts leases down writes to the log what long ones have left, and the next one counts from what is written. Held, while
//! nobody keeps a lease alive:
//! - a leader writes no more than was written before, and the first time after a change of leader an election timeout more: what it
//!   counts from is what was written;
//! - what is written is not much more than what the lease has left at most: a change of leader costs a bounded time;
//! - a leader ends it when that is over; and nothing that is written is forgotten unless somebody asked for a renewal.
//!
//! The first needs no clock. For the others time is taken for passed only where it surely did, as the member on duty counts it
//! ([`Remainders::turned`]): it does its turns, none of its commands is carried out in slices, what it hands to its log becomes
//! committed, what is committed is applied, and no alarm stands.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate::base::limits::LEASES_DUE_PER_SECOND_AFTER_PROMOTION;
use quorate::consensus::{Role, Standing};
use quorate::machine::{Command, Remainder};
use quorate::wal::Batch;
use quorate_spec::request::{Answer, Request};

use super::ledger::Ledger;
use super::{Verdict, require};
use crate::config::ELECTION;

/// A renewal that was asked for may be done so much later: the question may wait in a member that stands still, or be asked
/// again by the member that was asked.
const LINGERS: Duration = Duration::from_secs(40);

/// Longest time between two turns of a member that is awake: a tick on a slow clock, and a timer that is late.
const TURN: Duration = Duration::from_millis(170);

/// What is handed out moves on at least so often, or time is not counted.
const MOVES: Duration = Duration::from_millis(300);

/// For so long after a command in slices what it held up may still wait.
const HELD_UP: Duration = Duration::from_millis(500);

/// A lease may be ended, and what it has left be written, so much too late: ticks, the way through the log, rounding.
const SLACK: Duration = Duration::from_secs(3);

/// In a calm world whoever is elected takes up its duties in this time.
const TAKES_UP: Duration = Duration::from_secs(30);

/// What the log says of a lease that lives.
#[derive(Clone, Copy, Debug)]
struct Written {
    /// The entry that granted it.
    granted: u64,
    ttl: i64,
    /// Seconds left, and the term in which they were counted; nothing where a leader gives it all its time.
    left: Option<(i64, u64)>,
    /// When it was written.
    at: Duration,
}

impl Written {
    /// What a leader counts from.
    fn time(&self) -> Duration {
        seconds(self.left.map_or(self.ttl, |(left, _)| left))
    }
}

/// The time in which a member has the duties of a leader.
#[derive(Debug)]
struct Reign {
    term: u64,
    /// How much of it has surely passed for leases.
    counted: Duration,
    /// When its last turn was.
    turned: Duration,
    /// By lease: the entry that granted it, and when of `counted` its time is over at the latest.
    due: BTreeMap<i64, (u64, Duration)>,
}

#[derive(Debug, Default)]
struct Member {
    leads: Option<u64>,
    appended: u64,
    committed: u64,
    applied: u64,
    /// When one of these moved on last, or began to wait.
    moved: Duration,
    /// When it was last seen in the middle of a command, or starved.
    held_up: Option<Duration>,
    reign: Option<Reign>,
}

impl Member {
    fn is_idle(&self) -> bool {
        self.appended <= self.committed && self.committed <= self.applied
    }
}

/// See the module's head.
pub struct Remainders {
    /// Between two looks at what a lease has left.
    interval: Duration,
    /// How much too fast the slowest clock runs, as a share; negative where it runs too slow.
    slowest: f64,
    /// By living lease.
    written: BTreeMap<i64, Written>,
    /// When a renewal was asked for last.
    asked: BTreeMap<i64, Duration>,
    members: Vec<Member>,
    /// In which term somebody last took up the duties of a leader, and when.
    taken_up: (u64, Duration),
}

impl Remainders {
    /// No leases yet; each member's clock runs too fast by so many billionths, and looks at leases so often.
    pub fn new(members: usize, drifts_ppb: &[i64], interval: Duration) -> Self {
        let slowest = *drifts_ppb.iter().min().unwrap_or(&0) as f64 / 1e9;
        let members = (0..members).map(|_| Member::default()).collect();
        let (written, asked) = (BTreeMap::new(), BTreeMap::new());
        Self { interval, slowest, written, asked, members, taken_up: (0, Duration::ZERO) }
    }

    /// Since when leases are counted at the latest, where somebody was elected in this term, at `elected`: a leader has its
    /// duties only with an entry of its own term that it has applied. It has them in a while, or is judged as if it had.
    pub fn counts_since(&self, (term, elected): (u64, Duration), now: Duration) -> Duration {
        match self.taken_up {
            (taken_in, at) if taken_in == term => at.max(elected),
            _ => now.min(elected + TAKES_UP),
        }
    }

    /// How long so much time of a member's clock takes at most.
    fn at_most(&self, time: Duration) -> Duration {
        Duration::from_secs_f64((time.as_secs_f64() / (1.0 + self.slowest)).min(1e12))
    }

    /// How much a new leader gives each lease: an election timeout, and more where many would fall due together.
    fn extension(&self) -> Duration {
        let paced = match self.written.len() / LEASES_DUE_PER_SECOND_AFTER_PROMOTION {
            0 => 0,
            // There may have been some more when it began.
            windows => windows as u64 + 8,
        };
        ELECTION + Duration::from_secs(paced)
    }

    /// Somebody asks for a renewal.
    pub fn asked(&mut self, id: i64, now: Duration) {
        self.asked.insert(id, now);
    }

    /// Whether a renewal may have been done since.
    fn may_be_renewed(&self, id: i64, since: Duration) -> bool {
        self.asked.get(&id).is_some_and(|asked| *asked + LINGERS >= since)
    }

    /// A new life of a member begins.
    pub fn new_life(&mut self, member: usize) {
        self.members[member] = Member::default();
    }

    /// How a member stands.
    pub fn stands(&mut self, member: usize, standing: &Standing, now: Duration) {
        let told = &mut self.members[member];
        told.leads = (standing.role == Role::Leader).then_some(standing.term);
        if standing.committed > told.committed {
            (told.committed, told.moved) = (standing.committed, now);
        }
        told.reign.take_if(|reign| Some(reign.term) != told.leads);
    }

    /// A member hands a batch to its log.
    pub fn appends(&mut self, member: usize, batch: &Batch, now: Duration) {
        let told = &mut self.members[member];
        if let Some(last) = batch.entries.last() {
            if told.is_idle() {
                told.moved = now;
            }
            told.appended = last.index;
        }
    }

    /// A member has applied everything up to an entry.
    pub fn reaches(&mut self, member: usize, index: u64, now: Duration) {
        let told = &mut self.members[member];
        (told.applied, told.moved) = (index, now);
    }

    /// A member applied an entry; `is_first` where nobody did before.
    pub fn applied(
        &mut self,
        member: usize,
        (index, term): (u64, u64),
        command: Option<&Command>,
        (ledger, is_first): (&Ledger, bool),
        now: Duration,
    ) -> Verdict {
        self.reaches(member, index, now);
        let done = ledger.entry(index).map(|entry| (&entry.request, &entry.step.answer));
        let (granted, ended) = match done {
            Some((Some(Request::LeaseGrant { .. }), Ok(Answer::LeaseGrant { id, ttl }))) => (Some((*id, *ttl)), None),
            Some((Some(Request::LeaseRevoke { id }), Ok(_))) => (None, Some(*id)),
            _ => (None, None),
        };
        if is_first {
            granted.into_iter().for_each(|(id, ttl)| self.grants(id, (index, ttl), now));
            ended.into_iter().for_each(|id| _ = self.written.remove(&id));
            if let Some(Command::LeaseCheckpoint { remainders, counted_in: Some(counted_in) }) = command
                && *counted_in == term
            {
                remainders.iter().try_for_each(|remainder| self.writes(term, remainder, now))?;
            }
        }
        if self.members[member].leads == Some(term) && self.members[member].reign.is_none() {
            self.begins(member, (index, term), now);
        } else if let (Some((id, ttl)), Some(counted)) = (granted, self.counted(member)) {
            let due = counted + self.at_most(seconds(ttl));
            self.reign_of(member).due.insert(id, (index, due));
        }
        Ok(())
    }

    fn counted(&self, member: usize) -> Option<Duration> {
        self.members[member].reign.as_ref().map(|reign| reign.counted)
    }

    fn reign_of(&mut self, member: usize) -> &mut Reign {
        self.members[member].reign.as_mut().expect("it is asked for where there is one")
    }

    fn grants(&mut self, id: i64, (granted, ttl): (u64, i64), now: Duration) {
        self.written.insert(id, Written { granted, ttl, left: None, at: now });
    }

    /// What a lease has left is written, as counted in this term.
    fn writes(&mut self, term: u64, remainder: &Remainder, now: Duration) -> Verdict {
        let Remainder { id, seconds: left, granted_at } = *remainder;
        let extension = self.extension().as_secs() as i64;
        let Some(known) = self.written.get(&id).copied().filter(|known| known.granted == granted_at) else {
            return Ok(());
        };
        let renewed = self.may_be_renewed(id, known.at);
        let written = Written { left: (left > 0).then_some((left, term)), at: now, ..known };
        self.written.insert(id, written);
        let most = match known.left {
            None => known.ttl,
            Some((before, counted_in)) if counted_in == term => before,
            Some((before, _)) => before.saturating_add(extension),
        };
        require(renewed || left <= most, "what a lease has left outlives a change of leader", || {
            format!("lease {id} has {left} s left in term {term}, and {most} s at most: {known:?}")
        })?;
        require(renewed || left > 0, "what a lease has left is forgotten for a renewal alone", || {
            format!("lease {id}, in term {term}; nobody asked to keep it alive: {known:?}")
        })
    }

    /// A member takes up the duties of a leader with an entry of its own term.
    fn begins(&mut self, member: usize, (index, term): (u64, u64), now: Duration) {
        let extension = self.extension();
        let due = |written: &Written| (written.granted, self.at_most(extension + written.time()));
        let known = self.written.iter().filter(|(_, written)| written.granted <= index);
        let due = known.map(|(id, written)| (*id, due(written))).collect();
        self.members[member].reign = Some(Reign { term, counted: Duration::ZERO, turned: now, due });
        self.taken_up = self.taken_up.max((term, now));
    }

    /// A member did a turn; `is_held_up` where its leases may stand still for another reason than a turn that takes long.
    pub fn turned(&mut self, member: usize, is_held_up: bool, now: Duration) -> Verdict {
        let told = &mut self.members[member];
        if is_held_up {
            told.held_up = Some(now);
        }
        let stuck = !told.is_idle() && now > told.moved + MOVES;
        let held_up = told.held_up.is_some_and(|since| now <= since + HELD_UP);
        let Some(mut reign) = told.reign.take() else { return Ok(()) };
        let gap = now - std::mem::replace(&mut reign.turned, now);
        if gap <= TURN && !stuck && !held_up {
            reign.counted += gap;
        }
        let verdict = self.none_is_late(member, &mut reign, now);
        self.members[member].reign = Some(reign);
        verdict
    }

    fn none_is_late(&self, member: usize, reign: &mut Reign, now: Duration) -> Verdict {
        let Reign { term, counted, due, .. } = reign;
        due.retain(|id, (granted, _)| self.written.get(id).is_some_and(|written| written.granted == *granted));
        for (id, (_, due)) in due {
            let written = self.written[id];
            if self.may_be_renewed(*id, now) {
                *due = (*due).max(*counted + self.at_most(seconds(written.ttl)));
                continue;
            }
            require(*counted <= *due + SLACK, "a lease is ended when what it has left is over", || {
                format!(
                    "member {member} counts leases in term {term} for {counted:?}; lease {id} had to end by {due:?}: {written:?}"
                )
            })?;
            let left = self.at_most(written.time());
            let most = due.saturating_sub(*counted) + 2 * self.at_most(self.interval) + SLACK;
            require(left <= most, "what a lease has left is written", || {
                format!(
                    "member {member} counts leases in term {term} for {counted:?}; lease {id} ends by {due:?}, written is {written:?}"
                )
            })?;
        }
        Ok(())
    }
}

/// A time to live; a negative one is none at all.
fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A lease of 10 s that entry 4 granted, and member 0 that leads in term 2 and has seen it.
    fn granted() -> Remainders {
        let mut judge = Remainders::new(2, &[0, 50_000_000], SECOND);
        judge.grants(7, (4, 10), Duration::ZERO);
        leads(&mut judge, 0, 2, Duration::ZERO);
        judge
    }

    fn leads(judge: &mut Remainders, member: usize, term: u64, now: Duration) {
        judge.members[member].leads = Some(term);
        judge.begins(member, (5, term), now);
    }

    fn left(seconds: i64) -> Remainder {
        Remainder { id: 7, seconds, granted_at: 4 }
    }

    /// Turns of a member from one second to another; the first verdict against it.
    fn turns(judge: &mut Remainders, member: usize, from: u64, to: u64, is_held_up: bool) -> Verdict {
        (from * 10..to * 10).try_for_each(|tenth| judge.turned(member, is_held_up, SECOND * tenth as u32 / 10))
    }

    #[test]
    fn a_new_leader_counts_from_what_is_written() {
        let mut judge = granted();
        assert!(judge.writes(2, &left(9), SECOND).is_ok());
        assert!(judge.writes(2, &left(4), 6 * SECOND).is_ok());
        assert!(judge.writes(2, &left(5), 7 * SECOND).is_err(), "time runs one way");
        assert!(judge.writes(3, &left(6), 8 * SECOND).is_ok(), "an election timeout more than 5");
        assert!(judge.writes(4, &left(8), 9 * SECOND).is_err(), "it gave it all its time");
        let other = Remainder { granted_at: 3, ..left(9) };
        assert!(judge.writes(4, &other, 9 * SECOND).is_ok(), "of the lease before");
    }

    #[test]
    fn leases_are_counted_from_when_duties_are_taken_up() {
        let mut judge = granted();
        leads(&mut judge, 0, 2, 3 * SECOND);
        assert_eq!(judge.counts_since((2, SECOND), 4 * SECOND), 3 * SECOND);
        assert_eq!(judge.counts_since((3, 4 * SECOND), 6 * SECOND), 6 * SECOND, "nobody counts yet (seed 14000139)");
        assert_eq!(judge.counts_since((3, 4 * SECOND), 60 * SECOND), 34 * SECOND, "somebody should");
        assert_eq!(judge.counts_since((2, 5 * SECOND), 6 * SECOND), 5 * SECOND, "elected in that term once more");
    }

    #[test]
    fn who_asked_to_keep_it_alive_may_have_been_heard_late() {
        let mut judge = granted();
        judge.asked(7, SECOND);
        assert!(judge.writes(2, &left(4), 6 * SECOND).is_ok());
        assert!(judge.writes(2, &left(0), 7 * SECOND).is_ok());
        assert!(judge.writes(3, &left(9), 8 * SECOND).is_ok());
        assert!(judge.writes(3, &left(5), 60 * SECOND).is_ok());
        assert!(judge.writes(4, &left(9), 61 * SECOND).is_err(), "by now it was or was not");
        let mut judge = granted();
        assert!(judge.writes(2, &left(0), 7 * SECOND).is_err(), "nobody asked");
    }

    #[test]
    fn a_lease_is_ended_by_who_is_able_to() {
        let mut judge = granted();
        assert!(judge.writes(2, &left(3), 7 * SECOND).is_ok());
        leads(&mut judge, 1, 3, 8 * SECOND);
        assert!(turns(&mut judge, 1, 8, 14, false).is_ok());
        assert!(turns(&mut judge, 1, 14, 16, false).is_err(), "3 s and 1, and some more");
        let mut judge = granted();
        assert!(judge.writes(2, &left(3), 7 * SECOND).is_ok());
        leads(&mut judge, 1, 3, 8 * SECOND);
        assert!(turns(&mut judge, 1, 8, 90, true).is_ok(), "it is held up");
        judge.members[1].held_up = None;
        assert!(judge.turned(1, false, 200 * SECOND).is_ok(), "it stood still");
        judge.members[1].appended = 9;
        assert!(turns(&mut judge, 1, 200, 290, false).is_ok(), "nothing is committed");
        judge.members[1].appended = 0;
        judge.asked(7, 290 * SECOND);
        assert!(turns(&mut judge, 1, 290, 350, false).is_err(), "renewed at 330 at the latest, and not written since");
    }

    #[test]
    fn what_a_lease_has_left_is_written_again_and_again() {
        let mut judge = granted();
        assert!(turns(&mut judge, 0, 0, 5, false).is_ok());
        assert!(turns(&mut judge, 0, 5, 8, false).is_err(), "nothing was written for 5 s and more");
        let mut judge = granted();
        assert!(turns(&mut judge, 0, 0, 5, false).is_ok());
        assert!(judge.writes(2, &left(6), 5 * SECOND).is_ok());
        assert!(turns(&mut judge, 0, 5, 9, false).is_ok());
    }
}
