//! The words of `watch`: keys, and after `--` a command to run on each event.
//!
//! Invariant: the keys come either from the words or from the environment, never from both.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::{ArgMatches, Args, FromArgMatches};

use crate::client::WatchRange;

use super::get;
use crate::ctl::failure::Failure;
use crate::ctl::go;
use crate::ctl::go_flags::{as_go_flags, explain};

/// The flags and words of `watch`.
#[derive(Args, Debug)]
pub struct Watch {
    /// Interactive mode
    #[arg(long, short)]
    pub interactive: bool,
    /// Watch on a prefix if prefix is set
    #[arg(long)]
    prefix: bool,
    /// Revision to start watching
    #[arg(long, value_name = "int", default_value = "0", value_parser = go::parse_flag_int)]
    rev: i64,
    /// get the previous key-value pair before the event happens
    #[arg(long)]
    prev_kv: bool,
    /// get periodic watch progress notification from server
    #[arg(long)]
    progress_notify: bool,
    args: Vec<OsString>,
}

/// Keys to watch that the environment gives.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `ETCDCTL_WATCH_KEY`
    pub key: OsString,
    /// `ETCDCTL_WATCH_RANGE_END`
    pub range_end: OsString,
}

/// What to watch and what to run on each event.
#[derive(Debug)]
pub struct Wanted {
    /// The range.
    pub range: WatchRange,
    /// The command to run; empty for none.
    pub run: Vec<OsString>,
}

impl Environment {
    /// The variables of the process.
    ///
    /// # Errors
    /// There is an end without a key.
    pub fn read() -> Result<Environment, Failure> {
        let variable = |name| std::env::var_os(name).unwrap_or_default();
        let environment =
            Environment { key: variable("ETCDCTL_WATCH_KEY"), range_end: variable("ETCDCTL_WATCH_RANGE_END") };
        if environment.key.is_empty() && !environment.range_end.is_empty() {
            let end = go::quote(environment.range_end.as_encoded_bytes());
            return Err(Failure::bad_args(format!("ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END={end}")));
        }
        Ok(environment)
    }
}

impl Watch {
    /// Its flags alone, for a line of interactive mode.
    fn flags() -> clap::Command {
        as_go_flags(Watch::augment_args(clap::Command::new("watch")))
    }

    /// Reads flags and words.
    ///
    /// # Errors
    /// Never for matches of this command's own flags.
    pub fn read(matches: &ArgMatches) -> Result<Watch, Failure> {
        Watch::from_arg_matches(matches).map_err(|error| Failure::bad_args(error.to_string()))
    }

    /// What is wanted. `raw` are the words as typed: only they show where `--` stood.
    ///
    /// # Errors
    /// Keys are missing, given twice, or exclude a flag.
    pub fn wanted(&self, raw: &[OsString], environment: &Environment) -> Result<Wanted, Failure> {
        let (keys, run) = self.keys(raw, environment, false)?;
        Ok(Wanted { range: self.range(&keys)?, run })
    }

    /// The keys to watch and the command to run. On a line of interactive mode words before a command join those of the environment,
    /// and a line without either ends the tool, as in etcdctl.
    fn keys(
        &self,
        raw: &[OsString],
        environment: &Environment,
        is_line: bool,
    ) -> Result<(Vec<OsString>, Vec<OsString>), Failure> {
        let run = match raw.iter().position(|word| word == "--") {
            None => &[],
            Some(at) if at + 1 == raw.len() => {
                return Err(Failure::bad_args("bad number of arguments (found separator --, but no commands)"));
            }
            Some(at) => &raw[at + 1..],
        };
        // What follows `--` is among the words too, at their end; unless it was a flag's value.
        let keys = &self.args[..self.args.len().saturating_sub(run.len())];
        let joins = is_line && !run.is_empty();
        if !environment.key.is_empty() && !keys.is_empty() && !joins {
            return Err(Failure::bad_args("bad number of arguments (found conflicting environment key)"));
        }
        let given = [&environment.key, &environment.range_end].into_iter().filter(|word| !word.is_empty());
        let keys: Vec<OsString> = given.chain(keys).cloned().collect();
        if keys.is_empty() && is_line && run.is_empty() {
            return Err(Failure::bad_args("bad number of arguments"));
        }
        Ok((keys, run.to_vec()))
    }

