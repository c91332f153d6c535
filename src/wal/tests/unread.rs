//! Segments that the checkpoint covers are not read, and the log is the one it is when they are.

use super::*;
use crate::env::{DiskFile, OpenMode};

/// A log of several segments with entries 1 to 40: a leader's 1 to 20, of which another's replace those from 16 on.
fn log() -> (MemoryDisk, Vec<LogEntry>) {
    let disk = MemoryDisk::new();
    let mut journal = recover(&disk, 0).expect("fresh").journal;
    let mut entries = Vec::new();
    for (term, indexes) in [(1, 1..=20), (2, 16..=40)] {
        for index in indexes {
            let batch = batch(term, index, 1, 300);
            entries.truncate(index as usize - 1);
            entries.extend(batch.entries.clone());
            append_synced(&mut journal, &batch);
        }
    }
    run_ready(journal.close()).expect("closed");
    (disk, entries)
}

fn segments(disk: &MemoryDisk) -> Vec<String> {
    disk.all_files().into_iter().filter(|name| name.ends_with(".seg")).collect()
}

/// Changes every byte of a file from sector `from` on.
fn ruin(disk: &MemoryDisk, name: &str, from: u64) {
    let file = disk.open(name, OpenMode::Write).expect("there");
    let len = file.len().expect("known") - from * 512;
    file.write_at(from * 512, &vec![0x5a; len as usize]).expect("written");
}

fn behind(disk: &MemoryDisk, after: LogIndex, catch_up: u64) -> Result<RecoveredWal<MemoryDisk>, Wrong> {
    let wal = UnrecoveredWal::open(disk.clone(), "wal")?.with_segment_bytes(SEGMENT).with_catch_up(catch_up);
    run_ready(wal.recover(ME, after))
}

#[test]
fn a_start_reads_what_the_checkpoint_does_not_cover() {
    let (disk, entries) = log();
    let names = segments(&disk);
    assert!(names.len() >= 6, "{names:?}");
    // How many of the oldest segments are not read, for each checkpoint.
    let mut unread = Vec::new();
    for after in 0..=40_u64 {
        for catch_up in [0, 1, 5] {
            let what = format!("behind {after}, catching up {catch_up}");
            let expected = &entries[after.saturating_sub(catch_up) as usize..];
            let recovered = behind(&disk.copy(), after, catch_up).expect("whole");
            assert_eq!(recovered.entries, expected, "{what}");
            assert_eq!(recovered.hard_state.commit, 39, "{what}");
            let term = (after > 0).then(|| entries[after as usize - 1].term);
            assert_eq!(recovered.term_at, term, "{what}");
            let ruined = |count: usize| {
                let left = disk.copy();
                names[..count].iter().for_each(|name| ruin(&left, name, 2));
                left
            };
            let is_unread = |count: &usize| {
                let recovered = behind(&ruined(*count), after, catch_up);
                let whole = recovered.ok().filter(|recovered| recovered.passed_over.is_empty());
                whole.is_some_and(|recovered| {
                    assert!(recovered.entries == expected, "{what}");
                    true
                })
            };
            let count = (1..names.len()).take_while(is_unread).count();
            if catch_up == 0 {
                unread.push(count);
            } else {
                assert!(count <= unread[after as usize], "{what}");
            }
            if count > 0 {
                // The older checkpoint's start finds it, if it needs what was there.
                let wrong = behind(&ruined(count), 2, catch_up).expect_err("it is needed");
                assert!(matches!(wrong, Wrong::Corruption(_)), "{wrong}");
            }
        }
    }
    assert!(unread.is_sorted() && unread[0] == 0 && unread[40] >= 4, "{unread:?}");
}

/// Where a beginning does not verify everything is read, and judged as ever.
#[test]
fn damage_where_a_segment_begins_is_met() {
    let (disk, entries) = log();
    for sector in [0, 1] {
        for name in &segments(&disk)[..3] {
            let left = disk.copy();
            left.open(name, OpenMode::Write).expect("there").write_at(sector * 512, &[0x5a; 512]).expect("written");
            let recovered = behind(&left, 38, 3).expect("nothing of it is needed");
            assert_eq!(recovered.entries, entries[35..]);
            assert_eq!(recovered.passed_over.iter().map(|it| &it.file).collect::<Vec<_>>(), [name]);
        }
    }
}

/// What goes is what a start that read everything lets go, or less.
#[test]
fn unread_segments_go_once_they_are_released() {
    let (disk, entries) = log();
    let left_of = |after: LogIndex, release: LogIndex| {
        let disk = disk.copy();
        let mut journal = behind(&disk, after, 0).expect("whole").journal;
        journal.release(release).expect("alive");
        while run_ready(journal.prepare()).expect("prepared") {}
        let next = batch(3, 41, 1, 300);
        append_synced(&mut journal, &next);
        drop(journal);
        let again = behind(&disk, release, 0).expect("whole");
        assert_eq!(again.entries[..again.entries.len() - 1], entries[release as usize..]);
        segments(&disk)
    };
    for release in 0..=40 {
        let (everything_read, unread) = (left_of(0, release), left_of(40, release));
        assert!(everything_read.iter().all(|name| unread.contains(name)), "{release}");
        assert!(unread.len() <= everything_read.len() + 1, "{release}: {unread:?} {everything_read:?}");
        if release == 40 {
            assert_eq!(unread, everything_read);
        }
    }
}
