//! `check perf` and `check datascale`: whether a cluster bears a load.

mod datascale;
mod load;
mod perf;

use crate::ctl::command::{Command, Deed, Section, no_shared_flags};

/// `check`
pub const COMMAND: Command = Command {
    name: "check",
    usage: "<subcommand>",
    short: "commands for checking properties of the etcd cluster. Use `quoratectl check --help` to see subcommands",
    long: "commands for checking properties of the etcd cluster",
    example: "quoratectl check perf --load s",
    section: Some(Section::Utility),
    flags: no_shared_flags,
    deed: Deed::Group(&[datascale::COMMAND, perf::COMMAND]),
    ..Command::PLAIN
};
