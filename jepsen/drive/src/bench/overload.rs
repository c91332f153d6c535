//! More puts than members can carry out: offered at a fixed rate, whatever becomes of them (an open loop).
//!
//! First a closed loop says what they can do with a hundred clients; then so many times that is offered, to the leader, to
//! a follower or to all. A put is timed
//! from when it was due, and is good when it was carried out within the client's patience. The clients are honest ones: no more
//! puts are under way than the server allows; one that is not answered in time is reset, as a gRPC client does at its
//! deadline; one that could not be sent within half of its time, because the server takes no more, is given up (who
//! sent those that are nearly over first would be answered too late by any server).
//! Beside them stand those who ask for little ([`super::bystanders`]).
//! Invariants: both sides get the same flags, a fresh directory on the same disk, and turns that alternate; what is offered
//! is counted by when it was due, so that what was never answered counts as not good. Judges the right side, where it
//! is told to.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use quorate::base::SeededDice;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::bystanders::{Heard, stand_by};
use super::lean;
use super::load::{SMALL_STORE, fill};
use super::median;
use super::members::{Puts, Whom};
use super::offered::{Load, Told, offer};
use crate::cluster::members::Cluster;
use crate::process::{Cost, Trouble};
use crate::sides::Sides;

/// Of the rate of the closed loop so much is good under three times the load.
const LEAST_GOOD: f64 = 0.8;

/// MiB of a member that holds a small store, whatever is offered: what may be in flight, and twice what the store takes.
const MOST_RESIDENT: f64 = 1_024.0;

/// Options of the bench of overload.
#[derive(clap::Args, Clone, Debug)]
pub struct OverloadArgs {
    #[command(flatten)]
    sides: Sides,
    /// Measurements of each side.
    #[arg(long, default_value_t = 3)]
    pairs: usize,
    /// Seconds of each load.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// How many times the rate of the closed loop is offered.
    #[arg(long, default_value_t = 3.0)]
    times: f64,
    /// How long a client waits, in milliseconds from when its put was due.
    #[arg(long, default_value_t = 1_000)]
    patience: u64,
    /// Connections that carry the load.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Members of each side.
    #[arg(long, default_value_t = 1)]
    members: usize,
    /// Whom the load asks.
    #[arg(long, value_enum, default_value_t = Whom::Leader)]
    at: Whom,
    /// Milliseconds that each sync of a member takes longer than the disk does (needs `strace`): the disk is what is short.
    #[arg(long, default_value_t = 0)]
    sync_longer: u64,
    /// Ends with 1 where the right side does not hold what is promised under three times the load.
    #[arg(long)]
    judge: bool,
}

/// What became of an offered load.
#[derive(Clone, Debug, Default)]
struct Outcome {
    /// Puts a second in a closed loop.
    closed: f64,
    /// Puts a second that were offered, carried out in time, refused, carried out too late, and given up unsent.
    offered: f64,
    good: f64,
    refused: f64,
    late: f64,
    unsent: f64,
    /// The same of the last half of the window: without what it takes to come to rest.
    good_at_rest: f64,
    /// Of the good ones, in milliseconds.
    p50: f64,
    p99: f64,
    /// How soon the refused were told so, in milliseconds.
    refusal_p99: f64,
    /// Puts that ended otherwise than well, by what the members count for each code.
    codes: BTreeMap<String, u64>,
    /// Of those who ask for little: renewals of leases and puts, the slowest and the 99th percentile in milliseconds, and
    /// what became of them.
    renewal_worst: f64,
    others_p99: f64,
    others_worst: f64,
    others_failed: BTreeMap<String, usize>,
    others_refused: BTreeMap<String, usize>,
    leases_lost: usize,
    /// Terms that began meanwhile.
    elections: u64,
    /// Most resident memory of a member, in MiB: in the closed loop, and in the open one.
    resident_before: f64,
    resident: f64,
    /// Processor seconds a second, of all members and of this program.
    server: f64,
    own: f64,
}

/// Runs the bench and prints a table. True, unless it is to judge and the right side does not hold.
pub async fn run_overload(args: OverloadArgs) -> Result<bool, Trouble> {
    let home = args.sides.introduce("overload")?;
    println!(
        "{} measurements of {} s each side, in turns; {} members, each sync {} ms longer; {} times the closed loop's rate over \
         {} connections ({:?}); good within {} ms\n",
        args.pairs, args.seconds, args.members, args.sync_longer, args.times, args.connections, args.at, args.patience
    );
    let mut seen = [Vec::new(), Vec::new()];
    for turn in 0..args.pairs * 2 {
        let right = turn % 2 == 1;
        let place = home.join(format!("{turn}"));
        let mut cluster = begin(&args, &place, right).await?;
        let outcome = measure(&args, &cluster).await?;
        cluster.check_alive()?;
        eprintln!("  {}: {outcome:.1?}", if right { "right" } else { "left" });
        seen[usize::from(right)].push(outcome);
        for member in &mut cluster.members {
            member.kill().await?;
        }
        std::fs::remove_dir_all(&place)?;
    }
    print(&seen);
    std::fs::remove_dir_all(&home)?;
    let broken: Vec<String> = seen[1].iter().flat_map(|outcome| outcome.broken(&args)).collect();
    broken.iter().for_each(|promise| println!("not held: {promise}"));
    Ok(!args.judge || broken.is_empty())
}

