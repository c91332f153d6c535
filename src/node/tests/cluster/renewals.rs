//! Renewals while what is committed waits to be applied: answered, but where something of that may change the answer.

use super::*;
use crate::base::RangeEnd;
use crate::consensus::Role;
use crate::machine::DeleteRange;

/// Turns of everybody in which a question goes to the others and back.
const ROUND: usize = 3;

type Written = Receiver<Result<Proposed, Refusal>>;
type Renewed = Receiver<Result<Option<i64>, Refusal>>;

/// Writes some keys; from then on these members change one in a turn, and the others all.
fn fill(cluster: &mut Cluster, slow: impl IntoIterator<Item = usize>) {
    let leader = cluster.leader().expect("one leads");
    for n in 0..60 {
        let mut written = cluster.propose(leader, &put(&format!("k{n}")));
        cluster.settle();
        done(&mut written);
    }
    slow.into_iter().for_each(|n| cluster.seats[n].node.config.changes_per_turn = 1);
}

/// A cluster with a lease of 5 s, whose leader changes one key in a turn.
fn with_a_lease() -> (Cluster, usize) {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let mut granted = cluster.propose(leader, &Command::LeaseGrant { id: 42, ttl: 5 });
    cluster.settle();
    done(&mut granted);
    fill(&mut cluster, [leader]);
    (cluster, leader)
}

/// A delete of all keys, in whose middle the leader is.
fn begin_delete(cluster: &mut Cluster, leader: usize) -> Written {
    let range = KeyRange { start: "k".into(), end: RangeEnd::Open };
    let deleted = cluster.propose(leader, &Command::DeleteRange(DeleteRange { range, prev_kv: false }));
    while !cluster.seats[leader].node.is_carrying_out() {
        cluster.exchange();
    }
    deleted
}

fn exchange(cluster: &mut Cluster, times: usize) {
    (0..times).for_each(|_| _ = cluster.exchange());
}

fn are_waiting(renewals: &mut [Renewed]) -> bool {
    renewals.iter_mut().all(|renewal| answered(renewal).is_none())
}

#[test]
fn a_renewal_does_not_wait_for_a_command_that_takes_many_turns() {
    let (mut cluster, leader) = with_a_lease();
    let mut deleted = begin_delete(&mut cluster, leader);
    let (mut renewal, mut read) = (cluster.keep_alive(leader, 42), cluster.read(leader));
    exchange(&mut cluster, ROUND);
    assert_eq!(done(&mut renewal), Some(5));
    assert!(answered(&mut deleted).is_none() && answered(&mut read).is_none());
    cluster.settle();
    assert!(done(&mut deleted).index > 60 && done(&mut read).count(&KeyRange::all()) == 0);
}

/// Elsewhere it is done, and whoever was told so may ask next.
#[test]
fn what_waits_to_end_or_to_grant_a_lease_decides_of_its_renewal() {
    let (mut cluster, leader) = with_a_lease();
    let (elsewhere, mut deleted) = ((leader + 1) % 3, begin_delete(&mut cluster, leader));
    let grant = |id, ttl| Command::LeaseGrant { id, ttl };
    let mut told = [Command::LeaseRevoke { id: 42, expiry: None }, grant(43, 7), grant(44, 8)]
        .map(|command| cluster.propose(elsewhere, &command));
    exchange(&mut cluster, 3 * ROUND);
    told.iter_mut().for_each(|told| _ = done(told));
    let mut anew = [Command::LeaseRevoke { id: 44, expiry: None }, grant(44, 9)]
        .map(|command| cluster.propose(elsewhere, &command));
    exchange(&mut cluster, 3 * ROUND);
    anew.iter_mut().for_each(|anew| _ = done(anew));
    let mut renewals = [42, 43, 44].map(|id| cluster.keep_alive(leader, id));
    exchange(&mut cluster, 2 * ROUND);
    assert!(are_waiting(&mut renewals) && answered(&mut deleted).is_none());
    cluster.settle();
    assert_eq!(renewals.map(|mut renewal| done(&mut renewal)), [None, Some(7), Some(9)]);
}

/// What is committed and not durable at the leader is not among what waits there.
#[test]
fn a_leader_whose_disk_is_behind_renews_nothing_that_may_be_gone() {
    let (mut cluster, leader) = with_a_lease();
    cluster.seats[leader].hangs = true;
    let mut revoked = cluster.propose((leader + 1) % 3, &Command::LeaseRevoke { id: 42, expiry: None });
    exchange(&mut cluster, 3 * ROUND);
    done(&mut revoked);
    let mut renewals = [cluster.keep_alive(leader, 42)];
    exchange(&mut cluster, 2 * ROUND);
    assert!(are_waiting(&mut renewals));
    cluster.seats[leader].hangs = false;
    cluster.settle();
    assert_eq!(renewals.map(|mut renewal| done(&mut renewal)), [None]);
}

