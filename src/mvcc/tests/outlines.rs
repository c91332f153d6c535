//! Outlines: a start that reads them comes to the same store, reads nothing else, and does without them where it must.

use super::delete;
use crate::base::{KeyRange, Wrong};
use crate::env::{Disk, DiskFile, MemoryDisk, OpenMode, ScramblingDisk, run_ready};
use crate::mvcc::{
    HistoryWriter, KeyMeta, NO_PREV, NewValue, RangeAnswer, RangeQuery, ReadFailure, Store, StoreOptions, StorePosition,
};

const OPTIONS: StoreOptions = StoreOptions { cache_bytes: 0, segment_bytes: 1_500 };

struct Bench {
    disk: MemoryDisk,
    store: Store<MemoryDisk>,
    writer: HistoryWriter<MemoryDisk>,
}

impl Bench {
    fn on(disk: MemoryDisk, from: &StorePosition, kept: &[&StorePosition]) -> Self {
        let store = Store::open(disk.clone(), OPTIONS, from, kept).unwrap();
        Self { writer: HistoryWriter::new(disk.clone()), disk, store }
    }

    fn put(&mut self, key: &str, value: &str) {
        let (key, value) = (key.to_string().into(), format!("{value}{}", ".".repeat(200)).into());
        let mut txn = self.store.begin(NO_PREV);
        txn.put(NewValue { key, value, lease: 7, backing_bytes: 0 }).unwrap();
        txn.commit();
    }

    fn delete(&mut self, key: &str) {
        let mut txn = self.store.begin(NO_PREV);
        delete(&mut txn, &KeyRange::single(key.to_string().into()));
        txn.commit();
    }

    fn write(&mut self) {
        self.store.pad();
        if let Some(mark) = self.writer.write(&self.store.take_writes()).unwrap() {
            self.store.written(mark);
        }
    }

    /// What a checkpoint does, with whatever can be outlined.
    fn checkpoint(&mut self) -> StorePosition {
        self.write();
        while let Some(job) = self.store.outline_candidate() {
            let done = run_ready(job.run(&self.disk)).unwrap();
            assert_eq!(self.store.outlined(done).1, Vec::<String>::new());
        }
        self.store.position()
    }

    fn filled() -> (Self, StorePosition) {
        let mut bench = Self::on(MemoryDisk::new(), &StorePosition::default(), &[]);
        for n in 0..60 {
            bench.put(&format!("k{}", n * n % 17), &n.to_string());
            if n % 7 == 0 {
                bench.delete(&format!("k{}", n % 5));
            }
        }
        bench.store.compact(30).unwrap();
        while bench.store.compaction_step(9).unwrap() {}
        let position = bench.checkpoint();
        assert!(position.outline_files().count() > 4, "{position:?}");
        (bench, position)
    }
}

fn everything(store: &Store<MemoryDisk>) -> RangeAnswer {
    store.view().range(&RangeQuery::plain(KeyRange::all())).unwrap()
}

/// Changes every byte of a file.
fn ruin(disk: &MemoryDisk, name: &str) {
    let file = disk.open(name, OpenMode::Write).unwrap();
    file.write_at(0, &vec![0xa5; file.len().unwrap() as usize]).unwrap();
}

fn outlined_segments(position: &StorePosition) -> Vec<String> {
    position.outline_files().map(|name| name.replace(".outline", ".seg")).collect()
}

#[test]
fn a_start_by_outlines_comes_to_the_same_store() {
    let (bench, position) = Bench::filled();
    let mut whole = position.clone();
    whole.forget_outlines();
    let read = Store::open(bench.disk.copy(), OPTIONS, &whole, &[]).unwrap();
    let outlined = Store::open(bench.disk.copy(), OPTIONS, &position, &[]).unwrap();
    assert!(outlined.unusable_outlines().is_empty());
    for store in [&read, &outlined] {
        assert_eq!(everything(store), everything(&bench.store));
        assert_eq!(store.leased_keys(), bench.store.leased_keys());
        assert_eq!(store.size_bytes(), bench.store.size_bytes());
        assert_eq!(store.view().fresh_hash_kv(0).unwrap(), bench.store.view().fresh_hash_kv(0).unwrap());
    }
    assert_eq!(outlined.in_use_bytes(), read.in_use_bytes(), "what is dead is counted alike");
    assert_eq!(StorePosition::decode(position.encode()), Ok(position));
}

