//! What waits in memory has a bound, and what gives room is neither refused nor held up.

use super::*;
use crate::base::limits;
use crate::machine::{AlarmAction, AlarmKind, DeleteRange};
use crate::mvcc::{NO_PREV, NewValue};
use crate::node::{DiskPart, Held};

const BIG: usize = 1 << 20;

/// A put of a large value. With a lease that there is not it changes nothing.
fn big(key: &str, lease: LeaseId) -> Command {
    Command::Put(Put { key: key.to_string().into(), value: vec![7; BIG].into(), lease, ..Put::default() })
}

fn all_keys() -> Command {
    let range = KeyRange::from_wire(Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    Command::DeleteRange(DeleteRange { range, prev_kv: false })
}

fn alarm(action: AlarmAction) -> Command {
    Command::Alarm { action, member: id(0), kind: AlarmKind::NoSpace }
}

/// As their leader would: an entry behind all that the follower has, and the word that it is committed. Whether it was taken
/// in. What is in it is shared, however many there are.
fn feed(cluster: &mut Cluster, follower: usize, leader: usize, data: &Bytes) -> bool {
    let now = cluster.now;
    let seat = &mut cluster.seats[follower];
    let term = seat.node.group.standing().term;
    let before = seat.node.group.log_end();
    let at = (before.0 + 1, term);
    let entry = PeerMessage::append(id(leader), seat.id, term, before, &[at]).carrying(data, before.0);
    let told = PeerMessage::append(id(leader), seat.id, term, at, &[]).carrying(data, at.0);
    for message in [entry, told] {
        seat.node.step(now, Input::Peer(message), &mut Vec::new());
        seat.turn(now);
        seat.sync(now);
    }
    rest(seat, now);
    seat.node.group.log_end() == at
}

/// Does what is due, until nothing is.
fn rest(seat: &mut Seat, now: Instant) {
    let busy = (0..10_000).take_while(|_| seat.turn(now).0).count();
    assert!(busy < 10_000, "it never comes to rest");
}

fn held(cluster: &Cluster, n: usize) -> Held {
    cluster.seats[n].node.held()
}

/// Feeds until nothing is taken any more; how much was.
fn feed_up(cluster: &mut Cluster, follower: usize, leader: usize, data: &Bytes) -> usize {
    (0..1_000).take_while(|_| feed(cluster, follower, leader, data)).count()
}

#[test]
fn what_frees_room_is_taken_in_while_history_cannot_be_written() {
    let mut bench = Bench::new(NodeConfig { checkpoint_entries: u64::MAX, ..config() });
    let mut ask = |command: &Command| {
        let mut answer = bench.propose(command);
        bench.settle();
        answered(&mut answer).expect("answered").map(|_| ())
    };
    assert_eq!(ask(&Command::LeaseGrant { id: 5, ttl: 500 }), Ok(()));
    let refused = (0..200).find_map(|n| ask(&big(&format!("k{n}"), 5)).err());
    assert_eq!(refused, Some(Refusal::TooManyRequests), "what needs room");
    let revoke = Command::LeaseRevoke { id: 5, expiry: None };
    let compact = Command::Compact { revision: 2, physical: false };
    for command in [compact, alarm(AlarmAction::Deactivate), all_keys(), revoke] {
        assert_eq!(ask(&command), Ok(()), "{command:?}");
    }
    assert_eq!(ask(&put("small")), Err(Refusal::TooManyRequests), "nor is there room now");
}

/// Whoever disarmed the alarm made room first: what was found missing before that says nothing.
#[test]
fn a_disarmed_alarm_is_not_raised_by_what_was_found_before() {
    let mut bench = Bench::new(config());
    let ask = |bench: &mut Bench, command: &Command| {
        let mut answer = bench.propose(command);
        bench.settle();
        answered(&mut answer).expect("answered").map(|_| ())
    };
    let looks = |bench: &mut Bench| {
        let looks = bench.outputs.iter().any(|output| matches!(output, Output::LookForRoom));
        bench.outputs.clear();
        looks
    };
    let disarmed = Command::Alarm { action: AlarmAction::Deactivate, member: MEMBER, kind: AlarmKind::NoSpace };
    let stands = |bench: &Bench| bench.facts.has_alarm(AlarmKind::NoSpace);
    let finds_none = |bench: &mut Bench, part| {
        bench.step(Input::Room { part, short: true, tried: bench.now });
        bench.settle();
        if std::mem::take(&mut bench.outputs).iter().any(|output| matches!(output, Output::GiveRoom)) && !stands(bench)
        {
            // The log may have taken it ahead.
            bench.step(Input::RoomGiven);
            bench.settle();
            assert!(looks(bench) && !stands(bench));
            bench.step(Input::Room { part, short: true, tried: bench.now });
            bench.settle();
        }
    };
    for part in [DiskPart::Log, DiskPart::History] {
        let tried = bench.now;
        finds_none(&mut bench, part);
        assert!(stands(&bench));
        assert_eq!(ask(&mut bench, &put("refused")), Err(Refusal::NoSpace));
        bench.now = bench.now.plus(Duration::from_millis(1));
        bench.outputs.clear();
        assert_eq!(ask(&mut bench, &disarmed), Ok(()));
        assert!(looks(&mut bench), "{part:?}");
        for late in [Input::Room { part, short: true, tried }, Input::OutlinePutOff { tried }] {
            bench.step(late);
            bench.settle();
            assert!(!stands(&bench) && looks(&mut bench), "{part:?}");
            assert_eq!(ask(&mut bench, &put("taken in")), Ok(()), "{part:?}");
        }
        finds_none(&mut bench, part);
        assert!(stands(&bench), "{part:?}");
        bench.step(Input::Room { part, short: false, tried: bench.now });
        assert_eq!(ask(&mut bench, &disarmed), Ok(()));
    }
}

/// Compacted, given back, disarmed, put: what the log takes ahead stands in the way of none of it, and it takes it again when
/// nothing else needs it.
#[test]
fn the_log_takes_nothing_ahead_while_history_may_need_the_room() {
    let mut bench = Bench::new(config());
    let ask = |bench: &mut Bench, command: &Command| {
        let mut answer = bench.propose(command);
        bench.settle();
        done(&mut answer);
    };
    let put_out = |bench: &mut Bench| {
        bench.settle();
        let kind = |output: Output| match output {
            Output::GiveRoom => Some("give"),
            Output::LookForRoom => Some("look"),
            Output::ReadyLog => Some("ready"),
            _ => None,
        };
        std::mem::take(&mut bench.outputs).into_iter().filter_map(kind).collect::<Vec<_>>()
    };
    let history = |short, tried| Input::Room { part: DiskPart::History, short, tried };
    ask(&mut bench, &put("k"));
    ask(&mut bench, &put("k"));
    put_out(&mut bench);
    bench.step(history(true, bench.now));
    assert_eq!(put_out(&mut bench), ["give"]);
    bench.step(Input::RoomGiven);
    assert_eq!(put_out(&mut bench), ["look"], "at once, not in a while");
    bench.step(history(false, bench.now));
    assert!(!put_out(&mut bench).contains(&"ready"), "the alarm stands");
    let disarmed = Command::Alarm { action: AlarmAction::Deactivate, member: MEMBER, kind: AlarmKind::NoSpace };
    ask(&mut bench, &disarmed);
    assert_eq!(put_out(&mut bench), ["ready"], "now it may");
    // It has taken what was free; so what is found short now is not believed before it has given.
    bench.step(history(true, bench.now));
    assert_eq!(put_out(&mut bench), ["give"]);
    assert!(!bench.facts.has_alarm(AlarmKind::NoSpace));
    bench.step(Input::RoomGiven);
    assert_eq!(put_out(&mut bench), ["look"]);
    bench.step(history(true, bench.now));
    put_out(&mut bench);
    assert!(bench.facts.has_alarm(AlarmKind::NoSpace), "that was not enough");
}

#[test]
fn what_is_committed_while_a_snapshot_is_installed_is_bounded_and_goes_on_afterwards() {
    let (mut cluster, leader, late) = with_one_far_behind();
    cluster.cut.clear();
    cluster.seats[late].reads_slowly = true;
    cluster.pass(15);
    assert_eq!(cluster.seats[late].installs.len(), 1, "it installs");
    let data = codec::encode(1, &big("k", 99));
    let taken = feed_up(&mut cluster, late, leader, &data);
    let waits = held(&cluster, late).unapplied_bytes;
    assert!(taken < 1_000 && waits > limits::MAX_UNAPPLIED_BYTES / 2, "{taken} entries, {waits} bytes");
    assert!(waits <= limits::MAX_UNAPPLIED_BYTES + 2 * BIG, "{waits}");
    cluster.seats[late].reads_slowly = false;
    let now = cluster.now;
    cluster.seats[late].sync(now);
    rest(&mut cluster.seats[late], now);
    assert_eq!((held(&cluster, late).unapplied, held(&cluster, late).unapplied_bytes), (0, 0));
    assert!(feed(&mut cluster, late, leader, &data), "what was not taken is taken when it is sent again");
}

#[test]
fn what_is_committed_while_a_state_is_awaited_is_bounded() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let odd = (leader + 1) % 3;
    cluster.seats[odd].node.rebuild();
    let taken = feed_up(&mut cluster, odd, leader, &codec::encode(1, &big("k", 99)));
    let waits = held(&cluster, odd).unapplied_bytes;
    assert!(taken < 1_000 && waits <= limits::MAX_UNAPPLIED_BYTES + 2 * BIG, "{taken} entries, {waits} bytes");
}

