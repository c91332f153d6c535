//! Histories by name, good ones and bad ones.

use super::*;

fn two_keys(value: &str) -> Request {
    let op = |key: &str| Op::Put(Put { key: key.into(), value: value.into(), ..Put::default() });
    Request::Txn(Txn { success: vec![op("a"), op("b")], ..Txn::default() })
}

fn two_written(revision: i64) -> Answer {
    let written = OpAnswer::Put { prev_kv: None, revision };
    Answer::Txn(TxnAnswer { succeeded: true, answers: vec![written.clone(), written] })
}

fn deleted(deleted: i64) -> Answer {
    Answer::DeleteRange { deleted, prev_kvs: Vec::new() }
}

const GRANT: Request = Request::LeaseGrant { id: 1, ttl: 5 };

fn granted() -> Answer {
    Answer::LeaseGrant { id: 1, ttl: 5 }
}

fn alarm(on: bool) -> Request {
    Request::Alarm { on, member: 1, kind: AlarmKind::NoSpace }
}

fn alarmed() -> Answer {
    Answer::Alarm(vec![(1, AlarmKind::NoSpace)])
}

fn past(revision: i64) -> Range {
    Range { revision, ..all() }
}

fn compacted(story: Story, when: (u64, u64), revision: i64, refusal: &str) -> Story {
    let call = Call::Range { query: past(revision), serializable: false };
    story.add(when, call, Outcome::Refused(refusal.to_string()))
}

