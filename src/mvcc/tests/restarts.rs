//! What a start does to the files: the checkpoint that is kept beside the one it begins at stays usable, and a
//! start that is refused changes nothing.

use bytes::{BufMut, BytesMut};

use crate::base::{KeyRange, Wrong};
use crate::env::{Disk, DiskFile, MemoryDisk, OpenMode, run_ready};
use crate::log::frame::{self, FRAME_HEADER_BYTES};
use crate::log::{LOG_HISTORY, Place};
use crate::mvcc::history_write::file_name;
use crate::mvcc::record::KIND_PAD;
use crate::mvcc::segment::SegmentScan;
use crate::mvcc::{
    HistoryWriter, NO_PREV, NewValue, RangeAnswer, RangeQuery, ReadFailure, Store, StoreOptions, StorePosition,
};

const OPTIONS: StoreOptions = StoreOptions { cache_bytes: 0, segment_bytes: 300 };

fn put(store: &mut Store<MemoryDisk>, key: &str) {
    let mut txn = store.begin(NO_PREV);
    txn.put(NewValue { key: key.to_string().into(), value: "a value".into(), lease: 0, backing_bytes: 0 }).unwrap();
    txn.commit();
}

fn write(store: &mut Store<MemoryDisk>, writer: &mut HistoryWriter<MemoryDisk>) {
    if let Some(mark) = writer.write(&store.take_writes()).unwrap() {
        store.written(mark);
    }
}

fn everything(store: &Store<MemoryDisk>) -> RangeAnswer {
    store.view().range(&RangeQuery::plain(KeyRange::all())).unwrap()
}

/// A store that was reclaimed between its two checkpoints: the disk, and older and newer position.
fn reclaimed_between() -> (MemoryDisk, StorePosition, StorePosition) {
    let disk = MemoryDisk::new();
    let mut store = Store::open(disk.clone(), OPTIONS, &StorePosition::default(), &[]).unwrap();
    let mut writer = HistoryWriter::new(disk.clone());
    for n in 0..60 {
        put(&mut store, &format!("k{}", n % 3));
    }
    write(&mut store, &mut writer);
    let older = store.position();
    store.compact(50).unwrap();
    while store.compaction_step(9).unwrap() {}
    while let Some(job) = store.reclaim_candidate(false) {
        store.reclaimed(run_ready(job.run(&disk)).unwrap());
    }
    put(&mut store, "later");
    write(&mut store, &mut writer);
    let newer = store.position();
    assert!(store.garbage(&[&older, &newer]).is_empty(), "the older needs all");
    (disk, older, newer)
}

#[test]
fn the_older_checkpoint_outlives_a_start_from_the_newer() {
    let (disk, older, newer) = reclaimed_between();
    let expected = everything(&Store::open(disk.copy(), OPTIONS, &older, &[]).unwrap());
    let mut store = Store::open(disk.clone(), OPTIONS, &newer, &[&older]).unwrap();
    let numbers = |position: &StorePosition| -> Vec<String> { position.files().map(|(name, _)| name).collect() };
    // What is written now takes no number of a file that is kept.
    let mut writer = HistoryWriter::new(disk.clone());
    for n in 0..20 {
        put(&mut store, &format!("new{n}"));
    }
    write(&mut store, &mut writer);
    let known: Vec<String> = numbers(&older).into_iter().chain(numbers(&newer)).collect();
    assert!(store.position().files().any(|(name, _)| !known.contains(&name)));
    assert_eq!(everything(&Store::open(disk.copy(), OPTIONS, &older, &[]).unwrap()), expected);
    // Two checkpoints later they go.
    let later = store.position();
    let garbage = store.garbage(&[&newer, &later]);
    let only_older: Vec<String> = numbers(&older).into_iter().filter(|name| !numbers(&newer).contains(name)).collect();
    assert_eq!(garbage, only_older);
    assert!(!garbage.is_empty());
}

/// A number that only the older position names, the largest of all, is not given again.
#[test]
fn numbers_of_kept_files_are_not_given_again() {
    let (disk, older, newer) = reclaimed_between();
    // The newer as the older, as if its reclaim had been undone: it has the larger numbers.
    let mut store = Store::open(disk.clone(), OPTIONS, &older, &[&newer]).unwrap();
    for n in 0..20 {
        put(&mut store, &format!("new{n}"));
    }
    for write in store.take_writes() {
        let len = newer.files().find(|(name, _)| *name == write.file()).map_or(0, |(_, len)| len);
        assert!(len == 0 || older.files().any(|(name, _)| name == write.file()), "{} is kept", write.file());
    }
}

