//! When a checkpoint is due, and what may be let go after it.

use crate::base::{LogIndex, limits};

/// Decides on checkpoints. One is under way at a time.
///
/// Two durable ones are kept: the log is released, and files are removed, only up to the older, so that a
/// newest image found damaged at start does not cost the data.
#[derive(Debug)]
pub(super) struct Checkpoints {
    entries: u64,
    bytes: u64,
    every_entries: u64,
    under_way: Option<LogIndex>,
    newest: LogIndex,
    made: u64,
    /// Files that stopped being part of the history before the checkpoint of this index.
    garbage: Vec<(LogIndex, Vec<String>)>,
}

/// What a durable checkpoint lets go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Freed {
    /// Log entries up to here are in two checkpoints.
    pub(super) log: LogIndex,
    /// Files no kept checkpoint names.
    pub(super) files: Vec<String>,
}

impl Checkpoints {
    /// Starts from the checkpoint the node was opened with.
    pub(super) fn new(newest: LogIndex, every_entries: u64) -> Self {
        Self { entries: 0, bytes: 0, every_entries, under_way: None, newest, made: 0, garbage: Vec::new() }
    }

    /// An entry was applied.
    pub(super) fn applied(&mut self, bytes: usize) {
        self.entries += 1;
        self.bytes += bytes as u64;
    }

    /// Whether one is to be made now.
    pub(super) fn due(&self) -> bool {
        let enough = self.entries >= self.every_entries || self.bytes >= limits::CHECKPOINT_EVERY_BYTES;
        self.under_way.is_none() && enough
    }

    /// One is under way. `garbage` are files the history before it named and it does not.
    pub(super) fn begun(&mut self, applied: LogIndex, garbage: Vec<String>) {
        assert!(self.under_way.is_none(), "one checkpoint at a time");
        self.under_way = Some(applied);
        self.entries = 0;
        self.bytes = 0;
        if !garbage.is_empty() {
            self.garbage.push((applied, garbage));
        }
    }

    /// The one under way is durable.
    pub(super) fn durable(&mut self, applied: LogIndex) -> Freed {
        assert_eq!(self.under_way.take(), Some(applied), "the checkpoint that is durable is the one under way");
        let older = std::mem::replace(&mut self.newest, applied);
        self.made += 1;
        // The older checkpoint still names files that the newest does not; what it does not name either goes.
        let files = self.garbage.extract_if(.., |(index, _)| *index <= older).flat_map(|(_, files)| files).collect();
        Freed { log: older, files }
    }

    /// Checkpoints made since start.
    pub(super) fn made(&self) -> u64 {
        self.made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_go_is_in_two_checkpoints() {
        let mut checkpoints = Checkpoints::new(0, 2);
        checkpoints.applied(10);
        assert!(!checkpoints.due());
        checkpoints.applied(10);
        assert!(checkpoints.due());
        checkpoints.begun(2, vec!["a".to_string()]);
        assert!(!checkpoints.due(), "one at a time");
        assert_eq!(checkpoints.durable(2), Freed { log: 0, files: Vec::new() });
        checkpoints.begun(4, vec!["b".to_string()]);
        assert_eq!(checkpoints.durable(4), Freed { log: 2, files: vec!["a".to_string()] });
        checkpoints.begun(9, Vec::new());
        assert_eq!(checkpoints.durable(9), Freed { log: 4, files: vec!["b".to_string()] });
        assert_eq!(checkpoints.made(), 3);
    }

    #[test]
    fn many_bytes_make_one_due() {
        let mut checkpoints = Checkpoints::new(0, u64::MAX);
        checkpoints.applied(limits::CHECKPOINT_EVERY_BYTES as usize);
        assert!(checkpoints.due());
    }
}
