//! Snapshots that are cut on their way.

use super::*;
use crate::base::limits;

/// What the leader sends to the one behind, which gets nothing of it; its first chunks were made.
fn cut_one(cluster: &mut Cluster, leader: usize, late: usize) -> (PeerMessage, Bytes) {
    for _ in 0..100 {
        cluster.now = cluster.now.plus(Duration::from_millis(100));
        for seat in &mut cluster.seats {
            seat.node.step(cluster.now, Input::Tick, &mut Vec::new());
        }
        for _ in 0..50 {
            if let Some((message, mut source)) = cluster.seats[leader].snapshots.pop() {
                let chunk = source.next_chunk().expect("read").expect("there is one");
                let manifest = source.manifest();
                cluster.step(leader, Input::SnapshotSent { member: id(late), arrived: false });
                assert!(!chunk.is_empty());
                return (message, manifest);
            }
            // As `exchange`, without carrying snapshots.
            cluster.exchange_but_snapshots();
        }
    }
    panic!("no snapshot is sent");
}

fn write_many(cluster: &mut Cluster, leader: usize, count: usize, name: &str) {
    for n in 0..count {
        let mut written = cluster.propose(leader, &put(&format!("{name}{n}")));
        for _ in 0..50 {
            cluster.exchange_but_snapshots();
        }
        done(&mut written);
    }
}

#[test]
fn a_snapshot_that_was_cut_is_sent_once_more_and_the_log_goes_on_behind_it() {
    let (mut cluster, leader, late) = with_one_far_behind();
    cluster.cut.clear();
    let (first, manifest) = cut_one(&mut cluster, leader, late);
    // More is written than is kept behind a checkpoint otherwise, and checkpoints are made.
    let made = cluster.seats[leader].facts.status().checkpoints;
    write_many(&mut cluster, leader, 60, "meanwhile");
    assert!(cluster.seats[leader].facts.status().checkpoints > made + 1);
    let sent = cut_one(&mut cluster, leader, late);
    assert_eq!((sent.0.snapshot_at(), &sent.1), (first.snapshot_at(), &manifest), "the same one");
    assert!(cluster.seats[leader].node.group.goes_on_behind(first.snapshot_index()));
    // It arrives in the end, and no other is needed.
    cluster.pass(1);
    cluster.pass(15);
    assert_eq!(cluster.seats[late].facts.status().revision, cluster.seats[leader].facts.status().revision);
    assert_eq!(cluster.seats[late].arrived, [first.snapshot_index()]);
    // Then the log is let go again.
    write_many(&mut cluster, leader, 60, "later");
    cluster.pass(2);
    write_many(&mut cluster, leader, 60, "later");
    assert!(!cluster.seats[leader].node.group.goes_on_behind(first.snapshot_index() + 1));
}

#[test]
fn what_is_kept_of_a_cut_snapshot_ends_by_itself() {
    let (mut cluster, leader, late) = with_one_far_behind();
    cluster.cut.clear();
    let (first, _) = cut_one(&mut cluster, leader, late);
    cluster.cut.insert(id(late));
    for _ in 0..limits::SNAPSHOT_KEPT_MS / 100 + 1 {
        cluster.now = cluster.now.plus(Duration::from_millis(100));
        cluster.seats.iter_mut().for_each(|seat| seat.node.step(cluster.now, Input::Tick, &mut Vec::new()));
        cluster.exchange_but_snapshots();
    }
    let leader = cluster.elect();
    write_many(&mut cluster, leader, 60, "meanwhile");
    assert!(!cluster.seats[leader].node.group.goes_on_behind(first.snapshot_index()), "its log is let go");
    cluster.cut.clear();
    let (second, _) = cut_one(&mut cluster, leader, late);
    assert!(second.snapshot_index() > first.snapshot_index(), "a newer one is sent");
}

/// A cluster at rest makes no checkpoint that would let go of it.
#[test]
fn the_log_that_was_held_for_a_snapshot_goes_where_nothing_is_written_any_more() {
    let (mut cluster, leader, late) = with_one_far_behind();
    cluster.cut.clear();
    let (first, _) = cut_one(&mut cluster, leader, late);
    write_many(&mut cluster, leader, 60, "meanwhile");
    cluster.cut.insert(id(late));
    let held = |cluster: &Cluster| cluster.seats[leader].node.held().log_entries;
    let rest = |cluster: &mut Cluster, ticks| {
        for _ in 0..ticks {
            cluster.now = cluster.now.plus(Duration::from_millis(100));
            cluster.seats.iter_mut().for_each(|seat| seat.node.step(cluster.now, Input::Tick, &mut Vec::new()));
            cluster.exchange_but_snapshots();
        }
    };
    rest(&mut cluster, 20);
    assert!(cluster.seats[leader].node.group.goes_on_behind(first.snapshot_index()) && held(&cluster) >= 60);
    rest(&mut cluster, limits::SNAPSHOT_KEPT_MS / 100 + 1);
    // As the flags say: what is kept behind a checkpoint, and less than makes one due.
    assert!(held(&cluster) < 5 + 20, "{} entries are held for nobody", held(&cluster));
}

/// Whoever refuses what is sent gets a newer one after some attempts.
#[test]
fn a_snapshot_that_comes_no_further_is_sent_only_so_often() {
    let (mut cluster, leader, late) = with_one_far_behind();
    cluster.cut.clear();
    let (first, _) = cut_one(&mut cluster, leader, late);
    write_many(&mut cluster, leader, 1, "meanwhile");
    for attempt in 1..limits::SNAPSHOT_FRUITLESS_ATTEMPTS {
        let (again, _) = cut_one(&mut cluster, leader, late);
        assert_eq!(again.snapshot_index(), first.snapshot_index(), "attempt {attempt}");
    }
    let (_, _) = cut_one(&mut cluster, leader, late);
    let (newer, _) = cut_one(&mut cluster, leader, late);
    assert!(newer.snapshot_index() > first.snapshot_index());
}

/// A question of an earlier moment comes late: the leader counts on less than there is, its log does not reach back so far,
/// and the one who has all refuses the state. It says so, or a cluster of two would stand still for ever.
#[test]
fn who_is_offered_what_it_has_tells_the_leader() {
    let mut cluster = Cluster::new(2);
    let leader = cluster.elect();
    cluster.pass(2);
    for n in 0..60 {
        let mut written = cluster.propose(leader, &put(&format!("k{n}")));
        cluster.settle();
        done(&mut written);
    }
    let other = 1 - leader;
    assert!(!cluster.seats[leader].node.group.goes_on_behind(7), "the log before is gone");
    let (reply, _) = Reply::pair();
    cluster.step(leader, Input::RecollectionAsked { of: id(other), last: 7, reply });
    let mut written = cluster.propose(leader, &put("after"));
    cluster.pass(3);
    done(&mut written);
    assert!(cluster.seats[other].arrived.is_empty(), "it has no use for a state");
}
