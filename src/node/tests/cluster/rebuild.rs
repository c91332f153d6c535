//! One member's state is made to differ: it is named, serves nobody, and takes the others' state.

use super::*;
use crate::machine::{AlarmAction, AlarmKind};
use crate::mvcc::NewValue;
use crate::node::{Verdict, judge_all};

/// A revision that the others do not have.
fn make_differ(cluster: &mut Cluster, n: usize) {
    let store = cluster.seats[n].node.machine.store_mut();
    let mut write = store.begin(false);
    let value = NewValue { key: "planted".into(), value: "x".into(), lease: 0, backing_bytes: 0 };
    write.put(value).expect("a memory disk has no faults");
    write.commit();
}

fn write(cluster: &mut Cluster, n: usize, key: &str) {
    let mut written = cluster.propose(n, &put(key));
    cluster.settle();
    done(&mut written);
}

/// What the members say of the last entry that the leader has applied.
fn verdict(cluster: &mut Cluster, leader: usize) -> Verdict {
    let at = cluster.seats[leader].facts.status().applied;
    let mut digests = Vec::new();
    for n in 0..cluster.seats.len() {
        let (reply, mut told) = Reply::pair();
        cluster.step(n, Input::DigestAsked { at, reply });
        digests.extend(answered(&mut told).expect("answered").map(|digest| (id(n), digest)));
    }
    judge_all(&digests, &cluster.seats.iter().map(|seat| seat.id).collect::<Vec<_>>())
}

/// As the comparison does: the alarm for who was named.
fn raise(cluster: &mut Cluster, leader: usize, named: usize) {
    let alarm = Command::Alarm { action: AlarmAction::Activate, member: id(named), kind: AlarmKind::Corrupt };
    let mut raised = cluster.propose(leader, &alarm);
    cluster.settle();
    done(&mut raised);
}

fn ask_for_state(cluster: &mut Cluster, leader: usize, to: usize) -> Result<(), Refusal> {
    let (reply, mut answer) = Reply::pair();
    let mut outputs = Vec::new();
    let seat = &mut cluster.seats[leader];
    seat.node.step(cluster.now, Input::StateAsked { to: id(to), reply }, &mut outputs);
    assert!(seat.take_outputs(outputs).is_empty(), "it goes its own way");
    answered(&mut answer).expect("answered")
}

/// A cluster of three, one of which was named; the leader, and who it is.
fn with_one_named(own_leader: bool) -> (Cluster, usize, usize) {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let odd = if own_leader { leader } else { (leader + 1) % 3 };
    write(&mut cluster, leader, "before");
    assert_eq!(verdict(&mut cluster, leader), Verdict::Alike);
    make_differ(&mut cluster, odd);
    write(&mut cluster, leader, "after");
    match verdict(&mut cluster, leader) {
        Verdict::Differ { others, .. } => assert!(others.len() == 1 && others[0].0 == id(odd), "{others:?}"),
        other => panic!("{other:?}"),
    }
    raise(&mut cluster, leader, odd);
    (cluster, leader, odd)
}

/// Lets the state go its way, and holds that all are alike and serve again.
fn heals(cluster: &mut Cluster, odd: usize) {
    cluster.pass(3);
    let leader = cluster.elect();
    assert_ne!(leader, odd, "who has no state does not lead");
    assert!(cluster.seats[odd].facts.waits_for_state());
    // What is agreed on meanwhile waits for the state.
    cluster.pass(1);
    assert_eq!(ask_for_state(cluster, leader, odd), Ok(()));
    cluster.pass(5);
    assert!(!cluster.seats[odd].facts.waits_for_state());
    let status = cluster.seats[leader].facts.status();
    assert_eq!(status.alarms, [], "the alarm is over");
    assert!(!cluster.seats[odd].facts.is_corrupt());
    write(cluster, leader, "healed");
    cluster.pass(1);
    assert_eq!(verdict(cluster, leader), Verdict::Alike);
    assert_eq!(cluster.seats[odd].facts.status().revision, cluster.seats[leader].facts.status().revision);
    assert_eq!(cluster.keys(odd), 3);
}

