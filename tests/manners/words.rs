//! What the command-line client says to somebody who does not know it, or finds nobody: what was probably meant, who did not
//! answer and why, nothing where nobody reads; and texts for shells and readers that say of every command and flag.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use crate::ports;
use crate::process::{Home, key, put};

fn ctl(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quoratectl"));
    command.args(words).stdin(Stdio::null());
    command
}

/// What comes may be more than a pipe holds.
fn said(words: &[&str]) -> Output {
    ctl(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn who_does_not_answer_is_named_with_the_reason() {
    let away = format!("127.0.0.1:{}", ports::free());
    for command in [&["get", "a"][..], &["put", "a", "b"], &["member", "list"], &["lease", "list"]] {
        let words = [command, &["--endpoints", &away, "--command-timeout=200ms"]].concat();
        let output = said(&words);
        let expected =
            format!("endpoint {away}: Connection refused (os error 111)\nError: context deadline exceeded\n");
        let (code, err) = (output.status.code(), text(&output.stderr));
        // It may not have come to be refused by then.
        let unheard = expected.replace("Connection refused (os error 111)", "no answer");
        assert!(matches!(code, Some(1 | 2)) && (err == expected || err == unheard), "{code:?} {err}");
        assert!(output.stdout.is_empty());
    }
}

/// TLS at a port that has none, and none at one that has it.
#[test]
fn who_speaks_otherwise_is_named_with_the_reason() {
    let home = Home::new();
    let server = home.start();
    let endpoint = format!("https://127.0.0.1:{}", home.client_port);
    let output = said(&["--endpoints", &endpoint, "--command-timeout=2s", "get", "a"]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains(&format!("endpoint {endpoint}: transport: authentication handshake failed")), "{err}");
    server.stop();
}

/// What answers as a port of TLS does that is spoken to without.
#[test]
fn who_wants_tls_is_probably_named_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1000]);
            // An alert: it is no record of TLS.
            let _ = stream.write_all(&[21, 3, 1, 0, 2, 2, 70]);
        }
    });
    for command in [&["get", "a"][..], &["put", "a", "b"]] {
        let output = said(&[command, &["--endpoints", &endpoint, "--command-timeout=2s"]].concat());
        let err = text(&output.stderr);
        assert!(err.contains(&format!("endpoint {endpoint}: ")), "{err}");
        assert!(err.contains("speaks no unencrypted HTTP/2: perhaps it wants TLS (https://)"), "{err}");
        assert!(err.lines().last().unwrap().starts_with("Error: ") && output.status.code() == Some(1), "{err}");
    }
}

/// As servers of TLS do, ours and etcd's.
#[test]
fn who_closes_without_a_word_perhaps_wants_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().read(&mut [0; 1000]);
        }
    });
    let output = said(&["get", "a", "--endpoints", &format!("\"{endpoint}\""), "--command-timeout=2s"]);
    let err = text(&output.stderr);
    assert!(err.contains(&format!("endpoint {endpoint}: ")) && err.contains("perhaps TLS is wanted there"), "{err}");
}

/// What is empty in a list of endpoints is passed over, and a variable that is no option's is told with its name.
#[test]
fn a_list_may_end_with_a_comma_and_a_wrong_variable_is_told() {
    let home = Home::new();
    let server = home.start();
    let endpoints = format!("--endpoints=,127.0.0.1:{},", home.client_port);
    let mut command = ctl(&[&endpoints, "put", "a", "b"]);
    let output = command.env("ETCDCTL_BOGUS", "2").env("ETCDCTL_PASSWRD", "secret").output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "OK\n".to_string()));
    let told = "unrecognized environment variable: ETCDCTL_BOGUS=2\n\
                unrecognized environment variable: ETCDCTL_PASSWRD=(not shown) (did you mean ETCDCTL_PASSWORD?)\n";
    assert_eq!(text(&output.stderr), told);
    let mut command = ctl(&["version"]);
    assert!(command.env("ETCDCTL_BOGUS", "2").output().unwrap().stderr.is_empty(), "it needs no server");
    let refused = said(&["--endpoints=127.0.0.1:99999", "get", "a"]);
    assert!(text(&refused.stderr).contains("port 99999 is out of range"), "{}", text(&refused.stderr));
    server.stop();
}

