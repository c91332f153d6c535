//! A member that starts on an older copy of its disk.

use super::*;
use crate::consensus::{Promise, Promises};
use crate::node::Recalled;
use crate::wal::EntryKind;

/// What a member's disk holds.
type Copied = (HardState, Vec<LogEntry>);

impl Cluster {
    fn copied(&self, n: usize) -> Copied {
        (self.seats[n].hard_state, self.seats[n].log.clone())
    }

    /// The member starts again, on this copy of its disk.
    fn put_back(&mut self, n: usize, copied: Copied, life: u64) {
        self.put_back_among(self.seats.len(), n, copied, life);
    }

    /// The same where the first so many are the founders.
    fn put_back_among(&mut self, founders: usize, n: usize, copied: Copied, life: u64) {
        self.put_back_with(&Promises::default(), founders, n, copied, life);
    }

    /// The same with what was kept of members' promises.
    fn put_back_with(&mut self, kept: &Promises, founders: usize, n: usize, (hard_state, log): Copied, life: u64) {
        let founders: Vec<MemberId> = (0..founders).map(id).collect();
        self.seats[n] = seat(n, hard_state, log, &founders, life);
        self.seats[n].node.doubt(kept);
    }

    fn promises_held(&mut self, n: usize) -> Promises {
        let (reply, mut held) = Reply::pair();
        self.step(n, Input::PromisesHeld { reply });
        answered(&mut held).expect("answered")
    }

    /// A member asks another what it remembers.
    fn recollect(&mut self, n: usize, other: usize) -> Recalled {
        let last = self.seats[n].facts.log_end();
        let (reply, mut remembered) = Reply::pair();
        self.step(other, Input::RecollectionAsked { of: id(n), last, reply });
        let remembered = answered(&mut remembered);
        let (reply, mut recalled) = Reply::pair();
        self.step(n, Input::Recollected { from: id(other), remembered, reply });
        answered(&mut recalled).expect("answered")
    }

    fn tell_promises(&mut self, leader: usize, to: usize) {
        let (reply, mut promises) = Reply::pair();
        self.step(leader, Input::PromisesWanted { reply });
        let promises = answered(&mut promises).expect("answered").expect("it leads");
        self.step(to, Input::PromisesTold(promises));
    }

    /// A fourth joins, and has acknowledged something.
    fn add_fourth(&mut self, leader: usize) {
        let mut added = self.change(leader, MemberChange::add(member(3)));
        self.seats.push(seat(3, HardState::default(), Vec::new(), &[], 0));
        self.settle();
        done(&mut added);
        self.pass(5);
        self.write(leader, "with it");
    }

    fn write(&mut self, leader: usize, key: &str) {
        let mut answer = self.propose(leader, &put(key));
        self.settle();
        done(&mut answer);
    }
}

/// Three members, the leader first; a copy of the second, which since has acknowledged a write that the third lacks.
fn with_a_write_on_two() -> (Cluster, [usize; 3], Copied) {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let (second, third) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.write(leader, "before");
    let copy = cluster.copied(second);
    cluster.tell_promises(leader, third);
    cluster.cut.insert(id(third));
    cluster.write(leader, "on two");
    (cluster, [leader, second, third], copy)
}

#[test]
fn an_older_copy_does_not_help_to_elect_one_that_lacks_what_was_committed() {
    let (mut cluster, [leader, second, third], copy) = with_a_write_on_two();
    // The leader's word of it arrives; the entry does not.
    cluster.tell_promises(leader, third);
    cluster.cut = BTreeSet::from([id(leader)]);
    cluster.put_back(second, copy, 1);
    assert!(matches!(cluster.recollect(second, third), Recalled::Forgets { from, .. } if from == id(third)));
    cluster.pass(100);
    assert_eq!(cluster.leader(), None, "one that lacks the write is not elected");
    cluster.cut.clear();
    let leads = cluster.elect();
    for other in [leader, third] {
        let _ = cluster.recollect(second, other);
    }
    cluster.pass(20);
    assert_eq!(cluster.keys(leads), 2);
    assert!(!cluster.seats[second].facts.doubts(), "it has again what it promised");
    assert_eq!(cluster.keys(second), 2);
}

#[test]
fn the_leader_gives_back_what_an_older_copy_lacks_and_then_it_votes() {
    let (mut cluster, [leader, second, third], copy) = with_a_write_on_two();
    cluster.put_back(second, copy, 1);
    cluster.pass(3);
    assert!(cluster.seats[second].facts.doubts());
    assert!(matches!(cluster.recollect(second, leader), Recalled::Forgets { .. }));
    cluster.pass(3);
    assert!(!cluster.seats[second].facts.doubts());
    cluster.write(leader, "with it");
    cluster.cut = BTreeSet::from([id(leader)]);
    let new = cluster.elect();
    assert_eq!(new, second, "the third lacks what was committed");
    assert_eq!(cluster.keys(third), 3);
}

