//! Snapshots between members: whatever the source does meanwhile and however often the transfer is cut, the receiver
//! answers as the source did when the snapshot was taken.

use bytes::Bytes;
use proptest::prelude::*;

use super::store::{Bench, Step, same_answer, step};
use super::twin::Twin;
use crate::base::{KeyRange, Revision, SeededDice};
use crate::env::{CrashingDisk, Disk, DiskFile, MemoryDisk, OpenMode, ScramblingDisk, run_ready};
use crate::mvcc::snapshot_source::SnapshotSource;
use crate::mvcc::{
    BuildFailure, Built, HashKv, HistoryWriter, NO_PREV, NewValue, RangeQuery, SnapshotBuilder, SnapshotProgress,
    Store, StoreOptions, StorePosition,
};

const ID: u64 = 77;

fn builder(disk: &MemoryDisk, segment_bytes: u64) -> SnapshotBuilder<MemoryDisk> {
    disk.create_dir("history").unwrap();
    SnapshotBuilder::new(disk.clone(), ID, 3, segment_bytes)
}

fn take<D: Disk>(builder: &mut SnapshotBuilder<D>, chunk: &Bytes) {
    run_ready(builder.take(chunk)).unwrap();
}

fn refused<D: Disk>(builder: &mut SnapshotBuilder<D>, chunk: &Bytes) {
    let before = builder.progress();
    assert!(matches!(run_ready(builder.take(chunk)), Err(BuildFailure::Refused(_))));
    assert_eq!(builder.progress(), before);
}

fn all_chunks<D: Disk>(mut source: SnapshotSource<D>) -> Vec<Bytes> {
    std::iter::from_fn(|| source.next_chunk().unwrap()).collect()
}

fn content(disk: &MemoryDisk) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let file = disk.open(&name, OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_full_at(0, &mut bytes).unwrap();
        (name, bytes)
    };
    disk.all_files().into_iter().map(read).collect()
}

/// A transfer under way.
struct Transfer {
    source: SnapshotSource<MemoryDisk>,
    builder: SnapshotBuilder<MemoryDisk>,
    disk: MemoryDisk,
    chunk_bytes: usize,
    segment_bytes: u64,
    state: Bytes,
    /// What the source was when the snapshot was taken.
    twin: Twin,
    hash_kv: HashKv,
    hash: u32,
    /// Each chunk as it was first made.
    sent: Vec<Bytes>,
}

impl Transfer {
    fn begin(bench: &Bench, chunk_bytes: usize, segment_bytes: u64, state: Bytes) -> Self {
        let (store, view, disk) = (&bench.store, bench.store.view(), MemoryDisk::new());
        let (hash_kv, hash) = (view.fresh_hash_kv(0).unwrap(), view.hash().unwrap());
        let source = SnapshotSource::new(view, store.compact_revision(), ID, state.clone(), chunk_bytes);
        let (builder, twin) = (builder(&disk, segment_bytes), bench.twin.clone());
        Self { source, builder, disk, chunk_bytes, segment_bytes, state, twin, hash_kv, hash, sent: Vec::new() }
    }

    /// Sends so many chunks; of those behind `lost` nothing arrives, and the transfer is cut and goes on.
    fn send(&mut self, chunks: usize, lost: usize) {
        for number in 0..chunks {
            let at = self.source.progress().chunk as usize;
            let Some(chunk) = self.source.next_chunk().unwrap() else { break };
            assert!(chunk.len() <= self.chunk_bytes.max(1100) + 200, "a chunk, or one large record");
            match self.sent.get(at) {
                None => self.sent.push(chunk.clone()),
                Some(before) if at > 0 => assert_eq!(*before, chunk, "sent again, it is the same"),
                Some(_) => {}
            }
            if number < lost {
                let mut damaged = chunk.to_vec();
                damaged[number * 31 % chunk.len()] ^= 4;
                refused(&mut self.builder, &damaged.into());
                take(&mut self.builder, &chunk);
                refused(&mut self.builder, &chunk);
            }
        }
        let reached = self.builder.progress();
        let never = SnapshotProgress { records: reached.records + 1, ..reached };
        assert!(!self.source.resume(never));
        if chunks.is_multiple_of(2) {
            assert!(self.source.resume(reached));
        } else {
            // Another attempt, with a source of its own.
            assert!(self.source.made() >= reached.chunk);
            self.source = self.source.again();
            assert_eq!(self.source.progress().chunk, 0);
            self.source.seek(reached.chunk).unwrap();
            assert_eq!(self.source.progress(), reached);
        }
    }

