//! The store against the naive twin: reads, writes, compaction, reclaim and restarts.

use bytes::Bytes;
use proptest::prelude::*;

use super::delete;
use super::twin::Twin;
use crate::base::{EventKind, KeyRange, KeyValue, RangeEnd, Refusal};
use crate::env::{Disk, DiskFile, MemoryDisk, OpenMode, run_ready};
use crate::mvcc::Weight;
use crate::mvcc::index_build::BatchSizes;
use crate::mvcc::position::SegmentMark;
use crate::mvcc::{
    HashKv, HistoryWriter, LaterRange, NO_PREV, NewValue, RangeQuery, ReadFailure, ReclaimJob, SortOrder, SortTarget,
    Store, StoreOptions, StorePosition, View,
};

#[derive(Clone, Debug)]
pub(super) enum Change {
    Put(Bytes, Bytes, i64),
    Delete(KeyRange),
    Read(RangeQuery),
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Txn(Vec<Change>, bool),
    Read(RangeQuery),
    Events { back: i64, last: u8, with_prev: bool, budget: usize },
    Compact(i64),
    Prune(usize),
    Write,
    View,
    Reopen { grown: bool },
    FallBack,
    Reclaim,
    RequestReclaim,
}

fn key() -> impl Strategy<Value = Bytes> {
    (0u8..12).prop_map(|n| Bytes::from(format!("k{n}")))
}

fn range() -> impl Strategy<Value = KeyRange> {
    (key(), key(), 0..3).prop_map(|(start, end, kind)| match kind {
        0 => KeyRange::single(start),
        1 => KeyRange { start, end: RangeEnd::Before(end) },
        _ => KeyRange { start, end: RangeEnd::Open },
    })
}

/// Revisions in a query are distances back from the current one, made real when the step is done.
fn query() -> impl Strategy<Value = RangeQuery> {
    let bound = || prop_oneof![4 => Just(0i64), 1 => 1i64..40];
    let order = prop_oneof![Just(SortOrder::None), Just(SortOrder::Ascend), Just(SortOrder::Descend)];
    let target = prop_oneof![
        3 => Just(SortTarget::Key), 1 => Just(SortTarget::Version), 1 => Just(SortTarget::Create),
        1 => Just(SortTarget::Mod), 1 => Just(SortTarget::Value),
    ];
    let shape = (range(), prop_oneof![Just(-1i64), 0i64..6], prop_oneof![Just(None), (-1i64..20).prop_map(Some)]);
    (shape, order, target, any::<bool>(), prop::bool::weighted(0.1), bound(), bound(), bound(), bound()).prop_map(
        |((range, limit, back), order, target, keys_only, count_only, min_mod, max_mod, min_create, max_create)| {
            RangeQuery {
                limit,
                revision: back.map_or(i64::MIN, |back| back),
                order,
                target,
                keys_only,
                count_only,
                min_mod_revision: min_mod,
                max_mod_revision: max_mod,
                min_create_revision: min_create,
                max_create_revision: max_create,
                ..RangeQuery::plain(range)
            }
        },
    )
}

fn real(query: &RangeQuery, current: i64) -> RangeQuery {
    let revision = if query.revision == i64::MIN { 0 } else { (current - query.revision).max(1) };
    RangeQuery { revision, ..query.clone() }
}

fn change() -> impl Strategy<Value = Change> {
    let value = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::collection::vec(any::<u8>(), 300..900),
    ];
    prop_oneof![
        6 => (key(), value, 0i64..3).prop_map(|(k, v, l)| Change::Put(k, v.into(), l)),
        2 => range().prop_map(Change::Delete),
        1 => query().prop_map(Change::Read),
    ]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        16 => (prop::collection::vec(change(), 0..5), any::<bool>()).prop_map(|(c, p)| Step::Txn(c, p)),
        8 => query().prop_map(Step::Read),
        3 => (0i64..30, b'0'..=b'9', any::<bool>(), 1usize..4000).prop_map(
            |(back, last, with_prev, budget)| Step::Events { back, last, with_prev, budget }),
        2 => (0i64..12).prop_map(Step::Compact),
        3 => (1usize..20).prop_map(Step::Prune),
        3 => Just(Step::Write),
        1 => Just(Step::View),
        1 => any::<bool>().prop_map(|grown| Step::Reopen { grown }),
        1 => Just(Step::FallBack),
        2 => Just(Step::Reclaim),
        1 => Just(Step::RequestReclaim),
    ]
}