/// What it says is lost on one whose log it counts on; a refusal would tell it, and it sends nothing that could be refused.
#[test]
fn a_leader_that_an_older_copy_does_not_know_is_asked_and_gives_back_what_is_lacked() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let second = (leader + 1) % 3;
    let copy = cluster.copied(second);
    let mut added = cluster.change(leader, MemberChange::add(member(3)));
    cluster.seats.push(seat(3, HardState::default(), Vec::new(), &[], 0));
    cluster.settle();
    done(&mut added);
    cluster.pass(5);
    let (reply, _moved) = Reply::pair();
    cluster.step(leader, Input::HandOver { to: Some(id(3)), reply });
    cluster.pass(2);
    assert_eq!(cluster.leader(), Some(3));
    cluster.write(3, "after");
    cluster.put_back_among(3, second, copy, 1);
    assert_eq!(cluster.seats[second].facts.counted_on_by(), None);
    cluster.pass(3);
    assert_eq!(cluster.seats[second].facts.counted_on_by(), Some(id(3)), "it is no member there, and leads");
    for known in (0..3).filter(|n| *n != second) {
        assert!(matches!(cluster.recollect(second, known), Recalled::Forgets { .. }));
    }
    assert_eq!(cluster.seats[second].facts.counted_on_by(), Some(id(3)), "whatever others say");
    cluster.pass(20);
    assert_eq!(cluster.seats[second].facts.status().members.len(), 3, "of those it knows nobody leads");
    let _ = cluster.recollect(second, 3);
    cluster.pass(3);
    let _ = cluster.recollect(second, 3);
    cluster.pass(3);
    assert!(!cluster.seats[second].facts.doubts());
    assert_eq!(cluster.seats[second].facts.counted_on_by(), None);
    assert_eq!((cluster.seats[second].facts.status().members.len(), cluster.keys(second)), (4, 1));
}

/// It is told once, and what it is told counts once it has caught up, too.
#[test]
fn what_is_told_of_one_who_is_no_member_here_yet_is_remembered() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let behind = (leader + 1) % 3;
    cluster.cut.insert(id(behind));
    cluster.add_fourth(leader);
    let promised = cluster.promises_held(leader).of(id(3));
    assert_ne!(promised, Promise::default());
    cluster.tell_promises(leader, behind);
    assert_eq!(cluster.promises_held(behind).of(id(3)), promised, "it is no member there yet");
    cluster.cut.clear();
    cluster.pass(30);
    assert_eq!(cluster.seats[behind].facts.status().members.len(), 4);
    assert_ne!(cluster.promises_held(behind).of(id(3)), Promise::default());
}

/// Its entries make it one only once they are applied, and it may be asked before.
#[test]
fn what_is_kept_of_one_who_joined_behind_the_checkpoint_is_not_lost_by_a_start() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    cluster.add_fourth(leader);
    let second = (leader + 1) % 3;
    cluster.tell_promises(leader, second);
    let kept = cluster.promises_held(second);
    let promised = kept.of(id(3));
    assert_ne!(promised, Promise::default());
    let copy = cluster.copied(second);
    cluster.put_back_with(&kept, 3, second, copy, 1);
    assert_eq!(cluster.seats[second].node.promises_held().of(id(3)), promised, "it is no member there yet");
    cluster.pass(5);
    let mut held = cluster.promises_held(second).of(id(3));
    let before = held;
    held.merge(&promised);
    assert_eq!(held, before, "it is one, and no less is known");
    let leader = cluster.leader().expect("one leads");
    let mut removed = cluster.change(leader, MemberChange::Remove(id(3)));
    cluster.settle();
    done(&mut removed);
    cluster.pass(5);
    assert_eq!(cluster.promises_held(second).of(id(3)), Promise::default());
    // Who starts on what was kept before it was removed forgets it, too.
    let copy = cluster.copied(second);
    cluster.put_back_with(&kept, 3, second, copy, 2);
    cluster.pass(5);
    assert_eq!(cluster.promises_held(second).of(id(3)), Promise::default());
}

/// A leader that it does not know is asked as long as nobody else leads.
#[test]
fn who_leads_no_more_is_not_asked_any_more_by_an_older_copy() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let second = (leader + 1) % 3;
    let copy = cluster.copied(second);
    cluster.add_fourth(leader);
    let (reply, _moved) = Reply::pair();
    cluster.step(leader, Input::HandOver { to: Some(id(3)), reply });
    cluster.pass(2);
    cluster.write(3, "after");
    cluster.put_back_among(3, second, copy, 1);
    cluster.pass(3);
    assert_eq!(cluster.seats[second].facts.counted_on_by(), Some(id(3)));
    let (reply, _moved) = Reply::pair();
    cluster.step(3, Input::HandOver { to: Some(id(leader)), reply });
    cluster.pass(3);
    assert_eq!(cluster.leader(), Some(leader));
    let seat = &cluster.seats[second];
    assert!(seat.facts.doubts() && seat.node.group.standing().leader == Some(id(leader)));
    assert_eq!(seat.facts.counted_on_by(), None);
}

