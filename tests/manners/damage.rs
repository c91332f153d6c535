//! A data directory in which something is wrong: torn ends go on, damage is named, wrong data never shows.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::process::{Home, LIMIT, Server, holds, put_many};

const OFTEN: [&str; 1] = ["--snapshot-count=10"];

fn only_segment(home: &Home) -> PathBuf {
    home.data().join("wal/0000000000000001.seg")
}

fn flip(path: &Path, offset: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

/// Images, oldest first.
fn images(home: &Home) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home.data().join("checkpoint")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "image"));
    paths.sort();
    paths
}

/// A server that makes checkpoints often, stopped when it has made two: how many keys it holds. Checkpoints are made beside
/// writing, and may be slower.
async fn checkpointed(home: &Home) -> u32 {
    let server = home.start_with(&OFTEN);
    let end = until_checkpointed(home, &server, 0).await;
    server.stop();
    end
}

/// Puts from this number on until two images are there; the number after the last.
async fn until_checkpointed(home: &Home, server: &Server, from: u32) -> u32 {
    let (began, mut end) = (Instant::now(), from);
    while end < from + 60 || images(home).len() < 2 {
        assert!(began.elapsed() < LIMIT, "{:?}", images(home));
        put_many(server, end..end + 10).await;
        end += 10;
    }
    end
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_middle_of_the_log_is_named_and_nothing_is_changed() {
    let home = Home::new();
    let server = home.start();
    put_many(&server, 0..40).await;
    server.stop();
    // Batches start at sectors; the one that has this byte is followed by many that were acknowledged.
    let path = only_segment(&home);
    flip(&path, 5 * 512 + 40);
    let before = std::fs::read(&path).unwrap();
    for _ in 0..2 {
        let (code, text) = home.refused(&[]);
        assert_eq!((code, text.lines().count()), (1, 1), "{text}");
        // Where the batch begins that has this byte: what is proposed at once is of one batch.
        let (_, offset) =
            text.split_once("wal/0000000000000001.seg is damaged at offset ").unwrap_or_else(|| panic!("{text}"));
        let offset: u64 = offset.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
        assert!(offset <= 5 * 512 && offset.is_multiple_of(512), "{text}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
    // The byte turned back, everything is there.
    flip(&path, 5 * 512 + 40);
    let server = home.start();
    holds(&server, 0..40).await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_log_is_noticed() {
    let home = Home::new();
    let end = checkpointed(&home).await;
    std::fs::rename(home.data().join("wal"), home.path().join("kept")).unwrap();
    let (code, text) = home.refused(&[]);
    assert_eq!((code, text.lines().count()), (1, 1), "{text}");
    assert!(text.contains("its log (wal/) is gone"), "{text}");
    assert!(!home.data().join("wal").exists(), "a start that is refused changes nothing");
    std::fs::rename(home.path().join("kept"), home.data().join("wal")).unwrap();
    let server = home.start();
    holds(&server, 0..end).await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_is_cut_off_and_told() {
    let home = Home::new();
    let server = home.start();
    put_many(&server, 0..10).await;
    server.stop();
    // What a write that a crash cut off leaves: bytes that do not verify behind the last batch.
    let path = only_segment(&home);
    let bytes = std::fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    let torn_at = (end + 1).next_multiple_of(512);
    std::fs::File::options().write(true).open(&path).unwrap().write_all_at(&[0xa5; 100], torn_at).unwrap();
    let server = home.start();
    holds(&server, 0..10).await;
    assert!(home.log_has(&["\"warn\"", "torn by a crash", "\"torn-bytes\":100", "wal/"]), "{}", home.log_text());
    server.stop();
    let server = home.start();
    holds(&server, 0..10).await;
    server.stop();
    assert!(home.log_text().matches("torn by a crash").count() == 1, "told once, gone since");
}

/// Another slot says what it said.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_slot_of_the_logs_mark_is_told_once_and_made_anew() {
    let home = Home::new();
    let server = home.start();
    put_many(&server, 0..10).await;
    server.stop();
    flip(&home.data().join("wal/durable"), 4096 + 20);
    for _ in 0..2 {
        let server = home.start();
        holds(&server, 0..10).await;
        server.stop();
    }
    assert!(home.log_has(&["\"warn\"", "made anew", "wal/durable", "\"offset\":4096"]), "{}", home.log_text());
    assert_eq!(home.log_text().matches("does not verify").count(), 1, "told once, whole since");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_checkpoint_is_passed_over_kept_and_told() {
    let home = Home::new();
    let end = checkpointed(&home).await;
    let [older, newest] = images(&home).try_into().unwrap();
    flip(&newest, std::fs::metadata(&newest).unwrap().len() / 2);
    let server = home.start_with(&OFTEN);
    holds(&server, 0..end).await;
    let aside = newest.with_extension("image.damaged");
    assert!(aside.exists() && older.exists());
    assert!(home.log_has(&["\"warn\"", "a checkpoint is damaged", ".image.damaged"]), "{}", home.log_text());
    // New checkpoints take its place, and it does not count as one of them.
    let end = until_checkpointed(&home, &server, end).await;
    server.stop();
    assert_eq!(images(&home).len(), 2);
    assert!(aside.exists());
    let server = home.start();
    holds(&server, 0..end).await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_checkpoint_the_log_alone_is_enough_while_it_is_whole() {
    let home = Home::new();
    let end = checkpointed(&home).await;
    for image in images(&home) {
        flip(&image, 20);
    }
    let server = home.start();
    holds(&server, 0..end).await;
    assert_eq!(images(&home).len(), 0);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_history_never_shows() {
    let home = Home::new();
    checkpointed(&home).await;
    let history = home.data().join("history/0000000000000000.seg");
    flip(&history, std::fs::metadata(&history).unwrap().len() / 3);
    let (code, text) = home.refused(&[]);
    assert_eq!((code, text.lines().count()), (1, 1), "{text}");
    assert!(text.contains("history/0000000000000000.seg is damaged at offset"), "{text}");
}
