//! A plan from a seed, by proptest strategies.
//!
//! The configuration first (swarm: each seed leaves out a part of the operations and of the faults and weighs the rest
//! anew), so that one seed stresses what another never touches. Each purpose is drawn by a runner of its own: a change to
//! one leaves the others as they were.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use quorate::base::Dice;

use crate::env::forked;
use crate::plan::{
    Action, Bank, Cut, DiskMood, End, Errand, Kind, Links, MemberSetting, Plan, Planned, PowerLoss, Setting, Step,
    Teller, Timed, Watching, Who,
};

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

/// Cluster sizes, as often as each is drawn.
const SIZES: &[usize] = &[1, 1, 1, 2, 3, 3, 3, 3, 4, 5];

/// A value of a strategy, from the seed and the purpose alone.
fn drawn<T: std::fmt::Debug>(seed: u64, purpose: &str, number: u64, strategy: impl Strategy<Value = T>) -> T {
    let mut dice = forked(seed, purpose, number);
    let bytes: Vec<u8> = (0..4).flat_map(|_| dice.next_u64().to_le_bytes()).collect();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
    strategy.new_tree(&mut runner).expect("no strategy here rejects anything").current()
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let size = drawn(seed, "size", 0, select(SIZES));
        let (keys, pace, clients) = drawn(seed, "load", 0, load());
        let (kinds, steps) = drawn(seed, "kinds", 0, (kinds(), 30..31 + 800 / clients));
        let length = pace * steps as u64;
        let client = |number| drawn(seed, "client", number, vec(step(kinds.clone(), pace), steps));
        let mut timeline = drawn(seed, "timeline", 0, timeline(size, length));
        timeline.sort_by_key(|timed| timed.at);
        let (joiners, mut errands) = drawn(seed, "errands", 0, errands(length));
        errands.sort_by_key(|planned| planned.at);
        Self {
            seed,
            founders: size,
            errands,
            members: (0..(size + joiners) as u64).map(|number| drawn(seed, "member", number, member())).collect(),
            setting: drawn(seed, "setting", 0, setting()),
            keys,
            until: Duration::from_millis(4 * length + 20_000),
            clients: (0..clients as u64).map(client).collect(),
            watching: drawn(seed, "watching", 0, vec(watching(), 0..5)),
            bank: drawn(seed, "bank", 0, bank(length)),
            timeline,
        }
    }
}

fn millis(low: u64, high: u64) -> impl Strategy<Value = Duration> {
    (low * 1000..high * 1000 + 1).prop_map(Duration::from_micros)
}

/// True once in so many.
fn one_in(many: u32) -> impl Strategy<Value = bool> {
    (0..many).prop_map(move |n| n == many - 1)
}

/// Keys, pace in milliseconds, clients.
fn load() -> impl Strategy<Value = (u64, u64, usize)> {
    (select(&[2, 5, 12, 30][..]), select(&[2, 10, 40, 150][..]), 1..8_usize)
}

fn disk() -> impl Strategy<Value = DiskMood> {
    let parts = (
        select(&[(10, 30), (50, 300), (100, 5_000), (5_000, 30_000)][..]),
        select(&[0, 0, 50, 300][..]),
        select(&[0, 2, 20][..]),
        select(&[0, 3, 50][..]),
        select(&[0, 0, 0, 400][..]),
    );
    parts.prop_map(|(sync_micros, stall_one_in, write_back_one_in, short_read_one_in, sync_error_one_in)| DiskMood {
        sync_micros,
        stall_one_in,
        write_back_one_in,
        short_read_one_in,
        sync_error_one_in,
        lies: false,
    })
}

fn member() -> impl Strategy<Value = MemberSetting> {
    let drift = select(&[0, 200_000, -200_000, 50_000_000, -50_000_000][..]);
    let parts = (drift, one_in(4), select(&[0, 0, 5, 100][..]), disk());
    parts.prop_map(|(drift_ppb, wall_restarts, late_one_in, disk)| MemberSetting {
        drift_ppb,
        wall_restarts,
        late_one_in,
        disk,
    })
}

