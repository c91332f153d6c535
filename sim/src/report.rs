//! What people see: one run told as a story, many runs as a bar and a summary.

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::mutants::{self, hunt, mutants};
use crate::overheard::Overheard;
use crate::page::{self, readable};
use crate::plan::Plan;
use crate::run::{run, run_drawn, run_plan, run_told};
use crate::told::Report;

/// Characters of a failure shown in the summary of many seeds.
const SHORT: usize = 600;

/// Lines of the history shown of a run that failed.
const TAIL: usize = 24;

/// Things that should happen in any large set of seeds; one that never does is a hole in the plans.
const WANTED: [&str; 100] = [
    "a backup was taken",
    "a bank opened",
    "a client asked again",
    "a command was carried out in slices",
    "a disk was lost",
    "a look was refused for want of a right",
    "a half resumed after a restart",
    "a learner was not ready",
    "a learner was promoted",
    "a listener vanished",
    "a member stood still",
    "a member was added",
    "a member was removed",
    "a member was reached at its new address alone",
    "a member's address was changed",
    "a quiet member did what it was asked",
    "a quorum alone had to serve",
    "a removed member heard of it",
    "a removed member is needed still",
    "a right was wanting where it was applied",
    "a snapshot was installed",
    "a snapshot went on after a cut",
    "a transfer met another",
    "a transfer of open outcome",
    "a transfer was done",
    "a user proved who he is",
    "a wall clock stepped",
    "all disks were put back to old copies",
    "authentication was enabled",
    "booted from a checkpoint",
    "bounds: much history was not written",
    "bounds: somebody had no room for more to apply",
    "change of open outcome",
    "cut: a member is deaf",
    "cut: a member is mute",
    "cut: a ring",
    "cut: members apart from the others",
    "cut: single links",
    "cut: two halves with a bridge",
    "data were falsified",
    "digests of members compared",
    "disk: length lost or ahead of data",
    "disk: name vanished or came back",
    "disk: page that failed to be written dropped from memory",
    "disk: power lost between write and sync",
    "disk: sector dropped",
    "disk: sector torn",
    "disk: sector turned to garbage",
    "disk: sync of a file failed",
    "disk: sync stalled",
    "every member ended at once",
    "history was read beside a member",
    "honesty: a copy of the log held the entry",
    "honesty: a copy of the log held the vote",
    "honesty: a copy of the platter held its promise",
    "in slices: a compaction was asked for",
    "in slices: a lease was renewed",
    "in slices: a life ended",
    "in slices: a renewal did not wait for the end",
    "in slices: a serializable read was served",
    "in slices: another leads",
    "in slices: somebody began to watch",
    "in slices: the keys of a lease were asked for",
    "leases expired",
    "life ended during boot",
    "life ended in the middle of a disk operation",
    "net: connection cut in the middle",
    "net: data met a partition on its way",
    "net: packet lost",
    "old disks: the cluster went on",
    "order of all answers found",
    "quiet times judged",
    "quiet times judged while troubles go on",
    "quiet times of a majority beside others judged",
    "receipts held against the accounts",
    "process killed, system lived on",
    "stopped cleanly",
    "the leadership was moved",
    "the node stopped on a fault of the disk",
    "torn tail of the log cut",
    "users or roles were changed",
    "watcher cut for want of a right",
    "watcher ended by a compaction",
    "watcher fell behind",
    "watcher resumed on another stream",
    "who differed by its data refused to start",
    "who differed by its data was named",
    "who lost its disk was refused",
    "who lost its disk was replaced",
    "a digest of all was held against the changes",
    "a digest of now was held against the changes",
    "a digest of the past was held against the changes",
    "a list was compacted between its pages",
    "a list was read a page at a time",
    "a member gave space back",
    "a view was held for long",
    "alarms were told with it",
    "how a member stands was held against the log",
    "the quota was used up",
    "writes went on under a quota",
];

/// From so many seeds on, a wanted thing that never happened fails the swarm.
const LARGE: u64 = 1_000;

