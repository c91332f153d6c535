//! How much of a command is carried out at once.
//!
//! Knows numbers only: what is left of a command stands with whoever carries it out.

/// A part of a command's work, and what of it is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slice {
    changes: usize,
    bytes: usize,
    made: usize,
}

impl Slice {
    /// As much as there is.
    pub const WHOLE: Self = Self::new(usize::MAX, usize::MAX);

    /// Up to so many keys changed, of which at least one, and about so many bytes of values read, because somebody wants to know
    /// what there was before.
    pub const fn new(changes: usize, bytes: usize) -> Self {
        Self { changes, bytes, made: 0 }
    }

    /// Keys changed so far.
    pub fn made(&self) -> usize {
        self.made
    }

    /// Whether no more keys may be changed.
    pub(super) fn is_used_up(&self) -> bool {
        self.made >= self.changes
    }

    /// Whether so many changes are more than it takes.
    pub(super) fn is_less_than(&self, changes: u64) -> bool {
        changes > self.changes as u64
    }

    /// Bytes of values that may be read in all.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes that may still be made, and bytes of values that may be read in all.
    pub(super) fn room(&self) -> (usize, usize) {
        (self.changes - self.made, self.bytes)
    }

    /// So many keys were changed.
    pub(super) fn changed(&mut self, keys: usize) {
        self.made += keys;
    }

    /// The same without bounds, for what is known to fit.
    pub(super) fn to_the_end(self) -> Self {
        Self { made: self.made, ..Self::WHOLE }
    }
}
