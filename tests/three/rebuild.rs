//! One member finds its history damaged at its start, or is told to take the others' state: it has all of it again before it
//! serves anybody. A lone member is refused. Damage that a start does not read is found while the member serves.

use std::path::Path;
use std::time::{Duration, Instant};

use quorate::base::KeyRange;
use quorate::driver::{DriverConfig, Rebuilds, ScrubPace};
use quorate::mvcc::{RangeQuery, StoreOptions};

use crate::cluster::{Homes, LIMIT, config, digest, open, put, until, until_ready, view};

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

#[tokio::test(flavor = "multi_thread")]
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

/// Turns a bit in the first segment of the history, which has an outline: a start does not read it.
fn damage_outlined(dir: &Path) {
    let names = std::fs::read_dir(dir.join("history")).unwrap().map(|file| file.unwrap().path());
    let outline = names.filter(|name| name.extension().is_some_and(|ending| ending == "outline")).min().unwrap();
    let segment = outline.with_extension("seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[300] ^= 1;
    std::fs::write(segment, bytes).unwrap();
}

/// Waits until the members of these numbers are at rest, and a checkpoint of theirs names every outline: one is made at rest.
async fn until_outlined(homes: &Homes, numbers: &[usize]) {
    let newest = |dir: &Path, ending: &str| {
        let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap());
        let of_kind = files.filter(|file| file.path().extension().is_some_and(|extension| extension == ending));
        // One that goes meanwhile is not the newest.
        of_kind.filter_map(|file| file.metadata().and_then(|file| file.modified()).ok()).max()
    };
    for n in numbers {
        let dir = homes.dir(*n);
        let made = || (newest(&dir.join("history"), "outline"), newest(&dir.join("checkpoint"), "image"));
        let rests = async {
            let (mut seen, mut since) = (made(), Instant::now());
            while since.elapsed() < Duration::from_secs(2) || seen.0.is_none() || seen.1 < seen.0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if made() != seen {
                    (seen, since) = (made(), Instant::now());
                }
            }
        };
        tokio::time::timeout(LIMIT, rests).await.expect("the outlines are named at rest");
    }
}

/// Damage that a start does not see is found while the member serves, by itself or by whoever reads there, and the others'
/// state takes its place; meanwhile nobody is given what is damaged.
#[tokio::test(flavor = "multi_thread")]
async fn damage_found_while_serving_is_healed_from_the_others() {
    let homes = Homes::new(CATCH_UP);
    let scrub = ScrubPace { rest: Duration::from_millis(500), step_bytes: 4096, pause: Duration::from_millis(1) };
    let small = |n: usize| {
        let own = homes.config(n);
        let store = StoreOptions { segment_bytes: 4096, cache_bytes: 0 };
        DriverConfig { store, scrub: if n == 2 { Some(scrub) } else { own.scrub }, ..own }
    };
    let mut handles = homes.open_all_with(small).await;
    for n in 0..300 {
        put(&handles[n % 3], n).await;
    }
    until_outlined(&homes, &[1, 2]).await;
    let expected = digest(&handles[0]).await;
    for n in [2, 1] {
        handles.remove(n).stop().await;
        damage_outlined(homes.dir(n));
        let (handle, report) = open(homes.dir(n), small(n)).await.unwrap();
        assert_eq!((report.rebuilds, report.outlines), (None, Vec::new()));
        handles.insert(n, handle);
        let handle = &handles[n];
        if n == 1 {
            // Nobody scrubs here: a client meets it.
            until_ready(handle).await;
            assert!(view(handle).await.hash_kv(0).is_err());
        }
        let read = || async {
            let view = handle.view(true).await.ok()?;
            view.range(&RangeQuery::plain(KeyRange::all())).ok().map(|answer| answer.count)
        };
        let healed = async {
            while !(handle.status().ready && read().await == Some(300)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, healed).await.expect("it is healed");
        assert_eq!(digest(handle).await, expected);
    }
    for handle in &handles {
        assert!(handle.status().alarms.is_empty());
        handle.stop().await;
    }
}

/// Who holds its data against the others' at a start, and meets damage there, is healed first.
#[tokio::test(flavor = "multi_thread")]
async fn damage_met_by_the_check_of_a_start_is_healed_before() {
    let homes = Homes::new(CATCH_UP);
    let small = |n: usize| {
        let store = StoreOptions { segment_bytes: 4096, cache_bytes: 0 };
        DriverConfig { store, scrub: None, ..homes.config(n) }
    };
    let mut handles = homes.open_all_with(small).await;
    for n in 0..300 {
        put(&handles[n % 3], n).await;
    }
    let third = handles.pop().unwrap();
    // A start without them would meet the damage by itself.
    until_outlined(&homes, &[2]).await;
    third.stop().await;
    damage_outlined(homes.dir(2));
    let (third, _) = open(homes.dir(2), small(2)).await.unwrap();
    until_ready(&third).await;
    assert_eq!(third.check_at_start().await, Ok(()));
    assert!(!third.facts().is_corrupt());
    assert_eq!(digest(&third).await, digest(&handles[0]).await);
    for handle in handles.iter().chain([&third]) {
        handle.stop().await;
    }
}
