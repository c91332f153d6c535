//! A leader that feeds a member its whole state: what it costs those who write meanwhile, and the leader's memory.
//!
//! A follower is away while a store is filled, and comes back so far behind that it needs a snapshot. Puts at a steady pace
//! at the leader are timed from the moment they were due, so that one that waits delays no other. They are compared with
//! the same puts while all members are there and nothing is sent. Several servers take turns in one run, round by round.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quorate::wire::etcdserverpb as pb;

use super::load::fill;
use super::steady::{HEAD, stretch};
use crate::cluster::members::{Cluster, Member};
use crate::process::{Server, ThreadCost, Trouble, fresh_home};

/// A member may take so long.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(600);

/// Options of the catching up.
#[derive(clap::Args, Clone, Debug)]
pub struct CatchUpArgs {
    /// The server binary; may be given several times, to compare.
    #[arg(long, required = true)]
    bin: Vec<PathBuf>,
    /// Flag for every member; may be given several times.
    #[arg(long = "flag", allow_hyphen_values = true)]
    flags: Vec<String>,
    /// Keys of the store.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Puts a second at the leader.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Seconds of the measures before and after.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Times the member is away and comes back.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Shows what each thread of the leader, and of the one that catches up, took of the processor meanwhile and how long it
    /// waited for one, and the slowest put of each half second.
    #[arg(long)]
    threads: bool,
    /// The 99th percentile while it catches up, in times of the steady one, that is not to be exceeded; 0 is none.
    #[arg(long, default_value_t = 0.0)]
    p99_at_most: f64,
    /// Where the data directories go.
    #[arg(long)]
    base: Option<PathBuf>,
}

/// One cluster, whose leader is measured.
struct Subject {
    cluster: Cluster,
    leader: usize,
    away: usize,
    name: String,
    worst: f64,
}

/// Fills, lets a member catch up, prints. Passed where the latency asked for holds.
pub async fn run_catch_up(args: CatchUpArgs) -> Result<bool, Trouble> {
    let home = fresh_home(args.base.as_deref(), "catch-up")?;
    let mut subjects = Vec::new();
    for (number, bin) in args.bin.iter().enumerate() {
        let mut cluster = Cluster::new(bin, &home.join(number.to_string()), &args.flags, 3)?;
        cluster.start_all()?;
        cluster.settle().await?;
        let leader = cluster.leader().await?;
        let name = bin.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        println!("{name}: {}", bin.display());
        subjects.push(Subject { cluster, leader, away: (leader + 1) % 3, name, worst: 0.0 });
    }
    println!("catch-up: 3 members each, {} keys, {} puts/s", args.keys, args.rate);
    println!("{HEAD}");
    for round in 1..=args.rounds {
        for subject in &mut subjects {
            one_round(&args, subject, round).await?;
        }
    }
    let mut worst = 0.0_f64;
    for subject in &mut subjects {
        println!(
            "{}: p99 while it catches up: at most {:.2} times the one with all there",
            subject.name, subject.worst
        );
        worst = worst.max(subject.worst);
        for member in &mut subject.cluster.members {
            member.kill().await?;
        }
    }
    std::fs::remove_dir_all(&home)?;
    Ok(args.p99_at_most == 0.0 || worst <= args.p99_at_most)
}

