//! The driver: the thin asynchronous shell around the node, generic over the runtime seam.
//!
//! One task owns the [`crate::node::Node`] and feeds it from a [`Mailbox`]; the *keeper* owns the write-ahead
//! log; the *archive* owns history files and checkpoints. A [`Handle`] is what the porch, or the simulator,
//! talks to. No sockets, no gRPC, no tokio: this code runs unchanged in production and in simulation.
//!
//! Invariants: the log is written by one task in the order the node asked; [`crate::node::Input::Persisted`]
//! is said only after the sync returned; a fault or damage ends the driver, it never goes on.

mod archive;
mod backups;
mod boot;
mod callers;
mod checkpoint_files;
mod comparison;
mod config;
mod corruption;
mod doors;
#[allow(clippy::module_inception, reason = "the room's main task has the room's name")]
mod driver;
mod ending;
mod etcd_questions;
mod etcd_words;
mod first_election;
mod forcing;
mod handle;
mod held_back;
mod install;
mod joining;
mod keeper;
mod kept_half;
mod mailbox;
mod memory_file;
mod node_task;
mod opening;
mod places;
mod planting;
mod promotions;
mod questions;
mod reader;
mod recheck;
mod reconfiguration;
mod remembering;
mod replacing;
mod scrub;
mod shortage;
mod small_file;
mod snapshot_desk;
mod snapshot_sink;
mod untold;
mod watch_stream;

pub use backups::BackupStream;
pub use boot::{BootReport, Rebuilds, own_identity};
pub use checkpoint_files::DAMAGED_SUFFIX;
pub use config::{CorruptionChecks, DriverConfig, FoundingMember, ScrubPace};
pub use driver::{start, start_with};
pub use ending::Ending;
pub use forcing::Forced;
pub use handle::{Handle, Identity};
pub use install::{DurableImage, InstalledImage, cut_log, forget_older, make_durable};
pub use joining::{check_not_begun, find_cluster};
pub use mailbox::{Mailbox, NotTaken};
pub use memory_file::read as kept_promises;
pub use planting::{Seedling, plant, prepare};
pub use promotions::Promotions;
pub use watch_stream::{WatchReader, WatchStream};

#[cfg(test)]
mod tests;