    fn finish(mut self) {
        while !self.builder.is_complete() {
            self.send(5, 3);
        }
        assert_eq!(self.source.next_chunk().unwrap(), None);
        let options = StoreOptions { cache_bytes: 500, segment_bytes: 900 };
        let built = run_ready(self.builder.finish()).unwrap();
        assert_eq!(built.state, self.state);
        let decoded = StorePosition::decode(built.position.encode()).unwrap();
        assert_eq!(decoded, built.position);
        let mut store = Store::open(self.disk.clone(), options, &decoded, &[]).unwrap();
        assert_eq!((store.revision(), store.compact_revision()), (self.twin.revision, self.twin.compacted));
        let view = store.view();
        assert_eq!((view.fresh_hash_kv(0).unwrap(), view.hash().unwrap()), (self.hash_kv, self.hash));
        assert_eq!(store.key_count(), self.twin.alive(&KeyRange::all(), self.twin.revision).len() as u64);
        for revision in (self.twin.compacted - 2).max(1)..=self.twin.revision + 1 {
            let query = RangeQuery { revision, ..RangeQuery::plain(KeyRange::all()) };
            same_answer(view.range(&query), self.twin.range(&query, self.twin.revision));
            let (back, last, with_prev) = (self.twin.revision - revision, b'0', revision % 2 == 0);
            Bench::catch_up(&store, &self.twin, &Step::Events { back, last, with_prev, budget: 300 });
        }
        // The same bytes came out of this member as went in: what is sent follows from the state alone. The header
        // says about how much there is.
        let again = SnapshotSource::new(store.view(), store.compact_revision(), ID, self.state, self.chunk_bytes);
        assert_eq!(all_chunks(again)[1..], self.sent[1..]);
        // And a transfer without a cut builds the same files.
        let disk = MemoryDisk::new();
        let mut uncut = builder(&disk, self.segment_bytes);
        self.sent.iter().for_each(|chunk| take(&mut uncut, chunk));
        assert_eq!(run_ready(uncut.finish()).unwrap().position, decoded);
        assert_eq!(content(&disk), content(&self.disk));
        // It goes on as any store does.
        put(&mut store, "k1");
        assert_eq!(store.view().get(b"k1").unwrap().unwrap().mod_revision, self.twin.revision + 1);
    }
}

fn put<D: Disk>(store: &mut Store<D>, key: &str) {
    let mut txn = store.begin(NO_PREV);
    txn.put(NewValue { key: key.to_string().into(), value: "a value".into(), lease: 0, backing_bytes: 0 }).unwrap();
    txn.commit();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn the_receiver_answers_as_the_source_did(
        segment_bytes in prop_oneof![Just(1u64), Just(700), Just(1 << 20)],
        built_segment_bytes in prop_oneof![Just(1u64), Just(700), Just(1 << 20)],
        chunk_bytes in prop_oneof![Just(1usize), Just(150), Just(2000), Just(1 << 18)],
        state in prop::collection::vec(any::<u8>(), 0..400),
        before in prop::collection::vec(step(), 0..90),
        during in prop::collection::vec((step(), 0usize..6, 0usize..6), 0..40),
    ) {
        let mut bench = Bench::new(StoreOptions { cache_bytes: 600, segment_bytes });
        before.into_iter().for_each(|step| bench.run(step));
        let mut transfer = Transfer::begin(&bench, chunk_bytes, built_segment_bytes, state.into());
        for (step, chunks, lost) in during {
            bench.run(step);
            transfer.send(chunks, lost);
        }
        transfer.finish();
        bench.finish();
    }
}

/// A store with a past, its position durable on `disk`, and the chunks of its snapshot.
fn sender<D: Disk>(disk: &D) -> (Store<D>, StorePosition, Vec<Bytes>) {
    let options = StoreOptions { cache_bytes: 0, segment_bytes: 300 };
    let mut store = Store::open(disk.clone(), options, &StorePosition::default(), &[]).unwrap();
    for n in 0..40 {
        put(&mut store, &format!("k{}", n % 7));
    }
    store.compact(20).unwrap();
    while store.compaction_step(9).unwrap() {}
    store.pad();
    let position = store.position();
    let mut writer = HistoryWriter::new(disk.clone());
    if let Some(mark) = writer.write(&store.take_writes()).unwrap() {
        store.written(mark);
    }
    run_ready(writer.sync()).unwrap();
    let state = Bytes::from_static(b"what belongs to it");
    let source = SnapshotSource::new(store.view(), store.compact_revision(), ID, state, 200);
    (store, position, all_chunks(source))
}

