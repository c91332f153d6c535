//! Two servers side by side: the same load in turns, A B A B, and the ratio of the medians.
//!
//! Invariants: both sides get the same flags, the same client code, a fresh directory on the same disk, and turns that
//! alternate so that a slow minute of the machine hits both. Does not keep old figures: the stock server is measured in
//! every run.

mod backup;
mod bystanders;
mod catch_up;
mod guarded;
mod lean;
mod load;
mod members;
mod offered;
mod overload;
mod steady;

use std::path::Path;
use std::time::Duration;

use crate::process::{Launch, Server, Trouble};
use crate::sides::Sides;
pub use backup::{BackupArgs, run_backup};
pub use catch_up::{CatchUpArgs, run_catch_up};
pub use guarded::{BenchGuardedArgs, run_guarded};
use load::{Figures, SMALL_STORE, Work, drive, fill};
pub use members::{BenchClusterArgs, run_cluster};
pub use overload::{OverloadArgs, run_overload};

/// A start on a large store may take this long.
const START_LIMIT: Duration = Duration::from_secs(600);

/// Options of the bench.
#[derive(clap::Args, Clone, Debug)]
pub struct BenchArgs {
    #[command(flatten)]
    sides: Sides,
    /// Flag for the left server only.
    #[arg(long = "left-flag", allow_hyphen_values = true)]
    left_flags: Vec<String>,
    /// Flag for the right server only.
    #[arg(long = "right-flag", allow_hyphen_values = true)]
    right_flags: Vec<String>,
    /// Only cases whose name contains this; may be given several times.
    #[arg(long = "case")]
    cases: Vec<String>,
    /// Measurements of each side.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Seconds of each measurement, after one second of warm-up.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Keys of the large store.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
}

/// The cases on a store that is fresh for every measurement.
const SMALL: [(&str, Work, usize); 5] = [
    ("put, 1 client", Work::Put, 1),
    ("put, 100 clients", Work::Put, 100),
    ("put of 64 KiB, 100 clients", Work::PutLarge, 100),
    ("get, 1 client", Work::Get, 1),
    ("get, 100 clients", Work::Get, 100),
];

/// The cases on the large store, which is loaded once for each side.
const LARGE: [(&str, Work, usize); 5] = [
    ("large: page of 500, 1 client", Work::Page, 1),
    ("large: page of 500, 16 clients", Work::Page, 16),
    ("large: page of 500, 32 clients", Work::Page, 32),
    ("large: page of 10,000, 8 clients", Work::LongPage, 8),
    ("large: count, 1 client", Work::Count, 1),
];
const RESTART: &str = "large: restart after kill -9";

/// Runs the cases and prints the tables. True always: a bench measures, it does not judge.
pub async fn run(args: BenchArgs) -> Result<bool, Trouble> {
    let home = args.sides.introduce("bench")?;
    println!(
        "{} measurements of {} s each side, in turns; values 256 B, keys 38 B; 100 clients on 4 connections\n",
        args.pairs, args.seconds
    );
    println!("{}", HEAD);
    let wanted = |name: &str| args.cases.is_empty() || args.cases.iter().any(|case| name.contains(case.as_str()));
    for (name, work, clients) in SMALL.iter().filter(|(name, ..)| wanted(name)) {
        small(&args, &home, name, *work, *clients).await?;
    }
    if LARGE.iter().any(|(name, ..)| wanted(name)) || wanted(RESTART) {
        large(&args, &home, wanted).await?;
    }
    std::fs::remove_dir_all(&home)?;
    Ok(true)
}

/// The launch of one side in a directory of its own.
fn launch(args: &BenchArgs, home: &Path, right: bool, label: &str) -> Result<Launch, Trouble> {
    let (name, binary) = args.sides.one(right);
    let own = if right { &args.right_flags } else { &args.left_flags };
    let flags: Vec<String> = args.sides.flags.iter().chain(own).cloned().collect();
    Launch::new(binary, &home.join(format!("{name}-{label}")), &flags)
}

