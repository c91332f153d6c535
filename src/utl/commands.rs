//! Finding the command that was meant.

use std::process::ExitCode;

use super::arguments::{Given, read};
use super::command::Command;
use super::failure::Failure;
use super::table::{COMMANDS, GLOBALS};
use super::{completion, data_directory, hash_kv, import, restore, status, usage};
use crate::api::API_VERSION;

/// The whole run.
pub fn run(words: Vec<String>) -> ExitCode {
    match find(&words) {
        Ok(Found::Help(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Found::Command(command, given)) => match perform(command, &given) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.tell(),
        },
        Err(failure) => failure.tell(),
    }
}

fn perform(command: &Command, given: &Given) -> Result<(), Failure> {
    match command.words {
        ["completion"] => completion::completion(command, given),
        ["snapshot", "status"] => status::status(given),
        ["snapshot", "restore"] => restore::restore(given),
        ["hashkv"] => hash_kv::hash_kv(given),
        ["defrag"] => data_directory::defrag(given),
        ["migrate"] if given.is_given("from-etcd") => import::import(given),
        ["migrate"] => data_directory::migrate(given),
        _ => {
            let api = API_VERSION.rsplit_once('.').map_or(API_VERSION, |(minor, _)| minor);
            println!("{} version: {}\nAPI version: {api}", usage::NAME, env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

/// What the words name.
enum Found {
    Help(String),
    Command(&'static Command, Given),
}

fn find(words: &[String]) -> Result<Found, Failure> {
    let mut words: Vec<String> = words.to_vec();
    let mut path: Vec<&'static str> = Vec::new();
    // As etcdutl: the tool itself has no flags but those of all its commands.
    if let [first, ..] = &words[..]
        && first == "--version"
    {
        return Err(Failure::usage("unknown flag: --version", usage::of_group(None)));
    }
    let asks_help = |word: &String| word == "--help" || word == "-h";
    let helps =
        words.iter().take_while(|word| *word != "--").any(asks_help) || words.first().is_some_and(|w| w == "help");
    words.retain(|word| !asks_help(word));
    if words.first().is_some_and(|word| word == "help") {
        words.remove(0);
    }
    loop {
        let below: Vec<&'static str> = COMMANDS
            .iter()
            .filter(|command| command.words.starts_with(&path))
            .filter_map(|command| command.words.get(path.len()).copied())
            .collect();
        let Some(at) = first_word(&words).filter(|_| !below.is_empty()) else { break };
        let Some(name) = by_beginning(&below, &words[at]) else {
            if !path.is_empty() {
                // As etcdutl: a group ignores what it does not know, and shows its usage.
                return Ok(Found::Help(usage::of_group(path.first().copied())));
            }
            if helps {
                // All of it on standard error, and no failure.
                eprint!("Unknown help topic [`{}`]\n{}", words[at], usage::of_group(None));
                return Ok(Found::Help(String::new()));
            }
            let text = format!("unknown command {:?} for {:?}", words[at], usage::NAME);
            return Err(Failure::usage(text, format!("Run '{} --help' for usage.", usage::NAME)));
        };
        path.push(name);
        words.remove(at);
    }
    match COMMANDS.iter().find(|command| command.words == path) {
        None => Ok(Found::Help(usage::of_group(path.first().copied()))),
        Some(command) if helps => Ok(Found::Help(usage::of(command))),
        Some(command) => Ok(Found::Command(command, read(command, GLOBALS, &words)?)),
    }
}

/// The place of the first word that is neither a global flag nor its value.
fn first_word(words: &[String]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        if !word.starts_with('-') {
            return Some(at);
        }
        let takes_next = GLOBALS.iter().any(|flag| {
            *word == format!("--{}", flag.name) || flag.short.is_some_and(|short| *word == format!("-{short}"))
        });
        at += if takes_next { 2 } else { 1 };
    }
    None
}

/// The one that is called so, or the only one that begins so.
fn by_beginning(names: &[&'static str], word: &str) -> Option<&'static str> {
    if let Some(name) = names.iter().find(|name| **name == word) {
        return Some(name);
    }
    let mut beginning: Vec<&'static str> = names.iter().copied().filter(|name| name.starts_with(word)).collect();
    beginning.dedup();
    if let [only] = beginning[..] { Some(only) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Result<Found, Failure> {
        find(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn words_are_found_by_their_beginning_and_flags_anywhere() {
        for line in
            ["snapshot status f -w json", "-w json snap stat f", "snap --write-out=json status f", "s s -wjson f"]
        {
            let Ok(Found::Command(command, given)) = found(line) else { panic!("{line}") };
            assert_eq!((command.words, &given.arguments[..]), (&["snapshot", "status"][..], &["f".to_string()][..]));
            assert_eq!(given.text("write-out"), "json");
        }
    }

    #[test]
    fn what_cannot_be_read_is_said_in_etcdutls_words() {
        for (line, text) in [
            ("bogus", "unknown command \"bogus\" for \"quorateutl\""),
            ("hashkv", "accepts 1 arg(s), received 0"),
            ("completion", "accepts 1 arg(s), received 0"),
            (
                "hashkv f --rev 99999999999999999999",
                "invalid argument \"99999999999999999999\" for \"--rev\" flag: strconv.ParseInt: parsing \"99999999999999999999\": value out of range",
            ),
            ("hashkv f --timeout x", "invalid argument \"x\" for \"--timeout\" flag: time: invalid duration \"x\""),
            ("--version", "unknown flag: --version"),
            (
                "hashkv f --rev x",
                "invalid argument \"x\" for \"--rev\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            ("defrag", "required flag(s) \"data-dir\" not set"),
            ("migrate", "required flag(s) \"data-dir\", \"target-version\" not set"),
            ("migrate --data-dir d", "required flag(s) \"target-version\" not set"),
            ("migrate --from-etcd e", "required flag(s) \"data-dir\" not set"),
            ("snapshot status --bogus", "unknown flag: --bogus"),
            ("snapshot restore f --name", "flag needs an argument: --name"),
        ] {
            let Err(failure) = found(line) else { panic!("{line}") };
            assert_eq!(failure.text(), text);
        }
        assert!(matches!(found("snapshot"), Ok(Found::Help(text)) if text.contains("restore     Restores")));
    }

    /// The text of stock etcdutl 3.7.1, but for the name.
    #[test]
    fn usage_is_laid_out_as_etcdutls() {
        let Ok(Found::Help(text)) = found("hashkv -h") else { panic!("help") };
        let expected = "\
Usage:
  quorateutl hashkv <filename> [flags]

Flags:
  -h, --help      help for hashkv
      --rev int   maximum revision to hash (default: latest revision)

Global Flags:
      --timeout duration   time to wait to obtain a file lock on db file, 0 to block indefinitely (default 10s)
  -w, --write-out string   set the output format (fields, json, protobuf, simple, table) (default \"simple\")
";
        assert_eq!(text, expected);
    }
}
