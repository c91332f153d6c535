//! A planted bug, as its file says it.
//!
//! ```text
//! breaks: what it breaks, in a sentence
//! judge: who should see it
//! seeds: 1000
//!
//! [find src/node/node.rs]
//! the exact text, which stands there once
//! [put]
//! what takes its place
//! [end]
//! ```
//!
//! A file may edit several places, several times one file. Both texts are *whole*: statements, or an expression, of the same
//! type, so that many bugs fit in one build and are told apart when it runs; `whole: no` says that they are not.
//! `with: another` plants it on top of another's edits. `control: yes` says that nothing promised is broken. Lines
//! that begin with `#` outside of the texts are for people.

use std::ops::Range;
use std::path::Path;

/// One text in the place of another.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Edit {
    file: String,
    find: String,
    put: String,
}

/// See the module's head.
#[derive(Clone, Debug)]
pub struct Bug {
    /// What the file is called.
    pub name: String,
    /// What it breaks.
    pub breaks: String,
    /// Who should see it.
    pub judge: String,
    /// Seeds within which it has to be caught.
    pub seeds: u64,
    /// Nothing promised is broken.
    pub control: bool,
    /// Whether its texts can be switched when the program runs.
    pub whole: bool,
    /// Whose edits come before its own, if any.
    pub with: Option<String>,
    edits: Vec<Edit>,
}

impl Bug {
    /// All bugs of a directory, by name.
    pub fn all(dir: &Path) -> Result<Vec<Self>, String> {
        let entries = std::fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let mut files: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "bug"));
        files.sort();
        let read = |file: &std::path::PathBuf| {
            let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            Self::read(&name, &text)
        };
        let bugs = files.iter().map(read).collect::<Result<Vec<Self>, String>>()?;
        for bug in &bugs {
            let known = |with: &String| bugs.iter().any(|other| other.name == *with && other.with.is_none());
            if bug.with.as_ref().is_some_and(|with| !known(with)) {
                return Err(format!("{}: it is planted on top of what is not there", bug.name));
            }
        }
        Ok(bugs)
    }

    /// Reads what a file says.
    pub(super) fn read(name: &str, text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{name}: {what}");
        let mut bug = Self {
            name: name.to_string(),
            breaks: String::new(),
            judge: String::new(),
            seeds: 0,
            control: false,
            whole: true,
            with: None,
            edits: Vec::new(),
        };
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(file) = line.strip_prefix("[find ").and_then(|rest| rest.strip_suffix(']')) {
                let (find, put) = (until(&mut lines, "[put]"), until(&mut lines, "[end]"));
                let (find, put) = (find.ok_or(wrong("[put] is missing"))?, put.ok_or(wrong("[end] is missing"))?);
                if find.trim().is_empty() || find == put {
                    return Err(wrong("an edit changes nothing"));
                }
                bug.edits.push(Edit { file: file.to_string(), find, put });
                continue;
            }
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once(": ").ok_or_else(|| wrong(&format!("{line:?} is not understood")))?;
            match key {
                "breaks" => bug.breaks = value.to_string(),
                "judge" => bug.judge = value.to_string(),
                "seeds" => bug.seeds = value.parse().map_err(|error| wrong(&format!("seeds: {error}")))?,
                "control" => bug.control = value == "yes",
                "whole" => bug.whole = value != "no",
                "with" => bug.with = Some(value.to_string()),
                _ => return Err(wrong(&format!("{key:?} is not known"))),
            }
        }
        let whole = !bug.breaks.is_empty() && !bug.judge.is_empty() && bug.seeds > 0 && !bug.edits.is_empty();
        if whole { Ok(bug) } else { Err(wrong("breaks, judge, seeds and an edit are needed")) }
    }

    /// Where its edits go, in the sources below `root`. One that does not fit is an error.
    pub fn places(&self, root: &Path) -> Result<Vec<Place>, String> {
        let place = |edit: &Edit| {
            let Edit { file, find, put } = edit;
            if !file.starts_with("src/") {
                return Err(format!("{}: bugs are planted in the product alone, not in {file}", self.name));
            }
            let text = std::fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))?;
            let mut found = text.match_indices(find.as_str());
            match (found.next(), found.next()) {
                (Some((at, _)), None) => {
                    Ok(Place { file: file.clone(), range: at..at + find.len(), find: find.clone(), put: put.clone() })
                }
                (first, _) => {
                    let often = if first.is_some() { "several times" } else { "nowhere" };
                    Err(format!("{}: in {file} this stands {often}, not once:\n{find}", self.name))
                }
            }
        };
        self.edits.iter().map(place).collect()
    }
}

