//! The raft log against a naive twin, damage and crashes.

mod crash;
mod damage;
mod passing;
mod unread;

use bytes::Bytes;

use super::*;
use crate::base::{ClusterId, LogIndex, MemberId, Wrong, limits};
use crate::env::{Disk, DiskFile, MemoryDisk, OpenMode, ScramblingDisk, run_ready};

const ME: WalIdentity = WalIdentity { cluster: ClusterId(0xc), member: MemberId(0xa) };
const SEGMENT: u64 = 4096;

fn entry(index: LogIndex, term: u64, len: usize) -> LogEntry {
    let data = Bytes::from(vec![(index * 31 + term) as u8; len]);
    LogEntry { index, term, kind: EntryKind::Normal, data }
}

fn batch(term: u64, first: LogIndex, count: u64, len: usize) -> Batch {
    let hard_state = Some(HardState { term, vote: 1, commit: first.saturating_sub(1) });
    Batch { hard_state, entries: (first..first + count).map(|index| entry(index, term, len)).collect() }
}

fn recover<D: Disk>(disk: &D, after: LogIndex) -> Result<RecoveredWal<D>, Wrong> {
    let wal = UnrecoveredWal::open(disk.clone(), "wal")?.with_segment_bytes(SEGMENT);
    run_ready(wal.recover(ME, after))
}

fn append_synced<D: Disk>(journal: &mut Journal<D>, batch: &Batch) {
    journal.append(batch).expect("appended");
    run_ready(journal.sync()).expect("synced");
}

#[test]
fn what_was_appended_comes_back() {
    let disk = MemoryDisk::new();
    assert_eq!(UnrecoveredWal::open(disk.clone(), "wal").expect("opened").identity(), None);
    let mut fresh = recover(&disk, 0).expect("fresh");
    assert_eq!((fresh.entries.len(), fresh.hard_state), (0, HardState::default()));
    for nth in 0..20 {
        append_synced(&mut fresh.journal, &batch(1 + nth / 7, 1 + nth * 3, 3, 100 * nth as usize));
    }
    assert_eq!((fresh.journal.appended(), fresh.journal.durable()), (20, 20));
    assert_eq!(UnrecoveredWal::open(disk.clone(), "wal").expect("opened").identity(), Some(ME));
    let again = recover(&disk, 0).expect("recovered");
    let expected: Vec<LogEntry> =
        (0..20).flat_map(|nth| batch(1 + nth / 7, 1 + nth * 3, 3, 100 * nth as usize).entries).collect();
    assert_eq!(again.entries, expected);
    assert_eq!(again.hard_state, HardState { term: 3, vote: 1, commit: 57 });
    assert_eq!((again.tail.torn_bytes, again.tail.torn_segments), (0, 0));
    assert_eq!(recover(&disk, 50).expect("recovered").entries, expected[50..]);
    let with_catch_up = |entries, after| {
        let wal = UnrecoveredWal::open(disk.clone(), "wal").expect("opened").with_segment_bytes(SEGMENT);
        run_ready(wal.with_catch_up(entries).recover(ME, after)).expect("recovered").entries
    };
    assert_eq!(with_catch_up(7, 50), expected[43..], "for peers that lag a little");
    assert_eq!(with_catch_up(99, 50), expected);
    assert_eq!(with_catch_up(7, 60), expected[53..]);
    assert!(with_catch_up(7, 61).is_empty(), "what comes goes on behind a gap");
}

/// What is durable is durable without its mark, which a full disk may have no room for even where it lies; it is written, and what it
/// lets go goes, once there is some.
#[test]
fn a_mark_that_finds_no_room_is_written_later() {
    let memory = MemoryDisk::new();
    let disk = ScramblingDisk::new(memory.clone(), 1);
    let mut journal = recover(&disk, 0).expect("fresh").journal;
    let append = |journal: &mut Journal<_>, numbers: std::ops::RangeInclusive<u64>| {
        for nth in numbers {
            append_synced(journal, &batch(1, nth, 1, 1_000));
            journal.release(nth.saturating_sub(2)).expect("alive");
        }
    };
    append(&mut journal, 1..=2);
    disk.has_no_copies_of(Some("wal/durable"));
    append(&mut journal, 3..=20);
    let files = || disk.list("wal").expect("listed").len();
    assert!((journal.durable(), files() > 5) == (20, true), "{} of {} files", journal.durable(), files());
    run_ready(journal.close()).expect("an orderly end");
    assert_eq!(recover(&memory.copy(), 0).expect("recovered").entries.len(), 20);
    disk.has_no_copies_of(None);
    append(&mut journal, 21..=30);
    assert!(files() <= 2 + 2 + limits::WAL_MAX_SPARES, "{} files", files());
    assert_eq!(recover(&disk, 28).expect("recovered").entries.len(), 2);
}

