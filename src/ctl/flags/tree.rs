//! Every command and flag as one tree of clap's, for what is generated from it: completions and the man page.
//!
//! Invariant: nothing is said here that the definitions do not say.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Args as _, ValueHint};

use crate::ctl::command::{Command, Commands, Deed, NAME, no_shared_flags};
use crate::ctl::output::format_names;

use super::usage::{ABOUT, usage_line};
use crate::ctl::global::Global;

/// The tool with all its commands.
pub fn tree(commands: Commands) -> clap::Command {
    // What is said of a struct of flags would take the place of what is said of the command.
    let root = Global::augment_args(clap::Command::new(NAME)).about(ABOUT).version(env!("CARGO_PKG_VERSION"));
    let root = root.mut_args(|arg| known(arg).global(true));
    // It has no short form here.
    let version = Arg::new("version").long("version").action(ArgAction::SetTrue).help("print the version");
    let root = root.disable_version_flag(true).arg(version);
    let shown = commands.iter().filter(|command| command.name != "help");
    shown.fold(root, |root, command| root.subcommand(branch(command, NAME, no_shared_flags)))
}

/// A flag with what is known of its values.
fn known(arg: Arg) -> Arg {
    match arg.get_id().as_str() {
        // They stand in its text, too.
        "write_out" => arg.value_parser(PossibleValuesParser::new(format_names())).hide_possible_values(true),
        "cacert" | "cert" | "key" => arg.value_hint(ValueHint::FilePath),
        _ => arg,
    }
}

/// A command below `above`, whose flags its commands share.
fn branch(command: &Command, above: &str, shared: fn(clap::Command) -> clap::Command) -> clap::Command {
    let name = format!("{above} {}", command.name);
    let long = if command.long.is_empty() { command.short } else { command.long.trim() };
    let branch = shared((command.flags)(clap::Command::new(command.name))).about(command.short).long_about(long);
    let branch = branch.mut_args(|arg| {
        let is_file = arg.is_positional() && command.usage.contains("<filename>");
        if is_file { arg.value_hint(ValueHint::FilePath) } else { arg }
    });
    let branch = if command.example.is_empty() { branch } else { branch.after_help(examples(command.example)) };
    match command.deed {
        Deed::Run(_) => branch.override_usage(usage_line(&name, command.usage)),
        // Words of a group are its commands.
        Deed::Group(children) => children.iter().fold(branch.subcommand_required(true), |branch, child| {
            branch.subcommand(self::branch(child, &name, command.flags))
        }),
    }
}

fn examples(lines: &str) -> String {
    let lines: String = lines.trim().lines().map(|line| format!("  {line}\n")).collect();
    format!("Examples:\n{lines}")
}
