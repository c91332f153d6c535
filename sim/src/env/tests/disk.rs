//! The crash model itself: what must survive does, what may vanish does in some run, and nothing else happens.

use std::collections::BTreeSet;
use std::time::Duration;

use madsim::runtime::Runtime;
use quorate::base::{Dice, SeededDice};
use quorate::env::{Disk, DiskFile, OpenMode};

use super::super::clock::{true_now, true_sleep};
use super::super::faults::SectorFates;
use super::super::file::{FileBytes, PAGE, SECTOR, WriteFate};
use super::super::{DiskFaults, Loss, Marks, SimDisk, Trace};

fn disk(seed: u64) -> SimDisk {
    SimDisk::new(DiskFaults::calm(), SeededDice::new(seed), Trace::default(), Marks::default())
}

/// What a file holds; nothing if it is not there.
fn content(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    let file = disk.open(name, OpenMode::Read).ok()?;
    let mut bytes = vec![0; file.len().unwrap() as usize];
    assert_eq!(file.read_full_at(0, &mut bytes).unwrap(), bytes.len());
    Some(bytes)
}

/// What a loss of power leaves of `act`, over many seeds.
fn outcomes<T: Ord>(loss: Loss, act: impl AsyncFn(&SimDisk), look: impl Fn(&SimDisk) -> T) -> BTreeSet<T> {
    let one = |seed| {
        Runtime::new().block_on(async {
            let disk = disk(seed);
            act(&disk.power_on()).await;
            disk.lose_power(loss);
            look(&disk.power_on())
        })
    };
    (0..200).map(one).collect()
}

async fn make(disk: &SimDisk, name: &str, bytes: &[u8]) {
    let file = disk.open(name, OpenMode::Create).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync().await.unwrap();
    disk.sync_dir("").await.unwrap();
}

#[test]
fn what_is_synced_survives_every_loss() {
    for loss in [Loss::DropAll, Loss::KeepAll, Loss::torn(), Loss::garbage()] {
        let left = outcomes(loss, async |disk| make(disk, "f", &[7; 5000]).await, |disk| content(disk, "f"));
        assert_eq!(left, BTreeSet::from([Some(vec![7; 5000])]));
    }
}

#[test]
fn a_synced_file_whose_name_is_not_synced_may_vanish_or_stay() {
    let left = outcomes(
        Loss::torn(),
        async |disk| {
            let file = disk.open("f", OpenMode::Create).unwrap();
            file.write_at(0, b"x").unwrap();
            file.sync().await.unwrap();
        },
        |disk| content(disk, "f"),
    );
    assert_eq!(left, BTreeSet::from([None, Some(b"x".to_vec())]));
}

#[test]
fn sectors_and_length_meet_their_fates_apart() {
    let act = async |disk: &SimDisk| {
        make(disk, "f", &[1; 2 * SECTOR]).await;
        let file = disk.open("f", OpenMode::Write).unwrap();
        file.write_at(0, &[2; 3 * SECTOR]).unwrap();
    };
    let look = |disk: &SimDisk| {
        let bytes = content(disk, "f").unwrap();
        let of = |sector: usize| bytes.get(sector * SECTOR).copied();
        (of(0), of(1), of(2), bytes.len() == 3 * SECTOR)
    };
    let left = outcomes(Loss::Draw(SectorFates { keep: 1, drop: 1, tear: 0, garbage: 0 }), act, look);
    assert!(left.contains(&(Some(2), Some(1), None, false)), "{left:?}");
    assert!(left.contains(&(Some(1), Some(2), None, false)), "the later sector before the earlier");
    assert!(left.contains(&(Some(1), Some(1), Some(0), true)), "the length without the data");
    assert!(left.contains(&(Some(2), Some(2), Some(2), true)));
    assert_eq!(outcomes(Loss::DropAll, act, look), BTreeSet::from([(Some(1), Some(1), None, false)]));
    assert_eq!(outcomes(Loss::KeepAll, act, look), BTreeSet::from([(Some(2), Some(2), Some(2), true)]));
}

