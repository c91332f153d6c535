//! The names of a disk in two layers: the tree the system shows, and the tree on the platter.
//!
//! Invariant: `shown` is `durable` with every pending change done, in order. A change becomes durable only
//! after the earlier changes of the same names, and counts only if the directories above it are durable too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use quorate::base::{Dice, SeededDice};

use super::file::FileBytes;

/// A file's bytes, shared by its names and its handles.
pub type Shared = Arc<Mutex<FileBytes>>;

#[derive(Clone)]
enum Change {
    Create(String, Shared),
    Remove(String),
    Rename(String, String),
    MakeDir(String),
}

impl Change {
    fn names(&self) -> Vec<&str> {
        match self {
            Self::Create(name, _) | Self::Remove(name) | Self::MakeDir(name) => vec![name],
            Self::Rename(from, to) => vec![from, to],
        }
    }
}

/// Names and what they lead to.
#[derive(Clone, Default)]
pub struct Names {
    /// Files by their path.
    pub files: BTreeMap<String, Shared>,
    /// Directories by their path; the root is not among them.
    pub dirs: BTreeSet<String>,
}

impl Names {
    fn change(&mut self, change: &Change) {
        match change {
            Change::Create(name, file) => {
                self.files.insert(name.clone(), Arc::clone(file));
            }
            Change::Remove(name) => {
                self.files.remove(name);
            }
            Change::Rename(from, to) => {
                if let Some(file) = self.files.remove(from) {
                    self.files.insert(to.clone(), file);
                }
            }
            Change::MakeDir(name) => {
                self.dirs.insert(name.clone());
            }
        }
    }

    /// Whether `dir` and all above it are there.
    pub fn has_dir(&self, dir: &str) -> bool {
        dir.is_empty() || (self.dirs.contains(dir) && self.has_dir(parent(dir)))
    }

    /// Whether a file or a directory has that name.
    pub fn holds(&self, name: &str) -> bool {
        self.files.contains_key(name) || self.dirs.contains(name)
    }

    fn drop_unreachable(&mut self) {
        let whole = self.clone();
        self.dirs.retain(|dir| whole.has_dir(dir));
        self.files.retain(|name, _| whole.has_dir(parent(name)));
    }
}

/// The directory a name stands in; empty for the root.
pub fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The two trees.
#[derive(Default)]
pub struct Tree {
    shown: Names,
    durable: Names,
    pending: Vec<Change>,
    /// Directories whose sync failed without that anybody heard of it.
    unheard: BTreeSet<String>,
}

impl Tree {
    /// The tree the system shows.
    pub fn shown(&self) -> &Names {
        &self.shown
    }

    /// The tree on the platter.
    pub fn durable(&self) -> &Names {
        &self.durable
    }

    /// A sync of a directory fails: its changes are left to a later one.
    pub fn fail_sync_dir(&mut self, dir: &str) {
        self.unheard.insert(dir.to_string());
    }

    /// Whether a sync of the directory failed that nobody had heard of before.
    pub fn hear_error(&mut self, dir: &str) -> bool {
        self.unheard.remove(dir)
    }

    fn record(&mut self, change: Change) {
        self.shown.change(&change);
        self.pending.push(change);
    }

    /// A new file.
    pub fn create(&mut self, name: &str) -> Shared {
        let file = Shared::default();
        self.record(Change::Create(name.to_string(), Arc::clone(&file)));
        file
    }

    /// A name goes.
    pub fn remove(&mut self, name: &str) {
        self.record(Change::Remove(name.to_string()));
    }

    /// A name becomes another.
    pub fn rename(&mut self, from: &str, to: &str) {
        if from != to {
            self.record(Change::Rename(from.to_string(), to.to_string()));
        }
    }

    /// A directory, and those above it where missing.
    pub fn make_dir(&mut self, dir: &str) {
        if dir.is_empty() || self.shown.dirs.contains(dir) {
            return;
        }
        self.make_dir(parent(dir));
        self.record(Change::MakeDir(dir.to_string()));
    }

    /// Makes the changes in `dir` durable, with the earlier ones they build on.
    pub fn sync_dir(&mut self, dir: &str) {
        let mut needed: BTreeSet<&str> = BTreeSet::new();
        let mut chosen = vec![false; self.pending.len()];
        for (change, chosen) in self.pending.iter().zip(&mut chosen).rev() {
            let names = change.names();
            if names.iter().any(|name| parent(name) == dir || needed.contains(name)) {
                *chosen = true;
                needed.extend(names);
            }
        }
        let mut chosen = chosen.into_iter();
        self.pending.retain(|change| {
            let now = chosen.next().expect("one for each change");
            if now {
                self.durable.change(change);
            }
            !now
        });
    }

    /// The power goes: any of the pending changes may have reached the platter, those of one name in order.
    /// `keep_of_8` is how many of eight do. Returns how many vanished.
    pub fn lose_power(&mut self, keep_of_8: u64, dice: &mut SeededDice) -> u64 {
        let mut blocked: BTreeSet<String> = BTreeSet::new();
        let mut vanished = 0;
        self.unheard.clear();
        for change in std::mem::take(&mut self.pending) {
            let free = change.names().iter().all(|name| !blocked.contains(*name));
            if free && dice.below(8) < keep_of_8 {
                self.durable.change(&change);
            } else {
                vanished += 1;
                blocked.extend(change.names().into_iter().map(str::to_string));
            }
        }
        self.durable.drop_unreachable();
        self.shown = self.durable.clone();
        vanished
    }

    /// A tree that is what the platter holds and nothing else.
    pub fn platter_only(&self) -> Self {
        let mut durable = self.durable.clone();
        durable.drop_unreachable();
        for file in durable.files.values_mut() {
            let copy = file.lock().expect("no holder panics").platter_only();
            *file = Arc::new(Mutex::new(copy));
        }
        Self { shown: durable.clone(), durable, ..Self::default() }
    }

    /// How many changes are not durable.
    #[cfg(test)]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}
