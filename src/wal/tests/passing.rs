//! Damage of which nothing is needed is passed over; what is needed is refused as ever.

use super::*;
use crate::env::{DiskFile, OpenMode};

/// A log of several segments with entries 1 to 30, the term rising, and the last batch a vote without entries.
fn log() -> (MemoryDisk, Vec<LogEntry>, HardState) {
    let disk = MemoryDisk::new();
    let mut journal = recover(&disk, 0).expect("fresh").journal;
    let mut entries = Vec::new();
    for index in 1..=30 {
        let batch = batch(1 + index / 8, index, 1, 300);
        entries.extend(batch.entries.clone());
        append_synced(&mut journal, &batch);
    }
    let vote = HardState { term: 9, vote: 3, commit: 30 };
    for _ in 0..2 {
        append_synced(&mut journal, &Batch { hard_state: Some(vote), entries: Vec::new() });
    }
    run_ready(journal.close()).expect("closed");
    (disk, entries, vote)
}

fn segments(disk: &MemoryDisk) -> Vec<String> {
    disk.all_files().into_iter().filter(|name| name.ends_with(".seg")).collect()
}

fn damaged(disk: &MemoryDisk, name: &str, sector: u64) -> MemoryDisk {
    let disk = disk.copy();
    let file = disk.open(name, OpenMode::Write).expect("there");
    file.write_at(sector * 512, &[0x5a; 512]).expect("written");
    disk
}

/// Whether a start behind `after` goes on; what it then holds is all that is needed, the log goes on, and the next start
/// holds it, too, also behind any later checkpoint.
fn goes_on(disk: &MemoryDisk, after: LogIndex, entries: &[LogEntry], vote: HardState, what: &str) -> bool {
    let recovered = match recover(disk, after) {
        Ok(recovered) => recovered,
        Err(wrong) => {
            assert!(matches!(wrong, Wrong::Corruption(_)), "{what}: {wrong}");
            return false;
        }
    };
    assert_eq!(recovered.entries, entries[after as usize..], "{what}");
    assert_eq!(recovered.hard_state, vote, "{what}: a vote is never forgotten");
    let mut journal = recovered.journal;
    assert_eq!(journal.last_index(), 30, "{what}");
    let next = batch(10, 31, 1, 300);
    append_synced(&mut journal, &next);
    drop(journal);
    for later in [after, 30] {
        let again = recover(disk, later).expect("it goes on again");
        let expected: Vec<LogEntry> = entries[later as usize..].iter().chain(&next.entries).cloned().collect();
        assert_eq!(again.entries, expected, "{what}");
    }
    // What was released goes, be it damaged or not.
    let mut journal = recover(disk, 30).expect("it goes on").journal;
    journal.release(30).expect("alive");
    while run_ready(journal.prepare()).expect("prepared") {}
    drop(journal);
    assert_eq!(recover(disk, 30).expect("it goes on").entries, next.entries, "{what}");
    true
}

/// Every sector of every segment, and every checkpoint: a start goes on exactly where nothing of it is needed.
#[test]
fn a_damaged_sector_is_passed_over_where_nothing_of_it_is_needed() {
    let (disk, entries, vote) = log();
    let names = segments(&disk);
    assert!(names.len() >= 5, "{names:?}");
    // What is in a segment that the checkpoint covers is not met at all (`unread.rs`).
    let (mut passed, mut told, mut refused) = (0, 0, 0);
    for (at, name) in names.iter().enumerate() {
        for sector in 0..SEGMENT / 512 {
            let left = damaged(&disk, name, sector);
            for after in (0..=30).step_by(3) {
                let what = format!("{name} at {sector}, behind {after}");
                // Seven batches of a sector each in a segment.
                let entry = at as u64 * 7 + sector;
                let is_needed = sector > 0 && entry > after && entry <= 32;
                let whole = recover(&left.copy(), after).is_ok_and(|recovered| recovered.passed_over.is_empty());
                let goes_on = goes_on(&left.copy(), after, &entries, vote, &what);
                assert!(!(is_needed && goes_on), "{what}: it was needed");
                // The end of the log has to be vouched for by what follows the damage, and the checkpoint's own
                // entry says that the log behind it is its own.
                let may_refuse = sector > 0 && (entry == after && after < 30 || entry > 30);
                assert!(goes_on || is_needed || may_refuse, "{what}: nothing of it was needed");
                passed += u32::from(goes_on);
                told += u32::from(goes_on && !whole);
                refused += u32::from(!goes_on);
            }
        }
    }
    assert!(passed > 150 && told > 60 && refused > 150, "passed {passed}, told {told}, refused {refused}");
}

/// As above with two places, a missing file, and a file cut short.
#[test]
fn several_damages_are_passed_over_together() {
    let (disk, entries, vote) = log();
    let names = segments(&disk);
    let twice = damaged(&damaged(&disk, &names[0], 3), &names[1], 5);
    assert_eq!(recover(&twice.copy(), 14).expect("passed over").passed_over.len(), 2);
    assert!(goes_on(&twice, 14, &entries, vote, "two sectors"));
    let whole_page = (0..7).fold(disk.copy(), |disk, sector| damaged(&disk, &names[1], sector));
    assert!(goes_on(&whole_page, 16, &entries, vote, "a whole segment but its last batch"));
    let missing = disk.copy();
    missing.remove(&names[1]).expect("removed");
    assert!(goes_on(&missing, 15, &entries, vote, "a missing file"));
    let missing = disk.copy();
    missing.remove(&names[1]).expect("removed");
    assert!(!goes_on(&missing, 13, &entries, vote, "a missing file, of which one entry is needed"));
    let short = disk.copy();
    short.open(&names[0], OpenMode::Write).expect("there").set_len(1700).expect("cut");
    assert!(goes_on(&short, 9, &entries, vote, "a file cut short"));
}

