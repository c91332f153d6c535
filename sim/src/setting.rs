//! What a plan says of the world's usual moods: disks, links, the lane, and the flags that members share.

use std::time::Duration;

use quorate::node::{CatchUpBounds, HeldBounds};
use quorate::watch::{BufferBounds, HubBounds};
use serde::{Deserialize, Serialize};

use crate::env::{DiskFaults, LaneMood, Latency, LinkMood};

/// A disk's moods while its member lives. Every "one in" is off at 0.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "see `env::DiskFaults`")]
pub struct DiskMood {
    pub sync_micros: (u64, u64),
    pub write_micros: (u64, u64),
    pub stall_one_in: u64,
    pub write_back_one_in: u64,
    pub write_back_error_one_in: u64,
    pub short_read_one_in: u64,
    pub read_error_one_in: u64,
    pub sync_error_one_in: u64,
    #[serde(default)]
    pub evict_one_in: u64,
    pub refuses_whole: bool,
    pub lost_write_one_in: u64,
    pub misdirected_write_one_in: u64,
    pub lies: bool,
}

impl DiskMood {
    /// As the disk knows it.
    pub fn faults(&self) -> DiskFaults {
        DiskFaults {
            sync_micros: self.sync_micros,
            write_micros: self.write_micros,
            stall_one_in: self.stall_one_in,
            stall_millis: (100, 3_000),
            write_back_one_in: self.write_back_one_in,
            write_back_error_one_in: self.write_back_error_one_in,
            short_read_one_in: self.short_read_one_in,
            read_error_one_in: self.read_error_one_in,
            sync_error_one_in: self.sync_error_one_in,
            evict_one_in: self.evict_one_in,
            refuses_whole: self.refuses_whole,
            lost_write_one_in: self.lost_write_one_in,
            misdirected_write_one_in: self.misdirected_write_one_in,
            lies: self.lies,
            ..DiskFaults::calm()
        }
    }

    /// Whether calls of the system fail that another try would do.
    pub fn fails(&self) -> bool {
        self.sync_error_one_in > 0 || self.read_error_one_in > 0 || self.write_back_error_one_in > 0
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
    /// How long work takes, in hundredths of what is usual; it takes no time at 0.
    pub cpu_percent: u64,
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
            0 if low == high => Latency::Constant(low),
            0 => Latency::Uniform(low, high),
            rare_one_in => Latency::LongTail { usual: (low, high), rare: (high, 100 * high), rare_one_in },
        };
        let (loss_one_in, bytes_per_second, cut_one_in) = (self.loss_one_in, self.bytes_per_second, self.cut_one_in);
        LinkMood { latency, loss_one_in, bytes_per_second, cut_one_in, ..LinkMood::calm() }
    }
}

/// A lane of whole messages in place of the transport's streams. Every "one in" is off at 0.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "see `env::LaneMood`")]
pub struct LaneSetting {
    pub drop_one_in: u64,
    pub duplicate_one_in: u64,
    pub delay_one_in: u64,
    pub replay_one_in: u64,
    pub tells_one_in: u64,
}