#[test]
fn history_that_is_not_written_holds_applying_up_but_not_what_needs_no_room() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let slow = (leader + 1) % 3;
    let now = cluster.now;
    let needs_room = codec::encode(1, &big("k", 0));
    let applied = |cluster: &Cluster| cluster.seats[slow].node.machine.applied().0;
    let mut fed = 0;
    while held(&cluster, slow).unwritten_bytes <= limits::APPLYING_WAITS_HISTORY_BYTES {
        assert!(feed(&mut cluster, slow, leader, &needs_room));
        fed += 1;
    }
    assert!(fed > 100, "{fed}");
    // Nobody waits in front of them.
    for command in [Command::Compact { revision: 2, physical: false }, all_keys(), alarm(AlarmAction::Activate)] {
        let before = applied(&cluster);
        assert!(feed(&mut cluster, slow, leader, &codec::encode(2, &command)));
        assert_eq!(applied(&cluster), before + 1, "{command:?}");
    }
    let before = applied(&cluster);
    assert!(feed(&mut cluster, slow, leader, &needs_room));
    assert_eq!(applied(&cluster), before + 1, "under the alarm it is refused, and needs none");
    assert!(feed(&mut cluster, slow, leader, &codec::encode(2, &alarm(AlarmAction::Deactivate))));
    let before = applied(&cluster);
    let unwritten = held(&cluster, slow).unwritten_bytes;
    for _ in 0..20 {
        assert!(feed(&mut cluster, slow, leader, &needs_room));
    }
    let now_held = held(&cluster, slow);
    assert_eq!((applied(&cluster), now_held.unapplied, now_held.unwritten_bytes), (before, 20, unwritten));
    let mark = cluster.seats[slow].history.take().expect("handed out");
    cluster.seats[slow].node.step(now, Input::HistoryWritten(mark), &mut Vec::new());
    rest(&mut cluster.seats[slow], now);
    assert_eq!((applied(&cluster), held(&cluster, slow).unapplied), (before + 20, 0), "it goes on");
}