#[test]
fn every_changed_byte_and_every_chunk_out_of_place_is_refused() {
    let (_, _, chunks) = sender(&MemoryDisk::new());
    assert!(chunks.len() > 6);
    let target = MemoryDisk::new();
    let mut build = builder(&target, 300);
    for number in 0..chunks.len() {
        for at in 0..chunks[number].len() {
            let mut damaged = chunks[number].to_vec();
            damaged[at] ^= 0x21;
            refused(&mut build, &damaged.into());
        }
        refused(&mut build, &chunks[number].slice(..chunks[number].len() - 1));
        refused(&mut build, &[&chunks[number][..], &[0; 8]].concat().into());
        for other in (0..chunks.len()).filter(|other| *other != number) {
            refused(&mut build, &chunks[other]);
        }
        let before = build.progress();
        take(&mut build, &chunks[number]);
        assert!(build.progress().chunk == before.chunk + 1 && build.progress().next >= before.next);
    }
    assert!(build.is_complete());
    refused(&mut build, &chunks[0]);
    let mut other = SnapshotBuilder::new(target, ID + 1, 4, 300);
    refused(&mut other, &chunks[0]);
}

/// Chunks that verify, of a sender that is wrong about what it holds.
#[test]
fn a_snapshot_that_contradicts_itself_is_refused() {
    let disk = MemoryDisk::new();
    let (store, _, chunks) = sender(&disk);
    // Without its last chunk it is not complete.
    let mut build = builder(&MemoryDisk::new(), 300);
    chunks[..chunks.len() - 1].iter().for_each(|chunk| take(&mut build, chunk));
    assert!(matches!(run_ready(build.finish()), Err(BuildFailure::Refused(_))));
    // One that begins inside the past lacks what comes before.
    let mut source = SnapshotSource::new(store.view(), 20, ID, Bytes::new(), 1 << 20);
    let mut build = builder(&MemoryDisk::new(), 300);
    take(&mut build, &source.next_chunk().unwrap().unwrap());
    let skipped = SnapshotProgress { next: Revision::new(25, 0), ..source.progress() };
    assert!(!source.resume(skipped), "nobody can have come there");
    let mut lying = SnapshotSource::new(store.view(), 30, ID, Bytes::new(), 1 << 20);
    take(&mut builder(&MemoryDisk::new(), 300), &lying.next_chunk().unwrap().unwrap());
    refused(&mut build, &lying.next_chunk().unwrap().unwrap());
    take(&mut build, &source.next_chunk().unwrap().unwrap());
}

/// A build that a crash cut short, or that was whole but came into no image, is gone after the next start; the old state
/// is as it was.
#[test]
fn what_no_checkpoint_names_is_removed_by_a_start() {
    let mut dice = SeededDice::new(4);
    let (_, _, chunks) = sender(&MemoryDisk::new());
    for taken in 0..=chunks.len() {
        let disk = CrashingDisk::default();
        let (mut store, position, _) = sender(&disk);
        let expected = store.view().fresh_hash_kv(0).unwrap();
        let generation = store.fresh_generation();
        assert_ne!(generation, store.fresh_generation(), "each is given once");
        let mut build = SnapshotBuilder::new(disk.clone(), ID, generation, 300);
        chunks[..taken].iter().for_each(|chunk| take(&mut build, chunk));
        let abandoned = taken % 2 == 0;
        if abandoned {
            build.abandon().unwrap();
        } else if build.is_complete() {
            run_ready(build.finish()).unwrap();
        }
        for _ in 0..6 {
            let after = disk.crash(&mut dice, true);
            let options = StoreOptions { cache_bytes: 0, segment_bytes: 300 };
            let store = Store::open(after.clone(), options, &position, &[]).unwrap();
            assert_eq!(store.view().fresh_hash_kv(0).unwrap(), expected);
            assert_eq!(after.list("history").unwrap().len(), position.files().count());
        }
    }
}

