//! Damage, errors and traps of the disk: each happens as the head of the model says, and within the budget.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use madsim::runtime::Runtime;
use quorate::base::SeededDice;
use quorate::env::{Disk, DiskFile, OpenMode};

use super::super::clock::{true_now, true_sleep};
use super::super::cpu::SimCpu;
use super::super::faults::SectorFates;
use super::super::file::{PAGE, SECTOR};
use super::super::{Aim, Change, Damage, DamageBudget, DiskFaults, FileClass, Loss, Marks, SimDisk, Trace};

const LOG: &str = "wal/0000000000000001.seg";

/// Damage spares the end of the log: what rests long on a disk is history.
const HISTORY: &str = "history/0000000000000007.seg";

fn calm() -> DiskFaults {
    DiskFaults::calm()
}

fn disk(seed: u64) -> SimDisk {
    SimDisk::new(calm(), SeededDice::new(seed), Trace::default(), Marks::default())
}

/// A disk with the product's directories, and its handle for a first life.
async fn laid_out(seed: u64) -> (SimDisk, SimDisk) {
    let disk = disk(seed);
    let live = disk.power_on();
    for dir in ["wal", "history", "checkpoint"] {
        live.create_dir(dir).unwrap();
    }
    live.sync_dir("").await.unwrap();
    (disk, live)
}

async fn make(disk: &SimDisk, name: &str, bytes: &[u8]) {
    let file = disk.open(name, OpenMode::Create).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync().await.unwrap();
    disk.sync_dir(name.rsplit_once('/').map_or("", |(dir, _)| dir)).await.unwrap();
}

