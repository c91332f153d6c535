//! The plan of a run: everything that will be asked and everything that will go wrong, as data.
//!
//! It is drawn before the run begins (`draw.rs`), can be written to a file, read again and cut down by hand. What
//! depends on the run itself is said symbolically: who leads, how far a client has seen. So an item taken out leaves
//! the others as they were: every action ends by itself what it began, and each purpose has dice of its own.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::env::{Aim, Damage, DamageBudget, FileClass, Loss};
pub use crate::setting::{DiskMood, Holding, LaneSetting, Links, MemberSetting, Reading, Setting, Slicing};

/// What a client may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    Put,
    Delete,
    Txn,
    ReadOnlyTxn,
    Range,
    SerializableRange,
    Compact,
    LeaseGrant,
    LeaseRevoke,
    KeepAlive,
    TimeToLive,
    Leases,
    Alarm,
    HashKv,
    Hash,
    Status,
    Defragment,
    LongView,
    Pages,
}

/// One step of a client: after a pause, something of this kind, its details drawn from `dice`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Step {
    /// How long the client rests before.
    pub pause: Duration,
    /// What it does.
    pub kind: Kind,
    /// Seed of the details.
    pub dice: u64,
    /// Turns to this member first (counted around); without it the client stays where it is.
    pub turn_to: Option<usize>,
}

/// One watching client: opens streams one after the other, as long as the run lasts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Watching {
    /// Watchers on each stream.
    pub watchers: u64,
    /// The reader rests up to this long between looking at what came.
    pub slowness: Duration,
    /// A stream lives up to this long.
    pub life: Duration,
    /// Seed of the details.
    pub dice: u64,
}

/// How a loss of power goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "see `env::Loss`")]
pub enum PowerLoss {
    DropAll,
    KeepAll,
    Torn,
    Garbage,
}

impl PowerLoss {
    /// As the disk knows it.
    pub fn loss(self) -> Loss {
        match self {
            Self::DropAll => Loss::DropAll,
            Self::KeepAll => Loss::KeepAll,
            Self::Torn => Loss::torn(),
            Self::Garbage => Loss::garbage(),
        }
    }
}

/// How a life of a member ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum End {
    /// The process dies, the system lives on.
    Kill,
    /// The power goes.
    Power(PowerLoss),
    /// It is asked to stop and does.
    Stop,
}

/// Whom a trouble befalls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Who {
    /// A member by its number, counted around.
    Member(usize),
    /// Whoever leads when it comes to it; the first member if nobody does.
    Leader,
    /// One that does not lead, by its number among them, counted around; the leader where it is alone.
    Follower(usize),
    /// Every member.
    All,
    /// Who stepped into the ambush that this is a part of; elsewhere the first member.
    Caught,
}

/// What a member does when an ambush waits for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Moment {
    /// As the leader it sends an append.
    Appends,
    /// It is elected.
    Elected,
    /// As the leader it tells another to stand at once: the leadership is handed over.
    HandsOver,
    /// It gives its vote.
    Votes,
    /// As the leader it applies an entry of an earlier term.
    AppliesOld,
    /// It installs a snapshot.
    Installs,
    /// It is in the middle of a command that it carries out in slices.
    CarriesOut,
    /// It is offered a snapshot that it takes.
    Receives,
}

/// What cannot reach what. Members are counted around.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Cut {
    /// These on one side, the others on the other.
    Apart(Who),
    /// Nothing that these send arrives.
    Mute(Who),
    /// Nothing arrives at these.
    Deaf(Who),
    /// Two halves that see each other only through this member.
    Bridge(usize),
    /// Each member sees its two neighbours.
    Ring,
    /// Single links, from and to.
    Links(Vec<(usize, usize)>),
}

