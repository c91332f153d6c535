//! Commands that are carried out in slices, against the same carried out at once.

use proptest::prelude::*;

use super::*;
use crate::base::{Event, KeyValue};
use crate::machine::{Progress, Slice, Told};

fn key() -> impl Strategy<Value = String> {
    (0..12_u8).prop_map(|n| format!("k{n:02}"))
}

fn range() -> impl Strategy<Value = DeleteRange> {
    (key(), prop_oneof![Just(String::new()), Just("\0".to_string()), key()], any::<bool>())
        .prop_map(|(from, to, prev_kv)| DeleteRange { prev_kv, ..delete(&from, &to) })
}

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        (0..3_i64).prop_map(CompareTarget::Version),
        (0..60_i64).prop_map(CompareTarget::Mod),
        Just(CompareTarget::Value(bytes("in a transaction"))),
    ];
    let result = prop_oneof![
        1 => Just(CompareResult::Equal),
        4 => Just(CompareResult::NotEqual),
        4 => Just(CompareResult::Greater),
        4 => Just(CompareResult::Less),
    ];
    (range(), target, result).prop_map(|(of, target, result)| Compare { range: of.range, target, result })
}

fn op() -> impl Strategy<Value = Op> {
    let leaf = prop_oneof![
        2 => (key(), 0..3_i64, any::<bool>()).prop_map(|(key, lease, prev_kv)| {
            Op::Put(Put { lease, prev_kv, ..plain_put(&key, "in a transaction") })
        }),
        2 => range().prop_map(Op::DeleteRange),
        1 => Just(Op::Range(RangeQuery::plain(all_keys()))),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let ops = prop::collection::vec(inner, 0..4);
        (prop::collection::vec(compare(), 0..3), ops.clone(), ops)
            .prop_map(|(compares, success, failure)| Op::Txn(Txn { compares, success, failure }))
    })
}

/// Values are read from the disk.
fn uncached() -> Bench {
    let disk = MemoryDisk::new();
    let options = StoreOptions { cache_bytes: 0, ..StoreOptions::default() };
    let machine = Machine::open(disk.clone(), options, &Image::default(), &[]).expect("the image opens");
    Bench { machine, disk }
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        8 => (key(), 0..3_i64).prop_map(|(key, lease)| Command::Put(Put { lease, ..plain_put(&key, &key) })),
        2 => (1..3_i64).prop_map(|id| Command::LeaseGrant { id, ttl: 100 }),
        1 => (1..3_i64).prop_map(|id| Command::LeaseRevoke { id, expiry: None }),
        1 => range().prop_map(Command::DeleteRange),
        2 => (prop::collection::vec(compare(), 0..4), prop::collection::vec(op(), 0..5), prop::collection::vec(op(), 0..2))
            .prop_map(|(compares, success, failure)| Command::Txn(Txn { compares, success, failure })),
    ]
}

type Seen = (State, Vec<KeyValue>, u64, Option<u64>, String);

/// What anybody sees of a machine, but for the keys on its leases.
fn seen(machine: &Machine<MemoryDisk>) -> Seen {
    let view = machine.store().view();
    let kvs = view.range(&RangeQuery::plain(all_keys())).expect("read").kvs;
    let hashes = format!("{:?} {:?}", view.fresh_hash_kv(0), view.hash());
    (machine.state(), kvs, machine.store().key_count(), machine.digest_at(machine.applied().0), hashes)
}

fn leased(machine: &Machine<MemoryDisk>) -> Vec<(i64, Vec<Bytes>)> {
    machine.leases().ids().map(|id| (id, machine.leases().keys(id).cloned().collect())).collect()
}

/// The rows of what was put off, in place of it.
fn rows(answer: &Result<Answer, Refusal>) -> String {
    match answer {
        Ok(answer) if answer.is_put_off() => format!("{:?}", answer.clone().carry_out(usize::MAX)),
        answer => format!("{answer:?}"),
    }
}

