//! The judges: each holds a part of what happened against the specification.
//!
//! [`ledger`] takes every applied entry of every member and is the order of all changes; [`ids`] knows what was tried
//! under which request id; [`witness`] holds the clients' answers against both; [`linear`] needs none of them and looks for
//! an order of its own; [`quiet`] what is owed while nothing is wrong; [`bank`] holds money that is moved against itself; [`backup`] a backup against what there was; [`watching`] judges the watch streams; [`leases`] the times of leases; [`remainders`] how long leases live over changes of the leader; [`roster`] who belongs to the cluster; [`quorum`] who is counted; [`rounds`] what confirms a read; [`upkeep`] digests and standings that clients are told; [`users`] users and roles, [`commons`] what else members hold in common, [`rights`] what these may do; [`raft`] what members say
//! to each other, and when; [`growth`] what lies about; [`mark`] the mark of the log; [`bounds`] what is held in memory; [`lease_order`] the list of leases; [`disk`] what was durable when a promise left.

pub mod backup;
pub mod bank;
pub mod bounds;
pub mod commons;
pub mod disk;
pub mod growth;
pub mod ids;
pub mod lease_order;
pub mod leases;
pub mod ledger;
pub mod linear;
pub mod mark;
pub mod quiet;
pub mod quorum;
pub mod raft;
pub mod remainders;
pub mod rights;
pub mod roster;
pub mod rounds;
pub mod upkeep;
pub mod users;
pub mod watching;
pub mod witness;

use std::fmt;
use std::time::Duration;

/// A promise that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// When it was noticed, in true time.
    pub at: Duration,
    /// Which promise, in a word or two.
    pub promise: &'static str,
    /// What was expected and what came.
    pub story: String,
}

impl Violation {
    /// A promise broken now.
    pub fn now(promise: &'static str, story: String) -> Self {
        Self { at: crate::env::true_now(), promise, story }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:.6} s: {}\n{}", self.at.as_secs_f64(), self.promise, self.story)
    }
}

/// Nothing, or the promise that was broken.
pub type Verdict = Result<(), Violation>;

/// Fails with the story unless `holds`.
pub fn require(holds: bool, promise: &'static str, story: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation::now(promise, story())) }
}