pub(super) struct Bench {
    pub(super) disk: MemoryDisk,
    options: StoreOptions,
    /// Records of a batch when the index is built.
    batch: usize,
    pub(super) store: Store<MemoryDisk>,
    writer: HistoryWriter<MemoryDisk>,
    pub(super) twin: Twin,
    views: Vec<(View<MemoryDisk>, Twin)>,
    job: Option<ReclaimJob<MemoryDisk>>,
    /// The checkpoints that are kept, and what they are of.
    newest: Option<(StorePosition, Twin)>,
    older: Option<(StorePosition, Twin)>,
    /// Reads of transactions, and what they answer whenever they are carried out.
    put_off: Vec<(LaterRange, Result<crate::mvcc::RangeAnswer, Refusal>)>,
}

pub(super) fn same_answer(
    got: Result<crate::mvcc::RangeAnswer, ReadFailure>,
    expected: Result<crate::mvcc::RangeAnswer, Refusal>,
) {
    let got = got.map_err(|failure| match failure {
        ReadFailure::Refused(refusal) => refusal,
        ReadFailure::Wrong(wrong) => panic!("{wrong}"),
    });
    assert_eq!(got, expected);
}

/// What is known before a read holds for what it answers.
fn check_weight(weight: Weight, is_guess: bool, answer: &Result<crate::mvcc::RangeAnswer, Refusal>) {
    let Ok(answer) = answer else { return };
    let rows = answer.kvs.len();
    assert_eq!(weight.is_guess, is_guess);
    assert!(
        (rows as u64 <= weight.rows || is_guess) && weight.least_bytes <= (rows * size_of::<KeyValue>()) as u64,
        "{weight:?}"
    );
}

/// Of what is read of an older revision nobody counts how many rows there were, unless a limit says it.
fn is_guessed(query: &RangeQuery, current: i64) -> bool {
    let is_older = query.revision > 0 && query.revision < current;
    let is_bounded = query.count_only || query.range.as_single().is_some() || query.limit > 0 && query.stops_at_limit();
    is_older && !is_bounded
}

fn without_values(kvs: impl IntoIterator<Item = KeyValue>) -> Vec<KeyValue> {
    kvs.into_iter().map(|kv| KeyValue { value: Bytes::new(), ..kv }).collect()
}

impl Bench {
    pub(super) fn new(options: StoreOptions) -> Self {
        let disk = MemoryDisk::new();
        let store = Store::open(disk.clone(), options, &StorePosition::default(), &[]).unwrap();
        let writer = HistoryWriter::new(disk.clone());
        let (twin, views) = (Twin::new(), Vec::new());
        let put_off = Vec::new();
        Self {
            disk,
            options,
            batch: 1 << 20,
            store,
            writer,
            twin,
            views,
            job: None,
            newest: None,
            older: None,
            put_off,
        }
    }

