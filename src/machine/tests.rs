//! Scenarios of the machine, and properties of what it reads from the log and from images.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::base::limits;
use crate::base::{KeyRange, KeyValue, MemberId, Refusal};
use crate::env::Disk;
use crate::env::MemoryDisk;
use crate::mvcc::{HISTORY_DIR, HistoryWriter, Holds, Looks, RangeQuery, ReadFailure, StoreOptions, Weight};

mod auth;
mod slices;

struct Bench {
    machine: Machine<MemoryDisk>,
    disk: MemoryDisk,
}

impl Bench {
    fn new() -> Self {
        let disk = MemoryDisk::new();
        Self { machine: open(&disk, &Image::default()), disk }
    }

    fn apply(&mut self, command: Command) -> Applied {
        let (index, _) = self.machine.applied();
        let payload = codec::encode(index + 100, &command);
        let outcome = self.machine.apply(index + 1, 1, &payload, &|_| true).expect("a memory disk has no faults");
        assert_eq!(outcome.proposal, Some(codec::Proposal { id: index + 100, asker: None, command: Ok(command) }));
        outcome.applied
    }

    fn put(&mut self, key: &str, value: &str) -> Applied {
        self.apply(put(key, value))
    }
}

fn open(disk: &MemoryDisk, image: &Image) -> Machine<MemoryDisk> {
    Machine::open(disk.clone(), StoreOptions::default(), image, &[]).expect("the image opens")
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn plain_put(key: &str, value: &str) -> Put {
    Put { key: bytes(key), value: bytes(value), ..Put::default() }
}

fn put(key: &str, value: &str) -> Command {
    Command::Put(plain_put(key, value))
}

fn delete(key: &str, end: &str) -> DeleteRange {
    DeleteRange { range: KeyRange::from_wire(bytes(key), bytes(end)), prev_kv: false }
}

fn value_is(key: &str, value: &str) -> Compare {
    Compare {
        range: KeyRange::single(bytes(key)),
        target: CompareTarget::Value(bytes(value)),
        result: CompareResult::Equal,
    }
}

#[test]
fn revisions_move_with_changes_only() {
    let mut bench = Bench::new();
    assert_eq!(bench.put("a", "1").revision, 2);
    assert_eq!(bench.apply(Command::DeleteRange(delete("zz", ""))).revision, 2);
    assert_eq!(bench.apply(Command::LeaseGrant { id: 5, ttl: 10 }).revision, 2);
    let gone = bench.apply(Command::DeleteRange(delete("a", "\0")));
    assert_eq!((gone.revision, gone.events.len()), (3, 1));
}

#[test]
fn a_transaction_that_is_refused_leaves_no_trace() {
    let mut bench = Bench::new();
    bench.put("a", "1");
    let mut with_lease = plain_put("b", "2");
    with_lease.lease = 77;
    let txn = Txn {
        compares: vec![value_is("a", "1")],
        success: vec![Op::Put(plain_put("c", "3")), Op::Put(with_lease)],
        failure: Vec::new(),
    };
    let refused = bench.apply(Command::Txn(txn));
    assert_eq!(refused.answer, Err(Refusal::LeaseNotFound));
    assert_eq!((refused.revision, refused.events.len()), (2, 0));
    assert_eq!(bench.machine.store().key_count(), 1);
}

/// An expiry ends the lease it names and no other, and only by the word of the term's own leader.
#[test]
fn an_expiry_is_bound_to_the_grant_and_to_the_term() {
    let mut bench = Bench::new();
    bench.apply(Command::LeaseGrant { id: 5, ttl: 10 });
    let granted_at = bench.machine.applied().0;
    let expiry = |granted_at, term| Command::LeaseRevoke { id: 5, expiry: Some(Expiry { granted_at, term }) };
    bench.apply(Command::Put(Put { lease: 5, ..plain_put("held", "") }));
    for stale in [expiry(granted_at + 1, 1), expiry(granted_at, 0), expiry(granted_at, 2)] {
        let applied = bench.apply(stale);
        assert_eq!((applied.answer, applied.events.len()), (Err(Refusal::LeaseNotFound), 0));
    }
    // An image carries it.
    let image = Image::decode(&bench.machine.image().encode()).expect("read back");
    assert_eq!(image.state.leases[0].granted_at, granted_at);
    assert_eq!(bench.apply(expiry(granted_at, 1)).events.len(), 1);
    assert!(!bench.machine.leases().contains(5));
    bench.apply(Command::LeaseGrant { id: 5, ttl: 10 });
    assert!(bench.apply(expiry(granted_at, 1)).answer.is_err(), "granted anew");
    assert!(bench.apply(Command::LeaseRevoke { id: 5, expiry: None }).answer.is_ok(), "a client means any");
}

/// What the log says is what is granted: no flag of a member has a say in it.
#[test]
fn a_remainder_is_bound_to_the_grant_and_to_the_term() {
    let mut bench = Bench::new();
    bench.apply(Command::LeaseGrant { id: 5, ttl: 600 });
    let granted_at = bench.machine.applied().0;
    let say = |seconds, granted_at, counted_in| Command::LeaseCheckpoint {
        remainders: vec![Remainder { id: 5, seconds, granted_at }, Remainder { id: 6, seconds, granted_at }],
        counted_in,
    };
    for (seconds, at, term, left) in [
        (300, granted_at, Some(1), 300),
        (200, granted_at + 1, Some(1), 300),
        (200, granted_at, Some(2), 300),
        (200, granted_at, Some(0), 300),
        (900, granted_at, Some(1), 600),
        (0, granted_at, Some(1), 0),
        (100, 0, None, 100),
    ] {
        let applied = bench.apply(say(seconds, at, term));
        assert_eq!((applied.answer, applied.revision), (Ok(Answer::Done), 1), "nothing a client sees");
        assert_eq!(bench.machine.leases().get(5).expect("it is there").remaining, left, "{seconds} {at} {term:?}");
    }
    bench.apply(Command::Alarm { action: AlarmAction::Activate, member: MemberId(3), kind: AlarmKind::Corrupt });
    bench.apply(say(50, granted_at, Some(1)));
    assert_eq!(
        bench.machine.leases().get(5).expect("it is there").remaining,
        50,
        "as in etcd, alarms do not forbid it"
    );
    assert!(!bench.machine.leases().contains(6));
}

#[test]
fn a_lease_is_as_long_as_the_log_says() {
    let mut bench = Bench::new();
    for ttl in [-1, 0, 1, 7] {
        let id = 100 + ttl;
        let granted = bench.apply(Command::LeaseGrant { id, ttl });
        assert_eq!(granted.answer, Ok(Answer::LeaseGrant { id, ttl }));
        assert_eq!(bench.machine.leases().get(id).map(|lease| lease.ttl), Some(ttl));
    }
}

fn txn(success: Vec<Op>) -> Command {
    Command::Txn(Txn { success, ..Txn::default() })
}

#[test]
fn the_first_thing_wrong_along_the_path_is_told() {
    let mut bench = Bench::new();
    let future = || Op::Range(RangeQuery { revision: 9, ..RangeQuery::plain(KeyRange::single(bytes("a"))) });
    let missing = || Op::Put(Put { ignore_value: true, ..plain_put("a", "") });
    let unleased = || Op::Put(Put { lease: 77, ..plain_put("b", "") });
    for (ops, refusal) in [
        (vec![future(), missing(), unleased()], Refusal::FutureRevision),
        (vec![missing(), future()], Refusal::KeyNotFound),
        (vec![Op::Txn(Txn { success: vec![unleased()], ..Txn::default() }), missing()], Refusal::LeaseNotFound),
        (vec![Op::Put(Put { lease: 77, ignore_value: true, ..plain_put("a", "") })], Refusal::LeaseNotFound),
    ] {
        assert_eq!(bench.apply(txn(ops)).answer, Err(refusal));
    }
}

#[test]
fn what_the_transaction_deleted_before_cannot_be_kept() {
    let mut bench = Bench::new();
    bench.put("k/5", "old");
    let keep = |key| Op::Put(Put { ignore_value: true, ..plain_put(key, "") });
    let keep_lease = Op::Put(Put { ignore_lease: true, ..plain_put("k/5", "new") });
    let nested = Op::Txn(Txn { success: vec![keep("k/5")], ..Txn::default() });
    for put in [keep("k/5"), keep_lease, nested] {
        let refused = bench.apply(txn(vec![Op::DeleteRange(delete("k/3", "\0")), put]));
        assert_eq!((refused.answer, refused.revision), (Err(Refusal::KeyNotFound), 2));
    }
    // The other way round there is something to keep.
    let kept = bench.apply(txn(vec![keep("k/5"), Op::DeleteRange(delete("k/3", "\0"))]));
    assert!(kept.answer.is_ok());
    assert_eq!((kept.revision, bench.machine.store().key_count()), (3, 0));
}

#[test]
fn compares_look_at_the_state_before_the_transaction_even_nested_ones() {
    let mut bench = Bench::new();
    let nested = Txn {
        compares: vec![value_is("a", "new")],
        success: vec![Op::Put(plain_put("branch", "then"))],
        failure: vec![Op::Put(plain_put("branch", "else"))],
    };
    let outer =
        Txn { compares: Vec::new(), success: vec![Op::Put(plain_put("a", "new")), Op::Txn(nested)], failure: vec![] };
    let applied = bench.apply(Command::Txn(outer));
    let Ok(Answer::Txn(answer)) = applied.answer else { panic!("the transaction is answered") };
    assert!(answer.succeeded);
    let OpAnswer::Txn(inner) = &answer.answers[1] else { panic!("the nested one is answered") };
    assert!(!inner.succeeded, "the put before it is not seen by its compare");
    let found =
        bench.machine.store().view().range(&RangeQuery::plain(KeyRange::single(bytes("branch")))).expect("read");
    assert_eq!(found.kvs[0].value, "else");
}

fn all_keys() -> KeyRange {
    KeyRange::from_wire(Bytes::from_static(b"\0"), Bytes::from_static(b"\0"))
}

/// Values that are on the disk alone, and no disk: what is applied for nobody needs none.
#[test]
fn applying_reads_nothing_that_does_not_change_the_state() {
    let disk = MemoryDisk::new();
    let options = StoreOptions { cache_bytes: 0, ..StoreOptions::default() };
    let machine = Machine::open(disk.clone(), options, &Image::default(), &[]).expect("opens");
    let mut bench = Bench { machine, disk: disk.clone() };
    let apply = |bench: &mut Bench, command: Command| {
        let (index, _) = bench.machine.applied();
        let payload = codec::encode(index + 100, &command);
        bench.machine.apply(index + 1, 1, &payload, &|_| false).expect("nothing need be read").applied
    };
    for key in ["a", "b", "c"] {
        apply(&mut bench, put(key, "a value"));
    }
    let writes = bench.machine.store_mut().take_writes();
    let mark = HistoryWriter::new(disk.clone()).write(&writes).expect("written").expect("something");
    bench.machine.store_mut().written(mark);
    for file in disk.list(HISTORY_DIR).expect("listed") {
        disk.rename(&format!("{HISTORY_DIR}/{file}"), "elsewhere").expect("renamed");
    }
    let newer = |version| Compare {
        range: all_keys(),
        target: CompareTarget::Version(version),
        result: CompareResult::Greater,
    };
    let txn = Txn {
        compares: vec![newer(0)],
        success: vec![
            Op::Range(RangeQuery::plain(all_keys())),
            Op::Range(RangeQuery::plain(KeyRange::single(bytes("a")))),
            Op::Put(Put { prev_kv: true, ..plain_put("a", "new") }),
            Op::Range(RangeQuery::plain(all_keys())),
            Op::DeleteRange(DeleteRange { range: KeyRange::single(bytes("b")), prev_kv: true }),
        ],
        failure: Vec::new(),
    };
    let answer = apply(&mut bench, Command::Txn(txn.clone())).answer.expect("done");
    let Answer::Txn(told) = &answer else { panic!("a transaction") };
    assert!(told.succeeded && answer.is_put_off());
    let rows = 6 * size_of::<KeyValue>();
    assert_eq!(answer.weight(), Weight { rows: 9, least_bytes: rows as u64, is_guess: false });
    let failure = answer.clone().carry_out(rows - 1);
    assert!(
        matches!(failure, Err(ReadFailure::Refused(Refusal::AnswerTooLarge))),
        "nothing is read where that is plain"
    );
    let failure = answer.clone().carry_out(limits::MAX_TXN_ANSWER_BYTES);
    assert!(matches!(failure, Err(ReadFailure::Wrong(_))), "who wants it hears what is wrong");
    let deleted = apply(&mut bench, Command::DeleteRange(DeleteRange { range: all_keys(), prev_kv: true })).answer;
    assert!(deleted.expect("done").is_put_off());
    // The disk is back: the answers are those of their places in the transaction.
    let position = bench.machine.store().position();
    let (name, _) = position.files().next().expect("one file");
    disk.rename("elsewhere", &name).expect("renamed");
    let Ok(Answer::Txn(told)) = answer.carry_out(limits::MAX_TXN_ANSWER_BYTES) else { panic!("a transaction") };
    let values = |answer: &OpAnswer| match answer {
        OpAnswer::Range(answer) => answer.kvs.iter().map(|kv| kv.value.clone()).collect(),
        OpAnswer::Put { prev_kv, .. } => prev_kv.iter().map(|kv| kv.value.clone()).collect(),
        OpAnswer::DeleteRange { prev_kvs, .. } => prev_kvs.iter().map(|kv| kv.value.clone()).collect(),
        _ => Vec::new(),
    };
    let (old, new) = (bytes("a value"), bytes("new"));
    assert_eq!(values(&told.answers[0]), [&old, &old, &old]);
    assert_eq!(values(&told.answers[1]), [&old]);
    assert_eq!(values(&told.answers[2]), [&old]);
    assert_eq!(values(&told.answers[3]), [&new, &old, &old]);
    assert_eq!(values(&told.answers[4]), [&old]);
}

/// A hundred ranges over all there is: refused in etcd's words, and what was done stays done.
#[test]
fn an_answer_has_a_limit() {
    let mut bench = Bench::new();
    for n in 0..100 {
        bench.put(&format!("{n}"), "a value of some length");
    }
    let range = || Op::Range(RangeQuery::plain(all_keys()));
    let mut success = vec![Op::Put(plain_put("x", ""))];
    success.extend((0..100).map(|_| range()));
    let txn = Txn { success, ..Txn::default() };
    let answer = bench.apply(Command::Txn(txn)).answer.expect("done");
    assert!(answer.clone().carry_out(10_000 * 200).is_ok());
    let Err(ReadFailure::Refused(refusal)) = answer.carry_out(100_000) else { panic!("it is too large") };
    assert_eq!(refusal, Refusal::AnswerTooLarge);
    let most = limits::MAX_TXN_ANSWER_BYTES;
    assert_eq!(refusal.text(), format!("grpc: trying to send message larger than max ({} vs. {most})", most + 1));
    assert_eq!(bench.machine.store().key_count(), 101);
    // Transactions that only read have the same limit.
    let view = bench.machine.store().view();
    let reads = |many| Txn { success: (0..many).map(|_| range()).collect(), failure: vec![range()], ..Txn::default() };
    assert!(read_txn(&view, &reads(1)).is_ok());
    let least_bytes = (101 * size_of::<KeyValue>()) as u64;
    let weighs = |rows, least_bytes| Weight { rows, least_bytes, is_guess: false };
    assert_eq!(weigh_read_txn(&view, &reads(3)), weighs(303, least_bytes), "it may go the other way");
    assert_eq!(weigh_read_txn(&view, &reads(0)), weighs(101, 0));
    let compare = Compare { range: all_keys(), target: CompareTarget::Version(0), result: CompareResult::Greater };
    let compares = Txn { compares: vec![compare; 3], ..Txn::default() };
    assert_eq!(weigh_read_txn(&view, &compares), weighs(303 / limits::LOOKS_PER_CHANGE as u64, 0));
    // What is not known of one range hides nothing of the others.
    let older = Op::Range(RangeQuery { revision: 2, ..RangeQuery::plain(all_keys()) });
    let mixed = Txn { success: vec![range(), older], ..Txn::default() };
    assert_eq!(weigh_read_txn(&view, &mixed), Weight { rows: 202, least_bytes: 0, is_guess: true });
}

#[test]
fn a_compare_of_a_range_stops_at_the_first_key_that_fails() {
    let mut bench = Bench::new();
    for key in ["a", "b", "c"] {
        bench.put(key, "1");
    }
    bench.put("b", "2");
    let view = bench.machine.store().view();
    let mut seen = Vec::new();
    let all = view.all(&all_keys(), true, &mut { Looks::UNBOUNDED }, &mut |kv| {
        seen.push(kv.value.clone());
        kv.version == 1
    });
    assert_eq!((all.expect("read"), seen), (Holds::NotForAll, vec![bytes("1"), bytes("2")]));
    let none = view.all(&KeyRange::single(bytes("z")), true, &mut { Looks::UNBOUNDED }, &mut |_| true);
    assert_eq!(none.expect("read"), Holds::NoKey);
}

#[test]
fn a_missing_key_compares_as_zero_and_never_by_value() {
    let mut bench = Bench::new();
    for (target, holds) in [
        (CompareTarget::Version(0), true),
        (CompareTarget::Create(0), true),
        (CompareTarget::Mod(0), true),
        (CompareTarget::Lease(0), true),
        (CompareTarget::Value(Bytes::new()), false),
    ] {
        let compare = Compare { range: KeyRange::single(bytes("x")), target, result: CompareResult::Equal };
        let txn = Txn { compares: vec![compare.clone()], ..Txn::default() };
        let Ok(Answer::Txn(answer)) = bench.apply(Command::Txn(txn)).answer else { panic!("answered") };
        assert_eq!(answer.succeeded, holds, "{compare:?}");
    }
}

#[test]
fn a_lease_takes_its_keys_with_it_in_one_revision() {
    let mut bench = Bench::new();
    assert_eq!(bench.apply(Command::LeaseGrant { id: 5, ttl: 2 }).answer, Ok(Answer::LeaseGrant { id: 5, ttl: 2 }));
    assert_eq!(bench.apply(Command::LeaseGrant { id: 5, ttl: 9 }).answer, Err(Refusal::LeaseExists));
    for key in ["b", "a", "c"] {
        bench.apply(Command::Put(Put { lease: 5, ..plain_put(key, "v") }));
    }
    bench.put("c", "detached");
    let revoked = bench.apply(Command::LeaseRevoke { id: 5, expiry: None });
    assert_eq!(revoked.revision, 6);
    let keys: Vec<_> = revoked.events.iter().map(|event| event.kv.key.clone()).collect();
    assert_eq!(keys, ["a", "b"]);
    assert!(revoked.events.iter().all(|event| event.kv.mod_revision == revoked.revision));
    assert_eq!(bench.apply(Command::LeaseRevoke { id: 5, expiry: None }).answer, Err(Refusal::LeaseNotFound));
}

#[test]
fn alarms_forbid_what_they_stand_for() {
    let mut bench = Bench::new();
    let member = MemberId(1);
    bench.put("a", "1");
    bench.apply(Command::Alarm { action: AlarmAction::Activate, member, kind: AlarmKind::NoSpace });
    assert_eq!(bench.put("a", "2").answer, Err(Refusal::NoSpace));
    assert_eq!(bench.apply(Command::LeaseGrant { id: 1, ttl: 9 }).answer, Err(Refusal::NoSpace));
    let puts_in_the_other_branch = Txn { failure: vec![Op::Put(plain_put("b", "1"))], ..Txn::default() };
    assert_eq!(bench.apply(Command::Txn(puts_in_the_other_branch)).answer, Err(Refusal::NoSpace));
    assert!(bench.apply(Command::DeleteRange(delete("a", ""))).answer.is_ok());
    bench.apply(Command::Alarm { action: AlarmAction::Deactivate, member, kind: AlarmKind::NoSpace });
    assert!(bench.put("a", "2").answer.is_ok());
    bench.apply(Command::Alarm { action: AlarmAction::Activate, member, kind: AlarmKind::Corrupt });
    assert_eq!(bench.apply(Command::DeleteRange(delete("a", ""))).answer, Err(Refusal::Corrupt));
}

#[test]
fn an_image_brings_everything_back() {
    let mut bench = Bench::new();
    bench.apply(Command::LeaseGrant { id: 9, ttl: 60 });
    bench.apply(Command::Put(Put { lease: 9, ..plain_put("held", "v") }));
    bench.put("free", "w");
    bench.apply(Command::SetClusterVersion("3.7.0".to_string()));
    bench.apply(Command::SetDowngrade(Some("3.6.0".to_string())));
    bench.apply(Command::Alarm { action: AlarmAction::Activate, member: MemberId(3), kind: AlarmKind::Corrupt });
    let writes = bench.machine.store_mut().take_writes();
    let mut writer = crate::mvcc::HistoryWriter::new(bench.disk.clone());
    writer.write(&writes).expect("a memory disk has no faults");
    let image = bench.machine.image();
    let read = Image::decode(&image.encode()).expect("an image reads back");
    assert_eq!(read, image);
    let again = open(&bench.disk, &read);
    assert_eq!(again.image(), image);
    assert_eq!(again.downgrade(), Some("3.6.0"));
    assert_eq!(again.leases().keys(9).collect::<Vec<_>>(), [&bytes("held")]);
    assert_eq!(again.store().revision(), 3);
}

#[test]
fn entries_are_applied_in_order_only() {
    let result = std::panic::catch_unwind(|| {
        let mut bench = Bench::new();
        let _ = bench.machine.apply(2, 1, &Bytes::new(), &|_| false);
    });
    assert!(result.is_err());
}

fn any_key() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 1..6).prop_map(Bytes::from)
}