fn good() -> Vec<(&'static str, Story)> {
    let s = Story::default;
    let first = || s().wrote((0, 10), "a", "1", 2);
    let a = |value: &str, at| kv("a", value, at);
    vec![
        ("nothing", s()),
        ("a read during the write, before it", first().read((1, 9), one("a"), &[], 1)),
        ("a read during the write, after it", first().read((1, 9), one("a"), &[a("1", (2, 2, 1))], 2)),
        ("called and returned at the same moment", first().read((10, 20), one("a"), &[], 1)),
        (
            "two reads during the write, in turn",
            first().read((1, 3), one("a"), &[], 1).read((4, 9), one("a"), &[a("1", (2, 2, 1))], 2),
        ),
        (
            "later answers, earlier revision",
            s().wrote((0, 100), "a", "1", 2).wrote((5, 10), "a", "2", 3).read(
                (20, 30),
                one("a"),
                &[a("2", (2, 3, 2))],
                3,
            ),
        ),
        (
            "an open write never seen",
            first().open((20, 30), put("a", "2")).read((40, 50), one("a"), &[a("1", (2, 2, 1))], 2),
        ),
        (
            "an open write seen long after",
            first().open((20, 30), put("a", "2")).read((40, 50), one("a"), &[a("1", (2, 2, 1))], 2).read(
                (60, 70),
                one("a"),
                &[a("2", (2, 3, 2))],
                3,
            ),
        ),
        (
            "of three open writes the second made it, then the first",
            s().open((0, 1), put("a", "1"))
                .open((0, 1), put("a", "2"))
                .open((0, 1), put("a", "3"))
                .read((5, 6), one("a"), &[a("2", (2, 2, 1))], 2)
                .read((7, 8), one("a"), &[a("1", (2, 3, 2))], 3),
        ),
        (
            "one of two swaps wins",
            first().done((20, 30), swap("a", 2, "x"), swapped(3), 3).done(
                (20, 30),
                swap("a", 2, "y"),
                not_swapped(),
                3,
            ),
        ),
        (
            "turned away, and nowhere",
            first().surely_not((20, 30), put("a", "2")).read((40, 50), one("a"), &[a("1", (2, 2, 1))], 2),
        ),
        (
            "both keys of a transaction",
            s().done((0, 10), two_keys("1"), two_written(2), 2).read(
                (5, 15),
                all(),
                &[a("1", (2, 2, 1)), kv("b", "1", (2, 2, 1))],
                2,
            ),
        ),
        (
            "a range deleted in one revision",
            s().wrote((0, 1), "a", "1", 2)
                .wrote((2, 3), "b", "1", 3)
                .done((10, 20), delete(Span::all()), deleted(2), 4)
                .read((12, 18), all(), &[a("1", (2, 2, 1)), kv("b", "1", (3, 3, 1))], 3)
                .read((25, 26), all(), &[], 4)
                .read((30, 31), past(2), &[a("1", (2, 2, 1))], 4),
        ),
        ("a delete of nothing", first().done((20, 30), delete(Span::one("z")), deleted(0), 2)),
        (
            "a read of what a compaction took, and one right before",
            compacted(
                first()
                    .wrote((11, 12), "a", "2", 3)
                    .done((20, 30), Request::Compact { revision: 3 }, Answer::Compact, 3)
                    .read((20, 30), past(2), &[a("1", (2, 2, 1))], 3),
                (40, 50),
                2,
                text::COMPACTED,
            ),
        ),
        (
            "an open compaction noticed by a read",
            compacted(
                first().wrote((11, 12), "a", "2", 3).open((20, 30), Request::Compact { revision: 3 }).read(
                    (40, 50),
                    past(2),
                    &[a("1", (2, 2, 1))],
                    3,
                ),
                (60, 70),
                2,
                text::COMPACTED,
            ),
        ),
        ("a read of the future refused, then it came", compacted(first(), (0, 5), 2, text::FUTURE_REVISION)),
        (
            "a lease that expires with its key",
            s().done((0, 1), GRANT, granted(), 1)
                .done((2, 3), leased("a", "1", 1), Answer::Put { prev_kv: None }, 2)
                .read((90, 91), all(), &[], 3)
                .refused((95, 96), leased("a", "2", 1), text::LEASE_NOT_FOUND)
                .done((97, 98), GRANT, granted(), 3),
        ),
        (
            "a lease that expires without a key",
            s().done((0, 1), GRANT, granted(), 1)
                .refused((95, 96), Request::LeaseRevoke { id: 1 }, text::LEASE_NOT_FOUND)
                .done((97, 98), GRANT, granted(), 1),
        ),
        (
            "an open grant that was used",
            s().open((0, 1), GRANT).done((2, 3), leased("a", "1", 1), Answer::Put { prev_kv: None }, 2),
        ),
        (
            "a lease with an id of the store's choice",
            s().done((0, 1), Request::LeaseGrant { id: 0, ttl: 5 }, Answer::LeaseGrant { id: 77, ttl: 5 }, 1).done(
                (2, 3),
                leased("a", "1", 77),
                Answer::Put { prev_kv: None },
                2,
            ),
        ),
        (
            "an open alarm, raised in between",
            first().open((0, 1), alarm(true)).wrote((20, 30), "a", "2", 3).refused(
                (40, 50),
                put("a", "3"),
                text::NO_SPACE,
            ),
        ),
        (
            "an alarm raised twice, cleared in between",
            s().done((0, 1), alarm(true), alarmed(), 1)
                .done((0, 2), alarm(false), alarmed(), 1)
                .done((2, 4), alarm(true), alarmed(), 1)
                .refused((5, 6), put("a", "1"), text::NO_SPACE),
        ),
        ("an old read is not judged", first().read_old((20, 30), one("a"), &[], 1)),
    ]
}

