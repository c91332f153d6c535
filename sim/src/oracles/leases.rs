//! Leases: what clients hear of them, and when they end.
//!
//! A lease must not end before its time: not before its seconds have passed on the fastest member's clock since the last
//! renewal a client heard of, counted from the call. It must not outlive its time for long either, once the
//! world is calm. And what is said of a lease must have been so between call and answer.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate::base::limits::LEASES_DUE_PER_SECOND_AFTER_PROMOTION;
use quorate_spec::request::{Bytes, Request};

use super::ledger::{LeaseLife, Ledger};
use super::witness::Began;
use super::{Verdict, require};
use crate::env::true_now;

/// Longest time a lease lives beyond its due time in a calm world: ticks, the revocation's way through the
/// log, and rounding.
const SLACK: Duration = Duration::from_secs(2);

/// Added to every lease when a node takes up its duties.
const EXTENSION: Duration = Duration::from_secs(1);

/// A renewal a client heard of: somewhere between these.
#[derive(Clone, Copy, Debug)]
struct Renewal {
    called: Duration,
    returned: Duration,
}

/// What is known of renewals.
pub struct LeaseTimes {
    renewals: BTreeMap<i64, Vec<Renewal>>,
    /// How much too fast the fastest clock of all members runs, as a share.
    fastest: f64,
    /// The same of the slowest; negative where it runs too slow.
    slowest: f64,
}

impl LeaseTimes {
    /// No renewals yet; the members' clocks run too fast by so many billionths.
    pub fn new(drifts_ppb: &[i64]) -> Self {
        let share = |drift: Option<&i64>| *drift.unwrap_or(&0) as f64 / 1e9;
        let (fastest, slowest) = (share(drifts_ppb.iter().max()), share(drifts_ppb.iter().min()));
        Self { renewals: BTreeMap::new(), fastest, slowest }
    }

    /// How long so many seconds are at least, in truth.
    fn at_least(&self, seconds: i64) -> Duration {
        Duration::from_secs_f64((seconds as f64 / (1.0 + self.fastest)).min(1e12))
    }

    /// How long so many seconds are at most, in truth.
    fn at_most(&self, seconds: i64) -> Duration {
        Duration::from_secs_f64((seconds as f64 / (1.0 + self.slowest)).min(1e12))
    }

    /// The earliest a lease may end, looked at from `at`.
    pub(super) fn earliest_end(&self, id: i64, life: &LeaseLife, at: Duration) -> Duration {
        let renewed = self.renewals.get(&id).into_iter().flatten();
        let renewed = renewed.filter(|renewal| renewal.returned <= at).map(|renewal| renewal.called);
        renewed.max().unwrap_or_default().max(life.at) + self.at_least(life.ttl)
    }

    /// A keep-alive was answered.
    pub fn kept_alive(&mut self, ledger: &Ledger, began: Began, id: i64, got: Option<i64>) -> Verdict {
        let now = true_now();
        let lives = in_window(ledger, began, id);
        match got {
            Some(ttl) => {
                require(lives.iter().any(|life| life.ttl == ttl), "a lease kept alive exists", || {
                    format!("lease {id} was renewed for {ttl} s; between call and answer there was {lives:?}")
                })?;
                self.renewals.entry(id).or_default().push(Renewal { called: began.at, returned: now });
                Ok(())
            }
            None => self.may_be_gone(ledger, began, id, now),
        }
    }

    /// A lease said to be gone: it was not there at some moment of the call, or its time was up.
    fn may_be_gone(&self, ledger: &Ledger, began: Began, id: i64, now: Duration) -> Verdict {
        let throughout = ledger.lives_of(id).iter().find(|life| life.from <= began.entries && life.to.is_none());
        let Some(life) = throughout else { return Ok(()) };
        let end = self.earliest_end(id, life, began.at);
        require(now >= end, "a lease that lives is not called gone", || {
            format!("lease {id} was called gone at {now:?}; it may not end before {end:?}: {life:?}")
        })
    }

