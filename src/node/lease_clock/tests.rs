//! The clock of leases against a plain one, and what a client was told against every later leader.

use proptest::prelude::*;

use super::*;

fn new_clock() -> LeaseClock {
    LeaseClock::new(Duration::from_secs(300))
}

fn at(seconds: u64) -> Instant {
    Instant(seconds * 1_000_000_000)
}

#[test]
fn a_lease_falls_due_at_its_deadline_and_not_before() {
    let mut clock = new_clock();
    clock.grant(1, 5, at(10));
    assert_eq!(clock.next_deadline(), Some(at(15)));
    assert!(clock.due(Instant(at(15).0 - 1), 9).is_empty());
    assert_eq!(clock.remaining(1, at(12)), Some(Duration::from_secs(3)));
    assert_eq!(clock.due(at(15), 9), [1]);
    assert_eq!(clock.remaining(1, at(20)), Some(Duration::ZERO));
}

#[test]
fn what_fell_due_cannot_be_renewed() {
    let mut clock = new_clock();
    clock.grant(1, 5, at(0));
    assert_eq!(clock.renew(1, at(4), at(4)), Renewal::Told(5));
    assert_eq!(clock.renew(1, at(9), at(9)), Renewal::Gone, "due, though not named yet");
    assert_eq!(clock.due(at(9), 9), [1]);
    assert_eq!(clock.renew(1, at(9), at(9)), Renewal::Gone);
    clock.retry(1);
    assert_eq!(clock.renew(1, at(9), at(9)), Renewal::Gone, "a failed revocation does not bring it back");
    assert_eq!(clock.renew(2, at(0), at(0)), Renewal::Gone);
}

#[test]
fn time_in_which_nothing_was_heard_is_none() {
    let mut clock = new_clock();
    clock.grant(1, 5, at(10));
    clock.grant(2, 5, at(2));
    clock.stand_still(Duration::from_secs(8));
    assert_eq!(clock.remaining(1, at(20)), Some(Duration::from_secs(3)), "as at 12, when it stood still");
    assert_eq!(clock.due(at(20), 9), [2], "it was due at 7, and the member heard until 12");
    assert_eq!(clock.next_deadline(), Some(at(23)));
    assert!(clock.due(at(22), 9).is_empty());
    assert_eq!(clock.renew(1, at(22), at(22)), Renewal::Told(5));
    assert!(clock.due(at(26), 9).is_empty());
    assert_eq!(clock.due(at(27), 9), [1], "no longer than its time after that");
    clock.promote(at(30), [(3, 5, 0)], Duration::from_secs(1));
    assert_eq!(clock.due(at(36), 9), [3], "who begins to count begins anew");
}

#[test]
fn a_renewal_asked_before_the_grant_shortens_nothing() {
    let mut clock = new_clock();
    clock.grant(1, 5, at(10));
    assert_eq!(clock.renew(1, at(8), at(8)), Renewal::Told(5));
    assert!(clock.due(Instant(at(15).0 - 1), 9).is_empty());
}

#[test]
fn due_leases_are_named_once_bounded_and_again_after_a_retry() {
    let mut clock = new_clock();
    for id in 1..=5 {
        clock.grant(id, 10 - id, at(0));
    }
    assert_eq!(clock.due(at(100), 2), [5, 4]);
    assert_eq!(clock.in_flight(), 2);
    clock.retry(5);
    clock.forget(4);
    assert_eq!(clock.due(at(100), 2), [5, 3]);
    assert_eq!(clock.due(at(100), 9), [2, 1]);
    assert!(clock.due(at(100), 9).is_empty());
    assert_eq!(clock.len(), 4);
}

#[test]
fn a_promotion_gives_what_was_left_and_the_extension() {
    let mut clock = new_clock();
    clock.grant(9, 1, at(0));
    clock.promote(at(50), [(1, 60, 0), (2, 60, 20), (3, -1, 0)], Duration::from_secs(1));
    assert_eq!(clock.remaining(1, at(50)), Some(Duration::from_secs(61)));
    assert_eq!(clock.remaining(2, at(50)), Some(Duration::from_secs(21)));
    assert_eq!(clock.remaining(3, at(50)), Some(Duration::from_secs(1)));
    assert_eq!(clock.remaining(9, at(50)), None);
    assert_eq!(clock.ids_by_remaining(), [3, 2, 1]);
    assert_eq!(
        clock.renew(2, at(51), at(51)),
        Renewal::Forget(60),
        "a renewal is in full, and outdates what is written"
    );
    assert_eq!(clock.renew(2, at(52), at(52)), Renewal::Forgetting(60));
    clock.forgotten(2);
    assert_eq!(clock.renew(2, at(53), at(53)), Renewal::Told(60));
}

