//! Finding commands and reading flags, against the stock tool's recorded texts.

use super::*;
use crate::ctl::commands::COMMANDS;

fn words(line: &str) -> Vec<OsString> {
    line.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect()
}

fn path_of(line: &str) -> (Vec<&'static str>, Vec<OsString>) {
    let found = find(COMMANDS, &words(line)).map_err(|failure| failure.text).expect(line);
    (found.path.iter().map(|command| command.name).collect(), found.rest)
}

fn refusal(line: &str) -> Failure {
    match find(COMMANDS, &words(line)).and_then(|found| read(COMMANDS, &found)) {
        Err(failure) => failure,
        Ok(_) => panic!("{line} was read"),
    }
}

#[test]
fn commands_are_found_between_flags_and_by_their_beginning() {
    assert_eq!(path_of("get a"), (vec!["get"], words("a")));
    assert_eq!(path_of("--endpoints put -w json compact 5"), (vec!["compaction"], words("--endpoints put -w json 5")));
    assert_eq!(path_of("le gr 10").0, ["lease", "grant"]);
    assert_eq!(path_of("endpoint --cluster health"), (vec!["endpoint", "health"], words("--cluster")));
    assert_eq!(path_of("lease bogus"), (vec!["lease"], words("bogus")));
    assert_eq!(path_of("--hex get a").0, ["get"]);
    assert_eq!(path_of("-- put a b").0, Vec::<&str>::new());
    assert_eq!(path_of("").0, Vec::<&str>::new());
}

#[test]
fn an_unknown_word_is_told_with_what_was_meant() {
    let text = refusal("bogus").text;
    assert_eq!(text, "unknown command \"bogus\" for \"quoratectl\"\nRun 'quoratectl --help' for usage.");
    let text = refusal("gett a").text;
    assert!(text.contains("\n\nDid you mean this?\n\tget\n"), "{text}");
}

#[test]
fn a_hidden_command_answers_to_its_whole_name_alone() {
    assert_eq!(path_of("man-page").0, ["man-page"]);
    assert_eq!(path_of("ma x").0, ["make-mirror"]);
    let text = refusal("e status").text;
    assert!(
        text.contains("Did you mean this?\n\tget\n\tdel\n\tendpoint\n\telect\n\n"),
        "in the order of the list: {text}"
    );
    assert!(refusal("a list").text.contains("Did you mean this?\n\talarm\n\tauth\n"));
    assert!(!refusal("halp").text.contains("Did you mean"), "nor is help");
    assert!(!refusal("man-pages").text.contains("man-page\n"), "nor is it suggested");
}

#[test]
fn what_texts_are_made_of_is_what_is_read() {
    let tree = crate::ctl::flags::tree::tree(COMMANDS);
    tree.clone().debug_assert();
    let script = crate::manual::script("bash", tree).expect("bash");
    assert!(String::from_utf8_lossy(&script).contains("\"simple json fields protobuf table\""), "the formats");
}

#[test]
fn bad_flags_as_recorded() {
    for (line, text) in [
        ("put --bogus", "unknown flag: --bogus"),
        ("put --bogus=3", "unknown flag: --bogus"),
        ("get a --=x", "bad flag syntax: --=x"),
        ("get a ---x", "bad flag syntax: ---x"),
        ("get a -hx", "unknown shorthand flag: 'x' in -x"),
        ("get a -xh", "unknown shorthand flag: 'x' in -xh"),
        ("get a -p", "unknown shorthand flag: 'p' in -p"),
        ("put a -1", "unknown shorthand flag: '1' in -1"),
        ("get a --rev x", "invalid argument \"x\" for \"--rev\" flag: strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("get a --rev", "flag needs an argument: --rev"),
        ("put a --lease", "flag needs an argument: --lease"),
        ("get a -w", "flag needs an argument: 'w' in -w"),
        (
            "get a --prefix=",
            "invalid argument \"\" for \"--prefix\" flag: strconv.ParseBool: parsing \"\": invalid syntax",
        ),
        (
            "--hex=maybe version",
            "invalid argument \"maybe\" for \"--hex\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (
            "get a --command-timeout 1",
            "invalid argument \"1\" for \"--command-timeout\" flag: time: missing unit in duration \"1\"",
        ),
        ("lease --bogus", "unknown flag: --bogus"),
        ("--bogus", "unknown flag: --bogus"),
    ] {
        let failure = refusal(line);
        assert_eq!((failure.exit, failure.text.as_str()), (Exit::Error, text), "{line}");
        assert!(failure.usage.is_some(), "{line}");
    }
}

#[test]
fn flags_as_go_reads_them() {
    let value = |line: &str, name: &str| match read(COMMANDS, &find(COMMANDS, &words(line)).expect(line)) {
        Ok(Meaning::Run(matches)) => matches.get_one::<bool>(name).copied(),
        _ => panic!("{line}"),
    };
    assert_eq!(value("get a", "prefix"), Some(false));
    assert_eq!(value("get a --prefix", "prefix"), Some(true));
    assert_eq!(value("get --prefix a", "prefix"), Some(true));
    assert_eq!(value("get --prefix --prefix=F a", "prefix"), Some(false));
    assert_eq!(value("get a", "insecure_transport"), Some(true));
    assert_eq!(value("get a --insecure-transport=false", "insecure_transport"), Some(false));
    assert_eq!(value("get a -- --prefix", "prefix"), Some(false));
}

#[test]
fn help_wins_over_all_but_mistakes_and_a_group_is_help() {
    for line in [
        "get --help",
        "get -h a b c",
        "get --help=T",
        "get a --help --prefix",
        "--hex -h get",
        "lease",
        "lease bogus",
        "",
        "--help",
        "endpoint --cluster",
    ] {
        let found = find(COMMANDS, &words(line)).expect(line);
        assert!(matches!(read(COMMANDS, &found), Ok(Meaning::Help)), "{line}");
    }
    for line in ["get --bogus --help", "get --help --bogus", "--help --bogus", "get -h --bogus a"] {
        assert_eq!(refusal(line).text, "unknown flag: --bogus", "{line}");
    }
    for line in ["get a --help=false", "get a -- --help", "get --help --help=false a"] {
        let found = find(COMMANDS, &words(line)).expect(line);
        assert!(matches!(read(COMMANDS, &found), Ok(Meaning::Run(_))), "{line}");
    }
}

#[test]
fn the_definitions_of_all_flags_are_sound() {
    fn check(path: &[&'static Command]) {
        full_flags(path).debug_assert();
        for child in path.last().expect("a command").children() {
            let mut longer = path.to_vec();
            longer.push(child);
            check(&longer);
        }
    }
    for command in COMMANDS {
        check(&[command]);
    }
}