    /// A transaction, which pauses after every so many changes of a delete where its revision says so; nothing of it is seen
    /// before it ends.
    fn txn(&mut self, changes: Vec<Change>, want_prev: bool) {
        let (main, before) = (self.twin.revision + 1, self.twin.changes.len());
        let slice = (main % 3 != 0).then_some(main as usize % 4 + 1);
        let (mut put_off, mut guessed, mut events) = (Vec::new(), Vec::new(), Vec::new());
        let mut twin = self.twin.clone();
        let wanted = |_: &[u8]| want_prev;
        let mut txn = self.store.begin(&wanted);
        if slice.is_some() {
            txn.may_pause();
        }
        for change in changes {
            let told = |prevs: Vec<KeyValue>| if want_prev { prevs } else { without_values(prevs) };
            match change {
                Change::Put(key, value, lease) => {
                    let prev = twin.put(main, key.clone(), value.clone(), lease);
                    assert_eq!(txn.meta(&key).is_some(), prev.is_some());
                    let got = txn.put(NewValue { key, value, lease, backing_bytes: 500 }).unwrap();
                    assert_eq!(got.into_iter().collect::<Vec<_>>(), told(prev.into_iter().collect()));
                }
                Change::Delete(range) => {
                    let expected: Vec<_> = twin.delete(main, &range).into_iter().map(|kv| (kv.key, kv.lease)).collect();
                    let (mut deleted, mut rest) = (Vec::new(), Some(range));
                    while let Some(range) = rest.take() {
                        // Counted from here, as what goes on always may read something: else it would stand still.
                        let bytes = if want_prev { txn.read_bytes() + 1_000 } else { usize::MAX };
                        let most = (slice.unwrap_or(usize::MAX), bytes);
                        let most = if slice.is_some() { most } else { (usize::MAX, usize::MAX) };
                        rest = txn.delete_some(&range, most, |key, lease| deleted.push((key.clone(), lease))).unwrap();
                        if slice.is_some() && txn.changed() {
                            let (paused, changes) = txn.pause();
                            events.extend(changes);
                            same_answer(self.store.view().range(&RangeQuery::plain(KeyRange::all())), {
                                self.twin.range(&RangeQuery::plain(KeyRange::all()), main - 1)
                            });
                            assert_eq!(self.store.revision(), main - 1);
                            if main % 2 == 0 {
                                // What was made so far may go to the disk, and is read back from there.
                                self.write();
                            }
                            txn = self.store.take_up(paused, &wanted);
                        }
                    }
                    assert_eq!(deleted, expected);
                }
                Change::Read(query) => {
                    let current = self.twin.revision + i64::from(twin.changes.len() > before);
                    let query = real(&query, current);
                    let expected = twin.range(&query, current);
                    if let Some(answer) = txn.range_at_hand(&query) {
                        same_answer(answer, expected.clone());
                    }
                    guessed.push(is_guessed(&query, current));
                    put_off.push((txn.range_later(query), expected));
                    assert_eq!(txn.get(b"k1").unwrap(), twin.at(b"k1", current).cloned());
                }
            }
        }
        let changed = twin.changes.len() > before;
        assert_eq!(txn.changed(), changed);
        events.extend(txn.commit());
        self.twin = twin;
        assert_eq!(self.store.take_outdated().is_some(), slice.is_some());
        for ((later, expected), is_guess) in put_off.iter().zip(guessed) {
            check_weight(later.weight(), is_guess, expected);
            same_answer(later.read(&mut { usize::MAX }), expected.clone());
        }
        self.put_off.extend(put_off.into_iter().take(2));
        self.twin.revision += i64::from(changed);
        assert_eq!(self.store.revision(), self.twin.revision);
        let kvs: Vec<_> = events.iter().map(|event| event.kv.clone()).collect();
        assert_eq!(kvs, self.twin.changes[before..]);
        for event in events.iter().filter(|event| want_prev && event.kind == EventKind::Delete) {
            assert_eq!(event.prev_kv.as_ref(), self.twin.at(&event.kv.key, main - 1));
        }
    }

    fn write(&mut self) {
        let writes = self.store.take_writes();
        assert_eq!(self.store.gathered_bytes(), 0, "each byte is handed out once");
        if let Some(mark) = self.writer.write(&writes).unwrap() {
            self.store.written(mark);
        }
        assert_eq!(self.store.unwritten_bytes(), 0);
    }