fn links() -> impl Strategy<Value = Links> {
    let micros = select(&[(50, 200), (300, 2_000), (1_000, 20_000), (100, 50_000)][..]);
    let bytes = select(&[0, 0, 0, 20_000, 1_000_000][..]);
    let parts =
        (micros, select(&[0, 0, 30, 500][..]), select(&[0, 0, 10, 200][..]), bytes, select(&[0, 0, 50, 1_000][..]));
    parts.prop_map(|(micros, slow_one_in, loss_one_in, bytes_per_second, cut_one_in)| Links {
        micros,
        slow_one_in,
        loss_one_in,
        bytes_per_second,
        cut_one_in,
    })
}

fn setting() -> impl Strategy<Value = Setting> {
    let usual = quorate::base::limits::CATCH_UP_ENTRIES;
    // Whoever lags by more than is kept is sent a snapshot.
    let catch_up = select(vec![Some(0), Some(3), Some(20), None]).prop_map(move |few| few.unwrap_or(usual));
    let parts = (
        select(&[8 << 10, 32 << 10, 256 << 10, 2 << 20][..]),
        select(&[4 << 10, 16 << 10, 64 << 10, 64 << 20][..]),
        select(&[0, 200, 10_000, 128 << 20][..]),
        (select(&[3, 20, 100, 100_000][..]), catch_up),
        select(&[2, 10, 100][..]),
        select(&[10, 500, 5_000][..]),
        links(),
        select(&[500, 1_000, 3_000, 300_000][..]),
    );
    parts.prop_map(|parts| {
        let (wal_segment_bytes, segment_bytes, cache_bytes, kept, progress_ticks, wire, links, lease) = parts;
        let (checkpoint_entries, catch_up_entries) = kept;
        Setting {
            wal_segment_bytes,
            segment_bytes,
            cache_bytes,
            checkpoint_entries,
            catch_up_entries,
            progress_ticks,
            lease_checkpoint: Duration::from_millis(lease),
            wire: Duration::from_micros(wire),
            links,
        }
    })
}

/// Which operations there are, and how often each: a third is left out, but never all that write.
fn kinds() -> impl Strategy<Value = Vec<(Kind, u64)>> {
    vec((one_in(3), 1..7_u64), KINDS.len()).prop_map(|drawn| {
        let weigh = |((kind, usual), (out, factor)): ((Kind, u64), (bool, u64))| {
            (kind, if out && kind != Kind::Put { 0 } else { usual * factor })
        };
        KINDS.into_iter().zip(drawn).map(weigh).collect()
    })
}

fn pick(weights: &[(Kind, u64)], mut left: u64) -> Kind {
    for (kind, weight) in weights {
        match left.checked_sub(*weight) {
            Some(rest) => left = rest,
            None => return *kind,
        }
    }
    unreachable!("the draw is below the sum of the weights")
}

fn step(weights: Vec<(Kind, u64)>, pace: u64) -> impl Strategy<Value = Step> {
    let total = weights.iter().map(|(_, weight)| *weight).sum::<u64>();
    let rest = (one_in(30), 0..40_u32, millis(0, pace));
    let pause = rest.prop_map(|(long, factor, pause)| if long { pause * factor } else { pause });
    let turn_to = (one_in(12), 0..5_usize).prop_map(|(turns, to)| turns.then_some(to));
    let parts = (pause, (0..total).prop_map(move |left| pick(&weights, left)), any::<u64>(), turn_to);
    parts.prop_map(|(pause, kind, dice, turn_to)| Step { pause, kind, dice, turn_to })
}

