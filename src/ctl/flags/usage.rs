//! Help and usage, laid out as etcdctl's.

use std::fmt::Write as _;

use clap::{Arg, ArgAction};

use super::own::own_flags;
use crate::base::commands_meant;
use crate::ctl::command::{Command, Commands, NAME, Section};
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::global::Global;
use crate::ctl::go;
use crate::ctl::go_flags::is_switch;

/// What the tool is, in a line.
pub const ABOUT: &str = "A simple command line client for quorate and etcd3.";

/// The help of a command; the tool's own for an empty path.
pub fn help(commands: Commands, path: &[&'static Command]) -> String {
    let about = match path.last() {
        None => ABOUT,
        Some(command) if command.long.is_empty() => command.short,
        Some(command) => command.long,
    };
    format!(
        "{}\n\n{}Use \"{NAME} options\" for a list of global command-line options (applies to all commands).\n",
        about.trim_end(),
        usage(commands, path)
    )
}

/// The usage of a command; the tool's own for an empty path.
pub fn usage(commands: Commands, path: &[&'static Command]) -> String {
    let words: String = path.iter().map(|command| format!(" {}", command.name)).collect();
    let children: Vec<&Command> = match path.last() {
        None => commands.to_vec(),
        Some(command) => command.children().iter().collect(),
    };
    let mut text = String::from("Usage:\n");
    if children.is_empty() {
        let tail = path.last().map_or("", |command| command.usage);
        let _ = writeln!(text, "  {}", usage_line(&format!("{NAME}{words}"), tail));
        examples(&mut text, path);
    } else {
        let _ = writeln!(text, "  {NAME}{words} [command]");
        examples(&mut text, path);
        if path.is_empty() {
            for (section, title) in Section::ALL {
                list(&mut text, title, children.iter().filter(|command| command.section == Some(*section)).copied());
            }
        } else {
            list(&mut text, "Available Commands:", children.iter().copied());
        }
    }
    flags(&mut text, path);
    if !children.is_empty() {
        let _ = writeln!(text, "\nUse \"{NAME}{words} [command] --help\" for more information about a command.");
    }
    text
}

/// How a command that runs is written, by its whole name and what follows it.
pub fn usage_line(name: &str, tail: &str) -> String {
    let space = if tail.is_empty() { "" } else { " " };
    // A choice in brackets stands for itself.
    let flags = if tail.contains('|') { "" } else { " [flags]" };
    format!("{name}{space}{tail}{flags}")
}

/// Lines to try.
fn examples(text: &mut String, path: &[&'static Command]) {
    let Some(command) = path.last().filter(|command| !command.example.is_empty()) else { return };
    text.push_str("\nExamples:\n");
    for line in command.example.trim().lines() {
        let _ = writeln!(text, "  {line}");
    }
}

fn list<'a>(text: &mut String, title: &str, commands: impl Iterator<Item = &'a Command>) {
    let mut commands: Vec<&Command> = commands.collect();
    commands.sort_by_key(|command| command.name);
    let _ = writeln!(text, "\n{title}");
    let width = commands.iter().map(|command| command.name.len()).max().unwrap_or(0).max(11);
    for command in commands {
        let _ = writeln!(text, "  {:<width$} {}", command.name, command.short);
    }
}

/// A command's own flags, then those of the groups it stands in.
fn flags(text: &mut String, path: &[&'static Command]) {
    let Some((last, groups)) = path.split_last() else { return };
    let help =
        Arg::new("help").long("help").short('h').action(ArgAction::SetTrue).help(format!("help for {}", last.name));
    let own = own_flags(&[last]).arg(help);
    let _ = writeln!(text, "\nFlags:");
    text.push_str(&flag_lines(&own));
    let shared = flag_lines(&own_flags(groups));
    if !shared.is_empty() {
        let _ = write!(text, "\nGlobal Flags:\n{shared}");
    }
}

/// One line a flag, in alphabetical order, the explanations in one column.
pub fn flag_lines(flags: &clap::Command) -> String {
    let mut flags: Vec<&Arg> = flags.get_arguments().filter(|arg| arg.get_long().is_some()).collect();
    flags.sort_by_key(|arg| arg.get_long());
    let heads: Vec<String> = flags.iter().map(|arg| flag_head(arg)).collect();
    let width = heads.iter().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for (head, arg) in heads.iter().zip(flags) {
        let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "{head:<width$}   {about}{}", flag_default(arg));
    }
    text
}

fn flag_head(arg: &Arg) -> String {
    let long = arg.get_long().unwrap_or_default();
    let mut head = match arg.get_short() {
        Some(short) => format!("  -{short}, --{long}"),
        None => format!("      --{long}"),
    };
    if !is_switch(arg)
        && let Some([kind, ..]) = arg.get_value_names()
    {
        let _ = write!(head, " {kind}");
    }
    head
}

/// The default in brackets, where it is not the kind's empty value.
fn flag_default(arg: &Arg) -> String {
    let Some(default) = arg.get_default_values().first().map(|value| value.to_string_lossy()) else {
        return String::new();
    };
    let kind = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
    match (kind, &*default) {
        (_, "" | "false") | (Some("int"), "0") => String::new(),
        (Some("string"), text) => format!(" (default {text:?})"),
        (Some("strings"), text) => format!(" (default [{text}])"),
        (_, text) => format!(" (default {text})"),
    }
}

/// The failure for a word that is no command, with the ones that may have been meant.
pub fn unknown_command(commands: Commands, word: &str) -> Failure {
    let mut text = format!("unknown command {} for {NAME:?}\n", go::quote(word));
    // In the order of the list, which is etcdctl's; it does not suggest help.
    let shown = commands.iter().filter(|command| !command.whole_name && command.name != "help");
    let meant = commands_meant(word, shown.map(|command| command.name));
    if !meant.is_empty() {
        text.push_str("\nDid you mean this?\n");
        for name in meant {
            let _ = writeln!(text, "\t{name}");
        }
        text.push('\n');
    }
    let _ = write!(text, "Run '{NAME} --help' for usage.");
    Failure::new(Exit::Error, text)
}

/// The text of `options`: every global option.
pub fn options() -> String {
    format!("The following options can be passed to any command:\n\n{}", flag_lines(&Global::flags()))
}
