//! What a node is told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot;

use super::catch_up::CaughtUp;
use super::recollection::Recalled;
use crate::auth::Asker;
use crate::base::{Account, Charge, Fund, LeaseId, LogIndex, MemberId, Refusal, Term, WatchId};
use crate::consensus::{PeerMessage, Promises, Remembered};
use crate::env::{Disk, Instant};
use crate::lease::KeySet;
use crate::machine::{Answer, Image, Machine, MemberChange, Shown};
use crate::mvcc::{Outlined, Reclaimed, View, WriteMark};
use crate::watch::{Question, StreamBuffer, StreamId, WatchSpec};

/// Where an answer goes. An asker who has gone away is no error: he is charged until he would have been answered.
#[derive(Debug)]
pub struct Reply<T> {
    sender: oneshot::Sender<T>,
    charge: Option<Charge>,
}

impl<T> Reply<T> {
    /// A reply and where it will arrive.
    pub fn pair() -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self { sender, charge: None }, receiver)
    }

    /// The same, where an account is charged until the answer.
    pub fn charged(charge: Charge) -> (Self, oneshot::Receiver<T>) {
        let (reply, receiver) = Self::pair();
        (Self { charge: Some(charge), ..reply }, receiver)
    }

    /// Whose request it is; 0 where nobody is charged.
    pub(super) fn account(&self) -> u64 {
        self.charge.as_ref().map_or(0, Charge::account)
    }

    pub(super) fn is_urgent(&self) -> bool {
        self.charge.as_ref().is_some_and(|charge| charge.fund() == Fund::Urgent)
    }

    /// Answers.
    pub fn send(self, value: T) {
        drop(self.charge);
        let _ = self.sender.send(value);
    }
}

/// What became of a proposal that was applied.
#[derive(Clone, Debug)]
pub struct Proposed {
    /// The machine's answer.
    pub answer: Answer,
    /// The store's revision after it.
    pub revision: i64,
    /// The term of the log entry.
    pub term: Term,
    /// The index of the log entry.
    pub index: LogIndex,
    /// When the turn began in which it was applied.
    pub turn: Instant,
}

/// A lease as it stands now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseStanding {
    /// Seconds it was granted for.
    pub granted_ttl: i64,
    /// Whole seconds left.
    pub ttl: i64,
    /// The keys attached; empty unless asked for.
    pub keys: KeySet,
}

/// A lease without its time, as every member knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseKeys {
    /// Index of the entry that granted it.
    pub granted_at: LogIndex,
    /// The keys attached.
    pub keys: KeySet,
}

/// What is asked of leases. Only the leader's clock knows times; which leases there are and what keys they have every
/// member knows.
#[derive(Debug)]
pub enum LeaseQuestion {
    /// A lease is to live on.
    KeepAlive {
        /// Which.
        id: LeaseId,
        /// Answered with its seconds, or nothing where it is gone.
        reply: Reply<Result<Option<i64>, Refusal>>,
    },
    /// How long has a lease to live?
    TimeToLive {
        /// Which.
        id: LeaseId,
        /// With its keys.
        keys: bool,
        /// Answered with nothing where it is gone.
        reply: Reply<Result<Option<LeaseStanding>, Refusal>>,
    },
    /// By which entry was a lease granted, as far as this member has applied the log? Answered at once.
    Grant {
        /// Which.
        id: LeaseId,
        /// Answered with nothing where there is none.
        reply: Reply<Result<Option<LogIndex>, Refusal>>,
    },
    /// By which entry was a lease granted, and which keys are attached to it?
    Keys {
        /// Which.
        id: LeaseId,
        /// Answered with nothing where it is gone.
        reply: Reply<Result<Option<LeaseKeys>, Refusal>>,
    },
    /// May someone do something with leases? It waits where the keys on them are not all to be seen.
    Rights {
        /// Who asks.
        asker: Option<Asker>,
        /// What for.
        access: LeaseAccess,
        /// Who waits.
        reply: Reply<Result<(), Refusal>>,
    },
    /// Which leases are there? The leader orders them by the time they have left, others by their ids.
    Leases {
        /// Who waits.
        reply: Reply<Result<Vec<LeaseId>, Refusal>>,
    },
}

impl LeaseQuestion {
    /// Whether the keys of a lease matter for it.
    pub(super) fn is_of_keys(&self) -> bool {
        matches!(self, Self::TimeToLive { keys: true, .. } | Self::Keys { .. } | Self::Rights { .. })
    }

