//! From the words of a command line to a command and its values.
//!
//! Values are clap's work; finding the command, and every text on the way, follow etcdctl's parser, because
//! scripts know them. Invariants: flags may stand before, between and after the words; the last of a repeated
//! flag counts; a truth value takes `=false`; after `--` nothing is a flag.

use std::ffi::{OsStr, OsString};

use clap::builder::{ArgAction, ValueRange};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Args};

use super::command::{Command, Deed};
use super::failure::{Exit, Failure};
use super::global::Global;
use super::usage;
use super::{NOT_BUILT, go};

/// A command found, with the words that are left for it.
pub struct Found {
    /// The way to it from the first level; empty is the tool itself.
    pub path: Vec<&'static Command>,
    /// The other words, flags included.
    pub rest: Vec<OsString>,
}

/// Makes flags behave as Go's do: truth values take `=false`, values may begin with `-`.
fn as_go_flags(command: clap::Command) -> clap::Command {
    command.no_binary_name(true).disable_help_flag(true).disable_version_flag(true).args_override_self(true).mut_args(
        |arg| {
            if arg.get_long().is_none() {
                return arg;
            }
            if !is_switch(&arg) {
                return arg.allow_hyphen_values(true);
            }
            let default = if arg.get_default_values().iter().any(|value| value == "true") { "true" } else { "false" };
            arg.action(ArgAction::Set)
                .num_args(ValueRange::from(0..=1))
                .require_equals(true)
                .default_value(default)
                .default_missing_value("true")
                .value_parser(go::parse_bool)
        },
    )
}

/// True for a flag that takes no value of its own: it has no kind of value in its help.
pub(super) fn is_switch(arg: &Arg) -> bool {
    arg.get_long().is_some() && arg.get_value_names().is_none_or(|names| names.iter().all(|n| n != &n.to_lowercase()))
}

/// The options every command takes, as flags.
pub fn global_command() -> clap::Command {
    as_go_flags(Global::augment_args(clap::Command::new("options")))
}

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

/// Finds the command that `words` name below `commands`.
///
/// # Errors
/// The first word is no command.
pub fn find(commands: &[&'static Command], words: &[OsString]) -> Result<Found, Failure> {
    let mut path: Vec<&'static Command> = Vec::new();
    let mut rest = words.to_vec();
    loop {
        let flags = full_flags(&path);
        let Some(at) = first_word(&flags, &rest) else { break };
        let word = rest[at].to_string_lossy().into_owned();
        let children: Vec<&'static Command> = match path.last() {
            None => commands.to_vec(),
            Some(group) => group.children().iter().collect(),
        };
        match by_beginning(&children, &not_built(&path), &word) {
            Some(Next::Built(command)) => {
                path.push(command);
                rest.remove(at);
            }
            Some(Next::NotBuilt(name)) => {
                let group: String = path.iter().map(|command| format!("{} ", command.name)).collect();
                return Err(Failure::new(Exit::InvalidInput, format!("command {group}{name} is not built yet")));
            }
            None if path.is_empty() => return Err(usage::unknown_command(commands, &word)),
            None => break,
        }
    }
    Ok(Found { path, rest })
}

