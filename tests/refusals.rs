//! Wrong command lines, variables and configuration files: quorate refuses them with the exit code and the text of a stock
//! etcd 3.7.1, as recorded in `refusals/etcd-3.7.1.txt` (`jepsen/record_refusals.sh` renews it).
//!
//! Where quorate says something else, on purpose, the case stands in [`DIFFERENT`] with what it says and why. The list is a
//! ratchet: a case that is no longer different fails as well.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const RECORD: &str = include_str!("refusals/etcd-3.7.1.txt");

/// Longest a refusal may take: far beyond what a busy machine needs.
const LIMIT: Duration = Duration::from_secs(60);

/// A case, what quorate answers in place of what etcd does, and why.
const DIFFERENT: &[(&str, &str, &str)] = &[
    (
        "--compact-hash-check-time=-1s",
        r#"2 invalid value "-1s" for flag -compact-hash-check-time: parse error"#,
        "a negative time is no time here",
    ),
    (
        "--listen-client-urls=http://name.example:24100 --advertise-client-urls=http://127.0.0.1:24100",
        "1 --listen-client-urls: expected IP in URL for binding (http://name.example:24100)",
        "the flag is named",
    ),
    (
        "--listen-peer-urls=http://name.example:24101",
        "1 --listen-peer-urls: expected IP in URL for binding (http://name.example:24101)",
        "the flag is named",
    ),
    ("--listen-peer-urls=", "1 --listen-peer-urls must not be empty", "a member that nobody can reach is refused"),
    (
        "--listen-client-http-urls=http://name.example:24102",
        "1 --listen-client-http-urls: expected IP in URL for binding (http://name.example:24102)",
        "the flag is named",
    ),
    (
        "--log-level=loud",
        r#"2 invalid value "loud" for flag -log-level: must be one of debug, info, warn, error, dpanic, panic, fatal"#,
        "etcd ends in a panic",
    ),
    (
        "--metrics=some",
        r#"2 invalid value "some" for flag -metrics: must be one of basic, extensive"#,
        "etcd takes any word for basic",
    ),
    ("--auth-token=nothing", "1 --auth-token: auth: invalid auth options", "the flag is named"),
    ("--auth-token=jwt,sign-method=RS256", "1 --auth-token: auth: missing key data", "the flag is named"),
    (
        "ETCD_NAME=x --name=y",
        "1 conflicting environment variable ETCD_NAME is shadowed by corresponding command-line flag --name (either unset environment variable or disable flag)",
        "both are named",
    ),
    (
        "yaml a: [",
        "1 error converting YAML to JSON: yaml: error: line 1 column 4: unclosed bracket '['",
        "another library reads YAML",
    ),
    (
        r#"yaml name: "unclosed"#,
        "1 error converting YAML to JSON: yaml: error: line 1 column 7: unclosed quote",
        "another library reads YAML",
    ),
    (
        r"yaml heartbeat-interval: x\n---\nname: b",
        "1 --config-file: line 3: a second YAML document begins; one is read, and etcd passes over any other: say all of it in one",
        "one of the two was not meant",
    ),
];

/// Runs quorate on a case, in a directory of its own; exit code and text, or that it is accepted.
fn answer(case: &str, directory: &std::path::Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCD_")) {
        command.env_remove(name);
    }
    match case.strip_prefix("yaml ") {
        Some(text) => {
            std::fs::write(directory.join("conf.yml"), text.replace("\\n", "\n") + "\n").unwrap();
            command.arg("--config-file=conf.yml");
        }
        None => {
            for word in case.split(' ') {
                match word.split_once('=') {
                    Some((name, value)) if name.starts_with("ETCD_") => command.env(name, value),
                    _ => command.arg(word),
                };
            }
        }
    }
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    said(command.spawn().unwrap())
}

/// Exit code and text.
fn said(mut child: Child) -> String {
    let mut stderr = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            return "accepted ".to_owned();
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = reader.join().unwrap().unwrap();
    format!("{} {}", status.code().unwrap_or(-1), last_word(&text).replace('\n', "\\n"))
}

/// What was wrong: the last line of the log, or what is said without one.
fn last_word(text: &str) -> String {
    let logged = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    if let Some(line) = logged.collect::<Vec<_>>().into_iter().rfind(|line| line["level"] == "error") {
        return line["msg"].as_str().unwrap_or_default().to_owned();
    }
    let text = text.trim_end().strip_prefix("quorate: ").unwrap_or(text);
    text.strip_suffix(" (see quorate --help)").unwrap_or(text).to_owned()
}

#[test]
fn what_is_wrong_is_refused_in_etcds_words() {
    let lines: Vec<&str> = RECORD.lines().collect();
    let cases: Vec<(&str, &str)> = lines.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    assert!(cases.len() >= 100, "{} cases", cases.len());
    let directory = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (case, recorded) in &cases {
        let answer = answer(case, directory.path());
        let expected =
            DIFFERENT.iter().find(|(different, ..)| different == case).map_or(*recorded, |(_, ours, _)| ours);
        if answer != expected {
            wrong.push(format!("{case}\n  expected {expected}\n  answered {answer}"));
        }
        if DIFFERENT.iter().any(|(different, ..)| different == case) && answer == *recorded {
            wrong.push(format!("{case}: no longer different: strike it from the list"));
        }
        assert!(!directory.path().join("default.etcd/wal/durable").exists(), "{case}: a member was founded");
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    for (different, ..) in DIFFERENT {
        assert!(cases.iter().any(|(case, _)| case == different), "{different} is no case");
    }
}
