//! Flags as Go's flag parser reads them, on clap.
//!
//! Invariants: the last of a repeated flag counts; a truth value takes `=false`; a value may begin with `-`; what
//! cannot be read is told in the texts of Go's parser. Nothing here knows which flags there are.

use std::ffi::OsString;

use clap::Arg;
use clap::builder::{ArgAction, ValueRange};
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::base::nearest;
use crate::ctl::go;

/// Makes flags behave as Go's do: truth values take `=false`, values may begin with `-`.
pub fn as_go_flags(command: clap::Command) -> clap::Command {
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
pub fn is_switch(arg: &Arg) -> bool {
    arg.get_long().is_some() && arg.get_value_names().is_none_or(|names| names.iter().all(|n| n != &n.to_lowercase()))
}

/// What is wrong with the words, in the texts of Go's flag parser.
pub fn explain(error: &clap::Error, flags: &clap::Command, words: &[OsString]) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let invalid = context(ContextKind::InvalidArg);
    let name = invalid.split([' ', '=', '[']).next().unwrap_or_default();
    let value = context(ContextKind::InvalidValue);
    match error.kind() {
        ErrorKind::UnknownArgument if name == "--" || name.starts_with("---") => {
            let is_it = |word: &&OsString| {
                ["--=", "---"].iter().any(|begin| word.as_encoded_bytes().starts_with(begin.as_bytes()))
            };
            let word =
                words.iter().find(is_it).map_or_else(|| invalid.clone(), |word| word.to_string_lossy().into_owned());
            format!("bad flag syntax: {word}")
        }
        ErrorKind::UnknownArgument if name.starts_with("--") => {
            let there_are = flags.get_arguments().filter_map(Arg::get_long);
            let meant = nearest(name.trim_start_matches('-'), there_are);
            let meant = meant.map(|meant| format!("\n\nDid you mean --{meant}?\n")).unwrap_or_default();
            format!("unknown flag: {name}{meant}")
        }
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

/// What is left, from the unknown letter on, of the word that holds it.
fn cluster_with(letter: char, words: &[OsString]) -> String {
    let holds = |word: &&OsString| {
        let word = word.to_string_lossy();
        word.starts_with('-') && !word.starts_with("--") && word.contains(letter)
    };
    let word = words.iter().find(holds).map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    format!("-{}", word.find(letter).map_or_else(|| letter.to_string(), |at| word[at..].to_owned()))
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
