//! The model against what etcd was seen to answer, case by case.

use crate::Model;
use crate::request::*;
use crate::shape;

fn put(key: &str, value: &str) -> Put {
    Put { key: key.into(), value: value.into(), ..Put::default() }
}

fn span(key: &str, end: &str) -> Span {
    Span::between(key, end)
}

fn read(model: &Model, range: Range) -> Vec<String> {
    let answer = model.range(&range).unwrap();
    answer.kvs.iter().map(|kv| String::from_utf8(kv.key.clone()).unwrap()).collect()
}

fn filled() -> Model {
    let mut model = Model::new(2);
    for (key, value) in [("a", "3"), ("b", "2"), ("c", "1"), ("a", "0")] {
        model.apply(&Request::Put(put(key, value)));
    }
    model
}

#[test]
fn revisions_advance_only_on_change() {
    let mut model = Model::new(2);
    assert_eq!(model.revision(), 1);
    let step = model.apply(&Request::DeleteRange(DeleteRange { span: Span::all(), prev_kv: true }));
    assert_eq!((step.revision, step.events.len()), (1, 0));
    assert_eq!(model.apply(&Request::LeaseGrant { id: 7, ttl: 1 }).answer, Ok(Answer::LeaseGrant { id: 7, ttl: 2 }));
    assert_eq!(model.apply(&Request::Put(put("a", "1"))).revision, 2);
    let step = model.apply(&Request::Put(Put { prev_kv: true, ..put("a", "2") }));
    let Ok(Answer::Put { prev_kv: Some(prev) }) = step.answer else { panic!("{step:?}") };
    assert_eq!((prev.create_revision, prev.mod_revision, prev.version), (2, 2, 1));
    assert_eq!(step.events[0].kv.version, 2);
    assert_eq!(step.events[0].prev, Some(prev));
}

#[test]
fn a_range_reads_the_past_and_counts_without_limit() {
    let model = filled();
    let all = Range { span: Span::all(), ..Range::default() };
    assert_eq!(read(&model, all.clone()), ["a", "b", "c"]);
    assert_eq!(read(&model, Range { revision: 3, ..all.clone() }), ["a", "b"]);
    let limited = model.range(&Range { limit: 1, ..all.clone() }).unwrap();
    assert_eq!((limited.kvs.len(), limited.more, limited.count, limited.revision), (1, true, 3, 5));
    assert_eq!(model.range(&Range { revision: 6, ..all.clone() }), Err(text::FUTURE_REVISION));
    assert_eq!(read(&model, Range { min_mod_revision: 4, ..all.clone() }), ["a", "c"]);
    assert!(read(&model, Range { span: span("c", "a"), ..all }).is_empty());
}

#[test]
fn without_an_order_the_limit_comes_before_the_sort() {
    let model = filled();
    let by_value = Range { span: Span::all(), sort_target: 4, limit: 1, ..Range::default() };
    // Only a=0 and b=2 are looked at.
    assert_eq!(read(&model, by_value.clone()), ["a"]);
    let descending = Range { sort_order: 2, ..by_value.clone() };
    assert_eq!(read(&model, descending), ["b"]);
    let by_mod = Range { sort_target: 3, ..by_value };
    assert_eq!(read(&model, by_mod), ["b"]);
}

#[test]
fn ties_of_a_sort_may_come_in_any_order() {
    let model = filled();
    let query = Range { span: Span::all(), sort_target: 1, sort_order: 1, ..Range::default() };
    let mut answer = model.range(&query).unwrap();
    assert_eq!(answer.kvs.iter().map(|kv| kv.version).collect::<Vec<_>>(), [1, 1, 2]);
    answer.kvs.swap(0, 1);
    assert!(model.admits_range(model.vantage(), &query, &Ok(answer.clone())));
    answer.kvs.swap(1, 2);
    assert!(!model.admits_range(model.vantage(), &query, &Ok(answer.clone())), "a wrong order passed");
    answer.kvs[2] = answer.kvs[0].clone();
    assert!(!model.admits_range(model.vantage(), &query, &Ok(answer)), "a key twice passed");
    let limited = Range { limit: 1, ..query };
    let mut answer = model.range(&limited).unwrap();
    assert_eq!(answer.kvs[0].key, b"b");
    answer.kvs[0] = (*model.state_at(5).unwrap().keys[&b"c"[..]]).clone();
    assert!(model.admits_range(model.vantage(), &limited, &Ok(answer.clone())), "either tie may be cut");
    answer.kvs[0] = (*model.state_at(5).unwrap().keys[&b"a"[..]]).clone();
    assert!(!model.admits_range(model.vantage(), &limited, &Ok(answer)));
}