#[test]
fn a_member_that_has_all_it_promised_goes_on_with_a_majority() {
    let (mut cluster, [leader, second, third], _) = with_a_write_on_two();
    let copy = cluster.copied(second);
    cluster.cut = BTreeSet::from([id(leader)]);
    cluster.put_back(second, copy, 1);
    assert_eq!(cluster.recollect(second, third), Recalled::Waits, "the leader may still answer");
    cluster.pass(30);
    assert!(!cluster.seats[second].facts.doubts());
    assert_eq!(cluster.leader(), Some(second));
    assert_eq!(cluster.keys(third), 2);
}

/// A proposal is passed on in no term, so nothing else holds it back where the disk is full or hangs.
#[test]
fn who_has_nothing_on_its_disk_does_not_tell_its_name() {
    let mut cluster = Cluster::new(3);
    cluster.seats[2].hangs = true;
    let leader = cluster.elect();
    assert_ne!(leader, 2);
    let told = |cluster: &Cluster, n| {
        let members = cluster.seats[leader].facts.status().members;
        members.iter().any(|member| member.id == id(n) && !member.client_urls.is_empty())
    };
    cluster.pass(20);
    assert!(told(&cluster, 0) && told(&cluster, 1) && !told(&cluster, 2));
    // It starts once more with what its disk has, and nobody takes that for a loss.
    let copy = cluster.copied(2);
    cluster.put_back(2, copy, 1);
    assert_eq!(cluster.seats[2].hard_state.term, 1, "of the founding");
    assert!(!matches!(cluster.recollect(2, leader), Recalled::Forgets { .. }));
    cluster.pass(20);
    assert!(told(&cluster, 2));
}

/// Whoever was removed may be gone a moment later: of two, the one that is left must not wait for its vote once more.
#[test]
fn that_a_change_of_members_is_committed_is_on_the_disk_though_nothing_is_written_behind_it() {
    let mut cluster = Cluster::new(2);
    let leader = cluster.elect();
    cluster.pass(2);
    let mut changed = cluster.change(leader, MemberChange::Remove(id(1 - leader)));
    cluster.settle();
    done(&mut changed);
    let (hard_state, log) = cluster.copied(leader);
    let change = log.iter().rev().find(|entry| entry.kind == EntryKind::ConfChange).expect("it is in the log");
    assert!(hard_state.commit >= change.index, "{hard_state:?}, entry {}", change.index);
}

#[test]
fn nobody_is_asked_twice_for_a_vote_it_has_forgotten() {
    let mut cluster = Cluster::new(3);
    let before: Vec<Copied> = (0..3).map(|n| cluster.copied(n)).collect();
    let leader = cluster.elect();
    cluster.pass(2);
    let (voter, third) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.cut.insert(id(third));
    cluster.put_back(voter, before[voter].clone(), 1);
    assert!(matches!(cluster.recollect(voter, leader), Recalled::Forgets { .. }));
    // The third never heard of that term, and stands in it.
    cluster.put_back(third, before[third].clone(), 1);
    cluster.seats[third].node.trust_itself();
    cluster.cut = BTreeSet::from([id(leader)]);
    cluster.pass(60);
    assert_eq!(cluster.leader(), None, "the vote of that term was given");
}

#[test]
fn requests_for_a_vote_wait_for_the_others_word() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let (second, third) = ((leader + 1) % 3, (leader + 2) % 3);
    let copy = cluster.copied(second);
    cluster.put_back(second, copy, 1);
    cluster.cut = BTreeSet::from([id(leader)]);
    cluster.pass(40);
    assert_eq!(cluster.leader(), None, "it has not asked anybody yet");
    assert_eq!(cluster.recollect(second, third), Recalled::Whole);
    cluster.settle();
    cluster.pass(30);
    assert!(cluster.leader().is_some());
}

/// Nobody was told that the leader has an entry itself: it was committed by its word and one other's. That one knows it to be
/// committed, and says so.
#[test]
fn a_leader_that_lost_what_it_committed_is_not_elected_over_who_has_it() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let (second, third) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.write(leader, "before");
    let copy = cluster.copied(leader);
    cluster.cut.insert(id(third));
    cluster.write(leader, "on two");
    cluster.pass(1);
    cluster.cut.insert(id(leader));
    cluster.put_back(leader, copy, 1);
    // The third has not heard of the entry; the second has it, answers, and does not come through otherwise.
    cluster.cut = BTreeSet::from([id(second)]);
    for other in [second, third] {
        assert!(!matches!(cluster.recollect(leader, other), Recalled::Forgets { .. }), "nobody knows what it promised");
    }
    cluster.pass(100);
    assert!(!cluster.seats[leader].facts.doubts());
    assert_eq!(cluster.leader(), None, "one that lacks the write is not elected");
    cluster.cut.clear();
    assert_eq!(cluster.elect(), second);
    cluster.pass(3);
    assert_eq!((cluster.keys(leader), cluster.keys(third)), (2, 2));
}