#[test]
fn long_remainders_are_named_every_interval_until_they_are_short() {
    let mut clock = new_clock();
    clock.grant(1, 300, at(0));
    clock.grant(2, 1_000, at(0));
    clock.grant(3, 700, at(0));
    assert!(clock.remainders(at(299), 9).is_empty());
    assert_eq!(clock.remainders(at(300), 1), [(2, 700)]);
    assert_eq!(clock.remainders(at(301), 9), [(3, 399)]);
    assert!(clock.remainders(at(302), 9).is_empty(), "once in an interval");
    assert_eq!(clock.renew(3, at(500), at(500)), Renewal::Forget(700));
    assert_eq!(clock.remainders(at(601), 9), [(2, 399)], "not while a renewal is under way");
    clock.forgotten(3);
    assert_eq!(clock.remainders(at(901), 9), [(2, 99), (3, 299)]);
    assert!(clock.remainders(at(999), 9).is_empty(), "the second is short now");
    assert!(clock.remainders(Instant(at(300).0 * 5), 9).is_empty());
    assert_eq!(clock.due(at(1_200), 9), [1, 2, 3]);
}

#[test]
fn what_has_its_time_in_full_needs_no_word() {
    let mut clock = new_clock();
    clock.grant(1, 1_000, at(0));
    assert_eq!(clock.renew(1, at(300), at(300)), Renewal::Told(1_000));
    assert!(clock.remainders(at(300), 9).is_empty());
    assert_eq!(clock.remainders(Instant(at(600).0 + 1), 9), [(1, 700)], "rounded up");
}

#[test]
fn a_promotion_spreads_what_would_fall_due_together() {
    let rate = LEASES_DUE_PER_SECOND_AFTER_PROMOTION;
    let mut clock = new_clock();
    let leases = (1..=3 * rate as i64 + 1).map(|id| (id, 10, 0));
    clock.promote(at(0), leases, Duration::from_secs(1));
    assert_eq!(clock.due(at(11), usize::MAX).len(), rate, "as many as a second takes are not moved");
    for second in 12..14 {
        assert_eq!(clock.due(at(second), usize::MAX).len(), rate);
    }
    assert_eq!(clock.due(at(14), usize::MAX).len(), 1);
}

#[test]
fn the_longest_lease_does_not_overflow() {
    let mut clock = new_clock();
    clock.grant(1, i64::MAX, at(1_000_000_000));
    assert!(clock.due(at(9_000_000_000), 9).is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Grant(LeaseId, i64),
    Renew(LeaseId),
    Forget(LeaseId),
    Retry(LeaseId),
    Due(usize),
    Wait(u64),
    Promote(u64),
}

fn some_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..8i64, 0..6i64).prop_map(|(id, ttl)| Step::Grant(id, ttl)),
        3 => (1..8i64).prop_map(Step::Renew),
        1 => (1..8i64).prop_map(Step::Forget),
        1 => (1..8i64).prop_map(Step::Retry),
        3 => (0..4usize).prop_map(Step::Due),
        4 => (0..4u64).prop_map(Step::Wait),
        1 => (0..3u64).prop_map(Step::Promote),
    ]
}

/// A lease of the twin, which is a list searched from end to end.
#[derive(Clone, Debug)]
struct Plain {
    id: LeaseId,
    ttl: i64,
    deadline: u64,
    revoking: bool,
}