#[test]
fn the_log_of_another_is_refused() {
    let disk = MemoryDisk::new();
    append_synced(&mut recover(&disk, 0).expect("fresh").journal, &batch(1, 1, 1, 10));
    for (cluster, member) in [(0xc, 0xb), (0xd, 0xa)] {
        let other = WalIdentity { cluster: ClusterId(cluster), member: MemberId(member) };
        let wal = UnrecoveredWal::open(disk.clone(), "wal").expect("opened");
        let text = run_ready(wal.recover(other, 0)).expect_err("refused").to_string();
        assert!(text.contains("belongs to member a of cluster c"), "{text}");
    }
    recover(&disk, 0).expect("still mine");
}

#[test]
fn a_failed_write_or_sync_ends_the_journal() {
    let fails: [fn(&ScramblingDisk<MemoryDisk>); 2] = [|disk| disk.fail_write(1), |disk| disk.fail_sync(1)];
    for fail in fails {
        let disk = ScramblingDisk::new(MemoryDisk::new(), 3);
        let mut journal = recover(&disk, 0).expect("fresh").journal;
        append_synced(&mut journal, &batch(1, 1, 1, 10));
        fail(&disk);
        let answer = journal.append(&batch(1, 2, 1, 10)).and_then(|_| run_ready(journal.sync()));
        let first = answer.expect_err("failed").to_string();
        assert_eq!(journal.durable(), 1);
        let again = [
            journal.append(&batch(1, 3, 1, 10)).map(|_| ()),
            run_ready(journal.sync()),
            journal.release(1),
            run_ready(journal.prepare()).map(|_| ()),
        ];
        for answer in again {
            assert_eq!(answer.expect_err("dead").to_string(), first);
        }
        // The log goes on from what is there.
        let mut journal = recover(&disk, 0).expect("recovered").journal;
        assert!((1..=2).contains(&journal.durable()));
        append_synced(&mut journal, &batch(1, 2, 1, 10));
    }
}

#[test]
fn released_segments_are_used_again() {
    let disk = MemoryDisk::new();
    let mut journal = recover(&disk, 0).expect("fresh").journal;
    let files = |disk: &MemoryDisk, suffix: &str| disk.all_files().iter().filter(|name| name.ends_with(suffix)).count();
    for index in 1..=40 {
        append_synced(&mut journal, &batch(1, index, 1, 400));
    }
    assert!(files(&disk, ".seg") >= 5);
    journal.release(38).expect("alive");
    while run_ready(journal.prepare()).expect("prepared") {}
    // The one with the entries 39 and 40, perhaps one before it, and the one made ready.
    assert!(files(&disk, ".seg") <= 3, "{:?}", disk.all_files());
    for index in 41..=80 {
        append_synced(&mut journal, &batch(1, index, 1, 400));
        journal.release(index - 1).expect("alive");
        while run_ready(journal.prepare()).expect("prepared") {}
        let (segments, all) = (files(&disk, ".seg"), disk.all_files().len());
        assert!(segments <= 3 && all <= 6, "{:?}", disk.all_files());
    }
    let again = recover(&disk, 79).expect("recovered");
    assert_eq!(again.entries, batch(1, 80, 1, 400).entries);
    assert_eq!(again.hard_state.commit, 79);
    let text = recover(&disk, 10).expect_err("released").to_string();
    assert!(text.contains("but the checkpoint ends at 10"), "{text}");
}

#[test]
fn an_older_checkpoint_than_a_cut_is_refused() {
    let disk = MemoryDisk::new();
    let mut journal = recover(&disk, 0).expect("fresh").journal;
    append_synced(&mut journal, &batch(1, 1, 9, 10));
    journal.cut(100).expect("alive");
    append_synced(&mut journal, &batch(2, 101, 3, 10));
    assert_eq!(recover(&disk, 100).expect("recovered").entries, batch(2, 101, 3, 10).entries);
    let text = recover(&disk, 5).expect_err("void").to_string();
    assert!(text.contains("checkpoint at 100"), "{text}");
}