fn bad() -> Vec<(&'static str, Story)> {
    let s = Story::default;
    let first = || s().wrote((0, 10), "a", "1", 2);
    let second = || first().wrote((20, 30), "a", "2", 3);
    let a = |value: &str, at| kv("a", value, at);
    let new = a("2", (2, 3, 2));
    vec![
        ("a stale read", second().read((40, 50), one("a"), &[a("1", (2, 2, 1))], 2)),
        ("a stale value under the new revision", second().read((40, 50), one("a"), &[a("1", (2, 2, 1))], 3)),
        (
            "a read from the future",
            first().read((12, 15), one("a"), std::slice::from_ref(&new), 3).wrote((20, 30), "a", "2", 3),
        ),
        (
            "a read that goes back",
            first().wrote((20, 100), "a", "2", 3).read((30, 40), one("a"), std::slice::from_ref(&new), 3).read(
                (50, 60),
                one("a"),
                &[a("1", (2, 2, 1))],
                2,
            ),
        ),
        ("a lost update", second().wrote((40, 50), "a", "3", 4).read((60, 70), one("a"), &[a("3", (2, 4, 2))], 4)),
        ("a lost write", second().read((40, 50), one("a"), &[], 1)),
        (
            "two swaps win",
            first().done((20, 30), swap("a", 2, "x"), swapped(3), 3).done((20, 30), swap("a", 2, "y"), swapped(4), 4),
        ),
        ("two writes made one revision", first().wrote((0, 10), "b", "1", 2)),
        ("a revision nobody made", first().wrote((20, 30), "a", "2", 4)),
        (
            "a write that was overwritten before its call",
            first().wrote((40, 50), "a", "2", 3).wrote((20, 30), "a", "3", 4),
        ),
        (
            "an open write that was there, and then never",
            first().open((12, 13), put("a", "2")).read((40, 50), one("a"), std::slice::from_ref(&new), 3).read(
                (60, 70),
                one("a"),
                &[a("1", (2, 2, 1))],
                2,
            ),
        ),
        (
            "an open write before its call",
            first().read((20, 30), one("a"), std::slice::from_ref(&new), 3).open((40, 50), put("a", "2")),
        ),
        (
            "an open write twice",
            first()
                .open((12, 13), put("a", "2"))
                .read((40, 50), one("a"), std::slice::from_ref(&new), 3)
                .wrote((60, 70), "a", "3", 4)
                .read((80, 90), one("a"), &[a("2", (2, 5, 4))], 5),
        ),
        (
            "turned away, yet done",
            first().surely_not((20, 30), put("a", "2")).read((40, 50), one("a"), std::slice::from_ref(&new), 3),
        ),
        (
            "refused by the machine, yet done",
            first().refused((20, 30), leased("a", "2", 9), text::LEASE_NOT_FOUND).read(
                (40, 50),
                one("a"),
                &[KeyValue { lease: 9, ..new.clone() }],
                3,
            ),
        ),
        ("refused without reason", first().refused((20, 30), put("a", "2"), text::NO_SPACE)),
        (
            "half of a transaction",
            s().done((0, 10), two_keys("1"), two_written(2), 2).read((5, 15), all(), &[a("1", (2, 2, 1))], 2),
        ),
        (
            "two transactions mixed",
            s().done((0, 10), two_keys("1"), two_written(2), 2).done((0, 10), two_keys("2"), two_written(3), 3).read(
                (20, 30),
                all(),
                &[a("2", (2, 3, 2)), kv("b", "1", (2, 2, 1))],
                3,
            ),
        ),
        (
            "half of a range delete",
            s().wrote((0, 1), "a", "1", 2)
                .wrote((2, 3), "b", "1", 3)
                .done((10, 20), delete(Span::all()), deleted(2), 4)
                .read((12, 18), all(), &[kv("b", "1", (3, 3, 1))], 4),
        ),
        ("a range delete that miscounts", first().done((20, 30), delete(Span::all()), deleted(2), 3)),
        ("the past refused before any compaction", compacted(second(), (40, 50), 2, text::COMPACTED)),
        (
            "the past read after its compaction",
            second().done((40, 50), Request::Compact { revision: 3 }, Answer::Compact, 3).read(
                (60, 70),
                past(2),
                &[a("1", (2, 2, 1))],
                3,
            ),
        ),
        ("the past rewritten", second().read((40, 50), past(2), &[a("0", (2, 2, 1))], 3)),
        ("the present refused as the future", compacted(second(), (40, 50), 3, text::FUTURE_REVISION)),
        (
            "a lease that expires before its grant",
            s().refused((20, 21), leased("a", "1", 1), text::LEASE_NOT_FOUND).done((0, 1), GRANT, granted(), 1).done(
                (30, 31),
                leased("a", "1", 1),
                Answer::Put { prev_kv: None },
                2,
            ),
        ),
        (
            "a lease that expires twice",
            s().done((0, 1), GRANT, granted(), 1)
                .done((2, 3), leased("a", "1", 1), Answer::Put { prev_kv: None }, 2)
                .read((4, 5), all(), &[], 3)
                .done((6, 7), leased("a", "2", 1), Answer::Put { prev_kv: None }, 4),
        ),
    ]
}

#[test]
fn good_histories_have_an_order() {
    for (name, story) in good() {
        match story.judged() {
            Verdict::Linearizable(order) => is_an_order(&story.operations, &order, &start(true)),
            verdict => panic!("{name}: {verdict:?}"),
        }
    }
}

#[test]
fn bad_histories_have_none() {
    for (name, story) in bad() {
        let verdict = story.judged();
        let Verdict::NotLinearizable(failure) = &verdict else { panic!("{name}: {verdict:?}") };
        assert!(!failure.stuck.is_empty(), "{name}: {failure:?}");
    }
}

