//! A member that was added is started without `--initial-cluster-state=existing`.

use std::time::{Duration, Instant};

use crate::cluster::{LIMIT, Member};

/// The end of a start that would found a cluster of its own. Who does not answer within a second is passed over there, as in etcd:
/// then it goes on, and is tried again with nothing.
async fn told(first: &Member, added: &Member) -> (Option<i32>, String) {
    let began = Instant::now();
    loop {
        let mut process = added.spawn(&[first, added], &[]);
        while !added.data().join("wal/durable").exists() && process.is_running() {
            assert!(began.elapsed() < LIMIT, "it neither begins nor ends");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if !process.is_running() {
            return process.ended();
        }
        process.kill();
        std::fs::remove_dir_all(added.data()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_added_and_would_found_another_cluster_is_told_what_to_do() {
    let [first, added] = Member::several(["m0", "m1"]);
    let running = first.start(&[&first], &[]);
    running.put_many(0..5).await;
    running.add(&added, false).await;
    let (code, said) = told(&first, &added).await;
    assert_eq!(code, Some(1), "{said}");
    let url = first.peer_url();
    assert!(said.contains(&format!("was added to the cluster at {url} under this member's peer URLs")), "{said}");
    assert!(said.contains("start it with --initial-cluster-state=existing"), "{said}");
    // Nothing was begun that stands in the way of doing so.
    let joined = added.start(&[&first, &added], &["--initial-cluster-state=existing"]);
    joined.until_it_holds(0..5).await;
}
