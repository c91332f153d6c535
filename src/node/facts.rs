//! What anyone may know of a node at any time without asking it.

use super::auth_board::AuthBoard;
use super::tallies::Tallies;
use crate::base::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use crate::base::sync::{Arc, Mutex};
use crate::base::{LogIndex, MemberId, Shares, Term};
use crate::machine::{AlarmKind, Member};

/// A node's standing, as of its last turn. Each field is true by itself; two of them may be a turn apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct NodeStatus {
    pub leader: Option<MemberId>,
    pub is_leader: bool,
    pub term: Term,
    pub committed: LogIndex,
    pub applied: LogIndex,
    pub revision: i64,
    pub compact_revision: i64,
    /// Bytes of history on disk or on their way to it, and of files that were replaced and wait to go.
    pub size_bytes: u64,
    /// Bytes of it that a read can still reach.
    pub in_use_bytes: u64,
    pub quota_bytes: u64,
    pub key_count: u64,
    pub leases: u64,
    /// Of users and roles.
    pub auth_revision: u64,
    pub watchers: u64,
    pub watch_streams: u64,
    /// Watchers that are fed from history because they fell behind.
    pub slow_watchers: u64,
    /// Events waiting in stream buffers.
    pub pending_events: u64,
    pub pending_proposals: u64,
    /// Clients' writes that were answered here since the start.
    pub writes_answered: u64,
    /// How long they had waited from being taken in to being applied, in all, in microseconds.
    pub writes_waited_us: u64,
    pub leader_changes: u64,
    pub checkpoints: u64,
    pub expired_leases: u64,
    /// Remainders of leases that were to be written down.
    pub lease_checkpoints: u64,
    /// States of this member that a state of more of the log replaced, and that had revisions it does not have.
    pub states_refuted: u64,
    /// Messages of peers that no sound peer sends.
    pub turned_away: u64,
    /// Messages that showed that a peer lacks what it acknowledged.
    pub peers_log_lost: u64,
    /// Times this member led and its heartbeats were late by at least a tick and at least a tenth of a second, as it stood still.
    pub late_heartbeats: u64,
    /// Bytes of entries that are committed and not applied.
    pub unapplied_bytes: u64,
    /// Times applying waited until more history was written.
    pub history_waits: u64,
    /// Times so much was committed and not applied that no more was taken in.
    pub full_backlogs: u64,
    /// States of other members that are being put in place here: one, or none.
    pub installing: u64,
    /// Whether damage was met in the history, and is looked into or told: one, or none.
    pub damaged: u64,
    pub alarms: Vec<(MemberId, AlarmKind)>,
    pub members: Vec<Member>,
    /// Those who were members once.
    pub removed_members: Vec<MemberId>,
    pub cluster_version: Option<String>,
    /// The version the cluster is to go down to, while it is.
    pub downgrade: Option<String>,
    /// Whether this member only learns and has no vote.
    pub is_learner: bool,
    /// Whether this member was removed from the cluster.
    pub removed: bool,
    /// Whether the member has told its name and leads or follows: clients are welcome.
    pub ready: bool,
}

macro_rules! noticeboard {
    ($($name:ident: $atomic:ty),* $(,)?) => {
        /// The node's noticeboard: the node writes, everyone reads, nobody waits.
        #[derive(Debug, Default)]
        pub struct Facts {
            $(pub(super) $name: $atomic,)*
            pub(super) leader: AtomicU64,
            pub(super) is_leader: AtomicBool,
            pub(super) ready: AtomicBool,
            pub(super) reads_alone: AtomicBool,
            pub(super) is_learner: AtomicBool,
            pub(super) removed: AtomicBool,
            pub(super) told_removed: AtomicBool,
            pub(super) corrupt: AtomicBool,
            pub(super) waits_for_state: AtomicBool,
            /// What was done, and how long it took.
            pub tallies: Tallies,
            pub(super) doubts: AtomicBool,
            pub(super) counted_on_by: AtomicU64,
            pub(super) log_end: AtomicU64,
            rare: Mutex<Arc<RareFacts>>,
            /// Users and tokens.
            pub auth: AuthBoard,
            /// What those who ask hold of what they share.
            pub shares: Arc<Shares>,
        }

        impl Facts {
            /// The whole standing.
            pub fn status(&self) -> NodeStatus {
                let rare = self.rare();
                let leader = self.leader.load(Ordering::Relaxed);
                NodeStatus {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    leader: (leader != 0).then_some(MemberId(leader)),
                    is_leader: self.is_leader.load(Ordering::Relaxed),
                    ready: self.ready.load(Ordering::Relaxed),
                    is_learner: self.is_learner.load(Ordering::Relaxed),
                    removed: self.removed.load(Ordering::Relaxed),
                    removed_members: rare.removed.clone(),
                    alarms: rare.alarms.clone(),
                    members: rare.members.clone(),
                    cluster_version: rare.cluster_version.clone(),
                    downgrade: rare.downgrade.clone(),
                    auth_revision: self.auth.revision(),
                }
            }
        }
    };
}

