//! Every flipped byte, every truncation and every missing file of a small log.

use super::*;
use crate::env::{DiskFile, OpenMode};

const SMALL: u64 = 2048;

/// A frame of a mark's body.
const MARK_BYTES: usize = crate::log::frame::total_len(48);

/// A log of two used segments and a third made ready, each batch synced, with what it holds.
fn small_log() -> (MemoryDisk, Vec<LogEntry>) {
    let disk = MemoryDisk::new();
    let mut journal = recover_small(&disk).expect("fresh").journal;
    let mut entries = Vec::new();
    for index in 1..=5 {
        while run_ready(journal.prepare()).expect("prepared") {}
        append_synced(&mut journal, &batch(1, index, 1, 60));
        entries.push(entry(index, 1, 60));
    }
    while run_ready(journal.prepare()).expect("prepared") {}
    (disk, entries)
}

fn recover_small(disk: &MemoryDisk) -> Result<RecoveredWal<MemoryDisk>, Wrong> {
    let wal = UnrecoveredWal::open(disk.clone(), "wal")?.with_segment_bytes(SMALL);
    run_ready(wal.recover(ME, 0))
}

fn content(disk: &MemoryDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name, OpenMode::Read).expect("there");
    let mut bytes = vec![0; file.len().expect("known") as usize];
    file.read_full_at(0, &mut bytes).expect("read");
    bytes
}

fn with_content(disk: &MemoryDisk, name: &str, bytes: &[u8]) -> MemoryDisk {
    let disk = disk.copy();
    let file = disk.open(name, OpenMode::Write).expect("there");
    file.set_len(0).expect("cut");
    file.write_at(0, bytes).expect("written");
    disk
}

/// The log whose hint was lost with the power: the mark says only what was synced with it.
fn without_hint(disk: &MemoryDisk) -> MemoryDisk {
    let mut mark = content(disk, "wal/durable");
    mark[8192..].fill(0);
    with_content(disk, "wal/durable", &mark)
}

/// Either all is there, or the last `may_lose` batches are gone, or the refusal names `file`.
fn check(disk: &MemoryDisk, entries: &[LogEntry], may_lose: usize, file: &str, what: &str) -> bool {
    match recover_small(disk) {
        Ok(recovered) => {
            let n = recovered.entries.len();
            assert_eq!(recovered.entries, entries[..n], "{what}");
            assert!(n + may_lose >= entries.len(), "{what}: {} entries lost silently", entries.len() - n);
            // What was cut is cut for good, and the log goes on.
            let mut journal = recovered.journal;
            append_synced(&mut journal, &batch(2, n as u64 + 1, 1, 60));
            assert_eq!(recover_small(disk).expect("mended").entries.len(), n + 1, "{what}");
            true
        }
        Err(Wrong::Corruption(corruption)) => {
            assert_eq!(corruption.file, file, "{what}: {corruption}");
            assert!(corruption.offset < SMALL, "{what}: {corruption}");
            false
        }
        Err(Wrong::Fault(fault)) => panic!("{what}: {fault}"),
    }
}

fn flip_every_byte(disk: &MemoryDisk, entries: &[LogEntry], may_lose: usize) -> (u32, u32) {
    let (mut accepted, mut refused) = (0, 0);
    for name in disk.all_files() {
        let bytes = content(disk, &name);
        // Of the zeroes, which are mostly padding, every fifth.
        for at in (0..bytes.len()).filter(|at| bytes[*at] != 0 || at.is_multiple_of(5)) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let may_lose = if name == "wal/durable" { 0 } else { may_lose };
            let what = format!("{name} flipped at {at}");
            match check(&with_content(disk, &name, &flipped), entries, may_lose, &name, &what) {
                true => accepted += 1,
                false => refused += 1,
            }
        }
    }
    (accepted, refused)
}

#[test]
fn any_flipped_byte_of_a_durable_log_is_harmless_or_refused() {
    let (disk, entries) = small_log();
    let (accepted, refused) = flip_every_byte(&disk, &entries, 0);
    // Five batches of about 160 bytes and two headers of some 70: flips there cannot be accepted.
    assert!(refused > 400 && accepted > 400, "accepted {accepted}, refused {refused}");
}

#[test]
fn without_the_hint_only_the_last_batch_can_be_lost() {
    let (disk, entries) = small_log();
    let (accepted, refused) = flip_every_byte(&without_hint(&disk), &entries, 1);
    assert!(refused > 300 && accepted > 400, "accepted {accepted}, refused {refused}");
}

