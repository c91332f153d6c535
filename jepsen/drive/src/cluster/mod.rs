//! A cluster of real members under clients and mishaps, judged by what the clients were told; and its gaps.
//!
//! Invariants: every process started here is ended by the id it was started with; the seed gives the mishaps, their
//! moments and the writes, not the interleaving. Knows only the client API, the command line and the processes, so that any
//! etcd-compatible server can be examined.

mod freeze;
mod judge;
pub mod members;
mod nemesis;
mod probe;
mod traffic;

use std::path::PathBuf;
use std::time::Duration;

use quorate::base::{Dice, SeededDice};
use tokio::sync::watch;

use crate::process::{Trouble, fresh_home};
pub use freeze::{FreezeArgs, run_freeze};
use members::Cluster;
use nemesis::{Mishap, Nemesis, Outcome};
use probe::Probe;
use traffic::{Crowd, Traffic};

/// Options of every run with members.
#[derive(clap::Args, Clone, Debug)]
struct MemberArgs {
    /// The server binary.
    #[arg(long)]
    bin: PathBuf,
    /// Flag for every member; may be given several times.
    #[arg(long = "flag", allow_hyphen_values = true)]
    flags: Vec<String>,
    /// Members.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..=9))]
    peers: u64,
    /// `--heartbeat-interval` of every member, in milliseconds.
    #[arg(long, default_value_t = 100)]
    heartbeat_interval: u64,
    /// `--election-timeout` of every member, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    election_timeout: u64,
    /// Seed of the mishaps, of their moments and of the writes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the data directories go; the system's temporary directory by default.
    #[arg(long)]
    base: Option<PathBuf>,
}

/// Options of the examination of a cluster.
#[derive(clap::Args, Clone, Debug)]
pub struct ClusterArgs {
    #[command(flatten)]
    members: MemberArgs,
    /// Mishaps; each kind comes once before one comes again.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Only these mishaps.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Mishap>,
    /// Clients that write.
    #[arg(long, default_value_t = 6)]
    writers: usize,
    /// Clients that count.
    #[arg(long, default_value_t = 2)]
    counters: usize,
    /// Clients that read.
    #[arg(long, default_value_t = 3)]
    readers: usize,
}

/// Options of the measure of gaps.
#[derive(clap::Args, Clone, Debug)]
pub struct GapArgs {
    #[command(flatten)]
    members: MemberArgs,
    /// Times it is done.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// What is done.
    #[arg(long, default_value = "kill-leader")]
    mishap: Mishap,
    /// The median that is not to be exceeded, in milliseconds; 0 is none.
    #[arg(long, default_value_t = 0)]
    median_at_most: u128,
    /// The gap that is never to be exceeded, in milliseconds; 0 is none.
    #[arg(long, default_value_t = 0)]
    worst_at_most: u128,
}

/// A cluster that serves, with a probe at every member.
async fn begin(args: &MemberArgs, label: &str) -> Result<(Nemesis, PathBuf), Trouble> {
    let home = fresh_home(args.base.as_deref(), label)?;
    let mut flags = args.flags.clone();
    flags.push(format!("--heartbeat-interval={}", args.heartbeat_interval));
    flags.push(format!("--election-timeout={}", args.election_timeout));
    let mut cluster = Cluster::new(&args.bin, &home, &flags, usize::try_from(args.peers)?)?;
    println!("{label}: {} members of {}, logs in {}", args.peers, args.bin.display(), home.display());
    cluster.start_all()?;
    cluster.settle().await?;
    let (endpoints, told) = watch::channel(cluster.urls());
    let nemesis = Nemesis {
        cluster,
        probe: Probe::start(told),
        dice: SeededDice::new(args.seed),
        endpoints,
        election_timeout: Duration::from_millis(args.election_timeout),
    };
    Ok((nemesis, home))
}