fn any_range() -> impl Strategy<Value = KeyRange> {
    (any_key(), prop::collection::vec(any::<u8>(), 0..4)).prop_map(|(key, end)| KeyRange::from_wire(key, end.into()))
}

fn any_put() -> impl Strategy<Value = Put> {
    (any_key(), prop::collection::vec(any::<u8>(), 0..9), any::<i64>(), any::<[bool; 3]>()).prop_map(
        |(key, value, lease, [prev_kv, ignore_value, ignore_lease])| Put {
            key,
            value: if ignore_value { Bytes::new() } else { value.into() },
            lease: if ignore_lease { 0 } else { lease },
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

fn any_compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        any::<i64>().prop_map(CompareTarget::Version),
        any::<i64>().prop_map(CompareTarget::Mod),
        any::<i64>().prop_map(CompareTarget::Create),
        any::<i64>().prop_map(CompareTarget::Lease),
        any_key().prop_map(CompareTarget::Value),
        (5..i32::MAX).prop_map(CompareTarget::Unknown),
    ];
    let result = prop_oneof![
        Just(CompareResult::Equal),
        Just(CompareResult::Greater),
        Just(CompareResult::Less),
        Just(CompareResult::NotEqual),
        (4..i32::MAX).prop_map(CompareResult::Unknown),
    ];
    (any_range(), target, result).prop_map(|(range, target, result)| Compare { range, target, result })
}

fn any_txn() -> impl Strategy<Value = Txn> {
    let leaf = prop_oneof![
        any_put().prop_map(Op::Put),
        (any_range(), any::<bool>()).prop_map(|(range, prev_kv)| Op::DeleteRange(DeleteRange { range, prev_kv })),
        (any_range(), any::<i64>(), any::<i64>()).prop_map(|(range, revision, limit)| Op::Range(RangeQuery {
            revision,
            limit,
            ..RangeQuery::plain(range)
        })),
    ];
    let op = leaf.prop_recursive(3, 24, 4, |inner| {
        let ops = prop::collection::vec(inner, 0..4);
        (prop::collection::vec(any_compare(), 0..3), ops.clone(), ops)
            .prop_map(|(compares, success, failure)| Op::Txn(Txn { compares, success, failure }))
    });
    let ops = prop::collection::vec(op, 0..4);
    (prop::collection::vec(any_compare(), 0..3), ops.clone(), ops).prop_map(|(compares, success, failure)| Txn {
        compares,
        success,
        failure,
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(id in any::<u64>(), txn in any_txn(), put in any_put(), ttl in any::<i64>()) {
        let remainder = |id, granted_at| Remainder { id, seconds: ttl, granted_at };
        let counted = Command::LeaseCheckpoint { remainders: vec![remainder(3, 9), remainder(-4, 7)], counted_in: Some(id) };
        let of_etcd = Command::LeaseCheckpoint { remainders: vec![remainder(3, 0)], counted_in: None };
        let end = Command::LeaseRevoke { id: ttl, expiry: None };
        let expiry = Command::LeaseRevoke { id: ttl, expiry: Some(Expiry { granted_at: id, term: 3 }) };
        let grant = Command::LeaseGrant { id: 3, ttl };
        for command in [Command::Txn(txn), Command::Put(put), grant, counted, of_etcd, end, expiry] {
            let encoded = codec::encode(id, &command);
            let ends = matches!(command, Command::LeaseRevoke { .. });
            prop_assert_eq!(codec::ended_lease(&encoded), ends.then_some(ttl));
            let decoded = codec::decode(&encoded);
            prop_assert_eq!(decoded, Ok(Some(codec::Proposal { id, asker: None, command: Ok(command) })));
        }
    }

    #[test]
    fn any_payload_and_any_image_is_read_or_refused(junk in prop::collection::vec(any::<u8>(), 0..300)) {
        let junk = Bytes::from(junk);
        let decoded = codec::decode(&junk).ok().flatten().and_then(|proposal| proposal.command.ok());
        if let Some(Command::LeaseRevoke { id, .. }) = decoded {
            prop_assert_eq!(codec::ended_lease(&junk), Some(id));
        }
        prop_assert!(Image::decode(&junk).is_err());
    }

    #[test]
    fn a_changed_image_is_refused(at in any::<prop::sample::Index>(), flip in 1_u8..=255) {
        let state = State { applied: (7, 2), cluster_version: Some("3.7.0".to_string()), ..State::default() };
        let image = Image { state, ..Image::default() };
        let mut file = image.encode().to_vec();
        let at = at.index(file.len());
        file[at] ^= flip;
        prop_assert!(Image::decode(&file.into()).is_err());
    }
}

#[test]
fn of_two_operations_that_cannot_be_done_the_first_names_the_refusal() {
    let mut bench = Bench::new();
    let future = Op::Range(RangeQuery { revision: 9, ..RangeQuery::plain(KeyRange::single(bytes("a"))) });
    let kept = Op::Put(Put { ignore_value: true, ..plain_put("missing", "") });
    for (ops, refusal) in
        [([future.clone(), kept.clone()], Refusal::FutureRevision), ([kept, future], Refusal::KeyNotFound)]
    {
        let txn = Txn { success: ops.to_vec(), ..Txn::default() };
        assert_eq!(bench.apply(Command::Txn(txn)).answer, Err(refusal));
    }
}

#[test]
fn an_event_tells_what_the_key_held_before_the_revision() {
    let mut bench = Bench::new();
    bench.put("old", "1");
    let nested = Txn { success: vec![Op::Put(plain_put("new", "2"))], ..Txn::default() };
    let again = Txn { success: vec![Op::Put(plain_put("old", "3"))], ..Txn::default() };
    let ops = vec![Op::Txn(nested), Op::Txn(again), Op::DeleteRange(delete("a", "z"))];
    let events = bench.apply(Command::Txn(Txn { success: ops, ..Txn::default() })).events;
    let before: Vec<_> = events.iter().map(|event| event.prev_kv.as_ref().map(|kv| kv.value.clone())).collect();
    assert_eq!(before, [None, Some(bytes("1")), None, Some(bytes("1"))]);
}

/// Two members apply the same entries, one of them with watchers that want to know what was before; a third begins at
/// the checkpoint of the first.
#[test]
fn all_members_keep_the_same_digest_and_a_restart_goes_on_with_it() {
    let mut one = Bench::new();
    let other_disk = MemoryDisk::new();
    let mut other = open(&other_disk, &Image::default());
    let commands = [
        put("a", "1"),
        Command::LeaseGrant { id: 7, ttl: 60 },
        put("a", "2"),
        Command::Put(Put { lease: 7, ..plain_put("b", "3") }),
        Command::DeleteRange(delete("a", "")),
        Command::Put(Put { lease: 99, ..plain_put("refused", "") }),
        Command::Compact { revision: 3, physical: false },
        Command::Alarm { action: AlarmAction::Activate, member: MemberId(3), kind: AlarmKind::NoSpace },
        Command::LeaseRevoke { id: 7, expiry: None },
        Command::SetClusterVersion("3.7.0".to_string()),
        Command::SetDowngrade(Some("3.6.0".to_string())),
        Command::SetDowngrade(None),
    ];
    let mut seen = vec![Some(0)];
    for (command, index) in commands.iter().zip(1..) {
        let applied = one.apply(command.clone());
        let outcome = other.apply(index, 1, &codec::encode(index + 100, command), &|_| false).expect("no faults");
        assert_eq!(applied.digest, outcome.applied.digest, "entry {index}");
        assert_eq!(one.machine.digest_at(index), applied.digest);
        assert!(!seen.contains(&applied.digest), "entry {index} leaves a trace");
        seen.push(applied.digest);
    }
    assert_eq!(one.machine.digest_at(4), seen[4], "earlier ones are kept");

    let state = State::decode(one.machine.state().encode()).expect("readable");
    let resumed = Machine::open(MemoryDisk::new(), StoreOptions::default(), &Image { state, ..Image::default() }, &[]);
    assert_eq!(resumed.expect("opens").digest_at(12), seen[12], "it is in the image");
}

/// In any words, until they told their names: `m1` may know `m2` as `0`, and is `1` to it.
#[test]
fn who_founds_a_cluster_with_others_may_call_them_by_any_name() {
    let founder = |id: u64, name: &str| Member {
        id: MemberId(id),
        name: name.to_string(),
        peer_urls: vec![format!("http://{id}:2380")],
        ..Member::default()
    };
    let founded = |names: [&str; 2]| {
        let mut machine = open(&MemoryDisk::new(), &Image::default());
        machine.found_member(1, 1, founder(1, names[0]));
        machine.found_member(2, 1, founder(2, names[1]));
        machine
    };
    let (mut one, mut other) = (founded(["m1", "0"]), founded(["1", "m2"]));
    assert!(one.digest_at(2).is_some());
    let tells = |member: u64, name: &str| Command::SetMemberAttributes {
        member: MemberId(member),
        name: name.to_string(),
        client_urls: vec![format!("http://{member}:2379")],
    };
    for (index, command) in [(3, tells(2, "m2")), (4, put("a", "1")), (5, tells(1, "m1"))] {
        assert_eq!(one.digest_at(index - 1), other.digest_at(index - 1), "entry {}", index - 1);
        for machine in [&mut one, &mut other] {
            let _ = machine.apply(index, 1, &codec::encode(index + 100, &command), &|_| false).expect("no faults");
        }
    }
    assert_eq!(
        (one.digest_at(5), one.members()),
        (other.digest_at(5), other.members()),
        "they agree once all have told"
    );
    let mut third = founded(["m1", "m2"]);
    for (index, command) in [(3, tells(2, "m3")), (4, put("a", "1")), (5, tells(1, "m1"))] {
        let _ = third.apply(index, 1, &codec::encode(index + 100, &command), &|_| false).expect("no faults");
    }
    assert_ne!(one.digest_at(5), third.digest_at(5), "a name that was told counts");
}

#[test]
fn a_member_whose_data_differ_has_another_digest_from_the_next_entry_on_that_meets_them() {
    let mut one = Bench::new();
    let mut other = Bench::new();
    for bench in [&mut one, &mut other] {
        bench.put("a", "1");
    }
    let mut write = other.machine.store_mut().begin(&|_| false);
    let value = crate::mvcc::NewValue { key: bytes("b"), value: bytes("x"), lease: 0, backing_bytes: 0 };
    write.put(value).expect("no faults");
    write.commit();
    assert_ne!(one.put("a", "2").digest, other.put("a", "2").digest, "it stands at another revision");
    assert_ne!(one.put("c", "").digest, other.put("c", "").digest, "for ever");
}