#[test]
fn a_torn_sector_is_new_then_old_and_garbage_spares_what_is_not_being_changed() {
    let act = async |disk: &SimDisk| {
        make(disk, "f", &[1; SECTOR]).await;
        let file = disk.open("f", OpenMode::Write).unwrap();
        file.write_at(100, &[2; SECTOR - 100]).unwrap();
    };
    let torn = Loss::Draw(SectorFates { keep: 0, drop: 0, tear: 1, garbage: 0 });
    let left = outcomes(torn, act, |disk| content(disk, "f").unwrap());
    assert!(left.len() > 50);
    for bytes in left {
        let news = bytes[100..].iter().take_while(|byte| **byte == 2).count();
        assert!(bytes[..100].iter().chain(&bytes[100 + news..]).all(|byte| *byte == 1));
    }
    let garbage = Loss::Draw(SectorFates { keep: 0, drop: 0, tear: 0, garbage: 1 });
    let left = outcomes(garbage, act, |disk| content(disk, "f").unwrap());
    assert!(left.len() > 100);
    assert!(left.iter().all(|bytes| bytes[..100] == [1; 100]));
}

#[test]
fn a_cut_that_was_not_synced_may_be_undone_with_or_without_its_bytes() {
    let act = async |disk: &SimDisk| {
        make(disk, "f", &[1; 2 * SECTOR]).await;
        disk.open("f", OpenMode::Write).unwrap().set_len(10).unwrap();
    };
    let look = |disk: &SimDisk| {
        let bytes = content(disk, "f").unwrap();
        (bytes.len(), bytes.get(SECTOR).copied())
    };
    let left = outcomes(Loss::torn(), act, look);
    let expected = [(10, None), (2 * SECTOR, Some(0)), (2 * SECTOR, Some(1))];
    assert!(expected.iter().all(|case| left.contains(case)), "{left:?}");
}

#[test]
fn bytes_that_were_cut_never_come_back_by_growing() {
    Runtime::new().block_on(async {
        let disk = disk(1);
        let live = disk.power_on();
        make(&live, "f", &[9; 3 * PAGE]).await;
        let file = live.open("f", OpenMode::Write).unwrap();
        file.set_len(5).unwrap();
        file.set_len(2 * PAGE as u64).unwrap();
        let mut expected = vec![0; 2 * PAGE];
        expected[..5].fill(9);
        assert_eq!(content(&live, "f").unwrap(), expected);
        file.sync().await.unwrap();
        disk.lose_power(Loss::DropAll);
        let live = disk.power_on();
        live.open("f", OpenMode::Write).unwrap().set_len(3 * PAGE as u64).unwrap();
        expected.resize(3 * PAGE, 0);
        assert_eq!(content(&live, "f").unwrap(), expected);
    });
}

#[test]
fn names_of_different_files_reorder_and_those_of_one_do_not() {
    let act = async |disk: &SimDisk| {
        make(disk, "log", b"old").await;
        make(disk, "log.tmp", b"new").await;
        disk.open("other", OpenMode::Create).unwrap();
        disk.rename("log.tmp", "log").unwrap();
        disk.remove("log").unwrap();
    };
    let look =
        |disk: &SimDisk| (content(disk, "log"), content(disk, "log.tmp").is_some(), content(disk, "other").is_some());
    let left = outcomes(Loss::torn(), act, look);
    let renames: BTreeSet<_> = left.iter().map(|(log, tmp, _)| (log.clone(), *tmp)).collect();
    let old = (Some(b"old".to_vec()), true);
    let new = (Some(b"new".to_vec()), false);
    assert_eq!(renames, BTreeSet::from([old.clone(), new, (None, false)]));
    assert!(left.contains(&(old.0.clone(), true, true)), "the create alone");
    assert!(left.contains(&(None, false, false)), "the later ones alone");
}

