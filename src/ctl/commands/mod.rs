//! Every command: one file a group, and one line in [`COMMANDS`].
//!
//! Invariant: a command says what it shows as a `Reply` and knows no output format.

pub mod alarm;
pub mod compaction;
pub mod defrag;
pub mod del;
pub mod endpoint;
pub mod get;
pub mod lease;
pub mod member;
pub mod put;
pub mod tool;
pub mod txn;
pub mod txn_script;
pub mod watch;
pub mod watch_words;

use crate::ctl::command::Commands;

/// Every command. One that was still to come and is built moves from the second list to the first.
pub const COMMANDS: Commands = Commands {
    built: &[
        &get::COMMAND,
        &put::COMMAND,
        &del::COMMAND,
        &txn::COMMAND,
        &compaction::COMMAND,
        &alarm::COMMAND,
        &defrag::COMMAND,
        &endpoint::COMMAND,
        &watch::COMMAND,
        &tool::VERSION,
        &lease::COMMAND,
        &member::COMMAND,
        &member::MOVE_LEADER,
        &tool::OPTIONS,
        &tool::HELP,
    ],
    not_built: &[
        &["auth"],
        &["check"],
        &["completion"],
        &["downgrade"],
        &["elect"],
        &["lock"],
        &["make-mirror"],
        &["role"],
        &["snapshot"],
        &["user"],
    ],
};