/// Examines a cluster; true when no promise was broken.
pub async fn run(args: ClusterArgs) -> Result<bool, Trouble> {
    let (mut nemesis, home) = begin(&args.members, "cluster").await?;
    let crowd = Crowd { writers: args.writers.max(1), counters: args.counters, readers: args.readers };
    let traffic = Traffic::start(crowd, nemesis.endpoints.subscribe(), &mut nemesis.dice);
    let mut broken = Vec::new();
    let mut outcomes: Vec<(Mishap, Outcome)> = Vec::new();
    let mut coming = Vec::new();
    for round in 1..=args.rounds {
        if coming.is_empty() {
            coming = shuffled(if args.only.is_empty() { &Mishap::ALL } else { &args.only }, &mut nemesis.dice);
        }
        let mishap = coming.pop().expect("it was filled above");
        let outcome = match nemesis.strike(mishap).await {
            Ok(outcome) => outcome,
            Err(why) => {
                broken.push(format!("{mishap:?}: {why}"));
                break;
            }
        };
        println!(
            "round {round}/{}: {mishap:?}: {} ms without a put, {} ms while mending",
            args.rounds,
            outcome.gap.as_millis(),
            outcome.mending.as_millis()
        );
        outcomes.push((mishap, outcome));
        broken.extend(nemesis.check_hashes().await?);
        if !broken.is_empty() {
            break;
        }
    }
    let told = traffic.finish().await?;
    let Nemesis { mut cluster, probe, .. } = nemesis;
    let probes = probe.finish();
    let acknowledged = told.changes.len();
    let (counted, reads, events) = (told.counted.len(), told.reads.len(), told.events.len());
    let ledgers = told.ledgers.len();
    for (text, times) in &told.failures {
        println!("  {times} times: {text}");
    }
    if broken.is_empty() {
        cluster.settle().await?;
        broken.extend(judge::judge(&cluster, told, &probes).await?);
    } else {
        broken.extend(told.broken);
    }
    for promise in &broken {
        println!("  BROKEN {promise}");
    }
    for mishap in Mishap::ALL {
        figures(mishap, &outcomes);
    }
    println!(
        "cluster: {} mishaps, {acknowledged} acknowledged changes in {ledgers} ledgers, {counted} counted, {reads} reads held \
         against the history, {events} events, {} broken promises",
        outcomes.len(),
        broken.len()
    );
    end(cluster, &home, broken.is_empty()).await?;
    Ok(broken.is_empty())
}

/// Measures the gaps of one mishap; true when they are within the bounds given.
pub async fn run_gap(args: GapArgs) -> Result<bool, Trouble> {
    let (mut nemesis, home) = begin(&args.members, "gap").await?;
    let mut outcomes = Vec::new();
    for _ in 0..args.rounds {
        outcomes.push((args.mishap, nemesis.strike(args.mishap).await?));
    }
    let gaps = figures(args.mishap, &outcomes);
    let list: Vec<String> = gaps.iter().map(u128::to_string).collect();
    println!("  ascending, in ms: {}", list.join(" "));
    let within = |bound: u128, figure: Option<&u128>| bound == 0 || figure.is_some_and(|figure| *figure <= bound);
    let good = within(args.median_at_most, gaps.get(gaps.len() / 2)) && within(args.worst_at_most, gaps.last());
    end(nemesis.cluster, &home, good).await?;
    Ok(good)
}

/// Prints what a kind of mishap cost; its gaps in milliseconds, ascending.
fn figures(mishap: Mishap, outcomes: &[(Mishap, Outcome)]) -> Vec<u128> {
    let of_kind = || outcomes.iter().filter(|(kind, _)| *kind == mishap).map(|(_, outcome)| outcome);
    let mut gaps: Vec<u128> = of_kind().map(|outcome| outcome.gap.as_millis()).collect();
    gaps.sort_unstable();
    if let Some(worst) = gaps.last() {
        println!(
            "{mishap:?}, {} times: without a put for {} ms (median), {worst} ms (worst); while mending {} ms (worst)",
            gaps.len(),
            gaps[gaps.len() / 2],
            of_kind().map(|outcome| outcome.mending.as_millis()).max().unwrap_or(0)
        );
    }
    gaps
}

fn shuffled(mishaps: &[Mishap], dice: &mut SeededDice) -> Vec<Mishap> {
    let mut mishaps = mishaps.to_vec();
    for place in (1..mishaps.len()).rev() {
        mishaps.swap(place, dice.below(place as u64 + 1) as usize);
    }
    mishaps
}

/// Ends all members; what they left stays only where it is wanted.
async fn end(mut cluster: Cluster, home: &std::path::Path, passed: bool) -> Result<(), Trouble> {
    for member in &mut cluster.members {
        if member.server.is_some() {
            member.kill().await?;
        }
    }
    if passed {
        std::fs::remove_dir_all(home)?;
    } else {
        println!("data and logs are in {}", home.display());
    }
    Ok(())
}
