//! Who waits for an outcome: what is in another's snapshot, what others' batches hold up, what is asked twice.

use super::*;
use crate::base::limits;

/// A follower's proposal is in the leader's log; then the follower is cut off, and the log is released.
#[test]
fn what_a_snapshot_hides_is_told_to_be_open_and_what_comes_behind_it_is_answered() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let late = (leader + 1) % 3;
    let mut hidden = cluster.propose(late, &put("hidden"));
    let now = cluster.now;
    let (_, sent) = cluster.seats[late].turn(now);
    sent.iter().for_each(|message| cluster.deliver(message));
    cluster.cut.insert(id(late));
    for n in 0..100 {
        let mut written = cluster.propose(leader, &put(&format!("k{n}")));
        cluster.settle();
        done(&mut written);
    }
    assert!(answered(&mut hidden).is_none());
    cluster.cut.clear();
    cluster.seats[late].reads_slowly = true;
    cluster.pass(5);
    assert_eq!(cluster.seats[late].installs.len(), 1, "it installs");
    let mut behind = cluster.propose(late, &put("behind"));
    cluster.pass(1);
    cluster.seats[late].reads_slowly = false;
    cluster.pass(1);
    done(&mut behind);
    assert!(answered(&mut hidden).is_none(), "it might come with what is in the log behind the state");
    cluster.pass(10);
    assert_eq!(answered(&mut hidden).expect("told").err(), Some(Refusal::TimeoutConnectionLost));
    assert_eq!(cluster.keys(late), 102, "it was done");
}

/// Where others pass proposals on all the time, some batch always is under way.
#[test]
fn a_leaders_own_proposal_waits_for_its_own_batch_alone() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let follower = (leader + 1) % 3;
    let before = cluster.seats[follower].facts.status().revision;
    cluster.seats[leader].hangs = true;
    let _others = cluster.propose(follower, &put("of another"));
    cluster.settle();
    assert_eq!(cluster.seats[leader].unsynced.len(), 1, "a batch is under way");
    let _own = cluster.propose(leader, &put("own"));
    cluster.settle();
    assert_eq!(cluster.seats[follower].facts.status().revision, before + 2);
    let _next = cluster.propose(leader, &put("next"));
    cluster.settle();
    assert_eq!(cluster.seats[follower].facts.status().revision, before + 2, "now one of its own is");
    cluster.seats[leader].hangs = false;
    cluster.settle();
    assert_eq!(cluster.seats[follower].facts.status().revision, before + 3);
}

#[test]
fn a_promotion_asked_for_again_because_the_answer_was_lost_is_done() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let mut added = cluster.change(leader, MemberChange::add(Member { is_learner: true, ..member(3) }));
    cluster.settle();
    done(&mut added);
    cluster.seats.push(seat(3, HardState::default(), Vec::new(), &[], 0));
    cluster.pass(5);
    let promote = |cluster: &mut Cluster, n: usize, asked: u64| {
        let (reply, answer) = Reply::pair();
        cluster.step(n, Input::ChangeMembers { id: asked, change: MemberChange::Promote(id(3)), reply });
        answer
    };
    let _lost = promote(&mut cluster, leader, 5_000);
    let mut again = promote(&mut cluster, leader, 5_000);
    cluster.settle();
    let index = done(&mut again).index;
    let mut later = promote(&mut cluster, leader, 5_000);
    assert_eq!(done(&mut later).index, index, "it was made once");
    let mut another = promote(&mut cluster, leader, 5_001);
    assert_eq!(answered(&mut another).expect("at once").err(), Some(Refusal::MemberNotLearner), "as in etcd");
    let (reply, _moved) = Reply::pair();
    let next = (leader + 1) % 3;
    cluster.step(leader, Input::HandOver { to: Some(id(next)), reply });
    cluster.pass(2);
    assert_eq!(cluster.leader(), Some(next));
    let mut of_the_next = promote(&mut cluster, next, 5_000);
    assert_eq!(done(&mut of_the_next).index, index, "whoever leads knows it");
}

