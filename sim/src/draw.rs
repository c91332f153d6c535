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
    Action, Bank, DiskMood, Divergence, Errand, Falsified, Harm, Holding, Kind, LaneSetting, Links, MemberSetting,
    Plan, Planned, Reading, Setting, Slicing, Step, Teller, Timed, Watching,
};
use crate::troubles::{
    LASTS, LOST_DISKS, Scene, beside_others, copies, figure_eight, in_the_middle, lost_disks, millis, one_in,
    put_backs, receiving, timeline,
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

/// What is asked of members by who looks after them, and reads that last: drawn apart, and done between the others.
const UPKEEP: [(Kind, u64); 6] = [
    (Kind::HashKv, 6),
    (Kind::Hash, 2),
    (Kind::Status, 3),
    (Kind::Defragment, 2),
    (Kind::LongView, 3),
    (Kind::Pages, 3),
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

/// The quota beside these troubles: who stands on an old copy may stand behind its way out.
fn quota_beside(seed: u64, timeline: &[Timed]) -> u64 {
    let copied = timeline.iter().any(|timed| matches!(timed.action, Action::Copy { .. }));
    if copied { 0 } else { drawn(seed, "quota", 0, quota()) }
}

/// The steps of each client, by its number.
fn clients_of(seed: u64, kinds: Vec<(Kind, u64)>, pace: u64, steps: usize) -> impl Fn(u64) -> Vec<Step> {
    let upkeep = drawn(seed, "upkeep", 0, upkeep());
    move |number| {
        let usual = drawn(seed, "client", number, vec(step(kinds.clone(), pace), steps));
        let Some((kinds, share)) = upkeep.clone() else { return usual };
        let more = vec((0..=steps, step(kinds, pace)), steps / share);
        mixed(usual, drawn(seed, "upkeep steps", number, more))
    }
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        Self::lasting(seed, Duration::ZERO)
    }

    /// The plan of a seed whose clients are at it for about so long at least: they rest longer, and do no more.
    pub fn lasting(seed: u64, least: Duration) -> Self {
        let size = drawn(seed, "size", 0, select(SIZES));
        let (keys, pace, clients) = drawn(seed, "load", 0, load());
        let (kinds, steps) = drawn(seed, "kinds", 0, (kinds(), 30..31 + 800 / clients));
        let (harm, lane) = (drawn(seed, "harm", 0, harm(size)), drawn(seed, "lane", 0, lane()));
        let beside = size > 2 && harm == Harm::Nothing && drawn(seed, "beside", 0, one_in(12));
        let least = if beside { least.max(LASTS) } else { least };
        let pace = pace.max(least.as_millis() as u64 / steps as u64);
        let length = pace * steps as u64;
        let client = clients_of(seed, kinds, pace, steps);
        let scene = Scene { size, length, harm };
        let (joiners, mut errands) = drawn(seed, "errands", 0, errands(length));
        let (joiners, lane) = if beside { (0, None) } else { (joiners, lane) };
        // A lane carries no questions, and a cluster that may be short of members no state, to those who join.
        let lane = lane.filter(|_| size > 1 && joiners == 0 && harm == Harm::Nothing);
        let joiners = if harm == Harm::Nothing { joiners } else { 0 };
        errands.retain(|planned| joiners > 0 || matches!(planned.errand, Errand::MoveLeader { .. }));
        errands.sort_by_key(|planned| planned.at);
        let mut setting = drawn(seed, "setting", 0, setting());
        let mut timeline = drawn(seed, "timeline", 0, timeline(scene));
        if size > 2 && harm == Harm::Nothing && drawn(seed, "figure eight", 0, one_in(10)) {
            timeline = drawn(seed, "figure eight", 1, figure_eight(scene));
            setting.append_bytes = 0;
        }
        let of_its_own = size > 2 && harm == Harm::Nothing && lane.is_none() && joiners == 0 && !beside;
        let forgets = of_its_own && drawn(seed, "amnesia", 0, one_in(8));
        let loses = of_its_own && !forgets && drawn(seed, "lost disks", 0, one_in(8));
        let spares = if loses { LOST_DISKS } else { joiners };
        let mut timeline = special(seed, scene, forgets, loses, beside).unwrap_or(timeline);
        if loses || beside {
            errands.clear();
            setting.links = prompt(&setting.links);
        }
        let can_differ = harm == Harm::Nothing && lane.is_none() && !forgets && !loses;
        // A lane carries no questions, and who has forgotten may be put back to what differs.
        let divergence = drawn(seed, "divergence", 0, divergence()).filter(|_| can_differ);
        if can_differ && divergence.is_none() && joiners == 0 && drawn(seed, "copies", 0, one_in(6)) {
            timeline.extend(drawn(seed, "copies", 1, copies(scene)));
        }
        (setting.slicing, setting.reading) = (slicing_of(seed, loses), drawn(seed, "reading", 0, reading()));
        setting.holding = drawn(seed, "holding", 0, holding());
        let is_plain = harm == Harm::Nothing && !forgets && !loses && !beside;
        if setting.slicing.is_fine() && is_plain {
            timeline.extend(drawn(seed, "in the middle", 0, in_the_middle(scene)));
        }
        if is_plain && size > 1 {
            timeline.extend(drawn(seed, "receiving", 0, receiving(scene)));
        }
        timeline.sort_by_key(|timed| timed.at);
        if is_plain && divergence.is_none() {
            setting.quota_bytes = quota_beside(seed, &timeline);
        }
        setting.lane = lane;
        let member = |number| spared(member_of(seed, number, harm), forgets, loses, beside);
        Self {
            seed,
            founders: size,
            errands,
            members: (0..(size + spares) as u64).map(member).collect(),
            setting,
            harm,
            keys,
            until: Duration::from_millis(4 * length + 20_000),
            clients: (0..clients as u64).map(client).collect(),
            watching: drawn(seed, "watching", 0, vec(watching(), 0..5)),
            bank: drawn(seed, "bank", 0, bank(length)),
            divergence,
            timeline,
        }
    }
}

/// Keys, pace in milliseconds, clients.
fn load() -> impl Strategy<Value = (u64, u64, usize)> {
    (select(&[2, 5, 12, 30][..]), select(&[2, 10, 40, 150][..]), 1..8_usize)
}

/// How much may be damaged: in most runs nothing that a member cannot mend by itself.
fn harm(size: usize) -> impl Strategy<Value = Harm> {
    (0..20_u32).prop_map(move |n| match n {
        0 => Harm::Beyond,
        1 | 2 if size > 2 => Harm::Minority,
        _ => Harm::Nothing,
    })
}

/// In most runs the transport carries what members say.
fn lane() -> impl Strategy<Value = Option<LaneSetting>> {
    let parts = (
        select(&[0, 0, 20][..]),
        select(&[0, 3, 30][..]),
        select(&[0, 5, 50][..]),
        select(&[5, 20, 200][..]),
        select(&[1, 3][..]),
    );
    let setting = parts.prop_map(|(drop_one_in, duplicate_one_in, delay_one_in, replay_one_in, tells_one_in)| {
        LaneSetting { drop_one_in, duplicate_one_in, delay_one_in, replay_one_in, tells_one_in }
    });
    (one_in(8), setting).prop_map(|(there, setting)| there.then_some(setting))
}

fn disk() -> impl Strategy<Value = DiskMood> {
    let times = (
        select(&[(10, 30), (50, 300), (100, 5_000), (5_000, 30_000)][..]),
        select(&[(0, 0), (0, 0), (0, 0), (0, 300)][..]),
        select(&[0, 0, 50, 300][..]),
    );
    let moods = (select(&[0, 2, 20][..]), select(&[0, 3, 50][..]), any::<bool>());
    let errors = (
        select(&[0, 0, 0, 0, 400, 60, 15][..]),
        select(&[0, 0, 0, 0, 5_000, 500][..]),
        select(&[0, 0, 0, 10, 100][..]),
    );
    let strays = (select(&[20, 100, 1_000][..]), select(&[20, 100, 1_000][..]));
    (times, moods, errors, strays).prop_map(|(times, moods, errors, strays)| {
        let (sync_micros, write_micros, stall_one_in) = times;
        let (write_back_one_in, short_read_one_in, refuses_whole) = moods;
        let (sync_error_one_in, read_error_one_in, write_back_error_one_in) = errors;
        let (lost_write_one_in, misdirected_write_one_in) = strays;
        DiskMood {
            sync_micros,
            write_micros,
            stall_one_in,
            write_back_one_in,
            write_back_error_one_in,
            short_read_one_in,
            read_error_one_in,
            sync_error_one_in,
            refuses_whole,
            // Drawn apart: see `member_of`.
            evict_one_in: 0,
            lost_write_one_in,
            misdirected_write_one_in,
            lies: false,
        }
    })
}

/// A member; for two of three the system is short of memory: it drops pages that failed to be written.
fn member_of(seed: u64, number: u64, harm: Harm) -> MemberSetting {
    let strays = harm != Harm::Nothing || drawn(seed, "strays", number, one_in(4));
    let evict_one_in = drawn(seed, "evictions", number, select(&[0, 1, 10][..]));
    let setting = drawn(seed, "member", number, member());
    let disk = DiskMood { evict_one_in, ..astray(setting.disk, strays) };
    MemberSetting { disk, ..setting }
}

/// Writes go astray where damage may come, and now and then where it may not: then of what there is twice.
fn astray(disk: DiskMood, strays: bool) -> DiskMood {
    if strays { disk } else { DiskMood { lost_write_one_in: 0, misdirected_write_one_in: 0, ..disk } }
}

/// The troubles of a run in which one `forgets`, one `loses` its disk, or some are well `beside` others; nothing in another.
fn special(seed: u64, scene: Scene, forgets: bool, loses: bool, beside: bool) -> Option<Vec<Timed>> {
    match (forgets, loses, beside) {
        (true, ..) => Some(drawn(seed, "amnesia", 1, put_backs(scene))),
        (_, true, _) => Some(drawn(seed, "lost disks", 1, lost_disks(scene))),
        (.., true) => Some(drawn(seed, "beside", 1, beside_others(scene))),
        _ => None,
    }
}

/// A member of a run in which one `forgets`, one `loses` its disk, or some are well `beside` others: without what would be more
/// than such a run may have.
fn spared(member: MemberSetting, forgets: bool, loses: bool, beside: bool) -> MemberSetting {
    let disk = if forgets || loses || beside { without_errors(member.disk) } else { member.disk };
    let disk = if beside { DiskMood { stall_one_in: 0, ..disk } } else { disk };
    let cpu_percent = if loses || beside { member.cpu_percent.min(100) } else { member.cpu_percent };
    MemberSetting { disk, cpu_percent, ..member }
}

/// Whoever asks before it starts is answered in time, where somebody is there.
fn prompt(links: &Links) -> Links {
    let loss_one_in = if links.loss_one_in == 0 { 0 } else { 500 };
    Links { micros: links.micros, slow_one_in: 0, loss_one_in, bytes_per_second: 0, cut_one_in: 0 }
}

/// Nobody ends by itself while another has forgotten.
fn without_errors(disk: DiskMood) -> DiskMood {
    DiskMood { sync_error_one_in: 0, read_error_one_in: 0, write_back_error_one_in: 0, ..disk }
}

fn member() -> impl Strategy<Value = MemberSetting> {
    let drift = select(&[0, 200_000, -200_000, 50_000_000, -50_000_000][..]);
    let cpu = select(&[0, 0, 0, 100, 2_000][..]);
    let parts = (drift, one_in(4), select(&[0, 0, 5, 100][..]), cpu, disk());
    parts.prop_map(|(drift_ppb, wall_restarts, late_one_in, cpu_percent, disk)| MemberSetting {
        drift_ppb,
        wall_restarts,
        late_one_in,
        cpu_percent,
        disk,
    })
}

fn links() -> impl Strategy<Value = Links> {
    let micros = select(&[(50, 200), (300, 2_000), (500, 500), (1_000, 20_000), (100, 50_000)][..]);
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
    let append = select(vec![quorate::base::limits::APPEND_BYTES, quorate::base::limits::APPEND_BYTES, 10_000, 300, 0]);
    let parts = (
        select(&[8 << 10, 32 << 10, 256 << 10, 2 << 20][..]),
        select(&[4 << 10, 16 << 10, 64 << 10, 64 << 20][..]),
        select(&[0, 200, 10_000, 128 << 20][..]),
        (select(&[3, 20, 100, 100_000][..]), catch_up, append),
        select(&[2, 10, 100][..]),
        select(&[10, 500, 5_000][..]),
        links(),
        select(&[500, 1_000, 3_000, 300_000][..]),
    );
    parts.prop_map(|parts| {
        let (wal_segment_bytes, segment_bytes, cache_bytes, kept, progress_ticks, wire, links, lease) = parts;
        let (checkpoint_entries, catch_up_entries, append_bytes) = kept;
        Setting {
            wal_segment_bytes,
            segment_bytes,
            cache_bytes,
            checkpoint_entries,
            append_bytes,
            catch_up_entries,
            quota_bytes: 0,
            progress_ticks,
            lease_checkpoint: Duration::from_millis(lease),
            wire: Duration::from_micros(wire),
            links,
            lane: None,
            slicing: Slicing::default(),
            reading: Reading::default(),
            holding: Holding::default(),
        }
    })
}

/// Whoever asks others before it starts is answered at once.
fn slicing_of(seed: u64, asks: bool) -> Slicing {
    let slicing = drawn(seed, "slicing", 0, slicing());
    let pruned_per_turn = drawn(seed, "pruning", 0, select(vec![1, 2, 10, Slicing::default().pruned_per_turn]));
    let slicing = Slicing { pruned_per_turn, ..slicing };
    if asks { Slicing { micros: 0, ..slicing } } else { slicing }
}

/// In every other run members carry out in slices what changes a few keys.
fn slicing() -> impl Strategy<Value = Slicing> {
    let (few, micros) = (select(&[1, 1, 2, 3, 8][..]), select(&[0, 200, 5_000, 30_000][..]));
    (one_in(2), few, micros).prop_map(|(is_fine, changes_per_turn, micros)| {
        if is_fine { Slicing { changes_per_turn, micros, ..Slicing::default() } } else { Slicing::default() }
    })
}

/// In two runs of three the little that a simulated cluster holds is enough to be read beside a member.
fn reading() -> impl Strategy<Value = Reading> {
    let (in_turn, beside) = (select(&[1, 200, 2_000][..]), select(&[1, 1_000, 20_000][..]));
    let (piece, micros) = (select(&[1, 500, 5_000][..]), select(&[0, 0, 500, 20_000, 300_000][..]));
    (one_in(3), in_turn, beside, piece, micros).prop_map(|(is_usual, in_turn, beside, piece, micros)| {
        if is_usual { Reading::default() } else { Reading { in_turn, beside, piece, micros } }
    })
}

/// In two runs of three the little that a simulated cluster writes is more than some of what may be held.
fn holding() -> impl Strategy<Value = Holding> {
    let usual = Holding::default();
    let of_node = (
        select(vec![200, 2_000, 20_000, usual.unapplied]),
        select(vec![200, 2_000, 20_000, usual.unwritten]),
        select(vec![1, 600, 5_000, usual.gathered]),
    );
    let of_streams = (
        select(vec![1, 300, 3_000, usual.watch_bytes]),
        select(vec![16, 128, usual.watch_messages]),
        (select(vec![1, 700, usual.batch.0]), select(vec![1, 3, usual.batch.1])),
        select(vec![1, 400, usual.least_room]),
    );
    (one_in(3), of_node, of_streams).prop_map(move |(is_usual, of_node, of_streams)| {
        let (unapplied, unwritten, gathered) = of_node;
        let (watch_bytes, watch_messages, batch, least_room) = of_streams;
        let drawn = Holding { unapplied, unwritten, gathered, watch_bytes, watch_messages, batch, least_room };
        if is_usual { usual } else { drawn }
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

/// In every other run what of [`UPKEEP`] there is, of which half is left out, and one of so many steps that it is.
fn upkeep() -> impl Strategy<Value = Option<(Vec<(Kind, u64)>, usize)>> {
    let kinds = vec((one_in(2), 1..7_u64), UPKEEP.len());
    (one_in(2), kinds, select(&[4, 10, 25][..])).prop_map(|(there, kinds, share)| {
        let weigh =
            |((kind, usual), (out, factor)): ((Kind, u64), (bool, u64))| (kind, if out { 0 } else { usual * factor });
        let kinds: Vec<(Kind, u64)> = UPKEEP.into_iter().zip(kinds).map(weigh).collect();
        let any = kinds.iter().any(|(_, weight)| *weight > 0);
        (there && any).then_some((kinds, share))
    })
}

/// Steps with others between them, each in front of the one of its number.
fn mixed(usual: Vec<Step>, mut more: Vec<(usize, Step)>) -> Vec<Step> {
    more.sort_by_key(|(at, _)| *at);
    let mut more = more.into_iter().peekable();
    let mut steps = Vec::new();
    for (number, step) in usual.into_iter().enumerate() {
        steps.extend(std::iter::from_fn(|| more.next_if(|(at, _)| *at <= number)).map(|(_, step)| step));
        steps.push(step);
    }
    steps.extend(more.map(|(_, step)| step));
    steps
}

/// In one run of four a quota that what is written uses up.
fn quota() -> impl Strategy<Value = u64> {
    (one_in(4), select(&[30_000, 60_000, 120_000][..])).prop_map(|(there, bytes)| if there { bytes } else { 0 })
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

/// A state that is falsified, in one run of four of those that can have one.
fn divergence() -> impl Strategy<Value = Option<Divergence>> {
    let what =
        select(vec![Falsified::Digest, Falsified::DataOnInterval, Falsified::DataAtCompaction, Falsified::DataAtStart]);
    (one_in(4), 0..16_usize, what, any::<bool>())
        .prop_map(|(differs, nth, what, rebuilds)| differs.then_some(Divergence { nth, what, rebuilds }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_is_to_last_lasts_and_is_the_same_otherwise() {
        for seed in 0..20 {
            let (plan, longer) = (Plan::of(seed), Plan::lasting(seed, Duration::from_secs(60)));
            assert!(longer.until >= plan.until && longer.until > Duration::from_secs(200), "seed {seed}");
            let steps = |plan: &Plan| plan.clients.iter().map(Vec::len).collect::<Vec<_>>();
            assert_eq!((plan.founders, steps(&plan)), (longer.founders, steps(&longer)), "seed {seed}");
        }
    }

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
}
