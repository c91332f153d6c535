//! Clusters side by side: three members of each make on loopback, the same load in turns, and the ratios of each pair.
//!
//! Invariants: both sides stand through the whole run, with the same flags and directories on the same disk, and take
//! turns in short windows, so that a slow minute of the machine hits both; the one that waits is not measured. The load
//! comes from one thread of hand-made frames ([`super::lean`]), whose own costs are told apart. Judges nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use quorate::base::{Dice, SeededDice};
use quorate::wire::etcdserverpb as pb;

use super::lean::{self, Call};
use super::load::{SMALL_STORE, fill, key, value};
use super::median;
use crate::cluster::members::Cluster;
use crate::process::{Cost, Trouble, busy_of_all};
use crate::sides::Sides;

/// Load that is not measured, before each window.
const WARM_UP: Duration = Duration::from_millis(500);

/// Connections that carry the clients of one member.
const CONNECTIONS: usize = 2;

/// Options of the bench of clusters.
#[derive(clap::Args, Clone, Debug)]
pub struct BenchClusterArgs {
    #[command(flatten)]
    sides: Sides,
    /// Members of each side.
    #[arg(long, default_value_t = 3)]
    members: usize,
    /// Only cases whose name contains this; may be given several times.
    #[arg(long = "case")]
    cases: Vec<String>,
    /// Windows of each side and case.
    #[arg(long, default_value_t = 9)]
    pairs: usize,
    /// Seconds of each window, after half a second of warm-up.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Clients of the cases with many.
    #[arg(long, default_value_t = 100)]
    clients: usize,
}

/// Whom the clients ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Whom {
    Leader,
    Follower,
    All,
}

impl Whom {
    /// Their places among so many members.
    pub(super) fn places(self, leader: usize, members: usize) -> Vec<usize> {
        match self {
            Self::Leader => vec![leader],
            Self::Follower => vec![(leader + 1) % members],
            Self::All => (0..members).collect(),
        }
    }
}

/// What they ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Work {
    Put,
    Get,
}

/// A case; nothing for the count of clients is as many as the options say.
const CASES: [(&str, Work, Whom, Option<usize>); 5] = [
    ("put at the leader", Work::Put, Whom::Leader, None),
    ("put at all members", Work::Put, Whom::All, None),
    ("put at a follower", Work::Put, Whom::Follower, None),
    ("get at a follower", Work::Get, Whom::Follower, None),
    ("one put at a time, at the leader", Work::Put, Whom::Leader, Some(1)),
];

/// Puts of random keys of the small store.
pub(super) struct Puts(pub(super) SeededDice);

impl Call for Puts {
    const PATH: &'static str = "/etcdserverpb.KV/Put";

    fn request(&mut self, out: &mut Vec<u8>) {
        let put =
            pb::PutRequest { key: key(self.0.below(SMALL_STORE)), value: value(&mut self.0), ..Default::default() };
        put.encode(out).expect("a vector has room");
    }

    fn accepts(&self, answer: &[u8]) -> bool {
        let header = pb::PutResponse::decode(answer).ok().and_then(|answer| answer.header);
        header.is_some_and(|header| header.revision > 1)
    }
}

/// Linearizable gets of random keys of the small store.
struct Gets(SeededDice);

impl Call for Gets {
    const PATH: &'static str = "/etcdserverpb.KV/Range";

    fn request(&mut self, out: &mut Vec<u8>) {
        let range = pb::RangeRequest { key: key(self.0.below(SMALL_STORE)), ..Default::default() };
        range.encode(out).expect("a vector has room");
    }

    fn accepts(&self, answer: &[u8]) -> bool {
        pb::RangeResponse::decode(Bytes::copy_from_slice(answer)).is_ok_and(|answer| answer.kvs.len() == 1)
    }
}

