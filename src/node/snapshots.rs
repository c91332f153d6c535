//! Where the installation of a snapshot stands.

use std::collections::BTreeSet;

use crate::base::{LogIndex, MemberId, Term};
use crate::env::Instant;
use crate::machine::Image;

/// Where an installation stands.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// Arrived, and offered to raft.
    pub(super) arrived: Option<Image>,
    /// Taken by raft and not in place yet.
    pub(super) installing: Option<(LogIndex, Term)>,
    /// Rewritings of segments under way that belong to a state replaced since.
    pub(super) stale_reclaims: u32,
    /// To whom one is on its way.
    pub(super) sending: BTreeSet<MemberId>,
    /// The state that is offered, and the proposals that were on their way when it first was: it may hold some of them.
    pub(super) offered: Option<((LogIndex, Term), Vec<u64>)>,
    /// Those of the state in place, and when who waits for them is told: what is not applied by then is in it, or was lost.
    pub(super) hidden: Option<(Instant, Vec<u64>)>,
}

impl Snapshots {
    /// Whether the state is about to be replaced: nothing is applied, and no file is worked on.
    pub(super) fn installing(&self) -> bool {
        self.installing.is_some()
    }
}
