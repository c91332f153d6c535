//! Halves of snapshots: what their files say is believed as far as it is true of what arrived.

use bytes::{BufMut, Bytes, BytesMut};

use crate::base::{Revision, limits};
use crate::env::{Disk, DiskFile, MemoryDisk, OpenMode, ScramblingDisk, run_ready};
use crate::mvcc::half::{Half, Logbook, Note};
use crate::mvcc::history::GENERATION_NUMBERS;
use crate::mvcc::key_index::KeyMeta;
use crate::mvcc::position::SegmentMark;
use crate::mvcc::record::{Record, RecordSlice};
use crate::mvcc::record_order::{Bounds, check_one};
use crate::mvcc::snapshot::{SnapshotHeader, SnapshotProgress};
use crate::mvcc::snapshot_source::SnapshotSource;
use crate::mvcc::{NO_PREV, NewValue, SnapshotBuilder, Store, StoreOptions, StorePosition};

const ID: u64 = 77;
const GENERATION: u64 = 3;
const KEYS: usize = 60;

/// The chunks of a state, a record each; so many records are alike in all such states.
fn chunks(alike: usize, other: &str, state: Bytes) -> Vec<Bytes> {
    let options = StoreOptions { cache_bytes: 0, segment_bytes: 1 << 20 };
    let mut store = Store::open(MemoryDisk::new(), options, &StorePosition::default(), &[]).unwrap();
    for n in 0..KEYS {
        let value = if n < alike { "alike" } else { other };
        let mut txn = store.begin(NO_PREV);
        let (key, value) = (format!("k{n:03}").into(), value.to_string().into());
        txn.put(NewValue { key, value, lease: 0, backing_bytes: 0 }).unwrap();
        txn.commit();
    }
    let mut source = SnapshotSource::new(store.view(), store.compact_revision(), ID, state, 1);
    std::iter::from_fn(|| source.next_chunk().unwrap()).collect()
}

fn disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir("history").unwrap();
    disk
}

/// Takes them in, a note for each quarter of a segment; without the last one it is a half.
fn build<D: Disk>(disk: &D, chunks: &[Bytes], segment_bytes: u64) -> SnapshotBuilder<D> {
    let builder = SnapshotBuilder::new(disk.clone(), ID, GENERATION, segment_bytes);
    let mut builder = builder.kept_for(Bytes::from_static(b"about"));
    chunks.iter().for_each(|chunk| run_ready(builder.take(chunk)).unwrap());
    builder
}

fn found<D: Disk>(disk: &D) -> Half {
    Half::find(disk).unwrap().expect("it is there")
}

/// How far what is there is good.
fn goes_on<D: Disk>(disk: &D, segment_bytes: u64) -> Option<SnapshotProgress> {
    let builder = SnapshotBuilder::resume(disk.clone(), &found(disk), segment_bytes, &|| true).unwrap();
    builder.map(|builder| builder.progress())
}

fn content(disk: &MemoryDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name, OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_full_at(0, &mut bytes).unwrap();
    bytes
}

fn put_content(disk: &MemoryDisk, name: &str, bytes: &[u8]) {
    let file = disk.open(name, OpenMode::Write).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    file.write_at(0, bytes).unwrap();
}

fn segments(disk: &MemoryDisk) -> Vec<String> {
    disk.all_files().into_iter().filter(|file| file.ends_with(".seg")).collect()
}

/// Every frame of theirs verifies, they are as long and hold as many records: only the digest tells them.
#[test]
fn segments_of_another_state_are_believed_as_far_as_both_are_alike() {
    for (segment_bytes, alike) in [(200, 0), (200, 1), (200, 25), (200, KEYS), (2_000, 0), (2_000, 40)] {
        let (own, other) = (disk(), disk());
        let own_chunks = chunks(alike, "an own", Bytes::new());
        let own_at = build(&own, &own_chunks[..KEYS], segment_bytes).progress();
        build(&other, &chunks(alike, "others", Bytes::new())[..KEYS], segment_bytes);
        assert_eq!(segments(&own), segments(&other));
        // As a start does.
        for file in segments(&own).iter().filter(|file| !found(&own).files().contains(file)) {
            own.remove(file).unwrap();
        }
        for file in segments(&own) {
            assert_eq!(content(&own, &file).len(), content(&other, &file).len());
            put_content(&own, &file, &content(&other, &file));
        }
        let there = goes_on(&own, segment_bytes);
        let records = there.map_or(0, |there| there.records);
        assert!(records <= alike as u64 && own_at.records + 1 == KEYS as u64, "{records} of {alike} are believed");
        // Notes are that far apart.
        let missed = alike as u64 - records;
        assert!(missed <= segment_bytes / 100 || alike == KEYS, "{missed} of {alike} are not");
        // What was gone on with is what was sent: it becomes whole.
        let Some(there) = there else { continue };
        let mut builder = SnapshotBuilder::resume(own.clone(), &found(&own), segment_bytes, &|| true).unwrap().unwrap();
        own_chunks[there.chunk as usize..].iter().for_each(|chunk| run_ready(builder.take(chunk)).unwrap());
        run_ready(builder.finish()).unwrap();
    }
}

