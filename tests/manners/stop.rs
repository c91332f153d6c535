//! Stopping: by a signal under load, by two, and by `kill -9` with checkpoints in between.

use std::time::Instant;

use crate::process::{Home, LIMIT, all, holds, key, put, put_many, value};

/// Writers that put keys of their own until the server goes away. Each says what was acknowledged.
fn writers(server: &crate::process::Server, count: u32) -> Vec<tokio::task::JoinHandle<Vec<u32>>> {
    (0..count)
        .map(|writer| {
            let mut kv = server.kv();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in (0..).map(|n| n * count + writer) {
                    match put(&mut kv, key(number), value(number)).await {
                        Ok(_) => acknowledged.push(number),
                        Err(_) => break,
                    }
                }
                acknowledged
            })
        })
        .collect()
}

async fn acknowledged(writers: Vec<tokio::task::JoinHandle<Vec<u32>>>) -> Vec<u32> {
    let mut numbers = Vec::new();
    for writer in writers {
        numbers.extend(writer.await.unwrap());
    }
    numbers
}

/// Every acknowledged write is there.
async fn assert_kept(home: &Home, numbers: &[u32]) {
    let server = home.start();
    let held: std::collections::BTreeMap<String, String> = all(&server).await.into_iter().collect();
    for number in numbers {
        assert_eq!(held.get(&key(*number)), Some(&value(*number)), "key {number} of {}", numbers.len());
    }
    server.stop();
}

async fn load(home: &Home, flags: &[&str], name: &str) -> (Option<i32>, Vec<u32>) {
    let mut server = home.start_with(flags);
    let writers = writers(&server, 16);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    server.signal(name);
    let code = server.wait().code();
    (code, acknowledged(writers).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_under_load_ends_in_order_and_keeps_what_was_acknowledged() {
    let home = Home::new();
    for name in ["TERM", "INT"] {
        let began = Instant::now();
        let (code, numbers) = load(&home, &[], name).await;
        assert_eq!(code, Some(0));
        assert!(began.elapsed() < LIMIT);
        assert!(!numbers.is_empty());
        assert_kept(&home, &numbers).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_between_checkpoints_keep_what_was_acknowledged() {
    let home = Home::new();
    for _ in 0..3 {
        let (code, numbers) = load(&home, &["--snapshot-count=40"], "KILL").await;
        assert_eq!(code, None, "ended by the signal");
        assert_kept(&home, &numbers).await;
    }
    assert!(std::fs::read_dir(home.data().join("checkpoint")).unwrap().count() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let home = Home::new();
    let mut server = home.start();
    put_many(&server, 0..5).await;
    server.signal("TERM");
    home.wait_for_log(&["\"msg\":\"stopping\"", "SIGTERM"]);
    server.signal("TERM");
    // The first is obeyed 200 ms later at the earliest, in which the second is not overtaken.
    assert_eq!(server.wait().code(), Some(130));
    let server = home.start();
    holds(&server, 0..5).await;
    server.stop();
}