#[test]
fn a_directory_that_is_not_synced_takes_its_files_along() {
    let act = async |disk: &SimDisk| {
        disk.create_dir("a/b").unwrap();
        let file = disk.open("a/b/f", OpenMode::Create).unwrap();
        file.sync().await.unwrap();
        disk.sync_dir("a/b").await.unwrap();
    };
    let look = |disk: &SimDisk| (disk.list("a").is_ok(), disk.list("a/b").ok());
    let left = outcomes(Loss::torn(), act, look);
    let file = vec!["f".to_string()];
    assert_eq!(left, BTreeSet::from([(false, None), (true, None), (true, Some(file.clone()))]));
    let act = async |disk: &SimDisk| {
        act(disk).await;
        disk.sync_dir("a").await.unwrap();
        disk.sync_dir("").await.unwrap();
    };
    assert_eq!(outcomes(Loss::DropAll, act, look), BTreeSet::from([(true, Some(file))]));
}

#[test]
fn a_killed_process_leaves_its_writes_shown_but_not_durable() {
    Runtime::new().block_on(async {
        let disk = disk(3);
        let live = disk.power_on();
        make(&live, "f", b"1").await;
        live.open("f", OpenMode::Write).unwrap().write_at(0, b"2").unwrap();
        disk.kill();
        assert_eq!(content(&disk.power_on(), "f").unwrap(), b"2");
        assert!(!disk.is_clean());
        assert_eq!(content(&disk.fork_platter().power_on(), "f").unwrap(), b"1");
        disk.lose_power(Loss::DropAll);
        assert_eq!(content(&disk.power_on(), "f").unwrap(), b"1");
    });
}

#[test]
fn a_dead_incarnation_changes_nothing() {
    Runtime::new().block_on(async {
        let disk = disk(4);
        let live = disk.power_on();
        make(&live, "f", b"1").await;
        let file = live.open("f", OpenMode::Write).unwrap();
        file.write_at(0, b"2").unwrap();
        let sync = madsim::task::spawn(async move {
            let outcome = file.sync().await;
            (outcome.is_ok(), file.write_at(0, b"3").is_ok(), file.len().is_ok())
        });
        true_sleep(Duration::from_micros(20)).await;
        disk.lose_power(Loss::DropAll);
        assert!(live.open("g", OpenMode::Create).is_err());
        assert!(live.rename("f", "g").is_err() && live.remove("f").is_err() && live.list("").is_err());
        assert!(live.create_dir("d").is_err() && live.exists("f").is_err());
        assert!(live.sync_dir("").await.is_err());
        let next = disk.power_on();
        assert_eq!(sync.await.unwrap(), (false, false, false));
        assert_eq!(content(&next, "f").unwrap(), b"1");
        assert_eq!(next.list("").unwrap(), ["f"]);
    });
}

#[test]
fn a_failed_sync_counts_as_clean_and_the_next_one_lies() {
    let act = async |disk: &SimDisk| {
        make(disk, "f", &[1; 2 * PAGE]).await;
        let file = disk.open("f", OpenMode::Write).unwrap();
        file.write_at(0, &[2; 2 * PAGE]).unwrap();
        disk.set_faults(DiskFaults { sync_error_one_in: 1, ..DiskFaults::calm() });
        assert!(file.sync().await.is_err());
        disk.set_faults(DiskFaults::calm());
        assert_eq!(content(disk, "f").unwrap(), [2; 2 * PAGE], "the cache still shows it");
        file.sync().await.unwrap();
    };
    let look = |disk: &SimDisk| {
        let bytes = content(disk, "f").unwrap();
        (bytes[0], bytes[PAGE])
    };
    assert_eq!(outcomes(Loss::DropAll, act, look), BTreeSet::from([(1, 1), (1, 2), (2, 1), (2, 2)]));
}

