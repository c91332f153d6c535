//! The plan of a run: everything that will be asked and everything that will go wrong, as data.
//!
//! Drawn from the seed before the run begins, the configuration first (swarm: each seed leaves out a part of
//! the operations and of the faults and weighs the rest anew), so that one seed stresses what another never
//! touches. What depends on the run itself (a revision, for one) is drawn when its turn comes, from dice of
//! its own: taking one step out of a plan leaves the others as they were.

use std::time::Duration;

use quorate::base::{Dice, SeededDice};

use crate::env::{DiskFaults, Loss, forked};

/// What a client may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
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

const KINDS: [(Kind, u64); 13] = [
    (Kind::Put, 24),
    (Kind::Delete, 8),
    (Kind::Txn, 16),
    (Kind::ReadOnlyTxn, 5),
    (Kind::Range, 14),
    (Kind::SerializableRange, 6),
    (Kind::Compact, 3),
    (Kind::LeaseGrant, 5),
    (Kind::LeaseRevoke, 3),
    (Kind::KeepAlive, 6),
    (Kind::TimeToLive, 3),
    (Kind::Leases, 2),
    (Kind::Alarm, 1),
];

/// One step of a client: after a pause, something of this kind, its details drawn from `dice`.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// How long the client rests before.
    pub pause: Duration,
    /// What it does.
    pub kind: Kind,
    /// Seed of the details.
    pub dice: u64,
}

/// One watching client: opens streams one after the other, as long as the run lasts.
#[derive(Clone, Copy, Debug)]
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

/// How a life of the node ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// The process dies, the system lives on.
    Kill,
    /// The power goes.
    Power(Loss),
    /// It is asked to stop and does.
    Stop,
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// The node's life ends: at once, or in the middle of the n-th thing done to the disk from then on.
    Ending {
        /// How.
        end: End,
        /// The n-th operation on the disk, or 0 for at once.
        at_disk_operation: u64,
        /// How long it stays down.
        down: Duration,
    },
    /// Every sync waits for so long.
    Stall(Duration),
}

/// How the node is set up and what world it stands in.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Bytes of a segment of the log.
    pub wal_segment_bytes: u64,
    /// Bytes at which a history segment is sealed.
    pub segment_bytes: u64,
    /// Bytes of values kept in memory.
    pub cache_bytes: usize,
    /// Entries after which a checkpoint is made.
    pub checkpoint_entries: u64,
    /// Ticks between two notices of progress.
    pub progress_ticks: u64,
    /// How much too fast the node's clock runs, in billionths.
    pub drift_ppb: i64,
    /// Whether the wall clock starts from the same moment in every life, as on a machine without a battery.
    pub wall_restarts: bool,
    /// The disk's moods while the node lives.
    pub disk: DiskFaults,
    /// How long a message between client and node takes at most.
    pub wire: Duration,
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed it was drawn from.
    pub seed: u64,
    /// Node and world.
    pub setting: Setting,
    /// How many keys the clients fight over.
    pub keys: u64,
    /// What each client does, in order.
    pub clients: Vec<Vec<Step>>,
    /// Who watches.
    pub watching: Vec<Watching>,
    /// What goes wrong, each after a rest.
    pub troubles: Vec<(Duration, Trouble)>,
}

fn millis(dice: &mut SeededDice, low: u64, high: u64) -> Duration {
    Duration::from_micros(low * 1000 + dice.below((high - low) * 1000 + 1))
}

fn one_of<T: Copy>(dice: &mut SeededDice, choices: &[T]) -> T {
    choices[dice.below(choices.len() as u64) as usize]
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut dice = forked(seed, "plan", 0);
        let setting = setting(&mut dice);
        let keys = one_of(&mut dice, &[2, 5, 12, 30]);
        let weights = weights(&mut forked(seed, "kinds", 0));
        let pace = one_of(&mut dice, &[2, 10, 40, 150]);
        let clients = 1 + dice.below(7);
        let steps = 30 + dice.below(1 + 800 / clients);
        Self {
            seed,
            setting,
            keys,
            clients: (0..clients).map(|n| steps_of(&mut forked(seed, "client", n), &weights, pace, steps)).collect(),
            watching: watching(&mut forked(seed, "watching", 0)),
            troubles: troubles(&mut forked(seed, "troubles", 0), pace * steps),
        }
    }
}

