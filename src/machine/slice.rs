//! How much of a command is carried out at once.
//!
//! Knows numbers only: what is left of a command stands with whoever carries it out.

use crate::base::limits;
use crate::mvcc::Looks;

/// A part of a command's work, and what of it is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slice {
    changes: usize,
    bytes: usize,
    /// Changes of a slice in which nothing was done before.
    whole: usize,
    made: usize,
    read: usize,
}

impl Slice {
    /// As much as there is.
    pub const WHOLE: Self = Self::new(usize::MAX, usize::MAX);

    /// Up to so many keys changed, of which at least one, and about so many bytes of values read from the history's files, because
    /// they are compared or somebody wants to know what there was before.
    pub const fn new(changes: usize, bytes: usize) -> Self {
        Self { changes, bytes, whole: changes, made: 0, read: 0 }
    }

    /// The rest of one of so many changes: a command that fits into a whole one is not begun in the rest.
    pub const fn rest_of(self, whole: usize) -> Self {
        Self { whole, ..self }
    }

    /// Keys changed so far, and looked at ([`limits::LOOKS_PER_CHANGE`] count as one change).
    pub fn made(&self) -> usize {
        self.made
    }

    /// Bytes of values read so far.
    pub fn read(&self) -> usize {
        self.read
    }

    /// Whether nothing more may be done, where so many bytes were read.
    pub(super) fn is_used_up(&self, read: usize) -> bool {
        self.made >= self.changes || read >= self.bytes
    }

    /// Whether some of it is used up.
    pub(super) fn is_used(&self) -> bool {
        self.made > 0 || self.read > 0
    }

    /// Whether it is less than a whole one.
    pub(super) fn is_rest(&self) -> bool {
        self.changes < self.whole
    }

    /// Whether so many changes are more than there is room for.
    pub(super) fn is_less_than(&self, changes: u64) -> bool {
        changes > (self.changes - self.made) as u64
    }

    /// Whether so many changes, with all that was done in it, are more than it takes, and not more than a whole one does.
    pub(super) fn leaves_to_the_next(&self, changes: u64) -> bool {
        self.is_less_than(changes) && self.is_rest() && changes <= (self.whole - self.made) as u64
    }

    /// Whether there is an end to what may be read.
    pub(super) fn counts_bytes(&self) -> bool {
        self.bytes < usize::MAX
    }

    /// Changes that may still be made, and bytes of values that may be read in all.
    pub(super) fn room(&self) -> (usize, usize) {
        (self.changes - self.made, self.bytes)
    }

    /// What may still be looked at to find out what is to be done.
    pub(super) fn looks(&self) -> Looks {
        let (changes, bytes) = self.room();
        Looks { keys: changes.saturating_mul(limits::LOOKS_PER_CHANGE), bytes: bytes - self.read }
    }

    /// So much was looked at for it. What is less than a change costs nothing.
    pub(super) fn looked_at(&mut self, keys: usize) {
        self.made += keys / limits::LOOKS_PER_CHANGE;
    }

    /// So many keys were changed.
    pub(super) fn changed(&mut self, keys: usize) {
        self.made += keys;
    }

    /// So many bytes were read in all.
    pub(super) fn has_read(&mut self, bytes: usize) {
        self.read = bytes;
    }

    /// The same without bounds, for what is known to fit.
    pub(super) fn to_the_end(self) -> Self {
        Self { made: self.made, ..Self::WHOLE }
    }
}