    /// Whether the clock of leases is asked, which only the member on duty has.
    pub(super) fn is_of_times(&self) -> bool {
        matches!(self, Self::KeepAlive { .. } | Self::TimeToLive { .. })
    }

    /// Answers that it cannot be answered.
    pub(super) fn refuse(self, refusal: Refusal) {
        match self {
            Self::KeepAlive { reply, .. } => reply.send(Err(refusal)),
            Self::TimeToLive { reply, .. } => reply.send(Err(refusal)),
            Self::Grant { reply, .. } => reply.send(Err(refusal)),
            Self::Keys { reply, .. } => reply.send(Err(refusal)),
            Self::Rights { reply, .. } => reply.send(Err(refusal)),
            Self::Leases { reply } => reply.send(Err(refusal)),
        }
    }
}

/// What someone wants to do with leases, for which the keys on them matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaseAccess {
    /// Give one its full time again.
    Renew(LeaseId),
    /// Be told which there are.
    List,
}

/// What a watch stream asks.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum WatchInput {
    Open {
        stream: StreamId,
        /// Who is charged for what waits in it.
        account: Arc<Account>,
        reply: Reply<Arc<StreamBuffer>>,
    },
    Create {
        stream: StreamId,
        /// Who asks: nobody, or why it is not known.
        asker: Result<Option<Asker>, Refusal>,
        spec: WatchSpec,
        question: Question,
    },
    Cancel {
        stream: StreamId,
        watch_id: WatchId,
        question: Question,
    },
    Progress {
        stream: StreamId,
        question: Question,
    },
    Close {
        stream: StreamId,
    },
    /// A full stream has room again.
    Room,
}

/// In how many goes a snapshot arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Came {
    /// In one.
    AtOnce,
    /// A part was there when the rest was sent.
    AfterCut,
    /// A part was there, of an earlier life of the receiver.
    AfterRestart,
}

/// A snapshot that arrived whole.
pub struct ArrivedSnapshot {
    /// The message it came with.
    pub message: PeerMessage,
    /// What it says, and where its history is.
    pub image: Image,
    /// How it came.
    pub came: Came,
}

/// What the disk may have no room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskPart {
    /// The next segment of the log.
    Log,
    /// History and checkpoints.
    History,
}