    /// Takes up a job, or ends the one that was taken up: other steps come between.
    fn reclaim(&mut self) {
        let Some(job) = self.job.take() else {
            self.job = self.store.reclaim_candidate(false);
            return;
        };
        let before = self.store.size_bytes();
        self.store.reclaimed(run_ready(job.run(&self.disk)).unwrap());
        assert!(self.store.size_bytes() <= before);
    }

    fn collect(&mut self, kept: &[&StorePosition]) {
        for name in self.store.garbage(kept) {
            self.disk.remove(&name).unwrap();
        }
    }

    /// The newest two are kept.
    fn checkpoint(&mut self) -> StorePosition {
        self.store.pad();
        let position = self.store.position();
        self.write();
        self.older = self.newest.replace((position.clone(), self.twin.clone()));
        let older = self.older.as_ref().map(|older| older.0.clone());
        self.collect(&older.iter().chain([&position]).collect::<Vec<_>>());
        position
    }

    fn sizes(&self) -> BatchSizes {
        BatchSizes {
            batch_records: self.batch,
            part_records: self.batch.div_ceil(2),
            read_bytes: (600 * self.batch as u64, 100 * self.batch as u64),
        }
    }

    /// As when the newest checkpoint is found damaged.
    fn fall_back(&mut self) {
        let Some((position, twin)) = self.older.take() else { return };
        self.check_views();
        self.views.clear();
        self.job = None;
        self.disk = self.disk.copy();
        self.store = Store::open_in_batches(self.disk.clone(), self.options, &position, &[], self.sizes()).unwrap();
        self.writer = HistoryWriter::new(self.disk.clone());
        self.twin = twin.clone();
        self.newest = Some((position, twin));
        let query = RangeQuery::plain(KeyRange::all());
        let expected = self.twin.range(&query, self.twin.revision);
        check_weight(self.store.view().weight(&query), false, &expected);
        same_answer(self.store.view().range(&query), expected);
    }

    fn reopen(&mut self, grown: bool) {
        // Views belong to the store that is closed.
        self.check_views();
        self.views.clear();
        self.job = None;
        let mut position = self.checkpoint();
        if !grown {
            while let Some(job) = self.store.outline_candidate() {
                let done = run_ready(job.run(&self.disk)).unwrap();
                self.store.outlined(done);
            }
            // Only the layout is another: nothing was written.
            position = self.store.position();
        }
        if grown {
            // Written after the checkpoint: must not come back.
            self.store
                .begin(NO_PREV)
                .put(NewValue { key: "k1".into(), value: "lost".into(), lease: 0, backing_bytes: 0 })
                .unwrap();
            let file = self.disk.open("history/ffff.seg", OpenMode::Create).unwrap();
            file.write_at(0, b"junk").unwrap();
            if let Some((name, len)) = position.files().last() {
                self.disk.open(&name, OpenMode::Write).unwrap().write_at(len, b"more junk").unwrap();
            }
        }
        self.disk = self.disk.copy();
        let position = StorePosition::decode(position.encode()).unwrap();
        let older = self.older.as_ref().map(|older| &older.0);
        self.store =
            Store::open_in_batches(self.disk.clone(), self.options, &position, older.as_slice(), self.sizes()).unwrap();
        self.writer = HistoryWriter::new(self.disk.clone());
        assert_eq!(self.store.position(), position);
        let kept = older.into_iter().chain([&position]);
        let named = |position: &StorePosition| -> Vec<String> {
            position.files().map(|(name, _)| name).chain(position.outline_files()).collect()
        };
        let files: Vec<String> = kept.flat_map(named).collect();
        assert!(self.disk.all_files().iter().all(|name| files.contains(name)));
        assert_eq!(self.store.compact_revision(), self.twin.compacted);
    }