#[test]
fn any_truncation_is_harmless_or_refused() {
    let (disk, entries) = small_log();
    for name in disk.all_files() {
        let bytes = content(&disk, &name);
        for len in (0..bytes.len()).filter(|len| bytes[*len] != 0 || len.is_multiple_of(5)) {
            let what = format!("{name} cut to {len}");
            check(&with_content(&disk, &name, &bytes[..len]), &entries, 0, &name, &what);
        }
    }
}

#[test]
fn a_missing_file_is_noticed() {
    let (disk, entries) = small_log();
    let files = disk.all_files();
    assert_eq!(files.len(), 4, "{files:?}");
    for name in files {
        let disk = disk.copy();
        disk.remove(&name).expect("removed");
        let answer = recover_small(&disk);
        if name.ends_with("3.seg") {
            // The log's next, empty segment.
            assert_eq!(answer.expect("recovered").entries, entries);
        } else {
            let text = answer.expect_err("refused").to_string();
            assert!(text.contains(if name.ends_with("durable") { "no durable mark" } else { &name }), "{name}: {text}");
        }
    }
}

#[test]
fn a_log_put_back_to_an_older_copy_is_noticed_by_a_newer_mark() {
    let (disk, _) = small_log();
    let old = disk.copy();
    let mut journal = recover_small(&disk).expect("recovered").journal;
    append_synced(&mut journal, &batch(1, 6, 1, 60));
    let mixed = with_content(&old, "wal/durable", &content(&disk, "wal/durable"));
    recover_small(&mixed).expect_err("batch 6 was durable");
}

#[test]
fn a_file_of_absurd_name_or_size_is_no_harm() {
    let (disk, entries) = small_log();
    let far = "wal/ffffffffffffffff.seg";
    disk.open(far, OpenMode::Create).expect("made").write_at(0, b"?").expect("written");
    assert_eq!(recover_small(&disk).expect("recovered").entries, entries);
    assert!(!disk.exists(far).expect("known"), "it was never part of the log");
}

#[test]
fn a_slot_of_the_mark_that_cannot_be_read_is_made_anew() {
    let (disk, entries) = small_log();
    for slot in [0, 4096, 8192] {
        let disk = ScramblingDisk::new(disk.copy(), 7);
        disk.make_unreadable("wal/durable", slot..slot + 4096);
        let open = || UnrecoveredWal::open(disk.clone(), "wal").expect("opened").with_segment_bytes(SMALL);
        let mut recovered = run_ready(open().recover(ME, 0)).expect("the other slots say it");
        assert_eq!(recovered.entries, entries);
        let told: Vec<(&str, u64)> =
            recovered.unreadable.iter().map(|part| (part.file.as_str(), part.offset)).collect();
        assert_eq!(told, [("wal/durable", slot)]);
        append_synced(&mut recovered.journal, &batch(1, 6, 1, 60));
        let again = run_ready(open().recover(ME, 0)).expect("recovered");
        assert!(again.unreadable.is_empty() && again.entries.len() == 6);
    }
    let disk = ScramblingDisk::new(disk, 7);
    disk.make_unreadable("wal/durable", 0..4096);
    disk.make_unreadable("wal/durable", 4096..8192);
    let wrong = UnrecoveredWal::open(disk, "wal").expect_err("neither slot says anything");
    assert!(matches!(&wrong, Wrong::Fault(fault) if fault.is_of_device()), "{wrong}");
}

/// Any bit of any slot, of which the others say all that it says: the start goes on, says which it was, and has made it anew.
#[test]
fn a_slot_of_the_mark_that_does_not_verify_is_told_once_and_made_anew() {
    let (disk, entries) = small_log();
    let whole = content(&disk, "wal/durable");
    let told = |disk: &MemoryDisk| -> Vec<(String, u64)> {
        let recovered = recover_small(disk).expect("the other slots say it");
        assert_eq!(recovered.entries, entries);
        assert!(recovered.unreadable.iter().all(|lost| lost.what.contains("does not verify")));
        recovered.unreadable.into_iter().map(|lost| (lost.file, lost.offset)).collect()
    };
    assert_eq!(told(&disk), [], "nothing is told of a whole one");
    let slots = [0_u64, 4096, 8192];
    let written = |slot: u64| slot as usize..slot as usize + MARK_BYTES;
    for slot in slots {
        for at in written(slot) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            let left = with_content(&disk, "wal/durable", &flipped);
            assert_eq!(told(&left), [("wal/durable".to_string(), slot)], "flipped at {at}");
            assert_eq!(told(&left), [], "made anew after {at}");
        }
        // The rest of its page says nothing.
        let mut padded = whole.clone();
        padded[slot as usize + 4095] ^= 1;
        assert_eq!(told(&with_content(&disk, "wal/durable", &padded)), []);
    }
    for (first, second) in [(0, 8192), (4096, 8192)] {
        let mut flipped = whole.clone();
        flipped[first] ^= 1;
        flipped[second] ^= 1;
        let both = [first, second].map(|slot| ("wal/durable".to_string(), slot as u64));
        assert_eq!(told(&with_content(&disk, "wal/durable", &flipped)), both);
    }
    let short = with_content(&disk, "wal/durable", &whole[..8192]);
    assert_eq!(told(&short), [("wal/durable".to_string(), 8192)]);
}

