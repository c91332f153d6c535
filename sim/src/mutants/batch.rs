//! Bugs that are built together: each is a branch that one number takes when the program runs.
//!
//! Invariant: no two edits of a batch touch. What is planted beneath them all stands there without a branch.

use std::collections::BTreeMap;
use std::path::Path;

use super::bug::{Bug, Place};

/// The variable that says which bug of a batch is planted, from 1.
pub const PLANTED: &str = "QUORATE_PLANTED";

/// What a batch adds to the product's root.
const SWITCH: &str = r#"
#[allow(missing_docs)]
pub fn planted(number: u32) -> bool {
    static WHICH: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *WHICH.get_or_init(|| std::env::var("QUORATE_PLANTED").map_or(0, |number| number.parse().unwrap_or(0))) == number
}
"#;

/// See the module's head.
pub struct Batch {
    /// What is planted in all of them, with its name.
    beneath: Option<(String, Vec<Place>)>,
    /// The bugs with their edits; number 1 is the first.
    pub bugs: Vec<Bug>,
    places: Vec<Vec<Place>>,
}

impl Batch {
    /// All bugs, in as few batches as there can be. `all` are those that others may be planted on top of.
    pub fn of(bugs: Vec<Bug>, all: &[Bug], root: &Path) -> Result<Vec<Self>, String> {
        let mut batches: Vec<Self> = Vec::new();
        for bug in bugs {
            let places = bug.places(root)?;
            let fits = |batch: &&mut Self| bug.whole && batch.has_room(&bug, &places);
            match batches.iter_mut().find(fits) {
                Some(batch) => {
                    batch.bugs.push(bug);
                    batch.places.push(places);
                }
                None => {
                    let with = bug.with.as_ref().and_then(|with| all.iter().find(|other| other.name == *with));
                    let beneath =
                        with.map(|with| Ok::<_, String>((with.name.clone(), with.places(root)?))).transpose()?;
                    batches.push(Self { beneath, bugs: vec![bug], places: vec![places] });
                }
            }
        }
        Ok(batches)
    }

    fn has_room(&self, bug: &Bug, places: &[Place]) -> bool {
        let beneath = self.beneath.as_ref().map(|(name, _)| name);
        let taken = self.places.iter().flatten().chain(self.beneath.iter().flat_map(|(_, places)| places));
        let touch = taken.into_iter().any(|place| places.iter().any(|other| place.meets(other)));
        beneath == bug.with.as_ref() && self.bugs.iter().all(|other| other.whole) && !touch
    }

    /// The files with all bugs in them.
    pub fn files(&self, root: &Path) -> Result<BTreeMap<String, String>, String> {
        let mut edits: Vec<(&Place, String)> = Vec::new();
        edits.extend(self.beneath.iter().flat_map(|(_, places)| places).map(|place| (place, place.put.clone())));
        for ((bug, places), number) in self.bugs.iter().zip(&self.places).zip(1..) {
            for place in places {
                let Place { find, put, .. } = place;
                let branch = format!("if crate::planted({number}) {{\n{put}\n}} else {{\n{find}\n}}");
                edits.push((place, if bug.whole { branch } else { put.clone() }));
            }
        }
        edits.sort_by_key(|(place, _)| (&place.file, place.range.start));
        let mut files = BTreeMap::new();
        let read = |file: &str| std::fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"));
        // From the end on, so that the places before stay where they are.
        for (Place { file, range, .. }, text) in edits.into_iter().rev() {
            if !files.contains_key(file) {
                files.insert(file.clone(), read(file)?);
            }
            files.get_mut(file).expect("it was just read").replace_range(range.clone(), &text);
        }
        if !files.contains_key("src/lib.rs") {
            files.insert("src/lib.rs".to_string(), read("src/lib.rs")?);
        }
        files.get_mut("src/lib.rs").expect("it was just read").push_str(SWITCH);
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bug(name: &str, find: &str, more: &str) -> Bug {
        let text =
            format!("breaks: it\njudge: someone\nseeds: 7\n{more}[find src/base/limits.rs]\n{find}\n[put]\n8\n[end]\n");
        Bug::read(name, &text).unwrap()
    }

    #[test]
    fn bugs_that_do_not_touch_are_built_together_and_told_apart() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let beneath = bug("beneath", "MAX_TXN_DEPTH: usize = 40", "");
        let bugs = vec![
            bug("one", "MAX_REQUEST_BYTES: usize = 1_572_864", ""),
            bug("two", "1_572_864", ""),
            bug("three", "JSON_TIMES: usize = 2", ""),
            bug("four", "MAX_LEARNERS: usize = 1", "whole: no\n"),
            bug("five", "JSON_TIMES: usize = 2", "with: beneath\n"),
        ];
        let batches = Batch::of(bugs, std::slice::from_ref(&beneath), root).unwrap();
        let names: Vec<Vec<&str>> =
            batches.iter().map(|batch| batch.bugs.iter().map(|bug| bug.name.as_str()).collect()).collect();
        assert_eq!(names, [vec!["one", "three"], vec!["two"], vec!["four"], vec!["five"]]);
        let files = batches[0].files(root).unwrap();
        assert!(files["src/base/limits.rs"].contains("if crate::planted(2) {\n8\n} else {\nJSON_TIMES: usize = 2\n}"));
        assert!(files["src/lib.rs"].contains("pub fn planted"));
        let files = batches[2].files(root).unwrap();
        assert!(files["src/base/limits.rs"].contains("pub const 8;"), "without a branch");
        let files = batches[3].files(root).unwrap();
        assert!(files["src/base/limits.rs"].contains("pub const 8;"), "what lies beneath has none");
    }
}