    fn range(&self, keys: &[OsString]) -> Result<WatchRange, Failure> {
        let Some(key) = keys.first() else { return Err(Failure::bad_args("bad number of arguments")) };
        // Of more than two words the first counts alone, as in etcdctl.
        let end = if keys.len() == 2 { keys.get(1) } else { None };
        if end.is_some() && self.prefix {
            return Err(Failure::bad_args("`range_end` and `--prefix` are mutually exclusive"));
        }
        let (key, range_end) = get::range(key, end, self.prefix, false)?;
        Ok(WatchRange {
            key,
            range_end,
            start_revision: self.rev,
            progress_notify: self.progress_notify,
            prev_kv: self.prev_kv,
            ends_without_leader: true,
        })
    }
}

/// A line of interactive mode.
#[derive(Debug)]
pub enum Line {
    /// Start a watch.
    Watch(Wanted),
    /// Ask how far the watches have come.
    Progress,
    /// Nothing to do but tell this.
    Complaint(String),
}

/// Reads a line of interactive mode.
///
/// # Errors
/// A `watch` line with bad flags or words ends the tool, as in etcdctl.
pub fn line(text: &[u8], environment: &Environment) -> Result<Line, Failure> {
    let shown = String::from_utf8_lossy(text);
    let words = super::txn_script::words(text)?;
    match words.first().and_then(|word| word.to_str()) {
        None => Ok(Line::Complaint(format!("Invalid command: {shown} (watch and progress supported)"))),
        Some("watch") if words.len() < 2 && environment.key.is_empty() => {
            Ok(Line::Complaint(format!("Invalid command {shown} (command type or key is not provided)")))
        }
        Some("watch") => {
            let words = &words[1..];
            let flags = Watch::flags();
            let matches = flags
                .clone()
                .try_get_matches_from(words)
                .map_err(|error| Failure::bad_args(unreadable(&error, &flags, words)))?;
            let watch = Watch::read(&matches)?;
            let (keys, run) = watch.keys(words, environment, true)?;
            match watch.range(&keys) {
                Ok(range) => Ok(Line::Watch(Wanted { range, run })),
                Err(failure) => Ok(Line::Complaint(format!("Invalid command {shown} ({})", failure.text))),
            }
        }
        Some("progress") => Ok(Line::Progress),
        Some(_) => Ok(Line::Complaint(format!("Invalid command {shown} (only support watch)"))),
    }
}

