//! The plan of a run: everything that will be asked and everything that will go wrong, as data.
//!
//! It is drawn before the run begins (`draw.rs`), can be written to a file, read again and cut down by hand. What
//! depends on the run itself is said symbolically: who leads, how far a client has seen. So an item taken out leaves
//! the others as they were: every action ends by itself what it began, and each purpose has dice of its own.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::env::{DiskFaults, Latency, LinkMood, Loss};

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

/// A disk's moods while its member lives. Every "one in" is off at 0.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "see `env::DiskFaults`")]
pub struct DiskMood {
    pub sync_micros: (u64, u64),
    pub stall_one_in: u64,
    pub write_back_one_in: u64,
    pub short_read_one_in: u64,
    pub sync_error_one_in: u64,
    pub lies: bool,
}

impl DiskMood {
    /// As the disk knows it.
    pub fn faults(&self) -> DiskFaults {
        DiskFaults {
            sync_micros: self.sync_micros,
            stall_one_in: self.stall_one_in,
            stall_millis: (100, 3_000),
            write_back_one_in: self.write_back_one_in,
            short_read_one_in: self.short_read_one_in,
            sync_error_one_in: self.sync_error_one_in,
            lies: self.lies,
            ..DiskFaults::calm()
        }
    }
}

/// What sets one member apart from the others.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemberSetting {
    /// How much too fast its clock runs, in billionths.
    pub drift_ppb: i64,
    /// Whether the wall clock starts from the same moment in every life, as on a machine without a battery.
    pub wall_restarts: bool,
    /// One of its timers in so many is late, by up to 50 ms; none at 0.
    pub late_one_in: u64,
    /// The disk's moods.
    pub disk: DiskMood,
}

/// How the links between members behave. Every "one in" is off at 0.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Links {
    /// A packet takes between these, in microseconds.
    pub micros: (u64, u64),
    /// One packet in so many takes up to a hundred times as long.
    pub slow_one_in: u64,
    /// One packet in so many is lost, and sent again.
    pub loss_one_in: u64,
    /// Bytes a second; 0 for no limit.
    pub bytes_per_second: u64,
    /// One write in so many arrives in part, and then the connection is reset.
    pub cut_one_in: u64,
}

impl Links {
    /// As the network knows it.
    pub fn mood(&self) -> LinkMood {
        let (low, high) = self.micros;
        let latency = match self.slow_one_in {
            0 => Latency::Uniform(low, high),
            rare_one_in => Latency::LongTail { usual: (low, high), rare: (high, 100 * high), rare_one_in },
        };
        let (loss_one_in, bytes_per_second, cut_one_in) = (self.loss_one_in, self.bytes_per_second, self.cut_one_in);
        LinkMood { latency, loss_one_in, bytes_per_second, cut_one_in, ..LinkMood::calm() }
    }
}

/// How the members are set up and what world they stand in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Setting {
    /// Bytes of a segment of the log.
    pub wal_segment_bytes: u64,
    /// Bytes at which a history segment is sealed.
    pub segment_bytes: u64,
    /// Bytes of values kept in memory.
    pub cache_bytes: usize,
    /// Entries after which a checkpoint is made.
    pub checkpoint_entries: u64,
    /// Entries kept for members that lag: who lags further is sent a snapshot.
    pub catch_up_entries: u64,
    /// Ticks between two notices of progress.
    pub progress_ticks: u64,
    /// Time between two looks at what a lease has left.
    pub lease_checkpoint: Duration,
    /// How long a message between client and member takes at most.
    pub wire: Duration,
    /// The links between members.
    pub links: Links,
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
    /// What the operator does, in order of time.
    pub errands: Vec<Planned>,
    /// What goes wrong, in order of time.
    pub timeline: Vec<Timed>,
}