/// How many members may be added, and what the operator does; in every other run nothing.
fn errands(length: u64) -> impl Strategy<Value = (usize, Vec<Planned>)> {
    let count = select(&[0, 0, 0, 3, 6, 12][..]);
    let changes = one_in(2);
    (count, changes, 1..3_usize).prop_flat_map(move |(count, changes, joiners)| {
        let joiners = if changes && count > 0 { joiners } else { 0 };
        let kinds = if joiners > 0 { 10 } else { 4 };
        let errand = (0..kinds, any::<u8>()).prop_map(|(kind, nth)| match (kind, usize::from(nth)) {
            (0..=2, to) => Errand::MoveLeader { to },
            (3, nth) => Errand::Update { nth, port: nth / 8 },
            (4..=6, _) => Errand::Add,
            (7 | 8, _) => Errand::Promote,
            (_, nth) => Errand::Remove { nth },
        });
        let planned = (millis(0, length), errand).prop_map(|(at, errand)| Planned { at, errand });
        (Just(joiners), vec(planned, count))
    })
}

fn watching() -> impl Strategy<Value = Watching> {
    let parts = (
        select(&[1, 3, 8, 60][..]),
        select(&[0, 0, 5, 500, 8_000][..]).prop_map(Duration::from_millis),
        select(&[300, 3_000, 60_000][..]).prop_map(Duration::from_millis),
        any::<u64>(),
    );
    parts.prop_map(|(watchers, slowness, life, dice)| Watching { watchers, slowness, life, dice })
}

/// A bank in every other run, whose clients are at it about as long as the others.
fn bank(length: u64) -> impl Strategy<Value = Option<Bank>> {
    let parts = (any::<bool>(), 2..9_u64, select(&[5, 15, 40][..]), vec(any::<u64>(), 1..4));
    parts.prop_map(move |(opens, accounts, turns, dice)| {
        let pause = Duration::from_millis(2 * length / turns);
        let tellers = dice.into_iter().map(|dice| Teller { turns, pause, dice }).collect();
        opens.then_some(Bank { accounts, tellers })
    })
}

/// What kinds of trouble a seed has at all.
#[derive(Clone, Debug)]
struct Troubles {
    size: usize,
    length: u64,
    losses: Vec<PowerLoss>,
    kills: bool,
    stops: bool,
    stalls: bool,
    pauses: bool,
    cuts: bool,
}

/// Troubles over a run of about `length` milliseconds; some runs have none.
fn timeline(size: usize, length: u64) -> impl Strategy<Value = Vec<Timed>> {
    let losses = [PowerLoss::DropAll, PowerLoss::KeepAll, PowerLoss::Torn, PowerLoss::Torn, PowerLoss::Garbage];
    let only = (one_in(3), select(losses.to_vec()));
    let allowed = (one_in(2), one_in(3), one_in(3), one_in(3), one_in(2));
    let count = select(&[0, 1, 3, 6, 12][..]);
    (only, allowed, count).prop_flat_map(move |((one, only), (kills, stops, stalls, pauses, cuts), count)| {
        let losses = if one { vec![only] } else { losses.to_vec() };
        let cuts = cuts && size > 1;
        let troubles = Troubles { size, length, losses, kills, stops, stalls, pauses, cuts };
        vec(trouble(&troubles), count).prop_map(|bursts| bursts.concat())
    })
}

/// One trouble, or a burst of endings.
fn trouble(all: &Troubles) -> impl Strategy<Value = Vec<Timed>> + use<> {
    let mut choices = vec![(4, bursts(all).boxed())];
    if all.stalls {
        let stall = (who(all.size), millis(100, 6_000)).prop_map(|(who, time)| Action::Stall { who, time });
        choices.push((1, alone(all, stall).boxed()));
    }
    if all.pauses {
        let pause = (who(all.size), millis(10, 8_000)).prop_map(|(who, time)| Action::Pause { who, time });
        choices.push((1, alone(all, pause).boxed()));
    }
    let step = select(&[-86_400_000, -5_000, 300, 5_000, 86_400_000][..]);
    let step = (who(all.size), step).prop_map(|(who, ms)| Action::StepWall { who, ms });
    choices.push((1, alone(all, step).boxed()));
    if all.cuts {
        let parts = (cut(all.size), any::<bool>(), millis(50, 15_000));
        let cut = parts.prop_map(|(cut, clients, time)| Action::Cut { cut, clients, time });
        choices.push((3, alone(all, cut).boxed()));
    }
    proptest::strategy::Union::new_weighted(choices)
}

