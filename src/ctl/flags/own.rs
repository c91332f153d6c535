//! The flags of a command: its own, those of the groups it stands in, and the global ones.
//!
//! Invariant: a command line is read with exactly the flags its help shows. Does not know how commands are found.

use clap::builder::ArgAction;
use clap::{Arg, Args};

use crate::ctl::command::Command;
use crate::ctl::global::Global;
use crate::ctl::go_flags::as_go_flags;

/// A command's own flags and those of the groups it stands in, without the global ones.
pub fn own_flags(path: &[&'static Command]) -> clap::Command {
    let name = path.last().map_or("quoratectl", |command| command.name);
    let mut flags = clap::Command::new(name);
    for command in path {
        // A group takes words too: the ones its commands do not answer to.
        flags = (command.flags)(flags);
    }
    as_go_flags(flags)
}

/// All flags a command line may have at this point, help included.
pub fn full_flags(path: &[&'static Command]) -> clap::Command {
    let help = Arg::new("help").long("help").short('h').action(ArgAction::SetTrue);
    as_go_flags(Global::augment_args(own_flags(path)).arg(help))
}
