//! A member that is removed says so and ends, and is never let in again.

use crate::cluster::{Member, start_all};
use crate::ports;

#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_says_so_and_ends_with_0_whenever_it_starts() {
    let members = Member::several(["m0", "m1", "m2"]);
    let mut processes = start_all(&members, &[]);
    processes[1].put_many(0..20).await;
    let [m0, m1, m2] = &members;
    let id = processes[0].id_of(m2).await;
    processes[0].remove(id).await;
    let (code, said) = processes.pop().unwrap().ended();
    assert_eq!(code, Some(0), "as etcd: {said}");
    assert!(said.contains("the member has been permanently removed from the cluster"), "{said}");
    m2.wait_for_log(&["the member has been permanently removed from the cluster"]);

    let (code, said) = m2.spawn(&[m0, m1, m2], &[]).ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the member has been permanently removed from the cluster"), "{said}");

    // Nor with an empty directory, by its name or into the cluster as it is.
    std::fs::remove_dir_all(m2.data()).unwrap();
    let (code, said) = m2.spawn(&[m0, m1, m2], &["--initial-cluster-state=existing"]).ended();
    assert!(code == Some(1) && said.contains("member count is unequal"), "{code:?} {said}");
    processes[0].put_many(20..30).await;
    assert_eq!(processes[1].members().await.len(), 2);

    // Added anew it is another member.
    processes[0].add(m2, false).await;
    let third = m2.start(&[m0, m1, m2], &["--initial-cluster-state=existing"]);
    third.until_it_holds(0..30).await;
    assert_ne!(third.id_of(m2).await, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_before_anybody_reached_it_hears_of_it_too() {
    let members = Member::several(["m0", "m1", "m2"]);
    let processes = start_all(&members, &[]);
    let [m0, m1, m2] = &members;
    let m3 = Member::new("m3");
    processes[0].add(&m3, true).await;
    let added = processes[0].members().await.into_iter().find(|member| member.is_learner).unwrap().id;

    // It listens where nobody looks for it: it asks for the cluster and joins, and the leader cannot tell it anything.
    let elsewhere = format!("--listen-peer-urls=http://127.0.0.1:{}", ports::free());
    let flags = [elsewhere.as_str(), "--initial-cluster-state=existing"];
    let joined = m3.spawn(&[m0, m1, m2, &m3], &flags);
    m3.wait_for_log(&["booted"]);
    processes[0].remove(added).await;
    let (code, said) = joined.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the member has been permanently removed from the cluster"), "{said}");

    let (code, said) = m3.spawn(&[m0, m1, m2, &m3], &flags[1..]).ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the member has been permanently removed from the cluster"), "{said}");
    processes[1].put_many(0..5).await;
}