/// What is shown to people: as far as it went, and the read that cannot be.
#[test]
fn a_failure_names_what_cannot_be_placed() {
    let story = Story::default()
        .wrote((0, 10), "a", "1", 2)
        .wrote((20, 30), "a", "2", 3)
        .read((40, 50), one("a"), &[kv("a", "altered", (2, 3, 2))], 3)
        .wrote((60, 70), "a", "3", 4);
    let Verdict::NotLinearizable(failure) = story.judged() else { panic!() };
    let prefix: Vec<Placed> = failure.prefix.iter().map(|place| place.placed).collect();
    assert_eq!(prefix, [Placed::Operation(0), Placed::Operation(1)]);
    assert_eq!((failure.stuck, failure.revision), (vec![2], 3));
}

/// The same where an open write is in play: its revision was seen, with another value than it writes.
#[test]
fn a_failure_behind_an_open_write_goes_as_far_as_it_can() {
    let story = Story::default().open((0, 10), put("a", "1")).wrote((20, 30), "b", "2", 3).read(
        (40, 50),
        one("a"),
        &[kv("a", "altered", (2, 2, 1))],
        3,
    );
    let Verdict::NotLinearizable(failure) = story.judged() else { panic!() };
    assert_eq!((failure.prefix.len(), failure.stuck), (2, vec![2]));
}

#[test]
fn leases_that_do_not_expire_stay() {
    let story = Story::default().done((0, 1), GRANT, granted(), 1).refused(
        (5, 6),
        Request::LeaseRevoke { id: 1 },
        text::LEASE_NOT_FOUND,
    );
    let twice = Story::default().done((0, 1), GRANT, granted(), 1).done((5, 6), GRANT, granted(), 1);
    let judged = |story: &Story, expire| check(&story.operations, &start(expire), Bounds::default()).verdict;
    for story in [&story, &twice] {
        assert!(matches!(judged(story, true), Verdict::Linearizable(_)));
        assert!(matches!(judged(story, false), Verdict::NotLinearizable(_)));
    }
}

#[test]
fn a_history_may_begin_with_a_store_in_use() {
    let mut model = Model::new(2);
    model.apply(&GRANT);
    model.apply(&leased("a", "1", 1));
    let story = Story::default().done((0, 1), leased("a", "2", 1), Answer::Put { prev_kv: None }, 3).read(
        (2, 3),
        one("a"),
        &[KeyValue { lease: 1, ..kv("a", "2", (2, 3, 2)) }],
        3,
    );
    let judged = check(&story.operations, &Start { model, leases_expire: false }, Bounds::default());
    assert!(matches!(judged.verdict, Verdict::Linearizable(_)));
}

#[test]
fn old_reads_may_be_old_and_no_more() {
    let s = || Story::default().wrote((0, 10), "a", "1", 2).wrote((20, 30), "a", "2", 3).wrote((60, 70), "a", "3", 4);
    let (none, one_, two) = (vec![], vec![kv("a", "1", (2, 2, 1))], vec![kv("a", "2", (2, 3, 2))]);
    let back = || s().read_old((40, 41), one("a"), &two, 3).by(9).read_old((42, 43), one("a"), &one_, 2).by(9);
    let cases = [
        ("from before everything", s().read_old((80, 90), one("a"), &none, 1), true, true),
        ("in between", s().read_old((80, 90), one("a"), &one_, 2), true, true),
        ("from the future", s().read_old((40, 50), one("a"), &[kv("a", "3", (2, 4, 3))], 4), false, false),
        ("never so", s().read_old((80, 90), one("a"), &two, 2), false, false),
        ("back in one session", back(), true, false),
        ("back in two", back().by(8), true, true),
        (
            "and forth",
            s().read_old((80, 81), one("a"), &one_, 2).by(9).read_old((82, 83), one("a"), &two, 3).by(9),
            true,
            true,
        ),
    ];
    for (name, story, alone, in_session) in cases {
        assert!(matches!(story.judged(), Verdict::Linearizable(_)), "{name}");
        for (session, good) in [(Session::None, alone), (Session::Monotone, in_session)] {
            let verdict = check_serializable(&story.operations, &start(true), Bounds::default(), session).verdict;
            assert_eq!(matches!(verdict, Verdict::Linearizable(_)), good, "{name}, {session:?}: {verdict:?}");
        }
    }
}