/// One thing a node is told.
pub enum Input<D: Disk> {
    /// The logical clock moved on.
    Tick,
    /// For so long the member could hear nothing: it stood still, or a turn took long. Told before what was waiting.
    Deaf {
        /// How long.
        time: Duration,
    },
    /// A log payload is to be agreed on.
    Propose {
        /// The id inside the payload.
        id: u64,
        /// The payload.
        payload: Bytes,
        /// Bytes it may add to the store.
        cost: u64,
        /// When it was handed over.
        since: Instant,
        /// Who waits.
        reply: Reply<Result<Proposed, Refusal>>,
    },
    /// A view is wanted; a linearizable one only once this member is known to still lead.
    Read {
        /// Whether other members have a say.
        linearizable: bool,
        /// Who waits.
        reply: Reply<Result<View<D>, Refusal>>,
    },
    /// A question of leases: refused as [`Refusal::NotLeader`] where another leads.
    Lease(LeaseQuestion),
    /// Whether someone may do something with leases; asked of any member, which knows the keys on them.
    CheckLeases {
        /// Who asks.
        asker: Option<Asker>,
        /// What for.
        access: LeaseAccess,
        /// Answered at once, but for where a command is being carried out that changes keys on leases.
        reply: Reply<Result<(), Refusal>>,
    },
    /// A change of who belongs to the cluster.
    ChangeMembers {
        /// The id its entry carries.
        id: u64,
        /// The change. A promotion is asked of the leader: others refuse it as [`Refusal::NotLeader`].
        change: MemberChange,
        /// Who waits.
        reply: Reply<Result<Proposed, Refusal>>,
    },
    /// The leadership is to be another's: asked of the leader.
    HandOver {
        /// Whose; the one's who is furthest where nobody is named.
        to: Option<MemberId>,
        /// Answered when it is done.
        reply: Reply<Result<(), Refusal>>,
    },
    /// Another member's message.
    Peer(PeerMessage),
    /// A message to this member, or the connection to it, was lost.
    Unreachable(MemberId),
    /// What became of a snapshot that was sent.
    SnapshotSent {
        /// To whom.
        member: MemberId,
        /// Whether it arrived whole.
        arrived: bool,
    },
    /// A snapshot could be had from another member.
    SnapshotOffered {
        /// Its head.
        message: Box<PeerMessage>,
        /// Answered with the generation of history it may be built in, or why it is not wanted.
        reply: Reply<Result<u64, String>>,
    },
    /// A snapshot arrived whole; its history is durable, and nothing names it yet.
    SnapshotArrived(Box<ArrivedSnapshot>),
    /// The snapshot taken last is in force on the disk, and its state was read.
    Installed(Box<Machine<D>>),
    /// A state of another member, taken to rebuild from, is in force on the disk and was read.
    Rebuilt(Box<Machine<D>>),
    /// Another member asks for the state, to rebuild its own from it.
    StateAsked {
        /// Who.
        to: MemberId,
        /// Answered when it is on its way, or why not.
        reply: Reply<Result<(), Refusal>>,
    },
    /// So many ticks of the time without a leader count as passed, unless there is one.
    AdvanceElection {
        /// How many.
        ticks: usize,
        /// Done.
        reply: Reply<()>,
    },
    /// All that this member holds is to be written down elsewhere.
    Show {
        /// Answered with the state as it is now; refused where it is known to be wrong.
        reply: Reply<Result<Shown<D>, Refusal>>,
    },
    /// Members will be compared at an index of now.
    DigestNoted {
        /// What was applied when an index was noted before, which says how busy the member is.
        since: Option<LogIndex>,
        /// Answered with what is applied, the index, and its digest where it is known.
        reply: Reply<(LogIndex, LogIndex, Option<u64>)>,
    },
    /// The digest of what was applied up to an index is asked for.
    DigestAsked {
        /// Which index.
        at: LogIndex,
        /// Answered with nothing where it is not known here.
        reply: Reply<Option<u64>>,
    },
    /// A member that has started asks what is remembered of it.
    RecollectionAsked {
        /// Who.
        of: MemberId,
        /// The end of its log.
        last: LogIndex,
        /// Answered with what is known.
        reply: Reply<Remembered>,
    },
    /// What another member remembers of this one, or that it cannot be had.
    Recollected {
        /// Whose memory.
        from: MemberId,
        /// What it is; nothing where it cannot be reached.
        remembered: Option<Remembered>,
        /// Answered with what that makes of this member.
        reply: Reply<Recalled>,
    },
    /// What members promised, for the others to remember, is asked for.
    PromisesWanted {
        /// Answered with nothing where another leads.
        reply: Reply<Option<Promises>>,
    },
    /// What is remembered of members, this one among them, is asked for, to be kept.
    PromisesHeld {
        /// Answered at once.
        reply: Reply<Promises>,
    },
    /// The leader tells what members promised.
    PromisesTold(Promises),
    /// A watch stream speaks.
    Watch(WatchInput),
    /// History was read for watchers that fell behind.
    CaughtUp(Box<CaughtUp>),
    /// The rounds up to this one are durable.
    Persisted {
        /// The round's number.
        number: u64,
    },
    /// History up to this mark is on the disk, though not synced.
    HistoryWritten(WriteMark),
    /// The checkpoint under way is durable.
    Checkpointed {
        /// The applied index it holds.
        applied: LogIndex,
    },
    /// A segment was rewritten without its dead records.
    Reclaimed(Reclaimed<D>),
    /// The disk has no room for what is to be written, or has it again.
    Room {
        /// For what.
        part: DiskPart,
        /// Whether there is none.
        short: bool,
        /// When that began to be tried: there may have been made room since.
        tried: Instant,
    },
    /// What the log did not use has gone.
    RoomGiven,
    /// There was no room for the checkpoint under way.
    CheckpointPutOff {
        /// When it was begun.
        tried: Instant,
    },
    /// A segment was not rewritten.
    ReclaimPutOff {
        /// For want of room; else because it is damaged.
        short: bool,
        /// When it was begun.
        tried: Instant,
    },
    /// A segment was outlined, or will not be.
    Outlined(Outlined<D>),
    /// There was no room for a segment's outline.
    OutlinePutOff {
        /// When it was begun.
        tried: Instant,
    },
    /// What was written of the history when that was asked is durable.
    HistorySynced,
    /// The digest of a compaction was made, or could not be.
    Digested,
    /// Files that were to be removed are.
    Removed,
    /// A client asks for the space of what was compacted now.
    GiveSpaceBack {
        /// Answered when it was given back.
        reply: Reply<()>,
    },
    /// A client waits for all of a compaction that was applied here.
    Compacted {
        /// The revision compacted at.
        revision: i64,
        /// Answered when the index is pruned and its digest made.
        reply: Reply<()>,
    },
    /// No more requests are taken; those waiting are finished.
    Drain {
        /// Answered when nothing waits any more.
        reply: Reply<()>,
    },
}