/// Has everything written that the disk was not given.
fn write_out(bench: &mut Bench) {
    let store = bench.machine.store_mut();
    let writes = store.take_writes();
    if let Some(mark) = HistoryWriter::new(bench.disk.clone()).write(&writes).expect("written") {
        store.written(mark);
    }
}

fn same(bench: &mut Bench, whole: &mut Bench, command: &Command, slice: Slice, prevs: bool) {
    let (index, _) = bench.machine.applied();
    let payload = codec::encode(index + 100, command);
    let wants_prev = |_: &[u8]| prevs;
    let shown = std::cell::RefCell::new(Vec::new());
    let on_slice = |before: usize, events: &[Event]| {
        assert_eq!(before, shown.borrow().len(), "each slice is shown once");
        shown.borrow_mut().extend_from_slice(events);
    };
    let told = Told { on_slice: &on_slice, ..Told::all(&wants_prev) };
    let (before, command_writes) = (seen(&bench.machine), index % 2 == 0);
    let outcome = loop {
        let progress = bench.machine.apply_some((index + 1, 1), &payload, &told, slice).expect("no faults");
        assert_eq!(bench.machine.is_under_way(), progress.outcome.is_none());
        if let Some(outcome) = progress.outcome {
            break outcome;
        }
        assert!(progress.changes > 0 || progress.read > 0, "each slice does something");
        if command_writes {
            // A part of a command goes to the disk as all else does, and a start cuts it off.
            write_out(bench);
        }
        assert_eq!(seen(&bench.machine), before, "nothing of it is to be seen before it is done");
    };
    let expected = whole.machine.apply(index + 1, 1, &payload, &|_| prevs).expect("no faults");
    assert_eq!(outcome.proposal, expected.proposal);
    let (applied, expected) = (outcome.applied, expected.applied);
    let shown = shown.into_inner();
    assert!(shown.is_empty() || shown == expected.events, "slice by slice all is shown that was done");
    assert_eq!(applied.events, expected.events);
    assert_eq!((applied.revision, applied.digest), (expected.revision, expected.digest));
    assert_eq!(rows(&applied.answer), rows(&expected.answer));
    assert_eq!(seen(&bench.machine), seen(&whole.machine));
    assert_eq!(leased(&bench.machine), leased(&whole.machine));
}

proptest! {
    #[test]
    fn a_command_does_the_same_in_slices_as_at_once(
        commands in prop::collection::vec(command(), 1..60),
        changes in 1..5_usize, bytes in prop_oneof![Just(3_usize), Just(usize::MAX)], prevs in any::<bool>(),
    ) {
        let (mut bench, mut whole) = (uncached(), uncached());
        for command in &commands {
            same(&mut bench, &mut whole, command, Slice::new(changes, bytes), prevs);
        }
        // What a restart finds is the same as well.
        let written = |bench: &mut Bench| {
            write_out(bench);
            seen(&open(&bench.disk, &bench.machine.image()))
        };
        prop_assert_eq!(written(&mut bench), written(&mut whole));
    }
}

#[test]
fn a_slice_changes_no_more_than_it_may_and_tells_only_who_asks() {
    let mut bench = Bench::new();
    for n in 0..10 {
        bench.put(&format!("k{n}"), "v");
    }
    let (index, _) = bench.machine.applied();
    let payload = codec::encode(index + 100, &Command::DeleteRange(delete("k", "l")));
    let told = Told { is_told: &|key| key == b"k3" || key == b"k9", ..Told::all(&|_| false) };
    let mut slices = Vec::new();
    let outcome = loop {
        let progress =
            bench.machine.apply_some((index + 1, 1), &payload, &told, Slice::new(4, 100)).expect("no faults");
        slices.push(progress.changes);
        if let Some(outcome) = progress.outcome {
            break outcome;
        }
    };
    assert_eq!(slices, [4, 4, 2]);
    let told: Vec<_> = outcome.applied.events.iter().map(|event| &event.kv.key[..]).collect();
    assert_eq!(told, [b"k3", b"k9"]);
    assert_eq!(outcome.applied.answer, Ok(Answer::DeleteRange { deleted: 10, prev_kvs: Vec::new() }));
}

