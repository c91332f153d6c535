//! When a checkpoint is due, and what may be let go after it.

use crate::base::{LogIndex, limits};
use crate::mvcc::StorePosition;

/// Decides on checkpoints. One is under way at a time.
///
/// Two durable ones are kept: the log is released, and files are removed, only where the older does not need
/// them either, so that a newest image found damaged at start does not cost the data.
#[derive(Debug)]
pub(super) struct Checkpoints {
    entries: u64,
    bytes: u64,
    every_entries: u64,
    under_way: Option<Checkpoint>,
    newest: Checkpoint,
    older: Option<Checkpoint>,
    /// The one under way is of a state that an installed snapshot has replaced since.
    superseded: bool,
    /// One that was due could not be made, or one is wanted.
    overdue: bool,
    made: u64,
}

/// A checkpoint, as far as letting go depends on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Checkpoint {
    /// The log up to here is in it.
    pub(super) applied: LogIndex,
    /// Where its history ends.
    pub(super) position: StorePosition,
}

impl Checkpoints {
    /// Starts from the checkpoint the node was opened with, and the one that is kept beside it, if there is one.
    pub(super) fn new(newest: Checkpoint, older: Option<Checkpoint>, every_entries: u64) -> Self {
        Self {
            entries: 0,
            bytes: 0,
            every_entries,
            under_way: None,
            newest,
            older,
            superseded: false,
            overdue: false,
            made: 0,
        }
    }

    /// An entry was applied.
    pub(super) fn applied(&mut self, bytes: usize) {
        self.entries += 1;
        self.bytes += bytes as u64;
    }

    /// Whether one is to be made now.
    pub(super) fn due(&self) -> bool {
        let enough = self.entries >= self.every_entries || self.bytes >= limits::CHECKPOINT_EVERY_BYTES;
        self.under_way.is_none() && (enough || self.overdue)
    }

    /// One is due, whatever was written.
    pub(super) fn want(&mut self) {
        self.overdue = true;
    }

    /// Whether one is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// One is under way.
    pub(super) fn begun(&mut self, applied: LogIndex, position: StorePosition) {
        assert!(self.under_way.is_none(), "one checkpoint at a time");
        self.under_way = Some(Checkpoint { applied, position });
        self.entries = 0;
        self.bytes = 0;
        self.overdue = false;
    }

    /// The one under way could not be made: it is due again.
    pub(super) fn put_off(&mut self) {
        assert!(self.under_way.take().is_some(), "a checkpoint that is put off was under way");
        (self.superseded, self.overdue) = (false, true);
    }

    /// The one under way is durable. The index up to which both that are kept now cover the log.
    pub(super) fn durable(&mut self, applied: LogIndex) -> LogIndex {
        let done = self.under_way.take().expect("a checkpoint that is durable was under way");
        assert_eq!(done.applied, applied, "the checkpoint that is durable is the one under way");
        self.made += 1;
        if std::mem::take(&mut self.superseded) {
            return self.older.as_ref().map_or(0, |older| older.applied);
        }
        let older = self.older.insert(std::mem::replace(&mut self.newest, done));
        older.applied
    }

    /// A snapshot was installed, and its image is durable. It stands for both that are kept: the log behind any older one
    /// is gone. One that is under way is of the state before; whether it comes to the disk makes no difference.
    pub(super) fn installed(&mut self, applied: LogIndex, position: StorePosition) {
        assert!(applied > self.newest.applied, "an installed snapshot is ahead of every checkpoint");
        self.rebuilt(applied, position);
    }

    /// Another member's state took the place of this one's, and its image is durable. The log is whole behind it, but no older
    /// state is good any more.
    pub(super) fn rebuilt(&mut self, applied: LogIndex, position: StorePosition) {
        assert!(applied >= self.newest.applied, "a state that is put in place never goes back");
        self.superseded |= self.under_way.is_some();
        self.newest = Checkpoint { applied, position };
        self.older = Some(self.newest.clone());
        self.entries = 0;
        self.bytes = 0;
    }

    /// Where the history ends for the checkpoints that are kept; nothing until both are known.
    pub(super) fn kept(&self) -> Option<[&StorePosition; 2]> {
        self.older.as_ref().map(|older| [&older.position, &self.newest.position])
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
        let mut checkpoints = Checkpoints::new(Checkpoint::default(), None, 2);
        checkpoints.applied(10);
        assert!(!checkpoints.due());
        checkpoints.applied(10);
        assert!(checkpoints.due());
        assert!(checkpoints.kept().is_none());
        checkpoints.begun(2, StorePosition::default());
        assert!(!checkpoints.due(), "one at a time");
        assert_eq!(checkpoints.durable(2), 0);
        checkpoints.begun(4, StorePosition::default());
        assert_eq!(checkpoints.durable(4), 2);
        assert!(checkpoints.kept().is_some());
        checkpoints.begun(9, StorePosition::default());
        assert_eq!(checkpoints.durable(9), 4);
        assert_eq!(checkpoints.made(), 3);
    }

    #[test]
    fn one_kept_from_before_the_start_counts() {
        let at = |applied| Checkpoint { applied, position: StorePosition::default() };
        let mut checkpoints = Checkpoints::new(at(9), Some(at(4)), 2);
        assert!(checkpoints.kept().is_some(), "both are known");
        checkpoints.begun(12, StorePosition::default());
        assert_eq!(checkpoints.durable(12), 9);
    }

    #[test]
    fn an_installed_snapshot_stands_for_both() {
        let mut checkpoints = Checkpoints::new(Checkpoint::default(), None, 2);
        checkpoints.begun(4, StorePosition::default());
        checkpoints.installed(9, StorePosition::default());
        assert!(checkpoints.kept().is_some());
        assert_eq!(checkpoints.durable(4), 9, "the one under way was overtaken");
        checkpoints.applied(1);
        checkpoints.applied(1);
        assert!(checkpoints.due());
        checkpoints.begun(12, StorePosition::default());
        assert_eq!(checkpoints.durable(12), 9);
        checkpoints.begun(14, StorePosition::default());
        assert_eq!(checkpoints.durable(14), 12);
    }

    #[test]
    fn many_bytes_make_one_due() {
        let mut checkpoints = Checkpoints::new(Checkpoint::default(), None, u64::MAX);
        checkpoints.applied(limits::CHECKPOINT_EVERY_BYTES as usize);
        assert!(checkpoints.due());
    }
}
