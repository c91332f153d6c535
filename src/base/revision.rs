//! Revisions: the store's own clock.

use std::fmt;

/// A change: `main` counts write transactions of the whole store, `sub` the changes inside one.
///
/// A fresh store stands at main 1 (nothing written yet); the first write is `(2, 0)`, as in etcd.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision {
    /// The write transaction; what clients call *the* revision.
    pub main: i64,
    /// The change inside the transaction, from 0.
    pub sub: u32,
}

impl Revision {
    /// A revision from its two parts.
    pub const fn new(main: i64, sub: u32) -> Self {
        Self { main, sub }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.main, self.sub)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.main, self.sub)
    }
}