/// A record without its value: whether it is the newest of its key, the key, and how long the value is.
type Shown = (KeyMeta, bool, Vec<u8>, usize);

/// What a walk over what is retained shows, and what a sketch does.
fn walked_and_sketched(store: &Store<MemoryDisk>) -> [Vec<Shown>; 2] {
    let retained = store.retained();
    let (mut walked, mut sketched, mut walk) = (Vec::new(), Vec::new(), retained.again());
    while walk.step().unwrap() {
        let record = walk.current();
        walked.push((record.meta, record.last, record.key.to_vec(), record.value.len()));
    }
    let is_whole = retained.sketch(&mut |record, value_len| {
        sketched.push((record.meta, record.last, record.key.to_vec(), value_len));
        true
    });
    assert!(is_whole.unwrap());
    [walked, sketched]
}

#[test]
fn a_sketch_shows_what_a_walk_does_whether_it_is_outlined_or_not() {
    let (mut bench, position) = Bench::filled();
    bench.put("late", "in memory alone");
    let [walked, sketched] = walked_and_sketched(&bench.store);
    assert!(walked.len() > 30 && walked.iter().any(|(meta, ..)| meta.revision.main < 30), "{walked:?}");
    assert_eq!(sketched, walked);
    for (nth, name) in position.outline_files().enumerate() {
        match nth % 3 {
            0 => ruin(&bench.disk, &name),
            1 => bench.disk.remove(&name).unwrap(),
            _ => {}
        }
    }
    assert_eq!(walked_and_sketched(&bench.store), [walked.clone(), walked.clone()]);
    let mut shown = 0;
    let enough = bench.store.retained().sketch(&mut |_, _| {
        shown += 1;
        shown < 5
    });
    assert_eq!((enough.unwrap(), shown), (false, 5));
}

/// What comes after the moment it is of is not in it; and of what is outlined no value is read.
#[test]
fn a_sketch_is_of_its_moment_and_reads_no_values() {
    let (mut bench, position) = Bench::filled();
    let [expected, _] = walked_and_sketched(&bench.store);
    let retained = bench.store.retained();
    for n in 0..30 {
        bench.put("later", &n.to_string());
    }
    bench.checkpoint();
    outlined_segments(&position).iter().for_each(|name| ruin(&bench.disk, name));
    let mut count = 0;
    assert!(
        retained
            .sketch(&mut |record, value_len| {
                assert_eq!((record.meta, value_len), (expected[count].0, expected[count].3));
                count += 1;
                true
            })
            .unwrap()
    );
    assert_eq!(count, expected.len());
}

#[test]
fn nothing_of_an_outlined_segment_is_read_and_what_is_damaged_is_named_when_it_is() {
    let (bench, position) = Bench::filled();
    let segments = outlined_segments(&position);
    segments.iter().for_each(|name| ruin(&bench.disk, name));
    let store = Store::open(bench.disk.clone(), OPTIONS, &position, &[]).unwrap();
    assert_eq!(store.key_count(), bench.store.key_count());
    assert_eq!(store.damage(), None, "nobody met it");
    let read = store.view().range(&RangeQuery::plain(KeyRange::all()));
    let Err(ReadFailure::Wrong(Wrong::Corruption(damage))) = read else { panic!("it was answered") };
    assert!(segments.contains(&damage.file));
    assert_eq!(store.damage(), Some(damage), "remembered, whoever met it");
}

/// One byte is changed, anywhere in any file: a pass finds it, step by step, and one over what is whole finds nothing.
#[test]
fn a_scrub_finds_every_changed_byte() {
    let (bench, position) = Bench::filled();
    let scrub = |disk: MemoryDisk| -> Option<Wrong> {
        let store = Store::open(disk, OPTIONS, &position, &[]).unwrap();
        let (mut from, mut steps) = (0, 0);
        loop {
            match store.view().scrub(from, 400) {
                Ok(Some(next)) => {
                    assert!(next > from);
                    from = next;
                }
                Ok(None) => break,
                Err(wrong) => {
                    assert!(matches!(&wrong, Wrong::Corruption(damage) if store.damage().as_ref() == Some(damage)));
                    return Some(wrong);
                }
            }
            steps += 1;
        }
        assert!(steps > 10, "{steps}");
        None
    };
    assert!(scrub(bench.disk.copy()).is_none());
    let last = position.files().last().unwrap().0;
    for (name, len) in position.files().filter(|(name, _)| outlined_segments(&position).contains(name)) {
        assert_ne!(name, last, "the one that grows has no outline");
        for at in (0..len).step_by(41) {
            let disk = bench.disk.copy();
            let file = disk.open(&name, OpenMode::Write).unwrap();
            let mut byte = [0];
            file.read_full_at(at, &mut byte).unwrap();
            file.write_at(at, &[byte[0] ^ 0x10]).unwrap();
            let wrong = scrub(disk).expect("noticed");
            assert!(
                matches!(&wrong, Wrong::Corruption(damage) if damage.file == name && damage.offset <= at),
                "{wrong}"
            );
        }
    }
}