/// A segment's header says nothing that the batches and the mark do not say; written anew it is whole again.
#[test]
fn a_damaged_header_is_made_anew() {
    let (disk, entries, vote) = log();
    for name in segments(&disk) {
        let left = damaged(&disk, &name, 0);
        let told = recover(&left, 0).expect("the batches are whole").passed_over;
        assert_eq!(told.iter().map(|it| (it.file.as_str(), it.offset)).collect::<Vec<_>>(), [(name.as_str(), 0)]);
        assert!(recover(&left, 0).expect("recovered").passed_over.is_empty(), "it was written anew");
        assert!(goes_on(&left, 0, &entries, vote, &name));
        // A header of another version is no damage.
        let other = disk.copy();
        let segment = u64::from_str_radix(&name[4..20], 16).expect("a number");
        let header = crate::log::segment::SegmentHeader {
            log: crate::log::LOG_HISTORY,
            segment,
            first: 0,
            zeroed: true,
            extra: Bytes::new(),
        };
        let mut foreign = bytes::BytesMut::from(&header.encode()[..]);
        foreign.truncate(0);
        let place = crate::log::Place { log: crate::log::LOG_WAL, segment, offset: 0 };
        crate::log::frame::encode(&mut foreign, place, 1, &[b"of another version"]);
        other.open(&name, OpenMode::Write).expect("there").write_at(0, &foreign).expect("written");
        recover(&other, 0).expect_err("nobody knows what it says");
    }
}

/// Batches that an earlier life wrote and never made durable, and that a device kept where it was told to erase them, never
/// stand in for the ones that are damaged: they would bring an older vote back.
#[test]
fn leftovers_of_an_earlier_life_are_not_the_log() {
    let disk = MemoryDisk::new();
    let mut journal = recover(&disk, 0).expect("fresh").journal;
    for index in 1..=3 {
        append_synced(&mut journal, &batch(1, index, 1, 100));
    }
    run_ready(journal.close()).expect("closed");
    let before = disk.copy();
    // Three more, without a sync; the first is lost with the power.
    for index in 4..=6 {
        journal.append(&batch(1, index, 1, 100)).expect("appended");
    }
    drop(journal);
    let name = segments(&disk).remove(0);
    let file = disk.open(&name, OpenMode::Read).expect("there");
    let mut leftovers = vec![0; 1024];
    file.read_full_at(5 * 512, &mut leftovers).expect("read");
    // The next life votes in a later term, durably.
    let disk = before;
    let mut journal = recover(&disk, 3).expect("recovered").journal;
    let vote = HardState { term: 7, vote: 2, commit: 3 };
    append_synced(&mut journal, &Batch { hard_state: Some(vote), entries: Vec::new() });
    run_ready(journal.close()).expect("closed");
    drop(journal);
    assert_eq!(recover(&disk.copy(), 3).expect("recovered").hard_state, vote);
    // The vote is damaged, and the leftovers stand behind it.
    disk.open(&name, OpenMode::Write).expect("there").write_at(5 * 512, &leftovers).expect("written");
    let left = damaged(&disk, &name, 4);
    for after in [3, 5, 6, 100] {
        let text = recover(&left, after).expect_err("the vote is gone").to_string();
        assert!(text.contains("batch 4 is missing"), "{text}");
    }
}

/// What was read ahead is judged as if it had been read then, be it damaged or unreadable, or a file that is missing.
#[test]
fn reading_ahead_changes_nothing() {
    let (disk, ..) = log();
    let names = segments(&disk);
    let missing = disk.copy();
    missing.remove(names.last().expect("there")).expect("removed");
    let mut logs = vec![disk.copy(), damaged(&disk, &names[0], 3), damaged(&disk, &names[4], 2), missing];
    logs.push(damaged(&damaged(&disk, &names[3], 0), &names[4], 0));
    for (at, disk) in logs.into_iter().enumerate() {
        for (after, fails) in [(0, false), (25, false), (30, false), (25, true)] {
            let open = || {
                let disk = ScramblingDisk::new(disk.copy(), 1);
                if fails {
                    disk.make_unreadable(&names[3], 512..1024);
                }
                UnrecoveredWal::open(disk, "wal").expect("opened").with_segment_bytes(SEGMENT)
            };
            let plain = run_ready(open().recover(ME, after));
            let wal = open();
            let ahead = wal.to_read_ahead(after).expect("a log").read();
            match (run_ready(wal.with_ahead(ahead).recover(ME, after)), plain) {
                (Ok(ahead), Ok(plain)) => {
                    assert_eq!((ahead.entries, ahead.hard_state), (plain.entries, plain.hard_state), "{at}");
                    assert_eq!(ahead.passed_over, plain.passed_over, "{at}");
                }
                (ahead, plain) => assert_eq!(
                    ahead.expect_err("as the other").to_string(),
                    plain.expect_err("as the other").to_string(),
                    "{at}"
                ),
            }
        }
    }
}

/// A checkpoint that was installed, and a log that was not cut yet: where the entry at its end is damaged nobody can tell
/// whether what follows is the log of another timeline.
#[test]
fn what_may_be_void_is_refused() {
    let (disk, ..) = log();
    let names = segments(&disk);
    // Entry 9 is the second batch of the second segment.
    let left = damaged(&disk, &names[1], 2);
    recover(&left.copy(), 8).expect_err("it is needed");
    let text = recover(&left.copy(), 9).expect_err("it may be void").to_string();
    assert!(text.contains("nothing says whether the log goes on where the checkpoint ends"), "{text}");
    assert_eq!(recover(&left, 10).expect("passed over").term_at, Some(2));
}
