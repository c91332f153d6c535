//! The hunt: seeds in order, several at a time, until one of them fails.
//!
//! It runs in the process that has the bug and tells one line of JSON to the one that planted it. A seed that makes no
//! headway for [`STUCK`] is a catch, too: the process is given up with what it was at.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::batch::PLANTED;
use crate::page::readable;
use crate::run::run;

/// A seed that takes longer than this in real time is stuck.
const STUCK: Duration = Duration::from_secs(120);

/// Characters of a story that are kept.
const STORY: usize = 400;

/// What a hunt came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Hunted {
    /// Seeds that were run to their end.
    pub seeds: u64,
    /// How many of them failed.
    pub failed: u64,
    /// The lowest seed that failed, if one did.
    pub caught: Option<u64>,
    /// The promise it broke, in the words of the judge.
    pub words: String,
    /// What the judge says.
    pub story: String,
}

struct Hunt {
    /// Whether it goes on after a catch.
    through: bool,
    next: AtomicU64,
    over: AtomicBool,
    running: Mutex<BTreeMap<u64, Instant>>,
    hunted: Mutex<Hunted>,
}

impl Hunt {
    fn one(&self, end: u64) {
        while !self.over.load(Ordering::Relaxed) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            self.running().insert(seed, Instant::now());
            let report = run(seed);
            self.running().remove(&seed);
            let mut hunted = self.hunted.lock().expect("no holder of this lock panics");
            hunted.seeds += 1;
            let Some(failure) = report.failure else { continue };
            hunted.failed += 1;
            self.over.store(!self.through, Ordering::Relaxed);
            if hunted.caught.is_none_or(|lowest| seed < lowest) {
                hunted.caught = Some(seed);
                (hunted.words, hunted.story) = words_of(&readable(&failure));
            }
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.running.lock().expect("no holder of this lock panics")
    }

    /// Looks after those that run; true when one is stuck.
    fn is_stuck(&self) -> Option<u64> {
        self.running().iter().find(|(_, began)| began.elapsed() > STUCK).map(|(seed, _)| *seed)
    }
}

/// The words of the judge and its story.
fn words_of(failure: &str) -> (String, String) {
    let (first, rest) = failure.split_once('\n').unwrap_or((failure, ""));
    let words = first.split_once(" s: ").map_or(first, |(_, words)| words);
    (words.to_string(), rest.chars().take(STORY).collect())
}

/// Hunts with the program that this is, and prints what came of it as one line. `through` counts how often it is caught.
pub fn hunt(seeds: Range<u64>, jobs: u64, through: bool) {
    let hunt = Hunt {
        through,
        next: AtomicU64::new(seeds.start),
        over: AtomicBool::new(false),
        running: Mutex::default(),
        hunted: Mutex::default(),
    };
    let hunt: &'static Hunt = Box::leak(Box::new(hunt));
    let hunters: Vec<_> = (0..jobs.max(1)).map(|_| std::thread::spawn(move || hunt.one(seeds.end))).collect();
    while hunters.iter().any(|hunter| !hunter.is_finished()) {
        std::thread::sleep(Duration::from_millis(20));
        if let Some(seed) = hunt.is_stuck() {
            let mut hunted = hunt.hunted.lock().expect("no holder of this lock panics");
            hunted.caught.get_or_insert(seed);
            hunted.failed += 1;
            hunted.words = "a run comes to an end".to_string();
            break;
        }
    }
    let hunted = hunt.hunted.lock().expect("no holder of this lock panics");
    println!("{}", serde_json::to_string(&*hunted).expect("a hunt is plain data"));
}

/// Hunts with another program, in which the bug of this number is planted.
pub fn in_process(
    program: &Path,
    number: u32,
    seeds: Range<u64>,
    (jobs, through): (u64, bool),
) -> Result<Hunted, String> {
    let (first, end) = (seeds.start, seeds.end);
    let mut command = Command::new(program);
    command.args(["hunt", "--seeds", &format!("{first}..{end}"), "--jobs", &jobs.to_string()]);
    command.args(through.then_some("--through")).env(PLANTED, number.to_string());
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{}: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next_back().unwrap_or_default();
    Ok(serde_json::from_str(line).unwrap_or_else(|_| {
        let story = String::from_utf8_lossy(&output.stderr).chars().take(STORY).collect();
        Hunted { seeds: 0, failed: 1, caught: Some(first), words: "the process lives".to_string(), story }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_judge_are_told_from_its_story() {
        let (words, story) = words_of("at 3.200000 s: one leader a term\nm1 and m2");
        assert_eq!((words.as_str(), story.as_str()), ("one leader a term", "m1 and m2"));
        assert_eq!(words_of("a bug asserted itself\npanicked at x").0, "a bug asserted itself");
    }
}