/// A start cuts what is behind the note it goes on behind, and nothing says which cut a loss of power leaves.
#[test]
fn a_cut_that_the_logbook_does_not_know_costs_no_good_note() {
    let disk = disk();
    let segment_bytes = 4_000;
    build(&disk, &chunks(0, "a value", Bytes::new())[..KEYS], segment_bytes);
    let half = found(&disk);
    let [first, second, ..] = &half.notes[..] else { panic!("there are several: {:?}", half.notes) };
    let segment = &segments(&disk)[0];
    assert_eq!(first.growing().number, second.growing().number);
    let (mut bytes, logbook) = (content(&disk, segment), &half.files()[0]);
    let before = content(&disk, logbook);
    bytes[(first.growing().len as usize).midpoint(second.growing().len as usize)] ^= 1;
    put_content(&disk, segment, &bytes);
    assert_eq!(goes_on(&disk, segment_bytes), Some(first.at), "it goes on before the damage");
    assert_eq!(content(&disk, segment).len() as u64, first.growing().len);
    assert!(content(&disk, logbook).len() < before.len());
    put_content(&disk, logbook, &before);
    assert_eq!(found(&disk).notes, half.notes);
    assert_eq!(goes_on(&disk, segment_bytes), Some(first.at), "and again");
    // The other way round there is more of the segment than anybody knows of.
    put_content(&disk, segment, &bytes);
    assert_eq!(goes_on(&disk, segment_bytes), Some(first.at));
}

fn header(state: &[u8]) -> SnapshotHeader {
    SnapshotHeader { revision: 9, compact_revision: -1, state_bytes: state.len() as u64, about_bytes: 0, keys: 0 }
}

/// A logbook of these notes, each of segments of these numbers.
fn logbook(disk: &MemoryDisk, generation: u64, notes: &[(&[u64], u32)]) {
    let mut logbook = run_ready(Logbook::begin(disk, (generation, ID), b"about", &header(b""), b"")).unwrap();
    for (numbers, sub) in notes {
        let mark =
            |number: &u64| SegmentMark { number: *number, first: 2, last: 2, len: 8, sparse: false, outline: None };
        let segments = numbers.iter().map(mark).collect();
        let last = (Revision::new(2, *sub), true);
        let note = Note { at: SnapshotProgress::default(), last, segments, end: 0 };
        run_ready(logbook.note(&note)).unwrap();
    }
}

#[test]
fn notes_of_what_cannot_be_are_none() {
    let first = GENERATION * GENERATION_NUMBERS;
    let good: &[(&[u64], u32)] = &[(&[first], 0), (&[first, first + 1], 1), (&[first + 1], u32::MAX - 1)];
    let notes = |notes: &[(&[u64], u32)]| {
        let disk = disk();
        logbook(&disk, GENERATION, notes);
        Half::find(&disk).unwrap().map_or(0, |half| half.notes.len())
    };
    assert_eq!(notes(good), 3);
    let bad: [(&[u64], u32); 7] = [
        (&[first + 1], u32::MAX),
        (&[first + 1, first + 1], 0),
        (&[first + 1, first], 0),
        (&[first + 1, first + GENERATION_NUMBERS], 0),
        (&[first - 1, first + 1], 0),
        (&[first], 0),
        // The one that grew is named again, or it would be forgotten.
        (&[first + 2], 0),
    ];
    for bad in bad {
        assert_eq!(notes(&[good, &[bad]].concat()), 3, "{bad:?}");
    }
    assert_eq!(notes(&[(&[0], 0)]), 0);
    // Behind the last generation nothing could be built; and only the very name is one.
    let last = GENERATION_NUMBERS - 1;
    for (generation, is_one) in [(last, false), (last - 1, true)] {
        let disk = disk();
        logbook(&disk, generation, &[(&[generation * GENERATION_NUMBERS], 0)]);
        assert_eq!(Half::find(&disk).unwrap().is_some(), is_one, "{generation}");
    }
    let disk = disk();
    logbook(&disk, GENERATION, good);
    for name in ["0000000400000001", "400000000", "+000000400000000", "0000000000000001", "0000000A00000000"] {
        disk.open(&format!("history/{name}.half"), OpenMode::Create).unwrap();
        assert_eq!(found(&disk).generation(), GENERATION, "{name} is no logbook");
    }
}