/// Runs the product's own driver on a simulated disk, clock and scheduler, breaks what can break, and holds
/// every answer and every watch event against the specification. A seed decides everything.
#[derive(Parser)]
#[command(name = "cargo sim", bin_name = "cargo sim", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Run one seed and tell what happened. The same seed always tells the same.
    Run {
        /// The seed.
        #[arg(long, required_unless_present = "plan_file")]
        seed: Option<u64>,
        /// Run the plan in this file instead, as one was written when a seed failed; it may have been cut down by hand.
        #[arg(long = "plan", value_name = "FILE", conflicts_with = "seed")]
        plan_file: Option<std::path::PathBuf>,
        /// Show the plan drawn from the seed: every step of every client, and all troubles.
        #[arg(long)]
        show_plan: bool,
        /// Tell everything that clients asked, that was applied and that members logged, not only the end of it.
        #[arg(long)]
        log: bool,
        /// Seconds for which the clients are at it, at least: as given to the swarm in which it failed.
        #[arg(long, default_value_t = 0, conflicts_with = "plan_file")]
        length: u64,
    },
    /// Run one seed and draw it: one HTML page with everything in it, to be opened in a browser.
    Report {
        /// The seed.
        #[arg(long, required_unless_present = "plan_file")]
        seed: Option<u64>,
        /// Run the plan in this file instead.
        #[arg(long = "plan", value_name = "FILE", conflicts_with = "seed")]
        plan_file: Option<std::path::PathBuf>,
        /// Seconds for which the clients are at it, at least: as given to the swarm in which it failed.
        #[arg(long, default_value_t = 0, conflicts_with = "plan_file")]
        length: u64,
        /// The page [default: target/sim/report-SEED.html].
        #[arg(long, value_name = "FILE")]
        out: Option<std::path::PathBuf>,
        /// Falsify one answer after the run, to see what a broken promise looks like.
        #[arg(long)]
        falsify: bool,
    },
    /// Run many seeds, show a summary, and fail (exit code 1) if one of them does.
    Swarm {
        /// The seeds, first..end; the end is left out.
        #[arg(long, value_parser = seeds, value_name = "A..B")]
        seeds: Range<u64>,
        /// Seeds run at the same time.
        #[arg(long, default_value_t = 2)]
        jobs: u64,
        /// Seconds for which the clients of each seed are at it, at least.
        #[arg(long, default_value_t = 0)]
        length: u64,
        /// Stop after so many failures; 0 goes on to the end.
        #[arg(long, default_value_t = 20)]
        max_failures: u64,
    },
    /// Run each seed in two fresh processes, in opposite order, and compare the trace hashes.
    Twice {
        /// The seeds, first..end; the end is left out.
        #[arg(long, value_parser = seeds, value_name = "A..B")]
        seeds: Range<u64>,
    },
    /// Plant bugs in a copy of the sources, one after the other, and hunt each with a swarm until a seed fails.
    Mutants {
        /// Only bugs whose name has this in it; may be given several times.
        #[arg(long)]
        only: Vec<String>,
        /// The seeds [default: from 0, as many as the bug has a budget for].
        #[arg(long, value_parser = seeds, value_name = "A..B")]
        seeds: Option<Range<u64>>,
        /// Seeds run at the same time.
        #[arg(long, default_value_t = 2)]
        jobs: u64,
        /// Run all seeds, to see how often each is caught.
        #[arg(long)]
        through: bool,
        /// Only list the bugs.
        #[arg(long)]
        list: bool,
    },
    /// Run seeds until one fails, and tell so in one line of JSON (used by `mutants`).
    #[command(hide = true)]
    Hunt {
        /// The seeds, first..end; the end is left out.
        #[arg(long, value_parser = seeds, value_name = "A..B")]
        seeds: Range<u64>,
        /// Seeds run at the same time.
        #[arg(long, default_value_t = 2)]
        jobs: u64,
        /// Go on after a failure.
        #[arg(long)]
        through: bool,
    },
    /// Print the trace hash of each seed, in the order given (used by `twice`).
    #[command(hide = true)]
    Trace {
        /// The seeds.
        seeds: Vec<u64>,
    },
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("give two numbers with .. between, as 0..500")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let seeds = number(first)?..number(end)?;
    if seeds.is_empty() { Err("the end must be above the first".to_string()) } else { Ok(seeds) }
}