/// Scripts look for etcd's lines; the first is the tool's own.
#[test]
fn both_tools_say_their_own_version_and_that_of_etcds() {
    for (program, own, etcds) in [
        (env!("CARGO_BIN_EXE_quoratectl"), "quoratectl", "etcdctl"),
        (env!("CARGO_BIN_EXE_quorateutl"), "quorateutl", "etcdutl"),
    ] {
        let output = Command::new(program).arg("version").stdin(Stdio::null()).output().unwrap();
        let etcd = quorate::api::API_VERSION;
        let version = env!("CARGO_PKG_VERSION");
        let said = format!("{own} version: {version}\n{etcds} version: {etcd}\nAPI version: 3.7\n");
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), said));
    }
    assert_eq!(said(&["--version"]).stdout, said(&["version"]).stdout);
}

#[test]
fn a_wrong_flag_names_the_right_one() {
    for (words, meant) in [(&["get", "a", "--prefx"][..], "--prefix"), (&["put", "--ignore-valu=1"], "--ignore-value")]
    {
        let output = said(words);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(err.contains(&format!("\n\nDid you mean {meant}?\n")), "{err}");
    }
    assert!(!text(&said(&["get", "a", "--bogus"]).stderr).contains("Did you mean"));
}

/// As a death by SIGPIPE, and without a word.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reads_any_more_ends_quietly() {
    let home = Home::new();
    let server = home.start();
    let mut kv = server.kv();
    // Far more than a pipe holds.
    for number in 0..20 {
        put(&mut kv, key(number), "x".repeat(100_000)).await.unwrap();
    }
    let mut command = ctl(&["get", "", "--prefix", &format!("--endpoints=127.0.0.1:{}", home.client_port)]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut first).unwrap();
    assert_eq!(first.trim_end(), key(0));
    drop(reader);
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), &err[..]), (Some(141), ""));
    server.stop();
}

/// The names that stand below a heading of a help text, in its first column.
fn listed(help: &str, heading: impl Fn(&str) -> bool) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in help.lines() {
        if !line.starts_with(' ') {
            inside = heading(line);
        } else if inside && let Some(name) = line.split_whitespace().next() {
            names.push(name.to_string());
        }
    }
    names
}

/// What a tool says, whatever comes of it.
fn told_by(tool: &str, words: &[&str]) -> String {
    text(&Command::new(tool).args(words).stdin(Stdio::null()).output().unwrap().stdout)
}

/// Every command of the help stands in every completion and in the man page, with the flags that its own help shows; and what
/// the page says of flags is what the tool takes.
#[test]
fn completions_and_the_page_say_of_every_command_and_flag() {
    for (tool, name, least) in
        [(env!("CARGO_BIN_EXE_quoratectl"), "quoratectl", 50), (env!("CARGO_BIN_EXE_quorateutl"), "quorateutl", 7)]
    {
        let texts: Vec<String> = [
            &["completion", "bash"][..],
            &["completion", "zsh"],
            &["completion", "fish"],
            &["completion", "powershell"],
            &["man-page"],
        ]
        .iter()
        .map(|words| told_by(tool, words).replace("\\-", "-"))
        .collect();
        let leaves = leaves(tool);
        assert!(leaves.len() > least, "{leaves:?}");
        for words in leaves.iter().filter(|words| words[0] != "help") {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let help = told_by(tool, &[&["help"][..], &words].concat());
            // Some have it in their text.
            let tried = help.matches(&format!("{name} {}", words.join(" "))).count();
            let has_example = help.contains("\nExamples:\n  ") || tried > 1;
            assert!(has_example || name == "quorateutl", "{words:?} has no example");
            let flags = help
                .split_whitespace()
                .filter(|word| word.starts_with("--"))
                .map(|word| word.trim_matches([',', '`', '.']));
            let flags: Vec<&str> = flags.filter(|flag| flag.len() > 2 && *flag != "--help").collect();
            for shown in &texts {
                for word in words.iter().copied().chain(flags.iter().map(|flag| &flag[2..])) {
                    let word = word.split(['=', ')', '"', '\'']).next().unwrap_or_default();
                    assert!(shown.contains(word), "{word} of {words:?}");
                }
            }
            the_page_says_of(name, &texts[4], &words, &help);
        }
        assert!(!texts.iter().any(|text| text.contains("-V")), "there is no such flag");
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("completion");
        std::fs::write(&script, &texts[0]).unwrap();
        assert!(Command::new("bash").arg("-n").arg(script).status().unwrap().success(), "bash reads it");
    }
}

