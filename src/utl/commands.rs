//! Finding the command that was meant.

use std::process::ExitCode;

use super::arguments::{Given, read, read_flags};
use super::command::Command;
use super::failure::{Exit, Failure};
use super::table::{COMMANDS, GLOBALS, HELP};
use super::telling::tell_part;
use super::{completion, data_directory, hash_kv, import, output, restore, status, usage};
use crate::api::API_VERSION;
use crate::base::{commands_meant, go_quoted};

/// The whole run.
pub fn run(words: Vec<String>) -> ExitCode {
    match find(&words) {
        Ok(Found::Help(text)) => ended(output::write(text.as_bytes())),
        Ok(Found::Command(command, given)) => ended(perform(command, &given)),
        Err(failure) => failure.tell(),
    }
}

fn ended(done: Result<(), Failure>) -> ExitCode {
    done.map_or_else(|failure| failure.tell(), |()| ExitCode::SUCCESS)
}

fn perform(command: &Command, given: &Given) -> Result<(), Failure> {
    match command.words {
        ["completion"] => completion::completion(command, given),
        ["man-page"] => completion::man_page(),
        ["snapshot", "status"] => status::status(given),
        ["snapshot", "restore"] => restore::restore(given),
        ["hashkv"] => hash_kv::hash_kv(given),
        ["defrag"] => data_directory::defrag(given),
        ["migrate"] if given.is_given("from-etcd") => import::import(given),
        ["migrate"] if given.is_given("from-wal-dir") => Err(Failure::new(
            Exit::BadArguments,
            "--from-wal-dir is the log of what --from-etcd names, and that is not given",
        )),
        ["migrate"] => data_directory::migrate(given),
        _ => {
            let api = API_VERSION.rsplit_once('.').map_or(API_VERSION, |(minor, _)| minor);
            let own = env!("CARGO_PKG_VERSION");
            let text = format!("{} version: {own}\netcdutl version: {API_VERSION}\nAPI version: {api}\n", usage::NAME);
            output::write(text.as_bytes())
        }
    }
}

/// What the words name.
enum Found {
    Help(String),
    Command(&'static Command, Given),
}

fn find(words: &[String]) -> Result<Found, Failure> {
    let (path, words) = walk(words)?;
    match command_of(&path) {
        None => {
            let group = path.first().copied();
            read_flags(&[], GLOBALS, &words, || usage::of_group(group))?;
            // As etcdutl: a group ignores what it does not know, and shows its usage.
            Ok(Found::Help(usage::of_group(group)))
        }
        Some(command) => {
            let given = read(command, GLOBALS, &words)?;
            match (given.is_on("help"), command.words) {
                (true, _) => Ok(Found::Help(usage::of(command))),
                (false, ["help"]) => Ok(Found::Help(help_on(&given.arguments))),
                (false, _) => Ok(Found::Command(command, given)),
            }
        }
    }
}

fn command_of(path: &[&str]) -> Option<&'static Command> {
    COMMANDS.iter().chain([&HELP]).find(|command| command.words == path)
}

