//! The server binary: flags, configuration, logs, listeners, start and stop.
//!
//! Invariant: everything that can be refused is refused before the data directory is touched.

mod auto_compaction;
mod compose;
pub mod config;
mod counted;
mod features;
mod flag_table;
pub mod flags;
mod founding;
mod gathered;
pub mod listen;
mod logs;
mod notices;
mod values;

pub use compose::{Serving, main};
pub use config::Config;
pub use founding::InitialMember;
