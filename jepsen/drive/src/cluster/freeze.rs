//! A leader whose disk answers nothing for a while: how long nobody can write, and whether anybody's write fails after
//! another leads.
//!
//! Each member's data lies on a file system of its own in a file, and `fsfreeze` holds the leader's: writes and syncs
//! hang, as with a disk that is reset, while the process and its connections live. Needs root and the tools of Linux; where
//! they are missing it says so and is passed over. Invariant: what was frozen is thawed and what was mounted is let go,
//! also when a run ends early.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quorate::wire::etcdserverpb as pb;
use quorate::wire::services::kv_client::KvClient;
use tokio::sync::watch;

use super::members::{Cluster, SETTLE_LIMIT, member_id};
use super::probe::Probe;
use crate::process::{Trouble, connect, fresh_home};

/// Bytes of a member's file system; the file holds only what was written.
const DISK_BYTES: u64 = 2 << 30;

/// Time writing is still looked at after the disk answers again.
const AFTERMATH: Duration = Duration::from_secs(2);

/// Options of the frozen disk.
#[derive(clap::Args, Clone, Debug)]
pub struct FreezeArgs {
    /// The server binary.
    #[arg(long)]
    bin: PathBuf,
    /// Flag for every member; may be given several times.
    #[arg(long = "flag", allow_hyphen_values = true)]
    flags: Vec<String>,
    /// Times it is done.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds the disk answers nothing.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// `--election-timeout` of every member, in milliseconds; a gap may be three of them.
    #[arg(long, default_value_t = 1000)]
    election_timeout: u64,
    /// Where the members live; the system's temporary directory by default.
    #[arg(long)]
    base: Option<PathBuf>,
}

/// File systems that are mounted; dropped, they are thawed and let go.
struct Disks(Vec<PathBuf>);