/// What one window showed; times in microseconds an operation, latencies in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    rate: f64,
    p50: f64,
    p99: f64,
    /// Of all members.
    cpu: f64,
    /// Of the leader alone.
    leader_cpu: f64,
    /// Of this program.
    driver_cpu: f64,
    /// Bytes all members sent to the disk.
    disk: f64,
    /// Cores kept busy by anything else.
    others: f64,
}

/// One side of the comparison.
struct Side {
    cluster: Cluster,
    leader: usize,
}

/// Runs the cases and prints the table. True always: a bench measures, it does not judge.
pub async fn run_cluster(args: BenchClusterArgs) -> Result<bool, Trouble> {
    let home = args.sides.introduce("bench-cluster")?;
    println!(
        "{} members each; {} windows of {} s each side, in turns; values 256 B, keys 38 B; {} clients on {CONNECTIONS} \
         connections to each member asked\n",
        args.members, args.pairs, args.seconds, args.clients
    );
    let mut sides = [begin(&args, &home, false).await?, begin(&args, &home, true).await?];
    println!("{HEAD}");
    for (name, work, whom, clients) in CASES {
        if args.cases.is_empty() || args.cases.iter().any(|wanted| name.contains(wanted.as_str())) {
            case(&args, &mut sides, name, (work, whom, clients.unwrap_or(args.clients))).await?;
        }
    }
    for side in &mut sides {
        for member in &mut side.cluster.members {
            member.kill().await?;
        }
    }
    std::fs::remove_dir_all(&home)?;
    Ok(true)
}

async fn begin(args: &BenchClusterArgs, home: &Path, right: bool) -> Result<Side, Trouble> {
    let (name, binary) = args.sides.one(right);
    let mut cluster = Cluster::new(binary, &home.join(name), &args.sides.flags, args.members)?;
    cluster.start_all()?;
    cluster.settle().await?;
    let leader = cluster.leader().await?;
    let server = cluster.members[leader].server.as_ref().ok_or("the leader does not run")?;
    fill(server, SMALL_STORE).await?;
    Ok(Side { cluster, leader })
}

async fn case(
    args: &BenchClusterArgs,
    sides: &mut [Side; 2],
    name: &str,
    asked: (Work, Whom, usize),
) -> Result<(), Trouble> {
    let mut seen = [Vec::new(), Vec::new()];
    for turn in 0..args.pairs * 2 {
        // L R R L: neither side is always the first of its pair.
        let number = (turn + turn / 2) % 2;
        let side = &mut sides[number];
        side.cluster.check_alive()?;
        side.leader = side.cluster.leader().await?;
        let window = measure(side, asked, Duration::from_secs(args.seconds)).await?;
        eprintln!("  {name}, {}: {window:.3?}", ["left", "right"][number]);
        seen[number].push(window);
    }
    print_case(&format!("{name}, {} client(s)", asked.2), &seen);
    Ok(())
}

async fn measure(side: &Side, (work, whom, clients): (Work, Whom, usize), window: Duration) -> Result<Window, Trouble> {
    let places = whom.places(side.leader, side.cluster.members.len());
    let lanes = (places.len() * CONNECTIONS).min(clients);
    let addresses: Vec<String> =
        (0..lanes).map(|lane| side.cluster.members[places[lane % places.len()]].launch.address()).collect();
    let from = Instant::now() + WARM_UP;
    let until = from + window;
    let driving = std::thread::spawn(move || drive(work, addresses, clients, from, until));
    tokio::time::sleep_until(from.into()).await;
    let before = Reading::take(side)?;
    tokio::time::sleep_until(until.into()).await;
    let after = Reading::take(side)?;
    // The last answers are on their way: this does not block the members.
    let driven = tokio::task::spawn_blocking(move || driving.join()).await?;
    let mut latencies = driven.map_err(|_| "the load driver panicked")??;
    latencies.sort_unstable();
    if latencies.is_empty() {
        return Err("no operation finished within the window".into());
    }
    let count = latencies.len() as f64;
    let at = |share: f64| f64::from(latencies[((count - 1.0) * share) as usize]) / 1_000.0;
    let elapsed = (after.at - before.at).as_secs_f64();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count;
    let cost = |reading: &Reading| reading.members.iter().map(|cost| cost.cpu).sum::<Duration>();
    let written = |reading: &Reading| reading.members.iter().map(|cost| cost.written).sum::<u64>();
    let (all, own) = (cost(&after) - cost(&before), after.own - before.own);
    Ok(Window {
        rate: count / elapsed,
        p50: at(0.50),
        p99: at(0.99),
        cpu: each(all),
        leader_cpu: each(after.members[side.leader].cpu - before.members[side.leader].cpu),
        driver_cpu: each(own),
        disk: (written(&after) - written(&before)) as f64 / count,
        others: ((after.all - before.all).as_secs_f64() - all.as_secs_f64() - own.as_secs_f64()).max(0.0) / elapsed,
    })
}

