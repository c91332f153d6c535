//! What a backup costs: how fast it comes, what it takes of the processor, and what it costs those who write meanwhile.
//!
//! One tool saves the snapshots of all servers, into a file of the same disk. Several servers stand filled through the whole
//! run and take turns, round by round; each backup is taken once with nobody else there, and again and again under puts
//! at a steady pace, which are compared with the same puts without.
//!
//! Each save has a name of its own, and goes when nothing is measured: a file system that is mounted with `discard` holds every
//! sync up while it gives a file's blocks back, for a quarter of a second of a third of a GiB.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::process::Command;

use super::load::fill;
use super::steady::{HEAD, stretch};
use crate::process::{Launch, Server, Trouble, fresh_home};

/// A start may take so long.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The quota of every server: more than the keys take.
const QUOTA: &str = "--quota-backend-bytes=8589934592";

/// Options of the backups.
#[derive(clap::Args, Clone, Debug)]
pub struct BackupArgs {
    /// The server binary; may be given several times, to compare with the first.
    #[arg(long, required = true)]
    bin: Vec<PathBuf>,
    /// The tool that has `snapshot save`.
    #[arg(long, required = true)]
    ctl: PathBuf,
    /// Keys of the store.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Puts a second meanwhile.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Seconds of each measure under puts, at least.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where the data directories go.
    #[arg(long)]
    base: Option<PathBuf>,
}

struct Subject {
    server: Server,
    url: String,
    name: String,
    home: PathBuf,
    /// Of each round.
    rates: Vec<f64>,
    costs: Vec<f64>,
    tails: Vec<f64>,
}

/// Fills, takes backups, prints.
pub async fn run_backup(args: BackupArgs) -> Result<bool, Trouble> {
    let home = fresh_home(args.base.as_deref(), "backup")?;
    let mut subjects = Vec::new();
    for (number, bin) in args.bin.iter().enumerate() {
        let place = home.join(number.to_string());
        let launch = Launch::new(bin, &place, &[QUOTA.to_owned()])?;
        let mut server = launch.start()?;
        server.ready(START_LIMIT).await?;
        let filled = fill(&server, args.keys).await?;
        let name = bin.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        println!("{name}: {}, filled in {filled:.1?}", bin.display());
        let (rates, costs, tails) = (Vec::new(), Vec::new(), Vec::new());
        subjects.push(Subject { server, url: launch.url(), name, home: place, rates, costs, tails });
    }
    println!("backup: {} keys, {} puts/s, saved by {}\n{HEAD}", args.keys, args.rate, args.ctl.display());
    for round in 1..=args.rounds {
        for subject in &mut subjects {
            one_round(&args, subject, round).await?;
        }
    }
    for subject in &subjects {
        println!(
            "{}: {} MiB/s, {} ms of the processor a MiB; p99 of puts meanwhile {} times the one without",
            subject.name,
            spread(&subject.rates),
            spread(&subject.costs),
            spread(&subject.tails)
        );
    }
    for subject in &mut subjects {
        subject.server.kill().await?;
    }
    std::fs::remove_dir_all(&home)?;
    Ok(true)
}

async fn one_round(args: &BackupArgs, subject: &mut Subject, round: usize) -> Result<(), Trouble> {
    let label = |what: &str| format!("{} {round}: {what}", subject.name);
    let seconds = Duration::from_secs(args.seconds);
    let cpu = || subject.server.cost().map_or(Duration::ZERO, |cost| cost.cpu);
    let place = |number: usize| subject.home.join(format!("saved.{number}.db"));
    let (began, before) = (Instant::now(), cpu());
    let mib = save(&args.ctl, &subject.url, &place(0)).await? as f64 / f64::from(1 << 20);
    let (took, cost) = (began.elapsed().as_secs_f64(), (cpu() - before).as_secs_f64());
    println!(
        "| {} | {took:.1} | {mib:.0} MiB, {:.1} MiB/s, {:.2} ms/MiB |",
        label("alone"),
        mib / took,
        cost * 1e3 / mib
    );
    std::fs::remove_file(place(0))?;
    let wait = async {
        tokio::time::sleep(seconds).await;
        Ok(())
    };
    let quiet = stretch(args.rate, &subject.server, wait).await?;
    quiet.print(&label("puts"), seconds);
    let began = Instant::now();
    let mut saves = 0;
    let saving = async {
        while began.elapsed() < seconds {
            save(&args.ctl, &subject.url, &place(saves)).await?;
            saves += 1;
        }
        Ok(())
    };
    let during = stretch(args.rate, &subject.server, saving).await?;
    during.print(&label("puts and backups"), began.elapsed());
    (0..saves).try_for_each(|number| std::fs::remove_file(place(number)))?;
    subject.rates.push(mib / took);
    subject.costs.push(cost * 1e3 / mib);
    subject.tails.push(during.at(0.99) / quiet.at(0.99));
    Ok(())
}

/// Saves one snapshot; its bytes.
async fn save(ctl: &Path, url: &str, place: &Path) -> Result<u64, Trouble> {
    let mut command = Command::new(ctl);
    command.args(["--endpoints", url, "snapshot", "save"]).arg(place);
    let output = command.kill_on_drop(true).output().await?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(std::fs::metadata(place)?.len())
}

/// The median, and the least and the most.
fn spread(figures: &[f64]) -> String {
    let mut figures = figures.to_vec();
    figures.sort_unstable_by(f64::total_cmp);
    let at = |place: usize| figures.get(place).copied().unwrap_or_default();
    format!("{:.2} ({:.2}-{:.2})", at(figures.len() / 2), at(0), at(figures.len().saturating_sub(1)))
}
