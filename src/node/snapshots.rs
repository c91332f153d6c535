//! Where the installation of a snapshot stands.

use std::collections::BTreeSet;

use crate::base::{LogIndex, MemberId, Term};
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
}

impl Snapshots {
    /// Whether the state is about to be replaced: nothing is applied, and no file is worked on.
    pub(super) fn installing(&self) -> bool {
        self.installing.is_some()
    }
}
