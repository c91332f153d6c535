//! Every command and flag as one tree of clap's, for what is generated from it: completions and the man page.
//!
//! Invariant: nothing is said here that the definitions do not say.

use clap::Args as _;

use crate::ctl::command::{Command, Commands, Deed, NAME};

use super::usage::ABOUT;
use crate::ctl::global::Global;

/// The tool with all its commands.
pub fn tree(commands: Commands) -> clap::Command {
    // What is said of a struct of flags would take the place of what is said of the command.
    let root = Global::augment_args(clap::Command::new(NAME)).about(ABOUT).version(env!("CARGO_PKG_VERSION"));
    let root = root.mut_args(|arg| arg.global(true));
    let shown = commands.iter().filter(|command| command.name != "help");
    shown.fold(root, |root, command| root.subcommand(branch(command)))
}

fn branch(command: &Command) -> clap::Command {
    let long = if command.long.is_empty() { command.short } else { command.long.trim() };
    let branch = (command.flags)(clap::Command::new(command.name)).about(command.short).long_about(long);
    let branch = if command.example.is_empty() { branch } else { branch.after_help(examples(command.example)) };
    match command.deed {
        Deed::Run(_) => branch,
        // Words of a group are its commands.
        Deed::Group(children) => children
            .iter()
            .fold(branch.subcommand_required(true), |branch, child| branch.subcommand(self::branch(child))),
    }
}

fn examples(lines: &str) -> String {
    let lines: String = lines.trim().lines().map(|line| format!("  {line}\n")).collect();
    format!("Examples:\n{lines}")
}
