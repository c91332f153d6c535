//! The examiner as a program: what cannot be held is told, and is never taken for a pass.

use std::process::{Command, Output};

fn examiner(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate-jepsen")).args(words).output().expect("started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn each_examination_says_what_it_does() {
    let help = text(&examiner(&["--help"]).stdout);
    let named: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(named.contains(&"twin") && named.contains(&"kill9") && named.contains(&"cluster"), "{help}");
    for command in named.into_iter().filter(|command| *command != "help") {
        let told = examiner(&[command, "--help"]);
        assert!(told.status.success() && text(&told.stdout).contains("Usage: quorate-jepsen"), "{command}");
    }
}

#[test]
fn what_cannot_be_held_is_no_pass() {
    let twin = ["twin", "--left-bin", "/nosuch", "--right-bin", "/nosuch"];
    for words in [&["serve", "--bin", "/nosuch", "--", "true"][..], &["kill9", "--bin", "/nosuch"], &twin] {
        let told = examiner(words);
        assert_eq!(told.status.code(), Some(2), "{words:?}");
        let why = text(&told.stderr);
        assert!(why.contains("could not be held: ") && why.contains("cannot start /nosuch: No such file"), "{why}");
    }
    let mistyped = examiner(&["kil9"]);
    assert_eq!(mistyped.status.code(), Some(2));
    assert!(text(&mistyped.stderr).contains("'kill9'"), "{}", text(&mistyped.stderr));
}