    /// A question for a lease's standing was answered.
    pub fn standing(
        &self,
        ledger: &Ledger,
        began: Began,
        id: i64,
        got: Option<(i64, i64, Option<Vec<Bytes>>)>,
    ) -> Verdict {
        let now = true_now();
        let Some((granted, left, keys)) = got else { return self.may_be_gone(ledger, began, id, now) };
        let lives = in_window(ledger, began, id);
        let life = lives.iter().find(|life| life.ttl == granted);
        require(life.is_some(), "a lease that is told of exists", || {
            format!("lease {id} was told of with {granted} s; between call and answer there was {lives:?}")
        })?;
        require(left >= 0 && left <= granted + 10, "a lease has no more time left than it was granted", || {
            format!("lease {id}, granted for {granted} s, is said to have {left} s left")
        })?;
        let end = life.map_or(Duration::ZERO, |life| self.earliest_end(id, life, began.at));
        let least = end.saturating_sub(now).as_secs_f64() * (1.0 - self.fastest.abs().max(self.slowest.abs())) - 1.0;
        require(left as f64 >= least, "a lease has the time left that it was promised", || {
            format!("lease {id} is said to have {left} s left at {now:?}, but may not end before {end:?}")
        })?;
        let Some(keys) = keys else { return Ok(()) };
        let mut seen = ledger.vantages()[began.entries..].iter().map(|vantage| {
            let state = ledger.model().state_at(vantage.revision).expect("a vantage has a state");
            state.keys.values().filter(|kv| kv.lease == id).map(|kv| kv.key.clone()).collect::<Vec<_>>()
        });
        require(seen.any(|held| held == keys), "the keys told of are the lease's", || {
            format!("lease {id} is said to hold {keys:?}, and holds {:?}", ledger.model().keys_of_lease(id))
        })
    }

    /// The list of leases was answered.
    pub fn listed(&self, ledger: &Ledger, began: Began, got: &[i64]) -> Verdict {
        let now = true_now();
        for id in got {
            require(!in_window(ledger, began, *id).is_empty(), "a lease that is listed exists", || {
                format!("lease {id} is listed: {got:?}")
            })?;
        }
        for id in ledger.leases().filter(|id| !got.contains(id)) {
            let gone = self.may_be_gone(ledger, began, id, now);
            require(gone.is_ok(), "a lease that exists is listed", || format!("lease {id} is missing in {got:?}"))?;
        }
        Ok(())
    }

    /// After the run: no lease ended before its time. An end that names a grant is an expiry; one that
    /// names none was asked for by a client, which the witness holds.
    /// Returns how many there were.
    pub fn ended_in_time(&self, ledger: &Ledger) -> Result<u64, super::Violation> {
        let mut expiries = 0;
        let mut lives: BTreeMap<i64, usize> = BTreeMap::new();
        for (index, entry) in ledger.entries() {
            let (Some(Request::LeaseRevoke { id }), Ok(_)) = (&entry.request, &entry.step.answer) else { continue };
            let nth = lives.entry(*id).or_default();
            let life = ledger.lives_of(*id)[*nth];
            *nth += 1;
            if entry.expiry.is_none() {
                continue;
            }
            expiries += 1;
            let earliest = self.earliest_end(*id, &life, entry.at);
            require(entry.at >= earliest, "a lease does not end before its time", || {
                format!("lease {id} ({life:?}) ended at {:?} (entry {index}), not before {earliest:?}", entry.at)
            })?;
        }
        Ok(expiries)
    }

    /// The latest a lease may end in a world that is calm since `calm`.
    pub(super) fn latest_end(&self, ledger: &Ledger, id: i64, ttl: i64, calm: Duration) -> Duration {
        let granted = ledger.lives_of(id).last().map_or(Duration::ZERO, |life| life.at);
        let renewed = self.renewals.get(&id).into_iter().flatten().map(|renewal| renewal.returned).max();
        let counted_from = granted.max(renewed.unwrap_or_default()).max(calm + EXTENSION);
        // Where many would fall due together after a change of leader they go so many a second.
        let paced = ledger.model().leases().len() / LEASES_DUE_PER_SECOND_AFTER_PROMOTION;
        counted_from + self.at_most(ttl) + SLACK + Duration::from_secs(paced as u64)
    }

    /// In a calm world since `calm`, with a member that took up its duties before: no lease outlives its time.
    pub fn none_outlived(&self, ledger: &Ledger, calm: Duration) -> Verdict {
        let now = true_now();
        for (id, ttl) in ledger.model().leases() {
            let latest = self.latest_end(ledger, *id, *ttl, calm);
            require(now <= latest, "a lease does not outlive its time", || {
                format!("lease {id} of {ttl} s is there at {now:?} and should have ended by {latest:?}")
            })?;
        }
        Ok(())
    }

    /// The next moment at which a lease must have ended that is there now.
    pub fn next_due(&self, ledger: &Ledger, calm: Duration) -> Option<Duration> {
        ledger.model().leases().iter().map(|(id, ttl)| self.latest_end(ledger, *id, *ttl, calm)).min()
    }
}

/// The lives of a lease that a call could have met.
fn in_window(ledger: &Ledger, began: Began, id: i64) -> Vec<LeaseLife> {
    let meets = |life: &&LeaseLife| life.to.is_none_or(|to| to > began.entries);
    ledger.lives_of(id).iter().filter(meets).copied().collect()
}
