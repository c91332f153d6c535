//! Every command and flag as one tree of clap's, for what is generated from it: completions and the man page.
//!
//! Invariant: nothing is said here that the definitions do not say.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Args as _, ValueHint};

use crate::ctl::command::{Command, Commands, Deed, NAME, no_shared_flags};
use crate::ctl::output::format_names;

use super::usage::{ABOUT, usage_line};
use crate::ctl::global::Global;
use crate::manual;

/// How it is said that a word is one of the shells.
const SHELL_USAGE: &str = "[bash|zsh|fish|powershell]";

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

/// A flag with what is known of its values. They stand in its text, too.
fn known(arg: Arg) -> Arg {
    let is_empty = |arg: &Arg| arg.get_default_values().iter().any(|value| value.is_empty());
    let arg = if is_empty(&arg) { arg.hide_default_value(true) } else { arg };
    let values: &[&str] = match arg.get_id().as_str() {
        "write_out" => return of_these(arg, &format_names()),
        "consistency" => &["l", "s"],
        "order" => &["ASCEND", "DESCEND"],
        "sort_by" => &["CREATE", "KEY", "MODIFY", "VALUE", "VERSION"],
        "load" => &["s", "m", "l", "xl"],
        "cacert" | "cert" | "key" | "dest_cacert" | "dest_cert" | "dest_key" => {
            return arg.value_hint(ValueHint::FilePath);
        }
        _ => return arg,
    };
    // Nothing is no value that can be chosen.
    let arg = if is_empty(&arg) { arg.default_value(None::<&str>) } else { arg };
    of_these(arg, values)
}

fn of_these(arg: Arg, values: &[&'static str]) -> Arg {
    arg.value_parser(PossibleValuesParser::new(values.iter().copied())).hide_possible_values(true)
}

/// A command below `above`, whose flags its commands share.
fn branch(command: &Command, above: &str, shared: fn(clap::Command) -> clap::Command) -> clap::Command {
    let name = format!("{above} {}", command.name);
    let long = if command.long.is_empty() { command.short } else { command.long.trim() };
    let branch = shared((command.flags)(clap::Command::new(command.name))).about(command.short).long_about(long);
    let branch = branch.mut_args(|arg| {
        if !arg.is_positional() {
            return known(arg);
        }
        let (is_file, is_shell) = (command.usage.contains("<filename>"), command.usage == SHELL_USAGE);
        let arg = if is_file { arg.value_hint(ValueHint::FilePath) } else { arg };
        if is_shell { of_these(arg, &manual::SHELLS) } else { arg }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::commands::COMMANDS;

    /// The values that a flag, or the word, of a command is completed with.
    fn values(words: &[&str], name: &str) -> Vec<String> {
        let mut command = &tree(COMMANDS);
        for word in words {
            command = command.find_subcommand(word).expect("a command");
        }
        let arg = command.get_arguments().find(|arg| arg.get_id() == name).expect("a flag");
        arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect()
    }

    #[test]
    fn values_of_which_there_are_few_are_known() {
        assert_eq!(values(&[], "write_out"), format_names());
        assert_eq!(values(&["get"], "consistency"), ["l", "s"]);
        assert_eq!(values(&["member", "list"], "consistency"), ["l", "s"]);
        assert_eq!(values(&["get"], "order"), ["ASCEND", "DESCEND"]);
        assert_eq!(values(&["get"], "sort_by"), ["CREATE", "KEY", "MODIFY", "VALUE", "VERSION"]);
        assert_eq!(values(&["check", "perf"], "load"), ["s", "m", "l", "xl"]);
        assert_eq!(values(&["check", "datascale"], "load"), ["s", "m", "l", "xl"]);
        assert_eq!(values(&["completion"], "args"), manual::SHELLS);
        assert_eq!(values(&["get"], "args"), Vec::<String>::new());
        tree(COMMANDS).debug_assert();
    }

    #[test]
    fn nothing_is_said_of_a_default_that_is_none() {
        let page = manual::page(tree(COMMANDS), &[]).expect("memory");
        let page = String::from_utf8(page).expect("text");
        assert!(page.contains("[default: 127.0.0.1:2379]") && !page.contains("[default: ]"), "{page}");
    }
}