/// Members with a small store.
async fn begin(args: &OverloadArgs, home: &Path, right: bool) -> Result<Cluster, Trouble> {
    let (_, binary) = args.sides.one(right);
    let mut cluster = Cluster::new(binary, home, &args.sides.flags, args.members)?;
    for member in &mut cluster.members {
        member.launch.sync_longer = Duration::from_millis(args.sync_longer);
    }
    cluster.start_all()?;
    cluster.settle().await?;
    let leader = cluster.leader().await?;
    fill(cluster.members[leader].server.as_ref().ok_or("the leader does not run")?, SMALL_STORE).await?;
    Ok(cluster)
}

impl Outcome {
    /// What is promised and was not held.
    fn broken(&self, args: &OverloadArgs) -> Vec<String> {
        let mut broken = Vec::new();
        let mut must = |holds: bool, promise: String| broken.extend((!holds).then_some(promise));
        let share = self.good / self.closed;
        must(share >= LEAST_GOOD, format!("{share:.2} of what the closed loop did was good"));
        must(self.elections == 0, format!("{} elections", self.elections));
        must(self.leases_lost == 0, format!("{} leases of others were lost", self.leases_lost));
        must(self.others_refused.is_empty(), format!("leases of others were refused: {:?}", self.others_refused));
        must(self.others_failed.is_empty(), format!("puts of others failed: {:?}", self.others_failed));
        let patience = args.patience as f64;
        must(self.renewal_worst <= patience, format!("a renewal took {:.0} ms", self.renewal_worst));
        must(self.refusal_p99 <= patience, format!("refusals took {:.0} ms", self.refusal_p99));
        must(self.resident <= MOST_RESIDENT, format!("a member took {:.0} MiB", self.resident));
        broken
    }
}

fn print(seen: &[Vec<Outcome>; 2]) {
    println!("| what | left | right |\n|---|---|---|");
    let row = |name: &str, pick: &dyn Fn(&Outcome) -> f64, digits: usize| {
        let of = |side: usize| median(&seen[side].iter().map(pick).collect::<Vec<_>>());
        println!("| {name} | {:.digits$} | {:.digits$} |", of(0), of(1));
    };
    row("closed loop, 100 clients, puts/s", &|o| o.closed, 0);
    row("offered, puts/s", &|o| o.offered, 0);
    row("good, puts/s", &|o| o.good, 0);
    row("good, of the closed loop's", &|o| o.good / o.closed, 2);
    row("the same of the last half", &|o| o.good_at_rest / o.closed, 2);
    row("refused, puts/s", &|o| o.refused, 0);
    row("too late, puts/s", &|o| o.late, 0);
    row("given up unsent, puts/s", &|o| o.unsent, 0);
    row("p50 of the good, ms", &|o| o.p50, 1);
    row("p99 of the good, ms", &|o| o.p99, 1);
    row("p99 until refused, ms", &|o| o.refusal_p99, 1);
    row("slowest renewal of another's lease, ms", &|o| o.renewal_worst, 1);
    row("leases of others lost", &|o| o.leases_lost as f64, 0);
    row("others' grants and renewals refused", &|o| o.others_refused.values().sum::<usize>() as f64, 0);
    row("p99 of others' puts, ms", &|o| o.others_p99, 1);
    row("slowest of others' puts, ms", &|o| o.others_worst, 1);
    row("others' puts that failed", &|o| o.others_failed.values().sum::<usize>() as f64, 0);
    row("elections", &|o| o.elections as f64, 0);
    row("most RSS in the closed loop, MiB", &|o| o.resident_before, 0);
    row("most RSS under overload, MiB", &|o| o.resident, 0);
    row("cores of the members", &|o| o.server, 2);
    row("cores of the load", &|o| o.own, 2);
}

fn dice(number: usize) -> SeededDice {
    SeededDice::new(77 + number as u64)
}

/// Where the load goes, connection by connection.
async fn addresses(args: &OverloadArgs, cluster: &Cluster) -> Result<Vec<String>, Trouble> {
    let places = args.at.places(cluster.leader().await?, cluster.members.len());
    let address = |number: usize| cluster.members[places[number % places.len()]].launch.address();
    Ok((0..args.connections).map(address).collect())
}

