//! Planted bugs: is there an oracle for each thing that can go wrong, and do the plans get there?
//!
//! A bug is data (`sim/mutants/`, one file each): an exact text of a product source and what stands in its place. All are
//! put into a copy of the sources, as branches of which one is taken when it runs, built, and each is hunted by a swarm
//! until a seed fails or the budget is used up. The product itself is never changed. A control is an edit that changes nothing that is promised: it must not be caught.

mod batch;
mod bug;
mod hunt;
mod table;
mod tree;

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

pub use hunt::hunt;

use batch::Batch;
use bug::Bug;
use hunt::Hunted;
use table::Row;
use tree::Tree;

/// What is wanted of the hunt for planted bugs.
pub struct Wanted {
    /// Bugs whose name has this in it; all without.
    pub only: Vec<String>,
    /// The seeds; those of the bug's own budget, from 0, without.
    pub seeds: Option<Range<u64>>,
    /// Seeds run at the same time.
    pub jobs: u64,
    /// Whether all seeds are run, so that it is seen how often a bug is caught.
    pub through: bool,
    /// Only list what there is.
    pub list: bool,
}

/// Hunts planted bugs and prints a table. True if each was caught, and no control was.
pub fn mutants(wanted: &Wanted) -> bool {
    match ran(wanted) {
        Ok(rows) if wanted.list => !rows.is_empty(),
        Ok(rows) => {
            print!("{}", table::of(&rows));
            rows.iter().all(Row::is_right)
        }
        Err(story) => {
            eprintln!("{story}");
            false
        }
    }
}

fn ran(wanted: &Wanted) -> Result<Vec<Row>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the simulator stands in a workspace")?;
    let all = Bug::all(&root.join("sim/mutants"))?;
    let mut bugs = all.clone();
    bugs.retain(|bug| wanted.only.is_empty() || wanted.only.iter().any(|part| bug.name.contains(part)));
    if bugs.is_empty() {
        return Err("no bug is called so".to_string());
    }
    if wanted.list {
        bugs.iter().for_each(|bug| println!("{}: {} ({})", bug.name, bug.breaks, bug.judge));
        return Ok(bugs.into_iter().map(|bug| Row::new(bug, Hunted::default(), Duration::ZERO)).collect());
    }
    // One that does not apply any more is told before anything is built.
    let batches = Batch::of(bugs, &all, root)?;
    let tree = Tree::of(root)?;
    let mut rows = Vec::new();
    for batch in batches {
        let began = Instant::now();
        let files = batch.files(root)?;
        let names: Vec<&str> = batch.bugs.iter().map(|bug| bug.name.as_str()).collect();
        println!("building {}", names.join(", "));
        let program = tree.build(&files)?;
        println!("built in {:.0} s", began.elapsed().as_secs_f64());
        for (bug, number) in batch.bugs.iter().zip(1..) {
            let began = Instant::now();
            let seeds = wanted.seeds.clone().unwrap_or(0..bug.seeds);
            let hunted = hunt::in_process(&program, number, seeds, (wanted.jobs, wanted.through))?;
            let row = Row::new(bug.clone(), hunted, began.elapsed());
            println!("{}", row.line());
            rows.push(row);
        }
        tree.restore(files.keys())?;
    }
    Ok(rows)
}
