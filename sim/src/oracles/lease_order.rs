//! The order in which leases are listed: who has less time left stands first, as in etcd.
//!
//! Judged in a calm world alone, where it is known when a lease must have ended at the latest: a lease that may not end
//! before a moment does not stand before one that must have ended long before that moment.

use std::time::Duration;

use super::leases::LeaseTimes;
use super::ledger::Ledger;
use super::witness::Began;
use super::{Verdict, require};

/// What may lie between the moment by which a lease must have ended and the deadline that the leader counts.
const MARGIN: Duration = Duration::from_secs(10);

/// The list of leases was answered in a world that is calm since `calm`. Those that changed meanwhile are passed over.
pub fn listed(times: &LeaseTimes, ledger: &Ledger, began: Began, got: &[i64], calm: Duration) -> Verdict {
    let mut latest_before: Option<(i64, Duration)> = None;
    for id in got.iter().rev() {
        let lives = ledger.lives_of(*id);
        let Some(life) = lives.last().filter(|life| life.from <= began.entries && life.to.is_none()) else { continue };
        let earliest = times.earliest_end(*id, life, began.at);
        if let Some((other, latest)) = latest_before {
            require(earliest <= latest + MARGIN, "leases are listed by the time they have left", || {
                format!(
                    "lease {id} may not end before {earliest:?}, but stands before {other}, which ends by {latest:?}: {got:?}"
                )
            })?;
        }
        let latest = times.latest_end(ledger, *id, life.ttl, calm);
        if latest_before.is_none_or(|(_, soonest)| latest < soonest) {
            latest_before = Some((*id, latest));
        }
    }
    Ok(())
}