#[test]
fn keys_only_knows_the_lease_only_when_sorted_by_value() {
    let mut model = Model::new(2);
    model.apply(&Request::LeaseGrant { id: 7, ttl: 9 });
    model.apply(&Request::Put(Put { lease: 7, ..put("a", "1") }));
    let query = Range { span: Span::all(), keys_only: true, ..Range::default() };
    assert_eq!(model.range(&query).unwrap().kvs[0].lease, 0);
    assert_eq!(model.range(&Range { sort_target: 4, ..query }).unwrap().kvs[0].lease, 7);
}

#[test]
fn a_compaction_closes_the_past_and_only_once() {
    let mut model = filled();
    assert_eq!(model.apply(&Request::Compact { revision: 6 }).answer, Err(text::FUTURE_REVISION));
    assert_eq!(model.apply(&Request::Compact { revision: 4 }).answer, Ok(Answer::Compact));
    assert_eq!(model.apply(&Request::Compact { revision: 4 }).answer, Err(text::COMPACTED));
    let all = Range { span: Span::all(), ..Range::default() };
    assert_eq!(model.range(&Range { revision: 3, ..all.clone() }), Err(text::COMPACTED));
    assert!(model.range(&Range { revision: 4, ..all.clone() }).is_ok());
    assert!(model.range(&Range { revision: -2, ..all.clone() }).is_ok(), "by itself it means now");
    let inside = Txn { success: vec![Op::Range(Range { revision: -2, ..all })], ..Txn::default() };
    assert_eq!(model.read_only_txn(model.vantage(), &inside), Err(text::COMPACTED));
}

#[test]
fn a_transaction_sees_its_own_writes_and_compares_before_them() {
    let mut model = filled();
    let compare = |result, target| Compare { span: Span::one("z"), target, result };
    let txn = Txn {
        compares: vec![compare(0, Target::Version(0)), compare(3, Target::Create(1))],
        success: vec![
            Op::Range(Range { span: Span::one("z"), ..Range::default() }),
            Op::Put(put("z", "1")),
            Op::Txn(Txn {
                compares: vec![compare(0, Target::Value(b"1".to_vec()))],
                success: vec![Op::DeleteRange(DeleteRange { span: Span::all(), prev_kv: false })],
                failure: vec![Op::Range(Range { span: Span::one("z"), ..Range::default() })],
            }),
        ],
        failure: Vec::new(),
    };
    let step = model.apply(&Request::Txn(txn));
    let Ok(Answer::Txn(answer)) = step.answer else { panic!("{step:?}") };
    assert!(answer.succeeded);
    let OpAnswer::Range(first) = &answer.answers[0] else { panic!() };
    assert_eq!((first.kvs.len(), first.revision), (0, 5));
    assert!(matches!(answer.answers[1], OpAnswer::Put { prev_kv: None, revision: 6 }));
    let OpAnswer::Txn(nested) = &answer.answers[2] else { panic!() };
    assert!(!nested.succeeded, "a nested compare looks at the state before the transaction");
    let OpAnswer::Range(last) = &nested.answers[0] else { panic!() };
    assert_eq!((last.kvs.len(), last.revision), (1, 6));
}

#[test]
fn a_transaction_that_cannot_be_done_changes_nothing() {
    let mut model = filled();
    let future = Op::Range(Range { span: Span::one("a"), revision: 6, ..Range::default() });
    for (op, refusal) in [
        (future, text::FUTURE_REVISION),
        (Op::Put(Put { ignore_value: true, ..put("q", "") }), text::KEY_NOT_FOUND),
        (Op::Put(Put { ignore_value: true, lease: 9, ..put("q", "") }), text::LEASE_NOT_FOUND),
        (Op::Put(Put { lease: 9, ..put("a", "") }), text::LEASE_NOT_FOUND),
    ] {
        let txn = Txn { success: vec![Op::Put(put("b", "9")), op], ..Txn::default() };
        let step = model.apply(&Request::Txn(txn));
        assert_eq!((step.answer, step.revision), (Err(refusal), 5));
    }
    let both_wrong = Put { ignore_value: true, lease: 9, ..put("q", "") };
    assert_eq!(model.apply(&Request::Put(both_wrong)).answer, Err(text::LEASE_NOT_FOUND));
}