/// A state that takes the place of one in which a command is under way knows nothing of it.
#[test]
fn a_state_that_is_replaced_takes_what_was_begun_with_it() {
    let mut bench = Bench::new();
    for key in ["a", "b", "c"] {
        bench.put(key, "v");
    }
    let (index, _) = bench.machine.applied();
    let payload = codec::encode(index + 100, &Command::DeleteRange(delete("a", "\0")));
    let told = Told { is_told: &|_| false, ..Told::all(&|_| false) };
    let progress = bench.machine.apply_some((index + 1, 1), &payload, &told, Slice::new(1, 100)).expect("no faults");
    assert!(progress.outcome.is_none());
    let before = seen(&bench.machine);
    bench.machine.pass_over(index + 1, 1);
    assert_eq!(seen(&bench.machine).1, before.1, "who is about to go shows what it showed");
    assert!(!bench.machine.is_under_way(), "what is applied to it until then stands behind what was begun");
    let mut next = Bench::new();
    for key in ["a", "b", "c", "d", "e"] {
        next.put(key, "v");
    }
    drop(bench.machine.replace(next.machine));
    assert!(!bench.machine.is_under_way());
    bench.put("f", "v");
}

fn slice_of(bench: &mut Bench, command: &Command, told: &Told<'_>, slice: Slice) -> Progress {
    let (index, _) = bench.machine.applied();
    let payload = codec::encode(index + 100, command);
    bench.machine.apply_some((index + 1, 1), &payload, told, slice).expect("no faults")
}

fn puts(keys: std::ops::Range<usize>) -> Command {
    let success = keys.map(|n| Op::Put(plain_put(&format!("k{n:02}"), "new"))).collect();
    Command::Txn(Txn { success, ..Txn::default() })
}

#[test]
fn what_fits_into_a_slice_is_not_begun_in_the_rest_of_one() {
    let mut bench = Bench::new();
    let before = seen(&bench.machine);
    let progress = slice_of(&mut bench, &puts(0..8), &Told::all(&|_| true), Slice::new(3, 100).rest_of(8));
    assert!(progress.outcome.is_none() && progress.changes == 0);
    assert!(!bench.machine.is_under_way());
    assert_eq!(seen(&bench.machine), before);
    let progress = slice_of(&mut bench, &puts(0..8), &Told::all(&|_| true), Slice::new(8, 100).rest_of(8));
    assert!(progress.outcome.is_some());
    let progress = slice_of(&mut bench, &puts(0..9), &Told::all(&|_| true), Slice::new(3, 100).rest_of(8));
    assert!(progress.outcome.is_none() && bench.machine.is_under_way(), "this one does not fit into any");
}

/// Only what may be paused copies what it changes, and leaves an index behind.
#[test]
fn who_watches_what_was_there_before_costs_a_small_command_nothing() {
    for (mut bench, keys, copies) in
        [(Bench::new(), 0..40, false), (uncached(), 0..16, false), (uncached(), 0..17, true)]
    {
        slice_of(&mut bench, &puts(0..40), &Told::all(&|_| false), Slice::WHOLE);
        write_out(&mut bench);
        let slice = Slice::new(1_000, 1 << 20);
        let unwatched = slice_of(&mut bench, &puts(keys.clone()), &Told::all(&|_| false), slice);
        assert!(unwatched.read == 0 && bench.machine.store_mut().take_outdated().is_none());
        write_out(&mut bench);
        let watched = slice_of(&mut bench, &puts(keys), &Told::all(&|_| true), slice);
        assert!(watched.outcome.is_some());
        assert_eq!(bench.machine.store_mut().take_outdated().is_some(), copies);
    }
}