/// The flags that the help of a command lists as its own or its group's; those for all commands quoratectl lists elsewhere.
fn listed_flags<'h>(name: &str, help: &'h str) -> Vec<&'h str> {
    let heads = if name == "quoratectl" { &["\nFlags:\n", "\nGlobal Flags:\n"][..] } else { &["\nFlags:\n"] };
    let parts = heads.iter().filter_map(|head| help.split_once(head));
    let lines = parts.flat_map(|(_, part)| part.lines().take_while(|line| line.starts_with(' ')));
    let flags = lines.filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")));
    flags.filter(|flag| *flag != "--help").collect()
}

/// The page has the usage of a command as its help has it, an example, and the flags of its help, no others.
fn the_page_says_of(name: &str, page: &str, words: &[&str], help: &str) {
    let whole = format!("{name} {}", words.join(" "));
    let (_, part) = page.split_once(&format!(".SS \"{whole}\"\n")).unwrap_or_else(|| panic!("{whole} has no part"));
    let part = part.split(".SS ").next().unwrap().split(".SH ").next().unwrap();
    let usage = help.lines().skip_while(|line| *line != "Usage:").nth(1).unwrap().trim();
    let shown = part.lines().next().unwrap().replace("\\fB", "").replace("\\fR", "");
    assert_eq!(shown, usage);
    // Flags for all commands may stand before the command.
    let shows = |line: &str| line.contains(name) && line.contains(&words.join(" "));
    assert!(part.contains("Example") && part.lines().skip(1).any(shows), "{part}");
    let mut told = Vec::new();
    for flag in part.split(".TP\n").skip(1) {
        let names = flag.lines().next().unwrap().replace("\\fB", "").replace("\\fR", "");
        let long = names.split(' ').find(|word| word.starts_with("--")).unwrap();
        let long = long.split('[').next().unwrap();
        assert!(help.contains(&format!("{long} ")), "{long} is no flag of {whole}");
        told.push(long.to_string());
    }
    for flag in listed_flags(name, help) {
        assert!(told.iter().any(|told| told == flag), "{flag} of {whole} is missing: {part}");
    }
}

/// Every command that runs, by its words.
fn leaves(tool: &str) -> Vec<Vec<String>> {
    let commands = |help: &str| listed(help, |line| line.ends_with("commands") || line == "Available Commands:");
    let mut leaves: Vec<Vec<String>> = Vec::new();
    for name in commands(&told_by(tool, &["help"])) {
        let below = commands(&told_by(tool, &["help", &name]));
        if below.is_empty() {
            leaves.push(vec![name])
        } else {
            leaves.extend(below.into_iter().map(|b| vec![name.clone(), b]))
        }
    }
    leaves
}

/// Neither a result nor what is told besides finds room: an exit code all the same, and no panic; a restore is done.
#[tokio::test(flavor = "multi_thread")]
async fn the_offline_tools_end_in_order_where_nobody_can_be_told() {
    let home = Home::new();
    let server = home.start();
    let saved = home.path().join("saved.db");
    let endpoint = format!("--endpoints=127.0.0.1:{}", home.client_port);
    assert!(said(&[&endpoint, "snapshot", "save", saved.to_str().unwrap()]).status.success());
    server.stop();
    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let utl = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorateutl"));
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let code = |mut command: Command| command.output().unwrap().status.code();
    let saved = saved.to_str().unwrap();
    for words in [&["version"][..], &["--help"], &["snapshot", "restore", "--help"], &["snapshot", "status", saved]] {
        let mut command = utl(words);
        command.stdout(full());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(text(&output.stderr).starts_with("Error: cannot write: No space left on device"), "{words:?}");
        // A pipe whose other end is closed already.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = utl(words);
        let output = command.stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{words:?}");
    }
    let place = home.path().join("restored");
    for (words, expected) in [
        (&["nosuch"][..], 1),
        (&["help", "nosuch"], 0),
        (&["snapshot", "restore", saved, "--data-dir", place.to_str().unwrap()], 0),
    ] {
        let mut command = utl(words);
        command.stderr(full());
        assert_eq!(code(command), Some(expected), "{words:?}");
    }
    home.start_with(&[&format!("--data-dir={}", place.display())]).stop();
}