noticeboard! {
    term: AtomicU64,
    committed: AtomicU64,
    applied: AtomicU64,
    revision: AtomicI64,
    compact_revision: AtomicI64,
    size_bytes: AtomicU64,
    in_use_bytes: AtomicU64,
    quota_bytes: AtomicU64,
    key_count: AtomicU64,
    leases: AtomicU64,
    watchers: AtomicU64,
    watch_streams: AtomicU64,
    slow_watchers: AtomicU64,
    pending_events: AtomicU64,
    pending_proposals: AtomicU64,
    writes_answered: AtomicU64,
    writes_waited_us: AtomicU64,
    leader_changes: AtomicU64,
    checkpoints: AtomicU64,
    expired_leases: AtomicU64,
    lease_checkpoints: AtomicU64,
    states_refuted: AtomicU64,
    turned_away: AtomicU64,
    peers_log_lost: AtomicU64,
    late_heartbeats: AtomicU64,
    unapplied_bytes: AtomicU64,
    history_waits: AtomicU64,
    full_backlogs: AtomicU64,
    installing: AtomicU64,
    damaged: AtomicU64,
}

/// Facts that change seldom and are not numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct RareFacts {
    pub(super) alarms: Vec<(MemberId, AlarmKind)>,
    pub(super) members: Vec<Member>,
    pub(super) removed: Vec<MemberId>,
    pub(super) cluster_version: Option<String>,
    pub(super) downgrade: Option<String>,
}

impl Facts {
    pub(super) fn set_rare(&self, facts: RareFacts) {
        *self.rare.lock().expect("no holder of this lock panics") = Arc::new(facts);
    }

    fn rare(&self) -> Arc<RareFacts> {
        self.rare.lock().expect("no holder of this lock panics").clone()
    }

    /// Clients' writes answered since the start, and for how many microseconds they had waited, in all.
    pub fn writes(&self) -> (u64, u64) {
        (self.writes_answered.load(Ordering::Relaxed), self.writes_waited_us.load(Ordering::Relaxed))
    }

    /// The term, for response headers.
    pub fn term(&self) -> Term {
        self.term.load(Ordering::Relaxed)
    }

    /// The last entry applied, as of the last turn.
    pub fn applied(&self) -> LogIndex {
        self.applied.load(Ordering::Relaxed)
    }

    /// The current revision, for response headers.
    pub fn revision(&self) -> i64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Whether this member leads and there is no other: what it has applied is all that anybody has, and a view of the
    /// current revision is linearizable without asking anyone.
    pub fn reads_alone(&self) -> bool {
        self.reads_alone.load(Ordering::Acquire)
    }

    /// Who leads, as far as this member knows.
    pub fn leader(&self) -> Option<MemberId> {
        let leader = self.leader.load(Ordering::Relaxed);
        (leader != 0).then_some(MemberId(leader))
    }

    /// Whether this member only learns.
    pub fn is_learner(&self) -> bool {
        self.is_learner.load(Ordering::Acquire)
    }

    /// Whether this member was removed from the cluster.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// Others say that this member was removed.
    pub fn told_removed(&self) {
        self.told_removed.store(true, Ordering::Release);
        self.removed.store(true, Ordering::Release);
    }

    /// Whether others have said so: they have carried it out.
    pub fn was_told_removed(&self) -> bool {
        self.told_removed.load(Ordering::Acquire)
    }

    /// Whether this member leads and has taken up the duties.
    pub fn leads(&self) -> bool {
        self.is_leader.load(Ordering::Acquire)
    }

    /// Whether this member's state is known to be wrong: an alarm names it, or it is being rebuilt. Nobody is served.
    pub fn is_corrupt(&self) -> bool {
        self.corrupt.load(Ordering::Acquire)
    }

    /// Whether another member's state is awaited, to rebuild this one's.
    pub fn waits_for_state(&self) -> bool {
        self.waits_for_state.load(Ordering::Acquire)
    }

    /// Whether it is not known yet that this member has what it promised in earlier starts.
    pub fn doubts(&self) -> bool {
        self.doubts.load(Ordering::Acquire)
    }

    /// While that is not known: who leads and counts on more of this member's log than there is. It may have become a member
    /// after what is here was written.
    pub fn counted_on_by(&self) -> Option<MemberId> {
        Some(MemberId(self.counted_on_by.load(Ordering::Acquire))).filter(|leader| *leader != MemberId(0))
    }

    /// The last entry of the log.
    pub fn log_end(&self) -> LogIndex {
        self.log_end.load(Ordering::Relaxed)
    }

    /// Whether a leader is known.
    pub fn has_leader(&self) -> bool {
        self.leader.load(Ordering::Relaxed) != 0
    }

    /// Whether any member has this alarm.
    pub fn has_alarm(&self, kind: AlarmKind) -> bool {
        self.rare().alarms.iter().any(|(_, standing)| *standing == kind)
    }
}