#[test]
fn a_lease_takes_its_keys_along_in_one_revision() {
    let mut model = filled();
    assert_eq!(model.apply(&Request::LeaseRevoke { id: 7 }).answer, Err(text::LEASE_NOT_FOUND));
    for id in [7, 8] {
        model.apply(&Request::LeaseGrant { id, ttl: 9 });
    }
    for key in ["b", "a", "c"] {
        model.apply(&Request::Put(Put { lease: 7, ..put(key, "x") }));
    }
    model.apply(&Request::Put(Put { lease: 8, ..put("c", "y") }));
    assert_eq!(model.keys_of_lease(7), [b"a".to_vec(), b"b".to_vec()]);
    let step = model.apply(&Request::LeaseRevoke { id: 7 });
    let gone: Vec<_> = step.events.iter().map(|event| (event.deleted, &event.kv.key[..])).collect();
    assert_eq!(gone, [(true, &b"a"[..]), (true, b"b")]);
    assert_eq!(step.revision, 10);
    assert_eq!(model.apply(&Request::LeaseGrant { id: 8, ttl: 9 }).answer, Err(text::LEASE_EXISTS));
    let long = Request::LeaseGrant { id: 8, ttl: 9_000_000_001 };
    assert_eq!(model.apply(&long).answer, Err(text::LEASE_TTL_TOO_LARGE));
}

#[test]
fn a_space_alarm_turns_puts_away_and_nothing_else() {
    let mut model = filled();
    let alarm = |on| Request::Alarm { on, member: 1, kind: AlarmKind::NoSpace };
    model.apply(&alarm(true));
    assert_eq!(model.apply(&Request::Put(put("a", ""))).answer, Err(text::NO_SPACE));
    let nested = Txn { failure: vec![Op::Put(put("a", ""))], ..Txn::default() };
    let txn = Txn { success: vec![Op::Txn(nested)], ..Txn::default() };
    assert_eq!(model.apply(&Request::Txn(txn)).answer, Err(text::NO_SPACE), "the branch not taken counts");
    let delete = Request::DeleteRange(DeleteRange { span: Span::one("a"), prev_kv: false });
    assert!(model.apply(&delete).answer.is_ok());
    model.apply(&alarm(false));
    assert!(model.apply(&Request::Put(put("a", ""))).answer.is_ok());
}

#[test]
fn the_door_knows_shapes() {
    let txn = |success| Request::Txn(Txn { success, ..Txn::default() });
    let one = || Op::Put(put("a", ""));
    let wipe = |key: &str| Op::DeleteRange(DeleteRange { span: span(key, "z"), prev_kv: false });
    let from = |key: &str| Op::DeleteRange(DeleteRange { span: span(key, "\0"), prev_kv: false });
    let nest = |success, failure| Op::Txn(Txn { compares: Vec::new(), success, failure });
    let cases = [
        (Request::Put(put("", "")), Err(text::EMPTY_KEY)),
        (Request::Put(Put { ignore_value: true, ..put("a", "1") }), Err(text::VALUE_PROVIDED)),
        (Request::Put(Put { ignore_lease: true, lease: 1, ..put("a", "1") }), Err(text::LEASE_PROVIDED)),
        (txn(vec![one(), one()]), Err(text::DUPLICATE_KEY)),
        (txn(vec![one(), wipe("a")]), Err(text::DUPLICATE_KEY)),
        (txn(vec![one(), wipe("b")]), Ok(())),
        (txn(vec![one(), from("a")]), Ok(())),
        (txn(vec![wipe("a"), wipe("b")]), Ok(())),
        (txn(vec![nest(vec![one()], vec![one()])]), Ok(())),
        (txn(vec![nest(vec![one()], vec![]), one()]), Err(text::DUPLICATE_KEY)),
        (txn(vec![nest(vec![one()], vec![]), nest(vec![], vec![one()])]), Err(text::DUPLICATE_KEY)),
        (txn(vec![nest(vec![wipe("a")], vec![]), nest(vec![one()], vec![])]), Err(text::DUPLICATE_KEY)),
        (txn(vec![nest(vec![], vec![]); 3]), Ok(())),
        (txn(vec![nest(vec![], vec![]); 4]), Err(text::TOO_MANY_OPS)),
        (txn(vec![nest(vec![wipe("a"), wipe("b")], vec![]); 2]), Err(text::TOO_MANY_OPS)),
    ];
    for (request, expected) in cases {
        assert_eq!(shape::check(&request, 3), expected, "{request:?}");
    }
    let range = Range { span: Span::one("a"), sort_target: 5, ..Range::default() };
    assert_eq!(shape::check_range(&range), Err(text::INVALID_SORT));
}
