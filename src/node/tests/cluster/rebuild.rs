//! One member's state is made to differ: it is named, serves nobody, and takes the others' state.

use super::*;
use crate::base::limits;
use crate::consensus::Role;
use crate::machine::{AlarmAction, AlarmKind};
use crate::mvcc::{NO_PREV, NewValue};
use crate::node::{DiskPart, Verdict, judge_all};

/// A revision that the others do not have.
fn make_differ(cluster: &mut Cluster, n: usize) {
    let store = cluster.seats[n].node.machine.store_mut();
    let mut write = store.begin(NO_PREV);
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
    cluster.step(
        odd,
        Input::Watch(WatchInput::Open { stream: StreamId(9), account: Arc::<Shares>::default().open(), reply }),
    );
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

/// A leader that is known to be wrong has a follower that needs a snapshot: it gets none.
#[test]
fn no_snapshot_of_a_wrong_state_leaves() {
    let (mut cluster, leader, late) = with_one_far_behind();
    raise(&mut cluster, leader, leader);
    let before = cluster.seats[late].facts.status().applied;
    cluster.cut.clear();
    cluster.pass(15);
    assert_eq!(cluster.leader(), Some(leader));
    assert_eq!(cluster.seats[late].facts.status().applied, before);
    let clear = Command::Alarm { action: AlarmAction::Deactivate, member: id(leader), kind: AlarmKind::Corrupt };
    let mut cleared = cluster.propose(leader, &clear);
    cluster.settle();
    done(&mut cleared);
    cluster.pass(15);
    assert!(cluster.seats[late].facts.status().applied > before, "it is believed again");
}

/// Whoever stands may win, and would lead without a state.
#[test]
fn a_candidate_does_not_begin_to_rebuild() {
    let (mut cluster, _, odd) = with_one_named(false);
    cluster.cut.insert(id(odd));
    for _ in 0..60 {
        cluster.pass(1);
        if cluster.seats[odd].node.group.standing().role == Role::Candidate {
            break;
        }
    }
    assert_eq!(cluster.seats[odd].node.group.standing().role, Role::Candidate);
    cluster.seats[odd].node.rebuild();
    assert!(!cluster.seats[odd].facts.waits_for_state());
    cluster.pass(1);
    cluster.cut.clear();
    cluster.pass(20);
    heals(&mut cluster, odd);
}

/// A member without a state keeps silent when it is asked to lead: the next one is asked.
#[test]
fn who_does_not_take_over_is_not_asked_again_before_the_others() {
    for told in [false, true] {
        let mut cluster = Cluster::new(3);
        let leader = cluster.elect();
        cluster.pass(2);
        // The heir by number.
        let idle = (0..3).rev().find(|n| *n != leader).expect("there are three");
        cluster.seats[idle].node.rebuild();
        cluster.pass(1);
        assert!(cluster.seats[idle].facts.waits_for_state());
        if told {
            // Its state is on its way, and does not arrive.
            cluster.cut.insert(id(idle));
            assert_eq!(ask_for_state(&mut cluster, leader, idle), Ok(()));
            cluster.settle();
            cluster.cut.clear();
        }
        let hand_over = |cluster: &mut Cluster| {
            let (reply, mut answer) = Reply::pair();
            cluster.step(leader, Input::HandOver { to: None, reply });
            cluster.pass(12);
            answered(&mut answer).expect("answered")
        };
        if !told {
            assert_eq!(hand_over(&mut cluster), Err(Refusal::TimeoutTransfer));
        }
        assert_eq!(hand_over(&mut cluster), Ok(()), "told: {told}");
        assert_eq!(cluster.leader(), Some(3 - leader - idle));
    }
}

/// One that differs and that nobody has named lags, and is sent a snapshot of less than it believes to have.
#[test]
fn a_snapshot_puts_right_who_differs_unnoticed() {
    let (mut cluster, leader, late) = with_one_far_behind();
    for _ in 0..200 {
        make_differ(&mut cluster, late);
    }
    let (reply, mut opened) = Reply::pair();
    cluster.step(
        late,
        Input::Watch(WatchInput::Open { stream: StreamId(1), account: Arc::<Shares>::default().open(), reply }),
    );
    let buffer = answered(&mut opened).expect("opened");
    cluster.cut.clear();
    cluster.pass(15);
    let status = cluster.seats[late].facts.status();
    assert_eq!((status.states_refuted, status.revision), (1, cluster.seats[leader].facts.status().revision));
    let next = buffer.poll_batch(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(next, Poll::Ready(None)), "what was told of revisions was wrong: {next:?}");
    write(&mut cluster, late, "after");
    assert_eq!(verdict(&mut cluster, leader), Verdict::Alike);
}

/// What a wrong state made of a change of the members is not kept.
#[test]
fn who_votes_is_taken_from_the_state_that_takes_the_place_of_a_wrong_one() {
    let (mut cluster, leader, odd) = with_one_named(false);
    let third = 3 - leader - odd;
    let sound = cluster.seats[leader].node.group.electorate();
    let wrong = Electorate { voters: vec![id(leader), id(odd), id(7)], learners: vec![id(third)] };
    cluster.seats[odd].node.group.adopt(&wrong);
    assert_eq!(cluster.seats[odd].node.group.electorate(), wrong);
    cluster.seats[odd].node.rebuild();
    heals(&mut cluster, odd);
    assert_eq!(cluster.seats[odd].node.group.electorate(), sound);
}

/// The state does not say what became of a proposal whose entry it covers: who waits for it is told so at once.
#[test]
fn who_waits_for_what_the_state_has_done_hears_that_it_is_not_known() {
    let (mut cluster, leader, odd) = with_one_named(false);
    let clear = Command::Alarm { action: AlarmAction::Deactivate, member: id(odd), kind: AlarmKind::Corrupt };
    let mut cleared = cluster.propose(leader, &clear);
    cluster.settle();
    done(&mut cleared);
    cluster.seats[odd].node.rebuild();
    cluster.pass(1);
    let mut waiting = cluster.propose(odd, &put("in the state"));
    cluster.pass(1);
    assert!(answered(&mut waiting).is_none(), "nothing is applied here");
    assert_eq!(ask_for_state(&mut cluster, leader, odd), Ok(()));
    cluster.settle();
    assert_eq!(answered(&mut waiting).expect("told").err(), Some(Refusal::TimeoutConnectionLost));
    assert_eq!(cluster.keys(odd), 3, "it was done");
}

/// A snapshot that raft installs puts a sound state in place of one that was to be rebuilt and had not begun: nothing is left
/// to be rebuilt, and an alarm that named what is gone is cleared.
#[test]
fn an_installed_snapshot_is_a_rebuilding_too() {
    for (named, damaged) in [(false, true), (true, false), (true, true)] {
        let (mut cluster, leader, late) = with_one_far_behind();
        if named {
            raise(&mut cluster, leader, late);
        }
        cluster.seats[late].reads_slowly = true;
        cluster.cut.clear();
        cluster.pass(15);
        assert!(cluster.seats[late].node.snapshots.installing());
        if damaged {
            cluster.seats[late].node.rebuild();
        }
        cluster.seats[late].reads_slowly = false;
        cluster.pass(5);
        let facts = &cluster.seats[late].facts;
        assert!(!facts.waits_for_state() && !facts.is_corrupt(), "named {named}, damaged {damaged}");
        assert_eq!(cluster.seats[leader].facts.status().alarms, [], "named {named}, damaged {damaged}");
        write(&mut cluster, late, "after");
        assert_eq!(verdict(&mut cluster, leader), Verdict::Alike);
    }
}

/// As if what waits to be applied were large: none of it is applied, for the state that comes has done it.
fn fill_backlog(cluster: &mut Cluster, n: usize) {
    let value: Bytes = vec![7; 1 << 20].into();
    let large = codec::encode(1, &Command::Put(Put { key: "k".into(), value, ..Put::default() }));
    let backlog = &mut cluster.seats[n].node.committed;
    let entries = backlog.iter().map(|entry| LogEntry { data: large.clone(), ..entry.clone() }).collect();
    backlog.clear();
    backlog.extend(entries);
    assert!(backlog.is_full());
}

/// A state that comes from one who leads no more does not say that it is committed: who leads now does, by appends, though
/// what waits here is full; and where there are no others it needs this member's answer to commit anything.
#[test]
fn a_state_is_put_in_place_however_much_waits_for_it() {
    for others_answer in [false, true] {
        let mut cluster = Cluster::new(3);
        let old = cluster.elect();
        cluster.pass(2);
        let (odd, next) = ((old + 1) % 3, (old + 2) % 3);
        cluster.seats[odd].node.rebuild();
        cluster.pass(1);
        for n in 0..=limits::MAX_UNAPPLIED_BYTES >> 20 {
            write(&mut cluster, old, &format!("k{n}"));
        }
        // One that is there, and not known to be committed.
        let mut last = cluster.propose(old, &put("last"));
        let end = cluster.seats[odd].log.len() + 1;
        while cluster.seats[odd].log.len() < end {
            cluster.exchange();
        }
        cluster.cut.insert(id(odd));
        cluster.settle();
        let index = done(&mut last).index;
        let node = &cluster.seats[odd].node;
        assert!(node.group.log_end().0 >= index && node.committed.back().is_some_and(|last| last.index < index));
        assert_eq!(ask_for_state(&mut cluster, old, odd), Ok(()));
        let (message, mut source) = cluster.seats[old].snapshots.pop().expect("it is sent");
        assert_eq!(message.snapshot_index(), index);
        fill_backlog(&mut cluster, odd);
        cluster.cut = [id(old)].into();
        while cluster.seats[next].node.group.standing().role != Role::Leader {
            cluster.pass(1);
        }
        if others_answer {
            cluster.cut.clear();
            cluster.pass(5);
        }
        let now = cluster.now;
        let answers = cluster.seats[odd].take_snapshot(&message, &mut source, now).expect("it is taken");
        answers.iter().for_each(|answer| cluster.deliver(answer));
        let facts = cluster.seats[odd].facts.clone();
        assert!(facts.is_corrupt() && !facts.waits_for_state(), "it came, and is not in place");
        cluster.pass(10);
        assert!(!facts.is_corrupt(), "it is in place (others answer: {others_answer})");
        write(&mut cluster, next, "after");
        assert_eq!(cluster.keys(odd), (limits::MAX_UNAPPLIED_BYTES >> 20) + 3);
    }
}

/// The cluster hears that a member's disk is full, also where nobody could hear it at first, and again after a state came that
/// has forgotten it.
#[test]
fn that_a_disk_is_full_is_told_until_it_is_heard() {
    let is_told = |cluster: &Cluster, n: usize, of: usize| {
        cluster.seats[n].facts.status().alarms.contains(&(id(of), AlarmKind::NoSpace))
    };
    let room = |cluster: &mut Cluster, n: usize, short| {
        // Where it is short, the log gives what it takes ahead, and that is not enough.
        for _ in 0..=usize::from(short) {
            let tried = cluster.now;
            cluster.step(n, Input::Room { part: DiskPart::History, short, tried });
            cluster.step(n, Input::RoomGiven);
            cluster.pass(1);
        }
    };
    let (mut cluster, leader, late) = with_one_far_behind();
    room(&mut cluster, late, true);
    // Long enough for every proposal to be given up.
    cluster.pass(100);
    assert!(!is_told(&cluster, leader, late));
    cluster.cut.clear();
    cluster.pass(30);
    assert!(is_told(&cluster, leader, late) && is_told(&cluster, late, late));

    // It is disarmed while this member hears nobody: of what was found before, nothing is believed.
    cluster.cut.insert(id(late));
    let clear = Command::Alarm { action: AlarmAction::Deactivate, member: id(late), kind: AlarmKind::NoSpace };
    let mut cleared = cluster.propose(leader, &clear);
    cluster.settle();
    done(&mut cleared);
    for n in 0..100 {
        write(&mut cluster, leader, &format!("more{n}"));
    }
    cluster.cut.clear();
    cluster.pass(30);
    assert!(!is_told(&cluster, late, late) && cluster.seats[late].arrived.len() == 2, "it came by a snapshot");
    room(&mut cluster, late, true);
    cluster.pass(30);
    assert!(is_told(&cluster, leader, late));
}
