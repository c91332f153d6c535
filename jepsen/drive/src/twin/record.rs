//! Stock answers written down, so that the twin can be held without Go and without stock etcd.
//!
//! A recording is text: a first line with the sequences it holds, then one line a step with the comparable form of the
//! answer. Long answers are cut and carry a sum of the whole. Invariant: equal answers give equal lines. It is tied to the
//! generator: a changed generator needs a new recording. Does not know how answers are fetched.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

use crate::process::Trouble;

/// Longer lines are cut here.
const LINE: usize = 160;

/// The sequences of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The seeds, all on one pair of servers.
    pub seeds: Range<u64>,
    /// Steps of each.
    pub requests: u64,
}

/// The lines of a recording, being written or being held against.
#[derive(Debug, Default)]
pub struct Recording {
    lines: Mutex<BTreeMap<(u64, u64), String>>,
}

impl Recording {
    /// Notes the answer to a step.
    pub fn note(&self, seed: u64, step: u64, answer: &str) {
        self.lines.lock().expect("no holder panics").insert((seed, step), line(answer));
    }

    /// Compares the answer to a step.
    ///
    /// # Errors
    /// Both lines when they differ, or that the recording has none.
    pub fn compare(&self, seed: u64, step: u64, answer: &str) -> Result<(), String> {
        let (lines, answer) = (self.lines.lock().expect("no holder panics"), line(answer));
        match lines.get(&(seed, step)) {
            Some(recorded) if *recorded == answer => Ok(()),
            recorded => Err(format!("  recorded {}\n  answered {answer}", recorded.map_or("nothing", String::as_str))),
        }
    }

    /// Writes the recording.
    pub fn save(&self, path: &Path, extent: &Extent) -> Result<(), Trouble> {
        let mut text = format!("{}..{} {}\n", extent.seeds.start, extent.seeds.end, extent.requests);
        for ((seed, step), line) in self.lines.lock().expect("no holder panics").iter() {
            text.push_str(&format!("{seed} {step} {line}\n"));
        }
        Ok(std::fs::write(path, text)?)
    }

    /// Reads a recording.
    pub fn load(path: &Path) -> Result<(Self, Extent), Trouble> {
        let text = std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
        let bad = |line: &str| format!("{}: not a recording: {line}", path.display());
        let (head, rest) = text.split_once('\n').ok_or_else(|| bad("empty"))?;
        let (seeds, requests) = head.split_once(' ').ok_or_else(|| bad(head))?;
        let extent = Extent { seeds: parse_seeds(seeds)?, requests: requests.parse()? };
        let mut lines = BTreeMap::new();
        for line in rest.lines() {
            let mut parts = line.splitn(3, ' ');
            let (Some(seed), Some(step), Some(answer)) = (parts.next(), parts.next(), parts.next()) else {
                return Err(bad(line).into());
            };
            lines.insert((seed.parse()?, step.parse()?), answer.to_owned());
        }
        Ok((Self { lines: Mutex::new(lines) }, extent))
    }
}

fn line(answer: &str) -> String {
    // The written form holds no raw line ends: strings and bytes in it are escaped.
    assert!(!answer.contains('\n'), "an answer is written on one line");
    match answer.char_indices().nth(LINE) {
        None => answer.to_owned(),
        Some((cut, _)) => format!("{}... {:016x}", &answer[..cut], sum(answer)),
    }
}

/// FNV-1a, 64 bits: enough to notice a difference, the same on every machine.
fn sum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Reads first..end.
pub(super) fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("seeds are first..end")?;
    let first = first.parse().map_err(|why| format!("{first}: {why}"))?;
    let end = end.parse().map_err(|why| format!("{end}: {why}"))?;
    if first < end { Ok(first..end) } else { Err("no seeds in this range".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_recording_is_read_back_and_notices_a_difference_beyond_the_cut() {
        let long = "y".repeat(500);
        let recording = Recording::default();
        recording.note(1, 0, "short answer");
        recording.note(1, 1, &long);
        let home = crate::process::fresh_home(None, "record-test").expect("a directory");
        let extent = Extent { seeds: 1..2, requests: 2 };
        recording.save(&home.join("r"), &extent).expect("written");
        let (again, read) = Recording::load(&home.join("r")).expect("read");
        std::fs::remove_dir_all(&home).expect("removed");
        assert_eq!(read, extent);
        assert!(again.compare(1, 0, "short answer").is_ok());
        assert!(again.compare(1, 1, &long).is_ok());
        assert!(again.compare(1, 1, &format!("{}z", &long[1..])).is_err());
        assert!(again.compare(1, 2, "short answer").is_err());
    }
}