    pub(super) fn catch_up(store: &Store<MemoryDisk>, twin: &Twin, step: &Step) {
        let Step::Events { back, last, with_prev, budget } = *step else { unreachable!() };
        let (view, past) = (store.view(), store.past());
        assert_eq!((past.revision(), past.compact_revision()), (view.revision(), view.compact_revision()));
        let from = (view.revision() - back).max(1);
        let wanted = |key: &[u8]| key[key.len() - 1] >= last;
        let (mut events, mut next) = (Vec::new(), from);
        if from < view.compact_revision() {
            let refused = past.changes(from, budget);
            assert!(matches!(refused, Err(ReadFailure::Refused(Refusal::Compacted))));
            return;
        }
        while next <= view.revision() {
            let piece = past.changes(next, budget).unwrap();
            assert!(piece.next > next && piece.next <= view.revision() + 1);
            let passed = |kv: &&KeyValue| (next..piece.next).contains(&kv.mod_revision);
            let bytes = |kv: &KeyValue| kv.key.len() + kv.value.len() + size_of::<crate::base::Event>();
            let whole: usize = twin.changes.iter().filter(passed).map(bytes).sum();
            assert_eq!(piece.bytes, whole);
            let is_last = |kv: &&KeyValue| kv.mod_revision == piece.next - 1;
            let last_of_it: usize = twin.changes.iter().filter(is_last).map(bytes).sum();
            assert!(whole - last_of_it < budget.max(1), "it ends with the revision that is enough");
            let mains: Vec<i64> = piece.events.iter().map(|event| event.kv.mod_revision).collect();
            assert!(mains.is_sorted() && mains.iter().all(|main| (next..piece.next).contains(main)));
            events.extend(piece.events.into_iter().filter(|event| wanted(&event.kv.key)).map(|event| {
                let prev_kv = if with_prev { view.before(&event).unwrap() } else { None };
                crate::base::Event { prev_kv, ..event }
            }));
            next = piece.next;
        }
        assert_eq!(events, twin.events(from, view.revision(), wanted, with_prev));
    }

    pub(super) fn run(&mut self, step: Step) {
        match step {
            Step::Txn(changes, want_prev) => self.txn(changes, want_prev),
            Step::Read(query) => {
                let query = real(&query, self.twin.revision);
                same_answer(self.store.view().range(&query), self.twin.range(&query, self.twin.revision));
            }
            Step::Events { .. } => Self::catch_up(&self.store, &self.twin, &step),
            Step::Compact(back) => {
                let revision = self.twin.revision + 2 - back;
                let expected = if revision <= self.twin.compacted {
                    Err(Refusal::Compacted)
                } else if revision > self.twin.revision {
                    Err(Refusal::FutureRevision)
                } else {
                    self.twin.compacted = revision;
                    self.views.iter_mut().for_each(|(_, twin)| twin.compacted = revision);
                    Ok(())
                };
                assert_eq!(self.store.compact(revision), expected);
            }
            Step::Prune(budget) => {
                self.store.compaction_step(budget).unwrap();
            }
            Step::Write => drop(self.checkpoint()),
            Step::View => self.views.push((self.store.view(), self.twin.clone())),
            Step::Reopen { grown } => {
                self.reopen(grown);
            }
            Step::FallBack => self.fall_back(),
            Step::Reclaim => self.reclaim(),
            Step::RequestReclaim => self.store.request_reclaim(),
        }
        self.check_sums();
    }

    /// The sums that are kept are those of the segments, and reclaim rests only when there is nothing to do.
    fn check_sums(&mut self) {
        let segments = self.store.history.table().segments();
        assert_eq!(self.store.size_bytes(), segments.iter().map(|segment| segment.len()).sum::<u64>());
        assert_eq!(self.store.in_use_bytes(), segments.iter().map(|segment| segment.live_bytes()).sum::<u64>());
        if !self.store.history.is_stirred() {
            assert!(self.store.worth_reclaiming(2).is_none());
        }
    }