fn content(disk: &SimDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name, OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    assert_eq!(file.read_full_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

fn is_io(answer: Result<(), quorate::base::Fault>) -> bool {
    answer.is_err_and(|fault| fault.source.raw_os_error() == Some(5))
}

#[test]
fn files_are_classed_by_what_their_loss_means() {
    let classes = [
        (LOG, FileClass::Log),
        ("wal/durable", FileClass::Mark),
        ("wal/durable.new", FileClass::Mark),
        ("wal/next.fill", FileClass::Log),
        ("wal/0000000000000001.spare", FileClass::Aside),
        ("wal/elsewhere", FileClass::Aside),
        ("history/0000000000000007.seg", FileClass::History),
        ("checkpoint/0000000000000009.image", FileClass::Image),
        ("checkpoint/draft", FileClass::Image),
        ("LOCK", FileClass::Aside),
    ];
    for (name, class) in classes {
        assert_eq!(FileClass::of(name), class, "{name}");
    }
}

#[test]
fn rot_strikes_one_sector_at_rest_and_a_write_heals_it() {
    Runtime::new().block_on(async {
        for damage in [Damage::Flip(3), Damage::Zero, Damage::Garbage, Damage::Unreadable] {
            let (disk, live) = laid_out(1).await;
            disk.set_budget(DamageBudget::boundless(), "one");
            assert_eq!(disk.damage(FileClass::History, damage), None, "there is no such file");
            make(&live, HISTORY, &[7; 3 * PAGE]).await;
            make(&live, "checkpoint/0000000000000001.image", &[7; PAGE]).await;
            let (name, sector) = disk.damage(FileClass::History, damage).unwrap();
            assert_eq!((name.as_str(), disk.damaged()), (HISTORY, vec![(name.clone(), sector)]));
            let file = live.open(HISTORY, OpenMode::Write).unwrap();
            let at = sector * SECTOR as u64;
            let (mut before, mut struck) = (vec![0; at as usize], vec![0; SECTOR]);
            assert_eq!(file.read_full_at(0, &mut before).unwrap(), before.len());
            assert!(before.iter().all(|byte| *byte == 7), "nothing else is struck");
            let read = file.read_full_at(at, &mut struck);
            let wrong_bits: u32 = struck.iter().map(|byte| (byte ^ 7).count_ones()).sum();
            match damage {
                Damage::Flip(bits) => assert_eq!(wrong_bits, bits),
                Damage::Zero => assert_eq!(struck, [0; SECTOR]),
                Damage::Garbage => assert!(wrong_bits > 1_000),
                Damage::Unreadable => assert!(is_io(read.map(drop))),
            }
            assert!(disk.fork_platter().damaged() == disk.damaged(), "a copy of the platter is damaged as well");
            file.write_at(at, &[7; SECTOR]).unwrap();
            file.sync().await.unwrap();
            assert!(disk.damaged().is_empty() && content(&live, HISTORY) == [7; 3 * PAGE]);
        }
    });
}

#[test]
fn damage_keeps_to_its_budget() {
    Runtime::new().block_on(async {
        let (disk, live) = laid_out(2).await;
        make(&live, LOG, &[7; PAGE]).await;
        make(&live, "checkpoint/0000000000000001.image", &[7; PAGE]).await;
        assert_eq!(disk.damage(FileClass::Log, Damage::Zero), None, "by default nothing that is needed");
        assert_eq!(disk.damage(FileClass::Image, Damage::Zero), None, "not the only image");
        make(&live, "checkpoint/draft", &[7; PAGE]).await;
        for _ in 0..50 {
            let struck = disk.damage(FileClass::Image, Damage::Flip(1));
            assert!(
                struck.is_none_or(|(name, _)| name == "checkpoint/draft"),
                "nor with what may become one (seed 10002429)"
            );
        }
        live.remove("checkpoint/draft").unwrap();
        make(&live, "checkpoint/0000000000000002.image", &[7; PAGE]).await;
        let (struck, _) = disk.damage(FileClass::Image, Damage::Zero).unwrap();
        for _ in 0..50 {
            assert!(disk.damage(FileClass::Image, Damage::Zero).is_none_or(|(name, _)| name == struck), "nor both");
        }
        make(&live, "checkpoint/0000000000000003.image", &[7; PAGE]).await;
        for _ in 0..50 {
            assert!(disk.damage(FileClass::Image, Damage::Flip(1)).is_none_or(|(name, _)| name == struck), "nor two");
        }
        live.remove(&struck).unwrap();
        live.sync_dir("checkpoint").await.unwrap();
        let next = (0..50).find_map(|_| disk.damage(FileClass::Image, Damage::Flip(1))).unwrap();
        assert!(next.0 != struck, "once it is gone, another");
        make(&live, "wal/durable", &[7; 3 * PAGE]).await;
        let slots: BTreeSet<u64> = (0..200)
            .filter_map(|_| disk.damage(FileClass::Mark, Damage::Flip(1)))
            .map(|(_, sector)| sector / 8)
            .collect();
        assert!(slots.len() == 2 && slots.contains(&2), "the hint, and one slot of two: {slots:?}");

        let budget = DamageBudget::minority_of(5);
        let mut admitted = 0;
        for member in ["a", "b", "c", "d", "e"] {
            let (disk, live) = laid_out(3).await;
            disk.set_budget(budget.clone(), member);
            make(&live, HISTORY, &[7; PAGE]).await;
            let struck = disk.damage(FileClass::History, Damage::Zero).is_some();
            assert_eq!(struck, disk.damage(FileClass::History, Damage::Zero).is_some(), "once admitted, always");
            admitted += u32::from(struck);
        }
        assert!(admitted == 2 && budget.spent_on() == ["a", "b"]);
        budget.restored("a");
        assert!(budget.admits("c") && !budget.admits("a"));
        assert!(!DamageBudget::minority_of(1).admits("a") && !DamageBudget::minority_of(2).admits("a"));
    });
}

#[test]
fn a_lost_or_misdirected_write_shows_after_the_power_has_gone() {
    Runtime::new().block_on(async {
        let mut seen = BTreeSet::new();
        for seed in 0..20 {
            let (disk, live) = laid_out(seed).await;
            make(&live, HISTORY, &[1; 4 * PAGE]).await;
            let file = live.open(HISTORY, OpenMode::Write).unwrap();
            let misdirected = seed % 2 == 0;
            let (lost_write_one_in, misdirected_write_one_in) = if misdirected { (0, 1) } else { (1, 0) };
            let faults = DiskFaults { lost_write_one_in, misdirected_write_one_in, ..calm() };
            disk.set_faults(faults);
            file.write_at(2 * PAGE as u64, &[2; SECTOR]).unwrap();
            file.sync().await.unwrap();
            assert!(disk.damaged().is_empty(), "the budget forbids it");
            disk.set_budget(DamageBudget::boundless(), "one");
            file.write_at(2 * PAGE as u64, &[3; SECTOR]).unwrap();
            file.sync().await.unwrap();
            assert_eq!(content(&live, HISTORY)[2 * PAGE], 3, "the system shows what was written");
            disk.lose_power(Loss::KeepAll);
            let left = content(&disk.power_on(), HISTORY);
            seen.insert((left[0], left[PAGE], left[2 * PAGE], left[3 * PAGE]));
        }
        assert_eq!(seen, BTreeSet::from([(1, 1, 2, 1), (1, 3, 2, 1)]));
    });
}

/// A page of the log was lost at its sync, or landed on the one before: nobody can tell before the power goes, and it is
/// never one of the last that were synced, whose loss nobody could tell from a promise never made.
#[test]
fn a_write_of_the_log_goes_astray_where_later_ones_tell() {
    const SYNCS: u8 = 12;
    let mut gone = BTreeSet::new();
    for seed in 0..60 {
        Runtime::new().block_on(async {
            let (disk, live) = laid_out(seed).await;
            disk.set_budget(if seed < 50 { DamageBudget::boundless() } else { DamageBudget::none() }, "one");
            make(&live, LOG, &[0; PAGE]).await;
            let file = live.open(LOG, OpenMode::Write).unwrap();
            let misdirected = seed % 2 == 0;
            let (lost_write_one_in, misdirected_write_one_in) = if misdirected { (0, 4) } else { (4, 0) };
            disk.set_faults(DiskFaults { lost_write_one_in, misdirected_write_one_in, ..calm() });
            for nth in 1..=SYNCS {
                file.write_at(u64::from(nth) * PAGE as u64, &[nth; PAGE]).unwrap();
                file.sync().await.unwrap();
            }
            if seed == 49 {
                disk.set_faults(calm());
            }
            assert!(disk.damaged().is_empty() && disk.fork_platter().damaged().is_empty(), "not yet");
            let all: Vec<u8> = (0..=SYNCS).flat_map(|nth| [nth; PAGE]).collect();
            assert_eq!(content(&live, LOG), all);
            disk.lose_power(Loss::KeepAll);
            let left = content(&disk.power_on(), LOG);
            let wrong: Vec<(usize, u8)> = left
                .chunks(PAGE)
                .enumerate()
                .map(|(at, page)| (at, page[0]))
                .filter(|(at, is)| *at != *is as usize)
                .collect();
            assert!(seed < 49 || wrong.is_empty(), "within the budget, and while the disk is not calm: {wrong:?}");
            assert!(wrong.iter().all(|(at, _)| *at <= usize::from(SYNCS) - 3), "{wrong:?}");
            assert!(wrong.iter().all(|(at, is)| *is == 0 || misdirected && usize::from(*is) == at + 1), "{wrong:?}");
            gone.extend(wrong.into_iter().map(|(at, is)| (misdirected, at, is)));
        });
    }
    let count = |of: bool| gone.iter().filter(|(misdirected, ..)| *misdirected == of).count();
    assert!(count(true) > 8 && count(false) > 5, "{gone:?}");
}

#[test]
fn of_the_mark_one_write_goes_astray_and_leaves_a_slot() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        Runtime::new().block_on(async {
            let (disk, live) = laid_out(seed).await;
            make(&live, "wal/durable", &[1; 3 * PAGE]).await;
            let file = live.open("wal/durable", OpenMode::Write).unwrap();
            disk.set_faults(DiskFaults { lost_write_one_in: 4, misdirected_write_one_in: 4, ..calm() });
            let first = seed % 2;
            for (nth, slot) in [first, 1 - first, 2, first, 1 - first].into_iter().enumerate() {
                file.write_at(slot * PAGE as u64, &[2 + nth as u8; 64]).unwrap();
                file.sync().await.unwrap();
            }
            disk.lose_power(Loss::KeepAll);
            let left = content(&disk.power_on(), "wal/durable");
            let slots = [left[first as usize * PAGE], left[(1 - first as usize) * PAGE], left[2 * PAGE]];
            // Whole: it holds one of the things that were written to it.
            let whole = [[1, 2, 5].contains(&slots[0]), [1, 3, 6].contains(&slots[1])];
            assert!(whole[0] || whole[1], "seed {seed}: {slots:?}");
            seen.insert((whole, slots == [5, 6, 4]));
        });
    }
    let cases = BTreeSet::from([([true, true], true), ([true, true], false), ([false, true], false)]);
    assert_eq!(seen, cases, "all as it should be, one stale, the last but one written over");
}

