//! A log at a place of its own (`--wal-dir`): it is used there, and a member never begins anew where it is missing.

use crate::process::{Home, holds, put_many};

#[track_caller]
fn refused(home: &Home, flags: &[&str], words: &str) {
    let (code, text) = home.refused(flags);
    assert!(code == 1 && text.contains(words) && text.lines().count() == 1, "{words:?}: {code} {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_has_its_log_at_a_place_of_its_own_and_never_begins_without_it() {
    let home = Home::new();
    let (log, away) = (home.path().join("disk/log"), home.path().join("away"));
    let flag = &format!("--wal-dir={}", log.display())[..];
    let server = home.start_with(&[flag]);
    put_many(&server, 0..3).await;
    assert!(log.join("durable").is_file() && !home.data().join("wal").exists());
    // Two members cannot share it, nor one its data.
    let other = Home::new();
    refused(&other, &[flag], "is that of data directory");
    server.stop();
    refused(&other, &[flag], "is that of data directory");
    refused(&home, &[], "start with --wal-dir=");
    // Not mounted: missing, and empty.
    std::fs::rename(&log, &away).unwrap();
    refused(&home, &[flag], "is its disk mounted?");
    std::fs::create_dir_all(&log).unwrap();
    refused(&home, &[flag], "is its disk mounted?");
    assert_eq!(std::fs::read_dir(&log).unwrap().count(), 0, "nothing was begun there");
    std::fs::remove_dir(&log).unwrap();
    std::fs::rename(&away, &log).unwrap();
    let server = home.start_with(&[flag]);
    holds(&server, 0..3).await;
    put_many(&server, 3..6).await;
    server.stop();
    let server = home.start_with(&[flag]);
    holds(&server, 0..6).await;
    server.stop();
    // Its files are gone, though the directory knows whose it is.
    for entry in std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_some_and(|extension| extension == "seg") || entry.ends_with("durable") {
            std::fs::remove_file(entry).unwrap();
        }
    }
    refused(&home, &[flag], "is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_moved_while_the_member_is_stopped() {
    let home = Home::new();
    let server = home.start();
    put_many(&server, 0..3).await;
    server.stop();
    let log = home.path().join("moved");
    let flag = &format!("--wal-dir={}", log.display())[..];
    refused(&home, &[flag], "leave the flag out");
    assert!(!log.exists(), "what is refused makes nothing");
    std::fs::rename(home.data().join("wal"), &log).unwrap();
    refused(&home, &[], "is gone");
    let server = home.start_with(&[flag]);
    holds(&server, 0..3).await;
    put_many(&server, 3..6).await;
    server.stop();
    refused(&home, &[], "start with --wal-dir=");
}