/// One thing that goes wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Action {
    /// A life ends.
    End {
        /// Whose.
        who: Who,
        /// How.
        how: End,
        /// How long it stays down.
        down: Duration,
    },
    /// A life ends in the middle of the n-th thing done to the disk from then on, be it during a boot.
    Trap {
        /// Whose.
        who: Who,
        /// Which, from 1.
        nth: u64,
        /// What is counted.
        #[serde(default)]
        aim: Aim,
        /// How; not by being asked to.
        how: End,
        /// How long it stays down.
        down: Duration,
    },
    /// Every sync waits for so long.
    Stall {
        /// Whose.
        who: Who,
        /// How long.
        time: Duration,
    },
    /// The whole member stands still, as a stopped process does; its clocks go on.
    Pause {
        /// Which.
        who: Who,
        /// How long.
        time: Duration,
    },
    /// The wall clock steps, back where it is negative.
    StepWall {
        /// Whose.
        who: Who,
        /// By how much, in milliseconds.
        ms: i64,
    },
    /// The monotonic clock runs by another drift from now on, until the next start.
    Drift {
        /// Whose.
        who: Who,
        /// How much too fast, in billionths.
        ppb: i64,
    },
    /// The machine was suspended just before, as a laptop is: its monotonic clock did not count the time.
    Suspend {
        /// Which.
        who: Who,
        /// How long.
        time: Duration,
    },
    /// The processor is slow: work takes so many hundredths of its usual time.
    Slow {
        /// Whose.
        who: Who,
        /// In hundredths.
        percent: u64,
        /// How long.
        time: Duration,
    },
    /// The disk has so much room left, and no more.
    Fill {
        /// Whose.
        who: Who,
        /// Bytes.
        room: u64,
        /// How long.
        time: Duration,
    },
    /// A sector at rest is damaged, where the budget allows it.
    Rot {
        /// Whose.
        who: Who,
        /// In a file of this class.
        class: FileClass,
        /// How.
        damage: Damage,
    },
    /// Every connection between two members, counted around, is cut in the middle of what is on its way.
    Reset {
        /// One.
        one: usize,
        /// The other.
        other: usize,
    },
    /// Calls from one member to another, counted around, are refused or swallowed.
    Block {
        /// Who calls.
        from: usize,
        /// Who is called.
        to: usize,
        /// Whether the caller is told so.
        told: bool,
        /// How long.
        time: Duration,
    },
    /// A member's whole disk is copied, and a while later put back to that copy, and the member started on it.
    PutBack {
        /// Whose.
        who: Who,
        /// How long after the copy.
        after: Duration,
        /// How long it stays down.
        down: Duration,
    },
    /// A member's whole disk is lost, as far as the others can spare it, and the member is started with nothing, once more as
    /// a founder or as one that was added. Who is refused is replaced.
    Wipe {
        /// Whose.
        who: Who,
        /// Whether it is started as one that was added.
        existing: bool,
        /// How long it stays down.
        down: Duration,
    },
    /// A member's whole disk is copied. Where every member's was, all start again on these at the very end.
    Copy {
        /// Whose.
        who: Who,
    },
    /// A member's listener for its peers goes for a time, and with it every connection that it took. Those that it made live on.
    Unlisten {
        /// Whose.
        who: Who,
        /// Whether callers are told so.
        told: bool,
        /// How long.
        time: Duration,
    },
    /// Waits for the n-th time from now that a member does something, and then lets another trouble befall.
    Ambush {
        /// What is waited for.
        moment: Moment,
        /// Which, from 1.
        nth: u64,
        /// So long after it.
        after: Duration,
        /// What befalls then, [`Who::Caught`] among others.
        then: Box<Action>,
    },
    /// The network falls apart, and heals after a time.
    Cut {
        /// How.
        cut: Cut,
        /// Whether clients are on one side, too: with the members of even numbers, or by turns.
        clients: bool,
        /// How long.
        time: Duration,
    },
}

impl Action {
    /// The same, with who was caught in place of [`Who::Caught`].
    pub fn upon(mut self, member: usize) -> Self {
        let found = |who: &mut Who| {
            if *who == Who::Caught {
                *who = Who::Member(member);
            }
        };
        match &mut self {
            Self::End { who, .. }
            | Self::Trap { who, .. }
            | Self::Stall { who, .. }
            | Self::Pause { who, .. }
            | Self::StepWall { who, .. }
            | Self::Drift { who, .. }
            | Self::Suspend { who, .. }
            | Self::Slow { who, .. }
            | Self::Fill { who, .. }
            | Self::Rot { who, .. }
            | Self::PutBack { who, .. }
            | Self::Wipe { who, .. }
            | Self::Copy { who }
            | Self::Unlisten { who, .. }
            | Self::Cut { cut: Cut::Apart(who) | Cut::Mute(who) | Cut::Deaf(who), .. } => found(who),
            Self::Cut { .. } | Self::Reset { .. } | Self::Block { .. } | Self::Ambush { .. } => {}
        }
        self
    }

    /// What it makes of the drift of clocks, if anything.
    fn drift(&self) -> Option<i64> {
        match self {
            Self::Drift { ppb, .. } => Some(*ppb),
            Self::Ambush { then, .. } => then.drift(),
            _ => None,
        }
    }
}

