//! The server binary: flags, configuration, logs, listeners, start and stop.
//!
//! Invariant: everything that can be refused is refused before the data directory is touched.

mod auto_compaction;
mod backpressure;
mod compose;
pub mod config;
mod config_file;
mod counted;
mod descriptors;
mod directory;
mod discovery;
mod features;
mod finding;
mod flag_table;
pub mod flags;
pub mod founding;
mod frames;
mod gathered;
mod head_clock;
mod header_fields;
mod inspected;
mod journal;
pub mod listen;
mod local_time;
mod log_archive;
mod log_outputs;
mod log_place;
mod log_rotation;
mod logs;
mod memory_lock;
mod notices;
mod notify;
mod passports;
mod pings;
mod runtime;
mod security;
mod socket;
mod stream_bound;
mod values;
mod websocket;
mod websocket_intake;
mod yaml_documents;

pub use compose::{Serving, main};
pub use config::Config;
pub use directory::{PLACE_NOTE, UNFINISHED, draft_of, holds_member, is_part_of_log};
pub use founding::InitialMember;
pub use log_place::{LOG, LogPlace, are_married, marry};
