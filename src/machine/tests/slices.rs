//! Commands that are carried out in slices, against the same carried out at once.

use proptest::prelude::*;

use super::*;
use crate::base::KeyValue;
use crate::machine::{Slice, Told};

fn key() -> impl Strategy<Value = String> {
    (0..12_u8).prop_map(|n| format!("k{n:02}"))
}

fn range() -> impl Strategy<Value = DeleteRange> {
    (key(), prop_oneof![Just(String::new()), Just("\0".to_string()), key()], any::<bool>())
        .prop_map(|(from, to, prev_kv)| DeleteRange { prev_kv, ..delete(&from, &to) })
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
        prop::collection::vec(inner, 0..4).prop_map(|ops| Op::Txn(Txn { success: ops, ..Txn::default() }))
    })
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        8 => (key(), 0..3_i64).prop_map(|(key, lease)| Command::Put(Put { lease, ..plain_put(&key, &key) })),
        2 => (1..3_i64).prop_map(|id| Command::LeaseGrant { id, ttl: 100 }),
        1 => (1..3_i64).prop_map(|id| Command::LeaseRevoke { id, expiry: None }),
        1 => range().prop_map(Command::DeleteRange),
        2 => prop::collection::vec(op(), 0..5).prop_map(|success| Command::Txn(Txn { success, ..Txn::default() })),
    ]
}

/// What anybody sees of a machine, but for the keys on its leases.
fn seen(machine: &Machine<MemoryDisk>) -> (State, Vec<KeyValue>, u64, Option<u64>) {
    let view = machine.store().view();
    let kvs = view.range(&RangeQuery::plain(all_keys())).expect("read").kvs;
    (machine.state(), kvs, machine.store().key_count(), machine.digest_at(machine.applied().0))
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

fn same(bench: &mut Bench, whole: &mut Bench, command: &Command, slice: Slice, prevs: bool) {
    let (index, _) = bench.machine.applied();
    let payload = codec::encode(index + 100, command);
    let told = Told { wants_prev: &|_| prevs, any_prev: prevs, is_told: &|_| true };
    let before = seen(&bench.machine);
    let outcome = loop {
        let progress = bench.machine.apply_some((index + 1, 1), &payload, &told, slice).expect("no faults");
        assert_eq!(bench.machine.is_under_way(), progress.outcome.is_none());
        if let Some(outcome) = progress.outcome {
            break outcome;
        }
        assert!(progress.changes > 0, "each slice does something");
        assert_eq!(seen(&bench.machine), before, "nothing of it is to be seen before it is done");
    };
    let expected = whole.machine.apply(index + 1, 1, &payload, &|_| prevs).expect("no faults");
    assert_eq!(outcome.proposal, expected.proposal);
    let (applied, expected) = (outcome.applied, expected.applied);
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
        let (mut bench, mut whole) = (Bench::new(), Bench::new());
        for command in &commands {
            same(&mut bench, &mut whole, command, Slice::new(changes, bytes), prevs);
        }
        // What a restart finds is the same as well.
        let written = |bench: &mut Bench| {
            let writes = bench.machine.store_mut().take_writes();
            HistoryWriter::new(bench.disk.clone()).write(&writes).expect("written");
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
    let told = Told { wants_prev: &|_| false, any_prev: false, is_told: &|key| key == b"k3" || key == b"k9" };
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
    let told = Told { wants_prev: &|_| false, any_prev: false, is_told: &|_| false };
    let progress = bench.machine.apply_some((index + 1, 1), &payload, &told, Slice::new(1, 100)).expect("no faults");
    assert!(progress.outcome.is_none());
    let before = seen(&bench.machine);
    bench.machine.pass_over(index + 1, 1);
    assert_eq!(seen(&bench.machine).1, before.1, "who is about to go shows what it showed");
    let mut next = Bench::new();
    for key in ["a", "b", "c", "d", "e"] {
        next.put(key, "v");
    }
    drop(bench.machine.replace(next.machine));
    assert!(!bench.machine.is_under_way());
    bench.put("f", "v");
}