    /// Views show what they showed, whatever happened since.
    fn check_views(&self) {
        for (view, twin) in &self.views {
            for back in 0..12 {
                let query = real(&RangeQuery { revision: back, ..RangeQuery::plain(KeyRange::all()) }, twin.revision);
                same_answer(view.range(&query), twin.range(&query, twin.revision));
            }
            same_answer(view.range(&RangeQuery::plain(KeyRange::all())), {
                twin.range(&RangeQuery::plain(KeyRange::all()), twin.revision)
            });
        }
    }

    pub(super) fn finish(mut self) {
        self.check_views();
        while self.store.compaction_step(7).unwrap() {}
        for (later, expected) in std::mem::take(&mut self.put_off) {
            same_answer(later.read(&mut { usize::MAX }), expected);
        }
        // Once pruned, the index holds what the keep rule keeps and nothing else: a rebuilt one says so.
        self.write();
        let again =
            Store::open_in_batches(self.disk.copy(), self.options, &self.store.position(), &[], self.sizes()).unwrap();
        let whole = Store::open(self.disk.copy(), self.options, &self.store.position(), &[]).unwrap();
        assert_eq!(again.in_use_bytes(), whole.in_use_bytes());
        assert_eq!(again.index.len(), self.store.index.len());
        assert_eq!(again.key_count(), self.store.key_count());
        assert_eq!(again.key_count(), self.twin.alive(&KeyRange::all(), self.twin.revision).len() as u64);
        assert_eq!(again.view().fresh_hash_kv(0).unwrap(), self.store.view().fresh_hash_kv(0).unwrap());
        assert_eq!(again.view().hash().unwrap(), self.store.view().hash().unwrap());
        for revision in self.twin.compacted.max(1)..=self.twin.revision {
            let query = RangeQuery { revision, ..RangeQuery::plain(KeyRange::all()) };
            let expected = self.twin.range(&query, self.twin.revision);
            same_answer(self.store.view().range(&query), expected.clone());
            same_answer(again.view().range(&query), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn does_what_the_twin_does(
        cache_bytes in prop_oneof![Just(0usize), Just(600), Just(1 << 20)],
        segment_bytes in prop_oneof![Just(1u64), Just(700), Just(1 << 20)],
        batch in prop_oneof![1usize..4, Just(20), Just(1 << 20)],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut bench = Bench { batch, ..Bench::new(StoreOptions { cache_bytes, segment_bytes }) };
        for step in steps {
            bench.run(step);
        }
        bench.finish();
    }
}

fn put(store: &mut Store<MemoryDisk>, key: &str, value: &str) {
    let mut txn = store.begin(NO_PREV);
    let value = NewValue { key: key.to_string().into(), value: value.to_string().into(), lease: 0, backing_bytes: 0 };
    txn.put(value).unwrap();
    txn.commit();
}

#[test]
fn fresh_store_stands_at_one_and_nothing_uses_no_revision() {
    let mut bench = Bench::new(StoreOptions::default());
    assert_eq!((bench.store.revision(), bench.store.compact_revision()), (1, -1));
    let mut txn = bench.store.begin(&|_| true);
    assert!(delete(&mut txn, &KeyRange::all()).is_empty());
    assert!(txn.commit().is_empty());
    assert_eq!(bench.store.revision(), 1);
    assert_eq!(bench.store.compact(2), Err(Refusal::FutureRevision));
    put(&mut bench.store, "a", "1");
    assert_eq!(bench.store.revision(), 2);
}

#[test]
#[should_panic(expected = "dropped half done")]
fn a_dropped_transaction_is_a_bug() {
    let mut bench = Bench::new(StoreOptions::default());
    let value = NewValue { key: "a".into(), value: "1".into(), lease: 0, backing_bytes: 0 };
    bench.store.begin(NO_PREV).put(value).unwrap();
    bench.store.begin(NO_PREV);
}

#[test]
fn digests_are_etcds() {
    let mut bench = Bench::new(StoreOptions::default());
    let fresh = bench.store.view().fresh_hash_kv(0).unwrap();
    assert_eq!(fresh, HashKv { hash: 1_084_519_789, compact_revision: -1, hash_revision: 1 });
    let mut txn = bench.store.begin(NO_PREV);
    txn.put(NewValue { key: "test-key".into(), value: "test-value".into(), lease: 1, backing_bytes: 0 }).unwrap();
    txn.commit();
    let one = bench.store.view().fresh_hash_kv(0).unwrap();
    assert_eq!(one, HashKv { hash: 645_561_629, compact_revision: -1, hash_revision: 2 });
    assert!(matches!(bench.store.view().hash_kv(3), Err(ReadFailure::Refused(Refusal::FutureRevision))));
    let none = bench.store.view().hash_kv(-4).unwrap();
    assert_eq!(none, HashKv { hash: 1_084_519_789, compact_revision: -1, hash_revision: -4 });
}

#[test]
fn the_event_of_a_delete_tells_what_was_before_the_transaction() {
    let mut bench = Bench::new(StoreOptions::default());
    put(&mut bench.store, "old", "1");
    let mut txn = bench.store.begin(&|_| true);
    for key in ["new", "old"] {
        txn.put(NewValue { key: key.into(), value: "2".into(), lease: 0, backing_bytes: 0 }).unwrap();
    }
    assert_eq!(delete(&mut txn, &KeyRange::all()).len(), 2);
    let before: Vec<_> = txn.commit().into_iter().map(|event| event.prev_kv.map(|kv| kv.value)).collect();
    assert_eq!(before, [None, Some("1".into()), None, Some("1".into())]);
}

/// The space of what was compacted comes back, and a digest never changes by it.
#[test]
fn reclaim_gives_space_back() {
    let mut bench = Bench::new(StoreOptions { cache_bytes: 0, segment_bytes: 4_000 });
    for n in 0..1_000 {
        put(&mut bench.store, &format!("k{}", n % 10), "a value of some length");
    }
    let before = bench.store.view();
    bench.write();
    assert!(bench.store.reclaim_candidate(false).is_none(), "nothing is dead yet");
    bench.store.compact(990).unwrap();
    while bench.store.compaction_step(64).unwrap() {}
    let digest = bench.store.view().fresh_hash_kv(0).unwrap();
    assert!(bench.store.in_use_bytes() < 5_000 && bench.store.size_bytes() > 80_000);
    while let Some(job) = bench.store.reclaim_candidate(false) {
        let done = run_ready(job.run(&bench.disk)).unwrap();
        bench.store.reclaimed(done);
    }
    assert!(bench.store.size_bytes() < 10_000);
    assert_eq!(bench.store.view().fresh_hash_kv(0).unwrap(), digest);
    let files = bench.disk.all_files().len();
    let position = bench.store.position();
    bench.collect(&[&StorePosition {
        segments: before
            .table
            .segments()
            .iter()
            .map(|segment| SegmentMark {
                number: segment.number(),
                first: segment.first(),
                last: segment.last(),
                len: segment.len(),
                sparse: false,
                outline: None,
            })
            .collect(),
        ..position.clone()
    }]);
    assert_eq!(bench.disk.all_files().len(), files, "the old checkpoint still needs them");
    bench.collect(&[&position]);
    assert!(bench.disk.all_files().len() < files / 2);
    // The view from before reads on from files that have no name any more.
    assert_eq!(before.get(b"k1").unwrap().unwrap().value, "a value of some length");
    assert_eq!(before.range(&RangeQuery::plain(KeyRange::all())).unwrap().count, 10);
    // The first put may begin a segment; the second is nothing to look for.
    put(&mut bench.store, "k0", "a value of some length");
    assert!(bench.store.reclaim_candidate(false).is_none());
    put(&mut bench.store, "k0", "a value of some length");
    assert!(!bench.store.history.is_stirred());
}

/// Who asks for space gets it from the segment that still grows too; nothing dead, nothing done.
#[test]
fn requested_reclaim_covers_the_segment_that_grows() {
    let mut bench = Bench::new(StoreOptions { cache_bytes: 0, segment_bytes: 1 << 20 });
    let reclaim = |bench: &mut Bench| {
        while let Some(job) = bench.store.reclaim_candidate(false) {
            bench.store.reclaimed(run_ready(job.run(&bench.disk)).unwrap());
        }
        bench.store.position().files().count()
    };
    bench.store.request_reclaim();
    for n in 0..100 {
        bench.txn(vec![Change::Put("k".into(), format!("value {n}").into(), 0)], false);
    }
    bench.write();
    bench.store.request_reclaim();
    assert_eq!(reclaim(&mut bench), 1, "nothing is dead");
    bench.run(Step::Compact(2));
    while bench.store.compaction_step(9).unwrap() {}
    let before = bench.store.size_bytes();
    reclaim(&mut bench);
    assert_eq!(bench.store.size_bytes(), before, "the segment still grows");
    bench.store.request_reclaim();
    reclaim(&mut bench);
    assert!(bench.store.size_bytes() < before / 50);
    bench.txn(vec![Change::Put("k".into(), "later".into(), 0)], false);
    bench.write();
    bench.reopen(false);
    bench.finish();
}

/// A dead put that stays in a file because too little else died with it must not come back to life at boot
/// because its tombstone, in another file, went.
#[test]
fn reclaim_never_brings_a_deleted_key_back() {
    let mut bench = Bench::new(StoreOptions { cache_bytes: 0, segment_bytes: 300 });
    let pair = |name: &str| Change::Put(name.to_string().into(), "a value".into(), 0);
    bench.txn(["k0", "k1", "k2", "k3", "k4"].map(pair).to_vec(), false);
    bench.txn(vec![Change::Delete(KeyRange::single("k4".into()))], false);
    for n in 0..20 {
        bench.txn(vec![Change::Put("k5".into(), format!("{n}").into(), 0)], false);
    }
    bench.run(Step::Compact(2));
    while bench.store.compaction_step(9).unwrap() {}
    bench.write();
    let segments = bench.store.position().files().count();
    while let Some(job) = bench.store.reclaim_candidate(false) {
        bench.store.reclaimed(run_ready(job.run(&bench.disk)).unwrap());
    }
    assert!(bench.store.position().files().count() < segments);
    bench.finish();
}

#[test]
fn digests_of_a_history_are_those_a_stock_etcd_gave() {
    let mut bench = Bench::new(StoreOptions { cache_bytes: 0, segment_bytes: 300 });
    for line in include_str!("etcd_digests.txt").lines().filter(|line| !line.starts_with('#')) {
        let (step, expected) = line.split_once(" = ").unwrap();
        let words: Vec<Bytes> = step.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        match &words[..] {
            [put, key, value] if put == "put" => bench.txn(vec![Change::Put(key.clone(), value.clone(), 0)], false),
            [again, key, value] if again == "again" => {
                let all = Change::Delete(KeyRange { start: key.clone(), end: RangeEnd::Open });
                bench.txn(vec![all, Change::Put(key.clone(), value.clone(), 0)], false);
            }
            [_, from, to] => {
                let range = KeyRange { start: from.clone(), end: RangeEnd::Before(to.clone()) };
                bench.txn(vec![Change::Delete(range)], false);
            }
            [_, revision] => {
                // Refused in both where it was compacted before.
                let revision: i64 = std::str::from_utf8(revision).unwrap().parse().unwrap();
                let _ = bench.store.compact(revision);
                bench.twin.compacted = bench.store.compact_revision();
            }
            _ => panic!("{line}"),
        }
        // However far pruning and reclaim are, the answer is the same.
        bench.store.compaction_step(3).unwrap();
        bench.write();
        bench.reclaim();
        let got = bench.store.view().fresh_hash_kv(0).unwrap();
        assert_eq!(format!("{} {} {}", got.hash, got.compact_revision, got.hash_revision), expected, "after {step}");
    }
}