#[test]
fn a_member_that_differs_is_named_and_serves_nobody() {
    let (mut cluster, _, odd) = with_one_named(false);
    for n in 0..3 {
        assert_eq!(cluster.seats[n].facts.is_corrupt(), n == odd, "member {n}");
        assert!(cluster.seats[n].facts.has_alarm(AlarmKind::Corrupt));
    }
    let mut refused = cluster.propose((odd + 1) % 3, &put("x"));
    cluster.settle();
    assert_eq!(answered(&mut refused).expect("answered").err(), Some(Refusal::Corrupt), "as in etcd, nothing changes");
    cluster.pass(20);
    assert!(cluster.seats[odd].facts.is_corrupt(), "it does nothing by itself unless it is told to");
}

#[test]
fn a_member_that_differs_takes_the_others_state_and_keeps_its_log() {
    let (mut cluster, leader, odd) = with_one_named(false);
    let (reply, mut opened) = Reply::pair();
    let log = cluster.seats[odd].log.clone();
    cluster.seats[odd].node.rebuild();
    cluster.step(odd, Input::Watch(WatchInput::Open { stream: StreamId(9), reply }));
    let _buffer = answered(&mut opened);
    assert_eq!(cluster.seats[odd].node.group.standing().leader, Some(id(leader)));
    heals(&mut cluster, odd);
    assert_eq!(cluster.seats[odd].log[..log.len()], log[..], "nothing of the log is lost");
}

#[test]
fn a_leader_that_differs_hands_over_and_takes_its_followers_state() {
    let (mut cluster, leader, odd) = with_one_named(true);
    assert_eq!(leader, odd);
    assert_eq!(ask_for_state(&mut cluster, leader, (leader + 1) % 3), Err(Refusal::Corrupt), "it has none to give");
    cluster.seats[odd].node.rebuild();
    heals(&mut cluster, odd);
}

#[test]
fn where_it_is_wished_a_member_that_is_named_rebuilds_by_itself() {
    let mut cluster = Cluster::new(3);
    for seat in &mut cluster.seats {
        seat.node.config.rebuild_when_diverged = true;
    }
    let leader = cluster.elect();
    cluster.pass(2);
    let odd = (leader + 1) % 3;
    write(&mut cluster, leader, "before");
    make_differ(&mut cluster, odd);
    write(&mut cluster, leader, "after");
    raise(&mut cluster, leader, odd);
    heals(&mut cluster, odd);
    // And once more, which nothing of the first time may prevent.
    make_differ(&mut cluster, odd);
    raise(&mut cluster, leader, odd);
    cluster.pass(2);
    assert!(cluster.seats[odd].facts.waits_for_state());
}

/// The votes and acknowledgements of a member without a state count as ever: its log is whole.
#[test]
fn a_member_that_waits_for_a_state_votes_and_appends_and_does_not_lead() {
    let (mut cluster, leader, odd) = with_one_named(false);
    cluster.seats[odd].node.rebuild();
    cluster.pass(1);
    let third = 3 - leader - odd;
    cluster.cut.insert(id(leader));
    let next = cluster.elect();
    assert_eq!(next, third, "with the vote of who has no state");
    let term = cluster.seats[odd].node.group.standing().term;
    cluster.cut.insert(id(third));
    cluster.pass(60);
    assert_eq!(cluster.seats[odd].node.group.standing().term, term, "alone it does not stand");
    cluster.cut.remove(&id(third));
    assert_eq!(cluster.elect(), third);
    // Half of what is committed meanwhile only lies in its log.
    let clear = Command::Alarm { action: AlarmAction::Deactivate, member: id(odd), kind: AlarmKind::Corrupt };
    let mut cleared = cluster.propose(third, &clear);
    cluster.pass(1);
    done(&mut cleared);
    write(&mut cluster, third, "healed");
    assert_eq!(ask_for_state(&mut cluster, third, odd), Ok(()));
    cluster.pass(3);
    assert!(!cluster.seats[odd].facts.is_corrupt());
    assert_eq!(cluster.keys(odd), 3);
    write(&mut cluster, third, "goes on");
    assert_eq!(cluster.keys(odd), 4);
}
