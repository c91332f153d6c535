//! Which leases there are and what keys they have, as any member is asked.

use super::*;
use crate::node::LeaseKeys;

type Keys = Receiver<Result<Option<LeaseKeys>, Refusal>>;

fn held(granted_at: u64, keys: &[&'static str]) -> Option<LeaseKeys> {
    Some(LeaseKeys { granted_at, keys: keys.iter().map(|key| Bytes::from(*key)).collect() })
}

impl Cluster {
    fn keys_of_lease(&mut self, n: usize, id: LeaseId) -> Keys {
        let (reply, answer) = Reply::pair();
        self.step(n, Input::Lease(LeaseQuestion::Keys { id, reply }));
        answer
    }

    fn grant_of_lease(&mut self, n: usize, id: LeaseId) -> Option<u64> {
        let (reply, mut answer) = Reply::pair();
        self.step(n, Input::Lease(LeaseQuestion::Grant { id, reply }));
        answered(&mut answer).expect("answered at once").expect("not refused")
    }

    fn leases(&mut self, n: usize) -> Receiver<Result<Vec<LeaseId>, Refusal>> {
        let (reply, answer) = Reply::pair();
        self.step(n, Input::Lease(LeaseQuestion::Leases { reply }));
        answer
    }
}

/// A cluster with a lease that has a key, and one that ends sooner and has none; its leader, and the entries that granted them.
fn with_leases() -> (Cluster, usize, [u64; 2]) {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.pass(2);
    let attached = Put { key: "a".into(), lease: 42, ..Put::default() };
    let [long, short] = [(42, 90), (43, 50)].map(|(id, ttl)| Command::LeaseGrant { id, ttl });
    let entries = [long, short, Command::Put(attached)].map(|command| written(&mut cluster, leader, &command));
    (cluster, leader, [entries[0], entries[1]])
}

/// The entry in which the leader had it done.
fn written(cluster: &mut Cluster, leader: usize, command: &Command) -> u64 {
    let mut written = cluster.propose(leader, command);
    cluster.settle();
    done(&mut written).index
}

#[test]
fn every_member_tells_which_leases_there_are_and_their_keys() {
    let (mut cluster, leader, [at, sooner]) = with_leases();
    for n in 0..3 {
        let [mut full, mut bare, mut none] = [42, 43, 44].map(|id| cluster.keys_of_lease(n, id));
        let mut all = cluster.leases(n);
        cluster.settle();
        assert_eq!(done(&mut full), held(at, &["a"]));
        assert_eq!((done(&mut bare), done(&mut none)), (held(sooner, &[]), None));
        let order = if n == leader { [43, 42] } else { [42, 43] };
        assert_eq!(done(&mut all), order, "only the leader knows which ends sooner");
    }
}

/// Whose time is told and whose keys are told elsewhere: its entry tells a lease from another of the same id.
#[test]
fn a_lease_that_was_granted_anew_is_another_one() {
    let (mut cluster, leader, [at, _]) = with_leases();
    let away = (leader + 1) % 3;
    assert_eq!(cluster.grant_of_lease(away, 42), Some(at));
    written(&mut cluster, leader, &Command::LeaseRevoke { id: 42, expiry: None });
    cluster.pass(2);
    assert_eq!(cluster.grant_of_lease(away, 42), None);
    let anew = written(&mut cluster, leader, &Command::LeaseGrant { id: 42, ttl: 90 });
    let mut keys = cluster.keys_of_lease(away, 42);
    cluster.settle();
    assert_eq!(done(&mut keys), held(anew, &[]));
    assert!(anew > at && cluster.grant_of_lease(away, 42) == Some(anew));
}

#[test]
fn what_may_be_gone_is_not_told() {
    let (mut cluster, leader, _) = with_leases();
    let cut = (leader + 1) % 3;
    cluster.cut.insert(id(cut));
    let mut revoked = cluster.propose(leader, &Command::LeaseRevoke { id: 42, expiry: None });
    cluster.settle();
    done(&mut revoked);
    let (mut keys, mut all) = (cluster.keys_of_lease(cut, 42), cluster.leases(cut));
    cluster.settle();
    assert!(answered(&mut keys).is_none() && answered(&mut all).is_none(), "it has 42 still");
    cluster.cut.clear();
    cluster.pass(30);
    assert_eq!((done(&mut keys), done(&mut all)), (None, vec![43]));
}

#[test]
fn a_member_alone_tells_nothing_before_it_has_applied_what_it_acknowledged() {
    let mut cluster = Cluster::new(1);
    cluster.elect();
    cluster.pass(2);
    let granted = written(&mut cluster, 0, &Command::LeaseGrant { id: 42, ttl: 90 });
    cluster.restart(0, 1);
    let (mut keys, mut all) = (cluster.keys_of_lease(0, 42), cluster.leases(0));
    assert!(answered(&mut keys).is_none() && answered(&mut all).is_none());
    cluster.pass(30);
    assert_eq!((done(&mut keys), done(&mut all)), (held(granted, &[]), vec![42]));
}

/// A renewal may wait for the command, as one of a lease that is granted behind it does: the clock must not run on meanwhile.
#[test]
fn a_lease_that_is_renewed_outlives_a_command_that_takes_longer_than_it_lives() {
    let mut cluster = Cluster::new(3);
    for seat in &mut cluster.seats {
        seat.node.config.changes_per_turn = 1;
    }
    let leader = cluster.elect();
    cluster.pass(2);
    let puts = (0..60).map(|n| put(&format!("k{n}")));
    for command in [Command::LeaseGrant { id: 42, ttl: 2 }].into_iter().chain(puts) {
        let mut written = cluster.propose(leader, &command);
        cluster.settle();
        done(&mut written);
    }
    let range = KeyRange { start: "k".into(), end: crate::base::RangeEnd::Open };
    let mut deleted =
        cluster.propose(leader, &Command::DeleteRange(crate::machine::DeleteRange { range, prev_kv: false }));
    let (mut renewals, mut slices) = (Vec::new(), 0);
    while answered(&mut deleted).is_none() {
        cluster.exchange();
        cluster.now = cluster.now.plus(Duration::from_millis(100));
        for n in 0..3 {
            cluster.step(n, Input::Tick);
        }
        renewals.push(cluster.keep_alive(leader, 42));
        slices += 1;
    }
    assert!(slices > 40, "twice as long as the lease lives");
    assert_eq!(cluster.seats[leader].facts.expired_leases.load(Relaxed), 0);
    cluster.settle();
    renewals.iter_mut().for_each(|renewal| assert_eq!(done(renewal), Some(2)));
    cluster.pass(10);
    assert_eq!(done_at_once(&mut cluster, leader), Some(2), "it lives");
    cluster.pass(25);
    assert_eq!(done_at_once(&mut cluster, leader), None, "and ends when nobody renews it");
}

fn done_at_once(cluster: &mut Cluster, leader: usize) -> Option<i64> {
    let mut renewal = cluster.keep_alive(leader, 42);
    cluster.settle();
    done(&mut renewal)
}