#[test]
fn a_renewal_whose_remainder_is_written_waits_until_it_is_forgotten() {
    let (mut cluster, leader) = cluster_with_a_long_lease();
    cluster.pass(155);
    fill(&mut cluster, [leader]);
    let mut deleted = begin_delete(&mut cluster, leader);
    let mut renewals = [cluster.keep_alive(leader, 42)];
    exchange(&mut cluster, 2 * ROUND);
    assert!(are_waiting(&mut renewals) && answered(&mut deleted).is_none(), "the next leader would count from it");
    cluster.settle();
    assert_eq!(renewals.map(|mut renewal| done(&mut renewal)), [Some(20)]);
}

#[test]
fn a_leader_that_was_deposed_in_the_middle_renews_nothing() {
    let (mut cluster, old) = with_a_lease();
    let _deleted = begin_delete(&mut cluster, old);
    cluster.cut.insert(id(old));
    let mut renewals = [cluster.keep_alive(old, 42)];
    exchange(&mut cluster, 2 * ROUND);
    assert!(are_waiting(&mut renewals) && cluster.seats[old].node.is_carrying_out(), "nobody confirms that it leads");
    let new = cluster.elect();
    let mut revoked = cluster.propose(new, &Command::LeaseRevoke { id: 42, expiry: None });
    cluster.settle();
    done(&mut revoked);
    cluster.cut.clear();
    cluster.pass(5);
    assert_eq!(renewals.map(|mut renewal| answered(&mut renewal)), [Some(Err(Refusal::NotLeader))]);
}

/// It does not know yet what the others before it promised, and counts no time.
#[test]
fn a_leader_that_was_elected_in_the_middle_renews_nothing_before_it_is_done() {
    let (mut cluster, old) = with_a_lease();
    (0..3).for_each(|n| cluster.seats[n].node.config.changes_per_turn = 1);
    let _deleted = begin_delete(&mut cluster, old);
    exchange(&mut cluster, ROUND);
    cluster.cut.insert(id(old));
    let leads = |cluster: &Cluster, n: usize| cluster.seats[n].node.group.standing().role == Role::Leader;
    let new = loop {
        (0..3).filter(|n| *n != old).for_each(|n| cluster.step(n, Input::Tick));
        exchange(&mut cluster, 1);
        if let Some(new) = (0..3).find(|n| *n != old && leads(&cluster, *n)) {
            break new;
        }
    };
    assert!(cluster.seats[new].node.is_carrying_out());
    let mut early = cluster.keep_alive(new, 42);
    assert_eq!(answered(&mut early), Some(Err(Refusal::NotLeader)), "who asked asks again");
    cluster.settle();
    let mut renewal = cluster.keep_alive(new, 42);
    cluster.settle();
    assert_eq!(done(&mut renewal), Some(5));
}

/// It decides alone, and is not the only one that is asked.
#[test]
fn a_learner_may_be_ahead_of_the_only_voter() {
    let mut cluster = Cluster::new(1);
    cluster.elect();
    cluster.pass(2);
    assert!(cluster.seats[0].facts.reads_alone());
    let mut added = cluster.change(0, MemberChange::add(Member { is_learner: true, ..member(1) }));
    cluster.settle();
    done(&mut added);
    cluster.seats.push(seat(1, HardState::default(), Vec::new(), &[], 0));
    let mut granted = cluster.propose(0, &Command::LeaseGrant { id: 42, ttl: 5 });
    cluster.pass(5);
    done(&mut granted);
    fill(&mut cluster, [0]);
    let leases = |cluster: &Cluster, n: usize| cluster.seats[n].facts.status().leases;
    assert_eq!([leases(&cluster, 0), leases(&cluster, 1)], [1, 1]);
    let mut deleted = begin_delete(&mut cluster, 0);
    let _revoked = cluster.propose(0, &Command::LeaseRevoke { id: 42, expiry: None });
    exchange(&mut cluster, 3 * ROUND);
    assert_eq!([leases(&cluster, 0), leases(&cluster, 1)], [1, 0], "it is gone there");
    let (mut renewals, mut read) = ([cluster.keep_alive(0, 42)], cluster.read(0));
    exchange(&mut cluster, ROUND);
    assert!(are_waiting(&mut renewals) && answered(&mut read).is_none() && answered(&mut deleted).is_none());
    assert!(!cluster.seats[0].facts.reads_alone());
    cluster.settle();
    assert_eq!(renewals.map(|mut renewal| done(&mut renewal)), [None]);
}