async fn one_round(args: &CatchUpArgs, subject: &mut Subject, round: usize) -> Result<(), Trouble> {
    let (leader, away) = (subject.leader, subject.away);
    let cluster = &mut subject.cluster;
    let label = |what: &str| format!("{} {round}: {what}", subject.name);
    cluster.members[away].kill().await?;
    let filled = fill(running(&cluster.members[leader])?, args.keys).await?;
    eprintln!("  filled in {filled:.1?}");
    let pause = Duration::from_secs(args.seconds);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let wait = async move {
        tokio::time::sleep(pause).await;
        Ok(())
    };
    let began = Instant::now();
    let before = stretch(args.rate, running(&cluster.members[leader])?, wait).await?;
    before.print(&label("one away"), began.elapsed());
    let snapshots = received(&cluster.members[away]);
    cluster.members[away].start()?;
    let watched = [("the leader", leader), ("the one that catches up", away)];
    let watched = watched.map(|(who, member)| (who, Threads::of(&cluster.members[member]).filter(|_| args.threads)));
    let began = Instant::now();
    let caught = caught_up(&cluster.members[leader], &cluster.members[away]);
    let during = stretch(args.rate, running(&cluster.members[leader])?, caught).await?;
    during.print(&label("it catches up"), began.elapsed());
    if args.threads {
        let slowest: Vec<u64> = during.slowest.iter().map(|micros| micros / 1_000).collect();
        eprintln!("  slowest put of each half second, ms: {slowest:?}");
    }
    for (who, threads) in &watched {
        threads.iter().for_each(|threads| threads.print(who));
    }
    drop(watched);
    if received(&cluster.members[away]) == snapshots {
        eprintln!("  its log tells of no snapshot");
    }
    let began = Instant::now();
    let after = stretch(args.rate, running(&cluster.members[leader])?, async move {
        tokio::time::sleep(pause).await;
        Ok(())
    });
    let after = after.await?;
    after.print(&label("all there"), began.elapsed());
    if cluster.leader().await? != leader {
        return Err("another leads: nothing was measured".into());
    }
    subject.worst = subject.worst.max(during.at(0.99) / after.at(0.99));
    Ok(())
}

/// Processor time of the threads of one process, of those that have ended, too: looked at again and again.
struct Threads {
    first: BTreeMap<u32, ThreadCost>,
    last: Arc<Mutex<BTreeMap<u32, ThreadCost>>>,
    looking: tokio::task::JoinHandle<()>,
}

impl Threads {
    fn of(member: &Member) -> Option<Self> {
        let pid = member.server.as_ref()?.pid()?;
        let by_id =
            move || ThreadCost::all(pid).into_iter().map(|thread| (thread.id, thread)).collect::<BTreeMap<_, _>>();
        let first = by_id();
        let last = Arc::new(Mutex::new(BTreeMap::new()));
        let seen = last.clone();
        let looking = tokio::spawn(async move {
            loop {
                seen.lock().expect("no holder panics").extend(by_id());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Some(Self { first, last, looking })
    }

    fn print(&self, who: &str) {
        let last = self.last.lock().expect("no holder panics");
        let mut by_name = BTreeMap::<&str, (Duration, Duration)>::new();
        for (id, thread) in &*last {
            let (cpu, waited) = self.first.get(id).map_or_else(Default::default, |it| (it.cpu, it.waited));
            let sum = by_name.entry(&thread.name).or_default();
            sum.0 += thread.cpu.saturating_sub(cpu);
            sum.1 += thread.waited.saturating_sub(waited);
        }
        let mut costs: Vec<((Duration, Duration), &str)> = by_name.into_iter().map(|(name, sum)| (sum, name)).collect();
        costs.sort_unstable_by(|a, b| b.cmp(a));
        let show = |((cpu, waited), name): &((Duration, Duration), &str)| {
            format!("{name} {}+{}", cpu.as_millis(), waited.as_millis())
        };
        let shown: Vec<String> = costs.iter().take(8).map(show).collect();
        eprintln!("  {who}, ms on a processor + waiting for one: {}", shown.join(", "));
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// How often a member's log tells of a snapshot.
fn received(member: &Member) -> usize {
    let log = std::fs::read_to_string(member.launch.home.join("server.log")).unwrap_or_default();
    log.lines().filter(|line| line.contains("snapshot")).count()
}

/// Ends when the member has applied what the leader has, but for what is written meanwhile.
async fn caught_up(leader: &Member, away: &Member) -> Result<(), Trouble> {
    let began = Instant::now();
    while began.elapsed() < CATCH_UP_LIMIT {
        let applied = async |member: &Member| {
            let status = member.client().await.ok()?.status(pb::StatusRequest::default()).await.ok()?;
            Some(status.raft_applied_index)
        };
        if let (Some(led), Some(followed)) = (applied(leader).await, applied(away).await)
            && followed + 1_000 >= led
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("it does not catch up".into())
}

fn running(member: &Member) -> Result<&Server, Trouble> {
    Ok(member.server.as_ref().ok_or("it does not run")?)
}