/// What a loss of power tore needs no rot to be lost.
#[test]
fn a_torn_slot_is_not_left_alone() {
    let mut torn = 0;
    for seed in 0..100 {
        Runtime::new().block_on(async {
            let (disk, live) = laid_out(seed).await;
            make(&live, "wal/durable", &[7; 3 * PAGE]).await;
            live.open("wal/durable", OpenMode::Write).unwrap().write_at(0, &[8; 64]).unwrap();
            disk.lose_power(Loss::Draw(SectorFates { keep: 1, drop: 1, tear: 2, garbage: 0 }));
            let slot = content(&disk.power_on(), "wal/durable")[..64].to_vec();
            let is_torn = slot != [7; 64] && slot != [8; 64];
            torn += u32::from(is_torn);
            let struck = (0..100).filter_map(|_| disk.damage(FileClass::Mark, Damage::Flip(1)));
            let first = struck.map(|(_, sector)| sector / 8).find(|slot| *slot < 2);
            assert!(first.is_some_and(|slot| slot == 0 || !is_torn), "seed {seed}: {first:?}");
        });
    }
    assert!(torn > 10, "{torn}");
}

#[test]
fn a_spare_is_made_unreadable_only_where_a_log_may_be_lost() {
    Runtime::new().block_on(async {
        let (disk, live) = laid_out(3).await;
        make(&live, "wal/0000000000000001.spare", &[7; PAGE]).await;
        assert!(disk.damage(FileClass::Aside, Damage::Garbage).is_some());
        assert_eq!(disk.damage(FileClass::Aside, Damage::Unreadable), None, "it may be where the log will end");
        make(&live, "LOCK", &[7; PAGE]).await;
        let struck = (0..50).find_map(|_| disk.damage(FileClass::Aside, Damage::Unreadable));
        assert_eq!(struck.map(|(name, _)| name).as_deref(), Some("LOCK"));
        disk.set_budget(DamageBudget::boundless(), "one");
        assert!(
            (0..50).any(|_| disk.damage(FileClass::Aside, Damage::Unreadable).is_some_and(|(name, _)| name != "LOCK"))
        );
    });
}

