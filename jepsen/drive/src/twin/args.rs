//! Options of the twin, and what its lanes share.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::record::{Recording, parse_seeds};
use super::reply::Reply;
use crate::process::Trouble;

/// Options of the twin.
#[derive(clap::Args, Clone, Debug)]
pub struct TwinArgs {
    /// Running server to compare with, as http://host:port.
    #[arg(long, conflicts_with = "left_bin", required_unless_present = "left_bin")]
    pub(super) left: Option<String>,
    /// Running server under test, as http://host:port.
    #[arg(long, conflicts_with = "right_bin", required_unless_present = "right_bin")]
    pub(super) right: Option<String>,
    /// Server binary to compare with; started and stopped by the run.
    #[arg(long)]
    pub(super) left_bin: Option<PathBuf>,
    /// Server binary under test; started and stopped by the run.
    #[arg(long)]
    pub(super) right_bin: Option<PathBuf>,
    /// Flag for both servers; may be given several times.
    #[arg(long = "flag", allow_hyphen_values = true)]
    pub(super) flags: Vec<String>,
    /// Flag for the left server only.
    #[arg(long = "left-flag", allow_hyphen_values = true)]
    pub(super) left_flags: Vec<String>,
    /// Flag for the right server only.
    #[arg(long = "right-flag", allow_hyphen_values = true)]
    pub(super) right_flags: Vec<String>,
    /// Seeds, first..end.
    #[arg(long, default_value = "0..100", value_parser = parse_seeds)]
    pub(super) seeds: Range<u64>,
    /// Steps of each seed.
    #[arg(long, default_value_t = 2000)]
    pub(super) requests: u64,
    /// Seeds on one pair of servers before fresh ones are started (started servers only).
    #[arg(long, default_value_t = 10)]
    pub(super) seeds_per_server: u64,
    /// Pairs of servers that work at the same time (started servers only).
    #[arg(long, default_value_t = 2)]
    pub(super) lanes: u64,
    /// With authentication on, and users and roles that change.
    #[arg(long)]
    pub(super) users: bool,
    /// Over TLS: both sides show a certificate and ask for one (started servers only).
    #[arg(long, requires = "left_bin")]
    pub(super) tls: bool,
    /// Go on after a difference, with the next seed on fresh servers.
    #[arg(long)]
    pub(super) keep_going: bool,
    /// Print every step before it is sent.
    #[arg(long)]
    pub(super) trace: bool,
    /// Write the left answers to this file (one lane, one pair of servers).
    #[arg(long, requires = "left_bin")]
    pub(super) record: Option<PathBuf>,
    /// Hold both sides also against the answers in this file; its first line says which seeds and how many steps.
    #[arg(long, conflicts_with = "record", requires = "left_bin")]
    pub(super) against: Option<PathBuf>,
    /// Where the data directories go; the system's temporary directory by default.
    #[arg(long)]
    pub(super) base: Option<PathBuf>,
}

/// What the lanes share.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) next_batch: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) refused: AtomicU64,
    /// Requests to methods the right side says it does not have yet; asked, but not compared.
    pub(super) unbuilt: AtomicU64,
    pub(super) events: AtomicU64,
    pub(super) seeds: AtomicU64,
    pub(super) stop: AtomicBool,
    pub(super) book: Book,
}

impl Tally {
    /// How many requests an answer stands for; refusals are counted for the summary.
    pub(super) fn count(&self, answer: &[Reply]) -> u64 {
        let refused = answer.iter().filter(|reply| !reply.is_ok()).count();
        self.refused.fetch_add(refused as u64, Ordering::Relaxed);
        answer.len().max(1) as u64
    }

    /// A sequence ended, and nothing differed.
    pub(super) fn finished(&self, seed: u64, asked: u64, events: usize, revision: i64) {
        self.requests.fetch_add(asked, Ordering::Relaxed);
        self.events.fetch_add(events as u64, Ordering::Relaxed);
        self.seeds.fetch_add(1, Ordering::Relaxed);
        println!("seed {seed}: {asked} requests, {events} events, revision {revision}: equal");
    }
}

/// What is written down of the answers, or held against them.
#[derive(Debug, Default)]
pub(super) enum Book {
    #[default]
    Closed,
    Writing(Recording),
    Against(Recording),
}

impl Book {
    /// Opens what the options name. A recording is one run of seeds on one pair of servers.
    pub(super) fn open(args: &mut TwinArgs) -> Result<Self, Trouble> {
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

    pub(super) fn take(&self, seed: u64, step: u64, answer: impl FnOnce() -> String) -> Result<(), String> {
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
