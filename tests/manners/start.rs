//! Starting: flags, directories, ports, and the HTTP endpoints of a server that serves.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::process::{Home, bare, ended, holds, put_many, said};

/// One line, and the code.
#[track_caller]
fn assert_refused((code, text): (i32, String), expected_code: i32, words: &[&str]) {
    assert_eq!(code, expected_code, "{text}");
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {text}");
}

#[test]
fn a_port_in_use_is_refused_and_the_directory_stays_as_it_was() {
    let home = Home::new();
    let _taken = TcpListener::bind(("127.0.0.1", home.client_port)).unwrap();
    assert_refused(home.refused(&[]), 1, &["cannot listen on 127.0.0.1:", "Address already in use"]);
    assert!(!home.data().join("wal").exists());
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() {
    let home = Home::new();
    std::fs::write(home.data(), "mine").unwrap();
    assert_refused(home.refused(&[]), 1, &["data directory", &home.data().display().to_string()]);
    assert_eq!(std::fs::read_to_string(home.data()).unwrap(), "mine");
}

#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    let home = Home::new();
    std::fs::create_dir(home.data()).unwrap();
    std::fs::set_permissions(home.data(), std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(home.data().join("probe"), "").is_ok() {
        // Root may write everywhere; nothing under /proc can be made by anybody.
        let (code, text) = home.refused(&["--data-dir=/proc/quorate"]);
        return assert_refused((code, text), 1, &["data directory /proc/quorate"]);
    }
    assert_refused(home.refused(&[]), 1, &["data directory", "ermission denied"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_parents_are_made_for_their_owner_only() {
    let home = Home::new();
    let deep = home.path().join("a/b/c");
    let server = home.start_with(&[&format!("--data-dir={}", deep.display())]);
    assert_eq!(deep.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_is_refused_and_its_owner_is_not_disturbed() {
    let (home, other) = (Home::new(), Home::new());
    let server = home.start();
    put_many(&server, 0..3).await;
    let refused = other.refused(&[&format!("--data-dir={}", home.data().display())]);
    assert_refused(refused, 1, &["in use by another process", &home.data().display().to_string()]);
    holds(&server, 0..3).await;
    server.stop();
}

#[test]
fn a_malformed_command_line_ends_with_code_2_and_names_the_flag() {
    assert_refused(said(bare().arg("--no-such-flag=1")), 2, &["flag provided but not defined: -no-such-flag"]);
    assert_refused(said(bare().arg("--snapshot-count=many")), 2, &["-snapshot-count", "many"]);
    assert_refused(said(bare().arg("--snapshot-count")), 2, &["flag needs an argument: -snapshot-count"]);
}

#[test]
fn what_cannot_be_served_ends_with_code_1_and_names_the_flag() {
    let home = Home::new();
    assert_refused(home.refused(&["--election-timeout=7"]), 1, &["--election-timeout[7ms]"]);
    assert_refused(home.refused(&["--max-learners=-1"]), 1, &["too many learner members in cluster"]);
    let both = said(home.command().env("ETCD_NAME", "m2"));
    assert_refused(both, 1, &["conflicting environment variable ETCD_NAME", "--name"]);
    assert_refused(said(home.command().env("ETCD_SNAPSHOT_COUNT", "many")), 1, &["ETCD_SNAPSHOT_COUNT"]);
    assert!(!home.data().exists());
}

#[test]
fn help_and_version_end_with_code_0() {
    for arguments in [["--help"], ["-h"], ["--version"]] {
        let output = ended(bare().args(arguments));
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stderr.is_empty());
        let text = String::from_utf8(output.stdout).unwrap();
        let expected = if arguments == ["--version"] { "quorate Version: " } else { "--listen-client-urls" };
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn an_unknown_variable_is_warned_of() {
    let home = Home::new();
    let mut command = home.command();
    command.env("ETCD_NO_SUCH_THING", "1").env("ETCD_LOG_LEVEL", "warn");
    let server = crate::process::running(command);
    home.wait_for_log(&["warn", "unrecognized environment variable: ETCD_NO_SUCH_THING"]);
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoints_answer_over_http_1() {
    let home = Home::new();
    let server = home.start();
    let table = [
        ("/health", "{\"health\":\"true\",\"reason\":\"\"}"),
        ("/livez", "ok"),
        ("/readyz", "ok"),
        ("/version", "\"etcdserver\":\"3.7"),
        ("/metrics", "etcd_server_has_leader 1"),
    ];
    for (path, words) in table {
        let (status, body) = server.get(path);
        assert_eq!(status, "HTTP/1.1 200 OK", "{path}");
        assert!(body.contains(words), "{path}: {body}");
    }
    assert_eq!(server.get("/nowhere").0, "HTTP/1.1 404 Not Found");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_the_configuration_and_what_boot_found() {
    let home = Home::new();
    home.start_with(&["--snapshot-count=77"]).stop();
    let data = format!("\"data-dir\":\"{}\"", home.data().display());
    assert!(home.log_has(&["\"msg\":\"starting\"", &data]), "{}", home.log_text());
    assert!(home.log_has(&["limits and timers", "\"snapshot-count\":77", "\"election-timeout\":\"1s\""]));
    assert!(home.log_has(&["\"msg\":\"booted\"", "\"founded\":true", "\"checkpoint-index\":0", "\"member\":\""]));
    assert!(home.log_has(&["\"msg\":\"stopped\""]));
}