/// A write that went astray leaves what an earlier life wrote at its place, which may be a whole frame: the end of a sector. A
/// walk over what changed sees that a revision is missing, wherever it begins and wherever that one lies.
#[test]
fn a_revision_that_is_missing_is_noticed() {
    let options = StoreOptions { segment_bytes: 1 << 20, ..OPTIONS };
    let disk = MemoryDisk::new();
    let mut store = Store::open(disk.clone(), options, &StorePosition::default(), &[]).unwrap();
    let mut writer = HistoryWriter::new(disk.clone());
    (0..5).for_each(|n| put(&mut store, &format!("k{n}")));
    write(&mut store, &mut writer);
    let table = store.history.table().clone();
    let segment = &table.segments()[0];
    let mut scan = SegmentScan::new(segment.clone(), 2, 64);
    let mut frames = Vec::new();
    while let Some((at, record, total)) = scan.next().unwrap() {
        frames.push((record.meta.revision.main, at, total));
    }
    let name = file_name(segment.number());
    for (missing, at, total) in frames {
        let file = disk.open(&name, OpenMode::Write).unwrap();
        let mut held = vec![0; total];
        file.read_full_at(at, &mut held).unwrap();
        let mut old = BytesMut::new();
        let begun = frame::begin(&mut old);
        old.put_bytes(0, total - FRAME_HEADER_BYTES);
        frame::seal(&mut old, begun, Place { log: LOG_HISTORY, segment: segment.number(), offset: at }, KIND_PAD);
        file.write_at(at, &old).unwrap();
        for from in 2..=6 {
            let told = store.past().changes(from, usize::MAX);
            match told {
                Ok(changes) => assert!(from > missing, "{missing} from {from}: {changes:?}"),
                Err(ReadFailure::Wrong(Wrong::Corruption(damage))) => {
                    assert_eq!((damage.file, from <= missing), (name.clone(), true))
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        file.write_at(at, &held).unwrap();
    }
    assert_eq!(store.past().changes(2, usize::MAX).unwrap().events.len(), 5);
}

/// Every byte of every file, changed one at a time, is noticed at open and at reading, with its file.
#[test]
fn damage_is_named_never_answered() {
    let disk = MemoryDisk::new();
    let mut store = Store::open(disk.clone(), OPTIONS, &StorePosition::default(), &[]).unwrap();
    for n in 0..9 {
        put(&mut store, &format!("k{n}"));
    }
    write(&mut store, &mut HistoryWriter::new(disk.clone()));
    let position = store.position();
    assert!(position.files().count() > 1);
    let (whole, expected) = (disk, everything(&store));
    for (name, len) in position.files() {
        for at in 0..len {
            let disk = whole.copy();
            let file = disk.open(&name, OpenMode::Write).unwrap();
            let mut byte = [0];
            file.read_full_at(at, &mut byte).unwrap();
            file.write_at(at, &[byte[0] ^ 0x10]).unwrap();
            let error = Store::open(disk.clone(), OPTIONS, &position, &[]).err().expect("noticed");
            assert!(matches!(&error, Wrong::Corruption(c) if c.file == name && c.offset <= at), "{error}");
        }
        let disk = whole.copy();
        disk.open(&name, OpenMode::Write).unwrap().set_len(len - 1).unwrap();
        assert!(Store::open(disk, OPTIONS, &position, &[]).is_err());
        let disk = whole.copy();
        disk.remove(&name).unwrap();
        assert!(Store::open(disk, OPTIONS, &position, &[]).is_err());
        // The same while it is being read.
        let file = whole.open(&name, OpenMode::Write).unwrap();
        let mut byte = [0];
        file.read_full_at(len / 2, &mut byte).unwrap();
        file.write_at(len / 2, &[!byte[0]]).unwrap();
        let read = store.view().range(&RangeQuery::plain(KeyRange::all()));
        assert!(matches!(read, Err(ReadFailure::Wrong(Wrong::Corruption(c))) if c.file == name));
        file.write_at(len / 2, &byte).unwrap();
    }
    assert_eq!(everything(&store), expected);
}

#[test]
fn a_refused_start_changes_nothing() {
    let (disk, older, newer) = reclaimed_between();
    let content = |disk: &MemoryDisk| -> Vec<(String, Vec<u8>)> {
        let read = |name: String| {
            let file = disk.open(&name, OpenMode::Read).unwrap();
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_full_at(0, &mut bytes).unwrap();
            (name, bytes)
        };
        disk.all_files().into_iter().map(read).collect()
    };
    // Something to remove and something to cut, in every case.
    disk.open("history/ffff.seg", OpenMode::Create).unwrap().write_at(0, b"junk").unwrap();
    let (last, len) = newer.files().last().unwrap();
    disk.open(&last, OpenMode::Write).unwrap().write_at(len, b"more junk").unwrap();
    for (name, len) in newer.files() {
        let harms: [&dyn Fn(&MemoryDisk); 3] = [
            &|disk| disk.remove(&name).unwrap(),
            &|disk| disk.open(&name, OpenMode::Write).unwrap().set_len(len - 1).unwrap(),
            &|disk| disk.open(&name, OpenMode::Write).unwrap().write_at(len / 2, b"\xa5\xa5\xa5").unwrap(),
        ];
        for harm in harms {
            let disk = disk.copy();
            harm(&disk);
            let before = content(&disk);
            assert!(Store::open(disk.clone(), OPTIONS, &newer, &[&older]).is_err());
            assert_eq!(content(&disk), before, "{name}");
        }
    }
}
