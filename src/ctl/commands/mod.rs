//! Every command: one file a group, and one line in [`COMMANDS`].
//!
//! Invariant: a command says what it shows as a `Reply` and knows no output format.

pub mod alarm;
pub mod auth;
pub mod check;
pub mod compaction;
pub mod completion;
pub mod defrag;
pub mod del;
pub mod downgrade;
pub mod elect;
pub mod endpoint;
pub mod get;
pub mod lease;
pub mod lock;
pub mod make_mirror;
pub mod member;
pub mod move_leader;
pub mod put;
pub mod role;
pub mod snapshot;
pub mod tool;
pub mod txn;
pub mod txn_script;
pub mod user;
pub mod watch;
pub mod watch_words;

use crate::ctl::command::Commands;

/// Every command, in etcdctl's order: what a mistyped word may have meant is told in it.
pub const COMMANDS: Commands = &[
    &get::COMMAND,
    &put::COMMAND,
    &del::COMMAND,
    &txn::COMMAND,
    &compaction::COMMAND,
    &alarm::COMMAND,
    &defrag::COMMAND,
    &endpoint::COMMAND,
    &move_leader::COMMAND,
    &watch::COMMAND,
    &tool::VERSION,
    &lease::COMMAND,
    &member::COMMAND,
    &snapshot::COMMAND,
    &make_mirror::COMMAND,
    &lock::COMMAND,
    &elect::COMMAND,
    &auth::COMMAND,
    &user::COMMAND,
    &role::COMMAND,
    &check::COMMAND,
    &completion::COMMAND,
    &completion::MAN_PAGE,
    &downgrade::COMMAND,
    &tool::OPTIONS,
    &tool::HELP,
];