impl LaneSetting {
    /// As the lane knows it.
    pub fn mood(&self) -> LaneMood {
        LaneMood {
            drop_one_in: self.drop_one_in,
            duplicate_one_in: self.duplicate_one_in,
            delay_one_in: self.delay_one_in,
            delay_micros: (1_000, 2_000_000),
            replay_one_in: self.replay_one_in,
            replay_millis: (10, 10_000),
            tells_one_in: self.tells_one_in,
        }
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
    /// Bytes of history from which on nothing more is put; without bound at 0.
    #[serde(default)]
    pub quota_bytes: u64,
    /// Entries after which a checkpoint is made.
    pub checkpoint_entries: u64,
    /// Bytes of entries in one append to a follower.
    pub append_bytes: usize,
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
    /// What carries messages in place of the transport, if anything.
    pub lane: Option<LaneSetting>,
    /// What is carried out in slices.
    #[serde(default)]
    pub slicing: Slicing,
    /// How history is read for watchers that fell behind.
    #[serde(default)]
    pub reading: Reading,
    /// What members hold in memory at most.
    #[serde(default)]
    pub holding: Holding,
}

/// What members hold in memory at most: as `node::HeldBounds` and `watch::HubBounds`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holding {
    /// Bytes committed and not applied.
    pub unapplied: usize,
    /// Bytes of history that the disk does not have.
    pub unwritten: usize,
    /// Bytes of history that nobody was given to write.
    pub gathered: usize,
    /// Bytes of events that wait for the reader of a watch stream.
    pub watch_bytes: usize,
    /// Messages that do.
    pub watch_messages: usize,
    /// Bytes and messages that he takes at once.
    pub batch: (usize, usize),
    /// Bytes a watcher is read for, however little room there is.
    pub least_room: usize,
}

impl Default for Holding {
    fn default() -> Self {
        let HeldBounds { unapplied, unwritten, gathered } = HeldBounds::default();
        let HubBounds { buffer, least_room } = HubBounds::default();
        let BufferBounds { bytes, responses, batch_bytes, batch_responses, .. } = buffer;
        let (watch_bytes, watch_messages, batch) = (bytes, responses, (batch_bytes, batch_responses));
        Self { unapplied, unwritten, gathered, watch_bytes, watch_messages, batch, least_room }
    }
}

impl Holding {
    /// What waits in a member, as the node knows it.
    pub fn held(&self) -> HeldBounds {
        HeldBounds { unapplied: self.unapplied, unwritten: self.unwritten, gathered: self.gathered }
    }

    /// What watch streams hold, as the node knows it.
    pub fn watch(&self) -> HubBounds {
        let (batch_bytes, batch_responses) = self.batch;
        // As it ships: events fill what is for events, and answers come behind them.
        let (responses, answers) = (self.watch_messages, 2 * self.watch_messages);
        let buffer = BufferBounds { bytes: self.watch_bytes, responses, answers, batch_bytes, batch_responses };
        HubBounds { buffer, least_room: self.least_room }
    }
}

/// What members carry out in slices, and how long that takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Slicing {
    /// Keys that one turn of a member changes at most.
    pub changes_per_turn: usize,
    /// How long a slice takes, in microseconds.
    pub micros: u64,
    /// Changes that one turn looks at to prune what was compacted.
    #[serde(default = "usually_pruned")]
    pub pruned_per_turn: usize,
}

fn usually_pruned() -> usize {
    quorate::base::limits::COMPACTION_SLICE
}

impl Default for Slicing {
    fn default() -> Self {
        let changes_per_turn = quorate::base::limits::APPLY_CHANGES_PER_TURN;
        Self { changes_per_turn, micros: 0, pruned_per_turn: usually_pruned() }
    }
}

impl Slicing {
    /// Whether the few keys of a simulated cluster are more than a turn may change.
    pub fn is_fine(&self) -> bool {
        self.changes_per_turn < quorate::base::limits::APPLY_CHANGES_PER_TURN
    }
}

/// How members read history for watchers that fell behind: as `node::CatchUpBounds`, and how long a read beside the node takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reading {
    /// Bytes read in a turn of a member, and how far behind he is at most who is read for in it.
    pub in_turn: usize,
    /// Bytes read beside it at once.
    pub beside: usize,
    /// Bytes of a piece.
    pub piece: usize,
    /// How long a read beside it takes, in microseconds.
    pub micros: u64,
}

impl Reading {
    /// As the node knows it.
    pub fn bounds(&self) -> CatchUpBounds {
        CatchUpBounds { in_turn: self.in_turn, beside: self.beside, piece: self.piece }
    }
}

impl Default for Reading {
    fn default() -> Self {
        let CatchUpBounds { in_turn, beside, piece } = CatchUpBounds::default();
        Self { in_turn, beside, piece, micros: 0 }
    }
}