/// The successor of a store: its predecessor's files go when no checkpoint needs them and stay readable for who holds a
/// view; what was under way in the predecessor does no harm.
#[test]
fn a_store_takes_the_place_of_another() {
    let (_, _, chunks) = sender(&MemoryDisk::new());
    let disk = MemoryDisk::new();
    let options = StoreOptions { cache_bytes: 0, segment_bytes: 300 };
    let mut old = Store::open(disk.clone(), options, &StorePosition::default(), &[]).unwrap();
    let mut writer = HistoryWriter::new(disk.clone());
    for n in 0..20 {
        put(&mut old, &format!("k{}", n % 3));
    }
    writer.write(&old.take_writes()).unwrap().map(|mark| old.written(mark)).unwrap();
    old.compact(18).unwrap();
    while old.compaction_step(9).unwrap() {}
    let job = old.reclaim_candidate(false).expect("most of it is dead");
    let older = old.position();
    put(&mut old, "not written");
    let late = old.take_writes();
    let late_mark = late.last().unwrap().mark();
    put(&mut old, "not even taken");
    let (view, expected) = (old.view(), old.view().fresh_hash_kv(0).unwrap());

    let mut build = SnapshotBuilder::new(disk.clone(), ID, old.fresh_generation(), 300);
    chunks.iter().for_each(|chunk| take(&mut build, chunk));
    let Built { position, .. } = run_ready(build.finish()).unwrap();
    let mut new = Store::load(disk.clone(), options, &position, &[]).unwrap();
    assert!(older.files().all(|(name, _)| disk.exists(&name).unwrap()), "no other history is touched");
    new.take_place_of(&old, true);
    drop(old);
    // Completions of what the old one had asked for.
    writer.write(&late).unwrap();
    new.written(late_mark);
    let done = run_ready(job.run(&disk)).unwrap();
    new.reclaimed(done);
    let mut garbage = new.garbage(&[&older, &position]);
    assert!(garbage.iter().all(|name| !older.files().any(|(file, _)| file == *name)));
    garbage.extend(new.garbage(&[&position, &position]));
    garbage.iter().for_each(|name| disk.remove(name).unwrap());
    let names: Vec<String> = position.files().map(|(name, _)| name).collect();
    assert_eq!(disk.list("history").unwrap().len(), names.len(), "{:?}", disk.all_files());
    assert_eq!(view.fresh_hash_kv(0).unwrap(), expected, "a view outlives the files it reads");
    put(&mut new, "more");
    writer.write(&new.take_writes()).unwrap().map(|mark| new.written(mark)).unwrap();
    let expected = new.view().fresh_hash_kv(0).unwrap();
    let again = Store::open(disk.clone(), options, &new.position(), &[]).unwrap();
    assert_eq!(again.view().fresh_hash_kv(0).unwrap(), expected);
    assert!(new.garbage(&[&position]).is_empty(), "each is named once");
}

/// Where the receiver has more than this source ever made, as one of another member's: it makes them in vain.
#[test]
fn a_source_goes_to_any_chunk_and_to_its_end() {
    let (store, _, chunks) = sender(&MemoryDisk::new());
    let state = Bytes::from_static(b"what belongs to it");
    let made = |source: &mut SnapshotSource<MemoryDisk>| source.next_chunk().unwrap();
    for number in 0..chunks.len() + 3 {
        let source = SnapshotSource::new(store.view(), store.compact_revision(), ID, state.clone(), 200);
        for mut source in [source.again(), source] {
            source.seek(number as u64).unwrap();
            assert_eq!(made(&mut source).as_ref(), chunks.get(number), "chunk {number}");
            source.seek(1).unwrap();
            assert_eq!(made(&mut source).as_ref(), Some(&chunks[1]));
            source.seek(chunks.len() as u64).unwrap();
            assert_eq!(made(&mut source), None);
            source.seek(0).unwrap();
            assert_eq!(all_chunks(source)[1..], chunks[1..]);
        }
    }
    let other = |compacted, chunk_bytes, state: &'static str| {
        SnapshotSource::new(store.view(), compacted, ID, Bytes::from_static(state.as_bytes()), chunk_bytes).manifest()
    };
    let own = other(20, 200, "a");
    assert_eq!(own, other(20, 200, "a"));
    assert!([other(19, 200, "a"), other(20, 201, "a"), other(20, 200, "b")].iter().all(|manifest| *manifest != own));
}

/// A full disk, at each write and sync of a build: the space is given back, and what was there is whole.
#[test]
fn a_build_that_fails_gives_its_space_back() {
    let (_, _, chunks) = sender(&MemoryDisk::new());
    let (mut writes, mut syncs) = (0, 0);
    for n in 1..60 {
        for sync in [false, true] {
            let memory = MemoryDisk::new();
            let (mut store, ..) = sender(&memory);
            let before = content(&memory);
            let disk = ScramblingDisk::new(memory.clone(), 7);
            let mut build = SnapshotBuilder::new(disk.clone(), ID, store.fresh_generation(), 300);
            if sync {
                disk.fail_sync(n)
            } else {
                disk.fail_write(n)
            }
            let outcome = chunks.iter().try_for_each(|chunk| run_ready(build.take(chunk)));
            let outcome = outcome.and_then(|()| run_ready(build.finish()).map(drop));
            let Err(failure) = outcome else { continue };
            assert!(matches!(failure, BuildFailure::Wrong(_)));
            let over = run_ready(build.take(&chunks[0]));
            assert!(matches!(over, Err(BuildFailure::Refused(_))), "what failed once is over");
            build.abandon().unwrap();
            assert!(content(&memory) == before);
            *(if sync { &mut syncs } else { &mut writes }) += 1;
        }
    }
    assert!(writes > 5 && syncs > 3, "{writes} writes and {syncs} syncs failed");
}