/// The load, on the thread this is called on alone.
fn drive(
    work: Work,
    addresses: Vec<String>,
    clients: usize,
    from: Instant,
    until: Instant,
) -> Result<Vec<u32>, Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let lanes = addresses.len();
    runtime.block_on(async move {
        let mut tasks = Vec::new();
        for (number, address) in addresses.into_iter().enumerate() {
            let share = clients / lanes + usize::from(number < clients % lanes);
            let dice = SeededDice::new(number as u64);
            tasks.push(match work {
                Work::Put => tokio::spawn(lean::calls(address, Puts(dice), share, from, until)),
                Work::Get => tokio::spawn(lean::calls(address, Gets(dice), share, from, until)),
            });
        }
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await??);
        }
        Ok(latencies)
    })
}

/// Everything that is read at one end of the window.
struct Reading {
    at: Instant,
    members: Vec<Cost>,
    own: Duration,
    all: Duration,
}

impl Reading {
    fn take(side: &Side) -> Result<Self, Trouble> {
        let untold = "costs cannot be read here (no /proc)";
        let costs = side.cluster.members.iter().map(|member| member.server.as_ref()?.cost());
        let members = costs.collect::<Option<Vec<Cost>>>().ok_or(untold)?;
        let own = Cost::of(std::process::id()).ok_or(untold)?.cpu;
        Ok(Self { at: Instant::now(), members, own, all: busy_of_all().ok_or(untold)? })
    }
}

const HEAD: &str = "\
| case (left / right, median ratio of the pairs) | ops/s | p50 ms | p99 ms | CPU of all members us/op | of the leader | of the load driver | disk B/op | range of the CPU ratio; of ops/s; most noise |
|---|---|---|---|---|---|---|---|---|";

fn print_case(name: &str, seen: &[Vec<Window>; 2]) {
    let ratios = |pick: fn(&Window) -> f64| -> Vec<f64> {
        seen[0].iter().zip(&seen[1]).map(|(left, right)| pick(right) / pick(left)).collect()
    };
    let column = |pick: fn(&Window) -> f64, digits: usize| {
        let of = |side: usize| median(&seen[side].iter().map(pick).collect::<Vec<_>>());
        format!("{:.digits$} / {:.digits$} ({:.2})", of(0), of(1), median(&ratios(pick)))
    };
    let range = |pick: fn(&Window) -> f64| {
        let all = ratios(pick);
        let least = all.iter().copied().fold(f64::INFINITY, f64::min);
        format!("{least:.2}-{:.2}", all.iter().copied().fold(0.0, f64::max))
    };
    let noise = seen.iter().flatten().map(|window| window.others).fold(0.0, f64::max);
    println!(
        "| {name} | {} | {} | {} | {} | {} | {} | {} | {}; {}; {noise:.2} cores |",
        column(|w| w.rate, 0),
        column(|w| w.p50, 2),
        column(|w| w.p99, 2),
        column(|w| w.cpu, 1),
        column(|w| w.leader_cpu, 1),
        column(|w| w.driver_cpu, 1),
        column(|w| w.disk, 0),
        range(|w| w.cpu),
        range(|w| w.rate),
    );
}