/// What the device cannot read is damage, whoever reads: a client, a scrub, a rewriting or who makes an outline.
#[test]
fn what_cannot_be_read_is_damage_for_every_reader() {
    let (bench, position) = Bench::filled();
    let segments = outlined_segments(&position);
    type Reader = fn(&mut Store<ScramblingDisk<MemoryDisk>>, &ScramblingDisk<MemoryDisk>) -> Result<(), Wrong>;
    let readers: [Reader; 3] = [
        |store, _| match store.view().range(&RangeQuery { revision: 30, ..RangeQuery::plain(KeyRange::all()) }) {
            Err(ReadFailure::Wrong(wrong)) => Err(wrong),
            answer => answer.map(drop).map_err(|refused| panic!("{refused:?}")),
        },
        |store, _| store.view().scrub(0, 1_000_000).map(drop),
        |store, disk| {
            store.compact(60).unwrap();
            while store.compaction_step(9)? {}
            while let Some(job) = store.reclaim_candidate(true) {
                store.reclaimed(run_ready(job.run(disk))?);
            }
            Ok(())
        },
    ];
    for read in readers {
        let disk = ScramblingDisk::new(bench.disk.copy(), 1);
        let mut store = Store::open(disk.clone(), OPTIONS, &position, &[]).unwrap();
        segments.iter().for_each(|segment| disk.make_unreadable(segment, 0..1 << 20));
        let wrong = read(&mut store, &disk).expect_err("it cannot be read");
        assert!(matches!(&wrong, Wrong::Corruption(damage) if segments.contains(&damage.file)), "{wrong}");
        assert!(store.damage().is_some() && store.damage_may_pass(), "it is remembered");
        assert!(!store.look_at_damage_again());
        disk.make_readable();
        assert!(store.look_at_damage_again());
        assert_eq!(store.damage(), None, "the device has recovered");
    }
}

/// An outline that is damaged, cut, too long or gone is as none: its segment is read, and outlined anew as it was.
#[test]
fn an_outline_that_is_not_as_it_was_costs_its_gain_alone() {
    let (bench, position) = Bench::filled();
    let expected = everything(&bench.store);
    for (nth, name) in position.outline_files().enumerate() {
        let len = bench.disk.open(&name, OpenMode::Read).unwrap().len().unwrap();
        let harms: [&dyn Fn(&MemoryDisk); 5] = [
            &|disk| disk.remove(&name).unwrap(),
            &|disk| disk.open(&name, OpenMode::Write).unwrap().set_len(len - 1).unwrap(),
            &|disk| disk.open(&name, OpenMode::Write).unwrap().set_len(0).unwrap(),
            &|disk| disk.open(&name, OpenMode::Write).unwrap().write_at(len * nth as u64 / 9 % len, b"\xa5").unwrap(),
            &|disk| ruin(disk, &name),
        ];
        for harm in harms {
            let disk = bench.disk.copy();
            harm(&disk);
            let mut again = Bench::on(disk, &position, &[]);
            let unusable: Vec<&str> = again.store.unusable_outlines().iter().map(|c| c.file.as_str()).collect();
            assert_eq!(unusable, [name.as_str()]);
            assert_eq!(everything(&again.store), expected);
            assert_eq!(again.checkpoint(), position, "the same once more");
            let again = Store::open(again.disk, OPTIONS, &position, &[]).unwrap();
            assert!(again.unusable_outlines().is_empty());
        }
        // Where the segment itself is damaged, too, the start is refused as ever.
        let disk = bench.disk.copy();
        disk.remove(&name).unwrap();
        let segment = name.replace(".outline", ".seg");
        ruin(&disk, &segment);
        let refused = Store::open(disk, OPTIONS, &position, &[]).err().unwrap();
        assert!(matches!(&refused, Wrong::Corruption(damage) if damage.file == segment));
    }
}