/// A page that could not be written back, and a process that ends before it hears of it: the next one hears of it, or
/// nobody does; then it sees what was written, or what is on the platter.
#[test]
fn the_system_may_forget_an_error_when_a_process_ends() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        Runtime::new().block_on(async {
            let disk = disk(seed);
            let live = disk.power_on();
            make(&live, "f", &[1; PAGE]).await;
            let file = live.open("f", OpenMode::Write).unwrap();
            disk.set_faults(DiskFaults { write_back_one_in: 1, write_back_error_one_in: 1, ..calm() });
            (0..20).for_each(|_| file.write_at(0, &[2; PAGE]).unwrap());
            disk.kill();
            disk.set_faults(calm());
            let next = disk.power_on();
            let file = next.open("f", OpenMode::Write).unwrap();
            let shown = content(&next, "f")[0];
            let heard = is_io(file.sync().await);
            disk.lose_power(Loss::KeepAll);
            seen.insert((heard, shown, content(&disk.power_on(), "f")[0]));
        });
    }
    let cases = BTreeSet::from([(true, 2, 1), (false, 2, 1), (false, 1, 1)]);
    assert!(seen.is_superset(&cases), "{seen:?}");
}

#[test]
fn an_error_that_nobody_heard_of_is_kept_for_the_next_opener() {
    Runtime::new().block_on(async {
        let disk = disk(4);
        let live = disk.power_on();
        make(&live, "f", &[1; PAGE]).await;
        let (one, other) = (live.open("f", OpenMode::Write).unwrap(), live.open("f", OpenMode::Write).unwrap());
        one.write_at(0, &[2; PAGE]).unwrap();
        disk.set_faults(DiskFaults { sync_error_one_in: 1, ..calm() });
        assert!(is_io(one.sync().await));
        disk.set_faults(calm());
        assert!(is_io(other.sync().await), "each handle that was open hears of it");
        assert!(one.sync().await.is_ok() && other.sync().await.is_ok(), "once");
        let late = live.open("f", OpenMode::Write).unwrap();
        assert!(late.sync().await.is_ok(), "it was heard of before this one was opened");
        // The process dies while the sync that fails is under way.
        disk.set_faults(DiskFaults { sync_error_one_in: 1, ..calm() });
        late.write_at(0, &[3; PAGE]).unwrap();
        let syncing = madsim::task::spawn(async move { late.sync().await.is_err() });
        let live_dir = live.clone();
        let syncing_dir = madsim::task::spawn(async move { live_dir.sync_dir("").await.is_err() });
        true_sleep(Duration::from_micros(50)).await;
        disk.kill();
        assert!(syncing.await.unwrap() && syncing_dir.await.unwrap());
        disk.set_faults(calm());
        let next = disk.power_on();
        assert!(is_io(next.sync_dir("").await) && next.sync_dir("").await.is_ok());
        let file = next.open("f", OpenMode::Write).unwrap();
        assert!(is_io(file.sync().await), "the next opener hears of it");
        assert!(file.sync().await.is_ok());
        assert!(next.open("f", OpenMode::Write).unwrap().sync().await.is_ok());
        // A loss of power takes the system's memory, and the error with it.
        disk.set_faults(DiskFaults { write_back_one_in: 1, write_back_error_one_in: 1, ..calm() });
        for _ in 0..20 {
            file.write_at(0, &[4; PAGE]).unwrap();
        }
        disk.set_faults(calm());
        assert!(is_io(file.sync().await), "a write-back that failed is told by the next sync");
        disk.set_faults(DiskFaults { write_back_one_in: 1, write_back_error_one_in: 1, ..calm() });
        for _ in 0..20 {
            file.write_at(0, &[4; PAGE]).unwrap();
        }
        disk.set_faults(calm());
        disk.lose_power(Loss::DropAll);
        assert!(disk.power_on().open("f", OpenMode::Write).unwrap().sync().await.is_ok());
    });
}

