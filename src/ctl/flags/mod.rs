//! From the words of a command line to a command, its flags and their values; and the texts that explain them.
//!
//! Invariants: which command and which flags there are is said in `commands/` alone; help, usage and reading follow from
//! that. Knows nothing of what a command does.

pub mod find;
pub mod own;
pub mod tree;
pub mod usage;