fn setting(dice: &mut SeededDice) -> Setting {
    let disk = DiskFaults {
        sync_micros: one_of(dice, &[(10, 30), (50, 300), (100, 5_000), (5_000, 30_000)]),
        stall_one_in: one_of(dice, &[0, 0, 50, 300]),
        stall_millis: (100, 3_000),
        write_back_one_in: one_of(dice, &[0, 2, 20]),
        short_read_one_in: one_of(dice, &[0, 3, 50]),
        sync_error_one_in: one_of(dice, &[0, 0, 0, 400]),
        ..DiskFaults::calm()
    };
    Setting {
        wal_segment_bytes: one_of(dice, &[8 << 10, 32 << 10, 256 << 10, 2 << 20]),
        segment_bytes: one_of(dice, &[4 << 10, 16 << 10, 64 << 10, 64 << 20]),
        cache_bytes: one_of(dice, &[0, 200, 10_000, 128 << 20]),
        checkpoint_entries: one_of(dice, &[3, 20, 100, 100_000]),
        progress_ticks: one_of(dice, &[2, 10, 100]),
        drift_ppb: one_of(dice, &[0, 200_000, -200_000, 50_000_000, -50_000_000]),
        wall_restarts: dice.one_in(4),
        disk,
        wire: Duration::from_micros(one_of(dice, &[10, 500, 5_000])),
    }
}

/// Which operations there are, and how often each: a third is left out, but never all that write.
fn weights(dice: &mut SeededDice) -> Vec<(Kind, u64)> {
    let weigh = |dice: &mut SeededDice, (kind, usual): (Kind, u64)| {
        let out = dice.one_in(3) && kind != Kind::Put;
        (kind, if out { 0 } else { usual * (1 + dice.below(6)) })
    };
    KINDS.into_iter().map(|kind| weigh(dice, kind)).collect()
}

fn drawn(dice: &mut SeededDice, weights: &[(Kind, u64)]) -> Kind {
    let mut left = dice.below(weights.iter().map(|(_, weight)| weight).sum());
    for (kind, weight) in weights {
        match left.checked_sub(*weight) {
            Some(rest) => left = rest,
            None => return *kind,
        }
    }
    unreachable!("the draw is below the sum of the weights")
}

fn steps_of(dice: &mut SeededDice, weights: &[(Kind, u64)], pace: u64, steps: u64) -> Vec<Step> {
    let step = |dice: &mut SeededDice| Step {
        pause: if dice.one_in(30) { millis(dice, 0, 40 * pace) } else { millis(dice, 0, pace) },
        kind: drawn(dice, weights),
        dice: dice.next_u64(),
    };
    (0..steps).map(|_| step(dice)).collect()
}

fn watching(dice: &mut SeededDice) -> Vec<Watching> {
    let one = |dice: &mut SeededDice| Watching {
        watchers: one_of(dice, &[1, 3, 8, 60]),
        slowness: one_of(dice, &[0, 0, 5, 500, 8_000].map(Duration::from_millis)),
        life: one_of(dice, &[300, 3_000, 60_000].map(Duration::from_millis)),
        dice: dice.next_u64(),
    };
    (0..dice.below(5)).map(|_| one(dice)).collect()
}

/// Endings and stalls over a run of about `length` milliseconds; some runs have none.
fn troubles(dice: &mut SeededDice, length: u64) -> Vec<(Duration, Trouble)> {
    let losses = [Loss::DropAll, Loss::KeepAll, Loss::torn(), Loss::torn(), Loss::garbage()];
    let only = dice.one_in(3).then(|| one_of(dice, &losses));
    let (kills, stops, stalls) = (dice.one_in(2), dice.one_in(3), dice.one_in(3));
    let count = one_of(dice, &[0, 1, 3, 6, 12]);
    let mut troubles = Vec::new();
    for _ in 0..count {
        let rest = millis(dice, 0, 2 * length / (count + 1) + 1);
        if stalls && dice.one_in(4) {
            troubles.push((rest, Trouble::Stall(millis(dice, 100, 6_000))));
            continue;
        }
        let burst = if dice.one_in(5) { 1 + dice.below(6) } else { 1 };
        for nth in 0..burst {
            let end = match dice.below(4) {
                0 if kills => End::Kill,
                1 if stops && nth == 0 => End::Stop,
                _ => End::Power(only.unwrap_or_else(|| one_of(dice, &losses))),
            };
            // In a burst the next end comes while the node boots, or soon after.
            let at_disk_operation = if nth > 0 || dice.one_in(2) { 1 + dice.below(40) } else { 0 };
            let rest = if nth == 0 { rest } else { millis(dice, 0, 30) };
            let down = one_of(dice, &[0, 1, 50, 2_000].map(Duration::from_millis));
            troubles.push((rest, Trouble::Ending { end, at_disk_operation, down }));
        }
    }
    troubles
}