/// A rewriting that is under way while another state takes the place of its own: it reads on, though the names of its files
/// are gone; and given up, it leaves nothing.
#[test]
fn a_rewriting_outlives_the_files_it_reads() {
    let (_, _, chunks) = sender(&MemoryDisk::new());
    for (given_up, late) in [(false, false), (false, true), (true, false), (true, true)] {
        let disk = MemoryDisk::new();
        let (mut old, _, _) = sender(&disk);
        let job = old.reclaim_candidate(false).expect("a part of it is dead");
        let mut build = SnapshotBuilder::new(disk.clone(), ID, old.fresh_generation(), 300);
        chunks.iter().for_each(|chunk| take(&mut build, chunk));
        let position = run_ready(build.finish()).unwrap().position;
        let job = if late { Ok(job) } else { Err(run_ready(job.run(&disk)).unwrap()) };
        if given_up {
            old.give_up_reclaim();
        }
        let options = StoreOptions { cache_bytes: 0, segment_bytes: 300 };
        let mut new = Store::load(disk.clone(), options, &position, &[]).unwrap();
        let later = old.fresh_generation();
        new.take_place_of(&old, true);
        assert!(new.fresh_generation() > later, "something may still be built there");
        drop(old);
        new.garbage(&[&position]).iter().for_each(|name| disk.remove(name).unwrap());
        new.reclaimed(job.map_or_else(|done| done, |job| run_ready(job.run(&disk)).unwrap()));
        new.garbage(&[&position]).iter().for_each(|name| disk.remove(name).unwrap());
        let names: Vec<String> = position.files().map(|(name, _)| name).collect();
        assert_eq!(disk.all_files(), names, "given up: {given_up}, late: {late}");
    }
}

/// Given up, a rewriting changes nothing, also where its store is still in use when it ends.
#[test]
fn a_rewriting_that_is_given_up_changes_nothing() {
    let disk = MemoryDisk::new();
    let (mut store, position, _) = sender(&disk);
    let before = (content(&disk), store.view().hash_kv(0).unwrap());
    let job = store.reclaim_candidate(false).expect("a part of it is dead");
    store.give_up_reclaim();
    let done = run_ready(job.run(&disk)).unwrap();
    store.reclaimed(done);
    assert!((content(&disk), store.view().hash_kv(0).unwrap()) == before);
    assert!(store.garbage(&[&position]).is_empty());
    let job = store.reclaim_candidate(false).expect("it is still worth it");
    let size = store.size_bytes();
    store.reclaimed(run_ready(job.run(&disk)).unwrap());
    assert!(store.size_bytes() < size, "the next one is not given up");
    assert_eq!(store.view().hash_kv(0).unwrap(), before.1);
}

/// A checkpoint's last sector is never written again, not by what is appended after it and not after a start from it.
#[test]
fn a_power_failure_takes_nothing_that_a_checkpoint_promised() {
    let mut dice = SeededDice::new(9);
    let options = StoreOptions { cache_bytes: 0, segment_bytes: 1 << 20 };
    for round in 0..60 {
        let disk = CrashingDisk::default();
        let mut store = Store::open(disk.clone(), options, &StorePosition::default(), &[]).unwrap();
        let mut writer = HistoryWriter::new(disk.clone());
        for n in 0..=round {
            put(&mut store, &format!("k{n}"));
        }
        store.pad();
        let position = store.position();
        assert!(position.files().all(|(_, len)| len % 512 == 0));
        writer.write(&store.take_writes()).unwrap().map(|mark| store.written(mark)).unwrap();
        run_ready(writer.sync()).unwrap();
        let expected = store.view().fresh_hash_kv(0).unwrap();
        for n in 0..30 {
            put(&mut store, &format!("later{n}"));
            writer.write(&store.take_writes()).unwrap().map(|mark| store.written(mark)).unwrap();
        }
        let mut after = disk.crash(&mut dice, true);
        for _ in 0..2 {
            let mut store = Store::open(after.clone(), options, &position, &[]).unwrap();
            assert_eq!(store.view().fresh_hash_kv(0).unwrap(), expected);
            put(&mut store, "after the start");
            HistoryWriter::new(after.clone()).write(&store.take_writes()).unwrap();
            after = after.crash(&mut dice, true);
        }
    }
}