async fn measure(args: &OverloadArgs, cluster: &Cluster) -> Result<Outcome, Trouble> {
    let addresses = addresses(args, cluster).await?;
    let window = Duration::from_secs(args.seconds);
    let (from, until) = window_of(window);
    let mut tasks = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        let clients = 100 / args.connections;
        tasks.push(tokio::spawn(lean::calls(address.clone(), Puts(dice(number)), clients, from, until)));
    }
    let resident_before = watch_memory(cluster, until).await;
    let mut done = 0;
    for task in tasks {
        done += task.await??.len();
    }
    let closed = done as f64 / args.seconds as f64;

    let term = term(cluster).await;
    let counted = codes(cluster).await?;
    let (from, until) = window_of(window);
    let load = Load {
        every: Duration::from_secs_f64(args.connections as f64 / (closed * args.times)),
        patience: Duration::from_millis(args.patience),
        from,
        until,
    };
    let standing: Vec<_> =
        cluster.urls().into_iter().map(|url| tokio::spawn(stand_by(url, load.patience, until))).collect();
    let offering: Vec<_> = addresses
        .into_iter()
        .enumerate()
        .map(|(number, address)| tokio::spawn(offer(address, Puts(dice(100 + number)), load)))
        .collect();
    tokio::time::sleep_until(from.into()).await;
    let before = (costs(cluster)?, Instant::now());
    let resident = watch_memory(cluster, until).await;
    let (after, took) = (costs(cluster)?, before.1.elapsed().as_secs_f64());
    let (mut told, mut heard) = (Told::default(), Heard::default());
    for task in offering {
        told.add(task.await??);
    }
    for task in standing {
        heard.add(task.await??);
    }
    let mut outcome = Outcome {
        closed,
        resident_before,
        resident,
        server: (after.0 - before.0.0).as_secs_f64() / took,
        own: (after.1 - before.0.1).as_secs_f64() / took,
        elections: self::term(cluster).await.saturating_sub(term),
        ..Outcome::default()
    };
    outcome.codes = codes(cluster).await?;
    outcome.codes.iter_mut().for_each(|(code, count)| *count -= counted.get(code).copied().unwrap_or(0));
    outcome.codes.retain(|_, count| *count > 0);
    outcome.count(told, heard, args.seconds as f64);
    Ok(outcome)
}

impl Outcome {
    fn count(&mut self, mut told: Told, mut heard: Heard, seconds: f64) {
        told.good.sort_unstable();
        told.refused.sort_unstable();
        heard.renewals.sort_unstable();
        heard.puts.sort_unstable();
        let rate = |count: usize| count as f64 / seconds;
        let at = |of: &[u32], share: f64| {
            of.get(((of.len().saturating_sub(1)) as f64 * share) as usize).map_or(0.0, |us| f64::from(*us) / 1_000.0)
        };
        self.offered = rate(told.offered);
        self.good = rate(told.good.len());
        self.refused = rate(told.refused.len());
        self.late = rate(told.late);
        self.unsent = rate(told.unsent);
        self.good_at_rest = told.good_at_rest as f64 * 2.0 / seconds;
        self.p50 = at(&told.good, 0.50);
        self.p99 = at(&told.good, 0.99);
        self.refusal_p99 = at(&told.refused, 0.99);
        self.renewal_worst = at(&heard.renewals, 1.0);
        self.others_p99 = at(&heard.puts, 0.99);
        self.others_worst = at(&heard.puts, 1.0);
        self.others_failed = heard.failed;
        self.others_refused = heard.refused;
        self.leases_lost = heard.leases_lost;
    }
}

/// The latest term that a member knows.
async fn term(cluster: &Cluster) -> u64 {
    cluster.statuses().await.iter().flatten().map(|status| status.raft_term).max().unwrap_or(0)
}

/// Puts that did not end well, by their codes, as the members count them.
async fn codes(cluster: &Cluster) -> Result<BTreeMap<String, u64>, Trouble> {
    let mut codes = BTreeMap::new();
    for member in &cluster.members {
        let mut stream = TcpStream::connect(member.launch.address()).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: member\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        for line in
            String::from_utf8_lossy(&answer).lines().filter(|line| line.starts_with("grpc_server_handled_total{"))
        {
            let label = |name: &str| line.split_once(&format!("{name}=\""))?.1.split('"').next();
            let count = line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok());
            if let (Some("Put"), Some(code), Some(count)) = (label("grpc_method"), label("grpc_code"), count)
                && code != "OK"
            {
                *codes.entry(code.to_owned()).or_default() += count as u64;
            }
        }
    }
    Ok(codes)
}

/// A second of warm-up, then the window.
fn window_of(window: Duration) -> (Instant, Instant) {
    let from = Instant::now() + Duration::from_secs(1);
    (from, from + window)
}

/// Processor time of all members, and of this program.
fn costs(cluster: &Cluster) -> Result<(Duration, Duration), Trouble> {
    let costs = cluster.members.iter().map(|member| Some(member.server.as_ref()?.cost()?.cpu));
    let of_members = costs.sum::<Option<Duration>>().ok_or("costs cannot be read here (no /proc)")?;
    Ok((of_members, Cost::of(std::process::id()).ok_or("no /proc/self")?.cpu))
}

/// The most resident memory of a member until then, in MiB.
async fn watch_memory(cluster: &Cluster, until: Instant) -> f64 {
    let mut most = 0;
    while Instant::now() < until {
        let resident = cluster.members.iter().filter_map(|member| Some(member.server.as_ref()?.cost()?.resident));
        most = resident.fold(most, u64::max);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    most as f64 / f64::from(1 << 20)
}
