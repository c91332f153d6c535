//! An entry of the tree.

/// What the tree needs to know of an entry.
pub trait Entry: Clone {
    /// The key it is sorted by; never changes.
    fn key(&self) -> &[u8];
    /// Whether it is counted.
    fn is_live(&self) -> bool;
    /// When it last changed.
    fn stamp(&self) -> i64;
}
