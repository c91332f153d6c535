//! One member finds its history damaged at its start, or is told to take the others' state: it has all of it again before it
//! serves anybody. A lone member is refused.

use std::path::Path;

use quorate::driver::{DriverConfig, Rebuilds};

use crate::cluster::{Homes, config, digest, open, put, until, until_ready};

/// Few, so that who lags needs more than the log.
const CATCH_UP: u64 = 20;

/// Turns a bit in the middle of the largest file of the history.
fn damage(dir: &Path) {
    let files = std::fs::read_dir(dir.join("history")).unwrap().map(|file| file.unwrap().path());
    let file = files.max_by_key(|file| std::fs::metadata(file).unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = 300.min(bytes.len() / 2);
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_member_takes_the_others_state_and_a_lone_one_is_refused() {
    let homes = Homes::new(CATCH_UP);
    let mut handles = homes.open_all().await;
    for n in 0..100 {
        put(&handles[n % 3], n).await;
    }
    let third = handles.pop().unwrap();
    until("checkpoints are made", || third.status().checkpoints >= 2).await;
    third.stop().await;

    damage(homes.dir(2));
    let (third, report) = open(homes.dir(2), homes.config(2)).await.unwrap();
    assert!(matches!(report.rebuilds, Some(Rebuilds::Damaged(_))), "{report:?}");
    assert!(!third.status().ready);
    put(&handles[0], 100).await;
    until_ready(&third).await;
    assert_eq!(digest(&third).await, digest(&handles[0]).await);
    assert_eq!(digest(&third).await.0, 101);
    third.stop().await;

    // What it has now is sound; being told to, it takes it once more.
    let told = DriverConfig { rebuild_from_peers: true, ..homes.config(2) };
    let (third, report) = open(homes.dir(2), told).await.unwrap();
    assert_eq!(report.rebuilds, Some(Rebuilds::AsTold));
    until_ready(&third).await;
    put(&third, 101).await;
    assert_eq!(digest(&third).await, digest(&handles[1]).await);
    for handle in handles.iter().chain([&third]) {
        handle.stop().await;
    }

    let alone = tempfile::tempdir().unwrap();
    let (lone, _) = open(alone.path(), config(0, &homes.ports[..1], CATCH_UP)).await.unwrap();
    until_ready(&lone).await;
    for n in 0..100 {
        put(&lone, n).await;
    }
    lone.stop().await;
    let told = DriverConfig { rebuild_from_peers: true, ..config(0, &homes.ports[..1], CATCH_UP) };
    let refused = open(alone.path(), told).await.err().expect("nobody has its data");
    assert!(refused.contains("no other member votes"), "{refused}");
    damage(alone.path());
    let refused = open(alone.path(), config(0, &homes.ports[..1], CATCH_UP)).await.err().expect("nobody has its data");
    assert!(refused.contains("no other member votes, who would have the data"), "{refused}");
}