/// An action and its moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Timed {
    /// When, in true time since the start of the run.
    pub at: Duration,
    /// What.
    pub action: Action,
}

/// Something the operator does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Errand {
    /// Moves the leadership to a member, counted around.
    MoveLeader {
        /// Whom.
        to: usize,
    },
    /// Adds the next member that is not one yet, as a learner, and starts it.
    Add,
    /// Promotes the learners.
    Promote,
    /// Removes one of those who belong to the cluster, counted around.
    Remove {
        /// Which.
        nth: usize,
    },
    /// Tells the cluster that one of those who belong to it is reached at another address, both counted around.
    Update {
        /// Which.
        nth: usize,
        /// Where.
        port: usize,
    },
}

/// An errand and the moment before which it is not begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Planned {
    pub at: Duration,
    pub errand: Errand,
}

/// How much of what a member cannot restore by itself may be damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Harm {
    /// Nothing.
    Nothing,
    /// A minority of the members': the others must serve all the same.
    Minority,
    /// Anything: such a run must fail loudly or not at all.
    Beyond,
}

impl Harm {
    /// The budget of a run among so many voters.
    pub fn budget(self, voters: usize) -> DamageBudget {
        match self {
            Self::Nothing => DamageBudget::none(),
            Self::Minority => DamageBudget::minority_of(voters),
            Self::Beyond => DamageBudget::boundless(),
        }
    }
}

/// One client of the bank.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Teller {
    /// Times it looks at the accounts and, mostly, moves something.
    pub turns: u64,
    /// It rests up to this long before each.
    pub pause: Duration,
    /// Seed of the details.
    pub dice: u64,
}

/// The bank: accounts among which its clients move money.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bank {
    /// How many accounts there are, from 2.
    pub accounts: u64,
    /// Its clients.
    pub tellers: Vec<Teller>,
}

/// What of a state is falsified, and so who has to find it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Falsified {
    /// The running digest: members compare it by themselves.
    #[default]
    Digest,
    /// Values at rest, which the leader's look at all data on an interval finds.
    DataOnInterval,
    /// Values at rest, which the digests made at a compaction show.
    DataAtCompaction,
    /// Values at rest, which the member finds by itself when it starts.
    DataAtStart,
}

/// A member whose state is falsified at the end of the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Divergence {
    /// Whose, counted around.
    pub nth: usize,
    /// What.
    #[serde(default)]
    pub what: Falsified,
    /// Whether members take the others' state by themselves when they differ.
    pub rebuilds: bool,
}

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The seed it was drawn from; what is drawn during the run follows from it, too.
    pub seed: u64,
    /// The members; behind those who found the cluster those who may be added to it.
    pub members: Vec<MemberSetting>,
    /// How many found the cluster.
    pub founders: usize,
    /// What they share.
    pub setting: Setting,
    /// How much may be damaged.
    pub harm: Harm,
    /// How many keys the clients fight over.
    pub keys: u64,
    /// No client begins anything after this.
    pub until: Duration,
    /// What each client does, in order.
    pub clients: Vec<Vec<Step>>,
    /// Who watches.
    pub watching: Vec<Watching>,
    /// A bank, in runs that have one.
    #[serde(default)]
    pub bank: Option<Bank>,
    /// A state that is falsified, in runs that have one.
    #[serde(default)]
    pub divergence: Option<Divergence>,
    /// What the operator does, in order of time.
    pub errands: Vec<Planned>,
    /// What goes wrong, in order of time.
    pub timeline: Vec<Timed>,
}

impl Plan {
    /// Whether who belongs to the cluster may change.
    pub fn changes_members(&self) -> bool {
        !self.errands.is_empty() || self.wipes()
    }

    /// Whether a member may be started on a disk that is older than what it promised.
    pub fn forgets(&self) -> bool {
        self.timeline.iter().any(|timed| matches!(timed.action, Action::Wipe { .. } | Action::PutBack { .. }))
    }

    /// Whether disks are lost.
    pub fn wipes(&self) -> bool {
        self.timeline.iter().any(|timed| matches!(timed.action, Action::Wipe { .. }))
    }

    /// The drifts that any clock has at any time, in billionths.
    pub fn drifts(&self) -> Vec<i64> {
        let changes = self.timeline.iter().filter_map(|timed| timed.action.drift());
        self.members.iter().map(|member| member.drift_ppb).chain(changes).collect()
    }
}
