//! `completion`, and the man page: from the table of commands.

use clap::{Arg, ArgAction, ValueHint};

use super::arguments::Given;
use super::command::{Command, Flag, Kind};
use super::failure::{Exit, Failure};
use super::output;
use super::table::{COMMANDS, GLOBALS, GROUPS};
use super::usage::{self, NAME};
use crate::base::go_quoted;
use crate::manual::{self, Section};

/// What the page says behind the commands. That of exit codes is `Exit`'s.
const SECTIONS: &[Section] = &[
    (
        "FILES THAT ARE READ AND MADE",
        &[
            "A snapshot is the file of a bbolt database, as etcd and quorate write it, with its digest behind it. Files that are read are \
             never written to, and may be of etcd 3.4 to 3.7.",
            "A data directory is made beside its place, under its name with .part behind it, and stands under its name when it is whole. \
             What ends early, for whatever reason, leaves nothing that a server would start on.",
        ],
    ),
    (
        "EXIT STATUS",
        &[
            "0: done.",
            "1: it could not be done, or the command line cannot be read. 4: an output format that is not supported. 128: wrong arguments.",
            "129, 130, 143: stopped by HUP, INT or TERM; nothing was made.",
        ],
    ),
    ("SEE ALSO", &["quoratectl(1)"]),
];

/// Writes the script for the shell that is named.
///
/// # Errors
/// There is no such shell, or writing failed.
pub fn completion(command: &Command, given: &Given) -> Result<(), Failure> {
    let shell = given.arguments.first().map_or("", String::as_str);
    let script = manual::script(shell, tree()).ok_or_else(|| {
        let text = format!("invalid argument {} for \"{NAME} completion\"", go_quoted(shell));
        Failure::usage(text, usage::of(command))
    })?;
    output::write(&script)
}

/// Writes the man page.
///
/// # Errors
/// Writing failed.
pub fn man_page() -> Result<(), Failure> {
    let page = manual::page(tree(), SECTIONS).map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
    output::write(&page)
}

/// The table, as the library that writes texts wants it.
fn tree() -> clap::Command {
    let mut root = clap::Command::new(NAME)
        .about("Offline tools for snapshots and data directories of quorate and etcd")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .args(GLOBALS.iter().map(|flag| arg(flag).global(true)));
    for (group, short) in GROUPS {
        let below = COMMANDS.iter().filter(|command| command.words.len() > 1 && command.words[0] == *group);
        root = root.subcommand(clap::Command::new(*group).about(*short).subcommands(below.map(leaf)));
    }
    root.subcommands(COMMANDS.iter().filter(|command| command.words.len() == 1).map(leaf))
}

fn leaf(command: &Command) -> clap::Command {
    let name = command.words.last().copied().unwrap_or_default();
    let leaf = clap::Command::new(name)
        .about(command.short)
        .override_usage(usage::line_of(command))
        .after_help(format!("Example:\n{}\n", command.example))
        .args(command.flags.iter().map(arg));
    match command.follows {
        "" => leaf,
        shells if shells.starts_with('[') => leaf.arg(Arg::new("shell").value_parser(manual::SHELLS)),
        _ => leaf.arg(Arg::new("filename").value_hint(ValueHint::FilePath)),
    }
}

fn arg(flag: &Flag) -> Arg {
    let arg = Arg::new(flag.name).long(flag.name).help(flag.help);
    let arg = if let Some(short) = flag.short { arg.short(short) } else { arg };
    let Some(kind) = usage::kind_of(flag) else { return arg.action(ArgAction::SetTrue) };
    let arg = arg.value_name(kind);
    let arg = if let Some(default) = usage::shown_default(flag) { arg.default_value(default) } else { arg };
    match flag.kind {
        Kind::Text if flag.name == "write-out" => {
            // They stand in its text, too.
            arg.value_parser(["fields", "json", "protobuf", "simple", "table"]).hide_possible_values(true)
        }
        _ if flag.name.ends_with("-dir") || flag.name == "from-etcd" => arg.value_hint(ValueHint::DirPath),
        _ => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_and_reader_is_told_of_every_command_and_flag() {
        let scripts = manual::SHELLS.map(|shell| manual::script(shell, tree()).expect(shell));
        let page = manual::page(tree(), SECTIONS).expect("memory");
        for text in scripts.iter().chain([&page]) {
            let text = String::from_utf8_lossy(text).replace("\\-", "-");
            for command in COMMANDS {
                let words = command.words.iter().copied().chain(command.flags.iter().map(|flag| flag.name));
                for word in words {
                    assert!(text.contains(word), "{word}: {text}");
                }
            }
        }
        let page = String::from_utf8(page).expect("text").replace("\\-", "-");
        for command in COMMANDS {
            assert!(page.contains(&format!("Example:\n.RS 4\n.nf\n{}\n", command.example)), "{:?}", command.words);
            assert!(command.example.starts_with(&format!("{NAME} {}", command.words.join(" "))), "it is its own");
        }
    }

    #[test]
    fn the_tree_is_one_that_the_library_takes() {
        tree().debug_assert();
    }
}