async fn small(args: &BenchArgs, home: &Path, name: &str, work: Work, clients: usize) -> Result<(), Trouble> {
    let mut seen = [Vec::new(), Vec::new()];
    for turn in 0..args.pairs * 2 {
        let right = turn % 2 == 1;
        let launch = launch(args, home, right, &format!("{}-{turn}", name.replace([' ', ','], "")))?;
        let mut server = launch.start()?;
        server.ready(START_LIMIT).await?;
        fill(&server, SMALL_STORE).await?;
        let figures = drive(&server, work, clients, Duration::from_secs(args.seconds)).await?;
        eprintln!("  {name}, {}: {figures:.3?}", if right { "right" } else { "left" });
        seen[usize::from(right)].push(figures);
        server.kill().await?;
        std::fs::remove_dir_all(&launch.home)?;
    }
    print_case(name, &seen);
    Ok(())
}

async fn large(args: &BenchArgs, home: &Path, wanted: impl Fn(&str) -> bool) -> Result<(), Trouble> {
    let launches = [launch(args, home, false, "large")?, launch(args, home, true, "large")?];
    let mut servers: Vec<Server> = Vec::new();
    for launch in &launches {
        let mut server = launch.start()?;
        server.ready(START_LIMIT).await?;
        let took = fill(&server, args.keys).await?;
        let resident = server.cost().map_or(0, |cost| cost.resident >> 20);
        println!(
            "| large: load {} keys ({}) | {:.1} s, {resident} MiB | | | | | | |",
            args.keys,
            launch.binary.display(),
            took.as_secs_f64()
        );
        servers.push(server);
    }
    for (name, work, clients) in LARGE.iter().filter(|(name, ..)| wanted(name)) {
        let mut seen = [Vec::new(), Vec::new()];
        for turn in 0..args.pairs * 2 {
            let side = turn % 2;
            let figures = drive(&servers[side], *work, *clients, Duration::from_secs(args.seconds)).await?;
            eprintln!("  {name}, {side}: {figures:.3?}");
            seen[side].push(figures);
        }
        print_case(name, &seen);
    }
    if wanted(RESTART) {
        let mut ready = [Vec::new(), Vec::new()];
        for turn in 0..args.pairs * 2 {
            let side = turn % 2;
            // A little load, so that the kill leaves something after the last checkpoint.
            drive(&servers[side], Work::Put, 100, Duration::from_secs(1)).await?;
            servers[side].kill().await?;
            servers[side] = launches[side].start()?;
            ready[side].push(servers[side].ready(START_LIMIT).await?.as_secs_f64() * 1_000.0);
        }
        let (left, right) = (median(&ready[0]), median(&ready[1]));
        println!("| {RESTART} | {left:.0} / {right:.0} ms to ready (ratio {:.2}) | | | | | | |", right / left);
    }
    for server in &mut servers {
        server.kill().await?;
    }
    Ok(())
}

const HEAD: &str = "\
| case (left / right, ratio of medians) | ops/s | p50 ms | p99 ms | server CPU us/op | RSS MiB | disk B/op | spread of ops/s ratio; most noise |
|---|---|---|---|---|---|---|---|";

fn print_case(name: &str, seen: &[Vec<Figures>; 2]) {
    let column = |pick: fn(&Figures) -> f64, digits: usize| {
        let of = |side: usize| median(&seen[side].iter().map(pick).collect::<Vec<_>>());
        let (left, right) = (of(0), of(1));
        let ratio = if left > 0.0 { format!("{:.2}", right / left) } else { "-".to_owned() };
        format!("{left:.digits$} / {right:.digits$} ({ratio})")
    };
    let ratios: Vec<f64> = seen[0].iter().zip(&seen[1]).map(|(left, right)| right.rate / left.rate).collect();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    let noise = seen.iter().flatten().map(|figures| figures.others).fold(0.0, f64::max);
    println!(
        "| {name} | {} | {} | {} | {} | {} | {} | {least:.2}-{most:.2}; {noise:.2} cores |",
        column(|f| f.rate, 0),
        column(|f| f.p50, 3),
        column(|f| f.p99, 3),
        column(|f| f.cpu, 1),
        column(|f| f.resident, 0),
        column(|f| f.disk, 0),
    );
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_one_bad_run() {
        assert!((median(&[5.0, 1.0, 900.0]) - 5.0).abs() < 1e-9);
        assert!((median(&[1.0, 3.0]) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn keys_have_the_length_the_tables_speak_of() {
        assert_eq!(load::key(0).len(), 38);
        assert_eq!(load::key(999_999).len(), 38);
    }
}