/// The command line.
pub fn main() -> ExitCode {
    let good = match Arguments::parse().what {
        What::Run { seed, plan_file, show_plan, log, length } => match planned(seed, length, plan_file) {
            Ok(plan) => run_one(plan, show_plan, log),
            Err(story) => {
                eprintln!("{story}");
                false
            }
        },
        What::Report { seed, plan_file, length, out, falsify } => match planned(seed, length, plan_file) {
            Ok(plan) => draw(plan, out, falsify),
            Err(story) => {
                eprintln!("{story}");
                false
            }
        },
        What::Swarm { seeds, jobs, length, max_failures } => {
            swarm(seeds, jobs.max(1), Duration::from_secs(length), max_failures)
        }
        What::Twice { seeds } => twice(seeds),
        What::Mutants { only, seeds, jobs, through, list } => {
            mutants(&mutants::Wanted { only, seeds, jobs, through, list })
        }
        What::Hunt { seeds, jobs, through } => {
            hunt(seeds, jobs, through);
            true
        }
        What::Trace { seeds } => {
            for seed in seeds {
                let report = run(seed);
                println!("{seed} {} {}", report.trace, report.happenings);
            }
            true
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// The plan asked for.
fn planned(seed: Option<u64>, length: u64, file: Option<std::path::PathBuf>) -> Result<Plan, String> {
    let Some(file) = file else {
        return Ok(Plan::lasting(seed.unwrap_or_default(), Duration::from_secs(length)));
    };
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))
}

/// Writes the plan of a run that failed, so that it can be cut down and run again.
fn keep(plan: &Plan) {
    let file = format!("target/sim/plan-{}.json", plan.seed);
    let text = serde_json::to_string_pretty(plan).expect("a plan is plain data");
    match std::fs::write(&file, text) {
        Ok(()) => println!("the plan: cargo sim run --plan {file}"),
        Err(error) => println!("the plan could not be written to {file}: {error}"),
    }
}

/// Runs a plan and writes its page. `false` where a promise was broken or the page could not be written.
fn draw(plan: Plan, out: Option<std::path::PathBuf>, falsify: bool) -> bool {
    let seed = plan.seed;
    let file = out.unwrap_or_else(|| format!("target/sim/report-{seed}.html").into());
    let mut told = run_drawn(plan);
    if falsify && !page::falsify(&mut told.operations) {
        eprintln!("seed {seed} has no read whose answer could be falsified");
        return false;
    }
    let html = page::html(&told);
    if let Err(error) = std::fs::write(&file, &html) {
        eprintln!("{}: {error}", file.display());
        return false;
    }
    let (operations, kilobytes) = (told.operations.len(), html.len() >> 10);
    println!("seed {seed}: {operations} operations on a page of {kilobytes} KiB: {}", file.display());
    match &told.report.failure {
        None if !falsify => println!("seed {seed} kept every promise"),
        None => println!("one answer was falsified"),
        Some(failure) => println!("seed {seed} FAILED {}", short(&readable(failure))),
    }
    told.report.failure.is_none()
}

fn run_one(plan: Plan, show_plan: bool, log: bool) -> bool {
    let seed = plan.seed;
    if show_plan {
        println!("{plan:#?}");
    } else {
        plan.members.iter().for_each(|member| println!("member: {member:?}"));
        println!("setting: {:?}", plan.setting);
        let steps: usize = plan.clients.iter().map(Vec::len).sum();
        let (clients, keys) = (plan.clients.len(), plan.keys);
        println!("{clients} clients with {steps} steps over {keys} keys, watching: {:?}", plan.watching);
        println!("troubles:");
        plan.timeline.iter().for_each(|timed| println!("  {:?} {:?}", timed.at, timed.action));
    }
    let began = Instant::now();
    let report = run_told(plan.clone(), log.then(Overheard::default));
    println!("\nwhat happened:");
    print_marks(&report.marks);
    println!(
        "seed {seed}: {} operations, {} entries, {:.1} s of virtual time in {:.2} s; trace {} over {} happenings",
        report.operations,
        report.entries,
        report.virtual_time.as_secs_f64(),
        began.elapsed().as_secs_f64(),
        report.trace,
        report.happenings,
    );
    if log || report.failure.is_some() {
        println!("\nthe history{}:", if log { "" } else { ", its end" });
        let skipped = if log { 0 } else { report.tail.len().saturating_sub(TAIL) };
        report.tail.iter().skip(skipped).for_each(|line| println!("  {}", readable(line)));
        report.standings.iter().for_each(|line| println!("  {line}"));
    }
    match &report.failure {
        None => println!("seed {seed} kept every promise"),
        Some(failure) => {
            println!("\nseed {seed} FAILED {}", readable(failure));
            keep(&plan);
        }
    }
    report.failure.is_none()
}

fn print_marks(marks: &BTreeMap<&'static str, u64>) {
    marks.iter().for_each(|(name, count)| println!("  {count:>10}  {name}"));
}

/// What many runs add up to.
#[derive(Default)]
struct Total {
    seeds: u64,
    operations: u64,
    entries: u64,
    virtual_time: Duration,
    marks: BTreeMap<&'static str, u64>,
    failures: Vec<Report>,
}

impl Total {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.operations += report.operations;
        self.entries += report.entries;
        self.virtual_time += report.virtual_time;
        for (name, count) in &report.marks {
            *self.marks.entry(name).or_default() += count;
        }
        if report.failure.is_some() {
            self.failures.push(report);
        }
    }
}

