//! What a run leaves: how it ended, and everything that was recorded of it.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_spec::history::Operation;

use crate::chronicle::Noted;
use crate::oracles::Violation;
use crate::oracles::ledger::Entry;
use crate::plan::Plan;

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What went wrong, told for people; nothing if all promises were kept.
    pub failure: Option<String>,
    /// Everything that happened, for people; told by [`run_told`] alone.
    pub tail: Vec<String>,
    /// Where each member stood at the end, for people.
    pub standings: Vec<String>,
    /// The trace hash.
    pub trace: String,
    /// Happenings the trace covers.
    pub happenings: u64,
    /// Operations of clients.
    pub operations: u64,
    /// Entries of the log.
    pub entries: u64,
    /// True time the run covered.
    pub virtual_time: Duration,
    /// What happened sometimes.
    pub marks: BTreeMap<&'static str, u64>,
}

/// A run, with everything that was recorded.
pub struct Told {
    /// What was to happen.
    pub plan: Plan,
    /// What became of it.
    pub report: Report,
    /// The promise that was seen broken.
    pub violation: Option<Violation>,
    /// What clients asked and heard.
    pub operations: Vec<Operation>,
    /// What befell members and ways.
    pub noted: Vec<Noted>,
    /// The log, by index.
    pub entries: BTreeMap<u64, Entry>,
}