#[test]
fn a_failed_sync_of_a_directory_leaves_its_changes_to_a_later_one() {
    Runtime::new().block_on(async {
        for again in [false, true] {
            let disk = disk(4);
            let live = disk.power_on();
            live.open("f", OpenMode::Create).unwrap();
            disk.set_faults(DiskFaults { sync_error_one_in: 1, ..calm() });
            assert!(is_io(live.sync_dir("").await));
            disk.set_faults(calm());
            if again {
                live.sync_dir("").await.unwrap();
            }
            disk.lose_power(Loss::DropAll);
            assert_eq!(disk.power_on().exists("f").unwrap(), again);
        }
    });
}

#[test]
fn reads_fail_now_and_then_and_this_once() {
    Runtime::new().block_on(async {
        let disk = disk(5);
        let live = disk.power_on();
        make(&live, "f", &[1; PAGE]).await;
        disk.set_faults(DiskFaults { read_error_one_in: 4, ..calm() });
        let file = live.open("f", OpenMode::Read).unwrap();
        let failed = (0..200).filter(|_| is_io(file.read_at(0, &mut [0; 9]).map(drop))).count();
        assert!((20..100).contains(&failed), "{failed}");
    });
}

#[test]
fn a_full_disk_may_refuse_a_write_whole_and_takes_what_is_rewritten() {
    Runtime::new().block_on(async {
        let disk = disk(6);
        disk.set_faults(DiskFaults { capacity: Some(1_000), refuses_whole: true, ..calm() });
        let live = disk.power_on();
        make(&live, "f", &[1; 900]).await;
        let file = live.open("f", OpenMode::Write).unwrap();
        assert!(file.write_at(850, &[2; 200]).unwrap_err().is_no_space());
        assert_eq!(content(&live, "f"), [1; 900]);
        disk.set_faults(DiskFaults { capacity: Some(100), refuses_whole: true, ..calm() });
        file.write_at(0, &[3; 900]).unwrap();
        file.set_len(800).unwrap();
        assert!(file.set_len(801).unwrap_err().is_no_space());
    });
}

#[test]
fn a_tear_goes_through_the_bytes_that_change_and_a_loss_may_stop_at_a_sector() {
    let (mut torn_inside, mut in_order, mut boundaries) = (0, 0, BTreeSet::new());
    for seed in 0..300 {
        Runtime::new().block_on(async {
            let disk = disk(seed);
            let live = disk.power_on();
            make(&live, "mark", &[1; SECTOR]).await;
            make(&live, "log", &[1; 16 * SECTOR]).await;
            live.open("mark", OpenMode::Write).unwrap().write_at(128, &[2; 64]).unwrap();
            live.open("log", OpenMode::Write).unwrap().write_at(0, &[2; 16 * SECTOR]).unwrap();
            disk.lose_power(Loss::Draw(SectorFates { keep: 4, drop: 4, tear: 4, garbage: 0 }));
            let next = disk.power_on();
            let news = content(&next, "mark").iter().filter(|byte| **byte == 2).count();
            torn_inside += u32::from(news > 0 && news < 64);
            let log = content(&next, "log");
            let whole: Vec<bool> = log.chunks(SECTOR).map(|sector| sector.iter().all(|byte| *byte == 2)).collect();
            let reach = whole.iter().take_while(|whole| **whole).count();
            let nothing_behind = log[((reach + 1) * SECTOR).min(log.len())..].iter().all(|byte| *byte == 1);
            if nothing_behind {
                in_order += 1;
                boundaries.insert(reach);
            }
        });
    }
    // Of three losses one tears; half of these go through the 64 bytes, and of the others one in eight.
    assert!((35..90).contains(&torn_inside), "{torn_inside}");
    assert!(in_order > 60 && boundaries.len() > 10, "{in_order} {boundaries:?}");
}