/// A start at an older checkpoint cuts a segment back that was outlined later. What grows there then has another outline,
/// and the one from before is believed by nobody, not even where it could not be removed.
#[test]
fn an_outline_of_what_was_cut_back_is_never_believed() {
    let (mut bench, _) = Bench::filled();
    bench.put("cut", "before");
    let older = bench.checkpoint();
    for n in 0..20 {
        bench.put("cut", &format!("once {n}"));
    }
    let newer = bench.checkpoint();
    let grown = older.files().last().unwrap().0.replace(".seg", ".outline");
    assert!(!older.outline_files().any(|name| name == grown) && newer.outline_files().any(|name| name == grown));
    let stale = bench.disk.copy();
    let mut again = Bench::on(bench.disk.copy(), &older, &[]);
    assert!(!again.disk.exists(&grown).unwrap(), "nobody names it");
    for n in 0..20 {
        // Of the same lengths.
        again.put("tuc", &format!("ecno {n}"));
    }
    let other = again.checkpoint();
    assert_ne!(other, newer);
    let expected = everything(&again.store);
    assert_eq!(everything(&Store::open(again.disk.copy(), OPTIONS, &other, &[]).unwrap()), expected);
    let bytes = {
        let file = stale.open(&grown, OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_full_at(0, &mut bytes).unwrap();
        bytes
    };
    again.disk.remove(&grown).unwrap();
    again.disk.open(&grown, OpenMode::Create).unwrap().write_at(0, &bytes).unwrap();
    let store = Store::open(again.disk, OPTIONS, &other, &[]).unwrap();
    assert_eq!(everything(&store), expected);
}

/// The segment that grows is outlined where it was closed for a client's sake; a start must not let it grow again.
#[test]
fn what_is_outlined_never_grows() {
    let (mut bench, _) = Bench::filled();
    bench.put("a", "dies");
    bench.put("a", "lives");
    bench.store.compact(bench.store.revision()).unwrap();
    while bench.store.compaction_step(9).unwrap() {}
    bench.store.request_reclaim();
    let position = bench.checkpoint();
    let (last, len) = position.files().last().unwrap();
    assert!(position.outline_files().any(|name| name == last.replace(".seg", ".outline")));
    let mut again = Bench::on(bench.disk.copy(), &position, &[]);
    again.put("b", "new");
    let after = again.checkpoint();
    assert!(after.files().any(|file| file == (last.clone(), len)), "it is as it was");
    assert_ne!(after.files().last().unwrap().0, last);
}

/// Outlines go with their segments, also one that is made while its segment goes.
#[test]
fn outlines_go_with_their_segments() {
    let (mut bench, older) = Bench::filled();
    for n in 0..34 {
        bench.put(&format!("k{}", n % 17), "once more");
    }
    bench.store.compact(bench.store.revision()).unwrap();
    while bench.store.compaction_step(9).unwrap() {}
    bench.store.request_reclaim();
    bench.write();
    let late = bench.store.outline_candidate().unwrap();
    while let Some(job) = bench.store.reclaim_candidate(true) {
        bench.store.reclaimed(run_ready(job.run(&bench.disk)).unwrap());
    }
    let newer = bench.store.position();
    let mut gone = bench.store.garbage(&[&older, &newer]);
    assert!(!gone.iter().any(|name| older.outline_files().any(|outline| outline == *name)), "they are named still");
    gone.extend(bench.store.garbage(&[&newer, &newer]));
    let outlines: Vec<String> =
        older.outline_files().filter(|name| !newer.outline_files().any(|n| n == *name)).collect();
    assert!(!outlines.is_empty() && outlines.iter().all(|name| gone.contains(name)), "{gone:?}");
    gone.iter().for_each(|name| bench.disk.remove(name).unwrap());
    let done = run_ready(late.run(&bench.disk)).unwrap();
    let (is_new, files) = bench.store.outlined(done);
    assert!(!is_new);
    files.iter().for_each(|name| bench.disk.remove(name).unwrap());
    let named: Vec<String> = newer.files().map(|(name, _)| name).chain(newer.outline_files()).collect();
    let mut left = bench.disk.all_files();
    left.retain(|name| !named.contains(name));
    assert_eq!(left, Vec::<String>::new());
}