#[test]
fn a_leader_with_much_to_apply_lets_others_proposals_wait_too() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let follower = (leader + 1) % 3;
    let payload = codec::encode(1, &big("k", 99));
    let entries = limits::MAX_UNAPPLIED_BYTES / BIG + 2;
    let entry = |index| LogEntry { index, term: 1, kind: crate::wal::EntryKind::Normal, data: payload.clone() };
    // As if it had not come to apply them.
    cluster.seats[leader].node.committed.extend((0..entries as u64).map(entry).collect());
    let end = cluster.seats[leader].node.group.log_end();
    let passed_on = PeerMessage::proposal(id(follower), id(leader), false, codec::encode(9, &put("a")));
    let now = cluster.now;
    let node = &mut cluster.seats[leader].node;
    node.step(now, Input::Peer(passed_on), &mut Vec::new());
    node.turn(now, &mut Vec::new()).expect("nothing is wrong");
    assert_eq!(node.group.log_end(), end, "it waits");
    assert!(node.held().passed_on_bytes > 0);
    node.committed.clear();
    node.turn(now, &mut Vec::new()).expect("nothing is wrong");
    assert_eq!(node.group.log_end().0, end.0 + 1, "and is proposed");
}

#[test]
fn who_installs_without_room_asks_for_it() {
    let (mut cluster, _, late) = with_one_far_behind();
    cluster.cut.clear();
    cluster.seats[late].reads_slowly = true;
    cluster.pass(15);
    assert_eq!(cluster.seats[late].installs.len(), 1, "it installs");
    cluster.seats[late].room.clear();
    let tried = cluster.now;
    cluster.step(late, Input::Room { part: DiskPart::History, short: true, tried });
    cluster.settle();
    assert_eq!(cluster.seats[late].room, ["give"], "what the log keeps for use again");
    cluster.pass(usize::try_from(config().ticks(limits::LOOK_FOR_ROOM_MS)).expect("a few"));
    assert!(cluster.seats[late].room.contains(&"look"));
}

/// Its log may well be written; but nothing is applied any more, and it would hold everybody up.
#[test]
fn a_leader_whose_history_finds_no_end_hands_over_and_does_not_stand_again() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let value: Bytes = vec![7; BIG].into();
    for n in 0..=limits::APPLYING_WAITS_HISTORY_BYTES / BIG {
        let mut write = cluster.seats[leader].node.machine.store_mut().begin(NO_PREV);
        let key = format!("k{n}").into();
        write.put(NewValue { key, value: value.clone(), lease: 0, backing_bytes: 0 }).expect("in memory");
        write.commit();
    }
    cluster.pass(1);
    assert!(held(&cluster, leader).unwritten_bytes > limits::APPLYING_WAITS_HISTORY_BYTES);
    let mut waits = cluster.propose((leader + 1) % 3, &put("k"));
    cluster.pass(5);
    assert_eq!((cluster.leader(), held(&cluster, leader).unapplied), (Some(leader), 1));
    assert!(done(&mut waits).index > 0, "the others have applied it");
    cluster.pass(15);
    let next = cluster.leader().expect("another leads");
    assert_ne!(next, leader);
    cluster.cut.insert(id(next));
    cluster.pass(60);
    assert_eq!(cluster.leader(), Some(3 - leader - next), "and it does not stand");
}
