//! The twin: the same random and hostile requests to two servers, and equal answers demanded.
//!
//! Lanes work in parallel, each on its own pair of servers with one request at a time; fresh servers every few seeds, so
//! that both fresh stores and long-lived ones are met. Invariants: a run without `--keep-going` stops at the first
//! difference; every difference names the seed, the step and the command that repeats it. Does not know which of the two
//! sides is right.

mod args;
mod digests;
mod edges;
mod lane;
mod plan;
mod plan_rare;
mod plan_steps;
mod plan_txn;
mod record;
mod reply;
mod seal;
mod side;
mod step;
mod table;
mod users;
mod watching;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::process::{Trouble, fresh_home};
pub use args::TwinArgs;
use args::{Book, Tally};
pub use edges::{EdgesArgs, run as run_edges};
use lane::Lane;
use record::Extent;
use seal::Seal;

/// Runs the twin; true when no difference was found.
pub async fn run(mut args: TwinArgs) -> Result<bool, Trouble> {
    let started = args.left_bin.is_some() && args.right_bin.is_some();
    if !started && (args.left_bin.is_some() || args.right_bin.is_some()) {
        return Err("give either two binaries or two addresses".into());
    }
    let home = fresh_home(args.base.as_deref(), "twin")?;
    let seal = if args.tls { Some(Arc::new(Seal::make(&home)?)) } else { None };
    let book = Book::open(&mut args)?;
    let (args, tally, began) = (Arc::new(args), Arc::new(Tally { book, ..Tally::default() }), Instant::now());
    let lanes = if started { args.lanes.max(1) } else { 1 };
    let mut tasks = Vec::new();
    for number in 0..lanes {
        let (args, tally, seal) = (args.clone(), tally.clone(), seal.clone());
        let lane = Lane { args, tally, seal, home: home.join(format!("lane{number}")) };
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