/// The names that words lead to, and the words that are left.
fn walk(words: &[String]) -> Result<(Vec<&'static str>, Vec<String>), Failure> {
    let (mut words, mut path): (Vec<String>, Vec<&'static str>) = (words.to_vec(), Vec::new());
    loop {
        let below: Vec<&'static str> = COMMANDS
            .iter()
            .chain([&HELP])
            .filter(|command| command.words.starts_with(&path))
            .filter_map(|command| command.words.get(path.len()).copied())
            .collect();
        let Some(at) = first_word(&words).filter(|_| !below.is_empty()) else { break };
        match by_beginning(&below, &words[at]) {
            Some(name) => {
                path.push(name);
                words.remove(at);
            }
            None if path.is_empty() => return Err(unknown(&words[at], &below)),
            None => break,
        }
    }
    Ok((path, words))
}

/// A word that is no command, and those that may have been meant.
fn unknown(word: &str, names: &[&'static str]) -> Failure {
    let mut text = format!("unknown command {} for {:?}", go_quoted(word), usage::NAME);
    let mut meant = commands_meant(word, names.iter().copied().filter(|name| *name != "help" && !is_whole(name)));
    meant.dedup();
    let mut meant: Vec<String> = meant.into_iter().map(str::to_string).collect();
    if meant.is_empty() {
        // A command of a group, named without it.
        let below = COMMANDS.iter().filter_map(|command| Some((command, *command.words.get(1)?)));
        let near = below.filter(|(_, name)| commands_meant(word, [*name].into_iter()).len() == 1);
        meant = near.map(|(command, _)| command.words.join(" ")).collect();
    }
    if !meant.is_empty() {
        let lines: String = meant.iter().map(|name| format!("\t{name}\n")).collect();
        text.push_str(&format!("\n\nDid you mean this?\n{lines}"));
    }
    Failure::usage(text, format!("Run '{} --help' for usage.", usage::NAME))
}

/// The usage of what the words behind `help` name.
fn help_on(words: &[String]) -> String {
    let Ok((path, _)) = walk(words) else {
        // All of it on standard error, and no failure.
        tell_part(format_args!("Unknown help topic [`{}`]\n{}", words.join("` `"), usage::of_topics()));
        return String::new();
    };
    command_of(&path).map_or_else(|| usage::of_group(path.first().copied()), usage::of)
}

/// The place of the first word that is neither a global flag nor its value.
fn first_word(words: &[String]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        if !word.is_empty() && !word.starts_with('-') {
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
    let begins = |name: &&'static str| name.starts_with(word) && !is_whole(name);
    let mut beginning: Vec<&'static str> = names.iter().copied().filter(begins).collect();
    beginning.dedup();
    if let [only] = beginning[..] { Some(only) } else { None }
}

/// Whether a name counts as a whole alone.
fn is_whole(name: &str) -> bool {
    COMMANDS.iter().any(|command| command.whole_name && command.words == [name])
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
            ("h", "unknown command \"h\" for \"quorateutl\"\n\nDid you mean this?\n\thashkv\n"),
            ("hashkv --help --bogus", "unknown flag: --bogus"),
            ("help --bogus", "unknown flag: --bogus"),
            ("-v", "unknown shorthand flag: 'v' in -v"),
            (
                "hashkv f --rev 1__0",
                "invalid argument \"1__0\" for \"--rev\" flag: strconv.ParseInt: parsing \"1__0\": invalid syntax",
            ),
            ("hashkv", "accepts 1 arg(s), received 0"),
            ("completion", "accepts 1 arg(s), received 0"),
            (
                "hashkv f --rev 99999999999999999999",
                "invalid argument \"99999999999999999999\" for \"--rev\" flag: strconv.ParseInt: parsing \"99999999999999999999\": value out of range",
            ),
            ("hashkv f --timeout x", "invalid argument \"x\" for \"--timeout\" flag: time: invalid duration \"x\""),
            (
                "hashkv f --timeout 1x",
                "invalid argument \"1x\" for \"--timeout\" flag: time: unknown unit \"x\" in duration \"1x\"",
            ),
            (
                "hashkv f --timeout 1.5.2s",
                "invalid argument \"1.5.2s\" for \"--timeout\" flag: time: missing unit in duration \"1.5.2s\"",
            ),
            ("snapshot restore f --data-dri d", "unknown flag: --data-dri\n\nDid you mean --data-dir?\n"),
            ("restor", "unknown command \"restor\" for \"quorateutl\"\n\nDid you mean this?\n\tsnapshot restore\n"),
            ("man-pages", "unknown command \"man-pages\" for \"quorateutl\""),
            ("\u{1}é", "unknown command \"\\x01é\" for \"quorateutl\""),
            ("ma", "unknown command \"ma\" for \"quorateutl\""),
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
        let Ok(Found::Command(command, given)) = found("migrate --data-dir d --target-version 3.6 --from-wal-dir w")
        else {
            panic!("it can be read")
        };
        assert!(
            perform(command, &given).unwrap_err().text().starts_with("--from-wal-dir is the log of what --from-etcd")
        );
        for (more, text) in [
            ("--data-dir d --target-version 3.6", "--target-version is of a data directory"),
            ("--data-dir d --force", "--force is of a data directory"),
            ("--data-dir=", "--data-dir names no directory"),
        ] {
            let Ok(Found::Command(command, given)) = found(&format!("migrate --from-etcd e {more}")) else {
                panic!("it can be read")
            };
            assert!(perform(command, &given).unwrap_err().text().starts_with(text), "{more}");
        }
        let Ok(Found::Command(_, given)) = found("hashkv f --rev 0x1_0 --help=F") else { panic!("a number") };
        assert_eq!(given.number::<i64>("rev"), 16);
        for (line, text) in [
            ("hashkv -h a b c", "Usage:\n  quorateutl hashkv <filename>"),
            ("help help", "Usage:\n  quorateutl help [command]"),
            ("-w json help snap st", "Usage:\n  quorateutl snapshot status"),
            ("help nosuch", ""),
            ("help man-page", "Usage:\n  quorateutl man-page [flags]"),
            ("m -h", "Usage:\n  quorateutl migrate [flags]"),
            ("-w json", "Usage:\n  quorateutl [command]"),
        ] {
            assert!(matches!(found(line), Ok(Found::Help(help)) if help.starts_with(text)), "{line}");
        }
        assert!(matches!(find(&[String::new()]), Ok(Found::Help(_))), "an empty word is none");
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
