//! Planted bugs: is there an oracle for each thing that can go wrong, and do the plans get there?
//!
//! A bug is data (`sim/mutants/`, one file each): an exact text of a product source and what stands in its place. Each is
//! put into a copy of the sources, built, and hunted by a swarm until a seed fails or the budget is used up. The product
//! itself is never changed. A control is an edit that changes nothing that is promised: it must not be caught.

mod bug;
mod hunt;
mod table;
mod tree;

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

pub use hunt::hunt;

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
    let mut bugs = Bug::all(&root.join("sim/mutants"))?;
    bugs.retain(|bug| wanted.only.is_empty() || wanted.only.iter().any(|part| bug.name.contains(part)));
    if bugs.is_empty() {
        return Err("no bug is called so".to_string());
    }
    // One that does not apply any more is told before anything is built.
    for bug in &bugs {
        bug.edited(root)?;
    }
    if wanted.list {
        bugs.iter().for_each(|bug| println!("{}: {} ({})", bug.name, bug.breaks, bug.judge));
        return Ok(bugs.into_iter().map(|bug| Row::new(bug, Hunted::default(), Duration::ZERO)).collect());
    }
    let tree = Tree::of(root)?;
    let mut rows = Vec::new();
    for bug in bugs {
        let began = Instant::now();
        let edited = bug.edited(root)?;
        let program = tree.build(&edited).map_err(|story| format!("{}: {story}", bug.name))?;
        let built = began.elapsed();
        let seeds = wanted.seeds.clone().unwrap_or(0..bug.seeds);
        let hunted = hunt::in_process(&program, seeds, wanted.jobs);
        tree.restore(edited.keys())?;
        let row = Row::new(bug, hunted?, began.elapsed());
        println!("{} (built in {:.0} s)", row.line(), built.as_secs_f64());
        rows.push(row);
    }
    Ok(rows)
}
