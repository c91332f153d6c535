//! Texts that help, laid out as etcdutl's.

use std::fmt::Write as _;

use super::command::{Command, Flag, Kind};
use super::table::{COMMANDS, GLOBALS, GROUPS};
use crate::base::go_quoted;

/// What the tool is called.
pub const NAME: &str = "quorateutl";

/// Of one command.
pub fn of(command: &Command) -> String {
    let last = command.words.last().copied().unwrap_or_default();
    let mut text = format!("Usage:\n  {}\n\nFlags:\n", line_of(command));
    list(&mut text, command.flags, Some(last));
    text.push_str("\nGlobal Flags:\n");
    list(&mut text, GLOBALS, None);
    text
}

/// How a command is written.
pub fn line_of(command: &Command) -> String {
    let mut line = format!("{NAME} {}", command.words.join(" "));
    if !command.follows.is_empty() {
        let _ = write!(line, " {}", command.follows);
    }
    if !command.bare {
        line.push_str(" [flags]");
    }
    line
}

/// Of the tool, or of a group of commands.
pub fn of_group(group: Option<&str>) -> String {
    grouped(group, true)
}

/// Of the tool, for who asks for help on what there is not: etcdutl's has not got its flag for help by then.
pub fn of_topics() -> String {
    grouped(None, false)
}

fn grouped(group: Option<&str>, shows_help: bool) -> String {
    let words = group.map_or_else(|| NAME.to_string(), |group| format!("{NAME} {group}"));
    let mut children: Vec<(&str, &str)> = Vec::new();
    for command in COMMANDS {
        match (group, command.words) {
            (None, [name]) => children.push((name, command.short)),
            (Some(group), [first, name]) if *first == group => children.push((name, command.short)),
            _ => {}
        }
    }
    if group.is_none() {
        children.extend(GROUPS.iter().map(|(name, short)| (*name, *short)));
        children.push(("help", "Help about any command"));
    }
    children.sort_unstable();
    let mut text = format!("Usage:\n  {words} [command]\n\nAvailable Commands:\n");
    for (name, short) in children {
        let _ = writeln!(text, "  {name:<11} {short}");
    }
    text.push_str("\nFlags:\n");
    match group {
        None => list(&mut text, GLOBALS, shows_help.then_some(NAME)),
        Some(group) => {
            list(&mut text, &[], Some(group));
            text.push_str("\nGlobal Flags:\n");
            list(&mut text, GLOBALS, None);
        }
    }
    let _ = writeln!(text, "\nUse \"{words} [command] --help\" for more information about a command.");
    text
}

/// Flags, a line each, in order of name; with that for help where it is somebody's.
fn list(text: &mut String, flags: &[Flag], helps: Option<&str>) {
    let mut lines: Vec<(String, String, String)> = flags.iter().map(line).collect();
    if let Some(whom) = helps {
        lines.push(("help".to_string(), "  -h, --help".to_string(), format!("help for {whom}")));
    }
    lines.sort();
    let width = lines.iter().map(|(_, head, _)| head.len()).max().unwrap_or_default();
    for (_, head, help) in lines {
        let _ = writeln!(text, "{head:<width$}   {help}");
    }
}

fn line(flag: &Flag) -> (String, String, String) {
    let short = flag.short.map_or_else(|| "      ".to_string(), |short| format!("  -{short}, "));
    let default = match (flag.kind, shown_default(flag)) {
        (_, None) => String::new(),
        (Kind::Text, Some(default)) => format!(" (default {})", go_quoted(default)),
        (_, Some(default)) => format!(" (default {default})"),
    };
    let kind = kind_of(flag).map(|kind| format!(" {kind}")).unwrap_or_default();
    (flag.name.to_string(), format!("{short}--{}{kind}", flag.name), format!("{}{default}", flag.help))
}

/// What kind of value a flag takes, in etcdutl's word.
pub fn kind_of(flag: &Flag) -> Option<&'static str> {
    Some(match flag.kind {
        Kind::Switch => return None,
        Kind::Text => "string",
        Kind::Uint => "uint",
        Kind::Int => "int",
        Kind::Duration => "duration",
    })
}

/// A default, where it is more than the kind's empty value.
pub fn shown_default(flag: &Flag) -> Option<&'static str> {
    Some(flag.default).filter(|default| !matches!(*default, "" | "0") && flag.kind != Kind::Switch)
}