/// What was there before is counted where it is read, put by put, and ends the slice.
#[test]
fn values_of_before_that_are_read_end_a_slice() {
    let mut bench = uncached();
    slice_of(&mut bench, &puts(0..40), &Told::all(&|_| false), Slice::WHOLE);
    write_out(&mut bench);
    // A key and a value of three bytes each.
    let (mut read, mut slices) = (Vec::new(), Vec::new());
    loop {
        let progress = slice_of(&mut bench, &puts(0..20), &Told::all(&|_| true), Slice::new(1_000, 31));
        read.push(progress.read);
        slices.push(progress.changes);
        if progress.outcome.is_some() {
            break;
        }
    }
    assert_eq!((&slices[..], &read[..]), (&[6, 6, 6, 2][..], &[36, 36, 36, 12][..]));
    let one = slice_of(&mut bench, &Command::Put(plain_put("k30", "newer")), &Told::all(&|_| true), Slice::new(9, 9));
    assert_eq!((one.changes, one.read), (1, 6));
}

/// Who takes what was shown seldom takes all of it: none is dropped where it was made.
#[test]
fn what_was_shown_is_kept_until_it_is_taken() {
    let mut bench = uncached();
    slice_of(&mut bench, &puts(0..40), &Told::all(&|_| false), Slice::WHOLE);
    for n in [0, 20] {
        write_out(&mut bench);
        let done = slice_of(&mut bench, &puts(n..n + 20), &Told::all(&|_| true), Slice::new(1_000, 1 << 20));
        assert!(done.outcome.is_some());
    }
    assert_eq!(bench.machine.store_mut().take_outdated().expect("it was copied").len(), 2);
}

/// Of as many compares over as many keys as there are.
fn compares(bench: &mut Bench, target: &CompareTarget, success: Vec<Op>) -> Command {
    if bench.machine.store().key_count() == 0 {
        slice_of(bench, &puts(0..40), &Told::all(&|_| false), Slice::WHOLE);
        write_out(bench);
    }
    let compare = || Compare { range: all_keys(), target: target.clone(), result: CompareResult::Equal };
    Command::Txn(Txn { compares: (0..3).map(|_| compare()).collect(), success, ..Txn::default() })
}

/// Keys that are compared count as changes, a few as one, and values that are read for it as such; nothing of the transaction is
/// begun, nor copied for it, before its branches are chosen.
#[test]
fn compares_of_ranges_are_made_in_slices() {
    let most = 4 * limits::LOOKS_PER_CHANGE;
    assert!(120 > 3 * most && 120 < 4 * most, "120 keys are four slices");
    let version = CompareTarget::Version(1);
    let put = |key: &str| Op::Put(plain_put(key, "newer"));
    let mut bench = Bench::new();
    let command = compares(&mut bench, &version, vec![put("x")]);
    let before = seen(&bench.machine);
    for _ in 0..3 {
        let progress = slice_of(&mut bench, &command, &Told::all(&|_| true), Slice::new(4, 100));
        assert!(progress.outcome.is_none() && bench.machine.is_under_way());
        assert_eq!((progress.changes, progress.read), (4, 0));
        assert_eq!(seen(&bench.machine), before);
    }
    let progress = slice_of(&mut bench, &command, &Told::all(&|_| true), Slice::new(4, 100));
    assert_eq!(progress.changes, 4, "the last keys and a put");
    assert!(progress.outcome.is_some() && bench.machine.store_mut().take_outdated().is_none(), "nothing was copied");
    // What is to be done is more than what is left: it has a slice of its own, and is not chosen anew.
    let mut bench = Bench::new();
    let command = compares(&mut bench, &version, vec![put("x"), put("y")]);
    let slices = |bench: &mut Bench, command: &Command, changes: usize, bytes: usize| {
        let mut done = Vec::new();
        loop {
            let progress = slice_of(bench, command, &Told::all(&|_| false), Slice::new(changes, bytes));
            done.push((progress.changes, progress.read));
            if progress.outcome.is_some() {
                return done;
            }
            assert!(bench.machine.is_under_way(), "it goes on");
        }
    };
    assert_eq!(slices(&mut bench, &command, 4, 100), [(4, 0), (4, 0), (4, 0), (3, 0), (2, 0)]);
    assert!(bench.machine.store_mut().take_outdated().is_none(), "it fits into one");
    // Values on the disk: three bytes each, and as many of their keys.
    let mut bench = uncached();
    let command = compares(&mut bench, &CompareTarget::Value(bytes("new")), vec![put("x")]);
    let done = slices(&mut bench, &command, 100, 66);
    let mut expected = vec![(11, 66); 10];
    // The last ten, and a put.
    expected.push((11, 60));
    assert_eq!(done, expected);
    let mut bench = uncached();
    let command = compares(&mut bench, &CompareTarget::Value(bytes("new")), vec![put("x")]);
    let done = slices(&mut bench, &command, 4, 1_000);
    assert_eq!((&done[0], done.len()), (&(4, 24), 31), "to read one takes as long as to change one");
    // And one that the choice refuses ends with that.
    let mut bench = Bench::new();
    let missing = Put { ignore_value: true, ..plain_put("z", "") };
    let command = compares(&mut bench, &version, vec![Op::Put(missing)]);
    let answer = loop {
        let progress = slice_of(&mut bench, &command, &Told::all(&|_| false), Slice::new(4, 100));
        if let Some(outcome) = progress.outcome {
            break outcome.applied.answer;
        }
    };
    assert_eq!(answer, Err(Refusal::KeyNotFound));
    assert!(!bench.machine.is_under_way());
}

