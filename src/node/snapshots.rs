//! Where the installation of a snapshot stands, and what is on its way to others.
//!
//! Invariants: one snapshot at most is on its way to a member. One that was cut is kept for a while and sent again, so that
//! the receiver, who kept what it had, need not begin anew; the log behind it is held meanwhile, and until the receiver has
//! come so far, within a budget of bytes. What is kept ends by itself.
//!
//! Does not know what is held of the log, nor how chunks travel.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::{LogIndex, MemberId, Term, limits};
use crate::consensus::PeerMessage;
use crate::env::{Disk, Instant};
use crate::machine::Image;
use crate::mvcc::SnapshotSource;

/// See the module's head.
pub(super) struct Snapshots<D: Disk> {
    /// Arrived, and offered to raft.
    pub(super) arrived: Option<Image>,
    /// Taken by raft and not in place yet.
    pub(super) installing: Option<(LogIndex, Term)>,
    /// Rewritings of segments under way that belong to a state replaced since.
    pub(super) stale_reclaims: u32,
    /// More of the log is held than is kept for those who lag: for somebody it was sent to.
    pub(super) log_waits: bool,
    sending: BTreeMap<MemberId, Sending<D>>,
    /// The state that is offered, and the proposals that were on their way when it first was: it may hold some of them.
    pub(super) offered: Option<((LogIndex, Term), Vec<u64>)>,
    /// Those of the state in place, and when who waits for them is told: what is not applied by then is in it, or was lost.
    pub(super) hidden: Option<(Instant, Vec<u64>)>,
}

/// A snapshot that is on its way to a member, was cut, or arrived and is not in place there yet.
struct Sending<D: Disk> {
    head: PeerMessage,
    /// Nothing once it arrived.
    source: Option<SnapshotSource<D>>,
    /// Since when nothing of it is on its way; nothing while it is.
    rests_since: Option<Instant>,
    /// Chunks made when it was cut last.
    made: u64,
    /// Attempts since then that came no further.
    fruitless: u32,
}

impl<D: Disk> Default for Snapshots<D> {
    fn default() -> Self {
        Self {
            arrived: None,
            installing: None,
            stale_reclaims: 0,
            log_waits: false,
            sending: BTreeMap::new(),
            offered: None,
            hidden: None,
        }
    }
}

impl<D: Disk> Snapshots<D> {
    /// Whether the state is about to be replaced: nothing is applied, and no file is worked on.
    pub(super) fn installing(&self) -> bool {
        self.installing.is_some()
    }

    /// Whether one is on its way to this member.
    pub(super) fn is_under_way(&self, to: MemberId) -> bool {
        self.sending.get(&to).is_some_and(|sending| sending.rests_since.is_none())
    }

    /// The head and the state of one that was cut on its way to this member and is sent once more, where one is kept that
    /// is `of_use`, by its last entry.
    pub(super) fn go_on(
        &mut self,
        to: MemberId,
        of_use: impl FnOnce(LogIndex) -> bool,
    ) -> Option<(&PeerMessage, SnapshotSource<D>)> {
        let sending = self.sending.get_mut(&to)?;
        let source = sending.source.as_ref().filter(|_| sending.rests_since.is_some())?.again();
        if !of_use(sending.head.snapshot_index()) {
            return None;
        }
        sending.rests_since = None;
        Some((&sending.head, source))
    }

    /// One is sent.
    pub(super) fn begun(&mut self, head: PeerMessage, source: SnapshotSource<D>) {
        let sending = Sending { source: Some(source), rests_since: None, made: 0, fruitless: 0, head };
        self.sending.insert(sending.head.to(), sending);
    }

    /// What became of it.
    pub(super) fn ended(&mut self, to: MemberId, arrived: bool, now: Instant) {
        let Some(sending) = self.sending.get_mut(&to) else { return };
        sending.rests_since = Some(now);
        if arrived {
            sending.source = None;
            return;
        }
        let made = sending.source.as_ref().map_or(0, SnapshotSource::made);
        sending.fruitless = if made > sending.made { 0 } else { sending.fruitless + 1 };
        sending.made = made;
        if sending.fruitless >= limits::SNAPSHOT_FRUITLESS_ATTEMPTS {
            // The receiver does not want this one, or what it kept of it does not fit: the next is of a newer state.
            self.sending.remove(&to);
        }
    }

    /// Lets go of what was kept for long enough, and of what `is_done`, by receiver and last entry.
    pub(super) fn expire(&mut self, now: Instant, is_done: impl Fn(MemberId, LogIndex) -> bool) {
        let kept = Duration::from_millis(limits::SNAPSHOT_KEPT_MS);
        self.sending.retain(|to, sending| {
            let is_done = sending.source.is_none() && is_done(*to, sending.head.snapshot_index());
            sending.rests_since.is_none_or(|since| now < since.plus(kept) && !is_done)
        });
    }

    /// How many are on their way or kept.
    pub(super) fn kept(&self) -> usize {
        self.sending.len()
    }

    /// The entry behind which the log is wanted for those who get or got a snapshot.
    pub(super) fn held(&self) -> Option<LogIndex> {
        self.sending.values().map(|sending| sending.head.snapshot_index()).min()
    }

    /// The state they are of is none any more.
    pub(super) fn forget_sent(&mut self) {
        self.sending.clear();
    }
}
