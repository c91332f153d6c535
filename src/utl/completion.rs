//! `completion`: scripts for shells, from the table of commands.

use clap::{Arg, ArgAction, ValueHint};
use clap_complete::Shell;

use super::arguments::Given;
use super::command::{Command, Flag, Kind};
use super::failure::Failure;
use super::output;
use super::table::{COMMANDS, GLOBALS, GROUPS};
use super::usage::{self, NAME};

/// Writes the script for the shell that is named.
///
/// # Errors
/// There is no such shell, or writing failed.
pub fn completion(command: &Command, given: &Given) -> Result<(), Failure> {
    let script = match given.arguments.first().map_or("", String::as_str) {
        "bash" => script(Shell::Bash),
        "zsh" => script(Shell::Zsh),
        "fish" => script(Shell::Fish),
        "powershell" => script(Shell::PowerShell),
        other => {
            let text = format!("invalid argument {other:?} for \"{NAME} completion\"");
            return Err(Failure::usage(text, usage::of(command)));
        }
    };
    output::write(&script)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree(), NAME, &mut script);
    script
}

/// The table, as the library that writes scripts wants it.
fn tree() -> clap::Command {
    let mut root = clap::Command::new(NAME).args(GLOBALS.iter().map(|flag| arg(flag).global(true)));
    for (group, short) in GROUPS {
        let below = COMMANDS.iter().filter(|command| command.words.len() > 1 && command.words[0] == *group);
        root = root.subcommand(clap::Command::new(*group).about(*short).subcommands(below.map(leaf)));
    }
    root.subcommands(COMMANDS.iter().filter(|command| command.words.len() == 1).map(leaf))
}

fn leaf(command: &Command) -> clap::Command {
    let name = command.words.last().copied().unwrap_or_default();
    let leaf = clap::Command::new(name).about(command.short).args(command.flags.iter().map(arg));
    match command.follows {
        "" => leaf,
        shells if shells.starts_with('[') => {
            leaf.arg(Arg::new("shell").value_parser(["bash", "zsh", "fish", "powershell"]))
        }
        _ => leaf.arg(Arg::new("filename").value_hint(ValueHint::FilePath)),
    }
}

fn arg(flag: &Flag) -> Arg {
    let arg = Arg::new(flag.name).long(flag.name).help(flag.help);
    let arg = if let Some(short) = flag.short { arg.short(short) } else { arg };
    match flag.kind {
        Kind::Switch => arg.action(ArgAction::SetTrue),
        _ if flag.name == "write-out" => arg.value_parser(["fields", "json", "protobuf", "simple", "table"]),
        _ if flag.name.ends_with("-dir") || flag.name == "from-etcd" => arg.value_hint(ValueHint::DirPath),
        _ => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_is_told_of_every_command_and_flag() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell] {
            let script = String::from_utf8(script(shell)).expect("text");
            for command in COMMANDS {
                let words = command.words.iter().copied().chain(command.flags.iter().map(|flag| flag.name));
                for word in words {
                    assert!(script.contains(word), "{shell}: {word}");
                }
            }
        }
    }

    #[test]
    fn the_tree_is_one_that_the_library_takes() {
        tree().debug_assert();
    }
}