fn swarm(seeds: Range<u64>, jobs: u64, length: Duration, max_failures: u64) -> bool {
    let began = Instant::now();
    let bar = ProgressBar::new(seeds.end - seeds.start);
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} seeds, {per_sec}, {msg}");
    bar.set_style(style.expect("the template is well-formed"));
    bar.set_message("none failed");
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(Total::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = run_plan(Plan::lasting(seed, length));
                    let mut total = total.lock().expect("no holder of this lock panics");
                    if let Some(failure) = &report.failure {
                        bar.suspend(|| println!("seed {seed} FAILED {}", short(&readable(failure))));
                    }
                    total.add(report);
                    let failed = total.failures.len() as u64;
                    bar.set_message(if failed == 0 { "none failed".to_string() } else { format!("{failed} failed") });
                    bar.inc(1);
                    if max_failures > 0 && failed >= max_failures {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    summary(&total.into_inner().expect("no holder of this lock panics"), length, began.elapsed())
}

fn short(failure: &str) -> &str {
    let cut = failure.char_indices().nth(SHORT).map_or(failure.len(), |(at, _)| at);
    &failure[..cut]
}

fn summary(total: &Total, length: Duration, wall: Duration) -> bool {
    let seconds = wall.as_secs_f64();
    println!("sometimes:");
    print_marks(&total.marks);
    let never: Vec<_> = WANTED.iter().filter(|name| total.marks.get(**name).is_none_or(|count| *count == 0)).collect();
    if !never.is_empty() {
        println!("never: {never:?}");
    }
    println!(
        "{} seeds, {} operations, {} log entries, {:.0} s of virtual time in {seconds:.1} s: {:.1} seeds/s, {:.0} virtual seconds a second",
        total.seeds,
        total.operations,
        total.entries,
        total.virtual_time.as_secs_f64(),
        total.seeds as f64 / seconds,
        total.virtual_time.as_secs_f64() / seconds,
    );
    if total.failures.is_empty() {
        println!("every seed kept every promise");
        let hole = total.seeds >= LARGE && !never.is_empty();
        if hole {
            println!("but so many seeds should have shown everything wanted: the plans have a hole");
        }
        return !hole;
    }
    let mut failed: Vec<u64> = total.failures.iter().map(|report| report.seed).collect();
    failed.sort_unstable();
    println!("{} seeds FAILED: {failed:?}", failed.len());
    let length = if length.is_zero() { String::new() } else { format!(" --length {}", length.as_secs()) };
    println!("replay one with: cargo sim run --seed {}{length}", failed[0]);
    false
}

fn twice(seeds: Range<u64>) -> bool {
    let forth: Vec<u64> = seeds.clone().collect();
    let back: Vec<u64> = seeds.rev().collect();
    let (Ok(forth), Ok(back)) = (start_traces(&forth), start_traces(&back)) else {
        eprintln!("a process could not be started");
        return false;
    };
    let (Some(first), Some(second)) = (traces(forth), traces(back)) else {
        eprintln!("a process ended early");
        return false;
    };
    let mut same = true;
    for (seed, trace) in &first {
        if second.get(seed) != Some(trace) {
            println!("seed {seed}: traces differ: {trace} and {:?}", second.get(seed));
            same = false;
        }
    }
    println!("{} seeds in two processes: {}", first.len(), if same { "all traces equal" } else { "traces DIFFER" });
    same
}

fn start_traces(seeds: &[u64]) -> std::io::Result<std::process::Child> {
    let program = std::env::current_exe()?;
    let seeds = seeds.iter().map(u64::to_string);
    Command::new(program).arg("trace").args(seeds).stdout(Stdio::piped()).spawn()
}

/// The trace of each seed, as a process printed it.
fn traces(child: std::process::Child) -> Option<BTreeMap<u64, String>> {
    let output = child.wait_with_output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = |line: &str| {
        let (seed, trace) = line.split_once(' ')?;
        Some((seed.parse().ok()?, trace.to_string()))
    };
    text.lines().map(line).collect()
}