/// What a word names.
enum Next {
    Built(&'static Command),
    NotBuilt(&'static str),
}

/// Names still to come right below `path`.
fn not_built(path: &[&'static Command]) -> Vec<&'static str> {
    let below = |way: &&&[&'static str]| {
        way.len() == path.len() + 1 && path.iter().zip(way.iter()).all(|(command, name)| command.name == *name)
    };
    NOT_BUILT.iter().filter(below).filter_map(|way| way.last().copied()).collect()
}

/// What is called `word`, or the only thing that begins so.
fn by_beginning(built: &[&'static Command], not_built: &[&'static str], word: &str) -> Option<Next> {
    let names = built.iter().map(|command| command.name).chain(not_built.iter().copied());
    let name = match names.clone().find(|name| *name == word) {
        Some(name) => name,
        None => {
            let mut beginning = names.filter(|name| name.starts_with(word));
            let only = beginning.next()?;
            beginning.next().is_none().then_some(only)?
        }
    };
    let built = built.iter().find(|command| command.name == name);
    Some(built.map_or(Next::NotBuilt(name), |command| Next::Built(command)))
}

/// Where the first word stands that is neither a flag nor a flag's value.
fn first_word(flags: &clap::Command, words: &[OsString]) -> Option<usize> {
    let takes_next = |word: &str| match word.strip_prefix("--") {
        Some(name) => !name.contains('=') && !has_switch(flags, |arg| arg.get_long() == Some(name)),
        None => word.len() == 2 && !has_switch(flags, |arg| arg.get_short() == word.chars().nth(1)),
    };
    let mut at = 0;
    while at < words.len() {
        let word = words[at].to_string_lossy();
        if word == "--" {
            return None;
        }
        if !word.starts_with('-') && !word.is_empty() {
            return Some(at);
        }
        at += if word.starts_with('-') && word.len() > 1 && takes_next(&word) { 2 } else { 1 };
    }
    None
}

fn has_switch(flags: &clap::Command, wanted: impl Fn(&Arg) -> bool) -> bool {
    flags.get_arguments().any(|arg| wanted(arg) && is_switch(arg))
}

/// All flags a command line may have at this point, help included.
pub(super) fn full_flags(path: &[&'static Command]) -> clap::Command {
    let help = Arg::new("help").long("help").short('h').action(ArgAction::SetTrue);
    as_go_flags(Global::augment_args(own_flags(path)).arg(help))
}

/// What the words of a found command mean: its values, or that its help is wanted.
pub enum Meaning {
    /// Run it with these values.
    Run(ArgMatches),
    /// Show its help.
    Help,
}

/// Reads the words left for a found command.
///
/// # Errors
/// A flag is unknown or has a bad value.
pub fn read(found: &Found) -> Result<Meaning, Failure> {
    if help_comes_first(found) {
        return Ok(Meaning::Help);
    }
    let flags = full_flags(&found.path);
    let mut takes_words = flags.clone();
    if flags.get_positionals().next().is_none() {
        takes_words = super::command::no_flags(takes_words);
    }
    let matches = takes_words.try_get_matches_from(&found.rest).map_err(|error| {
        let text = explain(&error, &flags, &found.rest);
        Failure { exit: Exit::Error, text, usage: Some(usage::usage(&found.path)) }
    })?;
    let is_group = found.path.last().is_none_or(|command| matches!(command.deed, Deed::Group(_)));
    if is_group { Ok(Meaning::Help) } else { Ok(Meaning::Run(matches)) }
}

/// Help wins over whatever follows it, but not over a mistake before it.
fn help_comes_first(found: &Found) -> bool {
    let flags = full_flags(&found.path);
    let ends = found.rest.iter().position(|word| word == "--").unwrap_or(found.rest.len());
    let is_help = |word: &OsString| word == "--help" || word == "-h" || word == "--help=true";
    let Some(at) = found.rest[..ends].iter().position(is_help) else { return false };
    let mut before = flags;
    if before.get_positionals().next().is_none() {
        before = super::command::no_flags(before);
    }
    before.try_get_matches_from(&found.rest[..at]).is_ok()
}

/// What is wrong with the words, in the texts of Go's flag parser.
pub(super) fn explain(error: &clap::Error, flags: &clap::Command, words: &[OsString]) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let invalid = context(ContextKind::InvalidArg);
    let name = invalid.split([' ', '=', '[']).next().unwrap_or_default();
    let value = context(ContextKind::InvalidValue);
    match error.kind() {
        ErrorKind::UnknownArgument if name.starts_with("--") => format!("unknown flag: {name}"),
        ErrorKind::UnknownArgument => {
            let letter = name.chars().nth(1).unwrap_or('-');
            format!("unknown shorthand flag: {} in {}", char_quote(letter), cluster_with(letter, words))
        }
        ErrorKind::ValueValidation => {
            let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            format!(
                "invalid argument {} for \"{}\" flag: {reason}",
                go::quote(value.as_bytes()),
                full_name(flags, name)
            )
        }
        ErrorKind::InvalidValue | ErrorKind::WrongNumberOfValues | ErrorKind::TooFewValues | ErrorKind::NoEquals => {
            match words.last().map(|word| word.to_string_lossy()) {
                Some(last) if last.starts_with('-') && !last.starts_with("--") => {
                    format!("flag needs an argument: {} in {last}", char_quote(last.chars().last().unwrap_or('-')))
                }
                _ => format!("flag needs an argument: {name}"),
            }
        }
        ErrorKind::InvalidUtf8 => "a flag's value is not UTF-8".to_owned(),
        _ => error.to_string().trim_start_matches("error: ").lines().next().unwrap_or_default().to_owned(),
    }
}

fn char_quote(letter: char) -> String {
    format!("'{letter}'")
}

/// The word that holds the unknown letter.
fn cluster_with(letter: char, words: &[OsString]) -> String {
    let holds = |word: &&OsString| {
        let word = word.to_string_lossy();
        word.starts_with('-') && !word.starts_with("--") && word.contains(letter)
    };
    words.iter().find(holds).map_or_else(|| format!("-{letter}"), |word| word.to_string_lossy().into_owned())
}

/// A flag with its short form, as texts name it.
fn full_name(flags: &clap::Command, name: &str) -> String {
    let by_name = |arg: &&Arg| {
        arg.get_long().is_some_and(|long| name == format!("--{long}"))
            || arg.get_short().is_some_and(|short| name == format!("-{short}"))
    };
    match flags.get_arguments().find(by_name).map(|arg| (arg.get_short(), arg.get_long())) {
        Some((Some(short), Some(long))) => format!("-{short}, --{long}"),
        Some((None, Some(long))) => format!("--{long}"),
        _ => name.to_owned(),
    }
}

/// The plain words of a command as bytes: keys and values need not be text.
pub fn bytes(word: &OsStr) -> bytes::Bytes {
    use std::os::unix::ffi::OsStrExt as _;
    bytes::Bytes::copy_from_slice(word.as_bytes())
}

#[cfg(test)]
mod tests;
