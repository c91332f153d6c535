//! Texts that help, laid out as etcdutl's.

use std::fmt::Write as _;

use super::command::{Command, Flag, Kind};
use super::table::{COMMANDS, GLOBALS, GROUPS};

/// What the tool is called.
pub const NAME: &str = "quorateutl";

/// Of one command.
pub fn of(command: &Command) -> String {
    let last = command.words.last().copied().unwrap_or_default();
    let mut text = format!("Usage:\n  {NAME} {}", command.words.join(" "));
    if !command.follows.is_empty() {
        let _ = write!(text, " {}", command.follows);
    }
    text.push_str(if command.bare { "\n\nFlags:\n" } else { " [flags]\n\nFlags:\n" });
    list(&mut text, command.flags, Some(last));
    text.push_str("\nGlobal Flags:\n");
    list(&mut text, GLOBALS, None);
    text
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
    let (kind, default) = match flag.kind {
        Kind::Switch => ("", String::new()),
        Kind::Text if flag.default.is_empty() => (" string", String::new()),
        Kind::Text => (" string", format!(" (default {:?})", flag.default)),
        Kind::Uint if flag.default == "0" => (" uint", String::new()),
        Kind::Uint => (" uint", format!(" (default {})", flag.default)),
        Kind::Int => (" int", String::new()),
        Kind::Duration => (" duration", format!(" (default {})", flag.default)),
    };
    (flag.name.to_string(), format!("{short}--{}{kind}", flag.name), format!("{}{default}", flag.help))
}