/// What a failed sync left out is shown until the system is short of memory; from then on each page is the old or the new one,
/// as it is on the platter, in the same life, and whoever syncs is told that all is well.
#[test]
fn a_page_that_failed_to_be_written_may_be_dropped_from_memory_at_any_time() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        Runtime::new().block_on(async {
            let disk = disk(seed);
            let live = disk.power_on();
            make(&live, "f", &[1; 2 * PAGE]).await;
            let file = live.open("f", OpenMode::Write).unwrap();
            file.write_at(0, &[2; 2 * PAGE]).unwrap();
            disk.set_faults(DiskFaults { sync_error_one_in: 1, ..DiskFaults::calm() });
            assert!(file.sync().await.is_err());
            disk.set_faults(DiskFaults { evict_one_in: 2, ..DiskFaults::calm() });
            let look = |bytes: Vec<u8>| (bytes[0], bytes[PAGE]);
            let shown: Vec<_> = (0..80).map(|_| look(content(&live, "f").unwrap())).collect();
            file.sync().await.unwrap();
            let durable = look(content(&disk.fork_platter().power_on(), "f").unwrap());
            assert_eq!(shown.last(), Some(&durable), "what is left is what is on the platter");
            assert!(shown.is_sorted_by(|a, b| a.0 >= b.0 && a.1 >= b.1), "what was dropped stays so: {shown:?}");
            // What is written to such a page goes on from there.
            file.write_at(0, &[3; SECTOR]).unwrap();
            file.sync().await.unwrap();
            disk.lose_power(Loss::DropAll);
            let left = content(&disk.power_on(), "f").unwrap();
            assert_eq!((left[0], left[SECTOR], left[PAGE]), (3, durable.0, durable.1));
            seen.insert((shown[0] == (2, 2), durable));
        });
    }
    let all = |shown| [(1, 1), (1, 2), (2, 1), (2, 2)].map(|durable| (shown, durable));
    assert!(all(true).iter().all(|case| seen.contains(case)), "{seen:?}");
    assert!(seen.contains(&(false, (1, 1))), "at once: {seen:?}");
}

/// The same of what the system could not write by itself: nobody has heard of it yet, and reads show the old bytes.
#[test]
fn what_could_not_be_written_back_may_be_gone_before_anybody_hears_of_it() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        Runtime::new().block_on(async {
            let disk = disk(seed);
            let live = disk.power_on();
            make(&live, "f", &[1; PAGE]).await;
            let file = live.open("f", OpenMode::Write).unwrap();
            let moods = DiskFaults { write_back_one_in: 2, write_back_error_one_in: 1, ..DiskFaults::calm() };
            disk.set_faults(moods);
            file.write_at(0, &[2; PAGE]).unwrap();
            disk.set_faults(DiskFaults { evict_one_in: 1, ..DiskFaults::calm() });
            let shown: Vec<_> = (0..30).map(|_| content(&live, "f").unwrap()[0]).collect();
            let heard = file.sync().await.is_err();
            seen.insert((shown[29], heard));
            assert!(shown.is_sorted_by(|a, b| a >= b), "{shown:?}");
        });
    }
    assert_eq!(seen, BTreeSet::from([(1, true), (2, false)]), "who syncs hears of what was lost");
}

#[test]
fn a_full_disk_takes_the_part_that_fits() {
    Runtime::new().block_on(async {
        let disk = disk(6);
        disk.set_faults(DiskFaults { capacity: Some(1000), ..DiskFaults::calm() });
        let live = disk.power_on();
        make(&live, "f", &[1; 900]).await;
        let file = live.open("f", OpenMode::Write).unwrap();
        let full = file.write_at(850, &[2; 200]).unwrap_err();
        assert!(full.is_no_space());
        assert_eq!(content(&live, "f").unwrap().len(), 1000);
        assert!(file.set_len(1001).unwrap_err().is_no_space());
        file.write_at(0, &[3; 1000]).unwrap();
        live.remove("f").unwrap();
        make(&live, "g", &[1; 1000]).await;
    });
}

#[test]
fn a_stall_holds_every_sync_up() {
    Runtime::new().block_on(async {
        let disk = disk(7);
        let live = disk.power_on();
        let file = live.open("f", OpenMode::Create).unwrap();
        disk.stall_for(Duration::from_secs(2));
        file.sync().await.unwrap();
        let waited = true_now();
        assert!(waited >= Duration::from_secs(2) && waited < Duration::from_millis(2001), "{waited:?}");
    });
}