/// Where an edit goes, and what stands there then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The file.
    pub file: String,
    /// Its bytes that are replaced.
    pub range: Range<usize>,
    /// What stands there.
    pub find: String,
    /// What takes its place.
    pub put: String,
}

impl Place {
    /// Whether two edits touch.
    pub fn meets(&self, other: &Self) -> bool {
        self.file == other.file && self.range.start < other.range.end && other.range.start < self.range.end
    }
}

/// The lines before one that ends them.
fn until<'a>(lines: &mut impl Iterator<Item = &'a str>, end: &str) -> Option<String> {
    let mut found = Vec::new();
    for line in lines {
        if line == end {
            return Some(found.join("\n"));
        }
        found.push(line);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "breaks: it\njudge: someone\nseeds: 7\n# for people\n[find src/lib.rs]\na\nb\n[put]\nc\n[end]\n";

    #[test]
    fn a_bug_is_read_as_it_is_written_or_not_at_all() {
        let bug = Bug::read("one", ONE).unwrap();
        assert_eq!((bug.seeds, bug.control, bug.breaks.as_str()), (7, false, "it"));
        let edit = Edit { file: "src/lib.rs".to_string(), find: "a\nb".to_string(), put: "c".to_string() };
        assert_eq!(bug.edits, [edit]);
        for broken in [
            ONE.replace("[put]", ""),
            ONE.replace("[end]", ""),
            ONE.replace("seeds: 7", "seeds: x"),
            ONE.replace("judge: someone\n", ""),
            ONE.replace("judge:", "judges:"),
            ONE.replace("\nc\n", "\na\nb\n"),
        ] {
            assert!(Bug::read("one", &broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn an_edit_that_does_not_fit_is_told() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let edited = |file: &str, find: &str| {
            let text = ONE.replace("src/lib.rs", file).replace("a\nb", find);
            Bug::read("one", &text).unwrap().places(root)
        };
        assert!(edited("src/lib.rs", "this is not there").unwrap_err().contains("nowhere"));
        assert!(edited("src/lib.rs", "mod ").is_err(), "it stands there several times");
        assert!(edited("sim/src/main.rs", "fn main").is_err(), "only the product");
    }

    /// Holds the list alive: whoever changes a place where a bug is planted plants it anew.
    #[test]
    fn every_planted_bug_applies_to_the_sources_of_today() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let bugs = Bug::all(&root.join("sim/mutants")).unwrap();
        assert!(bugs.len() > 5, "{}", bugs.len());
        let wrong: Vec<String> = bugs.iter().filter_map(|bug| bug.places(root).err()).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
        let halves = bugs.iter().filter(|bug| bug.whole).flat_map(|bug| bug.edits.iter().map(|edit| (&bug.name, edit)));
        for (name, Edit { find, put, .. }) in halves {
            for text in [find, put] {
                let balanced = |open, close| text.matches(open).count() == text.matches(close).count();
                let paired = balanced('(', ')') && balanced('{', '}') && balanced('[', ']');
                let arm = text.trim_end().ends_with(',') || text.lines().next().is_some_and(|line| line.contains("=>"));
                assert!(paired && !arm, "{name}: no whole statement or expression, and not said to be none:\n{text}");
            }
        }
    }
}