/// Behind each there is a revision that comes next.
#[test]
fn revisions_at_the_end_of_all_are_refused() {
    let (key, value) = (Bytes::from_static(b"k"), Bytes::new());
    let verdict = |sub| {
        let meta = KeyMeta { revision: Revision::new(5, sub), create_revision: 5, version: 1, lease: 0 };
        let mut bytes = BytesMut::new();
        Record { meta, last: true, key: key.clone(), value: value.clone() }.encode(&mut bytes);
        let bounds = Bounds { complete_from: 7, newest: 9, may_hold_dead: false };
        check_one(&RecordSlice::decode(&bytes).unwrap(), &bounds, None)
    };
    verdict(u32::MAX - 1).unwrap();
    verdict(u32::MAX).unwrap_err();
    SnapshotHeader { revision: i64::MAX - 1, ..header(b"") }.check().unwrap();
    SnapshotHeader { revision: i64::MAX, ..header(b"") }.check().unwrap_err();
}

/// A state may be as large as memory: whoever else waits for the disk does not wait for all of it at once, and what is told of
/// a half holds no more of it in memory than it is.
#[test]
fn the_state_of_a_half_is_synced_in_pieces_and_read_once() {
    let mut state = BytesMut::new();
    state.put_bytes(7, 2 * limits::SYNC_PIECE_BYTES + 1_000);
    let begin = |disk: &ScramblingDisk<MemoryDisk>| {
        run_ready(Logbook::begin(disk, (GENERATION, ID), b"about", &header(&state), &state)).map(drop)
    };
    for (sync, is_one) in [(1, true), (2, true), (3, false)] {
        let disk = ScramblingDisk::new(disk(), 1);
        disk.fail_sync(sync);
        assert_eq!(begin(&disk).is_err(), is_one, "{sync}");
    }
    let disk = disk();
    let header = header(&state);
    let begun = Logbook::begin(&disk, (GENERATION, ID), b"about", &header, &state);
    let segments = vec![SegmentMark {
        number: GENERATION * GENERATION_NUMBERS,
        first: 2,
        last: 2,
        len: 8,
        sparse: false,
        outline: None,
    }];
    let note = Note { at: SnapshotProgress::default(), last: (Revision::new(2, 0), true), segments, end: 0 };
    run_ready(run_ready(begun).unwrap().note(&note)).unwrap();
    let half = found(&disk);
    assert_eq!((&half.about[..], &half.state[..]), (&b"about"[..], &state[..]));
    let about = half.about.try_into_mut().expect("nobody else has it");
    assert!(about.capacity() < 1_000, "{}", about.capacity());
}

/// Wherever the room for the logbook ends, the snapshot needs no more than its records and the state do.
#[test]
fn a_snapshot_arrives_where_there_is_no_room_for_its_logbook() {
    let (mut never_begun, mut broke_off) = (0, 0);
    for state_bytes in [0, 10, 300, 8_000] {
        let chunks = chunks(0, "a value", vec![1; state_bytes].into());
        let plain = disk();
        let mut builder = SnapshotBuilder::new(plain.clone(), ID, GENERATION, 1_000);
        chunks.iter().for_each(|chunk| run_ready(builder.take(chunk)).unwrap());
        let expected = run_ready(builder.finish()).unwrap();
        let bytes: usize = plain.all_files().iter().map(|file| content(&plain, file).len()).sum();
        for room in (bytes..bytes + 3_000).step_by(100) {
            let disk = disk();
            disk.leave_room(Some(room));
            let mut builder = build(&disk, &[], 1_000);
            let (mut had_one, mut ever) = (false, false);
            for chunk in &chunks {
                run_ready(builder.take(chunk)).unwrap();
                let has_one = disk.all_files().iter().any(|file| file.ends_with(".half"));
                broke_off += usize::from(had_one && !has_one);
                had_one = has_one;
                ever |= has_one;
            }
            never_begun += usize::from(!ever);
            assert_eq!(run_ready(builder.finish()).unwrap(), expected);
            assert_eq!(disk.all_files(), plain.all_files());
        }
    }
    assert!(never_begun > 5 && broke_off > 5, "{never_begun}, {broke_off}");
}