impl Disks {
    fn mount(&mut self, home: &Path) -> Result<(), Trouble> {
        let (image, place) = (home.join("disk.img"), home.join("data"));
        std::fs::create_dir_all(&place)?;
        std::fs::File::create(&image)?.set_len(DISK_BYTES)?;
        call("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), &image])?;
        call("mount", &["-o".as_ref(), "loop".as_ref(), &image, &place])?;
        self.0.push(place);
        Ok(())
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for place in &self.0 {
            let _ = quiet("fsfreeze", &["-u".as_ref(), place]);
            let _ = quiet("umount", &["-l".as_ref(), place]);
        }
    }
}

fn quiet(program: &str, words: &[&Path]) -> std::io::Result<bool> {
    let status = Command::new(program).args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.map(|status| status.success())
}

fn call(program: &str, words: &[&Path]) -> Result<(), Trouble> {
    if quiet(program, words)? { Ok(()) } else { Err(format!("{program} {words:?} failed").into()) }
}

/// Freezes the leader's disk again and again; true when no gap was too long and no write failed that was begun after
/// another led.
pub async fn run_freeze(args: FreezeArgs) -> Result<bool, Trouble> {
    let tools = ["mkfs.ext4", "mount", "umount", "fsfreeze"];
    let there = |tool: &&str| quiet(tool, &["--version".as_ref()]).is_ok() || quiet(tool, &["-V".as_ref()]).is_ok();
    if !rustix::process::geteuid().is_root() || !tools.iter().all(there) {
        println!("freeze: SKIPPED, it needs root and {}", tools.join(", "));
        return Ok(true);
    }
    let home = fresh_home(args.base.as_deref(), "freeze")?;
    let mut flags = args.flags.clone();
    flags.push(format!("--election-timeout={}", args.election_timeout));
    // Declared first, so that it goes last: a member writes as long as it lives.
    let mut disks = Disks(Vec::new());
    let mut cluster = Cluster::new(&args.bin, &home, &flags, 3)?;
    for member in &cluster.members {
        disks.mount(&member.launch.home)?;
    }
    cluster.start_all()?;
    cluster.settle().await?;
    println!("freeze: 3 members of {}, each on a file system of its own", args.bin.display());
    println!(
        "| round | gap ms | another led after ms | writes after that | failed | slowest ms |\n|---|---|---|---|---|---|"
    );
    let limit = Duration::from_millis(3 * args.election_timeout);
    let mut passed = true;
    for round in 1..=args.rounds {
        passed &= one_round(&args, &mut cluster, round, limit).await?;
        cluster.settle().await?;
    }
    for member in &mut cluster.members {
        member.kill().await?;
    }
    drop(disks);
    println!("freeze: {}", if passed { "passed" } else { "NOT PASSED" });
    if passed {
        std::fs::remove_dir_all(&home)?;
    }
    Ok(passed)
}

async fn one_round(args: &FreezeArgs, cluster: &mut Cluster, round: usize, limit: Duration) -> Result<bool, Trouble> {
    let leader = cluster.leader().await?;
    let statuses = cluster.statuses().await;
    let old = statuses[leader].as_ref().map(member_id).ok_or("the leader does not answer")?;
    let place = cluster.members[leader].launch.home.join("data");
    let (_endpoints, told) = watch::channel(cluster.urls());
    let probe = Probe::start(told);
    tokio::time::sleep(Duration::from_secs(1)).await;
    call("fsfreeze", &["-f".as_ref(), &place])?;
    let frozen = Instant::now();
    let thaws = frozen + Duration::from_secs(args.seconds);
    let moved = another_leads(cluster, leader, old).await;
    let writing = Arc::new(AtomicBool::new(true));
    let others = (0..cluster.members.len()).filter(|place| *place != leader);
    let urls: Vec<String> = others.map(|place| cluster.members[place].launch.url()).collect();
    let mut writers = Vec::new();
    if moved.is_ok() {
        writers.extend(urls.into_iter().map(|url| tokio::spawn(write(url, writing.clone()))));
    }
    tokio::time::sleep_until(thaws.into()).await;
    call("fsfreeze", &["-u".as_ref(), &place])?;
    tokio::time::sleep(AFTERMATH).await;
    writing.store(false, Ordering::Relaxed);
    let (mut count, mut failed, mut slowest) = (0, 0, Duration::ZERO);
    for writer in writers {
        let (all, bad, slow) = writer.await??;
        (count, failed, slowest) = (count + all, failed + bad, slowest.max(slow));
    }
    let moved = moved? - frozen;
    let gap = probe.longest_gap(frozen, Instant::now());
    println!(
        "| {round} | {} | {} | {count} | {failed} | {} |",
        gap.as_millis(),
        moved.as_millis(),
        slowest.as_millis()
    );
    cluster.check_alive()?;
    Ok(failed == 0 && count > 0 && gap <= limit)
}

/// When one of the others says that another leads.
async fn another_leads(cluster: &Cluster, frozen: usize, old: u64) -> Result<Instant, Trouble> {
    let began = Instant::now();
    while began.elapsed() < SETTLE_LIMIT {
        for (place, member) in cluster.members.iter().enumerate() {
            if place == frozen {
                continue;
            }
            let status = member.client().await?.status(pb::StatusRequest::default()).await?;
            if status.leader != 0 && status.leader != old {
                return Ok(Instant::now());
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err("the leadership does not move".into())
}

/// One put after the other at one member; how many, how many failed, the slowest.
async fn write(url: String, going_on: Arc<AtomicBool>) -> Result<(u64, u64, Duration), Trouble> {
    let mut kv = KvClient::new(connect(&url).await?);
    let (mut count, mut failed, mut slowest) = (0, 0, Duration::ZERO);
    while going_on.load(Ordering::Relaxed) {
        let put = pb::PutRequest { key: "frozen".into(), value: url.clone().into(), ..Default::default() };
        let began = Instant::now();
        count += 1;
        failed += u64::from(kv.put(put).await.is_err());
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok((count, failed, slowest))
}