proptest! {
    #[test]
    fn the_clock_is_its_naive_twin(steps in prop::collection::vec(some_step(), 1..100)) {
        let mut clock = new_clock();
        let mut twin: Vec<Plain> = Vec::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Grant(id, ttl) => {
                    clock.grant(id, ttl, at(now));
                    twin.retain(|one| one.id != id);
                    twin.push(Plain { id, ttl, deadline: now + ttl as u64, revoking: false });
                }
                Step::Renew(id) => {
                    let found = twin.iter_mut().find(|one| one.id == id && !one.revoking && one.deadline > now);
                    let want = found.map(|one| {
                        one.deadline = one.deadline.max(now + one.ttl as u64);
                        Renewal::Told(one.ttl)
                    });
                    prop_assert_eq!(clock.would_tell(id, at(now)), want.is_some());
                    prop_assert_eq!(clock.renew(id, at(now), at(now)), want.unwrap_or(Renewal::Gone));
                }
                Step::Forget(id) => {
                    clock.forget(id);
                    twin.retain(|one| one.id != id);
                }
                Step::Retry(id) => {
                    clock.retry(id);
                    twin.iter_mut().filter(|one| one.id == id).for_each(|one| one.revoking = false);
                }
                Step::Due(max) => {
                    twin.sort_by_key(|one| (one.deadline, one.id));
                    let mut want = Vec::new();
                    for one in twin.iter_mut().filter(|one| !one.revoking && one.deadline <= now).take(max) {
                        one.revoking = true;
                        want.push(one.id);
                    }
                    prop_assert_eq!(clock.due(at(now), max), want);
                }
                Step::Wait(seconds) => now += seconds,
                Step::Promote(extend) => {
                    let table: Vec<_> = twin.iter().map(|one| (one.id, one.ttl, 0)).collect();
                    clock.promote(at(now), table, Duration::from_secs(extend));
                    for one in &mut twin {
                        one.deadline = now + extend + one.ttl as u64;
                        one.revoking = false;
                    }
                }
            }
            twin.sort_by_key(|one| (one.deadline, one.id));
            prop_assert_eq!(clock.ids_by_remaining(), twin.iter().map(|one| one.id).collect::<Vec<_>>());
            prop_assert_eq!(clock.in_flight(), twin.iter().filter(|one| one.revoking).count());
            let next = twin.iter().find(|one| !one.revoking).map(|one| at(one.deadline));
            prop_assert_eq!(clock.next_deadline(), next);
            for one in &twin {
                let left = Duration::from_secs(one.deadline.saturating_sub(now));
                prop_assert_eq!(clock.remaining(one.id, at(now)), Some(left));
            }
        }
    }

    /// What a client was told holds under every later leader, whatever of the log the change of leader took.
    #[test]
    fn a_renewal_that_was_told_outlives_every_change_of_leader(
        steps in prop::collection::vec((0..6_u8, 1..4_i64, 1..40_u64), 1..120),
    ) {
        let mut clock = LeaseClock::new(Duration::from_secs(10));
        // What is applied, and what is proposed behind it.
        let mut table: BTreeMap<LeaseId, (i64, i64)> = (1..4).map(|id| (id, (20 * id, 0))).collect();
        let mut log: std::collections::VecDeque<(LeaseId, i64)> = Default::default();
        let mut waiting: Vec<(LeaseId, Instant)> = Vec::new();
        let mut told: BTreeMap<LeaseId, Instant> = BTreeMap::new();
        let mut now = 0;
        table.iter().for_each(|(id, (ttl, _))| clock.grant(*id, *ttl, at(0)));
        for (step, id, number) in steps {
            match step {
                0 => {
                    let would_tell = clock.would_tell(id, at(now));
                    let renewal = clock.renew(id, at(now), at(now));
                    prop_assert_eq!(would_tell, matches!(renewal, Renewal::Told(_)));
                    match renewal {
                        Renewal::Gone => {}
                        Renewal::Told(ttl) => { told.insert(id, at(now).plus(seconds(ttl))); }
                        Renewal::Forgetting(ttl) => waiting.push((id, at(now).plus(seconds(ttl)))),
                        Renewal::Forget(ttl) => {
                            waiting.push((id, at(now).plus(seconds(ttl))));
                            log.push_back((id, 0));
                        }
                    }
                }
                1 => log.extend(clock.remainders(at(now), 2)),
                2 | 3 => for (id, left) in log.drain(..log.len().min(number as usize)) {
                    table.get_mut(&id).expect("one of three").1 = left;
                    if left == 0 {
                        clock.forgotten(id);
                        let (done, rest) = waiting.iter().partition(|(one, _)| *one == id);
                        waiting = rest;
                        told.extend::<Vec<_>>(done);
                    }
                },
                4 => now += number,
                _ => {
                    // Some of the log is lost, the rest is applied before the next leader counts.
                    log.truncate(number as usize % 4);
                    log.drain(..).for_each(|(id, left)| table.get_mut(&id).expect("one of three").1 = left);
                    waiting.clear();
                    clock.promote(at(now), table.iter().map(|(id, (ttl, left))| (*id, *ttl, *left)), Duration::ZERO);
                }
            }
            for (id, until) in &told {
                let left = clock.remaining(*id, at(now)).expect("none is revoked");
                prop_assert!(at(now).plus(left) >= *until, "lease {} ends at {:?}, not {:?}", id, left, until);
            }
        }
    }

    /// Never shortened, never reordered, never more in a second than may be.
    #[test]
    fn a_promotion_only_gives_time(ttls in prop::collection::vec(1..4i64, 1..4000)) {
        let mut clock = new_clock();
        let leases: Vec<_> = (1..).zip(&ttls).map(|(id, ttl)| (id, *ttl, 0)).collect();
        clock.promote(at(0), leases.iter().copied(), Duration::ZERO);
        let mut deadlines: Vec<Instant> = Vec::new();
        for (id, ttl, _) in &leases {
            let left = clock.remaining(*id, at(0)).expect("promoted");
            prop_assert!(left >= seconds(*ttl));
            deadlines.push(Instant(0).plus(left));
        }
        deadlines.sort_unstable();
        let rate = LEASES_DUE_PER_SECOND_AFTER_PROMOTION;
        for pair in deadlines.windows(rate + 1) {
            prop_assert!(pair[rate].since(pair[0]) >= Duration::from_secs(1));
        }
    }
}
