//! The twin: the same random and hostile requests to two servers, and equal answers demanded.
//!
//! Lanes work in parallel, each on its own pair of servers with one request at a time; fresh servers every few seeds, so
//! that both fresh stores and long-lived ones are met. Invariants: a run without `--keep-going` stops at the first
//! difference; every difference names the seed, the step and the command that repeats it. Does not know which of the two
//! sides is right.

mod edges;
mod lane;
mod plan;
mod plan_rare;
mod plan_txn;
mod record;
mod reply;
mod side;
mod step;
mod watching;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::process::{Trouble, fresh_home};
pub use edges::{EdgesArgs, run as run_edges};
use lane::Lane;
use record::{Extent, Recording};

/// Options of the twin.
#[derive(clap::Args, Clone, Debug)]
pub struct TwinArgs {
    /// Running server to compare with, as http://host:port.
    #[arg(long, conflicts_with = "left_bin", required_unless_present = "left_bin")]
    left: Option<String>,
    /// Running server under test, as http://host:port.
    #[arg(long, conflicts_with = "right_bin", required_unless_present = "right_bin")]
    right: Option<String>,
    /// Server binary to compare with; started and stopped by the run.
    #[arg(long)]
    left_bin: Option<PathBuf>,
    /// Server binary under test; started and stopped by the run.
    #[arg(long)]
    right_bin: Option<PathBuf>,
    /// Flag for both servers; may be given several times.
    #[arg(long = "flag", allow_hyphen_values = true)]
    flags: Vec<String>,
    /// Flag for the left server only.
    #[arg(long = "left-flag", allow_hyphen_values = true)]
    left_flags: Vec<String>,
    /// Flag for the right server only.
    #[arg(long = "right-flag", allow_hyphen_values = true)]
    right_flags: Vec<String>,
    /// Seeds, first..end.
    #[arg(long, default_value = "0..100", value_parser = parse_seeds)]
    seeds: Range<u64>,
    /// Steps of each seed.
    #[arg(long, default_value_t = 2000)]
    requests: u64,
    /// Seeds on one pair of servers before fresh ones are started (started servers only).
    #[arg(long, default_value_t = 10)]
    seeds_per_server: u64,
    /// Pairs of servers that work at the same time (started servers only).
    #[arg(long, default_value_t = 2)]
    lanes: u64,
    /// Go on after a difference, with the next seed on fresh servers.
    #[arg(long)]
    keep_going: bool,
    /// Print every step before it is sent.
    #[arg(long)]
    trace: bool,
    /// Write the left answers to this file (one lane, one pair of servers).
    #[arg(long, requires = "left_bin")]
    record: Option<PathBuf>,
    /// Hold both sides also against the answers in this file; its first line says which seeds and how many steps.
    #[arg(long, conflicts_with = "record", requires = "left_bin")]
    against: Option<PathBuf>,
    /// Where the data directories go; the system's temporary directory by default.
    #[arg(long)]
    base: Option<PathBuf>,
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("seeds are first..end")?;
    let first = first.parse().map_err(|why| format!("{first}: {why}"))?;
    let end = end.parse().map_err(|why| format!("{end}: {why}"))?;
    if first < end { Ok(first..end) } else { Err("no seeds in this range".to_owned()) }
}

/// What the lanes share.
#[derive(Debug, Default)]
struct Tally {
    next_batch: AtomicU64,
    requests: AtomicU64,
    refused: AtomicU64,
    /// Requests to methods the right side says it does not have yet; asked, but not compared.
    unbuilt: AtomicU64,
    events: AtomicU64,
    seeds: AtomicU64,
    stop: AtomicBool,
    book: Book,
}

/// What is written down of the answers, or held against them.
#[derive(Debug, Default)]
enum Book {
    #[default]
    Closed,
    Writing(Recording),
    Against(Recording),
}

impl Book {
    /// Opens what the options name. A recording is one run of seeds on one pair of servers.
    fn open(args: &mut TwinArgs) -> Result<Self, Trouble> {
        let book = match (&args.record, &args.against) {
            (Some(_), _) => Self::Writing(Recording::default()),
            (None, Some(path)) => {
                let (recording, extent) = Recording::load(path)?;
                (args.seeds, args.requests) = (extent.seeds, extent.requests);
                Self::Against(recording)
            }
            (None, None) => return Ok(Self::Closed),
        };
        (args.lanes, args.seeds_per_server) = (1, u64::MAX);
        Ok(book)
    }

    fn take(&self, seed: u64, step: u64, answer: impl FnOnce() -> String) -> Result<(), String> {
        match self {
            Self::Closed => Ok(()),
            Self::Writing(recording) => {
                recording.note(seed, step, &answer());
                Ok(())
            }
            Self::Against(recording) => recording.compare(seed, step, &answer()),
        }
    }
}

/// Runs the twin; true when no difference was found.
pub async fn run(mut args: TwinArgs) -> Result<bool, Trouble> {
    let started = args.left_bin.is_some() && args.right_bin.is_some();
    if !started && (args.left_bin.is_some() || args.right_bin.is_some()) {
        return Err("give either two binaries or two addresses".into());
    }
    let home = fresh_home(args.base.as_deref(), "twin")?;
    let book = Book::open(&mut args)?;
    let (args, tally, began) = (Arc::new(args), Arc::new(Tally { book, ..Tally::default() }), Instant::now());
    let lanes = if started { args.lanes.max(1) } else { 1 };
    let mut tasks = Vec::new();
    for number in 0..lanes {
        let lane = Lane { args: args.clone(), tally: tally.clone(), home: home.join(format!("lane{number}")) };
        tasks.push(tokio::spawn(lane.run()));
    }
    let mut differences = Vec::new();
    for task in tasks {
        differences.extend(task.await??);
    }
    let took = began.elapsed().as_secs_f64();
    let requests = tally.requests.load(Ordering::Relaxed);
    println!(
        "twin: {} seeds, {requests} requests to each side ({} refused, {} more to methods not built on the right), {} watch events, {} differences, {took:.1} s ({:.0} requests/s)",
        tally.seeds.load(Ordering::Relaxed),
        tally.refused.load(Ordering::Relaxed),
        tally.unbuilt.load(Ordering::Relaxed),
        tally.events.load(Ordering::Relaxed),
        differences.len(),
        requests as f64 / took,
    );
    if let (Book::Writing(recording), Some(path), true) = (&tally.book, &args.record, differences.is_empty()) {
        let extent = Extent { seeds: args.seeds.clone(), requests: args.requests };
        recording.save(path, &extent)?;
    }
    if differences.is_empty() {
        std::fs::remove_dir_all(&home)?;
    } else {
        println!("twin: data and logs are in {}", home.display());
    }
    Ok(differences.is_empty())
}