/// Go's parser of flags knows that help is asked for, and nobody there gives any.
fn unreadable(error: &clap::Error, flags: &clap::Command, words: &[OsString]) -> String {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) if word == "--help" || word == "-h" => "pflag: help requested".to_owned(),
        _ => explain(error, flags, words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(words: &[&str], environment: &Environment) -> Result<Wanted, String> {
        let raw: Vec<OsString> = words.iter().map(OsString::from).collect();
        let matches = Watch::flags().try_get_matches_from(&raw).expect("flags");
        Watch::read(&matches).and_then(|watch| watch.wanted(&raw, environment)).map_err(|failure| failure.text)
    }

    #[test]
    fn keys_flags_and_a_command() {
        let none = Environment::default();
        let two = wanted(&["foo", "--rev", "7", "goo", "--prev-kv", "--", "echo", "--rev", "9"], &none).expect("good");
        assert_eq!((&two.range.key[..], &two.range.range_end[..]), (&b"foo"[..], &b"goo"[..]));
        assert_eq!((two.range.start_revision, two.range.prev_kv), (7, true));
        assert_eq!(two.run, ["echo", "--rev", "9"]);
        let prefix = wanted(&["--prefix", "a"], &none).expect("good");
        assert_eq!((&prefix.range.key[..], &prefix.range.range_end[..]), (&b"a"[..], &b"b"[..]));
    }

    #[test]
    fn the_environment_gives_keys_or_the_words_do() {
        let both = Environment { key: "foo".into(), range_end: "goo".into() };
        let read = wanted(&["--", "echo", "hello"], &both).expect("good");
        assert_eq!((&read.range.key[..], &read.range.range_end[..], read.run.len()), (&b"foo"[..], &b"goo"[..], 2));
        let conflict = "bad number of arguments (found conflicting environment key)";
        assert_eq!(wanted(&["foo"], &both).expect_err("twice"), conflict);
        assert_eq!(wanted(&["foo", "--", "echo"], &both).expect_err("twice"), conflict);
    }

    #[test]
    fn what_parts_words_may_be_a_flags_value() {
        let raw: Vec<OsString> = ["--user", "--", "a", "--prefix"].iter().map(OsString::from).collect();
        let flags = Watch::flags().arg(clap::Arg::new("user").long("user").allow_hyphen_values(true));
        let matches = flags.try_get_matches_from(&raw).expect("flags");
        let watch = Watch::read(&matches).expect("flags");
        let refused = watch.wanted(&raw, &Environment::default()).expect_err("as etcdctl");
        assert_eq!(refused.text, "bad number of arguments");
    }

    #[test]
    fn missing_words() {
        let none = Environment::default();
        assert_eq!(wanted(&[], &none).expect_err("no key"), "bad number of arguments");
        assert_eq!(wanted(&["--", "echo"], &none).expect_err("no key"), "bad number of arguments");
        let separator = "bad number of arguments (found separator --, but no commands)";
        assert_eq!(wanted(&["foo", "--"], &none).expect_err("no command"), separator);
        let exclusive = "`range_end` and `--prefix` are mutually exclusive";
        assert_eq!(wanted(&["a", "b", "--prefix"], &none).expect_err("two ends"), exclusive);
    }

    #[test]
    fn lines_of_interactive_mode() {
        let none = Environment::default();
        let complaint = |text: &str| match line(text.as_bytes(), &none).expect("no end") {
            Line::Complaint(complaint) => complaint,
            other => panic!("{other:?}"),
        };
        assert_eq!(complaint(""), "Invalid command:  (watch and progress supported)");
        assert_eq!(complaint("watch"), "Invalid command watch (command type or key is not provided)");
        assert_eq!(complaint("get a"), "Invalid command get a (only support watch)");
        assert_eq!(complaint("watch -- ls"), "Invalid command watch -- ls (bad number of arguments)");
        let ends = "Invalid command watch a b --prefix (`range_end` and `--prefix` are mutually exclusive)";
        assert_eq!(complaint("watch a b --prefix"), ends);
        assert_eq!(line(b"watch a --bogus", &none).expect_err("a flag").text, "unknown flag: --bogus");
        for help in ["watch a -h", "watch a --help"] {
            assert_eq!(line(help.as_bytes(), &none).expect_err("help").text, "pflag: help requested");
        }
        assert_eq!(line(b"watch --rev 1", &none).expect_err("no key").text, "bad number of arguments");
        let foo = Environment { key: "foo".into(), ..Environment::default() };
        assert!(line(b"watch goo", &foo).is_err(), "twice");
        match line(b"watch goo -- ls", &foo).expect("good") {
            Line::Watch(wanted) => {
                assert_eq!((&wanted.range.key[..], &wanted.range.range_end[..]), (&b"foo"[..], &b"goo"[..]))
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(line(b"progress", &none), Ok(Line::Progress)));
        match line(b"watch 'a b' --rev 3 -- echo \"x y\"", &none).expect("good") {
            Line::Watch(wanted) => {
                assert_eq!((&wanted.range.key[..], wanted.range.start_revision), (&b"a b"[..], 3));
                assert_eq!(wanted.run, ["echo", "x y"]);
            }
            other => panic!("{other:?}"),
        }
    }
}