/// A follower passes on what its leader takes anyway, and keeps the rest, where it takes turns. What is lost does not stand in
/// the way of what comes later.
#[test]
fn a_follower_has_so_much_under_way_and_no_more() {
    let most = limits::MAX_PASSED_ON_UNDER_WAY;
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let follower = (leader + 1) % 3;
    cluster.lost = vec![MessageKind::Propose];
    let mut flood: Vec<_> = (0..2 * most).map(|n| cluster.propose(follower, &put(&format!("k{n}")))).collect();
    cluster.settle();
    let under_way = |cluster: &Cluster| cluster.seats[follower].node.proposals.on_their_way().len();
    assert!((most..most + limits::MAX_BATCH_ENTRIES).contains(&under_way(&cluster)));
    let lost = under_way(&cluster);
    cluster.lost.clear();
    cluster.settle();
    assert_eq!(under_way(&cluster), lost, "for all that is known it is on its way");
    cluster.pass(config().ticks(limits::PASSED_ON_STUCK_MS) as usize + 1);
    let done: Vec<bool> =
        flood.iter_mut().map(|answer| answered(answer).is_some_and(|outcome| outcome.is_ok())).collect();
    assert_eq!(done.iter().filter(|done| **done).count(), 2 * most - lost, "what was not lost is done");
    assert!(done[lost..].iter().all(|done| *done) && !done[..lost].contains(&true));
}

/// Nobody who asks again keeps a member from ending that has no majority.
#[test]
fn who_drains_takes_in_no_change_of_members() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.cut.extend((0..3).filter(|n| *n != leader).map(id));
    let (reply, mut drained) = Reply::pair();
    cluster.step(leader, Input::Drain { reply });
    let mut refused = cluster.change(leader, MemberChange::Remove(id(1)));
    assert_eq!(answered(&mut refused).expect("at once").err(), Some(Refusal::Stopped));
    cluster.pass(1);
    assert!(answered(&mut drained).is_some(), "nothing is waited for");
}

impl Cluster {
    /// Lets time pass while each message takes 400 ms, longer than it takes until a round that is not answered is asked again.
    fn pass_far_apart(&mut self, ticks: usize, on_the_way: &mut Vec<(Instant, PeerMessage)>) {
        for _ in 0..ticks {
            self.now = self.now.plus(Duration::from_millis(100));
            let now = self.now;
            let due: Vec<_> = on_the_way.extract_if(.., |(due, _)| *due <= now).collect();
            due.iter().for_each(|(_, message)| self.deliver(message));
            for seat in &mut self.seats {
                seat.node.step(now, Input::Tick, &mut Vec::new());
                while seat.turn_far_apart(now, on_the_way) {}
            }
        }
    }
}

impl Seat {
    fn turn_far_apart(&mut self, now: Instant, on_the_way: &mut Vec<(Instant, PeerMessage)>) -> bool {
        let (more, mut sent) = self.turn(now);
        sent.extend(self.sync(now));
        on_the_way.extend(sent.into_iter().map(|message| (now.plus(Duration::from_millis(400)), message)));
        more
    }
}

#[test]
fn reads_are_answered_where_a_round_takes_longer_than_until_it_is_asked_again() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let mut on_the_way = Vec::new();
    for reader in 0..3 {
        let hops = if reader == leader { 2 } else { 4 };
        let mut first = cluster.read(reader);
        cluster.pass_far_apart(2, &mut on_the_way);
        // Asked while the round of the first is under way: its own begins with the next attempt.
        let mut second = cluster.read(reader);
        cluster.pass_far_apart(4 * hops, &mut on_the_way);
        done(&mut first);
        cluster.pass_far_apart(6, &mut on_the_way);
        done(&mut second);
    }
    assert_eq!(cluster.leader(), Some(leader), "nobody stood for election");
}

#[test]
fn an_answer_to_what_was_asked_before_a_read_came_does_not_confirm_it() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let reader = (leader + 1) % 3;
    let mut on_the_way = Vec::new();
    let mut first = cluster.read(reader);
    // The leader has heard of the question, and says how far it is.
    cluster.pass_far_apart(13, &mut on_the_way);
    assert!(answered(&mut first).is_none());
    // What is written and acknowledged since is no part of that answer, nor does it have to be.
    let now = cluster.now;
    let mut written = cluster.propose(leader, &put("since"));
    cluster.settle();
    done(&mut written);
    let mut second = cluster.read(reader);
    cluster.seats[reader].node.step(now, Input::Tick, &mut Vec::new());
    cluster.pass_far_apart(4, &mut on_the_way);
    done(&mut first);
    assert!(answered(&mut second).is_none(), "that the round of the first is answered says nothing of what came since");
    cluster.pass_far_apart(17, &mut on_the_way);
    let view = done(&mut second);
    assert_eq!(view.range(&RangeQuery::plain(KeyRange::all())).expect("read").kvs.len(), 1);
}