#[test]
fn writes_take_time_from_the_turn_that_makes_them() {
    Runtime::new().block_on(async {
        let disk = disk(7);
        disk.set_faults(DiskFaults { write_micros: (1_000, 1_000), ..calm() });
        let live = disk.power_on();
        let file = live.open("f", OpenMode::Create).unwrap();
        let start = true_now();
        madsim::task::spawn(SimCpu::paced(async move {
            for _ in 0..5 {
                file.write_at(0, b"x").unwrap();
            }
            true_sleep(Duration::from_micros(1)).await;
        }))
        .await
        .unwrap();
        let took = true_now() - start;
        assert!(took >= Duration::from_millis(5) && took < Duration::from_micros(5_100), "{took:?}");
    });
}

/// Which change each trap of one to `count` springs in, by what is left after it.
async fn sprung(aim: Aim, nth: u64) -> Option<(bool, Vec<String>)> {
    let (disk, live) = laid_out(nth).await;
    let sprung = Arc::new(Mutex::new(false));
    let flag = sprung.clone();
    disk.arm_at(aim, nth, move || *flag.lock().unwrap() = true);
    let work = async {
        let file = live.open("checkpoint/draft", OpenMode::Create)?;
        live.list("checkpoint")?;
        live.exists("checkpoint/draft")?;
        file.write_at(0, &[1; 1_000])?;
        file.read_at(0, &mut [0; 9])?;
        file.len()?;
        file.sync().await?;
        live.rename("checkpoint/draft", "checkpoint/0000000000000001.image")?;
        live.sync_dir("checkpoint").await?;
        live.open("checkpoint/0000000000000001.image", OpenMode::Read)?;
        live.remove("checkpoint/0000000000000001.image")
    };
    let died = work.await.is_err();
    let was = *sprung.lock().unwrap();
    assert_eq!(was, died);
    disk.kill();
    was.then(|| (died, disk.power_on().list("checkpoint").unwrap()))
}

#[test]
fn traps_count_changes_alone_and_can_be_aimed() {
    Runtime::new().block_on(async {
        let mut names = Vec::new();
        for nth in 1..=12 {
            names.push(sprung(Aim::default(), nth).await.map(|(_, names)| names.join(" ")));
        }
        let (none, draft, image) = ("", "checkpoint/draft", "0000000000000001.image");
        let draft = draft.rsplit_once('/').unwrap().1;
        // Create, write, three of the sync, rename, three of the directory's sync, remove.
        let wanted = [none, draft, draft, draft, draft, draft, image, image, image, image];
        assert_eq!(names[..10], wanted.map(|name| Some(name.to_string())));
        assert_eq!(names[10..], [None, None], "there are ten changes, and looks do not count");
        let rename_of_image = Aim { change: Some(Change::Rename), class: Some(FileClass::Image) };
        assert_eq!(sprung(rename_of_image, 1).await.unwrap().1, [draft]);
        assert!(sprung(rename_of_image, 2).await.is_none());
        let remove = Aim { change: Some(Change::Remove), class: None };
        assert_eq!(sprung(remove, 1).await.unwrap().1, [image]);
    });
}

#[test]
fn a_life_that_ends_in_a_write_leaves_nothing_a_part_or_all_of_it() {
    Runtime::new().block_on(async {
        let mut lengths = BTreeSet::new();
        for seed in 0..60 {
            let disk = disk(seed);
            let live = disk.power_on();
            let file = live.open("f", OpenMode::Create).unwrap();
            disk.arm(1, || {});
            assert!(file.write_at(0, &[1; 1_000]).is_err() && !live.is_alive());
            lengths.insert(content(&disk.power_on(), "f").len());
        }
        assert!(lengths.contains(&0) && lengths.contains(&1_000) && lengths.len() > 10);
    });
}