#[test]
fn a_log_behind_its_checkpoint_goes_on_behind_it() {
    let disk = MemoryDisk::new();
    append_synced(&mut recover(&disk, 0).expect("fresh").journal, &batch(1, 1, 9, 10));
    let mut recovered = recover(&disk, 50).expect("recovered");
    assert!(recovered.entries.is_empty());
    append_synced(&mut recovered.journal, &batch(2, 51, 1, 10));
    assert_eq!(recover(&disk, 50).expect("recovered").entries, batch(2, 51, 1, 10).entries);
}

#[test]
fn few_entries_do_not_hold_a_whole_segment_in_memory() {
    let disk = MemoryDisk::new();
    let mut journal = recover(&disk, 0).expect("fresh").journal;
    while run_ready(journal.prepare()).expect("prepared") {}
    for index in 1..=12 {
        append_synced(&mut journal, &batch(1, index, 1, 400));
    }
    let entries = recover(&disk, 11).expect("recovered").entries;
    let data = entries.into_iter().next().expect("one").data;
    assert!(data.is_unique(), "400 bytes of a segment of 4096 are copied");
}

/// Where log and checkpoint meet, recovery says of which term the log's entry is, as it was last written.
#[test]
fn the_term_at_the_checkpoint_is_told() {
    let disk = MemoryDisk::new();
    let mut journal = recover(&disk, 0).expect("fresh").journal;
    append_synced(&mut journal, &batch(2, 1, 6, 10));
    let term_at = |after| recover(&disk.copy(), after).expect("recovered").term_at;
    assert_eq!((term_at(0), term_at(1), term_at(6), term_at(7)), (None, Some(2), Some(2), None));
    append_synced(&mut journal, &batch(3, 4, 1, 10));
    assert_eq!((term_at(3), term_at(4)), (Some(2), Some(3)));
    assert_eq!(term_at(5), None, "replaced, and not written again");
    journal.cut(4).expect("cut");
    run_ready(journal.sync()).expect("synced");
    assert_eq!(term_at(4), None, "what was before the cut is void");
}

/// A disk without room for the next segment: it is put off, the present one goes on, and what is released is used again.
/// A batch for which there is no room is not written, and nothing else is wrong: it is tried again until there is.
#[test]
fn what_there_is_no_room_for_may_be_appended_later() {
    // In the middle of a segment and at its end.
    for count in 1..12 {
        let disk = MemoryDisk::new();
        let mut journal = recover(&disk, 0).expect("fresh").journal;
        let mut next = 1;
        for _ in 0..count {
            append_synced(&mut journal, &batch(1, next, 1, 900));
            next += 1;
        }
        let before = journal.appended();
        disk.leave_room(Some(0));
        let (mut refused, mut taken) = (0, 0);
        while refused < 3 {
            match journal.append(&batch(1, next, 1, 900)) {
                Ok(_) => {
                    taken += 1;
                    next += 1;
                }
                Err(Wrong::Fault(fault)) => {
                    assert!(fault.is_no_space(), "{fault}");
                    refused += 1;
                    run_ready(journal.sync()).expect("what was taken is durable");
                    while run_ready(journal.prepare()).expect("put off") {}
                    assert!(journal.lacks_room());
                }
                Err(wrong) => panic!("{wrong}"),
            }
        }
        assert_eq!(journal.appended(), before + taken);
        assert_eq!(recover(&disk.copy(), 0).expect("recovered").journal.last_index(), next - 1);
        disk.leave_room(None);
        for _ in 0..12 {
            append_synced(&mut journal, &batch(1, next, 1, 900));
            next += 1;
        }
        let recovered = recover(&disk, 0).expect("recovered");
        assert_eq!((recovered.journal.last_index(), recovered.entries.len() as u64), (next - 1, next - 1));
    }
}