/// Against a naive twin: a vector for what is shown, and one for what the last sync promised.
#[test]
fn random_writes_cuts_and_syncs_show_what_a_vector_shows() {
    for seed in 0..300 {
        let mut dice = SeededDice::new(seed);
        let (mut file, mut twin) = (FileBytes::default(), Vec::new());
        for _ in 0..60 {
            random_step(&mut file, &mut twin, &mut dice);
            let mut shown = vec![0xee; twin.len() + 10];
            assert_eq!(file.read(0, &mut shown), twin.len(), "seed {seed}");
            assert_eq!(shown[..twin.len()], twin, "seed {seed}");
        }
        let captured = file.capture();
        file.make_durable(captured, |_, _| WriteFate::Written);
        assert!(!file.is_dirty());
        file.lose_power(SectorFates { keep: 0, drop: 1, tear: 0, garbage: 0 }, &mut dice);
        let mut left = vec![0; twin.len()];
        assert_eq!((file.len(), file.read(0, &mut left)), (twin.len() as u64, twin.len()));
        assert_eq!(left, twin, "seed {seed}");
    }
}

fn random_step(file: &mut FileBytes, twin: &mut Vec<u8>, dice: &mut SeededDice) {
    let offset = dice.below(3 * PAGE as u64) as usize;
    match dice.below(6) {
        0..=2 => {
            let data = vec![dice.next_u64() as u8; 1 + dice.below(2 * PAGE as u64) as usize];
            file.write(offset as u64, &data);
            twin.resize(twin.len().max(offset + data.len()), 0);
            twin[offset..offset + data.len()].copy_from_slice(&data);
        }
        3 => {
            file.set_len(offset as u64);
            twin.resize(offset, 0);
        }
        4 => file.write_back_some(dice, false),
        _ => {
            // Something is written, or cut, while the sync is under way.
            let captured = file.capture();
            let (len, was) = (twin.len(), twin.clone());
            if dice.one_in(2) {
                file.write(offset as u64, b"late");
                twin.resize(twin.len().max(offset + 4), 0);
                twin[offset..offset + 4].copy_from_slice(b"late");
            } else {
                file.set_len(offset as u64);
                twin.resize(offset, 0);
            }
            file.make_durable(captured, |_, _| WriteFate::Written);
            let promised = file.platter_only();
            let mut durable = vec![0; len];
            assert_eq!(promised.read(0, &mut durable), len);
            assert_eq!(durable, was, "a sync promises what was written before it");
        }
    }
}

#[test]
fn what_fails_to_be_written_back_is_shown_and_written_with_the_next_change_of_its_page() {
    for seed in 0..500 {
        let mut dice = SeededDice::new(seed);
        let (mut file, mut twin) = (FileBytes::default(), vec![0; 2 * PAGE]);
        file.set_len(twin.len() as u64);
        for _ in 0..40 {
            let offset = dice.below(2 * PAGE as u64 - 700) as usize;
            let data = vec![dice.next_u64() as u8; 1 + dice.below(700) as usize];
            file.write(offset as u64, &data);
            twin[offset..offset + data.len()].copy_from_slice(&data);
            let fails = dice.one_in(2);
            file.write_back_some(&mut dice, fails);
            let mut shown = vec![0; twin.len()];
            file.read(0, &mut shown);
            assert_eq!(shown, twin, "seed {seed}");
        }
        // Both pages change once more, and the sync finds no fault.
        for page in 0..2 {
            file.write((page * PAGE) as u64, b"last");
            twin[page * PAGE..page * PAGE + 4].copy_from_slice(b"last");
        }
        let captured = file.capture();
        file.make_durable(captured, |_, _| WriteFate::Written);
        let mut durable = vec![0; twin.len()];
        file.platter_only().read(0, &mut durable);
        assert_eq!(durable, twin, "seed {seed}");
    }
}

#[test]
fn the_disk_passes_the_suite_of_all_disks() {
    Runtime::new().block_on(async {
        for seed in 0..20 {
            let faults = DiskFaults { short_read_one_in: 2, write_back_one_in: 2, ..DiskFaults::calm() };
            let disk = disk(seed);
            disk.set_faults(faults);
            quorate::env::conformance::check(&disk.power_on()).await.unwrap();
        }
    });
}
