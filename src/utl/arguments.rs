//! The command line: words and flags in any order, as etcdutl's library reads them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::command::{Command, Flag, Kind};
use super::failure::Failure;
use super::usage;
use crate::base::{go_bool, go_duration, go_flag_int, go_flag_uint, go_quoted, nearest};

/// What was given.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The words that are neither commands nor flags.
    pub arguments: Vec<String>,
    flags: BTreeMap<&'static str, String>,
    defaults: BTreeMap<&'static str, &'static str>,
}

impl Given {
    /// The value of a flag, or its default.
    pub fn text(&self, name: &str) -> &str {
        let default = || self.defaults.get(name).copied().unwrap_or_default();
        self.flags.get(name).map_or_else(default, String::as_str)
    }

    /// Whether a flag was given.
    pub fn is_given(&self, name: &str) -> bool {
        self.flags.contains_key(name)
    }

    /// Whether a switch is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// The time a flag says; it was checked.
    pub fn time(&self, name: &str) -> Duration {
        go_duration(self.text(name)).unwrap_or_default()
    }

    /// The number a flag says; it was checked.
    pub fn number<N: std::str::FromStr + Default>(&self, name: &str) -> N {
        self.text(name).parse().unwrap_or_default()
    }
}

/// The switch that every command has.
const HELP: Flag = Flag { name: "help", short: Some('h'), kind: Kind::Switch, default: "false", help: "" };

/// Reads the words behind a command or a group of them, whose flags these are beside the global ones. `usage` helps who got it wrong.
pub fn read_flags(
    flags: &'static [Flag],
    globals: &'static [Flag],
    words: &[String],
    usage: impl Fn() -> String,
) -> Result<Given, Failure> {
    let all = || flags.iter().chain(globals).chain([&HELP]);
    let mut given = Given { defaults: all().map(|flag| (flag.name, flag.default)).collect(), ..Given::default() };
    let failed = |text: String| Failure::usage(text, usage());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            given.arguments.extend(words.by_ref().cloned());
        } else if word.starts_with("---") || word.starts_with("--=") {
            return Err(failed(format!("bad flag syntax: {word}")));
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let flag = all().find(|flag| flag.name == name);
            let flag = flag.ok_or_else(|| {
                let meant = nearest(name, all().map(|flag| flag.name));
                let meant = meant.map(|meant| format!("\n\nDid you mean --{meant}?\n")).unwrap_or_default();
                failed(format!("unknown flag: --{name}{meant}"))
            })?;
            let value = match value {
                Some(value) => value.to_string(),
                None if flag.kind == Kind::Switch => "true".to_string(),
                None => words.next().cloned().ok_or_else(|| failed(format!("flag needs an argument: --{name}")))?,
            };
            given.flags.insert(flag.name, understood(flag, value).map_err(failed)?);
        } else if let Some(mut short) = word.strip_prefix('-').filter(|short| !short.is_empty()) {
            // Switches may be followed by others; a flag with a value takes all that is left.
            while let Some(letter) = short.chars().next() {
                let flag = all().find(|flag| flag.short == Some(letter));
                let flag = flag.ok_or_else(|| failed(format!("unknown shorthand flag: {letter:?} in -{short}")))?;
                let rest = &short[letter.len_utf8()..];
                let (value, left) = match rest.strip_prefix('=').filter(|value| !value.is_empty()) {
                    Some(value) => (value.to_string(), ""),
                    None if flag.kind == Kind::Switch => ("true".to_string(), rest),
                    None if rest.is_empty() => {
                        let next = words.next().cloned();
                        (next.ok_or_else(|| failed(format!("flag needs an argument: {letter:?} in -{short}")))?, "")
                    }
                    None => (rest.to_string(), ""),
                };
                given.flags.insert(flag.name, understood(flag, value).map_err(failed)?);
                short = left;
            }
        } else {
            given.arguments.push(word.clone());
        }
    }
    Ok(given)
}

/// Reads the words behind a command.
pub fn read(command: &Command, globals: &'static [Flag], words: &[String]) -> Result<Given, Failure> {
    let given = read_flags(command.flags, globals, words, || usage::of(command))?;
    if given.is_on(HELP.name) {
        return Ok(given);
    }
    let failed = |text: String| Failure::usage(text, usage::of(command));
    if let Some(wanted) = command.arguments
        && given.arguments.len() != wanted
    {
        return Err(failed(format!("accepts {wanted} arg(s), received {}", given.arguments.len())));
    }
    let missing: Vec<String> = command
        .required
        .iter()
        .filter(|name| !given.is_given(name) && !is_lifted(&given, name))
        .map(|name| format!("{name:?}"))
        .collect();
    if missing.is_empty() { Ok(given) } else { Err(failed(format!("required flag(s) {} not set", missing.join(", ")))) }
}

/// Whether a flag that is required is not, beside another: a directory of etcd's becomes one of ours, of one version.
fn is_lifted(given: &Given, name: &str) -> bool {
    name == "target-version" && given.is_given("from-etcd")
}

/// A flag's value in one form, however it was spelled.
fn understood(flag: &Flag, value: String) -> Result<String, String> {
    let refused = |reader: &str, why: &str| {
        let name = flag.short.map_or_else(|| format!("--{}", flag.name), |short| format!("-{short}, --{}", flag.name));
        format!("invalid argument {0} for {name:?} flag: {reader}: parsing {0}: {why}", go_quoted(&value))
    };
    match flag.kind {
        Kind::Uint => match go_flag_uint(&value) {
            Ok(number) => Ok(number.to_string()),
            Err(why) => Err(refused("strconv.ParseUint", why)),
        },
        Kind::Int => match go_flag_int(&value) {
            Ok(number) => Ok(number.to_string()),
            Err(why) => Err(refused("strconv.ParseInt", why)),
        },
        Kind::Switch => match go_bool(&value) {
            Ok(is_on) => Ok(is_on.to_string()),
            Err(why) => Err(refused("strconv.ParseBool", why)),
        },
        Kind::Duration => match go_duration(&value) {
            Ok(_) => Ok(value),
            Err(why) => Err(format!("invalid argument {} for \"--{}\" flag: {why}", go_quoted(&value), flag.name)),
        },
        Kind::Text => Ok(value),
    }
}