/// What is chosen in the rest of a slice is chosen again in a whole one, where it fits or that is to be seen: an ordinary transaction
/// is never under way.
#[test]
fn nothing_is_chosen_over_slices_that_fits_into_one() {
    let mut bench = Bench::new();
    slice_of(&mut bench, &puts(0..40), &Told::all(&|_| false), Slice::WHOLE);
    let compare = |n: usize| Compare {
        range: KeyRange::single(bytes(&format!("k{n:02}"))),
        target: CompareTarget::Version(1),
        result: CompareResult::Equal,
    };
    let txn = |compares: usize, puts: usize| {
        let success = (0..puts).map(|n| Op::Put(plain_put(&format!("x{n}"), "new"))).collect();
        Command::Txn(Txn { compares: (0..compares).map(compare).collect(), success, ..Txn::default() })
    };
    let per_change = limits::LOOKS_PER_CHANGE;
    for (compares, puts, looked_at) in [(per_change, 1, 1), (2 * per_change, 1, 1), (per_change, 7, 1), (1, 2, 0)] {
        let command = txn(compares, puts);
        let progress = slice_of(&mut bench, &command, &Told::all(&|_| false), Slice::new(1, 100).rest_of(8));
        assert!(progress.outcome.is_none() && !bench.machine.is_under_way());
        assert_eq!(progress.changes, looked_at, "what was looked at is counted");
        let progress = slice_of(&mut bench, &command, &Told::all(&|_| false), Slice::new(8, 100).rest_of(8));
        assert!(progress.outcome.is_some(), "{compares} {puts}");
    }
    // With what is compared it is more than a whole one.
    let progress = slice_of(&mut bench, &txn(per_change, 8), &Told::all(&|_| false), Slice::new(1, 100).rest_of(8));
    assert!(progress.outcome.is_none() && bench.machine.is_under_way());
}

/// Long values take as long to compare as several keys.
#[test]
fn long_values_that_are_compared_count_for_more() {
    let mut bench = Bench::new();
    let long = "v".repeat(3 * limits::LOOK_BYTES);
    let put = |n: usize| Op::Put(plain_put(&format!("k{n:02}"), &long));
    let puts = Command::Txn(Txn { success: (0..20).map(put).collect(), ..Txn::default() });
    slice_of(&mut bench, &puts, &Told::all(&|_| false), Slice::WHOLE);
    let compare =
        Compare { range: all_keys(), target: CompareTarget::Value(bytes(&long)), result: CompareResult::Equal };
    let command = Command::Txn(Txn { compares: vec![compare], ..Txn::default() });
    let progress = slice_of(&mut bench, &command, &Told::all(&|_| false), Slice::new(9, 100));
    assert_eq!((progress.changes, progress.outcome.is_none()), (9, true), "four for each: eighteen of them");
    let progress = slice_of(&mut bench, &command, &Told::all(&|_| false), Slice::new(9, 100));
    assert!(progress.changes == 1 && progress.outcome.is_some());
}