#[test]
fn a_full_disk_puts_work_off_and_takes_what_is_appended() {
    let disk = MemoryDisk::new();
    let mut journal = recover(&disk, 0).expect("fresh").journal;
    let mut next = 1;
    let mut fill = |journal: &mut Journal<MemoryDisk>, count: u64| {
        for _ in 0..count {
            append_synced(journal, &batch(1, next, 1, 900));
            next += 1;
            run_ready(journal.prepare()).expect("put off, and nothing worse");
        }
        next - 1
    };
    // The first segment of all grows as it is written; the ones after it were written before.
    fill(&mut journal, 4);
    while run_ready(journal.prepare()).expect("prepared") {}
    disk.leave_room(Some(0));
    let released = fill(&mut journal, 3);
    assert!(journal.lacks_room(), "the one that was ready is in use, and there is none after it");
    assert!(!disk.exists("wal/next.fill").expect("asked"), "what was begun went");
    // A checkpoint lets go of the first, and that is the next: nothing has to grow.
    journal.release(released).expect("released");
    while run_ready(journal.prepare()).expect("prepared") {}
    let last = fill(&mut journal, 4);
    assert!(!disk.all_files().iter().any(|file| file.ends_with(".fill")));
    assert_eq!(recover(&disk.copy(), released).expect("recovered").journal.last_index(), last);
    // Room comes back, and nobody was told: it stays put off. Then somebody looks.
    disk.leave_room(None);
    let lacks = journal.lacks_room();
    while run_ready(journal.prepare()).expect("prepared") {}
    assert_eq!(journal.lacks_room(), lacks);
    journal.look_for_room();
    while run_ready(journal.prepare()).expect("prepared") {}
    assert!(!journal.lacks_room());
    // Others need room: what is kept for use again goes, and the log goes on.
    let last = fill(&mut journal, 12);
    journal.release(last - 1).expect("released");
    while run_ready(journal.prepare()).expect("prepared") {}
    assert!(disk.all_files().iter().any(|file| file.ends_with(".spare")));
    journal.give_room().expect("removed");
    assert!(!disk.all_files().iter().any(|file| file.ends_with(".spare")));
    let last = fill(&mut journal, 3);
    assert_eq!(recover(&disk, last - 1).expect("recovered").entries.len(), 1);
}

/// Making a segment ready may fail behind its name, as where no descriptor is left for the directory's sync: that file stands in nobody's way.
#[test]
fn a_segment_that_was_given_up_behind_its_name_is_begun_anew() {
    let disk = MemoryDisk::new();
    let mut journal = recover(&disk, 0).expect("fresh").journal;
    for segment in 2..=3_u64 {
        let left = disk.open(&format!("wal/{segment:016x}.seg"), OpenMode::Create).expect("made");
        left.write_at(0, &[7; 5000]).expect("written");
    }
    for next in 1..=12 {
        append_synced(&mut journal, &batch(1, next, 1, 900));
    }
    assert_eq!(recover(&disk.copy(), 0).expect("recovered").entries.len(), 12);
}

/// Others need room: what is not in use goes, the log goes on without, and takes room ahead again when it may.
#[test]
fn the_log_gives_what_it_takes_ahead() {
    const SEGMENT: u64 = 8 * 1024 * 1024;
    let disk = MemoryDisk::new();
    disk.create_dir("wal").expect("made");
    let wal = UnrecoveredWal::open(disk.clone(), "wal").expect("opened").with_segment_bytes(SEGMENT);
    let mut journal = run_ready(wal.recover(ME, 0)).expect("fresh").journal;
    let mut next = 1;
    let mut fill = |journal: &mut Journal<MemoryDisk>, count: u64| {
        for _ in 0..count {
            append_synced(journal, &batch(1, next, 1, 900_000));
            next += 1;
        }
        next - 1
    };
    let files = || disk.list("wal").expect("listed").len();
    let last = fill(&mut journal, 10);
    let in_use = files();
    run_ready(journal.prepare()).expect("begun");
    assert!(disk.exists("wal/next.fill").expect("asked"));
    // What a checkpoint lets go of is the next segment, and what was begun for it goes.
    journal.release(last - 1).expect("released");
    while run_ready(journal.prepare()).expect("prepared") {}
    assert!(!disk.exists("wal/next.fill").expect("asked"));
    assert_eq!((files(), journal.ready.is_some()), (in_use, true), "one went, and is the next");
    journal.give_room().expect("given");
    while run_ready(journal.prepare()).expect("nothing is done") {}
    assert_eq!((files(), journal.ready.is_some()), (in_use - 1, false), "nobody said that it may take room again");
    let last = fill(&mut journal, 12);
    let wal = UnrecoveredWal::open(disk.copy(), "wal").expect("opened").with_segment_bytes(SEGMENT);
    assert_eq!(run_ready(wal.recover(ME, last - 1)).expect("recovered").journal.last_index(), last);
    journal.look_for_room();
    while run_ready(journal.prepare()).expect("prepared") {}
    assert!(journal.ready.is_some());
    // Near the end of the one in use the next stays: what makes room is to be written down, too.
    while SEGMENT - journal.active.offset >= limits::WAL_GIVES_BESIDE_BYTES {
        fill(&mut journal, 1);
    }
    assert!(journal.ready.is_some(), "not begun yet");
    journal.give_room().expect("nothing to give");
    assert!(journal.ready.is_some());
}
