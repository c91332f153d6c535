//! From the words of a command line to a command and its values.
//!
//! Values are clap's work; finding the command, and every text on the way, follow etcdctl's parser, because
//! scripts know them. Invariants: flags may stand before, between and after the words; the last of a repeated
//! flag counts; a truth value takes `=false`; after `--` nothing is a flag.

use std::ffi::OsString;

use clap::{Arg, ArgMatches};

use super::own::full_flags;
use super::usage;
use crate::ctl::command::{Command, Commands, Deed, no_flags};
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::go_flags::{explain, is_switch};

/// A command found, with the words that are left for it.
pub struct Found {
    /// The way to it from the first level; empty is the tool itself.
    pub path: Vec<&'static Command>,
    /// The other words, flags included.
    pub rest: Vec<OsString>,
}

/// Finds the command that `words` name below `commands`.
///
/// # Errors
/// The first word is no command.
pub fn find(commands: Commands, words: &[OsString]) -> Result<Found, Failure> {
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
        match by_beginning(&children, &word) {
            Some(command) => {
                path.push(command);
                rest.remove(at);
            }
            None if path.is_empty() => return Err(usage::unknown_command(commands, &word)),
            None => break,
        }
    }
    Ok(Found { path, rest })
}

/// What is called `word`, or the only thing that begins so.
pub fn by_beginning(commands: &[&'static Command], word: &str) -> Option<&'static Command> {
    if let Some(command) = commands.iter().find(|command| command.name == word) {
        return Some(command);
    }
    let mut beginning = commands.iter().filter(|command| !command.whole_name && command.name.starts_with(word));
    let only = beginning.next()?;
    beginning.next().is_none().then_some(only)
}

/// Where the first word stands that is neither a flag nor a flag's value.
pub fn first_word(flags: &clap::Command, words: &[OsString]) -> Option<usize> {
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
pub fn read(commands: Commands, found: &Found) -> Result<Meaning, Failure> {
    let flags = full_flags(&found.path);
    let mut takes_words = flags.clone();
    if flags.get_positionals().next().is_none() {
        takes_words = no_flags(takes_words);
    }
    let matches = takes_words.try_get_matches_from(&found.rest).map_err(|error| {
        let text = explain(&error, &flags, &found.rest);
        Failure { exit: Exit::Error, text, usage: Some(usage::usage(commands, &found.path)) }
    })?;
    // Help wins over whatever else is asked for, but over no mistake.
    let is_group = found.path.last().is_none_or(|command| matches!(command.deed, Deed::Group(_)));
    let wants_help = is_group || matches.get_flag("help");
    if wants_help { Ok(Meaning::Help) } else { Ok(Meaning::Run(matches)) }
}

/// The help asked for by words after `help`; what is not found is told with the tool's usage.
///
/// # Errors
/// There is no such command; the text says so.
pub fn help_on(commands: Commands, words: &[OsString]) -> Result<String, String> {
    let asked = || words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join("` `");
    match find(commands, words) {
        Ok(found) => Ok(usage::help(commands, &found.path)),
        Err(_) => Err(format!("Unknown help topic [`{}`]\n{}", asked(), usage::usage(commands, &[]))),
    }
}

#[cfg(test)]
mod tests;