/// A device has written the second slot over, and the first is shown of two times: the half that was read first was dropped from
/// memory before the other half came (seed 9100008).
#[test]
fn a_slot_of_the_mark_that_comes_in_pieces_of_two_times_is_read_again() {
    let (disk, entries) = small_log();
    let mut mark = content(&disk, "wal/durable");
    mark[4096..8192].fill(0);
    let left = with_content(&disk, "wal/durable", &mark);
    let open = |changed| {
        let disk = ScramblingDisk::new(left.copy(), 7);
        disk.change_next_reads(changed);
        UnrecoveredWal::open(disk, "wal").map(|wal| wal.with_segment_bytes(SMALL))
    };
    let recovered = run_ready(open(1).expect("read again").recover(ME, 0)).expect("recovered");
    assert_eq!(recovered.entries, entries);
    let wrong = open(1_000).expect_err("what never verifies is damaged");
    assert!(matches!(&wrong, Wrong::Corruption(damage) if damage.file == "wal/durable"), "{wrong}");
}

/// Whichever slot is lost with the hint, the other one names no segment that is gone.
#[test]
fn one_slot_is_enough_after_segments_were_let_go() {
    for released in 1..=4 {
        let (disk, entries) = small_log();
        let mut journal = recover_small(&disk).expect("recovered").journal;
        journal.release(released).expect("alive");
        while run_ready(journal.prepare()).expect("prepared") {}
        drop(journal);
        for lost in [0, 4096] {
            let mut mark = content(&disk, "wal/durable");
            mark[lost..lost + 4096].fill(0);
            let left = without_hint(&with_content(&disk, "wal/durable", &mark));
            let wal = UnrecoveredWal::open(left, "wal").expect("opened").with_segment_bytes(SMALL);
            let recovered = run_ready(wal.recover(ME, released)).expect("recovered");
            assert_eq!(recovered.entries, entries[released as usize..], "released {released}, lost {lost}");
        }
    }
}

/// A sector that cannot be read where nothing stands that counts: the rest of a segment, or one made ready, and the header of
/// one whose batches are whole. Where the next batch would stand nobody can say that there is none.
#[test]
fn a_leftover_that_cannot_be_read_is_written_over() {
    let (disk, _) = small_log();
    let mut journal = recover_small(&disk).expect("recovered").journal;
    for index in [6, 7] {
        append_synced(&mut journal, &batch(1, index, 1, 60));
        while run_ready(journal.prepare()).expect("prepared") {}
    }
    drop(journal);
    let files: Vec<String> = disk.all_files().into_iter().filter(|name| name.ends_with(".seg")).collect();
    assert_eq!(files.len(), 4, "three batches in each but the last two");
    let mut passed_over = Vec::new();
    for file in &files {
        for sector in (0..SMALL).step_by(512) {
            let disk = ScramblingDisk::new(disk.copy(), sector);
            disk.make_unreadable(file, sector..sector + 512);
            let open = || UnrecoveredWal::open(disk.clone(), "wal").expect("opened").with_segment_bytes(SMALL);
            match run_ready(open().recover(ME, 0)) {
                Ok(mut recovered) => {
                    assert_eq!(recovered.entries.len(), 7, "{file} at {sector}");
                    assert_eq!(recovered.unreadable.len(), 1);
                    append_synced(&mut recovered.journal, &batch(1, 8, 1, 60));
                    let again = run_ready(open().recover(ME, 0)).expect("recovered");
                    assert!(again.unreadable.is_empty() && again.entries.len() == 8, "{file} at {sector}");
                    passed_over.push((file.as_str(), sector));
                }
                Err(wrong) => assert!(matches!(&wrong, Wrong::Fault(fault) if fault.is_of_device()), "{wrong}"),
            }
        }
    }
    let (active, ready) = (files[2].as_str(), files[3].as_str());
    let headers = files[..3].iter().map(|file| (file.as_str(), 0));
    let mut expected: Vec<_> = headers.chain([(active, 1536), (ready, 1024), (ready, 1536)]).collect();
    expected.sort_unstable();
    assert_eq!(passed_over, expected);
}