fn alone<S: Strategy<Value = Action>>(all: &Troubles, action: S) -> impl Strategy<Value = Vec<Timed>> + use<S> {
    (millis(0, all.length), action).prop_map(|(at, action)| vec![Timed { at, action }])
}

fn who(size: usize) -> impl Strategy<Value = Who> {
    let choices = [
        (4, (0..size).prop_map(Who::Member).boxed()),
        (2, Just(Who::Leader).boxed()),
        (2, (0..size).prop_map(Who::Follower).boxed()),
        (1, Just(Who::All).boxed()),
    ];
    proptest::strategy::Union::new_weighted(choices.to_vec())
}

fn cut(size: usize) -> impl Strategy<Value = Cut> {
    let link = (0..size, 0..size);
    let choices = [
        (4, who(size).prop_map(Cut::Apart).boxed()),
        (2, who(size).prop_map(Cut::Mute).boxed()),
        (2, who(size).prop_map(Cut::Deaf).boxed()),
        (1, (0..size).prop_map(Cut::Bridge).boxed()),
        (1, Just(Cut::Ring).boxed()),
        (2, vec(link, 1..1 + size).prop_map(Cut::Links).boxed()),
    ];
    proptest::strategy::Union::new_weighted(choices.to_vec())
}

/// An ending; in a burst the next one comes while the member boots, or soon after.
fn bursts(all: &Troubles) -> impl Strategy<Value = Vec<Timed>> + use<> {
    let losses = select(all.losses.clone());
    let (kills, stops) = (all.kills, all.stops);
    let how = (0..4_u32, losses).prop_map(move |(n, loss)| match n {
        0 if kills => End::Kill,
        1 if stops => End::Stop,
        _ => End::Power(loss),
    });
    let nth = (any::<bool>(), 1..41_u64).prop_map(|(at_once, nth)| if at_once { 0 } else { nth });
    let down = select(&[0, 1, 50, 2_000][..]).prop_map(Duration::from_millis);
    let endings = vec((how, nth, down, millis(0, 30)), 7);
    let many = (one_in(5), 1..6_usize).prop_map(|(burst, more)| if burst { 1 + more } else { 1 });
    let endings = (many, endings).prop_map(|(many, endings)| endings[..many].to_vec());
    (who(all.size), millis(0, all.length), endings).prop_map(|(who, at, endings)| {
        let mut at = at;
        let mut burst = Vec::new();
        for (place, (how, nth, down, rest)) in endings.into_iter().enumerate() {
            let nth = if place > 0 { nth.max(1) } else { nth };
            let action = match how {
                End::Stop | End::Kill | End::Power(_) if nth == 0 => Action::End { who, how, down },
                End::Stop => Action::End { who, how, down },
                how => Action::Trap { who, nth, how, down },
            };
            burst.push(Timed { at, action });
            at += down + rest;
        }
        burst
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_follows_from_its_seed_and_survives_a_file() {
        for seed in 0..50 {
            let (plan, again) = (Plan::of(seed), Plan::of(seed));
            let text = serde_json::to_string(&plan).unwrap();
            assert_eq!(text, serde_json::to_string(&again).unwrap(), "seed {seed}");
            let read: Plan = serde_json::from_str(&text).unwrap();
            assert_eq!(text, serde_json::to_string(&read).unwrap(), "seed {seed}");
        }
    }

    #[test]
    fn plans_differ_and_every_kind_of_trouble_is_drawn_for_a_cluster() {
        let mut seen = [0; 6];
        for seed in 0..200 {
            for timed in drawn(seed, "timeline", 0, timeline(3, 10_000)) {
                seen[match timed.action {
                    Action::End { .. } => 0,
                    Action::Trap { .. } => 1,
                    Action::Stall { .. } => 2,
                    Action::Pause { .. } => 3,
                    Action::Cut { .. } => 4,
                    Action::StepWall { .. } => 5,
                }] += 1;
            }
        }
        assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
    }
}
